//! The matching rules once more, as plainly as possible: every question is answered by looking at all orders. For tests.
//!
//! Written apart from the book and sharing only its public types. A list of live orders per instrument, no queues, no
//! levels: priority is read off the orders themselves (a new order reference comes with every loss of priority).
//! What an order would trade is found out by trading it in a copy.

mod auction;

use crate::{
    CancelReason, Cancellation, CrossType, Event, Execution, InstrumentSpec, Limits, MARKET_PRICE,
    MassCancel, Modification, NewOrder, OrderKey, OrderView, PRICE_MAX, Reject, ReplaceOrder, ReplaceOutcome,
    Replacement, SelfMatch, SelfMatchPrevention, SelfMatchStrategy, Shares, Side, StateChangeError,
    TIME_TO_LIVE_MAX, TimeInForce, TradingState,
};

#[derive(Clone, Debug)]
struct Live {
    view: OrderView,
    hidden: bool,
    max_floor: u32,
    self_match: SelfMatch,
    group_id: u16,
    cross: CrossType,
    expires_at: Option<u32>,
    /// When it came to rest, counted over the whole model.
    booked: u64,
}

impl Live {
    /// Smaller is better: price, then displayed before hidden, then time.
    fn rank(&self) -> (u64, bool, u64) {
        let price = match (self.view.price, self.view.side) {
            (MARKET_PRICE, _) => 0,
            (price, Side::Buy) => u64::MAX - price,
            (price, _) => price,
        };
        (price, self.hidden, self.view.order_ref)
    }

    fn offered(&self) -> u32 {
        if self.hidden { self.view.open } else { self.view.displayed }
    }

    fn accepts(&self, price: u64) -> bool {
        self.view.price == MARKET_PRICE
            || if self.view.side.is_buy() { self.view.price >= price } else { self.view.price <= price }
    }
}

#[derive(Clone, Debug)]
struct Instrument {
    spec: InstrumentSpec,
    opened: bool,
    closed: bool,
    live: Vec<Live>,
}

/// The reference market. The same calls as [`Market`](crate::Market), the same events, no bounds on room.
#[derive(Clone, Debug)]
pub struct Model {
    limits: Limits,
    shares: Option<Shares>,
    instruments: Vec<Instrument>,
    /// Blocks of eight references in which each owner has orders, in the order of their creation.
    blocks: Vec<(u32, u8, u32)>,
    order_ref_last: u64,
    match_number_last: u64,
    booked_last: u64,
    now: u32,
    pub events: Vec<Event>,
}

fn block(key: OrderKey) -> (u32, u8, u32) {
    (key.party.owner(), key.party.channel(), key.user_ref / 8)
}

