//! The `hecate` program: parses, starts tracing, runs one command, turns its error into an exit code.

use std::process::ExitCode;

use clap::Parser;
use hecate::cli::{Cli, Stop};
use hecate::status::render::Tone;
use hecate::telemetry;

fn main() -> ExitCode {
    // Reads FAILPOINTS; only builds for the lab have any.
    #[cfg(feature = "failpoints")]
    let _failpoints = fail::FailScenario::setup();
    let cli = Cli::parse();
    telemetry::start(cli.verbosity(), cli.is_daemon());
    let output = cli.output();
    match cli.run(&output) {
        Ok(code) => ExitCode::from(code),
        Err(Stop::ClosedPipe) => ExitCode::SUCCESS,
        Err(Stop::Failed { code, error, hint }) => {
            output.label(Tone::Bad, "error", &telemetry::chain(error.as_ref()).to_string());
            if let Some(hint) = hint {
                output.label(Tone::Faint, "hint", &hint);
            }
            ExitCode::from(code)
        }
    }
}
