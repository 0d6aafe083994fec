//! Random operations of every kind against the naive model: the same events, the same results, the same books; and the
//! invariants that hold whatever the model says. Not where single rules are shown: see `matching_rules.rs`.

mod support;

use std::collections::BTreeMap;

use book::model::Model;
use book::random::Random;
use book::{
    CancelReason, CrossKind, CrossType, Event, InstrumentSpec, Limits, MARKET_PRICE, Market, MassCancel,
    NewOrder, OrderKey, PRICE_MAX, ReplaceOrder, SelfMatch, SelfMatchStrategy, Shares, Side, TimeInForce,
    TradingState,
};
use support::Ledger;

const INSTRUMENTS: u32 = 3;
const OWNERS: u32 = 4;
/// Operations per run: 2.7 million in the six runs below, about five seconds on two cores.
const OPERATIONS: u32 = 500_000;

/// What a run is made of.
#[derive(Clone, Copy)]
struct Mix {
    /// Orders have conditions (hidden, reserve, minimum, ...) so many times out of 100.
    special: u64,
    /// Prices lie within so many ticks around the middle.
    spread: u64,
    /// Orders belong to a self-match group so many times out of 100.
    grouped: u64,
    /// States change so many times out of 10,000.
    state_changes: u64,
    /// Live orders above which an owner's orders are cancelled.
    live_max: usize,
    /// Owners have a share of the room, another one from time to time.
    shares: bool,
}

struct Pair {
    market: Market,
    model: Model,
    ledger: Ledger,
    random: Random,
    mix: Mix,
    events: Vec<Event>,
    /// Next reference per owner and channel.
    references: [[u32; 2]; OWNERS as usize],
    known: Vec<OrderKey>,
    second: u32,
    shares: Option<Shares>,
    /// How often each kind of event was seen, cancellations by reason.
    seen: BTreeMap<String, u64>,
}

