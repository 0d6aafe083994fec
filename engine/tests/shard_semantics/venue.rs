//! A shard to talk to: sessions of two firms, a few instruments, a clock, and everything it says, decoded.

use book::TradingState;
use engine::config::RiskConfig;
use engine::inputs::{FirmRights, Genesis, Input, InstrumentInput, Messages, Rules, SessionOpened};
use engine::shard::{ApplyError, Outputs, Shard};

use crate::answers::{Answer, Tick};
use crate::ask::{Request, TEN, alpha};

pub const SECOND: u64 = 1_000_000_000;
/// A day's midnight (UTC), nanoseconds since the Unix epoch, and the time at which tests begin.
pub const MIDNIGHT: u64 = 20_000 * 86_400 * SECOND;
pub const START: u64 = MIDNIGHT + 36_000 * SECOND;

/// Session of drop copies, where there is one.
pub const DROP_COPY: u32 = 3;

/// Collects messages as they are.
#[derive(Default, Clone, PartialEq, Eq, Debug)]
pub struct Raw {
    pub sessions: Vec<(u32, Vec<u8>)>,
    pub feed: Vec<Vec<u8>>,
}

impl Outputs for Raw {
    fn session(&mut self, session: u32, fill: impl FnOnce(&mut [u8]) -> usize) {
        let mut room = [0; wire::ouch::MAX_MESSAGE_LENGTH];
        let length = fill(&mut room);
        self.sessions.push((session, room[..length].to_vec()));
    }

    fn feed(&mut self, fill: impl FnOnce(&mut [u8]) -> usize) {
        let mut room = [0; wire::ouch::MAX_MESSAGE_LENGTH];
        let length = fill(&mut room);
        self.feed.push(room[..length].to_vec());
    }
}

pub fn genesis() -> Genesis {
    Genesis {
        shard: 0,
        utc_offset_seconds: 0,
        max_orders: 1_000,
        max_price_levels: 600,
        max_sessions: 8,
        max_instruments: 8,
        feed_session: *b"FEED000000",
    }
}

/// Those that the engine trades by. A session may use all there is, unless a test says otherwise.
pub fn rules() -> Rules {
    Rules { version: Rules::VERSION, session_share_percent: 100 }
}

pub fn instrument(symbol: &str, state: TradingState) -> InstrumentInput {
    InstrumentInput {
        symbol: alpha(symbol),
        tick: 100,
        lot: 1,
        max_quantity: 999_999,
        reference_price: TEN,
        collar_basis_points: 0,
        state,
    }
}

pub fn opened(session: u32, firm: &str) -> SessionOpened {
    SessionOpened {
        session,
        user: alpha(&format!("U{session}")),
        firm: alpha(firm),
        name: alpha(&format!("D{session:09}")),
        cancel_on_disconnect: session != 1,
        drop_copy: session == DROP_COPY,
        risk: RiskConfig::default(),
    }
}

pub struct Venue {
    pub shard: Shard,
    pub raw: Raw,
    pub now: u64,
    /// Next upstream sequence per session.
    upstream: Vec<u64>,
}

impl Venue {
    /// AAA open, BBB open in lots of 10 up to 5,000, CCC before its opening; sessions 0 and 1 of FRMA, 2 of FRMB.
    pub fn new() -> Self {
        Self::empty(genesis()).furnished()
    }

    /// The instruments and sessions of [`Venue::new`].
    pub fn furnished(self) -> Self {
        let mut venue = self;
        venue.input(Input::Instrument(instrument("AAA", TradingState::Open), FirmRights::NONE));
        let lots = InstrumentInput { lot: 10, max_quantity: 5_000, ..instrument("BBB", TradingState::Open) };
        venue.input(Input::Instrument(lots, FirmRights::NONE));
        venue.input(Input::Instrument(instrument("CCC", TradingState::PreOpen), FirmRights::NONE));
        for (session, firm) in [(0, "FRMA"), (1, "FRMA"), (2, "FRMB")] {
            venue.input(Input::SessionOpened(opened(session, firm)));
        }
        venue.raw = Raw::default();
        venue
    }

    pub fn empty(genesis: Genesis) -> Self {
        let mut venue = Self::of_first_rules(genesis);
        venue.input(Input::Rules(rules()));
        venue
    }

