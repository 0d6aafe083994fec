//! From a configuration to running shards and back: the order in which parts start and stop. Each part has a file of its own.

mod feed;
mod gateway;
mod journal;
mod ports;
mod shards;
mod threads;

pub use threads::pin;

use crate::accounts::verify::{Verifier, VerifierHandle};
use crate::accounts::{Accounts, LoginSettings};
use crate::admin::{AdminRequest, AdminServer, ShardHandle, Symbols};
use crate::config::{Config, Durability};
use crate::feed::FeedThreads;
use crate::gateway::Gateway;
use crate::history::replay::ReplayThread;
use crate::history::snapshot::thread::{SnapshotRequest, SnapshotThread};
use crate::log::{Background, JournalDirectory};
use crate::runner::{RunError, SharedReport};
use anyhow::Context;
use ports::Ports;
use rtrb::Consumer;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// A running engine.
pub struct Engine {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<(), RunError>>>,
    reports: Vec<SharedReport>,
    /// Closed after the threads that write to them have ended.
    journals: Vec<Background>,
    journal_directory: Option<Arc<JournalDirectory>>,
    replays: Vec<ReplayThread>,
    snapshots: Vec<SnapshotThread>,
    verifier: Verifier,
    /// Stopped after the shards, whose last messages they still take.
    feeds: Vec<FeedThreads>,
    gateways: Vec<Gateway>,
    /// Gone when the threads are: the XDP program is detached last.
    _device: Option<Device>,
    _admin: Option<AdminServer>,
}

/// What a shard shares with the rest of the process.
pub(super) struct Shared {
    pub shard: usize,
    pub accounts: Accounts,
    pub verifier: VerifierHandle,
    pub report: SharedReport,
    pub requests: Consumer<AdminRequest>,
    pub snapshot: SnapshotRequest,
    /// To be told to the admin server.
    pub symbols: Symbols,
}

#[cfg(feature = "xdp")]
type Device = Arc<netio::xdp::XdpDevice>;
#[cfg(not(feature = "xdp"))]
type Device = ();

impl Engine {
    /// Builds and starts everything.
    ///
    /// # Errors
    /// The first part that could not be set up, by name, with what the system said.
    pub fn start(config: &Config) -> anyhow::Result<Self> {
        // Before the first thread, as capabilities are each thread's own, and nothing after this needs any.
        let ports = ports::open(config)?;
        netio::privileges::drop_capabilities().context("cannot give up capabilities")?;
        ports.start_threads()?;
        let accounts = Accounts::new(config.expanded_accounts().into());
        let (verifier, verifiers) =
            Verifier::start(&accounts, config.engine.shards, &LoginSettings::of(config))
                .context("cannot start the threads that verify passwords")?;
        let mut handles = Vec::new();
        let mut shared = Vec::new();
        for (shard, verifier) in verifiers.into_iter().enumerate() {
            let report = SharedReport::default();
            let symbols = Arc::default();
            let snapshot = SnapshotRequest::default();
            let (handle, requests) = ShardHandle::new(
                report.clone(),
                Arc::clone(&symbols),
                (config.journal.durability != Durability::Memory).then(|| snapshot.clone()),
                ports.labels(config, shard),
            );
            handles.push(handle);
            shared.push(Shared {
                shard,
                accounts: accounts.clone(),
                verifier,
                report,
                requests,
                snapshot,
                symbols,
            });
        }
        let mut engine = Self {
            stop: Arc::new(AtomicBool::new(false)),
            threads: Vec::new(),
            reports: shared.iter().map(|shared: &Shared| shared.report.clone()).collect(),
            journals: Vec::new(),
            journal_directory: None,
            replays: Vec::new(),
            snapshots: Vec::new(),
            verifier,
            feeds: Vec::new(),
            gateways: Vec::new(),
            _device: None,
            _admin: None,
        };
        let door = engine.verifier.door();
        engine._admin = config
            .admin
            .listen
            .map(|listen| {
                let (token, audit) = (config.admin.token.clone(), config.admin.audit_file.clone());
                AdminServer::start(listen, token, audit, door, handles, ports.verdicts())
            })
            .transpose()?;
        match ports {
            Ports::Udp(ports) => engine.start_shards(config, ports, shared)?,
            #[cfg(feature = "xdp")]
            Ports::Xdp(device, ports) => {
                engine._device = Some(device);
                engine.start_shards(config, ports, shared)?;
            }
        }
        Ok(engine)
    }

    /// True once a shard has stopped by itself.
    pub fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    pub fn reports(&self) -> &[SharedReport] {
        &self.reports
    }

    /// Stops every shard and waits for it.
    ///
    /// # Errors
    /// The first shard or journal that had failed.
    pub fn stop(self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Release);
        let mut result = Ok(());
        for thread in self.threads {
            match thread.join() {
                Ok(ended) => result = result.and(ended.map_err(anyhow::Error::from)),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        drop(self.gateways);
        drop(self.feeds);
        // They read what the journals write.
        drop((self.replays, self.snapshots));
        for journal in self.journals {
            result = result.and(journal.close().map_err(|failure| anyhow::anyhow!("journal: {}", failure.0)));
        }
        result
    }
}
