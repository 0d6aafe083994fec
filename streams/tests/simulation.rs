//! Two ends of a session against each other on a bad simulated network: everything arrives, once, in order, in bounded memory.
//!
//! `PITLANE_SEED=n` runs that seed alone. The controls at the end show that the network is bad enough for the test to mean something.
#![allow(clippy::unwrap_used)] // The helpers of tests, which clippy does not see as tests.

use std::net::SocketAddr;

use netio::random::{Random, seed_from_environment};
use netio::sim::{Faults, SimNetwork, SimPort};
use netio::{Endpoint, Peer, Port};
use streams::{Duplex, Event, ParkingPool, ReceiveConfig, RequestOutcome, SendConfig, SessionName, classify};
use wire::moldudp64::{HEADER_LENGTH, Header};

const ENGINE_NAME: SessionName = *b"DQ7RT2M9KX";
const CLIENT_NAME: SessionName = *b"UQ7RT2M9KX";

const MESSAGES: u64 = 2_000;
/// Virtual time in which a run must be done.
const PATIENCE_NS: u64 = 60_000_000_000;
const POOL_SLOTS: u32 = 300;

/// What is broken on purpose.
#[derive(Clone, Copy, PartialEq)]
enum Sabotage {
    Nothing,
    /// Gap requests never leave.
    NoRequests,
    /// Acknowledgements never leave.
    NoAcknowledgements,
    /// Whatever arrives is delivered, as if there were no receiving stream.
    NaiveReceiver,
}

struct End {
    port: SimPort,
    peer: Peer,
    session: Duplex,
    pool: ParkingPool,
    random: Random,
    push_at: u64,
    delivered: Vec<u64>,
    parked_max: u32,
    sabotage: Sabotage,
}

/// Message `sequence` of a stream: its length and bytes follow from its name and number.
fn message(name: &SessionName, sequence: u64) -> Vec<u8> {
    let mut random = Random::new(sequence ^ u64::from(name[0]) << 32);
    let mut bytes = vec![0; random.between(0, 120) as usize];
    random.fill(&mut bytes);
    bytes
}

impl End {
    fn new(network: &SimNetwork, local: Endpoint, remote: Endpoint, session: Duplex, random: Random) -> Self {
        End {
            port: network.open(local).unwrap(),
            peer: Peer::remote(remote),
            session,
            pool: ParkingPool::new(POOL_SLOTS, 1452),
            random,
            push_at: 0,
            delivered: vec![],
            parked_max: 0,
            sabotage: Sabotage::Nothing,
        }
    }

    fn receive(&mut self, now: u64) {
        loop {
            let count = self.port.receive().unwrap();
            if count == 0 {
                return;
            }
            for index in 0..count {
                let payload = self.port.datagram(index).1;
                let peer_name = *self.session.receive.session();
                let delivered = &mut self.delivered;
                if self.sabotage == Sabotage::NaiveReceiver {
                    let header = Header::read(payload).unwrap();
                    if header.session == peer_name && header.count > 0 {
                        delivered.extend(header.sequence..header.sequence + u64::from(header.count));
                        continue;
                    }
                }
                let event = self.session.on_datagram(payload, now, &mut self.pool, |run| {
                    for (sequence, bytes) in run.messages() {
                        assert_eq!(bytes, message(&peer_name, sequence), "message {sequence}");
                        delivered.push(sequence);
                    }
                });
                assert!(
                    !matches!(
                        event,
                        Event::Foreign | Event::Malformed | Event::Requested(RequestOutcome::TooOld { .. })
                    ),
                    "{event:?}"
                );
                self.parked_max = self.parked_max.max(self.session.receive.parked());
                assert_eq!(self.pool.free() + self.session.receive.parked(), POOL_SLOTS);
            }
        }
    }

    fn push(&mut self, now: u64) {
        while now >= self.push_at {
            self.push_at = now + self.random.between(1_000, 40_000);
            for _ in 0..self.random.between(1, 8) {
                let sequence = self.session.send.next();
                if sequence > MESSAGES || self.session.send.unacknowledged() >= 1_000 {
                    break;
                }
                let bytes = message(self.session.send.session(), sequence);
                let pushed = self.session.send.push(bytes.len(), |out| {
                    out.copy_from_slice(&bytes);
                    bytes.len()
                });
                match pushed {
                    Ok(pushed) => assert_eq!(pushed, sequence),
                    Err(_) => break,
                }
            }
        }
    }

