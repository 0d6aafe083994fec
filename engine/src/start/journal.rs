//! A shard's journal at start: recovered or begun, open for writing, with the threads that read it beside the shard.

use super::Engine;
use crate::assembly::Assembly;
use crate::clock::Clock;
use crate::config::Config;
use crate::core::Core;
use crate::history::replay::{ReplayHandle, ReplayThread};
use crate::history::snapshot::retention::Retention;
use crate::history::snapshot::thread::{self, SnapshotRequest, SnapshotThread};
use crate::history::source::LogFiles;
use crate::log::{self, Background, FileStorage, JournalDirectory, Writer};
use anyhow::Context;
use std::sync::Arc;
use std::time::Instant;

/// A shard that goes on where its journal ends.
pub(super) struct Journaled {
    pub core: Core<Writer<FileStorage>>,
    /// Goes on where the journal's last timestamp is.
    pub clock: Clock,
    pub readers: JournalReaders,
}

/// How the rest of the engine reads what the shard has written.
pub(super) struct JournalReaders {
    pub replays: ReplayHandle,
    pub source: LogFiles,
}

impl Engine {
    /// Opens the journal of the assembly's shard and starts what works beside it: its background thread, replays, snapshots.
    pub(super) fn start_journal(
        &mut self,
        assembly: &mut Assembly<'_>,
        snapshot: SnapshotRequest,
    ) -> anyhow::Result<Journaled> {
        let (config, number) = (assembly.config, assembly.shard as u32);
        let directory = self.lock_journals(config)?;
        let OpenJournal { core, clock, background, storage } = open_journal(assembly, &directory)?;
        self.journals.push(background);
        let progress = Arc::clone(core.log.progress());
        let reading = FileStorage::read_only(directory.path());
        let source = LogFiles::new(reading, number, Arc::clone(&progress));
        let (replays, handle) = ReplayThread::start(source.clone())?;
        self.replays.push(replays);
        let settings = thread::SnapshotSettings {
            shard: number,
            interval: config.journal.snapshot_interval,
            retention: Retention {
                snapshots: config.journal.keep_snapshots,
                retain_journal: config.journal.retain_segments,
            },
        };
        self.snapshots.push(SnapshotThread::start(storage, progress, settings, snapshot)?);
        let readers = JournalReaders { replays: handle, source };
        Ok(Journaled { core, clock, readers })
    }
}

impl Engine {
    /// The directory of all shards' journals, which this process alone may write to.
    fn lock_journals(&mut self, config: &Config) -> anyhow::Result<Arc<JournalDirectory>> {
        let directory = match self.journal_directory.take() {
            Some(locked) => locked,
            None => Arc::new(JournalDirectory::lock(&config.journal.directory)?),
        };
        self.journal_directory = Some(Arc::clone(&directory));
        Ok(directory)
    }
}

/// A shard with its journal open for writing.
struct OpenJournal {
    core: Core<Writer<FileStorage>>,
    clock: Clock,
    background: Background,
    storage: FileStorage,
}

/// Recovers a shard from its journal, or begins one.
fn open_journal(
    assembly: &mut Assembly<'_>,
    directory: &Arc<JournalDirectory>,
) -> anyhow::Result<OpenJournal> {
    let (config, shard) = (assembly.config, assembly.shard);
    let durability = config.journal.durability;
    let settings = log::JournalSettings {
        durability,
        segment_size: config.journal.segment_bytes,
        ..log::JournalSettings::default()
    };
    let context = || format!("shard {shard}, journal in {}", directory.path().display());
    let storage = FileStorage::open_in(directory, shard as u32, durability).with_context(context)?;
    let began = Instant::now();
    let recovered = assembly.recover(storage.clone()).with_context(context)?;
    let opened = log::start(storage.clone(), shard as u32, recovered.end, settings).with_context(context)?;
    if let Some(core) = &recovered.core {
        tracing::info!(
            shard,
            records = recovered.records_replayed,
            snapshot = recovered.snapshot.0,
            sessions = core.shard.sessions(),
            resting_orders = core.shard.market().live_orders(),
            took = ?began.elapsed(),
            "recovered"
        );
    }
    let mut clock = Clock::new(recovered.last_timestamp_ns);
    let core = assembly.core(recovered.core, opened.writer, clock.now().timestamp_ns)?;
    Ok(OpenJournal { core, clock, background: opened.background, storage })
}
