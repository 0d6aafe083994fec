//! What is true: every record that the journal was given, and what follows from them by a replay of its own. The engine and its clients
//! are compared with this; it takes nothing from either but the records.

use super::naive::Naive;
use crate::inputs::{Input, SessionId};
use crate::log::Lsn;
use crate::shard::{Outputs, Shard};
use streams::Run;

struct Record {
    kind: u8,
    timestamp_ns: u64,
    payload: Vec<u8>,
}

/// One session's messages, both ways, from the first.
#[derive(Default)]
pub struct Streams {
    pub upstream: Vec<Vec<u8>>,
    pub downstream: Vec<Vec<u8>>,
    /// Of each downstream message, the record that caused it.
    pub causes: Vec<Lsn>,
}

#[derive(Default)]
pub struct Truth {
    records: Vec<Record>,
    applied: usize,
    shard: Option<Shard>,
    pub sessions: Vec<Streams>,
    naive: Naive,
    /// A record whose number was not the next one.
    misnumbered: Option<Lsn>,
    /// A record from before the one before it.
    out_of_time: Option<Lsn>,
    /// Last record whose replies could leave.
    released: Lsn,
}

/// Messages in the order in which the shard gave them.
#[derive(Default)]
struct Collected(Vec<(SessionId, Vec<u8>)>);

impl Outputs for Collected {
    fn session(&mut self, session: SessionId, fill: impl FnOnce(&mut [u8]) -> usize) {
        let mut buffer = [0; wire::ouch::MAX_MESSAGE_LENGTH];
        let length = fill(&mut buffer);
        self.0.push((session, buffer[..length].to_vec()));
    }

    fn feed(&mut self, _: impl FnOnce(&mut [u8]) -> usize) {}
}

impl Truth {
    pub fn record(&mut self, lsn: Lsn, kind: u8, timestamp_ns: u64, payload: Vec<u8>) {
        if self.records.last().is_some_and(|last| last.timestamp_ns > timestamp_ns) {
            self.out_of_time.get_or_insert(lsn);
        }
        self.records.push(Record { kind, timestamp_ns, payload });
        if lsn.0 != self.records.len() as u64 {
            self.misnumbered.get_or_insert(lsn);
        }
    }

    /// Replies to records up to this one may have left: they have to be there for good.
    pub fn release(&mut self, lsn: Lsn) {
        self.released = self.released.max(lsn);
    }

    pub fn released(&self) -> Lsn {
        self.released
    }

    pub fn last(&self) -> Lsn {
        Lsn(self.records.len() as u64)
    }

    pub fn executions(&self) -> u64 {
        self.naive.executions()
    }

    /// The session of a user, if the records have one.
    pub fn session_of(&self, user: &[u8; 6]) -> Option<(SessionId, [u8; 10])> {
        let shard = self.shard.as_ref()?;
        (0..shard.sessions() as SessionId).find_map(|session| {
            shard.trader(session).filter(|trader| trader.user == *user).map(|trader| (session, trader.name))
        })
    }

    /// Orders refused, which is only ever for want of room.
    pub fn no_room(&self) -> u64 {
        let all = self.sessions.iter().flat_map(|streams| &streams.downstream);
        all.filter(|message| message.first() == Some(&b'J')).count() as u64
    }

    /// Whether another user would find no place.
    pub fn is_full_of_sessions(&self) -> bool {
        let full = |shard: &Shard| shard.sessions() >= shard.genesis.max_sessions as usize;
        self.shard.as_ref().is_some_and(full)
    }

    pub fn state_hash(&self) -> Option<u64> {
        self.shard.as_ref().map(Shard::state_hash)
    }

    /// Everything after `last` never happened.
    pub fn cut(&mut self, last: Lsn) -> Result<(), String> {
        let len = self.records.len() as u64;
        if last.0 > len {
            return Err(format!("the journal has {last} records, of which only {len} were ever appended"));
        }
        if last.0 < len {
            self.records.truncate(last.0 as usize);
            self.applied = 0;
            self.shard = None;
            self.sessions.clear();
            self.naive = Naive::default();
            self.misnumbered = None;
        }
        self.catch_up()
    }

    /// Replays what was recorded since the last call, and checks what comes of it.
    pub fn catch_up(&mut self) -> Result<(), String> {
        if let Some(lsn) = self.misnumbered {
            return Err(format!("record {lsn} does not follow the one before"));
        }
        if let Some(lsn) = self.out_of_time {
            return Err(format!("record {lsn} is older than the one before it"));
        }
        while self.applied < self.records.len() {
            self.apply(self.applied)?;
            self.applied += 1;
        }
        Ok(())
    }

    fn apply(&mut self, index: usize) -> Result<(), String> {
        let lsn = index + 1;
        let record = &self.records[index];
        let input = Input::decode(record.kind, &record.payload)
            .map_err(|error| format!("record {lsn} is not an input: {error}"))?;
        let shard = match (&mut self.shard, &input) {
            (None, Input::Genesis(genesis)) => {
                self.shard = Some(Shard::new(*genesis));
                return Ok(());
            }
            (None, _) => return Err(format!("record {lsn} comes before the genesis")),
            (Some(shard), _) => shard,
        };
        if let Input::Messages(messages) = &input {
            let streams = self.sessions.get_mut(messages.session as usize);
            let Some(streams) = streams else { return Err(format!("record {lsn}: no such session")) };
            let expected = streams.upstream.len() as u64 + 1;
            if messages.first_sequence != expected {
                let found = messages.first_sequence;
                return Err(format!("record {lsn}: messages from {found}, where {expected} is next"));
            }
            let run = Run::parse(messages.first_sequence, messages.count, messages.blocks)
                .map_err(|error| format!("record {lsn}: {error}"))?;
            streams.upstream.extend(run.messages().map(|(_, message)| message.to_vec()));
        }
        let mut collected = Collected::default();
        if let Err(error) = shard.apply(&input, record.timestamp_ns, &mut collected) {
            return Err(format!("record {lsn} was not applicable: {error}"));
        }
        self.sessions.resize_with(shard.sessions(), Streams::default);
        for (session, message) in &collected.0 {
            self.naive.observe(*session, message).map_err(|what| format!("record {lsn}: {what}"))?;
        }
        for (session, message) in collected.0 {
            self.sessions[session as usize].downstream.push(message);
            self.sessions[session as usize].causes.push(Lsn(lsn as u64));
        }
        self.naive.settled().map_err(|what| format!("record {lsn}: {what}"))
    }

    /// Compares the whole book with the naive one, and what went in with what came out and what is left.
    pub fn check_book(&self) -> Result<(), String> {
        self.shard.as_ref().map_or(Ok(()), |shard| self.naive.compare(shard))
    }
}
