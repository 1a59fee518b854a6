//! `hecate ups ignore`, `heed` and `forget`: a UPS that lies, or that has a new battery.

use clap::{Args, Subcommand};
use jiff::SignedDuration;

use super::exit::{CONVERGED, UNEXPECTED, USAGE};
use super::pause::{hold, parse_duration, release};
use super::wish::{moment, who};
use super::{Context, Stop};
use crate::config::Config;
use crate::desired::{Forget, Held};
use crate::ledger::Device;
use crate::model::UpsName;
use crate::store::{ActorKind, DeclaredFile, LedgerFile, Store, StoreError};

/// Take a UPS out of the policy for a time, or back in; forget what was learned of it
#[derive(Debug, Args)]
pub(super) struct UpsArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Do as if this UPS were not there: it shuts nothing down and holds nothing up
    ///
    /// For a UPS that lies (a battery being changed, a broken sensor). While it is ignored nobody guards what it feeds,
    /// and `hecate status` says so. An override of its own is taken away.
    Ignore {
        /// The UPS, by its name in hecate.yaml
        #[arg(value_name = "NAME")]
        name: String,
        /// For how long: 30m, 2h, 1h30m; at most 720h
        #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
        duration: SignedDuration,
        /// Why; shown wherever it is ignored
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Forget what was learned of a UPS: its battery was replaced
    ///
    /// hecate learns what a full battery gives, what it was seen to give, and how it recharges. Another serial number
    /// voids that by itself; a new battery in the same UPS has none, so say it here.
    Forget {
        /// The UPS, by its name in hecate.yaml
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Listen to an ignored UPS again before its time
    Heed {
        /// The UPS, by its name in hecate.yaml
        #[arg(value_name = "NAME")]
        name: String,
    },
}

/// Runs it.
pub(super) fn run(args: UpsArgs, context: &Context<'_>) -> Result<u8, Stop> {
    let (store, config) = context.store()?;
    match args.what {
        What::Ignore { name, duration, reason } => {
            let ups = known(name, config.as_ref())?;
            let code = hold(context, &store, Held::Ups(ups.clone()), duration, reason)?;
            tell_override(context, &store, &ups);
            Ok(code)
        }
        What::Heed { name } => release(context, &store, &Held::Ups(known(name, config.as_ref())?)),
        What::Forget { name } => forget(context, &store, known(name, config.as_ref())?),
    }
}

/// A shutdown that this UPS demands now ends with it being ignored: that is said, as nobody may have meant it.
fn tell_override(context: &Context<'_>, store: &Store, ups: &UpsName) {
    let DeclaredFile::Good(declared) = store.read_declared() else { return };
    for one in declared.overrides.iter().filter(|one| one.ups().as_ref() == Some(ups)) {
        let why = format!("UPS {ups} demands {} now ({}): ignored, it demands nothing any more", one.state, one.reason);
        context.output.warn(&why);
    }
}

/// A start that waits for a recharge begins with what was counted being forgotten: that is said, too.
fn tell_count(context: &Context<'_>, device: Option<&Device>, ups: &UpsName) {
    if device.is_some_and(|device| device.count.is_some()) {
        let why = format!(
            "UPS {ups} was not full by hecate's own count: a new battery counts as full, and a start that waits for its recharge \
             begins"
        );
        context.output.warn(&why);
    }
}

/// The ledger has one writer. Where nobody acts this command is it for a moment; else whoever acts is asked to.
fn forget(context: &Context<'_>, store: &Store, ups: UpsName) -> Result<u8, Stop> {
    let actor = match store.lock_actor(ActorKind::Foreground) {
        Ok(_lock) => return forget_now(context, store, &ups),
        Err(StoreError::ActorHeld { held_by, .. }) => held_by,
        Err(failure) => return Err(Stop::of_store(failure, "cannot forget that")),
    };
    match store.read_ledger() {
        LedgerFile::Good(ledger) => tell_count(context, ledger.devices.get(&ups), &ups),
        LedgerFile::Missing => {}
        LedgerFile::Unreadable { why } => {
            return Err(Stop::saying(UNEXPECTED, format!("ledger.json cannot be read: {why}")));
        }
    }
    store
        .ask_to_forget(Forget { ups: ups.clone(), set_by: who(), set_at: moment() })
        .map_err(|failure| Stop::of_store(failure, "cannot ask for that"))?;
    context.output.data(&format!("what was learned of UPS {ups} is to be forgotten\n"))?;
    context.output.note(&format!("{actor} does it at its next pass"));
    Ok(CONVERGED)
}

/// As the only actor, whose lock the caller holds.
fn forget_now(context: &Context<'_>, store: &Store, ups: &UpsName) -> Result<u8, Stop> {
    let known = match store.read_ledger() {
        LedgerFile::Good(mut ledger) => {
            let device = ledger.devices.remove(ups);
            tell_count(context, device.as_ref(), ups);
            let known = device.is_some();
            if known {
                store.write_ledger(&ledger).map_err(|failure| Stop::of_store(failure, "cannot forget that"))?;
            }
            known
        }
        LedgerFile::Missing => false,
        LedgerFile::Unreadable { why } => {
            return Err(Stop::saying(UNEXPECTED, format!("ledger.json cannot be read: {why}")));
        }
    };
    if known {
        context.output.data(&format!("what was learned of UPS {ups} is forgotten\n"))?;
    } else {
        context.output.note(&format!("nothing was learned of UPS {ups} yet"));
    }
    Ok(CONVERGED)
}

fn known(name: String, config: Option<&Config>) -> Result<UpsName, Stop> {
    let name = UpsName::new(name);
    match config {
        Some(config) if !config.upses.contains_key(&name) => {
            let known: Vec<&str> = config.upses.keys().map(UpsName::as_str).collect();
            let hint =
                if known.is_empty() { "there is none".to_owned() } else { format!("there is {}", known.join(", ")) };
            Err(Stop::saying(USAGE, format!("no UPS {name} is configured")).with_hint(hint))
        }
        Some(_) | None => Ok(name),
    }
}
