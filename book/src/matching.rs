//! Continuous matching: an incoming order against the other side. One rule decides what happens when it meets a resting
//! order, for the trade itself and for the look ahead that minimum quantities and post-only orders need.

use crate::ladder::NIL;
use crate::market::Market;
use crate::order::{Flags, Order, price_out};
use crate::sink::{Execution, OrderView, SelfMatchPrevention, Sink};
use crate::types::{SelfMatch, SelfMatchStrategy};

/// What happens when an incoming order meets a resting one.
enum Meeting {
    /// This many shares trade.
    Trade(u32),
    CancelNewest,
    CancelOldest,
    CancelBoth,
    /// Both lose this many shares.
    Decrement(u32),
}

/// What an incoming order would find.
pub(crate) struct Outlook {
    /// Shares it would trade; counting stops once there are enough.
    pub tradable: u32,
    /// The first of them are shown.
    pub first_displayed: bool,
    /// Price times quantity over all of them.
    pub value: u64,
}

#[inline]
fn same_group(incoming: SelfMatch, resting: &Order) -> bool {
    incoming.group != 0 && incoming.group == resting.self_match_group
}

/// `left`: what the incoming order still has. `offered`: what the resting order offers at this point of the queue.
#[inline]
fn meet(incoming: SelfMatch, resting: &Order, left: u32, offered: u32) -> Meeting {
    if !same_group(incoming, resting) {
        return Meeting::Trade(left.min(offered));
    }
    match incoming.strategy {
        SelfMatchStrategy::CancelNewest => Meeting::CancelNewest,
        SelfMatchStrategy::CancelOldest => Meeting::CancelOldest,
        SelfMatchStrategy::CancelBoth => Meeting::CancelBoth,
        SelfMatchStrategy::Decrement => Meeting::Decrement(left.min(resting.open)),
    }
}

impl Market {
    /// Trades `taker` against `opposite` as far as `limit`, in price-time order.
    #[cold]
    pub(crate) fn trade<S: Sink>(
        &mut self,
        taker: &mut OrderView,
        own: SelfMatch,
        opposite: usize,
        limit: u32,
        sink: &mut S,
    ) {
        while taker.open > 0 {
            let ladder = self.ladder(opposite);
            if ladder.best_key() > limit {
                return;
            }
            let handle = self.levels.front(ladder.best_level());
            let maker = self.orders.get(handle);
            match meet(own, maker, taker.open, maker.tranche()) {
                Meeting::Trade(quantity) => self.fill(taker, handle, quantity, sink),
                prevented => {
                    if !self.prevent(taker, own.strategy, handle, prevented, sink) {
                        return;
                    }
                }
            }
        }
    }

    #[inline]
    fn fill<S: Sink>(&mut self, taker: &mut OrderView, handle: u32, quantity: u32, sink: &mut S) {
        let match_number = self.next_match_number();
        let maker_displayed = self.execute(handle, quantity);
        taker.open -= quantity;
        taker.executed += quantity;
        let maker = self.orders.get(handle);
        sink.executed(&Execution {
            maker: maker.view(),
            taker: *taker,
            quantity,
            price: price_out(maker.price),
            match_number,
            maker_displayed,
        });
        self.after_execution(handle, sink);
    }

    /// Takes executed shares off a resting order and its level. Returns whether they had been shown.
    #[inline]
    pub(crate) fn execute(&mut self, handle: u32, quantity: u32) -> bool {
        let order = self.orders.get_mut(handle);
        let displayed = !order.flags.has(Flags::HIDDEN);
        let shown = if displayed { quantity } else { 0 };
        order.open -= quantity;
        order.executed += quantity;
        order.displayed -= shown;
        self.levels.lose(order.level, shown, quantity - shown);
        displayed
    }

    /// Removes a filled order; lets a reserve order whose shown part is gone show the next one.
    #[inline]
    pub(crate) fn after_execution<S: Sink>(&mut self, handle: u32, sink: &mut S) {
        let order = self.orders.get(handle);
        if order.open == 0 {
            self.take_out(handle);
        } else if order.displayed == 0 && order.flags.has(Flags::RESERVE) {
            self.refresh(handle, sink);
        }
    }

