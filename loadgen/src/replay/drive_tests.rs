//! A whole replay over the simulated network against the scripted engine with the naive matcher in it. Time is virtual.

use std::net::SocketAddr;

use netio::Peer;
use netio::sim::{Faults, SimNetwork};

use super::drive::{Drive, DriveError, DriveSettings, Driven};
use super::lobster::LobsterReader;
use super::matcher::{Flaw, Matcher};
use super::report::ReplayReport;
use crate::client::Credentials;
use crate::clock::Clock;
use crate::ports::PortName;
use crate::scripted::{Script, ScriptedEngine};

const SECOND_NS: u64 = 1_000_000_000;
const STEP_NS: u64 = 20_000;

#[derive(Clone)]
struct SimClock(SimNetwork);

impl Clock for SimClock {
    fn now_ns(&self) -> u64 {
        self.0.now_ns()
    }
}

/// Two makers, two sweeps, a partial cancel, a maker out of turn, a hidden execution and an unknown order.
const FILE: &str = "\
34200.1,1,1,100,5000000,1
34200.2,1,2,100,5000000,1
34200.3,1,3,50,4999900,1
34200.4,3,99,10,5000100,-1
34200.5,4,1,30,5000000,1
34200.6,2,1,20,5000000,1
34200.7,4,1,50,5000000,1
34200.7,4,2,100,5000000,1
34200.7,4,3,10,4999900,1
34200.8,5,0,5,4999950,1
34200.9,1,4,70,4999900,1
34201.0,4,4,70,4999900,1
34201.1,1,5,10,5000200,-1
";

fn replay(seed: u64, faults: Faults, flaw: Flaw, engine_answers: bool) -> Result<Driven, DriveError> {
    let network = SimNetwork::new(seed, faults);
    let at = |text: &str| text.parse::<SocketAddr>().unwrap();
    let mut engine = ScriptedEngine::new(network.open(at("10.0.0.1:1")).unwrap(), Script::default());
    engine.matcher = Some(Matcher::new(flaw));
    let port = network.open(at("10.0.0.2:1")).unwrap();
    let reader = LobsterReader::new(Box::new(FILE.as_bytes()), "test.csv".into(), *b"AAPL    ");
    let user = |name: &[u8; 6]| Credentials { username: *name, password: [b'x'; 10] };
    let settings = DriveSettings {
        connect_timeout_ns: 10 * SECOND_NS,
        answer_timeout_ns: 3 * SECOND_NS,
        events_max: u64::MAX,
        only_symbols: Vec::new(),
    };
    let accounts = [user(b"C00001"), user(b"C00002")];
    let peer = Peer::remote(at("10.0.0.1:1"));
    let mut drive = Drive::new(port, SimClock(network.clone()), reader, accounts, [peer; 2], settings);
    while !drive.is_done() {
        drive.step()?;
        if engine_answers {
            engine.step(network.now_ns());
        }
        network.advance(STEP_NS);
        assert!(network.now_ns() < 60 * SECOND_NS, "the replay does not end");
    }
    Ok(drive.finish())
}

#[test]
fn a_file_is_replayed_in_its_sequence_over_any_network() {
    for seed in 0..20 {
        let faults = if seed == 0 { Faults::none() } else { Faults::harsh() };
        let driven = replay(seed, faults, Flaw::None, true).unwrap();
        assert_eq!(driven.verifier.difference_count(), 0, "seed {seed}: {:?}", driven.verifier.differences());
        let counts = driven.flow.counts;
        assert_eq!((counts.events, counts.executions.count, counts.aggressive_orders), (13, 5, 3));
        assert_eq!((counts.hidden_executions.count, counts.unknown_deletes.count), (1, 1));
        assert_eq!((counts.out_of_turn.count, counts.requeues), (1, 1));
        assert_eq!((counts.resting_at_end.count, counts.resting_at_end.shares), (2, 50));
        assert_eq!(driven.verifier.trades_paired(), 5);
        let report = ReplayReport::new(&driven, "test.csv".into(), PortName::udp(), String::new(), false);
        assert!(report.render().contains("zero unexplained differences"));
        assert_eq!(report.compared["execution"].equal, report.compared["execution"].answers);
    }
}

#[test]
fn a_flawed_engine_is_named_row_by_row() {
    let driven = replay(1, Faults::none(), Flaw::CancelIgnoresExecuted, true).unwrap();
    assert!(driven.verifier.difference_count() > 0);
    let report = ReplayReport::new(&driven, "test.csv".into(), PortName::udp(), String::new(), false);
    let text = report.render();
    assert!(text.contains("difference: row 6, session 1 (resting)"), "{text}");
    assert!(text.contains("never came"), "{text}");
    assert!(!text.contains("zero unexplained differences"));
}

#[test]
fn an_engine_that_does_not_answer_is_named() {
    let message = replay(1, Faults::none(), Flaw::None, false).err().unwrap().to_string();
    assert!(message.contains("C00001") && message.contains("10.0.0.1:1"), "{message}");
}
