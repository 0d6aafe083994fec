//! A message given to a market. Uses whichever book its parent module calls `book`, so that one source drives two versions.

use super::book::{
    InstrumentSpec, Limits, Market, NewOrder, OrderKey, ReplaceOrder, ReplaceOutcome, Side, Sink, TimeInForce,
};
use super::digest::Digest;
use crate::message::{Action, Flow, Message, TICK};

/// An empty market with room for the flow.
pub fn new_market(instruments: u32, owners: u32, orders: u32) -> Market {
    let mut market = Market::new(Limits::new(instruments, owners, orders));
    for _ in 0..instruments {
        let spec = InstrumentSpec { tick: TICK, ..InstrumentSpec::default() };
        assert!(market.add_instrument(spec).is_some());
    }
    market
}

/// Does to a market what the message says.
#[inline]
pub fn apply<S: Sink>(market: &mut Market, message: &Message, sink: &mut S) -> bool {
    let key = OrderKey::new(message.owner, 0, message.user_ref);
    let price = u64::from(message.price);
    match message.action {
        Action::Enter | Action::Take => {
            let side = if message.buy { Side::Buy } else { Side::Sell };
            let mut order = NewOrder::limit(key, message.instrument, side, message.quantity, price);
            if message.action == Action::Take {
                order.time_in_force = TimeInForce::Immediate;
            }
            market.enter(&order, sink).is_ok()
        }
        Action::Cancel => market.cancel(key, 0, sink),
        Action::Reduce => market.cancel(key, message.quantity, sink),
        Action::Replace => {
            let original = OrderKey::new(message.owner, 0, message.original);
            let request = ReplaceOrder::limit(original, message.user_ref, message.quantity, price);
            market.replace(&request, sink) == ReplaceOutcome::Replaced
        }
    }
}

/// A market with a flow's resting orders, and the sum over all it reports.
pub struct Driven {
    pub market: Market,
    pub digest: Digest,
}

impl Driven {
    pub fn new(flow: &Flow) -> Self {
        let mut market = new_market(flow.instruments, flow.owners, flow.orders);
        for message in &flow.preload {
            apply(&mut market, message, &mut ());
        }
        Self { market, digest: Digest::default() }
    }

    #[inline]
    pub fn apply(&mut self, message: &Message) {
        apply(&mut self.market, message, &mut self.digest);
    }

    /// Not inlined: callgrind counts what happens inside, and finds it by its name.
    #[inline(never)]
    pub fn run_counted(&mut self, messages: &[Message]) {
        for message in messages {
            self.apply(message);
        }
    }
}
