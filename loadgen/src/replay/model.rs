//! The book that a file implies: plain and slow on purpose, written apart from the engine's. It matches nothing by itself.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::mix::Side;

/// A resting order of the file and what stands for it in the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelOrder {
    /// Its present UserRefNum in the first session.
    pub urn: u32,
    pub symbol: [u8; 8],
    pub side: Side,
    pub price: u64,
    pub remaining: u32,
    /// Executed so far, over all the numbers that it had: OUCH counts cancels and replaces against the total.
    pub executed: u32,
}

#[derive(Debug, Default)]
struct Queues {
    buys: BTreeMap<u64, VecDeque<u64>>,
    sells: BTreeMap<u64, VecDeque<u64>>,
}

impl Queues {
    fn side(&mut self, side: Side) -> &mut BTreeMap<u64, VecDeque<u64>> {
        match side {
            Side::Buy => &mut self.buys,
            Side::Sell => &mut self.sells,
        }
    }

    fn levels(&self, side: Side) -> Box<dyn Iterator<Item = (&u64, &VecDeque<u64>)> + '_> {
        match side {
            Side::Buy => Box::new(self.buys.iter().rev()),
            Side::Sell => Box::new(self.sells.iter()),
        }
    }
}

/// All known resting orders, in price-time priority.
#[derive(Debug, Default)]
pub struct Model {
    orders: HashMap<u64, ModelOrder>,
    books: HashMap<[u8; 8], Queues>,
}

impl Model {
    pub fn get(&self, order: u64) -> Option<ModelOrder> {
        self.orders.get(&order).copied()
    }

    pub fn len(&self) -> usize {
        self.orders.len()
    }

    pub fn is_empty(&self) -> bool {
        self.orders.is_empty()
    }

    /// Adds an order at the back of its price level.
    pub fn insert(&mut self, order: u64, entry: ModelOrder) {
        self.orders.insert(order, entry);
        self.books
            .entry(entry.symbol)
            .or_default()
            .side(entry.side)
            .entry(entry.price)
            .or_default()
            .push_back(order);
    }

    pub fn remove(&mut self, order: u64) -> Option<ModelOrder> {
        let entry = self.orders.remove(&order)?;
        let levels = self.books.entry(entry.symbol).or_default().side(entry.side);
        if let Some(queue) = levels.get_mut(&entry.price) {
            queue.retain(|&other| other != order);
            if queue.is_empty() {
                levels.remove(&entry.price);
            }
        }
        Some(entry)
    }

    /// Takes cancelled shares off an order that stays; it keeps its place.
    pub fn reduce(&mut self, order: u64, quantity: u32) {
        if let Some(entry) = self.orders.get_mut(&order) {
            entry.remaining = entry.remaining.saturating_sub(quantity);
        }
    }

    /// Takes executed shares off an order, and the order off the book when nothing is left.
    pub fn execute(&mut self, order: u64, quantity: u32) {
        let Some(entry) = self.orders.get_mut(&order) else { return };
        entry.remaining = entry.remaining.saturating_sub(quantity);
        entry.executed += quantity;
        if entry.remaining == 0 {
            self.remove(order);
        }
    }

    /// Moves an order to the back of its level under a new number.
    pub fn requeue(&mut self, order: u64, urn: u32) {
        if let Some(entry) = self.remove(order) {
            self.insert(order, ModelOrder { urn, ..entry });
        }
    }

    /// The orders at the level of `order`, first in line first.
    pub fn level_of(&self, order: u64) -> Vec<u64> {
        let Some(entry) = self.orders.get(&order) else { return Vec::new() };
        self.books
            .get(&entry.symbol)
            .and_then(|book| match entry.side {
                Side::Buy => book.buys.get(&entry.price),
                Side::Sell => book.sells.get(&entry.price),
            })
            .map(|queue| queue.iter().copied().collect())
            .unwrap_or_default()
    }

    /// The orders of one side in the sequence in which an incoming order meets them.
    pub fn in_priority(&self, symbol: [u8; 8], side: Side) -> impl Iterator<Item = u64> + '_ {
        self.books
            .get(&symbol)
            .into_iter()
            .flat_map(move |book| book.levels(side))
            .flat_map(|(_, queue)| queue.iter().copied())
    }

    /// True if a better-priced order than `order` rests on its side.
    pub fn is_outbid(&self, order: u64) -> bool {
        let Some(entry) = self.orders.get(&order) else { return false };
        self.in_priority(entry.symbol, entry.side)
            .next()
            .and_then(|best| self.orders.get(&best))
            .is_some_and(|best| best.price != entry.price)
    }

    /// The resting orders that an order of this side and price would execute against.
    pub fn crossed_by(&self, symbol: [u8; 8], side: Side, price: u64) -> Vec<u64> {
        self.in_priority(symbol, side.opposite())
            .take_while(|other| {
                self.orders.get(other).is_some_and(|other| match side {
                    Side::Buy => other.price <= price,
                    Side::Sell => other.price >= price,
                })
            })
            .collect()
    }

    /// All orders, by their number in the engine: the same sequence on every run.
    pub fn by_urn(&self) -> Vec<(u64, ModelOrder)> {
        let mut all: Vec<(u64, ModelOrder)> =
            self.orders.iter().map(|(&order, &entry)| (order, entry)).collect();
        all.sort_unstable_by_key(|(_, entry)| entry.urn);
        all
    }
}
