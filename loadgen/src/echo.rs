//! `pitlane-loadgen echo`: asks `pitlane echo` and reports the limit of a port on this machine. The asking itself is `netio`'s.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use netio::echo::{Driven, Load, PacedLoad, drive, drive_paced};
use netio::{Peer, Port, PortKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cli::EchoArgs;
use crate::histograms::{Measurements, Timing};
use crate::judge::{Times, judge};
use crate::output::{exit_code, interrupt_flag, print, unix_seconds, write_file, write_json};
use crate::ports::PortName;
use crate::report::table::{duration, grouped, right, table};
use crate::report::{Histograms, HostFacts, Latency, Report, SCHEMA_VERSION, assemble, hgrm};
use crate::stalls::Stalls;
use crate::verdict::Verdict;
use crate::{parse, ports, run};

/// How long the other end may take until it answers at all, and how often it is asked meanwhile.
const START_TIMEOUT: Duration = Duration::from_secs(15);
const START_PROBE: Duration = Duration::from_millis(20);

/// What `--json` holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EchoReport {
    pub schema_version: u32,
    /// `echo`.
    pub kind: String,
    pub verdict: Verdict,
    pub label: String,
    pub started_at: u64,
    pub port: String,
    pub port_mode: String,
    pub target: String,
    /// Closed loop: datagrams in flight.
    pub window: Option<u64>,
    /// Open loop: datagrams per second that were intended.
    pub intended_per_second: Option<f64>,
    pub payload_bytes: usize,
    pub round_trips: u64,
    pub round_trips_per_second: f64,
    pub lost: u64,
    /// Answers that came after they were given up, or twice.
    pub strays: u64,
    /// Response. Of a closed loop with more than one in flight nothing is timed: all zero.
    pub latency_ns: Latency,
    /// Service: from the actual sending.
    pub service_ns: Latency,
    /// Lag: from the intended to the actual sending.
    pub lag_ns: Latency,
    pub histograms: Histograms,
    pub generator: Stalls,
    pub host: HostFacts,
}

struct Measured {
    driven: Driven,
    times: Measurements,
    stalls: Stalls,
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
    let (warmup, time) = (Duration::from_nanos(args.warmup), Duration::from_nanos(args.duration));
    let (mut times, mut stalls) = (Measurements::new(args.duration), Stalls::default());
    let driven = match args.rate {
        Some(rate) => {
            let paced = |duration| PacedLoad { payload_length: args.payload, rate, duration };
            drive_paced(port, peer, paced(warmup), stop, |_| {})?;
            drive_paced(port, peer, paced(time), stop, |trip| {
                let timing = Timing { intended_ns: trip.intended_ns, sent_ns: trip.sent_ns };
                times.record(timing, 1, trip.answered_ns);
                times.lag.record(trip.sent_ns.saturating_sub(trip.intended_ns), 1);
                stalls.sent(trip.intended_ns, trip.sent_ns, false);
            })?
        }
        None => {
            drive(port, peer, load(args.window, warmup), stop, |_| {})?;
            drive(port, peer, load(args.window, time), stop, |nanoseconds| {
                times.record(Timing::default(), 1, nanoseconds.max(1));
            })?
        }
    };
    Ok(Measured { driven, times, stalls })
}

pub fn execute(args: &EchoArgs) -> Result<ExitCode> {
    let targets = parse::targets(&args.target.target, 1).map_err(|problem| anyhow!(problem))?;
    let stop = interrupt_flag()?;
    let started_at = unix_seconds();
    if args.rate.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
        bail!("--rate: expected more than 0 datagrams per second");
    }
    let (mut measured, port) = match args.target.port {
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
    let mut report = describe(args, &mut measured, port, started_at);
    report.verdict = verdict(args, &report, &mut measured.times, stop.load(Ordering::Relaxed));
    show(&report);
    write_json(args.output.json.as_deref(), &report)?;
    if let Some(path) = &args.output.hgrm {
        write_file(path, &hgrm::render(measured.times.response.histogram()))?;
    }
    Ok(exit_code(&report.verdict))
}

fn describe(args: &EchoArgs, measured: &mut Measured, port: PortName, started_at: u64) -> EchoReport {
    let driven = measured.driven;
    let mut times = Report::default();
    assemble::times(&mut times, &mut measured.times);
    EchoReport {
        schema_version: SCHEMA_VERSION,
        kind: "echo".into(),
        verdict: Verdict::default(),
        label: args.output.label.clone(),
        started_at,
        port: port.kind.into(),
        port_mode: port.mode,
        target: args.target.target.clone(),
        window: args.rate.is_none().then_some(args.window),
        intended_per_second: args.rate,
        payload_bytes: args.payload,
        round_trips: driven.answered,
        round_trips_per_second: driven.per_second(),
        lost: driven.lost,
        strays: driven.strays,
        latency_ns: times.latency_ns,
        service_ns: times.service_ns,
        lag_ns: times.lag_ns,
        histograms: times.histograms,
        generator: measured.stalls,
        host: HostFacts::collect(),
    }
}

/// An echo is judged as a run whose orders are its datagrams.
fn verdict(args: &EchoArgs, report: &EchoReport, times: &mut Measurements, interrupted: bool) -> Verdict {
    let orders = report.round_trips + report.lost;
    let late = assemble::ratio(report.generator.late_orders as f64, orders as f64);
    let run = Report {
        orders,
        answered: report.round_trips,
        lost: report.lost,
        interrupted,
        orders_per_second: report.round_trips_per_second,
        intended_orders_per_second: report.intended_per_second,
        success_rate: assemble::ratio(report.round_trips as f64, orders as f64),
        warmup_seconds: args.warmup as f64 / 1e9,
        generator: crate::report::GeneratorReport {
            stalls: report.generator,
            trusted_percentile: 100.0 * (1.0 - late),
            ..Default::default()
        },
        ..Default::default()
    };
    judge(&run, &Times::of(times), &args.judge.limits())
}

fn show(report: &EchoReport) {
    print(&render(report));
}

/// The report as text.
pub fn render(report: &EchoReport) -> String {
    let mut rows = table();
    let load = match (report.window, report.intended_per_second) {
        (_, Some(rate)) => format!("{}/s", grouped(rate)),
        (window, None) => format!("{} in flight", window.unwrap_or(1)),
    };
    let mut header = vec!["port", "load", "round trips/s", "lost"];
    let mut cells = vec![
        comfy_table::Cell::new(&report.port),
        right(load),
        right(grouped(report.round_trips_per_second)),
        right(grouped(report.lost as f64)),
    ];
    if report.latency_ns.max > 0 {
        header.extend(["mean", "median", "p90", "p99", "p99.9", "max"]);
        let latency = &report.latency_ns;
        for value in [latency.mean, latency.median as f64, latency.p90 as f64, latency.p99 as f64] {
            cells.push(right(duration(value)));
        }
        cells.push(right(duration(latency.p99_9 as f64)));
        cells.push(right(duration(latency.max as f64)));
    }
    if report.intended_per_second.is_some() {
        header.push("lag p99.9");
        cells.push(right(duration(report.lag_ns.p99_9 as f64)));
    }
    rows.set_header(header);
    rows.add_row(cells);
    format!("{}{rows}\n", report.verdict.describe())
}