impl Model {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            shares: None,
            instruments: Vec::new(),
            blocks: Vec::new(),
            order_ref_last: 0,
            match_number_last: 0,
            booked_last: 0,
            now: 0,
            events: Vec::new(),
        }
    }

    pub fn set_shares(&mut self, shares: Option<Shares>) {
        self.shares = shares;
    }

    pub fn add_instrument(&mut self, spec: InstrumentSpec) {
        self.instruments.push(Instrument {
            spec,
            opened: spec.state != TradingState::PreOpen,
            closed: spec.state == TradingState::Closed,
            live: Vec::new(),
        });
    }

    pub fn live(&self) -> impl Iterator<Item = &OrderView> {
        self.instruments.iter().flat_map(|instrument| instrument.live.iter().map(|live| &live.view))
    }

    pub fn order(&self, key: OrderKey) -> Option<OrderView> {
        self.live().find(|view| view.key == key).copied()
    }

    /// One side of the continuous book, best first.
    pub fn resting(&self, instrument: u32, side: Side) -> Vec<OrderView> {
        self.ranked(instrument, |live| live.cross == CrossType::Continuous && same_side(live.view.side, side))
    }

    fn ranked(&self, instrument: u32, of: impl Fn(&Live) -> bool) -> Vec<OrderView> {
        let mut found: Vec<&Live> =
            self.instruments[instrument as usize].live.iter().filter(|live| of(live)).collect();
        found.sort_by_key(|live| live.rank());
        found.into_iter().map(|live| live.view).collect()
    }

    fn check(&self, new: &NewOrder, total: u32) -> Result<(), Reject> {
        let Some(instrument) = self.instruments.get(new.instrument as usize) else {
            return Err(Reject::UnknownInstrument(new.instrument));
        };
        let spec = instrument.spec;
        if spec.state == TradingState::Closed {
            return Err(Reject::Closed);
        }
        if total == 0 || total > spec.quantity_max || !total.is_multiple_of(spec.lot) {
            return Err(Reject::InvalidQuantity(total));
        }
        let limit_fits =
            (1..=PRICE_MAX).contains(&new.price) && new.price.is_multiple_of(u64::from(spec.tick));
        if new.price != MARKET_PRICE && !limit_fits {
            return Err(Reject::InvalidPrice(new.price));
        }
        if let TimeInForce::GoodTill(second) = new.time_in_force
            && u64::from(second) > u64::from(self.now) + u64::from(TIME_TO_LIVE_MAX)
        {
            return Err(Reject::InvalidExpiry(second));
        }
        if new.max_floor > 0
            && (new.hidden || new.max_floor > total || !new.max_floor.is_multiple_of(spec.lot))
        {
            return Err(Reject::InvalidMaxFloor(new.max_floor));
        }
        if new.min_quantity > 0 && (!immediate(new) || new.min_quantity > total) {
            return Err(Reject::InvalidMinQuantity(new.min_quantity));
        }
        let over = match new.cross {
            CrossType::Continuous => return Ok(()),
            CrossType::Opening => instrument.opened,
            CrossType::Closing => instrument.closed,
        };
        if over || new.post_only || new.max_floor > 0 || new.min_quantity > 0 {
            return Err(Reject::InvalidCross);
        }
        Ok(())
    }

    pub fn enter(&mut self, new: &NewOrder) -> Result<u64, Reject> {
        self.check(new, new.quantity)?;
        if new.key.party.owner() >= self.limits.owners {
            return Err(Reject::UnknownOwner(new.key.party.owner()));
        }
        if self.order(new.key).is_some() {
            return Err(Reject::DuplicateKey(new.key));
        }
        self.check_share(new, None)?;
        let order = self.incoming(new, new.quantity, 0);
        self.events.push(Event::Accepted(order.view));
        self.work(new, order, None);
        Ok(self.order_ref_of(new.key))
    }

    /// Whether an order that may rest keeps within what its owner may use, once `replaced` is gone.
    fn check_share(&self, new: &NewOrder, replaced: Option<&Live>) -> Result<(), Reject> {
        let Some(shares) = self.shares else { return Ok(()) };
        if immediate(new) && new.cross == CrossType::Continuous {
            return Ok(());
        }
        let owner = new.key.party.owner();
        let others = self.live().filter(|view| {
            view.key.party.owner() == owner && replaced.is_none_or(|it| it.view.key != view.key)
        });
        let others = others.count() as u32;
        if replaced.is_none() && others >= shares.orders {
            return Err(Reject::ShareOfOrders(shares.orders));
        }
        let at_level = |cross: CrossType, side: Side, price: u64| {
            let live = self.instruments[new.instrument as usize].live.iter();
            live.filter(|it| it.cross == cross && same_side(it.view.side, side) && it.view.price == price)
                .count()
        };
        let frees_level = replaced.is_some_and(|it| at_level(it.cross, it.view.side, it.view.price) == 1);
        if others >= shares.levels && !frees_level && at_level(new.cross, new.side, new.price) == 0 {
            return Err(Reject::ShareOfLevels(shares.levels));
        }
        Ok(())
    }

    /// Price times quantity of what an order would trade on entry.
    pub fn would_pay(&mut self, new: &NewOrder) -> u64 {
        let open = self.instruments.get(new.instrument as usize).map(|it| it.spec.state);
        if self.check(new, new.quantity).is_err()
            || new.cross != CrossType::Continuous
            || open != Some(TradingState::Open)
        {
            return 0;
        }
        let order_ref_last = self.order_ref_last;
        let order = self.incoming(new, new.quantity, 0);
        self.order_ref_last = order_ref_last;
        self.trial(&order).iter().map(|trade| trade.price * u64::from(trade.quantity)).sum()
    }

    /// The reference under which the latest order with this key was taken.
    fn order_ref_of(&self, key: OrderKey) -> u64 {
        let taken = self.events.iter().rev().find_map(|event| match event {
            Event::Accepted(view) if view.key == key => Some(view.order_ref),
            _ => None,
        });
        taken.unwrap_or(0)
    }

    fn incoming(&mut self, new: &NewOrder, open: u32, executed: u32) -> Live {
        self.order_ref_last += 1;
        Live {
            view: OrderView {
                key: new.key,
                order_ref: self.order_ref_last,
                instrument: new.instrument,
                side: new.side,
                price: new.price,
                open,
                displayed: 0,
                executed,
                firm: new.firm,
                attributes: new.attributes,
            },
            hidden: new.hidden || new.cross != CrossType::Continuous,
            max_floor: new.max_floor,
            self_match: new.self_match,
            group_id: new.group_id,
            cross: new.cross,
            expires_at: if let TimeInForce::GoodTill(second) = new.time_in_force {
                Some(second)
            } else {
                None
            },
            booked: 0,
        }
    }

    pub fn replace(&mut self, request: &ReplaceOrder) -> ReplaceOutcome {
        let key = OrderKey { party: request.original.party, user_ref: request.user_ref };
        let Some((instrument, at)) = self.find(request.original) else { return ReplaceOutcome::Ignored };
        if self.order(key).is_some() {
            return ReplaceOutcome::Ignored;
        }
        let original = self.instruments[instrument].live[at].clone();
        let new = NewOrder {
            key,
            instrument: original.view.instrument,
            side: original.view.side,
            quantity: request.quantity,
            price: request.price,
            time_in_force: request.time_in_force,
            cross: original.cross,
            hidden: request.hidden,
            post_only: request.post_only,
            max_floor: request.max_floor,
            min_quantity: request.min_quantity,
            self_match: request.self_match.unwrap_or(original.self_match),
            group_id: original.group_id,
            firm: original.view.firm,
            attributes: request.attributes,
        };
        match self.check(&new, request.quantity) {
            Err(Reject::Closed) => return ReplaceOutcome::Refused(Reject::Closed),
            Err(reject) => {
                self.reduce(request.original, u32::MAX, CancelReason::InvalidReplace);
                return ReplaceOutcome::OriginalCancelled(Some(reject));
            }
            Ok(()) if request.quantity <= original.view.executed => {
                self.reduce(request.original, u32::MAX, CancelReason::User);
                return ReplaceOutcome::OriginalCancelled(None);
            }
            Ok(()) => {}
        }
        if let Err(reject) = self.check_share(&new, Some(&original)) {
            return ReplaceOutcome::Refused(reject);
        }
        self.remove(request.original);
        let order = self.incoming(&new, request.quantity - original.view.executed, original.view.executed);
        self.events.push(Event::Replaced(Replacement {
            order: order.view,
            original: request.original,
            original_ref: original.view.order_ref,
            original_open: original.view.open,
            original_price: original.view.price,
        }));
        self.work(&new, order, (original.view.displayed > 0).then_some(original.view.order_ref));
        ReplaceOutcome::Replaced
    }

    fn work(&mut self, new: &NewOrder, mut order: Live, mut shown: Option<u64>) {
        let reason = self.settle(new, &mut order, &mut shown);
        let instrument = order.view.instrument;
        if let Some(reason) = reason {
            if let Some(order_ref) = shown {
                self.events.push(Event::Withdrawn { order_ref, instrument });
            }
            let quantity = core::mem::take(&mut order.view.open);
            self.events.push(Event::Cancelled(Cancellation {
                order: order.view,
                quantity,
                displayed_quantity: 0,
                reason,
            }));
        } else if order.view.open > 0 {
            order.view.displayed = match (order.hidden, order.max_floor) {
                (true, _) => 0,
                (_, 0) => order.view.open,
                (_, floor) => floor.min(order.view.open),
            };
            if order.view.displayed == 0
                && let Some(order_ref) = shown.take()
            {
                self.events.push(Event::Withdrawn { order_ref, instrument });
            }
            self.booked_last += 1;
            order.booked = self.booked_last;
            if !self.blocks.contains(&block(order.view.key)) {
                self.blocks.push(block(order.view.key));
            }
            self.events.push(Event::Booked { order: order.view, replaces: shown });
            self.instruments[instrument as usize].live.push(order);
        }
    }

    /// Trades; gives the reason for which what is left does not rest.
    fn settle(&mut self, new: &NewOrder, order: &mut Live, shown: &mut Option<u64>) -> Option<CancelReason> {
        if order.expires_at.is_some_and(|second| second <= self.now) {
            return Some(CancelReason::Timeout);
        }
        if order.cross != CrossType::Continuous {
            return None;
        }
        let instrument = order.view.instrument;
        if self.instruments[instrument as usize].spec.state != TradingState::Open {
            return immediate(new).then_some(CancelReason::NotTrading);
        }
        if self.contra(order).is_some()
            && let Some(order_ref) = shown.take()
        {
            self.events.push(Event::Withdrawn { order_ref, instrument });
        }
        if new.post_only || new.min_quantity > 0 {
            let trades = self.trial(order);
            if new.post_only && !trades.is_empty() {
                return Some(if trades[0].maker_displayed {
                    CancelReason::PostOnlyDisplayed
                } else {
                    CancelReason::PostOnlyHidden
                });
            }
            if trades.iter().map(|trade| trade.quantity).sum::<u32>() < new.min_quantity {
                return Some(CancelReason::MinQuantity);
            }
        }
        self.trade(order);
        (order.view.open > 0 && immediate(new)).then_some(CancelReason::Immediate)
    }

    /// The trades `order` would make, by letting it make them in a copy.
    fn trial(&mut self, order: &Live) -> Vec<Execution> {
        let events = core::mem::take(&mut self.events);
        let mut copy = self.clone();
        self.events = events;
        copy.trade(&mut order.clone());
        let trades = copy.events.iter().filter_map(|event| match event {
            Event::Executed(execution) => Some(*execution),
            _ => None,
        });
        trades.collect()
    }

    /// The order that `order` meets first.
    fn contra(&self, order: &Live) -> Option<OrderView> {
        let others = self.instruments[order.view.instrument as usize].live.iter().filter(|other| {
            other.cross == CrossType::Continuous
                && !same_side(other.view.side, order.view.side)
                && order.accepts(other.view.price)
        });
        others.min_by_key(|other| other.rank()).map(|other| other.view)
    }

    fn trade(&mut self, taker: &mut Live) {
        while taker.view.open > 0 {
            let Some(contra) = self.contra(taker) else { return };
            let Some((instrument, at)) = self.find(contra.key) else { return };
            let maker = self.instruments[instrument].live[at].clone();
            if taker.self_match.group > 0 && taker.self_match.group == maker.self_match.group {
                self.prevent(taker, &maker);
                continue;
            }
            let quantity = taker.view.open.min(maker.offered());
            taker.view.open -= quantity;
            taker.view.executed += quantity;
            let (after, refreshed) = self.execute(contra.key, quantity);
            self.match_number_last += 1;
            self.events.push(Event::Executed(Execution {
                maker: after,
                taker: taker.view,
                quantity,
                price: contra.price,
                match_number: self.match_number_last,
                maker_displayed: !maker.hidden,
            }));
            self.after_execution(after, refreshed);
        }
    }

    /// Takes executed shares off a live order; says whether it has to show its next part.
    fn execute(&mut self, key: OrderKey, quantity: u32) -> (OrderView, bool) {
        let Some((instrument, at)) = self.find(key) else { unreachable!("{key:?} is live") };
        let live = &mut self.instruments[instrument].live[at];
        live.view.open -= quantity;
        live.view.executed += quantity;
        if !live.hidden {
            live.view.displayed -= quantity;
        }
        (live.view, !live.hidden && live.view.displayed == 0)
    }

    fn after_execution(&mut self, after: OrderView, shows_next: bool) {
        if after.open == 0 {
            self.remove(after.key);
        } else if shows_next {
            let Some((instrument, at)) = self.find(after.key) else { return };
            self.order_ref_last += 1;
            let live = &mut self.instruments[instrument].live[at];
            live.view.order_ref = self.order_ref_last;
            live.view.displayed = live.max_floor.min(live.view.open);
            let order = live.view;
            self.events.push(Event::Refreshed { order, old_ref: after.order_ref });
        }
    }

    fn prevent(&mut self, taker: &mut Live, maker: &Live) {
        let strategy = taker.self_match.strategy;
        let smaller = taker.view.open.min(maker.view.open);
        let (from_maker, from_taker) = match strategy {
            SelfMatchStrategy::CancelNewest => (0, taker.view.open),
            SelfMatchStrategy::CancelOldest => (maker.view.open, 0),
            SelfMatchStrategy::CancelBoth => (maker.view.open, taker.view.open),
            SelfMatchStrategy::Decrement => (smaller, smaller),
        };
        if from_maker > 0 {
            let (order, displayed_quantity) = self.take(maker.view.key, from_maker);
            self.events.push(Event::SelfMatchPrevented(SelfMatchPrevention {
                order,
                quantity: from_maker,
                displayed_quantity,
                prevented: smaller,
                price: maker.view.price,
                strategy,
                resting: true,
            }));
        }
        if from_taker > 0 {
            taker.view.open -= from_taker;
            self.events.push(Event::SelfMatchPrevented(SelfMatchPrevention {
                order: taker.view,
                quantity: from_taker,
                displayed_quantity: 0,
                prevented: smaller,
                price: maker.view.price,
                strategy,
                resting: false,
            }));
        }
    }

    fn find(&self, key: OrderKey) -> Option<(usize, usize)> {
        self.instruments.iter().enumerate().find_map(|(number, instrument)| {
            instrument.live.iter().position(|live| live.view.key == key).map(|at| (number, at))
        })
    }

    fn remove(&mut self, key: OrderKey) {
        if let Some((instrument, at)) = self.find(key) {
            self.instruments[instrument].live.remove(at);
            if !self.live().any(|view| block(view.key) == block(key)) {
                self.blocks.retain(|&other| other != block(key));
            }
        }
    }

    /// Takes up to `quantity` unexecuted shares off an order: those in reserve first.
    fn take(&mut self, key: OrderKey, quantity: u32) -> (OrderView, u32) {
        let Some((instrument, at)) = self.find(key) else { unreachable!("{key:?} is live") };
        let view = &mut self.instruments[instrument].live[at].view;
        let before = view.displayed;
        view.open -= quantity.min(view.open);
        view.displayed = view.displayed.min(view.open);
        let after = *view;
        if after.open == 0 {
            self.remove(key);
        }
        (after, before - after.displayed)
    }

    fn reduce(&mut self, key: OrderKey, quantity: u32, reason: CancelReason) {
        let Some(before) = self.order(key) else { return };
        let (order, displayed_quantity) = self.take(key, quantity);
        let quantity = before.open - order.open;
        self.events.push(Event::Cancelled(Cancellation { order, quantity, displayed_quantity, reason }));
    }

    pub fn cancel(&mut self, key: OrderKey, total: u32) -> bool {
        let Some(view) = self.order(key) else { return false };
        if total >= view.open + view.executed {
            return false;
        }
        let quantity = (view.open + view.executed - total).min(view.open);
        self.reduce(key, quantity, CancelReason::User);
        true
    }

    pub fn modify(&mut self, key: OrderKey, side: Side, total: u32) -> bool {
        let Some(view) = self.order(key) else { return false };
        if side != view.side && (side == Side::Buy || view.side == Side::Buy) {
            return false;
        }
        if total <= view.executed {
            self.reduce(key, view.open, CancelReason::User);
            return true;
        }
        let Some((instrument, at)) = self.find(key) else { return false };
        self.instruments[instrument].live[at].view.side = side;
        let (order, displayed_quantity) = self.take(key, (view.open + view.executed).saturating_sub(total));
        let quantity = view.open - order.open;
        self.events.push(Event::Modified(Modification {
            order,
            quantity,
            displayed_quantity,
            old_side: view.side,
        }));
        true
    }

    /// An owner's live orders in the order of their entry; within one block of eight references, by reference.
    pub fn owned(&self, owner: u32) -> Vec<OrderView> {
        let mut found = Vec::new();
        for &of in self.blocks.iter().filter(|of| of.0 == owner) {
            let mut views: Vec<OrderView> =
                self.live().filter(|view| block(view.key) == of).copied().collect();
            views.sort_by_key(|view| view.key.user_ref);
            found.extend(views);
        }
        found
    }

    pub fn cancel_owner(&mut self, owner: u32, filter: &MassCancel, reason: CancelReason) -> u32 {
        let mut count = 0;
        for view in self.owned(owner) {
            let Some((instrument, at)) = self.find(view.key) else { continue };
            let group = self.instruments[instrument].live[at].group_id;
            let taken = filter.firm.unwrap_or(view.firm) == view.firm
                && filter.instrument.unwrap_or(view.instrument) == view.instrument
                && filter.side.unwrap_or(view.side) == view.side
                && filter.channel.unwrap_or(view.key.party.channel()) == view.key.party.channel()
                && filter.group_id.unwrap_or(group) == group;
            if taken {
                self.reduce(view.key, u32::MAX, reason);
                count += 1;
            }
        }
        count
    }

    pub fn cancel_instrument(&mut self, instrument: u32, reason: CancelReason) -> u32 {
        let mut count = 0;
        for cross in [CrossType::Continuous, CrossType::Opening, CrossType::Closing] {
            for side in [Side::Buy, Side::Sell] {
                count += self.cancel_ranked(instrument, side, cross, reason);
            }
        }
        count
    }

    fn cancel_ranked(&mut self, instrument: u32, side: Side, cross: CrossType, reason: CancelReason) -> u32 {
        let views = self.ranked(instrument, |live| live.cross == cross && same_side(live.view.side, side));
        for view in &views {
            self.reduce(view.key, u32::MAX, reason);
        }
        views.len() as u32
    }

    pub fn expire(&mut self, second: u32) -> u32 {
        let mut due: Vec<(u32, u64, OrderKey)> = Vec::new();
        for live in self.instruments.iter().flat_map(|instrument| &instrument.live) {
            if let Some(at) = live.expires_at.filter(|&at| at <= second) {
                due.push((at, live.booked, live.view.key));
            }
        }
        due.sort();
        for &(.., key) in &due {
            self.reduce(key, u32::MAX, CancelReason::Timeout);
        }
        self.now = self.now.max(second);
        due.len() as u32
    }

    pub fn is_crossed(&self, instrument: u32) -> bool {
        match (self.resting(instrument, Side::Buy).first(), self.resting(instrument, Side::Sell).first()) {
            (Some(buy), Some(sell)) => buy.price >= sell.price,
            _ => false,
        }
    }

    pub fn set_state(&mut self, instrument: u32, state: TradingState) -> Result<(), StateChangeError> {
        if instrument as usize >= self.instruments.len() {
            return Err(StateChangeError::UnknownInstrument(instrument));
        }
        if state == TradingState::Open && self.is_crossed(instrument) {
            return Err(StateChangeError::Crossed);
        }
        let found = &mut self.instruments[instrument as usize];
        found.spec.state = state;
        found.opened = state != TradingState::PreOpen
            && (found.opened || matches!(state, TradingState::Open | TradingState::Closed));
        found.closed = state != TradingState::PreOpen && (found.closed || state == TradingState::Closed);
        Ok(())
    }
}

fn same_side(one: Side, other: Side) -> bool {
    one.is_buy() == other.is_buy()
}

fn immediate(new: &NewOrder) -> bool {
    new.time_in_force == TimeInForce::Immediate || new.price == MARKET_PRICE
}
