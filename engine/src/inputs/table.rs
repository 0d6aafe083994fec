//! The table of everything that can happen to a shard: what each input holds, how it lies in the journal, what it is called,
//! and which operator command gives it. Not how it is acted on: `Shard::apply` does that.

use super::command::{
    Command, Firm, Limits, MarketMaker, Parameter, Price, Scope, Session, Symbol, SymbolOrEveryone,
    SymbolOrVenue,
};
use super::fields::{Field, Reader, Writer};
use super::{FirmRights, InputError};
use book::TradingState;
use serde::Deserialize;
use std::fmt;

pub type SessionId = u32;

group! {
    /// Sizes of the shard's tables and the venue's time zone: the first record of every journal.
    struct Genesis {
        shard: u16,
        utc_offset_seconds: i32,
        max_orders: u32,
        max_price_levels: u32,
        max_sessions: u32,
        max_instruments: u32,
        /// MoldUDP64 session of the shard's ITCH feed.
        feed_session: [u8; 10],
    }
}

group! {
    /// Sizes of the shard's tables.
    struct Sizes {
        max_orders: u32,
        max_price_levels: u32,
        max_sessions: u32,
        max_instruments: u32,
    }
}

impl Genesis {
    pub fn sizes(&self) -> Sizes {
        let Self { max_orders, max_price_levels, max_sessions, max_instruments, .. } = *self;
        Sizes { max_orders, max_price_levels, max_sessions, max_instruments }
    }
}

group! {
    struct InstrumentInput {
        symbol: [u8; 8],
        tick: u64,
        lot: u32,
        max_quantity: u32,
        reference_price: u64,
        collar_basis_points: u32,
        state: TradingState,
    }
}

group! {
    /// Pre-trade limits. Zero means no limit.
    #[derive(Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct RiskConfig {
        max_order_quantity: u32,
        /// Price (4 decimals) times quantity of one order.
        max_order_notional: u64,
        max_open_orders: u32,
        /// Open price times quantity over all orders.
        max_gross_exposure: u64,
        max_messages_per_second: u32,
        /// Deviation from the reference price, in basis points.
        collar_basis_points: u32,
    }
}

group! {
    struct SessionOpened {
        session: SessionId,
        user: [u8; 6],
        firm: [u8; 4],
        /// Downstream session name; its last nine characters are the token.
        name: [u8; 10],
        cancel_on_disconnect: bool,
        drop_copy: bool,
        risk: RiskConfig,
    }
}

codes! {
    enum CloseReason {
        1 Logout "logout",
        2 Timeout "timeout",
        3 Administrative "administrative",
    }
}

codes! {
    /// What a firm is in an instrument by the venue's registration.
    enum Role {
        /// Nothing beyond what every firm is.
        0 Trader "trader",
        1 MarketMaker "market-maker",
        2 PrimaryMarketMaker "primary-market-maker",
    }
}

codes! {
    for TradingState {
        1 PreOpen "pre-open",
        2 Open "open",
        3 Halted "halted",
        4 Auction "auction",
        5 Closed "closed",
    }
}

/// Whom a kill switch stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillScope {
    All,
    Firm([u8; 4]),
    Session(SessionId),
}

/// A run of upstream messages in sequence, as they stood in one datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Messages<'a> {
    pub session: SessionId,
    pub first_sequence: u64,
    pub count: u16,
    /// `count` MoldUDP64 blocks: u16 length and bytes.
    pub blocks: &'a [u8],
}

/// How a shard decides from here on. Part of its state, so that a journal is always replayed by the rules it was written under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// `docs/matching.md`, "Versions of the rules".
    pub version: u16,
    /// How much of the shard's room for orders and price levels one session may use, 1 to 100.
    pub session_share_percent: u8,
}

