//! Where what a shard says goes: its users implement it. Not what it says.

use crate::inputs::SessionId;
use book::{Cross, CrossExecution, Execution};

/// Where a shard's messages go. `fill` is given room for the longest message and returns how much it used.
pub trait Outputs {
    /// The next message of a session's downstream.
    fn session(&mut self, session: SessionId, fill: impl FnOnce(&mut [u8]) -> usize);
    /// The next message of the shard's market data.
    fn feed(&mut self, fill: impl FnOnce(&mut [u8]) -> usize);
    /// A trade, after the messages about it. For replicas that publish trades; where it is left as it is it costs nothing.
    #[inline]
    fn trade(&mut self, _: Trade<'_>) {}
}

/// A trade with both its sides, which no message to one of them has. `liquidity`: as in their Executed messages.
#[derive(Debug, Clone, Copy)]
pub enum Trade<'a> {
    Continuous {
        execution: &'a Execution,
        maker_liquidity: u8,
    },
    InCross {
        execution: &'a CrossExecution,
        liquidity: u8,
    },
    /// An auction as a whole, after its trades.
    Cross(&'a Cross),
}

/// For replays whose messages nobody wants.
impl Outputs for () {
    fn session(&mut self, _: SessionId, _: impl FnOnce(&mut [u8]) -> usize) {}
    fn feed(&mut self, _: impl FnOnce(&mut [u8]) -> usize) {}
}
