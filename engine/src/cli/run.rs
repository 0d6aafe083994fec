//! `pitlane run` and `pitlane check`.

use super::ConfigArgs;
use engine::config::Config;
use engine::start::Engine;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long a signal may go unnoticed.
const SIGNAL_POLL: Duration = Duration::from_millis(20);

pub fn run(args: &ConfigArgs) -> anyhow::Result<()> {
    let config = args.load()?;
    let told_to_stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&told_to_stop))?;
    }
    let engine = Engine::start(&config)?;
    tracing::info!(
        shards = config.engine.shards,
        instruments = config.instruments.len(),
        accounts = config.expanded_accounts().len(),
        "ready"
    );
    while !told_to_stop.load(Ordering::Acquire) && !engine.is_stopping() {
        std::thread::sleep(SIGNAL_POLL);
    }
    tracing::info!("stopping");
    engine.stop()?;
    Ok(())
}

pub fn check(args: &ConfigArgs) -> anyhow::Result<()> {
    let config = args.load()?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}: valid", args.config.display())?;
    summarise(&config, &mut out)?;
    Ok(())
}

fn summarise(config: &Config, out: &mut impl Write) -> std::io::Result<()> {
    let network = &config.network;
    for shard in 0..config.engine.shards {
        let instruments =
            (0..config.instruments.len()).filter(|&index| config.shard_of(index) == shard).count();
        writeln!(
            out,
            "  shard {shard}: {}:{} ({:?}), {instruments} instruments{}",
            network.listen,
            network.base_port + shard as u16,
            network.port,
            config.engine.cores.get(shard).map_or_else(String::new, |core| format!(", core {core}")),
        )?;
    }
    writeln!(out, "  accounts: {}", config.expanded_accounts().len())?;
    writeln!(out, "  durability: {:?}", config.journal.durability)
}
