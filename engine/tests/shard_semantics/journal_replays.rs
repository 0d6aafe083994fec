//! Whatever is asked of a shard through its public entries, its journal leads back to it. Inputs that follow from the state and
//! inputs that do not, tables that are full, commands that name nothing: what is refused is not recorded. Prints its seed,
//! takes `PITLANE_SEED`.
#![allow(clippy::unwrap_used)] // Its helpers panic as the tests do.

use super::ask::{Request, TEN, alpha, buy, cancel, sell};
use super::venue::{genesis, instrument, opened, rules};
use book::TradingState;
use book::random::Random;
use engine::config::RiskConfig;
use engine::core::Core;
use engine::history::recovery::{Recovered, recover};
use engine::inputs::{
    CloseReason, FirmRight, FirmRights, Genesis, Input, InstrumentInput, KillScope, MAX_ENCODED, Role, Rules,
    SessionOpened, kind,
};
use engine::log::reopen::{Parts, assemble};
use engine::log::sim::Faults;
use engine::log::{Durability, JournalSettings, Lsn, Reader, SimStorage, Writer};
use engine::session::Sessions;
use engine::shard::Shard;
use streams::Run;

const SHARD: u32 = 0;
const SECOND: u64 = super::venue::SECOND;
const ROUNDS: u32 = 200;
const STEPS: u32 = 400;
/// More than any journal here has, so that no segment has to be made ready meanwhile.
const SEGMENT_BYTES: u64 = 1 << 20;

fn no_sessions() -> Sessions {
    Sessions::new(1 << 16, Durability::Process)
}

fn small() -> Genesis {
    Genesis { max_orders: 24, max_price_levels: 12, max_sessions: 3, max_instruments: 2, ..genesis() }
}

/// A core at its beginning, on a disk of its own. The parts beside the writer live as long as it does.
fn begin(storage: &SimStorage, genesis: Genesis) -> Core<Writer<SimStorage>> {
    let mut reader = Reader::open(storage.clone(), SHARD, Lsn(1)).unwrap();
    assert!(reader.next().unwrap().is_none());
    let settings = JournalSettings { segment_size: SEGMENT_BYTES, ..JournalSettings::default() };
    let Parts { writer: mut log, .. } =
        assemble(storage.clone(), SHARD, reader.into_end().unwrap(), settings).unwrap();
    let mut encoded = [0; MAX_ENCODED];
    let length = Input::Genesis(genesis).encode(&mut encoded);
    let last = log.append(kind::GENESIS, super::venue::START, &encoded[..length]).unwrap();
    Core { shard: Shard::new(genesis), sessions: no_sessions(), log, last, failure: None }
}

fn disk() -> SimStorage {
    SimStorage::new(1, Durability::Process, Faults::default())
}

fn recovered(storage: &SimStorage) -> Recovered {
    recover(storage.clone(), SHARD, no_sessions()).unwrap()
}

/// The journal leads to the state and the messages that the live core has.
fn leads_back(core: &mut Core<Writer<SimStorage>>, storage: &SimStorage) {
    let found = recovered(storage);
    assert_eq!(found.refused, None, "what was refused is not recorded");
    assert_eq!(found.end.last, core.last);
    let again = found.core.unwrap();
    assert_eq!(again.shard.state_hash(), core.shard.state_hash());
    assert_eq!(core.sessions.len(), core.shard.sessions());
    assert_eq!(again.sessions.len(), again.shard.sessions());
    for session in 0..core.shard.sessions() as u32 {
        let (live, replayed) =
            (&core.sessions[session].downstream.stream, &again.sessions[session].downstream.stream);
        assert_eq!(live.next(), replayed.next(), "session {session}");
        for sequence in live.first().max(replayed.first())..live.next() {
            assert_eq!(live.message(sequence), replayed.message(sequence), "session {session}: {sequence}");
        }
    }
}

struct Flow {
    random: Random,
    numbers: [u32; 4],
}

impl Flow {
    fn symbol(&mut self) -> [u8; 8] {
        alpha(["AAA", "BBB", "CCC", "", "ZZZ"][self.random.below(5) as usize])
    }

    fn firm(&mut self) -> [u8; 4] {
        match self.random.below(40) {
            0 => u32::to_be_bytes(self.random.below(1 << 32) as u32),
            some if some < 20 => alpha("FRMA"),
            _ => alpha("FRMB"),
        }
    }

    /// Mostly one that exists, or the next one.
    fn session(&mut self) -> u32 {
        if self.random.chance(1, 30) {
            self.random.below(1 << 32) as u32
        } else {
            self.random.below(5) as u32
        }
    }

    fn number(&mut self) -> u64 {
        match self.random.below(6) {
            0 => 0,
            1 => u64::MAX,
            2 => self.random.below(1 << 40),
            _ => TEN,
        }
    }

