//! `pitlane-loadgen curve` and `scale`: latency over load, and throughput over clients and shards. A point is the median of its trials.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Result, bail};

use crate::cli::{CurveArgs, FlowArgs, OutputArgs, ScaleArgs};
use crate::judge::Limits;
use crate::launch::{Job, Measured};
use crate::output::{exit_code, interrupt_flag, print, unix_seconds, write_json};
use crate::pace::{Arrivals, Pace};
use crate::report::series::{SeriesPoint, SeriesReport, fit, is_spoiled, render};
use crate::report::table::grouped;
use crate::report::{HostFacts, Report, SCHEMA_VERSION};
use crate::verdict::{Cause, Reason, Verdict};

/// Shares of saturation that a curve is measured at.
const CURVE_SHARES: [u32; 10] = [10, 20, 30, 40, 50, 60, 70, 80, 90, 95];

/// Runs the points of a series.
struct Series<'a> {
    job: Job<'a>,
    limits: Limits,
    trials: u32,
    repeats: u32,
    interrupt: Arc<AtomicBool>,
    port: (String, String),
}

impl Series<'_> {
    /// The median trial of a point by `order`: those the generator spoiled are repeated.
    fn point(
        &mut self,
        name: String,
        flow: &FlowArgs,
        pace: Pace,
        order: fn(&Report) -> f64,
    ) -> Result<SeriesPoint> {
        let job = Job { flow, ..self.job };
        let plan = job.plan(pace)?;
        let (mut counted, mut repeated) = (Vec::new(), 0);
        let mut spoiled = None;
        while (counted.len() as u32) < self.trials && repeated <= self.repeats {
            let Measured { report, .. } = job.measure(&plan, &name, &self.limits, &self.interrupt)?;
            if report.interrupted {
                bail!("interrupted");
            }
            if is_spoiled(&report.verdict) {
                repeated += 1;
                spoiled = Some(report);
            } else {
                counted.push(report);
            }
        }
        counted.sort_by(|a, b| order(a).total_cmp(&order(b)));
        let trials = counted.len() as u32;
        let middle = counted.len() / 2;
        let Some(report) = counted.into_iter().nth(middle).or(spoiled) else {
            bail!("--trials must be at least 1")
        };
        self.port = (report.port.clone(), report.port_mode.clone());
        let mut point = SeriesPoint { trials, repeated, ..SeriesPoint::of(name, &report) };
        if !report.verdict.valid {
            point.invalid = report.verdict.reasons.first().map(|reason| reason.text.clone());
        }
        if !self.job.quiet {
            let _ = std::io::Write::write_all(
                &mut std::io::stderr(),
                format!("{}: {} orders/s\n", point.name, grouped(point.orders_per_second)).as_bytes(),
            );
        }
        Ok(point)
    }

    fn report(&self, kind: &str, started_at: u64, output: &OutputArgs) -> SeriesReport {
        SeriesReport {
            schema_version: SCHEMA_VERSION,
            kind: kind.into(),
            label: output.label.clone(),
            started_at,
            port: self.port.0.clone(),
            port_mode: self.port.1.clone(),
            target: self.job.target.target.clone(),
            host: HostFacts::collect(),
            ..Default::default()
        }
    }
}

/// A series is valid if every point of it is.
fn verdict(points: &[SeriesPoint]) -> Verdict {
    let reason = |point: &SeriesPoint| {
        let text = format!("{}: {}", point.name, point.invalid.as_ref()?);
        Some(Reason { cause: Cause::Incomplete, text })
    };
    Verdict::of(points.iter().filter_map(reason).collect())
}

fn show(report: &SeriesReport, output: &OutputArgs) -> Result<ExitCode> {
    print(&render(report));
    write_json(output.json.as_deref(), report)?;
    Ok(exit_code(&report.verdict))
}

