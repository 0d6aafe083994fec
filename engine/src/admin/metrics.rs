//! `/metrics` in the Prometheus text format, `/report` as JSON, `/ready`. Reads the reports that shards publish and the XDP
//! program's counters; asks the shards nothing.

use super::{Admin, PortLabels, audit, authorization};
use crate::counter::Counter;
use crate::doors;
use crate::feed::send::{old_requests, request_server};
use crate::runner::Report;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use netio::{DEVICE_COUNTERS, DeviceCounter};
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
    ("logins_remembered", "Logins whose password needed no hashing", |r| r.ingress.logins_remembered),
    ("logins_challenged", "Logins asked to show that their source receives", |r| r.ingress.logins_challenged),
    ("logins_limited", "Logins after too many wrong ones, or while too many waited", |r| {
        r.ingress.logins_limited
    }),
    ("logouts", "Logouts", |r| r.ingress.logouts),
    ("logouts_unnamed", "Logouts that named no session and ended none", |r| r.ingress.logouts_unnamed),
    ("session_timeouts", "Sessions logged out because they fell silent", |r| r.ingress.timeouts),
    ("replays", "Gap requests older than the resend window", |r| r.ingress.replays),
    ("journal_records", "Journal records written", |r| r.last_record),
    ("journal_releasable", "Last journal record whose replies may leave", |r| r.releasable_record),
    ("clock_steps", "Times that the machine's clock was set by more than a second", |r| r.clock.steps),
    ("pauses", "Times that the shard's thread did not look at its port for more than a millisecond", |r| {
        r.clock.pauses
    }),
    ("paused_nanoseconds", "How long it did not, in all", |r| r.clock.paused_ns),
    ("feed_messages", "Market data messages published", |r| r.feed.messages),
    ("feed_datagrams", "Market data datagrams packed; each goes to every receiver", |r| r.feed.datagrams),
    ("feed_port_full", "Market data put off because the transmit queue was full", |r| r.feed.port_full),
    ("feed_tap_full", "Market data put off because the feed thread was behind", |r| r.feed.tap_full),
    ("feed_tap_lost", "Messages that the feed thread has to fetch from the journal", |r| r.feed.tap_lost),
];

/// Datagrams and blocks refused, by reason: one metric with a label.
const REFUSED: &[(&str, Reading)] = &[
    ("short", |r| r.ingress.short),
    ("unknown_token", |r| r.ingress.unknown_token),
    ("foreign_source", |r| r.ingress.foreign_source),
    ("malformed", |r| r.ingress.malformed),
    ("far_ahead", |r| r.ingress.far_ahead),
    ("held_back", |r| r.ingress.held_back),
    ("duplicate", |r| r.ingress.duplicate),
    ("parking_full", |r| r.ingress.parking_full),
    ("control_malformed", |r| r.ingress.control_malformed),
    ("port_queue_full", |r| r.port.rx_dropped.queue_full),
    ("port_truncated", |r| r.port.rx_dropped.truncated),
    ("port_malformed", |r| r.port.rx_dropped.malformed),
    ("port_checksum", |r| r.port.rx_dropped.checksum),
    ("port_not_allowed", |r| r.port.rx_dropped.not_allowed),
    ("port_over_rate", |r| r.port.rx_dropped.over_rate),
];

const GAUGES: &[Metric] = &[
    ("sessions", "Sessions that have logged in", |r| r.sessions),
    ("sessions_bound", "Sessions bound to an address", |r| r.bound),
    ("logins_waiting", "Logins whose passwords are being checked", |r| r.logins_waiting),
    ("resting_orders", "Orders resting in the books", |r| r.resting_orders),
    ("replies_waiting", "Replies that wait for the disk", |r| r.waiting),
    ("clock_ahead_nanoseconds", "How far timestamps are ahead of the machine's clock", |r| r.clock.ahead_ns),
    ("pause_longest_nanoseconds", "Longest time between two looks at the port, since the start", |r| {
        r.clock.pause_longest_ns
    }),
];

/// What happens beside the shards, over all of them: no labels.
static BESIDE: &[&Counter] = &[
    &doors::REFUSED,
    &doors::LATE,
    &doors::ACCEPT_FAILURES,
    &authorization::REFUSED,
    &audit::FAILURES,
    &audit::OMITTED,
    &old_requests::SENT,
    &old_requests::FETCHED,
    &request_server::LIMITED,
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
    let ports: Vec<&PortLabels> = admin.shards.iter().map(|shard| &shard.port).collect();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], exposition(&reports, &ports, &verdicts(&admin)))
}

/// None when there is no program, or when its counters cannot be read.
fn verdicts(admin: &Admin) -> Vec<(&'static str, u64)> {
    match admin.verdicts.as_ref().map(|read| read()) {
        Some(Ok(verdicts)) => verdicts,
        Some(Err(error)) => {
            tracing::warn!("the XDP program's counters: {error:#}");
            Vec::new()
        }
        None => Vec::new(),
    }
}

