//! Judges the place where the records of a journal stop: the end, a write that a crash cut short, or damage. Repairs nothing.
//!
//! Only what provably was never acknowledged may be cut off, so the question is always "could this be anything else?":
//! - Before the sync mark nothing may be wrong.
//! - If the machine has not been booted since the journal was written, the page cache held everything: the only thing that a killed process
//!   leaves behind is one record without its last byte and zeros after it ("strict").
//! - After a boot, writes since the last sync may have come to the disk in any order, but a segment starts out as zeros and bytes
//!   are written once: a sector lacks its end, and that end is zeros. A record that is wrong with no such sector has been damaged.

use super::{
    end::Ending,
    error::{Damage, JournalError},
    format::{self, HeaderState, RECORD_HEADER_LENGTH, SECTOR},
    reader::{CHUNK, Found, Reader},
    storage::Storage,
};

impl<S: Storage> Reader<S> {
    /// No whole record at `begin`. `end`: where it would end, if its header is whole. `damage`: None if nothing is there at all.
    #[cold]
    pub(super) fn judge(
        &mut self,
        begin: u64,
        end: Option<u64>,
        damage: Option<Damage>,
    ) -> Result<Found, JournalError> {
        if self.live {
            return Ok(Found::NotYet(damage));
        }
        let segment = &self.segments[self.index];
        let (synced, size) = (segment.synced(), segment.length);
        if begin < synced {
            return Err(self.damaged(begin, damage.unwrap_or(Damage::EndsBeforeMark { mark: synced })));
        }
        let strict = self.same_boot(self.index);
        self.later_must_be_empty(begin, damage.as_ref())?;
        let not_zero = self.first_not_zero(begin)?;
        if not_zero.is_none() && self.later_in_use().is_none() {
            return Ok(self.finish(Ending::Clean, false));
        }
        // A whole record ends in a byte that is not zero. The first place where this one's could be:
        let last = end.map_or(begin + RECORD_HEADER_LENGTH as u64, |end| end - 1).min(size - 1);
        let torn = match (&damage, strict) {
            (None, true) => false,
            (Some(_), true) => self.first_not_zero(last)?.is_none(),
            (None, false) => self.zero_to_sector_end(begin)?,
            (Some(_), false) => self.lacks_a_sector_end(begin, last)?,
        };
        if !torn {
            let nothing = || match (not_zero, self.later_in_use()) {
                (Some(offset), _) => Damage::NotZero { offset },
                (None, Some(next)) => Damage::EndsBeforeSegment { next },
                (None, None) => Damage::NotZero { offset: begin },
            };
            return Err(self.damaged(begin, damage.unwrap_or_else(nothing)));
        }
        let tail =
            self.torn(begin, damage.map_or_else(|| "not written".into(), |damage| damage.to_string()))?;
        Ok(self.finish(tail, false))
    }

    /// The segment after a seal has no header: never used, or its header was lost.
    pub(super) fn judge_unused_segment(&mut self, index: usize) -> Result<Ending, JournalError> {
        let here = std::mem::replace(&mut self.index, index);
        let result = self.judge_header(index);
        self.index = here;
        result
    }

    fn judge_header(&mut self, index: usize) -> Result<Ending, JournalError> {
        self.later_must_be_empty(0, None)?;
        let incomplete = self.segments[index].header == HeaderState::Incomplete;
        if self.same_boot(index)
            && incomplete
            && let Some(offset) = self.first_not_zero(format::DATA_OFFSET as u64)?
        {
            return Err(self.damaged(0, Damage::NotZero { offset }));
        }
        if incomplete {
            self.torn(0, "segment header not written to its end".into())
        } else {
            Ok(Ending::Clean)
        }
    }

    fn torn(&self, offset: u64, what: String) -> Result<Ending, JournalError> {
        let segment = &self.segments[self.index];
        let end = self.last_not_zero(offset)?.map_or(offset, |last| last + 1);
        let file = self.storage.describe(&segment.name);
        Ok(Ending::Torn { file, offset, record: self.next, bytes: end - offset, what })
    }

    /// Whether the segment was written under the boot that still lasts: then no write is lost.
    fn same_boot(&self, index: usize) -> bool {
        let now = self.storage.boot_id();
        now != 0 && self.segments[index].mark.is_some_and(|mark| mark.boot_id == now)
    }

    /// A segment is only synced after the ones before it, and only begun after they were sealed.
    pub(super) fn later_must_be_empty(
        &self,
        begin: u64,
        damage: Option<&Damage>,
    ) -> Result<(), JournalError> {
        let strict = self.same_boot(self.index);
        for segment in &self.segments[self.index + 1..] {
            if segment.synced() > 0 || (strict && segment.header != HeaderState::Unused) {
                let next = segment.name.clone();
                let damage = damage.cloned().unwrap_or(Damage::EndsBeforeSegment { next });
                return Err(self.damaged(begin, damage));
            }
        }
        Ok(())
    }

    fn later_in_use(&self) -> Option<String> {
        let mut later = self.segments[self.index + 1..].iter();
        later.find(|segment| segment.header != HeaderState::Unused).map(|segment| segment.name.clone())
    }

    /// Whether a sector among those of `begin..=last` ends in zeros where the record goes on, so that its end cannot have been written.
    fn lacks_a_sector_end(&self, begin: u64, last: u64) -> Result<bool, JournalError> {
        let sector = SECTOR as u64;
        let mut end = begin - begin % sector + sector;
        while end <= last {
            if self.zero_to_sector_end(end - 1)? {
                return Ok(true);
            }
            end += sector;
        }
        self.zero_to_sector_end(last)
    }

    fn zero_to_sector_end(&self, from: u64) -> Result<bool, JournalError> {
        let sector = SECTOR as u64;
        let mut bytes = [0; SECTOR];
        let length = (sector - from % sector) as usize;
        let count = self.storage.read(&self.segments[self.index].name, from, &mut bytes[..length])?;
        Ok(format::is_zero(&bytes[..count]))
    }

    /// First byte from `from` to the end of the segment that is not zero.
    pub(super) fn first_not_zero(&self, from: u64) -> Result<Option<u64>, JournalError> {
        let mut found = None;
        self.scan(from, |offset, bytes| {
            if found.is_none() && !format::is_zero(bytes) {
                found = bytes.iter().position(|&byte| byte != 0).map(|at| offset + at as u64);
            }
            found.is_none()
        })?;
        Ok(found)
    }

    fn last_not_zero(&self, from: u64) -> Result<Option<u64>, JournalError> {
        let mut found = None;
        self.scan(from, |offset, bytes| {
            if !format::is_zero(bytes) {
                found = bytes.iter().rposition(|&byte| byte != 0).map(|at| offset + at as u64);
            }
            true
        })?;
        Ok(found)
    }

    fn scan(&self, from: u64, mut look: impl FnMut(u64, &[u8]) -> bool) -> Result<(), JournalError> {
        let segment = &self.segments[self.index];
        let mut buffer = vec![0; CHUNK.min(segment.length.saturating_sub(from) as usize)];
        let mut offset = from;
        while offset < segment.length {
            let count = self.storage.read(&segment.name, offset, &mut buffer)?;
            if count == 0 || !look(offset, &buffer[..count]) {
                break;
            }
            offset += count as u64;
        }
        Ok(())
    }
}
