//! Builds each shard and hands it to its thread. How its parts are made is in the files beside this.

use super::journal::{JournalReaders, Journaled};
use super::{Engine, Shared, ports};
use crate::assembly::{Assembly, Difference, Outcome, Parts, differences, journaled, settled};
use crate::clock::Clock;
use crate::config::{Config, Durability};
use crate::core::Core;
use crate::log::writer::{Log, NoJournal};
use crate::shard::Shard;
use netio::Port;
use std::sync::Arc;

impl Engine {
    pub(super) fn start_shards<P: Port + Send + 'static>(
        &mut self,
        config: &Config,
        ports: Vec<P>,
        shared: Vec<Shared>,
    ) -> anyhow::Result<()> {
        let directory = &config.journal.directory;
        let known = journaled(directory)?;
        if config.journal.durability == Durability::Memory {
            if known > 0 {
                let directory = directory.display();
                tracing::warn!(
                    "journal.durability is \"memory\"; the journals of {known} shards in {directory} are not read"
                );
            }
            for (port, shared) in ports.into_iter().zip(shared) {
                let mut assembly = Assembly::new(config, shared.shard);
                let mut clock = Clock::new(0);
                let core = assembly.core(None, NoJournal::default(), clock.now().timestamp_ns)?;
                self.start_shard(assembly, port, shared, core, clock, None)?;
            }
            return Ok(());
        }
        anyhow::ensure!(
            known <= config.engine.shards,
            "engine.shards is {}; {} has journals of {known} shards; expected at least that many",
            config.engine.shards,
            directory.display()
        );
        // All of them first: which shard has an instrument is known only then.
        let mut journals = Vec::new();
        for shared in &shared {
            let mut assembly = Assembly::new(config, shared.shard);
            let journal = self.start_journal(&mut assembly, shared.snapshot.clone())?;
            journals.push((assembly, journal));
        }
        let shards: Vec<&Shard> =
            journals.iter().take(known).map(|(_, journal)| &journal.core.shard).collect();
        say(&differences(config, &shards))?;
        let config = &settled(config, &shards);
        for ((port, shared), (assembly, journal)) in ports.into_iter().zip(shared).zip(journals) {
            let Journaled { core, clock, readers } = journal;
            let assembly = Assembly { config, ..assembly };
            self.start_shard(assembly, port, shared, core, clock, Some(readers))?;
        }
        Ok(())
    }

    fn start_shard<P: Port + Send + 'static, L: Log + Send + 'static>(
        &mut self,
        assembly: Assembly<'_>,
        port: P,
        shared: Shared,
        mut core: Core<L>,
        mut clock: Clock,
        readers: Option<JournalReaders>,
    ) -> anyhow::Result<()> {
        let Assembly { config, shard, .. } = assembly;
        let Shared { accounts, verifier, report, requests, symbols, .. } = shared;
        let (replays, source) = readers.map(|readers| (readers.replays, readers.source)).unzip();
        let publisher = self.start_feed(config, shard, &mut core, source)?;
        assembly.configure(&mut core, clock.now().timestamp_ns)?;
        // It is told once.
        let _ = symbols.set(core.shard.instruments().iter().map(|instrument| instrument.symbol).collect());
        let gateway = self.start_gateway(config, shard)?;
        tracing::info!(shard, address = %ports::address(config, shard), "listening");
        let stop = Arc::clone(&self.stop);
        let parts = Parts { clock, accounts, verifier, stop, report, requests, replays, gateway, publisher };
        self.spawn(shard, config.engine.cores.get(shard).copied(), assembly.runner(port, core, parts))
    }
}

/// A line for each difference.
///
/// # Errors
/// One of them forbids a start.
fn say(differences: &[Difference]) -> anyhow::Result<()> {
    for difference in differences {
        match difference.outcome {
            Outcome::Applied => tracing::info!("{difference}"),
            Outcome::Kept => tracing::warn!("{difference}"),
            Outcome::Refused => anyhow::bail!("{difference}"),
        }
    }
    Ok(())
}
