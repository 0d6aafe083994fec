//! A worker against the scripted engine over the simulated network: delivery, accounting, stalls, reconnection. Time is virtual.

use std::net::SocketAddr;

use crossbeam_utils::CachePadded;
use netio::sim::{Faults, SimNetwork, SimPort};
use netio::{Endpoint, Peer, Port, PortError, PortStatistics, TransmitFull};
use streams::{ReceiveConfig, SendConfig};

use crate::account::Account;
use crate::client::{Client, Credentials};
use crate::clock::Clock;
use crate::coordination::{Coordination, Gauge, WorkerError, WorkerSettings};
use crate::judge::{Limits, Times, judge};
use crate::mix::{Mix, MixSettings};
use crate::pace::{Arrivals, Pace};
use crate::participant::Participant;
use crate::report::assemble::{Outcome, fill};
use crate::report::{Report, SCHEMA_VERSION};
use crate::scripted::{Script, ScriptedEngine};
use crate::verdict::Cause;
use crate::worker::{Finished, Phase, Worker};

const MILLISECOND_NS: u64 = 1_000_000;
const ENGINE: &str = "10.0.0.1:26000";
const STEP_NS: u64 = 5_000;

#[derive(Clone)]
struct SimClock(SimNetwork);

impl Clock for SimClock {
    fn now_ns(&self) -> u64 {
        self.0.now_ns()
    }
}

fn settings(pace: Pace) -> WorkerSettings {
    WorkerSettings {
        pace,
        orders_per_datagram: u32::MAX,
        warmup_ns: 5 * MILLISECOND_NS,
        duration_ns: 50 * MILLISECOND_NS,
        orders_max: u64::MAX,
        drain_ns: 3000 * MILLISECOND_NS,
        silence_ns: 5000 * MILLISECOND_NS,
        reconnect: false,
        connect_timeout_ns: 10_000 * MILLISECOND_NS,
        cancel_open: true,
        seed: 1,
        worker: 0,
        workers: 1,
    }
}

fn participants(count: usize, pace: Pace, mix: &MixSettings) -> Vec<(u16, Participant)> {
    let peer = Peer::remote(ENGINE.parse::<SocketAddr>().unwrap());
    (0..count)
        .map(|index| {
            let username = crate::credentials::numbered("C", index + 1, 1, "x").unwrap()[0].username;
            let credentials = Credentials { username, password: [b'x'; 10] };
            let client = Client::new(credentials, peer, SendConfig::client(), ReceiveConfig::default());
            let in_flight = match pace {
                Pace::Closed { window } => window,
                _ => 4096,
            };
            let account = Account::new(in_flight, mix.open_orders_max, 3);
            let symbols = vec![*b"DEMO    "].into_boxed_slice();
            (0, Participant::new(client, account, Mix::new(mix, index as u64, 1), symbols))
        })
        .collect()
}

/// A run in virtual time. `between` is called before every step, with the time since the start of the trading.
struct Simulation {
    seed: u64,
    faults: Faults,
    script: Script,
    clients: usize,
    settings: WorkerSettings,
    mix: MixSettings,
}

impl Simulation {
    fn new(pace: Pace) -> Self {
        Simulation {
            seed: 1,
            faults: Faults { delay_ns_min: 10_000, delay_ns_max: 10_000, ..Faults::none() },
            script: Script::default(),
            clients: 3,
            settings: settings(pace),
            mix: MixSettings { open_orders_max: 16, ..MixSettings::default() },
        }
    }

    fn run(
        &self,
        mut engine_runs: impl FnMut(u64) -> bool,
    ) -> (Result<Finished, WorkerError>, ScriptedEngine<SimPort>) {
        let network = SimNetwork::new(self.seed, self.faults.clone());
        let mut engine =
            ScriptedEngine::new(network.open(ENGINE.parse::<SocketAddr>().unwrap()).unwrap(), self.script);
        let port = network.open("10.0.0.2:1".parse::<SocketAddr>().unwrap()).unwrap();
        let (coordination, gauge) = (Coordination::default(), CachePadded::new(Gauge::default()));
        let participants = participants(self.clients, self.settings.pace, &self.mix);
        let clock = SimClock(network.clone());
        let mut worker = Worker::new(port, clock, self.settings.clone(), &coordination, &gauge, participants);
        let mut started_ns = None;
        loop {
            if let Err(error) = worker.step() {
                return (worker.give_up(error), engine);
            }
            if worker.phase() == Phase::Waiting && started_ns.is_none() {
                let start_ns = network.now_ns() + MILLISECOND_NS;
                coordination.start_ns.store(start_ns, std::sync::atomic::Ordering::Relaxed);
                started_ns = Some(start_ns);
            }
            let since_ns = started_ns.map_or(0, |start_ns| network.now_ns().saturating_sub(start_ns));
            if engine_runs(since_ns) {
                engine.step(network.now_ns());
            }
            if worker.phase() == Phase::Done {
                break;
            }
            assert!(network.now_ns() < 60_000 * MILLISECOND_NS, "the run does not end");
            network.advance(STEP_NS);
        }
        // What was sent last is still under way.
        network.advance(MILLISECOND_NS);
        engine.step(network.now_ns());
        (Ok(worker.finish(None)), engine)
    }

