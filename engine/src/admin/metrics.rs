//! `/metrics` in the Prometheus text format, `/report` as JSON, `/ready`. Reads the reports that shards publish; asks them
//! nothing.

use super::Admin;
use crate::runner::Report;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use std::fmt::Write;
use std::sync::Arc;

/// Name, help and reading of every counter.
type Metric = (&'static str, &'static str, Reading);
type Reading = fn(&Report) -> u64;

const COUNTERS: &[Metric] = &[
    ("rx_datagrams", "Datagrams received by the port", |r| r.port.rx_datagrams),
    ("rx_bytes", "Payload bytes received", |r| r.port.rx_bytes),
    ("tx_datagrams", "Datagrams sent", |r| r.port.tx_datagrams),
    ("tx_bytes", "Payload bytes sent", |r| r.port.tx_bytes),
    ("tx_full", "Sends put off because the transmit queue was full", |r| r.port.tx_full),
    ("tx_dropped", "Datagrams the kernel or device did not take", |r| r.port.tx_dropped),
    ("port_kicks", "System calls that handed datagrams over", |r| r.port.kicks),
    ("port_transient_errors", "Errors of the port that were survived", |r| r.port.transient_errors),
    ("messages", "Upstream messages applied", |r| r.shard.messages),
    ("messages_malformed", "Upstream messages in sequence that are no OUCH message", |r| {
        r.shard.malformed_messages
    }),
    ("rejects", "Orders rejected", |r| r.shard.rejects),
    ("requests_repeated", "Requests ignored because their number was used", |r| r.shard.repeated_requests),
    ("cancels_superfluous", "Cancels and modifies of orders that were gone", |r| r.shard.superfluous_cancels),
    ("logins", "Logins accepted", |r| r.ingress.logins),
    ("logins_repeated", "Logins answered again", |r| r.ingress.logins_repeated),
    ("logins_rejected", "Logins rejected", |r| r.ingress.logins_rejected),
    ("logins_limited", "Login attempts beyond the source's rate", |r| r.ingress.logins_limited),
    ("logouts", "Logouts", |r| r.ingress.logouts),
    ("session_timeouts", "Sessions logged out because they fell silent", |r| r.ingress.timeouts),
    ("replays", "Gap requests older than the resend window", |r| r.ingress.replays),
    ("journal_records", "Journal records written", |r| r.last_record),
    ("journal_releasable", "Last journal record whose replies may leave", |r| r.releasable_record),
];

/// Datagrams and blocks refused, by reason: one metric with a label.
const REFUSED: &[(&str, Reading)] = &[
    ("short", |r| r.ingress.short),
    ("unknown_token", |r| r.ingress.unknown_token),
    ("foreign_source", |r| r.ingress.foreign_source),
    ("malformed", |r| r.ingress.malformed),
    ("far_ahead", |r| r.ingress.far_ahead),
    ("duplicate", |r| r.ingress.duplicate),
    ("parking_full", |r| r.ingress.parking_full),
    ("control_malformed", |r| r.ingress.control_malformed),
    ("port_queue_full", |r| r.port.rx_dropped.queue_full),
    ("port_truncated", |r| r.port.rx_dropped.truncated),
    ("port_malformed", |r| r.port.rx_dropped.malformed),
    ("port_checksum", |r| r.port.rx_dropped.checksum),
];

const GAUGES: &[Metric] = &[
    ("sessions", "Sessions that have logged in", |r| r.sessions),
    ("sessions_bound", "Sessions bound to an address", |r| r.bound),
    ("resting_orders", "Orders resting in the books", |r| r.resting_orders),
    ("replies_waiting", "Replies that wait for the disk", |r| r.waiting),
];

/// Ready once every shard has published a report.
pub async fn ready(State(admin): State<Arc<Admin>>) -> (StatusCode, &'static str) {
    if admin.shards.iter().all(|shard| shard.report.read().uptime_ns > 0) {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "starting\n")
    }
}

pub async fn metrics(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    let reports: Vec<Report> = admin.shards.iter().map(|shard| shard.report.read()).collect();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], exposition(&reports))
}

fn exposition(reports: &[Report]) -> String {
    let mut out = String::with_capacity(8192);
    let mut family = |name: &str, kind: &str, help: &str, rows: Vec<(String, u64)>| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "# HELP pitlane_{name} {help}\n# TYPE pitlane_{name} {kind}");
        for (labels, value) in rows {
            let _ = writeln!(out, "pitlane_{name}{{{labels}}} {value}");
        }
    };
    let by_shard = |read: fn(&Report) -> u64| {
        reports
            .iter()
            .enumerate()
            .map(|(shard, report)| (format!("shard=\"{shard}\""), read(report)))
            .collect::<Vec<_>>()
    };
    for (name, help, read) in COUNTERS {
        family(&format!("{name}_total"), "counter", help, by_shard(*read));
    }
    let refused = REFUSED
        .iter()
        .flat_map(|(reason, read)| {
            reports
                .iter()
                .enumerate()
                .map(move |(shard, report)| (format!("shard=\"{shard}\",reason=\"{reason}\""), read(report)))
        })
        .collect();
    family("refused_total", "counter", "Datagrams that changed no state, by reason", refused);
    for (name, help, read) in GAUGES {
        family(name, "gauge", help, by_shard(*read));
    }
    family(
        "uptime_seconds",
        "gauge",
        "Seconds since the shard started",
        by_shard(|r| r.uptime_ns / 1_000_000_000),
    );
    out
}

/// The same as one JSON object per shard, for `pitlane top`.
pub async fn report(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    let shards: Vec<serde_json::Value> = admin
        .shards
        .iter()
        .map(|shard| {
            let report = shard.report.read();
            let mut values = serde_json::Map::new();
            for (name, _, read) in COUNTERS.iter().chain(GAUGES) {
                values.insert((*name).to_owned(), read(&report).into());
            }
            let refused: serde_json::Map<_, _> =
                REFUSED.iter().map(|(reason, read)| ((*reason).to_owned(), read(&report).into())).collect();
            values.insert("refused".to_owned(), refused.into());
            values.insert("uptime_ns".to_owned(), report.uptime_ns.into());
            values.into()
        })
        .collect();
    ([(header::CONTENT_TYPE, "application/json")], serde_json::json!({ "shards": shards }).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_comment_or_a_labelled_sample() {
        let mut report = Report::default();
        report.ingress.unknown_token = 7;
        let text = exposition(&[report, Report::default()]);
        assert!(text.contains("pitlane_refused_total{shard=\"0\",reason=\"unknown_token\"} 7\n"));
        assert!(text.contains("pitlane_refused_total{shard=\"1\",reason=\"unknown_token\"} 0\n"));
        for line in text.lines() {
            let sample = line.starts_with("pitlane_")
                && line.contains("{shard=")
                && line.rsplit(' ').next().is_some_and(|value| value.parse::<u64>().is_ok());
            assert!(line.starts_with("# ") || sample, "{line}");
        }
    }
}
