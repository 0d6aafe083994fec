//! The thread that takes snapshots of a shard: it replays the journal as far as it has been written, on a replica of its
//! own, so that the shard never stops. Not the file format: that is `snapshot`.

use crate::history::recovery::RecoveryError;
use crate::history::replica::Replica;
use crate::history::snapshot::SnapshotError;
use crate::history::snapshot::retention::{self, Retention};
use crate::log::{FileStorage, Lsn, Progress};
use crate::shard::Shard;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between looks for whether a snapshot is due.
const POLL: Duration = Duration::from_millis(100);
/// How long the disk may take to make what a snapshot presupposes durable.
const DURABLE_MAX: Duration = Duration::from_secs(30);

pub struct SnapshotSettings {
    pub shard: u32,
    /// Records between snapshots; 0: only when asked for.
    pub interval: u64,
    pub retention: Retention,
}

/// Asks for a snapshot now, or for the end.
#[derive(Clone, Default)]
pub struct SnapshotRequest(Arc<AtomicBool>);

impl SnapshotRequest {
    pub fn ask(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// The thread; it ends when this is dropped.
pub struct SnapshotThread {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl SnapshotThread {
    pub fn start(
        storage: FileStorage,
        progress: Arc<Progress>,
        settings: SnapshotSettings,
        request: SnapshotRequest,
    ) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread =
            std::thread::Builder::new().name(format!("snapshot-{}", settings.shard)).spawn(move || {
                let mut covered = progress.last_appended();
                while !stopped.load(Ordering::Acquire) {
                    std::thread::sleep(POLL);
                    let last = progress.last_appended();
                    let due = settings.interval > 0 && last.0.saturating_sub(covered.0) >= settings.interval;
                    if !due && !request.0.swap(false, Ordering::AcqRel) {
                        continue;
                    }
                    // A failure is reported and tried again after the next interval: the journal alone is enough to recover.
                    covered = last;
                    match take(&storage, &progress, &settings, last) {
                        Ok(Some(file)) => {
                            tracing::info!(shard = settings.shard, file, record = last.0, "snapshot taken")
                        }
                        Ok(None) => {}
                        Err(error) => tracing::error!(shard = settings.shard, %error, "no snapshot taken"),
                    }
                }
            })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for SnapshotThread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum TakeError {
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    Retention(#[from] retention::RetentionError),
    #[error("the disk has not made record {0} durable in {DURABLE_MAX:?}")]
    NotDurable(u64),
}

fn take(
    storage: &FileStorage,
    progress: &Progress,
    settings: &SnapshotSettings,
    last: Lsn,
) -> Result<Option<String>, TakeError> {
    let mut replica = Replica::open(storage.clone(), settings.shard, last, |_: &Shard| true)?;
    replica.advance(last, &mut (), |()| false)?;
    progress.want_durable(replica.last);
    let began = Instant::now();
    while progress.durable() < replica.last {
        if began.elapsed() > DURABLE_MAX {
            return Err(TakeError::NotDurable(replica.last.0));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let file = replica.write_snapshot()?;
    retention::apply(storage, settings.shard, settings.retention)?;
    Ok(file)
}