    fn report(&self) -> (Report, ScriptedEngine<SimPort>) {
        let (finished, engine) = self.run(|_| true);
        (report(finished), engine)
    }
}

fn report(finished: Result<Finished, WorkerError>) -> Report {
    let mut report = Report::default();
    let mut outcome = Outcome::collect(vec![finished.unwrap_or_else(|error| panic!("{error}"))]);
    fill(&mut report, &mut outcome);
    report.verdict = judge(&report, &Times::of(&mut outcome.measurements), &Limits::default());
    report
}

#[test]
fn every_order_is_answered_once_and_the_books_are_left_empty() {
    let simulation = Simulation::new(Pace::Closed { window: 8 });
    let (report, engine) = simulation.report();
    assert!(report.is_clean(), "{report:?}");
    assert!(report.orders > 5_000, "{} orders", report.orders);
    assert_eq!((report.answered, report.success_rate), (report.orders, 1.0));
    assert_eq!((report.clients, report.per_client.len()), (3, 3));
    assert!(report.requests.iter().all(|request| request.sent > 100 && request.sent == request.answered));
    // 10 us each way, and a step of the simulation at either end.
    assert!((20_000..40_000).contains(&report.latency_ns.median), "{}", report.latency_ns.median);
    assert_eq!((engine.open_orders(), engine.logouts), (0, 3));
}

