//! One load test from the first login to the last answer: spreads the clients over threads, starts them together, watches, collects.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use crossbeam_utils::CachePadded;
use netio::idle::IdleStrategy;
use netio::{Peer, Port};
use serde::{Deserialize, Serialize};
use streams::{ReceiveConfig, SendConfig};

use crate::account::Account;
use crate::client::{Client, Credentials};
use crate::clock::{Clock, SystemClock};
use crate::coordination::{Coordination, Gauge, WorkerError, WorkerSettings};
use crate::mix::{Mix, MixSettings};
use crate::pace::Pace;
use crate::participant::Participant;
use crate::ports::Opened;
use crate::progress::{Progress, rate_message};
use crate::report::assemble::Outcome;
use crate::worker::{Finished, Worker};

/// Unanswered requests that the books of an open loop have room for, over all clients and for one.
const IN_FLIGHT_TOTAL: u32 = 1 << 21;
const IN_FLIGHT_MIN: u32 = 64;
const IN_FLIGHT_MAX: u32 = 1 << 16;

/// Up to this many clients each has a histogram with three significant digits; of more, with two, to bound the memory.
const FINE_HISTOGRAMS_MAX: usize = 64;

/// Everything starts this long after the last login, so that all threads see the start before it comes.
const START_DELAY_NS: u64 = 20_000_000;

/// How often the main thread looks at the workers.
const WATCH_INTERVAL: Duration = Duration::from_millis(50);
const LOGIN_INTERVAL: Duration = Duration::from_millis(5);
/// Over how long the rate is taken that is shown meanwhile.
const RATE_INTERVAL_NS: u64 = 500_000_000;

/// One of several generators that make a run together: which, of how many. Each has the same number of threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    pub generator: usize,
    pub generators: usize,
    /// Clients of the generators before this one.
    pub first_client: usize,
}

impl Default for Share {
    fn default() -> Self {
        Share { generator: 0, generators: 1, first_client: 0 }
    }
}

/// Who decides when a run starts.
pub trait Starter {
    /// Asked again and again once every client is logged in.
    fn start_ns(&self, now_ns: u64) -> Option<u64>;

    /// Told a few times a second how far the run is.
    fn progress(&self, _sent: u64, _answered: u64) {}
}

/// Starts as soon as everybody is there.
pub struct AtOnce;

impl Starter for AtOnce {
    fn start_ns(&self, now_ns: u64) -> Option<u64> {
        Some(now_ns + START_DELAY_NS)
    }
}

/// Everything that one load test needs to know. Times are in nanoseconds.
#[derive(Clone, Serialize, Deserialize)]
pub struct Plan {
    pub clients: Vec<Credentials>,
    /// Which part of the run this is, where several generators share it.
    pub share: Share,
    pub threads: usize,
    /// Instruments of each shard; as many entries as there are shards.
    pub symbols: Vec<Vec<[u8; 8]>>,
    pub mix: MixSettings,
    pub pace: Pace,
    pub orders_per_datagram: Option<u32>,
    pub warmup_ns: u64,
    pub duration_ns: u64,
    pub orders: Option<u64>,
    pub drain_ns: u64,
    pub connect_timeout_ns: u64,
    pub silence_ns: u64,
    pub reconnect: bool,
    pub cancel_open: bool,
    /// Of this machine, as is what follows: another generator has its own.
    #[serde(skip, default = "yielding")]
    pub idle: IdleStrategy,
    #[serde(skip)]
    pub cores: Vec<usize>,
    #[serde(skip)]
    pub quiet: bool,
}

fn yielding() -> IdleStrategy {
    IdleStrategy::Yield
}

impl Plan {
    fn check(&self, ports: usize) -> Result<()> {
        if self.clients.is_empty() || self.threads == 0 || self.symbols.is_empty() {
            bail!("--clients, --threads and --shards must be at least 1");
        }
        if ports != self.threads {
            bail!("{ports} ports for {} threads", self.threads);
        }
        if self.clients.len() < self.threads {
            bail!(
                "--threads {} for --clients {}: every thread needs a client",
                self.threads,
                self.clients.len()
            );
        }
        if let Some(empty) = self.symbols.iter().position(Vec::is_empty) {
            bail!(
                "--symbols names no instrument of shard {empty}: instrument i of the list is on shard i mod {}, \
                 so at least {} are needed",
                self.symbols.len(),
                self.symbols.len()
            );
        }
        self.mix.check().map_err(|problem| anyhow!(problem))
    }

