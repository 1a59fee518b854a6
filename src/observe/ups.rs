//! Watches each UPS at its own cadence over a kept connection to its upsd.
//!
//! One task a UPS: a dead upsd delays nobody else. Debounce and every other judgement is `desired/ups_policy.rs`' work;
//! here a value that makes no sense becomes None, and nothing is ever filled in.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use crate::clients::nut::{Credentials, Endpoint, Login, NutClient, NutError, password};
use crate::clock::boottime;
use crate::config::{Config, Ups};
use crate::model::{FailureKind, Reading, UpsName};
use crate::snapshot::{DeviceId, LoadCutReading, UpsReading, UpsStatus, UpsWord, driver_interval};
use crate::telemetry::chain;

/// A UPS that does not know the command which cuts its load is asked again after so long: its driver may be another one by then.
const ASKS_AGAIN: Duration = Duration::from_secs(60);

/// The longest pause between two attempts to reach a upsd. Short, because on battery every second counts.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Watches all configured UPSes; dropping it ends the watching.
#[derive(Debug)]
pub struct Upses {
    readings: Arc<Mutex<BTreeMap<UpsName, Reading<UpsReading>>>>,
    load_cuts: Arc<Mutex<BTreeMap<UpsName, LoadCutReading>>>,
    /// Aborted when dropped.
    _tasks: JoinSet<()>,
}

impl Upses {
    /// Starts one task a UPS. `wake` is notified when a reading is worth a pass; see [`is_worth_a_pass`].
    pub fn start(config: &Config, wake: &Arc<Notify>) -> Self {
        Self::watch(&config.upses, config.ups_policy.poll, config.ups_policy.timeout, wake)
    }

    /// As [`Upses::start`], with the few settings it needs.
    pub fn watch(upses: &BTreeMap<UpsName, Ups>, poll: Duration, timeout: Duration, wake: &Arc<Notify>) -> Self {
        let not_yet = upses.keys().map(|name| (name.clone(), Reading::not_yet())).collect();
        let readings = Arc::new(Mutex::new(not_yet));
        let load_cuts = Arc::new(Mutex::new(BTreeMap::new()));
        let mut tasks = JoinSet::new();
        for (name, ups) in upses {
            let watch = Watch {
                name: name.clone(),
                endpoint: Endpoint::new(ups.host.clone(), ups.port),
                ups: ups.clone(),
                timeout,
                client: None,
                failures: 0,
                knows_cut: None,
                asked_cut: None,
                login: Login::None,
                password_failure: None,
            };
            let publish = Publisher {
                readings: Arc::clone(&readings),
                load_cuts: Arc::clone(&load_cuts),
                wake: Arc::clone(wake),
            };
            tasks.spawn(watch.run(poll, publish));
        }
        Self { readings, load_cuts, _tasks: tasks }
    }

