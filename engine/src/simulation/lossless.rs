//! The same scripts over a bad network and over a perfect one: every client is told the same, in the same order, once. A test of the whole
//! engine without crashes; those, and networks of all other kinds, are the world's.
//!
//! Two accounts share an instrument with nobody else and take turns: one sends some messages, and when everything that follows from them has
//! arrived at both, the other does. So what a client is told follows from its script, but for what all clients share, the clock and
//! two counters:
//! - timestamps: only their order is compared;
//! - order reference and match numbers: those of one run are those of the other by other names, one for one.

use super::broken::Broken;
use super::client::Client;
use super::engine::{Engine, PATIENCE, Setting, Sizes, StartError};
use super::flow::Flow;
use super::truth::Truth;
use crate::log::sim::Faults as DiskFaults;
use crate::log::{Durability, SimStorage};
use netio::Endpoint;
use netio::random::{Random, fresh_seed, seed_from_environment};
use netio::sim::{Faults, SimNetwork, SimStatistics};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::rc::Rc;

const SEEDS: u64 = 100;
const SYMBOLS: [[u8; 8]; 3] = [*b"AAPL    ", *b"MSFT    ", *b"NVDA    "];
const TURNS: u64 = 24;
/// Several datagrams: a client's window and the engine's parking are in use.
const MESSAGES_PER_TURN_MAX: u64 = 24;
/// Virtual time for the whole script.
const DURATION_NS_MAX: u64 = 60_000_000_000;

/// What two accounts send: of each turn, which of them and what.
type Script = Vec<(usize, Vec<Vec<u8>>)>;
/// One client's messages, in the order in which it was told them.
type Told = Vec<Vec<u8>>;

fn script(random: &mut Random, symbol: [u8; 8]) -> Script {
    let mut flows = [Flow::default(), Flow::default()];
    let turns = 0..TURNS;
    turns
        .map(|turn| {
            let who = turn as usize % 2;
            let messages = 0..random.between(1, MESSAGES_PER_TURN_MAX);
            (who, messages.map(|_| flows[who].next(random, &[symbol])).collect())
        })
        .collect()
}

/// Plays the scripts, and returns what each client was told.
fn play(
    seed: u64,
    faults: &Faults,
    scripts: &[Script],
    broken: Option<Broken>,
) -> Result<(Vec<Told>, SimStatistics), String> {
    let mut random = Random::new(seed);
    let network = SimNetwork::new(seed, faults.clone());
    let endpoint = Endpoint::from(SocketAddr::from(([10, 0, 0, 1], 26_400)));
    let durability = if seed.is_multiple_of(2) { Durability::Process } else { Durability::Disk };
    let storage = SimStorage::new(seed, durability, DiskFaults::default());
    let truth = Rc::new(RefCell::new(Truth::default()));
    let clients = 1..=scripts.len() as u8 * 2;
    let clients = clients.map(|index| Client::new(&network, endpoint, index, random.fork()));
    let mut clients = clients.collect::<Result<Vec<_>, _>>()?;
    let users: Vec<_> = clients.iter().map(|client| client.user).collect();
    let setting = Setting {
        network: &network,
        endpoint,
        storage: &storage,
        truth: &truth,
        durability,
        users: &users,
        symbols: &SYMBOLS,
        sizes: Sizes::AMPLE,
        clock_error_ns: 0,
        broken,
        seed,
    };
    let mut engine = Engine::start(&setting).map_err(|error| match error {
        StartError::Refused(error) => error.to_string(),
        StartError::Failed(what) | StartError::Untrue { what, .. } => what,
    })?;
    let mut turns = vec![0; scripts.len()];
    loop {
        network.advance(random.between(20_000, 200_000));
        let now_ns = network.now_ns();
        engine.background(8, 8, PATIENCE);
        engine.turn(now_ns, 0)?;
        truth.borrow_mut().catch_up()?;
        let truth = truth.borrow();
        let mut missing = None;
        for ((script, turn), pair) in scripts.iter().zip(&mut turns).zip(clients.chunks_mut(2)) {
            for client in pair.iter_mut() {
                client.turn(now_ns, false, &truth)?;
            }
            if let Some(what) = pair.iter().find_map(|client| client.missing(&truth)) {
                missing.get_or_insert(what);
            } else if let Some((who, messages)) = script.get(*turn) {
                messages.iter().for_each(|message| pair[*who].say(message.clone()));
                *turn += 1;
                missing.get_or_insert_with(|| format!("turn {turn} of {TURNS}"));
            }
        }
        match missing {
            None => break,
            Some(missing) if now_ns > DURATION_NS_MAX => return Err(missing),
            Some(_) => {}
        }
    }
    truth.borrow().check_book()?;
    let told = clients.iter().map(|client| client.received().to_vec()).collect();
    Ok((told, network.statistics()))
}

/// Of every message: when it was written, nanoseconds since midnight.
const TIMESTAMP: Range<usize> = 1..9;

/// Where a message has a number that all clients share (sections 3.2, 3.3 and 3.6), and which counter it is of.
fn shared_number(message: &[u8]) -> Option<(u8, Range<usize>)> {
    match message[0] {
        b'A' => Some((b'O', 36..44)),
        b'U' => Some((b'O', 40..48)),
        b'E' => Some((b'M', 26..34)),
        _ => None,
    }
}

