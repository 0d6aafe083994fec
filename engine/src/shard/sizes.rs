//! Tables that grow after the shard began. Not how large they begin: the genesis says that.

use super::control::book_limits;
use super::{ApplyError, Shard};
use crate::inputs::{Genesis, Sizes};
use book::Market;

impl Shard {
    /// # Errors
    /// A table would shrink (what is in it may not fit, and whether it does would depend on the moment), or be larger than can be.
    pub(super) fn would_grow(&self, sizes: &Sizes) -> Result<(), ApplyError> {
        let now = self.genesis.sizes();
        for (table, from, to) in [
            ("orders", now.max_orders, sizes.max_orders),
            ("price levels", now.max_price_levels, sizes.max_price_levels),
            ("sessions", now.max_sessions, sizes.max_sessions),
            ("instruments", now.max_instruments, sizes.max_instruments),
        ] {
            if to < from {
                return Err(ApplyError::Shrinks { table, from, to });
            }
        }
        self.grown(sizes).check()
    }

    fn grown(&self, sizes: &Sizes) -> Genesis {
        let Sizes { max_orders, max_price_levels, max_sessions, max_instruments } = *sizes;
        Genesis { max_orders, max_price_levels, max_sessions, max_instruments, ..self.genesis }
    }

    /// Lays the book out anew with room for more. It goes through its bytes, as with a snapshot: everything that can be told
    /// apart from outside stays as it is. Allocates, and takes as long as a snapshot does: for a start, not for a trading day.
    pub(super) fn grow(&mut self, sizes: &Sizes) {
        let genesis = self.grown(sizes);
        let mut state = Vec::new();
        self.market.write_state(&mut state);
        let market = Market::restore(book_limits(&genesis), &state);
        debug_assert!(market.is_ok(), "what a market wrote fits into a larger one");
        let Ok(market) = market else { return };
        self.market = market;
        self.traders.reserve_exact((sizes.max_sessions as usize).saturating_sub(self.traders.len()));
        self.genesis = genesis;
        // What one session may use is a share of the room there is.
        self.follow(self.rules);
    }
}
