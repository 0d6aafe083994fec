//! The order book as it was before its structures were rebuilt: what `bench-before` runs in turns with the present one. Not a
//! crate to build on; it goes when the comparison is over.

mod auction;
mod cancel;
mod enter;
mod ladder;
mod level;
mod lookup;
mod market;
mod matching;
mod order;
mod sink;
mod state;
mod types;
mod warm;
mod wheel;

pub use auction::{AuctionError, Indication};
pub use market::{Depth, Market, StateChangeError};
pub use sink::{
    Cancellation, Cross, CrossExecution, Event, Execution, Modification, OrderView, Replacement,
    SelfMatchPrevention, Sink,
};
pub use state::RestoreError;
pub use types::{
    CancelReason, CrossKind, CrossType, InstrumentSpec, Limits, MARKET_PRICE, MassCancel, NewOrder,
    OWNERS_MAX, OrderKey, PRICE_MAX, Party, Reject, ReplaceOrder, ReplaceOutcome, SelfMatch,
    SelfMatchStrategy, Side, TIME_TO_LIVE_MAX, TimeInForce, TradingState,
};
pub use warm::{WARM_INSTRUMENTS, WARM_MAX, WarmList};
