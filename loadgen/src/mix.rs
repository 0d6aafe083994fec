//! What the next order is: a seeded draw from the weights of the mix. Knows nothing of sessions, windows or time.

use crate::random::{self, Random, scale};

/// Bits of a draw below this come true; probabilities are held as 32-bit fractions.
const PROBABILITY_ONE: f64 = 4_294_967_296.0;

/// The mid price takes a step of one tick in one of this many orders.
const WALK_STEP_ONE_IN: u32 = 16;

/// The settings of an order flow, the same for every client of a run.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct MixSettings {
    /// Relative weights of entering, cancelling and replacing.
    pub enter_weight: u32,
    pub cancel_weight: u32,
    pub replace_weight: u32,
    /// Share of entered orders that are priced through the other side and immediate-or-cancel, 0..=1.
    pub crossing: f64,
    /// Four implied decimals, as OUCH has them.
    pub price_start: u64,
    pub tick: u64,
    /// Resting orders are priced 1..=depth ticks from the mid.
    pub depth_ticks: u32,
    /// The mid walks at most this many ticks away from the start; 0 = it stands still.
    pub walk_ticks: u32,
    pub quantity_min: u32,
    pub quantity_max: u32,
    pub quantity_step: u32,
    /// The file that the flow was measured from, if it was.
    pub profile: String,
    /// Equally likely quantities to draw from instead of the range; empty: the range.
    pub quantities: Vec<u32>,
    /// Equally likely distances of resting orders, in ticks; empty: every one up to `depth_ticks`.
    pub offsets: Vec<u32>,
    /// Weights of the instruments, in their sequence; instruments beyond have the last one's. Empty: all alike.
    pub popularity: Vec<u32>,
    /// A client with this many open orders cancels one instead of entering another.
    pub open_orders_max: u32,
    pub seed: u64,
}

impl Default for MixSettings {
    fn default() -> Self {
        MixSettings {
            enter_weight: 50,
            cancel_weight: 40,
            replace_weight: 10,
            crossing: 0.1,
            price_start: 1_000_000,
            tick: 100,
            depth_ticks: 10,
            walk_ticks: 20,
            quantity_min: 100,
            quantity_max: 500,
            quantity_step: 100,
            profile: String::new(),
            quantities: Vec::new(),
            offsets: Vec::new(),
            popularity: Vec::new(),
            open_orders_max: 128,
            seed: 1,
        }
    }
}

impl MixSettings {
    /// Names the first setting that makes no sense, and what was expected.
    pub fn check(&self) -> Result<(), String> {
        if self.enter_weight == 0 {
            return Err(
                "--mix: the weight of `enter` is 0, but without entered orders there is nothing to cancel"
                    .into(),
            );
        }
        if !(0.0..=1.0).contains(&self.crossing) {
            return Err(format!("--crossing {}: expected a share from 0 to 1", self.crossing));
        }
        if self.tick == 0 || self.depth_ticks == 0 || self.open_orders_max == 0 {
            return Err("--tick, --depth and --open-orders must be at least 1".into());
        }
        let reach = self.tick.saturating_mul(2 * (u64::from(self.walk_ticks) + u64::from(self.depth_ticks)));
        if self.price_start <= reach {
            return Err(format!(
                "--price-start {} is too low: the walk and depth reach {reach} below it (four implied decimals)",
                self.price_start
            ));
        }
        if self.price_start.saturating_add(reach) > PRICE_MAX {
            return Err(format!(
                "--price-start {} is too high: OUCH prices end at {PRICE_MAX}",
                self.price_start
            ));
        }
        if self.quantity_min == 0 || self.quantity_max < self.quantity_min || self.quantity_max > QUANTITY_MAX
        {
            return Err(format!(
                "--quantity {}-{}: expected a range inside 1-{QUANTITY_MAX}",
                self.quantity_min, self.quantity_max
            ));
        }
        if self.quantity_step == 0 {
            return Err("--quantity-step must be at least 1".into());
        }
        Ok(())
    }
}

pub use wire::ouch::{MAX_PRICE as PRICE_MAX, MAX_QUANTITY as QUANTITY_MAX};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Buy,
    Sell,
}

impl Side {
    pub fn opposite(self) -> Side {
        match self {
            Side::Buy => Side::Sell,
            Side::Sell => Side::Buy,
        }
    }

    pub fn wire(self) -> u8 {
        match self {
            Side::Buy => b'B',
            Side::Sell => b'S',
        }
    }
}

/// One drawn order. `pick` indexes the client's open orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Enter {
        symbol: u16,
        side: Side,
        quantity: u32,
        price: u64,
        immediate: bool,
    },
    Cancel {
        pick: u32,
    },
    /// Priced by the side of the order that is picked: see [`Mix::price`].
    Replace {
        pick: u32,
        quantity: u32,
        offset_ticks: u32,
    },
}

