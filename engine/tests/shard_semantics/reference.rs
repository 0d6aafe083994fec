//! What a shard must say, worked out from the naive model of the book and from the rules of OUCH and ITCH as documented; written
//! apart from the engine's encoder. Plain loops and lists: it is to be right, not fast.

use book::model::Model;
use book::{
    CancelReason, CrossKind, CrossType, Event, InstrumentSpec, Limits, MARKET_PRICE, MassCancel, NewOrder,
    OrderKey, OrderView, Reject, ReplaceOrder, ReplaceOutcome, SelfMatchStrategy, TradingState,
};

use crate::answers::{Answer, Feed, Tick};
use crate::ask::{TEN, alpha};
use crate::operations::{
    CHANNELS, GROSS_MAX, INSTRUMENTS, OPEN_ORDERS_MAX, Operation, SESSIONS, Terms, cancels_on_disconnect,
    firm_of, letter,
};

#[derive(Clone, Copy)]
struct Instrument {
    state: TradingState,
    opened: bool,
    closed: bool,
    reference: u64,
}

pub struct Reference {
    pub model: Model,
    last: [[u32; CHANNELS]; SESSIONS as usize],
    disabled: [bool; SESSIONS as usize],
    killed: [bool; SESSIONS as usize],
    instruments: [Instrument; 3],
    expired_to: u32,
    second: u32,
    /// The original of the replacement at hand was shown under its firm's name.
    original_attributed: bool,
    pub answers: Vec<(u32, Answer)>,
    pub ticks: Vec<Tick>,
}

impl Reference {
    pub fn new(limits: Limits) -> Self {
        let mut model = Model::new(limits);
        let instruments = INSTRUMENTS.map(|(_, lot, quantity_max, state)| {
            model.add_instrument(InstrumentSpec { tick: 100, lot, quantity_max, state });
            Instrument { state, opened: state != TradingState::PreOpen, closed: false, reference: TEN }
        });
        Self {
            model,
            last: Default::default(),
            disabled: Default::default(),
            killed: Default::default(),
            instruments,
            expired_to: 0,
            second: 0,
            original_attributed: false,
            answers: Vec::new(),
            ticks: Vec::new(),
        }
    }

    pub fn next_user_ref(&self, session: u32, channel: u8) -> u32 {
        self.last[session as usize][usize::from(channel)] + 1
    }

    pub fn state(&self, instrument: usize) -> TradingState {
        self.instruments[instrument].state
    }

    /// Every input begins with this.
    pub fn pass_time(&mut self, second: u32) {
        self.second = second;
        if second > self.expired_to {
            self.expired_to = second;
            self.model.expire(second);
            self.translate();
        }
    }

    pub fn operate(&mut self, session: u32, operation: &Operation) {
        match *operation {
            Operation::Order(terms) if terms.original.is_some() => self.replace(session, &terms),
            Operation::Order(terms) => self.enter(session, &terms),
            Operation::Cancel { channel, user_ref, total } => {
                self.model.cancel(OrderKey::new(session, channel, user_ref), total);
            }
            Operation::Modify { channel, user_ref, side, total } => {
                self.model.modify(OrderKey::new(session, channel, user_ref), side, total);
            }
            Operation::MassCancel { channel, user_ref, instrument, side, group } => {
                if self.takes(session, channel.unwrap_or(0), user_ref) {
                    let channel_shown = channel.unwrap_or(0);
                    self.answer(session, Answer::MassCanceled { user_ref, channel: channel_shown });
                    let filter = MassCancel {
                        firm: None,
                        instrument: instrument.map(|number| number as u32),
                        side,
                        group_id: (group > 0).then_some(group),
                        channel,
                    };
                    self.model.cancel_owner(session, &filter, CancelReason::User);
                }
            }
            Operation::SetOrderEntry { channel, user_ref, enabled } => {
                if self.takes(session, channel, user_ref) {
                    self.disabled[session as usize] = !enabled;
                    let answer = if enabled {
                        Answer::Enabled { user_ref, channel }
                    } else {
                        Answer::Disabled { user_ref, channel }
                    };
                    self.answer(session, answer);
                }
            }
            Operation::Query { channel } => {
                let next = self.next_user_ref(session, channel);
                self.answer(session, Answer::Query { next, channel });
            }
        }
        self.translate();
    }

    fn takes(&mut self, session: u32, channel: u8, user_ref: u32) -> bool {
        let last = &mut self.last[session as usize][usize::from(channel)];
        let new = user_ref > *last;
        *last = user_ref.max(*last);
        new
    }

    fn answer(&mut self, session: u32, answer: Answer) {
        self.answers.push((session, answer));
    }

