//! The world: time, power, network and hosts. hecate is in `daemon.rs`, what it sees in `eyes.rs`.

use std::time::Duration;

use fastrand::Rng;
use hecate::config::Config;
use hecate::model::{BootId, Now};
use jiff::Timestamp;

use super::cluster::Cluster;
use super::daemon::{Disk, Life};
use super::host::{Became, Host, UnitIs};
use super::judge::Judge;
use super::judge_power::Before;
use super::nut::Driver;
use super::script::Event;
use super::site::{Site, Way};
use super::ups::Ups;

/// The wall clock at the beginning.
const BEGAN_WALL: i64 = 1_800_000_000;
/// How long upsd takes to be there after its host's boot.
const UPSD_SECONDS: f64 = 6.0;

/// Everything that moves.
pub(crate) struct World {
    /// What stands there.
    pub(crate) site: Site,
    /// hecate's configuration.
    pub(crate) config: Config,
    /// Chance.
    pub(crate) rng: Rng,
    /// Seconds since the beginning.
    pub(crate) now: f64,
    /// The circuits of the mains.
    pub(crate) mains: Vec<bool>,
    /// Since when each is as it is.
    pub(crate) mains_since: Vec<f64>,
    /// The UPSes.
    pub(crate) upses: Vec<Ups>,
    /// Their drivers.
    pub(crate) drivers: Vec<Driver>,
    /// The hosts.
    pub(crate) hosts: Vec<Host>,
    /// k3s.
    pub(crate) cluster: Cluster,
    /// Since when the hosts' switch has power.
    pub(crate) switch_since: Option<f64>,
    /// hecate, while it runs.
    pub(crate) life: Option<Life>,
    /// When systemd starts it.
    pub(crate) life_due: Option<f64>,
    /// `low.json`, on a file system in memory.
    pub(crate) low: Option<std::sync::Arc<hecate::tracker::Low>>,
    /// What is on its disk.
    pub(crate) disk: Disk,
    /// Who watches.
    pub(crate) judge: Judge,
    /// How long the hecate host had been up when the play began.
    pub(crate) own_age: f64,
    /// Until then time goes in small steps.
    pub(crate) busy_until: f64,
    next_event: usize,
}

impl World {
    /// A world in which all is well.
    pub(crate) fn new(site: Site, config: Config, mut rng: Rng) -> Self {
        let upses: Vec<Ups> = site.upses.iter().map(|_| Ups::new()).collect();
        let drivers = site.upses.iter().map(|spec| Driver::new(rng.f64() * spec.pollfreq)).collect();
        let hosts = site.hosts.iter().map(Host::running).collect();
        Self {
            cluster: Cluster::running(&site),
            judge: Judge::new(&site),
            disk: Disk::new(wall(0.0)),
            mains: vec![true; site.circuits],
            mains_since: vec![-1e6; site.circuits],
            upses,
            drivers,
            hosts,
            switch_since: Some(-1e6),
            life: None,
            life_due: Some(0.0),
            low: None,
            own_age: 40.0 + rng.f64() * 200_000.0,
            busy_until: 30.0,
            next_event: 0,
            now: 0.0,
            site,
            config,
            rng,
        }
    }

    /// Plays to the end.
    pub(crate) fn play(&mut self) {
        let end = self.site.calm_from + 25.0 * 3600.0;
        while self.now < end {
            let step = self.step();
            self.now += step;
            self.events();
            self.power(step);
            self.watch_mains();
            self.machines();
            let has_network = self.has_network();
            self.cluster.pass(&self.site, &mut self.hosts, has_network, self.now);
            self.hecate();
            self.watch();
            if self.is_over() {
                break;
            }
        }
        self.judge_end();
    }

    /// How far time may go at once.
    fn step(&self) -> f64 {
        let event = self.site.script.get(self.next_event).map_or(f64::MAX, |due| (due.at - self.now).max(0.05));
        let is_moving = self.hosts.iter().any(Host::is_moving) || self.life.as_ref().is_some_and(Life::is_busy);
        let on_battery = self.upses.iter().any(|ups| ups.on_battery_since.is_some());
        let limit: f64 = if is_moving || self.now < self.busy_until {
            1.0
        } else if on_battery {
            2.0
        } else {
            self.idle_seconds()
        };
        let pass = self.life.as_ref().map_or(f64::MAX, |life| (life.next_pass - self.now).max(0.05));
        let due = self.life_due.map_or(f64::MAX, |at| (at - self.now).max(0.05));
        limit.min(event).min(pass).min(due)
    }

