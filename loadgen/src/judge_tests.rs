//! What makes a run invalid, what is required of it, and how both are read.

use super::*;
use crate::report::{GeneratorReport, OutsideReport, TimelinePoint};
use crate::stalls::Stalls;
use proptest::prelude::*;

/// A run that nothing speaks against.
fn good() -> Report {
    Report {
        orders: 100_000,
        answered: 100_000,
        orders_per_second: 99_990.0,
        intended_orders_per_second: Some(100_000.0),
        success_rate: 1.0,
        warmup_seconds: 1.0,
        generator: GeneratorReport { trusted_percentile: 99.995, ..Default::default() },
        timeline: vec![
            TimelinePoint { orders_per_second: 99_000.0, median_ns: 5_000, ..Default::default() };
            COURSE_STEPS_MIN
        ],
        ..Default::default()
    }
}

fn histogram(values: &[u64]) -> Histogram<u64> {
    let mut histogram = crate::histograms::empty(3);
    values.iter().for_each(|value| histogram.record(*value).unwrap());
    histogram
}

fn judged_with(report: &Report, limits: &Limits, lag: &[u64]) -> Verdict {
    let (response, service) = (histogram(&[5_000, 6_000, 90_000]), histogram(&[4_000, 5_000, 80_000]));
    judge(report, &Times { response: &response, service: &service, lag: &histogram(lag) }, limits)
}

fn causes(report: &Report) -> Vec<Cause> {
    judged_with(report, &Limits::default(), &[100]).reasons.iter().map(|reason| reason.cause).collect()
}

#[test]
fn a_good_run_is_valid_and_every_fault_makes_it_invalid_by_name() {
    assert_eq!(causes(&good()), []);
    let with = |change: fn(&mut Report)| {
        let mut report = good();
        change(&mut report);
        causes(&report)
    };
    assert_eq!(with(|report| report.lost = 1), [Cause::Delivery]);
    assert_eq!(with(|report| report.duplicated = 1), [Cause::Delivery]);
    assert_eq!(with(|report| report.unknown_answers = 1), [Cause::Delivery]);
    assert_eq!(with(|report| report.generator.malformed_messages = 1), [Cause::Delivery]);
    let warmup = |report: &mut Report| {
        report.outside_measurement = OutsideReport { warmup_lost: 1, ..Default::default() }
    };
    assert_eq!(with(warmup), [Cause::Delivery]);
    assert_eq!(with(|report| report.rejected_share = 0.011), [Cause::Rejected]);
    assert_eq!(with(|report| report.rejected_share = 0.009), []);
    assert_eq!(with(|report| report.orders = 0), [Cause::Incomplete]);
    assert_eq!(with(|report| report.answered = 0), [Cause::Incomplete]);
    assert_eq!(with(|report| report.interrupted = true), [Cause::Incomplete]);
    assert_eq!(with(|report| report.failure = Some("gone".into())), [Cause::Incomplete]);
    assert_eq!(with(|report| report.stopped = Some("stuck".into())), [Cause::Incomplete]);
    assert_eq!(with(|report| report.orders_per_second = 29_733.0), [Cause::Rate]);
    assert_eq!(with(|report| report.generator.trusted_percentile = 98.9), [Cause::Generator]);
    assert_eq!(with(|report| report.warmup_seconds = 0.0), [Cause::WarmUp]);
    // A closed loop has no rate to reach.
    let closed = |report: &mut Report| {
        (report.intended_orders_per_second, report.window, report.orders_per_second) = (None, Some(1), 5.0);
    };
    assert_eq!(with(closed), []);
}

#[test]
fn lag_is_the_generator_s_or_the_engine_s_by_what_the_orders_waited_for() {
    let mut report = good();
    let verdict = judged_with(&report, &Limits::default(), &[100, 1_100_000]);
    assert_eq!(verdict.reasons[0].cause, Cause::Generator);
    let stalls: &mut Stalls = &mut report.generator.stalls;
    (stalls.late_orders, stalls.held_orders) = (10, 9);
    let verdict = judged_with(&report, &Limits::default(), &[100, 1_100_000]);
    assert_eq!(verdict.reasons[0].cause, Cause::Rate, "full windows are not the generator's fault");
    let limits = Limits { lag_ns_max: 2_000_000, ..Limits::default() };
    assert!(judged_with(&report, &limits, &[100, 1_100_000]).valid);
}

