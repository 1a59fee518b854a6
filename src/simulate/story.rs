//! A run told as a timeline that a person can read.
//!
//! Pure. It tells changes only: a cluster that stays as it is makes no lines.

#![deny(clippy::disallowed_methods)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::decide::Decision;
use crate::desired::Cause;
use crate::desired::ups_policy::DeclaredChange;
use crate::model::{NodeName, seconds};
use crate::plan::Planned;
use crate::plan::step::{Outcome, Target};

/// What kind of thing a line tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoryKind {
    /// The world did something.
    World,
    /// The UPS policy changed an override.
    Override,
    /// Another state is obeyed.
    Effective,
    /// A step was started.
    Start,
    /// A step ended.
    End,
    /// Something is waited for.
    Wait,
    /// Something stands in the way.
    Blocker,
    /// Reality is as desired.
    Converged,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StoryLine {
    /// Virtual time, seconds.
    #[serde(with = "seconds")]
    pub at: Duration,
    /// What kind of thing.
    pub kind: StoryKind,
    /// What, in words.
    pub text: String,
}

/// The timeline.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Story {
    /// Its lines.
    pub lines: Vec<StoryLine>,
    running: BTreeMap<Target, (String, Duration)>,
    waits: BTreeSet<&'static str>,
    blockers: BTreeSet<&'static str>,
    obeyed: String,
    was_converged: bool,
}

impl Story {
    /// Adds a line.
    pub fn tell(&mut self, at: Duration, kind: StoryKind, text: String) {
        self.lines.push(StoryLine { at, kind, text });
    }

    /// Tells what a pass changed.
    pub fn decided(&mut self, at: Duration, decision: &Decision) {
        let effective = &decision.effective;
        let because = match effective.because() {
            Cause::Spec { set_by, .. } => format!("asked for by {set_by}"),
            Cause::Override { source, .. } => format!("{}, {source}", effective.path()),
        };
        let away: Vec<&str> = effective.nodes().union(effective.held_nodes()).map(NodeName::as_str).collect();
        let without = if away.is_empty() { String::new() } else { format!(" without {}", away.join(", ")) };
        let obeyed = format!("{}{without} ({because})", effective.state());
        if obeyed != self.obeyed {
            self.tell(at, StoryKind::Effective, format!("going for {obeyed}"));
            self.obeyed = obeyed;
        }
        let mut waits = BTreeSet::new();
        for wait in &decision.plan.waits {
            let name = wait.reason.name();
            if waits.insert(name) && !self.waits.contains(name) {
                let limit = wait.limit.map_or_else(String::new, |limit| format!(" (at most {} s)", limit.as_secs()));
                self.tell(at, StoryKind::Wait, format!("waits for {}{limit}", wait.reason));
            }
        }
        self.waits = waits;
        let mut blockers = BTreeSet::new();
        for blocker in &decision.plan.blockers {
            if blockers.insert(blocker.name()) && !self.blockers.contains(blocker.name()) {
                self.tell(at, StoryKind::Blocker, format!("blocked: {blocker}"));
            }
        }
        self.blockers = blockers;
        let is_converged = decision.plan.is_converged();
        if is_converged && !self.was_converged {
            self.tell(at, StoryKind::Converged, format!("converged: {}", effective.state()));
        }
        self.was_converged = is_converged;
    }

    /// Tells that a step was started.
    pub fn started(&mut self, at: Duration, planned: &Planned) {
        self.running.insert(planned.step.target(), (planned.step.to_string(), at));
        self.tell(at, StoryKind::Start, format!("{}: {}", planned.step, planned.because));
    }

    /// Tells that a step ended.
    pub fn ended(&mut self, at: Duration, target: &Target, outcome: &Outcome) {
        let Some((step, started)) = self.running.remove(target) else { return };
        let took = at.saturating_sub(started).as_secs();
        let text = match outcome {
            Outcome::Tried => format!("{step}: tried, {took} s"),
            Outcome::Refused { evidence } => format!("{step}: refused, {evidence}"),
            Outcome::OtherBoot { .. } => format!("{step}: refused, {}", Outcome::OTHER_BOOT),
            Outcome::Failed { why } => format!("{step}: failed after {took} s, {why}"),
            Outcome::DeadlinePassed => format!("{step}: its {took} s were up"),
            Outcome::Cancelled => format!("{step}: no longer waited for"),
        };
        self.tell(at, StoryKind::End, text);
    }

    /// Tells that the UPS policy changed an override.
    pub fn declared_changed(&mut self, at: Duration, change: &DeclaredChange) {
        let text = match change {
            DeclaredChange::Set(one) => format!("{} demands {} ({}): {}", one.source, one.state, one.path, one.reason),
            DeclaredChange::Clear { source, because } => format!("{source} is lifted: {because}"),
            DeclaredChange::DropHold(hold) => format!("the hold on {:?} is over", hold.what),
            DeclaredChange::DropForget(forget) => format!("what was learned of {} is forgotten", forget.ups),
        };
        self.tell(at, StoryKind::Override, text);
    }
}

impl fmt::Display for StoryLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.at.as_secs();
        let mark = match self.kind {
            StoryKind::World => "*",
            StoryKind::Override => "!",
            StoryKind::Effective => ">",
            StoryKind::Start => "+",
            StoryKind::End => "-",
            StoryKind::Wait => ".",
            StoryKind::Blocker => "#",
            StoryKind::Converged => "=",
        };
        write!(f, "{:02}:{:02}:{:02} {mark} {}", seconds / 3600, seconds / 60 % 60, seconds % 60, self.text)
    }
}
