//! What can go wrong with a journal, said so that an operator knows which file, what was expected, what was found. No policy.

use std::{fmt, io, sync::Arc};

use super::format::Lsn;

/// The disk, or the system in front of it, did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("cannot {action} {file}: {source}")]
    Io { action: &'static str, file: String, source: io::Error },
    #[error("disk full: cannot {action} {file}: expected room for {expected} bytes, found {found} free")]
    Full { action: &'static str, file: String, expected: u64, found: u64 },
    #[error("short write to {file} at offset {offset}: expected {expected} bytes to be taken, found {found}")]
    ShortWrite { file: String, offset: u64, expected: u64, found: u64 },
    #[error("read-only: cannot {action} {file}; the journal needs a file system that it may write to")]
    ReadOnly { action: &'static str, file: String },
    #[error("{file} is locked: another process is using this journal")]
    Locked { file: String },
    #[error(
        "{file} has been removed or replaced while the engine was writing to it: what was acknowledged since is lost with the next restart. \
         Restore the directory from a copy before the engine starts again"
    )]
    Gone { file: String },
}

impl StorageError {
    /// Names the operation and file of a system error. `expected` is the room that was asked for, should the disk be full.
    pub fn io(action: &'static str, file: impl Into<String>, source: io::Error) -> StorageError {
        let file = file.into();
        match source.kind() {
            io::ErrorKind::ReadOnlyFilesystem => StorageError::ReadOnly { action, file },
            _ => StorageError::Io { action, file, source },
        }
    }

    pub fn is_full(&self) -> bool {
        matches!(self, StorageError::Full { .. })
    }
}

/// What was wrong with the bytes at one place.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Damage {
    /// The header's CRC does not continue the record before.
    RecordHeaderCrc {
        expected: u32,
        found: u32,
    },
    /// The record's CRC is not that of its bytes.
    RecordCrc {
        expected: u32,
        found: u32,
    },
    /// The record's CRC is right but the mark that ends every record is not there.
    EndMark {
        expected: u32,
        found: u32,
    },
    /// Bytes that fill up to 8, or that nothing was written to, are not zero; at this offset.
    NotZero {
        offset: u64,
    },
    /// Right CRC, wrong number: two journals of one chain. Cannot happen by damage alone.
    Number {
        expected: Lsn,
        found: Lsn,
    },
    /// The header claims more than the segment or the format allows.
    Length {
        expected_max: u64,
        found: u64,
    },
    /// Records end although the segment had been synced up to this offset.
    EndsBeforeMark {
        mark: u64,
    },
    /// Records end here, although a later segment has some.
    EndsBeforeSegment {
        next: String,
    },
    /// Records go on in the next segment, and that is not there or has nothing in it.
    NextSegment {
        next: String,
        found: String,
    },
    /// The first bytes of the segment are not a header.
    SegmentHeader {
        what: String,
    },
    /// Both sync marks are unreadable.
    SyncMarks,
    /// The next segment does not continue this one.
    Continuation {
        what: &'static str,
        expected: u64,
        found: u64,
    },
    FileLength {
        expected: u64,
        found: u64,
    },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::RecordHeaderCrc { expected, found } => {
                write!(f, "record header: expected CRC {expected:08x}, found {found:08x}")
            }
            Damage::RecordCrc { expected, found } => {
                write!(f, "record: expected CRC {expected:08x}, found {found:08x}")
            }
            Damage::EndMark { expected, found } => {
                write!(f, "record: expected end mark {expected:08x}, found {found:08x}")
            }
            Damage::NotZero { offset } => {
                write!(f, "expected zeros where nothing was written, found other bytes at offset {offset}")
            }
            Damage::Number { expected, found } => {
                write!(f, "expected record number {expected}, found {found}")
            }
            Damage::Length { expected_max, found } => {
                write!(f, "expected a record of at most {expected_max} bytes, found {found}")
            }
            Damage::EndsBeforeMark { mark } => {
                write!(f, "expected whole records up to offset {mark}, which had been synced; they end here")
            }
            Damage::EndsBeforeSegment { next } => {
                write!(f, "expected a seal, since {next} has later records; found the end of the records")
            }
            Damage::NextSegment { next, found } => {
                write!(
                    f,
                    "expected {next} to go on after the seal, which is only written once it is ready; found {found}"
                )
            }
            Damage::SegmentHeader { what } => write!(f, "segment header: {what}"),
            Damage::SyncMarks => write!(f, "expected a readable sync mark, found both damaged"),
            Damage::Continuation { what, expected, found } => {
                write!(f, "does not continue the segment before: expected {what} {expected}, found {found}")
            }
            Damage::FileLength { expected, found } => {
                write!(f, "expected a file of {expected} bytes, found {found}")
            }
        }
    }
}

/// Why a journal cannot be read, or not be continued.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(
        "journal damaged in {file} at offset {offset}, record {record}: {damage}. Refusing to go on: records after it may have been \
             acknowledged. Restore the file from a copy, or see docs/journal.md, \"When the journal is damaged\""
    )]
    Damaged { file: String, offset: u64, record: Lsn, damage: Damage },
    #[error("the journal begins at record {first} ({file}); record {wanted} was asked for and is gone")]
    TooOld { wanted: Lsn, first: Lsn, file: String },
    #[error(
        "the journal ends at record {last}; record {wanted} was asked for: the snapshot does not belong to this journal, or the \
             journal has lost its end"
    )]
    TooNew { wanted: Lsn, last: Lsn },
    #[error(
        "the snapshot of record {last} does not belong to this journal: expected that record with CRC {expected:08x}, found {found:08x}"
    )]
    Foreign { last: Lsn, expected: u32, found: u32 },
    #[error("journal segment missing: expected {expected}, found {found} after {after}")]
    MissingSegment { expected: String, found: String, after: String },
    #[error("{file} has format version {found}; this program reads up to version {expected}")]
    UnknownVersion { file: String, expected: u32, found: u32 },
    #[error("journal settings: {what}: expected {expected}, found {found}")]
    Settings { what: &'static str, expected: String, found: String },
    #[error(transparent)]
    Failure(#[from] JournalFailure),
    #[error("cannot start the journal's background threads: {0}")]
    Threads(std::io::Error),
}

/// The journal has stopped for good: what was published as its state. Nothing after [`Progress::durable`](super::Progress::durable)
/// may be acknowledged; the process has to end and recover.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the journal has failed and takes no more records: {0}")]
pub struct JournalFailure(pub Arc<str>);

/// Why a record was not appended. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Back-pressure: the background threads have no next segment yet. Trying again later can succeed.
    #[error("no journal segment is ready after waiting {waited_us} us{reason}")]
    NotReady { waited_us: u64, reason: String },
    #[error("journal record of {found} bytes: expected at most {expected_max}")]
    TooLong { expected_max: usize, found: usize },
    #[error("journal record type {0:#04x} is not for use: expected 0x01 to 0xEF")]
    Kind(u8),
    #[error(transparent)]
    Failed(#[from] JournalFailure),
}
