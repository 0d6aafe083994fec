//! Where the records of a journal end, and what is there: what a reader found and a writer goes on from. Types only.

use super::format::{HeaderState, Lsn, SegmentHeader, SyncMark};

/// A segment file as found in the directory.
#[derive(Clone, Debug)]
pub struct Segment {
    pub name: String,
    pub ordinal: u64,
    pub length: u64,
    pub header: HeaderState,
    /// The newer of the two sync marks that can be read.
    pub mark: Option<SyncMark>,
    /// How many of the two marks are neither whole nor empty.
    pub marks_damaged: u32,
}

/// What was found after the last whole record.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Ending {
    /// Nothing.
    #[default]
    Clean,
    /// Writes that a crash cut short, none of them ever acknowledged. Starting the writer removes them.
    Torn {
        file: String,
        offset: u64,
        /// The number that the lost record would have had.
        record: Lsn,
        /// From `offset` to the last byte that was written in this segment.
        bytes: u64,
        what: String,
    },
}

/// Where the records end: what a writer needs to go on after them.
#[derive(Clone, Debug)]
pub struct End {
    /// Last whole record; 0 if there is none.
    pub last: Lsn,
    pub tail: Ending,
    pub(crate) place: Option<Place>,
    /// Segments after the last one with records: unused, or lost with the tail.
    pub(crate) leftovers: Vec<Segment>,
}

#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub header: SegmentHeader,
    pub name: String,
    pub offset: u64,
    pub sealed: bool,
    pub chain: u32,
}
