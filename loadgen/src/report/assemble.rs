//! Makes the report of a run from what its workers left behind.

use hdrhistogram::Histogram;
use wire::ouch::reject_reason;

use super::{
    Baseline, ClientLatency, GeneratorReport, Histograms, Latency, MixReport, OutsideReport, Range,
    RejectReport, Report, RequestReport, SCHEMA_VERSION, TimelinePoint, TransportReport,
};
use crate::coordination::WorkerError;
use crate::counts::{Counts, Events, RequestKind};
use crate::histograms::{Measurements, encode};
use crate::mix::MixSettings;
use crate::stalls::GAP_STEPS_NS;
use crate::worker::Finished;

/// The earlier platform's load test: ten Python clients for 60 s.
const BASELINE_ORDERS_PER_SECOND: f64 = 2554.0;
const BASELINE_MEAN_LATENCY_NS: f64 = 3_910_000.0;
const BASELINE_WHAT: &str = "earlier platform: 10 concurrent Python clients over a batching backend, 60 s, 153,256 orders, \
                             2,554 orders/s over all clients, mean latency 3.91 ms from order to answer";

/// One client at the end of a run.
pub struct ClientResult {
    pub user: String,
    pub measured: Counts,
    pub last_answer_ns: u64,
    pub latency: Histogram<u64>,
}

/// Everything a report is made of, apart from its labels.
pub struct Outcome {
    pub clients: Vec<ClientResult>,
    pub measured: Counts,
    pub warmup: Counts,
    pub cleanup: Counts,
    pub events: Events,
    pub measurements: Measurements,
    pub generator: GeneratorReport,
    pub transport: TransportReport,
    pub measure_from_ns: u64,
    pub measure_until_ns: u64,
    pub ended_by_count: bool,
    pub failure: Option<WorkerError>,
    pub stopped: Option<String>,
}

impl Outcome {
    /// Takes the workers' results together. The clients come out in the sequence of their users' names.
    pub fn collect(workers: Vec<Finished>) -> Self {
        let mut measurements: Option<Measurements> = None;
        let mut outcome = Outcome {
            clients: Vec::new(),
            measured: Counts::default(),
            warmup: Counts::default(),
            cleanup: Counts::default(),
            events: Events::default(),
            measurements: Measurements::new(1),
            generator: GeneratorReport::default(),
            transport: TransportReport::default(),
            measure_from_ns: u64::MAX,
            measure_until_ns: 0,
            ended_by_count: !workers.is_empty() && workers.iter().all(|worker| worker.ended_by_count),
            failure: None,
            stopped: None,
        };
        let mut messages = 0;
        let mut datagrams = 0;
        for mut worker in workers {
            match &mut measurements {
                Some(sum) => sum.add(&mut worker.measurements),
                None => measurements = Some(worker.measurements),
            }
            outcome.generator.stalls.add(&worker.stalls);
            outcome.generator.stray_datagrams += worker.strays;
            outcome.measure_from_ns = outcome.measure_from_ns.min(worker.measure_from_ns);
            outcome.measure_until_ns = outcome.measure_until_ns.max(worker.measure_until_ns);
            // Threads that stopped because another failed have nothing to add to it.
            outcome.failure = match (outcome.failure.take(), worker.failure) {
                (None | Some(WorkerError::Aborted), Some(error)) => Some(error),
                (earlier, _) => earlier,
            };
            outcome.stopped = outcome.stopped.take().or(worker.stopped);
            let port = worker.port;
            let transport = &mut outcome.transport;
            transport.sent_datagrams += port.tx_datagrams;
            transport.received_datagrams += port.rx_datagrams;
            transport.receive_drops += port.rx_dropped.total();
            transport.transmit_drops += port.tx_dropped;
            transport.transmit_full += port.tx_full;
            transport.kicks += port.kicks;
            for mut participant in worker.participants {
                transport.logins += participant.client.logins_sent;
                transport.reconnections += participant.client.reconnections;
                if let Some(duplex) = participant.client.duplex() {
                    let (sent, received) = (duplex.send.statistics(), duplex.receive.statistics());
                    transport.retransmitted_datagrams += sent.retransmitted_datagrams;
                    transport.retransmitted_messages += sent.retransmitted_messages;
                    transport.probes += sent.probes;
                    transport.gap_requests_received += sent.requests;
                    transport.gap_requests_sent += received.requests_sent;
                    transport.duplicate_datagrams += received.duplicates;
                    transport.early_datagrams += received.parked;
                    messages += sent.messages;
                    datagrams += sent.datagrams;
                }
                outcome.measured.add(&participant.account.measured);
                outcome.warmup.add(&participant.account.warmup);
                outcome.cleanup.add(&participant.account.cleanup);
                outcome.events.add(&participant.account.events);
                let latency = participant.account.latency().clone();
                outcome.clients.push(ClientResult {
                    user: participant.client.credentials().user(),
                    measured: participant.account.measured.clone(),
                    last_answer_ns: participant.account.last_answer_ns(),
                    latency,
                });
            }
        }
        if let Some(measurements) = measurements {
            outcome.measurements = measurements;
        }
        outcome.transport.messages_per_datagram = ratio(messages as f64, datagrams as f64);
        outcome.generator.malformed_messages = outcome.events.malformed;
        outcome.generator.other_messages = outcome.events.other;
        outcome.clients.sort_by(|a, b| a.user.cmp(&b.user));
        outcome
    }

