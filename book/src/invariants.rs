//! What must be true of a book after every input, for debug assertions of those who change it. Asks through the same queries as
//! any caller, so that it does not depend on how books are kept.

use crate::{Market, Side, TradingState};

/// Orders of a level that are summed up each time: a check after every order must not cost what the level has.
const SUMMED_MAX: u32 = 64;

impl Market {
    /// The best level of each side is what its orders say: the sums of their shares, their number, and one price; and
    /// continuous trading has left no two that would trade.
    pub fn best_is_sound(&self, instrument: u32) -> bool {
        let sound = |side: Side| {
            let Some(level) = self.depth(instrument, side).next() else {
                return self.resting(instrument, side).next().is_none();
            };
            if level.orders > SUMMED_MAX {
                return true;
            }
            let (mut displayed, mut open, mut orders) = (0, 0, 0);
            for order in self.resting(instrument, side).take_while(|order| order.price == level.price) {
                displayed += u64::from(order.displayed);
                open += u64::from(order.open);
                orders += 1;
                if order.open == 0 || order.displayed > order.open {
                    return false;
                }
            }
            (displayed, open, orders) == (level.displayed, level.open, level.orders)
        };
        let best = |side| self.depth(instrument, side).next().map(|level| level.price);
        let overlaps = matches!((best(Side::Buy), best(Side::Sell)), (Some(buy), Some(sell)) if buy >= sell);
        let trading = self.state(instrument) == Some(TradingState::Open);
        sound(Side::Buy)
            && sound(Side::Sell)
            && overlaps == self.is_crossed(instrument)
            && !(trading && overlaps)
    }
}
