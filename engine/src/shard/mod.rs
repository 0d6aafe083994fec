//! A shard: a state machine from inputs with their timestamps to messages. Pure: no I/O, no clock, no addresses, so that
//! replaying its journal rebuilds it to the byte.
//!
//! ```text
//! Input + timestamp -> Shard::apply -> entry/requests/control -> book::Market -> encoder -> Outputs
//! ```

mod control;
mod encoder;
mod entry;
mod feed;
mod follows;
mod instrument;
mod outputs;
mod participants;
mod requests;
mod risk;
mod sizes;
mod state;
mod trader;
mod warm;

use crate::inputs::{Genesis, Input, Messages, Rules, SessionId, next_message};
use book::{Market, WARM_MAX, WarmList};
use encoder::{Echo, Encoder};
use instrument::{Instrument, SymbolTable};
use trader::Trader;
use wire::ouch::Inbound;

pub use crate::inputs::InputError;
pub use outputs::{Outputs, Trade};
pub use state::{StateError, state_hash};
pub use trader::Firm;

/// One input's time, and where what comes of it goes.
struct Turn<'a, O: Outputs> {
    timestamp_ns: u64,
    out: &'a mut O,
}

/// What a shard has seen, for metrics. Not part of its state: a replay counts anew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShardCounters {
    pub messages: u64,
    pub malformed_messages: u64,
    pub rejects: u64,
    /// Requests whose number had been used: retransmissions, ignored as OUCH says.
    pub repeated_requests: u64,
    /// Cancels and modifies of orders that were gone.
    pub superfluous_cancels: u64,
}

