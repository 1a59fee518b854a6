//! What upsd says of a UPS: its words, its figures, and which device it is.
//!
//! Pure data.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::seconds_option;

/// What a UPS says of the command that cuts its load. Only for warnings and refusals: it never makes anything happen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoadCutReading {
    /// Whether `LIST CMD` names the command; None while nobody could be asked.
    pub is_known: Option<bool>,
    /// `ups.delay.shutdown`.
    #[serde(with = "seconds_option")]
    #[schemars(with = "Option<f64>")]
    pub delay: Option<Duration>,
    /// Why upsd will take no command from hecate, as far as that is known: no password, or one that it refuses.
    #[serde(default)]
    pub login: Option<String>,
}

/// What upsd says of one UPS (NUT developer guide, "Variable names").
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpsReading {
    /// `ups.status`, split at blanks.
    pub status: UpsStatus,
    /// `battery.charge`, percent.
    pub charge_percent: Option<f64>,
    /// `battery.runtime`, the UPS' own estimate.
    #[serde(with = "seconds_option")]
    #[schemars(with = "Option<f64>")]
    pub runtime: Option<Duration>,
    /// `ups.load`, percent of nominal.
    pub load_percent: Option<f64>,
    /// How often its driver reads its figures, see [`driver_interval`].
    #[serde(with = "seconds_option")]
    #[schemars(with = "Option<f64>")]
    pub driver_interval: Option<Duration>,
    /// `device.model` or `ups.model`, for people.
    pub model: Option<String>,
    /// `battery.charge.low`, percent: where the UPS itself says LB.
    #[serde(default)]
    pub charge_low_percent: Option<f64>,
    /// What tells it from another device.
    #[serde(default)]
    pub device: DeviceId,
}

/// How often a driver reads its figures, by `driver.name`, `driver.parameter.pollfreq` and `driver.parameter.pollinterval`:
/// usbhid-ups reads its slow variables, the runtime among them, each pollfreq only. So does snmp-ups all that it tells, in the first
/// poll after that time, and it never says that its default is 30 s (drivers/snmp-ups.h `DEFAULT_POLLFREQ`).
pub fn driver_interval(
    driver: Option<&str>,
    pollfreq: Option<Duration>,
    pollinterval: Option<Duration>,
) -> Option<Duration> {
    if !driver.is_some_and(is_snmp) {
        return pollfreq.or(pollinterval);
    }
    let poll = pollinterval.unwrap_or(POLLINTERVAL).max(Duration::from_secs(1));
    let freq = pollfreq.unwrap_or(SNMP_POLLFREQ);
    let polls = freq.as_secs() / poll.as_secs().max(1) + 1;
    Some(poll.saturating_mul(u32::try_from(polls).unwrap_or(u32::MAX)))
}

/// The poll of a driver that does not tell it (docs/man/ups.conf.txt `pollinterval`).
const POLLINTERVAL: Duration = Duration::from_secs(2);
const SNMP_POLLFREQ: Duration = Duration::from_secs(30);

fn a_little_later(interval: Duration) -> Duration {
    interval + interval / 4
}

fn is_snmp(driver: &str) -> bool {
    driver.starts_with("snmp-ups")
}

impl UpsReading {
    /// How often its driver reads the words of its status: most do so at each poll, and snmp-ups with all the rest
    /// (drivers/snmp-ups.c `upsdrv_updateinfo`).
    pub fn words_interval(&self) -> Duration {
        let is_slow = self.device.driver.as_deref().is_some_and(is_snmp);
        self.driver_interval.filter(|_| is_slow).unwrap_or_default()
    }

    /// After so long a driver has read its figures anew.
    pub fn figures_after(&self) -> Duration {
        a_little_later(self.driver_interval.unwrap_or_default())
    }

    /// What stands for so long is no odd answer, where that is what the debounce asks for: it was read more than once.
    pub fn doubt(&self, debounce: Duration) -> Duration {
        debounce.max(a_little_later(self.words_interval()))
    }
}