inputs! { 'a:
    /// The shard begins: the sizes of its tables.
    1 GENESIS "genesis" Genesis(genesis: Genesis);

    /// An instrument is listed, with what firms may and are in it.
    2 INSTRUMENT "instrument" Instrument(instrument: InstrumentInput, rights: FirmRights<'a>);

    /// A firm gets its limits; the first time the firm itself begins.
    3 FIRM "firm" Firm { firm: [u8; 4], risk: RiskConfig }
        command "risk" [firm: Firm] [risk: Limits]
        "replaces all limits of the firm; what is not given is not limited";

    /// A session begins, or its client is back.
    4 SESSION_OPENED "session opened" SessionOpened(opened: SessionOpened);

    /// Messages of a client, as they stood in one datagram.
    5 MESSAGES "messages" Messages(messages: Messages<'a>);

    /// A client left or fell silent.
    6 SESSION_CLOSED "session closed" SessionClosed { session: SessionId, reason: CloseReason };

    /// Time passes: orders with an expiry end.
    7 TIMER "timer" Timer;

    /// An instrument, or without a symbol every one, moves to a trading state.
    8 SET_STATE "trading state" SetState { symbol: Option<[u8; 8]>, state: TradingState }
        command "pre-open" [symbol: SymbolOrVenue] [state = TradingState::PreOpen]
        "collect orders, both auctions of the day ahead; after a close of everything, the [next trading day](matching.md#the-trading-day)"
        command "open" [symbol: SymbolOrVenue] [state = TradingState::Open]
        "hold the opening auction (first time) or a resumption auction, then match continuously"
        command "resume" [symbol: SymbolOrEveryone] [state = TradingState::Open]
        "the same as `open`"
        command "halt" [symbol: SymbolOrEveryone] [state = TradingState::Halted]
        "reject new orders; cancels still work"
        command "auction" [symbol: SymbolOrEveryone] [state = TradingState::Auction]
        "collect orders without matching"
        command "close" [symbol: SymbolOrVenue] [state = TradingState::Closed]
        "hold the closing auction, unless halted, then cancel what is left";

    /// Everyone, a firm or a session is stopped, or let in again.
    9 KILL_SWITCH "kill switch" KillSwitch { scope: KillScope, engaged: bool }
        command "kill" [scope: Scope] [engaged = true]
        "cancel all open orders and reject new ones"
        command "unkill" [scope: Scope] [engaged = false]
        "let orders in again";

    /// A firm may not, or may again, trade an instrument.
    10 RESTRICTION "restriction" Restriction { firm: [u8; 4], symbol: [u8; 8], restricted: bool }
        command "restrict" [firm: Firm] [symbol: Symbol] [restricted = true]
        "the firm may not trade the symbol"
        command "unrestrict" [firm: Firm] [symbol: Symbol] [restricted = false]
        "it may again";

    /// A session gets other limits.
    11 SESSION_RISK "session limits" SessionRisk { session: SessionId, risk: RiskConfig }
        command "risk" [session: Session] [risk: Limits]
        "replaces all limits of the session";

    /// Where an instrument's collars and auctions start from.
    12 REFERENCE_PRICE "reference price" ReferencePrice { symbol: [u8; 8], price: u64 }
        command "reference-price" [symbol: Symbol] [price: Price]
        "where collars and auctions start from";

    /// What a firm is in an instrument, for the feed to say.
    13 REGISTRATION "registration" Registration { firm: [u8; 4], symbol: [u8; 8], role: Role }
        command "register" [firm: Firm] [symbol: Symbol] [role: MarketMaker]
        "the firm is a (primary) market maker in the symbol: the feed says so"
        command "deregister" [firm: Firm] [symbol: Symbol] [role = Role::Trader]
        "it is no longer one";

    /// The shard decides by these rules from here on.
    14 RULES "rules" Rules(rules: Rules);

    /// The shard's tables grow, as the configuration asked at a start.
    15 SIZES "sizes" Sizes(sizes: Sizes);
}

/// Bytes before the blocks of a `Messages` record.
pub const MESSAGES_PREFIX: usize = 14;

impl Messages<'_> {
    #[inline]
    pub fn prefix(&self) -> [u8; MESSAGES_PREFIX] {
        let mut out = [0; MESSAGES_PREFIX];
        out[..4].copy_from_slice(&self.session.to_be_bytes());
        out[4..12].copy_from_slice(&self.first_sequence.to_be_bytes());
        out[12..].copy_from_slice(&self.count.to_be_bytes());
        out
    }
}

impl Rules {
    /// What a shard follows until it is told otherwise: journals of the first versions do not say.
    pub const FIRST: Rules = Rules { version: 1, session_share_percent: 100 };
    /// The latest version of the rules that this program knows, and the one it trades by.
    pub const VERSION: u16 = 2;
}

impl<'a> Field<'a> for Rules {
    const WIDTH: usize = 3;

    fn put(&self, out: &mut Writer<'_>) {
        self.version.put(out);
        out.put(&[self.session_share_percent]);
    }

    fn take(reader: &mut Reader<'a>, _: &'static str) -> Result<Self, InputError> {
        let version = Field::take(reader, "version")?;
        if !(1..=Self::VERSION).contains(&version) {
            return Err(reader.undefined("version", version));
        }
        match reader.bytes()? {
            [session_share_percent @ 1..=100] => Ok(Self { version, session_share_percent }),
            [other] => Err(reader.undefined("session_share_percent", other)),
        }
    }

    fn show(&self, _: &'static str, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.version.show("version", out)?;
        write!(out, " session_share_percent={}", self.session_share_percent)
    }

    fn sample() -> Self {
        Self { version: Self::VERSION, session_share_percent: 25 }
    }
}

impl<'a> Field<'a> for Messages<'a> {
    const WIDTH: usize = MESSAGES_PREFIX;

    fn put(&self, out: &mut Writer<'_>) {
        out.put(&self.prefix());
    }

    fn take(reader: &mut Reader<'a>, _: &'static str) -> Result<Self, InputError> {
        Ok(Self {
            session: Field::take(reader, "session")?,
            first_sequence: Field::take(reader, "first_sequence")?,
            count: Field::take(reader, "count")?,
            blocks: reader.tail(),
        })
    }

    fn show(&self, _: &'static str, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.session.show("session", out)?;
        self.first_sequence.show("first_sequence", out)?;
        self.count.show("count", out)?;
        let mut rest = self.blocks;
        while let Some(message) = next_message(&mut rest) {
            match wire::ouch::Inbound::decode(message) {
                Ok(message) => write!(out, "; {message:?}")?,
                Err(error) => write!(out, "; {} ({error})", message.escape_ascii())?,
            }
        }
        Ok(())
    }

    fn sample() -> Self {
        // A Cancel Order.
        Self { session: 1, first_sequence: 7, count: 1, blocks: b"\0\x09X\0\0\0\x01\0\0\0\0" }
    }

    fn tail(&self) -> &'a [u8] {
        self.blocks
    }
}

/// Takes the first message off a run of length-prefixed ones; a length that is not true ends with the bytes.
#[inline]
pub fn next_message<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<2>()?;
    let length = usize::from(u16::from_be_bytes(*length)).min(after.len());
    let (message, next) = after.split_at(length);
    *rest = next;
    Some(message)
}
