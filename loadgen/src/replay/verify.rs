//! Compares what the engine says with what the file implies, message by message, for both sessions. It sends nothing.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fmt;

use super::plan::{Answer, Party, Planned, Purpose};

/// Differences kept with their text; all are counted.
pub const DIFFERENCES_SHOWN_MAX: usize = 50;

/// How far ahead an answer is looked for before it is called unexpected.
const LOOKAHEAD: usize = 64;

/// A message of a session as it arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrived {
    Answer(Answer),
    /// `Executed` carries the number that both sides of a trade share.
    Execution {
        urn: u32,
        quantity: u32,
        price: u64,
        match_number: u64,
    },
    Rejected {
        urn: u32,
        reason: u16,
    },
    /// A message type that a replay has no place for.
    Other(u8),
}

#[derive(Debug, Clone, Copy)]
struct Expectation {
    answer: Answer,
    row: u64,
    purpose: Purpose,
}

/// One thing that is not as the file implies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub party: Party,
    /// Row of the file; 0 where no event stands behind it.
    pub row: u64,
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "row {}, {}: {}", self.row, self.party.name(), self.what)
    }
}

/// What was compared, for one purpose: how often, and how often it was equal.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
pub struct Compared {
    pub requests: u64,
    pub answers: u64,
    pub equal: u64,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Verifier {
    expected: [VecDeque<Expectation>; 2],
    /// Match numbers of executions that the other side has not reported yet.
    matches: [VecDeque<u64>; 2],
    compared: BTreeMap<&'static str, Compared>,
    /// Orders that do not exist because the engine refused them: nothing can follow from requests about them.
    refused: HashSet<(usize, u32)>,
    follow_ups: u64,
    differences: Vec<Difference>,
    difference_count: u64,
    trades_paired: u64,
}

impl Verifier {
    /// Notes what must follow from a request that is about to be sent.
    pub fn expect(&mut self, planned: &Planned) {
        self.compared.entry(planned.purpose.name()).or_default().requests += 1;
        for &(party, answer) in &planned.expected {
            if self.refused.contains(&(party.index(), answer.urn())) {
                self.follow_ups += 1;
                continue;
            }
            self.expected[party.index()].push_back(Expectation {
                answer,
                row: planned.row,
                purpose: planned.purpose,
            });
        }
    }

    /// Expectations that have not been met yet.
    pub fn outstanding(&self) -> usize {
        self.expected[0].len() + self.expected[1].len()
    }

    pub fn outstanding_of(&self, party: Party) -> usize {
        self.expected[party.index()].len()
    }

    pub fn on_message(&mut self, party: Party, arrived: Arrived) {
        match arrived {
            Arrived::Answer(answer) => self.compare(party, answer),
            Arrived::Execution { urn, quantity, price, match_number } => {
                self.compare(party, Answer::Executed { urn, quantity, price });
                self.pair(party, match_number);
            }
            Arrived::Rejected { urn, reason } => self.rejected(party, urn, reason),
            Arrived::Other(kind) => {
                self.differ(party, 0, format!("unexpected message type `{}`", kind.escape_ascii()));
            }
        }
    }

    /// Ends the comparison: what is still expected never came.
    pub fn finish(&mut self) {
        for party in [Party::Maker, Party::Taker] {
            while let Some(missing) = self.expected[party.index()].pop_front() {
                self.missing(party, missing);
            }
        }
        let unpaired = self.matches[0].len() + self.matches[1].len();
        if unpaired > 0 {
            let what = format!("{unpaired} executions were reported to one side of the trade only");
            self.differ(Party::Maker, 0, what);
        }
    }

    pub fn difference_count(&self) -> u64 {
        self.difference_count
    }

    pub fn differences(&self) -> &[Difference] {
        &self.differences
    }

    pub fn compared(&self) -> &BTreeMap<&'static str, Compared> {
        &self.compared
    }

    /// Trades whose two sides carried the same match number.
    pub fn trades_paired(&self) -> u64 {
        self.trades_paired
    }

    /// Answers that could not come, because the order they would be about had been refused; the refusal is the difference.
    pub fn follow_ups(&self) -> u64 {
        self.follow_ups
    }

    /// A difference found outside of the message streams.
    pub fn note_difference(&mut self, party: Party, what: String) {
        self.differ(party, 0, what);
    }

    fn compare(&mut self, party: Party, got: Answer) {
        let queue = &self.expected[party.index()];
        let found = queue.iter().take(LOOKAHEAD).position(|expected| expected.answer.is_about_the_same(&got));
        let Some(position) = found else {
            return self.differ(party, 0, format!("unexpected {got:?}"));
        };
        for _ in 0..position {
            if let Some(missing) = self.expected[party.index()].pop_front() {
                self.missing(party, missing);
            }
        }
        let Some(expected) = self.expected[party.index()].pop_front() else { return };
        let compared = self.compared.entry(expected.purpose.name()).or_default();
        compared.answers += 1;
        if expected.answer == got {
            compared.equal += 1;
        } else {
            let what = format!("{}: expected {:?}, got {got:?}", expected.purpose.name(), expected.answer);
            self.differ(party, expected.row, what);
        }
    }

