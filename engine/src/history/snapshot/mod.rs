//! Snapshots of a shard: one file each, made whole or not at all, so that recovery need not replay the whole journal. What is in the state,
//! and when to take it, is the shard's business.
//!
//! ```text
//!  0  8  magic "PITLSNAP"          32  8  state hash
//!  8  4  format version            40  4  CRC of the last record covered (journal chain)
//! 12  4  shard                     44  4  CRC32C of the payload
//! 16  8  last record covered       48  8  payload length
//! 24  8  its timestamp             56  4  CRC32C of bytes 0..56;  60  4  end mark 0xE7C3A50F;  64 ..  payload
//! ```

pub mod retention;
pub mod thread;

use crate::log::{
    Lsn, Storage, StorageError,
    crc::Crc,
    format::{END_MARK, u32_at, u64_at},
};

pub const MAGIC: [u8; 8] = *b"PITLSNAP";
pub const VERSION: u32 = 1;
pub const HEADER_LENGTH: usize = 64;
/// Of a file that is being written: never read, removed by [`retention`].
pub const UNFINISHED: &str = ".tmp";

/// What a snapshot says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Meta {
    pub shard: u32,
    /// The state is that after this record.
    pub last: Lsn,
    pub timestamp_ns: u64,
    pub state_hash: u64,
    /// [`Writer::chain`](crate::log::Writer::chain) or [`Reader::chain`](crate::log::Reader::chain) after that record.
    pub chain: u32,
}

/// A snapshot that was read and found whole.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub meta: Meta,
    pub file: String,
    pub payload: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("snapshot {file} damaged: {what}: expected {expected}, found {found}")]
    Damaged { file: String, what: &'static str, expected: String, found: String },
    #[error("snapshot {file} has format version {found}; this program reads up to version {expected}")]
    UnknownVersion { file: String, expected: u32, found: u32 },
}

pub fn file_name(shard: u32, last: Lsn) -> String {
    format!("snapshot-{shard:03}-{:020}.snap", last.0)
}

/// The record covered, if `name` is a finished snapshot of this shard.
pub fn covered_by_name(name: &str, shard: u32) -> Option<Lsn> {
    let digits = name.strip_prefix(&format!("snapshot-{shard:03}-"))?.strip_suffix(".snap")?;
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| digits.parse().ok().map(Lsn))?
}

/// Writes a snapshot whose state is `payload`, in pieces. Returns the file's name. When it returns the snapshot is durable; before, there is
/// none.
///
/// The journal has to be durable up to `meta.last` already ([`Progress::want_durable`](crate::log::Progress::want_durable)): a
/// snapshot that survives what it continues from would be refused.
pub fn write<S: Storage>(storage: &S, meta: &Meta, payload: &[&[u8]]) -> Result<String, SnapshotError> {
    let name = file_name(meta.shard, meta.last);
    let unfinished = format!("{name}{UNFINISHED}");
    let crc = payload.iter().fold(Crc::new(), |crc, part| crc.bytes(part)).value();
    let length = payload.iter().map(|part| part.len() as u64).sum();
    let header = encode(meta, crc, length);
    let mut parts = Vec::with_capacity(payload.len() + 1);
    parts.push(&header[..]);
    parts.extend_from_slice(payload);
    storage.create(&unfinished, &parts)?;
    storage.sync(&unfinished)?;
    storage.rename(&unfinished, &name)?;
    storage.sync_directory()?;
    Ok(name)
}

fn encode(meta: &Meta, payload_crc: u32, payload_length: u64) -> [u8; HEADER_LENGTH] {
    let mut out = [0; HEADER_LENGTH];
    out[0..8].copy_from_slice(&MAGIC);
    out[8..12].copy_from_slice(&VERSION.to_le_bytes());
    out[12..16].copy_from_slice(&meta.shard.to_le_bytes());
    out[16..24].copy_from_slice(&meta.last.0.to_le_bytes());
    out[24..32].copy_from_slice(&meta.timestamp_ns.to_le_bytes());
    out[32..40].copy_from_slice(&meta.state_hash.to_le_bytes());
    out[40..44].copy_from_slice(&meta.chain.to_le_bytes());
    out[44..48].copy_from_slice(&payload_crc.to_le_bytes());
    out[48..56].copy_from_slice(&payload_length.to_le_bytes());
    let crc = Crc::new().bytes(&out[..56]).value();
    out[56..60].copy_from_slice(&crc.to_le_bytes());
    out[60..64].copy_from_slice(&END_MARK.to_le_bytes());
    out
}