/// What a UPS says of which device it is. A part that is missing contradicts nothing: drivers lose a serial number that they
/// cannot read for a while.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DeviceId {
    /// `device.serial` or `ups.serial`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// `device.model` or `ups.model`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// `battery.date` or `battery.mfr.date`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub battery_date: Option<String>,
    /// `driver.name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
}

impl DeviceId {
    /// Whether this is another device than that one. A serial number that both tell decides alone; without one the model, the
    /// battery's date and the driver do.
    pub fn contradicts(&self, other: &Self) -> bool {
        let differs = |one: &Option<String>, other: &Option<String>| one.is_some() && other.is_some() && one != other;
        match (&self.serial, &other.serial) {
            (Some(one), Some(other)) => one != other,
            (None, None) => {
                differs(&self.model, &other.model)
                    || differs(&self.battery_date, &other.battery_date)
                    || differs(&self.driver, &other.driver)
            }
            (Some(_), None) | (None, Some(_)) => differs(&self.model, &other.model),
        }
    }

    /// Takes over what this one says and what was not known.
    pub fn complete(&mut self, said: &Self) {
        let take = |known: &mut Option<String>, said: &Option<String>| {
            if said.is_some() {
                known.clone_from(said);
            }
        };
        take(&mut self.serial, &said.serial);
        take(&mut self.model, &said.model);
        take(&mut self.battery_date, &said.battery_date);
        take(&mut self.driver, &said.driver);
    }
}

/// The words of `ups.status` (NUT `docs/new-drivers.txt`, "Status data"). Words may repeat or be unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UpsStatus {
    /// The words that NUT documents.
    #[schemars(with = "BTreeSet<UpsWord>")]
    pub words: UpsWords,
    /// All other words, as they came.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unknown: BTreeSet<String>,
}

/// The documented words of `ups.status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum UpsWord {
    /// On line.
    Ol,
    /// On battery.
    Ob,
    /// Low battery.
    Lb,
    /// High battery.
    Hb,
    /// Battery needs to be replaced.
    Rb,
    /// Charging.
    Chrg,
    /// Discharging.
    Dischrg,
    /// Bypass: no battery protection.
    Bypass,
    /// Runtime calibration, on battery on purpose.
    Cal,
    /// The UPS' output is off.
    Off,
    /// Overloaded.
    Over,
    /// Trimming incoming voltage.
    Trim,
    /// Boosting incoming voltage.
    Boost,
    /// Forced shutdown, set by a NUT primary; upsd latches it.
    Fsd,
    /// An alarm stands in `ups.alarm`.
    Alarm,
    /// The driver has no data yet; nothing may be inferred.
    Wait,
    /// Economy mode.
    Eco,
    /// The driver is testing the UPS.
    Test,
    /// Communication with the UPS is lost, says the driver.
    Comm,
    /// No communication with the UPS, says the driver.
    Nocomm,
    /// Too hot (belkinunv, ever-hid, microsol).
    Overheat,
    /// A test goes on (masterguard).
    Tip,
    /// About to shut down (masterguard).
    Sd,
    /// The battery is empty (belkinunv).
    Depleted,
    /// A fault of the UPS itself, whatever its name says (belkinunv).
    Commfault,
    /// In bypass (metasys).
    By,
    /// No utility power, also during a test or with the load off (belkinunv).
    Acfail,
    /// High efficiency, an economy mode.
    He,
}

