//! `pitlane run` and `pitlane check`.

use super::ConfigArgs;
use clap::Args;
use engine::assembly::{Outcome, against};
use engine::clock::{ClockFigures, NOTABLE_NS};
use engine::config::{Config, check_machine};
use engine::start::Engine;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long a signal may go unnoticed.
const SIGNAL_POLL: Duration = Duration::from_millis(20);

pub fn run(args: &ConfigArgs) -> anyhow::Result<()> {
    let config = args.load()?;
    check_machine(&config, &args.config.display().to_string())?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let told_to_stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&told_to_stop))?;
    }
    // A terminal that closes, or a service manager's "reload", is no reason to stop trading.
    let hung_up = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGHUP, Arc::clone(&hung_up))?;
    let engine = Engine::start(&config)?;
    if let Err(error) = engine::sandbox::enter(config.engine.sandbox) {
        engine.stop()?;
        return Err(error.into());
    }
    tracing::info!(
        shards = config.engine.shards,
        instruments = config.instruments.len(),
        accounts = config.expanded_accounts().len(),
        "ready"
    );
    let mut clock_steps = vec![0; engine.reports().len()];
    while !told_to_stop.load(Ordering::Acquire) && !engine.is_stopping() {
        if hung_up.swap(false, Ordering::AcqRel) {
            tracing::info!("SIGHUP: the configuration is read at the start only; nothing changes");
        }
        std::thread::sleep(SIGNAL_POLL);
        report_clock_steps(&engine, &mut clock_steps);
    }
    tracing::info!("stopping");
    engine.stop()?;
    Ok(())
}

/// Says when the machine's clock was set: the shards' threads, which notice it, do not log.
fn report_clock_steps(engine: &Engine, known: &mut [u64]) {
    for (shard, (report, known)) in engine.reports().iter().zip(known).enumerate() {
        let ClockFigures { steps, last_step_ns, ahead_ns, .. } = report.read().clock;
        if std::mem::replace(known, steps) == steps {
            continue;
        }
        let (by_ms, ahead_ms) = (last_step_ns / 1_000_000, ahead_ns / 1_000_000);
        if ahead_ns > NOTABLE_NS {
            tracing::warn!(
                shard,
                by_ms,
                ahead_ms,
                "the machine's clock was set back: timestamps go on, a twelfth slower, until it has caught up"
            );
        } else {
            tracing::warn!(shard, by_ms, "the machine's clock was set: timestamps follow it");
        }
    }
}

#[derive(Args)]
pub struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The configuration is for another machine: do not look for its cores, interfaces and files on this one.
    #[arg(long)]
    elsewhere: bool,
    /// Say what a start on the journals in this folder would change, keep or refuse. Starts and changes nothing.
    #[arg(long, value_name = "DIRECTORY")]
    against: Option<PathBuf>,
}

pub fn check(args: &CheckArgs) -> anyhow::Result<()> {
    let config = args.config.load()?;
    let file = args.config.config.display();
    if !args.elsewhere {
        check_machine(&config, &file.to_string())?;
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "{file}: valid")?;
    summarise(&config, &mut out)?;
    for warning in &config.warnings {
        writeln!(out, "warning: {warning}")?;
    }
    match &args.against {
        Some(directory) => compare(&config, directory, &mut out),
        None => Ok(()),
    }
}

fn compare(config: &Config, directory: &Path, out: &mut impl Write) -> anyhow::Result<()> {
    let differences = against(config, directory)?;
    for difference in &differences {
        match difference.outcome {
            Outcome::Applied => writeln!(out, "applied: {difference}")?,
            Outcome::Kept => writeln!(out, "kept: {difference}")?,
            Outcome::Refused => writeln!(out, "REFUSED: {difference}")?,
        }
    }
    let refused = differences.iter().any(|difference| difference.outcome == Outcome::Refused);
    anyhow::ensure!(!refused, "a start on the journals in {} would be refused", directory.display());
    writeln!(out, "{}: {} differences, none in the way of a start", directory.display(), differences.len())?;
    Ok(())
}

fn summarise(config: &Config, out: &mut impl Write) -> std::io::Result<()> {
    let network = &config.network;
    for shard in 0..config.engine.shards {
        let instruments =
            (0..config.instruments.len()).filter(|&index| config.shard_of(index) == shard).count();
        writeln!(
            out,
            "  shard {shard}: {}:{} ({}), {instruments} instruments{}",
            network.listen,
            network.base_port + shard as u16,
            network.port_name(),
            config.engine.cores.get(shard).map_or_else(String::new, |core| format!(", core {core}")),
        )?;
    }
    writeln!(out, "  accounts: {}", config.expanded_accounts().len())?;
    writeln!(out, "  durability: {:?}", config.journal.durability)
}
