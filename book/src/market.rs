//! The market: all instruments of a shard over one slab of orders. Construction, queries, trading states. No matching.

use crate::ladder::{KEY_LIMIT, Ladder, NIL, Nodes};
use crate::level::{Level, Levels};
use crate::lookup::{Lookup, Place};
use crate::order::{Extra, Flags, Order, Orders, price_out};
use crate::sink::OrderView;
use crate::types::{
    CrossKind, CrossType, InstrumentSpec, Limits, OrderKey, PRICE_MAX, Reject, Shares, Side, TradingState,
};
use crate::wheel::Wheel;

/// Mirrors tick numbers, so that the best buy has the smallest key.
const MIRROR: u32 = KEY_LIMIT - 1;
const _: () = assert!(PRICE_MAX < MIRROR as u64);

/// Key of market orders in the books of auctions: before every limit. No limit price has tick 0 or tick `MIRROR`.
pub(crate) const MARKET_KEY: u32 = 0;

/// One instrument.
#[derive(Clone, Copy)]
pub(crate) struct Instrument {
    pub tick: u32,
    pub lot: u32,
    pub quantity_max: u32,
    pub state: TradingState,
    /// The opening (closing) auction of the day is over.
    pub opened: bool,
    pub closed: bool,
}

impl Instrument {
    pub fn enter_state(&mut self, state: TradingState) {
        self.state = state;
        match state {
            TradingState::PreOpen => (self.opened, self.closed) = (false, false),
            TradingState::Open => self.opened = true,
            TradingState::Closed => (self.opened, self.closed) = (true, true),
            TradingState::Halted | TradingState::Auction => {}
        }
    }
}

/// What a state change can run into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateChangeError {
    UnknownInstrument(u32),
    /// Buys and sells overlap: continuous trading can only begin with an auction.
    Crossed,
}

impl core::fmt::Display for StateChangeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::UnknownInstrument(instrument) => write!(f, "instrument {instrument} does not exist"),
            Self::Crossed => write!(f, "the book is crossed: uncross it to begin continuous trading"),
        }
    }
}

impl core::error::Error for StateChangeError {}

/// One price level as seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth {
    pub price: u64,
    /// Shares shown.
    pub displayed: u64,
    /// All shares: shown, in reserve and hidden.
    pub open: u64,
    pub orders: u32,
}

/// All instruments of a shard and their live orders. See the crate's example.
pub struct Market {
    pub(crate) orders: Orders,
    pub(crate) levels: Levels,
    pub(crate) nodes: Nodes,
    /// Two per instrument for the continuous book (buys, sells), then four per instrument for the auctions.
    pub(crate) ladders: Vec<Ladder>,
    pub(crate) instruments: Vec<Instrument>,
    pub(crate) lookup: Lookup,
    pub(crate) wheel: Wheel,
    pub(crate) order_ref_last: u64,
    pub(crate) match_number_last: u64,
    pub(crate) limits: Limits,
    pub(crate) shares: Option<Shares>,
}

impl Market {
    /// Allocates everything the market will ever use.
    pub fn new(limits: Limits) -> Self {
        Self {
            orders: Orders::new(limits.orders),
            levels: Levels::new(limits.levels),
            nodes: Nodes::new(limits.nodes),
            ladders: vec![Ladder::EMPTY; limits.instruments as usize * 6],
            instruments: Vec::with_capacity(limits.instruments as usize),
            lookup: Lookup::new(limits.orders, limits.owners, limits.hash_seed),
            wheel: Wheel::new(),
            order_ref_last: 0,
            match_number_last: 0,
            limits,
            shares: None,
        }
    }

    /// What an owner may use from here on; orders that rest beyond it stay. Without shares, which is how a market begins, an
    /// owner may use everything, and every order needs a place, whether it would rest or not.
    pub fn set_shares(&mut self, shares: Option<Shares>) {
        self.shares = shares;
    }

    /// Instruments are numbered from 0 in the order they are added. `None`: the limit is reached, or tick or lot is 0.
    pub fn add_instrument(&mut self, spec: InstrumentSpec) -> Option<u32> {
        let number = self.instruments.len() as u32;
        if number == self.limits.instruments || spec.tick == 0 || spec.lot == 0 {
            return None;
        }
        self.instruments.push(Instrument {
            tick: spec.tick,
            lot: spec.lot,
            quantity_max: spec.quantity_max,
            state: spec.state,
            opened: !matches!(spec.state, TradingState::PreOpen),
            closed: matches!(spec.state, TradingState::Closed),
        });
        Some(number)
    }

