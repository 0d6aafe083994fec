//! The result of several runs that belong together, a point for each: a search, a latency curve, a scaling series. It measures nothing.

use comfy_table::Cell;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::table::{duration, grouped, right, table};
use super::{HostFacts, Latency, Report};
use crate::verdict::{Cause, Verdict};

/// What `--json` of `search`, `curve` and `scale` holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SeriesReport {
    pub schema_version: u32,
    /// `search`, `curve` or `scale`.
    pub kind: String,
    pub verdict: Verdict,
    pub label: String,
    pub started_at: u64,
    pub port: String,
    pub port_mode: String,
    pub target: String,
    /// In words, what came out.
    pub summary: String,
    pub points: Vec<SeriesPoint>,
    /// Curve: orders per second of the saturated closed loop that its shares are of.
    pub saturation_orders_per_second: Option<f64>,
    /// Curve: median at 50% of saturation over the median with one order in flight.
    pub p50_at_half_ratio: Option<f64>,
    /// Search: the highest rate that kept the limit and was confirmed.
    pub found_orders_per_second: Option<f64>,
    /// Search: what kept a higher rate from passing: `engine`, `network`, `generator`, or `none` where the top of the range passed.
    pub limited_by: Option<String>,
    /// Scale: orders per second over the number of clients, as far as one shard.
    pub fit: Option<Fit>,
    pub host: HostFacts,
}

/// One point: the median of its trials that counted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SeriesPoint {
    /// What sets it apart: `50%`, `10 clients`.
    pub name: String,
    pub clients: u32,
    pub shards: u32,
    /// Open loop: orders per second that were intended.
    pub intended_orders_per_second: Option<f64>,
    pub orders_per_second: f64,
    pub latency_ns: Latency,
    pub service_ns: Latency,
    pub lag_ns: Latency,
    pub lost: u64,
    pub rejected: u64,
    pub client_spread: f64,
    /// Scale: orders per second over those of one client times the number of clients.
    pub efficiency: Option<f64>,
    /// Trials that counted.
    pub trials: u32,
    /// Trials that the generator itself had spoiled, which were repeated.
    pub repeated: u32,
    /// Every trial was spoiled, or the others were not valid: the figures are those of the last.
    pub invalid: Option<String>,
    /// Search: whether it kept the limit.
    pub passed: Option<bool>,
}

impl SeriesPoint {
    pub fn of(name: String, report: &Report) -> Self {
        SeriesPoint {
            name,
            clients: report.clients,
            shards: report.shards,
            intended_orders_per_second: report.intended_orders_per_second,
            orders_per_second: report.orders_per_second,
            latency_ns: report.latency_ns,
            service_ns: report.service_ns,
            lag_ns: report.lag_ns,
            lost: report.lost,
            rejected: report.rejected,
            client_spread: report.client_spread(),
            ..Default::default()
        }
    }
}

/// A straight line through the points by least squares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Fit {
    /// Orders per second that a further client adds.
    pub per_client: f64,
    pub intercept: f64,
    /// Share of the variance that the line explains, 0 to 1.
    pub r_squared: f64,
}

/// The line through `(x, y)`; none through fewer than two different x.
pub fn fit(points: &[(f64, f64)]) -> Option<Fit> {
    let count = points.len() as f64;
    let mean = |pick: fn(&(f64, f64)) -> f64| points.iter().map(pick).sum::<f64>() / count;
    let (mean_x, mean_y) = (mean(|point| point.0), mean(|point| point.1));
    let sum = |term: &dyn Fn(f64, f64) -> f64| {
        points.iter().map(|(x, y)| term(x - mean_x, y - mean_y)).sum::<f64>()
    };
    let (xx, xy, yy) = (sum(&|x, _| x * x), sum(&|x, y| x * y), sum(&|_, y| y * y));
    if points.len() < 2 || xx <= 0.0 {
        return None;
    }
    let per_client = xy / xx;
    let r_squared = if yy > 0.0 { xy * xy / (xx * yy) } else { 1.0 };
    Some(Fit { per_client, intercept: mean_y - per_client * mean_x, r_squared })
}

/// True if the generator itself spoiled a trial: it is repeated and never counted.
pub fn is_spoiled(verdict: &Verdict) -> bool {
    let own = |cause| matches!(cause, Cause::Generator | Cause::WarmUp);
    !verdict.valid && verdict.reasons.iter().all(|reason| own(reason.cause))
}

/// The report as text.
pub fn render(report: &SeriesReport) -> String {
    let mut rows = table();
    rows.set_header([
        "",
        "orders/s",
        "median",
        "p90",
        "p99",
        "p99.9",
        "p99.99",
        "max",
        "lost",
        "spread",
        "efficiency",
        "trials",
        "repeated",
        "",
    ]);
    for point in &report.points {
        let latency = &point.latency_ns;
        let note = match (&point.invalid, point.passed) {
            (Some(reason), _) => format!("INVALID: {reason}"),
            (None, Some(true)) => "within the limit".into(),
            (None, Some(false)) => "beyond the limit".into(),
            (None, None) => String::new(),
        };
        rows.add_row([
            Cell::new(&point.name),
            right(grouped(point.orders_per_second)),
            right(duration(latency.median as f64)),
            right(duration(latency.p90 as f64)),
            right(duration(latency.p99 as f64)),
            right(duration(latency.p99_9 as f64)),
            right(duration(latency.p99_99 as f64)),
            right(duration(latency.max as f64)),
            right(grouped(point.lost as f64)),
            right(format!("{:.3}", point.client_spread)),
            right(point.efficiency.map_or_else(String::new, |share| format!("{:.1}%", 100.0 * share))),
            right(point.trials),
            right(point.repeated),
            Cell::new(note),
        ]);
    }
    format!(
        "\n{} over {} at {}\n{}{rows}\n{}\n",
        report.kind,
        report.port,
        report.target,
        report.verdict.describe(),
        report.summary
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Reason;

    #[test]
    fn a_line_is_fitted_and_judged() {
        let straight = fit(&[(1.0, 12.0), (2.0, 22.0), (10.0, 102.0)]).unwrap();
        assert!((straight.per_client - 10.0).abs() < 1e-9 && (straight.intercept - 2.0).abs() < 1e-9);
        assert!((straight.r_squared - 1.0).abs() < 1e-9);
        let bent = fit(&[(1.0, 10.0), (2.0, 11.0), (10.0, 11.0)]).unwrap();
        assert!(bent.r_squared < 0.5, "{bent:?}");
        assert_eq!((fit(&[]), fit(&[(1.0, 1.0)]), fit(&[(2.0, 1.0), (2.0, 3.0)])), (None, None, None));
    }

    #[test]
    fn only_what_the_generator_did_spoils_a_trial() {
        let verdict = |causes: &[Cause]| {
            Verdict::of(causes.iter().map(|&cause| Reason { cause, text: String::new() }).collect())
        };
        assert!(!is_spoiled(&verdict(&[])));
        assert!(is_spoiled(&verdict(&[Cause::Generator])));
        assert!(is_spoiled(&verdict(&[Cause::Generator, Cause::WarmUp])));
        assert!(
            !is_spoiled(&verdict(&[Cause::Generator, Cause::Delivery])),
            "lost orders are the engine's, whatever else"
        );
        assert!(!is_spoiled(&verdict(&[Cause::Rate])));
    }
}
