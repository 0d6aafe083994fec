//! Inputs other than upstream messages: instruments, firms, sessions, trading states, auctions and the operator's
//! switches. Each leaves the order path as it found it.

use super::encoder::Encoder;
use super::instrument::Instrument;
use super::trader::{Firm, FirmIndex, Trader};
use super::{ApplyError, Outputs, Shard, feed};
use crate::config::RiskConfig;
use crate::inputs::{
    CloseReason, FirmRight, Genesis, Input, InstrumentInput, KillScope, Role, SessionOpened,
};
use book::{CancelReason, CrossKind, InstrumentSpec, Limits, MassCancel, TradingState};
use wire::itch::messages as itch;
use wire::ouch::event_code;
use wire::ouch::outbound::SystemEvent;

/// Firms of one shard.
const MAX_FIRMS: usize = 4096;

/// The book's tables for a shard of this size.
pub fn book_limits(genesis: &Genesis) -> Limits {
    let mut limits = Limits::new(genesis.max_instruments, genesis.max_sessions, genesis.max_orders);
    limits.levels = genesis.max_price_levels;
    limits
}

fn text(symbol: &[u8]) -> String {
    String::from_utf8_lossy(symbol).trim_end().to_owned()
}

impl Shard {
    pub(super) fn control(
        &mut self,
        input: &Input<'_>,
        timestamp_ns: u64,
        out: &mut impl Outputs,
    ) -> Result<(), ApplyError> {
        match input {
            Input::Genesis(_) => Err(ApplyError::SecondGenesis),
            Input::Messages(messages) => self.messages(messages, timestamp_ns, out),
            Input::Instrument(instrument, rights) => {
                self.add_instrument(instrument, timestamp_ns, out)?;
                for FirmRight { firm, restricted, role } in rights.iter() {
                    if restricted {
                        self.restrict(firm, &instrument.symbol, true, timestamp_ns, out)?;
                    }
                    self.register_firm(firm, &instrument.symbol, role, timestamp_ns, out)?;
                }
                Ok(())
            }
            Input::Firm { firm, risk } => {
                let index = self.firm_index(*firm)?;
                self.firms[usize::from(index)].risk = *risk;
                Ok(())
            }
            Input::SessionOpened(opened) => self.open_session(opened, timestamp_ns, out),
            Input::SessionClosed { session, reason } => {
                self.close_session(*session, *reason, timestamp_ns, out)
            }
            // Time passed when the input arrived.
            Input::Timer => Ok(()),
            Input::SetState { symbol, state } => {
                let range = match symbol {
                    None => 0..self.instruments.len(),
                    Some(symbol) => {
                        let index = self.instrument_named(symbol)? as usize;
                        index..index + 1
                    }
                };
                for instrument in range {
                    self.set_state(instrument as u32, *state, timestamp_ns, out)?;
                }
                Ok(())
            }
            Input::KillSwitch { scope, engaged } => self.kill(*scope, *engaged, timestamp_ns, out),
            Input::Restriction { firm, symbol, restricted } => {
                self.restrict(*firm, symbol, *restricted, timestamp_ns, out)
            }
            Input::SessionRisk { session, risk } => {
                let trader =
                    self.traders.get_mut(*session as usize).ok_or(ApplyError::UnknownSession(*session))?;
                trader.risk = *risk;
                Ok(())
            }
            Input::ReferencePrice { symbol, price } => {
                let instrument = self.instrument_named(symbol)?;
                self.instruments[instrument as usize].reference_price = *price;
                Ok(())
            }
            Input::Registration { firm, symbol, role } => {
                self.register_firm(*firm, symbol, *role, timestamp_ns, out)
            }
        }
    }

    fn restrict(
        &mut self,
        firm: [u8; 4],
        symbol: &[u8; 8],
        restricted: bool,
        timestamp_ns: u64,
        out: &mut impl Outputs,
    ) -> Result<(), ApplyError> {
        let instrument = self.instrument_named(symbol)?;
        let index = self.firm_index(firm)?;
        let before = self.positions();
        self.firms[usize::from(index)].restrict(instrument, restricted);
        self.publish_changes(&before, timestamp_ns, out);
        Ok(())
    }

    fn register_firm(
        &mut self,
        firm: [u8; 4],
        symbol: &[u8; 8],
        role: Role,
        timestamp_ns: u64,
        out: &mut impl Outputs,
    ) -> Result<(), ApplyError> {
        let instrument = self.instrument_named(symbol)?;
        let index = self.firm_index(firm)?;
        self.register(index, instrument, role, timestamp_ns, out);
        Ok(())
    }

