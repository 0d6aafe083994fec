//! Gives the records of a journal back, in order, each checked against the one before. Changes nothing on disk; what the end looks like
//! is judged in [`judge`](super::judge).
//!
//! Buffered reads, not a mapping: the file may be growing under another thread's stores, and a reference to such memory would be unsound.

use std::ops::Range;

use super::{
    end::{End, Ending, Place, Segment},
    error::{Damage, JournalError},
    format::{
        self, DATA_OFFSET, END_MARK, HeaderState, KIND_SEAL, Lsn, MARK_LENGTH, MARK_OFFSETS,
        RECORD_HEADER_LENGTH, RECORD_OVERHEAD, RECORD_TRAILER_LENGTH, RecordHeader, SECTOR, SegmentHeader,
        SyncMark,
    },
    storage::Storage,
};

/// Bytes read at a time: large enough that the system call does not show, small enough to stay in the cache.
pub(super) const CHUNK: usize = 256 << 10;

/// One record, borrowed from the reader's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub lsn: Lsn,
    /// Nanoseconds since the epoch, as given to append.
    pub timestamp_ns: u64,
    pub kind: u8,
    pub payload: &'a [u8],
    /// Where it is: segment ordinal and offset in the file.
    pub segment: u64,
    pub offset: u64,
}

impl Segment {
    pub(super) fn examine<S: Storage>(
        storage: &S,
        name: String,
        ordinal: u64,
    ) -> Result<Segment, JournalError> {
        let length = storage.length(&name)?;
        let mut page = vec![0; DATA_OFFSET];
        storage.read(&name, 0, &mut page)?;
        let mut sector = [0; SECTOR];
        sector.copy_from_slice(&page[..SECTOR]);
        let (mut mark, mut marks_damaged) = (None::<SyncMark>, 0);
        for slot in MARK_OFFSETS {
            let bytes = &page[slot..slot + MARK_LENGTH];
            match SyncMark::decode(bytes) {
                Some(found) if mark.is_none_or(|mark| found.generation > mark.generation) => {
                    mark = Some(found)
                }
                Some(_) => {}
                None if format::is_zero(bytes) => {}
                None => marks_damaged += 1,
            }
        }
        Ok(Segment { name, ordinal, length, header: SegmentHeader::decode(&sector), mark, marks_damaged })
    }

    pub fn valid(&self) -> Option<&SegmentHeader> {
        match &self.header {
            HeaderState::Valid(header) => Some(header),
            _ => None,
        }
    }

    /// Offset up to which it is known to be durable.
    pub fn synced(&self) -> u64 {
        self.mark.map_or(0, |mark| mark.offset)
    }
}

/// The segments of a shard in order, without gaps.
pub fn segments<S: Storage>(storage: &S, shard: u32) -> Result<Vec<Segment>, JournalError> {
    let mut ordinals: Vec<(u64, String)> = storage
        .list()?
        .into_iter()
        .filter_map(|name| format::segment_ordinal(&name, shard).map(|ordinal| (ordinal, name)))
        .collect();
    ordinals.sort_unstable();
    let mut segments: Vec<Segment> = Vec::with_capacity(ordinals.len());
    for (ordinal, name) in ordinals {
        if let Some(before) = segments.last()
            && ordinal != before.ordinal + 1
        {
            return Err(JournalError::MissingSegment {
                expected: format::segment_name(shard, before.ordinal + 1),
                found: name,
                after: storage.describe(&before.name),
            });
        }
        let segment = Segment::examine(storage, name, ordinal)?;
        if let HeaderState::UnknownVersion(found) = segment.header {
            let file = storage.describe(&segment.name);
            return Err(JournalError::UnknownVersion { file, expected: format::VERSION, found });
        }
        segments.push(segment);
    }
    Ok(segments)
}

impl End {
    /// Offset in the last segment at which the next record goes.
    pub fn offset(&self) -> u64 {
        self.place.as_ref().map_or(0, |place| place.offset)
    }
}

