//! The bytes of a segment: header, sync marks, records. Layout only, no I/O; `docs/journal.md` has the picture.
//!
//! All integers are little-endian. A segment is zero wherever nothing has been written, and everything written ends in a byte that is not
//! zero, so that "written completely" and "not written" can be told apart without trusting a length.

use std::fmt;

use super::crc::Crc;

/// Number of a record: 1 for the first of a journal, without gaps. `Lsn(0)` is "before the first".
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct Lsn(pub u64);

impl Lsn {
    pub const ZERO: Lsn = Lsn(0);
    pub const FIRST: Lsn = Lsn(1);

    pub const fn next(self) -> Lsn {
        Lsn(self.0 + 1)
    }
    pub const fn previous(self) -> Lsn {
        Lsn(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

pub const MAGIC: [u8; 8] = *b"PITLJRNL";
pub const VERSION: u32 = 1;
/// Last four bytes of everything that is written. Its last byte (0xE7) is not zero, nor one bit away from it.
pub const END_MARK: u32 = 0xE7C3_A50F;

/// The smallest piece a disk writes whole. Disks with 4 KiB sectors are covered: a torn 4 KiB is some of its 512s.
pub const SECTOR: usize = 512;
/// The header has a page of its own, so that syncing marks and records never share a sector with it.
pub const DATA_OFFSET: usize = 4096;
pub const HEADER_LENGTH: usize = 64;
/// Two mark slots, used in turn, each in its own sector: one is whole whatever happens to the write of the other.
pub const MARK_OFFSETS: [usize; 2] = [512, 1024];
pub const MARK_LENGTH: usize = 32;

pub const RECORD_HEADER_LENGTH: usize = 24;
pub const RECORD_TRAILER_LENGTH: usize = 8;
/// Bytes a record takes beyond its payload (padded to 8).
pub const RECORD_OVERHEAD: usize = RECORD_HEADER_LENGTH + RECORD_TRAILER_LENGTH;
/// A record and its overhead fit in 64 KiB, larger than any UDP datagram.
pub const PAYLOAD_LENGTH_MAX: usize = 65_536 - RECORD_OVERHEAD;
/// Types from here on belong to the journal itself; 0 means "nothing written".
pub const KIND_RESERVED: u8 = 0xF0;
/// The last record of a full segment: no payload, and its number is that of the first record of the next segment.
pub const KIND_SEAL: u8 = 0xFF;

pub const SEGMENT_SIZE_MIN: u64 = 8192;
pub const SEGMENT_SIZE_MAX: u64 = 1 << 30;

const _: () = assert!(RECORD_HEADER_LENGTH.is_multiple_of(8) && RECORD_TRAILER_LENGTH.is_multiple_of(8));
const _: () = assert!(MARK_OFFSETS[1] + MARK_LENGTH <= DATA_OFFSET && HEADER_LENGTH <= MARK_OFFSETS[0]);
const _: () = assert!(SEGMENT_SIZE_MIN as usize > DATA_OFFSET + 2 * RECORD_OVERHEAD);
const _: () = assert!(PAYLOAD_LENGTH_MAX < 1 << 24);

/// Room a record with this payload takes in a segment.
pub const fn record_length(payload_length: usize) -> usize {
    RECORD_OVERHEAD + payload_length.next_multiple_of(8)
}

/// Largest payload a segment of this size takes.
pub const fn payload_length_max(segment_size: u64) -> usize {
    let room = segment_size as usize - DATA_OFFSET - 2 * RECORD_OVERHEAD;
    if room < PAYLOAD_LENGTH_MAX { room & !7 } else { PAYLOAD_LENGTH_MAX }
}

pub fn segment_name(shard: u32, ordinal: u64) -> String {
    format!("journal-{shard:03}-{ordinal:010}.seg")
}

/// The ordinal, if `name` is a segment of this shard.
pub fn segment_ordinal(name: &str, shard: u32) -> Option<u64> {
    let digits = name.strip_prefix(&format!("journal-{shard:03}-"))?.strip_suffix(".seg")?;
    (digits.len() >= 10 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// First 64 bytes of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    pub shard: u32,
    /// Drawn when the journal is created; segments of another journal do not mix in unnoticed.
    pub journal_id: u64,
    /// Position of the segment in the journal, from 0. Also in the file's name.
    pub ordinal: u64,
    pub first: Lsn,
    pub segment_size: u64,
    /// Chain value the first record continues: the CRC of the previous segment's seal.
    pub chain: u32,
}

/// Why bytes are not what they should be, where only the place differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderState {
    /// All zero: a segment made ready and not used yet.
    Unused,
    Valid(SegmentHeader),
    /// Its last byte was never written.
    Incomplete,
    BadMagic,
    UnknownVersion(u32),
    BadCrc {
        expected: u32,
        found: u32,
    },
}

pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[offset..offset + 4]);
    u32::from_le_bytes(word)
}

pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[offset..offset + 8]);
    u64::from_le_bytes(word)
}

pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    // 64 at a time, which the compiler turns into vectors: the scan of an unused tail is up to 64 MiB on each start.
    let (chunks, rest) = bytes.as_chunks::<64>();
    let or = |bytes: &[u8]| bytes.iter().fold(0, |all, byte| all | byte);
    chunks.iter().all(|chunk| or(chunk) == 0) && or(rest) == 0
}

impl SegmentHeader {
    pub fn encode(&self) -> [u8; HEADER_LENGTH] {
        let mut out = [0; HEADER_LENGTH];
        out[0..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&self.shard.to_le_bytes());
        out[16..24].copy_from_slice(&self.journal_id.to_le_bytes());
        out[24..32].copy_from_slice(&self.ordinal.to_le_bytes());
        out[32..40].copy_from_slice(&self.first.0.to_le_bytes());
        out[40..48].copy_from_slice(&self.segment_size.to_le_bytes());
        out[48..52].copy_from_slice(&self.chain.to_le_bytes());
        let crc = Crc::new().bytes(&out[..56]).value();
        out[56..60].copy_from_slice(&crc.to_le_bytes());
        out[60..64].copy_from_slice(&END_MARK.to_le_bytes());
        out
    }

    /// Reads the header sector. Nothing but the header may be in it.
    pub fn decode(sector: &[u8; SECTOR]) -> HeaderState {
        if is_zero(sector) {
            return HeaderState::Unused;
        }
        if sector[HEADER_LENGTH - 1] == 0 && is_zero(&sector[HEADER_LENGTH..]) {
            return HeaderState::Incomplete;
        }
        if sector[0..8] != MAGIC {
            return HeaderState::BadMagic;
        }
        let (expected, found) = (Crc::new().bytes(&sector[..56]).value(), u32_at(sector, 56));
        if expected != found || u32_at(sector, 60) != END_MARK || !is_zero(&sector[HEADER_LENGTH..]) {
            return HeaderState::BadCrc { expected, found };
        }
        // After the CRC: a flipped bit in the version is damage, not a newer program's file.
        let version = u32_at(sector, 8);
        if version != VERSION {
            return HeaderState::UnknownVersion(version);
        }
        HeaderState::Valid(SegmentHeader {
            shard: u32_at(sector, 12),
            journal_id: u64_at(sector, 16),
            ordinal: u64_at(sector, 24),
            first: Lsn(u64_at(sector, 32)),
            segment_size: u64_at(sector, 40),
            chain: u32_at(sector, 48),
        })
    }
}

/// How far a segment is known to be on the disk, and under which boot of the machine it was written.
///
/// A mark is written after the sync it speaks of, so it never claims too much. After the crash of the process it is exact; after the
/// loss of power it may be one sync behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncMark {
    pub generation: u64,
    /// Everything before this offset is durable.
    pub offset: u64,
    /// 0 if unknown. The same as the machine's now: no write can have been lost, since the page cache still stands.
    pub boot_id: u64,
}

impl SyncMark {
    pub fn encode(&self) -> [u8; MARK_LENGTH] {
        let mut out = [0; MARK_LENGTH];
        out[0..8].copy_from_slice(&self.generation.to_le_bytes());
        out[8..16].copy_from_slice(&self.offset.to_le_bytes());
        out[16..24].copy_from_slice(&self.boot_id.to_le_bytes());
        let crc = Crc::new().bytes(&out[..24]).value();
        out[24..28].copy_from_slice(&crc.to_le_bytes());
        out[28..32].copy_from_slice(&END_MARK.to_le_bytes());
        out
    }

    pub fn decode(bytes: &[u8]) -> Option<SyncMark> {
        let whole =
            u32_at(bytes, 24) == Crc::new().bytes(&bytes[..24]).value() && u32_at(bytes, 28) == END_MARK;
        whole.then(|| SyncMark {
            generation: u64_at(bytes, 0),
            offset: u64_at(bytes, 8),
            boot_id: u64_at(bytes, 16),
        })
    }

    /// Slot this mark goes to.
    pub const fn slot(&self) -> usize {
        MARK_OFFSETS[(self.generation % 2) as usize]
    }
}

/// Header of a record as it is on disk, its own CRC already found to be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    pub payload_length: usize,
    pub kind: u8,
    pub lsn: Lsn,
    pub timestamp_ns: u64,
    /// CRC up to here, over the previous record's: the record's own CRC continues it over the payload.
    pub crc: Crc,
}

