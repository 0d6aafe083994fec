//! Turns the events of a file into requests of two sessions, with what must come of each. It sends nothing.
//!
//! The first session submits, cancels and replaces as the file does. A visible execution becomes an immediate-or-cancel order of
//! the second session; rows that one aggressive order must have caused (same nanosecond, same side, in the sequence in which
//! the book gives its orders away) become one order, swept over as many makers.
//!
//! What a file cannot say, and how it is met; each case is counted under its name:
//! - Orders that rested before the file starts are referenced without having been submitted: such rows are left out.
//! - Hidden executions happen against orders that no message ever showed. They do not change the visible book.
//! - The file executes an order that is not the first in line at its price. Either the others are shown later than they came
//!   (LOBSTER writes a submission when a level comes into its window, so an order with a lower number was there before), or the cause is in
//!   no message (self-match prevention, a price slide). All other orders of the level are re-queued by Replace, in their sequence, so that the
//!   maker is first, and the execution goes on as an execution.
//! - The file executes an order although a known one has a better price: the execution is applied as a cancel of the same size.
//! - A submission crosses a known order without executing it: that order left the market unseen; it is cancelled first.

use std::collections::VecDeque;

use super::event::{EventKind, FileEvent};
use super::model::{Model, ModelOrder};
use super::plan::{Answer, Party, Planned, Purpose, Request};
use crate::mix::{PRICE_MAX, QUANTITY_MAX, Side};

/// How often something happened, and how many shares it moved.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
pub struct Tally {
    pub count: u64,
    pub shares: u64,
}

impl Tally {
    fn add(&mut self, shares: u64) {
        self.count += 1;
        self.shares += shares;
    }
}

/// Everything the file held, by what became of it.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
pub struct FlowCounts {
    pub events: u64,
    pub submissions: Tally,
    pub partial_cancels: Tally,
    pub deletes: Tally,
    pub replaces: Tally,
    /// Rows executed against known orders.
    pub executions: Tally,
    /// The aggressive orders that these rows became.
    pub aggressive_orders: u64,
    pub hidden_executions: Tally,
    pub crosses: Tally,
    pub halts: u64,
    pub broken_trades: u64,
    pub information: u64,
    /// Rows about orders that the file never submits.
    pub unknown_partial_cancels: Tally,
    pub unknown_deletes: Tally,
    pub unknown_executions: Tally,
    pub unknown_replaces: Tally,
    /// Executions of an order that was not the first at its price: it came before those that the file shows ahead of it.
    pub shown_late: Tally,
    /// The same, but the file shows the true sequence: the cause is in no message.
    pub out_of_turn: Tally,
    /// Replaces sent to bring such makers to the front.
    pub requeues: u64,
    pub applied_as_cancel: Tally,
    pub retired: Tally,
    /// Rows about orders retired before.
    pub after_retirement: u64,
    /// Executions printed at another price than the order rested at (ITCH `C`).
    pub other_price: Tally,
    /// Rows that contradict the file itself: a number submitted twice, more taken off than there was.
    pub contradictions: u64,
    /// Quantities or prices that OUCH cannot carry.
    pub not_representable: u64,
    /// Instruments that were filtered out.
    pub filtered: u64,
    pub resting_at_end: Tally,
}

#[derive(Debug, Clone, Copy)]
struct Fill {
    order: u64,
    quantity: u32,
    row: u64,
}

/// See the module's documentation.
pub struct Flow {
    model: Model,
    maker_urn: u32,
    taker_urn: u32,
    only_symbols: Vec<[u8; 8]>,
    group: Vec<Fill>,
    group_time_ns: u64,
    retired: std::collections::HashSet<u64>,
    filtered: std::collections::HashSet<u64>,
    pub counts: FlowCounts,
}

impl Flow {
    /// Numbers of both sessions start where the engine says they do; an empty list of symbols means all.
    pub fn new(maker_urn: u32, taker_urn: u32, only_symbols: Vec<[u8; 8]>) -> Self {
        Flow {
            model: Model::default(),
            maker_urn,
            taker_urn,
            only_symbols,
            group: Vec::new(),
            group_time_ns: 0,
            retired: Default::default(),
            filtered: Default::default(),
            counts: FlowCounts::default(),
        }
    }

    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The numbers that the next new orders would carry.
    pub fn next_urns(&self) -> (u32, u32) {
        (self.maker_urn, self.taker_urn)
    }

