//! The run of a seed: time passes, everyone takes turns, things go wrong, and the truth is compared. Then all faults end and everything has
//! to come right.

use super::broken::Broken;
use super::client::{Client, SYMBOLS};
use super::engine::{Engine, PATIENCE, SHARD, Setting, Sizes, StartError};
use super::hazards::{Hazard, Hazards};
use super::truth::Truth;
use super::{Options, Report, Violation};
use crate::log::format::{self, SECTOR};
use crate::log::sim::{Crash, Faults as DiskFaults, Injected};
use crate::log::{Durability, SimStorage};
use netio::Endpoint;
use netio::random::{Random, mixed};
use netio::sim::{Faults, PartitionId, SimNetwork};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

const MILLISECOND_NS: u64 = 1_000_000;
/// Within this time after the last fault everyone has to be served: session time-outs, log-ins and retries fit in several times.
const QUIET_MAX_NS: u64 = 90_000 * MILLISECOND_NS;
/// Starts in a row that may fail while the disk errs.
const STARTS_MAX: u32 = 100;
const CLIENTS_MAX: u64 = 6;
/// The machine's clock is set by up to two hours at a time.
const CLOCK_STEP_MAX: u64 = 7_200_000 * MILLISECOND_NS;
/// What the hazards draw is drawn apart, so that runs without them stay as they are.
const HAZARDS: u64 = 0x68a2_a4d5;
/// The book is compared as a whole every so many steps: it costs more than a step.
const BOOK_CHECK_STEPS: u64 = 64;

/// How bad this run is: drawn once, so that some runs have one kind of fault only.
struct Weather {
    engine_crash: f64,
    client_crash: f64,
    partition: f64,
    network: Faults,
    disk: DiskFaults,
    trading: f64,
    /// Of the machine's clock being set.
    clock_step: f64,
    /// Of a client that crashes, that it loses its memory too.
    forgetting: f64,
    /// Of the disk being busy with something else for a round.
    disk_busy: f64,
}

pub struct World {
    options: Options,
    random: Random,
    weather: Weather,
    network: SimNetwork,
    storage: SimStorage,
    durability: Durability,
    truth: Rc<RefCell<Truth>>,
    endpoint: Endpoint,
    engine: Option<Engine>,
    restart_ns: u64,
    starts_failed: u32,
    clients: Vec<Client>,
    partition: Option<(PartitionId, u64)>,
    sizes: Sizes,
    /// Draws what hazards need.
    hazards: Random,
    /// How far the machine's clock is off.
    clock_error_ns: i64,
    step: u64,
    report: Report,
}

/// How a step ended if not in the next one.
enum Stop {
    Violated(String),
    /// The run is over and no rule was broken.
    Ended,
}

impl From<String> for Stop {
    fn from(what: String) -> Self {
        Stop::Violated(what)
    }
}

fn weather(random: &mut Random, durability: Durability, broken: Option<Broken>) -> Weather {
    let scale = |random: &mut Random, max: f64| if random.chance(0.4) { 0.0 } else { max * random.unit() };
    let rate = |random: &mut Random, max: u64| if random.chance(0.6) { 0 } else { random.below(max) as u32 };
    let network = Faults {
        loss: scale(random, 0.2),
        duplication: scale(random, 0.1),
        reordering: scale(random, 0.2),
        reordering_delay_ns: 300_000,
        corruption_detected: scale(random, 0.02),
        delay_ns_min: 5_000,
        delay_ns_max: 5_000 + random.below(200_000),
        transmit_full: scale(random, 0.02),
        ..Faults::none()
    };
    let disk = DiskFaults {
        sync_error: rate(random, 3_000),
        short_write: rate(random, 2_000),
        write_error: rate(random, 2_000),
        misdirected_write: if durability == Durability::Disk { rate(random, 2_000) } else { 0 },
        bit_rot: if broken == Some(Broken::SkipCrc) { 1_000_000 } else { rate(random, 300_000) },
    };
    Weather {
        engine_crash: 0.001 + scale(random, 0.01),
        client_crash: scale(random, 0.005),
        partition: scale(random, 0.005),
        network,
        disk,
        trading: 0.1 + 0.9 * random.unit(),
        clock_step: 0.0,
        forgetting: 0.0,
        disk_busy: 0.0,
    }
}

