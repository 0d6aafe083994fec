//! One interface over the three books: a step of the flow, done the cheapest way each book offers. No measuring.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::digest::Digest;
use crate::drive::{apply, new_market};
use crate::message::{Action, Flow, Message};

/// One message in the terms of all books.
#[derive(Clone, Copy)]
pub struct Step {
    pub action: Action,
    pub buy: bool,
    /// The order: its own number, or that of the order it concerns.
    pub id: u64,
    pub quantity: u32,
    pub price: u64,
    pub message: Message,
}

pub trait Book {
    fn new(flow: &Flow) -> Self;
    fn step(&mut self, number: u64, step: &Step);
    /// Shares executed so far.
    fn executed(&self) -> u64;
}

pub struct Ours {
    market: book::Market,
    digest: Digest,
}

impl Book for Ours {
    fn new(flow: &Flow) -> Self {
        Self { market: new_market(flow.instruments, flow.owners, flow.orders), digest: Digest::default() }
    }

    #[inline]
    fn step(&mut self, _: u64, step: &Step) {
        apply(&mut self.market, &step.message, &mut self.digest);
    }

    fn executed(&self) -> u64 {
        self.digest.executed_shares
    }
}

pub struct Matchcore {
    book: matchcore::OrderBook,
    executed: u64,
}

impl Book for Matchcore {
    fn new(_: &Flow) -> Self {
        Self { book: matchcore::OrderBook::new("BENCH"), executed: 0 }
    }

    #[inline]
    fn step(&mut self, number: u64, step: &Step) {
        use matchcore::*;
        let quantity_policy = QuantityPolicy::Standard { quantity: Quantity(u64::from(step.quantity)) };
        // It numbers from 0.
        let order_id = OrderId(step.id - 1);
        let kind = match step.action {
            Action::Enter | Action::Take => {
                let side = if step.buy { Side::Buy } else { Side::Sell };
                let time_in_force =
                    if step.action == Action::Take { TimeInForce::Ioc } else { TimeInForce::Gtc };
                CommandKind::Submit(SubmitCmd {
                    order: NewOrder::Limit(LimitOrder::new(
                        Price(step.price),
                        quantity_policy,
                        OrderFlags::new(side, false, time_in_force),
                    )),
                })
            }
            Action::Cancel => CommandKind::Cancel(CancelCmd { order_id, order_kind: OrderKind::Limit }),
            Action::Reduce => CommandKind::Amend(AmendCmd {
                order_id,
                patch: AmendPatch::Limit(LimitOrderPatch::new().with_quantity_policy(quantity_policy)),
            }),
            Action::Replace => CommandKind::Amend(AmendCmd {
                order_id,
                patch: AmendPatch::Limit(
                    LimitOrderPatch::new()
                        .with_price(Price(step.price))
                        .with_quantity_policy(quantity_policy),
                ),
            }),
        };
        let meta = CommandMeta { sequence_number: SequenceNumber(number - 1), timestamp: Timestamp(number) };
        let outcome = self.book.execute(&Command { meta, kind });
        if let CommandOutcome::Applied(CommandReport::Submit(effects) | CommandReport::Amend(effects)) =
            &outcome
            && let Some(result) = effects.target_order().match_result()
        {
            self.executed += result.executed_quantity().0;
        }
        black_box(&outcome);
    }

    fn executed(&self) -> u64 {
        self.executed
    }
}

pub struct OrderbookRs {
    book: orderbook_rs::OrderBook<()>,
    executed: Arc<AtomicU64>,
}

impl Book for OrderbookRs {
    fn new(_: &Flow) -> Self {
        let executed = Arc::new(AtomicU64::new(0));
        let count = executed.clone();
        let listener: orderbook_rs::TradeListener = Arc::new(move |trade: &orderbook_rs::TradeResult| {
            let quantity = trade.match_result.executed_quantity().map_or(0, |quantity| quantity.as_u64());
            count.fetch_add(quantity, Ordering::Relaxed);
        });
        Self { book: orderbook_rs::OrderBook::with_trade_listener("BENCH", listener), executed }
    }

    #[inline]
    fn step(&mut self, _: u64, step: &Step) {
        use orderbook_rs::{Id, Side, TimeInForce};
        use pricelevel::{OrderUpdate, Price, Quantity};
        let order_id = Id::from_u64(step.id);
        let (price, quantity) = (u128::from(step.price), u64::from(step.quantity));
        match step.action {
            Action::Enter | Action::Take => {
                let side = if step.buy { Side::Buy } else { Side::Sell };
                let time_in_force =
                    if step.action == Action::Take { TimeInForce::Ioc } else { TimeInForce::Gtc };
                black_box(
                    self.book.add_limit_order(order_id, price, quantity, side, time_in_force, None).is_ok(),
                );
            }
            Action::Cancel => {
                black_box(self.book.cancel_order(order_id).is_ok());
            }
            Action::Reduce => {
                let new_quantity = Quantity::new(quantity);
                black_box(
                    self.book.update_order(OrderUpdate::UpdateQuantity { order_id, new_quantity }).is_ok(),
                );
            }
            Action::Replace => {
                let (new_price, new_quantity) = (Price::new(price), Quantity::new(quantity));
                let update = OrderUpdate::UpdatePriceAndQuantity { order_id, new_price, new_quantity };
                black_box(self.book.update_order(update).is_ok());
            }
        }
    }

    fn executed(&self) -> u64 {
        self.executed.load(Ordering::Relaxed)
    }
}