    /// Takes one event in; what it leads to is appended to `out`, possibly together with what earlier events still owed.
    pub fn push(&mut self, event: &FileEvent, out: &mut VecDeque<Planned>) {
        self.counts.events += 1;
        match event.kind {
            EventKind::Execute { order, quantity, price } => self.execute(event, order, quantity, price, out),
            EventKind::HiddenExecution { quantity } => self.counts.hidden_executions.add(quantity),
            EventKind::Cross { quantity } => self.counts.crosses.add(quantity),
            EventKind::Halt => self.counts.halts += 1,
            EventKind::BrokenTrade => self.counts.broken_trades += 1,
            EventKind::Information => self.counts.information += 1,
            EventKind::Submit { order, symbol, side, quantity, price } => {
                self.flush(out);
                self.submit(event.row, order, symbol, side, quantity, price, out);
            }
            EventKind::Reduce { order, quantity } => {
                self.flush(out);
                self.reduce(event.row, order, quantity, out);
            }
            EventKind::Delete { order, quantity } => {
                self.flush(out);
                self.delete(event.row, order, quantity, out);
            }
            EventKind::Replace { original, order, quantity, price } => {
                self.flush(out);
                self.replace(event.row, original, order, quantity, price, out);
            }
        }
    }

    /// Ends the file: sends what is still owed, then cancels every resting order, so that the engine says how much was left of it.
    pub fn finish(&mut self, out: &mut VecDeque<Planned>) {
        self.flush(out);
        for (order, entry) in self.model.by_urn() {
            self.counts.resting_at_end.add(u64::from(entry.remaining));
            self.cancel_rest(order, 0, Purpose::FinalCancel, out);
        }
    }

    fn known(&mut self, order: u64) -> Option<ModelOrder> {
        self.model.get(order)
    }

    /// Counts a row about an order that is not in the book. True if the file never submitted it.
    fn is_unknown(&mut self, order: u64) -> bool {
        if self.retired.contains(&order) {
            self.counts.after_retirement += 1;
            false
        } else if self.filtered.contains(&order) {
            self.counts.filtered += 1;
            false
        } else {
            true
        }
    }

    fn submit(
        &mut self,
        row: u64,
        order: u64,
        symbol: [u8; 8],
        side: Side,
        quantity: u64,
        price: u64,
        out: &mut VecDeque<Planned>,
    ) {
        if !self.only_symbols.is_empty() && !self.only_symbols.contains(&symbol) {
            self.filtered.insert(order);
            self.counts.filtered += 1;
            return;
        }
        if self.known(order).is_some() {
            self.counts.contradictions += 1;
            return;
        }
        let Some(quantity) = representable(quantity, price) else {
            self.filtered.insert(order);
            self.counts.not_representable += 1;
            return;
        };
        self.retire_crossed(row, symbol, side, price, out);
        self.counts.submissions.add(u64::from(quantity));
        let urn = self.maker_urn;
        self.maker_urn += 1;
        self.model.insert(order, ModelOrder { urn, symbol, side, price, remaining: quantity, executed: 0 });
        out.push_back(Planned {
            party: Party::Maker,
            request: Request::Enter { urn, symbol, side, quantity, price, immediate: false },
            row,
            purpose: Purpose::Submission,
            expected: vec![(Party::Maker, Answer::Accepted { urn, quantity, price })],
        });
    }

    fn reduce(&mut self, row: u64, order: u64, quantity: u64, out: &mut VecDeque<Planned>) {
        let Some(entry) = self.known(order) else {
            if self.is_unknown(order) {
                self.counts.unknown_partial_cancels.add(quantity);
            }
            return;
        };
        let taken = u32::try_from(quantity).unwrap_or(u32::MAX);
        if taken == 0 || taken > entry.remaining {
            self.counts.contradictions += 1;
        }
        if taken == 0 {
            return;
        }
        self.counts.partial_cancels.add(quantity);
        if taken >= entry.remaining {
            return self.cancel_rest(order, row, Purpose::PartialCancel, out);
        }
        self.model.reduce(order, taken);
        out.push_back(Planned {
            party: Party::Maker,
            request: Request::Cancel { urn: entry.urn, total: entry.executed + entry.remaining - taken },
            row,
            purpose: Purpose::PartialCancel,
            expected: vec![(Party::Maker, Answer::Canceled { urn: entry.urn, quantity: taken })],
        });
    }

    fn delete(&mut self, row: u64, order: u64, quantity: Option<u64>, out: &mut VecDeque<Planned>) {
        let Some(entry) = self.known(order) else {
            if self.is_unknown(order) {
                self.counts.unknown_deletes.add(quantity.unwrap_or(0));
            }
            return;
        };
        if quantity.is_some_and(|claimed| claimed != u64::from(entry.remaining)) {
            self.counts.contradictions += 1;
        }
        self.counts.deletes.add(u64::from(entry.remaining));
        self.cancel_rest(order, row, Purpose::Delete, out);
    }

