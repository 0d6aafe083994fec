//! Flows of one busy instrument whose middle price moves in a certain way: new orders, cancels and modifications, with
//! references that count up or are drawn at random. Measures nothing.
//!
//! Where `flow` imitates what a venue sees (most orders die young, near the touch), these are the shapes in which books are
//! compared in public: orders spread over hundreds of ticks, any of them may be cancelled next, and the price leaves them behind.

use book::random::Random;
use book::{Market, OrderKey};

use crate::drive::{apply, new_market};
use crate::message::{Action, Flow, Message, TICK};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// The middle stays within some hundred ticks.
    Calm,
    /// It does not move at all.
    Still,
    /// It goes 10 % up and down again and again.
    Swing,
    /// It falls by 20 % within a fiftieth of the messages, and recovers half of that.
    Crash,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum References {
    /// They count up per owner, as OUCH wants it.
    Dense,
    /// Drawn from [`REFERENCES`]: no two neighbours live at the same time.
    Sparse,
}

pub const REFERENCES: u64 = 1_000_000;

pub const ALL: [(&str, Path, References); 8] = [
    ("calm", Path::Calm, References::Dense),
    ("still", Path::Still, References::Dense),
    ("swing", Path::Swing, References::Dense),
    ("crash", Path::Crash, References::Dense),
    ("calm_sparse", Path::Calm, References::Sparse),
    ("still_sparse", Path::Still, References::Sparse),
    ("swing_sparse", Path::Swing, References::Sparse),
    ("crash_sparse", Path::Crash, References::Sparse),
];

const OWNERS: u32 = 8;
const MIDDLE: i64 = 100_000;
/// Resting orders around which the flow keeps them.
const LIVE: usize = 4_000;
/// Slots for orders: what a crash leaves behind is more.
const ORDERS: u32 = 1 << 16;
/// Messages in which a swing goes up and down once.
const PERIOD: i64 = 200_000;

struct Generator {
    path: Path,
    references: References,
    random: Random,
    market: Market,
    next: [u32; OWNERS as usize],
    live: Vec<(OrderKey, bool)>,
    middle: i64,
    step: i64,
    messages: i64,
}

/// `messages` messages after enough others to fill the book.
pub fn generate(path: Path, references: References, messages: usize, seed: u64) -> Flow {
    let mut generator = Generator {
        path,
        references,
        random: Random::new(seed),
        market: new_market(1, OWNERS, ORDERS),
        next: [0; OWNERS as usize],
        live: Vec::new(),
        middle: MIDDLE,
        step: 0,
        messages: messages as i64,
    };
    let mut preload = Vec::new();
    while generator.live.len() < LIVE {
        preload.push(generator.enter());
    }
    let messages = (0..messages).map(|_| generator.next()).collect();
    Flow { instruments: 1, owners: OWNERS, orders: ORDERS, preload, messages }
}

impl Generator {
    fn move_middle(&mut self) {
        self.step += 1;
        match self.path {
            Path::Still => {}
            Path::Calm => {
                if self.random.chance(1, 8) {
                    let up = self.random.chance(1, 2);
                    self.middle = (self.middle + if up { 1 } else { -1 }).clamp(MIDDLE - 150, MIDDLE + 150);
                }
            }
            Path::Swing => {
                let phase = self.step % PERIOD;
                let height = MIDDLE / 10;
                self.middle = MIDDLE + phase.min(PERIOD - phase) * height * 2 / PERIOD;
            }
            Path::Crash => {
                let (start, fall) = (self.messages / 2, self.messages / 50);
                let depth = MIDDLE / 5;
                let since = self.step - start;
                self.middle = MIDDLE
                    - if since < 0 {
                        0
                    } else if since < fall {
                        depth * since / fall
                    } else {
                        depth - depth / 2 * (since - fall).min(10 * fall) / (10 * fall)
                    };
            }
        }
    }

    fn new_key(&mut self, owner: u32) -> OrderKey {
        loop {
            let reference = match self.references {
                References::Dense => {
                    self.next[owner as usize] += 1;
                    self.next[owner as usize]
                }
                References::Sparse => 1 + self.random.below(REFERENCES) as u32,
            };
            let key = OrderKey::new(owner, 0, reference);
            if self.market.order(key).is_none() {
                return key;
            }
        }
    }

    /// A price on one side: mostly some tens of ticks from the middle, sometimes beyond it.
    fn price(&mut self, buy: bool) -> u32 {
        let away = if self.random.chance(1, 6) {
            -(self.random.below(6) as i64)
        } else {
            // Halves every 24 ticks.
            let far = i64::from(self.random.next_u64().trailing_zeros()) * 24;
            1 + far + self.random.below(24) as i64
        };
        let tick = if buy { self.middle - away } else { self.middle + away };
        tick as u32 * TICK
    }

    fn quantity(&mut self) -> u32 {
        100 * (1 + self.random.below(10)) as u32
    }

    fn enter(&mut self) -> Message {
        let owner = self.random.below(u64::from(OWNERS)) as u32;
        let key = self.new_key(owner);
        let buy = self.random.chance(1, 2);
        let (price, quantity) = (self.price(buy), self.quantity());
        self.give(Action::Enter, key, key, buy, quantity, price)
    }

    fn give(
        &mut self,
        action: Action,
        key: OrderKey,
        original: OrderKey,
        buy: bool,
        quantity: u32,
        price: u32,
    ) -> Message {
        let message = Message {
            action,
            buy,
            owner: key.party.owner(),
            user_ref: key.user_ref,
            original: original.user_ref,
            instrument: 0,
            quantity,
            price,
        };
        apply(&mut self.market, &message, &mut ());
        if matches!(action, Action::Enter | Action::Replace) && self.market.order(key).is_some() {
            self.live.push((key, buy));
        }
        message
    }

    /// Any live order, taken off the list.
    fn pick(&mut self) -> Option<(OrderKey, bool)> {
        while !self.live.is_empty() {
            let at = self.random.below(self.live.len() as u64) as usize;
            let found = self.live.swap_remove(at);
            if self.market.order(found.0).is_some() {
                return Some(found);
            }
        }
        None
    }

    fn next(&mut self) -> Message {
        self.move_middle();
        let kind = self.random.below(100);
        let enters = if self.live.len() < LIVE { 55 } else { 35 };
        if kind < enters {
            return self.enter();
        }
        let Some((key, buy)) = self.pick() else { return self.enter() };
        if kind < 80 {
            return self.give(Action::Cancel, key, key, buy, 0, 0);
        }
        let view = self.market.order(key).expect("picked alive");
        // Every fourth modification only shrinks the order.
        if kind < 85 && view.open > 100 {
            let quantity = view.executed + view.open / 200 * 100;
            self.live.push((key, buy));
            return self.give(Action::Reduce, key, key, buy, quantity.max(view.executed + 100), 0);
        }
        let new = self.new_key(key.party.owner());
        let (price, quantity) = (self.price(buy), view.executed + self.quantity());
        self.give(Action::Replace, new, key, buy, quantity, price)
    }
}
