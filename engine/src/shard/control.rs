//! Inputs other than upstream messages: instruments, firms, sessions, trading states, auctions and the operator's
//! switches. Each leaves the order path as it found it.

use super::encoder::Encoder;
use super::instrument::Instrument;
use super::trader::{Firm, FirmIndex, Trader};
use super::{ApplyError, Outputs, Shard, Turn, feed};
use crate::inputs::RiskConfig;
use crate::inputs::{
    CloseReason, FirmRight, Genesis, Input, InstrumentInput, KillScope, Rules, SessionOpened,
};
use book::{CancelReason, CrossKind, InstrumentSpec, Limits, MassCancel, Shares, Side, TradingState};
use wire::itch::messages as itch;
use wire::ouch::outbound::SystemEvent;
use wire::ouch::{MAX_PRICE, event_code};

/// Instruments that one answer to an operator names.
const MAX_NAMED: usize = 8;

/// The book's tables for a shard of this size.
pub fn book_limits(genesis: &Genesis) -> Limits {
    let mut limits = Limits::new(genesis.max_instruments, genesis.max_sessions, genesis.max_orders);
    limits.levels = genesis.max_price_levels;
    limits
}

pub(super) fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).trim_end().to_owned()
}

impl Shard {
    pub(super) fn control(&mut self, input: &Input<'_>, turn: &mut Turn<'_, impl Outputs>) {
        match input {
            // Neither comes here: the first is refused, the others have a way of their own.
            Input::Genesis(_) | Input::Messages(_) => {}
            Input::Instrument(instrument, rights) => {
                let index = self.add_instrument(instrument, turn);
                for FirmRight { firm, restricted, role } in rights.iter() {
                    let firm = self.firm_index(firm);
                    if restricted {
                        self.restrict(firm, index, true, turn);
                    }
                    self.register(firm, index, role, turn);
                }
            }
            Input::Firm { firm, risk } => {
                let index = self.firm_index(*firm);
                self.firms[usize::from(index)].risk = *risk;
            }
            Input::SessionOpened(opened) => self.open_session(opened, turn),
            Input::SessionClosed { session, reason } => {
                self.close_session(*session, *reason, turn);
            }
            // Time passed when the input arrived.
            Input::Timer => {}
            Input::SetState { symbol, state } => self.set_states(symbol.as_ref(), *state, turn),
            Input::KillSwitch { scope, engaged } => self.kill(*scope, *engaged, turn),
            Input::Restriction { firm, symbol, restricted } => {
                if let Some(instrument) = self.symbols.get(symbol) {
                    let firm = self.firm_index(*firm);
                    self.restrict(firm, instrument, *restricted, turn);
                }
            }
            Input::SessionRisk { session, risk } => self.traders[*session as usize].risk = *risk,
            Input::ReferencePrice { symbol, price } => {
                if let Some(instrument) = self.symbols.get(symbol) {
                    self.instruments[instrument as usize].reference_price = *price;
                }
            }
            Input::Registration { firm, symbol, role } => {
                if let Some(instrument) = self.symbols.get(symbol) {
                    let firm = self.firm_index(*firm);
                    self.register(firm, instrument, *role, turn);
                }
            }
            Input::Rules(rules) => self.follow(*rules),
            Input::Sizes(sizes) => self.grow(sizes),
        }
    }

    /// From here on these rules hold. What the earlier ones let in and these would not is set right.
    pub(super) fn follow(&mut self, rules: Rules) {
        self.rules = rules;
        if rules.version >= 2 {
            for instrument in self.instruments.iter_mut().filter(|it| it.reference_price > MAX_PRICE) {
                instrument.reference_price = 0;
            }
        }
        let percent = u64::from(rules.session_share_percent);
        let share = |of: u32| (u64::from(of) * percent / 100).max(1) as u32;
        self.market.set_shares((rules.version >= 2).then(|| Shares {
            orders: share(self.genesis.max_orders),
            levels: share(self.genesis.max_price_levels),
        }));
    }

    fn restrict(
        &mut self,
        firm: FirmIndex,
        instrument: u32,
        restricted: bool,
        turn: &mut Turn<'_, impl Outputs>,
    ) {
        let before = self.positions();
        self.firms[usize::from(firm)].restrict(instrument, restricted);
        self.publish_changes(&before, turn);
    }

    pub(super) fn instrument_named(&self, symbol: &[u8; 8]) -> Result<u32, ApplyError> {
        self.symbols.get(symbol).ok_or_else(|| ApplyError::UnknownSymbol(text(symbol)))
    }

