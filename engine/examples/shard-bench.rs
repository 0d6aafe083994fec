//! Instructions of an order from its decoding to its encoded answers, counted by callgrind: through `Shard` alone, and through `Core` with
//! the sessions' streams. One message in each input, as from clients with one order in flight. Not the port's share, and not the time.
//!
//! `cargo run --release -p pitlane --example shard-bench -- [--json FILE]`
#![allow(clippy::print_stdout)] // Its output is its purpose.
#![allow(clippy::unwrap_used)] // A flow of its own making is not refused.

#[path = "../../book/benches/book-bench/count.rs"]
mod count;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::PathBuf;

use anyhow::Context as _;
use book::random::Random;
use book::{Side, TradingState};
use clap::{Parser, ValueEnum};
use engine::core::Core;
use engine::inputs::{
    FirmRights, Genesis, Input, InstrumentInput, Messages, RiskConfig, SessionId, SessionOpened,
};
use engine::log::writer::NoJournal;
use engine::log::{Durability, Lsn};
use engine::session::Sessions;
use engine::shard::{Outputs, Shard};
use streams::Run;
use wire::ouch::inbound::{CancelOrder, EnterOrder, ReplaceOrder};
use wire::ouch::{MAX_MESSAGE_LENGTH, side, time_in_force};

const SESSIONS: u32 = 10;
/// Orders that rest before anything is counted, and messages of the mix that warm up.
const RESTING: usize = 30_000;
const WARM_UP: usize = 20_000;
const COUNTED: usize = 20_000;
const TICK: u64 = 100;
const MID: u64 = 1_500_000;
/// Orders rest this far from the middle at most, in ticks.
const DEPTH: u64 = 50;
const SYMBOL: [u8; 8] = *b"AAPL    ";
const FIRM: [u8; 4] = *b"DEMO";

/// What the counted messages are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Half enters, one in ten of which takes a resting order, 30% cancels, 20% replacements.
    Mix,
    Enter,
    Cancel,
    Replace,
    /// An order that takes another.
    Trade,
}

/// How much of the engine they go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Through {
    Shard,
    Core,
}

#[derive(Parser)]
struct Options {
    /// Writes the figures there: name to instructions a message.
    #[arg(long)]
    json: Option<PathBuf>,
    /// What callgrind runs.
    #[arg(long, requires = "through", hide = true)]
    kind: Option<Kind>,
    #[arg(long, hide = true)]
    through: Option<Through>,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if let (Some(kind), Some(through)) = (options.kind, options.through) {
        run(kind, through);
        return Ok(());
    }
    let mut figures = BTreeMap::new();
    for through in Through::value_variants() {
        for kind in Kind::value_variants() {
            let [through, kind] = [through.to_possible_value(), kind.to_possible_value()]
                .map(|value| value.unwrap().get_name().to_owned());
            let count = count::instructions("run_counted", &["--kind", &kind, "--through", &through])?;
            let per_message = count as f64 / COUNTED as f64;
            println!("{through:5} {kind:8} {per_message:7.1} instructions a message");
            figures.insert(format!("{through}.{kind}"), per_message);
        }
    }
    if let Some(path) = options.json {
        let text = serde_json::to_string_pretty(&figures)?;
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn run(kind: Kind, through: Through) {
    let mut flow = Flow::new();
    let mut before: Vec<_> = (0..RESTING).map(|_| flow.enter()).collect();
    before.extend((0..WARM_UP).map(|_| flow.draw(Kind::Mix)));
    let counted: Vec<_> = (0..COUNTED).map(|_| flow.draw(kind)).collect();
    let mut core = core();
    match through {
        Through::Shard => {
            let mut out = Encoded([0; MAX_MESSAGE_LENGTH], 0);
            let mut take = |message: &Entry| {
                core.shard.messages(&message.input(), 1, &mut out).unwrap();
            };
            before.iter().for_each(&mut take);
            run_counted(&counted, take);
            black_box(out.1);
        }
        Through::Core => {
            let mut take = |message: &Entry| {
                let Messages { session, first_sequence, count, blocks } = message.input();
                core.messages(session, &Run { first: first_sequence, count, blocks }, 1);
                while core.sessions.unmark().is_some() {}
            };
            before.iter().for_each(&mut take);
            run_counted(&counted, take);
        }
    }
    let seen = core.shard.counters();
    // Orders that a trade has taken are cancelled and replaced all the same, as they are in life.
    assert_eq!((seen.malformed_messages, seen.rejects), (0, 0), "{seen:?}");
}

/// Not inlined: callgrind counts what happens inside, and finds it by its name.
#[inline(never)]
fn run_counted(messages: &[Entry], mut take: impl FnMut(&Entry)) {
    for message in messages {
        take(message);
    }
}

/// Where a shard's messages are written, one over the other.
struct Encoded([u8; MAX_MESSAGE_LENGTH], usize);

impl Outputs for Encoded {
    fn session(&mut self, _: SessionId, fill: impl FnOnce(&mut [u8]) -> usize) {
        self.1 += fill(black_box(&mut self.0));
    }

    fn feed(&mut self, fill: impl FnOnce(&mut [u8]) -> usize) {
        self.1 += fill(black_box(&mut self.0));
    }
}

/// One message on its way into a shard.
struct Entry {
    session: SessionId,
    sequence: u64,
    block: Vec<u8>,
}

impl Entry {
    fn input(&self) -> Messages<'_> {
        Messages { session: self.session, first_sequence: self.sequence, count: 1, blocks: &self.block }
    }
}

/// A client's side of every session.
struct Flow {
    random: Random,
    /// Next UserRefNum and next upstream sequence of each session.
    next: [(u32, u64); SESSIONS as usize],
    /// Orders that were entered to rest and not taken away since. Trades may have.
    resting: Vec<(SessionId, u32, Side)>,
}

impl Flow {
    fn new() -> Self {
        Self { random: Random::new(1), next: [(1, 1); SESSIONS as usize], resting: Vec::new() }
    }

