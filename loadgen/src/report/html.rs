//! Reports as one self-contained page: verdict, charts, environment, and every figure of the JSON. No script, and nothing is loaded.

use std::fmt::{self, Write};

use serde::Serialize;
use serde_json::Value;

use super::chart::{Axis, Line, bars, escape, lines};
use super::series::SeriesReport;
use super::table::{duration, grouped, rejected};
use super::{HostFacts, Report};
use crate::verdict::Verdict;

/// Bars of single clients that still can be told apart.
const CLIENT_BARS_MAX: usize = 200;

const STYLE: &str = include_str!("page.css");

/// What is shown.
#[derive(Default)]
pub struct Page {
    pub runs: Vec<Report>,
    pub series: Vec<SeriesReport>,
    /// Reports of other kinds, as they are printed, with their verdicts.
    pub texts: Vec<(Verdict, String)>,
}

/// The page.
pub fn render(page: &Page) -> Result<String, fmt::Error> {
    let mut out = String::from(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><link rel=\"icon\" href=\"data:,\"><title>Pitlane load test</title><style>",
    );
    out += STYLE;
    out += "</style></head><body><h1>Pitlane load test</h1>";
    for run in &page.runs {
        verdict(&mut out, &run.label, &run.verdict)?;
    }
    for series in &page.series {
        verdict(&mut out, &format!("{} {}", series.kind, series.label), &series.verdict)?;
    }
    for (judged, _) in &page.texts {
        verdict(&mut out, "", judged)?;
    }
    if !page.runs.is_empty() {
        summary(&mut out, &page.runs)?;
        out += "<div class=\"charts\">";
        out += &by_percentile(&page.runs);
        out += &over_time(&page.runs, "Latency over time", |point| point.p99_ns as f64 / 1e3);
        out += &rate_over_time(&page.runs);
        for run in page.runs.iter().filter(|run| run.per_client.len() > 1) {
            out += &per_client(run);
        }
        out += "</div>";
    }
    for series in &page.series {
        series_section(&mut out, series)?;
    }
    for run in &page.runs {
        details(&mut out, run)?;
    }
    for (_, text) in &page.texts {
        write!(out, "<pre>{}</pre>", escape(text))?;
    }
    for run in &page.runs {
        environment(&mut out, &run.label, &run.port, &run.port_mode, &run.host)?;
        every_figure(&mut out, &run.label, run)?;
    }
    for series in &page.series {
        environment(&mut out, &series.kind, &series.port, &series.port_mode, &series.host)?;
        every_figure(&mut out, &series.kind, series)?;
    }
    out += "</body></html>\n";
    Ok(out)
}

fn verdict(out: &mut String, label: &str, verdict: &Verdict) -> fmt::Result {
    let (class, word) = if verdict.valid { ("ok", "VALID") } else { ("bad", "INVALID") };
    write!(out, "<section class=\"verdict {class}\"><b>{word}</b> {}<ul>", escape(label))?;
    for reason in &verdict.reasons {
        write!(out, "<li>{}</li>", escape(&reason.text))?;
    }
    for checked in &verdict.requirements {
        let word = if checked.met { "met" } else { "MISSED" };
        write!(out, "<li>required {}: <b>{word}</b> ({})</li>", escape(&checked.requirement), checked.value)?;
    }
    out.push_str("</ul></section>");
    Ok(())
}

fn table(out: &mut String, header: &[&str], rows: &[Vec<String>]) -> fmt::Result {
    write!(out, "<div class=\"wide\"><table><tr><th>{}</th></tr>", header.join("</th><th>"))?;
    for row in rows {
        let cells: Vec<String> = row.iter().map(|cell| escape(cell)).collect();
        write!(out, "<tr><td>{}</td></tr>", cells.join("</td><td>"))?;
    }
    out.push_str("</table></div>");
    Ok(())
}