    /// Time over which rates are taken: to the last answer, so that answers which came late do not flatter.
    fn seconds(&self, last_answer_ns: u64) -> f64 {
        let until_ns = last_answer_ns.max(self.measure_until_ns);
        until_ns.saturating_sub(self.measure_from_ns) as f64 / 1e9
    }
}

/// Fills in everything that the outcome determines.
pub fn fill(report: &mut Report, outcome: &mut Outcome) {
    let measured = &outcome.measured;
    report.schema_version = SCHEMA_VERSION;
    report.kind = "run".into();
    report.tool = concat!("pitlane-loadgen ", env!("CARGO_PKG_VERSION")).to_owned();
    report.clients = outcome.clients.len() as u32;
    report.orders = measured.sent_total();
    report.answered = measured.answered_total();
    report.answered_by_execution = measured.overtaken;
    report.lost = measured.lost;
    report.duplicated = outcome.events.duplicated;
    report.unknown_answers = outcome.events.unknown;
    report.rejected = measured.rejected_total();
    report.accepted = report.answered.saturating_sub(report.rejected);
    report.success_rate = ratio(report.accepted as f64, report.orders as f64);
    report.rejected_share = ratio(report.rejected as f64, report.orders as f64);
    let last_answer_ns = outcome.clients.iter().map(|client| client.last_answer_ns).max().unwrap_or(0);
    let seconds = outcome.seconds(last_answer_ns);
    report.duration_seconds = seconds;
    report.orders_per_second = ratio(report.answered as f64, seconds);
    report.per_client_latency = outcome
        .clients
        .iter()
        .map(|client| ClientLatency {
            user: client.user.clone(),
            orders: client.measured.sent_total(),
            lost: client.measured.lost,
            orders_per_second: ratio(client.measured.answered_total() as f64, seconds),
            latency_ns: latency(&client.latency),
        })
        .collect();
    report.per_client = report.per_client_latency.iter().map(|client| client.orders_per_second).collect();
    report.per_client_range = range(&report.per_client);
    times(report, &mut outcome.measurements);
    report.requests = RequestKind::ALL
        .into_iter()
        .map(|kind| RequestReport {
            kind: kind.name().into(),
            sent: measured.sent[kind as usize],
            answered: measured.answered[kind as usize],
        })
        .collect();
    report.rejects = (measured.rejected.iter().enumerate().filter(|(_, count)| **count > 0))
        .map(|(code, &count)| RejectReport {
            code: code as u16,
            reason: reject_reason::name(code as u16).into(),
            count,
        })
        .collect();
    report.executions = outcome.events.executions;
    report.executed_quantity = outcome.events.executed_quantity;
    report.cancels_unrequested = outcome.events.cancels_unrequested;
    report.outside_measurement = OutsideReport {
        warmup_orders: outcome.warmup.sent_total(),
        warmup_lost: outcome.warmup.lost,
        warmup_rejected: outcome.warmup.rejected_total(),
        cleanup_orders: outcome.cleanup.sent_total(),
        cleanup_lost: outcome.cleanup.lost,
    };
    report.ended_by_count = outcome.ended_by_count;
    report.failure = outcome.failure.as_ref().map(ToString::to_string);
    report.stopped.clone_from(&outcome.stopped);
    report.generator = outcome.generator;
    report.transport = outcome.transport;
    set_baseline(report);
    judge_generator(report);
    warn(report);
}

pub(super) fn set_baseline(report: &mut Report) {
    report.baseline = Baseline {
        what: BASELINE_WHAT.into(),
        orders_per_second: BASELINE_ORDERS_PER_SECOND,
        orders_per_second_ratio: report.orders_per_second / BASELINE_ORDERS_PER_SECOND,
        mean_latency_ns: BASELINE_MEAN_LATENCY_NS,
        mean_latency_ratio: report.latency_ns.mean / BASELINE_MEAN_LATENCY_NS,
    };
}

/// A pause touches the answers that came in it, and an open loop's lateness the orders that left late.
pub(super) fn judge_generator(report: &mut Report) {
    let stalls = &report.generator.stalls;
    let own = stalls.spoiled_answers + (stalls.late_orders - stalls.held_orders.min(stalls.late_orders));
    report.generator.trusted_percentile = 100.0 * (1.0 - ratio(own as f64, report.orders as f64).min(1.0));
}

