//! Where a shard's journal can be read by those who help receivers, and how far. Not the reading.

use crate::config::Durability;
use crate::log::{Lsn, Progress};
use std::path::PathBuf;
use std::sync::Arc;

/// Where a shard's journal can be read, and how far.
#[derive(Clone)]
pub struct JournalSource {
    pub directory: PathBuf,
    pub shard: u32,
    pub progress: Arc<Progress>,
    pub durability: Durability,
}

impl JournalSource {
    /// Last record that may be read: what the disk does not have yet may still never have happened.
    pub fn limit(&self) -> Lsn {
        self.durability.releasable(self.progress.last_appended(), self.progress.durable())
    }
}