fn summary(out: &mut String, runs: &[Report]) -> fmt::Result {
    let mut rows = Vec::new();
    let mut times = Vec::new();
    for run in runs {
        rows.push(vec![
            run.label.clone(),
            run.port.clone(),
            run.clients.to_string(),
            grouped(run.orders_per_second),
            grouped(run.orders as f64),
            grouped(run.lost as f64),
            grouped(run.duplicated as f64),
            rejected(run),
            format!("{:.3}%", 100.0 * run.success_rate),
            format!("{:.3}", run.client_spread()),
        ]);
        for (name, span) in
            [("response", &run.latency_ns), ("service", &run.service_ns), ("lag", &run.lag_ns)]
        {
            let mut row = vec![format!("{}: {name}", run.label), duration(span.mean)];
            let shown = [span.median, span.p90, span.p99, span.p99_9, span.p99_99, span.max];
            row.extend(shown.map(|value| duration(value as f64)));
            times.push(row);
        }
    }
    table(
        out,
        &[
            "run",
            "port",
            "clients",
            "orders/s",
            "orders",
            "lost",
            "duplicated",
            "rejected",
            "success",
            "client spread",
        ],
        &rows,
    )?;
    table(out, &["time", "mean", "median", "p90", "p99", "p99.9", "p99.99", "max"], &times)?;
    let Some(first) = runs.first() else { return Ok(()) };
    write!(out, "<p class=\"small\">Baseline: {}. Against it:", escape(&first.baseline.what))?;
    for run in runs {
        write!(
            out,
            " {} {:.1}x the orders/s, {:.5}x the mean latency.",
            escape(&run.label),
            run.baseline.orders_per_second_ratio,
            run.baseline.mean_latency_ratio
        )?;
    }
    out.push_str("</p>");
    Ok(())
}

fn details(out: &mut String, run: &Report) -> fmt::Result {
    write!(out, "<h2>{}</h2><p>{}, {}. ", escape(&run.label), escape(&run.tool), escape(&run.pace))?;
    write!(
        out,
        "{} threads, {} shards, {:.1} s measured after {:.1} s of warm-up, seed {}.</p>",
        run.threads, run.shards, run.duration_seconds, run.warmup_seconds, run.mix.seed
    )?;
    for warning in &run.warnings {
        write!(out, "<p class=\"warn\">{}</p>", escape(warning))?;
    }
    Ok(())
}

fn microseconds(value: f64) -> String {
    duration(value * 1e3)
}

/// Percentiles on an axis that gives each nine the same room.
fn by_percentile(runs: &[Report]) -> String {
    let nines = |percentile: f64| -(1.0 - (percentile / 100.0).min(1.0 - 1e-9)).log10();
    let all: Vec<Line> = (runs.iter())
        .map(|run| {
            let inside = run.percentiles.iter().filter(|(percentile, _)| *percentile < 100.0);
            let point = |&(percentile, value): &(f64, u64)| {
                let said = format!("p{percentile:.4} {}", duration(value as f64));
                (nines(percentile), value as f64 / 1e3, said)
            };
            Line { name: run.label.clone(), points: inside.map(point).collect() }
        })
        .collect();
    let points = || all.iter().flat_map(|line| &line.points);
    let count = points().map(|point| point.0).fold(1.0, f64::max).ceil() as u32;
    let mark = |nine: u32| (f64::from(nine), format!("{}%", 100.0 * (1.0 - 0.1f64.powi(nine as i32))));
    let x = Axis::marked("percentile", (0..=count).map(mark).collect());
    let low = points().map(|point| point.1).fold(f64::INFINITY, f64::min);
    let high = points().map(|point| point.1).fold(0.0, f64::max);
    lines("Latency by percentile", &x, &Axis::log("response", low, high, microseconds), &all)
}

fn seconds_axis(runs: &[Report]) -> Axis {
    let last = runs.iter().flat_map(|run| &run.timeline).map(|point| point.seconds).fold(0.0, f64::max);
    Axis::linear("seconds", last, |at| {
        format!("{at:.3}").trim_end_matches('0').trim_end_matches('.').to_owned()
    })
}

fn over_time(runs: &[Report], title: &str, high: fn(&super::TimelinePoint) -> f64) -> String {
    let mut all = Vec::new();
    for run in runs {
        let line = |name: &str, value: fn(&super::TimelinePoint) -> f64| Line {
            name: format!("{} {name}", run.label),
            points: (run.timeline.iter())
                .map(|point| {
                    (
                        point.seconds,
                        value(point),
                        format!("{:.2} s {}", point.seconds, microseconds(value(point))),
                    )
                })
                .collect(),
        };
        all.push(line("median", |point| point.median_ns as f64 / 1e3));
        all.push(line("p99", high));
    }
    let values =
        || all.iter().flat_map(|line| &line.points).map(|point| point.1).filter(|value| *value > 0.0);
    let y = Axis::log(
        "median and p99 of the response",
        values().fold(f64::INFINITY, f64::min),
        values().fold(0.0, f64::max),
        microseconds,
    );
    lines(title, &seconds_axis(runs), &y, &all)
}