#[test]
fn a_first_tenth_unlike_the_rest_says_that_the_warm_up_was_too_short() {
    let mut report = good();
    report.timeline[0].median_ns = 20_000;
    report.timeline[1].median_ns = 20_000;
    assert_eq!(causes(&report), [Cause::WarmUp]);
    (report.intended_orders_per_second, report.window) = (None, Some(1));
    assert_eq!(causes(&report), [], "a closed loop is judged by its rate");
    report.timeline[0].orders_per_second = 9_000.0;
    report.timeline[1].orders_per_second = 9_000.0;
    assert_eq!(causes(&report), [Cause::WarmUp]);
}

#[test]
fn delivery_alone_can_be_judged() {
    let mut report = good();
    (report.warmup_seconds, report.orders_per_second) = (0.0, 1.0);
    report.generator.trusted_percentile = 0.0;
    (report.interrupted, report.stopped) = (true, Some("nothing was sent for a while".into()));
    let limits = Limits { delivery_only: true, ..Limits::default() };
    assert!(judged_with(&report, &limits, &[9_000_000]).valid);
    report.lost = 1;
    assert!(!judged_with(&report, &limits, &[9_000_000]).valid);
}

fn required(text: &str) -> Verdict {
    let limits = Limits { requirements: vec![text.parse().unwrap()], ..Limits::default() };
    let mut report = good();
    report.per_client_range = crate::report::Range { min: 100.0, mean: 105.0, max: 110.0 };
    judged_with(&report, &limits, &[100])
}

#[test]
fn requirements_are_checked_against_the_figure_they_name() {
    for (text, met) in [
        ("p50<7us", true),
        ("p50<6us", false),
        ("service.median<=5.1us", true),
        ("service.median<4us", false),
        ("lag.max<1us", true),
        ("max<80us", false),
        ("mean<40us", true),
        ("response.mean>40us", false),
        ("lost=0", true),
        ("duplicated=0", true),
        ("rejected=1", false),
        ("success=1", true),
        ("rejected_share<=0", true),
        ("orders>=100000", true),
        ("orders>100000", false),
        ("orders_per_second>=99990", true),
        ("client_spread<=1.05", false),
    ] {
        let verdict = required(text);
        assert!(verdict.valid, "a requirement makes nothing invalid");
        assert_eq!(
            (verdict.is_met(), &verdict.requirements[0].requirement),
            (met, &text.to_owned()),
            "{verdict:?}"
        );
        assert!(verdict.describe().contains(if met { ": met" } else { "MISSED" }));
    }
    // What is quoted in a requirement has to be the engine's.
    let verdict = required("p99.999<1s");
    assert_eq!(verdict.reasons[0].cause, Cause::Generator, "{verdict:?}");
}

#[test]
fn requirements_without_sense_are_refused_with_what_was_expected() {
    for wrong in [
        "",
        "p99",
        "p99<",
        "p99<20",
        "p101<1s",
        "p<1s",
        "q99<1s",
        "lost=none",
        "lost==0",
        "orders>1e999",
        "lag<1s",
        "service.lost=0",
    ] {
        let problem = wrong.parse::<Requirement>().map(|it| it.to_string());
        // A bare number is a duration in seconds, as everywhere on the command line.
        if wrong == "p99<20" {
            assert!(problem.is_ok());
            continue;
        }
        assert!(problem.unwrap_err().contains("expected FIGURE"), "{wrong}");
    }
}

proptest! {
    #[test]
    fn no_text_is_read_as_a_requirement_by_a_panic(text in ".{0,40}") {
        let _ = text.parse::<Requirement>();
    }
}
