//! The seam between the journal and a disk: what the journal needs, and nothing a disk could not do wrong. No format knowledge.
//!
//! A segment in use has two halves. The shard's half ([`SegmentWriter`]) takes bytes without a system call; the background half
//! ([`SegmentKeeper`]) makes ranges of it durable. [`FileStorage`](super::FileStorage) and [`SimStorage`](super::SimStorage) implement
//! this; the journal is generic over it, so the order path has no indirection.

use super::error::StorageError;

/// Shard thread's half of a segment.
pub trait SegmentWriter: Send {
    /// Copies `bytes` to `offset`, which nothing was written to before. In range by contract; out of range nothing is written.
    fn write(&mut self, offset: usize, bytes: &[u8]);
}

/// Background half of a segment.
pub trait SegmentKeeper: Send {
    /// Hands `from..to`, all of it written and published, to the system, if the writer's stores did not do so.
    fn write_back(&mut self, from: u64, to: u64) -> Result<(), StorageError>;

    /// Both for `from..to`: hands it over and makes it durable. What else was handed over, marks too, may stay where it is. Errors as of `sync`.
    fn write_durably(&mut self, from: u64, to: u64) -> Result<(), StorageError>;

    /// Makes all that was handed to the system durable. After an error the segment is beyond repair: what the disk has is unknown.
    fn sync(&mut self) -> Result<(), StorageError>;

    /// Writes `bytes` behind the shard's back, into the header's page. Durable with the next sync; survives the process at once.
    fn write_mark(&mut self, offset: u64, bytes: &[u8]) -> Result<(), StorageError>;

    /// Makes stores to `from..to` free of page faults, where they could cause any.
    fn prefault(&mut self, from: u64, to: u64) -> Result<(), StorageError>;

    /// Fails once the file is no longer to be found by anyone who reads the journal.
    fn check(&self) -> Result<(), StorageError>;

    /// Done with the segment.
    fn retire(self);
}

/// How far a preparation has come.
pub enum Prepared<W, K> {
    NotYet,
    /// Both halves of the segment.
    Ready(W, K),
}

/// A segment being made ready, in steps short enough to do other work in between.
pub trait Preparation: Send {
    type Writer: SegmentWriter;
    type Keeper: SegmentKeeper;

    /// One step. Ready: the file exists durably with its full size, is zero but for the first bytes given, and storing to it
    /// neither allocates disk blocks nor faults. To be called until then, or until an error.
    fn step(&mut self) -> Result<Prepared<Self::Writer, Self::Keeper>, StorageError>;
}

/// A directory of segments and snapshots.
///
/// Nothing is durable before the sync that covers it: file contents by [`sync`](Storage::sync), names (creation, renaming, removal) by
/// [`sync_directory`](Storage::sync_directory).
pub trait Storage: Clone + Send {
    type Writer: SegmentWriter;
    type Keeper: SegmentKeeper;
    type Preparation: Preparation<Writer = Self::Writer, Keeper = Self::Keeper>;

    /// Names of all files, in any order.
    fn list(&self) -> Result<Vec<String>, StorageError>;

    fn length(&self, file: &str) -> Result<u64, StorageError>;

    /// Fills `out` from `offset`; short only at the end of the file. Returns the bytes read.
    fn read(&self, file: &str, offset: u64, out: &mut [u8]) -> Result<usize, StorageError>;

    /// Begins to make a segment of `size` bytes ready that starts with `first_bytes` and is zero otherwise. It gets its name, and replaces a
    /// file of this name, once it is whole.
    fn prepare(&self, file: &str, size: u64, first_bytes: &[u8]) -> Result<Self::Preparation, StorageError>;

    /// Opens an existing segment of `size` bytes, written up to `written`, to go on writing.
    fn reopen(
        &self,
        file: &str,
        size: u64,
        written: u64,
    ) -> Result<(Self::Writer, Self::Keeper), StorageError>;

    /// Overwrites part of an existing file.
    fn overwrite(&self, file: &str, offset: u64, bytes: &[u8]) -> Result<(), StorageError>;

    /// Makes a file of these bytes, replacing one of this name.
    fn create(&self, file: &str, parts: &[&[u8]]) -> Result<(), StorageError>;

    fn sync(&self, file: &str) -> Result<(), StorageError>;
    fn rename(&self, from: &str, to: &str) -> Result<(), StorageError>;
    fn remove(&self, file: &str) -> Result<(), StorageError>;
    fn sync_directory(&self) -> Result<(), StorageError>;

    /// Fails once the directory is no longer the one that was opened.
    fn check(&self) -> Result<(), StorageError>;

    /// Differs whenever writes may have been lost: one number per boot of the machine. 0 if unknown.
    fn boot_id(&self) -> u64;

    /// A number for a new journal that no other has.
    fn fresh_id(&self) -> u64;

    /// How a person finds the file.
    fn describe(&self, file: &str) -> String;
}
