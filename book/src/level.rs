//! Price levels: a queue of displayed orders, a queue of hidden ones, and their totals. Does not find levels by price.
//!
//! Queues are rings through `Link`s that lie apart from the orders, eight to a cache line; a level has two links of its own,
//! one in the ring of each queue. So there is no first and no last order to treat differently: taking an order out is two
//! stores wherever it stands, and an empty queue is a link that names itself.

use crate::ladder::NIL;

/// Neighbours in a queue: orders by their handles, or the level's own link.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Link {
    next: u32,
    previous: u32,
}

/// One price of one side of one book: two to a cache line.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
pub(crate) struct Level {
    /// Shares shown here.
    pub displayed_quantity: u64,
    /// Shares here that are not: in reserve and hidden.
    unseen_quantity: u64,
    /// While the level is free: the next free one.
    pub key: u32,
    pub ladder: u32,
    /// Orders in both queues.
    pub orders: u32,
    pub price: u32,
}

const _: () = assert!(size_of::<Level>() == 32);

impl Level {
    /// All shares here.
    #[inline]
    pub fn open_quantity(&self) -> u64 {
        self.displayed_quantity + self.unseen_quantity
    }

    /// Touches what is unseen only where something is: written together, the two sums are read as one word of 16 bytes, which
    /// has to wait until a store to one of them has reached the cache.
    #[inline(always)]
    fn lose(&mut self, displayed: u32, unseen: u32) {
        self.displayed_quantity -= u64::from(displayed);
        if unseen > 0 {
            self.unseen_quantity -= u64::from(unseen);
        }
    }
}

/// All levels of a market, and the queues.
pub(crate) struct Levels {
    /// Of the orders by their handles, then two of each level: its displayed queue, its hidden queue.
    links: Vec<Link>,
    nodes: Vec<Level>,
    /// Where the levels' links begin.
    orders: u32,
    free: u32,
}

impl Levels {
    /// For `count` levels with `orders` orders in all.
    pub fn new(count: u32, orders: u32) -> Self {
        let level = |next| Level {
            displayed_quantity: 0,
            unseen_quantity: 0,
            key: next,
            ladder: NIL,
            orders: 0,
            price: 0,
        };
        Self {
            links: (0..orders + 2 * count).map(|own| Link { next: own, previous: own }).collect(),
            nodes: (1..=count).map(|next| level(if next == count { NIL } else { next })).collect(),
            orders,
            free: if count == 0 { NIL } else { 0 },
        }
    }

    #[inline]
    pub fn is_full(&self) -> bool {
        self.free == NIL
    }

    #[inline]
    pub fn allocate(&mut self, ladder: u32, key: u32, price: u32) -> Option<u32> {
        let handle = self.free;
        let level = self.nodes.get_mut(handle as usize)?;
        self.free = level.key;
        (level.key, level.ladder, level.price) = (key, ladder, price);
        Some(handle)
    }

    /// Only for a level without orders.
    #[inline]
    pub fn release(&mut self, handle: u32) {
        self.nodes[handle as usize].key = self.free;
        self.free = handle;
    }

    #[inline]
    pub fn get(&self, handle: u32) -> &Level {
        &self.nodes[handle as usize]
    }

    /// `None` for a handle that is none.
    #[inline]
    pub fn peek(&self, handle: u32) -> Option<&Level> {
        self.nodes.get(handle as usize)
    }

    /// The link of a level in the ring of its displayed or its hidden queue.
    #[inline]
    pub fn ring(&self, level: u32, hidden: bool) -> u32 {
        self.orders + 2 * level + u32::from(hidden)
    }

    /// What follows in a queue: an order, or `None` at its end. Begins with the level's own link.
    #[inline]
    pub fn after(&self, link: u32) -> Option<u32> {
        let next = self.links[link as usize].next;
        (next < self.orders).then_some(next)
    }

    /// The order of a level that trades next.
    #[inline]
    pub fn front(&self, level: u32) -> u32 {
        let displayed = self.links[self.ring(level, false) as usize].next;
        if displayed < self.orders { displayed } else { self.links[self.ring(level, true) as usize].next }
    }

    /// What stands behind and before an order in its queue, for warming. `NIL` for a handle that is none.
    #[inline]
    pub fn neighbours(&self, handle: u32) -> (u32, u32) {
        self.links.get(handle as usize).map_or((NIL, NIL), |link| (link.next, link.previous))
    }

    /// The ends of a level's displayed queue, for warming. Touches the level too; `NIL` for one that is none.
    #[inline]
    pub fn ends(&self, level: u32) -> (u32, u32) {
        self.peek(level).map_or((NIL, NIL), |_| self.neighbours(self.ring(level, false)))
    }

    /// Puts an order at the back of its queue on a level.
    #[inline(always)]
    pub fn push_back(&mut self, level: u32, handle: u32, hidden: bool, displayed: u32, unseen: u32) {
        let node = &mut self.nodes[level as usize];
        node.orders += 1;
        node.displayed_quantity += u64::from(displayed);
        if unseen > 0 {
            node.unseen_quantity += u64::from(unseen);
        }
        self.link_back(self.ring(level, hidden), handle);
    }

    #[inline(always)]
    fn link_back(&mut self, ring: u32, handle: u32) {
        let own = &mut self.links[ring as usize];
        let last = core::mem::replace(&mut own.previous, handle);
        self.links[handle as usize] = Link { next: ring, previous: last };
        self.links[last as usize].next = handle;
    }

    #[inline]
    fn unlink(&mut self, handle: u32) {
        let Link { next, previous } = self.links[handle as usize];
        self.links[previous as usize].next = next;
        self.links[next as usize].previous = previous;
    }

    /// Takes an order, with what it still has open, out of its level. Returns whether the level is now empty.
    #[inline(always)]
    pub fn take_out(&mut self, level: u32, handle: u32, displayed: u32, open: u32) -> bool {
        self.unlink(handle);
        let node = &mut self.nodes[level as usize];
        node.lose(displayed, open - displayed);
        node.orders -= 1;
        node.orders == 0
    }

    /// An order of the level lost shares: so many that were shown, so many that were not.
    #[inline]
    pub fn lose(&mut self, level: u32, displayed: u32, unseen: u32) {
        self.nodes[level as usize].lose(displayed, unseen);
    }

    /// Shares of an order that were in reserve are shown now; the order moves to the back of its queue.
    pub fn refresh(&mut self, level: u32, handle: u32, displayed: u32) {
        let node = &mut self.nodes[level as usize];
        node.displayed_quantity += u64::from(displayed);
        node.unseen_quantity -= u64::from(displayed);
        self.unlink(handle);
        self.link_back(self.ring(level, false), handle);
    }
}
