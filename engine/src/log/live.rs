//! Reads a journal that another process is writing, with nothing but the files: no counters are shared, so what may be read follows from the
//! bytes themselves. Takes no lock and writes nothing, so the writer cannot tell that it is being read.
//!
//! A record counts once its CRC is right: of one that is just being stored some bytes are missing, and the CRC is wrong. So "wrong" is
//! looked at again, and only what stays wrong is judged as [`judge`](super::judge) would judge it after a crash.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use super::settings::Durability;
use super::{
    end::Segment,
    error::{Damage, JournalError, StorageError},
    format::{self, Lsn, SegmentHeader},
    reader::{Found, Reader, Record},
    storage::Storage,
};

/// How long a place may look wrong before it is judged. A store takes microseconds, but the process that stores can be held up.
const DOUBT_MAX: Duration = Duration::from_secs(2);
/// Bytes read first after a wait. Usually it was one record that came.
const CHUNK_AFTER_WAIT: usize = 4096;

/// How far records may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Every whole one. For durability `process`: what is in the mapping outlives the process that put it there.
    Written,
    /// Those that a sync mark vouches for. For durability `disk`: the mark is written after the sync, so it never claims too much.
    Synced,
}

impl Extent {
    /// For who reads the files from another process.
    pub const fn of(durability: Durability) -> Self {
        if durability.waits() { Self::Synced } else { Self::Written }
    }
}

/// Follows the journal of another process.
pub struct LiveReader<S: Storage> {
    reader: Reader<S>,
    extent: Extent,
    /// Nothing was there the last time.
    waiting: bool,
    /// Since when the place where the records stop has looked wrong.
    doubt: Option<Instant>,
}

/// Where a reader is, to go back to.
#[derive(Clone, Copy)]
struct Place {
    offset: u64,
    chain: u32,
    next: Lsn,
}

impl<S: Storage> LiveReader<S> {
    /// Starts with the first record, or after the one that a snapshot says it covers, with its CRC.
    ///
    /// # Errors
    /// [`JournalError::TooOld`] if the record to start with has been removed; [`JournalError::TooNew`] or [`JournalError::Foreign`] if the snapshot is
    /// not of this journal.
    pub fn open(
        storage: S,
        shard: u32,
        after: Option<(Lsn, u32)>,
        extent: Extent,
    ) -> Result<LiveReader<S>, JournalError> {
        let from = after.map_or(Lsn::FIRST, |(last, _)| last.next());
        let reader = Reader::begin(storage, shard, from, Some(Lsn(u64::MAX)), true)?;
        if let Some((last, chain)) = after {
            reader.must_continue(last, chain)?;
        }
        Ok(LiveReader { reader, extent, waiting: false, doubt: None })
    }

