//! What happens to the site, and when.

use fastrand::Rng;

use super::site::{Site, Way};

/// One thing that happens.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    /// A circuit of the mains loses its voltage.
    MainsLost(usize),
    /// A circuit has it again.
    MainsBack(usize),
    /// A UPS' driver ends and is started again after so long.
    DriverDies(usize, f64),
    /// A UPS' driver hangs for so long; upsd calls its data stale after MAXAGE.
    DriverHangs(usize, f64),
    /// upsd is away for so long, and has forgotten its FSD then.
    UpsdRestarts(usize, f64),
    /// Somebody types `upsmon -c fsd`.
    ForcedShutdown(usize),
    /// A UPS tests its battery for so long.
    SelfTest(usize, f64),
    /// A UPS calibrates its runtime for so long.
    Calibration(usize, f64),
    /// A host hangs until its power goes.
    HostHangs(usize),
    /// hecate is killed; systemd starts it again.
    HecateDies,
    /// hecate's disk is full.
    DiskFull,
    /// hecate's disk has room again.
    DiskFree,
    /// A k3s unit is stopped by something else than hecate.
    UnitStops(usize),
    /// Somebody comes and switches the hecate host on, where it is off; the others too, where that is so.
    PersonComes(bool),
}

/// An event with its time.
#[derive(Clone, Debug)]
pub(crate) struct Due {
    /// Seconds since the beginning.
    pub(crate) at: f64,
    /// What happens.
    pub(crate) event: Event,
}

/// Draws what happens; gives the time from which the mains are there for good.
pub(crate) fn draw(rng: &mut Rng, site: &Site) -> (Vec<Due>, f64) {
    let mut script = Vec::new();
    let mut at = if rng.f64() < 0.5 { between(rng, 40.0, 400.0) } else { between(rng, 650.0, 1500.0) };
    for _ in 0..1 + rng.usize(0..3) {
        at = incident(rng, site, &mut script, at);
        at += if rng.f64() < 0.3 { between(rng, 20.0, 300.0) } else { spread(rng, 300.0, 20_000.0) };
    }
    script.sort_by(|one, other| one.at.total_cmp(&other.at));
    let calm_from = script.last().map_or(at, |due| due.at);
    if rng.f64() < 0.7 {
        script.push(Due { at: calm_from + between(rng, 1200.0, 32_000.0), event: Event::PersonComes(rng.bool()) });
    }
    (script, calm_from)
}

/// One incident that begins then; gives its end.
fn incident(rng: &mut Rng, site: &Site, script: &mut Vec<Due>, at: f64) -> f64 {
    let ups = rng.usize(0..site.upses.len());
    let mut one = |at: f64, event: Event| script.push(Due { at, event });
    match rng.usize(0..100) {
        0..=44 => {
            let seconds = spread(rng, 60.0, 9_000.0);
            outage(rng, site, script, at, seconds);
            at + seconds
        }
        45..=62 => {
            let most = if rng.bool() { 19.0 } else { 60.0 };
            let seconds = between(rng, 1.0, most);
            outage(rng, site, script, at, seconds);
            at + seconds
        }
        63..=73 => flaps(rng, site, script, at),
        74..=79 => {
            let away = spread(rng, 2.0, 900.0);
            one(at, driver_trouble(rng, ups, away));
            at + away
        }
        80..=83 => {
            one(at, Event::ForcedShutdown(ups));
            one(at + 1200.0, Event::UpsdRestarts(ups, 5.0));
            at + 1200.0
        }
        84..=89 => {
            one(at, Event::SelfTest(ups, between(rng, 5.0, 19.0)));
            at + 20.0
        }
        90..=92 => {
            let seconds = between(rng, 60.0, 900.0);
            one(at, Event::Calibration(ups, seconds));
            at + seconds
        }
        93..=95 => {
            one(at, Event::UnitStops(rng.usize(0..site.hosts.len())));
            at + 10.0
        }
        _ => {
            one(at, Event::HecateDies);
            at + 10.0
        }
    }
}

