//! What the background does for a journal, in steps: segments made ready ahead of the writer, written ranges made durable. No threads and
//! no clock, so that the simulation takes the same steps.

use std::sync::{
    Arc,
    mpsc::{Receiver, SyncSender, TrySendError},
};

use super::{
    error::{JournalFailure, StorageError},
    format::{self, DATA_OFFSET, HEADER_LENGTH, MARK_OFFSETS, SECTOR, SyncMark},
    settings::Durability,
    shared::Progress,
    storage::{Preparation, Prepared, SegmentKeeper, Storage},
    writer::ReadySegment,
};

/// Bytes ahead of the writer that are kept writable without a fault: several times what a shard writes between two looks.
const PREFAULT_AHEAD: u64 = 1 << 20;

/// Groups after which a group takes the marks before it along to the disk: one more page for it to write. With every group the answer at
/// 500,000 orders/s took 266 us instead of 248.
const GROUPS_PER_MARK: u32 = 8;

/// Whether a step found anything to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Worked,
    Idle,
}

/// The background half of a segment on its way to the syncer.
pub(crate) struct KeptSegment<K> {
    pub ordinal: u64,
    pub size: u64,
    /// Everything before is durable.
    pub synced: u64,
    /// Of the next mark.
    pub generation: u64,
    pub keeper: K,
    /// Marks written since one was made durable. All of them in the same slot: the other has the one that is.
    pub unmarked: u32,
}

impl<K: SegmentKeeper> KeptSegment<K> {
    /// Makes all that was written durable, the last mark included: the next one goes to the other slot.
    fn sync(&mut self) -> Result<(), StorageError> {
        self.keeper.sync()?;
        if std::mem::take(&mut self.unmarked) > 0 {
            self.generation -= 1;
        }
        Ok(())
    }

    /// Says that all before `offset` is durable. A generation's parity is its slot.
    fn mark(&mut self, offset: u64, boot_id: u64) -> Result<(), StorageError> {
        let mark = SyncMark { generation: self.generation, offset, boot_id };
        self.keeper.write_mark(mark.slot() as u64, &mark.encode())?;
        self.generation += 2;
        self.unmarked += 1;
        Ok(())
    }
}

/// The first page of a segment not used yet: no header, but both marks, so that one of them may be lost.
fn first_page(boot_id: u64) -> Vec<u8> {
    let mut page = vec![0; MARK_OFFSETS[1] + SECTOR];
    for generation in 0..2 {
        let mark = SyncMark { generation, offset: 0, boot_id };
        page[mark.slot()..][..format::MARK_LENGTH].copy_from_slice(&mark.encode());
    }
    page
}

/// Generation after those of [`first_page`].
const FIRST_GENERATION: u64 = 2;

/// A segment that is ready while one of the queues is full.
struct Waiting<S: Storage> {
    /// None once the syncer has it.
    kept: Option<KeptSegment<S::Keeper>>,
    ready: ReadySegment<S::Writer>,
}

/// Makes segments ready.
pub struct Preparer<S: Storage> {
    storage: S,
    shard: u32,
    segment_size: u64,
    segments_ahead: u64,
    next_ordinal: u64,
    under_way: Option<S::Preparation>,
    waiting: Option<Waiting<S>>,
    to_writer: SyncSender<ReadySegment<S::Writer>>,
    to_syncer: SyncSender<KeptSegment<S::Keeper>>,
    progress: Arc<Progress>,
}

impl<S: Storage> Preparer<S> {
    pub(crate) fn new(
        storage: S,
        shard: u32,
        segment_size: u64,
        segments_ahead: u32,
        next_ordinal: u64,
        to_writer: SyncSender<ReadySegment<S::Writer>>,
        to_syncer: SyncSender<KeptSegment<S::Keeper>>,
        progress: Arc<Progress>,
    ) -> Preparer<S> {
        let segments_ahead = u64::from(segments_ahead);
        Preparer {
            storage,
            shard,
            segment_size,
            segments_ahead,
            next_ordinal,
            under_way: None,
            waiting: None,
            to_writer,
            to_syncer,
            progress,
        }
    }

