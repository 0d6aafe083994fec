//! What is said of a run: whether its figures are to be believed, why not, and whether they are what was required. Who says it is in `judge`.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::parse;
use crate::report::table::{duration, grouped};

/// Where a reason for not believing a run lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The run ended before its time, stopped by itself, or measured nothing.
    Incomplete,
    /// Orders were lost, duplicated or answered with what is no answer.
    Delivery,
    Rejected,
    /// The rate was not reached, because the engine or what lies between did not keep up.
    Rate,
    /// The generator was late, or paused.
    Generator,
    WarmUp,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reason {
    pub cause: Cause,
    pub text: String,
}

/// A requirement and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Checked {
    /// As it was written: `p99<20us`.
    pub requirement: String,
    /// Nanoseconds, a count, a share or a rate, by what was required.
    pub value: f64,
    pub met: bool,
}

/// The judgement.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Verdict {
    pub valid: bool,
    /// Why it is not.
    pub reasons: Vec<Reason>,
    pub requirements: Vec<Checked>,
}

impl Verdict {
    pub fn of(reasons: Vec<Reason>) -> Self {
        Verdict { valid: reasons.is_empty(), reasons, requirements: Vec::new() }
    }

    pub fn is_met(&self) -> bool {
        self.requirements.iter().all(|checked| checked.met)
    }

    /// One line, and one more for each reason and requirement.
    pub fn describe(&self) -> String {
        let mut text = if self.valid { "VALID\n".to_owned() } else { "INVALID\n".to_owned() };
        for reason in &self.reasons {
            text += &format!("  because {}\n", reason.text);
        }
        for checked in &self.requirements {
            let word = if checked.met { "met" } else { "MISSED" };
            text += &format!("  required {}: {word} ({})\n", checked.requirement, checked.shown());
        }
        text
    }
}

impl Checked {
    fn shown(&self) -> String {
        match self.requirement.parse::<Requirement>() {
            Ok(Requirement { of: Figure::Time { .. }, .. }) => duration(self.value),
            _ if self.value.fract() == 0.0 => grouped(self.value),
            _ => format!("{:.4}", self.value),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Span {
    Response,
    Service,
    Lag,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Point {
    Percentile(f64),
    Mean,
    Max,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Figure {
    Time { span: Span, point: Point },
    Lost,
    Duplicated,
    Rejected,
    Orders,
    OrdersPerSecond,
    Success,
    RejectedShare,
    ClientSpread,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Less,
    AtMost,
    Equal,
    AtLeast,
    More,
}

/// `p99<20us`, `lost=0`, `orders_per_second>=100000`.
#[derive(Debug, Clone, PartialEq)]
pub struct Requirement {
    text: String,
    of: Figure,
    relation: Relation,
    limit: f64,
}

const EXPECTED: &str = "expected FIGURE, one of < <= = >= >, and a value, such as p99<20us, service.p99.9<1ms, lag.max<5ms, lost=0, \
                        duplicated=0, rejected=0, rejected_share<0.01, success=1, orders>=1000, orders_per_second>=100000 or client_spread<=1.05";

impl FromStr for Requirement {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("`{text}`: {what}; {EXPECTED}");
        let at = text.find(['<', '>', '=']).ok_or_else(|| wrong("no relation"))?;
        let (name, rest) = text.split_at(at);
        let (relation, value) = match rest.as_bytes() {
            [b'<', b'=', ..] => (Relation::AtMost, &rest[2..]),
            [b'>', b'=', ..] => (Relation::AtLeast, &rest[2..]),
            [b'<', ..] => (Relation::Less, &rest[1..]),
            [b'>', ..] => (Relation::More, &rest[1..]),
            _ => (Relation::Equal, &rest[1..]),
        };
        let of = figure(name.trim()).ok_or_else(|| wrong("no such figure"))?;
        let value = value.trim();
        let limit = match of {
            Figure::Time { .. } => parse::duration(value).map_err(|problem| wrong(&problem))? as f64,
            _ => value.parse::<f64>().map_err(|_| wrong(&format!("`{value}` is no number")))?,
        };
        if !limit.is_finite() {
            return Err(wrong("the value is not finite"));
        }
        Ok(Requirement { text: text.to_owned(), of, relation, limit })
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn figure(name: &str) -> Option<Figure> {
    Some(match name {
        "lost" => Figure::Lost,
        "duplicated" => Figure::Duplicated,
        "rejected" => Figure::Rejected,
        "orders" => Figure::Orders,
        "orders_per_second" => Figure::OrdersPerSecond,
        "success" => Figure::Success,
        "rejected_share" => Figure::RejectedShare,
        "client_spread" => Figure::ClientSpread,
        _ => {
            let (span, point) = match name.split_once('.') {
                Some(("service", point)) => (Span::Service, point),
                Some(("lag", point)) => (Span::Lag, point),
                Some(("response", point)) => (Span::Response, point),
                _ => (Span::Response, name),
            };
            let point = match point {
                "mean" => Point::Mean,
                "max" => Point::Max,
                "median" => Point::Percentile(50.0),
                _ => Point::Percentile(
                    point.strip_prefix('p')?.parse().ok().filter(|p| (0.0..=100.0).contains(p))?,
                ),
            };
            Figure::Time { span, point }
        }
    })
}

impl Requirement {
    /// The percentile of the response that it quotes, if it does.
    pub(crate) fn quotes(&self) -> Option<f64> {
        match self.of {
            Figure::Time { span: Span::Response | Span::Service, point: Point::Percentile(percentile) } => {
                Some(percentile)
            }
            _ => None,
        }
    }

    /// Whether a value of what it is about is what it asks for.
    pub(crate) fn is_met(&self, value: f64) -> bool {
        match self.relation {
            Relation::Less => value < self.limit,
            Relation::AtMost => value <= self.limit,
            Relation::Equal => value == self.limit,
            Relation::AtLeast => value >= self.limit,
            Relation::More => value > self.limit,
        }
    }

    pub(crate) fn figure(&self) -> Figure {
        self.of
    }
}