    fn reject(&mut self, session: u32, terms: &Terms, reason: u16) {
        let (user_ref, channel) = (terms.user_ref, terms.channel);
        self.answer(session, Answer::Rejected { user_ref, reason, channel });
    }

    fn session_barred(&self, session: u32) -> Result<(), u16> {
        match (self.killed[session as usize], self.disabled[session as usize]) {
            (true, _) => Err(0x000C),
            (_, true) => Err(0x000F),
            _ => Ok(()),
        }
    }

    /// What is wrong with a request whatever the state of the market.
    fn invalid(terms: &Terms) -> Result<(), u16> {
        if terms.price != MARKET_PRICE
            && (terms.price == 0 || terms.price > 1_999_999_900 || !terms.price.is_multiple_of(100))
        {
            return Err(0x001D);
        }
        if !matches!(terms.display, b'Y' | b'N' | b'A') {
            return Err(0x0003);
        }
        match terms.time_in_force {
            b'0' | b'3' | b'5' => Ok(()),
            b'6' if (1..86_400).contains(&terms.expire_time) => Ok(()),
            b'E' => Err(0x002E),
            _ => Err(0x000F),
        }
    }

    fn tradable(&self, instrument: usize) -> Result<(), u16> {
        match self.instruments[instrument].state {
            TradingState::Closed => Err(0x0002),
            TradingState::Halted => Err(0x0007),
            _ => Ok(()),
        }
    }

    fn within_limits(&mut self, order: &NewOrder, replaced: Option<&OrderView>) -> Result<(), u16> {
        let (session, instrument) = (order.key.party.owner(), order.instrument as usize);
        let exposed = order.quantity;
        if exposed > INSTRUMENTS[instrument].2 {
            return Err(0x0013);
        }
        let others = self.model.live().filter(|view| {
            view.key.party.owner() == session && replaced.is_none_or(|original| original.key != view.key)
        });
        let (mut count, mut gross) = (0, 0);
        for view in others {
            count += 1;
            gross += if view.price == MARKET_PRICE { 0 } else { view.price * u64::from(view.open) };
        }
        let value = match (order.price, self.instruments[instrument].reference) {
            (MARKET_PRICE, 0) if order.cross == CrossType::Continuous => self.model.would_pay(order),
            (MARKET_PRICE, 0) => u64::MAX,
            (MARKET_PRICE, reference) => reference * u64::from(exposed),
            (price, _) => price * u64::from(exposed),
        };
        if count >= OPEN_ORDERS_MAX {
            return Err(0x001E);
        }
        if value.saturating_add(gross) > GROSS_MAX { Err(0x0020) } else { Ok(()) }
    }

    fn enter(&mut self, session: u32, terms: &Terms) {
        if self.takes(session, terms.channel, terms.user_ref)
            && let Err(reason) = self.try_enter(session, terms)
        {
            self.reject(session, terms, reason);
        }
    }

    fn try_enter(&mut self, session: u32, terms: &Terms) -> Result<(), u16> {
        self.session_barred(session)?;
        if terms.instrument >= INSTRUMENTS.len() {
            return Err(0x0017);
        }
        let cross = match terms.cross {
            b'N' => CrossType::Continuous,
            b'O' => CrossType::Opening,
            b'C' => CrossType::Closing,
            _ => return Err(0x0014),
        };
        Self::invalid(terms)?;
        self.tradable(terms.instrument)?;
        let order = NewOrder {
            key: OrderKey::new(session, terms.channel, terms.user_ref),
            instrument: terms.instrument as u32,
            side: terms.side,
            quantity: terms.quantity,
            price: terms.price,
            time_in_force: terms.time_in_force(self.second, cross),
            cross,
            hidden: terms.display == b'N',
            post_only: terms.post_only,
            max_floor: terms.max_floor,
            min_quantity: terms.min_quantity,
            self_match: terms.self_match(session).unwrap_or_default(),
            group_id: terms.group,
            firm: session / 2,
            attributes: u32::from(terms.display) << 8 | u32::from(terms.cross),
        };
        self.within_limits(&order, None)?;
        self.model.enter(&order).map(|_| ()).map_err(code)
    }

