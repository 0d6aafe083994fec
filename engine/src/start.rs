//! From a configuration to running shards: builds every part, starts the threads, and stops them again.

use crate::admin::{AdminRequest, AdminServer, ShardHandle};
use crate::clock::Clock;
use crate::config::{Config, Durability, TradingStateName, padded};
use crate::core::Core;
use crate::egress::Egress;
use crate::feed::{self, FeedThreads, JournalSource, Publisher};
use crate::gateway::{self, Gateway};
use crate::ingress::verify::{Verifier, VerifierHandle};
use crate::ingress::{Accounts, Ingress};
use crate::journal::writer::{Log, NoJournal};
use crate::journal::{self, Background, FileStorage, Writer};
use crate::ports::{self, Ports};
use crate::recovery::{attach, recover};
use crate::replays::{ReplayHandle, Replays};
use crate::runner::{RunError, Runner, SharedReport};
use crate::shard::Shard;
use crate::shard::input::{Genesis, Input, InstrumentInput, MAX_ENCODED, kind};
use crate::snapshot::retention::Retention;
use crate::snapshots::{self, SnapshotRequest, Snapshots};
use anyhow::Context;
use book::TradingState;
use netio::Port;
use rtrb::Consumer;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A running engine.
pub struct Engine {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<(), RunError>>>,
    reports: Vec<SharedReport>,
    /// Closed after the threads that write to them have ended.
    journals: Vec<Background>,
    replays: Vec<Replays>,
    snapshots: Vec<Snapshots>,
    _verifier: Verifier,
    /// Stopped after the shards, whose last messages they still take.
    feeds: Vec<FeedThreads>,
    gateways: Vec<Gateway>,
    /// Gone when the threads are: the XDP program is detached last.
    _device: Option<Device>,
    _admin: Option<AdminServer>,
}

#[cfg(feature = "xdp")]
type Device = Box<netio::xdp::XdpDevice>;
#[cfg(not(feature = "xdp"))]
type Device = ();

/// What a shard's thread is made of, but for its port.
struct Parts {
    shard: usize,
    accounts: Accounts,
    verifier: VerifierHandle,
    report: SharedReport,
    requests: Consumer<AdminRequest>,
    snapshot: SnapshotRequest,
}

impl Engine {
    /// Builds and starts everything.
    ///
    /// # Errors
    /// The first part that could not be set up, by name, with what the system said.
    pub fn start(config: &Config) -> anyhow::Result<Self> {
        // Before the first thread, as capabilities are each thread's own, and nothing after this needs any.
        let ports = ports::open(config)?;
        #[cfg(feature = "xdp")]
        if matches!(ports, Ports::Xdp(..)) {
            netio::privileges::drop_capabilities().context("cannot give up capabilities")?;
        }
        let accounts = Accounts::new(config.expanded_accounts().into());
        let (verifier, verifiers) = Verifier::start(Arc::clone(&accounts.list), config.engine.shards)
            .context("cannot start the verifier thread")?;
        let mut handles = Vec::new();
        let mut parts = Vec::new();
        for (shard, verifier) in verifiers.into_iter().enumerate() {
            let report = SharedReport::default();
            let snapshot = SnapshotRequest::default();
            let (handle, requests) =
                ShardHandle::new(report.clone(), symbols_of(config, shard), snapshot.clone());
            handles.push(handle);
            parts.push(Parts { shard, accounts: accounts.clone(), verifier, report, requests, snapshot });
        }
        let mut engine = Self {
            stop: Arc::new(AtomicBool::new(false)),
            threads: Vec::new(),
            reports: parts.iter().map(|part| part.report.clone()).collect(),
            journals: Vec::new(),
            replays: Vec::new(),
            snapshots: Vec::new(),
            _verifier: verifier,
            feeds: Vec::new(),
            gateways: Vec::new(),
            _device: None,
            _admin: None,
        };
        engine._admin = config
            .admin
            .listen
            .map(|listen| AdminServer::start(listen, config.admin.token.clone(), handles))
            .transpose()?;
        match ports {
            Ports::Udp(ports) => engine.start_shards(config, ports, parts)?,
            #[cfg(feature = "xdp")]
            Ports::Xdp(device, ports) => {
                engine._device = Some(device);
                engine.start_shards(config, ports, parts)?;
            }
        }
        Ok(engine)
    }

