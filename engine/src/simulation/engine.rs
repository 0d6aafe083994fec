//! The engine as the simulation runs it: the real parts, stepped by hand. It is what `start` and `runner::run` are for threads.

use super::broken::{self, Broken};
use super::client::PASSWORD;
use super::truth::Truth;
use super::wiring::{Background, EnginePort, Life, Recording};
use crate::accounts::Accounts;
use crate::accounts::keyed::Key;
use crate::accounts::verify::{Answer, Lanes, Question, VerifierHandle};
use crate::assembly::{Assembly, Parts};
use crate::clock::{Clock, Now};
use crate::config::{
    Account, Config, EngineConfig, FirmConfig, InstrumentConfig, JournalConfig, LimitsConfig, LoginCookies,
    RiskConfig, SessionConfig,
};
use crate::core::Core;
use crate::history::recovery::RecoveryError;
use crate::inputs::SessionId;
use crate::log::recovery::{self as log_recovery, assemble};
use crate::log::writer::Log;
use crate::log::{Durability, JournalError, Settings, SimStorage, Tail, Writer};
use crate::runner::{Runner, SharedReport};
use netio::Endpoint;
use netio::idle::IdleStrategy;
use netio::random::Random;
use netio::sim::SimNetwork;
use rtrb::{Producer, RingBuffer};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

pub const SHARD: u32 = 0;
/// Small, so that runs see many segments.
const SEGMENT_BYTES: u64 = 32 << 10;
/// Steps of the journal's threads within the longest wait for a segment: a batch fills three segments, and one takes six steps.
pub const PATIENCE: u64 = 64;
const FIRM: [u8; 4] = *b"SIMU";
const MAX_SESSIONS: usize = 16;
const WINDOW_BYTES: usize = 512 << 10;
/// Nanoseconds since the Unix epoch at which simulations begin: a weekday at noon.
pub const EPOCH_NS: u64 = 1_767_787_200_000_000_000;

/// What an engine is started with, each time anew.
pub struct Setting<'a> {
    pub network: &'a SimNetwork,
    pub endpoint: Endpoint,
    pub storage: &'a SimStorage,
    pub truth: &'a Rc<RefCell<Truth>>,
    pub durability: Durability,
    pub users: &'a [[u8; 6]],
    pub symbols: &'a [[u8; 8]],
    pub broken: Option<Broken>,
    pub seed: u64,
}

pub struct Engine {
    pub runner: Runner<EnginePort, Recording<Writer<SimStorage>>>,
    background: Rc<RefCell<Background>>,
    questions: Lanes,
    answers: Producer<Answer>,
    pub life: Rc<Life>,
    started_ns: u64,
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
        let torn = recovered.end.tail != Tail::Clean;
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
        let settings = Settings {
            durability,
            segment_size: SEGMENT_BYTES,
            segments_ahead: 2,
            // One thread: `Recording` lets the others work while this one waits.
            stall_max: Duration::ZERO,
        };
        let log_recovery::Parts { writer, preparer, syncer } =
            assemble(storage.clone(), SHARD, recovered.end, settings)?;
        let late = broken == Some(Broken::AcknowledgeBeforeAppend);
        let background = Rc::new(RefCell::new(Background::new(preparer, syncer, PATIENCE)));
        let log =
            Recording::new(writer, Rc::clone(&background), Rc::clone(truth), storage.clone(), last, late);
        let timestamp_ns = recovered.last_timestamp_ns.max(EPOCH_NS + started_ns);
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
        let parts = Parts {
            clock: Clock::new(recovered.last_timestamp_ns),
            accounts,
            verifier,
            stop: Arc::default(),
            report: SharedReport::default(),
            requests,
            replays: None,
            gateway: None,
            publisher: None,
        };
        let mut runner = assembly.runner(port, core, parts);
        runner.begin();
        Ok(Self { runner, background, questions, answers, life, started_ns, torn })
    }

    /// One round of the shard's thread.
    pub fn turn(&mut self, now_ns: u64) -> Result<(), String> {
        while let Some(Question { ticket, account, password }) = self.questions.pop() {
            let correct = account.is_some() && password == PASSWORD;
            // As many answers as questions fit.
            let _ = self.answers.push(Answer { ticket, correct });
        }
        self.runner.core.log.catch_up().map_err(|error| error.to_string())?;
        let received = self.runner.receive().map_err(|error| error.to_string())?;
        let now = Now { monotonic_ns: now_ns - self.started_ns, timestamp_ns: EPOCH_NS + now_ns };
        self.runner.turn_at(received, now).map(|_| ()).map_err(|error| error.to_string())
    }

    /// What the journal's threads may do in the meantime, and while the next round waits for them.
    pub fn background(&mut self, preparer_steps: u64, syncer_steps: u64, patience: u64) {
        self.background.borrow_mut().between_rounds(preparer_steps, syncer_steps, patience);
    }

    pub fn sync_failed(&self) -> bool {
        self.background.borrow().sync_failed
    }
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
            max_sessions: MAX_SESSIONS,
            resend_window_bytes: WINDOW_BYTES,
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
            max_orders: 4_096,
            max_price_levels: 256,
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
