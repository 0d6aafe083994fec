//! From files to a running core: newest whole snapshot, then the journal's tail through the same `Core` that wrote it. Not
//! the files themselves: `journal` and `snapshot` know those.

use crate::core::Core;
use crate::history::snapshot::{self, SnapshotError};
use crate::inputs::{Input, InputError, SessionId, kind};
use crate::log::writer::{Log, NoJournal};
use crate::log::{End, JournalError, Lsn, Reader, Record, Storage};
use crate::session::Sessions;
use crate::shard::{ApplyError, Shard, StateError};

/// What was found on disk for a shard.
pub struct Recovered {
    /// The core as it was; `None` when the journal is empty.
    pub core: Option<Core<NoJournal>>,
    /// Where the journal goes on.
    pub end: End,
    /// Timestamp of the last record, nanoseconds since the Unix epoch.
    pub last_timestamp_ns: u64,
    pub records_replayed: u64,
    /// Records among them that the shard refused, as it did when they were written: how many, and the first with the reason.
    pub refused: Option<(u64, Lsn, ApplyError)>,
    /// Record that the snapshot covered; 0 without one.
    pub snapshot: Lsn,
}

/// Why a shard cannot be brought back. Nothing was changed on disk.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("snapshot {file}: {cause}")]
    State { file: String, cause: StateError },
    #[error("snapshot {file}: its state has hash {found:016x}, it says {expected:016x}")]
    Hash { file: String, expected: u64, found: u64 },
    #[error("journal record {lsn:?} at {segment} offset {offset}: {cause}")]
    Input { lsn: Lsn, segment: u64, offset: u64, cause: InputError },
    #[error("journal record {lsn:?} at segment {segment} offset {offset}: {cause}")]
    Apply { lsn: Lsn, segment: u64, offset: u64, cause: ApplyError },
    #[error("the journal was read but its end was not found")]
    NoEnd,
}

/// Rebuilds the core of a shard. `sessions` is empty; it receives every message of the replayed records, so that clients
/// find what they missed.
pub fn recover<S: Storage>(storage: S, shard: u32, sessions: Sessions) -> Result<Recovered, RecoveryError> {
    let choice = snapshot::newest(&storage, shard)?;
    for rejected in &choice.rejected {
        tracing::warn!(shard, %rejected, "a snapshot is passed over");
    }
    let mut core = None;
    let mut from = Lsn(0);
    let mut sessions = Some(sessions);
    let mut last_timestamp_ns = 0;
    let mut reader = match choice.snapshot {
        None => Reader::open(storage, shard, Lsn(1))?,
        Some(found) => {
            let restored = Shard::restore(&found.payload)
                .map_err(|cause| RecoveryError::State { file: found.file.clone(), cause })?;
            let hash = restored.state_hash();
            if hash != found.meta.state_hash {
                return Err(RecoveryError::Hash {
                    file: found.file,
                    expected: found.meta.state_hash,
                    found: hash,
                });
            }
            from = found.meta.last;
            last_timestamp_ns = found.meta.timestamp_ns;
            core = sessions.take().map(|sessions| resume(restored, sessions, from));
            Reader::open_after(storage, shard, from, found.meta.chain)?
        }
    };
    let mut records_replayed = 0;
    let mut refused = None;
    while let Some(record) = reader.next()? {
        let Record { lsn, timestamp_ns, .. } = record;
        let outcome = apply_record(&record, |input| match (&mut core, input) {
            (None, Input::Genesis(genesis)) => {
                genesis.check()?;
                core = sessions.take().map(|sessions| resume(Shard::new(*genesis), sessions, lsn));
                Ok(())
            }
            (None, input) => Err(ApplyError::NoGenesis(input.kind())),
            (Some(core), input) => core.apply(input, timestamp_ns),
        })?;
        if let Some(cause) = outcome {
            let (count, ..) = refused.get_or_insert((0, lsn, cause));
            *count += 1;
        }
        if let Some(core) = &mut core {
            core.last = lsn;
        }
        last_timestamp_ns = timestamp_ns;
        records_replayed += 1;
    }
    let end = reader.into_end().ok_or(RecoveryError::NoEnd)?;
    if let Some((count, lsn, cause)) = &refused {
        tracing::warn!(shard, count, record = lsn.0, %cause, "records that change nothing; the first is named");
    }
    Ok(Recovered { core, end, last_timestamp_ns, records_replayed, refused, snapshot: from })
}

/// Gives a record's input to `apply`. Early versions recorded inputs that their shard then refused, a login beyond its table for
/// one: such a record is refused again and changes nothing, and the reason is returned.
///
/// # Errors
/// The record cannot be read, or a shard cannot go on from it.
#[inline]
pub fn apply_record(
    record: &Record<'_>,
    apply: impl FnOnce(&Input<'_>) -> Result<(), ApplyError>,
) -> Result<Option<ApplyError>, RecoveryError> {
    let Record { lsn, segment, offset, .. } = *record;
    let input = Input::decode(record.kind, record.payload);
    let input = input.map_err(|cause| RecoveryError::Input { lsn, segment, offset, cause })?;
    match apply(&input) {
        Ok(()) => Ok(None),
        Err(cause) if matches!(record.kind, kind::MESSAGES | kind::GENESIS | kind::RULES) => {
            Err(RecoveryError::Apply { lsn, segment, offset, cause })
        }
        Err(cause @ ApplyError::NoGenesis(_)) => Err(RecoveryError::Apply { lsn, segment, offset, cause }),
        Err(cause) => Ok(Some(cause)),
    }
}

fn resume(shard: Shard, mut sessions: Sessions, last: Lsn) -> Core<NoJournal> {
    for session in 0..shard.sessions() {
        if let Some(trader) = shard.trader(session as SessionId) {
            sessions.add(trader.name, trader.next_downstream, trader.next_upstream);
        }
    }
    Core { shard, sessions, log: NoJournal::default(), last, failure: None }
}

/// Gives the core the log that it writes to from here on.
pub fn attach<L: Log>(core: Core<NoJournal>, log: L) -> Core<L> {
    Core { shard: core.shard, sessions: core.sessions, log, last: core.last, failure: None }
}
