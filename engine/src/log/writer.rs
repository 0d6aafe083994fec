//! The shard thread's end of the journal: append, and know when a reply may leave. No files, no waiting but for the next segment.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, TryRecvError},
    },
    time::{Duration, Instant},
};

use super::{
    error::{AppendError, JournalFailure},
    format::{
        self, DATA_OFFSET, KIND_RESERVED, KIND_SEAL, Lsn, RECORD_HEADER_LENGTH, RECORD_OVERHEAD,
        RecordHeader, SegmentHeader,
    },
    settings::JournalSettings,
    shared::{Position, Progress},
    storage::{SegmentWriter, Storage},
};

/// What the shard writes its inputs to: a journal, or none.
pub trait Log {
    /// Appends one record whose payload is `parts` in a row. Nothing is written if it fails.
    fn append_parts(&mut self, kind: u8, timestamp_ns: u64, parts: &[&[u8]]) -> Result<Lsn, AppendError>;

    /// Last record whose replies may leave: the kept ones, by the durability that was asked for.
    fn releasable(&self) -> Lsn;

    /// Why it takes no more, once that is so: an idle shard finds out by asking.
    fn failure(&self) -> Option<JournalFailure> {
        None
    }

    #[inline]
    fn append(&mut self, kind: u8, timestamp_ns: u64, payload: &[u8]) -> Result<Lsn, AppendError> {
        self.append_parts(kind, timestamp_ns, &[payload])
    }
}

/// Durability `memory`: numbers records and keeps none.
#[derive(Debug, Default)]
pub struct NoJournal {
    last: Lsn,
}

impl Log for NoJournal {
    #[inline]
    fn append_parts(&mut self, _: u8, _: u64, _: &[&[u8]]) -> Result<Lsn, AppendError> {
        self.last = self.last.next();
        Ok(self.last)
    }

    #[inline]
    fn releasable(&self) -> Lsn {
        self.last
    }
}

/// A segment that the background made ready, on its way to the shard thread.
pub(crate) struct ReadySegment<W> {
    pub ordinal: u64,
    pub size: u64,
    pub memory: W,
}

/// Where a journal goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Continuation {
    pub shard: u32,
    pub journal_id: u64,
    pub next: Lsn,
    pub chain: u32,
}

/// Appends records to one shard's journal. One per shard, on the shard's thread.
pub struct Writer<S: Storage> {
    segment: ReadySegment<S::Writer>,
    /// Next free byte of `segment`.
    offset: usize,
    /// Records end here at the latest: the rest is for the seal.
    limit: usize,
    next: Lsn,
    chain: u32,
    /// The largest payload that fits in the current segment and in every later one.
    payload_length_max: usize,
    process_releases: bool,
    progress: Arc<Progress>,
    ready: Receiver<ReadySegment<S::Writer>>,
    stall_max: Duration,
    shard: u32,
    journal_id: u64,
}

impl<S: Storage> Writer<S> {
    /// Goes on in `segment` at `offset`; 0 for a segment nothing was written to.
    pub(crate) fn new(
        segment: ReadySegment<S::Writer>,
        offset: u64,
        continuation: Continuation,
        progress: Arc<Progress>,
        ready: Receiver<ReadySegment<S::Writer>>,
        settings: &JournalSettings,
    ) -> Writer<S> {
        let Continuation { shard, journal_id, next, chain } = continuation;
        let mut writer = Writer {
            limit: limit(segment.size),
            payload_length_max: format::payload_length_max(segment.size.min(settings.segment_size)),
            segment,
            offset: offset as usize,
            next,
            chain,
            process_releases: !settings.durability.waits(),
            progress,
            ready,
            stall_max: settings.stall_max,
            shard,
            journal_id,
        };
        if offset == 0 {
            writer.begin_segment();
        }
        writer
    }

    /// Counters and verdict, for any thread.
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Last record appended.
    #[inline]
    pub fn last(&self) -> Lsn {
        self.next.previous()
    }

    /// CRC of the last record: together with its number it names the history up to it. For snapshots.
    pub fn chain(&self) -> u32 {
        self.chain
    }

    /// Largest payload that [`append`](Log::append) takes.
    pub fn payload_length_max(&self) -> usize {
        self.payload_length_max
    }

    /// Appends one record. Tens of nanoseconds: a copy, a CRC and two stores other threads can see; no system call, no allocation.
    #[inline]
    pub fn append(&mut self, kind: u8, timestamp_ns: u64, payload: &[u8]) -> Result<Lsn, AppendError> {
        self.append_parts(kind, timestamp_ns, &[payload])
    }