    /// The next record; `None` if it is not there yet.
    ///
    /// # Errors
    /// What stays wrong for [`DOUBT_MAX`] is damage. [`JournalError::TooOld`]: the segment was removed before it had been read.
    #[inline]
    #[allow(clippy::should_implement_trait)] // As of Reader: its items borrow from it.
    pub fn next(&mut self) -> Result<Option<Record<'_>>, JournalError> {
        match self.find() {
            Ok(Some((payload, header, offset))) => Ok(Some(Record {
                lsn: header.lsn,
                timestamp_ns: header.timestamp_ns,
                kind: header.kind,
                payload: &self.reader.buffer[payload],
                segment: self.reader.segments[self.reader.index].ordinal,
                offset,
            })),
            Ok(None) => Ok(None),
            Err(error) => self.changed_meanwhile(error).map(|()| None),
        }
    }

    /// Whether it looks as if a record were just being written, so that `None` is not yet the end.
    pub fn in_doubt(&self) -> bool {
        self.doubt.is_some()
    }

    /// CRC of the record given last.
    pub fn chain(&self) -> u32 {
        self.reader.chain
    }

    /// The journal's own number; `None` as long as it is empty.
    pub fn journal_id(&self) -> Option<u64> {
        self.reader.header.map(|SegmentHeader { journal_id, .. }| journal_id)
    }

    fn find(&mut self) -> Result<Option<(std::ops::Range<usize>, format::RecordHeader, u64)>, JournalError> {
        if self.reader.header.is_none() {
            self.reader.look_again()?;
        }
        loop {
            if self.reader.header.is_none() || !self.may_read()? {
                self.wait();
                return Ok(None);
            }
            let place = self.place();
            match self.reader.advance()? {
                Found::Record { payload, header, offset } => {
                    self.waiting = false;
                    self.doubt = None;
                    return Ok(Some((payload, header, offset)));
                }
                Found::NextSegment => {}
                Found::NotYet(damage) => {
                    self.go_back(place);
                    self.wait();
                    if damage.is_some() {
                        self.look_twice()?;
                    } else {
                        self.doubt = None;
                    }
                    return Ok(None);
                }
                // Only where the end is judged.
                Found::End => return Ok(None),
            }
        }
    }

    /// Cheap answers first: after a wait there is usually still nothing.
    fn may_read(&mut self) -> Result<bool, JournalError> {
        let (offset, index) = (self.reader.offset, self.reader.index);
        if self.extent == Extent::Synced && offset >= self.reader.segments[index].synced() {
            self.read_mark()?;
            if offset >= self.reader.segments[index].synced() {
                return Ok(false);
            }
        }
        if !self.waiting {
            return Ok(true);
        }
        let segment = &self.reader.segments[index];
        let mut word = [0; 4];
        let count = self.reader.storage.read(&segment.name, offset, &mut word)?;
        if count < word.len() || word != [0; 4] {
            return Ok(true);
        }
        // The mark was read before the bytes: if it covers them, they were there and have been lost.
        match segment.synced() {
            mark if offset < mark => Err(self.reader.damaged(offset, Damage::EndsBeforeMark { mark })),
            _ => Ok(false),
        }
    }

    /// The mark of the current segment as it is now. What was read before it may lack what it vouches for.
    fn read_mark(&mut self) -> Result<(), JournalError> {
        let Segment { name, ordinal, .. } = &self.reader.segments[self.reader.index];
        let segment = Segment::examine(&self.reader.storage, name.clone(), *ordinal)?;
        self.reader.segments[self.reader.index] = segment;
        self.forget();
        Ok(())
    }

    /// Something that is not a whole record: in doubt at first, judged once it has stayed so.
    fn look_twice(&mut self) -> Result<(), JournalError> {
        if self.doubt.get_or_insert_with(Instant::now).elapsed() < DOUBT_MAX {
            return Ok(());
        }
        // It may be written to its end while it is judged, so that one verdict alone proves nothing.
        match (self.judge(), self.judge()) {
            (Err(_), Err(error)) => return Err(error),
            // Torn: whoever writes next removes it.
            (Ok(()), Ok(())) => self.doubt = None,
            _ => self.doubt = Some(Instant::now()),
        }
        Ok(())
    }

    /// What [`judge`](super::judge) says of this place. `Ok` if it is whole by now, or torn.
    fn judge(&mut self) -> Result<(), JournalError> {
        self.reader.look_again()?;
        let place = self.place();
        self.reader.live = false;
        let found = self.reader.advance();
        self.reader.live = true;
        self.reader.end = None;
        if !matches!(found, Ok(Found::NextSegment)) {
            self.go_back(place);
        }
        self.forget();
        found.map(drop)
    }

    /// Retention removes segments, and looking at a directory is not one step: what was there a moment ago may be gone.
    #[cold]
    fn changed_meanwhile(&mut self, error: JournalError) -> Result<(), JournalError> {
        match error {
            JournalError::Storage(StorageError::Io { source, .. })
                if source.kind() == ErrorKind::NotFound => {}
            JournalError::MissingSegment { .. } => {}
            other => return Err(other),
        }
        self.wait();
        match self.reader.look_again() {
            Err(JournalError::Storage(StorageError::Io { source, .. }))
                if source.kind() == ErrorKind::NotFound =>
            {
                Ok(())
            }
            other => other,
        }
    }

    fn wait(&mut self) {
        self.waiting = true;
        self.forget();
    }

    /// What lies beyond the records was read before it was written.
    fn forget(&mut self) {
        self.reader.chunk = CHUNK_AFTER_WAIT;
        self.reader.buffer.clear();
    }

    fn place(&self) -> Place {
        Place { offset: self.reader.offset, chain: self.reader.chain, next: self.reader.next }
    }

    fn go_back(&mut self, place: Place) {
        (self.reader.offset, self.reader.chain, self.reader.next) = (place.offset, place.chain, place.next);
    }
}
