//! The scenarios that hecate brings along: the files of `tests/scenarios`.
//!
//! Pure. A test compares this list with the folder.

/// A scenario's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuiltIn {
    /// Its name, without `.yaml`.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
}

macro_rules! files {
    ($($name:literal,)*) => {
        &[$(BuiltIn { name: $name, text: include_str!(concat!("../../../tests/scenarios/", $name, ".yaml")) },)*]
    };
}

/// All of them, in the order of their names.
pub const BUILT_IN: &[BuiltIn] = files![
    "aged-battery-that-tops-out-at-45",
    "alarm-of-economy-mode",
    "bare-ob-of-a-failing-driver",
    "budget-that-never-allows",
    "bypass-while-an-override-stands",
    "calibration-flag-that-stuck",
    "calibration-shuts-nothing-down",
    "calibration-that-falls-silent-for-good",
    "charge-jumps-where-hecate-sees-it",
    "charge-of-0-all-along",
    "charge-stuck-at-100-without-a-runtime",
    "charge-that-reads-100-at-once",
    "clock-of-1970",
    "crash-loop-on-a-full-disk",
    "crash-loop-on-a-low-battery",
    "drain-that-fails-is-tried-again-soon",
    "etcd-is-stopped-before-the-battery-ends",
    "everybody-is-cordoned-first",
    "first-server-is-away-at-a-cold-start",
    "flags-of-a-wish-outlive-an-outage",
    "flicker-then-silence-before-the-trigger",
    "flicker-then-silence-in-a-descent",
    "forced-flag-all-along",
    "forced-shutdown-typed-on-mains",
    "four-seconds-without-a-word-on-battery",
    "gate-of-the-hecate-hosts-ups",
    "hecate-host-on-the-second-ups",
    "host-that-hangs-in-its-power-off",
    "leader-goes-last",
    "load-is-cut-at-the-end",
    "low-battery-flashed-at-mains-loss",
    "low-battery-on-mains",
    "low-battery-waits-for-its-limit",
    "low-battery-while-the-hecate-host-waits",
    "mains-back-before-the-load-was-cut",
    "mains-back-for-a-moment",
    "mains-back-in-the-middle-of-a-drain",
    "next-outage-counts-as-the-first-did",
    "no-load-is-cut-under-a-host-that-is-on",
    "no-quorum-no-drain",
    "nonsense-probe-in-an-emergency",
    "off-for-three-days",
    "off-of-one-ups-is-nothing-to-the-other",
    "on-battery-without-a-charge",
    "one-missed-poll-after-mains-return",
    "one-noisy-reading-after-a-restart",
    "one-place-takes-everybody-down",
    "one-second-outage",
    "one-ups-of-two-and-the-hecate-host",
    "overload-and-no-word",
    "part-that-went-dark-comes-back",
    "pause-that-was-over-and-a-clock-that-begins-anew",
    "pods-made-anew-are-not-waited-for",
    "power-off-waits-for-what-it-sees",
    "real-outage-with-a-bare-ob",
    "runtime-four-times-too-long",
    "runtime-of-0-and-the-recharge-gate",
    "runtime-of-0-while-healthy",
    "runtime-of-65535",
    "runtime-that-counts-up",
    "runtime-that-jumps-on-mains",
    "runtime-that-rises-as-load-is-shed",
    "sag-of-the-first-minute",
    "second-outage-begins-anew",
    "self-test-that-says-off-for-seconds",
    "servers-start-together",
    "shutdown-that-is-stuck-can-be-forced",
    "silence-after-a-blink",
    "small-battery-and-a-short-outage",
    "small-battery-and-a-stopped-agent",
    "stale-data-in-a-calibration",
    "start-on-the-word-of-another-ups",
    "storage-engines-stay-with-their-node",
    "strict-clocks-with-a-dead-wan",
    "switch-that-comes-back-late",
    "two-upses-of-which-one-returns-first",
    "ups-that-gives-power-back-without-mains",
    "ups-that-says-on-battery-for-ever",
    "upsd-on-a-node-that-was-powered-off",
    "volumes-are-detached-first",
    "waking-that-never-works",
    "watcher-stays-up",
    "who-was-up-survives-a-restart",
    "whole-cluster-goes-down-in-order",
    "woken-until-seen",
    "woken-until-seen-after-a-long-recharge",
    "word-lost-with-a-calibration-flag-on-mains",
    "words-said-twice",
    "worn-battery-with-a-standing-lb",
];

/// One of them.
pub fn find(name: &str) -> Option<BuiltIn> {
    BUILT_IN.iter().find(|one| one.name == name).copied()
}
