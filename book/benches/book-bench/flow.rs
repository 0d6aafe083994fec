//! Order flow for measurements: generated once from a seed, then given to every book alike. Measures nothing.
//!
//! What real flow looks like, as far as it matters to a book: most orders are entered within a few ticks of the touch and
//! cancelled soon after, few trade, and what rests further away is hardly ever touched. The generator runs its own market
//! to know what is live, so that nearly every cancel and replace finds its order, in every book that matches alike.

use book::random::Random;
use book::{
    InstrumentSpec, Limits, Market, NewOrder, OrderKey, ReplaceOrder, ReplaceOutcome, Side, Sink, TimeInForce,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A day order at a limit.
    Enter,
    /// An immediate order at a limit.
    Take,
    /// The whole order goes.
    Cancel,
    /// The order shrinks in place to `quantity` (executed shares included).
    Reduce,
    /// `original` is replaced by `user_ref`.
    Replace,
}

/// One message, 32 bytes: two to a cache line, so that reading the flow costs little beside the book.
#[derive(Clone, Copy, Debug)]
pub struct Message {
    pub action: Action,
    pub side: Side,
    pub owner: u32,
    pub user_ref: u32,
    pub original: u32,
    pub instrument: u32,
    pub quantity: u32,
    pub price: u32,
}

