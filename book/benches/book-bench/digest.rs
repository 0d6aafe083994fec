//! A sink that reads every field an encoder would write, and keeps only a sum: the book's work cannot be optimised away.
//! Uses whichever book its parent module calls `book`.

use std::hint::black_box;

use super::book::{
    Cancellation, Cross, CrossExecution, Execution, Modification, OrderView, Replacement,
    SelfMatchPrevention, Sink,
};

#[derive(Default)]
pub struct Digest {
    pub sum: u64,
    pub executed_shares: u64,
}

impl Digest {
    #[inline(always)]
    fn order(&mut self, order: &OrderView) {
        self.sum = self
            .sum
            .rotate_left(7)
            .wrapping_add(order.order_ref ^ order.price)
            .wrapping_add(u64::from(order.key.user_ref) + u64::from(order.key.party.owner()))
            .wrapping_add(u64::from(order.open) + u64::from(order.displayed))
            .wrapping_add(u64::from(order.instrument) + u64::from(order.attributes) + order.side as u64);
    }
}

impl Sink for Digest {
    #[inline(always)]
    fn accepted(&mut self, order: &OrderView) {
        self.order(order);
    }
    #[inline(always)]
    fn replaced(&mut self, replacement: &Replacement) {
        self.order(&replacement.order);
        self.sum ^= replacement.original_ref ^ u64::from(replacement.original_open);
    }
    #[inline(always)]
    fn withdrawn(&mut self, order_ref: u64, instrument: u32) {
        self.sum ^= order_ref << 20 ^ u64::from(instrument);
    }
    #[inline(always)]
    fn booked(&mut self, order: &OrderView, replaces: Option<u64>) {
        self.order(order);
        self.sum ^= replaces.unwrap_or(0);
    }
    #[inline(always)]
    fn executed(&mut self, execution: &Execution) {
        self.executed_shares += u64::from(execution.quantity);
        self.order(&execution.maker);
        self.order(&execution.taker);
        self.sum ^= execution.match_number << 32 ^ u64::from(execution.quantity) ^ execution.price;
    }
    fn executed_in_cross(&mut self, execution: &CrossExecution) {
        self.order(&execution.buy);
        self.order(&execution.sell);
    }
    fn crossed(&mut self, cross: &Cross) {
        self.sum ^= cross.quantity;
    }
    #[inline(always)]
    fn cancelled(&mut self, cancellation: &Cancellation) {
        self.order(&cancellation.order);
        self.sum ^= u64::from(cancellation.quantity) << 32
            ^ u64::from(cancellation.displayed_quantity)
            ^ cancellation.reason as u64;
    }
    fn self_match_prevented(&mut self, prevention: &SelfMatchPrevention) {
        self.order(&prevention.order);
    }
    fn refreshed(&mut self, order: &OrderView, old_ref: u64) {
        self.order(order);
        self.sum ^= old_ref;
    }
    fn modified(&mut self, modification: &Modification) {
        self.order(&modification.order);
    }
}

impl Drop for Digest {
    fn drop(&mut self) {
        black_box(self.sum);
    }
}
