//! Brings what the next messages will touch into the processor's caches, many at a time. Changes nothing, decides nothing.
//!
//! With thousands of instruments most messages find their book in main memory, five dependent loads deep, each a hundred
//! nanoseconds away. One message after the other waits for each of them. A batch of messages need not: the first load of
//! all of them goes out together, then the second of all of them, and so on. Costs some 20 ns a message and saves several
//! hundred once the books no longer fit into the caches: see [`WARM_INSTRUMENTS`].

use core::hint::black_box;

use crate::ladder::NIL;
use crate::market::{Market, limit_key, own_key};
use crate::types::{OrderKey, Party, Side};

/// Messages warmed together: a full receive batch.
pub const WARM_MAX: usize = 64;

/// From so many instruments on warming a batch costs less than it saves. Nanoseconds a message, one by one and in warmed
/// batches (`book-bench`, 40 resting orders each, real flow, beside other work): 115 and 92 with 1,000 instruments, 287 and 167
/// with 10,000; with 100 there is nothing to save of 31.
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
        // Known orders: head of the chain, bucket, order and link, level and neighbours, the bitmaps that lose a level.
        let mut handles = [NIL; WARM_MAX];
        let mut nexts = [NIL; WARM_MAX];
        let mut previous = [NIL; WARM_MAX];
        for (handle, key) in handles.iter_mut().zip(keys) {
            *handle = self.lookup.warm_index(*key);
        }
        // New orders: tick size, both sides' ladders and the owner; the owner's latest bucket and the leaf; the level and its
        // queue; the link to queue behind. If it will trade: the best level of the other side, the order in front, where that is
        // filed.
        let mut levels = [NIL; WARM_MAX];
        let mut makers = [NIL; WARM_MAX];
        for ((level, maker), entry) in levels.iter_mut().zip(&mut makers).zip(entries) {
            *maker = self.lookup.warm_latest(entry.party);
            if let Some(found) = self.instruments.get(entry.instrument as usize) {
                *level = found.tick;
                sum ^= found.sides[entry.side.book_index()].best_key();
            }
        }
        for (handle, key) in handles.iter_mut().zip(keys) {
            *handle = self.lookup.warm_slot(*handle, *key);
        }
        for ((level, maker), entry) in levels.iter_mut().zip(&mut makers).zip(entries) {
            sum ^= self.lookup.warm_bucket(*maker);
            (*level, *maker) = (NIL, NIL);
            let Some(found) = self.instruments.get(entry.instrument as usize) else { continue };
            let (side, tick) = (entry.side, found.tick_of(entry.price));
            *level = found.sides[side.book_index()].warm(&self.nodes, own_key(side, tick));
            let opposite = &found.sides[1 - side.book_index()];
            if opposite.best_key() <= limit_key(side, tick) {
                *maker = opposite.best_level();
            }
        }
        for ((handle, next), previous) in
            handles.iter_mut().zip(&mut nexts).zip(&mut previous).take(keys.len())
        {
            (*next, *previous) = self.levels.neighbours(*handle);
            *handle = self.orders.peek(*handle).map_or(NIL, |order| order.level);
        }
        for (level, maker) in levels.iter_mut().zip(&mut makers).take(entries.len()) {
            *level = self.levels.ends(*level).1;
            *maker = self.levels.ends(*maker).0;
        }
        for ((level, next), previous) in handles.iter_mut().zip(&nexts).zip(&mut previous).take(keys.len()) {
            sum ^= self.levels.neighbours(*next).0 ^ self.levels.neighbours(*previous).0;
            (*level, *previous) =
                self.levels.peek(*level).map_or((NIL, 0), |level| (level.ladder, level.key));
        }
        for (tail, maker) in levels.iter().zip(&mut makers).take(entries.len()) {
            sum ^= self.levels.neighbours(*tail).0 ^ self.levels.neighbours(*maker).0;
            *maker = self.orders.peek(*maker).map_or(NIL, |order| order.bucket);
        }
        for bucket in &makers[..entries.len()] {
            sum ^= self.lookup.warm_bucket(*bucket);
        }
        for (ladder, key) in handles.iter().zip(&previous).take(keys.len()) {
            if *ladder != NIL {
                sum ^= self.ladder(*ladder as usize).warm_leaf(&self.nodes, *key);
            }
        }
        black_box(sum);
    }
}