    pub fn instrument_count(&self) -> u32 {
        self.instruments.len() as u32
    }

    /// The specification an instrument has now, its state included.
    pub fn instrument(&self, instrument: u32) -> Option<InstrumentSpec> {
        self.instruments.get(instrument as usize).map(|found| InstrumentSpec {
            tick: found.tick,
            lot: found.lot,
            quantity_max: found.quantity_max,
            state: found.state,
        })
    }

    pub fn state(&self, instrument: u32) -> Option<TradingState> {
        self.instruments.get(instrument as usize).map(|found| found.state)
    }

    /// Moves an instrument to another state. Orders stay as they are; `PreOpen` begins a new day with both auctions ahead.
    pub fn set_state(&mut self, instrument: u32, state: TradingState) -> Result<(), StateChangeError> {
        let crossed = self.is_crossed(instrument);
        let Some(found) = self.instruments.get_mut(instrument as usize) else {
            return Err(StateChangeError::UnknownInstrument(instrument));
        };
        if state == TradingState::Open && crossed {
            return Err(StateChangeError::Crossed);
        }
        found.enter_state(state);
        Ok(())
    }

    /// Whether the day's auction of this kind has been held, or can no longer be. Resumptions are never over.
    pub fn auction_over(&self, instrument: u32, kind: CrossKind) -> bool {
        self.instruments.get(instrument as usize).is_some_and(|found| match kind {
            CrossKind::Opening => found.opened,
            CrossKind::Closing => found.closed,
            CrossKind::Resumption => false,
        })
    }

    /// Whether the best buy is at or above the best sell.
    pub fn is_crossed(&self, instrument: u32) -> bool {
        let at = instrument as usize * 2;
        if instrument >= self.instrument_count() {
            return false;
        }
        let (buys, sells) = (&self.ladders[at], &self.ladders[at + 1]);
        buys.levels() > 0 && sells.levels() > 0 && buys.best_key() ^ MIRROR >= sells.best_key()
    }

    /// A live order.
    pub fn order(&self, key: OrderKey) -> Option<OrderView> {
        self.lookup.find(key).map(|(handle, _)| self.orders.get(handle).view())
    }

    pub fn live_orders(&self) -> usize {
        self.orders.live()
    }

    /// Live orders of one owner.
    pub fn owner_orders(&self, owner: u32) -> u32 {
        self.lookup.live(owner)
    }

    /// The reference given last; the next order gets the next one.
    pub fn last_order_ref(&self) -> u64 {
        self.order_ref_last
    }

    /// The second [`Market::expire`] was told last.
    pub fn now_seconds(&self) -> u32 {
        self.wheel.now()
    }

    /// The best level of one side that shows something, or, with `hidden`, simply the best.
    pub fn best(&self, instrument: u32, side: Side, hidden: bool) -> Option<Depth> {
        self.depth(instrument, side).find(|level| hidden || level.displayed > 0)
    }

