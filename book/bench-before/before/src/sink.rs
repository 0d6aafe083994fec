//! What a market reports while it works: one callback per event an order-entry and a market-data encoder need. No storage.
//!
//! Callbacks come in the order things happen. Every order taken is reported by `accepted` or `replaced` and ends exactly
//! once: the event after which `order.open == 0`, or being named `original` in `replaced`.
//! Order references count up from 1 and are never reused; so do match numbers, each in its own series.

use crate::types::{CancelReason, CrossKind, OrderKey, SelfMatchStrategy, Side};

/// An order as it stands after the event that carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderView {
    pub key: OrderKey,
    /// Changes with every loss of priority.
    pub order_ref: u64,
    pub instrument: u32,
    pub side: Side,
    /// Four decimals, or [`MARKET_PRICE`](crate::MARKET_PRICE).
    pub price: u64,
    /// Shares that may still trade.
    pub open: u32,
    /// Shares shown in market data: 0 for hidden orders and for orders that do not rest.
    pub displayed: u32,
    /// Shares executed so far, over the whole replace chain.
    pub executed: u32,
    pub firm: u32,
    pub attributes: u32,
}

/// A trade in continuous matching, at the maker's price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Execution {
    pub maker: OrderView,
    pub taker: OrderView,
    pub quantity: u32,
    pub price: u64,
    pub match_number: u64,
    /// The maker's shares were shown: market data says so by its order reference, otherwise as an anonymous trade.
    pub maker_displayed: bool,
}

/// A trade of an auction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrossExecution {
    pub kind: CrossKind,
    pub buy: OrderView,
    pub sell: OrderView,
    pub quantity: u32,
    pub price: u64,
    pub match_number: u64,
    pub buy_displayed: bool,
    pub sell_displayed: bool,
}

/// An auction as a whole, after its trades. A quantity of 0 (then the price is 0 too) means that nothing crossed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cross {
    pub kind: CrossKind,
    pub instrument: u32,
    pub price: u64,
    pub quantity: u64,
    pub match_number: u64,
}

/// A live order took the place of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// The new order; `open` is what is exposed.
    pub order: OrderView,
    pub original: OrderKey,
    pub original_ref: u64,
    /// What the original had open.
    pub original_open: u32,
    pub original_price: u64,
}

/// Shares left an order without trading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancellation {
    pub order: OrderView,
    pub quantity: u32,
    /// How many of them had been shown. 0 = market data has nothing to say.
    pub displayed_quantity: u32,
    pub reason: CancelReason,
}

/// Shares left an order because it met its own group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelfMatchPrevention {
    pub order: OrderView,
    /// Shares taken from the order.
    pub quantity: u32,
    pub displayed_quantity: u32,
    /// Shares that would have traded.
    pub prevented: u32,
    /// Price at which they would have.
    pub price: u64,
    pub strategy: SelfMatchStrategy,
    /// The order was resting, the other one incoming.
    pub resting: bool,
}

/// A live order was changed in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modification {
    pub order: OrderView,
    pub quantity: u32,
    pub displayed_quantity: u32,
    pub old_side: Side,
}

/// Receives events. Monomorphised into the matching loop: keep callbacks small and `#[inline]`.
pub trait Sink {
    /// A new order was taken, nothing has been done with it yet. `order.displayed` is 0.
    fn accepted(&mut self, order: &OrderView);
    /// A replacement was taken, nothing has been done with it yet. If the original was shown, it leaves market data with
    /// the next `withdrawn` or with the next `booked` that names it.
    fn replaced(&mut self, replacement: &Replacement);
    /// The shown original of a replacement left market data (the replacement is about to trade, hide or end).
    fn withdrawn(&mut self, order_ref: u64, instrument: u32);
    /// The order now rests. `order.displayed > 0`: market data shows it, in place of `replaces` if that is given.
    fn booked(&mut self, order: &OrderView, replaces: Option<u64>);
    fn executed(&mut self, execution: &Execution);
    fn executed_in_cross(&mut self, execution: &CrossExecution);
    fn crossed(&mut self, cross: &Cross);
    fn cancelled(&mut self, cancellation: &Cancellation);
    fn self_match_prevented(&mut self, prevention: &SelfMatchPrevention);
    /// A reserve order shows its next part, at the back of its queue, under a new reference; `old_ref` had been executed.
    fn refreshed(&mut self, order: &OrderView, old_ref: u64);
    fn modified(&mut self, modification: &Modification);
}

/// Discards everything.
impl Sink for () {
    fn accepted(&mut self, _: &OrderView) {}
    fn replaced(&mut self, _: &Replacement) {}
    fn withdrawn(&mut self, _: u64, _: u32) {}
    fn booked(&mut self, _: &OrderView, _: Option<u64>) {}
    fn executed(&mut self, _: &Execution) {}
    fn executed_in_cross(&mut self, _: &CrossExecution) {}
    fn crossed(&mut self, _: &Cross) {}
    fn cancelled(&mut self, _: &Cancellation) {}
    fn self_match_prevented(&mut self, _: &SelfMatchPrevention) {}
    fn refreshed(&mut self, _: &OrderView, _: u64) {}
    fn modified(&mut self, _: &Modification) {}
}

/// An event as a value, for those who want to keep or compare them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Accepted(OrderView),
    Replaced(Replacement),
    Withdrawn { order_ref: u64, instrument: u32 },
    Booked { order: OrderView, replaces: Option<u64> },
    Executed(Execution),
    ExecutedInCross(CrossExecution),
    Crossed(Cross),
    Cancelled(Cancellation),
    SelfMatchPrevented(SelfMatchPrevention),
    Refreshed { order: OrderView, old_ref: u64 },
    Modified(Modification),
}

/// Keeps every event. Allocates; not for the order path.
impl Sink for Vec<Event> {
    fn accepted(&mut self, order: &OrderView) {
        self.push(Event::Accepted(*order));
    }
    fn replaced(&mut self, replacement: &Replacement) {
        self.push(Event::Replaced(*replacement));
    }
    fn withdrawn(&mut self, order_ref: u64, instrument: u32) {
        self.push(Event::Withdrawn { order_ref, instrument });
    }
    fn booked(&mut self, order: &OrderView, replaces: Option<u64>) {
        self.push(Event::Booked { order: *order, replaces });
    }
    fn executed(&mut self, execution: &Execution) {
        self.push(Event::Executed(*execution));
    }
    fn executed_in_cross(&mut self, execution: &CrossExecution) {
        self.push(Event::ExecutedInCross(*execution));
    }
    fn crossed(&mut self, cross: &Cross) {
        self.push(Event::Crossed(*cross));
    }
    fn cancelled(&mut self, cancellation: &Cancellation) {
        self.push(Event::Cancelled(*cancellation));
    }
    fn self_match_prevented(&mut self, prevention: &SelfMatchPrevention) {
        self.push(Event::SelfMatchPrevented(*prevention));
    }
    fn refreshed(&mut self, order: &OrderView, old_ref: u64) {
        self.push(Event::Refreshed { order: *order, old_ref });
    }
    fn modified(&mut self, modification: &Modification) {
        self.push(Event::Modified(*modification));
    }
}
