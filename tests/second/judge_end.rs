//! The judge of the end: a day of mains later everything runs, or a person is asked by name.

use super::host::{Power, UnitIs};
use super::judge::Rule;
use super::site::Firmware;
use super::world::World;

/// Blockers and warnings of README.md whose "what to do" is an act of a person.
const PERSON: [&str; 16] = [
    "recharge-too-slow",
    "wish-not-trusted",
    "paused",
    "node-paused",
    "wrong-host",
    "time-not-synced",
    "access-denied",
    "node-unreachable",
    "host-off",
    "unit-not-found",
    "node-not-ready",
    "ledger-unreadable",
    "node-absent",
    "wake-without-effect",
    "load-not-cut",
    "drift",
];

impl World {
    /// The play is over, or the day is.
    pub(crate) fn judge_end(&mut self) {
        self.judge.ask(Rule::DarkForEver);
        if self.now < self.site.calm_from + 24.0 * 3600.0 {
            return;
        }
        if self.life.is_none() {
            return self.judge_own_dark();
        }
        let late: Vec<usize> = self.site.nodes().filter(|host| !self.runs(*host)).collect();
        let is_away = |host: usize| self.hosts[host].is_hung || self.hosts[host].power == Power::Off;
        let servers = self.site.nodes().filter(|host| self.site.hosts[*host].is_server()).count();
        let away = late.iter().filter(|host| self.site.hosts[**host].is_server() && is_away(**host)).count();
        let has_no_quorum = servers - away <= servers / 2;
        let late: Vec<(usize, bool)> = late.into_iter().map(|host| (host, is_away(host))).collect();
        for (host, is_away) in late {
            if has_no_quorum && !is_away {
                let cause = "etcd's quorum waits for hosts that are away";
                self.judge.excuse(self.now, Rule::DarkForEver, cause);
            } else {
                self.judge_dark(host);
            }
        }
    }

    /// The hecate host is gone for good.
    fn judge_own_dark(&mut self) {
        let own = self.site.own;
        let (spec, host) = (&self.site.hosts[own], &self.hosts[own]);
        let cause = if host.is_hung {
            "the hecate host hangs"
        } else if host.told_at.is_some() && !host.lost_power {
            match spec.feeds.iter().any(|ups| self.site.upses[*ups].cut_delay.is_some()) {
                true => "the hecate host went off, its power never went although its load could have been cut",
                false => "the hecate host went off and its power never went",
            }
        } else if spec.firmware == Firmware::AlwaysOn {
            let how = format!("the hecate host is {:?} although it boots with its power", host.power);
            return self.judge.break_rule(self.now, Rule::DarkForEver, how);
        } else {
            "the hecate host's firmware keeps it off"
        };
        self.judge.excuse(self.now, Rule::DarkForEver, cause);
    }

    /// Whether only a person can bring a host.
    fn is_lost(&self, number: usize) -> bool {
        let (spec, host) = (&self.site.hosts[number], &self.hosts[number]);
        host.is_hung || host.power == Power::Off && spec.wake != Some(true)
    }

    fn judge_dark(&mut self, number: usize) {
        let (spec, host, now) = (&self.site.hosts[number], &self.hosts[number], self.now);
        let Some(life) = &self.life else { return };
        let told = life.told.lines();
        let is_about = |text: &&String| {
            let kind = text.split(':').next().unwrap_or_default();
            PERSON.contains(&kind) && (text.contains(&spec.name) || kind == "recharge-too-slow")
        };
        let drift = told.iter().find(|text| text.starts_with("drift:") && text.contains(&spec.name));
        let asked = drift.or(told.iter().find(is_about)).and_then(|text| text.split(':').next()).map(str::to_owned);
        let is_lost = self.is_lost(number);
        let what = match (host.power, host.unit) {
            _ if host.is_hung => "hangs",
            (Power::Off, _) if spec.wake == Some(true) => "is off and can be woken",
            (Power::Off, _) => "is off and cannot be woken",
            (Power::Up(_), UnitIs::Stopped) => "is up, its k3s is stopped",
            (Power::Up(_), UnitIs::Running) => "is up, its k3s runs, its node is not Ready or cordoned",
            (Power::Up(_) | Power::Booting(_) | Power::Closing { .. }, _) => "is on its way",
        };
        match asked {
            Some(kind) if is_lost || kind == "recharge-too-slow" || (kind == "drift" && self.site.reports_drift) => {
                self.judge.excuse(now, Rule::DarkForEver, &format!("a person is asked: {kind}"));
            }
            Some(kind) if host.power == Power::Off && ["node-unreachable", "node-absent"].contains(&kind.as_str()) => {
                let cause = format!("a person is asked, although waking might do: {kind}");
                self.judge.excuse(now, Rule::DarkForEver, &cause);
            }
            Some(_) | None => {
                let how = format!("{} {what}; {}", spec.name, told.join("; "));
                self.judge.break_rule(now, Rule::DarkForEver, how);
            }
        }
    }
}
