//! What was done, counted from the API servers' audit log and the hosts' own records.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use serde_json::Value;

use crate::repair::Pod;
use crate::site::{NODES, SERVERS, Site, is_write};

/// Where the records stood at a moment; what came after is what a test did.
pub(crate) struct Mark {
    at: Timestamp,
    sudo_lines: BTreeMap<&'static str, usize>,
}

/// One granted eviction or deletion of a pod.
pub(crate) struct Evicted {
    pub(crate) pod: String,
    pub(crate) at: Timestamp,
}

impl Mark {
    /// Now.
    pub(crate) fn now(site: &Site) -> Result<Self> {
        let count = |node: &&'static str| Ok((*node, site.sudo_lines(node)?.len()));
        let sudo_lines = NODES.iter().map(count).collect::<Result<_>>()?;
        Ok(Self { at: Timestamp::now(), sudo_lines })
    }

    /// Audit lines since.
    pub(crate) fn audit(&self, site: &Site) -> Result<Vec<Value>> {
        let lines = site.audit()?;
        Ok(lines.into_iter().filter(|line| received(line).is_ok_and(|at| at >= self.at)).collect())
    }

    /// hecate's requests since that change anything.
    pub(crate) fn api_writes(&self, site: &Site) -> Result<Vec<String>> {
        let all = self.audit(site)?;
        let writes = all.iter().filter(|line| line["user"]["username"] == "hecate" && is_write(line));
        Ok(writes.map(|line| format!("{} {}", line["verb"], line["requestURI"])).collect())
    }

    /// What was run through sudo on a node since.
    pub(crate) fn sudo(&self, site: &Site, node: &str) -> Result<Vec<String>> {
        let before = self.sudo_lines.get(node).copied().unwrap_or_default();
        Ok(site.sudo_lines(node)?.split_off(before))
    }

    /// Commands through sudo on a node since that change anything: reading lists of snapshots and rights does not.
    pub(crate) fn sudo_changes(&self, site: &Site, node: &str) -> Result<Vec<String>> {
        let mut all = self.sudo(site, node)?;
        all.retain(|line| {
            line.contains("COMMAND=") && !line.contains("etcd-snapshot ls") && !line.contains("COMMAND=list")
        });
        Ok(all)
    }

    /// The same of all nodes, each with its name.
    pub(crate) fn sudo_writes(&self, site: &Site) -> Result<Vec<String>> {
        let mut all = Vec::new();
        for node in NODES {
            all.extend(self.sudo_changes(site, node)?.into_iter().map(|line| format!("{node}: {line}")));
        }
        Ok(all)
    }

    /// How often a node was told something since; asking whether one may is not telling.
    pub(crate) fn sudo_count(&self, site: &Site, node: &str, words: &str) -> Result<usize> {
        let is_told = |line: &&String| {
            line.split_once("COMMAND=").is_some_and(|(_, it)| !it.starts_with("list") && it.contains(words))
        };
        Ok(self.sudo(site, node)?.iter().filter(is_told).count())
    }

    /// Evictions and deletions that the API granted to hecate since.
    pub(crate) fn evictions(&self, site: &Site) -> Result<Vec<Evicted>> {
        let mut all = Vec::new();
        for line in self.audit(site)? {
            let object = &line["objectRef"];
            let is_granted = line["responseStatus"]["code"].as_u64().is_some_and(|code| code < 300);
            let is_eviction = object["subresource"] == "eviction" || line["verb"] == "delete";
            if line["user"]["username"] == "hecate" && object["resource"] == "pods" && is_eviction && is_granted {
                let pod = object["name"].as_str().context("an eviction without a pod")?.to_owned();
                all.push(Evicted { pod, at: received(&line)? });
            }
        }
        Ok(all)
    }

    /// Fails where a pod was evicted that came to be after the descent had begun. A pod of a StatefulSet gets the same
    /// name again: the audit log says when.
    pub(crate) fn no_new_pod_was_evicted(&self, site: &Site, before: &[Pod]) -> Result<()> {
        let known: BTreeSet<&str> = before.iter().map(|pod| pod.name.as_str()).collect();
        let made = self.made(site)?;
        for evicted in self.evictions(site)? {
            ensure!(known.contains(evicted.pod.as_str()), "{} was evicted although it is new", evicted.pod);
            let again = made.get(&evicted.pod);
            ensure!(
                again.is_none_or(|made| evicted.at < *made),
                "{} was evicted at {}, but made anew at {again:?}",
                evicted.pod,
                evicted.at
            );
        }
        Ok(())
    }

    /// When pods were made since, by name.
    fn made(&self, site: &Site) -> Result<BTreeMap<String, Timestamp>> {
        let mut made = BTreeMap::new();
        for line in self.audit(site)? {
            let object = &line["objectRef"];
            let is_made = line["verb"] == "create" && object["subresource"].is_null() && object["resource"] == "pods";
            if let (true, Some(name)) = (is_made && object["namespace"] == "shop", object["name"].as_str()) {
                made.insert(name.to_owned(), received(&line)?);
            }
        }
        Ok(made)
    }

    /// Fails where a pod was still there longer than its grace (and a moment) after the first eviction of it that was
    /// granted.
    pub(crate) fn pods_left_within_their_grace(&self, site: &Site, before: &[Pod]) -> Result<()> {
        let lines = self.audit(site)?;
        let evictions = self.evictions(site)?;
        for pod in before {
            let first = evictions.iter().find(|one| one.pod == pod.name);
            let first = first.with_context(|| format!("{} was never evicted", pod.name))?;
            let is_gone = |line: &&Value| {
                let object = &line["objectRef"];
                let by_kubelet = line["user"]["username"].as_str().is_some_and(|user| user.starts_with("system:node:"));
                by_kubelet && line["verb"] == "delete" && object["resource"] == "pods" && object["name"] == *pod.name
            };
            let gone = lines.iter().find(is_gone).with_context(|| format!("{} never went", pod.name))?;
            let took = received(gone)?.duration_since(first.at).as_secs_f64();
            ensure!(took <= pod.grace + 2.0, "{} took {took:.1} s to go, its grace is {} s", pod.name, pod.grace);
        }
        Ok(())
    }
}

fn received(line: &Value) -> Result<Timestamp> {
    Ok(line["requestReceivedTimestamp"].as_str().context("an audit line without a time")?.parse()?)
}

/// Names and sizes of the etcd snapshots on the servers, on or off.
pub(crate) fn etcd_snapshots(site: &Site) -> Result<BTreeMap<String, u64>> {
    let mut all = BTreeMap::new();
    for server in SERVERS {
        let folder = "/var/lib/rancher/k3s/server/db/snapshots";
        let listed = site.on(server, &format!("find {folder} -type f -name 'hecate-*' -printf '%f %s\\n'"))?;
        for line in listed.lines() {
            let (name, size) = line.rsplit_once(' ').context("find said something else")?;
            all.insert(name.to_owned(), size.parse()?);
        }
    }
    Ok(all)
}

/// Processes of containers on a node: UIDs of the pods that they belong to.
pub(crate) fn container_processes(site: &Site, node: &str) -> Result<Vec<String>> {
    let listed = site.try_on(node, "pgrep -a -f 'k3s/data/[^/]*/bin/containerd-shim'")?.out;
    let uid = |line: &str| line.split(" -id ").nth(1).and_then(|rest| rest.split(' ').next()).map(str::to_owned);
    Ok(listed.lines().filter_map(uid).collect())
}
