//! Auctions: the price at which most shares can trade, and the trades at it. No continuous matching.
//!
//! The price maximises the volume, then minimises the imbalance, then is nearest to the reference price, then is the
//! lowest. Candidates are all ticks, not only those with orders. Without a reference price only a limit that trades can say
//! what the price is: the last one of either side. Where orders without a limit are all that would trade, nothing does. Priority: market orders, then better prices; at one
//! price displayed orders and orders for this auction by time, then hidden orders. Self-match prevention does not apply:
//! the volume is fixed before anyone knows who meets whom.

use crate::market::{MARKET_KEY, Market, own_key};
use crate::sink::{Cross, CrossExecution, Sink};
use crate::types::{CancelReason, CrossKind, PRICE_MAX, Side, TradingState};

/// What an auction would do if it were held now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Indication {
    /// The auction price; `None` when nothing would trade.
    pub price: Option<u64>,
    /// Shares that would trade at it.
    pub paired: u64,
    /// Shares at that price left over, and their side. When nothing would trade: what the market orders of one side are
    /// more than those of the other.
    pub imbalance: u64,
    pub imbalance_side: Option<Side>,
    /// The price if only the orders for this auction took part (ITCH "far price").
    pub far_price: Option<u64>,
    /// Shares at any price of both sides that do not trade because neither a limit nor a reference price says at what.
    pub unpriced: u64,
}

/// Why an auction could not be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuctionError {
    UnknownInstrument(u32),
    Closed,
    /// The opening or closing auction of the day has been held.
    Over(CrossKind),
}

impl core::fmt::Display for AuctionError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::UnknownInstrument(instrument) => write!(f, "instrument {instrument} does not exist"),
            Self::Closed => write!(f, "the instrument is closed"),
            Self::Over(kind) => write!(f, "the {kind:?} auction of the day has been held already"),
        }
    }
}

impl core::error::Error for AuctionError {}

/// Ladders that take part on one side: the continuous book, the orders for this auction.
#[derive(Clone, Copy)]
struct Participants {
    side: Side,
    book: Option<usize>,
    cross: Option<usize>,
}

impl Participants {
    fn ladders(self) -> impl Iterator<Item = usize> {
        self.book.into_iter().chain(self.cross)
    }
}

#[derive(Clone, Copy)]
struct Clearing {
    tick: u32,
    demand: u64,
    supply: u64,
}

impl Clearing {
    fn volume(&self) -> u64 {
        self.demand.min(self.supply)
    }

    fn better_than(&self, other: &Self, reference: u32) -> bool {
        let rank = |it: &Self| {
            (u64::MAX - it.volume(), it.demand.abs_diff(it.supply), it.tick.abs_diff(reference), it.tick)
        };
        rank(self) < rank(other)
    }

    fn imbalance(&self) -> u64 {
        self.demand.abs_diff(self.supply)
    }
}

/// Of the ticks at which the greatest volume trades, which are neighbours, the first and the last.
#[derive(Clone, Copy)]
struct Widest {
    lowest: Clearing,
    highest: Clearing,
}

impl Widest {
    /// Of what has been seen so far and the stretch from `lowest` to `highest`, which lies above it.
    fn or(seen: Option<Self>, lowest: Clearing, highest: Clearing) -> Self {
        match seen {
            Some(seen) if seen.lowest.volume() > lowest.volume() => seen,
            Some(seen) if seen.lowest.volume() == lowest.volume() => Self { highest, ..seen },
            _ => Self { lowest, highest },
        }
    }

    /// The price where there is no reference. The lowest tick is the limit of a sell that trades, unless the sells at any price
    /// are enough; the highest likewise of a buy.
    fn by_limits(self, bought_at_any_price: u64, sold_at_any_price: u64) -> Option<Clearing> {
        let volume = self.lowest.volume();
        let of_sells = (sold_at_any_price < volume).then_some(self.lowest);
        let of_buys = (bought_at_any_price < volume).then_some(self.highest);
        of_sells.into_iter().chain(of_buys).min_by_key(Clearing::imbalance)
    }
}