const _: () = assert!(size_of::<Message>() <= 32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancels {
    /// Recent orders near the touch.
    Near,
    /// Any resting order, with equal probability.
    Anywhere,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Popularity {
    /// The n-th instrument gets a share proportional to 1/n (of 10,000, the first 100 get half), and what was active just
    /// now is active again: of the 991 book messages in a piece of Nasdaq's feed of 2019-12-30, 17 % concern the instrument
    /// of the message before, 33 % one of the 8 before and 52 % one of the 64 before. Here it is the same.
    Real,
    Uniform,
}

#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub instruments: u32,
    /// Orders resting in each instrument, `active` of them near the touch.
    pub resting: u32,
    pub active: u32,
    pub owners: u32,
    pub messages: usize,
    pub cancels: Cancels,
    pub popularity: Popularity,
    pub seed: u64,
}

pub struct Flow {
    pub limits: Limits,
    pub instruments: u32,
    /// Builds the resting orders.
    pub preload: Vec<Message>,
    pub messages: Vec<Message>,
}

pub const TICK: u32 = 100;
const MIDDLE: i64 = 100_000;
/// Orders are entered so many ticks from the touch at most; what rests for good lies beyond.
const NEAR: i64 = 16;
/// The middle wanders within so many ticks.
const WANDER: i64 = 8;
/// Resting orders beyond are spread over so many ticks.
const FAR: u64 = 2_000;

#[derive(Clone, Copy)]
struct Known {
    owner: u32,
    user_ref: u32,
    side: Side,
    tick: i64,
}

struct Place {
    middle: i64,
    known: Vec<Known>,
}

impl Place {
    /// In the order of entry where recent orders are looked for; with a million orders of which any may go, that order would take minutes.
    fn forget(&mut self, at: usize, cancels: Cancels) {
        match cancels {
            Cancels::Near => {
                self.known.remove(at);
            }
            Cancels::Anywhere => {
                self.known.swap_remove(at);
            }
        }
    }
}

struct Generator {
    shape: Shape,
    random: Random,
    market: Market,
    references: Vec<u32>,
    places: Vec<Place>,
    log_instruments: f64,
    recent: [u32; 16],
    step: usize,
}

impl Shape {
    pub fn limits(&self) -> Limits {
        let orders = self.instruments * (self.resting + self.resting / 4 + 64) + 1_024;
        Limits::new(self.instruments, self.owners, orders)
    }

    pub fn generate(self) -> Flow {
        let limits = self.limits();
        let mut generator = Generator {
            shape: self,
            random: Random::new(self.seed),
            market: new_market(limits, self.instruments),
            references: vec![0; self.owners as usize],
            places: (0..self.instruments).map(|_| Place { middle: MIDDLE, known: Vec::new() }).collect(),
            log_instruments: f64::from(self.instruments).ln(),
            recent: [0; 16],
            step: 0,
        };
        let mut preload = Vec::new();
        for _ in self.active..self.resting {
            for instrument in 0..self.instruments {
                let message = generator.far(instrument);
                apply(&mut generator.market, &message, &mut ());
                if self.cancels == Cancels::Anywhere {
                    generator.remember(&message);
                }
                preload.push(message);
            }
        }
        for _ in 0..self.active {
            for instrument in 0..self.instruments {
                preload.push(generator.add(instrument));
            }
        }
        let messages = (0..self.messages).map(|_| generator.next()).collect();
        Flow { limits, instruments: self.instruments, preload, messages }
    }
}

pub fn new_market(limits: Limits, instruments: u32) -> Market {
    let mut market = Market::new(limits);
    for _ in 0..instruments {
        let spec = InstrumentSpec { tick: TICK, ..InstrumentSpec::default() };
        assert!(market.add_instrument(spec).is_some());
    }
    market
}

impl Generator {
    fn new_reference(&mut self) -> (u32, u32) {
        let owner = self.random.below(u64::from(self.shape.owners)) as u32;
        let next = &mut self.references[owner as usize];
        *next += 1;
        (owner, *next)
    }

    fn message(&mut self, action: Action, instrument: u32, side: Side, tick: i64) -> Message {
        let (owner, user_ref) = self.new_reference();
        let quantity = 100 * (1 + self.random.below(10)) as u32;
        let price = tick as u32 * TICK;
        Message { action, side, owner, user_ref, original: 0, instrument, quantity, price }
    }

    fn side(&mut self) -> Side {
        if self.random.chance(1, 2) { Side::Buy } else { Side::Sell }
    }

    fn far(&mut self, instrument: u32) -> Message {
        let side = self.side();
        let away = NEAR + WANDER + 2 + self.random.below(FAR) as i64;
        let tick = if side.is_buy() { MIDDLE - away } else { MIDDLE + away };
        self.message(Action::Enter, instrument, side, tick)
    }

    /// Ticks from the touch: each further one is half as likely as the one before.
    fn distance(&mut self) -> i64 {
        i64::from(self.random.next_u64().trailing_zeros()).min(NEAR)
    }

    fn remember(&mut self, message: &Message) {
        self.places[message.instrument as usize].known.push(Known {
            owner: message.owner,
            user_ref: message.user_ref,
            side: message.side,
            tick: i64::from(message.price / TICK),
        });
    }

    fn add(&mut self, instrument: u32) -> Message {
        let side = self.side();
        let place = &mut self.places[instrument as usize];
        let middle = place.middle;
        let away = 1 + self.distance();
        let tick = if side.is_buy() { middle - away } else { middle + away };
        let message = self.message(Action::Enter, instrument, side, tick);
        apply(&mut self.market, &message, &mut ());
        self.remember(&message);
        message
    }

    fn take(&mut self, instrument: u32) -> Message {
        let side = self.side();
        let middle = self.places[instrument as usize].middle;
        let message =
            self.message(Action::Take, instrument, side, middle + if side.is_buy() { 3 } else { -3 });
        apply(&mut self.market, &message, &mut ());
        message
    }

    /// A live order: mostly a recent one, sometimes any.
    fn pick(&mut self, instrument: u32) -> Option<usize> {
        for _ in 0..8 {
            let known = &self.places[instrument as usize].known;
            let count = known.len() as u64;
            if count == 0 {
                return None;
            }
            let near = self.shape.cancels == Cancels::Near && self.random.chance(4, 5);
            let age = if near { self.random.below(count.min(64)) } else { self.random.below(count) };
            let at = (count - 1 - age) as usize;
            let Known { owner, user_ref, .. } = known[at];
            if self.market.order(OrderKey::new(owner, 0, user_ref)).is_some() {
                return Some(at);
            }
            self.places[instrument as usize].forget(at, self.shape.cancels);
        }
        None
    }

    fn instrument(&mut self) -> u32 {
        let count = self.shape.instruments;
        if self.shape.popularity == Popularity::Uniform || count == 1 {
            return self.random.below(u64::from(count)) as u32;
        }
        let kind = self.random.below(100);
        if kind < 38 {
            let back = if kind < 14 { 1 } else { 1 + self.random.below(16) as usize };
            return self.recent[(self.step + 16 - back) % 16];
        }
        let share = self.random.below(1 << 53) as f64 / (1u64 << 53) as f64;
        // 1/n shares have a logarithmic distribution function. Neighbouring ranks are strewn over the numbers.
        let rank = ((share * self.log_instruments).exp() as u64 - 1).min(u64::from(count) - 1);
        ((rank * 7_919) % u64::from(count)) as u32
    }

    fn next(&mut self) -> Message {
        let instrument = self.instrument();
        self.recent[self.step % 16] = instrument;
        self.step += 1;
        let live = self.places[instrument as usize].known.len() as u32;
        let target = if self.shape.cancels == Cancels::Near { self.shape.active } else { self.shape.resting };
        if self.random.chance(1, 50) {
            let place = &mut self.places[instrument as usize];
            let step = if self.random.chance(1, 2) { 1 } else { -1 };
            place.middle = (place.middle + step).clamp(MIDDLE - WANDER, MIDDLE + WANDER);
        }
        let kind = self.random.below(100);
        // Keeps the number of resting orders around its target.
        let adds = if live < target { 62 } else { 30 };
        if kind < adds {
            if self.shape.cancels == Cancels::Anywhere && self.random.below(u64::from(target)) >= 200 {
                let message = self.far(instrument);
                apply(&mut self.market, &message, &mut ());
                self.remember(&message);
                return message;
            }
            return self.add(instrument);
        }
        if kind >= 93 {
            return self.take(instrument);
        }
        let Some(at) = self.pick(instrument) else { return self.add(instrument) };
        let known = self.places[instrument as usize].known[at];
        let mut message = Message {
            action: Action::Cancel,
            side: known.side,
            owner: known.owner,
            user_ref: known.user_ref,
            original: known.user_ref,
            instrument,
            quantity: 0,
            price: known.tick as u32 * TICK,
        };
        if kind >= 86 {
            let view = self.market.order(OrderKey::new(known.owner, 0, known.user_ref));
            let view = view.expect("pick found it live");
            let next = &mut self.references[known.owner as usize];
            *next += 1;
            message.action = Action::Replace;
            message.user_ref = *next;
            message.quantity = view.executed + 100 * (1 + self.random.below(10)) as u32;
            let tick = known.tick + if self.random.chance(1, 2) { 1 } else { -1 };
            message.price = tick as u32 * TICK;
            let place = &mut self.places[instrument as usize];
            place.forget(at, self.shape.cancels);
            place.known.push(Known {
                user_ref: message.user_ref,
                tick,
                ..Known { owner: message.owner, user_ref: 0, side: message.side, tick }
            });
        } else if kind >= 82 {
            let view = self.market.order(OrderKey::new(known.owner, 0, known.user_ref));
            let view = view.expect("pick found it live");
            message.action = Action::Reduce;
            message.quantity = (view.executed + view.open / 200 * 100).max(100);
        } else {
            self.places[instrument as usize].forget(at, self.shape.cancels);
        }
        apply(&mut self.market, &message, &mut ());
        message
    }
}

/// Does to a market what the message says.
#[inline]
pub fn apply<S: Sink>(market: &mut Market, message: &Message, sink: &mut S) -> bool {
    let key = OrderKey::new(message.owner, 0, message.user_ref);
    let price = u64::from(message.price);
    match message.action {
        Action::Enter | Action::Take => {
            let mut order = NewOrder::limit(key, message.instrument, message.side, message.quantity, price);
            if message.action == Action::Take {
                order.time_in_force = TimeInForce::Immediate;
            }
            market.enter(&order, sink).is_ok()
        }
        Action::Cancel => market.cancel(key, 0, sink),
        Action::Reduce => market.cancel(key, message.quantity, sink),
        Action::Replace => {
            let original = OrderKey::new(message.owner, 0, message.original);
            let request = ReplaceOrder::limit(original, message.user_ref, message.quantity, price);
            market.replace(&request, sink) == ReplaceOutcome::Replaced
        }
    }
}