    fn replace(
        &mut self,
        row: u64,
        original: u64,
        order: u64,
        quantity: u64,
        price: u64,
        out: &mut VecDeque<Planned>,
    ) {
        let Some(entry) = self.known(original) else {
            if self.is_unknown(original) {
                self.counts.unknown_replaces.add(quantity);
            } else {
                self.filtered.insert(order);
            }
            return;
        };
        let total = representable(quantity, price).and_then(|quantity| {
            let total = entry.executed.checked_add(quantity)?;
            (total <= QUANTITY_MAX).then_some((quantity, total))
        });
        let Some((quantity, total)) = total else {
            self.counts.not_representable += 1;
            self.filtered.insert(order);
            return self.cancel_rest(original, row, Purpose::Delete, out);
        };
        if original != order && self.known(order).is_some() {
            self.counts.contradictions += 1;
            return;
        }
        self.model.remove(original);
        self.retire_crossed(row, entry.symbol, entry.side, price, out);
        self.counts.replaces.add(u64::from(quantity));
        let urn = self.maker_urn;
        self.maker_urn += 1;
        self.model.insert(order, ModelOrder { urn, price, remaining: quantity, ..entry });
        out.push_back(Planned {
            party: Party::Maker,
            request: Request::Replace { original: entry.urn, urn, total, price },
            row,
            purpose: Purpose::Replacement,
            expected: vec![(Party::Maker, Answer::Replaced { original: entry.urn, urn, quantity, price })],
        });
    }

    fn cancel_rest(&mut self, order: u64, row: u64, purpose: Purpose, out: &mut VecDeque<Planned>) {
        let Some(entry) = self.model.remove(order) else { return };
        out.push_back(Planned {
            party: Party::Maker,
            request: Request::Cancel { urn: entry.urn, total: 0 },
            row,
            purpose,
            expected: vec![(Party::Maker, Answer::Canceled { urn: entry.urn, quantity: entry.remaining })],
        });
    }

    fn retire_crossed(
        &mut self,
        row: u64,
        symbol: [u8; 8],
        side: Side,
        price: u64,
        out: &mut VecDeque<Planned>,
    ) {
        for crossed in self.model.crossed_by(symbol, side, price) {
            if let Some(entry) = self.known(crossed) {
                self.counts.retired.add(u64::from(entry.remaining));
                self.retired.insert(crossed);
                self.cancel_rest(crossed, row, Purpose::Retirement, out);
            }
        }
    }

    fn execute(
        &mut self,
        event: &FileEvent,
        order: u64,
        quantity: u64,
        price: Option<u64>,
        out: &mut VecDeque<Planned>,
    ) {
        let Some(entry) = self.known(order) else {
            if self.is_unknown(order) {
                self.counts.unknown_executions.add(quantity);
            }
            return;
        };
        // Rows of the group have not been taken off the model yet.
        let grouped: u32 =
            self.group.iter().filter(|fill| fill.order == order).map(|fill| fill.quantity).sum();
        let available = entry.remaining.saturating_sub(grouped);
        let wanted = u32::try_from(quantity).unwrap_or(u32::MAX);
        if wanted == 0 || wanted > available {
            self.counts.contradictions += 1;
        }
        let taken = wanted.min(available);
        if taken == 0 {
            return;
        }
        self.counts.executions.add(u64::from(taken));
        if price.is_some_and(|price| price != entry.price) {
            self.counts.other_price.add(u64::from(taken));
        }
        let joins = self.group.first().is_some_and(|first| {
            self.group_time_ns == event.time_ns
                && self
                    .model
                    .get(first.order)
                    .is_some_and(|maker| (maker.symbol, maker.side) == (entry.symbol, entry.side))
        });
        if !joins {
            self.flush(out);
        }
        self.group_time_ns = event.time_ns;
        self.group.push(Fill { order, quantity: taken, row: event.row });
    }

    /// Sends the executions that were held together.
    fn flush(&mut self, out: &mut VecDeque<Planned>) {
        if self.group.is_empty() {
            return;
        }
        let group = std::mem::take(&mut self.group);
        if self.is_one_sweep(&group) {
            self.aggress(&group, out);
            return;
        }
        for fill in &group {
            if self.model.is_outbid(fill.order) {
                self.apply_as_cancel(fill, out);
                continue;
            }
            self.bring_to_front(fill, out);
            self.aggress(std::slice::from_ref(fill), out);
        }
    }

