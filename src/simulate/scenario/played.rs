//! Plays a scenario and judges it: its own claims, and every invariant of [`Watch`].
//!
//! Pure.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::claim::Claim;
use super::seen::Seen;
use super::{Play, Scenario, ScriptError};
use crate::model::seconds;
use crate::simulate::Twice;
use crate::simulate::checks::{Finding, Watch};
use crate::simulate::story::{StoryKind, StoryLine};

/// How a scenario went.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Played {
    /// What is claimed.
    pub about: String,
    /// The reports it stands for.
    pub incidents: Vec<String>,
    /// The act that would be the failure.
    pub wrong: String,
    /// What happened, from the moment at which the cluster was converged.
    pub timeline: Vec<StoryLine>,
    /// The scenario's claims, each judged.
    pub assertions: Vec<Assertion>,
    /// Rules that every play must keep and this one broke.
    pub findings: Vec<Finding>,
    /// Virtual time that was played.
    #[serde(with = "seconds")]
    pub played: Duration,
}

/// A claim, judged.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Assertion {
    /// How it was meant.
    pub manner: Manner,
    /// What was claimed.
    pub claim: String,
    /// Whether it holds.
    pub holds: bool,
    /// When it came true, with what showed it; or what was the case instead at the end of its time.
    pub evidence: Option<String>,
}

/// How a claim is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Manner {
    /// It must not come true.
    Never,
    /// It must come true at least once.
    Must,
}

impl Played {
    /// Whether every claim holds and no rule was broken.
    pub fn is_good(&self) -> bool {
        self.findings.is_empty() && self.assertions.iter().all(|it| it.holds)
    }

    /// The verdict in one line a claim, without the timeline.
    pub fn verdict(&self) -> String {
        let assertions = self.assertions.iter().map(|it| format!("{it}\n"));
        let findings = self.findings.iter().map(|it| format!("broken  {}: {}\n", it.rule, it.evidence));
        assertions.chain(findings).collect()
    }
}

/// A claim that is followed through a play.
struct Followed<'a> {
    manner: Manner,
    claim: &'a Claim,
    seen: Option<(Duration, String)>,
    has_turned: bool,
    standing: String,
}

/// Plays it to its end.
pub(super) fn play(scenario: &Scenario, mut play: Play<'_>) -> Result<Played, ScriptError> {
    let began = play.simulation.world.time;
    let told = play.simulation.story.lines.len();
    play.simulation.decides_twice = Some(Twice::every(1));
    let mut watch = Watch::new(&play.simulation);
    let follow = |manner| {
        move |claim| Followed {
            manner,
            claim,
            seen: None,
            has_turned: false,
            standing: "the play ended before".to_owned(),
        }
    };
    let never = scenario.never.iter().map(follow(Manner::Never));
    let mut followed: Vec<Followed<'_>> = never.chain(scenario.must.iter().map(follow(Manner::Must))).collect();
    while !play.is_over() {
        let (happened, simulation) = play.tick();
        happened.iter().for_each(|it| watch.note(&it.event, simulation));
        watch.look(simulation);
        let at = simulation.world.time - began;
        let seen = Seen(simulation);
        followed.iter_mut().filter(|it| it.seen.is_none()).for_each(|it| it.look(at, &seen));
    }
    let lines = play.simulation.story.lines.split_off(told);
    let since = |line: StoryLine| StoryLine { at: line.at.saturating_sub(began), ..line };
    Ok(Played {
        about: scenario.about.clone(),
        incidents: scenario.incidents.clone(),
        wrong: scenario.wrong.clone(),
        timeline: lines.into_iter().filter(is_worth_a_line).map(since).collect(),
        assertions: followed.into_iter().map(Followed::judged).collect(),
        findings: watch.findings().to_vec(),
        played: play.elapsed(),
    })
}

/// A step that ended as it should is seen in what comes next.
fn is_worth_a_line(line: &StoryLine) -> bool {
    line.kind != StoryKind::End || !line.text.contains(": tried, ")
}

impl Followed<'_> {
    fn look(&mut self, at: Duration, seen: &Seen<'_>) {
        self.has_turned |= self.claim.turns_before_a_pass() && self.claim.turns(seen);
        if let Some(evidence) = self.claim.holds(at, self.has_turned, seen) {
            self.seen = Some((at, evidence));
        } else if self.manner == Manner::Must && self.claim.is_open(at) {
            self.standing = seen.standing();
        }
        self.has_turned |= self.claim.turns(seen);
    }

    fn judged(self) -> Assertion {
        let holds = self.seen.is_some() == (self.manner == Manner::Must);
        let evidence = match (&self.seen, self.manner) {
            (Some((at, evidence)), _) => Some(format!("{}: {evidence}", clock(*at))),
            (None, Manner::Must) => Some(format!("not seen; at last {}", self.standing)),
            (None, Manner::Never) => None,
        };
        Assertion { manner: self.manner, claim: self.claim.text.clone(), holds, evidence }
    }
}

fn clock(at: Duration) -> String {
    let seconds = at.as_secs();
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

impl fmt::Display for Assertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let manner = match self.manner {
            Manner::Never => "never",
            Manner::Must => "must",
        };
        let verdict = if self.holds { "holds" } else { "BROKEN" };
        write!(f, "{verdict:<6}  {manner:<5} {}", self.claim)?;
        match &self.evidence {
            Some(evidence) => write!(f, "  ({evidence})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Played {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.timeline.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        write!(f, "\n{}", self.verdict())
    }
}
