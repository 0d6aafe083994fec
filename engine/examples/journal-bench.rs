//! Measures the journal: cost of an append, of the checksum, of group commit against a bare fdatasync, and reading speed. Not a test; the
//! machine, the file system and what else runs decide the figures, so ratios are taken within one run.
//!
//! `cargo run --release -p pitlane --example journal-bench -- [--dir DIR] [--seconds N] [--json]`
#![allow(clippy::print_stdout)] // Its output is its purpose.

use std::{
    collections::VecDeque,
    fs::OpenOptions,
    hint::black_box,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use engine::log::{
    self, Durability, FileStorage, Journal, JournalSettings, Lsn, Reader,
    crc::Crc,
    writer::{Log, NoJournal},
};
use serde::Serialize;

/// An order entry with appendages, its datagram's header and session: what a shard journals per order.
const PAYLOAD: usize = 72;
const SHARD: u32 = 0;
/// 1.25 times the 500,000 orders/s that the budget asks for.
const OPEN_LOOP_PACE: Duration = Duration::from_nanos(1600);
const ROUNDS: u32 = 4;

#[derive(Serialize)]
struct Report {
    schema: u32,
    payload_bytes: usize,
    crc: CrcReport,
    append: AppendReport,
    fdatasync: Latency,
    /// Median over time, not over calls, of how long the fdatasync under way takes: what arrivals at any moment meet. Far above the p50
    /// where the disk stalls, since most arrivals then fall into a stall.
    fdatasync_met_p50_us: f64,
    disk_one_in_flight: DiskReport,
    disk_open_loop: DiskReport,
    read_records_per_second: f64,
}

#[derive(Serialize)]
struct CrcReport {
    inline_72_ns: f64,
    crate_72_ns: f64,
    inline_1400_ns: f64,
    crate_1400_ns: f64,
}

#[derive(Serialize)]
struct AppendReport {
    memory_ns: f64,
    process_ns: f64,
    disk_ns: f64,
    /// Appends of the `process` run that took longer than a microsecond, per million.
    process_slow_per_million: f64,
    process_max_us: f64,
}

#[derive(Clone, Copy, Serialize)]
struct Latency {
    p50_us: f64,
    p90_us: f64,
    p99_us: f64,
    max_us: f64,
}

#[derive(Serialize)]
struct DiskReport {
    records_per_second: f64,
    latency: Latency,
    p50_vs_fdatasync: f64,
}

struct Options {
    directory: PathBuf,
    time: Duration,
    json: bool,
}

fn options() -> anyhow::Result<Options> {
    let mut options = Options { directory: std::env::temp_dir(), time: Duration::from_secs(2), json: false };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => options.json = true,
            "--dir" => options.directory = arguments.next().context("--dir needs a directory")?.into(),
            "--seconds" => {
                let seconds: f64 = arguments.next().context("--seconds needs a number")?.parse()?;
                options.time = Duration::try_from_secs_f64(seconds)?;
            }
            other => bail!("unknown argument {other}: expected --dir DIR, --seconds N or --json"),
        }
    }
    options.directory.push(format!("pitlane-journal-bench-{}", std::process::id()));
    Ok(options)
}

fn latency(mut samples: Vec<Duration>) -> Latency {
    samples.sort_unstable();
    let at = |part: f64| {
        let index = ((samples.len() as f64 * part) as usize).min(samples.len().saturating_sub(1));
        samples.get(index).map_or(0.0, |sample| sample.as_nanos() as f64 / 1000.0)
    };
    Latency { p50_us: at(0.5), p90_us: at(0.9), p99_us: at(0.99), max_us: at(1.0) }
}

fn met_by_arrivals(samples: &[Duration]) -> f64 {
    let mut samples = samples.to_vec();
    samples.sort_unstable();
    let mut left = samples.iter().sum::<Duration>() / 2;
    let met = samples.iter().find(|&&sample| {
        left = left.saturating_sub(sample);
        left.is_zero()
    });
    met.map_or(0.0, |sample| sample.as_nanos() as f64 / 1000.0)
}

/// Nanoseconds per call: the best of many short runs, which is what it costs when nothing else has the processor.
fn per_call(mut call: impl FnMut()) -> f64 {
    const CALLS: u32 = 10_000;
    let mut run = || {
        let begin = Instant::now();
        for _ in 0..CALLS {
            call();
        }
        begin.elapsed().as_nanos() as f64 / f64::from(CALLS)
    };
    (0..100).map(|_| run()).fold(f64::INFINITY, f64::min)
}

