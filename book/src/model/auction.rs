//! The auctions of the reference model: every price that can be the best is tried. Not the rest of the rules.

use std::collections::BTreeSet;

use super::{Live, Model, same_side};
use crate::{
    AuctionError, CancelReason, Cross, CrossExecution, CrossKind, CrossType, Event, Indication, MARKET_PRICE,
    PRICE_MAX, Side, TradingState,
};

impl Model {
    fn participants(&self, instrument: u32, kind: CrossKind, cross_only: bool) -> Vec<Live> {
        let cross = match kind {
            CrossKind::Opening => Some(CrossType::Opening),
            CrossKind::Closing => Some(CrossType::Closing),
            CrossKind::Resumption => None,
        };
        let all = &self.instruments[instrument as usize].live;
        let takes_part =
            |live: &&Live| Some(live.cross) == cross || (!cross_only && live.cross == CrossType::Continuous);
        all.iter().filter(takes_part).cloned().collect()
    }

    /// The best price with its demand and supply, by trying every price that can be the best.
    fn clearing(&self, orders: &[Live], tick: u64, reference: Option<u64>) -> Option<(u64, u64, u64)> {
        let Some(reference) = reference else { return self.clearing_by_limits(orders, tick) };
        let last = PRICE_MAX / tick;
        let reference = reference.min(PRICE_MAX) / tick;
        let mut candidates = BTreeSet::from([1, last, reference]);
        for price in orders.iter().map(|live| live.view.price).filter(|&price| price != MARKET_PRICE) {
            candidates.extend([price / tick - 1, price / tick, price / tick + 1]);
        }
        let shares = |price: u64, buys: bool| -> u64 {
            let on = orders.iter().filter(|live| live.view.side.is_buy() == buys && live.accepts(price));
            on.map(|live| u64::from(live.view.open)).sum()
        };
        let candidates = candidates.into_iter().filter(|tick| (1..=last).contains(tick)).map(|at| {
            let (demand, supply) = (shares(at * tick, true), shares(at * tick, false));
            (
                u64::MAX - demand.min(supply),
                demand.abs_diff(supply),
                at.abs_diff(reference),
                at,
                demand,
                supply,
            )
        });
        let best = candidates.min()?;
        (best.0 < u64::MAX).then_some((best.3 * tick, best.4, best.5))
    }

    /// Without a reference price: of the limits of orders that trade, and at which most trades, the one with the least imbalance,
    /// then the lowest. An order trades if those before it on its side are not enough.
    fn clearing_by_limits(&self, orders: &[Live], tick: u64) -> Option<(u64, u64, u64)> {
        let shares = |takes: &dyn Fn(&Live) -> bool| -> u64 {
            orders.iter().filter(|live| takes(live)).map(|live| u64::from(live.view.open)).sum()
        };
        let at = |price: u64| {
            let side =
                |buys: bool| shares(&|live: &Live| live.view.side.is_buy() == buys && live.accepts(price));
            (side(true), side(false))
        };
        let volume = |price: u64| at(price).0.min(at(price).1);
        let limits = || orders.iter().filter(|live| live.view.price != MARKET_PRICE);
        let greatest = limits().map(|live| volume(live.view.price)).max().filter(|&volume| volume > 0)?;
        let trades = |live: &&Live| {
            let price = live.view.price;
            let before = shares(&|other: &Live| {
                let better = match (other.view.price, live.view.side.is_buy()) {
                    (MARKET_PRICE, _) => true,
                    (other, true) => other > price,
                    (other, false) => other < price,
                };
                same_side(other.view.side, live.view.side) && better
            });
            before < greatest && volume(price) == greatest
        };
        let best = limits().filter(trades).map(|live| live.view.price).min_by_key(|&price| {
            let (demand, supply) = at(price);
            (demand.abs_diff(supply), price)
        })?;
        Some((best / tick * tick, at(best).0, at(best).1))
    }

