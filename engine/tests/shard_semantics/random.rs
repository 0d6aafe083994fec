//! Random flow of every kind through three shards at once: one that is given a message at a time, one that is given whole
//! datagrams and is now and then put away and restored, and the reference. All must say the same; and whatever they say, the
//! books on the feed, the orders of the sessions and what the shard counts must add up. Prints its seed, takes `PITLANE_SEED`.

use std::collections::BTreeMap;

use book::random::Random;
use book::{MARKET_PRICE, Side, TradingState};
use engine::config::RiskConfig;
use engine::inputs::{
    CloseReason, FirmRights, Genesis, Input, InstrumentInput, KillScope, Messages, SessionOpened,
};
use engine::shard::Shard;

use crate::answers::{Answer, Tick};
use crate::ask::{CENT, TEN, alpha};
use crate::ledger::Ledger;
use crate::operations::{
    GROSS_MAX, INSTRUMENTS, OPEN_ORDERS_MAX, Operation, SESSIONS, Terms, bytes, cancels_on_disconnect,
    firm_of,
};
use crate::reference::Reference;
use crate::venue::{Raw, SECOND, START, genesis, instrument, opened, rules};

/// Of each of the three mixes: 1.05 million in all, about ten seconds on a free core.
const OPERATIONS: u32 = 350_000;
/// Messages of the test with damaged ones.
const DAMAGED: u32 = 100_000;
/// Datagrams between looks at everything.
const CHECK_EVERY: u32 = 2_000;

/// Settings of a run.
#[derive(Clone, Copy)]
struct Mix {
    /// Prices lie within so many cents around 10.00.
    spread: u64,
    /// Orders carry an instruction so many times out of 100.
    special: u64,
    /// Trading states change so many times out of 1,000 datagrams.
    states: u64,
    /// Time passes: so many nanoseconds at most between datagrams.
    pace: u64,
}

struct Run {
    random: Random,
    mix: Mix,
    now: u64,
    single: Shard,
    grouped: Shard,
    reference: Reference,
    ledger: Ledger,
    upstream: [u64; SESSIONS as usize],
    /// Orders that exist or existed, latest last.
    known: [Vec<(u8, u32)>; SESSIONS as usize],
    operations: u32,
    /// FNV-1a of every byte said.
    said: u64,
}

fn risk() -> RiskConfig {
    RiskConfig { max_open_orders: OPEN_ORDERS_MAX, max_gross_exposure: GROSS_MAX, ..RiskConfig::default() }
}

fn session_input(session: u32) -> Input<'static> {
    let cancel_on_disconnect = cancels_on_disconnect(session);
    Input::SessionOpened(SessionOpened {
        cancel_on_disconnect,
        drop_copy: false,
        risk: risk(),
        ..opened(session, firm_of(session))
    })
}

impl Run {
    fn new(random: Random, mix: Mix) -> Self {
        let genesis = Genesis { max_sessions: SESSIONS, max_instruments: 3, ..genesis() };
        let limits = book::Limits::new(3, SESSIONS, genesis.max_orders);
        let mut run = Self {
            random,
            mix,
            now: START,
            single: Shard::new(genesis),
            grouped: Shard::new(genesis),
            reference: Reference::new(limits),
            ledger: Ledger::default(),
            upstream: [1; SESSIONS as usize],
            known: Default::default(),
            operations: 0,
            said: 0xcbf2_9ce4_8422_2325,
        };
        let mut inputs = vec![Input::Rules(rules())];
        for (symbol, lot, max_quantity, state) in INSTRUMENTS {
            inputs.push(Input::Instrument(
                InstrumentInput { lot, max_quantity, ..instrument(symbol, state) },
                FirmRights::NONE,
            ));
        }
        inputs.extend((0..SESSIONS).map(session_input));
        for input in inputs {
            for shard in [&mut run.single, &mut run.grouped] {
                shard.apply(&input, START, &mut ()).expect("a beginning");
            }
        }
        run.reference.pass_time((START / SECOND) as u32);
        run
    }

    fn side(&mut self) -> Side {
        match self.random.below(8) {
            0..4 => Side::Buy,
            4..6 => Side::Sell,
            6 => Side::SellShort,
            _ => Side::SellShortExempt,
        }
    }