fn crc() -> CrcReport {
    let bytes = vec![7u8; 1400];
    let (mut inline, mut other) = (0u32, 0u32);
    let mut inline_ns =
        |length: usize| per_call(|| inline = Crc::resume(inline).bytes(black_box(&bytes[..length])).value());
    // In pieces below the length from which the other takes over, to compare the two at 1400 as well.
    let (inline_72_ns, inline_1400_ns) = (inline_ns(PAYLOAD), in_pieces(&bytes));
    let mut crate_ns =
        |length: usize| per_call(|| other = crc32c::crc32c_append(other, black_box(&bytes[..length])));
    let report = CrcReport {
        inline_72_ns,
        crate_72_ns: crate_ns(PAYLOAD),
        inline_1400_ns,
        crate_1400_ns: crate_ns(1400),
    };
    black_box((inline, other));
    report
}

fn in_pieces(bytes: &[u8]) -> f64 {
    let mut crc = Crc::new();
    let cost = per_call(|| {
        for piece in black_box(bytes).chunks(504) {
            crc = crc.bytes(piece);
        }
    });
    black_box(crc);
    cost
}

/// What a bare `pwrite` + `fdatasync` of one record's bytes takes on a file of written blocks.
fn fdatasync(directory: &Path, time: Duration) -> anyhow::Result<Vec<Duration>> {
    let path = directory.join("bare");
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
    file.write_all_at(&vec![0; 8 << 20], 0)?;
    file.sync_all()?;
    let (mut samples, begin) = (Vec::new(), Instant::now());
    let mut offset = 0;
    while begin.elapsed() < time {
        let sent = Instant::now();
        file.write_all_at(&[1; PAYLOAD], offset)?;
        file.sync_data()?;
        samples.push(sent.elapsed());
        offset = (offset + PAYLOAD as u64) % (8 << 20);
    }
    std::fs::remove_file(path)?;
    Ok(samples)
}

fn open(directory: &Path, durability: Durability) -> anyhow::Result<Journal<FileStorage>> {
    let directory = directory.join(format!("{durability:?}"));
    let _ = std::fs::remove_dir_all(&directory);
    let settings = JournalSettings {
        durability,
        stall_max: Duration::from_secs(30),
        segments_ahead: 3,
        ..JournalSettings::default()
    };
    let storage = FileStorage::open(&directory, SHARD, durability)?;
    let end = Reader::open(storage.clone(), SHARD, Lsn(1))?.into_end().context("empty")?;
    Ok(log::start(storage, SHARD, end, settings)?)
}

/// Nanoseconds per append: the median of batches short enough for most of them to have the processor to themselves, with pauses in which
/// the background keeps up, as it does beside a shard at its budget.
fn append(log: &mut impl Log, payload: &[u8]) -> anyhow::Result<f64> {
    const BATCH: u32 = 5_000;
    let mut batches = Vec::new();
    for _ in 0..400 {
        let begin = Instant::now();
        for index in 0..BATCH {
            log.append(1, u64::from(index), black_box(payload))?;
        }
        batches.push(begin.elapsed().as_nanos() as f64 / f64::from(BATCH));
        std::thread::sleep(Duration::from_millis(2));
    }
    batches.sort_unstable_by(f64::total_cmp);
    Ok(batches[batches.len() / 2])
}

/// Share of appends above a microsecond (faults, mostly), at the pace of a busy shard.
fn slow_appends(log: &mut impl Log, payload: &[u8]) -> anyhow::Result<(f64, f64)> {
    const APPENDS: u32 = 1_000_000;
    let (mut slow, mut max) = (0u32, Duration::ZERO);
    for index in 0..APPENDS {
        let begin = Instant::now();
        log.append(1, u64::from(index), black_box(payload))?;
        let took = begin.elapsed();
        slow += u32::from(took > Duration::from_micros(1));
        max = max.max(took);
        while begin.elapsed() < Duration::from_nanos(1000) {}
    }
    Ok((f64::from(slow) * 1e6 / f64::from(APPENDS), max.as_nanos() as f64 / 1000.0))
}

/// Appends at `pace` (None: the next when the last is durable) and measures how long each takes to become durable.
fn disk(
    journal: &mut Journal<FileStorage>,
    time: Duration,
    pace: Option<Duration>,
) -> anyhow::Result<(Vec<Duration>, Duration)> {
    let mut waiting: VecDeque<(Lsn, Instant)> = VecDeque::new();
    let (mut samples, begin) = (Vec::new(), Instant::now());
    let mut due = begin;
    let payload = [7; PAYLOAD];
    while begin.elapsed() < time {
        let now = Instant::now();
        let may_send = match pace {
            None => waiting.is_empty(),
            Some(_) => due <= now,
        };
        if may_send {
            // Late ones count from when they were due: a stall must not hide what it delays.
            let sent = if pace.is_some() { due } else { now };
            waiting.push_back((journal.writer.append(1, 0, &payload)?, sent));
            due += pace.unwrap_or_default();
        }
        let releasable = journal.writer.releasable();
        while let Some((_, sent)) = waiting.pop_front_if(|(lsn, _)| *lsn <= releasable) {
            samples.push(sent.elapsed());
        }
        if let Some(failure) = journal.writer.progress().failure() {
            bail!("{failure}");
        }
        if !may_send {
            std::thread::yield_now();
        }
    }
    Ok((samples, begin.elapsed()))
}