fn rate_over_time(runs: &[Report]) -> String {
    let all: Vec<Line> = (runs.iter())
        .map(|run| Line {
            name: run.label.clone(),
            points: (run.timeline.iter())
                .map(|point| {
                    let rate = point.orders_per_second;
                    (point.seconds, rate, format!("{:.2} s {} orders/s", point.seconds, grouped(rate)))
                })
                .collect(),
        })
        .collect();
    let high = all.iter().flat_map(|line| &line.points).map(|point| point.1).fold(0.0, f64::max);
    lines("Rate over time", &seconds_axis(runs), &Axis::linear("answered orders/s", high, grouped), &all)
}

fn per_client(run: &Report) -> String {
    let high = run.per_client.iter().copied().fold(0.0, f64::max);
    let shown: Vec<(f64, String)> = (run.per_client_latency.iter().take(CLIENT_BARS_MAX))
        .map(|client| {
            let rate = client.orders_per_second;
            let said = format!(
                "{}: {} orders/s, median {}",
                client.user,
                grouped(rate),
                duration(client.latency_ns.median as f64)
            );
            (rate, said)
        })
        .collect();
    let label = if shown.len() < run.per_client.len() { "client (the first 200)" } else { "client" };
    let title = format!("Orders per second of each client: {}", run.label);
    bars(&title, label, &Axis::linear("orders/s", high, grouped), &shown)
}

fn series_section(out: &mut String, series: &SeriesReport) -> fmt::Result {
    write!(
        out,
        "<h2>{} {}</h2><p>{}</p>",
        escape(&series.kind),
        escape(&series.label),
        escape(&series.summary)
    )?;
    let rows: Vec<Vec<String>> = (series.points.iter())
        .map(|point| {
            let latency = &point.latency_ns;
            let mut row = vec![point.name.clone(), grouped(point.orders_per_second)];
            let shown =
                [latency.median, latency.p90, latency.p99, latency.p99_9, latency.p99_99, latency.max];
            row.extend(shown.map(|value| duration(value as f64)));
            row.push(format!("{:.3}", point.client_spread));
            row.push(point.efficiency.map_or_else(String::new, |share| format!("{:.1}%", 100.0 * share)));
            row.push(point.invalid.clone().unwrap_or_default());
            row
        })
        .collect();
    table(
        out,
        &[
            "",
            "orders/s",
            "median",
            "p90",
            "p99",
            "p99.9",
            "p99.99",
            "max",
            "spread",
            "efficiency",
            "invalid",
        ],
        &rows,
    )?;
    out.push_str("<div class=\"charts\">");
    out.push_str(&series_chart(series));
    out.push_str("</div>");
    Ok(())
}

fn series_chart(series: &SeriesReport) -> String {
    if series.kind == "scale" {
        let points = series.points.iter().map(|point| {
            (
                f64::from(point.clients),
                point.orders_per_second,
                format!("{}: {} orders/s", point.name, grouped(point.orders_per_second)),
            )
        });
        let all = [Line { name: "orders/s".into(), points: points.collect() }];
        let high = |pick: fn(&(f64, f64, String)) -> f64| all[0].points.iter().map(pick).fold(1.0, f64::max);
        let x = Axis::log("clients", 1.0, high(|point| point.0), grouped);
        return lines(
            "Throughput over clients",
            &x,
            &Axis::linear("orders/s", high(|point| point.1), grouped),
            &all,
        );
    }
    let open = || series.points.iter().filter(|point| point.intended_orders_per_second.is_some());
    let line = |name: &str, value: fn(&super::Latency) -> u64| {
        let mut points: Vec<(f64, f64, String)> = open()
            .map(|point| {
                let value = value(&point.latency_ns) as f64;
                (
                    point.intended_orders_per_second.unwrap_or(0.0),
                    value / 1e3,
                    format!("{}: {}", point.name, duration(value)),
                )
            })
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Line { name: name.to_owned(), points }
    };
    let all = [
        line("median", |latency| latency.median),
        line("p90", |latency| latency.p90),
        line("p99", |latency| latency.p99),
        line("p99.9", |latency| latency.p99_9),
        line("p99.99", |latency| latency.p99_99),
    ];
    let values =
        || all.iter().flat_map(|line| &line.points).map(|point| point.1).filter(|value| *value > 0.0);
    let high = open().filter_map(|point| point.intended_orders_per_second).fold(0.0, f64::max);
    let y = Axis::log(
        "response",
        values().fold(f64::INFINITY, f64::min),
        values().fold(0.0, f64::max),
        microseconds,
    );
    lines("Latency over load", &Axis::linear("orders/s", high, grouped), &y, &all)
}

