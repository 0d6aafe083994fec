//! The report on a terminal. It changes no figure, only units.

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};

use super::{Latency, Report};

/// Clients listed one by one; of more, the slowest and fastest are shown.
const CLIENTS_LISTED_MAX: usize = 20;

/// `1234567.8` as `1,234,568`.
pub fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("-{text}") } else { text }
}

/// Nanoseconds in the unit that reads best.
pub fn duration(nanoseconds: f64) -> String {
    match nanoseconds {
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e6 => format!("{:.2} us", ns / 1e3),
        ns if ns < 1e9 => format!("{:.3} ms", ns / 1e6),
        ns => format!("{:.3} s", ns / 1e9),
    }
}

pub fn table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table
}

pub fn right(text: impl ToString) -> Cell {
    Cell::new(text.to_string()).set_alignment(CellAlignment::Right)
}

/// The whole report as text.
pub fn render(report: &Report) -> String {
    let mut text = format!(
        "\n{} clients on {} thread(s), port {} ({}), {} shard(s) at {}, {}\n",
        report.clients,
        report.threads,
        report.port,
        report.port_mode,
        report.shards,
        report.target,
        report.pace
    );
    text += &report.verdict.describe();
    text += &format!("{}\n{}\n", summary(report), latencies(report));
    text += &format!("{}\n", per_client(report));
    let lines = details(report);
    if !lines.is_empty() {
        text += &format!("{lines}\n");
    }
    for warning in &report.warnings {
        text += &format!("note: {warning}\n");
    }
    text
}

/// Several runs beside each other, as ratios to the first.
pub fn comparison(reports: &[Report]) -> String {
    let mut comparison = table();
    comparison.set_header([
        "run",
        "verdict",
        "orders/s",
        "lost",
        "rejected",
        "mean",
        "median",
        "p99",
        "p99.9",
        "max",
        "orders/s ratio",
        "median ratio",
    ]);
    let Some(first) = reports.first() else { return String::new() };
    let ratio =
        |part: f64, whole: f64| if whole > 0.0 { format!("{:.2}", part / whole) } else { String::new() };
    for report in reports {
        let latency = &report.latency_ns;
        comparison.add_row([
            Cell::new(&report.label),
            Cell::new(if report.verdict.valid { "VALID" } else { "INVALID" }),
            right(grouped(report.orders_per_second)),
            right(grouped(report.lost as f64)),
            right(grouped(report.rejected as f64)),
            right(duration(latency.mean)),
            right(duration(latency.median as f64)),
            right(duration(latency.p99 as f64)),
            right(duration(latency.p99_9 as f64)),
            right(duration(latency.max as f64)),
            right(ratio(report.orders_per_second, first.orders_per_second)),
            right(ratio(latency.median as f64, first.latency_ns.median as f64)),
        ]);
    }
    format!("{comparison}\nratios against the first run\n")
}

fn summary(report: &Report) -> Table {
    let mut summary = table();
    summary.set_header([
        "orders",
        "answered",
        "lost",
        "duplicated",
        "unknown",
        "rejected",
        "success",
        "orders/s",
    ]);
    summary.add_row([
        right(grouped(report.orders as f64)),
        right(grouped(report.answered as f64)),
        right(grouped(report.lost as f64)),
        right(grouped(report.duplicated as f64)),
        right(grouped(report.unknown_answers as f64)),
        right(grouped(report.rejected as f64)),
        right(format!("{:.4}%", 100.0 * report.success_rate)),
        right(grouped(report.orders_per_second)),
    ]);
    summary
}

fn latency_cells(latency: &Latency) -> Vec<Cell> {
    [
        latency.mean,
        latency.median as f64,
        latency.stdev,
        latency.p90 as f64,
        latency.p99 as f64,
        latency.p99_9 as f64,
        latency.p99_99 as f64,
        latency.max as f64,
    ]
    .into_iter()
    .map(|value| right(duration(value)))
    .collect()
}

fn latencies(report: &Report) -> Table {
    let mut latencies = table();
    latencies.set_header(["time", "mean", "median", "std dev", "p90", "p99", "p99.9", "p99.99", "max"]);
    let mut spans = vec![("response", "intended to answered", &report.latency_ns)];
    if report.window.is_none() {
        spans.push(("service", "sent to answered", &report.service_ns));
        spans.push(("lag", "intended to sent", &report.lag_ns));
    }
    for (name, what, span) in spans {
        let mut cells = vec![Cell::new(format!("{name}: {what}"))];
        cells.extend(latency_cells(span));
        latencies.add_row(cells);
    }
    latencies
}