#[test]
fn a_harsh_network_changes_nothing_but_the_time() {
    let seed = std::env::var("PITLANE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(77);
    // What the network does to one short run is chance; to ten it is certain.
    let (mut repeated, mut doubled) = (0, 0);
    for seed in seed..seed + 10 {
        println!("PITLANE_SEED={seed}");
        let mut simulation = Simulation::new(Pace::Closed { window: 16 });
        simulation.seed = seed;
        simulation.faults = Faults::harsh();
        let (report, engine) = simulation.report();
        assert!(report.is_clean(), "{report:?}");
        assert!(report.orders > 300, "{} orders", report.orders);
        assert_eq!(report.answered, report.orders);
        repeated += report.transport.retransmitted_messages;
        doubled += report.transport.duplicate_datagrams;
        assert_eq!(engine.open_orders(), 0);
    }
    assert!(repeated > 0 && doubled > 0, "{repeated} retransmitted, {doubled} doubled");
}

#[test]
fn latency_of_an_open_loop_counts_a_stall_of_the_engine_for_every_order_it_delayed() {
    let mut simulation = Simulation::new(Pace::Open(Arrivals { rate: 20_000.0, burst: 1, poisson: false }));
    simulation.settings.duration_ns = 100 * MILLISECOND_NS;
    let stalled = |since_ns| !(30 * MILLISECOND_NS..50 * MILLISECOND_NS).contains(&since_ns);
    let report = report(simulation.run(stalled).0);
    assert!(report.is_clean(), "{report:?}");
    assert!((report.orders as i64 - 2000).abs() <= 1, "the rate was kept: {}", report.orders);
    // 20 of 100 ms stood still: a fifth of the orders waited, evenly between 0 and 20 ms.
    let latency = report.latency_ns;
    assert!(latency.max > 19 * MILLISECOND_NS && latency.max < 22 * MILLISECOND_NS, "{latency:?}");
    assert!(latency.p90 > 9 * MILLISECOND_NS && latency.p90 < 12 * MILLISECOND_NS, "{latency:?}");
    assert!(latency.median < MILLISECOND_NS, "{latency:?}");
    assert_eq!(report.generator.stalls.late_orders, 0);
}

#[test]
fn a_burst_of_an_open_loop_is_one_client_s_and_leaves_as_one_datagram() {
    let mut simulation = Simulation::new(Pace::Open(Arrivals { rate: 24_000.0, burst: 8, poisson: false }));
    simulation.settings.cancel_open = false;
    let (finished, _) = simulation.run(|_| true);
    let report = report(finished);
    assert!(report.is_clean(), "{report:?}");
    assert!((report.orders as i64 - 1200).abs() <= 8, "the rate was kept: {}", report.orders);
    // The logins' datagrams and acknowledgements have no orders.
    let per_datagram = report.transport.messages_per_datagram;
    assert!(per_datagram > 5.0, "{per_datagram} orders a datagram, not 8 less what carries none");
}

#[test]
fn a_stall_of_the_generator_is_measured_from_the_intended_times_and_reported_as_its_own() {
    let simulation = Simulation::new(Pace::Open(Arrivals { rate: 20_000.0, burst: 1, poisson: false }));
    let network = SimNetwork::new(1, simulation.faults.clone());
    let mut engine =
        ScriptedEngine::new(network.open(ENGINE.parse::<SocketAddr>().unwrap()).unwrap(), Script::default());
    let port = network.open("10.0.0.2:1".parse::<SocketAddr>().unwrap()).unwrap();
    let (coordination, gauge) = (Coordination::default(), CachePadded::new(Gauge::default()));
    let participants = participants(1, simulation.settings.pace, &simulation.mix);
    let clock = SimClock(network.clone());
    let mut worker =
        Worker::new(port, clock, simulation.settings.clone(), &coordination, &gauge, participants);
    let mut stalled = false;
    let mut start_ns = 0;
    while worker.phase() != Phase::Done {
        worker.step().unwrap();
        engine.step(network.now_ns());
        if worker.phase() == Phase::Waiting && start_ns == 0 {
            start_ns = network.now_ns() + MILLISECOND_NS;
            coordination.start_ns.store(start_ns, std::sync::atomic::Ordering::Relaxed);
        }
        network.advance(STEP_NS);
        if !stalled && start_ns > 0 && network.now_ns() > start_ns + 20 * MILLISECOND_NS {
            // The scheduler takes the generator's core away for 10 ms; the engine goes on.
            stalled = true;
            for _ in 0..10 * MILLISECOND_NS / STEP_NS {
                engine.step(network.now_ns());
                network.advance(STEP_NS);
            }
        }
    }
    let report = report(Ok(worker.finish(None)));
    assert!(report.is_clean(), "{report:?}");
    assert!((report.orders as i64 - 1000).abs() <= 1, "no order was left out: {}", report.orders);
    assert!(report.latency_ns.max > 9 * MILLISECOND_NS, "{:?}", report.latency_ns);
    let stalls = report.generator.stalls;
    assert!(stalls.gap_ns_max >= 10 * MILLISECOND_NS && stalls.gaps_above == [1, 1, 1], "{stalls:?}");
    assert!((195..=200).contains(&stalls.late_orders), "{stalls:?}");
    assert!(report.warnings.iter().any(|warning| warning.contains("stood still")));
    // The engine was as fast as ever: service says so, and the rest is the generator's.
    assert!(report.lag_ns.max > 9 * MILLISECOND_NS, "{:?}", report.lag_ns);
    assert!(report.service_ns.p90 < MILLISECOND_NS, "{:?}", report.service_ns);
    let causes: Vec<Cause> = report.verdict.reasons.iter().map(|reason| reason.cause).collect();
    assert!(causes.contains(&Cause::Generator) && !report.verdict.valid, "{:?}", report.verdict);
}

/// A port that takes its time for each datagram it hands out.
struct Costly<P> {
    inner: P,
    network: SimNetwork,
    cost_ns: u64,
}

impl<P: Port> Port for Costly<P> {
    fn receive(&mut self) -> Result<usize, PortError> {
        self.inner.receive()
    }

    fn datagram(&self, index: usize) -> (&Peer, &[u8]) {
        self.network.advance(self.cost_ns);
        self.inner.datagram(index)
    }

    fn send(&mut self, peer: &Peer, fill: impl FnOnce(&mut [u8]) -> usize) -> Result<(), TransmitFull> {
        self.inner.send(peer, fill)
    }

    fn flush(&mut self) -> Result<(), PortError> {
        self.inner.flush()
    }

    fn max_payload(&self) -> usize {
        self.inner.max_payload()
    }

    fn wait(&mut self, timeout: std::time::Duration) -> Result<(), PortError> {
        self.inner.wait(timeout)
    }

    fn statistics(&self) -> PortStatistics {
        self.inner.statistics()
    }

    fn local(&self) -> Endpoint {
        self.inner.local()
    }
}

#[test]
fn an_order_that_is_due_does_not_wait_for_a_batch_of_answers() {
    let simulation = Simulation::new(Pace::Open(Arrivals { rate: 50_000.0, burst: 1, poisson: false }));
    let network = SimNetwork::new(1, simulation.faults.clone());
    let mut engine =
        ScriptedEngine::new(network.open(ENGINE.parse::<SocketAddr>().unwrap()).unwrap(), Script::default());
    let inner = network.open("10.0.0.2:1".parse::<SocketAddr>().unwrap()).unwrap();
    let port = Costly { inner, network: network.clone(), cost_ns: 10_000 };
    let (coordination, gauge) = (Coordination::default(), CachePadded::new(Gauge::default()));
    let participants = participants(60, simulation.settings.pace, &simulation.mix);
    let settings = WorkerSettings { cancel_open: false, ..simulation.settings.clone() };
    let mut worker =
        Worker::new(port, SimClock(network.clone()), settings, &coordination, &gauge, participants);
    let (mut started, mut engine_at_ns) = (false, 0);
    while worker.phase() != Phase::Done {
        worker.step().unwrap();
        // The engine answers all clients at once, every two milliseconds: their datagrams come as one batch.
        if network.now_ns() >= engine_at_ns {
            engine_at_ns = network.now_ns() + 2 * MILLISECOND_NS;
            engine.step(network.now_ns());
        }
        if worker.phase() == Phase::Waiting && !started {
            started = true;
            let start_ns = network.now_ns() + MILLISECOND_NS;
            coordination.start_ns.store(start_ns, std::sync::atomic::Ordering::Relaxed);
        }
        network.advance(STEP_NS);
    }
    let report = report(Ok(worker.finish(None)));
    assert!((report.orders as i64 - 2500).abs() <= 1 && report.is_clean(), "{report:?}");
    assert!(report.lag_ns.max < 100_000, "a batch of answers takes 600 us: {:?}", report.lag_ns);
}

#[test]
fn lost_doubled_and_rejected_orders_are_counted_as_what_they_are() {
    let mut simulation = Simulation::new(Pace::Closed { window: 4 });
    simulation.settings.drain_ns = 100 * MILLISECOND_NS;
    simulation.mix = MixSettings { cancel_weight: 0, replace_weight: 0, ..simulation.mix };
    simulation.mix.crossing = 1.0;
    simulation.script = Script { swallow_every: 100, ..Default::default() };
    let (report, _) = simulation.report();
    assert!(!report.is_clean() && report.lost > 10, "{report:?}");
    assert_eq!(report.answered + report.lost, report.orders);
    simulation.script = Script { double_every: 100, ..Default::default() };
    let (report, _) = simulation.report();
    assert!(!report.is_clean() && report.duplicated > 10 && report.lost == 0, "{report:?}");
    simulation.script = Script { reject_every: 100, ..Default::default() };
    let (report, _) = simulation.report();
    assert!(report.is_clean() && report.rejected > 10);
    assert_eq!(report.rejects[0].reason, "Invalid Symbol");
    // Success is to be accepted, not to be answered.
    assert_eq!(report.accepted, report.orders - report.rejected);
    assert!((report.success_rate + report.rejected_share - 1.0).abs() < 1e-9 && report.success_rate < 1.0);
    assert!(report.warnings.iter().any(|warning| warning.contains("--symbols")));
}

#[test]
fn an_engine_that_is_away_for_a_while_is_logged_in_to_again() {
    let mut simulation = Simulation::new(Pace::Closed { window: 4 });
    simulation.settings.duration_ns = 8_000 * MILLISECOND_NS;
    simulation.settings.orders_max = 20_000;
    simulation.settings.silence_ns = 2_000 * MILLISECOND_NS;
    simulation.settings.reconnect = true;
    let away = |since_ns| !(10 * MILLISECOND_NS..4_000 * MILLISECOND_NS).contains(&since_ns);
    let report = report(simulation.run(away).0);
    assert!(report.is_clean(), "{report:?}");
    assert_eq!((report.orders, report.answered, report.transport.reconnections), (20_000, 20_000, 3));

    simulation.settings.reconnect = false;
    let report = self::report(simulation.run(away).0);
    let failure = report.failure.clone().unwrap_or_default();
    assert!(failure.contains("nothing was heard of the engine"), "{failure}");
    assert!(!report.verdict.valid && report.orders > 100, "what was measured until then: {report:?}");
    assert_eq!((report.lost, report.answered + report.lost), (12, report.orders), "all in flight was lost");
}

#[test]
fn a_closed_loop_that_stops_by_itself_says_why() {
    let mut simulation = Simulation::new(Pace::Closed { window: 4 });
    simulation.settings.duration_ns = 3_000 * MILLISECOND_NS;
    simulation.settings.drain_ns = 100 * MILLISECOND_NS;
    simulation.script = Script { swallow_every: 10, ..Default::default() };
    simulation.mix = MixSettings { cancel_weight: 0, replace_weight: 0, crossing: 1.0, ..simulation.mix };
    simulation.clients = 1;
    // Of a window of one nothing comes after an answer that does not come.
    simulation.settings.pace = Pace::Closed { window: 1 };
    let (report, _) = simulation.report();
    let stopped = report.stopped.clone().unwrap_or_default();
    assert!(stopped.contains("1 of 1 clients") && stopped.contains("(enter 9) for 3.0 s"), "{stopped}");
    assert!(report.verdict.reasons.iter().any(|reason| reason.text == stopped), "{report:?}");

    simulation.script = Script { first_number: u32::MAX - 50, ..Default::default() };
    let (report, _) = simulation.report();
    let stopped = report.stopped.clone().unwrap_or_default();
    assert!(stopped.contains("order numbers are used up"), "{stopped}");
    assert!(report.duration_seconds < 2.0, "nothing to wait for: {}", report.duration_seconds);
    assert_eq!(report.outside_measurement.warmup_orders, 50);
}

#[test]
fn failed_logins_say_what_was_wrong() {
    let mut simulation = Simulation::new(Pace::Closed { window: 1 });
    let message = simulation.run(|_| false).0.err().unwrap().to_string();
    assert!(message.contains("no answer to") && message.contains("10.0.0.1:26000"), "{message}");
    simulation.script.reject_logins = Some(b'A');
    let message = simulation.run(|_| true).0.err().unwrap().to_string();
    assert!(message.contains("C00001") && message.contains("not authorized"), "{message}");
}

#[test]
fn a_number_of_orders_is_sent_exactly_and_a_limit_per_datagram_is_kept() {
    let mut simulation = Simulation::new(Pace::Closed { window: 32 });
    simulation.settings.orders_max = 1_000;
    simulation.settings.duration_ns = 10_000 * MILLISECOND_NS;
    let (report, _) = simulation.report();
    assert_eq!((report.orders, report.answered), (1_000, 1_000));
    simulation.settings.orders_per_datagram = 1;
    let (report, _) = simulation.report();
    assert_eq!(report.orders, 1_000);
    assert_eq!(report.transport.messages_per_datagram, 1.0);
}

#[test]
fn the_json_has_the_fields_that_readers_rely_on() {
    let (report, _) = Simulation::new(Pace::Closed { window: 4 }).report();
    let json: serde_json::Value = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
    assert_eq!(json["schema_version"], SCHEMA_VERSION);
    for field in ["clients", "orders", "answered", "lost", "duplicated", "success_rate", "orders_per_second"]
    {
        assert!(json[field].is_number(), "{field}");
    }
    for field in ["mean", "median", "stdev", "p90", "p99", "p99_9", "p99_99", "max"] {
        assert!(json["latency_ns"][field].is_number(), "latency_ns.{field}");
    }
    assert!(json["port"].is_string() && json["kind"] == "run" && json["verdict"]["valid"].is_boolean());
    let whole = crate::histograms::decode(json["histograms"]["response"].as_str().unwrap()).unwrap();
    assert_eq!(
        (whole.len(), whole.max()),
        (report.answered - report.answered_by_execution, report.latency_ns.max)
    );
    let per_client = json["per_client"].as_array().unwrap();
    assert!(per_client.len() == 3 && per_client.iter().all(|rate| rate.as_f64().unwrap() > 0.0));
    let back: Report = serde_json::from_value(json).unwrap();
    assert_eq!(back.latency_ns.max, report.latency_ns.max);
    let older: Report = serde_json::from_str(r#"{"schema_version": 1, "orders": 5}"#).unwrap();
    assert_eq!((older.orders, older.lost), (5, 0));
}