    /// Whether an operator's input follows from the state, without applying it.
    pub fn would_apply(&self, input: &Input<'_>) -> Result<(), ApplyError> {
        match input {
            Input::SetState { symbol: Some(symbol), .. }
            | Input::Restriction { symbol, .. }
            | Input::Registration { symbol, .. }
            | Input::ReferencePrice { symbol, .. } => self.instrument_named(symbol).map(|_| ()),
            Input::KillSwitch { scope: KillScope::Session(session), .. }
            | Input::SessionRisk { session, .. } => match self.traders.get(*session as usize) {
                Some(_) => Ok(()),
                None => Err(ApplyError::UnknownSession(*session)),
            },
            _ => Ok(()),
        }
    }

    fn instrument_named(&self, symbol: &[u8; 8]) -> Result<u32, ApplyError> {
        self.symbols.get(symbol).ok_or_else(|| ApplyError::UnknownSymbol(text(symbol)))
    }

    /// Adds an instrument, or takes over the reference price and collar of one that is there.
    fn add_instrument(
        &mut self,
        input: &InstrumentInput,
        timestamp_ns: u64,
        out: &mut impl Outputs,
    ) -> Result<(), ApplyError> {
        if let Some(index) = self.symbols.get(&input.symbol) {
            let known = &mut self.instruments[index as usize];
            if (known.tick, known.lot, known.max_quantity) != (input.tick, input.lot, input.max_quantity) {
                return Err(ApplyError::InstrumentChanged(text(&input.symbol)));
            }
            known.reference_price = input.reference_price;
            known.collar_basis_points = input.collar_basis_points;
            return Ok(());
        }
        let spec = InstrumentSpec {
            tick: input.tick as u32,
            lot: input.lot,
            quantity_max: input.max_quantity,
            state: input.state,
        };
        let index = self.market.add_instrument(spec).ok_or(ApplyError::Full("instruments"))?;
        self.instruments.push(*input);
        self.symbols.insert(&input.symbol, index);
        let (_, mut encoder) = self.encoder(timestamp_ns, out);
        if index == 0 {
            encoder.system_event(b'O');
            encoder.system_event(b'S');
        }
        encoder.directory(index);
        encoder.trading_action(index, input.state);
        Ok(())
    }

    /// The firm's place, made on first sight.
    fn firm_index(&mut self, name: [u8; 4]) -> Result<FirmIndex, ApplyError> {
        if let Some(index) = self.firms.iter().position(|firm| firm.name == name) {
            return Ok(index as FirmIndex);
        }
        if self.firms.len() == MAX_FIRMS {
            return Err(ApplyError::Full("firms"));
        }
        self.firms.push(Firm::new(name, RiskConfig::default()));
        Ok((self.firms.len() - 1) as FirmIndex)
    }

    fn open_session(
        &mut self,
        opened: &SessionOpened,
        timestamp_ns: u64,
        out: &mut impl Outputs,
    ) -> Result<(), ApplyError> {
        let expected = self.traders.len() as u32;
        if opened.session < expected {
            let trader = &mut self.traders[opened.session as usize];
            trader.connected = true;
            trader.cancel_on_disconnect = opened.cancel_on_disconnect;
            // Its limits stay: an operator may have changed them, and logging in again must not undo that.
            return Ok(());
        }
        if opened.session != expected {
            return Err(ApplyError::SessionNumber { found: opened.session, expected });
        }
        if expected >= self.genesis.max_sessions {
            return Err(ApplyError::Full("sessions"));
        }
        let firm = self.firm_index(opened.firm)?;
        self.traders.push(Trader::new(opened, firm));
        if opened.drop_copy {
            self.firms[usize::from(firm)].drop_copies.push(opened.session);
        }
        let (_, mut encoder) = self.encoder(timestamp_ns, out);
        let start = SystemEvent { timestamp: encoder.time_of_day, event_code: event_code::START_OF_DAY };
        encoder.send(opened.session, |out| start.write(out));
        Ok(())
    }

    fn close_session(
        &mut self,
        session: u32,
        _reason: CloseReason,
        timestamp_ns: u64,
        out: &mut impl Outputs,
    ) -> Result<(), ApplyError> {
        let trader = self.traders.get_mut(session as usize).ok_or(ApplyError::UnknownSession(session))?;
        trader.connected = false;
        if trader.cancel_on_disconnect {
            let (market, mut encoder) = self.encoder(timestamp_ns, out);
            market.cancel_owner(session, &MassCancel::default(), CancelReason::Disconnected, &mut encoder);
        }
        Ok(())
    }

