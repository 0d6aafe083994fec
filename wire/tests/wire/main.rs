//! Everything that can be said about the layouts from outside the crate; one module per protocol.

// Clippy excuses test functions by itself, but not the helpers that they call.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod control;
mod itch_messages;
mod itch_sample;
mod moldudp64;
mod net;
mod ouch_captures;
mod ouch_messages;
mod property;
mod soupbintcp;
mod table;