impl Pair {
    fn new(random: Random, mix: Mix, limits: Limits) -> Self {
        let (mut market, mut model) = (Market::new(limits), Model::new(limits));
        for number in 0..INSTRUMENTS {
            let spec = InstrumentSpec {
                tick: [1, 100, 2_500][number as usize],
                lot: [1, 1, 10][number as usize],
                quantity_max: 2_000,
                state: if number == 2 { TradingState::PreOpen } else { TradingState::Open },
            };
            assert_eq!(market.add_instrument(spec), Some(number));
            model.add_instrument(spec);
        }
        Self {
            market,
            model,
            ledger: Ledger::default(),
            random,
            mix,
            events: Vec::new(),
            references: [[1; 2]; OWNERS as usize],
            known: Vec::new(),
            second: 0,
            shares: None,
            seen: BTreeMap::new(),
        }
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.random.chance(percent, 100)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.random.below(from.len() as u64) as usize]
    }

    fn new_key(&mut self) -> OrderKey {
        let owner =
            self.random.below(u64::from(OWNERS) + u64::from(self.random.clone().chance(1, 500))) as u32;
        let channel = u8::from(self.chance(10));
        let Some(next) = self.references.get_mut(owner as usize) else { return OrderKey::new(owner, 0, 1) };
        let next = &mut next[channel as usize];
        *next += match self.random.below(40) {
            0 => self.random.below(40) as u32,
            1 => 0,
            _ => 1,
        };
        OrderKey::new(owner, channel, *next)
    }

    fn known_key(&mut self) -> OrderKey {
        if self.known.is_empty() || self.chance(2) {
            return OrderKey::new(0, 0, self.random.below(100) as u32);
        }
        // Recent ones more often than old ones.
        let age = self.random.below(self.known.len() as u64).min(self.random.below(400));
        self.known[self.known.len() - 1 - age as usize]
    }

    fn price(&mut self, instrument: u32) -> u64 {
        let tick = [1, 100, 2_500][instrument as usize % 3];
        let offset = self.random.below(self.mix.spread * 2 + 1);
        match self.random.below(300) {
            0 => 0,
            1 => self.random.below(3_000_000_000),
            2 => tick,
            3 => PRICE_MAX / tick * tick,
            4..20 => MARKET_PRICE,
            _ => 10_000 * tick + offset * tick - self.mix.spread * tick,
        }
    }

    fn quantity(&mut self) -> u32 {
        match self.random.below(100) {
            0 => self.random.below(3_000) as u32,
            1..60 => 10 * (1 + self.random.below(20)) as u32,
            _ => 10 * (1 + self.random.below(5)) as u32,
        }
    }

    fn time_in_force(&mut self) -> TimeInForce {
        match self.random.below(100) {
            0..65 => TimeInForce::Day,
            65..85 => TimeInForce::Immediate,
            85..99 => TimeInForce::GoodTill(self.second + self.random.below(30) as u32),
            _ => TimeInForce::GoodTill(self.second + self.random.below(100_000) as u32),
        }
    }

    fn self_match(&mut self) -> SelfMatch {
        let group = if self.chance(self.mix.grouped) { 1 + self.random.below(2) as u32 } else { 0 };
        let strategy = self.pick(&[
            SelfMatchStrategy::CancelNewest,
            SelfMatchStrategy::CancelOldest,
            SelfMatchStrategy::CancelBoth,
            SelfMatchStrategy::Decrement,
        ]);
        SelfMatch { group, strategy }
    }

    fn enter(&mut self) {
        let instrument = self.random.below(u64::from(INSTRUMENTS)) as u32;
        let instrument = if self.random.chance(1, 500) { 99 } else { instrument };
        let side = self.pick(&[Side::Buy, Side::Buy, Side::Buy, Side::Sell, Side::Sell, Side::SellShort]);
        let quantity = self.quantity();
        let mut order = NewOrder {
            time_in_force: self.time_in_force(),
            self_match: self.self_match(),
            group_id: self.random.below(3) as u16,
            firm: self.random.below(2) as u32,
            attributes: self.random.next_u64() as u32,
            ..NewOrder::limit(self.new_key(), instrument, side, quantity, self.price(instrument))
        };
        if self.chance(self.mix.special) {
            order.hidden = self.chance(30);
            order.post_only = self.chance(25);
            if self.chance(40) {
                order.max_floor = self.pick(&[10, 20, 50, 7, 2_500]);
            }
            if self.chance(40) {
                order.min_quantity = if self.chance(50) { quantity } else { self.quantity() };
            }
        }
        if self.chance(15) {
            order.cross = self.pick(&[CrossType::Opening, CrossType::Closing]);
        }
        if self.chance(10) {
            assert_eq!(self.market.would_pay(&order), self.model.would_pay(&order), "{order:?}");
        }
        let result = self.market.enter(&order, &mut self.events);
        assert_eq!(result, self.model.enter(&order), "{order:?}");
        if result.is_ok() {
            self.known.push(order.key);
        }
    }

    fn replace(&mut self) {
        let original = self.known_key();
        let instrument = self.market.order(original).map_or(0, |order| order.instrument);
        let user_ref = if self.chance(95) {
            let next = &mut self.references[(original.party.owner() % OWNERS) as usize];
            let next = &mut next[original.party.channel() as usize % 2];
            *next += 1;
            *next
        } else {
            self.random.below(100) as u32
        };
        let mut request = ReplaceOrder {
            time_in_force: self.time_in_force(),
            attributes: self.random.next_u64() as u32,
            ..ReplaceOrder::limit(original, user_ref, self.quantity(), self.price(instrument))
        };
        if self.chance(30) {
            request.self_match = Some(self.self_match());
        }
        if self.chance(self.mix.special) {
            request.hidden = self.chance(30);
            request.post_only = self.chance(25);
            request.max_floor = self.pick(&[0, 0, 10, 20, 50]);
            request.min_quantity = self.pick(&[0, 0, 10, 100]);
        }
        let outcome = self.market.replace(&request, &mut self.events);
        assert_eq!(outcome, self.model.replace(&request), "{request:?}");
        if outcome == book::ReplaceOutcome::Replaced {
            self.known.push(OrderKey { party: original.party, user_ref });
        }
    }

    fn mass_cancel(&mut self) {
        let mut filter = MassCancel::default();
        if self.chance(40) {
            filter.firm = Some(self.random.below(2) as u32);
        }
        if self.chance(40) {
            filter.instrument = Some(self.random.below(u64::from(INSTRUMENTS)) as u32);
        }
        if self.chance(40) {
            filter.side = Some(self.pick(&[Side::Buy, Side::Sell, Side::SellShort]));
        }
        if self.chance(40) {
            filter.group_id = Some(self.random.below(3) as u16);
        }
        if self.chance(40) {
            filter.channel = Some(self.random.below(2) as u8);
        }
        let owner = self.random.below(u64::from(OWNERS) + 1) as u32;
        let reason = CancelReason::Disconnected;
        let count = self.market.cancel_owner(owner, &filter, reason, &mut self.events);
        assert_eq!(count, self.model.cancel_owner(owner, &filter, reason));
    }

    fn change_state(&mut self) {
        let instrument = self.random.below(u64::from(INSTRUMENTS)) as u32;
        let next = self.pick(&[
            TradingState::Open,
            TradingState::Open,
            TradingState::Open,
            TradingState::Open,
            TradingState::PreOpen,
            TradingState::Halted,
            TradingState::Auction,
            TradingState::Closed,
        ]);
        let kind = self.pick(&[CrossKind::Opening, CrossKind::Closing, CrossKind::Resumption]);
        let reference =
            if self.random.chance(1, 3) { None } else { Some(self.price(instrument).min(PRICE_MAX)) };
        assert_eq!(
            self.market.indicative(instrument, kind, reference),
            self.model.indicative(instrument, kind, reference)
        );
        match self.random.below(20) {
            0..14 => {
                let crossed = self.market.uncross(instrument, kind, reference, next, &mut self.events);
                assert_eq!(crossed, self.model.uncross(instrument, kind, reference, next));
            }
            14 => {
                let reason = CancelReason::Supervisory;
                let count = self.market.cancel_instrument(instrument, reason, &mut self.events);
                assert_eq!(count, self.model.cancel_instrument(instrument, reason));
            }
            _ => assert_eq!(
                self.market.set_state(instrument, next),
                self.model.set_state(instrument, next),
                "{next:?}"
            ),
        }
    }

    fn step(&mut self) {
        if self.random.chance(self.mix.state_changes, 10_000) {
            self.change_state();
        } else if self.random.chance(1, 400) || self.market.live_orders() > self.mix.live_max {
            self.mass_cancel();
        } else {
            match self.random.below(100) {
                0..55 => self.enter(),
                55..75 => {
                    let key = self.known_key();
                    let total = if self.chance(50) { 0 } else { self.quantity() };
                    let cancelled = self.market.cancel(key, total, &mut self.events);
                    assert_eq!(cancelled, self.model.cancel(key, total), "{key:?} to {total}");
                }
                75..90 => self.replace(),
                90..97 => {
                    let key = self.known_key();
                    let total = self.quantity();
                    let side = self.pick(&Side::ALL);
                    let modified = self.market.modify(key, side, total, &mut self.events);
                    assert_eq!(modified, self.model.modify(key, side, total));
                }
                _ => {
                    self.second += self.random.below(4) as u32;
                    let count = self.market.expire(self.second, &mut self.events);
                    assert_eq!(count, self.model.expire(self.second));
                }
            }
        }
        assert_eq!(self.events, self.model.events);
        self.model.events.clear();
        for event in self.events.drain(..) {
            *self.seen.entry(kind(&event)).or_default() += 1;
            self.ledger.check(&event);
        }
        for instrument in 0..INSTRUMENTS {
            let open = self.market.state(instrument) == Some(TradingState::Open);
            assert!(!(open && self.market.is_crossed(instrument)), "crossed while continuous");
        }
    }

    fn compare(&mut self) {
        for instrument in 0..INSTRUMENTS {
            for side in [Side::Buy, Side::Sell] {
                let resting: Vec<_> = self.market.resting(instrument, side).collect();
                assert_eq!(resting, self.model.resting(instrument, side));
                let mut sums: Vec<(u64, u64, u64, u32)> = Vec::new();
                for order in &resting {
                    if sums.last().is_none_or(|last| last.0 != order.price) {
                        sums.push((order.price, 0, 0, 0));
                    }
                    let last = sums.last_mut().expect("just pushed");
                    last.1 += u64::from(order.displayed);
                    last.2 += u64::from(order.open);
                    last.3 += 1;
                }
                let depth: Vec<_> = self
                    .market
                    .depth(instrument, side)
                    .map(|level| (level.price, level.displayed, level.open, level.orders))
                    .collect();
                assert_eq!(depth, sums);
            }
        }
        for owner in 0..OWNERS {
            assert_eq!(self.market.owned(owner).collect::<Vec<_>>(), self.model.owned(owner));
        }
        assert_eq!(self.market.live_orders(), self.model.live().count());
        assert_eq!(self.ledger.live(), self.market.live_orders());
    }

    /// What an owner may use changes, and is nothing in particular now and then.
    fn share(&mut self) {
        let shares = self.chance(60).then(|| Shares {
            orders: 1 + self.random.below(60) as u32,
            levels: 1 + self.random.below(40) as u32,
        });
        self.market.set_shares(shares);
        self.model.set_shares(shares);
        self.shares = shares;
    }

    /// Goes on with a market restored from the state, with other limits and another hash secret.
    fn restart(&mut self, limits: Limits) {
        let mut state = Vec::new();
        self.market.write_state(&mut state);
        let other = Limits { hash_seed: self.random.next_u64(), orders: limits.orders + 7, ..limits };
        let restored = Market::restore(other, &state).expect("own state");
        assert_eq!(restored.state_hash(), self.market.state_hash());
        self.market = restored;
        self.market.set_shares(self.shares);
    }
}

