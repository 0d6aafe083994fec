//! Shares leaving orders without a trade: cancel, modify, mass cancel, expiry.

use crate::market::Market;
use crate::order::{Flags, Order};
use crate::sink::{Cancellation, Modification, OrderView, Sink};
use crate::types::{CancelReason, MassCancel, OrderKey, Side};

impl Market {
    /// Reduces an order to a new total size, executed shares included; 0 ends it. Keeps its place in the queue. Returns
    /// false, and does nothing, if there is no such live order or the total is no reduction.
    #[inline(always)]
    pub fn cancel<S: Sink>(&mut self, key: OrderKey, total: u32, sink: &mut S) -> bool {
        self.cancel_because(key, total, CancelReason::User, sink)
    }

    /// [`Market::cancel`] for another reason than its owner's wish.
    #[inline(never)]
    pub fn cancel_because<S: Sink>(
        &mut self,
        key: OrderKey,
        total: u32,
        reason: CancelReason,
        sink: &mut S,
    ) -> bool {
        let Some(handle) = self.lookup.find(key) else { return false };
        let order = self.orders.get(handle);
        let keep = total.saturating_sub(order.executed);
        if keep == 0 {
            self.end_here(handle, reason, sink);
            return true;
        }
        if keep >= order.open {
            return false;
        }
        let quantity = order.open - keep;
        let displayed_quantity = self.shrink(handle, quantity);
        let order = self.orders.get(handle).view();
        sink.cancelled(&Cancellation { order, quantity, displayed_quantity, reason });
        true
    }

    /// Changes an order in place: a smaller total size (executed shares included; increases are ignored) and another kind of
    /// sale. Returns false, and does nothing, if there is no such live order or the side change is not among sales.
    pub fn modify<S: Sink>(&mut self, key: OrderKey, side: Side, total: u32, sink: &mut S) -> bool {
        let Some(handle) = self.lookup.find(key) else { return false };
        let order = self.orders.get_mut(handle);
        let old_side = order.flags.side();
        if side != old_side && (side.is_buy() || old_side.is_buy()) {
            return false;
        }
        let keep = total.saturating_sub(order.executed);
        if keep == 0 {
            self.end(handle, CancelReason::User, sink);
            return true;
        }
        order.flags.set_side(side);
        let quantity = order.open.saturating_sub(keep);
        let displayed_quantity = self.shrink(handle, quantity);
        let order = self.orders.get(handle).view();
        sink.modified(&Modification { order, quantity, displayed_quantity, old_side });
        true
    }

    /// Cancels an owner's orders that the filter takes, in the order of their entry. Returns how many.
    pub fn cancel_owner<S: Sink>(
        &mut self,
        owner: u32,
        filter: &MassCancel,
        reason: CancelReason,
        sink: &mut S,
    ) -> u32 {
        let mut count = 0;
        let mut at = None;
        while let Some((next, handles)) = self.lookup.next_block(owner, at) {
            at = Some(next);
            for handle in handles {
                if handle == crate::ladder::NIL || !self.takes(filter, handle) {
                    continue;
                }
                self.end(handle, reason, sink);
                count += 1;
            }
        }
        count
    }

    fn takes(&self, filter: &MassCancel, handle: u32) -> bool {
        let order = self.orders.get(handle);
        filter.firm.is_none_or(|firm| firm == order.firm)
            && filter.instrument.is_none_or(|instrument| instrument == order.instrument)
            && filter.side.is_none_or(|side| side == order.flags.side())
            && filter.channel.is_none_or(|channel| channel == order.key().party.channel())
            && filter.group_id.is_none_or(|group| group == self.orders.extra(handle).group_id)
    }

    /// Cancels everything in an instrument: buys, then sells, each from the best to the worst, then orders for auctions.
    /// Returns how many.
    pub fn cancel_instrument<S: Sink>(&mut self, instrument: u32, reason: CancelReason, sink: &mut S) -> u32 {
        if instrument >= self.instrument_count() {
            return 0;
        }
        let mut count = 0;
        for side in [Side::Buy, Side::Sell] {
            count += self.clear_ladder(crate::market::book_ladder(instrument, side), reason, sink);
        }
        for closing in [false, true] {
            for side in [Side::Buy, Side::Sell] {
                count += self.clear_ladder(self.cross_ladder(instrument, side, closing), reason, sink);
            }
        }
        count
    }

    /// Cancels every order on a ladder, best first.
    pub(crate) fn clear_ladder<S: Sink>(&mut self, ladder: usize, reason: CancelReason, sink: &mut S) -> u32 {
        let mut count = 0;
        while self.ladder(ladder).levels() > 0 {
            let front = self.levels.front(self.ladder(ladder).best_level());
            self.end(front, reason, sink);
            count += 1;
        }
        count
    }

    /// Tells the market what second it is: good-till-time orders of all seconds up to `second` end. Time does not go back.
    /// Returns how many ended.
    #[inline]
    pub fn expire<S: Sink>(&mut self, second: u32, sink: &mut S) -> u32 {
        let mut count = 0;
        while let Some(handle) = self.wheel.due(second) {
            self.end(handle, CancelReason::Timeout, sink);
            count += 1;
        }
        count
    }

    /// Ends a resting order and reports it.
    #[inline(never)]
    pub(crate) fn end<S: Sink>(&mut self, handle: u32, reason: CancelReason, sink: &mut S) {
        self.end_here(handle, reason, sink);
    }

    /// [`Market::end`] as part of its caller.
    #[inline(always)]
    fn end_here<S: Sink>(&mut self, handle: u32, reason: CancelReason, sink: &mut S) {
        self.take_out(handle);
        let order = self.orders.get(handle);
        sink.cancelled(&Cancellation {
            order: OrderView { open: 0, displayed: 0, ..order.view() },
            quantity: order.open,
            displayed_quantity: order.displayed,
            reason,
        });
    }

    /// Takes shares off a resting order, all of them if need be. Returns the order as it is then and how many of the shares
    /// had been shown.
    pub(crate) fn reduce(&mut self, handle: u32, quantity: u32) -> (OrderView, u32) {
        let order = self.orders.get(handle);
        if quantity < order.open {
            let displayed = self.shrink(handle, quantity);
            return (self.orders.get(handle).view(), displayed);
        }
        let (view, displayed) = (order.view(), order.displayed);
        self.take_out(handle);
        (OrderView { open: 0, displayed: 0, ..view }, displayed)
    }

    /// Takes fewer shares than are open off a resting order: from the reserve first. Returns how many had been shown.
    #[inline]
    fn shrink(&mut self, handle: u32, quantity: u32) -> u32 {
        let order = self.orders.get_mut(handle);
        let unseen = order.open - order.displayed;
        let displayed = quantity.saturating_sub(unseen);
        order.open -= quantity;
        order.displayed -= displayed;
        self.levels.lose(order.level, displayed, quantity - displayed);
        displayed
    }
}

impl Order {
    /// Which matching the order waits for.
    #[inline]
    pub fn cross(&self) -> crate::types::CrossType {
        if self.flags.has(Flags::ON_OPEN) {
            crate::types::CrossType::Opening
        } else if self.flags.has(Flags::ON_CLOSE) {
            crate::types::CrossType::Closing
        } else {
            crate::types::CrossType::Continuous
        }
    }
}