/// How large the engine's tables and windows are, and what else the hazards bring.
fn sizes(hazards: Hazards, random: &mut Random, weather: &mut Weather) -> Sizes {
    let mut sizes = Sizes::AMPLE;
    if hazards.has(Hazard::Replays) {
        sizes.window_bytes = 1 << random.between(11, 13);
        weather.forgetting = random.unit();
        weather.client_crash += 0.01 * random.unit();
        weather.disk_busy = 1.0 - random.unit() * random.unit();
    }
    if hazards.has(Hazard::Clock) {
        weather.clock_step = 0.02 * random.unit();
    }
    if hazards.has(Hazard::Tables) {
        sizes.orders = 1 << random.between(2, 6);
        sizes.price_levels = random.between(2, 12) as u32;
        sizes.sessions = random.between(2, CLIENTS_MAX) as u32;
    }
    sizes
}

impl World {
    pub fn new(options: Options) -> Self {
        let mut random = Random::new(options.seed);
        let on_disk = random.chance(0.5) || options.broken == Some(Broken::UngatedReplay);
        let durability = if on_disk { Durability::Disk } else { Durability::Process };
        let mut weather = weather(&mut random, durability, options.broken);
        let mut hazards = Random::new(options.seed ^ HAZARDS);
        let some = options.allowed.some(&mut hazards, options.broken.and_then(Broken::needs));
        let sizes = sizes(some, &mut hazards, &mut weather);
        let network = SimNetwork::new(random.next_u64(), weather.network.clone());
        // The first start is on a disk that behaves: nothing has been promised that could be lost.
        let storage = SimStorage::new(random.next_u64(), durability, DiskFaults::default());
        Self {
            options,
            weather,
            network,
            storage,
            durability,
            truth: Rc::default(),
            endpoint: Endpoint::from(SocketAddr::from(([10, 0, 0, 1], 26_400))),
            engine: None,
            restart_ns: 0,
            starts_failed: 0,
            clients: Vec::new(),
            partition: None,
            sizes,
            hazards,
            clock_error_ns: 0,
            step: 0,
            report: Report::default(),
            random,
        }
    }

    pub fn run(mut self) -> Result<Report, Violation> {
        let Options { seed, steps, allowed, broken } = self.options;
        match self.live() {
            Ok(()) | Err(Stop::Ended) => {
                self.summarize();
                Ok(self.report)
            }
            Err(Stop::Violated(what)) => {
                Err(Violation { seed, steps, allowed, broken, step: self.step, what })
            }
        }
    }

    fn live(&mut self) -> Result<(), Stop> {
        for index in 1..=self.random.between(2, CLIENTS_MAX) as u8 {
            let random = self.random.fork();
            self.clients.push(Client::new(&self.network, self.endpoint, index, random)?);
        }
        self.start()?;
        self.storage.set_faults(self.weather.disk);
        while self.step < self.options.steps {
            self.step += 1;
            let pause = self.pause();
            self.network.advance(pause);
            self.strike()?;
            self.take_turns(true)?;
            if self.step.is_multiple_of(BOOK_CHECK_STEPS) {
                self.truth.borrow().check_book()?;
            }
        }
        self.quiet()
    }

    /// How long nothing happens: mostly as long as a datagram takes, now and then as long as a time-out.
    fn pause(&mut self) -> u64 {
        match self.random.below(1_000) {
            0 => self.random.between(2_000, 16_000) * MILLISECOND_NS,
            1..=9 => self.random.between(100, 1_600) * MILLISECOND_NS,
            10..=99 => self.random.between(1, 20) * MILLISECOND_NS,
            _ => self.random.between(1_000, 300_000),
        }
    }