    /// One step. An error leaves the preparer able to try again from the start of the segment: nothing depends on it yet. It is published as
    /// [`Progress::delay`] and becomes back-pressure when the writer needs the segment.
    pub fn step(&mut self) -> Result<Step, StorageError> {
        let result = self.try_step();
        match &result {
            Ok(Step::Worked) if self.under_way.is_some() => {}
            Ok(Step::Worked) => self.progress.set_delay(None),
            Ok(Step::Idle) => {}
            Err(error) => {
                self.under_way = None;
                self.progress.set_delay(Some(error.to_string()));
            }
        }
        result
    }

    /// Whether the directory is still the one that was opened; if not, that is the end of the journal, and published as such.
    pub fn check(&self) -> Result<(), JournalFailure> {
        self.storage.check().map_err(|error| self.progress.fail(error.to_string()))
    }

    /// Whether the writer is in the last segment that it has.
    pub fn is_urgent(&self) -> bool {
        self.next_ordinal <= self.progress.written().1.ordinal() + 1
    }

    fn try_step(&mut self) -> Result<Step, StorageError> {
        if self.waiting.is_some() {
            return Ok(self.hand_over());
        }
        let Some(preparation) = &mut self.under_way else {
            if self.next_ordinal > self.progress.written().1.ordinal() + self.segments_ahead {
                return Ok(Step::Idle);
            }
            let name = format::segment_name(self.shard, self.next_ordinal);
            let first_page = first_page(self.storage.boot_id());
            self.under_way = Some(self.storage.prepare(&name, self.segment_size, &first_page)?);
            return Ok(Step::Worked);
        };
        if let Prepared::Ready(memory, keeper) = preparation.step()? {
            self.under_way = None;
            let (ordinal, size) = (self.next_ordinal, self.segment_size);
            let kept =
                KeptSegment { ordinal, size, synced: 0, generation: FIRST_GENERATION, keeper, unmarked: 0 };
            self.waiting = Some(Waiting { kept: Some(kept), ready: ReadySegment { ordinal, size, memory } });
            self.next_ordinal += 1;
            self.hand_over();
        }
        Ok(Step::Worked)
    }

    /// The syncer first: it has to know a segment before the writer can be in it.
    fn hand_over(&mut self) -> Step {
        let Some(Waiting { kept, ready }) = self.waiting.take() else { return Step::Idle };
        if let Some(kept) = kept
            && let Err(TrySendError::Full(kept)) = self.to_syncer.try_send(kept)
        {
            self.waiting = Some(Waiting { kept: Some(kept), ready });
            return Step::Idle;
        }
        if let Err(TrySendError::Full(ready)) = self.to_writer.try_send(ready) {
            self.waiting = Some(Waiting { kept: None, ready });
            return Step::Idle;
        }
        Step::Worked
    }
}

/// Makes what was written durable: at once (`disk`), or segment by segment (`process`).
pub struct Syncer<S: Storage> {
    current: Option<KeptSegment<S::Keeper>>,
    from_preparer: Receiver<KeptSegment<S::Keeper>>,
    progress: Arc<Progress>,
    every_group: bool,
    boot_id: u64,
    prefaulted: u64,
}

impl<S: Storage> Syncer<S> {
    pub(crate) fn new(
        from_preparer: Receiver<KeptSegment<S::Keeper>>,
        progress: Arc<Progress>,
        durability: Durability,
        boot_id: u64,
    ) -> Syncer<S> {
        let every_group = durability == Durability::Disk;
        Syncer { current: None, from_preparer, progress, every_group, boot_id, prefaulted: 0 }
    }

