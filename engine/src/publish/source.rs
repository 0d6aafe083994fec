//! The journal as a source of messages: a replica of the shard follows it, and what it trades becomes messages, in order. Reads files only.

use super::message::{Encoder, Kept, Message, MessageId, Origin, Place};
use crate::config::Durability;
use crate::history::recovery::RecoveryError;
use crate::history::replica::{apply, newest_state};
use crate::history::snapshot::{self, Meta};
use crate::inputs::SessionId;
use crate::log::end::Segment;
use crate::log::reader;
use crate::log::{Extent, FileStorage, JournalError, LiveReader, Lsn};
use crate::shard::{Outputs, Shard, Trade};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long the journal may seem to end before the stream's last message. What is being written is there sooner.
const BEHIND_MAX: Duration = Duration::from_secs(3);

/// Which journal.
#[derive(Debug, Clone)]
pub struct Origins {
    pub directory: PathBuf,
    pub shard: u32,
    pub durability: Durability,
    /// First word of the subjects.
    pub prefix: String,
}

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// After record; 0: with the first.
    Record(Lsn),
    /// After a message, which must be of this journal.
    Message(Place),
}

impl Start {
    /// The replica must know the state before this record.
    fn needed(self) -> Lsn {
        match self {
            Start::Record(after) => after.next(),
            Start::Message(last) => last.id.position.record,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    #[error(
        "record {wanted} is needed next, with the state before it: the journal begins with record {first} ({file}) and no snapshot before \
         {wanted} is left. The rest was removed by retention (journal.retain_segments, journal.keep_snapshots). To go on without it, begin after a snapshot with --after RECORD; \
         snapshots are of records {snapshots:?}"
    )]
    Retired { wanted: Lsn, first: Lsn, file: String, snapshots: Vec<u64> },
    #[error(
        "the stream's last message {last} is of another journal: expected number {expected:016x}, found {found:016x}. If a new journal was \
         begun on purpose, say --new-journal"
    )]
    OtherJournal { last: MessageId, expected: u64, found: u64 },
    #[error(
        "the stream's last message {last} is of another history: its record has CRC {expected:08x} there, {found:08x} in the journal. The \
         journal has lost records that were published (durability `process` and a loss of power, or a copy restored)"
    )]
    OtherHistory { last: MessageId, expected: u32, found: u32 },
    #[error(
        "the stream is ahead of the journal: its last message is {last}, the journal ends with record {end}. The journal has lost records \
         that were published, or this is a copy"
    )]
    Ahead { last: MessageId, end: Lsn },
}

/// Follows one journal.
pub struct Source {
    origins: Origins,
    shard: Option<Shard>,
    journal: LiveReader<FileStorage>,
    trades: Trades,
    /// Messages not acknowledged yet, oldest first.
    pub pending: VecDeque<Message>,
    /// Everything up to here is in the stream and no longer in `pending`.
    floor: Start,
    /// To be held against the journal when its record comes by.
    unverified: Option<Place>,
    /// Since when `unverified` has not come by although nothing else does.
    behind: Option<Instant>,
    /// Last record read, and its timestamp.
    pub last: Lsn,
    pub timestamp_ns: u64,
}

/// What a call to [`Source::read`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// Records; there may be more.
    Some,
    /// Nothing more at present.
    Nothing,
    /// A record that may just be being written.
    Doubtful,
}

impl Source {
    /// Begins with the newest snapshot before what is needed, or with the first record. `None` while the journal is empty. `new_journal`: the
    /// record to begin after if the message is of another journal.
    pub fn open(
        origins: &Origins,
        start: Start,
        new_journal: Option<Lsn>,
    ) -> Result<Option<Self>, SourceError> {
        let storage = FileStorage::read_only(&origins.directory);
        let segments = reader::segments(&storage, origins.shard).map_err(RecoveryError::from)?;
        let Some(header) = segments.iter().find_map(Segment::valid) else { return Ok(None) };
        let floor = match start {
            Start::Message(last) if last.id.journal != header.journal_id => {
                let (expected, found) = (last.id.journal, header.journal_id);
                let after =
                    new_journal.ok_or(SourceError::OtherJournal { last: last.id, expected, found })?;
                Start::Record(after)
            }
            start => start,
        };
        let mut unverified = match floor {
            Start::Message(last) => Some(last),
            Start::Record(_) => None,
        };
        let needed = floor.needed();
        let state = newest_state(&storage, origins.shard, |meta, _| meta.last < needed)?;
        let (state, journal) = match (origins.follow(&storage, state), floor) {
            (Err(error @ JournalError::TooOld { .. }), Start::Message(last)) => {
                // Its record is gone. No matter, if nothing was traded between it and a later snapshot.
                let state = newest_state(&storage, origins.shard, |meta, shard| {
                    last.complete
                        && meta.last >= needed
                        && shard.market().last_match_number() == last.match_number
                })?;
                if state.is_none() {
                    return Err(origins.explain(needed, error));
                }
                unverified = None;
                origins.follow(&storage, state).map_err(|error| origins.explain(needed, error))?
            }
            (followed, _) => followed.map_err(|error| origins.explain(needed, error))?,
        };
        let (last, timestamp_ns) =
            state.as_ref().map_or((Lsn::ZERO, 0), |(_, meta)| (meta.last, meta.timestamp_ns));
        tracing::info!(
            shard = origins.shard,
            from = last.0 + 1,
            publish_from = floor.needed().0,
            "reading the journal"
        );
        Ok(Some(Self {
            origins: origins.clone(),
            shard: state.map(|(shard, _)| shard),
            journal,
            trades: Trades::default(),
            pending: VecDeque::new(),
            floor,
            unverified,
            behind: None,
            last,
            timestamp_ns,
        }))
    }

