//! Random requests with every feature the book has, and a hash over everything it answers. Uses whichever book its parent
//! module calls `book`: the same seed gives two versions the same requests, as long as they answer alike.

use super::book::{
    CancelReason, Cancellation, Cross, CrossExecution, CrossKind, CrossType, Execution, InstrumentSpec,
    Limits, MARKET_PRICE, Market, MassCancel, Modification, NewOrder, OrderKey, OrderView, ReplaceOrder,
    Replacement, SelfMatch, SelfMatchPrevention, SelfMatchStrategy, Side, Sink, TimeInForce, TradingState,
    WarmList,
};
use super::reference;
use book::random::Random;

const INSTRUMENTS: u32 = 4;
const OWNERS: u32 = 6;
/// The largest price of both versions.
const PRICE_MAX: u64 = 1_999_999_900;

/// Everything reported, folded into one number.
#[derive(Default)]
pub struct Hash {
    sum: u64,
    pub events: u64,
}

impl Hash {
    fn add(&mut self, value: u64) {
        let product = u128::from(self.sum ^ value) * 0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835_u128;
        self.sum = (product as u64) ^ (product >> 64) as u64 ^ 0x243F_6A88_85A3_08D3;
    }

    fn text(&mut self, what: &impl core::fmt::Debug) {
        for byte in format!("{what:?}").bytes() {
            self.add(u64::from(byte));
        }
    }

    fn order(&mut self, kind: u64, order: &OrderView) {
        self.events += 1;
        self.add(kind << 32 | u64::from(order.key.user_ref));
        self.add(u64::from(order.key.party.owner()) << 8 | u64::from(order.key.party.channel()));
        self.add(order.order_ref);
        self.add(order.price);
        self.add(u64::from(order.instrument) << 32 | order.side as u64);
        self.add(u64::from(order.open) << 32 | u64::from(order.displayed));
        self.add(u64::from(order.executed) << 32 | u64::from(order.firm));
        self.add(u64::from(order.attributes));
    }
}

impl Sink for Hash {
    fn accepted(&mut self, order: &OrderView) {
        self.order(1, order);
    }
    fn replaced(&mut self, it: &Replacement) {
        self.order(2, &it.order);
        self.add(u64::from(it.original.user_ref) << 32 | u64::from(it.original.party.owner()));
        self.add(it.original_ref);
        self.add(u64::from(it.original_open));
        self.add(it.original_price);
    }
    fn withdrawn(&mut self, order_ref: u64, instrument: u32) {
        self.events += 1;
        self.add(3 << 32 | u64::from(instrument));
        self.add(order_ref);
    }
    fn booked(&mut self, order: &OrderView, replaces: Option<u64>) {
        self.order(4, order);
        self.add(replaces.unwrap_or(0));
    }
    fn executed(&mut self, it: &Execution) {
        self.order(5, &it.maker);
        self.order(5, &it.taker);
        self.add(u64::from(it.quantity) << 1 | u64::from(it.maker_displayed));
        self.add(it.price);
        self.add(it.match_number);
    }
    fn executed_in_cross(&mut self, it: &CrossExecution) {
        self.order(6, &it.buy);
        self.order(6, &it.sell);
        self.add(
            u64::from(it.quantity) << 2 | u64::from(it.buy_displayed) << 1 | u64::from(it.sell_displayed),
        );
        self.add(it.price);
        self.add(it.match_number);
        self.add(it.kind as u64);
    }
    fn crossed(&mut self, it: &Cross) {
        self.events += 1;
        for value in [7, it.kind as u64, u64::from(it.instrument), it.price, it.quantity, it.match_number] {
            self.add(value);
        }
    }
    fn cancelled(&mut self, it: &Cancellation) {
        self.order(8, &it.order);
        self.add(u64::from(it.quantity) << 32 | u64::from(it.displayed_quantity));
        self.add(it.reason as u64);
    }
    fn self_match_prevented(&mut self, it: &SelfMatchPrevention) {
        self.order(9, &it.order);
        self.add(u64::from(it.quantity) << 32 | u64::from(it.displayed_quantity));
        self.add(u64::from(it.prevented) << 8 | (it.strategy as u64) << 1 | u64::from(it.resting));
        self.add(it.price);
    }
    fn refreshed(&mut self, order: &OrderView, old_ref: u64) {
        self.order(10, order);
        self.add(old_ref);
    }
    fn modified(&mut self, it: &Modification) {
        self.order(11, &it.order);
        self.add(u64::from(it.quantity) << 32 | u64::from(it.displayed_quantity));
        self.add(it.old_side as u64);
    }
}

