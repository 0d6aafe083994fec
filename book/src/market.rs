//! The market: all instruments of a shard over one slab of orders. Construction, queries, trading states. No matching.

use crate::ladder::{KEY_LIMIT, Ladder, NIL, Nodes, Seat};
use crate::level::{Level, Levels};
use crate::lookup::Lookup;
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
#[repr(C, align(32))]
pub(crate) struct Instrument {
    /// The continuous book: buys, sells.
    pub sides: [Ladder; 2],
    /// For division by the tick, see `tick_of`.
    reciprocal: u64,
    pub tick: u32,
    pub lot: u32,
    pub quantity_max: u32,
    pub state: TradingState,
    /// The opening (closing) auction of the day is over.
    pub opened: bool,
    pub closed: bool,
}

impl Instrument {
    /// `None` where tick or lot is 0.
    pub fn new(spec: InstrumentSpec, opened: bool, closed: bool) -> Option<Self> {
        let InstrumentSpec { tick, lot, quantity_max, state } = spec;
        let reciprocal = u64::MAX.checked_div(u64::from(tick))?;
        let sides = [Ladder::EMPTY; 2];
        (lot > 0).then_some(Self { sides, reciprocal, tick, lot, quantity_max, state, opened, closed })
    }

    /// `price` / tick, by a multiplication in a tenth of a division's time. Exact for every price n and tick d: with
    /// m = (2^64 - 1 - r) / d, m (n + 1) / 2^64 is less than (n + 1) / d, but by no more than (n + 1) (r + 1) / (d 2^64), which is
    /// below 1 / d.
    #[inline]
    pub fn tick_of(&self, price: u32) -> u32 {
        ((u128::from(self.reciprocal) * (u128::from(price) + 1)) >> 64) as u32
    }

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
    /// Four per instrument, for the orders that wait for auctions.
    crosses: Vec<Ladder>,
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
            levels: Levels::new(limits.levels, limits.orders),
            nodes: Nodes::new(limits.nodes),
            crosses: vec![Ladder::EMPTY; limits.instruments as usize * 4],
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
        if number == self.limits.instruments {
            return None;
        }
        let opened = !matches!(spec.state, TradingState::PreOpen);
        let closed = matches!(spec.state, TradingState::Closed);
        self.instruments.push(Instrument::new(spec, opened, closed)?);
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
        let Some(Instrument { sides: [buys, sells], .. }) = self.instruments.get(instrument as usize) else {
            return false;
        };
        buys.levels() > 0 && sells.levels() > 0 && buys.best_key() ^ MIRROR >= sells.best_key()
    }

    /// A live order.
    pub fn order(&self, key: OrderKey) -> Option<OrderView> {
        self.lookup.find(key).map(|handle| self.orders.get(handle).view())
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
        ladder.into_iter().flat_map(|ladder| self.levels_of(ladder)).map(|level| {
            let level = self.levels.get(level);
            Depth {
                price: price_out(level.price),
                displayed: level.displayed_quantity,
                open: level.open_quantity(),
                orders: level.orders,
            }
        })
    }

    /// The orders resting on one side of the continuous book, best first: by price, then displayed before hidden, then
    /// by time.
    pub fn resting(&self, instrument: u32, side: Side) -> impl Iterator<Item = OrderView> + '_ {
        let ladder = (instrument < self.instrument_count()).then(|| book_ladder(instrument, side));
        ladder
            .into_iter()
            .flat_map(|ladder| self.levels_of(ladder))
            .flat_map(|level| self.queue(level, false).chain(self.queue(level, true)))
            .map(|(_, order)| order.view())
    }

    /// An owner's live orders in the order of their entry.
    pub fn owned(&self, owner: u32) -> impl Iterator<Item = OrderView> + '_ {
        self.lookup.owned(owner).map(|handle| self.orders.get(handle).view())
    }

    /// The levels on a ladder, best first.
    pub(crate) fn levels_of(&self, ladder: usize) -> impl Iterator<Item = u32> + '_ {
        let ladder = self.ladder(ladder);
        core::iter::successors(ladder.at_or_after(&self.nodes, 0), |&(key, _)| {
            ladder.at_or_after(&self.nodes, key + 1)
        })
        .map(|(_, level)| level)
    }

    /// The displayed or the hidden queue of a level, front first.
    pub(crate) fn queue(&self, level: u32, hidden: bool) -> impl Iterator<Item = (u32, &Order)> + '_ {
        let first = self.levels.after(self.levels.ring(level, hidden));
        core::iter::successors(first, |&handle| self.levels.after(handle))
            .map(|handle| (handle, self.orders.get(handle)))
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

    /// Ladders are numbered: two per instrument for the continuous book (buys, sells), then four per instrument for the
    /// auctions.
    #[inline]
    pub(crate) fn ladder(&self, number: usize) -> &Ladder {
        match number.checked_sub(self.limits.instruments as usize * 2) {
            None => &self.instruments[number / 2].sides[number % 2],
            Some(number) => &self.crosses[number],
        }
    }

    /// A ladder, and the nodes in which it keeps its levels.
    #[inline]
    pub(crate) fn ladder_mut(&mut self, number: usize) -> (&mut Ladder, &mut Nodes) {
        let ladder = match number.checked_sub(self.limits.instruments as usize * 2) {
            None => &mut self.instruments[number / 2].sides[number % 2],
            Some(number) => &mut self.crosses[number],
        };
        (ladder, &mut self.nodes)
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

    /// The level at a key, with room for one more order: made if there is none.
    #[inline]
    pub(crate) fn level_for(&mut self, ladder: usize, key: u32, price: u32) -> Result<u32, Reject> {
        if self.orders.is_full() {
            return Err(Reject::OrdersExhausted);
        }
        let (own, nodes) = self.ladder_mut(ladder);
        let found = own.seat(nodes, key);
        if found.level != NIL {
            return Ok(found.level);
        }
        self.new_level(ladder, key, price, found)
    }

    /// A level where `found` says that there is none.
    #[inline(never)]
    pub(crate) fn new_level(
        &mut self,
        ladder: usize,
        key: u32,
        price: u32,
        found: Seat,
    ) -> Result<u32, Reject> {
        let level = self.levels.allocate(ladder as u32, key, price).ok_or(Reject::LevelsExhausted)?;
        let (own, nodes) = self.ladder_mut(ladder);
        if !own.insert(nodes, key, found, level) {
            self.levels.release(level);
            return Err(Reject::LevelsExhausted);
        }
        Ok(level)
    }

    /// Puts a filed order into its queue. There is a slot for it.
    #[inline(always)]
    pub(crate) fn queue_up<const PLAIN: bool>(&mut self, level: u32, order: Order, extra: &Extra) -> u32 {
        let Order { displayed, open, flags, .. } = order;
        let Some(handle) = self.orders.allocate(order) else { return NIL };
        let unseen = if PLAIN { 0 } else { open - displayed };
        self.levels.push_back(level, handle, !PLAIN && flags.has(Flags::HIDDEN), displayed, unseen);
        if !PLAIN && flags.has(Flags::EXTRA) {
            *self.orders.extra_mut(handle) = *extra;
        }
        handle
    }

    /// Takes an order out of everything that knows it. What it was can still be read until the next order comes.
    #[inline(always)]
    pub(crate) fn take_out(&mut self, handle: u32) {
        let &Order { level, bucket, user_ref, displayed, open, flags, .. } = self.orders.get(handle);
        if flags.has(Flags::TIMED) {
            self.wheel.remove(&mut self.orders, handle);
        }
        self.lookup.remove(bucket, user_ref);
        if self.levels.take_out(level, handle, displayed, open) {
            self.drop_level(level);
        }
        self.orders.release(handle);
    }

    /// Gives up a level that has no orders left.
    #[inline(never)]
    fn drop_level(&mut self, level: u32) {
        let &Level { ladder, key, .. } = self.levels.get(level);
        let (own, nodes) = self.ladder_mut(ladder as usize);
        own.remove(nodes, key);
        self.levels.release(level);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn ticks_are_what_division_says() {
        let mut random = Random::from_environment();
        let edges = [1, 2, 3, 7, 100, 1 << 16, (1 << 31) - 1, 1 << 31, u32::MAX - 1, u32::MAX];
        let mut any = |step: usize| {
            let word = random.next_u64() as u32 >> random.below(32);
            if step.is_multiple_of(4) { edges[step / 4 % edges.len()] } else { word }
        };
        for step in 0..100_000 {
            let (tick, near) = (any(step).max(1), any(step + 1));
            let spec = InstrumentSpec { tick, ..InstrumentSpec::default() };
            let instrument = Instrument::new(spec, false, false).expect("a tick");
            // Where a quotient changes, and anywhere.
            let multiple = near / tick * tick;
            for price in [near, multiple, multiple.wrapping_sub(1), multiple.wrapping_add(1), u32::MAX, 0] {
                assert_eq!(instrument.tick_of(price), price / tick, "{price} / {tick}");
            }
        }
    }
}
