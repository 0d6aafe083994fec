//! A shard's journal at start: recovered or begun, open for writing, with the threads that read it beside the shard.

use super::Engine;
use super::genesis::{new_core, new_egress};
use crate::config::{Config, Durability};
use crate::core::Core;
use crate::feed::JournalSource;
use crate::history::recovery::{attach, recover};
use crate::history::replay::{ReplayHandle, Replays};
use crate::history::snapshot::retention::Retention;
use crate::history::snapshot::thread::{self, SnapshotRequest, Snapshots};
use crate::log::{self, Background, FileStorage, Writer};
use anyhow::Context;
use std::sync::Arc;
use std::time::Instant;

/// A shard that goes on where its journal ends.
pub(super) struct Journaled {
    pub core: Core<Writer<FileStorage>>,
    /// Timestamps go on from here.
    pub last_timestamp_ns: u64,
    pub readers: JournalReaders,
}

/// How the rest of the engine reads what the shard has written.
pub(super) struct JournalReaders {
    pub replays: ReplayHandle,
    pub source: JournalSource,
}

impl Engine {
    /// Opens the journal of `shard` and starts what works beside it: its background thread, replays, snapshots.
    pub(super) fn start_journal(
        &mut self,
        config: &Config,
        shard: usize,
        snapshot: SnapshotRequest,
    ) -> anyhow::Result<Journaled> {
        let number = shard as u32;
        let OpenJournal { core, last_timestamp_ns, background, storage } = open_journal(config, shard)?;
        self.journals.push(background);
        let progress = Arc::clone(core.log.progress());
        let (replays, handle) = Replays::start(storage.clone(), Arc::clone(&progress), number)?;
        self.replays.push(replays);
        let settings = thread::Settings {
            shard: number,
            interval: config.journal.snapshot_interval,
            retention: Retention {
                snapshots: config.journal.keep_snapshots,
                retain_journal: config.journal.retain_segments,
            },
        };
        self.snapshots.push(Snapshots::start(storage, Arc::clone(&progress), settings, snapshot)?);
        let source = JournalSource {
            directory: config.journal.directory.clone(),
            shard: number,
            progress,
            durability: config.journal.durability,
        };
        let readers = JournalReaders { replays: handle, source };
        Ok(Journaled { core, last_timestamp_ns, readers })
    }
}

/// A shard with its journal open for writing.
struct OpenJournal {
    core: Core<Writer<FileStorage>>,
    /// Timestamps go on from here.
    last_timestamp_ns: u64,
    background: Background,
    storage: FileStorage,
}

/// Recovers a shard from its journal, or begins one.
fn open_journal(config: &Config, shard: usize) -> anyhow::Result<OpenJournal> {
    let number = shard as u32;
    let durability = match config.journal.durability {
        Durability::Disk => log::Durability::Disk,
        Durability::Memory | Durability::Process => log::Durability::Process,
    };
    let settings =
        log::Settings { durability, segment_size: config.journal.segment_bytes, ..log::Settings::default() };
    let directory = &config.journal.directory;
    let context = || format!("shard {shard}, journal in {}", directory.display());
    let storage = FileStorage::open(directory, number, durability).with_context(context)?;
    let began = Instant::now();
    let recovered = recover(storage.clone(), number, new_egress(config)).with_context(context)?;
    let opened = log::start(storage.clone(), number, recovered.end, settings).with_context(context)?;
    let core = match recovered.core {
        Some(core) => {
            tracing::info!(
                shard,
                records = recovered.records_replayed,
                snapshot = recovered.snapshot.0,
                sessions = core.shard.sessions(),
                resting_orders = core.shard.market().live_orders(),
                took = ?began.elapsed(),
                "recovered"
            );
            attach(core, opened.writer)
        }
        None => new_core(config, shard, opened.writer)?,
    };
    Ok(OpenJournal {
        core,
        last_timestamp_ns: recovered.last_timestamp_ns,
        background: opened.background,
        storage,
    })
}