fn per_client(report: &Report) -> Table {
    let mut clients = table();
    clients.set_header(["client", "orders/s", "orders", "lost", "mean", "median", "p99", "max"]);
    let mut order: Vec<usize> = (0..report.per_client_latency.len()).collect();
    let skipped = order.len().saturating_sub(CLIENTS_LISTED_MAX);
    if skipped > 0 {
        let rate = |index: &usize| report.per_client_latency[*index].orders_per_second;
        order.sort_by(|a, b| rate(a).total_cmp(&rate(b)));
        order.drain(CLIENTS_LISTED_MAX / 2..CLIENTS_LISTED_MAX / 2 + skipped);
    }
    for index in order {
        let client = &report.per_client_latency[index];
        clients.add_row([
            Cell::new(&client.user),
            right(grouped(client.orders_per_second)),
            right(grouped(client.orders as f64)),
            right(grouped(client.lost as f64)),
            right(duration(client.latency_ns.mean)),
            right(duration(client.latency_ns.median as f64)),
            right(duration(client.latency_ns.p99 as f64)),
            right(duration(client.latency_ns.max as f64)),
        ]);
    }
    let range = report.per_client_range;
    let label = if skipped > 0 { format!("range ({skipped} between not listed)") } else { "range".into() };
    clients.add_row([Cell::new(label), right(format!("{} - {}", grouped(range.min), grouped(range.max)))]);
    clients
}

fn details(report: &Report) -> String {
    let mut lines = Vec::new();
    let requests: Vec<String> = report
        .requests
        .iter()
        .map(|request| format!("{} {}", grouped(request.sent as f64), request.kind))
        .collect();
    lines.push(format!(
        "requests    {}; {} executions of {} shares; {} cancels and replaces overtaken by an execution",
        requests.join(", "),
        grouped(report.executions as f64),
        grouped(report.executed_quantity as f64),
        grouped(report.answered_by_execution as f64)
    ));
    lines.push(format!("rejected    {}", rejected(report)));
    let transport = &report.transport;
    lines.push(format!(
        "transport   {:.1} messages/datagram, {} retransmitted, {} gap requests, {} duplicates suppressed, {} receive drops",
        transport.messages_per_datagram,
        grouped(transport.retransmitted_messages as f64),
        grouped(transport.gap_requests_sent as f64),
        grouped(transport.duplicate_datagrams as f64),
        grouped(transport.receive_drops as f64)
    ));
    let stalls = &report.generator.stalls;
    lines.push(format!(
        "generator   longest pause {}, pauses above 100 us / 1 ms / 10 ms: {} / {} / {}; {} orders late, at most {}; trusted up to p{:.3}",
        duration(stalls.gap_ns_max as f64),
        stalls.gaps_above[0],
        stalls.gaps_above[1],
        stalls.gaps_above[2],
        grouped(stalls.late_orders as f64),
        duration(stalls.lateness_ns_max as f64),
        report.generator.trusted_percentile
    ));
    if let Some(intended) = report.intended_orders_per_second {
        lines.push(format!("intended    {} orders/s", grouped(intended)));
    }
    lines.push(format!(
        "baseline    {:.1}x the orders/s and {:.5}x the mean latency of the {}",
        report.baseline.orders_per_second_ratio, report.baseline.mean_latency_ratio, report.baseline.what
    ));
    lines.push(format!("host        {}", report.host.describe()));
    lines.push(format!("seed        {}", report.mix.seed));
    lines.join("\n")
}

/// How many, and why.
pub fn rejected(report: &Report) -> String {
    let reasons: Vec<String> = (report.rejects.iter())
        .map(|reject| format!("{} {} ({:#06x})", grouped(reject.count as f64), reject.reason, reject.code))
        .collect();
    let total = format!("{} ({:.3}%)", grouped(report.rejected as f64), 100.0 * report.rejected_share);
    if reasons.is_empty() { total } else { format!("{total}: {}", reasons.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_durations_read_well() {
        assert_eq!(grouped(1_234_567.8), "1,234,568");
        assert_eq!(
            (grouped(0.0).as_str(), grouped(999.0).as_str(), grouped(-1000.0).as_str()),
            ("0", "999", "-1,000")
        );
        assert_eq!(duration(950.0), "950 ns");
        assert_eq!(duration(3_910_000.0), "3.910 ms");
        assert_eq!(duration(4_700.0), "4.70 us");
        assert_eq!(duration(2e9), "2.000 s");
    }

    #[test]
    fn many_clients_are_shown_by_their_extremes() {
        let mut report = Report::default();
        for index in 0..100 {
            let user = format!("C{index:05}");
            let orders_per_second = f64::from(index);
            report.per_client_latency.push(super::super::ClientLatency {
                user,
                orders_per_second,
                ..Default::default()
            });
        }
        let text = render(&report);
        assert!(text.contains("C00000") && text.contains("C00099") && !text.contains("C00050"));
        assert!(text.contains("80 between not listed"));
    }
}