fn run(mix: Mix, operations: u32) -> BTreeMap<String, u64> {
    let random = Random::from_environment();
    let limits = Limits { levels: 4_000, nodes: 4_000, ..Limits::new(INSTRUMENTS, OWNERS, 2_000) };
    let mut pair = Pair::new(random, mix, limits);
    for operation in 0..operations {
        pair.step();
        if operation % 500 == 0 {
            pair.compare();
        }
        if mix.shares && operation % 300 == 0 {
            pair.share();
        }
        if operation % 5_000 == 4_999 {
            pair.restart(limits);
        }
    }
    pair.compare();
    assert!(pair.seen["Executed"] > u64::from(operations) / 100);
    pair.seen
}

/// The name of an event, and what is worth counting apart.
fn kind(event: &Event) -> String {
    match event {
        Event::Cancelled(it) => format!("Cancelled {:?}", it.reason),
        Event::SelfMatchPrevented(it) => format!("SelfMatchPrevented {:?}", it.strategy),
        Event::Booked { replaces: Some(_), .. } => "Booked in place".to_owned(),
        Event::Executed(it) if !it.maker_displayed => "Executed unseen".to_owned(),
        other => format!("{other:?}").split(['(', ' ']).next().unwrap_or_default().to_owned(),
    }
}

