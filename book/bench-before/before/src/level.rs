//! Price levels: a queue of displayed orders, a queue of hidden ones, and their totals. Does not find levels by price.

use crate::ladder::NIL;
use crate::order::{Flags, Order, Orders};

/// An intrusive first-in-first-out queue through `Order::next` and `Order::previous`.
#[derive(Clone, Copy)]
pub(crate) struct Queue {
    pub head: u32,
    pub tail: u32,
}

impl Queue {
    pub const EMPTY: Self = Self { head: NIL, tail: NIL };

    #[inline]
    fn push_back(&mut self, orders: &mut Orders, handle: u32) {
        let tail = self.tail;
        let order = orders.get_mut(handle);
        order.previous = tail;
        order.next = NIL;
        self.tail = handle;
        if tail == NIL {
            self.head = handle;
        } else {
            orders.get_mut(tail).next = handle;
        }
    }

    #[inline]
    fn unlink(&mut self, orders: &mut Orders, next: u32, previous: u32) {
        if previous == NIL {
            self.head = next;
        } else {
            orders.get_mut(previous).next = next;
        }
        if next == NIL {
            self.tail = previous;
        } else {
            orders.get_mut(next).previous = previous;
        }
    }
}

/// One price of one side of one book: one cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Level {
    pub displayed: Queue,
    pub hidden: Queue,
    /// Shares shown here.
    pub displayed_quantity: u64,
    /// All shares here: shown, in reserve and hidden.
    pub open_quantity: u64,
    pub key: u32,
    pub ladder: u32,
    /// Orders in both queues.
    pub orders: u32,
    pub price: u32,
}

const _: () = assert!(size_of::<Level>() == 64);

impl Level {
    const VACANT: Self = Self {
        displayed: Queue::EMPTY,
        hidden: Queue::EMPTY,
        displayed_quantity: 0,
        open_quantity: 0,
        key: NIL,
        ladder: NIL,
        orders: 0,
        price: 0,
    };

    /// The order that trades next.
    #[inline]
    pub fn front(&self) -> u32 {
        if self.displayed.head != NIL { self.displayed.head } else { self.hidden.head }
    }

    #[inline]
    fn queue(&mut self, order: &Order) -> &mut Queue {
        if order.flags.has(Flags::HIDDEN) { &mut self.hidden } else { &mut self.displayed }
    }
}

/// All levels of a market.
pub(crate) struct Levels {
    nodes: Vec<Level>,
    free: Vec<u32>,
}

impl Levels {
    pub fn new(count: u32) -> Self {
        Self { nodes: vec![Level::VACANT; count as usize], free: (0..count).rev().collect() }
    }

    pub fn free_count(&self) -> usize {
        self.free.len()
    }

    #[inline]
    pub fn allocate(&mut self, ladder: u32, key: u32, price: u32) -> Option<u32> {
        let handle = self.free.pop()?;
        self.nodes[handle as usize] = Level { key, ladder, price, ..Level::VACANT };
        Some(handle)
    }

    #[inline]
    pub fn release(&mut self, handle: u32) {
        self.free.push(handle);
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

    #[inline]
    pub fn get_mut(&mut self, handle: u32) -> &mut Level {
        &mut self.nodes[handle as usize]
    }

    /// Puts an order at the back of its queue on level `level`.
    #[inline]
    pub fn push_back(&mut self, orders: &mut Orders, level: u32, handle: u32) {
        let order = orders.get_mut(handle);
        order.level = level;
        let order = *order;
        let node = &mut self.nodes[level as usize];
        node.orders += 1;
        node.displayed_quantity += u64::from(order.displayed);
        node.open_quantity += u64::from(order.open);
        node.queue(&order).push_back(orders, handle);
    }

    /// Takes an order, with what it still has open, out of its level. Returns whether the level is now empty.
    #[inline]
    pub fn unlink(&mut self, orders: &mut Orders, handle: u32) -> bool {
        let order = *orders.get(handle);
        let node = &mut self.nodes[order.level as usize];
        node.orders -= 1;
        node.displayed_quantity -= u64::from(order.displayed);
        node.open_quantity -= u64::from(order.open);
        node.queue(&order).unlink(orders, order.next, order.previous);
        node.orders == 0
    }

    /// Moves an order to the back of its queue.
    pub fn requeue(&mut self, orders: &mut Orders, handle: u32) {
        let order = *orders.get(handle);
        let queue = self.nodes[order.level as usize].queue(&order);
        queue.unlink(orders, order.next, order.previous);
        queue.push_back(orders, handle);
    }
}
