//! ITCH 5.0 market data: messages, the snapshot's last message, files of them; not the book that they describe.
//!
//! Integers are big-endian, alpha fields left-justified and space-padded. Prices are u32 with 4 implied decimals (u64 with
//! 8 in the circuit breaker's levels), timestamps u64 nanoseconds since midnight, of which 48 bits are on the wire.

pub mod file;
pub mod messages;
mod snapshot;

pub use messages::*;
pub use snapshot::GlimpseSnapshot;

/// A buffer of this many bytes takes any message.
pub const MAX_MESSAGE_LENGTH: usize = 64;
const _: () = assert!(NetOrderImbalance::LENGTH <= MAX_MESSAGE_LENGTH);