    fn transmit(&mut self, now: u64) {
        if self.session.next_deadline() <= now {
            self.session.on_timer(now);
        }
        while self.session.wants_to_send(u64::MAX) {
            let (session, pool, sabotage) = (&mut self.session, &self.pool, self.sabotage);
            let mut length = 0;
            let sent = self.port.send(&self.peer, |out| {
                length = session.pack(now, u64::MAX, pool, out).unwrap_or(0);
                if length == HEADER_LENGTH {
                    let header = Header::read(out).unwrap();
                    use streams::Kind;
                    // Seen with the peer's eyes.
                    let (own, peer) = (session.receive.session(), session.send.session());
                    match classify(&header, length, own, peer) {
                        Kind::Request if sabotage == Sabotage::NoRequests => return 0,
                        Kind::Acknowledgement if sabotage == Sabotage::NoAcknowledgements => return 0,
                        _ => {}
                    }
                }
                length
            });
            if sent.is_err() || length == 0 {
                break;
            }
        }
        self.port.flush().unwrap();
    }

    fn next_event(&self) -> u64 {
        let push_at = if self.session.send.next() > MESSAGES { u64::MAX } else { self.push_at };
        push_at.min(self.session.next_deadline())
    }

    fn is_done(&self) -> bool {
        self.session.send.acked() > MESSAGES && self.session.receive.next() > MESSAGES
    }
}

struct Outcome {
    ends: [End; 2],
    finished: bool,
    now: u64,
}

fn simulate(seed: u64, faults: Faults, receive: ReceiveConfig, sabotage: Sabotage) -> Outcome {
    simulate_with(seed, faults, receive, SendConfig::client(), sabotage)
}

fn simulate_with(
    seed: u64,
    faults: Faults,
    receive: ReceiveConfig,
    client_send: SendConfig,
    sabotage: Sabotage,
) -> Outcome {
    let mut random = Random::new(seed);
    let network = SimNetwork::new(random.next_u64(), faults);
    let [engine, client] = [1, 2].map(|last| Endpoint::from(SocketAddr::from(([10, 0, 0, last], 9_000))));
    let sessions = [
        Duplex::new((SendConfig::engine(), ENGINE_NAME, 1), (receive.clone(), CLIENT_NAME, 1), 0),
        Duplex::new((client_send, CLIENT_NAME, 1), (receive, ENGINE_NAME, 1), 0),
    ];
    let [engine_session, client_session] = sessions;
    let mut ends = [
        End::new(&network, engine, client, engine_session, random.fork()),
        End::new(&network, client, engine, client_session, random.fork()),
    ];
    for end in &mut ends {
        end.sabotage = sabotage;
    }
    loop {
        let now = network.now_ns();
        for end in &mut ends {
            end.receive(now);
            end.push(now);
            end.transmit(now);
        }
        let finished = ends.iter().all(End::is_done);
        if finished || now > PATIENCE_NS {
            return Outcome { ends, finished, now };
        }
        let next = ends
            .iter()
            .map(End::next_event)
            .min()
            .unwrap()
            .min(network.next_arrival_ns().unwrap_or(u64::MAX));
        // At least a nanosecond, so that a refused datagram is tried again later and not for ever at once.
        network.advance_to(next.max(now + 1));
    }
}

fn seeds(count: u64) -> Vec<u64> {
    seed_from_environment().map_or_else(|| (1..=count).collect(), |seed| vec![seed])
}

fn assert_exactly_once_in_order(seed: u64, outcome: &Outcome) {
    assert!(outcome.finished, "PITLANE_SEED={seed}: not done in time");
    for end in &outcome.ends {
        assert!(end.delivered.iter().copied().eq(1..=MESSAGES), "PITLANE_SEED={seed}");
        assert_eq!(end.pool.free(), POOL_SLOTS, "PITLANE_SEED={seed}: everything parked was freed");
        assert!(end.parked_max <= ReceiveConfig::default().parked_datagrams_max, "PITLANE_SEED={seed}");
    }
}

