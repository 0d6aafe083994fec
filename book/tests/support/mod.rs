//! Checks on streams of events that hold whatever the orders were. Knows neither book nor model.

use std::collections::{HashMap, HashSet};

use book::{Event, OrderKey, OrderView};

/// Follows every order by its events: quantities are conserved, every order ends exactly once, numbers are not reused.
#[derive(Default)]
pub struct Ledger {
    live: HashMap<OrderKey, OrderView>,
    references: HashSet<u64>,
    match_number_last: u64,
}

impl Ledger {
    pub fn live(&self) -> usize {
        self.live.len()
    }

    fn begin(&mut self, order: &OrderView) {
        assert!(order.open > 0);
        assert!(self.references.insert(order.order_ref), "reference {} was used before", order.order_ref);
        assert!(self.live.insert(order.key, *order).is_none(), "{:?} was live already", order.key);
    }

    /// The order lost `quantity` shares, `executed` of them by trading.
    fn lose(&mut self, order: &OrderView, quantity: u32, executed: u32) {
        let Some(before) = self.live.get_mut(&order.key) else { panic!("{order:?} is not live") };
        assert_eq!(before.open, order.open + quantity, "{order:?}");
        assert_eq!(before.executed + executed, order.executed, "{order:?}");
        assert_eq!((before.order_ref, before.price), (order.order_ref, order.price), "{order:?}");
        assert!(order.displayed <= order.open);
        *before = *order;
        if order.open == 0 {
            self.live.remove(&order.key);
        }
    }

    fn number(&mut self, match_number: u64) {
        assert_eq!(match_number, self.match_number_last + 1, "match numbers count up");
        self.match_number_last = match_number;
    }

    pub fn check(&mut self, event: &Event) {
        match event {
            Event::Accepted(order) => self.begin(order),
            Event::Replaced(replaced) => {
                let original = self.live.remove(&replaced.original);
                assert_eq!(original.map(|it| it.open), Some(replaced.original_open));
                assert_eq!(original.map(|it| it.executed), Some(replaced.order.executed));
                self.begin(&replaced.order);
            }
            Event::Withdrawn { .. } | Event::Booked { .. } => {}
            Event::Executed(trade) => {
                assert!(trade.quantity > 0);
                assert_eq!(trade.price, trade.maker.price, "trades are at the maker's price");
                self.lose(&trade.maker, trade.quantity, trade.quantity);
                self.lose(&trade.taker, trade.quantity, trade.quantity);
                self.number(trade.match_number);
            }
            Event::ExecutedInCross(trade) => {
                assert!(trade.quantity > 0);
                assert!(trade.buy.price >= trade.price);
                assert!(trade.sell.price <= trade.price || trade.sell.price == book::MARKET_PRICE);
                self.lose(&trade.buy, trade.quantity, trade.quantity);
                self.lose(&trade.sell, trade.quantity, trade.quantity);
                self.number(trade.match_number);
            }
            Event::Crossed(cross) => self.number(cross.match_number),
            Event::Cancelled(cancelled) => {
                assert!(cancelled.quantity > 0);
                self.lose(&cancelled.order, cancelled.quantity, 0);
            }
            Event::SelfMatchPrevented(prevented) => {
                assert!(prevented.quantity > 0);
                self.lose(&prevented.order, prevented.quantity, 0);
            }
            Event::Refreshed { order, old_ref } => {
                assert!(self.references.insert(order.order_ref));
                let Some(before) = self.live.get_mut(&order.key) else { panic!("{order:?} is not live") };
                assert_eq!((before.open, before.order_ref), (order.open, *old_ref));
                *before = *order;
            }
            Event::Modified(modified) => self.lose(&modified.order, modified.quantity, 0),
        }
    }
}