    /// Adds an instrument, or takes over the reference price and collar of one that is there. Returns its number.
    fn add_instrument(&mut self, input: &InstrumentInput, turn: &mut Turn<'_, impl Outputs>) -> u32 {
        if let Some(index) = self.symbols.get(&input.symbol) {
            let known = &mut self.instruments[index as usize];
            known.reference_price = input.reference_price;
            known.collar_basis_points = input.collar_basis_points;
            return index;
        }
        let index = self.instruments.len() as u32;
        let added = self.market.add_instrument(InstrumentSpec {
            tick: input.tick as u32,
            lot: input.lot,
            quantity_max: input.max_quantity,
            state: input.state,
        });
        debug_assert_eq!(added, Some(index), "there is room, and the book counts alike");
        self.instruments.push(*input);
        self.symbols.insert(&input.symbol, index);
        let (_, mut encoder) = self.encoder(turn);
        if index == 0 {
            encoder.system_event(b'O');
            encoder.system_event(b'S');
        }
        encoder.directory(index);
        encoder.trading_action(index, input.state);
        index
    }

    /// The firm's place, made on first sight.
    fn firm_index(&mut self, name: [u8; 4]) -> FirmIndex {
        if let Some(index) = self.firms.iter().position(|firm| firm.name == name) {
            return index as FirmIndex;
        }
        self.firms.push(Firm::new(name, RiskConfig::default()));
        (self.firms.len() - 1) as FirmIndex
    }

    fn open_session(&mut self, opened: &SessionOpened, turn: &mut Turn<'_, impl Outputs>) {
        if let Some(trader) = self.traders.get_mut(opened.session as usize) {
            trader.connected = true;
            trader.cancel_on_disconnect = opened.cancel_on_disconnect;
            // Its limits stay: an operator may have changed them, and logging in again must not undo that.
            return;
        }
        let firm = self.firm_index(opened.firm);
        self.traders.push(Trader::new(opened, firm));
        if opened.drop_copy {
            self.firms[usize::from(firm)].drop_copies.push(opened.session);
        }
        let (_, mut encoder) = self.encoder(turn);
        encoder.day_event(opened.session, event_code::START_OF_DAY);
    }

    fn close_session(&mut self, session: u32, _reason: CloseReason, turn: &mut Turn<'_, impl Outputs>) {
        let trader = &mut self.traders[session as usize];
        trader.connected = false;
        if trader.cancel_on_disconnect {
            let (market, mut encoder) = self.encoder(turn);
            market.cancel_owner(session, &MassCancel::default(), CancelReason::Disconnected, &mut encoder);
        }
    }

    /// Moves one instrument, or all of them. A trading day ends when the last of them closes, and the next one begins when the
    /// first of them leaves that state for `PreOpen`.
    fn set_states(
        &mut self,
        symbol: Option<&[u8; 8]>,
        state: TradingState,
        turn: &mut Turn<'_, impl Outputs>,
    ) {
        let range = match symbol.map(|symbol| self.symbols.get(symbol)) {
            None => 0..self.instruments.len() as u32,
            Some(Some(index)) => index..index + 1,
            Some(None) => return,
        };
        let was_over = self.day_is_over();
        if was_over && state == TradingState::PreOpen {
            self.begin_day(turn);
        }
        for instrument in range {
            self.set_state(instrument, state, turn);
        }
        if !was_over && self.day_is_over() {
            self.tell_everyone(event_code::END_OF_DAY, turn);
        }
    }

    /// Every instrument is closed, so that no order lives. Not known to the first version of the rules.
    fn day_is_over(&self) -> bool {
        self.rules.version >= 2
            && !self.instruments.is_empty()
            && self.instruments.iter().all(|instrument| instrument.state == TradingState::Closed)
    }

    /// Every session's numbers begin again at 1.
    fn begin_day(&mut self, turn: &mut Turn<'_, impl Outputs>) {
        for trader in &mut self.traders {
            trader.last_user_ref.fill(0);
        }
        self.tell_everyone(event_code::START_OF_DAY, turn);
    }

    fn tell_everyone(&mut self, event: u8, turn: &mut Turn<'_, impl Outputs>) {
        let sessions = self.traders.len() as u32;
        let (_, mut encoder) = self.encoder(turn);
        for session in 0..sessions {
            encoder.day_event(session, event);
        }
    }

    /// The auction that is held when an instrument goes to `state`. Only the book knows which auctions of the day are over: an
    /// instrument may begin the day in any state, and one that is opened again after its close has had its closing auction.
    pub(super) fn auction_on_the_way(&self, instrument: u32, state: TradingState) -> Option<CrossKind> {
        let over = |kind| self.market.auction_over(instrument, kind);
        match (self.instruments[instrument as usize].state, state) {
            (TradingState::Closed, _) => None,
            (_, TradingState::Open) if over(CrossKind::Opening) => Some(CrossKind::Resumption),
            (_, TradingState::Open) => Some(CrossKind::Opening),
            // Nobody trades while the instrument is halted, and its close does not end the halt.
            (TradingState::Halted, TradingState::Closed) if self.rules.version >= 2 => None,
            (_, TradingState::Closed) if over(CrossKind::Closing) => None,
            (_, TradingState::Closed) => Some(CrossKind::Closing),
            _ => None,
        }
    }

