//! `hecate status`: what is desired, what is, what is missing, and why.
//!
//! With a daemon it reads one file and draws it; without one it looks once, changes nothing, and says that nobody acts.

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::context::block_on;
use super::exit::{DAEMON_GONE, code_of};
use super::follow::{Published, Seen};
use super::{Context, Format, Stop};
use crate::clock;
use crate::config::Config;
use crate::reconcile;
use crate::status::diff::spoken;
use crate::status::render::{self, View};
use crate::status::{Actor, Status};
use crate::store::{HeldBy, Store};

/// How long a look without a daemon may take.
const LOOK_LIMIT: Duration = Duration::from_secs(5);
/// A published status older than this is not the living daemon's: UPS polls alone make a pass every few seconds.
const FRESH_LIMIT: Duration = Duration::from_secs(120);
/// Moves the cursor home and clears the terminal.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Show what is desired, what is, and what is missing
///
/// The exit code is the verdict's, see below. Without a daemon it looks for at most 5 seconds and changes nothing.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// How it is printed
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Format,
    /// Show it again after each pass of the daemon, until it is gone
    #[arg(long)]
    watch: bool,
}

/// Runs it.
pub(super) fn run(args: StatusArgs, context: &Context<'_>) -> Result<u8, Stop> {
    let (store, config) = context.store()?;
    if args.watch {
        return block_on(watch(&store, args.output, context));
    }
    let (status, age) = match published(&store, context)? {
        Some((status, age)) => (status, Some(age)),
        None => {
            // `store` came without a configuration: say what is wrong with it, as a look needs one.
            let config = config.map_or_else(|| context.config(), Ok)?;
            context.output.note("looking once");
            (look(&config, &store)?, None)
        }
    };
    print(&status, age, args.output, context)?;
    Ok(code_of(&status))
}

/// The living actor's status and its age; None, after saying why, where there is none that can be trusted.
pub(super) fn published(store: &Store, context: &Context<'_>) -> Result<Option<(Status, Duration)>, Stop> {
    let holder = store.actor();
    if let Ok(None) = holder {
        context.output.note("no daemon runs");
        return Ok(None);
    }
    let status = store.read_status().context("cannot read the published status")?;
    let published = status.and_then(|status| age(&status).map(|age| (status, age)));
    // Without rights nobody knows who holds the lock now.
    let is_unknown = holder.is_err();
    match published {
        Some((status, age)) if is_alive(&status.actor, holder.ok().flatten()) => {
            if age <= FRESH_LIMIT {
                return Ok(Some((status, age)));
            }
            context.output.warn(&format!("the daemon has published nothing for {}", spoken(age)));
        }
        Some((_, age)) if is_unknown => {
            context.output.note(&format!("the daemon that published {} ago is gone", spoken(age)));
        }
        Some(_) | None => context.output.note("the daemon has published nothing yet"),
    }
    Ok(None)
}

/// Whether who published is who acts now, and not a predecessor.
fn is_alive(actor: &Actor, holder: Option<HeldBy>) -> bool {
    let published = match actor {
        Actor::Daemon { pid } | Actor::Foreground { pid } => *pid,
        Actor::Nobody => return false,
    };
    match holder.and_then(|held_by| held_by.pid) {
        Some(pid) => pid == published,
        // Only root may open the lock, and a full disk may have left it without a text.
        None => std::path::Path::new("/proc").join(published.to_string()).exists(),
    }
}

fn look(config: &Config, store: &Store) -> Result<Status, Stop> {
    block_on(async {
        let look = reconcile::observe_once(config, store, None, LOOK_LIMIT).await;
        look.context("cannot look at the cluster").map_err(Stop::from)
    })
}

async fn watch(store: &Store, format: Format, context: &Context<'_>) -> Result<u8, Stop> {
    let mut watched = Published::watch(store)?;
    if published(store, context)?.is_none() {
        return Err(Stop::saying(DAEMON_GONE, "there is no living daemon to watch")
            .with_hint("`systemctl start hecate` starts it; plain `hecate status` looks without one"));
    }
    let mut code = super::exit::PENDING;
    loop {
        tokio::select! {
            seen = watched.next(store) => match seen {
                Seen::Status(status) => {
                    code = code_of(&status);
                    let is_drawn = std::io::IsTerminal::is_terminal(&std::io::stdout()) && format == Format::Table;
                    context.output.data(if is_drawn { CLEAR } else { "" })?;
                    print(&status, age(&status), format, context)?;
                }
                Seen::Gone => return Err(Stop::saying(DAEMON_GONE, "the daemon is gone or hangs")),
            },
            _ = tokio::signal::ctrl_c() => return Ok(code),
        }
    }
}

fn print(status: &Status, age: Option<Duration>, format: Format, context: &Context<'_>) -> Result<(), Stop> {
    let view = View { palette: context.output.palette(), age };
    context.output.value(format, status, || render::status(status, view))
}

/// How long ago the pass was; None where it was in another boot of this host.
fn age(status: &Status) -> Option<Duration> {
    let is_this_boot = status.now.boot_id == clock::boot_id();
    is_this_boot.then(|| clock::boottime().saturating_sub(status.now.boottime))
}
