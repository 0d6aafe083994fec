//! Everything that can happen to a shard, as the journal keeps it. Not how it is acted on: `Shard::apply` does that.
//! An input with its timestamp is all a replay needs, so nothing here refers to configuration, addresses or clocks.
//! Integers are big-endian, as everywhere on the wire.

use crate::config::RiskConfig;
use book::TradingState;
use std::fmt;

/// Journal record types. A number is never reused.
pub mod kind {
    pub const GENESIS: u8 = 1;
    pub const INSTRUMENT: u8 = 2;
    pub const FIRM: u8 = 3;
    pub const SESSION_OPENED: u8 = 4;
    pub const MESSAGES: u8 = 5;
    pub const SESSION_CLOSED: u8 = 6;
    pub const TIMER: u8 = 7;
    pub const SET_STATE: u8 = 8;
    pub const KILL_SWITCH: u8 = 9;
    pub const RESTRICTION: u8 = 10;
    pub const SESSION_RISK: u8 = 11;
    pub const REFERENCE_PRICE: u8 = 12;
    pub const REGISTRATION: u8 = 13;
}

pub type SessionId = u32;

/// Sizes of the shard's tables and the venue's time zone: the first record of every journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Genesis {
    pub shard: u16,
    pub utc_offset_seconds: i32,
    pub max_orders: u32,
    pub max_price_levels: u32,
    pub max_sessions: u32,
    pub max_instruments: u32,
    /// MoldUDP64 session of the shard's ITCH feed.
    pub feed_session: [u8; 10],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstrumentInput {
    pub symbol: [u8; 8],
    pub tick: u64,
    pub lot: u32,
    pub max_quantity: u32,
    pub reference_price: u64,
    pub collar_basis_points: u32,
    pub state: TradingState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionOpened {
    pub session: SessionId,
    pub user: [u8; 6],
    pub firm: [u8; 4],
    /// Downstream session name; its last nine characters are the token.
    pub name: [u8; 10],
    pub cancel_on_disconnect: bool,
    pub drop_copy: bool,
    pub risk: RiskConfig,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum CloseReason {
    Logout = 1,
    Timeout = 2,
    Administrative = 3,
}

/// Whom a kill switch stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillScope {
    All,
    Firm([u8; 4]),
    Session(SessionId),
}

/// What a firm is in an instrument by the venue's registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// Nothing beyond what every firm is.
    Trader = 0,
    MarketMaker = 1,
    PrimaryMarketMaker = 2,
}

/// What a firm may and is in an instrument from its first moment on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirmRight {
    pub firm: [u8; 4],
    pub restricted: bool,
    pub role: Role,
}

/// Firm, then one byte: role, and [`FirmRights::RESTRICTED`].
const RIGHT_LENGTH: usize = 5;

/// [`FirmRight`]s as they stand at the end of an instrument's record. In one record with it, so that no crash can come between.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FirmRights<'a>(&'a [u8]);