    /// What decides between an auction's prices that are equally good. For the first rules an unknown price was zero.
    fn auction_reference(&self, instrument: u32) -> Option<u64> {
        let price = self.instruments[instrument as usize].reference_price;
        (price != 0 || self.rules.version < 2).then_some(price)
    }

    /// What an operator should know about a command before it is done: instruments whose orders cannot be given a price.
    pub fn remark(&self, input: &Input<'_>) -> String {
        let Input::SetState { symbol, state } = input else { return String::new() };
        let moved = |&instrument: &u32| {
            let Instrument { symbol: own, state: from, .. } = &self.instruments[instrument as usize];
            symbol.is_none_or(|symbol| symbol == *own) && from != state
        };
        let unpriced = (0..self.instruments.len() as u32).filter(moved).filter_map(|instrument| {
            let kind = self.auction_on_the_way(instrument, *state)?;
            let shown = self.market.indicative(instrument, kind, self.auction_reference(instrument))?;
            (shown.unpriced > 0).then_some((instrument, shown.unpriced))
        });
        let mut out = String::new();
        for (place, (instrument, shares)) in unpriced.enumerate() {
            if place == MAX_NAMED {
                out += "; and more";
                break;
            }
            let symbol = text(&self.instruments[instrument as usize].symbol);
            out += if place == 0 { "" } else { "; " };
            out += &format!(
                "{symbol}: {shares} shares to be bought and sold at any price were not traded, as neither a limit order that \
                 trades nor a reference price says at what"
            );
        }
        out
    }

    /// Moves an instrument. From a collecting state to `Open` an auction is held: the opening one once a day, a resumption
    /// otherwise. Closing holds the closing auction, unless the instrument is halted, and takes what is left off the book.
    fn set_state(&mut self, instrument: u32, state: TradingState, turn: &mut Turn<'_, impl Outputs>) {
        if self.instruments[instrument as usize].state == state {
            return;
        }
        let reference = self.auction_reference(instrument);
        let auction = self.auction_on_the_way(instrument, state);
        let (market, mut encoder) = self.encoder(turn);
        match auction {
            Some(kind) => {
                encoder.imbalance(market, instrument, kind, reference);
                let held = market.uncross(instrument, kind, reference, state, &mut encoder);
                debug_assert!(held.is_ok(), "{held:?}: that auction was not over");
            }
            None => {
                let moved = market.set_state(instrument, state);
                debug_assert!(moved.is_ok(), "{moved:?}: asked before");
            }
        }
        if state == TradingState::Closed {
            market.cancel_instrument(instrument, CancelReason::Closed, &mut encoder);
        }
        debug_assert!(market.best_is_sound(instrument), "after going to {state:?}");
        debug_assert!(state != TradingState::Closed || market.depth(instrument, Side::Buy).next().is_none());
        encoder.trading_action(instrument, state);
        self.instruments[instrument as usize].state = state;
    }

    /// Engaging stops order entry and takes open orders off the book; releasing lets orders in again.
    fn kill(&mut self, scope: KillScope, engaged: bool, turn: &mut Turn<'_, impl Outputs>) {
        let before = self.positions();
        let sessions: Vec<u32> = match scope {
            KillScope::All => {
                self.killed = engaged;
                (0..self.traders.len() as u32).collect()
            }
            KillScope::Firm(name) => {
                let firm = self.firm_index(name);
                self.firms[usize::from(firm)].killed = engaged;
                (0..self.traders.len() as u32)
                    .filter(|&session| self.traders[session as usize].firm == firm)
                    .collect()
            }
            KillScope::Session(session) => {
                self.traders[session as usize].killed = engaged;
                vec![session]
            }
        };
        if engaged {
            let (market, mut encoder) = self.encoder(turn);
            for session in sessions {
                market.cancel_owner(session, &MassCancel::default(), CancelReason::Supervisory, &mut encoder);
            }
        }
        self.publish_changes(&before, turn);
    }
}

impl<O: Outputs> Encoder<'_, O> {
    /// OUCH System Event.
    fn day_event(&mut self, session: u32, event_code: u8) {
        let event = SystemEvent { timestamp: self.time_of_day, event_code };
        self.send(session, |out| event.write(out));
    }

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
    fn imbalance(&mut self, market: &book::Market, instrument: u32, kind: CrossKind, reference: Option<u64>) {
        let symbol = self.instruments[instrument as usize].symbol;
        let timestamp = self.time_of_day;
        if let Some(indication) = market.indicative(instrument, kind, reference) {
            self.publish(|out| {
                feed::imbalance(out, instrument, symbol, kind, &indication, reference.unwrap_or(0), timestamp)
            });
        }
    }
}