    /// Goes on after the stream's last message, if it can without reading anything again: not if the stream has lost what it had acknowledged.
    pub fn resume(&mut self, last: Place) -> bool {
        let id = self.journal.journal_id();
        let lost = match self.floor {
            Start::Message(floor) => last.id.position < floor.id.position,
            Start::Record(record) => last.id.position.record <= record,
        };
        if lost || id != Some(last.id.journal) {
            return false;
        }
        while self.pending.front().is_some_and(|message| message.place.id.position <= last.id.position) {
            self.pending.pop_front();
        }
        self.floor = Start::Message(last);
        if last.id.position.record > self.last {
            self.unverified = Some(last);
        }
        true
    }

    /// Whether it stands where a stream without messages of ours would have it begin.
    pub fn is_fresh(&self, after: Lsn) -> bool {
        self.floor == Start::Record(after)
    }

    /// The oldest pending message is in the stream. Returns its name.
    pub fn acknowledged(&mut self) -> Option<MessageId> {
        let Message { place, .. } = self.pending.pop_front()?;
        self.floor = Start::Message(place);
        Some(place.id)
    }

    /// Reads up to `records` records, or until there are `room` pending messages.
    pub fn read(&mut self, records: usize, room: usize) -> Result<Read, SourceError> {
        for _ in 0..records {
            if self.pending.len() >= room {
                return Ok(Read::Some);
            }
            let needed = self.last.next();
            let record = match self.journal.next() {
                Ok(Some(record)) => record,
                Ok(None) => return self.end(),
                Err(error) => return Err(self.origins.explain(needed, error)),
            };
            let (lsn, timestamp_ns) = (record.lsn, record.timestamp_ns);
            apply(&mut self.shard, &record, &mut self.trades)?;
            (self.last, self.timestamp_ns, self.behind) = (lsn, timestamp_ns, None);
            self.verify()?;
            self.encode();
        }
        Ok(Read::Some)
    }

    /// No record at present.
    fn end(&mut self) -> Result<Read, SourceError> {
        if let Some(last) = self.unverified {
            // The stream knows of a record that we have not seen: it must be there at once.
            if self.behind.get_or_insert_with(Instant::now).elapsed() > BEHIND_MAX {
                return Err(SourceError::Ahead { last: last.id, end: self.last });
            }
            return Ok(Read::Doubtful);
        }
        Ok(if self.journal.in_doubt() { Read::Doubtful } else { Read::Nothing })
    }

    /// Holds the stream's last message against the record just read.
    fn verify(&mut self) -> Result<(), SourceError> {
        if let Some(Place { id, chain, .. }) = self.unverified
            && id.position.record == self.last
        {
            let found = self.journal.chain();
            if found != chain {
                return Err(SourceError::OtherHistory { last: id, expected: chain, found });
            }
            self.unverified = None;
        }
        Ok(())
    }

    fn encode(&mut self) {
        if self.trades.0.is_empty() {
            return;
        }
        let (Some(shard), Some(journal)) = (&self.shard, self.journal.journal_id()) else { return };
        let floor = self.floor;
        let origin = Origin {
            journal,
            shard: self.origins.shard,
            record: self.last,
            timestamp_ns: self.timestamp_ns,
            chain: self.journal.chain(),
        };
        let mut encoder = Encoder { prefix: &self.origins.prefix, shard, origin, index: 0 };
        encoder.encode(&self.trades.0, &mut |message| {
            let published = match floor {
                Start::Record(after) => message.place.id.position.record <= after,
                Start::Message(last) => message.place.id.position <= last.id.position,
            };
            if !published {
                self.pending.push_back(message);
            }
        });
        self.trades.0.clear();
    }
}

type State = Option<(Shard, Meta)>;

impl Origins {
    /// The journal after a snapshot, or from its first record on.
    fn follow(
        &self,
        storage: &FileStorage,
        state: State,
    ) -> Result<(State, LiveReader<FileStorage>), JournalError> {
        let after = state.as_ref().map(|(_, meta)| (meta.last, meta.chain));
        let journal = LiveReader::open(storage.clone(), self.shard, after, Extent::of(self.durability))?;
        Ok((state, journal))
    }

    /// A segment that is gone, with what can be done about it.
    fn explain(&self, wanted: Lsn, error: JournalError) -> SourceError {
        let JournalError::TooOld { first, file, .. } = error else {
            return SourceError::Recovery(error.into());
        };
        let storage = FileStorage::read_only(&self.directory);
        let snapshots = snapshot::list(&storage, self.shard).unwrap_or_default();
        let snapshots = snapshots.iter().map(|(record, _)| record.0).collect();
        SourceError::Retired { wanted, first, file, snapshots }
    }
}

/// Keeps the trades of one record.
#[derive(Default)]
struct Trades(Vec<Kept>);

impl Outputs for Trades {
    fn session(&mut self, _: SessionId, _: impl FnOnce(&mut [u8]) -> usize) {}
    fn feed(&mut self, _: impl FnOnce(&mut [u8]) -> usize) {}
    fn trade(&mut self, trade: Trade<'_>) {
        self.0.push(Kept::from(trade));
    }
}