    fn replace(&mut self, session: u32, terms: &Terms) {
        let original = OrderKey::new(session, terms.channel, terms.original.unwrap_or(0));
        let last = self.last[session as usize][usize::from(terms.channel)];
        let Some(view) = self.model.order(original).filter(|_| terms.user_ref > last) else { return };
        let instrument = view.instrument as usize;
        let allowed = self.session_barred(session).and_then(|()| self.tradable(instrument));
        if let Err(reason) = allowed {
            self.takes(session, terms.channel, terms.user_ref);
            return self.reject(session, terms, reason);
        }
        let total_fits = (1..=INSTRUMENTS[instrument].2).contains(&terms.quantity);
        if Self::invalid(terms).is_err() || !total_fits {
            self.model.cancel(original, 0);
            return;
        }
        let cross = match view.attributes as u8 {
            b'O' => CrossType::Opening,
            b'C' => CrossType::Closing,
            _ => CrossType::Continuous,
        };
        let exposed = NewOrder {
            time_in_force: terms.time_in_force(self.second, cross),
            cross,
            self_match: terms.self_match(session).unwrap_or_default(),
            ..NewOrder::limit(
                OrderKey::new(session, terms.channel, terms.user_ref),
                view.instrument,
                view.side,
                terms.quantity.saturating_sub(view.executed),
                terms.price,
            )
        };
        if let Err(reason) = self.within_limits(&exposed, Some(&view)) {
            self.takes(session, terms.channel, terms.user_ref);
            return self.reject(session, terms, reason);
        }
        let request = ReplaceOrder {
            original,
            user_ref: terms.user_ref,
            quantity: terms.quantity,
            price: terms.price,
            time_in_force: terms.time_in_force(self.second, cross),
            hidden: terms.display == b'N',
            post_only: terms.post_only,
            max_floor: terms.max_floor,
            min_quantity: terms.min_quantity,
            self_match: terms.self_match(session),
            attributes: u32::from(terms.display) << 8 | u32::from(view.attributes as u8),
        };
        self.original_attributed = view.attributes >> 8 == u32::from(b'A');
        if self.model.replace(&request) == ReplaceOutcome::Replaced {
            self.takes(session, terms.channel, terms.user_ref);
        }
    }

    pub fn set_state(&mut self, instrument: usize, state: TradingState) {
        let Instrument { state: from, opened, closed, reference } = self.instruments[instrument];
        let all_closed =
            |of: &Self| of.instruments.iter().all(|instrument| instrument.state == TradingState::Closed);
        if all_closed(self) && state == TradingState::PreOpen {
            self.last = Default::default();
            (0..SESSIONS).for_each(|session| self.answer(session, Answer::System(b'S')));
        }
        if from == state {
            return;
        }
        let number = instrument as u32;
        let auction = match (from, state) {
            (TradingState::Closed, _) => None,
            (_, TradingState::Open) if opened => Some(CrossKind::Resumption),
            (_, TradingState::Open) => Some(CrossKind::Opening),
            (TradingState::Halted, TradingState::Closed) => None,
            (_, TradingState::Closed) if !closed => Some(CrossKind::Closing),
            _ => None,
        };
        if let Some(kind) = auction {
            self.imbalance(instrument, kind);
            self.model.uncross(number, kind, known(reference), state).expect("an auction that is not over");
        } else {
            self.model.set_state(number, state).expect("not crossed");
        }
        if state == TradingState::Closed {
            self.model.cancel_instrument(number, CancelReason::Closed);
        }
        self.translate();
        let code = match state {
            TradingState::Open => b'T',
            TradingState::PreOpen | TradingState::Auction => b'Q',
            TradingState::Halted | TradingState::Closed => b'H',
        };
        self.tick(number, Feed::State(code));
        let entry = &mut self.instruments[instrument];
        entry.state = state;
        match state {
            TradingState::PreOpen => (entry.opened, entry.closed) = (false, false),
            TradingState::Open => entry.opened = true,
            TradingState::Closed => (entry.opened, entry.closed) = (true, true),
            _ => {}
        }
        if state == TradingState::Closed && all_closed(self) {
            (0..SESSIONS).for_each(|session| self.answer(session, Answer::System(b'E')));
        }
    }

    fn imbalance(&mut self, instrument: usize, kind: CrossKind) {
        let reference = self.instruments[instrument].reference;
        let Some(it) = self.model.indicative(instrument as u32, kind, known(reference)) else { return };
        let direction = match (it.imbalance_side, it.paired) {
            (Some(side), _) => {
                if side.is_buy() {
                    b'B'
                } else {
                    b'S'
                }
            }
            (None, 0) => b'O',
            (None, _) => b'N',
        };
        let percent =
            it.price.filter(|_| reference > 0).map(|near| near.abs_diff(reference) * 100 / reference);
        let variation = match percent {
            None => b' ',
            Some(0) => b'L',
            Some(few) if few < 10 => b'0' + few as u8,
            Some(some) if some < 20 => b'A',
            Some(some) if some < 30 => b'B',
            Some(_) => b'C',
        };
        let what = Feed::Imbalance {
            paired: it.paired,
            imbalance: it.imbalance,
            direction,
            far: it.far_price.unwrap_or(0) as u32,
            near: it.price.unwrap_or(0) as u32,
            reference: reference as u32,
            kind: cross_letter(kind),
            variation,
        };
        self.tick(instrument as u32, what);
    }

