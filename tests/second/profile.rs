//! What real UPSes say: 613 rows of public device dumps, one device a line.
//!
//! A row holds `ups.status`, `battery.charge`, `battery.runtime`, `ups.load`, `battery.charge.low` and
//! `driver.parameter.pollfreq` as the dump had them, with `|` between; what a device does not tell is empty.

/// The rows, as text.
const ROWS: &str = include_str!("profiles.txt");

/// One device.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    /// The words of `ups.status`, mostly on mains.
    pub(crate) words: Vec<&'static str>,
    /// `battery.charge`, percent.
    pub(crate) charge: Option<f64>,
    /// `battery.runtime`, seconds.
    pub(crate) runtime: Option<f64>,
    /// `ups.load`, percent.
    pub(crate) load: Option<f64>,
    /// `battery.charge.low`, percent.
    pub(crate) charge_low: Option<f64>,
    /// How often its driver refreshes the slow variables, seconds.
    pub(crate) pollfreq: Option<f64>,
}

impl Profile {
    /// Whether a word stood in the dump.
    pub(crate) fn says(&self, word: &str) -> bool {
        self.words.contains(&word)
    }
}

/// How many devices there are.
pub(crate) fn count() -> usize {
    ROWS.lines().count()
}

/// The device of this number.
pub(crate) fn nth(number: usize) -> Profile {
    let row = ROWS.lines().nth(number).unwrap_or_default();
    let mut cells = row.split('|');
    let mut cell = || cells.next().unwrap_or_default().trim();
    let words = cell().split_whitespace().collect();
    let mut figure = || cell().parse::<f64>().ok().filter(|value| value.is_finite());
    Profile {
        words,
        charge: figure(),
        runtime: figure(),
        load: figure(),
        charge_low: figure(),
        pollfreq: figure().filter(|seconds| *seconds >= 1.0),
    }
}

#[test]
fn every_row_is_a_device() {
    assert_eq!(count(), 613);
    let told = (0..count()).filter(|number| !nth(*number).words.is_empty()).count();
    assert!(told > 600, "{told} rows have a status");
}