fn disk_report(runs: Vec<(Vec<Duration>, Duration)>, bare: Latency) -> DiskReport {
    let seconds: f64 = runs.iter().map(|(_, spent)| spent.as_secs_f64()).sum();
    let samples: Vec<Duration> = runs.into_iter().flat_map(|(samples, _)| samples).collect();
    let records_per_second = samples.len() as f64 / seconds;
    let latency = latency(samples);
    DiskReport { records_per_second, latency, p50_vs_fdatasync: latency.p50_us / bare.p50_us }
}

fn read(directory: &Path) -> anyhow::Result<f64> {
    let storage = FileStorage::read_only(&directory.join(format!("{:?}", Durability::Process)));
    let begin = Instant::now();
    let mut reader = Reader::open(storage, SHARD, Lsn(1))?;
    let mut count = 0u64;
    while let Some(record) = reader.next()? {
        black_box(record.payload);
        count += 1;
    }
    Ok(count as f64 / begin.elapsed().as_secs_f64())
}

fn measure(options: &Options) -> anyhow::Result<Report> {
    let directory = &options.directory;
    let payload = [7; PAYLOAD];
    let memory_ns = append(&mut NoJournal::default(), &payload)?;
    let mut process = open(directory, Durability::Process)?;
    let process_ns = append(&mut process.writer, &payload)?;
    let (process_slow_per_million, process_max_us) = slow_appends(&mut process.writer, &payload)?;
    process.close()?;
    let read_records_per_second = read(directory)?;
    let mut journal = open(directory, Durability::Disk)?;
    let disk_ns = append(&mut journal.writer, &payload)?;
    // Until then the first segments are being prepared, which happens once and not beside orders.
    std::thread::sleep(Duration::from_secs(1));
    // In turns, so that whatever else the disk does in this time is shared by all three.
    let (mut bare, mut one, mut open_loop) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let time = options.time / ROUNDS;
        bare.extend(fdatasync(directory, time)?);
        one.push(disk(&mut journal, time, None)?);
        open_loop.push(disk(&mut journal, time, Some(OPEN_LOOP_PACE))?);
    }
    journal.close()?;
    let fdatasync_met_p50_us = met_by_arrivals(&bare);
    let bare = latency(bare);
    Ok(Report {
        schema: 1,
        payload_bytes: PAYLOAD,
        crc: crc(),
        append: AppendReport { memory_ns, process_ns, disk_ns, process_slow_per_million, process_max_us },
        fdatasync: bare,
        fdatasync_met_p50_us,
        disk_one_in_flight: disk_report(one, bare),
        disk_open_loop: disk_report(open_loop, bare),
        read_records_per_second,
    })
}

fn main() -> anyhow::Result<()> {
    let options = options()?;
    std::fs::create_dir_all(&options.directory)?;
    let report = measure(&options);
    std::fs::remove_dir_all(&options.directory)?;
    let report = report?;
    if options.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(());
    }
    let Report { crc, append, fdatasync, .. } = &report;
    println!("record with {PAYLOAD} bytes of payload");
    println!(
        "crc of 72 bytes    inline {:6.1} ns   crate {:6.1} ns;   of 1400: inline {:.1} ns, crate {:.1} ns",
        crc.inline_72_ns, crc.crate_72_ns, crc.inline_1400_ns, crc.crate_1400_ns
    );
    println!(
        "append             memory {:6.1} ns   process {:6.1} ns   disk {:6.1} ns",
        append.memory_ns, append.process_ns, append.disk_ns
    );
    println!(
        "append at 1 M/s    above 1 us: {:.0} per million, max {:.1} us",
        append.process_slow_per_million, append.process_max_us
    );
    println!(
        "bare fdatasync     p50 {:.0} us   p90 {:.0}   p99 {:.0}   max {:.0}   (met by arrivals: p50 {:.0})",
        fdatasync.p50_us, fdatasync.p90_us, fdatasync.p99_us, fdatasync.max_us, report.fdatasync_met_p50_us
    );
    for (name, disk) in
        [("disk, one in flight", &report.disk_one_in_flight), ("disk, open loop    ", &report.disk_open_loop)]
    {
        println!(
            "{name} {:9.0}/s   p50 {:.0} us ({:.2} x fdatasync)   p90 {:.0}   p99 {:.0}   max {:.0}",
            disk.records_per_second,
            disk.latency.p50_us,
            disk.p50_vs_fdatasync,
            disk.latency.p90_us,
            disk.latency.p99_us,
            disk.latency.max_us
        );
    }
    println!("read               {:.1} M records/s", report.read_records_per_second / 1e6);
    Ok(())
}