    fn draw(&mut self, kind: Kind) -> Entry {
        match kind {
            Kind::Enter => self.enter(),
            Kind::Cancel => self.cancel(),
            Kind::Replace => self.replace(),
            Kind::Trade => self.take(),
            Kind::Mix => match self.random.below(100) {
                0..45 => self.enter(),
                45..50 => self.take(),
                50..80 => self.cancel(),
                _ => self.replace(),
            },
        }
    }

    fn enter(&mut self) -> Entry {
        let (session, side) = self.draw_session();
        let number = self.take_number(session);
        self.resting.push((session, number, side));
        let price = self.passive(side);
        self.order(session, number, side, price, time_in_force::DAY)
    }

    fn take(&mut self) -> Entry {
        let (session, side) = self.draw_session();
        let number = self.take_number(session);
        let through = if side.is_buy() { MID + 2 * DEPTH * TICK } else { MID - 2 * DEPTH * TICK };
        self.order(session, number, side, through, time_in_force::IOC)
    }

    fn cancel(&mut self) -> Entry {
        let (session, user_ref_num, _) = self.draw_resting();
        self.entry(session, |out| CancelOrder { user_ref_num, quantity: 0 }.write(&[], out))
    }

    fn replace(&mut self) -> Entry {
        let (session, original, side) = self.draw_resting();
        let number = self.take_number(session);
        self.resting.push((session, number, side));
        let replacement = ReplaceOrder {
            orig_user_ref_num: original,
            user_ref_num: number,
            quantity: 100,
            price: self.passive(side),
            time_in_force: time_in_force::DAY,
            display: b'Y',
            inter_market_sweep_eligibility: b'N',
            cl_ord_id: [b' '; 14],
        };
        self.entry(session, |out| replacement.write(&[], out))
    }

    fn order(&mut self, session: SessionId, number: u32, side: Side, price: u64, time: u8) -> Entry {
        let order = EnterOrder {
            user_ref_num: number,
            side: if side.is_buy() { side::BUY } else { side::SELL },
            quantity: 100,
            symbol: SYMBOL,
            price,
            time_in_force: time,
            display: b'Y',
            capacity: b'P',
            inter_market_sweep_eligibility: b'N',
            cross_type: b'N',
            cl_ord_id: [b' '; 14],
        };
        self.entry(session, |out| order.write(&[], out))
    }

    fn entry(&mut self, session: SessionId, write: impl FnOnce(&mut [u8]) -> usize) -> Entry {
        let mut bytes = [0; MAX_MESSAGE_LENGTH];
        let length = write(&mut bytes);
        let mut block = (length as u16).to_be_bytes().to_vec();
        block.extend(&bytes[..length]);
        let next = &mut self.next[session as usize].1;
        *next += 1;
        Entry { session, sequence: *next - 1, block }
    }

    fn draw_session(&mut self) -> (SessionId, Side) {
        let side = if self.random.chance(1, 2) { Side::Buy } else { Side::Sell };
        (self.random.below(u64::from(SESSIONS)) as SessionId, side)
    }

    fn draw_resting(&mut self) -> (SessionId, u32, Side) {
        let at = self.random.below(self.resting.len() as u64) as usize;
        self.resting.swap_remove(at)
    }

    fn take_number(&mut self, session: SessionId) -> u32 {
        let next = &mut self.next[session as usize].0;
        *next += 1;
        *next - 1
    }

    /// A price at which an order of this side rests.
    fn passive(&mut self, side: Side) -> u64 {
        let distance = (1 + self.random.below(DEPTH)) * TICK;
        if side.is_buy() { MID - distance } else { MID + distance }
    }
}

/// A shard with an instrument, a firm and sessions, ready to trade.
fn core() -> Core<NoJournal> {
    let genesis = Genesis {
        shard: 0,
        utc_offset_seconds: 0,
        max_orders: 1 << 17,
        max_price_levels: 1 << 12,
        max_sessions: SESSIONS,
        max_instruments: 16,
        feed_session: *b"FAAAAAAAAA",
    };
    let sessions = Sessions::new(256 << 10, Durability::Memory);
    let mut core =
        Core { shard: Shard::new(genesis), sessions, log: NoJournal::default(), last: Lsn(1), failure: None };
    let mut tell = |input: Input<'_>| core.input(&input, 1).unwrap();
    tell(Input::Firm { firm: FIRM, risk: RiskConfig::default() });
    let instrument = InstrumentInput {
        symbol: SYMBOL,
        tick: TICK,
        lot: 1,
        max_quantity: 1_000_000,
        reference_price: MID,
        collar_basis_points: 0,
        state: TradingState::Open,
    };
    tell(Input::Instrument(instrument, FirmRights::new(&[]).unwrap()));
    for session in 0..SESSIONS {
        let mut name = *b"PAAAAAAAAA";
        name[9] += session as u8;
        tell(Input::SessionOpened(SessionOpened {
            session,
            user: *b"C00001",
            firm: FIRM,
            name,
            cancel_on_disconnect: false,
            drop_copy: false,
            risk: RiskConfig::default(),
        }));
    }
    core
}
