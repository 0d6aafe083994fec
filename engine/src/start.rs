//! From a configuration to running shards: builds every part, starts the threads, and stops them again.

use crate::admin::{AdminRequest, AdminServer, ShardHandle};
use crate::clock::Clock;
use crate::config::{Config, Durability, TradingStateName};
use crate::core::Core;
use crate::egress::Egress;
use crate::ingress::verify::{Verifier, VerifierHandle};
use crate::ingress::{Accounts, Ingress};
use crate::journal::Lsn;
use crate::journal::writer::{Log, NoJournal};
use crate::ports::{self, Ports};
use crate::runner::{RunError, Runner, SharedReport};
use crate::shard::Shard;
use crate::shard::input::{Genesis, Input, InstrumentInput};
use anyhow::Context;
use book::TradingState;
use netio::Port;
use rtrb::Consumer;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// A running engine.
pub struct Engine {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<(), RunError>>>,
    reports: Vec<SharedReport>,
    _verifier: Verifier,
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
}

impl Engine {
    /// Builds and starts everything.
    ///
    /// # Errors
    /// The first part that could not be set up, by name, with what the system said.
    pub fn start(config: &Config) -> anyhow::Result<Self> {
        let accounts = Accounts::new(config.expanded_accounts().into());
        let (verifier, verifiers) = Verifier::start(Arc::clone(&accounts.list), config.engine.shards)
            .context("cannot start the verifier thread")?;
        let mut handles = Vec::new();
        let mut parts = Vec::new();
        for (shard, verifier) in verifiers.into_iter().enumerate() {
            let report = SharedReport::default();
            let (handle, requests) = ShardHandle::new(report.clone(), symbols_of(config, shard));
            handles.push(handle);
            parts.push(Parts { shard, accounts: accounts.clone(), verifier, report, requests });
        }
        let mut engine = Self {
            stop: Arc::new(AtomicBool::new(false)),
            threads: Vec::new(),
            reports: parts.iter().map(|part| part.report.clone()).collect(),
            _verifier: verifier,
            _device: None,
            _admin: None,
        };
        // The admin address first: it is the likeliest to be taken, and nothing has to be undone then.
        engine._admin = config
            .admin
            .listen
            .map(|listen| AdminServer::start(listen, config.admin.token.clone(), handles))
            .transpose()?;
        match ports::open(config)? {
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
            let Parts { shard, accounts, verifier, report, requests } = part;
            tracing::info!(shard, address = %ports::address(config, shard), "listening");
            let core = new_core(config, shard, NoJournal::default())?;
            let mut ingress = Ingress::new(&config.session, accounts, verifier);
            ingress.adopt(&core);
            let gated = config.journal.durability == Durability::Disk;
            let runner = Runner::new(
                port,
                ingress,
                core,
                Clock::new(0),
                config.engine.idle,
                gated,
                Arc::clone(&self.stop),
                report,
                requests,
            );
            self.spawn(shard, config.engine.cores.get(shard).copied(), runner)?;
        }
        Ok(())
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
    /// The first shard that had failed.
    pub fn stop(self) -> Result<(), RunError> {
        self.stop.store(true, Ordering::Release);
        let mut result = Ok(());
        for thread in self.threads {
            match thread.join() {
                Ok(ended) => result = result.and(ended),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        result
    }
}

/// A shard at its beginning: genesis, firms, instruments.
fn new_core<L: Log>(config: &Config, shard: usize, log: L) -> anyhow::Result<Core<L>> {
    let genesis = Genesis {
        shard: shard as u16,
        utc_offset_seconds: config.engine.utc_offset_seconds,
        max_orders: config.limits.max_orders,
        max_price_levels: config.limits.max_price_levels,
        max_sessions: config.session.max_sessions as u32,
        max_instruments: config.limits.max_instruments,
        feed_session: crate::ingress::random_name(b'F').context("no random name for the feed")?,
    };
    let egress =
        Egress::new(config.session.resend_window_bytes, config.journal.durability == Durability::Disk, None);
    let mut core = Core { shard: Shard::new(genesis), egress, log, last: Lsn(0), failure: None };
    let timestamp_ns = Clock::new(0).now().timestamp_ns;
    for firm in &config.firms {
        let input = Input::Firm { firm: crate::config::padded(&firm.name), risk: firm.risk };
        core.input(&input, timestamp_ns)?;
    }
    for (index, instrument) in config.instruments.iter().enumerate() {
        if config.shard_of(index) != shard {
            continue;
        }
        let input = InstrumentInput {
            symbol: crate::config::padded(&instrument.symbol),
            tick: instrument.tick,
            lot: instrument.lot,
            max_quantity: instrument.max_quantity,
            reference_price: instrument.reference_price,
            collar_basis_points: instrument.collar_basis_points,
            state: trading_state(config.engine.initial_state),
        };
        core.input(&Input::Instrument(input), timestamp_ns)?;
    }
    for firm in &config.firms {
        for symbol in &firm.restricted {
            let symbol = crate::config::padded(symbol);
            if core.shard.has_symbol(&symbol) {
                let firm = crate::config::padded(&firm.name);
                core.input(&Input::Restriction { firm, symbol, restricted: true }, timestamp_ns)?;
            }
        }
    }
    Ok(core)
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