    fn quantity(&mut self, instrument: usize) -> u32 {
        let lot = u64::from(INSTRUMENTS.get(instrument).map_or(1, |known| known.1));
        (match self.random.below(200) {
            0 => 0,
            1 => 5_000,
            2 => 7,
            _ => lot * (1 + self.random.below(30)),
        }) as u32
    }

    fn price(&mut self) -> u64 {
        match self.random.below(100) {
            0 => 0,
            1 => TEN + 50,
            2..6 => MARKET_PRICE,
            _ => TEN + self.random.below(2 * self.mix.spread + 1) * CENT - self.mix.spread * CENT,
        }
    }

    /// Mostly the next number, sometimes one that was used or one further on.
    fn number(&mut self, session: u32, channel: u8, ahead: u32) -> u32 {
        let next = self.reference.next_user_ref(session, channel) + ahead;
        match self.random.below(50) {
            0 => next.saturating_sub(1 + self.random.below(4) as u32),
            1 => next + 1 + self.random.below(3) as u32,
            _ => next,
        }
    }

    fn known(&mut self, session: u32) -> (u8, u32) {
        let known = &self.known[session as usize];
        if known.is_empty() {
            return (0, 1);
        }
        let back = self.random.below(known.len().min(30) as u64) as usize;
        known[known.len() - 1 - back]
    }

    fn terms(&mut self, session: u32, ahead: u32) -> Terms {
        let channel = u8::from(self.random.chance(1, 4));
        let instrument = if self.random.chance(1, 200) { 3 } else { self.random.below(3) as usize };
        let mut terms = Terms {
            original: None,
            channel,
            user_ref: self.number(session, channel, ahead),
            instrument,
            side: self.side(),
            quantity: self.quantity(instrument),
            price: self.price(),
            time_in_force: b'0',
            expire_time: 0,
            display: b'Y',
            cross: b'N',
            max_floor: 0,
            min_quantity: 0,
            post_only: false,
            group: 0,
            aiq: None,
        };
        let special = self.mix.special;
        if self.random.chance(special, 100) {
            terms.time_in_force =
                [b'3', b'3', b'3', b'5', b'6', b'6', b'6', b'E'][self.random.below(8) as usize];
            terms.expire_time = self.random.below(6) as u32;
        }
        if self.random.chance(special, 100) {
            terms.display = [b'N', b'N', b'N', b'A', b'A', b'Q'][self.random.below(6) as usize];
        }
        if self.random.chance(special, 300) {
            terms.cross = [b'O', b'C', b'C', b'H'][self.random.below(4) as usize];
        }
        if self.random.chance(special, 200) {
            terms.max_floor = 1 + self.random.below(12) as u32;
        }
        if self.random.chance(special, 200) {
            terms.min_quantity = 1 + self.random.below(40) as u32;
        }
        terms.post_only = self.random.chance(special, 300);
        terms.group = self.random.below(3) as u16;
        if self.random.chance(special, 100) {
            let strategy = [b'W', b'O', b'B', b'D'][self.random.below(4) as usize];
            terms.aiq = Some((1 + self.random.below(2) as u8, strategy));
        }
        terms
    }

    fn operation(&mut self, session: u32, ahead: u32) -> Operation {
        let total = self.random.below(25) as u32;
        match self.random.below(1_000) {
            0..500 => Operation::Order(self.terms(session, ahead)),
            500..650 => {
                let (channel, original) = self.known(session);
                let mut terms = self.terms(session, ahead);
                terms.original = Some(original);
                if terms.channel != channel {
                    terms.channel = channel;
                    terms.user_ref = self.number(session, channel, ahead);
                }
                Operation::Order(terms)
            }
            650..900 => {
                let (channel, user_ref) = self.known(session);
                let total = if self.random.chance(2, 3) { 0 } else { total };
                Operation::Cancel { channel, user_ref, total }
            }
            900..960 => {
                let (channel, user_ref) = self.known(session);
                Operation::Modify { channel, user_ref, side: self.side(), total }
            }
            960..970 => {
                let channel = [None, Some(0), Some(1)][self.random.below(3) as usize];
                Operation::MassCancel {
                    channel,
                    user_ref: self.number(session, channel.unwrap_or(0), ahead),
                    instrument: [None, Some(0), Some(1), Some(2)][self.random.below(4) as usize],
                    side: self.random.chance(1, 3).then(|| self.side()),
                    group: self.random.below(3) as u16,
                }
            }
            970..980 => {
                let channel = u8::from(self.random.chance(1, 4));
                let user_ref = self.number(session, channel, ahead);
                Operation::SetOrderEntry { channel, user_ref, enabled: self.random.chance(4, 5) }
            }
            _ => Operation::Query { channel: u8::from(self.random.chance(1, 4)) },
        }
    }