    /// Whatever goes wrong now.
    fn strike(&mut self) -> Result<(), Stop> {
        let now_ns = self.network.now_ns();
        if self.random.chance(self.weather.client_crash) {
            let victim = self.random.index(self.clients.len());
            self.clients[victim].crash(now_ns)?;
            if self.hazards.chance(self.weather.forgetting) {
                self.clients[victim].forget();
            }
            self.report.client_crashes += 1;
        }
        if self.hazards.chance(self.weather.clock_step) {
            let by_ns = self.hazards.between(MILLISECOND_NS, CLOCK_STEP_MAX) as i64;
            self.clock_error_ns += if self.hazards.chance(0.5) { by_ns } else { -by_ns };
            self.report.clock_steps += 1;
        }
        match self.partition {
            Some((id, until_ns)) if now_ns >= until_ns => {
                self.network.heal(id);
                self.partition = None;
            }
            None if self.random.chance(self.weather.partition) => {
                let cut: Vec<Endpoint> =
                    self.clients.iter().map(Client::endpoint).filter(|_| self.random.chance(0.5)).collect();
                let until_ns = now_ns + self.random.below(3_000) * MILLISECOND_NS;
                self.partition = Some((self.network.partition(&[self.endpoint], &cut), until_ns));
                self.report.partitions += 1;
            }
            _ => {}
        }
        if self.random.chance(self.weather.engine_crash) {
            let Some(engine) = &self.engine else { return Ok(()) };
            match self.random.below(3) {
                // Between two rounds.
                0 => self.crash(),
                // At any byte of one of the next writes.
                1 => self.storage.die_after(self.random.below(2_000)),
                // Having sent some of the datagrams of a round.
                _ => engine.life.sends_left.set(Some(self.random.below(8))),
            }
        }
        Ok(())
    }

    /// The process ends, or the machine does if it was promised that this is survived.
    fn crash(&mut self) {
        self.engine = None;
        let power = self.durability == Durability::Disk && self.random.chance(0.5);
        self.storage.crash(if power { Crash::Power } else { Crash::Process });
        self.report.engine_crashes += 1;
        self.report.power_losses += u64::from(power);
        self.restart_ns = self.network.now_ns() + self.random.below(200) * MILLISECOND_NS;
    }

    fn take_turns(&mut self, faults: bool) -> Result<(), Stop> {
        let now_ns = self.network.now_ns();
        if self.engine.is_none() && now_ns >= self.restart_ns {
            if faults && self.random.chance(0.2) {
                // It dies again while it recovers.
                self.storage.die_after(self.random.below(20_000));
            }
            self.start()?;
        }
        if let Some(engine) = &mut self.engine {
            let (preparer, syncer, patience) = if faults {
                let busy = self.hazards.chance(self.weather.disk_busy);
                let syncer_steps = self.random.below(3);
                (self.random.below(8), if busy { 0 } else { syncer_steps }, self.random.below(16))
            } else {
                (8, 8, PATIENCE)
            };
            engine.background(preparer, syncer, patience);
            let questions = if faults { self.hazards.below(3) } else { 8 };
            self.report.replays += engine.replay(questions, &self.truth.borrow());
            engine.check_time(now_ns, self.clock_error_ns)?;
            let ended = self.storage.is_dead() || engine.turn(now_ns, self.clock_error_ns).is_err();
            let over = ended || self.storage.is_dead() || engine.life.is_over.get();
            // After a failed sync the process goes on until it is to write again. Somebody looks after it before long.
            if over || (engine.sync_failed() && self.random.chance(0.05)) {
                self.crash();
            }
        }
        self.truth.borrow_mut().catch_up()?;
        let truth = self.truth.borrow();
        for client in &mut self.clients {
            let trading = faults && self.random.chance(self.weather.trading);
            client.turn(now_ns, trading, &truth)?;
        }
        Ok(())
    }

