//! Puts the parts of each shard together and hands them to its thread. How each part is made is in the files beside this.

use super::configure::configure;
use super::genesis::new_core;
use super::journal::{JournalReaders, Journaled};
use super::{Engine, ports};
use crate::accounts::verify::VerifierHandle;
use crate::admin::AdminRequest;
use crate::clock::Clock;
use crate::config::{Config, Durability};
use crate::core::Core;
use crate::history::snapshot::thread::SnapshotRequest;
use crate::log::writer::{Log, NoJournal};
use crate::runner::{Runner, SharedReport};
use crate::session::{Accounts, Ingress};
use netio::Port;
use rtrb::Consumer;
use std::sync::Arc;

/// What a shard's thread is made of, but for its port.
pub(super) struct Parts {
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
        parts: Vec<Parts>,
    ) -> anyhow::Result<()> {
        for (port, part) in ports.into_iter().zip(parts) {
            match config.journal.durability {
                Durability::Memory => {
                    let core = new_core(config, part.shard, NoJournal::default())?;
                    self.start_shard(config, port, part, core, 0, None)?;
                }
                Durability::Process | Durability::Disk => {
                    let Journaled { core, last_timestamp_ns, readers } =
                        self.start_journal(config, part.shard, part.snapshot.clone())?;
                    self.start_shard(config, port, part, core, last_timestamp_ns, Some(readers))?;
                }
            }
        }
        Ok(())
    }

    fn start_shard<P: Port + Send + 'static, L: Log + Send + 'static>(
        &mut self,
        config: &Config,
        port: P,
        part: Parts,
        mut core: Core<L>,
        last_timestamp_ns: u64,
        readers: Option<JournalReaders>,
    ) -> anyhow::Result<()> {
        let Parts { shard, accounts, verifier, report, requests, .. } = part;
        let mut clock = Clock::new(last_timestamp_ns);
        let now = clock.now();
        let (replays, source) = readers.map(|readers| (readers.replays, readers.source)).unzip();
        let publisher = self.start_feed(config, shard, &mut core, &accounts, source)?;
        configure(config, shard, &mut core, now.timestamp_ns)?;
        let mut ingress = Ingress::new(&config.session, accounts, verifier);
        ingress.adopt(&core, now.monotonic_ns);
        ingress.can_replay = replays.is_some();
        self.start_gateway(config, shard, &mut ingress)?;
        tracing::info!(shard, address = %ports::address(config, shard), "listening");
        let mut runner = Runner::new(
            port,
            ingress,
            core,
            clock,
            config.engine.idle,
            config.journal.durability == Durability::Disk,
            Arc::clone(&self.stop),
            report,
            requests,
            replays,
        );
        if let Some(publisher) = publisher {
            runner.set_publisher(publisher);
        }
        self.spawn(shard, config.engine.cores.get(shard).copied(), runner)
    }
}
