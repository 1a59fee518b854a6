//! The command line: arguments, exit codes, and one file a command.
//!
//! A command that makes something happen writes `desired.yaml` and nothing else; the loop does the rest. stdout is
//! data, stderr is everything else.

mod check;
mod context;
mod daemon;
mod enroll;
pub mod exit;
mod follow;
mod output;
mod pause;
mod set_desired;
mod shutdown;
mod simulate;
mod startup;
mod status;
mod ups;
mod wish;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use self::context::Context;
pub use self::exit::Stop;
pub use self::output::Output;

/// Brings a whole k3s cluster up and down safely, driven by its UPSes
///
/// hecate keeps one desired state (running, drained-off or poweroff) and does the next safe step until reality is as
/// desired; the UPS policy rewrites that state while the mains are away. Try `hecate simulate power-cut` first: it
/// needs no cluster.
#[derive(Debug, Parser)]
#[command(name = "hecate", version, after_help = exit::TABLE, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Flags of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
struct Global {
    /// Configuration file [default: /etc/hecate/hecate.yaml]
    #[arg(long, global = true, value_name = "FILE", env = "HECATE_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
    /// Where durable state lives, instead of the configuration's `state_dir`
    #[arg(long, global = true, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Where the published status lives, instead of the configuration's `runtime_dir`
    #[arg(long, global = true, value_name = "DIR")]
    runtime_dir: Option<PathBuf>,
    /// Log more to stderr; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: ColorChoice,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// How data are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Table,
    /// For machines
    Json,
    /// For machines that prefer it
    Yaml,
}

#[derive(Debug, Subcommand)]
enum Command {
    Daemon(daemon::DaemonArgs),
    Startup(startup::StartupArgs),
    Shutdown(shutdown::ShutdownArgs),
    Status(status::StatusArgs),
    SetDesired(set_desired::SetDesiredArgs),
    Pause(pause::PauseArgs),
    Resume(pause::ResumeArgs),
    Ups(ups::UpsArgs),
    Check(check::CheckArgs),
    Enroll(enroll::EnrollArgs),
    Simulate(simulate::SimulateArgs),
}

impl Cli {
    /// How much is to be logged: the number of `-v`.
    pub fn verbosity(&self) -> u8 {
        self.global.verbose
    }

    /// Whether this is the daemon, which logs its changes without being asked.
    pub fn is_daemon(&self) -> bool {
        matches!(self.command, Command::Daemon(_))
    }

    /// The output that its flags ask for.
    pub fn output(&self) -> Output {
        Output::new(self.global.color)
    }

    /// Runs the command; says with which code the process ends.
    pub fn run(self, output: &Output) -> Result<u8, Stop> {
        let context = Context::new(self.global.config, self.global.state_dir, self.global.runtime_dir, output);
        match self.command {
            Command::Daemon(args) => daemon::run(args, &context),
            Command::Startup(args) => startup::run(args, &context),
            Command::Shutdown(args) => shutdown::run(args, &context),
            Command::Status(args) => status::run(args, &context),
            Command::SetDesired(args) => set_desired::run(args, &context),
            Command::Pause(args) => pause::run(args, &context),
            Command::Resume(args) => pause::run_resume(args, &context),
            Command::Ups(args) => ups::run(args, &context),
            Command::Check(args) => check::run(args, &context),
            Command::Enroll(args) => enroll::run(args, &context),
            Command::Simulate(args) => simulate::run(args, &context),
        }
    }
}