    /// The pace of quiet times; slower once nothing has happened for hours.
    pub(crate) fn idle_seconds(&self) -> f64 {
        if self.now > self.busy_until + 5.0 * 3600.0 { 60.0 } else { 15.0 }
    }

    /// What the script says for now.
    fn events(&mut self) {
        while let Some(due) = self.site.script.get(self.next_event).filter(|due| due.at <= self.now) {
            let event = due.event.clone();
            self.next_event += 1;
            self.stir(75.0);
            self.judge.say(self.now, format!("* {event:?}"));
            self.happen(event);
        }
    }

    /// Time goes in small steps for a while.
    pub(crate) fn stir(&mut self, seconds: f64) {
        self.busy_until = self.busy_until.max(self.now + seconds);
    }

    fn happen(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::MainsLost(circuit) => self.set_mains(circuit, false),
            Event::MainsBack(circuit) => self.set_mains(circuit, true),
            Event::DriverDies(ups, away) => self.drivers[ups].die(now, away),
            Event::DriverHangs(ups, away) => self.drivers[ups].hang(now, away),
            Event::UpsdRestarts(ups, away) => self.drivers[ups].restart_upsd(now, away),
            Event::ForcedShutdown(ups) => self.drivers[ups].force(),
            Event::SelfTest(ups, seconds) => {
                self.upses[ups].testing_until = now + seconds;
                self.upses[ups].is_calibrating = false;
            }
            Event::Calibration(ups, seconds) => {
                self.upses[ups].testing_until = now + seconds;
                self.upses[ups].is_calibrating = true;
            }
            Event::HostHangs(host) => self.hosts[host].is_hung = self.hosts[host].is_on(),
            Event::HecateDies => self.kill_hecate(),
            Event::DiskFull => self.disk.is_full = true,
            Event::DiskFree => self.disk.is_full = false,
            Event::UnitStops(host) => {
                let spec = self.site.hosts[host].clone();
                self.hosts[host].stop_unit(&spec, now);
            }
            Event::PersonComes(for_all) => {
                for host in (0..self.hosts.len()).filter(|host| for_all || *host == self.site.own) {
                    self.hosts[host].press_button(now);
                }
            }
        }
    }

    fn set_mains(&mut self, circuit: usize, there: bool) {
        if self.mains[circuit] != there {
            self.mains[circuit] = there;
            self.mains_since[circuit] = self.now;
        }
    }

    /// Mains, UPSes, their drivers, and the switch.
    fn power(&mut self, step: f64) {
        for number in 0..self.upses.len() {
            let (spec, full) = (&self.site.upses[number], self.site.full_watts(number));
            let watts = self.watts(number);
            let ups = &mut self.upses[number];
            let input = self.mains[spec.circuit];
            if ups.has_input != input {
                ups.has_input = input;
                ups.input_since = self.now;
            }
            ups.watts = watts;
            let was = ups.output;
            ups.pass(spec, full, self.now, step);
            if was != ups.output {
                let line = format!("* {} output {:?}, battery {:.0} %", spec.name, ups.output, 100.0 * ups.level);
                self.judge.say(self.now, line);
                self.busy_until = self.busy_until.max(self.now + 75.0);
            }
            let is_alive = input || self.upses[number].is_on();
            if is_alive {
                self.drivers[number].poll(&self.upses[number], spec, full, self.now);
            }
        }
        let has_power = self.site.switch_on.map_or(self.mains[0], |ups| self.upses[ups].is_on());
        self.switch_since = if has_power { self.switch_since.or(Some(self.now)) } else { None };
    }

    /// What a UPS carries.
    fn watts(&self, ups: usize) -> f64 {
        let draw = |(spec, host): (&super::site::HostSpec, &Host)| {
            let live = spec.feeds.iter().filter(|feed| self.upses[**feed].is_on()).count();
            if !spec.feeds.contains(&ups) || live == 0 {
                return 0.0;
            }
            let watts = if host.is_on() { spec.watts } else { 1.5 };
            watts / live as f64
        };
        self.site.hosts.iter().zip(&self.hosts).map(draw).sum::<f64>() + 10.0
    }

    /// Whether a host has power at its supplies.
    pub(crate) fn has_power(&self, host: usize) -> bool {
        let spec = &self.site.hosts[host];
        if spec.feeds.is_empty() {
            return self.mains[0];
        }
        spec.feeds.iter().filter(|feed| self.upses[**feed].is_on()).count() >= spec.min_supplies
    }

    /// Whether a host's supply has mains behind it, so that no battery is needed.
    pub(crate) fn has_mains(&self, host: usize) -> bool {
        let spec = &self.site.hosts[host];
        if spec.feeds.is_empty() {
            return self.mains[0];
        }
        let fed = |feed: &&usize| self.upses[**feed].has_input && self.upses[**feed].is_on();
        spec.feeds.iter().filter(fed).count() >= spec.min_supplies
    }

    /// The hosts.
    fn machines(&mut self) {
        for number in 0..self.hosts.len() {
            let before = Before::of(&self.hosts[number]);
            let has_power = self.has_power(number);
            let spec = &self.site.hosts[number];
            let became = self.hosts[number].pass(spec, has_power, self.now);
            if became == Became::Same {
                continue;
            }
            self.judge.say(self.now, format!("* {} {became:?}", spec.name));
            self.stir(60.0);
            match became {
                Became::Cut => self.was_cut(number, before),
                Became::Off => self.went_off(number),
                Became::Up => self.came_up(number),
                Became::Same => {}
            }
        }
        for host in &mut self.hosts {
            if let Some((_, name)) = host.saving_until.take_if(|(until, _)| self.now >= *until) {
                host.snapshots.push(name);
            }
        }
    }

    fn was_cut(&mut self, number: usize, before: Before) {
        self.judge_cut(number, before);
        self.went_off(number);
    }

    fn went_off(&mut self, number: usize) {
        if number == self.site.own {
            self.low = None;
            self.life = None;
            self.life_due = None;
        }
    }

    fn came_up(&mut self, number: usize) {
        for (ups, spec) in self.site.upses.iter().enumerate() {
            let is_here = spec.way == Way::OnHost(number) || (spec.way == Way::Cable && number == self.site.own);
            if is_here {
                let seconds = UPSD_SECONDS + self.rng.f64() * 25.0;
                self.drivers[ups].restart_upsd(self.now, seconds);
            }
        }
        if number == self.site.own {
            self.life_due = Some(self.now + 1.0 + self.rng.f64() * 15.0);
        }
    }

    /// Whether hosts can reach one another.
    pub(crate) fn has_network(&self) -> bool {
        self.switch_since.is_some_and(|since| self.now - since >= self.site.switch_seconds)
    }

    /// Whether hecate's packets arrive at a host.
    pub(crate) fn reaches(&self, host: usize) -> bool {
        host == self.site.own || self.has_network()
    }

    /// Whether hecate's packets arrive at the upsd of a UPS.
    pub(crate) fn reaches_upsd(&self, ups: usize) -> bool {
        match self.site.upses[ups].way {
            Way::Cable => true,
            Way::OnHost(host) => self.reaches(host) && self.hosts[host].answers(self.now),
            Way::Card => self.has_edge(ups) && (self.upses[ups].has_input || self.upses[ups].is_on()),
        }
    }

    /// Whether the switch without a UPS, at a UPS' network card, works.
    pub(crate) fn has_edge(&self, ups: usize) -> bool {
        let circuit = self.site.upses[ups].circuit;
        self.mains[circuit] && self.now - self.mains_since[circuit] >= self.site.switch_seconds && self.has_network()
    }

    /// The time as the hecate host tells it.
    pub(crate) fn time(&self) -> Now {
        let own = &self.hosts[self.site.own];
        let up = if own.boot > 1 { self.now - own.up_since + 10.0 } else { self.now + self.own_age };
        Now {
            boottime: Duration::from_secs_f64(up.max(0.0)),
            boot_id: boot_id(&self.site.hosts[self.site.own].name, own.boot),
            wall: wall(self.now),
            wall_synced: up > 30.0,
        }
    }

    /// Whether a node runs as it should.
    pub(crate) fn runs(&self, host: usize) -> bool {
        let node = &self.cluster.nodes[host];
        self.hosts[host].answers(self.now)
            && self.hosts[host].unit == UnitIs::Running
            && node.is_ready
            && node.boot == self.hosts[host].boot
            && node.cordoned_by.is_none()
    }

    /// Whether nothing is left to see.
    fn is_over(&self) -> bool {
        self.next_event >= self.site.script.len()
            && self.now > self.site.calm_from + 180.0
            && self.mains.iter().all(|there| *there)
            && self.site.nodes().all(|host| self.runs(host))
            && self.life.as_ref().is_some_and(|life| self.now - life.settled_since > 120.0)
    }
}

/// The wall clock.
pub(crate) fn wall(now: f64) -> Timestamp {
    let millis = (now * 1000.0).round() as i64;
    Timestamp::from_millisecond(BEGAN_WALL * 1000 + millis).expect("a play lasts days, not millennia")
}

/// The boot id of a host.
pub(crate) fn boot_id(name: &str, boot: u32) -> BootId {
    BootId::new(format!("boot-{name}-{boot}"))
}
