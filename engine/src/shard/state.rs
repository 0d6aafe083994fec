//! A shard's whole state as bytes, for snapshots and for comparing two shards. The book writes its own part.
//! Layout: version u16, then the fields in the order of `write`, big-endian; lists with a u32 count in front.

use super::control::book_limits;
use super::instrument::{Instrument, SymbolTable};
use super::risk::Exposure;
use super::trader::{CHANNELS, Firm, Trader};
use super::{Shard, ShardCounters};
use crate::inputs::RiskConfig;
use crate::inputs::{Genesis, Input, MAX_ENCODED, Rules, kind};
use book::{CrossKind, Market, TradingState, WarmList};

/// Version 2 adds market makers, version 3 the rules. A state without any is written as version 1, and one under the first rules
/// as before there were others, so that the hash in a snapshot of that version holds for what is restored from it. A version
/// that is read is never dropped: old snapshots must stay readable.
const VERSION: u16 = 3;
const VERSION_WITH_MARKET_MAKERS: u16 = 2;
const VERSION_FIRST: u16 = 1;

/// Why bytes are not a shard's state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    #[error("the state ends at byte {at}, where {what} should follow")]
    Short { what: &'static str, at: usize },
    #[error("the state has version {found}; this program reads version {VERSION}")]
    Version { found: u16 },
    #[error("{what} has the undefined value {value}")]
    Value { what: &'static str, value: u64 },
    #[error("the book's state: {0}")]
    Book(String),
}

impl Shard {
    /// Appends the whole state.
    pub fn write_state(&self, out: &mut Vec<u8>) {
        let market_makers = self.firms.iter().any(|firm| !firm.registered.is_empty());
        let version = match (self.rules == Rules::FIRST, market_makers) {
            (false, _) => VERSION,
            (true, true) => VERSION_WITH_MARKET_MAKERS,
            (true, false) => VERSION_FIRST,
        };
        out.extend_from_slice(&version.to_be_bytes());
        let mut genesis = [0; MAX_ENCODED];
        let length = Input::Genesis(self.genesis).encode(&mut genesis);
        bytes(out, &genesis[..length]);
        out.push(u8::from(self.killed));
        out.extend_from_slice(&self.next_feed.to_be_bytes());
        out.extend_from_slice(&self.expired_to.to_be_bytes());
        if version >= VERSION {
            let mut rules = [0; MAX_ENCODED];
            let length = Input::Rules(self.rules).encode(&mut rules);
            bytes(out, &rules[..length]);
        }
        count(out, self.instruments.len());
        for (number, instrument) in (0..).zip(&self.instruments) {
            out.extend_from_slice(&instrument.symbol);
            out.extend_from_slice(&instrument.tick.to_be_bytes());
            out.extend_from_slice(&instrument.lot.to_be_bytes());
            out.extend_from_slice(&instrument.max_quantity.to_be_bytes());
            out.extend_from_slice(&instrument.reference_price.to_be_bytes());
            out.extend_from_slice(&instrument.collar_basis_points.to_be_bytes());
            out.extend_from_slice(&[
                instrument.state as u8,
                u8::from(self.market.auction_over(number, CrossKind::Opening)),
            ]);
        }
        count(out, self.firms.len());
        for firm in &self.firms {
            out.extend_from_slice(&firm.name);
            out.push(u8::from(firm.killed));
            risk(out, &firm.risk);
            exposure(out, &firm.exposure);
            count(out, firm.restricted.len());
            firm.restricted.iter().for_each(|number| out.extend_from_slice(&number.to_be_bytes()));
            count(out, firm.drop_copies.len());
            firm.drop_copies.iter().for_each(|session| out.extend_from_slice(&session.to_be_bytes()));
            if version >= VERSION_WITH_MARKET_MAKERS {
                count(out, firm.registered.len());
                for (instrument, primary) in &firm.registered {
                    out.extend_from_slice(&instrument.to_be_bytes());
                    out.push(u8::from(*primary));
                }
            }
        }
        count(out, self.traders.len());
        for trader in &self.traders {
            out.extend_from_slice(&trader.user);
            out.extend_from_slice(&trader.name);
            out.extend_from_slice(&trader.firm.to_be_bytes());
            let flags = [
                trader.cancel_on_disconnect,
                trader.drop_copy,
                trader.connected,
                trader.disabled,
                trader.killed,
            ];
            out.extend(flags.map(u8::from));
            out.extend_from_slice(&trader.next_upstream.to_be_bytes());
            out.extend_from_slice(&trader.next_downstream.to_be_bytes());
            risk(out, &trader.risk);
            exposure(out, &trader.exposure);
            let used = trader.last_user_ref.iter().enumerate().filter(|(_, last)| **last != 0);
            count(out, used.clone().count());
            for (channel, last) in used {
                out.push(channel as u8);
                out.extend_from_slice(&last.to_be_bytes());
            }
        }
        self.market.write_state(out);
    }

    /// [`state_hash`] of the state as it is now.
    pub fn state_hash(&self) -> u64 {
        let mut state = Vec::new();
        self.write_state(&mut state);
        state_hash(&state)
    }

    /// The shard that wrote these bytes.
    ///
    /// # Errors
    /// They are not a state, or one of a later version.
    pub fn restore(state: &[u8]) -> Result<Self, StateError> {
        let mut reader = Reader { state, at: 0 };
        let version = u16::from_be_bytes(reader.take("version")?);
        if !(VERSION_FIRST..=VERSION).contains(&version) {
            return Err(StateError::Version { found: version });
        }
        let genesis = reader.genesis()?;
        let killed = reader.flag("killed")?;
        let next_feed = reader.u64("next feed sequence")?;
        let expired_to = reader.u32("expired to")?;
        let rules = if version >= VERSION { reader.rules()? } else { Rules::FIRST };
        let mut symbols = SymbolTable::with_capacity(64);
        let mut instruments = Vec::new();
        for number in 0..reader.u32("instruments")? {
            let instrument = reader.instrument()?;
            symbols.insert(&instrument.symbol, number);
            instruments.push(instrument);
        }
        let firms = (0..reader.u32("firms")?).map(|_| reader.firm(version)).collect::<Result<Vec<_>, _>>()?;
        let mut traders = Vec::with_capacity(genesis.max_sessions as usize);
        for _ in 0..reader.u32("sessions")? {
            traders.push(reader.trader(firms.len())?);
        }
        let market = Market::restore(book_limits(&genesis), &state[reader.at..])
            .map_err(|error| StateError::Book(error.to_string()))?;
        let mut shard = Self {
            genesis,
            rules,
            market,
            instruments,
            symbols,
            traders,
            firms,
            killed,
            next_feed,
            expired_to,
            day: (0, 0),
            counters: ShardCounters::default(),
            warm_list: WarmList::default(),
        };
        shard.follow(rules);
        Ok(shard)
    }
}

/// The same state gives the same number on every machine, and a different one, all but surely, a different one.
pub fn state_hash(state: &[u8]) -> u64 {
    // FNV-1a, 64 bits: simple to repeat elsewhere, and nobody chooses what goes in to collide.
    state.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn count(out: &mut Vec<u8>, number: usize) {
    out.extend_from_slice(&(number as u32).to_be_bytes());
}

fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    count(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn risk(out: &mut Vec<u8>, risk: &RiskConfig) {
    out.extend_from_slice(&risk.max_order_quantity.to_be_bytes());
    out.extend_from_slice(&risk.max_order_notional.to_be_bytes());
    out.extend_from_slice(&risk.max_open_orders.to_be_bytes());
    out.extend_from_slice(&risk.max_gross_exposure.to_be_bytes());
    out.extend_from_slice(&risk.max_messages_per_second.to_be_bytes());
    out.extend_from_slice(&risk.collar_basis_points.to_be_bytes());
}

fn exposure(out: &mut Vec<u8>, exposure: &Exposure) {
    out.extend_from_slice(&exposure.open_orders.to_be_bytes());
    out.extend_from_slice(&exposure.gross.to_be_bytes());
    out.extend_from_slice(&exposure.second.to_be_bytes());
    out.extend_from_slice(&exposure.messages.to_be_bytes());
}

struct Reader<'a> {
    state: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn slice(&mut self, what: &'static str, length: usize) -> Result<&[u8], StateError> {
        let at = self.at;
        let end = at.checked_add(length).filter(|&end| end <= self.state.len());
        let end = end.ok_or(StateError::Short { what, at })?;
        self.at = end;
        Ok(&self.state[at..end])
    }

    fn take<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], StateError> {
        let mut out = [0; N];
        out.copy_from_slice(self.slice(what, N)?);
        Ok(out)
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, StateError> {
        self.take(what).map(u32::from_be_bytes)
    }

    fn u64(&mut self, what: &'static str) -> Result<u64, StateError> {
        self.take(what).map(u64::from_be_bytes)
    }

    fn flag(&mut self, what: &'static str) -> Result<bool, StateError> {
        match self.take::<1>(what)? {
            [0] => Ok(false),
            [1] => Ok(true),
            [value] => Err(StateError::Value { what, value: u64::from(value) }),
        }
    }

    fn genesis(&mut self) -> Result<Genesis, StateError> {
        const WHAT: &str = "genesis";
        let length = self.u32(WHAT)? as usize;
        match Input::decode(kind::GENESIS, self.slice(WHAT, length)?) {
            Ok(Input::Genesis(genesis)) => Ok(genesis),
            _ => Err(StateError::Value { what: WHAT, value: length as u64 }),
        }
    }

    fn rules(&mut self) -> Result<Rules, StateError> {
        const WHAT: &str = "rules";
        let length = self.u32(WHAT)? as usize;
        match Input::decode(kind::RULES, self.slice(WHAT, length)?) {
            Ok(Input::Rules(rules)) => Ok(rules),
            _ => Err(StateError::Value { what: WHAT, value: length as u64 }),
        }
    }

    fn instrument(&mut self) -> Result<Instrument, StateError> {
        let instrument = Instrument {
            symbol: self.take("symbol")?,
            tick: self.u64("tick")?,
            lot: self.u32("lot")?,
            max_quantity: self.u32("maximum quantity")?,
            reference_price: self.u64("reference price")?,
            collar_basis_points: self.u32("collar")?,
            state: match self.take::<1>("trading state")? {
                [0] => TradingState::PreOpen,
                [1] => TradingState::Open,
                [2] => TradingState::Halted,
                [3] => TradingState::Auction,
                [4] => TradingState::Closed,
                [value] => {
                    return Err(StateError::Value { what: "trading state", value: u64::from(value) });
                }
            },
        };
        // Whether it has opened is the book's to know; the flag is of version 1's layout.
        self.flag("opened")?;
        Ok(instrument)
    }

    fn firm(&mut self, version: u16) -> Result<Firm, StateError> {
        let mut firm = Firm::new(self.take("firm")?, RiskConfig::default());
        firm.killed = self.flag("killed")?;
        firm.risk = self.risk()?;
        firm.exposure = self.exposure()?;
        for _ in 0..self.u32("restrictions")? {
            firm.restricted.push(self.u32("restriction")?);
        }
        for _ in 0..self.u32("drop copies")? {
            firm.drop_copies.push(self.u32("drop copy")?);
        }
        let registered = if version >= VERSION_WITH_MARKET_MAKERS { self.u32("registrations")? } else { 0 };
        for _ in 0..registered {
            firm.registered.push((self.u32("registration")?, self.flag("primary market maker")?));
        }
        Ok(firm)
    }

    fn trader(&mut self, firms: usize) -> Result<Trader, StateError> {
        let (user, name) = (self.take("user")?, self.take("session name")?);
        let firm = u16::from_be_bytes(self.take("firm")?);
        if usize::from(firm) >= firms {
            return Err(StateError::Value { what: "firm of a session", value: u64::from(firm) });
        }
        let mut trader = Trader {
            user,
            name,
            firm,
            cancel_on_disconnect: self.flag("cancel on disconnect")?,
            drop_copy: self.flag("drop copy")?,
            connected: self.flag("connected")?,
            disabled: self.flag("disabled")?,
            killed: self.flag("killed")?,
            next_upstream: self.u64("next upstream")?,
            next_downstream: self.u64("next downstream")?,
            risk: self.risk()?,
            exposure: self.exposure()?,
            last_user_ref: Box::new([0; CHANNELS]),
        };
        for _ in 0..self.u32("channels")? {
            let [channel] = self.take("channel")?;
            trader.last_user_ref[usize::from(channel)] = self.u32("last UserRefNum")?;
        }
        Ok(trader)
    }

    fn risk(&mut self) -> Result<RiskConfig, StateError> {
        Ok(RiskConfig {
            max_order_quantity: self.u32("risk")?,
            max_order_notional: self.u64("risk")?,
            max_open_orders: self.u32("risk")?,
            max_gross_exposure: self.u64("risk")?,
            max_messages_per_second: self.u32("risk")?,
            collar_basis_points: self.u32("risk")?,
        })
    }

    fn exposure(&mut self) -> Result<Exposure, StateError> {
        Ok(Exposure {
            open_orders: self.u32("exposure")?,
            gross: self.u64("exposure")?,
            second: self.u64("exposure")?,
            messages: self.u32("exposure")?,
        })
    }
}