    pub fn indicative(&self, instrument: u32, kind: CrossKind, reference: Option<u64>) -> Option<Indication> {
        let tick = u64::from(self.instruments.get(instrument as usize)?.spec.tick);
        let all = self.participants(instrument, kind, false);
        let near = self.clearing(&all, tick, reference);
        let far = self.clearing(&self.participants(instrument, kind, true), tick, reference);
        let at_any_price = |buys: bool| -> u64 {
            let on =
                all.iter().filter(|live| live.view.price == MARKET_PRICE && live.view.side.is_buy() == buys);
            on.map(|live| u64::from(live.view.open)).sum()
        };
        let (demand, supply) = near.map_or((at_any_price(true), at_any_price(false)), |it| (it.1, it.2));
        let unpriced = if near.is_some() { 0 } else { at_any_price(true).min(at_any_price(false)) };
        Some(Indication {
            unpriced,
            price: near.map(|it| it.0),
            paired: near.map_or(0, |it| it.1.min(it.2)),
            imbalance: demand.abs_diff(supply),
            imbalance_side: if demand == supply {
                None
            } else if demand > supply {
                Some(Side::Buy)
            } else {
                Some(Side::Sell)
            },
            far_price: far.map(|it| it.0),
        })
    }

    pub fn uncross(
        &mut self,
        instrument: u32,
        kind: CrossKind,
        reference: Option<u64>,
        next: TradingState,
    ) -> Result<Cross, AuctionError> {
        let Some(found) = self.instruments.get(instrument as usize) else {
            return Err(AuctionError::UnknownInstrument(instrument));
        };
        if found.spec.state == TradingState::Closed {
            return Err(AuctionError::Closed);
        }
        if (kind == CrossKind::Opening && found.opened) || (kind == CrossKind::Closing && found.closed) {
            return Err(AuctionError::Over(kind));
        }
        let tick = u64::from(found.spec.tick);
        let clearing = self.clearing(&self.participants(instrument, kind, false), tick, reference);
        let (price, quantity) = clearing.map_or((0, 0), |it| (it.0, it.1.min(it.2)));
        let mut left = quantity;
        while left > 0 {
            let all = self.participants(instrument, kind, false);
            // Orders for the auction rank with displayed orders.
            let rank = |live: &&Live| {
                let (price, hidden, time) = live.rank();
                (price, hidden && live.cross == CrossType::Continuous, time)
            };
            let front =
                |buys: bool| all.iter().filter(|live| live.view.side.is_buy() == buys).min_by_key(rank);
            let (Some(buy), Some(sell)) = (front(true), front(false)) else { break };
            let traded = left.min(u64::from(buy.offered().min(sell.offered()))) as u32;
            left -= u64::from(traded);
            let (bought, buy_shows_next) = self.execute(buy.view.key, traded);
            let (sold, sell_shows_next) = self.execute(sell.view.key, traded);
            self.match_number_last += 1;
            self.events.push(Event::ExecutedInCross(CrossExecution {
                kind,
                buy: bought,
                sell: sold,
                quantity: traded,
                price,
                match_number: self.match_number_last,
                buy_displayed: !buy.hidden,
                sell_displayed: !sell.hidden,
            }));
            self.after_execution(bought, buy_shows_next);
            self.after_execution(sold, sell_shows_next);
        }
        self.match_number_last += 1;
        let cross = Cross { kind, instrument, price, quantity, match_number: self.match_number_last };
        self.events.push(Event::Crossed(cross));
        let over = match kind {
            CrossKind::Opening => Some(CrossType::Opening),
            CrossKind::Closing => Some(CrossType::Closing),
            CrossKind::Resumption => None,
        };
        if let Some(over) = over {
            for side in [Side::Buy, Side::Sell] {
                self.cancel_ranked(instrument, side, over, CancelReason::CrossRemainder);
            }
        }
        let found = &mut self.instruments[instrument as usize];
        found.opened |= kind == CrossKind::Opening;
        found.closed |= kind == CrossKind::Closing;
        let moved = self.set_state(instrument, next);
        assert_eq!(moved, Ok(()), "an auction leaves the book uncrossed");
        Ok(cross)
    }
}