    pub fn set_reference(&mut self, instrument: usize, price: u64) {
        self.instruments[instrument].reference = price;
    }

    pub fn kill(&mut self, session: u32, engaged: bool) {
        self.killed[session as usize] = engaged;
        if engaged {
            self.model.cancel_owner(session, &MassCancel::default(), CancelReason::Supervisory);
            self.translate();
        }
    }

    pub fn disconnect(&mut self, session: u32) {
        if cancels_on_disconnect(session) {
            self.model.cancel_owner(session, &MassCancel::default(), CancelReason::Disconnected);
            self.translate();
        }
    }

    fn tick(&mut self, instrument: u32, what: Feed) {
        self.ticks.push(Tick { locate: instrument as u16 + 1, what });
    }

    fn add(&mut self, order: &OrderView) {
        let attributed = order.attributes >> 8 == u32::from(b'A');
        let firm = attributed.then(|| alpha(firm_of(order.key.party.owner())));
        let side = if order.side.is_buy() { b'B' } else { b'S' };
        let (order_ref, quantity, price) = (order.order_ref, order.displayed, order.price as u32);
        self.tick(order.instrument, Feed::Add { order_ref, side, quantity, price, firm });
    }

    /// Shown shares left the book without a trade.
    fn shown_less(&mut self, order: &OrderView, quantity: u32) {
        let order_ref = order.order_ref;
        match (quantity, order.displayed) {
            (0, _) => {}
            (_, 0) => self.tick(order.instrument, Feed::Deleted { order_ref }),
            _ => self.tick(order.instrument, Feed::Reduced { order_ref, quantity }),
        }
    }

    fn executed(&mut self, order: &OrderView, quantity: u32, price: u64, liquidity: u8, match_number: u64) {
        let (user_ref, channel) = (order.key.user_ref, order.key.party.channel());
        let answer = Answer::Executed { user_ref, quantity, price, liquidity, match_number, channel };
        self.answer(order.key.party.owner(), answer);
    }

    /// Turns what the model reported into messages.
    fn translate(&mut self) {
        let mut events = std::mem::take(&mut self.model.events);
        for event in events.drain(..) {
            self.say(&event);
        }
        self.model.events = events;
    }

