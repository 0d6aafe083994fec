//! A shard's journal and snapshot as the first version wrote them, every kind of input among them: they lead to the state and the messages that
//! they led to then. The files' framing by itself is `journal_inspect`'s.
#![allow(clippy::unwrap_used)] // Its helpers panic as the tests do.

use super::ask::{Request, TEN, alpha, buy, cancel, modify, replace, sell};
use book::TradingState;
use engine::config::RiskConfig;
use engine::core::Core;
use engine::history::recovery::recover;
use engine::history::replica::Replica;
use engine::inputs::{
    CloseReason, FirmRights, Genesis, Input, InstrumentInput, KillScope, MAX_ENCODED, SessionOpened, kind,
};
use engine::log::reopen::assemble;
use engine::log::sim::Faults;
use engine::log::{Durability, FileStorage, JournalSettings, Lsn, Reader, SimStorage, Storage};
use engine::session::Sessions;
use engine::shard::{Shard, state_hash};
use std::path::Path;
use streams::Run;

/// Made by `PITLANE_WRITE_FIXTURES=1 cargo test -p pitlane --test shard_semantics version_1` with the first version; not to be made anew: a
/// later format gets a directory of its own, and this one has to stay readable.
const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/shard-v1");
const SHARD: u32 = 1;
const NOON_NS: u64 = 1_767_787_200_000_000_000;
/// Where the snapshot was taken.
const SNAPSHOT: Lsn = Lsn(12);
const LAST: Lsn = Lsn(26);
/// Hashes of the state at the end, and of all messages to the sessions, one after the other.
const STATE: u64 = 0xe348_82de_d867_72e4;
const MESSAGES: u64 = 0x920c_7524_e20a_f75e;

fn sessions() -> Sessions {
    Sessions::new(1 << 16, Durability::Process)
}

#[test]
fn a_shard_that_version_1_wrote_is_recovered() {
    if std::env::var_os("PITLANE_WRITE_FIXTURES").is_some() {
        write_fixture();
    }
    let files = FileStorage::read_only(Path::new(FIXTURE));
    let recovered = recover(files.clone(), SHARD, sessions()).unwrap();
    assert_eq!((recovered.snapshot, recovered.end.last), (SNAPSHOT, LAST));
    assert_eq!(recovered.records_replayed, LAST.0 - SNAPSHOT.0);
    assert_eq!(format!("{:#018x}", recovered.core.unwrap().shard.state_hash()), format!("{STATE:#018x}"));
    // Without the snapshot, every message comes of it once more.
    let journal = SimStorage::new(1, Durability::Process, Faults::default());
    for name in files.list().unwrap().iter().filter(|name| name.ends_with(".seg")) {
        journal.put(name, std::fs::read(Path::new(FIXTURE).join(name)).unwrap());
    }
    let recovered = recover(journal, SHARD, sessions()).unwrap();
    assert_eq!((recovered.snapshot, recovered.records_replayed), (Lsn(0), LAST.0));
    let core = recovered.core.unwrap();
    let mut told = Vec::new();
    for session in 0..core.sessions.len() {
        let stream = &core.sessions[session as u32].downstream.stream;
        for sequence in stream.first()..stream.next() {
            told.extend_from_slice(stream.message(sequence).unwrap());
        }
    }
    let found = [core.shard.state_hash(), state_hash(&told)].map(|hash| format!("{hash:#018x}"));
    assert_eq!(found, [STATE, MESSAGES].map(|hash| format!("{hash:#018x}")));
}

