//! `pitlane-loadgen search`: trials over rates, and which of engine, network and generator was the limit.

use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};

use crate::cli::SearchArgs;
use crate::launch::{Job, Measured};
use crate::output::{exit_code, interrupt_flag, print, unix_seconds, write_json};
use crate::pace::{Arrivals, Pace};
use crate::report::series::{SeriesPoint, SeriesReport, is_spoiled, render};
use crate::report::table::{duration, grouped};
use crate::report::{HostFacts, Report, SCHEMA_VERSION};
use crate::search::{Found, Limit, SearchPlan, Trial, search};
use crate::verdict::{Cause, Reason, Verdict};

/// Datagrams lost on the way, above this share of the orders and above a few, say that the network was the limit.
const LOST_ON_THE_WAY_SHARE: f64 = 0.001;
const LOST_ON_THE_WAY_MIN: f64 = 10.0;

pub fn execute(args: &SearchArgs) -> Result<ExitCode> {
    let plan = SearchPlan {
        rate_min: args.rate_min,
        rate_max: args.rate_max,
        steps: args.steps,
        precision: args.precision,
        trials: args.trials,
        repeats: args.repeats,
    };
    plan.check().map_err(|problem| anyhow!(problem))?;
    if !(0.0..=100.0).contains(&args.percentile) {
        bail!("--percentile {}: expected 0 to 100", args.percentile);
    }
    let job = Job {
        target: &args.target,
        accounts: &args.accounts,
        flow: &args.flow,
        time: &args.time,
        quiet: args.output.quiet,
    };
    let interrupt = interrupt_flag()?;
    let started_at = unix_seconds();
    let mut limits = args.judge.limits();
    limits.quoted_percentile = limits.quoted_percentile.max(args.percentile);
    let mut points: Vec<SeriesPoint> = Vec::new();
    let mut port = (String::new(), String::new());
    let found = search(&plan, |rate| {
        let pace = Pace::Open(Arrivals { rate, burst: args.burst, poisson: args.poisson });
        let Measured { report, mut outcome } = job.measure(&job.plan(pace)?, "", &limits, &interrupt)?;
        if report.interrupted {
            bail!("interrupted");
        }
        let latency_ns = outcome.measurements.response.histogram().value_at_quantile(args.percentile / 100.0);
        let trial = classify(&report, latency_ns, args.limit);
        note(&mut points, rate, &report, trial);
        port = (report.port, report.port_mode);
        Ok(trial)
    })?;
    let mut report = SeriesReport {
        schema_version: SCHEMA_VERSION,
        kind: "search".into(),
        label: args.output.label.clone(),
        started_at,
        port: port.0,
        port_mode: port.1,
        target: args.target.target.clone(),
        summary: summary(args, &found),
        points,
        found_orders_per_second: found.rate,
        limited_by: Some(found.limit.map_or("none", Limit::name).to_owned()),
        host: HostFacts::collect(),
        ..Default::default()
    };
    report.verdict = Verdict::of(match found.rate {
        Some(_) => Vec::new(),
        None => vec![Reason { cause: Cause::Rate, text: summary(args, &found) }],
    });
    print(&render(&report));
    write_json(args.output.json.as_deref(), &report)?;
    Ok(exit_code(&report.verdict))
}

fn classify(report: &Report, latency_ns: u64, limit_ns: u64) -> Trial {
    if is_spoiled(&report.verdict) {
        return Trial::Spoiled;
    }
    if report.verdict.valid && latency_ns <= limit_ns {
        return Trial::Passed;
    }
    let transport = &report.transport;
    // What is sent again for want of an acknowledgement may be waiting in the engine; a gap is a loss.
    let lost_on_the_way = transport.receive_drops
        + transport.transmit_drops
        + transport.gap_requests_received
        + transport.gap_requests_sent;
    let network = lost_on_the_way as f64 > LOST_ON_THE_WAY_MIN + LOST_ON_THE_WAY_SHARE * report.orders as f64;
    Trial::Failed(if network { Limit::Network } else { Limit::Engine })
}

/// Enters a trial into the point of its rate.
fn note(points: &mut Vec<SeriesPoint>, rate: f64, report: &Report, trial: Trial) {
    let same = |point: &SeriesPoint| point.intended_orders_per_second == Some(rate);
    let at = points.iter().position(same).unwrap_or_else(|| {
        points.push(SeriesPoint::of(grouped(rate), report));
        points.len() - 1
    });
    let (trials, repeated) = (points[at].trials, points[at].repeated);
    if trial == Trial::Spoiled {
        points[at].repeated += 1;
        if trials == 0 {
            points[at].invalid = report.verdict.reasons.first().map(|reason| reason.text.clone());
        }
        return;
    }
    // The last trial that counted stands for its rate.
    points[at] = SeriesPoint {
        trials: trials + 1,
        repeated,
        passed: Some(trial == Trial::Passed),
        intended_orders_per_second: Some(rate),
        ..SeriesPoint::of(grouped(rate), report)
    };
}

fn summary(args: &SearchArgs, found: &Found) -> String {
    let limit = format!("p{} within {} without loss", args.percentile, duration(args.limit as f64));
    let who = found.limit.map_or_else(
        || "the top of the range passed: the limit lies beyond it".to_owned(),
        |limit| format!("the {} was the limit above it", limit.name()),
    );
    match found.rate {
        Some(rate) => format!("{} orders/s keep {limit}, confirmed; {who}", grouped(rate)),
        None => format!(
            "no rate from {} orders/s on keeps {limit}; the {} was the limit",
            grouped(args.rate_min),
            found.limit.map_or("engine", Limit::name)
        ),
    }
}