    /// A datagram of one to six messages: one by one to one shard, at once to the other.
    fn datagram(&mut self) {
        let session = self.random.below(u64::from(SESSIONS)) as u32;
        let count = 1 + self.random.below(6) as u32;
        let operations: Vec<Operation> = (0..count).map(|ahead| self.operation(session, ahead)).collect();
        let (mut one_by_one, mut at_once) = (Raw::default(), Raw::default());
        let mut all = Vec::new();
        let first_sequence = self.upstream[session as usize];
        for (sequence, operation) in (first_sequence..).zip(&operations) {
            let message = bytes(operation);
            let mut block = (message.len() as u16).to_be_bytes().to_vec();
            block.extend_from_slice(&message);
            let messages = Messages { session, first_sequence: sequence, count: 1, blocks: &block };
            self.single.messages(&messages, self.now, &mut one_by_one).expect("in sequence");
            all.extend_from_slice(&block);
            self.reference.operate(session, operation);
            if let Operation::Order(terms) = operation {
                self.known[session as usize].push((terms.channel, terms.user_ref));
            }
        }
        self.upstream[session as usize] += u64::from(count);
        self.operations += count;
        let messages = Messages { session, first_sequence, count: count as u16, blocks: &all };
        self.grouped.messages(&messages, self.now, &mut at_once).expect("in sequence");
        self.compare(&one_by_one, &at_once, &operations);
    }

    fn control(&mut self) {
        let session = self.random.below(u64::from(SESSIONS)) as u32;
        let number = self.random.below(3) as usize;
        let symbol = alpha(INSTRUMENTS[number].0);
        let mut inputs = Vec::new();
        if self.random.chance(self.mix.states, 1_000) {
            use TradingState::{Auction, Closed, Halted, Open, PreOpen};
            let states = [PreOpen, Open, Open, Open, Open, Open, Halted, Auction, Auction, Closed];
            // Mostly back to where there is trading.
            let state = states[self.random.below(10) as usize];
            self.reference.set_state(number, state);
            inputs.push(Input::SetState { symbol: Some(symbol), state });
        } else if self.random.chance(1, 400) {
            let engaged = self.random.chance(1, 3);
            for session in if engaged { session..session + 1 } else { 0..SESSIONS } {
                self.reference.kill(session, engaged);
                inputs.push(Input::KillSwitch { scope: KillScope::Session(session), engaged });
            }
        } else if self.random.chance(1, 400) {
            self.reference.disconnect(session);
            inputs.push(Input::SessionClosed { session, reason: CloseReason::Timeout });
            inputs.push(session_input(session));
        } else if self.random.chance(1, 400) {
            // Now and then unknown.
            let price = if self.random.chance(1, 4) { 0 } else { TEN + self.random.below(20) * CENT };
            self.reference.set_reference(number, price);
            inputs.push(Input::ReferencePrice { symbol, price });
        } else {
            inputs.push(Input::Timer);
        }
        let (mut one, mut other) = (Raw::default(), Raw::default());
        for input in &inputs {
            self.single.apply(input, self.now, &mut one).expect("follows from the state");
            self.grouped.apply(input, self.now, &mut other).expect("follows from the state");
        }
        self.compare(&one, &other, &[]);
    }

