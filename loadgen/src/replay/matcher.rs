//! A naive matcher for the tests of the replay: a list of orders, searched from end to end. Not the engine, not the model.

use super::plan::{Answer, Party, Request};
use super::verify::Arrived;
use crate::mix::Side;

#[derive(Debug, Clone, Copy)]
struct Resting {
    party: Party,
    urn: u32,
    symbol: [u8; 8],
    side: Side,
    price: u64,
    remaining: u32,
    executed: u32,
    priority: u64,
}

/// What the matcher gets wrong on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    None,
    /// Executes the last instead of the first order of a price.
    LastInFirstOut,
    /// A partial cancel goes to the back of the queue.
    PartialCancelLosesPriority,
    /// A cancel to a new total forgets what was executed.
    CancelIgnoresExecuted,
    /// Every hundredth execution is reported to the taker only.
    HalfReported,
    /// Trades at the aggressive order's price.
    AggressorsPrice,
    /// A delete leaves the order where it is, but says it is gone.
    GhostsStay,
}

#[derive(Debug)]
pub struct Matcher {
    orders: Vec<Resting>,
    flaw: Flaw,
    clock: u64,
    matches: u64,
    pub answers: Vec<(Party, Arrived)>,
}

impl Matcher {
    pub fn new(flaw: Flaw) -> Self {
        Matcher { orders: Vec::new(), flaw, clock: 0, matches: 0, answers: Vec::new() }
    }

    pub fn apply(&mut self, party: Party, request: Request) {
        self.clock += 1;
        match request {
            Request::Enter { urn, symbol, side, quantity, price, immediate } => {
                self.answers.push((party, Arrived::Answer(Answer::Accepted { urn, quantity, price })));
                let priority = self.clock;
                let order =
                    Resting { party, urn, symbol, side, price, remaining: quantity, executed: 0, priority };
                self.enter(order, immediate);
            }
            Request::Cancel { urn, total } => {
                let Some(at) = self.find(party, urn) else { return };
                let order = &mut self.orders[at];
                let executed = if self.flaw == Flaw::CancelIgnoresExecuted { 0 } else { order.executed };
                let left = total.saturating_sub(executed).min(order.remaining);
                let quantity = order.remaining - left;
                if quantity == 0 {
                    return;
                }
                order.remaining = left;
                if self.flaw == Flaw::PartialCancelLosesPriority {
                    order.priority = self.clock;
                }
                self.answers.push((party, Arrived::Answer(Answer::Canceled { urn, quantity })));
                if left == 0 {
                    if self.flaw == Flaw::GhostsStay {
                        self.orders[at].remaining = quantity;
                    } else {
                        self.orders.swap_remove(at);
                    }
                }
            }
            Request::Replace { original, urn, total, price } => {
                let Some(at) = self.find(party, original) else { return };
                let mut order = self.orders.swap_remove(at);
                order.urn = urn;
                order.price = price;
                order.remaining = total.saturating_sub(order.executed);
                order.priority = self.clock;
                let quantity = order.remaining;
                self.answers
                    .push((party, Arrived::Answer(Answer::Replaced { original, urn, quantity, price })));
                self.enter(order, false);
            }
        }
    }

    fn find(&self, party: Party, urn: u32) -> Option<usize> {
        self.orders.iter().position(|order| order.party == party && order.urn == urn)
    }

    fn enter(&mut self, mut order: Resting, immediate: bool) {
        while order.remaining > 0 {
            let best = self
                .orders
                .iter()
                .enumerate()
                .filter(|(_, other)| other.symbol == order.symbol && other.side != order.side)
                .filter(|(_, other)| match order.side {
                    Side::Buy => other.price <= order.price,
                    Side::Sell => other.price >= order.price,
                })
                .min_by_key(|(_, other)| {
                    let price = match order.side {
                        Side::Buy => other.price,
                        Side::Sell => u64::MAX - other.price,
                    };
                    let last_first = self.flaw == Flaw::LastInFirstOut;
                    (price, if last_first { u64::MAX - other.priority } else { other.priority })
                })
                .map(|(at, _)| at);
            let Some(at) = best else { break };
            let maker = self.orders[at];
            let quantity = maker.remaining.min(order.remaining);
            let price = if self.flaw == Flaw::AggressorsPrice { order.price } else { maker.price };
            self.matches += 1;
            let match_number = self.matches;
            if self.flaw != Flaw::HalfReported || !match_number.is_multiple_of(100) {
                let execution = Arrived::Execution { urn: maker.urn, quantity, price, match_number };
                self.answers.push((maker.party, execution));
            }
            let execution = Arrived::Execution { urn: order.urn, quantity, price, match_number };
            self.answers.push((order.party, execution));
            order.remaining -= quantity;
            order.executed += quantity;
            self.orders[at].remaining -= quantity;
            self.orders[at].executed += quantity;
            if self.orders[at].remaining == 0 {
                self.orders.swap_remove(at);
            }
        }
        if order.remaining == 0 {
            return;
        }
        if immediate {
            let (urn, quantity) = (order.urn, order.remaining);
            self.answers.push((order.party, Arrived::Answer(Answer::Canceled { urn, quantity })));
        } else {
            self.orders.push(order);
        }
    }

    pub fn resting(&self) -> usize {
        self.orders.len()
    }
}
