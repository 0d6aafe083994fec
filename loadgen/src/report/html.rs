//! One or several reports as a self-contained HTML page: tables, and plots as inline SVG. No script, nothing is loaded.

use std::error::Error;
use std::fmt::Write;

use plotters::prelude::*;

use super::Report;
use super::table::{duration, grouped};

const PLOT_SIZE: (u32, u32) = (900, 360);
const COLORS: [RGBColor; 6] = [
    RGBColor(31, 119, 180),
    RGBColor(214, 39, 40),
    RGBColor(44, 160, 44),
    RGBColor(148, 103, 189),
    RGBColor(255, 127, 14),
    RGBColor(23, 190, 207),
];
/// Bars of single clients that still can be told apart.
const CLIENT_BARS_MAX: usize = 200;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:980px;padding:0 1rem;color:#222}\
table{border-collapse:collapse;margin:1rem 0;width:100%}th,td{padding:.3rem .6rem;border-bottom:1px solid #ddd;text-align:right}\
th:first-child,td:first-child{text-align:left}th{background:#f4f4f4}svg{max-width:100%;height:auto}\
.warn{background:#fff6e0;border-left:4px solid #e0a000;padding:.4rem .8rem;margin:.4rem 0}.small{color:#666;font-size:13px}";

/// The page. Fails only if a plot cannot be drawn.
pub fn render(reports: &[Report]) -> Result<String, Box<dyn Error>> {
    let mut page = String::from("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">");
    write!(
        page,
        "<title>Pitlane load test</title><style>{STYLE}</style></head><body><h1>Pitlane load test</h1>"
    )?;
    summary(&mut page, reports)?;
    for report in reports {
        for warning in &report.warnings {
            write!(page, "<div class=\"warn\"><b>{}</b>: {}</div>", escape(&report.label), escape(warning))?;
        }
    }
    section(&mut page, "Latency by percentile", &latency_plot(reports)?)?;
    section(&mut page, "Orders per second over time", &timeline_plot(reports)?)?;
    for report in reports.iter().filter(|report| report.per_client.len() > 1) {
        let title = format!("Orders per second of each client: {}", escape(&report.label));
        section(&mut page, &title, &client_plot(report)?)?;
    }
    for report in reports {
        details(&mut page, report)?;
    }
    page += "</body></html>\n";
    Ok(page)
}

fn section(page: &mut String, title: &str, svg: &str) -> std::fmt::Result {
    write!(page, "<h2>{title}</h2>{svg}")
}

pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn summary(page: &mut String, reports: &[Report]) -> std::fmt::Result {
    page.push_str(
        "<table><tr><th>run</th><th>port</th><th>clients</th><th>orders</th><th>lost</th><th>duplicated</th><th>success</th>\
         <th>orders/s</th><th>per client</th><th>mean</th><th>median</th><th>std dev</th><th>p90</th><th>p99</th><th>p99.9</th>\
         <th>p99.99</th><th>max</th></tr>",
    );
    for report in reports {
        let range = report.per_client_range;
        let latency = &report.latency_ns;
        let cells = [
            escape(&report.label),
            escape(&report.port),
            report.clients.to_string(),
            grouped(report.orders as f64),
            grouped(report.lost as f64),
            grouped(report.duplicated as f64),
            format!("{:.3}%", 100.0 * report.success_rate),
            grouped(report.orders_per_second),
            format!("{} - {}", grouped(range.min), grouped(range.max)),
            duration(latency.mean),
            duration(latency.median as f64),
            duration(latency.stdev),
            duration(latency.p90 as f64),
            duration(latency.p99 as f64),
            duration(latency.p99_9 as f64),
            duration(latency.p99_99 as f64),
            duration(latency.max as f64),
        ];
        write!(page, "<tr><td>{}</td></tr>", cells.join("</td><td>"))?;
    }
    page.push_str("</table>");
    if let Some(report) = reports.first() {
        let baseline = &report.baseline;
        write!(page, "<p class=\"small\">Baseline: {}. Against it: ", escape(&baseline.what))?;
        let ratios: Vec<String> = reports
            .iter()
            .map(|report| {
                format!(
                    "{} {:.1}x the orders/s, {:.5}x the mean latency",
                    escape(&report.label),
                    report.baseline.orders_per_second_ratio,
                    report.baseline.mean_latency_ratio
                )
            })
            .collect();
        write!(page, "{}.</p>", ratios.join("; "))?;
    }
    Ok(())
}

fn details(page: &mut String, report: &Report) -> std::fmt::Result {
    write!(
        page,
        "<h2>Run {}</h2><p>{}, {}. ",
        escape(&report.label),
        escape(&report.tool),
        escape(&report.pace)
    )?;
    write!(
        page,
        "{} threads, {} shards, {:.1} s measured after {:.1} s of warm-up, seed {}. Host: {}.</p><table>",
        report.threads,
        report.shards,
        report.duration_seconds,
        report.warmup_seconds,
        report.mix.seed,
        escape(&report.host.describe())
    )?;
    let (transport, stalls) = (&report.transport, &report.generator.stalls);
    let mut rows: Vec<(String, String)> = vec![
        ("Executions".into(), grouped(report.executions as f64)),
        ("Rejected".into(), grouped(report.rejected as f64)),
        ("Messages per datagram".into(), format!("{:.1}", transport.messages_per_datagram)),
        ("Messages retransmitted".into(), grouped(transport.retransmitted_messages as f64)),
        (
            "Gap requests sent / received".into(),
            format!("{} / {}", transport.gap_requests_sent, transport.gap_requests_received),
        ),
        ("Duplicate datagrams suppressed".into(), grouped(transport.duplicate_datagrams as f64)),
        ("Receive drops".into(), grouped(transport.receive_drops as f64)),
        ("Generator's longest pause".into(), duration(stalls.gap_ns_max as f64)),
        ("Orders that left late".into(), grouped(stalls.late_orders as f64)),
        ("Unanswered because executed first".into(), grouped(report.answered_by_execution as f64)),
    ];
    rows.extend(report.requests.iter().map(|request| {
        (format!("Requests: {}", escape(&request.kind)), format!("{} sent", grouped(request.sent as f64)))
    }));
    rows.extend(report.rejects.iter().map(|reject| {
        (format!("Rejected: {} ({:#06x})", escape(&reject.reason), reject.code), grouped(reject.count as f64))
    }));
    for (what, value) in rows {
        write!(page, "<tr><td>{what}</td><td>{value}</td></tr>")?;
    }
    page.push_str("</table>");
    Ok(())
}

/// Percentiles on an axis that gives each nine the same room.
fn latency_plot(reports: &[Report]) -> Result<String, Box<dyn Error>> {
    let nines = |percentile: f64| -(1.0 - (percentile / 100.0).min(1.0 - 1e-9)).log10();
    let points: Vec<Vec<(f64, f64)>> = reports
        .iter()
        .map(|report| {
            let inside = report.percentiles.iter().filter(|(percentile, _)| *percentile < 100.0);
            inside
                .map(|&(percentile, value)| (nines(percentile), (value as f64 / 1000.0).max(0.001)))
                .collect()
        })
        .collect();
    let x_max = points.iter().flatten().map(|point| point.0).fold(1.0, f64::max);
    let low = points.iter().flatten().map(|point| point.1).fold(f64::INFINITY, f64::min);
    let low = if low.is_finite() { low * 0.8 } else { 1.0 };
    let high = points.iter().flatten().map(|point| point.1).fold(low * 10.0, f64::max) * 1.25;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, PLOT_SIZE).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin(10)
            .x_label_area_size(40)
            .y_label_area_size(80)
            .build_cartesian_2d(0f64..x_max, (low..high).log_scale())?;
        chart
            .configure_mesh()
            .x_desc("percentile")
            .y_desc("latency, microseconds")
            .x_labels(x_max.ceil() as usize + 1)
            .x_label_formatter(&|x| percentile_label(*x))
            .y_label_formatter(&|y| format!("{y:.1}"))
            .draw()?;
        for (index, (report, series)) in reports.iter().zip(points).enumerate() {
            let color = COLORS[index % COLORS.len()];
            chart
                .draw_series(LineSeries::new(series, color.stroke_width(2)))?
                .label(report.label.as_str())
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .border_style(BLACK)
            .draw()?;
        area.present()?;
    }
    Ok(svg)
}

fn percentile_label(nines: f64) -> String {
    if nines.fract().abs() > 0.01 {
        return String::new();
    }
    let percent = 100.0 * (1.0 - 10f64.powf(-nines));
    format!("{percent:.*}%", (nines.round() as usize).saturating_sub(2))
}

fn timeline_plot(reports: &[Report]) -> Result<String, Box<dyn Error>> {
    let all = || reports.iter().flat_map(|report| &report.timeline);
    let x_max = all().map(|point| point.seconds).fold(1.0, f64::max);
    let y_max = all().map(|point| point.orders_per_second).fold(1.0, f64::max) * 1.1;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, PLOT_SIZE).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin(10)
            .x_label_area_size(40)
            .y_label_area_size(80)
            .build_cartesian_2d(0f64..x_max, 0f64..y_max)?;
        chart
            .configure_mesh()
            .x_desc("seconds")
            .y_desc("answered orders/s")
            .y_label_formatter(&|y| grouped(*y))
            .draw()?;
        for (index, report) in reports.iter().enumerate() {
            let series = report.timeline.iter().map(|point| (point.seconds, point.orders_per_second));
            chart.draw_series(LineSeries::new(series, COLORS[index % COLORS.len()].stroke_width(2)))?;
        }
        area.present()?;
    }
    Ok(svg)
}

fn client_plot(report: &Report) -> Result<String, Box<dyn Error>> {
    let shown = report.per_client.len().min(CLIENT_BARS_MAX);
    let y_max = report.per_client.iter().copied().fold(1.0, f64::max) * 1.1;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (PLOT_SIZE.0, 240)).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin(10)
            .x_label_area_size(40)
            .y_label_area_size(80)
            .build_cartesian_2d(0f64..shown as f64, 0f64..y_max)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_desc(if shown < report.per_client.len() { "client (the first 200)" } else { "client" })
            .x_label_formatter(&|x| format!("{:.0}", x + 1.0))
            .y_label_formatter(&|y| grouped(*y))
            .draw()?;
        chart.draw_series(report.per_client.iter().take(shown).enumerate().map(|(index, &rate)| {
            let left = index as f64;
            Rectangle::new([(left + 0.1, 0.0), (left + 0.9, rate)], COLORS[0].filled())
        }))?;
        area.present()?;
    }
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::TimelinePoint;

    #[test]
    fn the_page_holds_every_run_and_loads_nothing() {
        let report = |label: &str, scale: u64| Report {
            label: label.into(),
            per_client: vec![100.0, 120.0],
            percentiles: vec![
                (0.0, 1000 * scale),
                (90.0, 2000 * scale),
                (99.9, 9000 * scale),
                (100.0, 10_000 * scale),
            ],
            timeline: vec![
                TimelinePoint { seconds: 1.0, orders_per_second: 10.0 },
                TimelinePoint { seconds: 2.0, orders_per_second: 12.0 },
            ],
            warnings: vec!["a <b> & c".into()],
            ..Default::default()
        };
        let page = render(&[report("udp", 2), report("xdp & more", 1)]).unwrap();
        assert_eq!(page.matches("<svg").count(), 4);
        assert!(page.contains("xdp &amp; more") && page.contains("a &lt;b&gt; &amp; c"));
        for loading in ["src=", "<script", "@import", "url("] {
            assert!(!page.contains(loading), "{loading}");
        }
        assert!(page.contains("99.9%"));
    }

    #[test]
    fn an_empty_report_is_still_a_page() {
        assert!(render(&[Report::default()]).unwrap().ends_with("</html>\n"));
        assert!(render(&[]).unwrap().ends_with("</html>\n"));
    }
}