    /// As [`append`](Writer::append), the payload given in pieces.
    #[inline]
    pub fn append_parts(&mut self, kind: u8, timestamp_ns: u64, parts: &[&[u8]]) -> Result<Lsn, AppendError> {
        let length = parts.iter().map(|part| part.len()).sum::<usize>();
        let end = self.offset + format::record_length(length);
        // One branch for everything that is rare.
        if end > self.limit
            || kind == 0
            || kind >= KIND_RESERVED
            || length > self.payload_length_max
            || self.progress.failure().is_some()
        {
            self.make_way(kind, length)?;
        }
        let lsn = self.next;
        self.put(kind, lsn, timestamp_ns, length, parts);
        self.next = lsn.next();
        self.progress.appended(lsn, Position::new(self.segment.ordinal, self.offset as u64));
        Ok(lsn)
    }

    /// Last record whose replies may leave. Does not say whether the journal has failed since: ask [`Progress::failure`] as well.
    #[inline]
    pub fn releasable(&self) -> Lsn {
        if self.process_releases { self.last() } else { self.progress.durable() }
    }

    /// Header first, trailer last: killed in between, the record lacks its end.
    #[inline]
    fn put(&mut self, kind: u8, lsn: Lsn, timestamp_ns: u64, length: usize, parts: &[&[u8]]) {
        let (header, mut crc) = RecordHeader::encode(self.chain, kind, lsn, timestamp_ns, length);
        let memory = &mut self.segment.memory;
        memory.write(self.offset, &header);
        let mut at = self.offset + RECORD_HEADER_LENGTH;
        for part in parts {
            memory.write(at, part);
            crc = crc.bytes(part);
            at += part.len();
        }
        // The padding is there already: nothing was written here before.
        let crc = crc.padding(length).value();
        at = self.offset + format::record_length(length) - format::RECORD_TRAILER_LENGTH;
        memory.write(at, &format::encode_trailer(crc));
        self.offset = at + format::RECORD_TRAILER_LENGTH;
        self.chain = crc;
    }

    #[cold]
    #[inline(never)]
    fn make_way(&mut self, kind: u8, length: usize) -> Result<(), AppendError> {
        if let Some(failure) = self.progress.failure() {
            return Err(failure.clone().into());
        }
        if kind == 0 || kind >= KIND_RESERVED {
            return Err(AppendError::Kind(kind));
        }
        if length > self.payload_length_max {
            return Err(AppendError::TooLong { expected_max: self.payload_length_max, found: length });
        }
        let next = self.next_segment()?;
        self.seal_and_turn_to(next);
        Ok(())
    }

    fn next_segment(&mut self) -> Result<ReadySegment<S::Writer>, AppendError> {
        let begin = Instant::now();
        loop {
            match self.ready.try_recv() {
                Ok(segment) => return Ok(segment),
                Err(TryRecvError::Disconnected) => {
                    return Err(self.progress.fail("its background threads have ended".into()).into());
                }
                Err(TryRecvError::Empty) => {}
            }
            if let Some(failure) = self.progress.failure() {
                return Err(failure.clone().into());
            }
            let waited = begin.elapsed();
            if waited >= self.stall_max {
                let reason = self.progress.delay().map_or_else(String::new, |why| format!(": {why}"));
                return Err(AppendError::NotReady { waited_us: waited.as_micros() as u64, reason });
            }
            // Where cores are few, the thread that prepares segments may be waiting for this one.
            std::thread::yield_now();
        }
    }

    fn seal_and_turn_to(&mut self, next: ReadySegment<S::Writer>) {
        self.put(KIND_SEAL, self.next, 0, 0, &[]);
        // The keeper holds the old mapping until it has seen the position move: unmapping is never done on this thread.
        self.limit = limit(next.size);
        self.segment = next;
        self.begin_segment();
        self.progress.appended(self.last(), Position::new(self.segment.ordinal, self.offset as u64));
    }

    fn begin_segment(&mut self) {
        let header = SegmentHeader {
            shard: self.shard,
            journal_id: self.journal_id,
            ordinal: self.segment.ordinal,
            first: self.next,
            segment_size: self.segment.size,
            chain: self.chain,
        };
        self.segment.memory.write(0, &header.encode());
        self.offset = DATA_OFFSET;
    }
}

const fn limit(size: u64) -> usize {
    size as usize - RECORD_OVERHEAD
}

impl<S: Storage> Log for Writer<S> {
    #[inline]
    fn append_parts(&mut self, kind: u8, timestamp_ns: u64, parts: &[&[u8]]) -> Result<Lsn, AppendError> {
        Writer::append_parts(self, kind, timestamp_ns, parts)
    }

    #[inline]
    fn releasable(&self) -> Lsn {
        Writer::releasable(self)
    }

    fn failure(&self) -> Option<JournalFailure> {
        self.progress.failure().cloned()
    }
}