impl RecordHeader {
    /// The bytes before the payload, and the CRC state with which the payload continues.
    #[inline]
    pub fn encode(
        chain: u32,
        kind: u8,
        lsn: Lsn,
        timestamp_ns: u64,
        payload_length: usize,
    ) -> ([u8; RECORD_HEADER_LENGTH], Crc) {
        let word = payload_length as u32 | u32::from(kind) << 24;
        let crc = Crc::resume(chain).u32(word).u64(lsn.0).u64(timestamp_ns);
        let mut out = [0; RECORD_HEADER_LENGTH];
        out[0..4].copy_from_slice(&word.to_le_bytes());
        out[4..8].copy_from_slice(&crc.value().to_le_bytes());
        out[8..16].copy_from_slice(&lsn.0.to_le_bytes());
        out[16..24].copy_from_slice(&timestamp_ns.to_le_bytes());
        (out, crc)
    }

    /// `Err((expected, found))` if the header's CRC does not continue `chain`.
    #[inline]
    pub fn decode(chain: u32, bytes: &[u8; RECORD_HEADER_LENGTH]) -> Result<RecordHeader, (u32, u32)> {
        let word = u32_at(bytes, 0);
        let (lsn, timestamp_ns) = (u64_at(bytes, 8), u64_at(bytes, 16));
        let crc = Crc::resume(chain).u32(word).u64(lsn).u64(timestamp_ns);
        let found = u32_at(bytes, 4);
        if crc.value() != found {
            return Err((crc.value(), found));
        }
        Ok(RecordHeader {
            payload_length: (word & 0x00FF_FFFF) as usize,
            kind: (word >> 24) as u8,
            lsn: Lsn(lsn),
            timestamp_ns,
            crc,
        })
    }
}

/// The bytes after the payload.
#[inline]
pub fn encode_trailer(crc: u32) -> [u8; RECORD_TRAILER_LENGTH] {
    (u64::from(crc) | u64::from(END_MARK) << 32).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segment_names_carry_shard_and_ordinal() {
        assert_eq!(segment_name(3, 17), "journal-003-0000000017.seg");
        assert_eq!(segment_ordinal("journal-003-0000000017.seg", 3), Some(17));
        assert_eq!(segment_ordinal("journal-003-0000000017.seg", 4), None);
        assert_eq!(segment_ordinal("journal-003-17.seg", 3), None);
        assert_eq!(segment_ordinal("journal-003-+000000017.seg", 3), None);
        assert_eq!(segment_ordinal("journal-1003-0000000017.seg", 1003), Some(17));
    }

    #[test]
    fn a_header_reads_back_and_every_flipped_bit_in_its_sector_is_noticed() {
        let header = SegmentHeader {
            shard: 2,
            journal_id: 7,
            ordinal: 9,
            first: Lsn(1000),
            segment_size: 1 << 20,
            chain: 0xABCD,
        };
        let mut sector = [0; SECTOR];
        assert_eq!(SegmentHeader::decode(&sector), HeaderState::Unused);
        sector[..HEADER_LENGTH].copy_from_slice(&header.encode());
        assert_eq!(SegmentHeader::decode(&sector), HeaderState::Valid(header));
        for bit in 0..SECTOR * 8 {
            sector[bit / 8] ^= 1 << (bit % 8);
            let state = SegmentHeader::decode(&sector);
            assert!(
                matches!(state, HeaderState::BadMagic | HeaderState::BadCrc { .. }),
                "bit {bit}: {state:?}"
            );
            sector[bit / 8] ^= 1 << (bit % 8);
        }
        for kept in 1..HEADER_LENGTH {
            let mut torn = [0; SECTOR];
            torn[..kept].copy_from_slice(&header.encode()[..kept]);
            assert_eq!(SegmentHeader::decode(&torn), HeaderState::Incomplete, "{kept} bytes");
        }
    }

    #[test]
    fn a_mark_reads_back_and_every_flipped_bit_is_noticed() {
        let mark = SyncMark { generation: 5, offset: 4096, boot_id: 77 };
        let mut bytes = mark.encode();
        assert_eq!(SyncMark::decode(&bytes), Some(mark));
        for bit in 0..MARK_LENGTH * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SyncMark::decode(&bytes), None, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn zero_scan_sees_one_byte_anywhere() {
        let mut bytes = vec![0; 200];
        assert!(is_zero(&bytes) && is_zero(&[]));
        for index in 0..bytes.len() {
            bytes[index] = 1;
            assert!(!is_zero(&bytes), "byte {index}");
            bytes[index] = 0;
        }
    }
}
