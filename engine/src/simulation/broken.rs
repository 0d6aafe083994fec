//! Deliberate defects, each in the simulation's wiring and none in the engine: what the checks have to find to be believed.

use super::hazards::Hazard;
use crate::log::SimStorage;
use crate::log::crc::Crc;
use crate::log::format::{
    self, DATA_OFFSET, END_MARK, KIND_SEAL, Lsn, RECORD_HEADER_LENGTH, RECORD_TRAILER_LENGTH, RecordHeader,
};
use std::fmt;
use std::str::FromStr;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// A recovery that does not compare checksums.
    SkipCrc,
    /// Replies leave before their input is in the journal.
    AcknowledgeBeforeAppend,
    /// A recovery that begins every session's downstream anew.
    ForgetSequence,
    /// Upstream messages are taken whenever they come.
    DropDedupe,
    /// A deep replay gives what the journal has, released or not.
    UngatedReplay,
    /// Timestamps are the wall clock's, and stand still when that is set back.
    FrozenClock,
}

impl Broken {
    pub const ALL: [Broken; 6] = [
        Broken::SkipCrc,
        Broken::AcknowledgeBeforeAppend,
        Broken::ForgetSequence,
        Broken::DropDedupe,
        Broken::UngatedReplay,
        Broken::FrozenClock,
    ];

    /// What has to be in a run for the defect to show.
    pub(super) const fn needs(self) -> Option<Hazard> {
        match self {
            Broken::UngatedReplay => Some(Hazard::Replays),
            Broken::FrozenClock => Some(Hazard::Clock),
            Broken::SkipCrc
            | Broken::AcknowledgeBeforeAppend
            | Broken::ForgetSequence
            | Broken::DropDedupe => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Broken::SkipCrc => "skip-crc",
            Broken::AcknowledgeBeforeAppend => "acknowledge-before-append",
            Broken::ForgetSequence => "forget-sequence",
            Broken::DropDedupe => "drop-dedupe",
            Broken::UngatedReplay => "ungated-replay",
            Broken::FrozenClock => "frozen-clock",
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Broken {
    type Err = String;

    fn from_str(text: &str) -> Result<Broken, String> {
        let known = || Broken::ALL.map(Broken::name).join(", ");
        Broken::ALL
            .into_iter()
            .find(|broken| broken.name() == text)
            .ok_or_else(|| format!("`{text}` is no variant; there are {}", known()))
    }
}

/// Makes every checksum fit the bytes as they are now: a reader that compares them finds what one would that does not.
pub(super) fn reseal(storage: &SimStorage, shard: u32) {
    let mut chain = None;
    for ordinal in 0.. {
        let name = format::segment_name(shard, ordinal);
        let Some(mut bytes) = storage.contents(&name) else { break };
        if bytes.len() <= DATA_OFFSET || format::is_zero(&bytes[..64]) {
            break;
        }
        let first = chain.unwrap_or(format::u32_at(&bytes, 48));
        bytes[48..52].copy_from_slice(&first.to_le_bytes());
        let crc = Crc::new().bytes(&bytes[..56]).value();
        bytes[56..60].copy_from_slice(&crc.to_le_bytes());
        let (last, sealed) = reseal_records(&mut bytes, first);
        storage.put(&name, bytes);
        if !sealed {
            break;
        }
        chain = Some(last);
    }
}

/// The CRC of the last record, and whether that is a seal.
fn reseal_records(bytes: &mut [u8], mut chain: u32) -> (u32, bool) {
    let mut at = DATA_OFFSET;
    while at + RECORD_HEADER_LENGTH + RECORD_TRAILER_LENGTH <= bytes.len() {
        let word = format::u32_at(bytes, at);
        let (kind, length) = ((word >> 24) as u8, (word & 0x00FF_FFFF) as usize);
        let end = at + format::record_length(length);
        if kind == 0 || end > bytes.len() || format::u32_at(bytes, end - 4) != END_MARK {
            break;
        }
        let (lsn, timestamp_ns) = (Lsn(format::u64_at(bytes, at + 8)), format::u64_at(bytes, at + 16));
        let (header, crc) = RecordHeader::encode(chain, kind, lsn, timestamp_ns, length);
        bytes[at..at + RECORD_HEADER_LENGTH].copy_from_slice(&header);
        let payload = at + RECORD_HEADER_LENGTH..end - RECORD_TRAILER_LENGTH;
        chain = crc.bytes(&bytes[payload]).value();
        bytes[end - RECORD_TRAILER_LENGTH..end].copy_from_slice(&format::encode_trailer(chain));
        if kind == KIND_SEAL {
            return (chain, true);
        }
        at = end;
    }
    (chain, false)
}
