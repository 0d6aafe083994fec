//! What stands between the engine and the simulated world: a log that notes what it is given, and a port that dies with its process.
//! Three of the deliberate defects live here.

use super::truth::Truth;
use crate::history::replay::{Question, ReplayDesk, Replayer};
use crate::history::source::LogSource;
use crate::inputs::SessionId;
use crate::log::error::AppendError;
use crate::log::keeper::{Preparer, Step, Syncer};
use crate::log::writer::Log;
use crate::log::{Lsn, SimStorage};
use netio::sim::SimPort;
use netio::{Endpoint, Peer, Port, PortError, PortStatistics, TransmitFull};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;
use wire::moldudp64::{HEADER_LENGTH, Header};

/// The real thread syncs the last mark when it has been idle for a while.
const IDLE_BEFORE_REST: u32 = 8;

/// What the journal's threads do, step by step: between the rounds of the shard's thread, and while that waits for them.
pub struct Background {
    preparer: Preparer<SimStorage>,
    syncer: Syncer<SimStorage>,
    /// Steps in a row in which there was nothing to sync.
    idle: u32,
    pub sync_failed: bool,
    /// Steps that a wait for the next segment may still take, all in all: then it has been too long.
    patience: u64,
}

impl Background {
    pub fn new(preparer: Preparer<SimStorage>, syncer: Syncer<SimStorage>, patience: u64) -> Self {
        Self { preparer, syncer, idle: 0, sync_failed: false, patience }
    }

    /// Time between two rounds: so many steps of each, and what a wait in the next round may take.
    pub fn between_rounds(&mut self, preparer_steps: u64, syncer_steps: u64, patience: u64) {
        for _ in 0..preparer_steps {
            // An error is tried again, and becomes back-pressure.
            if !matches!(self.preparer.step(), Ok(Step::Worked)) {
                break;
            }
        }
        for _ in 0..syncer_steps {
            if !self.sync() {
                break;
            }
        }
        self.patience = patience;
    }

    /// Whether there was anything to sync.
    fn sync(&mut self) -> bool {
        let mut step = self.syncer.step();
        self.idle = if let Ok(Step::Idle) = step { self.idle + 1 } else { 0 };
        if self.idle > IDLE_BEFORE_REST {
            step = self.syncer.rest().map(|()| Step::Idle);
        }
        self.sync_failed |= step.is_err();
        matches!(step, Ok(Step::Worked))
    }

    /// The shard's thread waits for the next segment. False when it gives up: the real preparer tries again later than that after an error.
    fn is_waited_for(&mut self) -> bool {
        if self.patience == 0 {
            return false;
        }
        self.patience -= 1;
        self.sync();
        self.preparer.step().is_ok()
    }
}

/// Who answers a shard's deep questions, step by step.
pub enum Replaying {
    Gated(Box<Replayer<SimStorage>>),
    /// Of an engine whose replays are not gated: they have all that has happened, and go past the shard.
    Ungated(ReplayDesk),
}

impl Replaying {
    pub fn new(source: LogSource<SimStorage>, desk: ReplayDesk, ungated: bool) -> Self {
        match ungated {
            true => Self::Ungated(desk),
            false => Self::Gated(Box::new(Replayer::new(source, desk))),
        }
    }

    /// Looks into the next question; false if there is none. What goes past the shard, `send` answers: whose messages, and from which on.
    pub fn step(&mut self, send: impl FnOnce(SessionId, u64)) -> bool {
        match self {
            Self::Gated(replayer) => replayer.step(),
            Self::Ungated(desk) => {
                let Ok(Question { session, from, .. }) = desk.questions.pop() else { return false };
                send(session, from);
                true
            }
        }
    }
}

/// A log that tells the truth what it was given.
pub struct Recording<L: Log> {
    inner: L,
    background: Rc<RefCell<Background>>,
    truth: Rc<RefCell<Truth>>,
    storage: SimStorage,
    /// Present in an engine that acknowledges before it appends: what it has not appended yet.
    late: Option<VecDeque<(u8, u64, Vec<u8>)>>,
    last: Lsn,
}

impl<L: Log> Recording<L> {
    pub fn new(
        inner: L,
        background: Rc<RefCell<Background>>,
        truth: Rc<RefCell<Truth>>,
        storage: SimStorage,
        last: Lsn,
        acknowledges_first: bool,
    ) -> Self {
        Self { inner, background, truth, storage, late: acknowledges_first.then(VecDeque::new), last }
    }

    /// What the writer does with threads beside it: waits for the next segment as long as it has patience.
    fn append_or_wait(&mut self, kind: u8, timestamp_ns: u64, parts: &[&[u8]]) -> Result<Lsn, AppendError> {
        loop {
            match self.inner.append_parts(kind, timestamp_ns, parts) {
                Err(AppendError::NotReady { .. }) if self.background.borrow_mut().is_waited_for() => {}
                appended => return appended,
            }
        }
    }