    /// One step: at most one sync. An error is the end of the journal: it is published, every later step returns it again, and nothing
    /// is tried a second time, since the kernel may have dropped the pages that it could not write.
    pub fn step(&mut self) -> Result<Step, JournalFailure> {
        if let Some(failure) = self.progress.failure() {
            return Err(failure.clone());
        }
        let now = self.every_group || self.progress.wanted() > self.progress.durable();
        self.try_step(now).map_err(|error| self.progress.fail(error.to_string()))
    }

    fn retire(&mut self) {
        if let Some(segment) = self.current.take() {
            segment.keeper.retire();
        }
    }

    /// Whether the segment in use is still there for those who read it; if not, as of [`Preparer::check`].
    pub fn check(&self) -> Result<(), JournalFailure> {
        let checked = self.current.as_ref().map_or(Ok(()), |segment| segment.keeper.check());
        checked.map_err(|error| self.progress.fail(error.to_string()))
    }

    /// Makes the pages ahead writable anew with the next step.
    pub fn prefault_again(&mut self) {
        self.prefaulted = 0;
    }

    /// Syncs everything that has been written. For the end of an orderly run.
    pub fn finish(&mut self) -> Result<(), JournalFailure> {
        loop {
            if let Some(failure) = self.progress.failure() {
                return Err(failure.clone());
            }
            match self.try_step(true) {
                Ok(Step::Worked) => {}
                Ok(Step::Idle) => return self.sync_last_mark(),
                Err(error) => return Err(self.progress.fail(error.to_string())),
            }
        }
    }

    /// Makes the last mark durable, for a quiet moment: no group is coming that would take it along.
    pub fn rest(&mut self) -> Result<(), JournalFailure> {
        if let Some(failure) = self.progress.failure() {
            return Err(failure.clone());
        }
        match &self.current {
            Some(segment) if self.every_group && segment.unmarked > 0 => self.sync_last_mark(),
            _ => Ok(()),
        }
    }

    /// A mark is durable with a sync after it; at the end there is none.
    fn sync_last_mark(&mut self) -> Result<(), JournalFailure> {
        let Some(segment) = &mut self.current else { return Ok(()) };
        segment.sync().map_err(|error| self.progress.fail(error.to_string()))
    }

    fn try_step(&mut self, every_group: bool) -> Result<Step, StorageError> {
        let (lsn, position) = self.progress.written();
        if self.current.is_none() {
            self.current = self.from_preparer.try_recv().ok();
            self.prefaulted = 0;
        }
        let Some(segment) = &mut self.current else { return Ok(Step::Idle) };
        if position.ordinal() < segment.ordinal {
            return Ok(Step::Idle);
        }
        let full = segment.ordinal < position.ordinal();
        let to = if full { segment.size } else { position.offset() };
        if to > segment.synced && (full || every_group) {
            // Not from 0: the rest of the first page has the marks, which only exist in the file.
            let from = segment.synced.max(DATA_OFFSET as u64);
            if segment.synced == 0 || full || segment.unmarked >= GROUPS_PER_MARK {
                if segment.synced == 0 {
                    segment.keeper.write_back(0, HEADER_LENGTH as u64)?;
                }
                segment.keeper.write_back(from, to)?;
                segment.sync()?;
            } else {
                segment.keeper.write_durably(from, to)?;
            }
            segment.synced = to;
            // `lsn` was read before `position`: all of it lies before `to`, unless `to` is the end of an older segment.
            if !full {
                self.progress.set_durable(lsn);
            }
            segment.mark(to, self.boot_id)?;
            if full {
                self.retire();
            }
            return Ok(Step::Worked);
        }
        if full {
            self.retire();
            return Ok(Step::Worked);
        }
        // The kernel's own write-back makes clean, and so unwritable without a fault, what was prefaulted long ago.
        let ahead = (position.offset() + PREFAULT_AHEAD).min(segment.size);
        if ahead > self.prefaulted + PREFAULT_AHEAD / 4 {
            self.prefaulted = ahead;
            segment.keeper.prefault(position.offset(), ahead)?;
        }
        Ok(Step::Idle)
    }
}
