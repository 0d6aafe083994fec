//! Price-time priority the slow way: a list of orders and a search. It is told what was accepted, replaced and cancelled, says which
//! executions must follow, and compares. For plain day limit orders, which is what the simulated clients send.

use crate::inputs::SessionId;
use crate::shard::Shard;
use book::Side;
use std::collections::VecDeque;
use wire::ouch::{Outbound, side};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Id {
    session: SessionId,
    user_ref_num: u32,
}

#[derive(Debug, Clone, Copy)]
struct Order {
    id: Id,
    symbol: [u8; 8],
    buys: bool,
    price: u64,
    open: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Execution {
    id: Id,
    quantity: u32,
    price: u64,
}

/// The naive book: orders in the order in which they came.
#[derive(Default)]
pub struct Naive {
    orders: Vec<Order>,
    /// Trades that must be reported next: both sides of each, in either order.
    due: VecDeque<Vec<Execution>>,
    /// Shares that were entered, and what became of them: each side of a trade counts.
    entered: u64,
    executed: u64,
    cancelled: u64,
    executions: u64,
}

impl Naive {
    pub fn executions(&self) -> u64 {
        self.executions
    }

    /// Takes the next message that the engine gave, to whomever.
    pub fn observe(&mut self, session: SessionId, message: &[u8]) -> Result<(), String> {
        let id = |user_ref_num| Id { session, user_ref_num };
        let decoded =
            Outbound::decode(message).map_err(|error| format!("an answer that is not OUCH: {error}"))?;
        if !matches!(decoded, Outbound::OrderExecuted(_)) {
            self.settled()?;
        }
        match decoded {
            Outbound::OrderAccepted(accepted) if accepted.order_state() == b'L' => self.enter(Order {
                id: id(accepted.user_ref_num()),
                symbol: accepted.symbol(),
                buys: accepted.side() == side::BUY,
                price: accepted.price(),
                open: accepted.quantity(),
            }),
            Outbound::OrderReplaced(replaced) => {
                self.remove(id(replaced.orig_user_ref_num()))?;
                if replaced.order_state() == b'L' {
                    return self.enter(Order {
                        id: id(replaced.user_ref_num()),
                        symbol: replaced.symbol(),
                        buys: replaced.side() == side::BUY,
                        price: replaced.price(),
                        open: replaced.quantity(),
                    });
                }
                Ok(())
            }
            Outbound::OrderCanceled(cancelled) => {
                let place = self.find(id(cancelled.user_ref_num()))?;
                let quantity = cancelled.quantity();
                let order = &mut self.orders[place];
                if quantity == 0 || quantity > order.open {
                    return Err(format!("{quantity} shares cancelled of {order:?}"));
                }
                order.open -= quantity;
                self.cancelled += u64::from(quantity);
                self.orders.retain(|order| order.open > 0);
                Ok(())
            }
            Outbound::OrderExecuted(executed) => self.execute(Execution {
                id: id(executed.user_ref_num()),
                quantity: executed.quantity(),
                price: executed.price(),
            }),
            _ => Ok(()),
        }
    }

    /// Whether every trade that had to follow was reported.
    pub fn settled(&self) -> Result<(), String> {
        match self.due.front() {
            None => Ok(()),
            Some(missing) => {
                Err(format!("by price and time these had to be executed, and were not: {missing:?}"))
            }
        }
    }

    fn find(&self, id: Id) -> Result<usize, String> {
        let place = self.orders.iter().position(|order| order.id == id);
        place.ok_or_else(|| format!("{id:?} has no order in the book"))
    }

    fn remove(&mut self, id: Id) -> Result<(), String> {
        let place = self.find(id)?;
        self.cancelled += u64::from(self.orders.remove(place).open);
        Ok(())
    }

    fn enter(&mut self, mut order: Order) -> Result<(), String> {
        if self.find(order.id).is_ok() {
            return Err(format!("{:?} accepted twice", order.id));
        }
        self.entered += u64::from(order.open);
        while order.open > 0 {
            let Some(place) = self.best_against(&order) else { break };
            let resting = &mut self.orders[place];
            let quantity = order.open.min(resting.open);
            resting.open -= quantity;
            order.open -= quantity;
            let side = |id| Execution { id, quantity, price: resting.price };
            self.due.push_back(vec![side(order.id), side(resting.id)]);
            self.orders.retain(|order| order.open > 0);
        }
        if order.open > 0 {
            self.orders.push(order);
        }
        Ok(())
    }

    /// The order that trades first with this one: best price, then earliest.
    fn best_against(&self, order: &Order) -> Option<usize> {
        let mut best: Option<usize> = None;
        for (place, other) in self.orders.iter().enumerate() {
            let crosses = if order.buys { other.price <= order.price } else { other.price >= order.price };
            if other.symbol != order.symbol || other.buys == order.buys || !crosses {
                continue;
            }
            let better = best.is_none_or(|best| {
                let best = self.orders[best].price;
                if order.buys { other.price < best } else { other.price > best }
            });
            if better {
                best = Some(place);
            }
        }
        best
    }

    fn execute(&mut self, execution: Execution) -> Result<(), String> {
        let Some(sides) = self.due.front_mut() else {
            return Err(format!("{execution:?} follows from no order"));
        };
        let Some(place) = sides.iter().position(|due| *due == execution) else {
            return Err(format!("{execution:?} where by price and time {sides:?} is next"));
        };
        sides.remove(place);
        if sides.is_empty() {
            self.due.pop_front();
        }
        self.executed += u64::from(execution.quantity);
        self.executions += 1;
        Ok(())
    }

    /// Compares with the engine's book, order by order in priority, and checks that no share was made or lost.
    pub fn compare(&self, shard: &Shard) -> Result<(), String> {
        let open: u64 = self.orders.iter().map(|order| u64::from(order.open)).sum();
        let Naive { entered, executed, cancelled, .. } = self;
        if *entered != executed + cancelled + open {
            return Err(format!(
                "shares are not conserved: {entered} entered, {executed} executed, {cancelled} cancelled, {open} open"
            ));
        }
        for (index, instrument) in shard.instruments().iter().enumerate() {
            for (side, buys) in [(Side::Buy, true), (Side::Sell, false)] {
                let mut expected: Vec<(u64, u32)> = self
                    .orders
                    .iter()
                    .filter(|order| order.symbol == instrument.symbol && order.buys == buys)
                    .map(|order| (order.price, order.open))
                    .collect();
                // Stable: within a price the order of arrival stays.
                expected.sort_by_key(|&(price, _)| if buys { u64::MAX - price } else { price });
                let found: Vec<(u64, u32)> = shard
                    .market()
                    .resting(index as u32, side)
                    .map(|order| (order.price, order.open))
                    .collect();
                if found != expected {
                    return Err(format!("book {index} {side:?}: {found:?}, by price and time {expected:?}"));
                }
            }
        }
        Ok(())
    }
}
