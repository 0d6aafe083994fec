//! Where a shard's log can be read beside its writer, and how far. Everything that is made from the log and leaves the engine comes through
//! here: messages that the resend windows no longer hold, and market data; snapshots, which do not leave, may go further.

use crate::log::{FileStorage, Lsn, Progress, Storage};
use std::sync::Arc;

/// A log that is being written.
#[derive(Clone)]
pub struct LogSource<S: Storage> {
    pub storage: S,
    pub shard: u32,
    progress: Arc<Progress>,
}

/// In files, as the engine has it.
pub type LogFiles = LogSource<FileStorage>;

impl<S: Storage> LogSource<S> {
    pub fn new(storage: S, shard: u32, progress: Arc<Progress>) -> Self {
        Self { storage, shard, progress }
    }

    /// Last record whose consequences may leave: what comes after it may still never have happened.
    pub fn limit(&self) -> Lsn {
        self.progress.releasable()
    }

    /// Last record there is.
    pub fn last(&self) -> Lsn {
        self.progress.last_appended()
    }

    pub fn progress(&self) -> &Progress {
        &self.progress
    }
}
