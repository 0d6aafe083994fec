//! Brings what the next messages will touch into the processor's caches, many at a time. Changes nothing, decides nothing.
//!
//! With thousands of instruments most messages find their book in main memory, five dependent loads deep, each a hundred
//! nanoseconds away. One message after the other waits for each of them. A batch of messages need not: the first load of
//! all of them goes out together, then the second of all of them, and so on. Costs some 20 ns a message and saves several
//! hundred once the books no longer fit into the caches: see [`WARM_INSTRUMENTS`].

use core::hint::black_box;

use crate::ladder::NIL;
use crate::level::Level;
use crate::market::{Market, book_ladder, limit_key, own_key};
use crate::types::{OrderKey, Party, Side};

/// Messages warmed together: a full receive batch.
pub const WARM_MAX: usize = 64;

/// From so many instruments on warming a batch costs no more than it saves. Nanoseconds a message, one by one and in warmed
/// batches (`book-bench`, 40 resting orders each, real flow): 42 and 67 with 1 instrument, 48 and 70 with 100, 97 and 96 with
/// 1,000, 207 and 138 with 10,000. A shard with 28 orders a datagram replays 10,000 instruments 1.4 times as fast.
pub const WARM_INSTRUMENTS: u32 = 1_000;

#[derive(Clone, Copy)]
struct Entry {
    party: Party,
    instrument: u32,
    side: Side,
    price: u32,
}

/// What the next messages are about. New orders and known orders are kept apart: a loop over one kind has no branch that
/// the processor would have to guess.
pub struct WarmList {
    entries: [Entry; WARM_MAX],
    entry_count: usize,
    keys: [OrderKey; WARM_MAX],
    key_count: usize,
}

impl Default for WarmList {
    fn default() -> Self {
        let none = Entry { party: Party::default(), instrument: 0, side: Side::Buy, price: 0 };
        Self {
            entries: [none; WARM_MAX],
            entry_count: 0,
            keys: [OrderKey::default(); WARM_MAX],
            key_count: 0,
        }
    }
}

impl WarmList {
    /// A new order is coming. Ignored when the list is full.
    #[inline]
    pub fn push_new(&mut self, party: Party, instrument: u32, side: Side, price: u64) {
        if let Some(slot) = self.entries.get_mut(self.entry_count) {
            *slot = Entry { party, instrument, side, price: price as u32 };
            self.entry_count += 1;
        }
    }

    /// A cancel, modify or replace of this order is coming. Ignored when the list is full.
    #[inline]
    pub fn push_known(&mut self, key: OrderKey) {
        if let Some(slot) = self.keys.get_mut(self.key_count) {
            *slot = key;
            self.key_count += 1;
        }
    }
}

impl Market {
    /// Touches what the messages of the list will need, and empties the list. Any values are safe.
    pub fn warm(&self, list: &mut WarmList) {
        let entries = &list.entries[..core::mem::take(&mut list.entry_count)];
        let keys = &list.keys[..core::mem::take(&mut list.key_count)];
        let mut sum = 0;
        // Known orders: index, bucket, order, level and neighbours, the leaf that loses a level.
        let mut handles = [NIL; WARM_MAX];
        let mut nexts = [NIL; WARM_MAX];
        let mut previous = [NIL; WARM_MAX];
        for (handle, key) in handles.iter_mut().zip(keys) {
            *handle = self.lookup.warm_index(*key);
        }
        // New orders: tick size, both sides' ladders and the owner; the leaf; the level; the order to queue behind. If it
        // will trade: the best level of the other side, the order in front, where that is filed.
        let mut levels = [NIL; WARM_MAX];
        let mut makers = [NIL; WARM_MAX];
        for (level, entry) in levels.iter_mut().zip(entries) {
            sum ^= self.lookup.warm_latest(entry.party);
            sum ^= self.ladders.get(book_ladder(entry.instrument, entry.side)).map_or(0, |it| it.best_key());
            *level = self.instruments.get(entry.instrument as usize).map_or(1, |found| found.tick);
        }
        for (handle, key) in handles.iter_mut().zip(keys) {
            *handle = self.lookup.warm_slot(*handle, *key);
        }
        for ((level, maker), entry) in levels.iter_mut().zip(&mut makers).zip(entries) {
            let tick = entry.price / (*level).max(1);
            let own = book_ladder(entry.instrument, entry.side);
            *level = self.ladders.get(own).map_or(NIL, |it| it.warm(&self.nodes, own_key(entry.side, tick)));
            if let Some(opposite) = self.ladders.get(own ^ 1)
                && opposite.best_key() <= limit_key(entry.side, tick)
            {
                *maker = opposite.best_level();
            }
        }
        for ((handle, next), previous) in
            handles.iter_mut().zip(&mut nexts).zip(&mut previous).take(keys.len())
        {
            if let Some(order) = self.orders.peek(*handle) {
                (*handle, *next, *previous) = (order.level, order.next, order.previous);
            }
        }
        for (level, maker) in levels.iter_mut().zip(&mut makers).take(entries.len()) {
            *level = self.levels.peek(*level).map_or(NIL, |level| level.displayed.tail);
            *maker = self.levels.peek(*maker).map_or(NIL, Level::front);
        }
        for ((level, next), previous) in handles.iter_mut().zip(&nexts).zip(&previous).take(keys.len()) {
            sum ^= self.orders.peek(*next).map_or(0, |order| order.open);
            sum ^= self.orders.peek(*previous).map_or(0, |order| order.open);
            *level = self.levels.peek(*level).map_or(NIL, |level| level.ladder);
        }
        for (tail, maker) in levels.iter().zip(&mut makers).take(entries.len()) {
            sum ^= self.orders.peek(*tail).map_or(0, |order| order.open);
            *maker = self.orders.peek(*maker).map_or(NIL, |order| self.lookup.warm_index(order.key()));
        }
        for bucket in &makers[..entries.len()] {
            sum ^= self.lookup.warm_bucket(*bucket);
        }
        for ladder in &handles[..keys.len()] {
            sum ^= self.ladders.get(*ladder as usize).map_or(0, |ladder| ladder.warm_leaf(&self.nodes));
        }
        black_box(sum);
    }
}
