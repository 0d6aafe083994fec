//! What a replay found, as tables and as JSON: what the file held, what was compared, and whether anything is unexplained.

use std::collections::BTreeMap;

use comfy_table::Cell;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::drive::Driven;
use super::flow::{FlowCounts, Tally};
use super::verify::Compared;
use crate::ports::PortName;
use crate::report::table::{grouped, right, table};
use crate::report::{HostFacts, SCHEMA_VERSION};
use crate::verdict::{Cause, Reason, Verdict};

/// What `--json` holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ReplayReport {
    pub schema_version: u32,
    /// `replay`.
    pub kind: String,
    pub verdict: Verdict,
    pub label: String,
    pub started_at: u64,
    pub file: String,
    pub port: String,
    pub port_mode: String,
    pub target: String,
    pub events: u64,
    pub requests: u64,
    pub elapsed_seconds: f64,
    pub events_per_second: f64,
    pub requests_per_second: f64,
    pub session_switches: u64,
    pub retransmitted_messages: u64,
    /// Everything the engine said, or did not say, that the file does not imply.
    pub unexplained_differences: u64,
    /// The first of them.
    pub differences: Vec<String>,
    /// Both sides of a trade reported, with one match number.
    pub trades_paired: u64,
    /// Answers that were not expected any more, because the order they would be about had been refused.
    pub answers_of_refused_orders: u64,
    pub file_counts: FlowCounts,
    pub compared: BTreeMap<String, Compared>,
    pub interrupted: bool,
    pub host: HostFacts,
}

impl ReplayReport {
    pub fn new(driven: &Driven, file: String, port: PortName, target: String, interrupted: bool) -> Self {
        let seconds = driven.elapsed_ns as f64 / 1e9;
        let per_second = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        let mut report = ReplayReport {
            schema_version: SCHEMA_VERSION,
            kind: "replay".into(),
            verdict: Verdict::default(),
            label: String::new(),
            started_at: 0,
            file,
            port: port.kind.into(),
            port_mode: port.mode,
            target,
            events: driven.flow.counts.events,
            requests: driven.requests,
            elapsed_seconds: seconds,
            events_per_second: per_second(driven.flow.counts.events),
            requests_per_second: per_second(driven.requests),
            session_switches: driven.switches,
            retransmitted_messages: driven.retransmitted_messages,
            unexplained_differences: driven.verifier.difference_count(),
            differences: driven.verifier.differences().iter().map(ToString::to_string).collect(),
            trades_paired: driven.verifier.trades_paired(),
            answers_of_refused_orders: driven.verifier.follow_ups(),
            file_counts: driven.flow.counts,
            compared: (driven.verifier.compared().iter())
                .map(|(purpose, compared)| ((*purpose).to_owned(), *compared))
                .collect(),
            interrupted,
            host: HostFacts::collect(),
        };
        report.verdict = Verdict::of(report.reasons());
        report
    }

    fn reasons(&self) -> Vec<Reason> {
        let mut reasons = Vec::new();
        let mut say = |cause, text: String| reasons.push(Reason { cause, text });
        if self.interrupted {
            say(Cause::Incomplete, "it was interrupted before the end of the file".into());
        }
        if self.events == 0 {
            say(Cause::Incomplete, "the file has no event".into());
        }
        if self.unexplained_differences > 0 {
            let count = grouped(self.unexplained_differences as f64);
            say(Cause::Delivery, format!("{count} answers are not what the file implies"));
        }
        reasons
    }

    /// The report as text.
    pub fn render(&self) -> String {
        let mut text = format!(
            "\n{}: {} events as {} requests in {:.2} s: {} events/s, {} requests/s over {} ({} changes of session, each after \
             all answers)\n",
            self.file,
            grouped(self.events as f64),
            grouped(self.requests as f64),
            self.elapsed_seconds,
            grouped(self.events_per_second),
            grouped(self.requests_per_second),
            self.port,
            grouped(self.session_switches as f64)
        );
        text += &self.verdict.describe();
        text += &format!("{}\n{}\n", self.file_table(), self.comparison_table());
        for difference in &self.differences {
            text += &format!("difference: {difference}\n");
        }
        let hidden = self.unexplained_differences - self.differences.len() as u64;
        if hidden > 0 {
            text += &format!("... and {hidden} more\n");
        }
        if self.answers_of_refused_orders > 0 {
            text += &format!(
                "note: {} answers were not waited for, because the engine had refused the orders they would be about\n",
                grouped(self.answers_of_refused_orders as f64)
            );
        }
        if self.differences.iter().any(|difference| difference.contains("Invalid Symbol")) {
            text += "note: the engine does not know every instrument of the file: add it to its configuration, or replay --only some\n";
        }
        if self.interrupted {
            text += "note: interrupted before the end of the file\n";
        }
        text += &match self.unexplained_differences {
            0 => format!(
                "zero unexplained differences: {} trades, {} orders left resting\n",
                grouped(self.trades_paired as f64),
                grouped(self.file_counts.resting_at_end.count as f64)
            ),
            count => format!("{count} unexplained differences\n"),
        };
        text
    }

