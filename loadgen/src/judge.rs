//! Whether a run's figures are to be believed, and whether they are what was required. It measures nothing and excuses nothing.

use hdrhistogram::Histogram;

use crate::histograms::Measurements;
use crate::report::Report;
use crate::report::table::{duration, grouped};
use crate::verdict::{Cause, Checked, Figure, Point, Reason, Requirement, Span, Verdict};

/// A shorter warm-up measures caches and connections being filled.
const WARMUP_NS_MIN: u64 = 100_000_000;

/// The first tenth of the measured time is compared with the rest where there are at least this many steps.
const COURSE_STEPS_MIN: usize = 20;
/// Of a closed loop the first tenth has to reach this share of the rest's rate; of an open one, its median may be this much of the rest's.
const FIRST_TENTH_RATE: f64 = 0.75;
const FIRST_TENTH_MEDIAN: f64 = 2.0;

/// What a run is judged by.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Of the measured orders, 0 to 1.
    pub rejected_share_max: f64,
    /// Open loop: the share of the intended rate that has to be answered.
    pub rate_share_min: f64,
    /// Open loop: limit for the 99.9th percentile of the lag.
    pub lag_ns_max: u64,
    /// The highest percentile that is quoted: own pauses must not reach it.
    pub quoted_percentile: f64,
    /// Rate, lag, own pauses and warm-up make nothing invalid: for runs that are not about time.
    pub delivery_only: bool,
    pub requirements: Vec<Requirement>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            rejected_share_max: 0.01,
            rate_share_min: 0.98,
            lag_ns_max: 1_000_000,
            quoted_percentile: 99.0,
            delivery_only: false,
            requirements: Vec::new(),
        }
    }
}

/// The three histograms of a run.
pub struct Times<'a> {
    pub response: &'a Histogram<u64>,
    pub service: &'a Histogram<u64>,
    pub lag: &'a Histogram<u64>,
}

impl<'a> Times<'a> {
    pub fn of(measurements: &'a mut Measurements) -> Self {
        let Measurements { response, service, lag, .. } = measurements;
        Times { response: response.histogram(), service: service.histogram(), lag: lag.histogram() }
    }
}

/// Judges a run.
pub fn judge(report: &Report, times: &Times<'_>, limits: &Limits) -> Verdict {
    let mut reasons = Vec::new();
    incomplete(report, limits, &mut reasons);
    delivery(report, limits, &mut reasons);
    if !limits.delivery_only {
        rate(report, limits, &mut reasons);
    }
    if !limits.delivery_only && report.orders > 0 {
        generator(report, times, limits, &mut reasons);
        warm_up(report, &mut reasons);
    }
    let requirements = limits.requirements.iter().map(|it| check(it, report, times)).collect();
    Verdict { requirements, ..Verdict::of(reasons) }
}

fn incomplete(report: &Report, limits: &Limits, reasons: &mut Vec<Reason>) {
    let mut say = |text: String| reasons.push(Reason { cause: Cause::Incomplete, text });
    if let Some(failure) = &report.failure {
        say(format!("it ended before its time: {failure}"));
    }
    // An engine that is away for a while, or a run that is ended from outside, says nothing of what was delivered.
    if let Some(stopped) = &report.stopped
        && !limits.delivery_only
    {
        say(stopped.clone());
    }
    for agent in &report.agents {
        if let Some(failure) = &agent.failure {
            say(format!("agent {} brought no result: {failure}", agent.address));
        }
    }
    if report.interrupted && !limits.delivery_only {
        say("it was interrupted before its time was over".into());
    }
    if report.orders == 0 {
        say("no order was measured".into());
    } else if report.answered == 0 {
        say("no measured order was answered".into());
    }
}

fn delivery(report: &Report, limits: &Limits, reasons: &mut Vec<Reason>) {
    let mut say = |cause, text: String| reasons.push(Reason { cause, text });
    let lost = report.lost + report.outside_measurement.warmup_lost;
    if lost > 0 {
        say(Cause::Delivery, format!("{} orders were lost", grouped(lost as f64)));
    }
    if report.duplicated > 0 {
        say(Cause::Delivery, format!("{} answers came twice", grouped(report.duplicated as f64)));
    }
    if report.unknown_answers > 0 {
        let count = grouped(report.unknown_answers as f64);
        say(Cause::Delivery, format!("{count} answers were about orders that were never sent"));
    }
    if report.generator.malformed_messages > 0 {
        let count = grouped(report.generator.malformed_messages as f64);
        say(Cause::Delivery, format!("{count} messages could not be decoded"));
    }
    if report.rejected_share > limits.rejected_share_max {
        say(
            Cause::Rejected,
            format!(
                "{:.2}% of the orders were rejected (at most {:.2}%)",
                100.0 * report.rejected_share,
                100.0 * limits.rejected_share_max
            ),
        );
    }
}