    fn refresh<S: Sink>(&mut self, handle: u32, sink: &mut S) {
        let order_ref = self.next_order_ref();
        let max_floor = self.orders.extra(handle).max_floor;
        let order = self.orders.get_mut(handle);
        let old_ref = core::mem::replace(&mut order.order_ref, order_ref);
        order.displayed = max_floor.min(order.open);
        self.levels.refresh(order.level, handle, order.displayed);
        sink.refreshed(&order.view(), old_ref);
    }

    /// Keeps two orders of one group from trading. Returns whether the incoming order goes on.
    fn prevent<S: Sink>(
        &mut self,
        taker: &mut OrderView,
        strategy: SelfMatchStrategy,
        handle: u32,
        meeting: Meeting,
        sink: &mut S,
    ) -> bool {
        let maker = *self.orders.get(handle);
        let prevented = taker.open.min(maker.open);
        let (from_maker, from_taker) = match meeting {
            Meeting::CancelNewest => (0, taker.open),
            Meeting::CancelOldest => (maker.open, 0),
            Meeting::CancelBoth => (maker.open, taker.open),
            Meeting::Decrement(quantity) => (quantity, quantity),
            Meeting::Trade(_) => (0, 0),
        };
        let price = price_out(maker.price);
        if from_maker > 0 {
            let (order, displayed_quantity) = self.reduce(handle, from_maker);
            sink.self_match_prevented(&SelfMatchPrevention {
                order,
                quantity: from_maker,
                displayed_quantity,
                prevented,
                price,
                strategy,
                resting: true,
            });
        }
        if from_taker > 0 {
            taker.open -= from_taker;
            sink.self_match_prevented(&SelfMatchPrevention {
                order: *taker,
                quantity: from_taker,
                displayed_quantity: 0,
                prevented,
                price,
                strategy,
                resting: false,
            });
        }
        taker.open > 0
    }

    /// Shares that `trade` would trade, counted in the same order by the same rule, without changing anything.
    /// Stops at `enough`.
    pub(crate) fn outlook(
        &self,
        taker: &OrderView,
        own: SelfMatch,
        opposite: usize,
        limit: u32,
        enough: u32,
    ) -> Outlook {
        let ladder = self.ladder(opposite);
        let mut outlook = Outlook { tradable: 0, first_displayed: false, value: 0 };
        let mut left = taker.open;
        let (mut key, mut level) = (ladder.best_key(), ladder.best_level());
        while key <= limit {
            // What is shown trades first; the reserves behind it come up after one pass, then what is hidden.
            let shown = self.queue(level, false).map(|(_, maker)| (maker, maker.displayed, true));
            let reserve =
                self.queue(level, false).map(|(_, maker)| (maker, maker.open - maker.displayed, true));
            let hidden = self.queue(level, true).map(|(_, maker)| (maker, maker.open, false));
            // Own orders have been met in the first pass.
            let reserve = reserve.filter(|&(maker, offered, _)| offered > 0 && !same_group(own, maker));
            for (maker, offered, displayed) in shown.chain(reserve).chain(hidden) {
                match meet(own, maker, left, offered) {
                    Meeting::Trade(quantity) => {
                        if outlook.tradable == 0 {
                            outlook.first_displayed = displayed;
                        }
                        outlook.tradable += quantity;
                        let value = price_out(maker.price).saturating_mul(u64::from(quantity));
                        outlook.value = outlook.value.saturating_add(value);
                        left -= quantity;
                    }
                    Meeting::CancelNewest | Meeting::CancelBoth => return outlook,
                    Meeting::CancelOldest => {}
                    Meeting::Decrement(quantity) => left -= quantity,
                }
                if left == 0 || outlook.tradable >= enough {
                    return outlook;
                }
            }
            (key, level) = ladder.at_or_after(&self.nodes, key + 1).unwrap_or((NIL, NIL));
        }
        outlook
    }
}
