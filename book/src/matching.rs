//! Continuous matching: an incoming order against the other side. One rule decides what happens when it meets a resting
//! order, for the trade itself and for the look ahead that minimum quantities and post-only orders need.

use crate::ladder::NIL;
use crate::market::Market;
use crate::order::{Flags, Order, price_out};
use crate::sink::{Execution, SelfMatchPrevention, Sink};
use crate::types::SelfMatchStrategy;

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
fn same_group(incoming: &Order, resting: &Order) -> bool {
    incoming.self_match_group != 0 && incoming.self_match_group == resting.self_match_group
}

/// `left`: what the incoming order still has. `offered`: what the resting order offers at this point of the queue.
#[inline]
fn meet(incoming: &Order, resting: &Order, left: u32, offered: u32) -> Meeting {
    if !same_group(incoming, resting) {
        return Meeting::Trade(left.min(offered));
    }
    match incoming.flags.strategy() {
        SelfMatchStrategy::CancelNewest => Meeting::CancelNewest,
        SelfMatchStrategy::CancelOldest => Meeting::CancelOldest,
        SelfMatchStrategy::CancelBoth => Meeting::CancelBoth,
        SelfMatchStrategy::Decrement => Meeting::Decrement(left.min(resting.open)),
    }
}

impl Market {
    /// Trades `taker` against `opposite` as far as `limit`, in price-time order.
    #[inline]
    pub(crate) fn trade<S: Sink>(&mut self, taker: &mut Order, opposite: usize, limit: u32, sink: &mut S) {
        while taker.open > 0 {
            let ladder = &self.ladders[opposite];
            if ladder.best_key() > limit {
                return;
            }
            let handle = self.levels.get(ladder.best_level()).front();
            let maker = self.orders.get(handle);
            match meet(taker, maker, taker.open, maker.tranche()) {
                Meeting::Trade(quantity) => self.fill(taker, handle, quantity, sink),
                prevented => {
                    if !self.prevent(taker, handle, prevented, sink) {
                        return;
                    }
                }
            }
        }
    }

    #[inline]
    fn fill<S: Sink>(&mut self, taker: &mut Order, handle: u32, quantity: u32, sink: &mut S) {
        let match_number = self.next_match_number();
        let maker_displayed = self.execute(handle, quantity);
        taker.open -= quantity;
        taker.executed += quantity;
        let maker = self.orders.get(handle);
        sink.executed(&Execution {
            maker: maker.view(),
            taker: taker.view(),
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
        order.open -= quantity;
        order.executed += quantity;
        let level = self.levels.get_mut(order.level);
        level.open_quantity -= u64::from(quantity);
        if displayed {
            order.displayed -= quantity;
            level.displayed_quantity -= u64::from(quantity);
        }
        displayed
    }

    /// Removes a filled order; lets a reserve order whose shown part is gone show the next one.
    #[inline]
    pub(crate) fn after_execution<S: Sink>(&mut self, handle: u32, sink: &mut S) {
        let order = self.orders.get(handle);
        if order.open == 0 {
            if let Some((handle, place)) = self.lookup.find(order.key()) {
                self.take_out(handle, place);
            }
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
        self.levels.get_mut(order.level).displayed_quantity += u64::from(order.displayed);
        let view = order.view();
        self.levels.requeue(&mut self.orders, handle);
        sink.refreshed(&view, old_ref);
    }

    /// Keeps two orders of one group from trading. Returns whether the incoming order goes on.
    fn prevent<S: Sink>(&mut self, taker: &mut Order, handle: u32, meeting: Meeting, sink: &mut S) -> bool {
        let maker = *self.orders.get(handle);
        let prevented = taker.open.min(maker.open);
        let strategy = taker.flags.strategy();
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
                order: order.view(),
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
                order: taker.view(),
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
    pub(crate) fn outlook(&self, taker: &Order, opposite: usize, limit: u32, enough: u32) -> Outlook {
        let ladder = &self.ladders[opposite];
        let mut outlook = Outlook { tradable: 0, first_displayed: false, value: 0 };
        let mut left = taker.open;
        let (mut key, mut level) = (ladder.best_key(), ladder.best_level());
        while key <= limit {
            let node = self.levels.get(level);
            // What is shown trades first; the reserves behind it come up after one pass, then what is hidden.
            let shown = self.queue(node.displayed.head).map(|(_, maker)| (maker, maker.displayed, true));
            let reserve =
                self.queue(node.displayed.head).map(|(_, maker)| (maker, maker.open - maker.displayed, true));
            let hidden = self.queue(node.hidden.head).map(|(_, maker)| (maker, maker.open, false));
            // Own orders have been met in the first pass.
            let reserve = reserve.filter(|&(maker, offered, _)| offered > 0 && !same_group(taker, maker));
            for (maker, offered, displayed) in shown.chain(reserve).chain(hidden) {
                match meet(taker, maker, left, offered) {
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