    /// The price levels of one side of the continuous book, best first.
    pub fn depth(&self, instrument: u32, side: Side) -> impl Iterator<Item = Depth> + '_ {
        let ladder = (instrument < self.instrument_count()).then(|| book_ladder(instrument, side));
        ladder.into_iter().flat_map(|ladder| self.levels_of(ladder)).map(|level| Depth {
            price: price_out(level.price),
            displayed: level.displayed_quantity,
            open: level.open_quantity,
            orders: level.orders,
        })
    }

    /// The orders resting on one side of the continuous book, best first: by price, then displayed before hidden, then
    /// by time.
    pub fn resting(&self, instrument: u32, side: Side) -> impl Iterator<Item = OrderView> + '_ {
        let ladder = (instrument < self.instrument_count()).then(|| book_ladder(instrument, side));
        ladder
            .into_iter()
            .flat_map(|ladder| self.levels_of(ladder))
            .flat_map(|level| self.queue(level.displayed.head).chain(self.queue(level.hidden.head)))
            .map(|(_, order)| order.view())
    }

    /// An owner's live orders in the order of their entry.
    pub fn owned(&self, owner: u32) -> impl Iterator<Item = OrderView> + '_ {
        self.lookup.owned(owner).map(|handle| self.orders.get(handle).view())
    }

    pub(crate) fn levels_of(&self, ladder: usize) -> impl Iterator<Item = &Level> + '_ {
        let ladder = &self.ladders[ladder];
        core::iter::successors(ladder.at_or_after(&self.nodes, 0), |&(key, _)| {
            ladder.at_or_after(&self.nodes, key + 1)
        })
        .map(|(_, level)| self.levels.get(level))
    }

    pub(crate) fn queue(&self, head: u32) -> impl Iterator<Item = (u32, &Order)> + '_ {
        let order = |handle: u32| (handle != NIL).then(|| (handle, self.orders.get(handle)));
        core::iter::successors(order(head), move |&(_, found)| order(found.next))
    }

    #[inline]
    pub(crate) fn next_order_ref(&mut self) -> u64 {
        self.order_ref_last += 1;
        self.order_ref_last
    }

    /// Number of the last trade or auction; 0 before the first.
    pub fn last_match_number(&self) -> u64 {
        self.match_number_last
    }

    #[inline]
    pub(crate) fn next_match_number(&mut self) -> u64 {
        self.match_number_last += 1;
        self.match_number_last
    }

    /// The ladder on which an order of this kind rests.
    #[inline]
    pub(crate) fn ladder_for(&self, instrument: u32, side: Side, cross: CrossType) -> usize {
        match cross {
            CrossType::Continuous => book_ladder(instrument, side),
            CrossType::Opening => self.cross_ladder(instrument, side, false),
            CrossType::Closing => self.cross_ladder(instrument, side, true),
        }
    }

    pub(crate) fn cross_ladder(&self, instrument: u32, side: Side, closing: bool) -> usize {
        self.limits.instruments as usize * 2
            + instrument as usize * 4
            + usize::from(closing) * 2
            + side.book_index()
    }

    /// Files an order and puts it to rest at the back of the queue at its key. Fails, having done nothing, if a slot is
    /// missing.
    #[inline]
    pub(crate) fn rest(
        &mut self,
        ladder: usize,
        key: u32,
        order: &Order,
        extra: &Extra,
    ) -> Result<u32, Reject> {
        let handle = self.queue_up(ladder, key, order, extra)?;
        self.lookup.insert(order.key(), handle);
        if order.flags.has(Flags::TIMED) {
            self.wheel.insert(&mut self.orders, handle, extra.expires_at);
        }
        Ok(handle)
    }

    /// The part of `rest` that concerns queues only.
    #[inline]
    pub(crate) fn queue_up(
        &mut self,
        ladder: usize,
        key: u32,
        order: &Order,
        extra: &Extra,
    ) -> Result<u32, Reject> {
        if self.orders.is_full() {
            return Err(Reject::OrdersExhausted);
        }
        let level = match self.ladders[ladder].get(&self.nodes, key) {
            Some(level) => level,
            None => {
                let level =
                    self.levels.allocate(ladder as u32, key, order.price).ok_or(Reject::LevelsExhausted)?;
                if !self.ladders[ladder].insert(&mut self.nodes, key, level) {
                    self.levels.release(level);
                    return Err(Reject::LevelsExhausted);
                }
                level
            }
        };
        let handle = self.orders.allocate(*order, extra).ok_or(Reject::OrdersExhausted)?;
        self.levels.push_back(&mut self.orders, level, handle);
        Ok(handle)
    }

    /// Takes an order out of everything that knows it. Returns what it was.
    #[inline]
    pub(crate) fn take_out(&mut self, handle: u32, place: Place) -> Order {
        let order = *self.orders.get(handle);
        if order.flags.has(Flags::TIMED) {
            self.wheel.remove(&mut self.orders, handle);
        }
        self.lookup.remove(place);
        if self.levels.unlink(&mut self.orders, handle) {
            let level = self.levels.get(order.level);
            let (ladder, key) = (level.ladder, level.key);
            self.ladders[ladder as usize].remove(&mut self.nodes, key);
            self.levels.release(order.level);
        }
        self.orders.release(handle);
        order
    }
}

/// The ladder of one side of the continuous book.
#[inline]
pub(crate) fn book_ladder(instrument: u32, side: Side) -> usize {
    instrument as usize * 2 + side.book_index()
}

/// Key of a tick on its own side.
#[inline]
pub(crate) fn own_key(side: Side, tick: u32) -> u32 {
    if side.is_buy() { tick ^ MIRROR } else { tick }
}

/// The worst key on the other side that a limit at `tick` may trade with.
#[inline]
pub(crate) fn limit_key(side: Side, tick: u32) -> u32 {
    if side.is_buy() { tick } else { tick ^ MIRROR }
}

/// Every key on the other side.
pub(crate) const ANY_KEY: u32 = MIRROR;