    fn start_shards<P: Port + Send + 'static>(
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
                    let OpenJournal { core, last_timestamp_ns, background, storage } =
                        open_journal(config, part.shard)?;
                    self.journals.push(background);
                    let progress = Arc::clone(core.log.progress());
                    let (replays, handle) =
                        Replays::start(storage.clone(), Arc::clone(&progress), part.shard as u32)?;
                    self.replays.push(replays);
                    let settings = snapshots::Settings {
                        shard: part.shard as u32,
                        interval: config.journal.snapshot_interval,
                        retention: Retention {
                            snapshots: config.journal.keep_snapshots,
                            retain_journal: config.journal.retain_segments,
                        },
                    };
                    let request = part.snapshot.clone();
                    self.snapshots.push(Snapshots::start(storage, progress, settings, request)?);
                    let journal = JournalSource {
                        directory: config.journal.directory.clone(),
                        shard: part.shard as u32,
                        progress: Arc::clone(core.log.progress()),
                        durability: config.journal.durability,
                    };
                    self.start_shard(config, port, part, core, last_timestamp_ns, Some((handle, journal)))?;
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
        journal: Option<(ReplayHandle, JournalSource)>,
    ) -> anyhow::Result<()> {
        let Parts { shard, accounts, verifier, report, requests, .. } = part;
        let mut clock = Clock::new(last_timestamp_ns);
        let now = clock.now();
        let (replays, journal) = journal.unzip();
        let publisher = self.start_feed(config, shard, &mut core, &accounts, journal)?;
        configure(config, shard, &mut core, now.timestamp_ns)?;
        let mut ingress = Ingress::new(&config.session, accounts, verifier);
        ingress.adopt(&core, now.monotonic_ns);
        ingress.can_replay = replays.is_some();
        if config.gateway.listen.is_some() || config.gateway.drop_copy_listen.is_some() {
            let (shard_end, gateway_end) = gateway::rings();
            let timeout = Duration::from_secs(config.session.timeout_seconds);
            self.gateways.push(gateway::start(&config.gateway, shard, timeout, gateway_end)?);
            ingress.set_gateway(shard_end, config.gateway.max_connections);
        }
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

    /// The shard's way to publish its feed, if anyone is to receive it, and the threads that help receivers.
    fn start_feed<L: Log>(
        &mut self,
        config: &Config,
        shard: usize,
        core: &mut Core<L>,
        accounts: &Accounts,
        journal: Option<JournalSource>,
    ) -> anyhow::Result<Option<Publisher>> {
        if !feed::is_wanted(&config.feed) {
            return Ok(None);
        }
        let (session, next) = (core.shard.genesis.feed_session, core.shard.next_feed());
        core.egress.feed = Some(feed::stream(config.feed.window_bytes, session, next));
        let tap = if feed::is_followed(&config.feed) {
            let (writer, reader) = feed::tap::tap(config.feed.window_bytes);
            self.feeds.push(feed::start(config, shard, session, next, reader, accounts, journal)?);
            Some(writer)
        } else {
            None
        };
        let receivers = ports::receivers(config, shard, self._device.is_some())?;
        let gated = config.journal.durability == Durability::Disk;
        let spacing_ns = u64::from(config.feed.spacing_us) * 1000;
        Ok(Some(Publisher::new(receivers, tap, next, gated, spacing_ns)))
    }

    fn spawn<P: Port + Send + 'static, L: Log + Send + 'static>(
        &mut self,
        shard: usize,
        core: Option<usize>,
        mut runner: Runner<P, L>,
    ) -> anyhow::Result<()> {
        let stop = Arc::clone(&self.stop);
        let thread = std::thread::Builder::new()
            .name(format!("shard-{shard}"))
            .spawn(move || {
                if let Some(core) = core {
                    pin(core);
                }
                let ended = runner.run();
                if let Err(error) = &ended {
                    tracing::error!(shard, %error, "the shard stops, and the engine with it");
                    stop.store(true, Ordering::Release);
                }
                ended
            })
            .with_context(|| format!("cannot start the thread of shard {shard}"))?;
        self.threads.push(thread);
        Ok(())
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

/// A shard at its beginning: its first record is its genesis.
fn new_core<L: Log>(config: &Config, shard: usize, mut log: L) -> anyhow::Result<Core<L>> {
    let genesis = Genesis {
        shard: shard as u16,
        utc_offset_seconds: config.engine.utc_offset_seconds,
        max_orders: config.limits.max_orders,
        max_price_levels: config.limits.max_price_levels,
        max_sessions: config.session.max_sessions as u32,
        max_instruments: config.limits.max_instruments,
        feed_session: crate::ingress::random_name(b'F').context("no random name for the feed")?,
    };
    let mut buffer = [0; MAX_ENCODED];
    let length = Input::Genesis(genesis).encode(&mut buffer);
    let last = log.append(kind::GENESIS, Clock::new(0).now().timestamp_ns, &buffer[..length])?;
    Ok(Core { shard: Shard::new(genesis), egress: new_egress(config), log, last, failure: None })
}

fn new_egress(config: &Config) -> Egress {
    let gated = config.journal.durability == Durability::Disk;
    Egress::new(config.session.resend_window_bytes, gated, None)
}

/// A shard with its journal open for writing.
struct OpenJournal {
    core: Core<Writer<FileStorage>>,
    /// Timestamps go on from here.
    last_timestamp_ns: u64,
    background: Background,
    storage: FileStorage,
}

/// Recovers a shard from its journal, or begins one.
fn open_journal(config: &Config, shard: usize) -> anyhow::Result<OpenJournal> {
    let number = shard as u32;
    let durability = match config.journal.durability {
        Durability::Disk => journal::Durability::Disk,
        Durability::Memory | Durability::Process => journal::Durability::Process,
    };
    let settings = journal::Settings {
        durability,
        segment_size: config.journal.segment_bytes,
        ..journal::Settings::default()
    };
    let directory = &config.journal.directory;
    let context = || format!("shard {shard}, journal in {}", directory.display());
    let storage = FileStorage::open(directory, number, durability).with_context(context)?;
    let began = Instant::now();
    let recovered = recover(storage.clone(), number, new_egress(config)).with_context(context)?;
    let opened = journal::start(storage.clone(), number, recovered.end, settings).with_context(context)?;
    let core = match recovered.core {
        Some(core) => {
            tracing::info!(
                shard,
                records = recovered.records_replayed,
                snapshot = recovered.snapshot.0,
                sessions = core.shard.sessions(),
                resting_orders = core.shard.market().live_orders(),
                took = ?began.elapsed(),
                "recovered"
            );
            attach(core, opened.writer)
        }
        None => new_core(config, shard, opened.writer)?,
    };
    Ok(OpenJournal {
        core,
        last_timestamp_ns: recovered.last_timestamp_ns,
        background: opened.background,
        storage,
    })
}

/// Tells the shard what the configuration has and it does not know yet. What it knows stays: limits and reference prices
/// change by operator command, and a restart must not undo that.
fn configure<L: Log>(
    config: &Config,
    shard: usize,
    core: &mut Core<L>,
    timestamp_ns: u64,
) -> anyhow::Result<()> {
    for firm in &config.firms {
        let name = padded(&firm.name);
        if !core.shard.has_firm(&name) {
            core.input(&Input::Firm { firm: name, risk: firm.risk }, timestamp_ns)?;
        }
    }
    for (index, instrument) in config.instruments.iter().enumerate() {
        let symbol = padded(&instrument.symbol);
        if config.shard_of(index) != shard || core.shard.has_symbol(&symbol) {
            continue;
        }
        let input = InstrumentInput {
            symbol,
            tick: instrument.tick,
            lot: instrument.lot,
            max_quantity: instrument.max_quantity,
            reference_price: instrument.reference_price,
            collar_basis_points: instrument.collar_basis_points,
            state: trading_state(config.engine.initial_state),
        };
        core.input(&Input::Instrument(input), timestamp_ns)?;
        for firm in &config.firms {
            if firm.restricted.iter().any(|restricted| padded::<8>(restricted) == symbol) {
                let firm = padded(&firm.name);
                core.input(&Input::Restriction { firm, symbol, restricted: true }, timestamp_ns)?;
            }
        }
    }
    match core.failure.take() {
        Some(failure) => Err(failure.into()),
        None => Ok(()),
    }
}

fn symbols_of(config: &Config, shard: usize) -> Vec<[u8; 8]> {
    (0..config.instruments.len())
        .filter(|&index| config.shard_of(index) == shard)
        .map(|index| crate::config::padded(&config.instruments[index].symbol))
        .collect()
}

fn trading_state(name: TradingStateName) -> TradingState {
    match name {
        TradingStateName::PreOpen => TradingState::PreOpen,
        TradingStateName::Open => TradingState::Open,
        TradingStateName::Halted => TradingState::Halted,
        TradingStateName::Auction => TradingState::Auction,
        TradingStateName::Closed => TradingState::Closed,
    }
}

/// Keeps the calling thread on one CPU; without the permission it runs where it may, and says so.
pub fn pin(core: usize) {
    let mut set = nix::sched::CpuSet::new();
    let pinned =
        set.set(core).and_then(|()| nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set));
    if let Err(error) = pinned {
        tracing::warn!(core, %error, "cannot pin the shard's thread to its core");
    }
}