    fn rejected(&mut self, party: Party, urn: u32, reason: u16) {
        let text = format!("rejected with {reason:#06x} ({})", wire::ouch::reject_reason::name(reason));
        let queue = &self.expected[party.index()];
        let found = queue.iter().take(LOOKAHEAD).position(|expected| {
            matches!(expected.answer, Answer::Accepted { .. } | Answer::Replaced { .. })
                && expected.answer.urn() == urn
        });
        let Some(position) = found else {
            return self.differ(party, 0, format!("order {urn} {text}, although nothing was asked"));
        };
        if let Some(expected) = self.expected[party.index()].remove(position) {
            self.refused.insert((party.index(), urn));
            let before = self.expected[party.index()].len();
            self.expected[party.index()].retain(|other| other.answer.urn() != urn);
            self.follow_ups += (before - self.expected[party.index()].len()) as u64;
            self.compared.entry(expected.purpose.name()).or_default().answers += 1;
            self.differ(party, expected.row, format!("{} {text}", expected.purpose.name()));
        }
    }

    fn pair(&mut self, party: Party, match_number: u64) {
        let other = 1 - party.index();
        match self.matches[other].pop_front() {
            None => self.matches[party.index()].push_back(match_number),
            Some(theirs) if theirs == match_number => self.trades_paired += 1,
            Some(theirs) => {
                let what =
                    format!("the two sides of a trade carry match numbers {match_number} and {theirs}");
                self.differ(party, 0, what);
            }
        }
    }

    fn missing(&mut self, party: Party, missing: Expectation) {
        let what = format!("{}: {:?} never came", missing.purpose.name(), missing.answer);
        self.differ(party, missing.row, what);
    }

    fn differ(&mut self, party: Party, row: u64, what: String) {
        self.difference_count += 1;
        if self.differences.len() < DIFFERENCES_SHOWN_MAX {
            self.differences.push(Difference { party, row, what });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::plan::Request;

    fn cancel(urn: u32) -> Planned {
        Planned {
            party: Party::Maker,
            request: Request::Cancel { urn, total: 0 },
            row: u64::from(urn),
            purpose: Purpose::Delete,
            expected: vec![(Party::Maker, Answer::Canceled { urn, quantity: 10 })],
        }
    }

    fn enter(urn: u32) -> Planned {
        let request = Request::Enter {
            urn,
            symbol: [b' '; 8],
            side: crate::mix::Side::Buy,
            quantity: 10,
            price: 1,
            immediate: false,
        };
        let expected = vec![(Party::Maker, Answer::Accepted { urn, quantity: 10, price: 1 })];
        Planned { request, purpose: Purpose::Submission, expected, ..cancel(urn) }
    }

    #[test]
    fn a_refused_order_is_one_difference_and_what_follows_from_it_none() {
        let mut verifier = Verifier::default();
        verifier.expect(&enter(1));
        verifier.expect(&cancel(1));
        verifier.on_message(Party::Maker, Arrived::Rejected { urn: 1, reason: 0x17 });
        verifier.expect(&cancel(1));
        verifier.finish();
        assert_eq!((verifier.difference_count(), verifier.follow_ups()), (1, 2));
        assert!(
            verifier.differences()[0].to_string().contains("row 1, session 1 (resting): submission rejected")
        );
    }

    #[test]
    fn missing_unexpected_and_unequal_answers_are_each_a_difference() {
        let mut verifier = Verifier::default();
        for urn in 1..=4 {
            verifier.expect(&enter(urn));
        }
        let accepted = |urn, quantity| Arrived::Answer(Answer::Accepted { urn, quantity, price: 1 });
        verifier.on_message(Party::Maker, accepted(2, 10));
        assert_eq!(verifier.difference_count(), 1, "the answer to 1 never came");
        verifier.on_message(Party::Maker, accepted(3, 11));
        assert_eq!(verifier.difference_count(), 2);
        verifier.on_message(Party::Maker, accepted(99, 10));
        verifier.on_message(Party::Taker, accepted(4, 10));
        assert_eq!(verifier.difference_count(), 4);
        verifier.finish();
        assert_eq!((verifier.difference_count(), verifier.outstanding()), (5, 0));
    }

    #[test]
    fn the_two_sides_of_a_trade_must_carry_one_number() {
        let mut verifier = Verifier::default();
        let execution = |match_number| Arrived::Execution { urn: 1, quantity: 1, price: 1, match_number };
        verifier.on_message(Party::Maker, execution(5));
        verifier.on_message(Party::Taker, execution(5));
        assert_eq!(verifier.trades_paired(), 1);
        let before = verifier.difference_count();
        verifier.on_message(Party::Taker, execution(6));
        verifier.on_message(Party::Maker, execution(7));
        assert_eq!(verifier.trades_paired(), 1);
        assert!(
            verifier.differences().iter().any(|difference| difference.what.contains("match numbers 7 and 6"))
        );
        assert!(verifier.difference_count() > before);
    }
}
