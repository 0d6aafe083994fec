//! One report of several: what agents measured of the same run, added up. Histograms add exactly; nothing is averaged.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::assemble::{judge_generator, range, ratio, set_baseline, times, warn};
use super::{RejectReport, Report, RequestReport};
use crate::histograms::{Course, Measurements, Recorder, Step, decode, encode};

/// What one generator brings: its report, and the steps of its course as histograms.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Part {
    pub report: Report,
    step_ns: u64,
    steps: Vec<String>,
}

impl Part {
    pub fn new(report: Report, measurements: &mut Measurements) -> Self {
        let course = &mut measurements.course;
        let steps = course.steps.iter_mut().map(|step| encode(step.response.histogram())).collect();
        Part { report, step_ns: course.step_ns, steps }
    }

    fn measurements(&self) -> Result<Measurements, String> {
        let recorder = |text: &str| decode(text).map(Recorder::of);
        let histograms = &self.report.histograms;
        let steps = self.steps.iter().map(|text| Ok(Step { response: recorder(text)? }));
        Ok(Measurements {
            response: recorder(&histograms.response)?,
            service: recorder(&histograms.service)?,
            lag: recorder(&histograms.lag)?,
            course: Course::of(self.step_ns, steps.collect::<Result<_, String>>()?),
        })
    }
}

/// The parts as one report, not yet judged. An error if there are none, or one's histograms cannot be read.
pub fn merge(parts: &[Part]) -> Result<(Report, Measurements), String> {
    let (first, rest) = parts.split_first().ok_or("no part")?;
    let (mut report, mut measurements) = (first.report.clone(), first.measurements()?);
    for part in rest {
        let mut more = part.measurements()?;
        if more.course.steps.len() != measurements.course.steps.len() {
            return Err("the parts are not of one run: their times are cut differently".into());
        }
        measurements.add(&mut more);
        add(&mut report, &part.report);
    }
    report.per_client_latency.sort_by(|a, b| a.user.cmp(&b.user));
    report.per_client = report.per_client_latency.iter().map(|client| client.orders_per_second).collect();
    report.per_client_range = range(&report.per_client);
    report.orders_per_second = ratio(report.answered as f64, report.duration_seconds);
    report.success_rate = ratio(report.accepted as f64, report.orders as f64);
    report.rejected_share = ratio(report.rejected as f64, report.orders as f64);
    times(&mut report, &mut measurements);
    judge_generator(&mut report);
    set_baseline(&mut report);
    report.warnings.clear();
    warn(&mut report);
    Ok((report, measurements))
}

fn add(sum: &mut Report, more: &Report) {
    sum.threads += more.threads;
    sum.clients += more.clients;
    for (mine, theirs) in [
        (&mut sum.orders, more.orders),
        (&mut sum.answered, more.answered),
        (&mut sum.answered_by_execution, more.answered_by_execution),
        (&mut sum.lost, more.lost),
        (&mut sum.duplicated, more.duplicated),
        (&mut sum.unknown_answers, more.unknown_answers),
        (&mut sum.accepted, more.accepted),
        (&mut sum.rejected, more.rejected),
        (&mut sum.executions, more.executions),
        (&mut sum.executed_quantity, more.executed_quantity),
        (&mut sum.cancels_unrequested, more.cancels_unrequested),
        (&mut sum.outside_measurement.warmup_orders, more.outside_measurement.warmup_orders),
        (&mut sum.outside_measurement.warmup_lost, more.outside_measurement.warmup_lost),
        (&mut sum.outside_measurement.warmup_rejected, more.outside_measurement.warmup_rejected),
        (&mut sum.outside_measurement.cleanup_orders, more.outside_measurement.cleanup_orders),
        (&mut sum.outside_measurement.cleanup_lost, more.outside_measurement.cleanup_lost),
        (&mut sum.generator.malformed_messages, more.generator.malformed_messages),
        (&mut sum.generator.other_messages, more.generator.other_messages),
        (&mut sum.generator.stray_datagrams, more.generator.stray_datagrams),
    ] {
        *mine += theirs;
    }
    sum.generator.stalls.add(&more.generator.stalls);
    sum.transport.add(&more.transport);
    sum.duration_seconds = sum.duration_seconds.max(more.duration_seconds);
    sum.per_client_latency.extend(more.per_client_latency.iter().cloned());
    sum.requests = add_requests(&sum.requests, &more.requests);
    sum.rejects = add_rejects(&sum.rejects, &more.rejects);
    sum.interrupted |= more.interrupted;
    sum.ended_by_count &= more.ended_by_count;
    sum.failure = sum.failure.take().or_else(|| more.failure.clone());
    sum.stopped = sum.stopped.take().or_else(|| more.stopped.clone());
}