    fn compare(&mut self, one: &Raw, other: &Raw, operations: &[Operation]) {
        assert_eq!(one, other, "datagrams and restored shards make no difference");
        let answers = std::mem::take(&mut self.reference.answers);
        let ticks = std::mem::take(&mut self.reference.ticks);
        let said: Vec<(u32, Answer)> =
            one.sessions.iter().map(|(session, message)| (*session, Answer::decode(message).0)).collect();
        let published: Vec<Tick> = one.feed.iter().map(|message| Tick::decode(message).0).collect();
        assert_eq!(said, answers, "after {operations:?}");
        assert_eq!(published, ticks, "after {operations:?}");
        for (session, answer) in &said {
            self.ledger.answer(*session, answer);
        }
        assert_eq!(self.ledger.half, None, "a trade has two sides");
        for tick in &published {
            self.ledger.tick(tick);
        }
        for message in one.sessions.iter().map(|(_, message)| message).chain(&one.feed) {
            for &byte in message {
                self.said = (self.said ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
        for number in 0..INSTRUMENTS.len() {
            let open = self.reference.state(number) == TradingState::Open;
            assert!(!open || !self.single.market().is_crossed(number as u32), "crossed after {operations:?}");
        }
    }

    /// Everything that must add up, and the second shard is put away and restored.
    fn check(&mut self) {
        let market = self.single.market();
        for number in 0..INSTRUMENTS.len() as u32 {
            for side in [Side::Buy, Side::Sell] {
                let visible = market.depth(number, side).filter(|level| level.displayed > 0);
                let visible: Vec<(u64, u64)> = visible.map(|level| (level.price, level.displayed)).collect();
                assert_eq!(
                    self.ledger.depth(number as u16 + 1, side),
                    visible,
                    "instrument {number} {side:?}"
                );
            }
        }
        let mut live = BTreeMap::new();
        for session in 0..SESSIONS {
            let (mut count, mut gross) = (0, 0);
            for view in market.owned(session) {
                live.insert((session, view.key.party.channel(), view.key.user_ref), view.open);
                count += 1;
                gross += if view.price == MARKET_PRICE { 0 } else { view.price * u64::from(view.open) };
            }
            let exposure = self.single.trader(session).expect("a session").exposure;
            assert_eq!(
                (exposure.open_orders, exposure.gross),
                (count, gross),
                "exposure of session {session}"
            );
        }
        assert_eq!(self.ledger.live, live, "orders that have not ended");
        assert_eq!(self.single.state_hash(), self.grouped.state_hash());
        let mut state = Vec::new();
        self.grouped.write_state(&mut state);
        self.grouped = Shard::restore(&state).expect("what a shard wrote");
        assert_eq!(self.single.state_hash(), self.grouped.state_hash(), "restored");
    }

    fn go(&mut self, operations: u32) {
        let mut datagrams = 0;
        while self.operations < operations {
            self.now += self.random.below(self.mix.pace);
            self.reference.pass_time((self.now / SECOND) as u32);
            if self.random.chance(1, 12) {
                self.control();
            } else {
                self.datagram();
            }
            datagrams += 1;
            if datagrams % CHECK_EVERY == 0 {
                self.check();
            }
        }
        self.check();
    }
}

const CALM: Mix = Mix { spread: 30, special: 15, states: 2, pace: SECOND / 50 };
const BUSY: Mix = Mix { spread: 4, special: 50, states: 10, pace: SECOND / 5 };
const AUCTIONS: Mix = Mix { spread: 10, special: 30, states: 150, pace: SECOND / 20 };

#[test]
fn a_calm_market_agrees_with_the_reference() {
    let mut run = Run::new(Random::from_environment(), CALM);
    run.go(OPERATIONS);
    assert!(run.ledger.bought > 10_000, "{} shares traded", run.ledger.bought);
}

#[test]
fn a_busy_market_agrees_with_the_reference_and_shows_everything() {
    let mut run = Run::new(Random::from_environment(), BUSY);
    run.go(OPERATIONS);
    for what in [
        "canceled E",
        "canceled F",
        "canceled G",
        "canceled I",
        "canceled S",
        "canceled T",
        "canceled U",
        "executed A",
        "executed K",
        "executed J",
        "executed R",
        "rejected 0x0003",
        "rejected 0x0004",
        "rejected 0x0007",
        "rejected 0x000C",
        "rejected 0x000D",
        "rejected 0x000F",
        "rejected 0x0013",
        "rejected 0x0014",
        "rejected 0x0017",
        "rejected 0x001D",
        "rejected 0x001E",
        "rejected 0x0020",
        "rejected 0x002E",
        "restated",
        "self-match B",
        "self-match D",
        "self-match W",
        "self-match O",
    ] {
        assert!(run.ledger.seen.contains(what), "{what} never happened; {:?}", run.ledger.seen);
    }
}

#[test]
fn a_market_of_auctions_agrees_with_the_reference() {
    let mut run = Run::new(Random::from_environment(), AUCTIONS);
    run.go(OPERATIONS);
    for what in ["cross O", "cross C", "cross H", "executed O", "executed C", "executed K", "rejected 0x0002"]
    {
        assert!(run.ledger.seen.contains(what), "{what} never happened; {:?}", run.ledger.seen);
    }
}

/// Requests with bytes changed, cut and added: whatever of them is understood, the books add up.
#[test]
fn damaged_messages_leave_every_book_in_order() {
    let mut run = Run::new(Random::from_environment(), BUSY);
    let mut last = [0; SESSIONS as usize];
    for step in 0..DAMAGED {
        run.now += run.random.below(SECOND / 50);
        let session = run.random.below(u64::from(SESSIONS)) as u32;
        let mut message = bytes(&run.operation(session, 0));
        for _ in 0..run.random.below(3) {
            let at = run.random.below(message.len() as u64) as usize;
            match run.random.below(8) {
                0 => message.truncate(at + 1),
                1 => message.push(at as u8),
                _ => message[at] = run.random.below(256) as u8,
            }
        }
        // A number out of order would make repetitions of all that follow it, so numbers are never damaged.
        let place = if message.first() == Some(&b'U') { 5..9 } else { 1..5 };
        if let (Some(b'O' | b'U' | b'C' | b'D' | b'E'), Some(number)) =
            (message.first().copied(), message.get_mut(place))
        {
            last[session as usize] += 1;
            number.copy_from_slice(&u32::to_be_bytes(last[session as usize]));
            run.known[session as usize].push((0, last[session as usize]));
        }
        let mut block = (message.len() as u16).to_be_bytes().to_vec();
        block.extend_from_slice(&message);
        let first_sequence = run.upstream[session as usize];
        run.upstream[session as usize] += 1;
        let mut out = Raw::default();
        let messages = Messages { session, first_sequence, count: 1, blocks: &block };
        for shard in [&mut run.single, &mut run.grouped] {
            out = Raw::default();
            shard.messages(&messages, run.now, &mut out).expect("in sequence");
        }
        for (session, message) in &out.sessions {
            run.ledger.answer(*session, &Answer::decode(message).0);
        }
        out.feed.iter().for_each(|message| run.ledger.tick(&Tick::decode(message).0));
        if step % CHECK_EVERY == 0 {
            run.check();
        }
    }
    run.check();
    let counters = run.single.counters();
    assert!(
        counters.malformed_messages > u64::from(DAMAGED / 20) && run.ledger.bought > 1_000,
        "{counters:?}"
    );
}

#[test]
fn a_state_cut_short_is_refused() {
    let mut run = Run::new(Random::new(7), BUSY);
    run.go(500);
    let mut state = Vec::new();
    run.single.write_state(&mut state);
    assert!(Shard::restore(&state).is_ok());
    for end in (0..state.len()).step_by(1 + state.len() / 500) {
        assert!(Shard::restore(&state[..end]).is_err(), "{end} of {} bytes", state.len());
    }
}

/// State and messages after a fixed flow, on every machine and in every build. A change here is a change of behaviour, of the
/// layout of the state or of this file's flow. To take over new values run
/// `cargo test -p pitlane --test shard_semantics golden` and copy what it says it found.
#[test]
fn the_golden_state_and_messages_are_the_same_everywhere() {
    let mut run = Run::new(Random::new(20_261_123), BUSY);
    run.go(20_000);
    assert_eq!(
        (run.single.state_hash(), run.said),
        GOLDEN,
        "found {:#018x?}",
        (run.single.state_hash(), run.said)
    );
}

const GOLDEN: (u64, u64) = (0x5f1b_3e75_dca1_c0fa, 0xfbb6_e0ab_2f69_5b80);