    /// A shard that was never told its rules, as the first versions' journals lead to.
    pub fn of_first_rules(genesis: Genesis) -> Self {
        Self { shard: Shard::new(genesis), raw: Raw::default(), now: START, upstream: vec![1; 16] }
    }

    pub fn try_input(&mut self, input: Input<'_>) -> Result<(), ApplyError> {
        self.shard.apply(&input, self.now, &mut self.raw)
    }

    pub fn input(&mut self, input: Input<'_>) {
        self.try_input(input).expect("the input follows from the state");
    }

    /// Sends messages in one datagram.
    pub fn send(&mut self, session: u32, messages: &[Vec<u8>]) {
        let mut blocks = Vec::new();
        for message in messages {
            blocks.extend_from_slice(&(message.len() as u16).to_be_bytes());
            blocks.extend_from_slice(message);
        }
        let first_sequence = self.upstream[session as usize];
        let count = messages.len() as u16;
        self.upstream[session as usize] += u64::from(count);
        self.input(Input::Messages(Messages { session, first_sequence, count, blocks: &blocks }));
    }

    /// Everything said since the last time, decoded; every message carries the time of its input.
    pub fn said(&mut self) -> (Vec<(u32, Answer)>, Vec<Tick>) {
        let raw = std::mem::take(&mut self.raw);
        let time = self.now - MIDNIGHT;
        let answers = raw.sessions.iter().map(|(session, bytes)| {
            let copy = self.shard.trader(*session).is_some_and(|trader| trader.drop_copy) && bytes.len() > 10;
            let (answer, at) = if copy && !matches!(bytes[0], b'J' | b'Q' | b'X') {
                Answer::decode_copy(bytes)
            } else {
                Answer::decode(bytes)
            };
            assert_eq!(at, time, "timestamp of {answer}");
            (*session, answer)
        });
        let answers = answers.collect();
        let ticks = raw.feed.iter().map(|bytes| {
            let (tick, at) = Tick::decode(bytes);
            assert_eq!(at, time, "timestamp of {tick}");
            tick
        });
        (answers, ticks.collect())
    }

    /// The same as words: answers with their session, separated by "; ", and the feed likewise.
    pub fn words(&mut self) -> (String, String) {
        let (answers, ticks) = self.said();
        let answers: Vec<String> = answers.iter().map(|(session, it)| format!("{session}: {it}")).collect();
        let ticks: Vec<String> = ticks.iter().map(ToString::to_string).collect();
        (answers.join("; "), ticks.join("; "))
    }

    /// Sends one request and compares everything that is said, to whomever.
    #[track_caller]
    pub fn on(&mut self, session: u32, request: impl Request, answers: &str, feed: &str) {
        self.send(session, &[request.bytes()]);
        assert_eq!(self.words(), (answers.to_owned(), feed.to_owned()));
    }

    /// Applies an input and compares everything that is said.
    #[track_caller]
    pub fn when(&mut self, input: Input<'_>, answers: &str, feed: &str) {
        self.input(input);
        assert_eq!(self.words(), (answers.to_owned(), feed.to_owned()));
    }

    /// Sends requests whose answers are of no interest.
    pub fn given(&mut self, session: u32, requests: &[&dyn Request]) {
        for request in requests {
            self.send(session, &[request.bytes()]);
        }
        self.raw = Raw::default();
    }

    #[track_caller]
    pub fn state(&mut self, symbol: &str, state: TradingState, answers: &str, feed: &str) {
        self.when(Input::SetState { symbol: Some(alpha(symbol)), state }, answers, feed);
    }

    pub fn pass(&mut self, nanoseconds: u64) {
        self.now += nanoseconds;
    }

    /// What the shard counts as open against its limits equals what the book has open.
    #[track_caller]
    pub fn exposures_agree(&self) {
        for session in 0..self.shard.sessions() as u32 {
            let owned: Vec<_> = self.shard.market().owned(session).collect();
            let gross = owned.iter().filter(|view| view.price != book::MARKET_PRICE);
            let gross: u64 = gross.map(|view| view.price * u64::from(view.open)).sum();
            let exposure = self.shard.trader(session).expect("a session").exposure;
            assert_eq!(
                (exposure.open_orders, exposure.gross),
                (owned.len() as u32, gross),
                "session {session}"
            );
        }
    }
}