/// Everything that the three histograms and the course determine.
pub fn times(report: &mut Report, measurements: &mut Measurements) {
    let Measurements { response, service, lag, course } = measurements;
    report.latency_ns = latency(response.histogram());
    report.service_ns = latency(service.histogram());
    report.lag_ns = latency(lag.histogram());
    report.percentiles = percentiles(response.histogram());
    report.histograms = Histograms {
        response: encode(response.histogram()),
        service: encode(service.histogram()),
        lag: encode(lag.histogram()),
    };
    let step_seconds = course.step_ns as f64 / 1e9;
    report.timeline = (course.steps.iter_mut().enumerate())
        .map(|(index, step)| {
            let histogram = step.response.histogram();
            let Latency { median, p99, max, .. } = latency(histogram);
            TimelinePoint {
                seconds: (index + 1) as f64 * step_seconds,
                orders_per_second: histogram.len() as f64 / step_seconds,
                median_ns: median,
                p99_ns: p99,
                max_ns: max,
            }
        })
        .collect();
}

pub fn describe_mix(settings: &MixSettings, symbols: usize) -> MixReport {
    MixReport {
        seed: settings.seed,
        enter: settings.enter_weight,
        cancel: settings.cancel_weight,
        replace: settings.replace_weight,
        crossing: settings.crossing,
        symbols: symbols as u32,
        price_start: settings.price_start,
        walk_ticks: settings.walk_ticks,
        quantity_min: settings.quantity_min,
        quantity_max: settings.quantity_max,
        open_orders_max: settings.open_orders_max,
        profile: settings.profile.clone(),
    }
}

pub(super) fn warn(report: &mut Report) {
    let mut warnings = Vec::new();
    let (orders, stalls) = (report.orders, report.generator.stalls);
    let share = |part: u64| 100.0 * ratio(part as f64, orders as f64);
    if stalls.late_orders * 100 > orders {
        warnings.push(format!(
            "{:.1}% of the orders left more than 100 us late, {:.1}% because every client's window was full",
            share(stalls.late_orders),
            share(stalls.held_orders)
        ));
    }
    if stalls.gaps_above[1] > 0 {
        warnings.push(format!(
            "the generator's own loop stood still for more than {} ms {} times (longest {:.1} ms): the high percentiles \
             hold these pauses",
            GAP_STEPS_NS[1] / 1_000_000,
            stalls.gaps_above[1],
            stalls.gap_ns_max as f64 / 1e6
        ));
    }
    for reject in &report.rejects {
        let mut text = format!("{} orders rejected: {} ({:#06x})", reject.count, reject.reason, reject.code);
        match reject.code {
            reject_reason::INVALID_SYMBOL => {
                text += "; does the engine know the instruments of --symbols, on these shards?"
            }
            reject_reason::INVALID_PRICE | reject_reason::FAT_FINGER | reject_reason::RISK_FAT_FINGER => {
                text +=
                    "; does --price-start lie within the instrument's price collar, and --tick on its tick?";
            }
            reject_reason::INVALID_QUANTITY => {
                text += "; does --quantity fit the instrument's lot and maximum?"
            }
            _ => {}
        }
        warnings.push(text);
    }
    if report.transport.reconnections > 0 {
        warnings.push(format!("{} sessions were silent and logged in again", report.transport.reconnections));
    }
    report.warnings.extend(warnings);
}

pub fn latency(histogram: &Histogram<u64>) -> Latency {
    if histogram.is_empty() {
        return Latency::default();
    }
    let at = |quantile| histogram.value_at_quantile(quantile);
    Latency {
        min: histogram.min(),
        mean: histogram.mean(),
        median: at(0.5),
        stdev: histogram.stdev(),
        p90: at(0.9),
        p99: at(0.99),
        p99_9: at(0.999),
        p99_99: at(0.9999),
        max: histogram.max(),
    }
}

/// Points for a plot whose axis counts nines: ten to each.
fn percentiles(histogram: &Histogram<u64>) -> Vec<(f64, u64)> {
    if histogram.is_empty() {
        return Vec::new();
    }
    let nines = (histogram.len() as f64).log10().clamp(1.0, 7.0);
    let mut points: Vec<(f64, u64)> = (0..=(nines * 10.0) as u32)
        .map(|step| 1.0 - 10f64.powf(-f64::from(step) / 10.0))
        .map(|quantile| (100.0 * quantile, histogram.value_at_quantile(quantile)))
        .collect();
    points.push((100.0, histogram.max()));
    points
}

pub(super) fn range(values: &[f64]) -> Range {
    if values.is_empty() {
        return Range::default();
    }
    Range {
        min: values.iter().copied().fold(f64::INFINITY, f64::min),
        mean: values.iter().sum::<f64>() / values.len() as f64,
        max: values.iter().copied().fold(0.0, f64::max),
    }
}

pub fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}