impl Market {
    /// What the auction would do now. `reference_price` decides between prices that are equally good; `None` is unknown.
    pub fn indicative(
        &self,
        instrument: u32,
        kind: CrossKind,
        reference_price: Option<u64>,
    ) -> Option<Indication> {
        let tick = self.instruments.get(instrument as usize)?.tick;
        let (buys, sells) = self.participants(instrument, kind);
        let reference = reference_tick(reference_price, tick);
        let near = self.clearing(buys, sells, reference, tick);
        let far = self.clearing(
            Participants { book: None, ..buys },
            Participants { book: None, ..sells },
            reference,
            tick,
        );
        let at_any_price = (self.market_quantity(buys), self.market_quantity(sells));
        let (demand, supply) = near.map_or(at_any_price, |it| (it.demand, it.supply));
        Some(Indication {
            price: near.map(|it| u64::from(it.tick) * u64::from(tick)),
            paired: near.map_or(0, |it| it.volume()),
            imbalance: demand.abs_diff(supply),
            imbalance_side: match demand.cmp(&supply) {
                core::cmp::Ordering::Less => Some(Side::Sell),
                core::cmp::Ordering::Equal => None,
                core::cmp::Ordering::Greater => Some(Side::Buy),
            },
            far_price: far.map(|it| u64::from(it.tick) * u64::from(tick)),
            unpriced: if near.is_none() { at_any_price.0.min(at_any_price.1) } else { 0 },
        })
    }

    /// Holds an auction: trades at its price, cancels what is left of the orders that were for this auction only, and moves
    /// the instrument to `next`. Afterwards the book is not crossed.
    pub fn uncross<S: Sink>(
        &mut self,
        instrument: u32,
        kind: CrossKind,
        reference_price: Option<u64>,
        next: TradingState,
        sink: &mut S,
    ) -> Result<Cross, AuctionError> {
        let Some(found) = self.instruments.get(instrument as usize) else {
            return Err(AuctionError::UnknownInstrument(instrument));
        };
        match kind {
            _ if found.state == TradingState::Closed => return Err(AuctionError::Closed),
            CrossKind::Opening if found.opened => return Err(AuctionError::Over(kind)),
            CrossKind::Closing if found.closed => return Err(AuctionError::Over(kind)),
            _ => {}
        }
        let tick = found.tick;
        let (buys, sells) = self.participants(instrument, kind);
        let clearing = self.clearing(buys, sells, reference_tick(reference_price, tick), tick);
        let (price, quantity) =
            clearing.map_or((0, 0), |it| (u64::from(it.tick) * u64::from(tick), it.volume()));
        let mut left = quantity;
        while left > 0 {
            let (Some(buy), Some(sell)) = (self.auction_front(buys), self.auction_front(sells)) else {
                break;
            };
            let offered = self.orders.get(buy).tranche().min(self.orders.get(sell).tranche());
            let traded = left.min(u64::from(offered)) as u32;
            left -= u64::from(traded);
            let match_number = self.next_match_number();
            let buy_displayed = self.execute(buy, traded);
            let sell_displayed = self.execute(sell, traded);
            sink.executed_in_cross(&CrossExecution {
                kind,
                buy: self.orders.get(buy).view(),
                sell: self.orders.get(sell).view(),
                quantity: traded,
                price,
                match_number,
                buy_displayed,
                sell_displayed,
            });
            self.after_execution(buy, sink);
            self.after_execution(sell, sink);
        }
        let match_number = self.next_match_number();
        let cross = Cross { kind, instrument, price, quantity, match_number };
        sink.crossed(&cross);
        for ladder in [buys.cross, sells.cross].into_iter().flatten() {
            self.clear_ladder(ladder, CancelReason::CrossRemainder, sink);
        }
        let found = &mut self.instruments[instrument as usize];
        match kind {
            CrossKind::Opening => found.opened = true,
            CrossKind::Closing => found.closed = true,
            CrossKind::Resumption => {}
        }
        found.enter_state(next);
        Ok(cross)
    }

    fn participants(&self, instrument: u32, kind: CrossKind) -> (Participants, Participants) {
        let closing = match kind {
            CrossKind::Opening => Some(false),
            CrossKind::Closing => Some(true),
            CrossKind::Resumption => None,
        };
        let on = |side: Side| Participants {
            side,
            book: Some(crate::market::book_ladder(instrument, side)),
            cross: closing.map(|closing| self.cross_ladder(instrument, side, closing)),
        };
        (on(Side::Buy), on(Side::Sell))
    }

    fn market_quantity(&self, on: Participants) -> u64 {
        on.cross.map_or(0, |ladder| {
            let ladder = self.ladder(ladder);
            if ladder.best_key() == MARKET_KEY {
                self.levels.get(ladder.best_level()).open_quantity()
            } else {
                0
            }
        })
    }

    /// The best tick among limit orders.
    fn best_limit(&self, on: Participants) -> Option<u32> {
        let keys = on.ladders().filter_map(|ladder| {
            self.ladder(ladder).at_or_after(&self.nodes, MARKET_KEY + 1).map(|(key, _)| key)
        });
        keys.min().map(|key| own_key(on.side, key))
    }

