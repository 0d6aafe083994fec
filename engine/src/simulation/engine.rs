//! The engine as the simulation runs it: the real parts, stepped by hand. It is what `start` and `runner::run` are for threads.

use super::broken::{self, Broken};
use super::client::PASSWORD;
use super::truth::Truth;
use super::wiring::{Background, EnginePort, Life, Recording, Replaying};
use crate::accounts::Accounts;
use crate::accounts::keyed::Key;
use crate::accounts::verify::{Answer, Lanes, Question, VerifierHandle};
use crate::assembly::{Assembly, Parts};
use crate::clock::{Clock, Now, Timeline};
use crate::config::{
    Account, Config, EngineConfig, FirmConfig, InstrumentConfig, JournalConfig, LimitsConfig, LoginCookies,
    RiskConfig, SessionConfig,
};
use crate::core::Core;
use crate::history::recovery::RecoveryError;
use crate::history::replay;
use crate::history::source::LogSource;
use crate::inputs::SessionId;
use crate::log::reopen::{self as log_reopen, assemble};
use crate::log::writer::Log;
use crate::log::{Durability, Ending, JournalError, JournalSettings, SimStorage, Writer};
use crate::runner::{Runner, SharedReport};
use crate::session::Route;
use netio::idle::IdleStrategy;
use netio::random::Random;
use netio::sim::SimNetwork;
use netio::{Endpoint, Port};
use rtrb::{Producer, RingBuffer};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use wire::moldudp64::PacketWriter;

pub const SHARD: u32 = 0;
/// Small, so that runs see many segments.
const SEGMENT_BYTES: u64 = 32 << 10;
/// Steps of the journal's threads within the longest wait for a segment: a batch fills three segments, and one takes seven steps.
pub const PATIENCE: u64 = 64;
const FIRM: [u8; 4] = *b"SIMU";
/// Nanoseconds since the Unix epoch at which simulations begin: a weekday at noon.
pub const EPOCH_NS: u64 = 1_767_787_200_000_000_000;

/// How large its tables and windows are.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    pub orders: u32,
    pub price_levels: u32,
    pub sessions: u32,
    pub window_bytes: usize,
}

impl Sizes {
    /// Room for all that clients think of.
    pub const AMPLE: Sizes =
        Sizes { orders: 4_096, price_levels: 256, sessions: 16, window_bytes: 512 << 10 };
}

/// What an engine is started with, each time anew.
pub struct Setting<'a> {
    pub network: &'a SimNetwork,
    pub endpoint: Endpoint,
    pub storage: &'a SimStorage,
    pub truth: &'a Rc<RefCell<Truth>>,
    pub durability: Durability,
    pub users: &'a [[u8; 6]],
    pub symbols: &'a [[u8; 8]],
    pub sizes: Sizes,
    /// How far the machine's clock is off.
    pub clock_error_ns: i64,
    pub broken: Option<Broken>,
    pub seed: u64,
}

pub struct Engine {
    pub runner: Runner<EnginePort, Recording<Writer<SimStorage>>>,
    background: Rc<RefCell<Background>>,
    replaying: Replaying,
    questions: Lanes,
    answers: Producer<Answer>,
    pub life: Rc<Life>,
    started_ns: u64,
    timeline: Timeline,
    /// Time of the last round, and its timestamp.
    last: (u64, u64),
    frozen: bool,
    pub torn: bool,
}

/// Why there is no engine.
pub enum StartError {
    /// The journal is not as it should be, and said so.
    Refused(RecoveryError),
    /// The disk erred, or the process died, while it started.
    Failed(String),
    /// What is there is not what was promised.
    Untrue {
        what: String,
        /// Records are gone whose replies may have left.
        lost: bool,
    },
}

impl From<JournalError> for StartError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Storage(error) => StartError::Failed(error.to_string()),
            other => StartError::Refused(other.into()),
        }
    }
}