const PLAIN: Mix = Mix { special: 0, spread: 8, grouped: 0, state_changes: 0, live_max: 150, shares: false };

#[test]
fn plain_orders() {
    run(PLAIN, OPERATIONS);
}

#[test]
fn orders_with_conditions() {
    run(Mix { special: 60, ..PLAIN }, OPERATIONS);
}

#[test]
fn orders_of_few_groups() {
    run(Mix { special: 30, grouped: 70, ..PLAIN }, OPERATIONS);
}

#[test]
fn auctions_and_halts() {
    let seen = run(Mix { special: 50, grouped: 30, state_changes: 300, ..PLAIN }, OPERATIONS);
    for kind in [
        "Accepted",
        "Replaced",
        "Withdrawn",
        "Booked",
        "Booked in place",
        "Executed",
        "Executed unseen",
        "ExecutedInCross",
        "Crossed",
        "Cancelled User",
        "Cancelled Immediate",
        "Cancelled MinQuantity",
        "Cancelled PostOnlyDisplayed",
        "Cancelled PostOnlyHidden",
        "Cancelled Timeout",
        "Cancelled NotTrading",
        "Cancelled CrossRemainder",
        "Cancelled InvalidReplace",
        "Cancelled Disconnected",
        "Cancelled Supervisory",
        "SelfMatchPrevented CancelNewest",
        "SelfMatchPrevented CancelOldest",
        "SelfMatchPrevented CancelBoth",
        "SelfMatchPrevented Decrement",
        "Refreshed",
        "Modified",
    ] {
        assert!(seen.get(kind).is_some_and(|&count| count > 10), "{kind} is hardly tested: {seen:?}");
    }
}

#[test]
fn a_wide_and_deep_book() {
    let mix =
        Mix { special: 20, spread: 9_000, grouped: 10, state_changes: 30, live_max: 900, shares: false };
    run(mix, OPERATIONS / 3);
}

#[test]
fn a_crowded_touch() {
    let mix = Mix { special: 40, spread: 1, grouped: 30, state_changes: 50, live_max: 80, shares: false };
    run(mix, OPERATIONS);
}

#[test]
fn owners_with_shares() {
    let mix = Mix { special: 30, spread: 20, grouped: 10, state_changes: 50, live_max: 250, shares: true };
    run(mix, OPERATIONS / 2);
}
