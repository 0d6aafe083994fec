//! Order flow for measurements: generated once from a seed, then given to every book alike. Measures nothing.
//!
//! What real flow looks like, as far as it matters to a book: most orders are entered within a few ticks of the touch and
//! cancelled soon after, few trade, and what rests further away is hardly ever touched. The generator runs its own market
//! to know what is live, so that nearly every cancel and replace finds its order, in every book that matches alike.

use book::random::Random;
use book::{Market, OrderKey};

use crate::drive::{apply, new_market};
use crate::message::{Action, Flow, Message, TICK};

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
    /// Only the first so many, equally.
    First(u32),
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
    buy: bool,
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
    /// Slots for orders.
    pub fn orders(&self) -> u32 {
        self.instruments * (self.resting + self.resting / 4 + 64) + 1_024
    }

    pub fn generate(self) -> Flow {
        let Shape { instruments, owners, .. } = self;
        let orders = self.orders();
        let mut generator = Generator {
            shape: self,
            random: Random::new(self.seed),
            market: new_market(instruments, owners, orders),
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
        Flow { instruments, owners, orders, preload, messages }
    }
}

impl Generator {
    fn new_reference(&mut self) -> (u32, u32) {
        let owner = self.random.below(u64::from(self.shape.owners)) as u32;
        let next = &mut self.references[owner as usize];
        *next += 1;
        (owner, *next)
    }

    fn message(&mut self, action: Action, instrument: u32, buy: bool, tick: i64) -> Message {
        let (owner, user_ref) = self.new_reference();
        let quantity = 100 * (1 + self.random.below(10)) as u32;
        let price = tick as u32 * TICK;
        Message { action, buy, owner, user_ref, original: 0, instrument, quantity, price }
    }

    fn buys(&mut self) -> bool {
        self.random.chance(1, 2)
    }

    fn far(&mut self, instrument: u32) -> Message {
        let buy = self.buys();
        let away = NEAR + WANDER + 2 + self.random.below(FAR) as i64;
        let tick = if buy { MIDDLE - away } else { MIDDLE + away };
        self.message(Action::Enter, instrument, buy, tick)
    }

    /// Ticks from the touch: each further one is half as likely as the one before.
    fn distance(&mut self) -> i64 {
        i64::from(self.random.next_u64().trailing_zeros()).min(NEAR)
    }

    fn remember(&mut self, message: &Message) {
        self.places[message.instrument as usize].known.push(Known {
            owner: message.owner,
            user_ref: message.user_ref,
            buy: message.buy,
            tick: i64::from(message.price / TICK),
        });
    }

    fn add(&mut self, instrument: u32) -> Message {
        let buy = self.buys();
        let place = &mut self.places[instrument as usize];
        let middle = place.middle;
        let away = 1 + self.distance();
        let tick = if buy { middle - away } else { middle + away };
        let message = self.message(Action::Enter, instrument, buy, tick);
        apply(&mut self.market, &message, &mut ());
        self.remember(&message);
        message
    }

    fn take(&mut self, instrument: u32) -> Message {
        let buy = self.buys();
        let middle = self.places[instrument as usize].middle;
        let message = self.message(Action::Take, instrument, buy, middle + if buy { 3 } else { -3 });
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
        let count = match self.shape.popularity {
            Popularity::First(few) => few,
            _ => self.shape.instruments,
        };
        if self.shape.popularity != Popularity::Real || count == 1 {
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
            buy: known.buy,
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
                ..Known { owner: message.owner, user_ref: 0, buy: message.buy, tick }
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
