//! Settings of a journal and their limits. Nothing is read from the environment here.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    error::JournalError,
    format::{DATA_OFFSET, Lsn, SEGMENT_SIZE_MAX, SEGMENT_SIZE_MIN},
};

/// When a record counts as kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Never: there is no journal ([`writer::NoJournal`](super::writer::NoJournal)).
    Memory,
    /// As soon as it is appended: it is in the page cache, which outlives the process but not the machine.
    #[default]
    Process,
    /// When the disk has it.
    Disk,
}

impl Durability {
    /// Whether what follows from a record has to wait for more than that it was appended.
    pub const fn waits(self) -> bool {
        matches!(self, Self::Disk)
    }

    /// The one definition of what may leave: the last record whose consequences may, of those that were appended and those
    /// that the disk has.
    pub fn releasable(self, appended: Lsn, durable: Lsn) -> Lsn {
        if self.waits() { durable } else { appended }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalSettings {
    pub durability: Durability,
    /// Bytes of each segment file, a multiple of 4096.
    pub segment_size: u64,
    /// Segments kept ready beyond the one being written.
    pub segments_ahead: u32,
    /// How long an append may wait for the next segment before it fails with back-pressure.
    pub stall_max: Duration,
}

impl JournalSettings {
    pub const SEGMENT_SIZE: u64 = 64 << 20;
    pub const SEGMENTS_AHEAD_MAX: u32 = 16;

    pub fn check(&self) -> Result<(), JournalError> {
        let size = self.segment_size;
        if !(SEGMENT_SIZE_MIN..=SEGMENT_SIZE_MAX).contains(&size) || !size.is_multiple_of(DATA_OFFSET as u64)
        {
            return Err(JournalError::Settings {
                what: "segment size",
                expected: format!(
                    "{SEGMENT_SIZE_MIN} to {SEGMENT_SIZE_MAX} bytes, a multiple of {DATA_OFFSET}"
                ),
                found: size.to_string(),
            });
        }
        if !(1..=JournalSettings::SEGMENTS_AHEAD_MAX).contains(&self.segments_ahead) {
            return Err(JournalError::Settings {
                what: "segments ahead",
                expected: format!("1 to {}", JournalSettings::SEGMENTS_AHEAD_MAX),
                found: self.segments_ahead.to_string(),
            });
        }
        if self.durability == Durability::Memory {
            return Err(JournalError::Settings {
                what: "durability",
                expected: "process or disk (memory has no journal to open)".into(),
                found: "memory".into(),
            });
        }
        Ok(())
    }
}

impl Default for JournalSettings {
    fn default() -> JournalSettings {
        JournalSettings {
            durability: Durability::Process,
            segment_size: JournalSettings::SEGMENT_SIZE,
            segments_ahead: 2,
            stall_max: Duration::from_millis(100),
        }
    }
}