pub fn curve(args: &CurveArgs) -> Result<ExitCode> {
    let started_at = unix_seconds();
    let mut series = Series {
        job: Job {
            target: &args.target,
            accounts: &args.accounts,
            flow: &args.flow,
            time: &args.time,
            quiet: args.output.quiet,
        },
        limits: args.judge.limits(),
        trials: args.trials,
        repeats: args.repeats,
        interrupt: interrupt_flag()?,
        port: Default::default(),
    };
    let mut points = Vec::new();
    let alone = FlowArgs { clients: 1, threads: 1, ..args.flow.clone() };
    let by_rate = |report: &Report| report.orders_per_second;
    let by_median = |report: &Report| report.latency_ns.median as f64;
    points.push(series.point("one in flight".into(), &alone, Pace::Closed { window: 1 }, by_median)?);
    let saturation = match args.saturation {
        Some(rate) if rate.is_finite() && rate > 0.0 => rate,
        Some(rate) => bail!("--saturation {rate}: expected more than 0 orders per second"),
        None => {
            let pace = Pace::Closed { window: args.window };
            let point = series.point("saturated".into(), &args.flow, pace, by_rate)?;
            let rate = point.orders_per_second;
            points.push(point);
            rate
        }
    };
    let mut at_half = None;
    for share in CURVE_SHARES {
        let rate = saturation * f64::from(share) / 100.0;
        let pace = Pace::Open(Arrivals { rate, burst: 1, poisson: args.poisson });
        let point =
            series.point(format!("{share}%"), &args.flow, pace, |report| report.latency_ns.p99 as f64)?;
        if share == 50 {
            at_half = Some(point.latency_ns.median as f64);
        }
        points.push(point);
    }
    let alone = points.first().map_or(0, |point| point.latency_ns.median);
    let mut report = series.report("curve", started_at, &args.output);
    report.saturation_orders_per_second = Some(saturation);
    report.p50_at_half_ratio = at_half.filter(|_| alone > 0).map(|median| median / alone as f64);
    report.summary = format!(
        "saturated at {} orders/s; the median at half of that is {:.2} times the one of one order in flight",
        grouped(saturation),
        report.p50_at_half_ratio.unwrap_or(0.0)
    );
    report.verdict = verdict(&points);
    report.points = points;
    show(&report, &args.output)
}

pub fn scale(args: &ScaleArgs) -> Result<ExitCode> {
    let started_at = unix_seconds();
    if args.counts.contains(&0) || args.shard_counts.contains(&0) || args.window == 0 {
        bail!("--counts, --shard-counts and --window must be at least 1");
    }
    let mut series = Series {
        job: Job {
            target: &args.target,
            accounts: &args.accounts,
            flow: &args.flow,
            time: &args.time,
            quiet: args.output.quiet,
        },
        limits: args.judge.limits(),
        trials: args.trials,
        repeats: args.repeats,
        interrupt: interrupt_flag()?,
        port: Default::default(),
    };
    let mut points: Vec<SeriesPoint> = Vec::new();
    for &shards in &args.shard_counts {
        let mut one = None;
        for &clients in args.counts.iter().filter(|clients| **clients >= shards) {
            let threads = args.flow.threads.min(clients);
            let flow = FlowArgs { clients, shards, threads, ..args.flow.clone() };
            let name = format!("{clients} clients, {shards} shards");
            let pace = Pace::Closed { window: args.window };
            let mut point = series.point(name, &flow, pace, |report| report.orders_per_second)?;
            let per_client = point.orders_per_second / clients as f64;
            let first = *one.get_or_insert(per_client);
            point.efficiency = (first > 0.0).then(|| per_client / first);
            points.push(point);
        }
    }
    let line: Vec<(f64, f64)> = (points.iter().filter(|point| point.shards == points[0].shards))
        .map(|point| (f64::from(point.clients), point.orders_per_second))
        .collect();
    let mut report = series.report("scale", started_at, &args.output);
    report.fit = fit(&line);
    report.summary = report.fit.map_or_else(String::new, |fit| {
        format!(
            "a straight line through orders/s over clients: {} for each client, {} at none, {:.1}% of the variance explained",
            grouped(fit.per_client),
            grouped(fit.intercept),
            100.0 * fit.r_squared
        )
    });
    report.verdict = verdict(&points);
    report.points = points;
    show(&report, &args.output)
}