/// What a seed asks for.
#[derive(Clone, Copy)]
struct Mix {
    special: u64,
    spread: u64,
    /// Prices from the smallest tick to the largest so many times out of 100.
    anywhere: u64,
    grouped: u64,
    state_changes: u64,
    sparse: bool,
    live_max: usize,
}

const MIXES: [Mix; 6] = [
    Mix { special: 0, spread: 300, anywhere: 0, grouped: 0, state_changes: 0, sparse: false, live_max: 900 },
    Mix {
        special: 50,
        spread: 8,
        anywhere: 1,
        grouped: 30,
        state_changes: 100,
        sparse: false,
        live_max: 300,
    },
    Mix {
        special: 30,
        spread: 9_000,
        anywhere: 30,
        grouped: 10,
        state_changes: 30,
        sparse: true,
        live_max: 900,
    },
    Mix { special: 60, spread: 1, anywhere: 0, grouped: 60, state_changes: 50, sparse: false, live_max: 200 },
    Mix { special: 5, spread: 2_000, anywhere: 0, grouped: 2, state_changes: 3, sparse: true, live_max: 990 },
    Mix {
        special: 30,
        spread: 100,
        anywhere: 5,
        grouped: 20,
        state_changes: 300,
        sparse: false,
        live_max: 995,
    },
];

struct Requests {
    market: Market,
    random: Random,
    mix: Mix,
    hash: Hash,
    references: [u32; OWNERS as usize],
    known: Vec<OrderKey>,
    second: u32,
    limits: Limits,
}

/// The hash of everything said in answer to `messages` requests, that of the states written on the way, and the events.
pub fn answers(seed: u64, messages: u32) -> (u64, u64) {
    let mix = MIXES[(seed % MIXES.len() as u64) as usize];
    // Few slots, so that they run out now and then; enough of the price index, whose use may differ between versions.
    let mut limits = Limits { nodes: 20_000, ..Limits::new(INSTRUMENTS, OWNERS, 1_000) };
    limits.levels = if seed % 4 == 3 { 150 } else { 2_000 };
    let mut market = Market::new(limits);
    for number in 0..INSTRUMENTS {
        let spec = InstrumentSpec {
            tick: [1, 100, 2_500, 7][number as usize],
            lot: [1, 1, 10, 1][number as usize],
            quantity_max: 2_000,
            state: if number == 2 { TradingState::PreOpen } else { TradingState::Open },
        };
        assert!(market.add_instrument(spec).is_some());
    }
    let random = Random::new(seed);
    let (hash, known) = (Hash::default(), Vec::new());
    let mut requests =
        Requests { market, random, mix, hash, references: [1; OWNERS as usize], known, second: 0, limits };
    for step in 0..messages {
        requests.step();
        if step % 10_000 == 9_999 {
            requests.state();
        }
    }
    (requests.hash.sum, requests.hash.events)
}