    fn file_table(&self) -> comfy_table::Table {
        let counts = &self.file_counts;
        let only = |count| Tally { count, shares: 0 };
        let rows = [
            ("submissions", counts.submissions, "entered by session 1"),
            ("partial cancels", counts.partial_cancels, "Cancel to the new total"),
            ("deletes", counts.deletes, "Cancel to zero"),
            ("replaces", counts.replaces, "Replace"),
            ("executions of visible orders", counts.executions, "immediate-or-cancel orders of session 2"),
            (
                "  whose maker is shown later than it came",
                counts.shown_late,
                "the others re-queued by Replace, then executed",
            ),
            (
                "  whose maker is out of turn, cause unknown",
                counts.out_of_turn,
                "the others re-queued by Replace, then executed",
            ),
            ("  behind a better price", counts.applied_as_cancel, "applied as a cancel of session 1"),
            ("  printed at another price", counts.other_price, "executed at the price the order rests at"),
            (
                "hidden executions",
                counts.hidden_executions,
                "against orders no message shows: nothing to send",
            ),
            ("crosses", counts.crosses, "auction prints: nothing to send"),
            ("trading halts and states", only(counts.halts), "nothing to send"),
            ("broken trades", only(counts.broken_trades), "nothing to send"),
            ("other information", only(counts.information), "nothing to send"),
            (
                "partial cancels of orders never submitted",
                counts.unknown_partial_cancels,
                "resting before the file starts: left out",
            ),
            (
                "deletes of orders never submitted",
                counts.unknown_deletes,
                "resting before the file starts: left out",
            ),
            (
                "executions of orders never submitted",
                counts.unknown_executions,
                "resting before the file starts: left out",
            ),
            (
                "replaces of orders never submitted",
                counts.unknown_replaces,
                "resting before the file starts: left out",
            ),
            (
                "orders crossed by a later submission",
                counts.retired,
                "left the market unseen: cancelled first",
            ),
            ("rows about those", only(counts.after_retirement), "left out"),
            (
                "rows that contradict the file itself",
                only(counts.contradictions),
                "taken as far as they make sense",
            ),
            ("beyond OUCH's quantities or prices", only(counts.not_representable), "left out"),
            ("other instruments", only(counts.filtered), "filtered out"),
        ];
        let mut file = table();
        file.set_header(["in the file", "rows", "shares", "what became of it"]);
        for (what, tally, became) in rows {
            if tally.count > 0 {
                let shares = if tally.shares > 0 { grouped(tally.shares as f64) } else { String::new() };
                file.add_row([
                    Cell::new(what),
                    right(grouped(tally.count as f64)),
                    right(shares),
                    Cell::new(became),
                ]);
            }
        }
        let resting = counts.resting_at_end;
        file.add_row([
            Cell::new("left resting at the end"),
            right(grouped(resting.count as f64)),
            right(grouped(resting.shares as f64)),
            Cell::new("cancelled, to compare what was left of each"),
        ]);
        file
    }

    fn comparison_table(&self) -> comfy_table::Table {
        let mut comparison = table();
        comparison.set_header(["compared", "requests", "answers", "equal", "different"]);
        let mut total = Compared::default();
        for (purpose, compared) in &self.compared {
            comparison.add_row(comparison_row(purpose, compared));
            total.requests += compared.requests;
            total.answers += compared.answers;
            total.equal += compared.equal;
        }
        comparison.add_row(comparison_row("all", &total));
        comparison
    }
}

fn comparison_row(what: &str, compared: &Compared) -> Vec<Cell> {
    vec![
        Cell::new(what),
        right(grouped(compared.requests as f64)),
        right(grouped(compared.answers as f64)),
        right(grouped(compared.equal as f64)),
        right(grouped((compared.answers - compared.equal) as f64)),
    ]
}