#[test]
fn both_streams_arrive_once_and_in_order_over_a_harsh_network() {
    let mut parked = 0;
    for seed in seeds(100) {
        let outcome = simulate(seed, Faults::harsh(), ReceiveConfig::default(), Sabotage::Nothing);
        assert_exactly_once_in_order(seed, &outcome);
        parked = parked.max(outcome.ends[0].parked_max).max(outcome.ends[1].parked_max);
    }
    assert!(parked > 1, "the network reordered");
}

#[test]
fn both_streams_arrive_over_a_network_that_is_nearly_down_and_refuses_to_send() {
    let faults = Faults { loss: 0.5, transmit_full: 0.2, ..Faults::harsh() };
    for seed in seeds(10) {
        let outcome = simulate(seed, faults.clone(), ReceiveConfig::default(), Sabotage::Nothing);
        assert_exactly_once_in_order(seed, &outcome);
    }
}

#[test]
fn both_streams_arrive_when_hardly_anything_can_be_parked() {
    let receive = ReceiveConfig { parked_datagrams_max: 1, ..ReceiveConfig::default() };
    for seed in seeds(10) {
        let outcome = simulate(seed, Faults::harsh(), receive.clone(), Sabotage::Nothing);
        assert_exactly_once_in_order(seed, &outcome);
    }
}

#[test]
fn a_perfect_network_needs_no_request_and_no_repetition() {
    let faults = Faults { delay_ns_min: 20_000, delay_ns_max: 20_000, ..Faults::none() };
    let outcome = simulate(1, faults, ReceiveConfig::default(), Sabotage::Nothing);
    assert_exactly_once_in_order(1, &outcome);
    for end in &outcome.ends {
        assert_eq!(end.session.receive.statistics().requests_sent, 0);
        assert_eq!(end.session.receive.statistics().duplicates, 0);
        assert_eq!(end.session.send.statistics().retransmitted_datagrams, 0);
        assert_eq!(end.session.send.statistics().probes, 0);
    }
}

/// One way, from a neighbour to the other side of the world.
const DELAYS_NS: [u64; 6] = [100_000, 1_000_000, 5_000_000, 20_000_000, 100_000_000, 500_000_000];

fn delayed(delay_ns: u64) -> Faults {
    Faults { delay_ns_min: delay_ns, delay_ns_max: delay_ns + delay_ns / 5, ..Faults::none() }
}

/// Datagrams that the client sends again on a path that loses nothing.
fn needless(seed: u64, delay_ns: u64, client_send: SendConfig) -> u64 {
    let outcome =
        simulate_with(seed, delayed(delay_ns), ReceiveConfig::default(), client_send, Sabotage::Nothing);
    assert_exactly_once_in_order(seed, &outcome);
    let sent = outcome.ends[1].session.send.statistics();
    sent.retransmitted_datagrams + sent.probes
}

#[test]
fn on_a_path_that_loses_nothing_hardly_anything_is_sent_twice_however_long_it_is() {
    for seed in seeds(5) {
        for delay_ns in DELAYS_NS {
            let needless = needless(seed, delay_ns, SendConfig::client());
            // Before the first acknowledgement comes nobody knows how long it takes: doubling from 20 ms to a second are six.
            assert!(needless <= 8, "PITLANE_SEED={seed}: {needless} sent twice with {delay_ns} ns one way");
        }
    }
}

/// Control: a timer that does not adapt sends everything again and again on a path longer than itself.
#[test]
fn with_a_fixed_timer_a_long_path_means_a_storm() {
    let fixed = SendConfig {
        probe_timeout_ns_initial: 5_000_000,
        probe_delay_ns: 0,
        probe_timeout_ns_max: 5_000_000,
        ..SendConfig::client()
    };
    let needless = needless(1, 500_000_000, fixed);
    assert!(needless > 100, "{needless}");
}

