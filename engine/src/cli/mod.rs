//! What the user types, and what comes back on the terminal.

mod admin;
mod completions;
mod echo;
mod feed;
mod hash_password;
mod http;
mod journal;
#[cfg(feature = "publish")]
mod publish;
mod run;
mod sim;

use clap::{Args, Parser, Subcommand};
use engine::config::{Config, ConfigError, Override, load};
use std::path::PathBuf;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// An order-matching engine whose order path bypasses the kernel.
#[derive(Parser)]
#[command(name = "pitlane", version, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the engine until SIGINT or SIGTERM.
    Run(ConfigArgs),
    /// Read a configuration and say what it amounts to, or what is wrong with it.
    Check(run::CheckArgs),
    /// Give the running engine a command, over its admin port.
    Admin(admin::AdminArgs),
    /// Say what a journal holds and whether it is whole.
    Inspect(journal::InspectArgs),
    /// Rebuild a shard from its journal and show its state; with --verify hold it against its snapshots.
    Replay(journal::ReplayArgs),
    /// Follow a shard's market data: repair gaps, rebuild the books, show and compare them.
    Feed(feed::FeedArgs),
    /// Publish what a shard trades into a NATS JetStream stream, from its journal, beside the running engine.
    #[cfg(feature = "publish")]
    Publish(publish::PublishArgs),
    /// Simulate a shard, its clients, network and disk, with faults in all of them, and check that nothing acknowledged is lost.
    Sim(sim::SimArgs),
    /// Send every datagram back: the limit of a port, to compare the engine with.
    Echo(echo::EchoArgs),
    /// Read a password from standard input and print the hash that an account's `password_hash` takes.
    HashPassword(hash_password::HashPasswordArgs),
    /// Print a script with which a shell completes commands and options.
    Completions(completions::CompletionsArgs),
}

/// Where settings come from: the file, then `PITLANE_SECTION_KEY` variables, then `--set`.
#[derive(Args)]
struct ConfigArgs {
    /// Configuration file (TOML).
    #[arg(long, env = "PITLANE_CONFIG", value_name = "FILE")]
    config: PathBuf,
    /// Override one setting; may be repeated.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    overrides: Vec<String>,
}

impl ConfigArgs {
    fn load(&self) -> Result<Config, ConfigError> {
        let mut overrides = Override::from_environment(std::env::vars())?;
        for text in &self.overrides {
            overrides.push(Override::from_flag(text)?);
        }
        load(&self.config, &overrides)
    }
}

impl Cli {
    pub fn execute(&self) -> ExitCode {
        // A simulation's thousands of engines have nothing to say to a person.
        let default = if matches!(self.command, Command::Sim(_)) { "off" } else { "info" };
        let filter = EnvFilter::try_from_env("PITLANE_LOG").unwrap_or_else(|_| EnvFilter::new(default));
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_target(false)
            .init();
        let outcome = match &self.command {
            Command::Run(args) => run::run(args),
            Command::Check(args) => run::check(args),
            Command::Admin(args) => admin::execute(args),
            Command::Inspect(args) => journal::inspect(args),
            Command::Replay(args) => journal::replay(args),
            Command::Feed(args) => feed::execute(args),
            #[cfg(feature = "publish")]
            Command::Publish(args) => publish::execute(args),
            Command::Sim(args) => sim::execute(args),
            Command::Echo(args) => echo::execute(args),
            Command::HashPassword(args) => hash_password::execute(args),
            Command::Completions(args) => completions::execute(args),
        };
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                // One line: each cause after what it was the cause of.
                eprintln!("pitlane: {error:#}");
                ExitCode::FAILURE
            }
        }
    }
}