impl fmt::Debug for FirmRights<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> FirmRights<'a> {
    pub const NONE: FirmRights<'static> = FirmRights(&[]);
    const RESTRICTED: u8 = 0x80;

    /// Adds one to the bytes that [`FirmRights::new`] takes.
    pub fn push(bytes: &mut Vec<u8>, right: FirmRight) {
        bytes.extend(right.firm);
        bytes.push(right.role as u8 | if right.restricted { Self::RESTRICTED } else { 0 });
    }

    /// # Errors
    /// Not a whole number of rights, or a role that is not defined.
    pub fn new(bytes: &'a [u8]) -> Result<Self, InputError> {
        Self::after(0, bytes)
    }

    /// As [`FirmRights::new`], of a record in which so many bytes come before.
    fn after(before: usize, record: &'a [u8]) -> Result<Self, InputError> {
        let kind = kind::INSTRUMENT;
        let bytes = &record[before..];
        if !bytes.len().is_multiple_of(RIGHT_LENGTH) {
            let expected = before + bytes.len().next_multiple_of(RIGHT_LENGTH);
            return Err(InputError::Length { kind, found: record.len(), expected });
        }
        let rights = FirmRights(bytes);
        match rights.roles().find(|&role| Role::from_code(role).is_none()) {
            Some(value) => Err(InputError::Value { kind, field: "role", value: value.into() }),
            None => Ok(rights),
        }
    }

    fn roles(&self) -> impl Iterator<Item = u8> + 'a {
        self.0.chunks_exact(RIGHT_LENGTH).map(|right| right[4] & !Self::RESTRICTED)
    }

    pub fn iter(&self) -> impl Iterator<Item = FirmRight> + 'a {
        self.0.chunks_exact(RIGHT_LENGTH).map(|right| FirmRight {
            firm: [right[0], right[1], right[2], right[3]],
            restricted: right[4] & Self::RESTRICTED != 0,
            role: Role::from_code(right[4] & !Self::RESTRICTED).unwrap_or(Role::Trader),
        })
    }
}