#[test]
fn both_streams_arrive_over_every_path_that_loses_in_bursts() {
    for seed in seeds(10) {
        for delay_ns in DELAYS_NS {
            let faults = Faults { loss: 0.01, loss_burst_max: 20, ..delayed(delay_ns) };
            let outcome = simulate(seed, faults, ReceiveConfig::default(), Sabotage::Nothing);
            assert_exactly_once_in_order(seed, &outcome);
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let [one, two] =
        [(); 2].map(|()| simulate(5, Faults::harsh(), ReceiveConfig::default(), Sabotage::Nothing));
    assert_eq!(one.now, two.now);
    for (one, two) in one.ends.iter().zip(&two.ends) {
        assert_eq!(one.session.send.statistics(), two.session.send.statistics());
        assert_eq!(one.session.receive.statistics(), two.session.receive.statistics());
    }
}

/// Control: without requests the engine's stream, which probes by heartbeat only, can never close a gap.
#[test]
fn without_gap_requests_the_run_never_ends() {
    let outcome = simulate(1, Faults::harsh(), ReceiveConfig::default(), Sabotage::NoRequests);
    assert!(!outcome.finished);
}

/// Control: without acknowledgements the client's window closes.
#[test]
fn without_acknowledgements_the_run_never_ends() {
    let outcome = simulate(1, Faults::harsh(), ReceiveConfig::default(), Sabotage::NoAcknowledgements);
    assert!(!outcome.finished);
}

/// Control: what the network delivers is neither complete, nor in order, nor free of duplicates.
#[test]
fn without_a_receiving_stream_messages_come_twice_and_out_of_order() {
    let outcome = simulate(1, Faults::harsh(), ReceiveConfig::default(), Sabotage::NaiveReceiver);
    let delivered = &outcome.ends[0].delivered;
    assert!(delivered.windows(2).any(|pair| pair[1] < pair[0]));
    let mut unique = delivered.clone();
    unique.sort_unstable();
    unique.dedup();
    assert!(unique.len() < delivered.len());
}

/// Whatever an authenticated peer sends, what is delivered stays contiguous and memory stays bounded.
#[test]
fn random_datagrams_never_break_order_or_bounds() {
    for seed in seeds(50) {
        let mut random = Random::new(seed);
        let mut session = Duplex::new(
            (SendConfig::client(), CLIENT_NAME, 1),
            (ReceiveConfig::default(), ENGINE_NAME, 1),
            0,
        );
        let mut pool = ParkingPool::new(8, 200);
        let mut next = 1;
        let mut out = [0; 1472];
        for step in 0..2_000u64 {
            let mut payload = vec![0; random.between(0, 300) as usize];
            random.fill(&mut payload);
            if payload.len() >= HEADER_LENGTH && random.chance(0.95) {
                let sequence =
                    if random.chance(0.9) { random.between(0, next + 40) } else { random.next_u64() };
                let count =
                    if random.chance(0.9) { random.below(12) as u16 } else { random.next_u32() as u16 };
                let session = *random.pick(&[ENGINE_NAME, ENGINE_NAME, CLIENT_NAME]).unwrap();
                Header { session, sequence, count }.write(&mut payload);
                if random.chance(0.7) {
                    // Blocks that fit their count.
                    payload.truncate(HEADER_LENGTH);
                    for _ in 0..count.min(100) {
                        let length = random.below(10) as u16;
                        payload.extend_from_slice(&length.to_be_bytes());
                        payload.resize(payload.len() + usize::from(length), 7);
                    }
                }
            }
            let now = step * 50_000;
            session.on_datagram(&payload, now, &mut pool, |run| {
                for (sequence, _) in run.messages() {
                    assert_eq!(sequence, next, "PITLANE_SEED={seed}");
                    next += 1;
                }
            });
            let _ = session.send.push(5, |_| 5);
            session.on_timer(now);
            for _ in 0..100 {
                if session.pack(now, u64::MAX, &pool, &mut out).is_none() {
                    break;
                }
            }
            assert_eq!(pool.free() + session.receive.parked(), 8, "PITLANE_SEED={seed}");
        }
        assert!(next > 1, "PITLANE_SEED={seed}: something was delivered");
    }
}