    /// The lowest tick from `from` on at which this side has limit orders, and their shares.
    fn next_tick(&self, on: Participants, from: u32) -> Option<(u32, u64)> {
        let mut found: Option<(u32, u64)> = None;
        for ladder in on.ladders() {
            let ladder = self.ladder(ladder);
            let hit = if on.side.is_buy() {
                ladder
                    .at_or_before(&self.nodes, own_key(Side::Buy, from))
                    .filter(|&(key, _)| key != MARKET_KEY)
            } else {
                ladder.at_or_after(&self.nodes, from.max(MARKET_KEY + 1))
            };
            let Some((key, level)) = hit else { continue };
            let (tick, quantity) = (own_key(on.side, key), self.levels.get(level).open_quantity());
            found = match found {
                Some((best, sum)) if best == tick => Some((tick, sum + quantity)),
                Some((best, _)) if best < tick => found,
                _ => Some((tick, quantity)),
            };
        }
        found
    }

    /// Sweeps the ticks at which anything could trade, upwards. Between two ticks with orders demand and supply are
    /// constant, so each such stretch is one candidate: its tick nearest to the reference. Without one the ends of the widest
    /// stretch are, as far as they are limits.
    fn clearing(
        &self,
        buys: Participants,
        sells: Participants,
        reference: Option<u32>,
        tick_size: u32,
    ) -> Option<Clearing> {
        let tick_last = (PRICE_MAX / u64::from(tick_size)) as u32;
        let (bought_at_any_price, sold_at_any_price) =
            (self.market_quantity(buys), self.market_quantity(sells));
        let (mut demand, mut supply) = (bought_at_any_price, sold_at_any_price);
        // Without market orders on the other side, nothing trades below the best sell or above the best buy.
        let first = if supply > 0 { 1 } else { self.best_limit(sells)? };
        let last = if demand > 0 { tick_last } else { self.best_limit(buys)? };
        let mut next_buy = self.next_tick(buys, first);
        let mut next_sell = self.next_tick(sells, first);
        let mut at = next_buy;
        while let Some((tick, quantity)) = at {
            demand += quantity;
            at = self.next_tick(buys, tick + 1);
        }
        let mut best: Option<Clearing> = None;
        let mut widest: Option<Widest> = None;
        let mut consider = |from: u32, upto: u32, demand: u64, supply: u64| {
            if from > upto || demand.min(supply) == 0 {
                return;
            }
            let at = |tick| Clearing { tick, demand, supply };
            let Some(reference) = reference else {
                widest = Some(Widest::or(widest, at(from), at(upto)));
                return;
            };
            let candidate = at(reference.max(from).min(upto));
            if best.as_ref().is_none_or(|best| candidate.better_than(best, reference)) {
                best = Some(candidate);
            }
        };
        let mut from = first;
        while from <= last {
            let next = [next_buy, next_sell].into_iter().flatten().map(|(tick, _)| tick).min();
            let Some(tick) = next.filter(|&tick| tick <= last) else {
                consider(from, last, demand, supply);
                break;
            };
            if from < tick {
                consider(from, tick - 1, demand, supply);
            }
            if let Some((_, quantity)) = next_sell.filter(|&(at, _)| at == tick) {
                supply += quantity;
                next_sell = self.next_tick(sells, tick + 1);
            }
            consider(tick, tick, demand, supply);
            if let Some((_, quantity)) = next_buy.filter(|&(at, _)| at == tick) {
                demand -= quantity;
                next_buy = self.next_tick(buys, tick + 1);
            }
            from = tick + 1;
        }
        best.or_else(|| widest?.by_limits(bought_at_any_price, sold_at_any_price))
    }

    /// The order of one side that trades next in an auction.
    fn auction_front(&self, on: Participants) -> Option<u32> {
        let best = |ladder: Option<usize>| {
            let ladder = self.ladder(ladder?);
            (ladder.levels() > 0).then(|| (ladder.best_key(), ladder.best_level()))
        };
        match (best(on.book), best(on.cross)) {
            (None, None) => None,
            (Some((_, level)), None) | (None, Some((_, level))) => Some(self.levels.front(level)),
            (Some((book_key, book)), Some((cross_key, cross))) => {
                let book_first = match book_key.cmp(&cross_key) {
                    core::cmp::Ordering::Less => true,
                    core::cmp::Ordering::Greater => false,
                    core::cmp::Ordering::Equal => {
                        let time = |handle: u32| self.orders.get(handle).order_ref;
                        let displayed = self.levels.after(self.levels.ring(book, false));
                        displayed.is_some_and(|front| time(front) < time(self.levels.front(cross)))
                    }
                };
                Some(self.levels.front(if book_first { book } else { cross }))
            }
        }
    }
}

fn reference_tick(price: Option<u64>, tick: u32) -> Option<u32> {
    price.map(|price| (price.min(PRICE_MAX) / u64::from(tick)) as u32)
}