impl Role {
    fn from_code(code: u8) -> Option<Role> {
        [Role::Trader, Role::MarketMaker, Role::PrimaryMarketMaker]
            .into_iter()
            .find(|role| *role as u8 == code)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input<'a> {
    Genesis(Genesis),
    Instrument(InstrumentInput, FirmRights<'a>),
    Firm {
        firm: [u8; 4],
        risk: RiskConfig,
    },
    SessionOpened(SessionOpened),
    Messages(Messages<'a>),
    SessionClosed {
        session: SessionId,
        reason: CloseReason,
    },
    /// Time passes: orders with an expiry end.
    Timer,
    /// `None` moves every instrument.
    SetState {
        symbol: Option<[u8; 8]>,
        state: TradingState,
    },
    KillSwitch {
        scope: KillScope,
        engaged: bool,
    },
    Restriction {
        firm: [u8; 4],
        symbol: [u8; 8],
        restricted: bool,
    },
    SessionRisk {
        session: SessionId,
        risk: RiskConfig,
    },
    ReferencePrice {
        symbol: [u8; 8],
        price: u64,
    },
    Registration {
        firm: [u8; 4],
        symbol: [u8; 8],
        role: Role,
    },
}

/// A journal record that is not an input of this version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    #[error("record type {0} is not known to this version")]
    UnknownKind(u8),
    #[error("record of type {kind} has {found} bytes, expected {expected}")]
    Length { kind: u8, found: usize, expected: usize },
    #[error("record of type {kind}: {field} has the undefined value {value}")]
    Value { kind: u8, field: &'static str, value: u64 },
}

/// Longest encoded input but for its tail, which the journal takes apart.
pub const MAX_ENCODED: usize = 96;
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

impl<'a> Input<'a> {
    pub fn kind(&self) -> u8 {
        match self {
            Self::Genesis(_) => kind::GENESIS,
            Self::Instrument(..) => kind::INSTRUMENT,
            Self::Firm { .. } => kind::FIRM,
            Self::SessionOpened(_) => kind::SESSION_OPENED,
            Self::Messages(_) => kind::MESSAGES,
            Self::SessionClosed { .. } => kind::SESSION_CLOSED,
            Self::Timer => kind::TIMER,
            Self::SetState { .. } => kind::SET_STATE,
            Self::KillSwitch { .. } => kind::KILL_SWITCH,
            Self::Restriction { .. } => kind::RESTRICTION,
            Self::SessionRisk { .. } => kind::SESSION_RISK,
            Self::ReferencePrice { .. } => kind::REFERENCE_PRICE,
            Self::Registration { .. } => kind::REGISTRATION,
        }
    }

    /// What follows the bytes that [`Input::encode`] writes.
    pub fn tail(&self) -> &'a [u8] {
        match self {
            Self::Instrument(_, rights) => rights.0,
            Self::Messages(messages) => messages.blocks,
            _ => &[],
        }
    }

    /// Writes the payload of the journal record but for its [`tail`](Input::tail), and returns its length.
    pub fn encode(&self, out: &mut [u8; MAX_ENCODED]) -> usize {
        let mut writer = Writer { out, length: 0 };
        match self {
            Self::Genesis(genesis) => {
                writer.put(&genesis.shard.to_be_bytes());
                writer.put(&genesis.utc_offset_seconds.to_be_bytes());
                writer.put(&genesis.max_orders.to_be_bytes());
                writer.put(&genesis.max_price_levels.to_be_bytes());
                writer.put(&genesis.max_sessions.to_be_bytes());
                writer.put(&genesis.max_instruments.to_be_bytes());
                writer.put(&genesis.feed_session);
            }
            Self::Instrument(instrument, _) => {
                writer.put(&instrument.symbol);
                writer.put(&instrument.tick.to_be_bytes());
                writer.put(&instrument.lot.to_be_bytes());
                writer.put(&instrument.max_quantity.to_be_bytes());
                writer.put(&instrument.reference_price.to_be_bytes());
                writer.put(&instrument.collar_basis_points.to_be_bytes());
                writer.put(&[state_code(instrument.state)]);
            }
            Self::Firm { firm, risk } => {
                writer.put(firm);
                writer.risk(risk);
            }
            Self::SessionOpened(opened) => {
                writer.put(&opened.session.to_be_bytes());
                writer.put(&opened.user);
                writer.put(&opened.firm);
                writer.put(&opened.name);
                writer.put(&[u8::from(opened.cancel_on_disconnect), u8::from(opened.drop_copy)]);
                writer.risk(&opened.risk);
            }
            Self::Messages(messages) => writer.put(&messages.prefix()),
            Self::SessionClosed { session, reason } => {
                writer.put(&session.to_be_bytes());
                writer.put(&[*reason as u8]);
            }
            Self::Timer => {}
            Self::SetState { symbol, state } => {
                writer.put(&symbol.unwrap_or([b' '; 8]));
                writer.put(&[state_code(*state)]);
            }
            Self::KillSwitch { scope, engaged } => {
                let (code, value) = match scope {
                    KillScope::All => (0, [0; 4]),
                    KillScope::Firm(firm) => (1, *firm),
                    KillScope::Session(session) => (2, session.to_be_bytes()),
                };
                writer.put(&[code]);
                writer.put(&value);
                writer.put(&[u8::from(*engaged)]);
            }
            Self::Restriction { firm, symbol, restricted } => {
                writer.put(firm);
                writer.put(symbol);
                writer.put(&[u8::from(*restricted)]);
            }
            Self::SessionRisk { session, risk } => {
                writer.put(&session.to_be_bytes());
                writer.risk(risk);
            }
            Self::ReferencePrice { symbol, price } => {
                writer.put(symbol);
                writer.put(&price.to_be_bytes());
            }
            Self::Registration { firm, symbol, role } => {
                writer.put(firm);
                writer.put(symbol);
                writer.put(&[*role as u8]);
            }
        }
        writer.length
    }

    /// # Errors
    /// A type, length or value that this version does not define; the record is intact (its CRC held) but not ours.
    pub fn decode(kind: u8, payload: &'a [u8]) -> Result<Self, InputError> {
        let mut reader = Reader { kind, payload, at: 0 };
        let input = match kind {
            kind::GENESIS => Self::Genesis(Genesis {
                shard: u16::from_be_bytes(reader.take()?),
                utc_offset_seconds: i32::from_be_bytes(reader.take()?),
                max_orders: reader.u32()?,
                max_price_levels: reader.u32()?,
                max_sessions: reader.u32()?,
                max_instruments: reader.u32()?,
                feed_session: reader.take()?,
            }),
            kind::INSTRUMENT => {
                let instrument = InstrumentInput {
                    symbol: reader.take()?,
                    tick: reader.u64()?,
                    lot: reader.u32()?,
                    max_quantity: reader.u32()?,
                    reference_price: reader.u64()?,
                    collar_basis_points: reader.u32()?,
                    state: reader.state()?,
                };
                let rights = FirmRights::after(reader.at, payload)?;
                reader.at = payload.len();
                Self::Instrument(instrument, rights)
            }
            kind::FIRM => Self::Firm { firm: reader.take()?, risk: reader.risk()? },
            kind::SESSION_OPENED => Self::SessionOpened(SessionOpened {
                session: reader.u32()?,
                user: reader.take()?,
                firm: reader.take()?,
                name: reader.take()?,
                cancel_on_disconnect: reader.flag("cancel on disconnect")?,
                drop_copy: reader.flag("drop copy")?,
                risk: reader.risk()?,
            }),
            kind::MESSAGES => {
                let messages = Messages {
                    session: reader.u32()?,
                    first_sequence: reader.u64()?,
                    count: u16::from_be_bytes(reader.take()?),
                    blocks: &payload[MESSAGES_PREFIX..],
                };
                reader.at = payload.len();
                Self::Messages(messages)
            }
            kind::SESSION_CLOSED => Self::SessionClosed {
                session: reader.u32()?,
                reason: match reader.byte()? {
                    1 => CloseReason::Logout,
                    2 => CloseReason::Timeout,
                    3 => CloseReason::Administrative,
                    value => return Err(reader.undefined("close reason", value)),
                },
            },
            kind::TIMER => Self::Timer,
            kind::SET_STATE => {
                let symbol = reader.take()?;
                Self::SetState { symbol: (symbol != [b' '; 8]).then_some(symbol), state: reader.state()? }
            }
            kind::KILL_SWITCH => {
                let code = reader.byte()?;
                let value = reader.take()?;
                let scope = match code {
                    0 => KillScope::All,
                    1 => KillScope::Firm(value),
                    2 => KillScope::Session(u32::from_be_bytes(value)),
                    code => return Err(reader.undefined("kill switch scope", code)),
                };
                Self::KillSwitch { scope, engaged: reader.flag("engaged")? }
            }
            kind::RESTRICTION => Self::Restriction {
                firm: reader.take()?,
                symbol: reader.take()?,
                restricted: reader.flag("restricted")?,
            },
            kind::SESSION_RISK => Self::SessionRisk { session: reader.u32()?, risk: reader.risk()? },
            kind::REFERENCE_PRICE => Self::ReferencePrice { symbol: reader.take()?, price: reader.u64()? },
            kind::REGISTRATION => Self::Registration {
                firm: reader.take()?,
                symbol: reader.take()?,
                role: {
                    let code = reader.byte()?;
                    Role::from_code(code).ok_or_else(|| reader.undefined("role", code))?
                },
            },
            unknown => return Err(InputError::UnknownKind(unknown)),
        };
        if reader.at != payload.len() {
            return Err(InputError::Length { kind, found: payload.len(), expected: reader.at });
        }
        Ok(input)
    }
}

fn state_code(state: TradingState) -> u8 {
    match state {
        TradingState::PreOpen => 1,
        TradingState::Open => 2,
        TradingState::Halted => 3,
        TradingState::Auction => 4,
        TradingState::Closed => 5,
    }
}

struct Writer<'a> {
    out: &'a mut [u8; MAX_ENCODED],
    length: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.out[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    fn risk(&mut self, risk: &RiskConfig) {
        self.put(&risk.max_order_quantity.to_be_bytes());
        self.put(&risk.max_order_notional.to_be_bytes());
        self.put(&risk.max_open_orders.to_be_bytes());
        self.put(&risk.max_gross_exposure.to_be_bytes());
        self.put(&risk.max_messages_per_second.to_be_bytes());
        self.put(&risk.collar_basis_points.to_be_bytes());
    }
}

struct Reader<'a> {
    kind: u8,
    payload: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], InputError> {
        let bytes = self.payload.get(self.at..).and_then(|rest| rest.first_chunk::<N>()).ok_or(
            InputError::Length { kind: self.kind, found: self.payload.len(), expected: self.at + N },
        )?;
        self.at += N;
        Ok(*bytes)
    }