    /// The shard that a client speaks to.
    fn shard_of(&self, client: usize) -> usize {
        (self.share.first_client + client) % self.symbols.len()
    }

    /// Clients of the busiest thread.
    pub fn clients_per_thread(&self) -> usize {
        self.clients.len().div_ceil(self.threads.max(1))
    }

    fn settings(&self, worker: usize) -> WorkerSettings {
        let (workers, worker) =
            (self.threads * self.share.generators, self.threads * self.share.generator + worker);
        let threads = workers as u64;
        let orders_max = match self.orders {
            // The first threads take what does not divide evenly.
            Some(orders) => orders / threads + u64::from((worker as u64) < orders % threads),
            None => u64::MAX,
        };
        WorkerSettings {
            pace: self.pace,
            orders_per_datagram: self.orders_per_datagram.unwrap_or(u32::MAX).max(1),
            warmup_ns: self.warmup_ns,
            duration_ns: self.duration_ns,
            orders_max,
            drain_ns: self.drain_ns,
            silence_ns: self.silence_ns,
            reconnect: self.reconnect,
            connect_timeout_ns: self.connect_timeout_ns,
            cancel_open: self.cancel_open,
            seed: self.mix.seed,
            worker,
            workers,
        }
    }

    fn participant(&self, index: usize, peer: Peer) -> (u16, Participant) {
        let shard = self.shard_of(index);
        let clients = self.clients.len() as u32;
        let in_flight = match self.pace {
            Pace::Closed { window } => window,
            Pace::Open(_) => (IN_FLIGHT_TOTAL / clients).clamp(IN_FLIGHT_MIN, IN_FLIGHT_MAX),
        };
        let digits = if self.clients.len() <= FINE_HISTOGRAMS_MAX { 3 } else { 2 };
        let client = Client::new(self.clients[index], peer, SendConfig::client(), ReceiveConfig::default());
        let account = Account::new(in_flight, self.mix.open_orders_max, digits);
        let symbols = self.symbols[shard].clone().into_boxed_slice();
        let number = (self.share.first_client + index) as u64;
        let mix = Mix::new(&self.mix, number, symbols.len().min(usize::from(u16::MAX)) as u16);
        (shard as u16, Participant::new(client, account, mix, symbols))
    }
}

/// What came out of a load test.
pub struct Executed {
    pub outcome: Outcome,
    pub interrupted: bool,
}