/// Reads records in order. An iterator whose items borrow from it.
pub struct Reader<S: Storage> {
    pub(super) storage: S,
    pub(super) segments: Vec<Segment>,
    /// Index in `segments` of the one being read.
    pub(super) index: usize,
    shard: u32,
    /// What `segments[index]` says of itself. None: there are no records at all.
    pub(super) header: Option<SegmentHeader>,
    pub(super) offset: u64,
    pub(super) next: Lsn,
    pub(super) chain: u32,
    limit: Option<Lsn>,
    /// Where the records stop is not judged: a writer may be about to go on there. For [`LiveReader`](super::LiveReader).
    pub(super) live: bool,
    /// Bytes to read at a time.
    pub(super) chunk: usize,
    pub(super) buffer: Vec<u8>,
    /// Offset in the file of the buffer's first byte.
    buffered_from: u64,
    pub(super) end: Option<End>,
}

pub(super) enum Found {
    Record {
        payload: Range<usize>,
        header: RecordHeader,
        offset: u64,
    },
    NextSegment,
    End,
    /// Of a live reader: no whole record here. With what it would be otherwise, if there is anything.
    NotYet(Option<Damage>),
}

impl<S: Storage> Reader<S> {
    /// Starts at record `from`, having checked those before it in the same segment.
    pub fn open(storage: S, shard: u32, from: Lsn) -> Result<Reader<S>, JournalError> {
        Reader::begin(storage, shard, from, None, false)
    }

    /// Starts after record `last`, whose CRC must be `chain`: what a snapshot says of the journal that it continues with.
    pub fn open_after(storage: S, shard: u32, last: Lsn, chain: u32) -> Result<Reader<S>, JournalError> {
        let reader = Reader::open(storage, shard, last.next())?;
        reader.must_continue(last, chain)?;
        Ok(reader)
    }

    /// Refuses if the record before, `last`, is not the one with CRC `chain`.
    pub(super) fn must_continue(&self, last: Lsn, chain: u32) -> Result<(), JournalError> {
        // At the start of a segment the chain has the seal in it, which is made of nothing but the record before.
        let (_, seal) = RecordHeader::encode(chain, KIND_SEAL, last.next(), 0, 0);
        if last > Lsn::ZERO && self.chain != chain && self.chain != seal.value() {
            return Err(JournalError::Foreign { last, expected: chain, found: self.chain });
        }
        Ok(())
    }

    /// For a journal that is being written: as [`open`](Reader::open), but reads no further than record `limit` and does not take that
    /// for the end. Go on with [`set_limit`](Reader::set_limit).
    pub fn follow(storage: S, shard: u32, from: Lsn, limit: Lsn) -> Result<Reader<S>, JournalError> {
        Reader::begin(storage, shard, from, Some(limit), false)
    }

    pub(super) fn begin(
        storage: S,
        shard: u32,
        from: Lsn,
        limit: Option<Lsn>,
        live: bool,
    ) -> Result<Reader<S>, JournalError> {
        let segments = segments(&storage, shard)?;
        let from = from.max(Lsn::FIRST);
        let mut reader = Reader {
            storage,
            segments,
            index: 0,
            shard,
            header: None,
            offset: 0,
            next: Lsn::FIRST,
            chain: 0,
            limit,
            live,
            chunk: CHUNK,
            buffer: Vec::new(),
            buffered_from: 0,
            end: None,
        };
        if !reader.find_segment(from)? && limit.is_none() {
            let leftovers = std::mem::take(&mut reader.segments);
            reader.end = Some(End { last: Lsn::ZERO, tail: Ending::Clean, place: None, leftovers });
        }
        while reader.next < from {
            if reader.next()?.is_none() {
                return Err(JournalError::TooNew { wanted: from, last: reader.next.previous() });
            }
        }
        Ok(reader)
    }