impl UpsWord {
    /// All words with their spelling on the wire.
    pub const ALL: [(UpsWord, &'static str); 28] = [
        (UpsWord::Ol, "OL"),
        (UpsWord::Ob, "OB"),
        (UpsWord::Lb, "LB"),
        (UpsWord::Hb, "HB"),
        (UpsWord::Rb, "RB"),
        (UpsWord::Chrg, "CHRG"),
        (UpsWord::Dischrg, "DISCHRG"),
        (UpsWord::Bypass, "BYPASS"),
        (UpsWord::Cal, "CAL"),
        (UpsWord::Off, "OFF"),
        (UpsWord::Over, "OVER"),
        (UpsWord::Trim, "TRIM"),
        (UpsWord::Boost, "BOOST"),
        (UpsWord::Fsd, "FSD"),
        (UpsWord::Alarm, "ALARM"),
        (UpsWord::Wait, "WAIT"),
        (UpsWord::Eco, "ECO"),
        (UpsWord::Test, "TEST"),
        (UpsWord::Comm, "COMM"),
        (UpsWord::Nocomm, "NOCOMM"),
        (UpsWord::Overheat, "OVERHEAT"),
        (UpsWord::Tip, "TIP"),
        (UpsWord::Sd, "SD"),
        (UpsWord::Depleted, "DEPLETED"),
        (UpsWord::Commfault, "COMMFAULT"),
        (UpsWord::By, "BY"),
        (UpsWord::Acfail, "ACFAIL"),
        (UpsWord::He, "HE"),
    ];

    /// How it is spelled on the wire.
    pub fn spelling(self) -> &'static str {
        Self::ALL.iter().find(|(word, _)| *word == self).map_or("", |(_, spelling)| spelling)
    }
}

/// A set of words, a bit each: a policy looks at a hundred polls a pass, and asks each of them for many words.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "BTreeSet<UpsWord>", into = "BTreeSet<UpsWord>")]
pub struct UpsWords(u32);

impl UpsWords {
    /// The set of these words.
    pub const fn of(words: &[UpsWord]) -> Self {
        let (mut bits, mut at) = (0, 0);
        while at < words.len() {
            bits |= Self::bit(words[at]);
            at += 1;
        }
        Self(bits)
    }

    const fn bit(word: UpsWord) -> u32 {
        1 << word as u32
    }

    /// Whether this word is one of them.
    pub const fn contains(self, word: UpsWord) -> bool {
        self.0 & Self::bit(word) != 0
    }

    /// Whether all of those are among them.
    pub const fn contains_all(self, those: Self) -> bool {
        self.0 & those.0 == those.0
    }

    /// Whether none of those is among them.
    pub const fn is_disjoint(self, those: Self) -> bool {
        self.0 & those.0 == 0
    }

    /// Adds a word.
    pub fn insert(&mut self, word: UpsWord) {
        self.0 |= Self::bit(word);
    }

    /// Takes a word away.
    pub fn remove(&mut self, word: UpsWord) {
        self.0 &= !Self::bit(word);
    }

    /// The words, in the order of [`UpsWord`].
    pub fn iter(self) -> impl Iterator<Item = UpsWord> {
        UpsWord::ALL.into_iter().map(|(word, _)| word).filter(move |word| self.contains(*word))
    }
}

impl From<BTreeSet<UpsWord>> for UpsWords {
    fn from(words: BTreeSet<UpsWord>) -> Self {
        words.into_iter().fold(Self::default(), |mut all, word| {
            all.insert(word);
            all
        })
    }
}

impl From<UpsWords> for BTreeSet<UpsWord> {
    fn from(words: UpsWords) -> Self {
        words.iter().collect()
    }
}

impl fmt::Debug for UpsWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl UpsStatus {
    /// Splits the text of `ups.status`; repeated words count once, unknown ones are kept apart.
    pub fn parse(text: &str) -> Self {
        let mut status = Self::default();
        for token in text.split_whitespace() {
            match UpsWord::ALL.iter().find(|(_, spelling)| *spelling == token) {
                Some((word, _)) => status.words.insert(*word),
                None => _ = status.unknown.insert(token.to_owned()),
            }
        }
        status
    }

    /// Whether a word stands in the status.
    pub fn has(&self, word: UpsWord) -> bool {
        self.words.contains(word)
    }

    /// The status as it would be with a word.
    pub fn with(&self, word: UpsWord) -> Self {
        let mut status = self.clone();
        status.words.insert(word);
        status
    }

    /// The status as it would be without a word.
    pub fn without(&self, word: UpsWord) -> Self {
        let mut status = self.clone();
        status.words.remove(word);
        status
    }
}

impl fmt::Display for UpsStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = UpsWord::ALL.iter().filter(|(word, _)| self.has(*word)).map(|(_, spelling)| *spelling);
        let words: Vec<&str> = known.chain(self.unknown.iter().map(String::as_str)).collect();
        f.pad(&words.join(" "))
    }
}