    /// True if one order that takes the sum of the group from the book would take exactly these rows, in this sequence.
    fn is_one_sweep(&self, group: &[Fill]) -> bool {
        let Some(first) = group.first().and_then(|fill| self.model.get(fill.order)) else { return false };
        let total: u64 = group.iter().map(|fill| u64::from(fill.quantity)).sum();
        if total > u64::from(QUANTITY_MAX) {
            return false;
        }
        let mut line = self.model.in_priority(first.symbol, first.side);
        let mut current = line.next();
        let mut left = first.remaining;
        for fill in group {
            if left == 0 {
                current = line.next();
                left = current.and_then(|order| self.model.get(order)).map_or(0, |entry| entry.remaining);
            }
            if current != Some(fill.order) || fill.quantity > left {
                return false;
            }
            left -= fill.quantity;
        }
        true
    }

    /// One aggressive order for fills that the book gives away in this sequence.
    fn aggress(&mut self, fills: &[Fill], out: &mut VecDeque<Planned>) {
        let Some(last) = fills.last().and_then(|fill| self.model.get(fill.order)) else { return };
        let quantity: u32 = fills.iter().map(|fill| fill.quantity).sum();
        let urn = self.taker_urn;
        self.taker_urn += 1;
        self.counts.aggressive_orders += 1;
        let mut expected = vec![(Party::Taker, Answer::Accepted { urn, quantity, price: last.price })];
        let mut index = 0;
        while let Some(fill) = fills.get(index) {
            // Rows of one maker are one execution of one order.
            let of_same = fills[index..].iter().take_while(|other| other.order == fill.order);
            let (rows, shares) =
                of_same.fold((0, 0), |(rows, shares), other| (rows + 1, shares + other.quantity));
            if let Some(maker) = self.model.get(fill.order) {
                let (quantity, price) = (shares, maker.price);
                expected.push((Party::Maker, Answer::Executed { urn: maker.urn, quantity, price }));
                expected.push((Party::Taker, Answer::Executed { urn, quantity, price }));
            }
            self.model.execute(fill.order, shares);
            index += rows;
        }
        let request = Request::Enter {
            urn,
            symbol: last.symbol,
            side: last.side.opposite(),
            quantity,
            price: last.price,
            immediate: true,
        };
        out.push_back(Planned {
            party: Party::Taker,
            request,
            row: fills[0].row,
            purpose: Purpose::Execution,
            expected,
        });
    }

    fn apply_as_cancel(&mut self, fill: &Fill, out: &mut VecDeque<Planned>) {
        let Some(entry) = self.model.get(fill.order) else { return };
        self.counts.applied_as_cancel.add(u64::from(fill.quantity));
        if fill.quantity >= entry.remaining {
            return self.cancel_rest(fill.order, fill.row, Purpose::ExecutionAsCancel, out);
        }
        self.model.reduce(fill.order, fill.quantity);
        out.push_back(Planned {
            party: Party::Maker,
            request: Request::Cancel {
                urn: entry.urn,
                total: entry.executed + entry.remaining - fill.quantity,
            },
            row: fill.row,
            purpose: Purpose::ExecutionAsCancel,
            expected: vec![(Party::Maker, Answer::Canceled { urn: entry.urn, quantity: fill.quantity })],
        });
    }

    fn bring_to_front(&mut self, fill: &Fill, out: &mut VecDeque<Planned>) {
        let level = self.model.level_of(fill.order);
        if level.first() == Some(&fill.order) {
            return;
        }
        let ahead = level.iter().take_while(|&&other| other != fill.order);
        if ahead.clone().all(|&other| other > fill.order) {
            self.counts.shown_late.add(u64::from(fill.quantity));
        } else {
            self.counts.out_of_turn.add(u64::from(fill.quantity));
        }
        for order in level.into_iter().filter(|&order| order != fill.order) {
            let Some(entry) = self.model.get(order) else { continue };
            let urn = self.maker_urn;
            self.maker_urn += 1;
            self.counts.requeues += 1;
            self.model.requeue(order, urn);
            let (quantity, price) = (entry.remaining, entry.price);
            out.push_back(Planned {
                party: Party::Maker,
                request: Request::Replace {
                    original: entry.urn,
                    urn,
                    total: entry.executed + quantity,
                    price,
                },
                row: fill.row,
                purpose: Purpose::Requeue,
                expected: vec![(
                    Party::Maker,
                    Answer::Replaced { original: entry.urn, urn, quantity, price },
                )],
            });
        }
    }
}

/// The quantity as OUCH carries it, if it can carry it and the price.
fn representable(quantity: u64, price: u64) -> Option<u32> {
    let quantity = u32::try_from(quantity).ok()?;
    ((1..=QUANTITY_MAX).contains(&quantity) && (1..=PRICE_MAX).contains(&price)).then_some(quantity)
}
