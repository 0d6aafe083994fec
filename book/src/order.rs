//! Where live orders are kept: a slab of cache-line nodes addressed by `u32` handles, and its free list. No queues, no rules.

use crate::ladder::NIL;
use crate::sink::OrderView;
use crate::types::{MARKET_PRICE, OrderKey, Party, SelfMatchStrategy, Side};

/// Price of a market order inside the book. Above every limit price.
pub(crate) const MARKET: u32 = u32::MAX;

#[inline]
pub(crate) fn price_out(price: u32) -> u64 {
    if price == MARKET { MARKET_PRICE } else { u64::from(price) }
}

/// Side (two bits), how it rests, self-match strategy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Flags(pub u32);

impl Flags {
    /// Rests in the hidden queue of its level.
    pub const HIDDEN: u32 = 1 << 2;
    /// Has a part in reserve, or had one.
    pub const RESERVE: u32 = 1 << 3;
    /// Rests in the books of the opening auction.
    pub const ON_OPEN: u32 = 1 << 4;
    /// Rests in the books of the closing auction.
    pub const ON_CLOSE: u32 = 1 << 5;
    /// Is in the timer wheel.
    pub const TIMED: u32 = 1 << 6;
    /// Its `Extra` holds something.
    pub const EXTRA: u32 = 1 << 7;
    const STRATEGY_SHIFT: u32 = 8;
    pub const ALL: u32 = (1 << 10) - 1;

    #[inline]
    pub fn new(side: Side, strategy: SelfMatchStrategy) -> Self {
        Self(side as u32 | (strategy as u32) << Self::STRATEGY_SHIFT)
    }

    #[inline]
    pub fn side(self) -> Side {
        Side::from_bits(self.0)
    }

    #[inline]
    pub fn set_side(&mut self, side: Side) {
        self.0 = self.0 & !3 | side as u32;
    }

    #[inline]
    pub fn strategy(self) -> SelfMatchStrategy {
        SelfMatchStrategy::from_bits(self.0 >> Self::STRATEGY_SHIFT)
    }

    #[inline]
    pub fn has(self, bits: u32) -> bool {
        self.0 & bits != 0
    }
}

/// What matching and cancelling touch: one cache line. Its neighbours in its queue are in `level`.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Order {
    pub order_ref: u64,
    pub party: u32,
    pub user_ref: u32,
    pub open: u32,
    /// Shares shown; 0 if hidden.
    pub displayed: u32,
    pub executed: u32,
    pub price: u32,
    /// While the slot is free: the next free one.
    pub level: u32,
    /// Where it is filed, in `lookup`.
    pub bucket: u32,
    pub flags: Flags,
    pub firm: u32,
    pub self_match_group: u32,
    pub instrument: u32,
    pub attributes: u32,
}

const _: () = assert!(size_of::<Order>() == 64);

impl Order {
    pub const VACANT: Self = Self {
        order_ref: 0,
        party: 0,
        user_ref: 0,
        open: 0,
        displayed: 0,
        executed: 0,
        price: 0,
        level: NIL,
        bucket: NIL,
        flags: Flags(0),
        firm: 0,
        self_match_group: 0,
        instrument: 0,
        attributes: 0,
    };

    #[inline]
    pub fn key(&self) -> OrderKey {
        OrderKey { party: Party::from_raw(self.party), user_ref: self.user_ref }
    }

    #[inline]
    pub fn view(&self) -> OrderView {
        OrderView {
            key: self.key(),
            order_ref: self.order_ref,
            instrument: self.instrument,
            side: self.flags.side(),
            price: price_out(self.price),
            open: self.open,
            displayed: self.displayed,
            executed: self.executed,
            firm: self.firm,
            attributes: self.attributes,
        }
    }

    /// Shares that the front of the queue offers before it has to queue again.
    #[inline]
    pub fn tranche(&self) -> u32 {
        if self.flags.has(Flags::HIDDEN) { self.open } else { self.displayed }
    }
}

/// What few orders have and matching rarely needs, kept apart to leave `Order` one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extra {
    pub max_floor: u32,
    /// Second of expiry; 0 = none.
    pub expires_at: u32,
    pub wheel_next: u32,
    pub wheel_previous: u32,
    pub group_id: u16,
}

impl Extra {
    pub const NONE: Self =
        Self { max_floor: 0, expires_at: 0, wheel_next: NIL, wheel_previous: NIL, group_id: 0 };
}

/// All orders of a market.
pub(crate) struct Orders {
    nodes: Vec<Order>,
    extras: Vec<Extra>,
    free: u32,
    live: u32,
}

impl Orders {
    pub fn new(count: u32) -> Self {
        let next = |next| if next == count { NIL } else { next };
        Self {
            nodes: (1..=count).map(|at| Order { level: next(at), ..Order::VACANT }).collect(),
            extras: vec![Extra::NONE; count as usize],
            free: next(0),
            live: 0,
        }
    }

    #[inline]
    pub fn live(&self) -> usize {
        self.live as usize
    }

    #[inline]
    pub fn is_full(&self) -> bool {
        self.free == NIL
    }

    /// The slot that `allocate` will give next; `NIL` if there is none.
    #[inline]
    pub fn next_free(&self) -> u32 {
        self.free
    }

    #[inline]
    pub fn allocate(&mut self, order: Order) -> Option<u32> {
        let handle = self.free;
        let node = self.nodes.get_mut(handle as usize)?;
        self.free = node.level;
        self.live += 1;
        *node = order;
        Some(handle)
    }

    #[inline]
    pub fn release(&mut self, handle: u32) {
        self.nodes[handle as usize].level = self.free;
        self.free = handle;
        self.live -= 1;
    }

    #[inline]
    pub fn get(&self, handle: u32) -> &Order {
        &self.nodes[handle as usize]
    }

    /// `None` for a handle that is none.
    #[inline]
    pub fn peek(&self, handle: u32) -> Option<&Order> {
        self.nodes.get(handle as usize)
    }

    #[inline]
    pub fn get_mut(&mut self, handle: u32) -> &mut Order {
        &mut self.nodes[handle as usize]
    }

    #[inline]
    pub fn extra(&self, handle: u32) -> Extra {
        if self.get(handle).flags.has(Flags::EXTRA) { self.extras[handle as usize] } else { Extra::NONE }
    }

    /// Only for orders whose flags say that they have one.
    #[inline]
    pub fn extra_mut(&mut self, handle: u32) -> &mut Extra {
        &mut self.extras[handle as usize]
    }
}