    /// False if there are no records.
    fn find_segment(&mut self, from: Lsn) -> Result<bool, JournalError> {
        let starts_by = |segment: &Segment| segment.valid().is_some_and(|header| header.first <= from);
        if let Some(index) = self.segments.iter().rposition(starts_by) {
            self.index = index;
            self.enter()?;
            return Ok(true);
        }
        let Some(first) = self.segments.first() else { return Ok(false) };
        match &first.header {
            HeaderState::Valid(header) => Err(JournalError::TooOld {
                wanted: from,
                first: header.first,
                file: self.storage.describe(&first.name),
            }),
            // Made ready, and lost before it was ever synced: nothing was acknowledged from it.
            HeaderState::Unused | HeaderState::Incomplete
                if first.ordinal == 0 && first.mark.is_some() && first.synced() == 0 =>
            {
                self.later_must_be_empty(0, None)?;
                Ok(false)
            }
            state => Err(self.damaged(0, Damage::SegmentHeader { what: describe_header(state) })),
        }
    }

    /// Begins to read `segments[index]`.
    fn enter(&mut self) -> Result<(), JournalError> {
        let segment = &self.segments[self.index];
        let Some(header) = segment.valid().copied() else {
            return Err(self.damaged(0, Damage::SegmentHeader { what: describe_header(&segment.header) }));
        };
        let wrong = |what, expected, found| Damage::Continuation { what, expected, found };
        let damage = if header.shard != self.shard {
            Some(wrong("shard", u64::from(self.shard), u64::from(header.shard)))
        } else if header.ordinal != segment.ordinal {
            Some(wrong("ordinal", segment.ordinal, header.ordinal))
        } else if header.segment_size != segment.length {
            Some(Damage::FileLength { expected: header.segment_size, found: segment.length })
        } else if segment.mark.is_none() {
            Some(Damage::SyncMarks)
        } else if let Some(before) = self.header {
            if header.journal_id != before.journal_id {
                Some(wrong("journal id", before.journal_id, header.journal_id))
            } else if header.first != self.next {
                Some(wrong("first record", self.next.0, header.first.0))
            } else if header.chain != self.chain {
                Some(wrong("chain", u64::from(self.chain), u64::from(header.chain)))
            } else {
                None
            }
        } else {
            None
        };
        if let Some(damage) = damage {
            return Err(self.damaged(0, damage));
        }
        self.header = Some(header);
        self.next = header.first;
        self.chain = header.chain;
        self.offset = DATA_OFFSET as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Raises the limit of a reader that follows a writer, to what [`Writer::releasable`](super::Writer::releasable) or
    /// [`Progress`](super::Progress) says is there.
    pub fn set_limit(&mut self, limit: Lsn) -> Result<(), JournalError> {
        self.limit = Some(limit);
        // What lies beyond the old limit may have been read before it was written.
        self.buffer.clear();
        if self.header.is_none() && limit >= self.next { self.look_again() } else { Ok(()) }
    }

    /// The directory has changed since: segments are made ready and come into use.
    pub(super) fn look_again(&mut self) -> Result<(), JournalError> {
        let current = self.segments.get(self.index).map(|segment| segment.ordinal);
        self.segments = segments(&self.storage, self.shard)?;
        match current {
            Some(ordinal) if self.header.is_some() => {
                let index = self.segments.iter().position(|segment| segment.ordinal == ordinal);
                // Retention does not remove what is still being read by the snapshot taker, but a slow inspection can lose a segment.
                self.index = index.ok_or_else(|| JournalError::TooOld {
                    wanted: self.next,
                    first: self
                        .segments
                        .iter()
                        .find_map(Segment::valid)
                        .map_or(Lsn::ZERO, |header| header.first),
                    file: format::segment_name(self.shard, ordinal),
                })?;
            }
            _ => {
                self.find_segment(Lsn::FIRST)?;
            }
        }
        Ok(())
    }

    /// The next record. `None` at the limit, or at the end, and then for good.
    #[allow(clippy::should_implement_trait)] // Its items borrow from it.
    #[inline]
    pub fn next(&mut self) -> Result<Option<Record<'_>>, JournalError> {
        loop {
            if self.end.is_some()
                || self.header.is_none()
                || self.limit.is_some_and(|limit| self.next > limit)
            {
                return Ok(None);
            }
            match self.advance()? {
                Found::Record { payload, header, offset } => {
                    return Ok(Some(Record {
                        lsn: header.lsn,
                        timestamp_ns: header.timestamp_ns,
                        kind: header.kind,
                        payload: &self.buffer[payload],
                        segment: self.segments[self.index].ordinal,
                        offset,
                    }));
                }
                Found::NextSegment => {}
                Found::End | Found::NotYet(_) => return Ok(None),
            }
        }
    }