    /// What may leave from now on. A dead process goes on to the end of its round, in vain.
    fn note_released(&self) {
        if self.late.is_none() && !self.storage.is_dead() {
            self.truth.borrow_mut().release(self.inner.releasable());
        }
    }

    /// Appends what was put off.
    pub fn catch_up(&mut self) -> Result<(), AppendError> {
        while let Some((kind, timestamp_ns, payload)) = self.late.as_mut().and_then(VecDeque::pop_front) {
            self.append_or_wait(kind, timestamp_ns, &[&payload])?;
        }
        Ok(())
    }
}

impl<L: Log> Log for Recording<L> {
    fn append_parts(&mut self, kind: u8, timestamp_ns: u64, parts: &[&[u8]]) -> Result<Lsn, AppendError> {
        match &mut self.late {
            Some(late) => {
                late.push_back((kind, timestamp_ns, parts.concat()));
                self.last = self.last.next();
            }
            None => self.last = self.append_or_wait(kind, timestamp_ns, parts)?,
        }
        self.truth.borrow_mut().record(self.last, kind, timestamp_ns, parts.concat());
        self.note_released();
        Ok(self.last)
    }

    fn releasable(&self) -> Lsn {
        if self.late.is_some() {
            return self.last;
        }
        self.note_released();
        self.inner.releasable()
    }
}

/// The engine's port: as the network's, until its process is dead.
pub struct EnginePort {
    inner: SimPort,
    storage: SimStorage,
    life: Rc<Life>,
    batch: Vec<(Peer, Vec<u8>)>,
    /// Present in an engine without duplicate suppression: what each upstream has brought.
    arrivals: Option<BTreeMap<[u8; 10], u64>>,
}

/// How long the process may still send.
#[derive(Default)]
pub struct Life {
    /// Datagrams until it dies.
    pub sends_left: Cell<Option<u64>>,
    pub is_over: Cell<bool>,
}

impl EnginePort {
    pub fn new(inner: SimPort, storage: SimStorage, life: Rc<Life>, takes_duplicates: bool) -> Self {
        let arrivals = takes_duplicates.then(BTreeMap::new);
        Self { inner, storage, life, batch: Vec::new(), arrivals }
    }

    fn is_dead(&self) -> bool {
        self.life.is_over.get() || self.storage.is_dead()
    }
}

/// Gives old messages the next number, as if nobody looked at it.
fn renumber(arrivals: &mut BTreeMap<[u8; 10], u64>, payload: &mut [u8]) {
    let Ok(header) = Header::read(payload) else { return };
    if header.session[0] != b'U' || header.count == 0 || payload.len() == HEADER_LENGTH {
        return;
    }
    let next = arrivals.entry(header.session).or_insert(header.sequence);
    if header.sequence < *next {
        Header { sequence: *next, ..header }.write(payload);
        *next += u64::from(header.count);
    } else if header.sequence == *next {
        *next += u64::from(header.count);
    }
}

impl Port for EnginePort {
    fn receive(&mut self) -> Result<usize, PortError> {
        let count = self.inner.receive()?;
        self.batch.clear();
        for index in 0..count {
            let (peer, payload) = self.inner.datagram(index);
            self.batch.push((*peer, payload.to_vec()));
        }
        if let Some(arrivals) = &mut self.arrivals {
            self.batch.iter_mut().for_each(|(_, payload)| renumber(arrivals, payload));
        }
        Ok(count)
    }

    fn datagram(&self, index: usize) -> (&Peer, &[u8]) {
        let (peer, payload) = &self.batch[index];
        (peer, payload)
    }

    fn send(&mut self, peer: &Peer, fill: impl FnOnce(&mut [u8]) -> usize) -> Result<(), TransmitFull> {
        if self.is_dead() {
            return Err(TransmitFull);
        }
        if self.life.sends_left.get() == Some(0) {
            // What was sent before has left.
            let _ = self.inner.flush();
            self.life.is_over.set(true);
            return Err(TransmitFull);
        }
        self.life.sends_left.set(self.life.sends_left.get().map(|left| left - 1));
        self.inner.send(peer, fill)
    }

    fn flush(&mut self) -> Result<(), PortError> {
        if self.is_dead() { Ok(()) } else { self.inner.flush() }
    }

    fn max_payload(&self) -> usize {
        self.inner.max_payload()
    }

    fn wait(&mut self, timeout: Duration) -> Result<(), PortError> {
        self.inner.wait(timeout)
    }

    fn statistics(&self) -> PortStatistics {
        self.inner.statistics()
    }

    fn local(&self) -> Endpoint {
        self.inner.local()
    }
}
