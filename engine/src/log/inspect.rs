//! Explains a journal to people: what is in it, whether it is whole, its records one by one. Changes nothing; knows no payload.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    end::{Ending, Segment},
    error::JournalError,
    format::{HeaderState, Lsn, record_length},
    reader::{self, Reader, Record, describe_header},
    storage::Storage,
};

/// Version of what these structures look like as JSON.
pub const SCHEMA: u32 = 1;

/// Records of one type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KindStatistics {
    pub records: u64,
    pub payload_bytes: u64,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SegmentReport {
    pub file: String,
    pub ordinal: u64,
    pub bytes: u64,
    /// `in use`, `unused`, or what is wrong with its header.
    pub state: String,
    pub first: Option<Lsn>,
    /// Offset up to which it is known to be on the disk.
    pub synced: u64,
    /// Sync marks that cannot be read. One does no harm.
    pub marks_damaged: u32,
}

/// Where, and over how long, nothing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Silence {
    /// The record after which it began.
    pub after: Lsn,
    pub nanoseconds: u64,
}

/// How the reading of a journal ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Verdict {
    /// Whole up to its end.
    Clean,
    /// Whole, and after it what a crash cut short: starting the engine removes it.
    TornTail { tail: Ending },
    /// Damaged, or incomplete: the engine refuses to start with it.
    Refused { error: String },
    /// A running engine is writing to it; whole up to where it was read.
    InUse { note: String },
}

/// What [`verify`] found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    pub schema: u32,
    pub shard: u32,
    pub journal_id: Option<u64>,
    pub verdict: Verdict,
    pub segments: Vec<SegmentReport>,
    pub first: Option<Lsn>,
    pub last: Option<Lsn>,
    pub records: u64,
    /// Of records with header, padding and CRC.
    pub bytes: u64,
    /// By record type.
    pub kinds: BTreeMap<u8, KindStatistics>,
    pub time_first_ns: Option<u64>,
    pub time_last_ns: Option<u64>,
    /// Records whose timestamp is before that of the record before: a clock that was set back.
    pub time_reversals: u64,
    pub longest_silence: Option<Silence>,
    /// CRC of the last whole record.
    pub chain: u32,
}

impl Report {
    pub fn is_whole(&self) -> bool {
        !matches!(self.verdict, Verdict::Refused { .. })
    }

    fn count(&mut self, record: &Record<'_>) {
        self.first.get_or_insert(record.lsn);
        self.last = Some(record.lsn);
        self.records += 1;
        self.bytes += record_length(record.payload.len()) as u64;
        let kind = self.kinds.entry(record.kind).or_default();
        kind.records += 1;
        kind.payload_bytes += record.payload.len() as u64;
        let now = record.timestamp_ns;
        self.time_first_ns.get_or_insert(now);
        if let Some(before) = self.time_last_ns.replace(now) {
            let nanoseconds = now.saturating_sub(before);
            self.time_reversals += u64::from(now < before);
            if self.longest_silence.is_none_or(|longest| longest.nanoseconds < nanoseconds) {
                self.longest_silence = Some(Silence { after: record.lsn.previous(), nanoseconds });
            }
        }
    }
}

fn segment_report<S: Storage>(storage: &S, segment: &Segment) -> SegmentReport {
    let state = match &segment.header {
        HeaderState::Valid(_) => "in use".into(),
        HeaderState::Unused => "unused".into(),
        state => describe_header(state),
    };
    SegmentReport {
        file: storage.describe(&segment.name),
        ordinal: segment.ordinal,
        bytes: segment.length,
        state,
        first: segment.valid().map(|header| header.first),
        synced: segment.synced(),
        marks_damaged: segment.marks_damaged,
    }
}

/// Reads the whole journal, checks everything that recovery checks, and counts. Damage is a verdict, not an error: what lies before it is
/// counted. An error is a directory that cannot be read.
///
/// `in_use`: an engine is writing to it ([`FileStorage::is_in_use`](super::FileStorage::is_in_use)); then what looks torn is just new.
pub fn verify<S: Storage>(storage: &S, shard: u32, in_use: bool) -> Result<Report, JournalError> {
    let mut report = Report {
        schema: SCHEMA,
        shard,
        journal_id: None,
        verdict: Verdict::Clean,
        segments: Vec::new(),
        first: None,
        last: None,
        records: 0,
        bytes: 0,
        kinds: BTreeMap::new(),
        time_first_ns: None,
        time_last_ns: None,
        time_reversals: 0,
        longest_silence: None,
        chain: 0,
    };
    let result = read_through(storage, shard, &mut report);
    report.verdict = match result {
        Ok(Ending::Clean) if !in_use => Verdict::Clean,
        Ok(tail @ Ending::Torn { .. }) if !in_use => Verdict::TornTail { tail },
        Ok(_) => Verdict::InUse { note: "whole up to the last record written when it was read".into() },
        Err(error @ JournalError::Storage(_)) => return Err(error),
        Err(error) if in_use => Verdict::InUse { note: format!("read up to: {error}") },
        Err(error) => Verdict::Refused { error: error.to_string() },
    };
    Ok(report)
}

fn read_through<S: Storage>(storage: &S, shard: u32, report: &mut Report) -> Result<Ending, JournalError> {
    let segments = reader::segments(storage, shard)?;
    report.segments = segments.iter().map(|segment| segment_report(storage, segment)).collect();
    let first = segments.iter().find_map(Segment::valid);
    report.journal_id = first.map(|header| header.journal_id);
    let from = first.map_or(Lsn::FIRST, |header| header.first);
    let mut reader = Reader::open(storage.clone(), shard, from)?;
    while let Some(record) = reader.next()? {
        report.count(&record);
        report.chain = reader.chain();
    }
    Ok(reader.into_end().map_or(Ending::Clean, |end| end.tail))
}

/// What one record is, without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RecordReport {
    pub lsn: Lsn,
    pub kind: u8,
    pub timestamp_ns: u64,
    pub payload_bytes: usize,
    pub segment: u64,
    pub offset: u64,
}

/// Gives records `from..=to` to `show`, who knows what payloads mean; ends early when it says `false`. Stops with the error at damage,
/// after all that lies before it.
pub fn dump<S: Storage>(
    storage: &S,
    shard: u32,
    from: Lsn,
    to: Lsn,
    mut show: impl FnMut(RecordReport, &[u8]) -> bool,
) -> Result<(), JournalError> {
    let begins = reader::segments(storage, shard)?
        .iter()
        .find_map(|segment| segment.valid().map(|header| header.first));
    let mut reader = Reader::open(storage.clone(), shard, from.max(begins.unwrap_or(Lsn::FIRST)))?;
    while let Some(record) = reader.next()? {
        let report = RecordReport {
            lsn: record.lsn,
            kind: record.kind,
            timestamp_ns: record.timestamp_ns,
            payload_bytes: record.payload.len(),
            segment: record.segment,
            offset: record.offset,
        };
        if record.lsn > to || !show(report, record.payload) {
            break;
        }
    }
    Ok(())
}
