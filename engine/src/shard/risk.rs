//! Pre-trade limits of a session or a firm and what is counted against them. Not the order's own validity: that is
//! `order_entry`. All arithmetic is on integers and saturates: a sum too large for 64 bits is above any limit.

use crate::inputs::RiskConfig;
use wire::ouch::RejectReason;

/// What a session or firm has open and how fast it sends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exposure {
    pub open_orders: u32,
    /// Sum over open orders of price (4 decimals) times open quantity; market orders count nothing.
    pub gross: u64,
    /// The second whose messages `messages` counts.
    pub second: u64,
    pub messages: u32,
}

impl Exposure {
    #[inline]
    pub fn add(&mut self, price: u64, quantity: u32) {
        self.open_orders += 1;
        self.gross = self.gross.saturating_add(price.saturating_mul(u64::from(quantity)));
    }

    /// Part of an order was executed or cancelled.
    #[inline]
    pub fn reduce(&mut self, price: u64, quantity: u32) {
        self.gross = self.gross.saturating_sub(price.saturating_mul(u64::from(quantity)));
    }

    #[inline]
    pub fn remove(&mut self) {
        debug_assert!(self.open_orders > 0, "an order that ends was counted when it began");
        self.open_orders = self.open_orders.saturating_sub(1);
    }

    /// Counts one message in the second of `timestamp_ns` and says whether it is within `limit` (0: no limit).
    #[inline]
    pub fn count_message(&mut self, timestamp_ns: u64, limit: u32) -> bool {
        if limit == 0 {
            return true;
        }
        let second = timestamp_ns / 1_000_000_000;
        if second != self.second {
            self.second = second;
            self.messages = 0;
        }
        self.messages = self.messages.saturating_add(1);
        self.messages <= limit
    }
}

/// An order as the limits see it.
#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    pub quantity: u32,
    /// Limit price; for a market order the reference price, 0 when unknown.
    pub price: u64,
    /// What it counts for, in the unit of price times quantity.
    pub value: u64,
    pub reference_price: u64,
    /// What a replaced order gives back: its open price times quantity, and whether it frees a place.
    pub released: u64,
    pub frees_order: bool,
}

/// Which limit's owner asks; each has reject codes of its own where the specification has two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Session,
    Firm,
}

/// Whether nothing limits single orders; the rate of messages is not among it.
#[inline]
pub fn is_unlimited(limits: &RiskConfig) -> bool {
    let RiskConfig {
        max_order_quantity,
        max_order_notional,
        max_open_orders,
        max_gross_exposure,
        max_messages_per_second: _,
        collar_basis_points,
    } = *limits;
    // One comparison for all.
    u64::from(max_order_quantity | max_open_orders | collar_basis_points)
        | max_order_notional
        | max_gross_exposure
        == 0
}

/// The reason to reject `order`, if a limit is exceeded. Limits of zero are not checked.
#[inline]
pub fn check(
    limits: &RiskConfig,
    exposure: &Exposure,
    order: &Candidate,
    level: Level,
) -> Result<(), RejectReason> {
    if limits.max_order_quantity != 0 && order.quantity > limits.max_order_quantity {
        return Err(RejectReason::RISK_MAX_QUANTITY_EXCEEDED);
    }
    if limits.max_order_notional != 0 && order.value > limits.max_order_notional {
        return Err(match level {
            Level::Session => RejectReason::RISK_SINGLE_ORDER_NOTIONAL_EXCEEDED,
            Level::Firm => RejectReason::EXCEEDS_MAXIMUM_ALLOWED_NOTIONAL_VALUE,
        });
    }
    if limits.collar_basis_points != 0
        && outside_collar(order.price, order.reference_price, limits.collar_basis_points)
    {
        return Err(RejectReason::RISK_FAT_FINGER);
    }
    if limits.max_open_orders != 0
        && exposure.open_orders - u32::from(order.frees_order && exposure.open_orders > 0)
            >= limits.max_open_orders
    {
        return Err(RejectReason::SHARES_EXCEED_THRESHOLD);
    }
    if limits.max_gross_exposure != 0
        && exposure.gross.saturating_sub(order.released).saturating_add(order.value)
            > limits.max_gross_exposure
    {
        return Err(RejectReason::RISK_AGGREGATE_EXPOSURE_EXCEEDED);
    }
    Ok(())
}

/// True when `price` is further from `reference` than `basis_points`. An unknown reference (0) has no collar.
#[inline]
pub fn outside_collar(price: u64, reference: u64, basis_points: u32) -> bool {
    reference != 0
        && price != 0
        && price.abs_diff(reference).saturating_mul(10_000)
            > reference.saturating_mul(u64::from(basis_points))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: Candidate = Candidate {
        quantity: 100,
        price: 10_000,
        value: 1_000_000,
        reference_price: 10_000,
        released: 0,
        frees_order: false,
    };

    #[test]
    fn each_limit_has_its_own_reason_and_admits_its_exact_value() {
        let none = Exposure::default();
        let cases = [
            (
                RiskConfig { max_order_quantity: 99, ..RiskConfig::default() },
                RejectReason::RISK_MAX_QUANTITY_EXCEEDED,
            ),
            (
                RiskConfig { max_order_notional: 999_999, ..RiskConfig::default() },
                RejectReason::RISK_SINGLE_ORDER_NOTIONAL_EXCEEDED,
            ),
            (
                RiskConfig { max_gross_exposure: 999_999, ..RiskConfig::default() },
                RejectReason::RISK_AGGREGATE_EXPOSURE_EXCEEDED,
            ),
        ];
        for (limits, reason) in cases {
            assert_eq!(check(&limits, &none, &ORDER, Level::Session), Err(reason));
            let raised = RiskConfig {
                max_order_quantity: limits
                    .max_order_quantity
                    .saturating_add(u32::from(limits.max_order_quantity > 0)),
                max_order_notional: limits.max_order_notional + u64::from(limits.max_order_notional > 0),
                max_gross_exposure: limits.max_gross_exposure + u64::from(limits.max_gross_exposure > 0),
                ..limits
            };
            assert_eq!(check(&raised, &none, &ORDER, Level::Session), Ok(()));
        }
    }

    #[test]
    fn open_orders_are_limited_and_a_replace_frees_its_own_place() {
        let limits = RiskConfig { max_open_orders: 2, ..RiskConfig::default() };
        let exposure = Exposure { open_orders: 2, ..Exposure::default() };
        assert_eq!(
            check(&limits, &exposure, &ORDER, Level::Firm),
            Err(RejectReason::SHARES_EXCEED_THRESHOLD)
        );
        let replace = Candidate { frees_order: true, ..ORDER };
        assert_eq!(check(&limits, &exposure, &replace, Level::Firm), Ok(()));
    }

    #[test]
    fn the_collar_is_symmetric_and_inclusive() {
        assert!(!outside_collar(10_100, 10_000, 100));
        assert!(outside_collar(10_101, 10_000, 100));
        assert!(!outside_collar(9_900, 10_000, 100));
        assert!(outside_collar(9_899, 10_000, 100));
        assert!(!outside_collar(1, 0, 100));
    }

    #[test]
    fn message_rate_counts_by_the_second_of_the_input() {
        let mut exposure = Exposure::default();
        assert!(exposure.count_message(1_000_000_000, 2));
        assert!(exposure.count_message(1_999_999_999, 2));
        assert!(!exposure.count_message(1_999_999_999, 2));
        assert!(exposure.count_message(2_000_000_000, 2));
    }
}