/// The order flow of one client.
#[derive(Debug, Clone)]
pub struct Mix {
    random: Random,
    total_weight: u32,
    enter_weight: u32,
    enter_or_cancel_weight: u32,
    crossing_threshold: u64,
    symbols: u32,
    mid: u64,
    mid_low: u64,
    mid_high: u64,
    tick: u64,
    depth_ticks: u32,
    walk: bool,
    quantity_min: u32,
    quantity_step: u32,
    quantity_choices: u32,
    open_orders_max: u32,
    through: u64,
    quantities: Box<[u32]>,
    offsets: Box<[u32]>,
    /// Running sums of the instruments' weights, scaled to 32 bits; empty where all are alike.
    popularity: Box<[u32]>,
}

impl Mix {
    /// `client` separates the flows of one seed; `symbols` is how many instruments the client may choose from.
    pub fn new(settings: &MixSettings, client: u64, symbols: u16) -> Self {
        let walk = settings.tick * u64::from(settings.walk_ticks);
        Mix {
            random: random::stream(settings.seed, client),
            total_weight: settings.enter_weight + settings.cancel_weight + settings.replace_weight,
            enter_weight: settings.enter_weight,
            enter_or_cancel_weight: settings.enter_weight + settings.cancel_weight,
            crossing_threshold: (settings.crossing * PROBABILITY_ONE) as u64,
            symbols: u32::from(symbols.max(1)),
            mid: settings.price_start,
            mid_low: settings.price_start - walk,
            mid_high: settings.price_start + walk,
            tick: settings.tick,
            depth_ticks: settings.depth_ticks,
            walk: settings.walk_ticks > 0,
            quantity_min: settings.quantity_min,
            quantity_step: settings.quantity_step,
            quantity_choices: (settings.quantity_max - settings.quantity_min) / settings.quantity_step + 1,
            open_orders_max: settings.open_orders_max,
            // Beyond every price that any client's walk can rest at.
            through: 2 * walk + settings.tick * u64::from(settings.depth_ticks),
            quantities: settings.quantities.clone().into_boxed_slice(),
            offsets: settings.offsets.clone().into_boxed_slice(),
            popularity: running_shares(&settings.popularity, usize::from(symbols.max(1))),
        }
    }

    /// A distance from the mid, of 32 uniform bits.
    fn offset(&self, bits: u32) -> u32 {
        match self.offsets.len() {
            0 => scale(bits, self.depth_ticks),
            count => self.offsets[scale(bits, count as u32) as usize],
        }
    }

    /// Draws the next action of a client that has `open` orders to choose from.
    pub fn next(&mut self, open: u32) -> Action {
        let kind_bits = self.random.next_u64();
        let detail_bits = self.random.next_u64();
        if self.walk {
            self.step_mid((detail_bits >> 48) as u32);
        }
        let mut draw = scale(kind_bits as u32, self.total_weight);
        if open == 0 {
            draw = 0;
        } else if open >= self.open_orders_max && draw < self.enter_weight {
            draw = self.enter_weight;
            if self.enter_or_cancel_weight == self.enter_weight {
                // A mix without cancels still has to stay bounded.
                return Action::Cancel { pick: scale((kind_bits >> 32) as u32, open) };
            }
        }
        let high = (kind_bits >> 32) as u32;
        let low = detail_bits as u32;
        let quantity_bits = (detail_bits >> 16) as u32;
        let quantity = match self.quantities.len() {
            0 => self.quantity_min + self.quantity_step * scale(quantity_bits, self.quantity_choices),
            count => self.quantities[scale(quantity_bits, count as u32) as usize],
        };
        if draw < self.enter_weight {
            let side = if low & 1 == 0 { Side::Buy } else { Side::Sell };
            let symbol = if self.symbols == 1 {
                0
            } else if self.popularity.is_empty() {
                scale(high, self.symbols) as u16
            } else {
                // The last sum is the largest number there is: every draw is at or below one.
                self.popularity.partition_point(|sum| *sum < high) as u16
            };
            let immediate = u64::from(high.rotate_left(13) ^ low) < self.crossing_threshold;
            let price = if immediate {
                match side {
                    Side::Buy => self.mid + self.through,
                    Side::Sell => self.mid - self.through,
                }
            } else {
                self.price(side, self.offset(low))
            };
            Action::Enter { symbol, side, quantity, price, immediate }
        } else if draw < self.enter_or_cancel_weight {
            Action::Cancel { pick: scale(high, open) }
        } else {
            Action::Replace { pick: scale(high, open), quantity, offset_ticks: self.offset(low) }
        }
    }

    /// The price of a resting order `offset_ticks + 1` ticks behind the mid.
    pub fn price(&self, side: Side, offset_ticks: u32) -> u64 {
        let distance = self.tick * (u64::from(offset_ticks) + 1);
        match side {
            Side::Buy => self.mid - distance,
            Side::Sell => self.mid + distance,
        }
    }

    fn step_mid(&mut self, sixteen_bits: u32) {
        if !sixteen_bits.is_multiple_of(WALK_STEP_ONE_IN) {
            return;
        }
        let up = sixteen_bits & WALK_STEP_ONE_IN != 0;
        if up && self.mid + self.tick <= self.mid_high {
            self.mid += self.tick;
        } else if !up && self.mid - self.tick >= self.mid_low {
            self.mid -= self.tick;
        }
    }
}

