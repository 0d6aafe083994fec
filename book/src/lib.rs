//! Limit order books and their matching rules. Pure: no I/O, no clock, no allocation after construction, no floating point,
//! and nothing depends on the iteration order of a hash table: the same calls give the same events on every machine.
//!
//! A [`Market`] holds all instruments of one shard. Calls report what happens through a [`Sink`]:
//!
//! ```
//! use book::{Event, InstrumentSpec, Limits, Market, NewOrder, OrderKey, Side};
//!
//! let mut market = Market::new(Limits::new(1, 16, 1_000));
//! let apple = market.add_instrument(InstrumentSpec::default()).expect("room for one");
//! let mut events: Vec<Event> = Vec::new();
//! let (seller, buyer) = (OrderKey::new(0, 0, 1), OrderKey::new(1, 0, 1));
//! market.enter(&NewOrder::limit(seller, apple, Side::Sell, 100, 5_853_300), &mut events).expect("rests");
//! market.enter(&NewOrder::limit(buyer, apple, Side::Buy, 60, 5_854_000), &mut events).expect("trades");
//! let Some(Event::Executed(trade)) = events.last() else { panic!() };
//! assert_eq!((trade.quantity, trade.price, trade.maker.open), (60, 5_853_300, 40));
//! ```

mod auction;
mod cancel;
mod enter;
mod invariants;
mod ladder;
mod level;
mod lookup;
mod market;
mod matching;
#[cfg(any(test, feature = "model"))]
pub mod model;
mod order;
#[cfg(any(test, feature = "model"))]
pub mod random;
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
    SelfMatchStrategy, Shares, Side, TIME_TO_LIVE_MAX, TimeInForce, TradingState,
};
pub use warm::{WARM_INSTRUMENTS, WARM_MAX, WarmList};