/// Mains lost for so long, with what goes wrong beside it.
fn outage(rng: &mut Rng, site: &Site, script: &mut Vec<Due>, at: f64, seconds: f64) {
    let only = (site.circuits > 1 && rng.f64() < 0.35).then(|| rng.usize(0..site.circuits));
    for circuit in 0..site.circuits {
        if only.is_none_or(|one| one == circuit) {
            let skew = rng.f64() * 2.0;
            script.push(Due { at: at + skew, event: Event::MainsLost(circuit) });
            script.push(Due { at: at + skew + seconds, event: Event::MainsBack(circuit) });
        }
    }
    beside(rng, site, script, at, seconds);
}

/// Trouble that comes with an outage.
fn beside(rng: &mut Rng, site: &Site, script: &mut Vec<Due>, at: f64, seconds: f64) {
    let moment = |rng: &mut Rng| at - 20.0 + rng.f64() * (seconds + 140.0);
    let ups = rng.usize(0..site.upses.len());
    if rng.f64() < 0.20 {
        let away = spread(rng, 2.0, 1800.0);
        let event = driver_trouble(rng, ups, away);
        script.push(Due { at: moment(rng), event });
    }
    if rng.f64() < 0.20 {
        script.push(Due { at: moment(rng), event: Event::HecateDies });
    }
    if rng.f64() < 0.08 {
        crash_loop(rng, script, at, seconds);
    }
    if rng.f64() < 0.10 {
        let full = moment(rng);
        script.push(Due { at: full, event: Event::DiskFull });
        script.push(Due { at: full + spread(rng, 20.0, 3600.0), event: Event::DiskFree });
    }
    if rng.f64() < 0.06 {
        let host = rng.usize(0..site.hosts.len());
        if host != site.own {
            script.push(Due { at: moment(rng), event: Event::HostHangs(host) });
        }
    }
    if rng.f64() < 0.05 && site.upses[ups].way == Way::Cable {
        script.push(Due { at: moment(rng), event: Event::ForcedShutdown(ups) });
    }
}

/// hecate dies every so often during an outage.
fn crash_loop(rng: &mut Rng, script: &mut Vec<Due>, at: f64, seconds: f64) {
    let every = between(rng, 8.0, 40.0);
    let mut next = at + rng.f64() * seconds;
    for _ in 0..rng.usize(5..40) {
        script.push(Due { at: next, event: Event::HecateDies });
        next += every * (0.7 + 0.6 * rng.f64());
    }
}

/// Mains that come and go; gives the end.
fn flaps(rng: &mut Rng, site: &Site, script: &mut Vec<Due>, at: f64) -> f64 {
    let mut next = at;
    for _ in 0..rng.usize(2..9) {
        let lost = between(rng, 1.0, 90.0);
        outage(rng, site, script, next, lost);
        next += lost + between(rng, 2.0, 120.0);
    }
    if rng.f64() < 0.3 {
        let seconds = spread(rng, 300.0, 6000.0);
        outage(rng, site, script, next, seconds);
        next += seconds;
    }
    next
}

/// The kinds of trouble between upsd and a UPS.
fn driver_trouble(rng: &mut Rng, ups: usize, away: f64) -> Event {
    match rng.usize(0..3) {
        0 => Event::DriverDies(ups, away),
        1 => Event::DriverHangs(ups, away),
        _ => Event::UpsdRestarts(ups, away),
    }
}

/// Evenly between two figures.
pub(crate) fn between(rng: &mut Rng, least: f64, most: f64) -> f64 {
    least + rng.f64() * (most - least)
}

/// Between two figures, evenly by magnitude.
pub(crate) fn spread(rng: &mut Rng, least: f64, most: f64) -> f64 {
    (between(rng, least.ln(), most.ln())).exp()
}