/// Reads a snapshot, all of it checked.
pub fn read<S: Storage>(storage: &S, name: &str) -> Result<Snapshot, SnapshotError> {
    let damaged = |what, expected: String, found: String| SnapshotError::Damaged {
        file: storage.describe(name),
        what,
        expected,
        found,
    };
    let mut header = [0; HEADER_LENGTH];
    let count = storage.read(name, 0, &mut header)?;
    if count < HEADER_LENGTH {
        return Err(damaged("length of the header", HEADER_LENGTH.to_string(), count.to_string()));
    }
    if header[..8] != MAGIC {
        return Err(damaged("first bytes", "PITLSNAP".into(), header[..8].escape_ascii().to_string()));
    }
    let (expected, found) = (Crc::new().bytes(&header[..56]).value(), u32_at(&header, 56));
    if expected != found {
        return Err(damaged("CRC of the header", format!("{expected:08x}"), format!("{found:08x}")));
    }
    if u32_at(&header, 60) != END_MARK {
        let found = format!("{:08x}", u32_at(&header, 60));
        return Err(damaged("end mark of the header", format!("{END_MARK:08x}"), found));
    }
    let version = u32_at(&header, 8);
    if version != VERSION {
        let file = storage.describe(name);
        return Err(SnapshotError::UnknownVersion { file, expected: VERSION, found: version });
    }
    let (length, file_length) = (u64_at(&header, 48), storage.length(name)?);
    if file_length != length.saturating_add(HEADER_LENGTH as u64) {
        let expected = length.saturating_add(HEADER_LENGTH as u64).to_string();
        return Err(damaged("length of the file", expected, file_length.to_string()));
    }
    // The length is the file's own by now: nothing is allocated that is not there.
    let mut payload = vec![0; length as usize];
    let count = storage.read(name, HEADER_LENGTH as u64, &mut payload)?;
    let (expected, found) = (u32_at(&header, 44), Crc::new().bytes(&payload[..count]).value());
    if count != payload.len() || expected != found {
        return Err(damaged("CRC of the payload", format!("{expected:08x}"), format!("{found:08x}")));
    }
    let meta = Meta {
        shard: u32_at(&header, 12),
        last: Lsn(u64_at(&header, 16)),
        timestamp_ns: u64_at(&header, 24),
        state_hash: u64_at(&header, 32),
        chain: u32_at(&header, 40),
    };
    if file_name(meta.shard, meta.last) != name {
        return Err(damaged("name", file_name(meta.shard, meta.last), name.to_owned()));
    }
    Ok(Snapshot { meta, file: name.to_owned(), payload })
}

/// Names of a shard's finished snapshots, newest first.
pub fn list<S: Storage>(storage: &S, shard: u32) -> Result<Vec<(Lsn, String)>, SnapshotError> {
    let names = storage.list()?.into_iter();
    let mut snapshots: Vec<_> =
        names.filter_map(|name| covered_by_name(&name, shard).map(|last| (last, name))).collect();
    snapshots.sort_unstable();
    snapshots.reverse();
    Ok(snapshots)
}

/// What [`newest`] found.
#[derive(Debug, Default)]
pub struct Choice {
    pub snapshot: Option<Snapshot>,
    /// Newer ones that could not be read, to be reported: recovery goes on without them.
    pub rejected: Vec<SnapshotError>,
}

/// The newest snapshot that is whole.
pub fn newest<S: Storage>(storage: &S, shard: u32) -> Result<Choice, SnapshotError> {
    let mut choice = Choice::default();
    for (_, name) in list(storage, shard)? {
        match read(storage, &name) {
            Ok(snapshot) => {
                choice.snapshot = Some(snapshot);
                break;
            }
            Err(error) => choice.rejected.push(error),
        }
    }
    Ok(choice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_shard_and_record() {
        assert_eq!(file_name(1, Lsn(42)), "snapshot-001-00000000000000000042.snap");
        assert_eq!(covered_by_name(&file_name(1, Lsn(42)), 1), Some(Lsn(42)));
        assert_eq!(covered_by_name(&file_name(1, Lsn(42)), 2), None);
        assert_eq!(covered_by_name("snapshot-001-00000000000000000042.snap.tmp", 1), None);
    }
}
