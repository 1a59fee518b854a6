//! Stories that nearly break a rule: the narrowest ways to power off what runs, or to carry a wish out twice.
//!
//! They are longer than what is gone through breadth first with so many events, so each is played on its own.

use hecate::model::ClusterState;
use hecate::plan::step::Target;

use super::hecate::Fate;
use super::single::Happens::{self, *};

/// Each with what it is about.
pub(crate) fn all() -> [(&'static str, Vec<Happens>); 4] {
    let ticks = |count| vec![Tick; count];
    [
        (
            "k3s is stopped undrained on the emergency path; mains are back, and poweroff is wished",
            [
                vec![MainsLost, Tick, ApiGone],
                ticks(5),
                vec![MainsBack],
                ticks(3),
                vec![Wish(ClusterState::Poweroff), Tick],
            ]
            .concat(),
        ),
        ("no API server can be asked on the graceful path", [vec![MainsLost, Tick, ApiGone], ticks(4)].concat()),
        (
            "the disk is full when a wish comes to the hecate host itself, and mains fail",
            [
                vec![Wish(ClusterState::Poweroff)],
                ticks(8),
                vec![DiskFull, Tick, MainsLost, Tick, Tick, MainsBack, Tick, OwnSwitchedOn, DiskWorks, Tick, Tick],
            ]
            .concat(),
        ),
        (
            "a wish was carried out, and an outage powers the hecate host off in vain",
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
