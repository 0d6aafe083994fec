//! A shard rebuilt from its journal beside the running one: to take snapshots without stopping it, and to find messages
//! that its resend windows no longer hold. Never on the shard's thread.

use crate::history::recovery::{RecoveryError, apply_record};
use crate::history::snapshot::{self, Meta, SnapshotError};
use crate::history::source::LogSource;
use crate::inputs::{Input, SessionId};
use crate::log::{JournalError, Lsn, Reader, Record, Storage};
use crate::shard::{ApplyError, Outputs, Shard, state_hash};

/// Follows a journal that is being written.
pub struct Replica<S: Storage> {
    pub shard: Option<Shard>,
    reader: Reader<S>,
    storage: S,
    number: u32,
    /// Last record applied, and its timestamp.
    pub last: Lsn,
    timestamp_ns: u64,
}

impl<S: Storage> Replica<S> {
    /// Begins with the newest whole snapshot that `suits`, or with the first record. `limit`: last record that may be read for the time being.
    pub fn open(
        storage: S,
        number: u32,
        limit: Lsn,
        suits: impl Fn(&Shard) -> bool,
    ) -> Result<Self, RecoveryError> {
        if let Some((shard, meta)) = newest_state(&storage, number, |_, shard| suits(shard))? {
            let (last, timestamp_ns) = (meta.last, meta.timestamp_ns);
            let reader = Reader::follow(storage.clone(), number, last.next(), limit)?;
            return Ok(Self { shard: Some(shard), reader, storage, number, last, timestamp_ns });
        }
        let reader = Reader::follow(storage.clone(), number, Lsn(1), limit)?;
        Ok(Self { shard: None, reader, storage, number, last: Lsn(0), timestamp_ns: 0 })
    }

    /// Applies records up to `limit`, or until `enough` says so, which is asked after each.
    pub fn advance<O: Outputs>(
        &mut self,
        limit: Lsn,
        out: &mut O,
        enough: impl Fn(&O) -> bool,
    ) -> Result<(), RecoveryError> {
        self.reader.set_limit(limit)?;
        while let Some(record) = self.reader.next()? {
            apply(&mut self.shard, &record, out)?;
            (self.last, self.timestamp_ns) = (record.lsn, record.timestamp_ns);
            if enough(out) {
                break;
            }
        }
        Ok(())
    }

    /// Writes a snapshot of the state after the last record applied. The journal must be durable up to there.
    pub fn write_snapshot(&self) -> Result<Option<String>, SnapshotError> {
        let Some(shard) = &self.shard else { return Ok(None) };
        let mut payload = Vec::new();
        shard.write_state(&mut payload);
        let meta = Meta {
            shard: self.number,
            last: self.last,
            timestamp_ns: self.timestamp_ns,
            state_hash: state_hash(&payload),
            chain: self.reader.chain(),
        };
        snapshot::write(&self.storage, &meta, &[&payload]).map(Some)
    }
}

/// The state of the newest whole snapshot that `suits`.
pub fn newest_state<S: Storage>(
    storage: &S,
    number: u32,
    suits: impl Fn(&Meta, &Shard) -> bool,
) -> Result<Option<(Shard, Meta)>, RecoveryError> {
    for (_, name) in snapshot::list(storage, number)? {
        let Ok(found) = snapshot::read(storage, &name) else { continue };
        let shard = Shard::restore(&found.payload)
            .map_err(|cause| RecoveryError::State { file: found.file.clone(), cause })?;
        if suits(&found.meta, &shard) {
            return Ok(Some((shard, found.meta)));
        }
    }
    Ok(None)
}

/// Applies a record to a replica, which begins with the genesis.
pub fn apply<O: Outputs>(
    shard: &mut Option<Shard>,
    record: &Record<'_>,
    out: &mut O,
) -> Result<(), RecoveryError> {
    apply_record(record, |input| match (&mut *shard, input) {
        (None, Input::Genesis(genesis)) => {
            genesis.check()?;
            *shard = Some(Shard::new(*genesis));
            Ok(())
        }
        (None, input) => Err(ApplyError::NoGenesis(input.kind())),
        (Some(shard), input) => shard.apply(input, record.timestamp_ns, out),
    })
    .map(|_| ())
}

/// A run of one session's messages, as MoldUDP64 blocks.
#[derive(Debug, Default)]
pub struct ReplayedMessages {
    pub first: u64,
    /// Where each message's block begins in `blocks`, and where the last one ends.
    ends: Vec<u32>,
    blocks: Vec<u8>,
}