fn rate(report: &Report, limits: &Limits, reasons: &mut Vec<Reason>) {
    let Some(intended) = report.intended_orders_per_second else { return };
    let share = report.orders_per_second / intended.max(f64::MIN_POSITIVE);
    if share < limits.rate_share_min && !report.ended_by_count {
        reasons.push(Reason {
            cause: Cause::Rate,
            text: format!(
                "{} of {} orders/s were reached, {:.1}% (at least {:.1}%)",
                grouped(report.orders_per_second),
                grouped(intended),
                100.0 * share,
                100.0 * limits.rate_share_min
            ),
        });
    }
}

fn generator(report: &Report, times: &Times<'_>, limits: &Limits, reasons: &mut Vec<Reason>) {
    let stalls = &report.generator.stalls;
    let lag_ns = times.lag.value_at_quantile(0.999);
    if lag_ns > limits.lag_ns_max {
        let held = stalls.held_orders * 2 > stalls.late_orders;
        let (cause, who) = if held {
            (Cause::Rate, "orders waited for room in every client's window, lag")
        } else {
            (Cause::Generator, "the generator was late, lag")
        };
        reasons.push(Reason {
            cause,
            text: format!(
                "{who} p99.9 {} (at most {})",
                duration(lag_ns as f64),
                duration(limits.lag_ns_max as f64)
            ),
        });
    }
    let quoted = limits.requirements.iter().filter_map(Requirement::quotes).fold(0.0, f64::max);
    let quoted = quoted.max(limits.quoted_percentile);
    let trusted = report.generator.trusted_percentile;
    if trusted < quoted {
        reasons.push(Reason {
            cause: Cause::Generator,
            text: format!(
                "the generator's own pauses and lateness touched {:.3}% of the orders: nothing above p{trusted:.3} is the engine's, and \
                 p{quoted} is quoted",
                100.0 - trusted
            ),
        });
    }
}

fn warm_up(report: &Report, reasons: &mut Vec<Reason>) {
    let mut say = |text: String| reasons.push(Reason { cause: Cause::WarmUp, text });
    let warmup = report.warmup_seconds;
    if warmup * 1e9 < WARMUP_NS_MIN as f64 {
        say(format!(
            "the warm-up of {warmup} s is too short: expected at least {} ms",
            WARMUP_NS_MIN / 1_000_000
        ));
        return;
    }
    if report.timeline.len() < COURSE_STEPS_MIN || report.ended_by_count {
        return;
    }
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(0.0)
    };
    let (first, rest) = report.timeline.split_at(report.timeline.len() / 10);
    let rates = |points: &[crate::report::TimelinePoint]| {
        median(points.iter().map(|it| it.orders_per_second).collect())
    };
    let times = |points: &[crate::report::TimelinePoint]| {
        median(points.iter().map(|it| it.median_ns as f64).collect())
    };
    if report.window.is_some() && rates(first) < FIRST_TENTH_RATE * rates(rest) {
        say(format!(
            "the warm-up of {warmup} s was too short: the first tenth reached {} orders/s, the rest {}",
            grouped(rates(first)),
            grouped(rates(rest))
        ));
    } else if report.window.is_none() && times(first) > FIRST_TENTH_MEDIAN * times(rest) {
        say(format!(
            "the warm-up of {warmup} s was too short: the median was {} in the first tenth, {} in the rest",
            duration(times(first)),
            duration(times(rest))
        ));
    }
}

/// What a run has of what is required.
fn check(requirement: &Requirement, report: &Report, times: &Times<'_>) -> Checked {
    let value = match requirement.figure() {
        Figure::Time { span, point } => {
            let histogram = match span {
                Span::Response => times.response,
                Span::Service => times.service,
                Span::Lag => times.lag,
            };
            match point {
                Point::Percentile(percentile) => histogram.value_at_quantile(percentile / 100.0) as f64,
                Point::Mean => histogram.mean(),
                Point::Max => histogram.max() as f64,
            }
        }
        Figure::Lost => report.lost as f64,
        Figure::Duplicated => report.duplicated as f64,
        Figure::Rejected => report.rejected as f64,
        Figure::Orders => report.orders as f64,
        Figure::OrdersPerSecond => report.orders_per_second,
        Figure::Success => report.success_rate,
        Figure::RejectedShare => report.rejected_share,
        Figure::ClientSpread => report.client_spread(),
    };
    // A percentile of nothing meets nothing.
    let nothing = matches!(requirement.figure(), Figure::Time { .. }) && times.response.is_empty();
    Checked { requirement: requirement.to_string(), value, met: requirement.is_met(value) && !nothing }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