/// Sessions and the messages they bring, and every other kind of input.
enum Step {
    Input(Input<'static>),
    Messages(u32, Vec<Vec<u8>>),
}

fn steps() -> Vec<Step> {
    let firm: [u8; 4] = alpha("FIRM");
    let instrument = |symbol, state| {
        Step::Input(Input::Instrument(
            InstrumentInput {
                symbol: alpha(symbol),
                tick: 100,
                lot: 1,
                max_quantity: 10_000,
                reference_price: TEN,
                collar_basis_points: 5_000,
                state,
            },
            FirmRights::NONE,
        ))
    };
    let opened = |session: u32, cancel_on_disconnect| {
        Step::Input(Input::SessionOpened(SessionOpened {
            session,
            user: alpha(&format!("C0000{session}")),
            firm,
            name: alpha(&format!("DSESSION0{session}")),
            cancel_on_disconnect,
            drop_copy: session == 2,
            risk: RiskConfig::default(),
        }))
    };
    let limited = RiskConfig { max_order_quantity: 500, max_open_orders: 50, ..RiskConfig::default() };
    vec![
        Step::Input(Input::Firm { firm, risk: RiskConfig::default() }),
        instrument("AAA", TradingState::Open),
        instrument("BBB", TradingState::PreOpen),
        opened(0, true),
        opened(1, false),
        opened(2, false),
        Step::Messages(
            0,
            vec![
                buy(1, 300, TEN).bytes(),
                buy(2, 200, TEN).hidden().bytes(),
                buy(3, 400, TEN - 100).shows(100).bytes(),
                buy(4, 100, TEN - 200).until(60_000).bytes(),
                buy(5, 100, TEN + 100).post_only().group(7).bytes(),
            ],
        ),
        Step::Messages(1, vec![sell(1, 350, TEN).bytes(), sell(2, 50, TEN + 300).aiq(*b"Q1", b'N').bytes()]),
        Step::Messages(0, vec![cancel(1, 10), replace(3, 6, 350, TEN).shows(50).bytes()]),
        Step::Input(Input::SessionRisk { session: 1, risk: limited }),
        Step::Messages(
            1,
            vec![sell(3, 600, TEN).bytes(), sell(4, 200, TEN).immediate().minimum(100).bytes()],
        ),
        Step::Input(Input::ReferencePrice { symbol: alpha("BBB"), price: 2 * TEN }),
        Step::Messages(0, vec![buy(7, 100, TEN).of("BBB").cross(b'O').bytes(), vec![b'?', 1, 2, 3]]),
        Step::Messages(1, vec![sell(5, 80, TEN).of("BBB").cross(b'O').bytes()]),
        Step::Input(Input::SetState { symbol: Some(alpha("BBB")), state: TradingState::Open }),
        Step::Messages(0, vec![modify(2, b'B', 100), buy(8, 10, TEN + 300).bytes()]),
        Step::Input(Input::Restriction { firm, symbol: alpha("BBB"), restricted: true }),
        Step::Messages(1, vec![sell(6, 10, TEN).of("BBB").bytes()]),
        Step::Input(Input::KillSwitch { scope: KillScope::Session(1), engaged: true }),
        Step::Messages(1, vec![sell(7, 10, TEN).bytes()]),
        Step::Input(Input::KillSwitch { scope: KillScope::Session(1), engaged: false }),
        Step::Input(Input::SetState { symbol: None, state: TradingState::Halted }),
        Step::Input(Input::SetState { symbol: None, state: TradingState::Open }),
        Step::Input(Input::Timer),
        Step::Input(Input::SessionClosed { session: 0, reason: CloseReason::Timeout }),
    ]
}

fn write_fixture() {
    let directory = Path::new(FIXTURE);
    let _ = std::fs::remove_dir_all(directory);
    let storage = FileStorage::open(directory, SHARD, Durability::Process).unwrap();
    let mut reader = Reader::open(storage.clone(), SHARD, Lsn(1)).unwrap();
    assert!(reader.next().unwrap().is_none());
    let settings = JournalSettings { segment_size: 8192, ..JournalSettings::default() };
    let mut parts = assemble(storage.clone(), SHARD, reader.into_end().unwrap(), settings).unwrap();
    let genesis = Genesis {
        shard: SHARD as u16,
        utc_offset_seconds: -18_000,
        max_orders: 64,
        max_price_levels: 64,
        max_sessions: 4,
        max_instruments: 4,
        feed_session: *b"FSHARD0001",
    };
    let mut encoded = [0; MAX_ENCODED];
    let length = Input::Genesis(genesis).encode(&mut encoded);
    let last = parts.writer.append(kind::GENESIS, NOON_NS, &encoded[..length]).unwrap();
    let log = parts.writer;
    let mut core = Core { shard: Shard::new(genesis), sessions: sessions(), log, last, failure: None };
    let mut next = [1; 3];
    for (step, timestamp_ns) in steps().iter().zip((NOON_NS..).step_by(1_000_000_007)) {
        match step {
            Step::Input(input) => core.input(input, timestamp_ns).unwrap(),
            Step::Messages(session, messages) => {
                let mut blocks = Vec::new();
                for message in messages {
                    blocks.extend_from_slice(&(message.len() as u16).to_be_bytes());
                    blocks.extend_from_slice(message);
                }
                let (next, count) = (&mut next[*session as usize], messages.len() as u16);
                core.messages(*session, &Run::parse(*next, count, &blocks).unwrap(), timestamp_ns);
                *next += u64::from(count);
            }
        }
        assert!(core.failure.is_none());
        if core.last == SNAPSHOT {
            parts.syncer.finish().unwrap();
            let mut replica = Replica::open(storage.clone(), SHARD, SNAPSHOT, |_| true).unwrap();
            replica.advance(SNAPSHOT, &mut (), |()| false).unwrap();
            assert!(replica.write_snapshot().unwrap().is_some());
        }
    }
    assert_eq!(core.last, LAST);
    parts.syncer.finish().unwrap();
    drop((core, parts.preparer, parts.syncer, storage));
    std::fs::remove_file(directory.join(format!("journal-{SHARD:03}.lock"))).unwrap();
}
