//! The engine as the simulation runs it: the real parts, stepped by hand. It is what `start` and `runner::run` are for threads.

use super::broken::{self, Broken};
use super::client::PASSWORD;
use super::truth::Truth;
use super::wiring::{Background, EnginePort, Life, Recording};
use crate::accounts::keyed::Key;
use crate::accounts::verify::{Answer, Lanes, Question, VerifierHandle};
use crate::clock::{Clock, Now};
use crate::config::{Account, RiskConfig, SessionConfig};
use crate::core::Core;
use crate::history::recovery::{RecoveryError, attach, recover};
use crate::inputs::{
    FirmRight, FirmRights, Genesis, Input, InstrumentInput, MAX_ENCODED, Role, SessionId, kind,
};
use crate::log::recovery::{Parts, assemble};
use crate::log::writer::Log;
use crate::log::{Durability, JournalError, Settings, SimStorage, Tail, Writer};
use crate::runner::{Runner, SharedReport};
use crate::session::downstream::Egress;
use crate::session::{Accounts, Ingress};
use crate::shard::Shard;
use book::TradingState;
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
        let Setting { network, storage, truth, durability, symbols, broken, .. } = *setting;
        if broken == Some(Broken::SkipCrc) {
            broken::reseal(storage, SHARD);
        }
        let gated = durability == Durability::Disk;
        let recovered = match recover(storage.clone(), SHARD, Egress::new(WINDOW_BYTES, gated, None)) {
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
        let Parts { writer, preparer, syncer } = assemble(storage.clone(), SHARD, recovered.end, settings)?;
        let late = broken == Some(Broken::AcknowledgeBeforeAppend);
        let background = Rc::new(RefCell::new(Background::new(preparer, syncer, PATIENCE)));
        let mut log =
            Recording::new(writer, Rc::clone(&background), Rc::clone(truth), storage.clone(), last, late);
        let started_ns = network.now_ns();
        let timestamp_ns = recovered.last_timestamp_ns.max(EPOCH_NS + started_ns);
        let mut core = match core {
            Some(mut core) => {
                if broken == Some(Broken::ForgetSequence) {
                    core.egress = Egress::new(WINDOW_BYTES, gated, None);
                    for session in 0..core.shard.sessions() {
                        if let Some(trader) = core.shard.trader(session as SessionId) {
                            core.egress.add_session(trader.name, 1);
                        }
                    }
                }
                attach(core, log)
            }
            None => {
                let genesis = genesis(symbols.len() as u32);
                let mut buffer = [0; MAX_ENCODED];
                let length = Input::Genesis(genesis).encode(&mut buffer);
                let last = log
                    .append(kind::GENESIS, timestamp_ns, &buffer[..length])
                    .map_err(|error| failed(&error))?;
                let egress = Egress::new(WINDOW_BYTES, gated, None);
                Core { shard: Shard::new(genesis), egress, log, last, failure: None }
            }
        };
        configure(&mut core, symbols, timestamp_ns).map_err(|what| failed(&what))?;
        let accounts = Accounts::new(setting.users.iter().map(account).collect());
        let config =
            SessionConfig { max_sessions: MAX_SESSIONS, parked_datagrams: 64, ..SessionConfig::default() };
        let mut cookies = Random::new(setting.seed.wrapping_add(started_ns));
        let key = Key::from_bytes(std::array::from_fn(|_| cookies.below(256) as u8));
        let (verifier, questions, answers) = VerifierHandle::by_hand(key).map_err(|error| failed(&error))?;
        let mut ingress = Ingress::new(&config, accounts, verifier);
        let mut names = Random::new(setting.seed ^ started_ns);
        ingress.set_names(Box::new(move |first| {
            let mut name = [first; 10];
            name[1..].iter_mut().for_each(|byte| *byte = b'a' + names.below(26) as u8);
            Ok(name)
        }));
        ingress.adopt(&core, 0);
        let life = Rc::new(Life::default());
        let port = network.open(setting.endpoint).map_err(|error| failed(&error))?;
        let takes_duplicates = broken == Some(Broken::DropDedupe);
        let port = EnginePort::new(port, storage.clone(), Rc::clone(&life), takes_duplicates);
        let (_, requests) = RingBuffer::new(1);
        let mut runner = Runner::new(
            port,
            ingress,
            core,
            Clock::new(recovered.last_timestamp_ns),
            IdleStrategy::Spin,
            gated,
            Arc::default(),
            SharedReport::default(),
            requests,
            None,
        );
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

fn genesis(max_instruments: u32) -> Genesis {
    Genesis {
        shard: SHARD as u16,
        utc_offset_seconds: 0,
        max_orders: 4_096,
        max_price_levels: 256,
        max_sessions: MAX_SESSIONS as u32,
        max_instruments,
        feed_session: *b"FSIMULATED",
    }
}

fn configure<L: Log>(core: &mut Core<L>, symbols: &[[u8; 8]], timestamp_ns: u64) -> Result<(), String> {
    if !core.shard.has_firm(&FIRM) {
        let firm = Input::Firm { firm: FIRM, risk: RiskConfig::default() };
        core.input(&firm, timestamp_ns).map_err(|error| error.to_string())?;
    }
    for &symbol in symbols {
        if core.shard.has_symbol(&symbol) {
            continue;
        }
        let instrument = InstrumentInput {
            symbol,
            tick: 100,
            lot: 1,
            max_quantity: 999_999,
            reference_price: 1_000_000,
            collar_basis_points: 0,
            state: TradingState::Open,
        };
        let mut rights = Vec::new();
        FirmRights::push(&mut rights, FirmRight { firm: FIRM, restricted: false, role: Role::MarketMaker });
        let rights = FirmRights::new(&rights).map_err(|error| error.to_string())?;
        core.input(&Input::Instrument(instrument, rights), timestamp_ns)
            .map_err(|error| error.to_string())?;
    }
    core.failure.take().map_or(Ok(()), |failure| Err(failure.to_string()))
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
        let stream = &core.egress.session(session as SessionId).stream;
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
