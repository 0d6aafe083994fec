//! The books against every interleaving of requests, answers and events of a small engine that answers as OUCH says: in order, with nothing
//! for a request whose order was gone before it came. Whatever happened, once all is answered nothing is owed and one more order is drawn.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::mix::MixSettings;

#[derive(Debug, Clone, Copy)]
enum Message {
    Accepted { urn: u32, quantity: u32 },
    Replaced { original: u32, urn: u32, quantity: u32 },
    Rejected { urn: u32 },
    Canceled { urn: u32, quantity: u32, by_user: bool },
    Executed { urn: u32, quantity: u32 },
}

/// What the engine does with the request it comes to.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Decision {
    Take,
    /// Rejects an Enter or a Replace, which leaves the original as it was.
    Reject,
    /// A Replace with invalid details: its original is cancelled instead.
    CancelOriginal,
}

/// One step of the client, of the engine or of the network between them.
#[derive(Debug, Clone, Copy)]
enum Move {
    /// Whatever the books draw: where the ring has come round, the cancel of the order in the way.
    Draw,
    Enter {
        immediate: bool,
    },
    Cancel {
        newest: bool,
    },
    Replace,
    Process(Decision),
    ExecuteOldest {
        wholly: bool,
    },
    ExecuteNewest,
    /// Taken off by somebody else: a supervisor, a limit, self-match prevention.
    Withdraw {
        oldest: bool,
    },
    Deliver,
}

const MOVES: [Move; 15] = [
    Move::Draw,
    Move::Enter { immediate: false },
    Move::Enter { immediate: true },
    Move::Cancel { newest: false },
    Move::Cancel { newest: true },
    Move::Replace,
    Move::Process(Decision::Take),
    Move::Process(Decision::Reject),
    Move::Process(Decision::CancelOriginal),
    Move::ExecuteOldest { wholly: true },
    Move::ExecuteOldest { wholly: false },
    Move::ExecuteNewest,
    Move::Withdraw { oldest: true },
    Move::Withdraw { oldest: false },
    Move::Deliver,
];

#[derive(Clone)]
struct World {
    account: Account,
    mix: Mix,
    to_engine: VecDeque<Outgoing>,
    to_client: VecDeque<Message>,
    /// What rests in the engine: number and open quantity.
    resting: Vec<(u32, u32)>,
}

impl World {
    fn new(in_flight: u32, open_orders: u32, mix: &MixSettings) -> Self {
        let mut account = Account::new(in_flight, open_orders, 1);
        account.measure_from(0);
        World {
            account,
            mix: Mix::new(mix, 0, 1),
            to_engine: VecDeque::new(),
            to_client: VecDeque::new(),
            resting: Vec::new(),
        }
    }

    /// False if the move is not possible now.
    fn step(&mut self, step: Move) -> bool {
        match step {
            Move::Draw => match self.account.draw(&mut self.mix) {
                Some(action) => self.request(action),
                None => return false,
            },
            Move::Enter { immediate } => {
                // What `draw` asks before it hands out an Enter.
                if !self.account.has_room() || !self.account.is_next_place_free() {
                    return false;
                }
                self.request(Action::Enter {
                    symbol: 0,
                    side: Side::Buy,
                    quantity: 300,
                    price: 100,
                    immediate,
                });
            }
            Move::Cancel { newest } => match self.account.open_orders() {
                0 => return false,
                open if !self.account.has_room() || (newest && open == 1) => return false,
                open => self.request(Action::Cancel { pick: if newest { open - 1 } else { 0 } }),
            },
            Move::Replace => {
                let possible = self.account.has_room() && self.account.is_next_place_free();
                if self.account.open_orders() == 0 || !possible {
                    return false;
                }
                self.request(Action::Replace { pick: 0, quantity: 300, offset_ticks: 0 });
            }
            Move::Process(decision) => return self.process(decision),
            Move::ExecuteOldest { wholly } => return self.execute(0, if wholly { u32::MAX } else { 100 }),
            Move::ExecuteNewest => {
                return self.resting.len() > 1 && self.execute(self.resting.len() - 1, u32::MAX);
            }
            Move::Withdraw { oldest } => {
                if self.resting.is_empty() || (!oldest && self.resting.len() == 1) {
                    return false;
                }
                let (urn, quantity) = self.resting.remove(if oldest { 0 } else { self.resting.len() - 1 });
                self.to_client.push_back(Message::Canceled { urn, quantity, by_user: false });
            }
            Move::Deliver => return self.deliver(),
        }
        true
    }

    fn request(&mut self, action: Action) {
        let outgoing = self.account.begin(action, &self.mix, 1);
        self.to_engine.push_back(outgoing);
    }

    fn execute(&mut self, at: usize, most: u32) -> bool {
        let Some(order) = self.resting.get_mut(at) else { return false };
        let quantity = order.1.min(most);
        order.1 -= quantity;
        self.to_client.push_back(Message::Executed { urn: order.0, quantity });
        if order.1 == 0 {
            self.resting.remove(at);
        }
        true
    }

