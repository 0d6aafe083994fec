//! Whether an input follows from the state. Asked before it is recorded, so that no journal holds what a replay would refuse, and
//! again before it is applied, so that applying it cannot fail half way. Changes nothing.

use super::control::text;
use super::{ApplyError, Shard};
use crate::inputs::{FirmRights, Genesis, Input, InstrumentInput, KillScope, Messages, SessionOpened};
use book::{OWNERS_MAX, TradingState};
use wire::ouch::MAX_PRICE;

/// Firms of one shard.
const MAX_FIRMS: usize = 4096;
/// The feed numbers instruments from 1 with 16 bits.
const MAX_INSTRUMENTS: u32 = u16::MAX as u32;
/// Orders and price levels of one shard: the book addresses them with 32 bits and doubles that in its tables.
const MAX_TABLE: u32 = 1 << 26;

/// What no instrument can be called: records say "all instruments" with spaces, and the table of symbols "nothing here" with zeros.
const NO_SYMBOL: [[u8; 8]; 2] = [[b' '; 8], [0; 8]];

impl Shard {
    /// Whether [`Shard::apply`] would take the input.
    ///
    /// # Errors
    /// The reason why not.
    pub fn would_apply(&self, input: &Input<'_>) -> Result<(), ApplyError> {
        match input {
            Input::Genesis(_) => Err(ApplyError::SecondGenesis),
            Input::Messages(messages) => self.would_take(messages),
            Input::Instrument(instrument, rights) => self.would_add(instrument, rights),
            Input::Firm { firm, .. } | Input::KillSwitch { scope: KillScope::Firm(firm), .. } => {
                self.has_room_for(&[*firm])
            }
            Input::SessionOpened(opened) => self.would_open(opened),
            Input::SessionClosed { session, .. }
            | Input::SessionRisk { session, .. }
            | Input::KillSwitch { scope: KillScope::Session(session), .. } => self.has_session(*session),
            Input::KillSwitch { scope: KillScope::All, .. } | Input::Timer => Ok(()),
            Input::SetState { symbol: Some(symbol), state } => {
                self.would_enter_state(self.instrument_named(symbol)?, *state)
            }
            Input::SetState { symbol: None, state } => (0..self.instruments.len() as u32)
                .try_for_each(|instrument| self.would_enter_state(instrument, *state)),
            Input::Restriction { firm, symbol, .. } | Input::Registration { firm, symbol, .. } => {
                self.instrument_named(symbol)?;
                self.has_room_for(&[*firm])
            }
            Input::ReferencePrice { symbol, price } => {
                self.instrument_named(symbol)?;
                self.is_price(*price)
            }
            Input::Rules(rules) if rules.version < self.rules.version => {
                Err(ApplyError::Rules { found: rules.version, expected: self.rules.version })
            }
            Input::Rules(_) => Ok(()),
            Input::Sizes(sizes) => self.would_grow(sizes),
        }
    }

    /// As [`Shard::would_apply`] for an operator's command: what it names has to be there. The configuration makes firms; a
    /// command that makes one has been mistyped.
    ///
    /// # Errors
    /// The reason why not.
    pub fn would_obey(&self, input: &Input<'_>) -> Result<(), ApplyError> {
        match input {
            Input::Firm { firm, .. }
            | Input::KillSwitch { scope: KillScope::Firm(firm), .. }
            | Input::Restriction { firm, .. }
            | Input::Registration { firm, .. }
                if !self.has_firm(firm) =>
            {
                Err(ApplyError::UnknownFirm(text(firm)))
            }
            _ => self.would_apply(input),
        }
    }

    /// As [`Shard::would_apply`] for messages: the order path.
    ///
    /// # Errors
    /// The reason why not.
    #[inline]
    pub fn would_take(&self, messages: &Messages<'_>) -> Result<(), ApplyError> {
        let session = messages.session;
        let trader = self.traders.get(session as usize).ok_or(ApplyError::UnknownSession(session))?;
        let (found, expected) = (messages.first_sequence, trader.next_upstream);
        if found != expected {
            return Err(ApplyError::Sequence { session, found, expected });
        }
        Ok(())
    }