impl Requests {
    fn chance(&mut self, percent: u64) -> bool {
        self.random.chance(percent, 100)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.random.below(from.len() as u64) as usize]
    }

    fn reference(&mut self, owner: u32) -> u32 {
        if self.mix.sparse {
            return self.random.below(1_000_000) as u32;
        }
        let skip = [0, 30][usize::from(self.random.chance(1, 40))];
        let next = &mut self.references[(owner % OWNERS) as usize];
        *next += 1 + skip;
        *next
    }

    fn known_key(&mut self) -> OrderKey {
        if self.known.is_empty() || self.chance(2) {
            return OrderKey::new(0, 0, self.random.below(100) as u32);
        }
        let age = self.random.below(self.known.len() as u64).min(self.random.below(1_000));
        self.known[self.known.len() - 1 - age as usize]
    }

    fn price(&mut self, instrument: u32) -> u64 {
        let tick = [1, 100, 2_500, 7][instrument as usize % 4];
        let ticks = if self.chance(self.mix.anywhere) {
            let largest = PRICE_MAX / tick;
            match self.random.below(8) {
                0 => 1,
                1 => largest,
                _ => 1 + self.random.below(largest),
            }
        } else {
            // Around a multiple of 4,096, where the parts of a price index meet.
            409_600 - self.mix.spread / 2 + self.random.below(self.mix.spread + 1)
        };
        (ticks * tick + u64::from(self.random.chance(1, 200))).min(PRICE_MAX)
    }

    fn quantity(&mut self) -> u32 {
        match self.random.below(30) {
            0 => self.random.below(2_500) as u32,
            _ => 10 * (1 + self.random.below(40)) as u32,
        }
    }

    fn self_match(&mut self) -> SelfMatch {
        let strategy = self.pick(&[
            SelfMatchStrategy::CancelNewest,
            SelfMatchStrategy::CancelOldest,
            SelfMatchStrategy::CancelBoth,
            SelfMatchStrategy::Decrement,
        ]);
        SelfMatch {
            group: if self.chance(self.mix.grouped) { 1 + self.random.below(2) as u32 } else { 0 },
            strategy,
        }
    }

    fn time_in_force(&mut self) -> TimeInForce {
        match self.random.below(10) {
            0 | 1 => TimeInForce::Immediate,
            2 => TimeInForce::GoodTill(self.second + self.random.below(20) as u32),
            _ => TimeInForce::Day,
        }
    }

    fn enter(&mut self) {
        let owner = self.random.below(u64::from(OWNERS)) as u32 + u32::from(self.random.chance(1, 2_000));
        let reference = self.reference(owner);
        let key = OrderKey::new(owner, u8::from(self.chance(10)), reference);
        let instrument =
            self.random.below(u64::from(INSTRUMENTS)) as u32 + u32::from(self.random.chance(1, 2_000));
        let side = self.pick(&Side::ALL);
        let (quantity, price) = (self.quantity(), self.price(instrument));
        let mut order = NewOrder::limit(key, instrument, side, quantity, price);
        order.time_in_force = self.time_in_force();
        order.self_match = self.self_match();
        order.firm = self.random.below(2) as u32;
        order.attributes = self.random.next_u64() as u32;
        if self.chance(self.mix.special) {
            order.hidden = self.chance(30);
            order.post_only = self.chance(25);
            order.group_id = self.random.below(3) as u16;
            if self.chance(40) {
                order.max_floor = self.pick(&[10, 20, 50, 7, 2_500]);
            }
            if self.chance(30) {
                order.min_quantity = if self.chance(50) { quantity } else { self.quantity() };
                order.time_in_force = TimeInForce::Immediate;
            }
            if self.chance(10) {
                order.price = MARKET_PRICE;
            }
            if self.chance(20) {
                order.cross = self.pick(&[CrossType::Opening, CrossType::Closing]);
            }
        }
        match self.market.enter(&order, &mut self.hash) {
            Ok(order_ref) => {
                self.hash.add(order_ref);
                self.known.push(key);
            }
            Err(reject) => self.hash.text(&reject),
        }
    }

    fn replace(&mut self) {
        let original = self.known_key();
        let instrument = self.market.order(original).map_or(0, |order| order.instrument);
        let user_ref =
            if self.chance(95) { self.reference(original.party.owner()) } else { self.known_key().user_ref };
        let (quantity, price) = (self.quantity(), self.price(instrument));
        let mut request = ReplaceOrder::limit(original, user_ref, quantity, price);
        request.time_in_force = self.time_in_force();
        request.attributes = self.random.next_u64() as u32;
        if self.chance(30) {
            request.self_match = Some(self.self_match());
        }
        if self.chance(self.mix.special) {
            request.hidden = self.chance(30);
            request.post_only = self.chance(25);
            request.max_floor = self.pick(&[0, 0, 10, 20, 50]);
            request.min_quantity = self.pick(&[0, 0, 10, 100]);
        }
        let outcome = self.market.replace(&request, &mut self.hash);
        self.hash.text(&outcome);
        if self.market.order(OrderKey { user_ref, ..original }).is_some() {
            self.known.push(OrderKey { user_ref, ..original });
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
            filter.side = Some(self.pick(&Side::ALL));
        }
        if self.chance(30) {
            filter.group_id = Some(self.random.below(3) as u16);
        }
        if self.chance(30) {
            filter.channel = Some(self.random.below(2) as u8);
        }
        let owner = self.random.below(u64::from(OWNERS) + 1) as u32;
        let count = self.market.cancel_owner(owner, &filter, CancelReason::Disconnected, &mut self.hash);
        self.hash.add(u64::from(count));
        self.hash.add(u64::from(self.market.owner_orders(owner)));
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
        let reference = reference(self.price(instrument).min(PRICE_MAX));
        if let Some(found) = self.market.indicative(instrument, kind, reference) {
            self.hash.text(&(
                found.price,
                found.paired,
                found.imbalance,
                found.imbalance_side,
                found.far_price,
            ));
        }
        match self.random.below(20) {
            0..14 => {
                let crossed = self.market.uncross(instrument, kind, reference, next, &mut self.hash);
                self.hash.text(&crossed);
            }
            14 => {
                let count =
                    self.market.cancel_instrument(instrument, CancelReason::Supervisory, &mut self.hash);
                self.hash.add(u64::from(count));
            }
            _ => {
                let changed = self.market.set_state(instrument, next);
                self.hash.text(&changed);
            }
        }
    }

    fn step(&mut self) {
        if self.random.chance(self.mix.state_changes, 10_000) {
            self.change_state();
        } else if self.random.chance(1, 1_000) || self.market.live_orders() > self.mix.live_max {
            self.mass_cancel();
        } else {
            match self.random.below(100) {
                0..58 => self.enter(),
                58..75 => {
                    let key = self.known_key();
                    let total = if self.chance(50) { 0 } else { self.quantity() };
                    let cancelled = self.market.cancel(key, total, &mut self.hash);
                    self.hash.add(u64::from(cancelled));
                }
                75..90 => self.replace(),
                90..97 => {
                    let (key, total, side) = (self.known_key(), self.quantity(), self.pick(&Side::ALL));
                    let modified = self.market.modify(key, side, total, &mut self.hash);
                    self.hash.add(u64::from(modified));
                }
                97 => {
                    let mut list = WarmList::default();
                    for _ in 0..20 {
                        list.push_known(self.known_key());
                        let price = self.price(1);
                        list.push_new(OrderKey::new(1, 0, 1).party, 1, Side::Sell, price);
                    }
                    self.market.warm(&mut list);
                }
                _ => {
                    self.second += self.random.below(4) as u32;
                    let count = self.market.expire(self.second, &mut self.hash);
                    self.hash.add(u64::from(count));
                }
            }
        }
    }

    /// Goes on with a market restored from the bytes of this one's state; what queries say is part of the hash too.
    fn state(&mut self) {
        let mut state = Vec::new();
        self.market.write_state(&mut state);
        for word in state.chunks(8) {
            let mut bytes = [0; 8];
            bytes[..word.len()].copy_from_slice(word);
            self.hash.add(u64::from_le_bytes(bytes));
        }
        self.hash.add(self.market.state_hash());
        for instrument in 0..INSTRUMENTS {
            for side in [Side::Buy, Side::Sell] {
                let depth: Vec<_> = self.market.depth(instrument, side).collect();
                self.hash.text(&depth);
                let best =
                    (self.market.best(instrument, side, true), self.market.best(instrument, side, false));
                self.hash.text(&best);
            }
        }
        let other = Limits { hash_seed: self.random.next_u64(), ..self.limits };
        match Market::restore(other, &state) {
            Ok(market) => self.market = market,
            Err(error) => panic!("own state: {error}"),
        }
    }
}