/// An input that does not fit the shard's state: a journal of another shard, or a gap in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    #[error("the first input of a shard is its genesis, found record type {0}")]
    NoGenesis(u8),
    #[error("a second genesis")]
    SecondGenesis,
    #[error("session {found} opened, the next new one is {expected}")]
    SessionNumber { found: SessionId, expected: SessionId },
    #[error("session {0} does not exist")]
    UnknownSession(SessionId),
    #[error("session {session}: messages from {found}, expected {expected}")]
    Sequence { session: SessionId, found: u64, expected: u64 },
    #[error("symbol {0} does not exist")]
    UnknownSymbol(String),
    #[error("firm {0} does not exist")]
    UnknownFirm(String),
    #[error(
        "symbol {0} exists with other terms; an instrument's tick, lot and maximum quantity cannot change"
    )]
    InstrumentChanged(String),
    #[error("{symbol:?} cannot be an instrument with ticks of {tick} and lots of {lot}")]
    Instrument { symbol: String, tick: u64, lot: u32 },
    #[error("{0} cannot change its state: {1}")]
    State(String, String),
    #[error("the table of {0} is full")]
    Full(&'static str),
    #[error(
        "reference price {found} is too large; expected 0 (unknown) to {max} (4 decimals)",
        max = wire::ouch::MAX_PRICE
    )]
    ReferencePrice { found: u64 },
    #[error("rules of version {found} after those of version {expected}")]
    Rules { found: u16, expected: u16 },
    #[error("a shard with {size} = {found}; expected 1 to {most}")]
    Size { size: &'static str, found: u32, most: u32 },
    #[error("the table of {table} has {from} places and cannot shrink to {to}")]
    Shrinks { table: &'static str, from: u32, to: u32 },
    #[error(transparent)]
    Input(#[from] InputError),
}

pub struct Shard {
    pub genesis: Genesis,
    rules: Rules,
    market: Market,
    instruments: Vec<Instrument>,
    symbols: SymbolTable,
    traders: Vec<Trader>,
    firms: Vec<Firm>,
    /// Kill switch for everyone.
    killed: bool,
    /// Next sequence number of the feed.
    next_feed: u64,
    /// Second up to which orders have been expired.
    expired_to: u32,
    /// Start and end of the venue's current day, nanoseconds since the Unix epoch.
    day: (u64, u64),
    counters: ShardCounters,
    /// Empty between messages: what the next ones are about, see `warm`.
    warm_list: WarmList,
}

// The book knows nothing of the wire: its largest price is the wire's all the same.
const _: () = assert!(book::PRICE_MAX == wire::ouch::MAX_PRICE);

const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;
const NANOSECONDS_PER_DAY: u64 = 86_400 * NANOSECONDS_PER_SECOND;

/// The second of a timestamp, as good-till-time orders count them. The last one that 32 bits have (in 2106) is the last of all.
#[inline]
fn second_of(timestamp_ns: u64) -> u32 {
    u32::try_from(timestamp_ns / NANOSECONDS_PER_SECOND).unwrap_or(u32::MAX)
}

impl Shard {
    /// A shard from its first input.
    pub fn new(genesis: Genesis) -> Self {
        Self {
            genesis,
            rules: Rules::FIRST,
            market: Market::new(control::book_limits(&genesis)),
            instruments: Vec::new(),
            symbols: SymbolTable::with_capacity(64),
            traders: Vec::with_capacity(genesis.max_sessions as usize),
            firms: Vec::new(),
            killed: false,
            next_feed: 1,
            expired_to: 0,
            day: (0, 0),
            counters: ShardCounters::default(),
            warm_list: WarmList::default(),
        }
    }

    /// Applies any input but a genesis.
    ///
    /// # Errors
    /// The input does not follow from the state; the state is then unchanged.
    pub fn apply(
        &mut self,
        input: &Input<'_>,
        timestamp_ns: u64,
        out: &mut impl Outputs,
    ) -> Result<(), ApplyError> {
        if let Input::Messages(messages) = input {
            return self.messages(messages, timestamp_ns, out);
        }
        self.would_apply(input)?;
        let turn = &mut Turn { timestamp_ns, out };
        self.pass_time(turn);
        self.control(input, turn);
        Ok(())
    }

    /// Applies a run of upstream messages: the order path.
    ///
    /// # Errors
    /// See [`Shard::apply`].
    #[inline]
    pub fn messages(
        &mut self,
        messages: &Messages<'_>,
        timestamp_ns: u64,
        out: &mut impl Outputs,
    ) -> Result<(), ApplyError> {
        self.would_take(messages)?;
        let turn = &mut Turn { timestamp_ns, out };
        let session = messages.session;
        self.traders[session as usize].next_upstream += u64::from(messages.count);
        self.pass_time(turn);
        let mut rest = messages.blocks;
        if self.warming_pays(messages.count) {
            while !rest.is_empty() {
                self.warm(session, rest);
                for _ in 0..WARM_MAX {
                    let Some(message) = next_message(&mut rest) else { return Ok(()) };
                    self.message(session, message, turn);
                }
            }
            return Ok(());
        }
        while let Some(message) = next_message(&mut rest) {
            self.message(session, message, turn);
        }
        Ok(())
    }

    #[inline]
    fn message(&mut self, session: SessionId, message: &[u8], turn: &mut Turn<'_, impl Outputs>) {
        self.counters.messages += 1;
        match Inbound::decode(message) {
            Ok(Inbound::EnterOrder(order)) => self.enter(session, &order, turn),
            Ok(Inbound::CancelOrder(request)) => self.cancel(session, &request, turn),
            Ok(Inbound::ReplaceOrder(request)) => self.replace(session, &request, turn),
            Ok(Inbound::ModifyOrder(request)) => self.modify(session, &request, turn),
            Ok(Inbound::MassCancel(request)) => self.mass_cancel(session, &request, turn),
            Ok(Inbound::DisableOrderEntry(request)) => self.set_order_entry(
                session,
                request.user_ref_num(),
                request.firm(),
                request.appendage(),
                false,
                turn,
            ),
            Ok(Inbound::EnableOrderEntry(request)) => self.set_order_entry(
                session,
                request.user_ref_num(),
                request.firm(),
                request.appendage(),
                true,
                turn,
            ),
            Ok(Inbound::AccountQuery(request)) => {
                self.account_query(session, request.appendage(), turn);
            }
            // It had its place in the sequence and that is all: a message that cannot be read has no number to answer to.
            Err(_) => self.counters.malformed_messages += 1,
        }
    }

    /// The book, and everything else as the sink of its events.
    #[inline]
    fn encoder<'a, O: Outputs>(&'a mut self, turn: &'a mut Turn<'_, O>) -> (&'a mut Market, Encoder<'a, O>) {
        let time_of_day = self.time_of_day(turn.timestamp_ns);
        (
            &mut self.market,
            Encoder {
                out: &mut *turn.out,
                traders: &mut self.traders,
                firms: &mut self.firms,
                instruments: &self.instruments,
                next_feed: &mut self.next_feed,
                time_of_day,
                echo: Echo::NONE,
            },
        )
    }

    /// Nanoseconds since the venue's midnight. The division happens once a day.
    #[inline]
    fn time_of_day(&mut self, timestamp_ns: u64) -> u64 {
        let (start, end) = self.day;
        if timestamp_ns < start || timestamp_ns >= end {
            let offset = i64::from(self.genesis.utc_offset_seconds) * 1_000_000_000;
            let local = timestamp_ns.saturating_add_signed(offset);
            let since_midnight = local % NANOSECONDS_PER_DAY;
            let start = timestamp_ns.saturating_sub(since_midnight);
            self.day = (start, start.saturating_add(NANOSECONDS_PER_DAY));
        }
        timestamp_ns - self.day.0
    }

    /// Ends orders whose time is over, before anything else can meet them.
    #[inline]
    fn pass_time(&mut self, turn: &mut Turn<'_, impl Outputs>) {
        // Whole seconds are what good-till-time orders count in.
        if !self.is_later_second(turn.timestamp_ns) {
            return;
        }
        let second = second_of(turn.timestamp_ns);
        self.expired_to = second;
        let (market, mut encoder) = self.encoder(turn);
        market.expire(second, &mut encoder);
    }

    /// Whether a second has passed since the last input that orders may have waited for.
    pub fn expires_by(&self, timestamp_ns: u64) -> bool {
        self.market.live_orders() > 0 && self.is_later_second(timestamp_ns)
    }

    #[inline]
    fn is_later_second(&self, timestamp_ns: u64) -> bool {
        timestamp_ns >= (u64::from(self.expired_to) + 1) * NANOSECONDS_PER_SECOND
    }

    pub fn rules(&self) -> Rules {
        self.rules
    }

    pub fn counters(&self) -> ShardCounters {
        self.counters
    }

    pub fn sessions(&self) -> usize {
        self.traders.len()
    }

    pub fn trader(&self, session: SessionId) -> Option<&Trader> {
        self.traders.get(session as usize)
    }

    pub fn has_symbol(&self, symbol: &[u8; 8]) -> bool {
        self.symbols.get(symbol).is_some()
    }

    pub fn has_firm(&self, name: &[u8; 4]) -> bool {
        self.firms.iter().any(|firm| firm.name == *name)
    }

    /// In the order in which they became known.
    pub fn firms(&self) -> &[Firm] {
        &self.firms
    }

    pub fn next_feed(&self) -> u64 {
        self.next_feed
    }

    pub fn market(&self) -> &Market {
        &self.market
    }

    pub fn instruments(&self) -> &[Instrument] {
        &self.instruments
    }
}