impl ReplayedMessages {
    /// Sequence after the last message.
    pub fn end(&self) -> u64 {
        self.first + self.ends.len() as u64
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The blocks of messages from `sequence` on, below `limit`, that fit into `room` bytes, and how many; `None` when there are
    /// none.
    pub fn blocks_between(&self, sequence: u64, limit: u64, room: usize) -> Option<(&[u8], u16)> {
        let index = sequence.checked_sub(self.first)? as usize;
        let below = limit.saturating_sub(sequence).min(u64::from(u16::MAX)) as usize;
        let start = if index == 0 { 0 } else { *self.ends.get(index - 1)? as usize };
        let ends = self.ends.iter().skip(index).take(below);
        let count = ends.take_while(|&&end| end as usize - start <= room).count();
        let end = *self.ends.get((index + count).checked_sub(1)?)? as usize;
        (count > 0).then(|| (&self.blocks[start..end], count as u16))
    }

    /// The part from `sequence` on, at most `count` messages.
    pub fn part(&self, sequence: u64, count: usize) -> ReplayedMessages {
        let mut part = ReplayedMessages { first: sequence, ..ReplayedMessages::default() };
        let index = sequence.saturating_sub(self.first) as usize;
        let start = if index == 0 { 0 } else { self.ends.get(index - 1).map_or(0, |&end| end as usize) };
        for &end in self.ends.iter().skip(index).take(count) {
            part.ends.push(end - start as u32);
        }
        let end = part.ends.last().map_or(start, |&end| start + end as usize);
        part.blocks.extend_from_slice(&self.blocks[start..end]);
        part
    }
}

/// Collects a session's messages `from..until` while a replica replays.
struct Collector {
    session: SessionId,
    next: u64,
    until: u64,
    bytes_max: usize,
    messages: ReplayedMessages,
}

impl Outputs for Collector {
    fn session(&mut self, session: SessionId, fill: impl FnOnce(&mut [u8]) -> usize) {
        if session != self.session {
            return;
        }
        let sequence = self.next;
        self.next += 1;
        if sequence < self.messages.first || self.is_done() {
            return;
        }
        let mut buffer = [0; wire::ouch::MAX_MESSAGE_LENGTH];
        let length = fill(&mut buffer).min(buffer.len());
        self.messages.blocks.extend_from_slice(&(length as u16).to_be_bytes());
        self.messages.blocks.extend_from_slice(&buffer[..length]);
        self.messages.ends.push(self.messages.blocks.len() as u32);
    }

    fn feed(&mut self, _: impl FnOnce(&mut [u8]) -> usize) {}
}

impl Collector {
    fn is_done(&self) -> bool {
        self.messages.end() >= self.until || self.messages.blocks.len() >= self.bytes_max
    }
}

/// What was found of a session's messages.
pub enum Found {
    /// At least one.
    Messages(ReplayedMessages),
    /// They come after the limit.
    NotYet,
    /// The journal does not go back that far.
    Gone,
}

/// A session's downstream messages `from..until`, rebuilt from the journal up to record `limit`; fewer when they come to more than `bytes_max` bytes.
pub fn session_messages<S: Storage>(
    source: &LogSource<S>,
    limit: Lsn,
    session: SessionId,
    from: u64,
    until: u64,
    bytes_max: usize,
) -> Result<Found, RecoveryError> {
    let before = |shard: &Shard| shard.trader(session).is_none_or(|trader| trader.next_downstream <= from);
    let mut replica = match Replica::open(source.storage.clone(), source.shard, limit, before) {
        // The segments that it would have to begin with have been removed.
        Err(RecoveryError::Journal(JournalError::TooOld { .. })) => return Ok(Found::Gone),
        opened => opened?,
    };
    let next = replica
        .shard
        .as_ref()
        .and_then(|shard| shard.trader(session))
        .map_or(1, |trader| trader.next_downstream);
    let mut collector = Collector {
        session,
        next,
        until,
        bytes_max,
        messages: ReplayedMessages { first: from, ..ReplayedMessages::default() },
    };
    replica.advance(limit, &mut collector, Collector::is_done)?;
    Ok(if collector.messages.is_empty() { Found::NotYet } else { Found::Messages(collector.messages) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_cut_into_datagrams_and_parts() {
        let mut collector = Collector {
            session: 3,
            next: 1,
            until: 8,
            bytes_max: 1 << 20,
            messages: ReplayedMessages { first: 3, ..ReplayedMessages::default() },
        };
        for number in 1..=20u8 {
            collector.session(9, |_| 200);
            collector.session(3, |out| {
                out[..10].fill(number);
                10
            });
        }
        assert!(collector.is_done());
        let messages = collector.messages;
        assert_eq!((messages.first, messages.end()), (3, 8));
        let (blocks, count) = messages.blocks_between(4, 8, 30).unwrap();
        assert_eq!((blocks.len(), count), (24, 2));
        assert_eq!(&blocks[..3], &[0, 10, 4]);
        assert_eq!(messages.blocks_between(4, 5, 30).map(|(_, count)| count), Some(1), "5 may not leave");
        for (sequence, limit) in [(8, 9), (4, 4), (4, 1), (2, 9)] {
            assert_eq!(messages.blocks_between(sequence, limit, 1000), None);
        }
        let part = messages.part(5, 2);
        assert_eq!((part.first, part.end()), (5, 7));
        assert_eq!(part.blocks_between(6, 9, 100).unwrap().0[2], 6);
    }
}
