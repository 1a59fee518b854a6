//! What the model found in hecate and goes on in spite of, each with its shortest story.
//!
//! A hole is tolerated only as narrowly as its story; `main.rs` shows that each is still there, and fails when it is closed,
//! so that its exception goes with it.

use hecate::model::ClusterState;
use hecate::plan::step::Target;

use super::hecate::Fate;
use super::rules::{ONCE, Rule, UNDRAINED};
use super::single::Happens::{self, *};

/// A known hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hole {
    /// Mains fail, and the emergency path stops every k3s without a drain; mains are back before any host is told to power
    /// off, and the operator's wish is `poweroff`. The API can no longer be asked, every unit is stopped, so
    /// `drain_unseen` says that nothing runs: the graceful path powers hosts off whose containers run on.
    StoppedUndrained,
    /// Mains fail, an override takes the graceful path, and no API server can be asked. `drain_unseen` skips the drain after
    /// its limit, but does not begin `Phase::DrainShed` as `drain_node` does: hosts are powered off with their pods by a
    /// step that calls itself graceful, and the ledger and the run say so too.
    ShedUnseen,
    /// A declared power-off has come to the hecate host itself while the disk is full; then mains fail. On battery the last
    /// step no longer waits for the disk, so nothing says after the boot that the wish was carried out: everything that is
    /// on by then is powered off once more.
    FulfilledUnwritten,
    /// A declared power-off was carried out, and somebody switched the hecate host on: it stays up, as it must. Then mains
    /// fail, the override powers the hecate host off, that step fails, and mains are back. `ledger.own_power_off` is of this
    /// boot now, so `is_spent` no longer knows that the wish is history, and it is carried out once more.
    FulfilledOverwritten,
    /// One host drains the cluster for its operator's `drained-off`, and says so. The other one, whose wish is `running`, sees
    /// nodes that are Ready and carry hecate's mark, and takes the cordons back: no start needs a guard, and no guard asks
    /// `uncordon`. Evicted pods return; the two undo each other until the drain's limit.
    UncordonsTheOthers,
}

/// The shortest stories of one hecate host, with the rule that each breaks.
pub(crate) fn stories() -> [(Hole, Rule, Vec<Happens>); 4] {
    let ticks = |count| vec![Tick; count];
    [
        (
            Hole::StoppedUndrained,
            UNDRAINED,
            [
                vec![MainsLost, Tick, ApiGone],
                ticks(5),
                vec![MainsBack],
                ticks(3),
                vec![Wish(ClusterState::Poweroff), Tick],
            ]
            .concat(),
        ),
        (Hole::ShedUnseen, UNDRAINED, [vec![MainsLost, Tick, ApiGone], ticks(4)].concat()),
        (
            Hole::FulfilledUnwritten,
            ONCE,
            [
                vec![Wish(ClusterState::Poweroff)],
                ticks(8),
                vec![DiskFull, Tick, MainsLost, Tick, Tick, MainsBack, Tick, OwnSwitchedOn, DiskWorks, Tick, Tick],
            ]
            .concat(),
        ),
        (
            Hole::FulfilledOverwritten,
            ONCE,
            [
                vec![Wish(ClusterState::Poweroff)],
                ticks(11),
                vec![OwnSwitchedOn, MainsLost, Tick, Tick, MainsBack, Step(Target::OwnHost, Fate::Lost)],
                ticks(3),
            ]
            .concat(),
        ),
    ]
}
