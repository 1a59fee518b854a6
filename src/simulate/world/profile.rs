//! How real UPSes speak: one row a device of a public library of dumps.
//!
//! Pure. A row is a moment in the life of a device, mostly on mains; what it means for other moments is said here.

use std::sync::LazyLock;

/// The rows: supply, words beside it, charge, runtime, load, charge.low, pollfreq, driver.
const TEXT: &str = include_str!("../profiles.tsv");

static PROFILES: LazyLock<Vec<Profile>> =
    LazyLock::new(|| TEXT.lines().filter(|line| !line.starts_with('#')).filter_map(Profile::parse).collect());

/// A runtime that no battery gives: 65535 and what lies beyond mean that nothing is known.
const RUNTIME_MAX: f64 = 65_535.0;

/// What one device says.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Whether it was on battery when it was dumped.
    pub was_on_battery: bool,
    /// The words that it said beside OL or OB.
    pub words: Vec<String>,
    /// `battery.charge`.
    pub charge: Option<f64>,
    /// `battery.runtime`.
    pub runtime: Option<f64>,
    /// `ups.load`.
    pub load: Option<f64>,
    /// `battery.charge.low`.
    pub charge_low: Option<f64>,
    /// `driver.parameter.pollfreq`: figures are read so seldom, in seconds.
    pub pollfreq: Option<u64>,
    /// `driver.name`.
    pub driver: String,
}

impl Profile {
    /// All of them.
    pub fn all() -> &'static [Profile] {
        &PROFILES
    }

    /// The profile of this row, counted from 0; the rows go round.
    pub fn row(number: usize) -> Option<&'static Profile> {
        PROFILES.get(number % PROFILES.len().max(1))
    }

    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split('\t');
        let supply = fields.next()?;
        let words = fields.next()?;
        let mut number = || fields.next().map(|text| text.parse::<f64>().ok());
        let (charge, runtime, load, charge_low, pollfreq) = (number()?, number()?, number()?, number()?, number()?);
        Some(Self {
            was_on_battery: supply == "OB",
            words: words.split(' ').filter(|word| *word != "-").map(str::to_owned).collect(),
            charge,
            runtime,
            load,
            charge_low,
            pollfreq: pollfreq.filter(|seconds| *seconds >= 1.0).map(|seconds| seconds as u64),
            driver: fields.next()?.to_owned(),
        })
    }

    /// The words that it says all the time, on this supply. What a UPS does with its mains ends with them; what it says of
    /// its battery and of itself does not.
    pub fn standing(&self, on_battery: bool) -> impl Iterator<Item = &str> {
        let is_of_mains = |word: &str| ["BYPASS", "TRIM", "BOOST", "CAL", "CHRG", "HE", "DISCHRG"].contains(&word);
        let words = self.words.iter().map(String::as_str);
        words.filter(move |word| !(on_battery && is_of_mains(word)) && (*word != "CHRG" || self.says_charging()))
    }

    /// Whether it says that it charges although it is full.
    fn says_charging(&self) -> bool {
        self.words.iter().any(|word| word == "CHRG") && self.charge.is_none_or(|charge| charge >= 100.0)
    }

    /// Whether it says a word about its battery that may be true or not.
    pub fn has_battery_word(&self) -> bool {
        self.words.iter().any(|word| word == "LB" || word == "RB")
    }

    /// What it says of a battery that holds this share, 0 to 1. It may say 45 % of a full one, 0, or 255.
    pub(super) fn charge(&self, share: f64) -> Option<f64> {
        let said = self.charge?;
        let was_full = !self.was_on_battery && !self.words.iter().any(|word| word == "CHRG");
        if said <= 0.0 || said == 255.0 {
            return Some(said);
        }
        Some(if was_full || said > 100.0 { share * said } else { share * 100.0 }.round())
    }

    /// What it says of its runtime, whatever that is.
    pub(super) fn fixed_runtime(&self) -> Option<u64> {
        let said = self.runtime?;
        (said <= 0.0 || said >= RUNTIME_MAX).then_some(said.max(0.0) as u64)
    }

    /// Whether its charge is made of the voltage, as the drivers of simple serial protocols do it.
    pub fn guesses_charge(&self) -> bool {
        let drivers = ["blazer", "nutdrv_qx", "megatec", "fentonups", "mustek", "bestups", "richcomm"];
        self.runtime.is_none() && drivers.iter().any(|driver| self.driver.starts_with(driver))
    }
}
