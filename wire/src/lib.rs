//! Byte layouts of order entry and market data; no I/O, no clock, no allocation, no knowledge of orders or sessions.
//!
//! ```
//! use wire::ouch::{Inbound, inbound::CancelOrder};
//! let mut buffer = [0; wire::ouch::MAX_MESSAGE_LENGTH];
//! let length = CancelOrder { user_ref_num: 7, quantity: 0 }.write(&[], &mut buffer);
//! let Ok(Inbound::CancelOrder(cancel)) = Inbound::decode(&buffer[..length]) else { panic!() };
//! assert_eq!(cancel.user_ref_num(), 7);
//! ```
//!
//! Everything is big-endian. A decoder takes any bytes, never panics, and says in a [`DecodeError`] what was wrong.
//! A view borrows the bytes that it was parsed from; an encoder writes into the caller's buffer and returns the
//! length written, or 0 when the buffer is too short.

#[macro_use]
mod message_macro;
mod error;

pub mod control;
pub mod itch;
pub mod moldudp64;
pub mod net;
pub mod ouch;
pub mod soupbintcp;

pub use error::{AppendageFault, DecodeError};
