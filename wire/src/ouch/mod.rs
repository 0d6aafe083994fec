//! OUCH 5.0 order entry: every message both ways with its appendage; not what an order means.
//!
//! Integers are big-endian, alpha fields left-justified and space-padded. Prices are u64 with 4 implied decimals,
//! timestamps u64 nanoseconds since midnight.

pub mod appendage;
pub mod codes;
pub mod inbound;
pub mod outbound;
pub mod tags;

pub use appendage::{Appendage, AppendageBuilder};
pub use codes::{
    AiqStrategy, RejectReason, aiq_strategy, broken_trade_reason, cancel_reason, capacity, cross_type,
    display, event_code, liquidity, order_state, reject_reason, restate_reason, side, time_in_force,
};
pub use inbound::Inbound;
pub use outbound::Outbound;
pub use tags::{TagSet, tag};

/// A buffer of this many bytes takes any message with any legal appendage.
pub const MAX_MESSAGE_LENGTH: usize = 256;
const _: () = assert!(outbound::OrderReplaced::LENGTH + tags::MAX_APPENDAGE_LENGTH <= MAX_MESSAGE_LENGTH);

/// Largest limit price: $199,999.99.
pub const MAX_PRICE: u64 = 1_999_999_900;
/// The price that makes an order a market order.
pub const MARKET_PRICE: u64 = 0x7FFF_FFFF;
/// The other price that makes an order a market order: $200,000.00.
pub const MARKET_PRICE_DOLLARS: u64 = 2_000_000_000;
/// Largest quantity of an order, and of a chain of replacements.
pub const MAX_QUANTITY: u32 = 999_999;