/// Runs the plan; `interrupt` ends it early and in good order.
pub fn execute<P: Port + Send>(
    plan: &Plan,
    ports: Vec<Opened<P>>,
    interrupt: &Arc<AtomicBool>,
    starter: &dyn Starter,
) -> Result<Executed> {
    plan.check(ports.len())?;
    let clock = SystemClock::start();
    let coordination = Coordination::default();
    let gauges: Vec<CachePadded<Gauge>> = (0..plan.threads).map(|_| CachePadded::default()).collect();
    let results = std::thread::scope(|scope| {
        let threads: Vec<_> = ports
            .into_iter()
            .enumerate()
            .map(|(thread, opened)| {
                let (coordination, gauge) = (&coordination, &gauges[thread]);
                let core = plan.cores.get(thread).copied();
                std::thread::Builder::new()
                    .name(format!("loadgen-{thread}"))
                    .spawn_scoped(scope, move || work(plan, thread, opened, clock, core, coordination, gauge))
                    .context("cannot start a thread")
            })
            .collect::<Result<_>>()
            .unwrap_or_else(|_| {
                coordination.abort.store(true, Ordering::Relaxed);
                Vec::new()
            });
        watch(plan, clock, &coordination, &gauges, interrupt, starter, || {
            threads.iter().all(|thread| thread.is_finished())
        });
        let joined = |thread: std::thread::ScopedJoinHandle<'_, Result<Finished>>| {
            thread.join().unwrap_or_else(|_| Err(anyhow!("a thread of the generator panicked")))
        };
        threads.into_iter().map(joined).collect::<Vec<Result<Finished>>>()
    });
    if results.is_empty() {
        bail!("cannot start the threads of the generator");
    }
    let mut finished = Vec::with_capacity(results.len());
    let mut first_error = None;
    for result in results {
        match result {
            Ok(worker) => finished.push(worker),
            // Threads that stopped because of another's error have nothing to add to it.
            Err(error)
                if error.downcast_ref::<WorkerError>().is_some_and(|e| matches!(e, WorkerError::Aborted)) => {
            }
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    // A thread that failed once orders flowed is among the finished ones, with its reason.
    if let Some(error) = first_error {
        return Err(error);
    }
    let interrupted = coordination.stop.load(Ordering::Relaxed);
    Ok(Executed { outcome: Outcome::collect(finished), interrupted })
}

fn work<P: Port>(
    plan: &Plan,
    thread: usize,
    opened: Opened<P>,
    clock: SystemClock,
    core: Option<usize>,
    coordination: &Coordination,
    gauge: &CachePadded<Gauge>,
) -> Result<Finished> {
    let result = (|| {
        if let Some(core) = core {
            pin(core)?;
        }
        let mine = (thread..plan.clients.len()).step_by(plan.threads);
        let participants = mine
            .enumerate()
            .map(|(place, index)| plan.participant(index, opened.peer(place, plan.shard_of(index))))
            .collect();
        let worker =
            Worker::new(opened.port, clock, plan.settings(thread), coordination, gauge, participants);
        Ok(worker.run(plan.idle)?)
    })();
    if result.as_ref().map_or(true, |finished: &Finished| finished.failure.is_some()) {
        coordination.abort.store(true, Ordering::Relaxed);
    }
    result
}

/// Pins the calling thread to a core.
pub fn pin(core: usize) -> Result<()> {
    let mut set = nix::sched::CpuSet::new();
    set.set(core).with_context(|| format!("--cores {core}: no such core"))?;
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set)
        .with_context(|| format!("--cores {core}: cannot pin a thread to it"))
}

/// Starts the workers together and follows them until all have ended.
fn watch(
    plan: &Plan,
    clock: SystemClock,
    coordination: &Coordination,
    gauges: &[CachePadded<Gauge>],
    interrupt: &AtomicBool,
    starter: &dyn Starter,
    finished: impl Fn() -> bool,
) {
    let total_ns = plan.warmup_ns + plan.duration_ns;
    let mut progress = Progress::new(total_ns / 1_000_000, plan.quiet);
    let sum = |pick: fn(&Gauge) -> &std::sync::atomic::AtomicU64| -> u64 {
        gauges.iter().map(|gauge| pick(gauge).load(Ordering::Relaxed)).sum()
    };
    let mut start_ns = 0;
    let (mut sample_ns, mut sample_answered, mut rate) = (0, 0, 0.0);
    while !finished() {
        std::thread::sleep(if start_ns == 0 { LOGIN_INTERVAL } else { WATCH_INTERVAL });
        let now_ns = clock.now_ns();
        if interrupt.load(Ordering::Relaxed) {
            coordination.stop.store(true, Ordering::Relaxed);
            if start_ns == 0 {
                coordination.abort.store(true, Ordering::Relaxed);
            }
        }
        if start_ns == 0 {
            let all_ready = coordination.ready.load(Ordering::Acquire) == plan.threads;
            if let Some(at_ns) = all_ready.then(|| starter.start_ns(now_ns)).flatten() {
                start_ns = at_ns.max(1);
                (sample_ns, sample_answered) = (start_ns, 0);
                coordination.start_ns.store(start_ns, Ordering::Release);
            } else {
                let logged_in = sum(|gauge| &gauge.logged_in);
                progress.update(0, || format!("{logged_in} of {} clients logged in", plan.clients.len()));
            }
            continue;
        }
        let (sent, answered) = (sum(|gauge| &gauge.sent), sum(|gauge| &gauge.answered));
        if now_ns >= sample_ns + RATE_INTERVAL_NS {
            rate = (answered - sample_answered) as f64 * 1e9 / (now_ns - sample_ns) as f64;
            (sample_ns, sample_answered) = (now_ns, answered);
            starter.progress(sent, answered);
        }
        let position = now_ns.saturating_sub(start_ns).min(total_ns) / 1_000_000;
        progress.update(position, || rate_message(rate, sent, answered));
    }
    progress.finish();
}