impl Engine {
    /// Recovers what the disk has, compares it with the truth, and goes on from there.
    pub fn start(setting: &Setting<'_>) -> Result<Self, StartError> {
        let failed = |what: &dyn ToString| StartError::Failed(what.to_string());
        let Setting { network, storage, truth, durability, broken, .. } = *setting;
        if broken == Some(Broken::SkipCrc) {
            broken::reseal(storage, SHARD);
        }
        let config = config(setting);
        let started_ns = network.now_ns();
        let mut assembly = Assembly::new(&config, SHARD as usize);
        let mut random = Random::new(setting.seed ^ started_ns);
        assembly.names = Box::new(move |first| {
            let mut name = [first; 10];
            name[1..].iter_mut().for_each(|byte| *byte = b'a' + random.below(26) as u8);
            Ok(name)
        });
        let recovered = match assembly.recover(storage.clone()) {
            Ok(recovered) => recovered,
            Err(RecoveryError::Journal(error)) => return Err(error.into()),
            Err(error) => return Err(StartError::Refused(error)),
        };
        let last = recovered.end.last;
        let torn = recovered.end.tail != Ending::Clean;
        let released = truth.borrow().released();
        if last < released {
            let what = format!("record {released} was released, and the journal ends at {last}");
            return Err(StartError::Untrue { what, lost: true });
        }
        let untrue = |what| StartError::Untrue { what, lost: false };
        truth.borrow_mut().cut(last).map_err(untrue)?;
        let mut core = recovered.core;
        if let Some(core) = &mut core {
            compare(core, &truth.borrow()).map_err(untrue)?;
        }
        let settings = JournalSettings {
            durability,
            segment_size: SEGMENT_BYTES,
            segments_ahead: 2,
            // One thread: `Recording` lets the others work while this one waits.
            stall_max: Duration::ZERO,
        };
        let log_reopen::Parts { writer, preparer, syncer } =
            assemble(storage.clone(), SHARD, recovered.end, settings)?;
        let progress = Arc::clone(writer.progress());
        let late = broken == Some(Broken::AcknowledgeBeforeAppend);
        let background = Rc::new(RefCell::new(Background::new(preparer, syncer, PATIENCE)));
        let log =
            Recording::new(writer, Rc::clone(&background), Rc::clone(truth), storage.clone(), last, late);
        let wall_ns = wall_ns(started_ns, setting.clock_error_ns);
        let mut timeline = Timeline::new(recovered.last_timestamp_ns, wall_ns);
        let timestamp_ns = timeline.at(0, || wall_ns);
        if broken == Some(Broken::ForgetSequence)
            && let Some(core) = &mut core
        {
            core.sessions = assembly.sessions();
            for session in 0..core.shard.sessions() {
                if let Some(trader) = core.shard.trader(session as SessionId) {
                    core.sessions.add(trader.name, 1, trader.next_upstream);
                }
            }
        }
        let mut core = assembly.core(core, log, timestamp_ns).map_err(|error| failed(&error))?;
        assembly.configure(&mut core, timestamp_ns).map_err(|error| failed(&error))?;
        let accounts = Accounts::new(setting.users.iter().map(account).collect());
        let mut cookies = Random::new(setting.seed.wrapping_add(started_ns));
        let key = Key::from_bytes(std::array::from_fn(|_| cookies.below(256) as u8));
        let (verifier, questions, answers) = VerifierHandle::by_hand(key).map_err(|error| failed(&error))?;
        let life = Rc::new(Life::default());
        let port = network.open(setting.endpoint).map_err(|error| failed(&error))?;
        let takes_duplicates = broken == Some(Broken::DropDedupe);
        let port = EnginePort::new(port, storage.clone(), Rc::clone(&life), takes_duplicates);
        let (_, requests) = RingBuffer::new(1);
        let (replays, desk) = replay::rings();
        let source = LogSource::new(storage.clone(), SHARD, progress);
        let replaying = Replaying::new(source, desk, broken == Some(Broken::UngatedReplay));
        let parts = Parts {
            // Not read: rounds are given their time.
            clock: Clock::new(0),
            accounts,
            verifier,
            stop: Arc::default(),
            report: SharedReport::default(),
            requests,
            replays: Some(replays),
            gateway: None,
            publisher: None,
        };
        let mut runner = assembly.runner(port, core, parts);
        runner.begin();
        let frozen = broken == Some(Broken::FrozenClock);
        let last = (0, timestamp_ns);
        Ok(Self {
            runner,
            background,
            replaying,
            questions,
            answers,
            life,
            started_ns,
            timeline,
            last,
            frozen,
            torn,
        })
    }

    /// One round of the shard's thread.
    pub fn turn(&mut self, now_ns: u64, clock_error_ns: i64) -> Result<(), String> {
        while let Some(Question { ticket, account, password }) = self.questions.pop() {
            let correct = account.is_some() && password == PASSWORD;
            // As many answers as questions fit.
            let _ = self.answers.push(Answer { ticket, correct });
        }
        self.runner.core.log.catch_up().map_err(|error| error.to_string())?;
        let received = self.runner.receive().map_err(|error| error.to_string())?;
        let (monotonic_ns, timestamp_ns) = self.time(now_ns, clock_error_ns);
        let now = Now { monotonic_ns, timestamp_ns };
        self.runner.turn_at(received, now).map(|_| ()).map_err(|error| error.to_string())
    }

    /// Time passes in the timestamps as well, whatever the machine's clock does: at least half of what passed since the last look.
    pub fn check_time(&mut self, now_ns: u64, clock_error_ns: i64) -> Result<(), String> {
        let (monotonic_ns, timestamp_ns) = self.time(now_ns, clock_error_ns);
        let (last_ns, last_timestamp_ns) = std::mem::replace(&mut self.last, (monotonic_ns, timestamp_ns));
        let elapsed_ns = monotonic_ns - last_ns;
        if timestamp_ns < last_timestamp_ns.saturating_add(elapsed_ns / 2) {
            return Err(format!(
                "in {elapsed_ns} ns timestamps went from {last_timestamp_ns} to {timestamp_ns}"
            ));
        }
        Ok(())
    }