    /// What each UPS with `cut_load` said last of that. Never waits for an answer.
    pub fn load_cuts(&self) -> BTreeMap<UpsName, LoadCutReading> {
        self.load_cuts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The last reading of every UPS. Never waits for an answer.
    pub fn readings(&self) -> BTreeMap<UpsName, Reading<UpsReading>> {
        self.readings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Asks every UPS once, for at most so long; who has not answered by then is a reading that says so.
pub async fn ask_once(config: &Config, limit: Duration) -> BTreeMap<UpsName, Reading<UpsReading>> {
    let wake = Arc::new(Notify::new());
    let upses = Upses::start(config, &wake);
    let deadline = Instant::now() + limit;
    while !upses.readings().values().all(Reading::was_looked_at) {
        if tokio::time::timeout_at(deadline, wake.notified()).await.is_err() {
            break;
        }
    }
    upses.readings()
}

/// Whether a new reading is worth a pass.
///
/// It is when the words or the kind of failure have changed, and always while the UPS is on battery, in forced shutdown
/// or unreadable: the policy counts such polls. A discharge beside OL is worth one when its charge moves. A quiet poll on mains
/// wakes nobody.
pub fn is_worth_a_pass(before: &Reading<UpsReading>, after: &Reading<UpsReading>) -> bool {
    match after {
        Reading::Unknown { .. } => true,
        Reading::Known { value, .. } => {
            let status = &value.status;
            let is_drawn = status.has(UpsWord::Dischrg) && !status.has(UpsWord::Ol);
            let needs_counting =
                is_drawn || [UpsWord::Ob, UpsWord::Lb, UpsWord::Fsd].iter().any(|word| status.has(*word));
            let moves = || before.value().is_none_or(|earlier| earlier.charge_percent != value.charge_percent);
            needs_counting
                || status.has(UpsWord::Dischrg) && moves()
                || before.value().is_none_or(|earlier| earlier.status != value.status)
        }
    }
}

struct Publisher {
    readings: Arc<Mutex<BTreeMap<UpsName, Reading<UpsReading>>>>,
    load_cuts: Arc<Mutex<BTreeMap<UpsName, LoadCutReading>>>,
    wake: Arc<Notify>,
}

impl Publisher {
    fn publish_cut(&self, name: &UpsName, reading: LoadCutReading) {
        self.load_cuts.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), reading);
    }

    fn publish(&self, name: &UpsName, reading: Reading<UpsReading>) {
        tracing::trace!(ups = %name, ?reading, "ups read");
        let mut readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        let before = readings.insert(name.clone(), reading.clone()).unwrap_or_else(Reading::not_yet);
        drop(readings);
        report_change(name, &before, &reading);
        if is_worth_a_pass(&before, &reading) {
            self.wake.notify_one();
        }
    }
}

/// Says in the log what has changed, and nothing while it stays as it is.
fn report_change(name: &UpsName, before: &Reading<UpsReading>, after: &Reading<UpsReading>) {
    match (before, after) {
        (Reading::Known { value: earlier, .. }, Reading::Known { value, .. }) if earlier.status != value.status => {
            tracing::info!(ups = %name, from = %earlier.status, to = %value.status, "ups status changed");
        }
        (Reading::Unknown { .. }, Reading::Known { value, .. }) => {
            tracing::info!(ups = %name, status = %value.status, "ups is readable");
        }
        (_, Reading::Unknown { why, .. }) if before.failure().is_none_or(|earlier| earlier.kind != why.kind) => {
            tracing::warn!(ups = %name, why = %why, "ups cannot be read");
        }
        (_, Reading::Known { .. } | Reading::Unknown { .. }) => {}
    }
}

struct Watch {
    name: UpsName,
    ups: Ups,
    endpoint: Endpoint,
    timeout: Duration,
    client: Option<NutClient>,
    failures: u32,
    /// Whether the UPS knows the command of its `cut_load`; asked anew on each connection, and after a failure.
    knows_cut: Option<bool>,
    /// When that was asked last.
    asked_cut: Option<Instant>,
    /// What the last login came to, so that only a change is logged.
    login: Login,
    /// Why the password file could not be read last, in words, for the same reason.
    password_failure: Option<String>,
}

impl Watch {
    async fn run(mut self, poll: Duration, publisher: Publisher) {
        let mut ticks = tokio::time::interval(poll.max(Duration::from_millis(10)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let began = boottime();
            let reading = match self.ask().await {
                Ok(variables) => {
                    self.failures = 0;
                    if self.ups.cut_load.is_some() {
                        self.ask_for_commands().await;
                        publisher.publish_cut(
                            &self.name,
                            LoadCutReading {
                                is_known: self.knows_cut,
                                delay: parse_seconds(variables.get("ups.delay.shutdown")),
                                login: self.no_command(),
                            },
                        );
                    }
                    match read(&variables) {
                        Some(value) => Reading::known(value, began),
                        None => {
                            let detail = format!("{} sent no ups.status for {}", self.endpoint, self.name);
                            Reading::unknown(FailureKind::Malformed, detail, began)
                        }
                    }
                }
                Err(error) => {
                    // Another driver may stand behind the name when it answers again.
                    self.knows_cut = None;
                    self.failures = self.failures.saturating_add(1);
                    let kind = error.kind();
                    let detail = describe(&error);
                    Reading::unknown(kind, detail, began)
                }
            };
            publisher.publish(&self.name, reading);
            if let Some(pause) = backoff(poll, self.failures) {
                ticks.reset_after(pause);
            }
        }
    }

    /// Asks on the kept connection; where that one has gone stale meanwhile, once more on a new one.
    ///
    /// Where the server hangs up on a login, or never answers one, a last connection does without.
    async fn ask(&mut self) -> Result<BTreeMap<String, String>, NutError> {
        let end = Instant::now() + self.timeout;
        if let Some(mut client) = self.client.take() {
            match client.list_vars(&self.ups.nut_name, self.timeout).await {
                Ok(variables) => {
                    self.client = Some(client);
                    return Ok(variables);
                }
                Err(error) if error.is_stale_connection() => {
                    tracing::debug!(ups = %self.name, error = %describe(&error), "the connection to upsd is stale");
                }
                Err(error) => {
                    self.client = Some(client).filter(|client| !client.is_dropped());
                    return Err(error);
                }
            }
        }
        let credentials = self.credentials(end).await;
        let mut client = self.connect(credentials.as_ref(), end).await?;
        let login = client.login().clone();
        let mut answer = client.list_vars(&self.ups.nut_name, left(end)).await;
        if let (Login::Failed(_), Err(error)) = (&login, &answer)
            && error.is_stale_connection()
        {
            client = self.connect(None, end).await?;
            answer = client.list_vars(&self.ups.nut_name, left(end)).await;
        }
        // Of a server that says nothing at all nobody knows whether it minds the login.
        if matches!(answer, Ok(_) | Err(NutError::Refused { .. })) {
            self.report_login(login);
        }
        self.client = Some(client).filter(|client| !client.is_dropped());
        answer
    }

    /// Why upsd will take no command, as far as the last login shows. One that is refused at LOGIN alone may be a user with
    /// `instcmds`, which is all that a command needs.
    fn no_command(&self) -> Option<String> {
        match (&self.login, &self.password_failure) {
            (Login::Failed(failure), _) if !failure.is_of_login_alone() => {
                Some(format!("upsd takes no command: {failure}"))
            }
            (Login::None, Some(why)) => Some(format!("upsd takes no command without a password: {why}")),
            (Login::None | Login::Taken | Login::Failed(_), _) => None,
        }
    }

    /// Learns whether the UPS knows the command that cuts its load: once a connection, and again now and then while it does not.
    async fn ask_for_commands(&mut self) {
        let Some(cut) = &self.ups.cut_load else { return };
        let is_due = self.asked_cut.is_none_or(|asked| asked.elapsed() >= ASKS_AGAIN);
        if self.knows_cut == Some(true) || self.knows_cut == Some(false) && !is_due {
            return;
        }
        let Some(mut client) = self.client.take() else { return };
        self.asked_cut = Some(Instant::now());
        match client.list_commands(&self.ups.nut_name, self.timeout).await {
            Ok(commands) => self.knows_cut = Some(commands.contains(&cut.command)),
            Err(error) => tracing::debug!(ups = %self.name, error = %describe(&error), "commands cannot be listed"),
        }
        self.client = Some(client).filter(|client| !client.is_dropped());
    }

    async fn connect(&mut self, credentials: Option<&Credentials>, end: Instant) -> Result<NutClient, NutError> {
        let login = credentials.map(|credentials| (credentials, self.ups.nut_name.as_str()));
        let client = NutClient::connect(&mut self.endpoint, login, left(end)).await?;
        tracing::debug!(ups = %self.name, upsd = %self.endpoint, "connected");
        self.knows_cut = None;
        Ok(client)
    }

    /// Says in the log when the login fails, or is taken again, and nothing while it stays as it is.
    ///
    /// A user with `instcmds` alone is such a case: upsd lets it read and cut the load, and refuses its login for ever.
    fn report_login(&mut self, login: Login) {
        match (&self.login, &login) {
            // No credentials could be read: nothing was learnt.
            (_, Login::None) => return,
            (before, Login::Failed(failure)) if *before != login => {
                tracing::warn!(
                    ups = %self.name, upsd = %self.endpoint, why = %failure, hint = failure.hint(),
                    "upsd does not take the login; the UPS is read without it"
                );
            }
            (Login::Failed(_), Login::Taken) => {
                tracing::info!(ups = %self.name, upsd = %self.endpoint, "upsd takes the login again");
            }
            (_, Login::Failed(_) | Login::Taken) => {}
        }
        self.login = login;
    }

    /// Reads the password anew for each connection, so that a changed file needs no restart.
    ///
    /// A file that cannot be read does not stop the watching: its last text is used, and without one upsd lets anybody
    /// read unless told otherwise. A quarter of the time at most goes into it.
    async fn credentials(&mut self, end: Instant) -> Option<Credentials> {
        let username = self.ups.username.clone()?;
        let path = self.ups.password_file.clone()?;
        let known = password::read(&path, Instant::now() + left(end) / 4).await;
        let failure = known.failure.as_ref().map(|failure| chain(failure).to_string());
        if failure != self.password_failure {
            match &failure {
                Some(why) => tracing::warn!(
                    ups = %self.name, why, has_last_good = known.text.is_some(),
                    "the NUT password cannot be read; the last good one is used, or none"
                ),
                None => tracing::info!(ups = %self.name, path = %path.display(), "the NUT password is readable again"),
            }
            self.password_failure = failure;
        }
        known.text.map(|text| Credentials::new(username, &text))
    }
}

fn left(end: Instant) -> Duration {
    end.saturating_duration_since(Instant::now())
}

/// How long to wait after so many failures in a row; None keeps to the cadence.
///
/// Never longer than the cadence or [`BACKOFF_MAX`], whichever is longer; a slow cadence is shortened after the first
/// failures, because a upsd that restarts is back within a second or two.
fn backoff(poll: Duration, failures: u32) -> Option<Duration> {
    if failures == 0 {
        return None;
    }
    let doubled = Duration::from_millis(500).saturating_mul(1 << (failures - 1).min(8));
    Some(doubled.min(BACKOFF_MAX).min(poll.max(Duration::from_millis(500))))
}

/// The error and its cause, on one line.
fn describe(error: &NutError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Makes a reading of upsd's variables; None without a status, for then nothing may be inferred.
fn read(variables: &BTreeMap<String, String>) -> Option<UpsReading> {
    let text = |name: &str| variables.get(name).map(String::as_str);
    let number = |name: &str, max: f64| text(name).and_then(|value| parse_number(value, max));
    let seconds = |name: &str| number(name, SECONDS_MAX).map(Duration::from_secs_f64);
    let device = device(variables);
    Some(UpsReading {
        status: UpsStatus::parse(text("ups.status")?),
        // hidups and others scale by ten: what is above 100 is a full battery.
        charge_percent: number("battery.charge", CHARGE_MAX).map(|charge| charge.min(100.0)),
        runtime: seconds("battery.runtime"),
        load_percent: number("ups.load", 300.0),
        driver_interval: driver_interval(
            device.driver.as_deref(),
            seconds("driver.parameter.pollfreq"),
            seconds("driver.parameter.pollinterval"),
        ),
        model: text("device.model").or_else(|| text("ups.model")).map(|model| model.trim().to_owned()),
        charge_low_percent: number("battery.charge.low", 100.0),
        device,
    })
}

/// What tells a device from another one. Drivers fill what they do not know with zeros, dashes and question marks.
fn device(variables: &BTreeMap<String, String>) -> DeviceId {
    let said = |names: &[&str]| {
        let text = |name: &&str| variables.get(*name).map(|value| value.trim()).filter(|value| !value.is_empty());
        let known = |text: &&str| !text.chars().all(|c| matches!(c, '0' | '-' | '?' | ' '));
        let text = names.iter().filter_map(text).find(known)?;
        Some(text.chars().take(DEVICE_CHARS_MAX).collect())
    };
    DeviceId {
        serial: said(&["device.serial", "ups.serial"]),
        model: said(&["device.model", "ups.model"]),
        battery_date: said(&["battery.date", "battery.mfr.date"]),
        driver: said(&["driver.name"]),
    }
}

/// No serial number is longer; what is, comes from a broken driver.
const DEVICE_CHARS_MAX: usize = 128;

/// A charge above this is no percentage, whatever its scale.
const CHARGE_MAX: f64 = 1000.0;

fn parse_seconds(text: Option<&String>) -> Option<Duration> {
    parse_number(text?, SECONDS_MAX).map(Duration::from_secs_f64)
}

/// A month: no battery lasts longer, and drivers that do not know say 65535 hours or the like.
const SECONDS_MAX: f64 = 30.0 * 24.0 * 3600.0;

/// Reads a number as drivers write them; None for anything negative, not finite or above `max`.
fn parse_number(text: &str, max: f64) -> Option<f64> {
    let text = text.trim().replace(',', ".");
    let value: f64 = text.parse().ok()?;
    (value.is_finite() && (0.0..=max).contains(&value)).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(status: &str) -> Reading<UpsReading> {
        let reading = UpsReading { status: UpsStatus::parse(status), ..UpsReading::default() };
        Reading::known(reading, Duration::ZERO)
    }

    fn lost(kind: FailureKind) -> Reading<UpsReading> {
        Reading::unknown(kind, "upsd is silent", Duration::ZERO)
    }

    fn variables(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_quiet_poll_wakes_nobody() {
        assert!(!is_worth_a_pass(&known("OL CHRG"), &known("CHRG OL")));
    }

    #[test]
    fn changed_words_wake() {
        assert!(is_worth_a_pass(&known("OL"), &known("OL CHRG")));
        assert!(is_worth_a_pass(&known("OB"), &known("OL")));
        assert!(is_worth_a_pass(&Reading::not_yet(), &known("OL")));
        assert!(is_worth_a_pass(&lost(FailureKind::DataStale), &known("OL")));
    }

    #[test]
    fn a_discharge_beside_ol_wakes_where_its_charge_moves() {
        let with = |charge: f64| match known("OL DISCHRG") {
            Reading::Known { value, began } => {
                Reading::known(UpsReading { charge_percent: Some(charge), ..value }, began)
            }
            other => other,
        };
        assert!(!is_worth_a_pass(&with(97.0), &with(97.0)));
        assert!(is_worth_a_pass(&with(97.0), &with(96.0)));
    }

    #[test]
    fn every_poll_on_battery_or_in_failure_wakes() {
        assert!(is_worth_a_pass(&known("OB"), &known("OB")));
        assert!(is_worth_a_pass(&known("FSD OL"), &known("FSD OL")));
        assert!(is_worth_a_pass(&lost(FailureKind::TimedOut), &lost(FailureKind::TimedOut)));
    }

    #[test]
    fn a_recorded_answer_is_read() {
        let reading = read(&variables(&[
            ("ups.status", "OB DISCHRG"),
            ("battery.charge", "87"),
            ("battery.runtime", "1423"),
            ("ups.load", "23.5"),
            ("driver.parameter.pollfreq", "30"),
            ("driver.parameter.pollinterval", "2"),
            ("ups.model", "Smart-UPS 1500 "),
        ]))
        .unwrap();
        assert!(reading.status.has(UpsWord::Ob));
        assert_eq!(reading.charge_percent, Some(87.0));
        assert_eq!(reading.runtime, Some(Duration::from_secs(1423)));
        assert_eq!(reading.load_percent, Some(23.5));
        assert_eq!(reading.driver_interval, Some(Duration::from_secs(30)));
        assert_eq!(reading.model.as_deref(), Some("Smart-UPS 1500"));
    }

    #[test]
    fn snmp_ups_reads_each_30_s_where_it_does_not_say_otherwise() {
        let interval = |said: &[(&str, &str)]| {
            let all = [&[("ups.status", "OL")], said].concat();
            read(&variables(&all)).unwrap().driver_interval.map(|it| it.as_secs())
        };
        let snmp = ("driver.name", "snmp-ups");
        let (poll, freq) = ("driver.parameter.pollinterval", "driver.parameter.pollfreq");
        assert_eq!(interval(&[snmp, (poll, "2")]), Some(32));
        assert_eq!(interval(&[snmp]), Some(32));
        assert_eq!(interval(&[snmp, (poll, "20")]), Some(40));
        assert_eq!(interval(&[snmp, (poll, "5"), (freq, "15")]), Some(20));
        assert_eq!(interval(&[("driver.name", "usbhid-ups"), (poll, "2"), (freq, "30")]), Some(30));
        assert_eq!(interval(&[("driver.name", "blazer_usb"), (poll, "2")]), Some(2));
    }

    #[test]
    fn nonsense_numbers_are_no_numbers() {
        for nonsense in ["", "-1", "NaN", "inf", "1e300", "n/a", "0x20", "12 34"] {
            assert_eq!(parse_number(nonsense, SECONDS_MAX), None, "{nonsense:?}");
        }
        assert_eq!(parse_number(" 12,5 ", 100.0), Some(12.5));
        assert_eq!(parse_number("101", 100.0), None);
        assert_eq!(parse_number("0", 100.0), Some(0.0));
    }

    #[test]
    fn an_answer_without_a_status_says_nothing() {
        assert_eq!(read(&variables(&[("battery.charge", "100")])), None);
    }

    #[test]
    fn a_dead_upsd_is_asked_again_soon_and_never_slower_than_the_cadence_or_the_limit() {
        let poll = Duration::from_secs(10);
        assert_eq!(backoff(poll, 0), None);
        assert_eq!(backoff(poll, 1), Some(Duration::from_millis(500)));
        assert_eq!(backoff(poll, 30), Some(BACKOFF_MAX));
        assert_eq!(backoff(Duration::from_secs(2), 30), Some(Duration::from_secs(2)));
    }
}
