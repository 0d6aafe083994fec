//! Which snapshots and journal segments may go. Never called on the order path, and never removes what recovery could need.

use super::{SnapshotError, UNFINISHED, list, read};
use crate::log::{JournalError, Lsn, Storage, reader};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Whole snapshots kept; at least 1.
    pub snapshots: usize,
    /// Keep all segments, for audit and replay from the first order on.
    pub retain_journal: bool,
}

impl Default for Retention {
    fn default() -> Retention {
        Retention { snapshots: 2, retain_journal: false }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Files that were removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Removed {
    pub snapshots: Vec<String>,
    pub segments: Vec<String>,
    /// Remains of snapshots that a crash cut short.
    pub unfinished: Vec<String>,
}

/// Removes snapshots beyond those to keep, and the segments that even the oldest kept one covers wholly. To be called after a snapshot was
/// written, by the thread that writes them.
pub fn apply<S: Storage>(storage: &S, shard: u32, retention: Retention) -> Result<Removed, RetentionError> {
    let mut removed = Removed::default();
    let keep = retention.snapshots.max(1);
    // Only whole ones count: a damaged one must not be what the journal is cut for.
    let mut kept: Vec<Lsn> = Vec::new();
    for (last, name) in list(storage, shard)? {
        if kept.len() >= keep {
            remove(storage, &name)?;
            removed.snapshots.push(name);
        } else if read(storage, &name).is_ok() {
            kept.push(last);
        }
    }
    for name in storage.list().map_err(SnapshotError::from)? {
        let finished = name.strip_suffix(UNFINISHED);
        if finished.is_some_and(|name| super::covered_by_name(name, shard).is_some()) {
            remove(storage, &name)?;
            removed.unfinished.push(name);
        }
    }
    // Not before all are there: a single snapshot is not yet a reason to give up the way around it.
    if let Some(&oldest) = kept.last()
        && kept.len() == keep
        && !retention.retain_journal
    {
        removed.segments = remove_segments(storage, shard, oldest)?;
    }
    Ok(removed)
}

/// Oldest first and each for good, so that a crash in between leaves no gap.
fn remove_segments<S: Storage>(storage: &S, shard: u32, covered: Lsn) -> Result<Vec<String>, RetentionError> {
    let segments = reader::segments(storage, shard)?;
    let mut removed = Vec::new();
    for pair in segments.windows(2) {
        // The next one in use says where this one ends; the one being written has no such next.
        let Some(next) = pair[1].valid() else { break };
        if next.first > covered.next() {
            break;
        }
        remove(storage, &pair[0].name)?;
        removed.push(pair[0].name.clone());
    }
    Ok(removed)
}

fn remove<S: Storage>(storage: &S, name: &str) -> Result<(), SnapshotError> {
    storage.remove(name)?;
    Ok(storage.sync_directory()?)
}
