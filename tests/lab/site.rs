//! The site: everything that is done to it or read from it goes through the `lab` command.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::wait::{Look, seconds, until};

/// Hosts with k3s: servers first.
pub(crate) const NODES: [&str; 5] = ["cp-1", "cp-2", "cp-3", "worker-1", "worker-2"];
/// The servers.
pub(crate) const SERVERS: [&str; 3] = ["cp-1", "cp-2", "cp-3"];
/// The host hecate runs on.
pub(crate) const OWN_HOST: &str = "hecate";
/// What a full battery gives, in seconds.
pub(crate) const FULL_RUNTIME: u64 = 1800;
/// Longest time of an ordinary `lab` command; what hangs is ended.
const COMMAND_LIMIT: Duration = seconds(60);
/// The first build on a machine is Kubernetes'.
const BUILD_LIMIT: Duration = seconds(1500);
/// Longest time until a fresh cluster is ready.
const UP_LIMIT: Duration = seconds(240);

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Done {
    /// Exit code; 124 when it was ended at its limit.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
}

impl Done {
    /// The output, where the command succeeded.
    pub(crate) fn ok(self) -> Result<String> {
        ensure!(self.code == 0, "exit {}: {}{}", self.code, self.err.trim(), self.out.trim());
        Ok(self.out)
    }
}

/// The running site.
pub(crate) struct Site {
    /// 1 for the first; it stands before whatever is said of it.
    number: usize,
    script: PathBuf,
    /// `LAB` and `HECATE_LAB_NAME` of a site beside the first.
    place: Vec<(&'static str, String)>,
    is_kept: bool,
}

impl Site {
    /// What is built and installed once, before the first site.
    pub(crate) fn prepare() -> Result<()> {
        let site = Self::at(1);
        for command in ["deps", "build"] {
            site.run(&[command], "", BUILD_LIMIT)?.ok().with_context(|| format!("lab {command}"))?;
        }
        Ok(())
    }

    /// Where the site of this number is. The first is where `tests/lab/lab` finds it by itself.
    fn at(number: usize) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/lab");
        let variable = |name: &str, default: String| std::env::var(name).unwrap_or(default);
        let folder = variable("LAB", format!("{}/hecate-lab", std::env::temp_dir().display()));
        let name = variable("HECATE_LAB_NAME", "hecate-lab".to_owned());
        let beside = [("LAB", format!("{folder}-{number}")), ("HECATE_LAB_NAME", format!("{name}{number}"))];
        let place = if number == 1 { Vec::new() } else { beside.into() };
        Self { number, script, place, is_kept: std::env::var_os("LAB_KEEP").is_some() }
    }

    /// Brings a fresh site up and puts hecate on its host; leaves nothing behind where that fails.
    pub(crate) fn start(number: usize) -> Result<Self> {
        let site = Self::at(number);
        let is_there = site.is_kept && site.is_up();
        let made = if is_there { Ok(()) } else { site.up() };
        match made.and_then(|()| site.install()) {
            Ok(()) => Ok(site),
            Err(error) => {
                site.end();
                Err(error.context(format!("site {number}")))
            }
        }
    }

    fn is_up(&self) -> bool {
        NODES.iter().all(|node| self.state(node).is_ok_and(|state| state == "on"))
    }

    /// A fresh site, with hecate not yet on it.
    pub(crate) fn up(&self) -> Result<()> {
        self.run(&["up"], "", UP_LIMIT)?.ok().context("lab up")?;
        Ok(())
    }

    /// hecate, its unit and the lab's `hecate.yaml`.
    pub(crate) fn install(&self) -> Result<()> {
        let yaml = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/hecate.yaml");
        let yaml = yaml.to_str().context("the checkout's path is not UTF-8")?;
        self.lab(&["install-hecate", env!("CARGO_BIN_EXE_hecate"), yaml])?;
        self.on(OWN_HOST, "systemctl enable -q hecate")?;
        Ok(())
    }