    fn byte(&mut self) -> Result<u8, InputError> {
        Ok(self.take::<1>()?[0])
    }

    fn u32(&mut self) -> Result<u32, InputError> {
        Ok(u32::from_be_bytes(self.take()?))
    }

    fn u64(&mut self) -> Result<u64, InputError> {
        Ok(u64::from_be_bytes(self.take()?))
    }

    fn flag(&mut self, field: &'static str) -> Result<bool, InputError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(self.undefined(field, value)),
        }
    }

    fn state(&mut self) -> Result<TradingState, InputError> {
        Ok(match self.byte()? {
            1 => TradingState::PreOpen,
            2 => TradingState::Open,
            3 => TradingState::Halted,
            4 => TradingState::Auction,
            5 => TradingState::Closed,
            value => return Err(self.undefined("trading state", value)),
        })
    }

    fn risk(&mut self) -> Result<RiskConfig, InputError> {
        Ok(RiskConfig {
            max_order_quantity: self.u32()?,
            max_order_notional: self.u64()?,
            max_open_orders: self.u32()?,
            max_gross_exposure: self.u64()?,
            max_messages_per_second: self.u32()?,
            collar_basis_points: self.u32()?,
        })
    }

    fn undefined(&self, field: &'static str, value: u8) -> InputError {
        InputError::Value { kind: self.kind, field, value: u64::from(value) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSTRUMENT: InstrumentInput = InstrumentInput {
        symbol: *b"AAPL    ",
        tick: 100,
        lot: 1,
        max_quantity: 999_999,
        reference_price: 1_000_000,
        collar_basis_points: 0,
        state: TradingState::Open,
    };

    fn record(input: &Input<'_>) -> Vec<u8> {
        let mut buffer = [0; MAX_ENCODED];
        let length = input.encode(&mut buffer);
        [&buffer[..length], input.tail()].concat()
    }

    #[test]
    fn an_instrument_and_what_firms_may_in_it_are_one_record() {
        let rights = [
            FirmRight { firm: *b"AAAA", restricted: true, role: Role::Trader },
            FirmRight { firm: *b"BBBB", restricted: false, role: Role::PrimaryMarketMaker },
        ];
        let mut bytes = Vec::new();
        rights.iter().for_each(|&right| FirmRights::push(&mut bytes, right));
        let input = Input::Instrument(INSTRUMENT, FirmRights::new(&bytes).unwrap());
        let record = record(&input);
        assert_eq!(Input::decode(input.kind(), &record), Ok(input));
        let Ok(Input::Instrument(_, found)) = Input::decode(kind::INSTRUMENT, &record) else { panic!() };
        assert_eq!(found.iter().collect::<Vec<_>>(), rights);
    }

    #[test]
    fn rights_that_are_none_are_refused() {
        let mut bytes = record(&Input::Instrument(INSTRUMENT, FirmRights::NONE));
        let bare = bytes.len();
        bytes.extend(*b"AAAA");
        let length = InputError::Length { kind: kind::INSTRUMENT, found: bare + 4, expected: bare + 5 };
        assert_eq!(Input::decode(kind::INSTRUMENT, &bytes), Err(length));
        bytes.push(3);
        let role = InputError::Value { kind: kind::INSTRUMENT, field: "role", value: 3 };
        assert_eq!(Input::decode(kind::INSTRUMENT, &bytes), Err(role));
        assert!(Input::decode(kind::INSTRUMENT, &bytes[..bare]).is_ok(), "as the first version wrote it");
    }
}