    fn risk(&mut self) -> RiskConfig {
        RiskConfig { max_open_orders: self.random.below(9) as u32, ..RiskConfig::default() }
    }

    fn rights(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..self.random.below(3) {
            let role = [Role::Trader, Role::MarketMaker, Role::PrimaryMarketMaker];
            let role = role[self.random.below(3) as usize];
            FirmRights::push(
                &mut bytes,
                FirmRight { firm: self.firm(), restricted: self.random.chance(1, 4), role },
            );
        }
        bytes
    }

    fn input<'a>(&mut self, rights: &'a [u8]) -> Input<'a> {
        use TradingState::{Auction, Closed, Halted, Open, PreOpen};
        let state = [PreOpen, Open, Open, Open, Halted, Auction, Closed][self.random.below(7) as usize];
        match self.random.below(14) {
            0 => Input::Genesis(small()),
            1 | 2 => {
                let known = instrument("AAA", state);
                let tick = [100, 100, 100, 0, 1, 1 << 40][self.random.below(6) as usize];
                let lot = [1, 1, 1, 0, 10][self.random.below(5) as usize];
                let instrument = InstrumentInput {
                    symbol: if self.random.chance(1, 20) { [0; 8] } else { self.symbol() },
                    tick,
                    lot,
                    reference_price: self.number(),
                    ..known
                };
                Input::Instrument(instrument, FirmRights::new(rights).unwrap())
            }
            3 => Input::Firm { firm: self.firm(), risk: self.risk() },
            4 | 5 => {
                let session = self.session();
                let opened = opened(session % 5, "FRMA");
                Input::SessionOpened(SessionOpened { session, firm: self.firm(), ..opened })
            }
            6 => Input::SessionClosed { session: self.session(), reason: CloseReason::Timeout },
            7 => Input::Timer,
            8 => Input::SetState { symbol: self.random.chance(2, 3).then(|| self.symbol()), state },
            9 => {
                let scope = match self.random.below(3) {
                    0 => KillScope::All,
                    1 => KillScope::Firm(self.firm()),
                    _ => KillScope::Session(self.session()),
                };
                Input::KillSwitch { scope, engaged: self.random.chance(1, 2) }
            }
            10 => Input::Restriction {
                firm: self.firm(),
                symbol: self.symbol(),
                restricted: self.random.chance(1, 2),
            },
            11 => Input::SessionRisk { session: self.session(), risk: self.risk() },
            12 => Input::ReferencePrice { symbol: self.symbol(), price: self.number() },
            _ => Input::Rules(Rules {
                version: 1 + self.random.below(u64::from(Rules::VERSION)) as u16,
                session_share_percent: 1 + self.random.below(100) as u8,
            }),
        }
    }

    /// A run of messages, now and then of a session or at a sequence that is not there.
    fn messages(&mut self, core: &mut Core<Writer<SimStorage>>, now: u64) {
        let session = self.session();
        let known = core.shard.trader(session).map(|trader| trader.next_upstream);
        let number = &mut self.numbers[session as usize % 4];
        let mut blocks = Vec::new();
        let count = 1 + self.random.below(4) as u16;
        for _ in 0..count {
            *number += 1;
            let price = TEN + self.random.below(7) * 100;
            let quantity = 1 + self.random.below(30) as u32;
            let message = match self.random.below(6) {
                0 => cancel(*number - self.random.below(6).min(u64::from(*number)) as u32, 0).bytes(),
                1 => sell(*number, quantity, price).market().bytes(),
                2 | 3 => sell(*number, quantity, price).bytes(),
                4 => vec![b'?', 1, 2],
                _ => buy(*number, quantity, price).until(1 + self.random.below(90) as u32).bytes(),
            };
            blocks.extend_from_slice(&(message.len() as u16).to_be_bytes());
            blocks.extend_from_slice(&message);
        }
        let first = known.unwrap_or(1) + u64::from(self.random.chance(1, 20));
        core.messages(session, &Run::parse(first, count, &blocks).unwrap(), now);
        // It stops the engine: nothing was recorded, and the next start finds what there was.
        assert_eq!(core.failure.take().is_some(), known != Some(first));
    }

    fn step(&mut self, core: &mut Core<Writer<SimStorage>>, now: u64) {
        if self.random.chance(1, 3) {
            return self.messages(core, now);
        }
        let rights = self.rights();
        let input = self.input(&rights);
        if self.random.chance(1, 3) {
            let before = core.last;
            if core.operate(&input, now).is_err() {
                assert_eq!(core.last, before, "{input:?} was refused");
            }
        } else {
            let (before, follows) = (core.shard.state_hash(), core.shard.would_apply(&input).is_ok());
            let applied = core.input(&input, now).is_ok();
            assert_eq!(applied, follows, "{input:?}");
            assert!(applied || core.shard.state_hash() == before, "{input:?} was refused");
        }
    }
}