    /// Ends it, unless it is to be kept.
    pub(crate) fn end(&self) {
        if !self.is_kept
            && let Err(error) = self.lab(&["down"])
        {
            self.say(&format!("lab down: {error:#}"));
        }
    }

    /// Says how far the test on this site is.
    pub(crate) fn say(&self, line: &str) {
        eprintln!("   site {}: {line}", self.number);
    }

    /// A `lab` command that must succeed; gives its output.
    pub(crate) fn lab(&self, arguments: &[&str]) -> Result<String> {
        self.run(arguments, "", COMMAND_LIMIT)?.ok().with_context(|| format!("lab {}", arguments.join(" ")))
    }

    /// A `lab` command, with standard input and a limit, whatever comes of it.
    pub(crate) fn run(&self, arguments: &[&str], input: &str, limit: Duration) -> Result<Done> {
        let mut child = Command::new("timeout")
            .args(["-k", "2", &limit.as_secs().to_string()])
            .arg(&self.script)
            .args(arguments)
            .envs(self.place.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start tests/lab/lab")?;
        if let Some(mut stdin) = child.stdin.take() {
            // A command that reads nothing may have closed it already.
            stdin.write_all(input.as_bytes()).ok();
        }
        let output = child.wait_with_output()?;
        Ok(Done {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// A shell line as root on a host; it must succeed.
    pub(crate) fn on(&self, host: &str, line: &str) -> Result<String> {
        self.lab(&["node", "exec", host, "sh", "-c", line])
    }

    /// A shell line as root on a host, whatever comes of it.
    pub(crate) fn try_on(&self, host: &str, line: &str) -> Result<Done> {
        self.run(&["node", "exec", host, "sh", "-c", line], "", COMMAND_LIMIT)
    }

    /// Puts a file on a host.
    pub(crate) fn put(&self, host: &str, path: &str, text: &str) -> Result<()> {
        let line = format!("mkdir -p \"$(dirname '{path}')\" && cat >'{path}'");
        self.run(&["node", "exec", host, "sh", "-c", &line], text, COMMAND_LIMIT)?.ok().context(path.to_owned())?;
        Ok(())
    }

    /// `on`, `off` or `frozen`.
    pub(crate) fn state(&self, host: &str) -> Result<String> {
        Ok(self.lab(&["node", "state", host])?.trim().to_owned())
    }

    /// Waits until a host's power is off.
    pub(crate) fn until_off(&self, host: &str, limit: Duration) -> Result<()> {
        until(&format!("{host} to be off"), limit, || {
            let state = self.state(host)?;
            Ok(if state == "off" { Look::Seen(()) } else { Look::NotYet(state) })
        })
    }

    /// Switches hosts on, as mains do that return.
    pub(crate) fn power_on(&self, hosts: &[&str]) -> Result<()> {
        for host in hosts {
            self.lab(&["node", "on", host])?;
        }
        for host in hosts {
            self.lab(&["wait", host, "30"])?;
        }
        Ok(())
    }

    /// `systemctl is-active` of a node's own k3s unit.
    pub(crate) fn unit_state(&self, node: &str) -> Result<String> {
        let done = self.try_on(node, &format!("systemctl is-active {}", unit(node)))?;
        Ok(done.out.trim().to_owned())
    }

    /// `kubectl` as the lab's administrator.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let mut all = vec!["kubectl", "--request-timeout=10s"];
        all.extend(arguments);
        self.lab(&all)
    }

    /// `kubectl get ... -o json`, its items.
    pub(crate) fn items(&self, arguments: &[&str]) -> Result<Vec<Value>> {
        let mut all = vec!["get", "-o", "json"];
        all.extend(arguments);
        let list: Value = serde_json::from_str(&self.kubectl(&all)?)?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    /// Makes or changes objects.
    pub(crate) fn apply(&self, manifest: &str) -> Result<()> {
        self.run(&["kubectl", "--request-timeout=10s", "apply", "-f", "-"], manifest, COMMAND_LIMIT)?.ok()?;
        Ok(())
    }

    /// The API servers' audit lines, oldest first; all users'.
    pub(crate) fn audit(&self) -> Result<Vec<Value>> {
        self.lab(&["audit"])?.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    /// What was run through sudo on a host, on or off.
    pub(crate) fn sudo_lines(&self, host: &str) -> Result<Vec<String>> {
        Ok(self.lab(&["sudolog", host])?.lines().map(str::to_owned).collect())
    }

    /// Sets variables of the UPS that feeds everything.
    pub(crate) fn ups(&self, variables: &[&str]) -> Result<()> {
        let mut all = vec!["ups", "set", "pyrphoros"];
        all.extend(variables);
        self.lab(&all)?;
        Ok(())
    }

    /// A variable of the UPS, as a number.
    pub(crate) fn ups_number(&self, variable: &str) -> Result<f64> {
        let text = self.lab(&["ups", "get", "pyrphoros", variable])?;
        text.trim().parse().with_context(|| format!("{variable} is {text:?}"))
    }

    /// Cuts the mains: on battery, with this runtime left, one second a second.
    pub(crate) fn cut_mains(&self, runtime: u64) -> Result<()> {
        self.ups(&["ups.status=OB DISCHRG", "battery.runtime.low=3"])?;
        self.lab(&["ups", "drain", "pyrphoros", &runtime.to_string()])?;
        Ok(())
    }

    /// Gives the mains back with a full battery.
    pub(crate) fn restore_mains(&self) -> Result<()> {
        self.ups(&["ups.status=OL CHRG", "battery.charge=100", &format!("battery.runtime={FULL_RUNTIME}")])
    }

    /// Everything that a person would ask for after a failure.
    pub(crate) fn diagnosis(&self) -> String {
        let mut text = String::new();
        let mut add = |title: &str, found: Result<String>| {
            let found = found.unwrap_or_else(|error| format!("{error:#}"));
            text.push_str(&format!("--- {title}\n{}\n", found.trim_end()));
        };
        let states: Vec<String> = NODES
            .iter()
            .chain(&[OWN_HOST])
            .map(|node| {
                let unit = self.unit_state(node).unwrap_or_default();
                format!("{node} {} {unit}", self.state(node).unwrap_or_else(|error| format!("{error:#}")))
            })
            .collect();
        add("hosts", Ok(states.join("\n")));
        add("ups", self.lab(&["ups", "get", "pyrphoros"]));
        add("hecate status", self.try_on(OWN_HOST, "hecate status 2>&1").map(|done| done.out));
        add("desired.yaml", self.lab(&["file", OWN_HOST, "/var/lib/hecate/desired.yaml"]));
        add("daemon", self.lab(&["journal", OWN_HOST, "-u", "hecate", "-n", "60", "-o", "cat"]));
        add("audit of hecate", self.audit().map(|lines| last_writes(&lines)));
        text
    }
}

/// The last requests of hecate that were not reads.
fn last_writes(lines: &[Value]) -> String {
    let writes = lines.iter().filter(|line| line["user"]["username"] == "hecate" && is_write(line));
    let mut text: Vec<String> = writes
        .map(|line| {
            let part = |pointer: &str| line.pointer(pointer).map(ToString::to_string).unwrap_or_default();
            format!(
                "{} {} {} {}",
                part("/requestReceivedTimestamp"),
                part("/verb"),
                part("/requestURI"),
                part("/responseStatus/code")
            )
        })
        .collect();
    text.split_off(text.len().saturating_sub(20)).join("\n")
}

/// Whether a request of the audit log changes anything.
pub(crate) fn is_write(line: &Value) -> bool {
    !matches!(line["verb"].as_str(), Some("get" | "list" | "watch"))
}

/// The k3s unit of a node.
pub(crate) fn unit(node: &str) -> &'static str {
    if node.starts_with("cp-") { "k3s" } else { "k3s-agent" }
}

/// Fails with the first error; for commands on several hosts.
pub(crate) fn each(hosts: &[&str], mut act: impl FnMut(&str) -> Result<()>) -> Result<()> {
    for host in hosts {
        if let Err(error) = act(host) {
            bail!("{host}: {error:#}");
        }
    }
    Ok(())
}