/// Running sums of the first `count` weights as parts of 2^32; the last is 2^32 - 1.
fn running_shares(weights: &[u32], count: usize) -> Box<[u32]> {
    let Some(&last) = weights.last() else { return Box::default() };
    let weight = |index: usize| u64::from(*weights.get(index).unwrap_or(&last));
    let total: u64 = (0..count).map(weight).sum::<u64>().max(1);
    let mut sum = 0;
    let mut shares: Vec<u32> = (0..count)
        .map(|index| {
            sum += weight(index);
            (u128::from(sum) * u128::from(u32::MAX) / u128::from(total)) as u32
        })
        .collect();
    if let Some(share) = shares.last_mut() {
        *share = u32::MAX;
    }
    shares.into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn flow(settings: &MixSettings, client: u64, count: usize) -> Vec<Action> {
        let mut mix = Mix::new(settings, client, 4);
        (0..count).map(|index| mix.next(index as u32 % 50)).collect()
    }

    #[test]
    fn the_same_seed_draws_the_same_flow() {
        let settings = MixSettings { seed: 42, ..MixSettings::default() };
        assert_eq!(flow(&settings, 3, 5000), flow(&settings, 3, 5000));
        let other_seed = MixSettings { seed: 43, ..settings.clone() };
        assert_ne!(flow(&settings, 3, 50), flow(&other_seed, 3, 50));
        assert_ne!(flow(&settings, 3, 50), flow(&settings, 4, 50), "two clients must not send the same flow");
    }

    #[test]
    fn weights_and_crossing_rate_are_met() {
        let settings = MixSettings { open_orders_max: 1000, crossing: 0.25, ..MixSettings::default() };
        let mut mix = Mix::new(&settings, 0, 4);
        let (mut enter, mut cancel, mut replace, mut immediate) = (0, 0, 0, 0);
        for _ in 0..100_000 {
            match mix.next(10) {
                Action::Enter { immediate: now, .. } => {
                    enter += 1;
                    immediate += u32::from(now);
                }
                Action::Cancel { .. } => cancel += 1,
                Action::Replace { .. } => replace += 1,
            }
        }
        let near = |count: u32, share: f64, of: u32| (f64::from(count) / f64::from(of) - share).abs() < 0.01;
        assert!(near(enter, 0.5, 100_000) && near(cancel, 0.4, 100_000) && near(replace, 0.1, 100_000));
        assert!(near(immediate, 0.25, enter), "{immediate} of {enter} cross");
    }

    #[test]
    fn without_crossing_and_walk_no_buy_reaches_a_sell() {
        let settings = MixSettings { crossing: 0.0, walk_ticks: 0, ..MixSettings::default() };
        let (mut highest_buy, mut lowest_sell) = (0, u64::MAX);
        for action in flow(&settings, 0, 20_000) {
            if let Action::Enter { side, price, immediate, .. } = action {
                assert!(!immediate);
                match side {
                    Side::Buy => highest_buy = highest_buy.max(price),
                    Side::Sell => lowest_sell = lowest_sell.min(price),
                }
            }
        }
        assert!(highest_buy < lowest_sell, "{highest_buy} against {lowest_sell}");
    }

    #[test]
    fn settings_without_sense_are_named() {
        let named = |settings: MixSettings| settings.check().unwrap_err();
        assert!(named(MixSettings { crossing: 1.5, ..MixSettings::default() }).contains("--crossing 1.5"));
        assert!(
            named(MixSettings { price_start: 100, ..MixSettings::default() }).contains("--price-start 100")
        );
        assert!(named(MixSettings { quantity_max: 1, ..MixSettings::default() }).contains("--quantity"));
        assert!(MixSettings::default().check().is_ok());
    }

    proptest! {
        #[test]
        fn every_drawn_order_is_within_the_limits_of_the_protocol(
            seed in any::<u64>(), walk in 0u32..200, depth in 1u32..200, open in 0u32..300, crossing in 0.0f64..=1.0
        ) {
            let settings = MixSettings { seed, walk_ticks: walk, depth_ticks: depth, crossing, ..MixSettings::default() };
            prop_assert!(settings.check().is_ok());
            let mut mix = Mix::new(&settings, 0, 7);
            for _ in 0..500 {
                match mix.next(open) {
                    Action::Enter { symbol, quantity, price, .. } => {
                        prop_assert!(open < settings.open_orders_max);
                        prop_assert!(symbol < 7);
                        prop_assert!((settings.quantity_min..=settings.quantity_max).contains(&quantity));
                        prop_assert!(price > 0 && price <= PRICE_MAX && price % settings.tick == 0);
                    }
                    Action::Cancel { pick } => prop_assert!(pick < open),
                    Action::Replace { pick, quantity, offset_ticks } => {
                        prop_assert!(pick < open && offset_ticks < depth);
                        prop_assert!((settings.quantity_min..=settings.quantity_max).contains(&quantity));
                    }
                }
            }
        }
    }
}