    /// Moves an instrument. From a collecting state to `Open` an auction is held: the opening one once a day, a resumption
    /// otherwise. Closing holds the closing auction and takes what is left off the book.
    fn set_state(
        &mut self,
        instrument: u32,
        state: TradingState,
        timestamp_ns: u64,
        out: &mut impl Outputs,
    ) -> Result<(), ApplyError> {
        let Instrument { symbol, state: from, reference_price: reference, .. } =
            self.instruments[instrument as usize];
        if from == state {
            return Ok(());
        }
        // Only the book knows which auctions of the day are over: an instrument may begin the day in any state, and one
        // that is opened again after its close has had its closing auction.
        let held = |kind| self.market.auction_over(instrument, kind);
        let auction = match (from, state) {
            (TradingState::Closed, _) => None,
            (_, TradingState::Open) if held(CrossKind::Opening) => Some(CrossKind::Resumption),
            (_, TradingState::Open) => Some(CrossKind::Opening),
            (_, TradingState::Closed) if held(CrossKind::Closing) => None,
            (_, TradingState::Closed) => Some(CrossKind::Closing),
            _ => None,
        };
        let (market, mut encoder) = self.encoder(timestamp_ns, out);
        match auction {
            Some(kind) => {
                encoder.imbalance(market, instrument, kind, reference);
                market
                    .uncross(instrument, kind, reference, state, &mut encoder)
                    .map_err(|error| ApplyError::State(text(&symbol), error.to_string()))?;
            }
            None => market
                .set_state(instrument, state)
                .map_err(|error| ApplyError::State(text(&symbol), error.to_string()))?,
        }
        if state == TradingState::Closed {
            market.cancel_instrument(instrument, CancelReason::Closed, &mut encoder);
        }
        encoder.trading_action(instrument, state);
        self.instruments[instrument as usize].state = state;
        Ok(())
    }

    /// Engaging stops order entry and takes open orders off the book; releasing lets orders in again.
    fn kill(
        &mut self,
        scope: KillScope,
        engaged: bool,
        timestamp_ns: u64,
        out: &mut impl Outputs,
    ) -> Result<(), ApplyError> {
        let before = self.positions();
        let sessions: Vec<u32> = match scope {
            KillScope::All => {
                self.killed = engaged;
                (0..self.traders.len() as u32).collect()
            }
            KillScope::Firm(name) => {
                let firm = self.firm_index(name)?;
                self.firms[usize::from(firm)].killed = engaged;
                (0..self.traders.len() as u32)
                    .filter(|&session| self.traders[session as usize].firm == firm)
                    .collect()
            }
            KillScope::Session(session) => {
                let trader =
                    self.traders.get_mut(session as usize).ok_or(ApplyError::UnknownSession(session))?;
                trader.killed = engaged;
                vec![session]
            }
        };
        if engaged {
            let (market, mut encoder) = self.encoder(timestamp_ns, out);
            for session in sessions {
                market.cancel_owner(session, &MassCancel::default(), CancelReason::Supervisory, &mut encoder);
            }
        }
        self.publish_changes(&before, timestamp_ns, out);
        Ok(())
    }
}

impl<O: Outputs> Encoder<'_, O> {
    fn system_event(&mut self, code: u8) {
        let timestamp = self.time_of_day;
        self.publish(|out| {
            itch::SystemEvent { stock_locate: 0, tracking_number: 0, timestamp, event_code: code }.write(out)
        });
    }

    fn directory(&mut self, instrument: u32) {
        let Instrument { symbol, lot, .. } = self.instruments[instrument as usize];
        let timestamp = self.time_of_day;
        self.publish(|out| feed::directory(out, instrument, symbol, lot, timestamp));
    }

    fn trading_action(&mut self, instrument: u32, state: TradingState) {
        let symbol = self.instruments[instrument as usize].symbol;
        let timestamp = self.time_of_day;
        self.publish(|out| feed::trading_action(out, instrument, symbol, state, timestamp));
    }

    /// Net order imbalance: what the auction would do now.
    fn imbalance(&mut self, market: &book::Market, instrument: u32, kind: CrossKind, reference: u64) {
        let symbol = self.instruments[instrument as usize].symbol;
        let timestamp = self.time_of_day;
        if let Some(indication) = market.indicative(instrument, kind, reference) {
            self.publish(|out| {
                feed::imbalance(out, instrument, symbol, kind, &indication, reference, timestamp)
            });
        }
    }
}