    fn time(&mut self, now_ns: u64, clock_error_ns: i64) -> (u64, u64) {
        let monotonic_ns = now_ns - self.started_ns;
        let wall_ns = wall_ns(now_ns, clock_error_ns);
        let timestamp_ns = match self.frozen {
            true => wall_ns.max(self.last.1),
            false => self.timeline.at(monotonic_ns, || wall_ns),
        };
        (monotonic_ns, timestamp_ns)
    }

    /// What the replay thread may do in the meantime. Returns the questions that it looked into.
    pub fn replay(&mut self, steps: u64, truth: &Truth) -> u64 {
        let Self { replaying, runner, .. } = self;
        let mut send = |session, from| send_past(runner, session, from, truth);
        (0..steps).take_while(|_| replaying.step(&mut send)).count() as u64
    }

    /// What the journal's threads may do in the meantime, and while the next round waits for them.
    pub fn background(&mut self, preparer_steps: u64, syncer_steps: u64, patience: u64) {
        self.background.borrow_mut().between_rounds(preparer_steps, syncer_steps, patience);
    }

    pub fn sync_failed(&self) -> bool {
        self.background.borrow().sync_failed
    }
}

/// Sends a session's messages whether they were released or not.
fn send_past<L: Log>(runner: &mut Runner<EnginePort, L>, session: SessionId, from: u64, truth: &Truth) {
    let target = &runner.core.sessions[session];
    let Route::Datagrams(peer) = target.route else { return };
    let name = *target.downstream.stream.session();
    let all = truth.sessions.get(session as usize).map_or(&[][..], |streams| &streams.downstream);
    for (sequence, message) in (1..).zip(all).skip(from.saturating_sub(1) as usize) {
        let sent = runner.port.send(&peer, |out| {
            let Some(mut writer) = PacketWriter::new(out, name, sequence) else { return 0 };
            writer.push(message);
            writer.finish()
        });
        if sent.is_err() {
            return;
        }
    }
}

/// What the machine's clock says.
fn wall_ns(now_ns: u64, clock_error_ns: i64) -> u64 {
    (EPOCH_NS + now_ns).saturating_add_signed(clock_error_ns)
}

/// What an operator would write for it.
fn config(setting: &Setting<'_>) -> Config {
    let name = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    let symbols: Vec<String> = setting.symbols.iter().map(|symbol| name(symbol)).collect();
    let firm = FirmConfig {
        name: name(&FIRM),
        risk: RiskConfig::default(),
        restricted: Vec::new(),
        market_maker: symbols.clone(),
        primary_market_maker: Vec::new(),
    };
    let instrument = |symbol| InstrumentConfig {
        symbol,
        tick: 100,
        lot: 1,
        max_quantity: 999_999,
        reference_price: 1_000_000,
        collar_basis_points: 0,
        shard: None,
    };
    Config {
        engine: EngineConfig { idle: IdleStrategy::Spin, ..EngineConfig::default() },
        session: SessionConfig {
            max_sessions: setting.sizes.sessions as usize,
            resend_window_bytes: setting.sizes.window_bytes,
            parked_datagrams: 64,
            // Half of all runs are of a venue where a login always takes two rounds.
            login_cookies: if setting.seed.is_multiple_of(2) {
                LoginCookies::Auto
            } else {
                LoginCookies::Always
            },
            ..SessionConfig::default()
        },
        journal: JournalConfig { durability: setting.durability, ..JournalConfig::default() },
        limits: LimitsConfig {
            max_orders: setting.sizes.orders,
            max_price_levels: setting.sizes.price_levels,
            max_instruments: symbols.len() as u32,
            ..LimitsConfig::default()
        },
        instruments: symbols.into_iter().map(instrument).collect(),
        firms: vec![firm],
        ..Config::default()
    }
}

fn account(user: &[u8; 6]) -> Account {
    Account {
        user: *user,
        password_hash: String::new(),
        firm: FIRM,
        cancel_on_disconnect: user[5].is_multiple_of(2),
        drop_copy: false,
        risk: RiskConfig::default(),
    }
}

/// A recovered core is what a replay of the same records by itself gives: state, and every message that waits to be asked for.
fn compare<L: Log>(core: &mut Core<L>, truth: &Truth) -> Result<(), String> {
    let (found, expected) = (core.shard.state_hash(), truth.state_hash());
    if expected != Some(found) {
        return Err(format!(
            "recovered state has hash {found:016x}, a replay of what was written {expected:016x?}"
        ));
    }
    for session in 0..core.shard.sessions() {
        let stream = &core.sessions[session as SessionId].downstream.stream;
        let expected = &truth.sessions[session].downstream;
        if stream.next() != expected.len() as u64 + 1 {
            return Err(format!(
                "session {session} goes on at {}, not {}",
                stream.next(),
                expected.len() + 1
            ));
        }
        for sequence in stream.first()..stream.next() {
            if stream.message(sequence) != Some(expected[sequence as usize - 1].as_slice()) {
                return Err(format!("session {session}: message {sequence} is not what it was"));
            }
        }
    }
    Ok(())
}