    fn say(&mut self, event: &Event) {
        match event {
            Event::Accepted(order) => {
                let answer = Answer::Accepted {
                    user_ref: order.key.user_ref,
                    side: letter(order.side),
                    quantity: order.open,
                    price: shown_price(order.price),
                    order_ref: order.order_ref,
                    channel: order.key.party.channel(),
                };
                self.answer(order.key.party.owner(), answer);
            }
            Event::Replaced(it) => {
                let order = &it.order;
                let answer = Answer::Replaced {
                    original: it.original.user_ref,
                    user_ref: order.key.user_ref,
                    side: letter(order.side),
                    quantity: order.open,
                    price: shown_price(order.price),
                    order_ref: order.order_ref,
                    channel: order.key.party.channel(),
                };
                self.answer(order.key.party.owner(), answer);
            }
            &Event::Withdrawn { order_ref, instrument } => self.tick(instrument, Feed::Deleted { order_ref }),
            Event::Booked { order, .. } if order.displayed == 0 => {}
            Event::Booked { order, replaces: None } => self.add(order),
            &Event::Booked { order, replaces: Some(original) } => {
                if self.original_attributed == (order.attributes >> 8 == u32::from(b'A')) {
                    let (order_ref, quantity, price) = (order.order_ref, order.displayed, order.price as u32);
                    self.tick(order.instrument, Feed::Replaced { original, order_ref, quantity, price });
                } else {
                    self.tick(order.instrument, Feed::Deleted { order_ref: original });
                    self.add(&order);
                }
            }
            Event::Executed(it) => {
                let (quantity, match_number) = (it.quantity, it.match_number);
                self.executed(&it.taker, quantity, it.price, b'R', match_number);
                let added = if it.maker_displayed { b'A' } else { b'J' };
                self.executed(&it.maker, quantity, it.price, added, match_number);
                let what = if it.maker_displayed {
                    Feed::Executed { order_ref: it.maker.order_ref, quantity, match_number }
                } else {
                    let price = it.price as u32;
                    Feed::Trade { order_ref: 0, side: b'B', quantity, price, match_number }
                };
                self.tick(it.maker.instrument, what);
            }
            Event::ExecutedInCross(it) => {
                for (order, shown) in [(&it.buy, it.buy_displayed), (&it.sell, it.sell_displayed)] {
                    self.executed(order, it.quantity, it.price, liquidity(it.kind), it.match_number);
                    if shown {
                        let what = Feed::ExecutedWithPrice {
                            order_ref: order.order_ref,
                            quantity: it.quantity,
                            price: it.price as u32,
                            match_number: it.match_number,
                            printable: b'N',
                        };
                        self.tick(order.instrument, what);
                    }
                }
            }
            Event::Crossed(it) => {
                let what = Feed::Cross {
                    quantity: it.quantity,
                    price: it.price as u32,
                    match_number: it.match_number,
                    kind: cross_letter(it.kind),
                };
                self.tick(it.instrument, what);
            }
            Event::Cancelled(it) => {
                let answer = Answer::Canceled {
                    user_ref: it.order.key.user_ref,
                    quantity: it.quantity,
                    reason: reason_letter(it.reason),
                    channel: it.order.key.party.channel(),
                };
                self.answer(it.order.key.party.owner(), answer);
                self.shown_less(&it.order, it.displayed_quantity);
            }
            Event::SelfMatchPrevented(it) => {
                let answer = Answer::SelfMatch {
                    user_ref: it.order.key.user_ref,
                    quantity: it.quantity,
                    prevented: it.prevented,
                    price: it.price,
                    liquidity: if it.resting { b'A' } else { b'R' },
                    strategy: match it.strategy {
                        SelfMatchStrategy::CancelNewest => b'W',
                        SelfMatchStrategy::CancelOldest => b'O',
                        SelfMatchStrategy::CancelBoth => b'B',
                        SelfMatchStrategy::Decrement => b'D',
                    },
                    channel: it.order.key.party.channel(),
                };
                self.answer(it.order.key.party.owner(), answer);
                self.shown_less(&it.order, it.displayed_quantity);
            }
            Event::Refreshed { order, .. } => {
                let answer = Answer::Restated {
                    user_ref: order.key.user_ref,
                    order_ref: order.order_ref,
                    displayed: order.displayed,
                    channel: order.key.party.channel(),
                };
                self.answer(order.key.party.owner(), answer);
                self.add(order);
            }
            Event::Modified(it) => {
                let order = &it.order;
                let answer = Answer::Modified {
                    user_ref: order.key.user_ref,
                    side: letter(order.side),
                    quantity: order.open,
                    channel: order.key.party.channel(),
                };
                self.answer(order.key.party.owner(), answer);
                self.shown_less(order, it.displayed_quantity);
            }
        }
    }
}

/// A reference price of 0 is unknown.
fn known(reference: u64) -> Option<u64> {
    (reference > 0).then_some(reference)
}

fn shown_price(price: u64) -> u64 {
    if price == MARKET_PRICE { wire::ouch::MARKET_PRICE } else { price }
}

fn cross_letter(kind: CrossKind) -> u8 {
    match kind {
        CrossKind::Opening => b'O',
        CrossKind::Closing => b'C',
        CrossKind::Resumption => b'H',
    }
}

/// OUCH appendix D: the opening and closing crosses, and K for the one after a halt.
fn liquidity(kind: CrossKind) -> u8 {
    match kind {
        CrossKind::Resumption => b'K',
        other => cross_letter(other),
    }
}

fn reason_letter(reason: CancelReason) -> u8 {
    match reason {
        CancelReason::User | CancelReason::InvalidReplace => b'U',
        CancelReason::PostOnlyDisplayed => b'G',
        CancelReason::PostOnlyHidden => b'F',
        CancelReason::Timeout => b'T',
        CancelReason::Disconnected | CancelReason::Supervisory => b'S',
        CancelReason::Closed => b'E',
        CancelReason::Halted => b'H',
        CancelReason::System => b'Z',
        CancelReason::Immediate
        | CancelReason::MinQuantity
        | CancelReason::NotTrading
        | CancelReason::CrossRemainder => b'I',
    }
}

fn code(reject: Reject) -> u16 {
    match reject {
        Reject::InvalidQuantity(_) => 0x0013,
        Reject::InvalidPrice(_) => 0x001D,
        Reject::InvalidMaxFloor(_) => 0x0004,
        Reject::InvalidMinQuantity(_) => 0x000D,
        Reject::InvalidCross => 0x0014,
        other => panic!("{other:?} was excluded"),
    }
}