fn add_requests(mine: &[RequestReport], theirs: &[RequestReport]) -> Vec<RequestReport> {
    let mut sum = mine.to_vec();
    for request in theirs {
        match sum.iter_mut().find(|known| known.kind == request.kind) {
            Some(known) => {
                known.sent += request.sent;
                known.answered += request.answered;
            }
            None => sum.push(request.clone()),
        }
    }
    sum
}

fn add_rejects(mine: &[RejectReport], theirs: &[RejectReport]) -> Vec<RejectReport> {
    let mut sum: BTreeMap<u16, RejectReport> = BTreeMap::new();
    for reject in mine.iter().chain(theirs) {
        sum.entry(reject.code).or_insert_with(|| RejectReport { count: 0, ..reject.clone() }).count +=
            reject.count;
    }
    sum.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histograms::Timing;
    use crate::report::{ClientLatency, TransportReport};

    fn part(measurements: &mut Measurements, user: &str, orders: u64) -> Part {
        let mut report = Report {
            clients: 1,
            threads: 1,
            orders,
            answered: orders,
            accepted: orders - 1,
            rejected: 1,
            rejects: vec![RejectReport { code: 3, reason: "x".into(), count: 1 }],
            requests: vec![RequestReport { kind: "enter".into(), sent: orders, answered: orders }],
            duration_seconds: 2.0,
            per_client_latency: vec![ClientLatency {
                user: user.into(),
                orders_per_second: orders as f64 / 2.0,
                ..Default::default()
            }],
            transport: TransportReport {
                sent_datagrams: 10,
                messages_per_datagram: 2.0,
                ..Default::default()
            },
            ..Default::default()
        };
        times(&mut report, measurements);
        Part::new(report, measurements)
    }

    #[test]
    fn two_agents_merged_equal_one_generator_over_the_same_orders_bucket_by_bucket() {
        const SECOND: u64 = 1_000_000_000;
        let new = || Measurements::new(2 * SECOND);
        let (mut one, mut halves) = (new(), [new(), new()]);
        for order in 0..5000u64 {
            let timing = Timing { intended_ns: order * 400_000, sent_ns: order * 400_000 + order % 7 * 1000 };
            let answered_ns = timing.sent_ns + 3_000 + order * order % 900_001;
            for measurements in [&mut one, &mut halves[(order % 2) as usize]] {
                measurements.record(timing, 1, answered_ns);
                measurements.lag.record(timing.sent_ns - timing.intended_ns, 1);
            }
        }
        let [mut first, mut second] = halves;
        let parts = [part(&mut second, "C00002", 2500), part(&mut first, "C00001", 2500)];
        // They come as text, as over the network.
        let text = serde_json::to_string(&parts).unwrap();
        let parts: Vec<Part> = serde_json::from_str(&text).unwrap();
        let (report, _) = merge(&parts).unwrap();
        let mut whole = Report::default();
        times(&mut whole, &mut one);
        assert_eq!(report.histograms, whole.histograms);
        assert_eq!(
            (report.latency_ns, report.service_ns, report.lag_ns),
            (whole.latency_ns, whole.service_ns, whole.lag_ns)
        );
        assert_eq!((&report.timeline, &report.percentiles), (&whole.timeline, &whole.percentiles));
        assert_eq!((report.orders, report.accepted, report.clients), (5000, 4998, 2));
        assert_eq!((report.rejects[0].count, report.requests[0].sent), (2, 5000));
        assert_eq!(
            (report.per_client_latency[0].user.as_str(), report.orders_per_second),
            ("C00001", 2500.0)
        );
        assert_eq!((report.transport.sent_datagrams, report.transport.messages_per_datagram), (20, 2.0));
    }

    #[test]
    fn parts_that_do_not_belong_together_are_refused() {
        assert!(merge(&[]).is_err());
        let (mut short, mut long) = (Measurements::new(100_000_000), Measurements::new(2_000_000_000));
        let parts = [part(&mut short, "A", 5), part(&mut long, "B", 5)];
        assert!(merge(&parts).err().unwrap().contains("not of one run"));
        let mut broken = part(&mut short, "A", 5);
        broken.report.histograms.response = "nonsense!".into();
        assert!(merge(&[broken]).is_err());
    }
}