    fn process(&mut self, decision: Decision) -> bool {
        let Some(&request) = self.to_engine.front() else { return false };
        let messages = &mut self.to_client;
        match (request, decision) {
            (Outgoing::Enter { urn, .. }, Decision::Reject) => {
                messages.push_back(Message::Rejected { urn });
            }
            (Outgoing::Enter { urn, quantity, immediate, .. }, Decision::Take) => {
                messages.push_back(Message::Accepted { urn, quantity });
                if immediate {
                    messages.push_back(Message::Executed { urn, quantity: 100 });
                    if quantity > 100 {
                        let rest = quantity - 100;
                        messages.push_back(Message::Canceled { urn, quantity: rest, by_user: false });
                    }
                } else {
                    self.resting.push((urn, quantity));
                }
            }
            (Outgoing::Cancel { urn }, Decision::Take) => {
                if let Some(at) = self.resting.iter().position(|order| order.0 == urn) {
                    let (_, quantity) = self.resting.remove(at);
                    messages.push_back(Message::Canceled { urn, quantity, by_user: true });
                }
            }
            (Outgoing::Replace { original, urn, quantity, .. }, decision) => {
                let at = self.resting.iter().position(|order| order.0 == original);
                match (at, decision) {
                    (None, Decision::Take) => {}
                    (None, _) => return false,
                    (Some(at), Decision::Take) => {
                        self.resting[at] = (urn, quantity);
                        messages.push_back(Message::Replaced { original, urn, quantity });
                    }
                    (Some(_), Decision::Reject) => messages.push_back(Message::Rejected { urn }),
                    (Some(at), Decision::CancelOriginal) => {
                        let (_, quantity) = self.resting.remove(at);
                        messages.push_back(Message::Canceled { urn: original, quantity, by_user: false });
                    }
                }
            }
            _ => return false,
        }
        self.to_engine.pop_front();
        true
    }

    fn deliver(&mut self) -> bool {
        let Some(message) = self.to_client.pop_front() else { return false };
        let account = &mut self.account;
        match message {
            Message::Accepted { urn, quantity } => account.on_accepted(urn, quantity, true, 2),
            Message::Replaced { original, urn, quantity } => {
                account.on_replaced(original, urn, quantity, true, 2);
            }
            Message::Rejected { urn } => account.on_rejected(urn, 1, 2),
            Message::Canceled { urn, quantity, by_user } => account.on_canceled(urn, quantity, by_user, 2),
            Message::Executed { urn, quantity } => account.on_executed(urn, quantity),
        }
        true
    }

    /// Answers and delivers everything; then nothing may be owed, nothing held, and one more request has to be possible.
    fn settle(mut self) -> Result<(), String> {
        while self.process(Decision::Take) || self.deliver() {}
        let counts = self.account.measured.clone();
        let events = &self.account.events;
        let owed = (self.account.in_flight(), counts.lost, events.duplicated, events.unknown);
        if owed != (0, 0, 0, 0) {
            return Err(format!("in flight, lost, duplicated, unknown: {owed:?}"));
        }
        if counts.sent_total() != counts.answered_total() {
            return Err(format!("{} sent, {} answered", counts.sent_total(), counts.answered_total()));
        }
        let (open, held) = (self.account.open_orders() as usize, self.account.places_taken());
        if (open, held) != (self.resting.len(), self.resting.len()) {
            return Err(format!("{} orders rest, {open} listed, {held} places taken", self.resting.len()));
        }
        match self.account.draw(&mut self.mix) {
            Some(_) => Ok(()),
            None => Err("nothing is in flight, and nothing more is drawn".into()),
        }
    }
}

/// Follows every sequence of moves of this length, one after the other.
fn explore(world: &World, depth: u32, path: &mut Vec<Move>, visited: &mut u64) {
    *visited += 1;
    if let Err(problem) = world.clone().settle() {
        panic!("after {path:?}: {problem}");
    }
    if depth == 0 {
        return;
    }
    for step in MOVES.into_iter().skip(1) {
        let mut next = world.clone();
        if next.step(step) {
            path.push(step);
            explore(&next, depth - 1, path, visited);
            path.pop();
        }
    }
}

#[test]
fn every_interleaving_of_a_few_steps_leaves_the_books_free() {
    let resting = MixSettings { cancel_weight: 0, replace_weight: 0, crossing: 0.0, ..Default::default() };
    let mut world = World::new(2, 2, &resting);
    // Two orders rest, so that the few steps are spent on what may go wrong.
    for step in [Move::Enter { immediate: false }, Move::Process(Decision::Take), Move::Deliver] {
        assert!(world.step(step) && world.clone().step(Move::Draw));
    }
    let mut visited = 0;
    explore(&world, 8, &mut Vec::new(), &mut visited);
    println!("{visited} states");
    assert!(visited > 100_000, "{visited}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]
    /// Long enough for the ring of orders to come round many times.
    #[test]
    fn no_interleaving_stops_the_books_for_good(
        seed in any::<u64>(),
        window in 1u32..6,
        open_orders in 1u32..5,
        steps in proptest::collection::vec(0usize..MOVES.len() + 8, 1..600),
    ) {
        let settings = MixSettings { seed, open_orders_max: open_orders, crossing: 0.2, ..Default::default() };
        let mut world = World::new(window, open_orders, &settings);
        for step in steps {
            // Drawing, taking and delivering come more often than the rest.
            let step = MOVES.get(step).copied().unwrap_or(match step % 3 {
                0 => Move::Draw,
                1 => Move::Process(Decision::Take),
                _ => Move::Deliver,
            });
            world.step(step);
        }
        prop_assert_eq!(world.settle(), Ok(()));
    }
}