    fn would_add(&self, input: &InstrumentInput, rights: &FirmRights<'_>) -> Result<(), ApplyError> {
        let symbol = || text(&input.symbol);
        self.is_price(input.reference_price)?;
        if let Some(index) = self.symbols.get(&input.symbol) {
            let known = &self.instruments[index as usize];
            if (known.tick, known.lot, known.max_quantity) != (input.tick, input.lot, input.max_quantity) {
                return Err(ApplyError::InstrumentChanged(symbol()));
            }
        } else if self.instruments.len() as u32 >= self.genesis.max_instruments.min(MAX_INSTRUMENTS) {
            return Err(ApplyError::Full("instruments"));
        } else if NO_SYMBOL.contains(&input.symbol)
            || input.lot == 0
            || !(1..=u64::from(u32::MAX)).contains(&input.tick)
        {
            return Err(ApplyError::Instrument { symbol: symbol(), tick: input.tick, lot: input.lot });
        }
        let firms: Vec<[u8; 4]> = rights.iter().map(|right| right.firm).collect();
        self.has_room_for(&firms)
    }

    fn would_open(&self, opened: &SessionOpened) -> Result<(), ApplyError> {
        let expected = self.traders.len() as u32;
        match opened.session {
            known if known < expected => Ok(()),
            found if found != expected => Err(ApplyError::SessionNumber { found, expected }),
            _ if expected >= self.genesis.max_sessions => Err(ApplyError::Full("sessions")),
            _ => self.has_room_for(&[opened.firm]),
        }
    }

    fn has_session(&self, session: u32) -> Result<(), ApplyError> {
        self.traders.get(session as usize).map(|_| ()).ok_or(ApplyError::UnknownSession(session))
    }

    /// Room for those of these firms that the shard does not know yet.
    fn has_room_for(&self, firms: &[[u8; 4]]) -> Result<(), ApplyError> {
        let mut new: Vec<_> = firms.iter().filter(|firm| !self.has_firm(firm)).collect();
        new.sort_unstable();
        new.dedup();
        if self.firms.len() + new.len() > MAX_FIRMS { Err(ApplyError::Full("firms")) } else { Ok(()) }
    }

    fn would_enter_state(&self, instrument: u32, state: TradingState) -> Result<(), ApplyError> {
        let entry = &self.instruments[instrument as usize];
        let begins_crossed = state == TradingState::Open
            && state != entry.state
            && self.auction_on_the_way(instrument, state).is_none()
            && self.market.is_crossed(instrument);
        if begins_crossed {
            let why = book::StateChangeError::Crossed.to_string();
            return Err(ApplyError::State(text(&entry.symbol), why));
        }
        Ok(())
    }

    /// 0 means unknown. The feed's prices have 32 bits, and orders' end sooner.
    fn is_price(&self, price: u64) -> Result<(), ApplyError> {
        if self.rules.version >= 2 && price > MAX_PRICE {
            return Err(ApplyError::ReferencePrice { found: price });
        }
        Ok(())
    }
}

impl Genesis {
    /// Whether a shard of this size can be made.
    ///
    /// # Errors
    /// The first size that is out of range.
    pub fn check(&self) -> Result<(), ApplyError> {
        let sizes = [
            ("max_orders", self.max_orders, MAX_TABLE),
            ("max_price_levels", self.max_price_levels, MAX_TABLE),
            ("max_sessions", self.max_sessions, OWNERS_MAX),
            ("max_instruments", self.max_instruments, MAX_INSTRUMENTS),
        ];
        match sizes.into_iter().find(|&(_, found, most)| found == 0 || found > most) {
            Some((size, found, most)) => Err(ApplyError::Size { size, found, most }),
            None => Ok(()),
        }
    }
}
