//! Named results as text for people and JSON for tools. Measures nothing.

use std::fmt::Write as _;
use std::path::Path;

/// Whether a value keeps its budget.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Budget {
    AtLeast(f64),
    AtMost(f64),
    /// Reported for what it is.
    None,
}

impl Budget {
    fn kept_by(self, value: f64) -> Option<bool> {
        match self {
            Budget::AtLeast(limit) => Some(value >= limit),
            Budget::AtMost(limit) => Some(value <= limit),
            Budget::None => None,
        }
    }

    fn text(self) -> String {
        match self {
            Budget::AtLeast(limit) => format!(">= {limit}"),
            Budget::AtMost(limit) => format!("<= {limit}"),
            Budget::None => String::new(),
        }
    }
}

struct Row {
    name: String,
    value: f64,
    unit: &'static str,
    budget: Budget,
    rounds: Vec<f64>,
}

/// Results in the order they were made.
#[derive(Default)]
pub struct Report {
    rows: Vec<Row>,
}

pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    if sorted.is_empty() { 0.0 } else { sorted[sorted.len() / 2] }
}

impl Report {
    /// Adds the median of the rounds under a name and prints it.
    #[allow(clippy::print_stdout, reason = "this is the program's output")]
    pub fn add(&mut self, name: &str, unit: &'static str, budget: Budget, rounds: &[f64]) {
        let value = median(rounds);
        let verdict = match budget.kept_by(value) {
            Some(true) => format!("   [{} kept]", budget.text()),
            Some(false) => format!("   [{} MISSED]", budget.text()),
            None => String::new(),
        };
        println!("{name:<44} {} {unit}{verdict}", number(value));
        self.rows.push(Row { name: name.to_owned(), value, unit, budget, rounds: rounds.to_vec() });
    }

    /// `{"schema_version": 1, "results": {name: {"value", "unit", "budget", "kept", "rounds"}}}`
    pub fn write_json(&self, path: &Path) -> std::io::Result<()> {
        let mut text = String::from("{\n  \"schema_version\": 1,\n  \"results\": {\n");
        for (at, row) in self.rows.iter().enumerate() {
            let rounds: Vec<String> = row.rounds.iter().map(|value| format!("{value}")).collect();
            let kept = row.budget.kept_by(row.value).map_or("null".to_owned(), |kept| kept.to_string());
            let _ = writeln!(
                text,
                "    \"{}\": {{\"value\": {}, \"unit\": \"{}\", \"budget\": \"{}\", \"kept\": {kept}, \"rounds\": [{}]}}{}",
                row.name,
                row.value,
                row.unit,
                row.budget.text(),
                rounds.join(", "),
                if at + 1 < self.rows.len() { "," } else { "" }
            );
        }
        text.push_str("  }\n}\n");
        std::fs::write(path, text)
    }
}

fn number(value: f64) -> String {
    if value.abs() >= 1_000.0 {
        let digits = format!("{value:.0}");
        let mut out = String::new();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                out.push(',');
            }
            out.push(digit);
        }
        format!("{out:>12}")
    } else {
        format!("{value:>12.3}")
    }
}
