//! `pitlane-loadgen echo`: asks `pitlane echo` and reports the limit of a port on this machine. The asking itself is `netio`'s.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use hdrhistogram::Histogram;
use netio::echo::{Driven, Load, drive};
use netio::{Peer, Port, PortKind};
use serde::{Deserialize, Serialize};

use crate::account::LATENCY_NS_MAX;
use crate::cli::EchoArgs;
use crate::commands::{EXIT_UNCLEAN, interrupt_flag, print, unix_seconds, write_file};
use crate::ports::PortName;
use crate::report::table::{duration, grouped, right, table};
use crate::report::{HostFacts, Latency, SCHEMA_VERSION, assemble, hgrm};
use crate::{parse, ports, run};

/// How long the other end may take until it answers at all, and how often it is asked meanwhile.
const START_TIMEOUT: Duration = Duration::from_secs(15);
const START_PROBE: Duration = Duration::from_millis(20);

/// What `--json` holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EchoReport {
    pub schema_version: u32,
    pub label: String,
    pub started_at: u64,
    pub port: String,
    pub port_mode: String,
    pub target: String,
    pub window: u64,
    pub payload_bytes: usize,
    pub round_trips: u64,
    pub round_trips_per_second: f64,
    pub lost: u64,
    /// Answers that came after they were given up, or twice.
    pub strays: u64,
    /// With one in flight; all zero with more, where nothing is timed.
    pub latency_ns: Latency,
    pub host: HostFacts,
}

struct Measured {
    driven: Driven,
    latency: Histogram<u64>,
}

fn measure<P: Port>(args: &EchoArgs, port: &mut P, peer: &Peer, stop: &AtomicBool) -> Result<Measured> {
    if let Some(&core) = args.target.cores.first() {
        run::pin(core)?;
    }
    let load = |window, seconds| Load { payload_length: args.payload, window, duration: seconds };
    let deadline = Instant::now() + START_TIMEOUT;
    while drive(port, peer, load(1, START_PROBE), stop, |_| {})?.answered == 0 {
        if stop.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        if Instant::now() > deadline {
            bail!(
                "no answer from {} within {} s: expected `pitlane echo` there, on the same kind of port or any other",
                peer.remote,
                START_TIMEOUT.as_secs()
            );
        }
    }
    drive(port, peer, load(args.window, Duration::from_nanos(args.warmup)), stop, |_| {})?;
    let mut latency = Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).context("the histogram's bounds")?;
    let driven =
        drive(port, peer, load(args.window, Duration::from_nanos(args.duration)), stop, |nanoseconds| {
            latency.saturating_record(nanoseconds.max(1));
        })?;
    Ok(Measured { driven, latency })
}

pub fn execute(args: &EchoArgs) -> Result<ExitCode> {
    let targets = parse::targets(&args.target.target, 1).map_err(|problem| anyhow!(problem))?;
    let stop = interrupt_flag()?;
    let started_at = unix_seconds();
    let (measured, port) = match args.target.port {
        PortKind::Udp => {
            let ports::Udp::One(mut opened) = ports::open_udp(&targets, 1, 1, !args.target.no_udp_offload)?
            else {
                bail!("one client needs one socket");
            };
            let opened = opened.pop().context("no port was opened")?;
            let peer = opened.peer(0, 0);
            let mut port = opened.port;
            (measure(args, &mut port, &peer, &stop)?, PortName::udp())
        }
        #[cfg(feature = "xdp")]
        PortKind::Xdp => {
            let (device, mut opened) = ports::open_xdp(&args.target, &targets, 1, 1, false)?;
            let opened = opened.pop().context("no port was opened")?;
            let peer = opened.peer(0, 0);
            let mut port = opened.port;
            (measure(args, &mut port, &peer, &stop)?, PortName::xdp(&device))
        }
    };
    let driven = measured.driven;
    let report = EchoReport {
        schema_version: SCHEMA_VERSION,
        label: args.output.label.clone(),
        started_at,
        port: port.kind.into(),
        port_mode: port.mode,
        target: args.target.target.clone(),
        window: args.window,
        payload_bytes: args.payload,
        round_trips: driven.answered,
        round_trips_per_second: driven.per_second(),
        lost: driven.lost,
        strays: driven.strays,
        latency_ns: assemble::latency(&measured.latency),
        host: HostFacts::collect(),
    };
    show(&report);
    if let Some(path) = &args.output.json {
        write_file(path, &(serde_json::to_string_pretty(&report)? + "\n"))?;
    }
    if let Some(path) = &args.output.hgrm {
        write_file(path, &hgrm::render(&measured.latency))?;
    }
    Ok(if report.lost == 0 && report.round_trips > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_UNCLEAN)
    })
}

fn show(report: &EchoReport) {
    let mut rows = table();
    let mut header = vec!["port", "in flight", "round trips/s", "lost"];
    let mut cells = vec![
        comfy_table::Cell::new(&report.port),
        right(report.window),
        right(grouped(report.round_trips_per_second)),
        right(grouped(report.lost as f64)),
    ];
    if report.window == 1 {
        header.extend(["mean", "median", "p90", "p99", "p99.9", "max"]);
        let latency = &report.latency_ns;
        for value in [latency.mean, latency.median as f64, latency.p90 as f64, latency.p99 as f64] {
            cells.push(right(duration(value)));
        }
        cells.push(right(duration(latency.p99_9 as f64)));
        cells.push(right(duration(latency.max as f64)));
    }
    rows.set_header(header);
    rows.add_row(cells);
    print(&format!("{rows}\n"));
}
