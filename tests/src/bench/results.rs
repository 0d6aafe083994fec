//! One measured figure, and `target/bench/results.json`: name -> {value, unit, budget, rounds}.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};

/// What a figure must reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Budget {
    AtMost(f64),
    AtLeast(f64),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Result {
    /// Median of `rounds`.
    pub value: f64,
    pub unit: String,
    pub budget: Option<Budget>,
    pub rounds: Vec<f64>,
}

impl Result {
    /// Whether the budget is met; `None` without one.
    pub fn met(&self) -> Option<bool> {
        match self.budget? {
            Budget::AtMost(most) => Some(self.value <= most),
            Budget::AtLeast(least) => Some(self.value >= least),
        }
    }

    pub fn describe(&self) -> String {
        let value = with_unit(self.value, &self.unit);
        match (self.budget, self.met()) {
            (Some(budget), Some(true)) => format!("{value} ({}: met)", budget.describe(&self.unit)),
            (Some(budget), _) => format!("{value} ({}: MISSED)", budget.describe(&self.unit)),
            (None, _) => value,
        }
    }

    fn to_json(&self) -> Value {
        let (limit, kind) = match self.budget {
            Some(Budget::AtMost(limit)) => (json!(limit), json!("at most")),
            Some(Budget::AtLeast(limit)) => (json!(limit), json!("at least")),
            None => (Value::Null, Value::Null),
        };
        json!({
            "value": self.value, "unit": self.unit, "budget": limit, "budget_kind": kind, "met": self.met(),
            "rounds": self.rounds,
        })
    }

    fn from_json(value: &Value) -> Option<Result> {
        let limit = value["budget"].as_f64();
        Some(Result {
            value: value["value"].as_f64()?,
            unit: value["unit"].as_str()?.to_owned(),
            budget: match (limit, value["budget_kind"].as_str()) {
                (Some(limit), Some("at most")) => Some(Budget::AtMost(limit)),
                (Some(limit), Some("at least")) => Some(Budget::AtLeast(limit)),
                _ => None,
            },
            rounds: value["rounds"].as_array()?.iter().filter_map(Value::as_f64).collect(),
        })
    }
}

impl Budget {
    pub fn describe(self, unit: &str) -> String {
        match self {
            Budget::AtMost(limit) => format!("at most {}", bare(limit, unit)),
            Budget::AtLeast(limit) => format!("at least {}", bare(limit, unit)),
        }
    }
}

/// A number for people: three significant digits where that is enough, thousands grouped.
pub fn with_unit(value: f64, unit: &str) -> String {
    let number = match value.abs() {
        v if v >= 1000.0 => grouped(value),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 || v == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    };
    if unit == "ratio" { number } else { format!("{number} {unit}") }
}

/// A limit as it was set, without invented digits.
fn bare(limit: f64, unit: &str) -> String {
    let number = if limit >= 1000.0 { grouped(limit) } else { limit.to_string() };
    if unit == "ratio" { number } else { format!("{number} {unit}") }
}

fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits.as_str()), |rest| ("-", rest));
    let mut out = String::new();
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    format!("{sign}{out}")
}

/// The figures of a results file; none if there is no file yet.
pub fn read(path: &Path) -> anyhow::Result<BTreeMap<String, Result>> {
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    let text = std::fs::read_to_string(path)?;
    let all: BTreeMap<String, Value> =
        serde_json::from_str(&text).with_context(|| format!("{} is not a results file", path.display()))?;
    Ok(all.iter().filter_map(|(name, value)| Some((name.clone(), Result::from_json(value)?))).collect())
}

/// Replaces the figures that are in `new`, keeps the others. The file is never half written.
pub fn merge(path: &Path, new: &BTreeMap<String, Result>) -> anyhow::Result<()> {
    let mut all = read(path)?;
    all.extend(new.iter().map(|(name, result)| (name.clone(), result.clone())));
    let all: BTreeMap<_, _> = all.iter().map(|(name, result)| (name, result.to_json())).collect();
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let scratch = path.with_extension("json.new");
    std::fs::write(&scratch, serde_json::to_string_pretty(&all)? + "\n")?;
    std::fs::rename(&scratch, path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(with_unit(1.0849, "ratio"), "1.08");
        assert_eq!(with_unit(3_412_345.6, "orders/s"), "3,412,346 orders/s");
        assert_eq!(with_unit(0.0312, "ratio"), "0.031");
        assert_eq!(with_unit(-1234.0, "ns"), "-1,234 ns");
        assert_eq!(Budget::AtLeast(3_000_000.0).describe("orders/s"), "at least 3,000,000 orders/s");
    }

    #[test]
    fn a_budget_is_met_at_its_limit_and_missed_beyond() {
        let mut result =
            Result { value: 1.15, unit: "ratio".into(), budget: Some(Budget::AtMost(1.15)), rounds: vec![] };
        assert_eq!(result.met(), Some(true));
        result.value = 1.16;
        assert_eq!(result.met(), Some(false));
        result.budget = Some(Budget::AtLeast(1.15));
        assert_eq!(result.met(), Some(true));
        result.budget = None;
        assert_eq!(result.met(), None);
    }
}