    fn start(&mut self) -> Result<(), Stop> {
        let users: Vec<[u8; 6]> = self.clients.iter().map(|client| client.user).collect();
        let setting = Setting {
            network: &self.network,
            endpoint: self.endpoint,
            storage: &self.storage,
            truth: &self.truth,
            durability: self.durability,
            users: &users,
            symbols: &SYMBOLS,
            sizes: self.sizes,
            clock_error_ns: self.clock_error_ns,
            broken: self.options.broken,
            seed: self.options.seed,
        };
        match Engine::start(&setting) {
            Ok(engine) => {
                self.compare_clients()?;
                self.starts_failed = 0;
                self.report.torn_tails += u64::from(engine.torn);
                self.engine = Some(engine);
                if self.storage.is_dead() {
                    self.crash();
                }
                Ok(())
            }
            Err(StartError::Untrue { what, lost }) => Err(self.blame(what, lost)),
            Err(StartError::Refused(error)) => {
                if self.storage.injected().is_empty() {
                    return Err(Stop::Violated(format!("refused to start on a sound disk: {error}")));
                }
                self.report.refused = true;
                Err(Stop::Ended)
            }
            Err(StartError::Failed(what)) => {
                self.starts_failed += 1;
                if self.starts_failed > STARTS_MAX {
                    return Err(Stop::Violated(format!("does not start: {what}")));
                }
                self.crash();
                Ok(())
            }
        }
    }

    /// After a recovery: what clients know is still so.
    fn compare_clients(&self) -> Result<(), String> {
        let truth = self.truth.borrow();
        self.clients.iter().try_for_each(|client| client.compare(&truth))?;
        truth.check_book()
    }

    /// Something that was promised is gone. That is nobody's fault only if the disk damaged the records at the very end.
    fn blame(&mut self, what: String, lost: bool) -> Stop {
        if lost && self.storage.injected().iter().any(|injected| self.is_at_the_end(injected)) {
            self.report.tail_damaged = true;
            return Stop::Ended;
        }
        let damage = self.storage.injected();
        Stop::Violated(if damage.is_empty() {
            what
        } else {
            format!("{what}, and the disk had damaged {damage:?}")
        })
    }

    /// Whether damage lies in the last written segment, behind what a mark vouches for. A sector gone astray damages two places.
    fn is_at_the_end(&self, injected: &Injected) -> bool {
        let (file, last_damaged) = match injected {
            Injected::BitRot { file, offset, .. } => (file, *offset),
            Injected::Misdirected { file, from, to } => (file, *from.max(to)),
        };
        let Some(bytes) = self.storage.contents(file) else { return false };
        let mark = format::MARK_OFFSETS
            .iter()
            .filter_map(|&slot| format::SyncMark::decode(bytes.get(slot..slot + format::MARK_LENGTH)?))
            .max_by_key(|mark| mark.generation);
        let ordinal = format::segment_ordinal(file, SHARD);
        ordinal.is_some() && mark.is_some_and(|mark| last_damaged + SECTOR as u64 > mark.offset)
    }

    /// All faults end. Everyone is served within the time that takes, and everything agrees.
    fn quiet(&mut self) -> Result<(), Stop> {
        self.network.set_faults(Faults { delay_ns_min: 10_000, delay_ns_max: 20_000, ..Faults::none() });
        self.storage.set_faults(DiskFaults::default());
        if let Some((id, _)) = self.partition.take() {
            self.network.heal(id);
        }
        if self.engine.as_ref().is_some_and(Engine::sync_failed) {
            self.crash();
        }
        let end_ns = self.network.now_ns() + QUIET_MAX_NS;
        loop {
            self.network.advance(MILLISECOND_NS);
            self.take_turns(false)?;
            let missing = self.clients.iter().find_map(|client| client.missing(&self.truth.borrow()));
            let Some(missing) = missing else { break };
            if self.network.now_ns() >= end_ns {
                return Err(Stop::Violated(format!("no faults any more, but {missing}")));
            }
        }
        self.compare_clients()?;
        Ok(())
    }

    fn summarize(&mut self) {
        let truth = self.truth.borrow();
        self.report.records = truth.last().0;
        self.report.executions = truth.executions();
        self.report.refused_by_tables =
            truth.no_room() + self.clients.iter().map(|client| client.refused).sum::<u64>();
        let mut fingerprint = self.network.now_ns() ^ truth.state_hash().unwrap_or(0);
        for message in self.clients.iter().flat_map(Client::received) {
            self.report.messages_received += 1;
            for chunk in message.chunks(8) {
                let mut word = [0; 8];
                word[..chunk.len()].copy_from_slice(chunk);
                fingerprint ^= u64::from_le_bytes(word);
                fingerprint = mixed(fingerprint);
            }
        }
        self.report.fingerprint = fingerprint;
    }
}