fn environment(out: &mut String, label: &str, port: &str, mode: &str, host: &HostFacts) -> fmt::Result {
    write!(out, "<h2>Environment: {}</h2>", escape(label))?;
    let mut rows = vec![vec!["port".to_owned(), format!("{port}, {mode}")]];
    rows.extend(host.facts().into_iter().map(|(what, value)| vec![what.to_owned(), value]));
    table(out, &["", ""], &rows)
}

/// The whole JSON, a line for each figure: nothing is only in a picture.
fn every_figure(out: &mut String, label: &str, report: &impl Serialize) -> fmt::Result {
    write!(out, "<details><summary>Every figure: {}</summary><dl>", escape(label))?;
    leaves(out, "", &serde_json::to_value(report).map_err(|_| fmt::Error)?)?;
    out.push_str("</dl></details>");
    Ok(())
}

fn leaves(out: &mut String, path: &str, value: &Value) -> fmt::Result {
    let inside = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Object(fields) => {
            fields.iter().try_for_each(|(name, field)| leaves(out, &inside(name), field))
        }
        Value::Array(items) => {
            let mut numbered = items.iter().enumerate();
            numbered.try_for_each(|(index, item)| leaves(out, &inside(&index.to_string()), item))
        }
        Value::Null => Ok(()),
        Value::String(text) => write!(out, "<dt>{}</dt><dd>{}</dd>", escape(path), escape(text)),
        other => write!(out, "<dt>{}</dt><dd>{other}</dd>", escape(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::TimelinePoint;
    use crate::report::series::SeriesPoint;
    use crate::verdict::{Cause, Reason};

    fn run(label: &str, scale: u64) -> Report {
        Report {
            label: label.into(),
            per_client: vec![100.0, 120.0],
            percentiles: vec![
                (0.0, 1000 * scale),
                (90.0, 2000 * scale),
                (99.9, 9000 * scale),
                (100.0, 10_000 * scale),
            ],
            timeline: vec![
                TimelinePoint { seconds: 1.0, orders_per_second: 10.0, median_ns: 5, ..Default::default() },
                TimelinePoint { seconds: 2.0, orders_per_second: 12.0, ..Default::default() },
            ],
            warnings: vec!["a <b> & c".into()],
            orders: 123_456_789,
            ..Default::default()
        }
    }

    #[test]
    fn the_page_holds_every_report_and_loads_nothing() {
        let mut invalid = run("udp", 2);
        invalid.verdict =
            Verdict::of(vec![Reason { cause: Cause::Delivery, text: "3 orders were lost".into() }]);
        let mut valid = run("xdp & more", 1);
        valid.verdict.valid = true;
        let point = |name: &str, rate| SeriesPoint {
            name: name.into(),
            clients: 3,
            intended_orders_per_second: Some(rate),
            orders_per_second: rate,
            ..Default::default()
        };
        let points = vec![point("10%", 10.0), point("50%", 50.0)];
        let curve = SeriesReport { kind: "curve".into(), points: points.clone(), ..Default::default() };
        let scale = SeriesReport { kind: "scale".into(), points, ..Default::default() };
        let texts = vec![(Verdict::default(), "echo <1>".into())];
        let page = render(&Page { runs: vec![invalid, valid], series: vec![curve, scale], texts }).unwrap();
        assert_eq!(page.matches("<svg").count(), 5 + 2);
        assert!(
            page.contains("xdp &amp; more")
                && page.contains("a &lt;b&gt; &amp; c")
                && page.contains("echo &lt;1&gt;")
        );
        for loading in ["src=", "<script", "@import", "url(", "http:", "https:"] {
            assert!(!page.contains(loading), "{loading}");
        }
        let (verdict, first_chart) = (page.find("3 orders were lost").unwrap(), page.find("<svg").unwrap());
        assert!(verdict < first_chart, "the verdict comes first");
        assert!(page.contains("99.9%") && page.contains("<dt>orders</dt><dd>123456789</dd>"));
    }

    #[test]
    fn an_empty_report_is_still_a_page() {
        assert!(
            render(&Page { runs: vec![Report::default()], ..Default::default() })
                .unwrap()
                .ends_with("</html>\n")
        );
        assert!(render(&Page::default()).unwrap().ends_with("</html>\n"));
    }
}