/// `reports` and `ports` have an entry for each shard.
fn exposition(reports: &[Report], ports: &[&PortLabels], verdicts: &[(&str, u64)]) -> String {
    let mut out = String::with_capacity(16_384);
    let mut family = |name: &str, kind: &str, help: &str, rows: Vec<(String, u64)>| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "# HELP pitlane_{name} {help}\n# TYPE pitlane_{name} {kind}");
        for (labels, value) in rows {
            let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
            let _ = writeln!(out, "pitlane_{name}{labels} {value}");
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
    for DeviceCounter { name, help } in DEVICE_COUNTERS {
        let of_shard =
            |(shard, report): (usize, &Report)| (format!("shard=\"{shard}\""), report.port.device.get(name));
        family(&format!("{name}_total"), "counter", help, reports.iter().enumerate().map(of_shard).collect());
    }
    for counter in BESIDE {
        let row = (String::new(), counter.get());
        family(&format!("{}_total", counter.name), "counter", counter.help, vec![row]);
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
    let verdicts =
        verdicts.iter().map(|(verdict, count)| (format!("verdict=\"{verdict}\""), *count)).collect();
    family("xdp_verdicts_total", "counter", "Packets by what the XDP program did with them", verdicts);
    let ports = ports.iter().enumerate().map(|(shard, labels)| (info(shard, labels), 1)).collect();
    family("port_info", "gauge", "How the shard's port was opened; always 1", ports);
    family(
        "uptime_seconds",
        "gauge",
        "Seconds since the shard started",
        by_shard(|r| r.uptime_ns / 1_000_000_000),
    );
    out
}

fn info(shard: usize, labels: &PortLabels) -> String {
    labels.iter().fold(format!("shard=\"{shard}\""), |mut text, (name, value)| {
        // An interface's name may hold either character.
        let value = value.replace('\\', "\\\\").replace('"', "\\\"");
        let _ = write!(text, ",{name}=\"{value}\"");
        text
    })
}

/// The same as one JSON object per shard, for programs that ask by name.
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
            for DeviceCounter { name, .. } in DEVICE_COUNTERS {
                values.insert((*name).to_owned(), report.port.device.get(name).into());
            }
            let refused: serde_json::Map<_, _> =
                REFUSED.iter().map(|(reason, read)| ((*reason).to_owned(), read(&report).into())).collect();
            values.insert("refused".to_owned(), refused.into());
            let port: serde_json::Map<_, _> =
                shard.port.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect();
            values.insert("port".to_owned(), port.into());
            let symbols = shard.symbols.get().into_iter().flatten();
            let symbols: Vec<_> =
                symbols.map(|symbol| String::from_utf8_lossy(symbol.trim_ascii_end()).into_owned()).collect();
            values.insert("symbols".to_owned(), symbols.into());
            values.insert("uptime_ns".to_owned(), report.uptime_ns.into());
            values.into()
        })
        .collect();
    let verdicts: serde_json::Map<_, _> =
        verdicts(&admin).into_iter().map(|(verdict, count)| (verdict.to_owned(), count.into())).collect();
    let beside: serde_json::Map<_, _> =
        BESIDE.iter().map(|counter| (counter.name.to_owned(), counter.get().into())).collect();
    let report = serde_json::json!({ "shards": shards, "beside": beside, "xdp_verdicts": verdicts });
    ([(header::CONTENT_TYPE, "application/json")], report.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_comment_or_a_labelled_sample() {
        let mut report = Report::default();
        report.ingress.unknown_token = 7;
        report.port.rx_dropped.queue_full = 3;
        let odd = vec![("port", "xdp".to_owned()), ("interface", "a\"b\\c".to_owned())];
        let plain = vec![("port", "udp".to_owned())];
        let text = exposition(&[report, Report::default()], &[&odd, &plain], &[("dropped_short", 5)]);
        for line in [
            r#"pitlane_refused_total{shard="0",reason="unknown_token"} 7"#,
            r#"pitlane_refused_total{shard="1",reason="unknown_token"} 0"#,
            r#"pitlane_refused_total{shard="0",reason="port_queue_full"} 3"#,
            r#"pitlane_xdp_verdicts_total{verdict="dropped_short"} 5"#,
            r#"pitlane_port_info{shard="0",port="xdp",interface="a\"b\\c"} 1"#,
            r#"pitlane_port_info{shard="1",port="udp"} 1"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
        }
        for line in text.lines() {
            let sample = line.starts_with("pitlane_")
                && (line.contains("{shard=") || line.contains("{verdict=") || !line.contains('{'))
                && line.rsplit(' ').next().is_some_and(|value| value.parse::<u64>().is_ok());
            assert!(line.starts_with("# ") || sample, "{line}");
        }
    }
}
