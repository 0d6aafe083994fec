//! `pitlane inspect` and `pitlane replay`: what a journal holds, and whether replaying it gives what its snapshots say.

use anyhow::Context;
use clap::Args;
use engine::history::recovery::recover;
use engine::history::replica::Replica;
use engine::history::snapshot;
use engine::inputs::{Input, name_of};
use engine::log::inspect::{self, RecordReport, Verdict};
use engine::log::{Durability, FileStorage, Lsn};
use engine::session::Sessions;
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;

#[derive(Args)]
pub struct JournalArgs {
    /// Folder of the journal (`journal.directory`).
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
    #[arg(long, default_value_t = 0)]
    shard: u32,
    /// JSON instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub struct InspectArgs {
    #[command(flatten)]
    journal: JournalArgs,
    /// Print the records too.
    #[arg(long)]
    dump: bool,
    /// First record to print.
    #[arg(long, default_value_t = 1, value_name = "RECORD")]
    from: u64,
    /// Last record to print.
    #[arg(long, default_value_t = u64::MAX, value_name = "RECORD")]
    to: u64,
}

#[derive(Args)]
pub struct ReplayArgs {
    #[command(flatten)]
    journal: JournalArgs,
    /// Rebuild from the first record and compare the state with every snapshot on the way.
    #[arg(long)]
    verify: bool,
}

pub fn inspect(args: &InspectArgs) -> anyhow::Result<()> {
    let JournalArgs { directory, shard, json } = &args.journal;
    let storage = open(directory)?;
    let in_use = FileStorage::is_in_use(directory, *shard);
    let report = inspect::verify(&storage, *shard, in_use)?;
    let mut out = std::io::stdout().lock();
    if *json {
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        writeln!(
            out,
            "shard {shard} in {}: {} records, {} bytes",
            directory.display(),
            report.records,
            report.bytes
        )?;
        match &report.verdict {
            Verdict::Clean => writeln!(out, "whole up to its end")?,
            Verdict::TornTail { tail } => {
                writeln!(out, "whole, with a torn tail that the next start removes: {tail:?}")?
            }
            Verdict::Refused { error } => writeln!(out, "DAMAGED: {error}")?,
            Verdict::InUse { note } => writeln!(out, "in use by a running engine: {note}")?,
        }
        for (kind, statistics) in &report.kinds {
            writeln!(
                out,
                "  {:<18} {:>12} records {:>14} bytes",
                name_of(*kind),
                statistics.records,
                statistics.payload_bytes
            )?;
        }
        for segment in &report.segments {
            writeln!(out, "  {} {} bytes, {}", segment.file, segment.bytes, segment.state)?;
        }
        for (last, file) in snapshot::list(&storage, *shard)? {
            let state = match snapshot::read(&storage, &file) {
                Ok(found) => format!("whole, state hash {:016x}", found.meta.state_hash),
                Err(error) => format!("DAMAGED: {error}"),
            };
            writeln!(out, "  {file}: after record {}, {state}", last.0)?;
        }
    }
    if args.dump {
        let mut failed = None;
        inspect::dump(&storage, *shard, Lsn(args.from.max(1)), Lsn(args.to), |record, payload| {
            match print_record(&mut out, &record, payload, *json) {
                Ok(()) => true,
                Err(error) => {
                    failed = Some(error);
                    false
                }
            }
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
    }
    anyhow::ensure!(report.is_whole(), "the journal is damaged");
    Ok(())
}

fn print_record(
    out: &mut impl Write,
    record: &RecordReport,
    payload: &[u8],
    as_json: bool,
) -> std::io::Result<()> {
    let described = match Input::decode(record.kind, payload) {
        Ok(input) => input.to_string(),
        Err(error) => format!("not readable: {error}"),
    };
    if as_json {
        let line = json!({
            "record": record.lsn.0,
            "timestamp_ns": record.timestamp_ns,
            "kind": name_of(record.kind),
            "input": described,
        });
        writeln!(out, "{line}")
    } else {
        writeln!(out, "{:>10} {} {described}", record.lsn.0, record.timestamp_ns)
    }
}

pub fn replay(args: &ReplayArgs) -> anyhow::Result<()> {
    let JournalArgs { directory, shard, json } = &args.journal;
    let storage = open(directory)?;
    let began = std::time::Instant::now();
    let recovered = recover(storage.clone(), *shard, Sessions::new(4096, Durability::Process))?;
    let core = recovered.core.context("the journal is empty")?;
    let hash = core.shard.state_hash();
    let mut compared = Vec::new();
    if args.verify {
        // From the first record, so that each snapshot is held against what the journal says without it.
        let mut replica = Replica::open(storage.clone(), *shard, core.last, |_| false)?;
        let mut snapshots = snapshot::list(&storage, *shard)?;
        snapshots.reverse();
        for (last, file) in snapshots {
            replica.advance(last, &mut (), |()| false)?;
            let expected = snapshot::read(&storage, &file)?.meta.state_hash;
            let found = replica.shard.as_ref().map_or(0, engine::shard::Shard::state_hash);
            anyhow::ensure!(
                found == expected,
                "{file}: the journal leads to state {found:016x}, the snapshot has {expected:016x}"
            );
            compared.push(file);
        }
        replica.advance(core.last, &mut (), |()| false)?;
        let whole = replica.shard.as_ref().map_or(0, engine::shard::Shard::state_hash);
        anyhow::ensure!(
            whole == hash,
            "the whole journal leads to state {whole:016x}, recovery to {hash:016x}"
        );
    }
    let mut out = std::io::stdout().lock();
    if *json {
        let report = json!({
            "schema_version": 1,
            "shard": shard,
            "last_record": core.last.0,
            "records_replayed": recovered.records_replayed,
            "snapshot": recovered.snapshot.0,
            "state_hash": format!("{hash:016x}"),
            "sessions": core.shard.sessions(),
            "resting_orders": core.shard.market().live_orders(),
            "verified": args.verify,
            "snapshots_compared": compared,
            "seconds": began.elapsed().as_secs_f64(),
        });
        writeln!(out, "{report:#}")?;
    } else {
        writeln!(
            out,
            "shard {shard}: state {hash:016x} after record {}, {} sessions, {} resting orders",
            core.last.0,
            core.shard.sessions(),
            core.shard.market().live_orders()
        )?;
        writeln!(
            out,
            "{} records replayed after snapshot {} in {:.3?}",
            recovered.records_replayed,
            recovered.snapshot.0,
            began.elapsed()
        )?;
        if args.verify {
            writeln!(
                out,
                "verified: the journal from its first record gives the same state; {} snapshots agree",
                compared.len()
            )?;
        }
    }
    Ok(())
}

fn open(directory: &std::path::Path) -> anyhow::Result<FileStorage> {
    anyhow::ensure!(directory.is_dir(), "{} is not a folder", directory.display());
    Ok(FileStorage::read_only(directory))
}
