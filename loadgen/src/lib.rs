//! Load generator and verifier for the Pitlane matching engine: it drives one from outside and trusts nothing it says.
//!
//! ```text
//!             mix (what)   pace (when)
//!                  \        /
//!   worker: one thread, one port, many participants
//!             participant = client (login, two streams) + account (every order and its answer)
//!                  |
//!             report: tables, JSON, .hgrm, HTML
//! ```
//! [`replay`] sends the order flow of a historical file instead and compares every answer with what the file implies.

pub mod account;
pub mod cli;
pub mod client;
pub mod clock;
pub mod cluster;
pub mod commands;
pub mod coordination;
pub mod counts;
pub mod credentials;
pub mod directory;
pub mod echo;
pub mod fan;
pub mod histograms;
pub mod judge;
pub mod launch;
pub mod mix;
pub mod output;
pub mod pace;
pub mod parse;
pub mod participant;
pub mod ports;
pub mod profile;
pub mod progress;
pub mod random;
pub mod replay;
pub mod report;
pub mod run;
pub mod search;
pub mod stalls;
pub mod verdict;
pub mod worker;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

/// Parses the command line and carries it out. Exit status 0: a valid run that met what was required; 3: a run that proves nothing, and
/// the report says why; 4: a valid run that missed a requirement; 1: it could not be done; 2: the command line is wrong.
pub fn main() -> ExitCode {
    let level = tracing_subscriber::EnvFilter::try_from_env("PITLANE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(level).with_writer(std::io::stderr).init();
    let result = match Cli::parse().command {
        Command::Run(args) => commands::run::execute(&args),
        Command::Search(args) => commands::search::execute(&args),
        Command::Curve(args) => commands::series::curve(&args),
        Command::Scale(args) => commands::series::scale(&args),
        Command::Agent(args) => cluster::agent::execute(&args),
        Command::Profile(args) => commands::profile::execute(&args),
        Command::Report(args) => commands::report::execute(&args),
        Command::Replay(args) => replay::command::execute(&args),
        Command::Echo(args) => echo::execute(&args),
    };
    result.unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "error: {error:#}");
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod scripted;
#[cfg(test)]
mod worker_tests;
