//! `pitlane-loadgen replay`: from its arguments to an exit code.

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use netio::idle::Idle;
use netio::{Port, PortKind};

use super::drive::{Drive, DriveSettings, Driven};
use super::event::{EventSource, FileEvent, ReadError};
use super::itch::ItchReader;
use super::lobster::LobsterReader;
use super::report::ReplayReport;
use crate::cli::{FileFormat, ReplayArgs};
use crate::clock::SystemClock;
use crate::launch::accounts;
use crate::output::{exit_code, interrupt_flag, print, unix_seconds, write_json};
use crate::ports::{self, Opened, PortName, idle_strategy};
use crate::progress::Progress;
use crate::report::table::grouped;
use crate::{parse, run};

const SHOW_INTERVAL: Duration = Duration::from_millis(100);
/// How long a round without work may wait for a datagram.
const WAIT_MAX: Duration = Duration::from_millis(1);

/// A file of either format.
pub enum Source {
    Lobster(LobsterReader),
    Itch(ItchReader),
}

impl EventSource for Source {
    fn next_event(&mut self) -> Result<Option<FileEvent>, ReadError> {
        match self {
            Source::Lobster(reader) => reader.next_event(),
            Source::Itch(reader) => reader.next_event(),
        }
    }
}

fn name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

fn format(file: &Path, asked: Option<FileFormat>) -> FileFormat {
    asked.unwrap_or_else(|| {
        let name = name(file).to_lowercase();
        if name.ends_with(".csv") || name.ends_with(".csv.gz") {
            FileFormat::Lobster
        } else {
            FileFormat::Itch
        }
    })
}

/// LOBSTER calls its files `AAPL_2012-06-21_...`; a `lobster_` before that is accepted.
fn symbol_of(name: &str) -> Option<&str> {
    let first = name.strip_prefix("lobster_").unwrap_or(name).split('_').next()?;
    let is_symbol = !first.is_empty()
        && first.len() <= 8
        && first.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'.');
    is_symbol.then_some(first)
}

/// Opens a file of historical order flow. Without a format its name decides; without a symbol, too.
pub fn open(file: &Path, asked: Option<FileFormat>, symbol: Option<&str>) -> Result<Source> {
    Ok(match format(file, asked) {
        FileFormat::Lobster => {
            let name = name(file);
            let symbol = symbol.or(symbol_of(&name)).with_context(|| {
                format!("--symbol is needed: a LOBSTER file does not name its instrument, and neither does `{name}`")
            })?;
            let symbol = parse::symbol(symbol).map_err(|problem| anyhow!("--symbol: {problem}"))?;
            Source::Lobster(LobsterReader::open(file, symbol)?)
        }
        FileFormat::Itch => Source::Itch(ItchReader::open(file)?),
    })
}

pub fn execute(args: &ReplayArgs) -> Result<ExitCode> {
    let source = open(&args.file, args.format, args.symbol.as_deref())?;
    let only_symbols = match &args.only {
        Some(list) => parse::symbols(list).map_err(|problem| anyhow!("--only {problem}"))?,
        None => Vec::new(),
    };
    let settings = DriveSettings {
        connect_timeout_ns: args.connect_timeout,
        answer_timeout_ns: args.drain,
        events_max: args.events.unwrap_or(u64::MAX),
        only_symbols,
    };
    let targets = parse::targets(&args.target.target, 1).map_err(|problem| anyhow!(problem))?;
    let stop = interrupt_flag()?;
    let started_at = unix_seconds();
    let (driven, port) = match args.target.port {
        PortKind::Udp => {
            let driven = match ports::open_udp(&targets, 1, 2, !args.target.no_udp_offload)? {
                ports::Udp::One(opened) => drive(args, opened, source, settings, &stop)?,
                ports::Udp::Many(opened) => drive(args, opened, source, settings, &stop)?,
            };
            (driven, PortName::udp())
        }
        #[cfg(feature = "xdp")]
        PortKind::Xdp => {
            let (device, opened) = ports::open_xdp(&args.target, &targets, 1, 2, true)?;
            (drive(args, opened, source, settings, &stop)?, PortName::xdp(&device))
        }
    };
    let interrupted = stop.load(Ordering::Relaxed);
    let mut report =
        ReplayReport::new(&driven, name(&args.file), port, args.target.target.clone(), interrupted);
    (report.label, report.started_at) = (args.output.label.clone(), started_at);
    print(&report.render());
    write_json(args.output.json.as_deref(), &report)?;
    Ok(exit_code(&report.verdict))
}

fn drive<P: Port>(
    args: &ReplayArgs,
    mut opened: Vec<Opened<P>>,
    source: Source,
    settings: DriveSettings,
    stop: &AtomicBool,
) -> Result<Driven> {
    let users = accounts(&args.accounts, 2)?;
    let opened = opened.pop().context("no port was opened")?;
    let peers = [opened.peer(0, 0), opened.peer(1, 0)];
    if let Some(&core) = args.target.cores.first() {
        run::pin(core)?;
    }
    let mut idle = Idle::new(idle_strategy(&args.target, 1));
    let events_max = args.events.unwrap_or(0);
    let mut progress = Progress::new(events_max, args.output.quiet);
    let mut drive =
        Drive::new(opened.port, SystemClock::start(), source, [users[0], users[1]], peers, settings);
    let mut show_at = Instant::now();
    while !drive.is_done() {
        if drive.step()? {
            idle.busy();
        } else {
            idle.wait(drive.port(), WAIT_MAX)?;
        }
        if Instant::now() >= show_at {
            show_at = Instant::now() + SHOW_INTERVAL;
            let (events, requests) = (drive.events(), drive.requests());
            progress.update(events, || {
                format!("{} events, {} requests", grouped(events as f64), grouped(requests as f64))
            });
            if stop.load(Ordering::Relaxed) {
                drive.cut_short();
            }
        }
    }
    progress.finish();
    Ok(drive.finish())
}