/// Compares message by message.
fn compare(lossy: &[Told], lossless: &[Told]) -> Result<(), String> {
    let mut there = BTreeMap::new();
    let mut back = BTreeMap::new();
    for (client, (found, expected)) in lossy.iter().zip(lossless).enumerate() {
        if found.len() != expected.len() {
            return Err(format!("client {client}: {} messages, not {}", found.len(), expected.len()));
        }
        let mut last_timestamp = [0; 8];
        for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
            let complain = |what: &str| {
                Err(format!("client {client}, message {place}: {what}: {found:02x?}, not {expected:02x?}"))
            };
            let (mut plain, mut expected_plain) = (found.clone(), expected.clone());
            if found.len() != expected.len() || found[0] != expected[0] {
                return complain("another message");
            }
            if let Some((counter, range)) = shared_number(found) {
                let (one, other) = (&found[range.clone()], &expected[range.clone()]);
                if *there.entry((counter, one.to_vec())).or_insert_with(|| other.to_vec()) != other
                    || *back.entry((counter, other.to_vec())).or_insert_with(|| one.to_vec()) != one
                {
                    return complain("another number");
                }
                plain[range.clone()].fill(0);
                expected_plain[range].fill(0);
            }
            if found[TIMESTAMP] < last_timestamp[..] {
                return complain("time goes back");
            }
            last_timestamp.copy_from_slice(&found[TIMESTAMP]);
            plain[TIMESTAMP].fill(0);
            expected_plain[TIMESTAMP].fill(0);
            if plain != expected_plain {
                return complain("other contents");
            }
        }
    }
    Ok(())
}

fn seeds() -> Range<u64> {
    if let Some(seed) = seed_from_environment() {
        return seed..seed + 1;
    }
    let first = fresh_seed();
    println!("seeds from {first} on");
    first..first + SEEDS
}

/// Both runs of a seed.
fn lossy_and_lossless(
    seed: u64,
    broken: Option<Broken>,
) -> Result<(Vec<Told>, Vec<Told>, SimStatistics), String> {
    let mut random = Random::new(seed);
    let scripts = SYMBOLS.map(|symbol| script(&mut random, symbol));
    let perfect = Faults { delay_ns_min: 10_000, delay_ns_max: 50_000, ..Faults::none() };
    let (lossless, statistics) = play(seed, &perfect, &scripts, None)?;
    assert_eq!(statistics.lost + statistics.duplicated + statistics.reordered, 0, "seed {seed}");
    let (lossy, statistics) = play(seed, &Faults::harsh(), &scripts, broken)?;
    Ok((lossy, lossless, statistics))
}

/// 10% loss, 5% duplication, 10% reordering, 1% corruption.
#[test]
fn every_client_sees_over_a_bad_network_exactly_what_it_sees_over_a_perfect_one() {
    let (mut runs, mut messages, mut executions) = (0, 0, 0);
    let mut sum = SimStatistics::default();
    for seed in seeds() {
        let (lossy, lossless, statistics) =
            lossy_and_lossless(seed, None).unwrap_or_else(|what| panic!("PITLANE_SEED={seed}: {what}"));
        compare(&lossy, &lossless).unwrap_or_else(|what| panic!("PITLANE_SEED={seed}: {what}"));
        runs += 1;
        messages += lossy.iter().map(Vec::len).sum::<usize>();
        executions += lossy.iter().flatten().filter(|message| message[0] == b'E').count();
        sum.sent += statistics.sent;
        sum.lost += statistics.lost;
        sum.duplicated += statistics.duplicated;
        sum.reordered += statistics.reordered;
        sum.corrupted_detected += statistics.corrupted_detected;
    }
    println!("{runs} seeds, {messages} messages, {executions} executions: {sum:?}");
    // The network was as bad as it says, and there was something to lose.
    let sent = sum.sent as f64;
    for (found, share) in
        [(sum.lost, 0.10), (sum.duplicated, 0.05), (sum.reordered, 0.10), (sum.corrupted_detected, 0.01)]
    {
        // A fifth, as one fault hides another, and eight standard deviations, which no seed leaves.
        let expected = share * sent;
        let tolerance = 0.2 * expected + 8.0 * (expected * (1.0 - share)).sqrt();
        assert!((found as f64 - expected).abs() < tolerance, "{found} of {sent}, not {expected}");
    }
    // At least the turns of each script: a message each, and an answer to it.
    assert!(messages >= runs * SYMBOLS.len() * TURNS as usize && executions > 0, "{messages}, {executions}");
}

#[test]
fn an_engine_that_takes_duplicates_does_not_get_through() {
    for seed in 0..5 {
        assert!(lossy_and_lossless(seed, Some(Broken::DropDedupe)).is_err(), "seed {seed}");
    }
}

#[test]
fn a_message_that_differs_is_missing_or_comes_twice_is_noticed() {
    let (lossy, lossless, _) = lossy_and_lossless(1, None).unwrap_or_else(|what| panic!("{what}"));
    for spoil in [
        |told: &mut Told| drop(told.remove(40)),
        |told: &mut Told| told.insert(40, told[39].clone()),
        |told: &mut Told| told.swap(40, 41),
        |told: &mut Told| told[40][9] ^= 1,
    ] {
        let mut lossy = lossy.clone();
        spoil(&mut lossy[2]);
        assert!(compare(&lossy, &lossless).is_err());
    }
}
