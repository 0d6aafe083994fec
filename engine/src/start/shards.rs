//! Builds each shard and hands it to its thread. How its parts are made is in the files beside this.

use super::journal::{JournalReaders, Journaled};
use super::{Engine, ports};
use crate::accounts::Accounts;
use crate::accounts::verify::VerifierHandle;
use crate::admin::AdminRequest;
use crate::assembly::{Assembly, Parts};
use crate::clock::Clock;
use crate::config::{Config, Durability};
use crate::core::Core;
use crate::history::snapshot::thread::SnapshotRequest;
use crate::log::writer::{Log, NoJournal};
use crate::runner::SharedReport;
use netio::Port;
use rtrb::Consumer;
use std::sync::Arc;

/// What a shard shares with the rest of the process.
pub(super) struct Shared {
    pub shard: usize,
    pub accounts: Accounts,
    pub verifier: VerifierHandle,
    pub report: SharedReport,
    pub requests: Consumer<AdminRequest>,
    pub snapshot: SnapshotRequest,
}

impl Engine {
    pub(super) fn start_shards<P: Port + Send + 'static>(
        &mut self,
        config: &Config,
        ports: Vec<P>,
        shared: Vec<Shared>,
    ) -> anyhow::Result<()> {
        for (port, shared) in ports.into_iter().zip(shared) {
            let mut assembly = Assembly::new(config, shared.shard);
            match config.journal.durability {
                Durability::Memory => {
                    let mut clock = Clock::new(0);
                    let core = assembly.core(None, NoJournal::default(), clock.now().timestamp_ns)?;
                    self.start_shard(assembly, port, shared, core, clock, None)?;
                }
                Durability::Process | Durability::Disk => {
                    let Journaled { core, clock, readers } =
                        self.start_journal(&mut assembly, shared.snapshot.clone())?;
                    self.start_shard(assembly, port, shared, core, clock, Some(readers))?;
                }
            }
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
        let Shared { accounts, verifier, report, requests, .. } = shared;
        let (replays, source) = readers.map(|readers| (readers.replays, readers.source)).unzip();
        let publisher = self.start_feed(config, shard, &mut core, &accounts, source)?;
        assembly.configure(&mut core, clock.now().timestamp_ns)?;
        let gateway = self.start_gateway(config, shard)?;
        tracing::info!(shard, address = %ports::address(config, shard), "listening");
        let stop = Arc::clone(&self.stop);
        let parts = Parts { clock, accounts, verifier, stop, report, requests, replays, gateway, publisher };
        self.spawn(shard, config.engine.cores.get(shard).copied(), assembly.runner(port, core, parts))
    }
}
