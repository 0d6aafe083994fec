//! What the shard thread and the journal's background threads tell each other: three counters and a verdict. No locks.

use std::sync::{
    OnceLock,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use crossbeam_utils::CachePadded;

use super::{error::JournalFailure, format::Lsn, settings::Durability};

/// A place in the journal: segment ordinal and offset in it, ordered, in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(u64);

impl Position {
    const OFFSET_BITS: u32 = 32;

    pub const fn new(ordinal: u64, offset: u64) -> Position {
        Position(ordinal << Self::OFFSET_BITS | offset)
    }
    pub const fn ordinal(self) -> u64 {
        self.0 >> Self::OFFSET_BITS
    }
    pub const fn offset(self) -> u64 {
        self.0 & ((1 << Self::OFFSET_BITS) - 1)
    }
}

#[derive(Debug, Default)]
struct Appended {
    lsn: AtomicU64,
    position: AtomicU64,
}

/// Written by one side, read by the other; any thread may look.
#[derive(Debug, Default)]
pub struct Progress {
    durability: Durability,
    appended: CachePadded<Appended>,
    durable: CachePadded<AtomicU64>,
    wanted: CachePadded<AtomicU64>,
    failed: CachePadded<AtomicBool>,
    failure: OnceLock<JournalFailure>,
    /// Why the next segment could not be made ready, last time it was tried. Not fatal: room may come back.
    delay: std::sync::Mutex<Option<String>>,
}

impl Progress {
    /// Starts with everything up to `lsn` appended and durable: it was read back and synced.
    pub(crate) fn starting_after(lsn: Lsn, position: Position, durability: Durability) -> Progress {
        let progress = Progress { durability, ..Progress::default() };
        progress.appended(lsn, position);
        progress.set_durable(lsn);
        progress
    }

    /// Last record appended.
    #[inline]
    pub fn last_appended(&self) -> Lsn {
        Lsn(self.appended.lsn.load(Ordering::Acquire))
    }

    /// Last record that the disk is known to have. With durability `process` it moves only when [asked for](Progress::want_durable).
    #[inline]
    pub fn durable(&self) -> Lsn {
        Lsn(self.durable.load(Ordering::Acquire))
    }

    /// Last record whose consequences may leave the engine. As [`Writer::releasable`](super::Writer::releasable), for other threads.
    #[inline]
    pub fn releasable(&self) -> Lsn {
        self.durability.releasable(self.last_appended(), self.durable())
    }

    /// Asks the sync thread to make records up to `lsn` durable, whatever the durability. [`durable`](Progress::durable) tells when. For
    /// whoever is about to make something durable that presupposes them, such as a snapshot.
    pub fn want_durable(&self, lsn: Lsn) {
        self.wanted.fetch_max(lsn.0, Ordering::AcqRel);
    }

    pub(crate) fn wanted(&self) -> Lsn {
        Lsn(self.wanted.load(Ordering::Acquire))
    }

    /// The verdict that ends everything, once there is one. One load of a line that is never written otherwise.
    #[inline]
    pub fn failure(&self) -> Option<&JournalFailure> {
        if self.failed.load(Ordering::Acquire) { self.failure.get() } else { None }
    }

    /// Why segments are late, for people.
    pub fn delay(&self) -> Option<String> {
        self.delay.lock().map_or(None, |delay| delay.clone())
    }

    /// Position first: who sees the number also sees the bytes' end.
    #[inline]
    pub(crate) fn appended(&self, lsn: Lsn, position: Position) {
        self.appended.position.store(position.0, Ordering::Release);
        self.appended.lsn.store(lsn.0, Ordering::Release);
    }

    /// A record number, and a position at or after that record's end.
    pub(crate) fn written(&self) -> (Lsn, Position) {
        let lsn = self.last_appended();
        (lsn, Position(self.appended.position.load(Ordering::Acquire)))
    }

    pub(crate) fn set_durable(&self, lsn: Lsn) {
        self.durable.store(lsn.0, Ordering::Release);
    }

    /// The first failure stays: later ones are its consequences.
    pub(crate) fn fail(&self, what: String) -> JournalFailure {
        let failure = self.failure.get_or_init(|| JournalFailure(what.into())).clone();
        self.failed.store(true, Ordering::Release);
        failure
    }

    pub(crate) fn set_delay(&self, why: Option<String>) {
        if let Ok(mut delay) = self.delay.lock() {
            *delay = why;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_order_by_segment_then_offset() {
        let position = Position::new(3, 4096);
        assert_eq!((position.ordinal(), position.offset()), (3, 4096));
        assert!(Position::new(2, u64::from(u32::MAX)) < position && position < Position::new(3, 4104));
    }

    #[test]
    fn the_first_failure_stays() {
        let progress = Progress::default();
        assert!(progress.failure().is_none());
        progress.fail("first".into());
        progress.fail("second".into());
        assert_eq!(&*progress.failure().expect("failed").0, "first");
    }
}