    /// Number of the record that [`next`](Reader::next) gives next.
    pub fn position(&self) -> Lsn {
        self.next
    }

    /// CRC of the record given last. As [`Writer::chain`](super::Writer::chain).
    pub fn chain(&self) -> u32 {
        self.chain
    }

    /// What the end looks like, once [`next`](Reader::next) has reached it.
    pub fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// The end, to go on writing after it.
    pub fn into_end(self) -> Option<End> {
        self.end
    }

    /// The segments of the journal, for reports.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    pub(super) fn advance(&mut self) -> Result<Found, JournalError> {
        let (begin, size) = (self.offset, self.segments[self.index].length);
        let Some(at) = self.window(begin, RECORD_HEADER_LENGTH)? else {
            return self.judge(begin, None, Some(Damage::Length { expected_max: size - begin, found: 24 }));
        };
        let mut bytes = [0; RECORD_HEADER_LENGTH];
        bytes.copy_from_slice(&self.buffer[at..at + RECORD_HEADER_LENGTH]);
        if bytes[..4] == [0; 4] {
            return self.judge(begin, None, None);
        }
        let header = match RecordHeader::decode(self.chain, &bytes) {
            Ok(header) => header,
            Err((expected, found)) => {
                return self.judge(begin, None, Some(Damage::RecordHeaderCrc { expected, found }));
            }
        };
        if header.lsn != self.next {
            return Err(self.damaged(begin, Damage::Number { expected: self.next, found: header.lsn }));
        }
        let length = format::record_length(header.payload_length);
        let Some(at) = self.window(begin, length)? else {
            let damage = Damage::Length { expected_max: size - begin, found: length as u64 };
            return Err(self.damaged(begin, damage));
        };
        let payload = at + RECORD_HEADER_LENGTH..at + RECORD_HEADER_LENGTH + header.payload_length;
        let trailer = at + length - RECORD_TRAILER_LENGTH;
        let expected = header.crc.bytes(&self.buffer[payload.start..trailer]).value();
        let (found, mark) =
            (format::u32_at(&self.buffer, trailer), format::u32_at(&self.buffer, trailer + 4));
        let end = begin + length as u64;
        if found != expected || mark != END_MARK {
            let damage = match found == expected {
                true => Damage::EndMark { expected: END_MARK, found: mark },
                false => Damage::RecordCrc { expected, found },
            };
            return self.judge(begin, Some(end), Some(damage));
        }
        if !format::is_zero(&self.buffer[payload.end..trailer]) {
            // Under a right CRC only a writer that is not ours does this.
            return Err(self.damaged(begin, Damage::NotZero { offset: begin + length as u64 - 8 }));
        }
        self.chain = found;
        self.offset = end;
        if header.kind == KIND_SEAL {
            return self.turn();
        }
        self.next = header.lsn.next();
        Ok(Found::Record { payload, header, offset: begin })
    }

    /// After a seal.
    fn turn(&mut self) -> Result<Found, JournalError> {
        if let Some(offset) = self.first_not_zero(self.offset)? {
            return Err(self.damaged(self.offset, Damage::NotZero { offset }));
        }
        if self.limit.is_some() && self.segments.get(self.index + 1).is_none_or(|next| next.valid().is_none())
        {
            self.look_again()?;
        }
        let Some(next) = self.segments.get(self.index + 1) else {
            if self.live {
                return Ok(Found::NotYet(None));
            }
            return Err(self.lacks_next("no such file".into()));
        };
        let (synced, header) = (next.synced(), next.header);
        if self.live && next.valid().is_none() {
            let what = describe_header(&header);
            return Ok(Found::NotYet(
                (header != HeaderState::Unused).then_some(Damage::SegmentHeader { what }),
            ));
        }
        match header {
            HeaderState::Unused | HeaderState::Incomplete if synced == 0 => {
                if next.mark.is_none() && next.marks_damaged == 0 {
                    let length = next.length;
                    return Err(self.lacks_next(format!("{length} bytes that were never made ready")));
                }
                let tail = self.judge_unused_segment(self.index + 1)?;
                Ok(self.finish(tail, true))
            }
            _ => {
                self.index += 1;
                self.enter()?;
                Ok(Found::NextSegment)
            }
        }
    }

    /// The segment after this one, which is sealed, is not what it was when the seal was written.
    #[cold]
    fn lacks_next(&self, found: String) -> JournalError {
        let next = format::segment_name(self.shard, self.segments[self.index].ordinal + 1);
        self.damaged(self.offset, Damage::NextSegment { next, found })
    }

    /// Ends the reading here.
    pub(super) fn finish(&mut self, tail: Ending, sealed: bool) -> Found {
        let segment = &self.segments[self.index];
        let place = self.header.map(|header| Place {
            header,
            name: segment.name.clone(),
            offset: self.offset,
            sealed,
            chain: self.chain,
        });
        let leftovers = self.segments[self.index + 1..].to_vec();
        self.end = Some(End { last: self.next.previous(), tail, place, leftovers });
        Found::End
    }

    /// Brings `length` bytes at `offset` into the buffer; returns where. None if a record cannot be there: the seal has to follow it.
    fn window(&mut self, offset: u64, length: usize) -> Result<Option<usize>, JournalError> {
        let segment = &self.segments[self.index];
        let seal = if length > RECORD_OVERHEAD { RECORD_OVERHEAD as u64 } else { 0 };
        if offset + length as u64 + seal > segment.length {
            return Ok(None);
        }
        let begin = offset.wrapping_sub(self.buffered_from) as usize;
        if offset >= self.buffered_from && begin + length <= self.buffer.len() {
            return Ok(Some(begin));
        }
        let wanted = self.chunk.max(length).min((segment.length - offset) as usize);
        self.chunk = CHUNK.min(self.chunk * 2);
        self.buffer.resize(wanted, 0);
        let count = self.storage.read(&segment.name, offset, &mut self.buffer)?;
        self.buffer.truncate(count);
        self.buffered_from = offset;
        if count < length {
            let found = offset + count as u64;
            return Err(self.damaged(offset, Damage::FileLength { expected: segment.length, found }));
        }
        Ok(Some(0))
    }

    /// Damage at `offset` of the segment being read.
    pub(super) fn damaged(&self, offset: u64, damage: Damage) -> JournalError {
        let file = self.segments.get(self.index).map_or("", |segment| &segment.name);
        JournalError::Damaged { file: self.storage.describe(file), offset, record: self.next, damage }
    }
}

pub(super) fn describe_header(state: &HeaderState) -> String {
    match state {
        HeaderState::Unused => "expected a header, found zeros".into(),
        HeaderState::Valid(_) => "valid".into(),
        HeaderState::Incomplete => "expected a header, found one that was not written to its end".into(),
        HeaderState::BadMagic => "expected the bytes PITLJRNL, found others".into(),
        HeaderState::UnknownVersion(version) => format!("format version {version}"),
        HeaderState::BadCrc { expected, found } => format!("expected CRC {expected:08x}, found {found:08x}"),
    }
}