#[test]
fn any_sequence_of_inputs_leaves_a_journal_that_replays() {
    let mut flow = Flow { random: Random::from_environment(), numbers: [0; 4] };
    for _ in 0..ROUNDS {
        let storage = disk();
        let mut core = begin(&storage, small());
        let mut now = super::venue::START;
        flow.numbers = [0; 4];
        if flow.random.chance(3, 4) {
            core.input(&Input::Rules(rules()), now).unwrap();
        }
        for _ in 0..STEPS {
            now += flow.random.below(SECOND);
            flow.step(&mut core, now);
        }
        leads_back(&mut core, &storage);
    }
}

/// Clocks that are wrong by centuries stop nothing.
#[test]
fn the_last_second_of_all_comes_and_goes() {
    let storage = disk();
    let mut core = begin(&storage, small());
    core.input(&Input::Rules(rules()), 1).unwrap();
    core.input(&Input::Instrument(instrument("AAA", TradingState::Open), FirmRights::NONE), 1).unwrap();
    core.input(&Input::SessionOpened(opened(0, "FRMA")), 1).unwrap();
    let last = u64::from(u32::MAX) * SECOND;
    for (number, now) in (1..).zip([last - SECOND, last, last + SECOND, u64::MAX - 1, u64::MAX]) {
        let order = buy(number, 1, TEN).until(60).bytes();
        let mut block = (order.len() as u16).to_be_bytes().to_vec();
        block.extend_from_slice(&order);
        core.messages(0, &Run::parse(u64::from(number), 1, &block).unwrap(), now);
        core.input(&Input::Timer, now).unwrap();
    }
    leads_back(&mut core, &storage);
}

#[test]
fn a_login_beyond_the_table_is_refused_and_not_recorded() {
    let storage = disk();
    let mut core = begin(&storage, Genesis { max_sessions: 1, ..small() });
    core.input(&Input::SessionOpened(opened(0, "FRMA")), 1).unwrap();
    let before = core.last;
    assert!(core.input(&Input::SessionOpened(opened(1, "FRMA")), 2).is_err());
    assert_eq!((core.last, core.sessions.len()), (before, 1));
    leads_back(&mut core, &storage);
}

/// As the first versions left it: the record is there, and nothing came of it.
#[test]
fn a_journal_with_a_refused_login_in_it_starts_again() {
    let storage = disk();
    let mut core = begin(&storage, Genesis { max_sessions: 1, ..small() });
    core.input(&Input::SessionOpened(opened(0, "FRMA")), 1).unwrap();
    let input = Input::SessionOpened(opened(1, "FRMA"));
    let mut encoded = [0; MAX_ENCODED];
    let length = input.encode(&mut encoded);
    let damaged = core.log.append(kind::SESSION_OPENED, 2, &encoded[..length]).unwrap();
    core.log.append(kind::SESSION_OPENED, 3, &encoded[..length]).unwrap();
    core.input(&Input::Timer, 4).unwrap();
    let found = recovered(&storage);
    let (count, first, cause) = found.refused.unwrap();
    assert_eq!((count, first), (2, damaged));
    assert!(cause.to_string().contains("sessions"), "{cause}");
    let again = found.core.unwrap();
    assert_eq!((again.shard.sessions(), again.sessions.len()), (1, 1));
    assert_eq!(again.shard.state_hash(), core.shard.state_hash());
}

/// A record that no shard can go on from is named.
#[test]
fn what_cannot_be_gone_on_from_is_named() {
    for (genesis, what) in [
        (Genesis { max_orders: u32::MAX, ..small() }, "max_orders = 4294967295"),
        (Genesis { max_sessions: 0, ..small() }, "max_sessions = 0"),
    ] {
        let storage = disk();
        let mut reader = Reader::open(storage.clone(), SHARD, Lsn(1)).unwrap();
        assert!(reader.next().unwrap().is_none());
        let settings = JournalSettings { segment_size: SEGMENT_BYTES, ..JournalSettings::default() };
        let mut parts = assemble(storage.clone(), SHARD, reader.into_end().unwrap(), settings).unwrap();
        let mut encoded = [0; MAX_ENCODED];
        let length = Input::Genesis(genesis).encode(&mut encoded);
        parts.writer.append(kind::GENESIS, 1, &encoded[..length]).unwrap();
        let error = recover(storage, SHARD, no_sessions()).err().unwrap().to_string();
        assert!(error.contains(what) && error.contains("Lsn(1)"), "{error}");
    }
}
