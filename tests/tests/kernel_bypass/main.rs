//! Engine and generator over AF_XDP on a veth pair, as an operator meets them: ports mixed, queues and shards, IPv6, a crash
//! under load, a cable pulled, sources refused, garbage. Needs root; the ports themselves are tested in `xdp_port`.

mod addresses;
mod counters;
mod rights;

use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use pitlane_tests::client::{Client, user};
use pitlane_tests::engine::{Engine, Folder, PASSWORD, Settings};
use pitlane_tests::ping::ping;
use pitlane_tests::process::{Process, binary};
use pitlane_tests::skip::{can_make_hosts, skipped};
use pitlane_tests::veth::VethPair;
use serde_json::Value;

/// For things that take milliseconds when the machine is idle.
const PATIENCE: Duration = Duration::from_secs(60);

/// A pair of hosts that no other of these tests has at the same time: each keeps two threads busy.
struct Hosts {
    pair: VethPair,
    _turn: File,
}

fn hosts(test: &str, queues: u32) -> Option<Hosts> {
    if !can_make_hosts(test) {
        return None;
    }
    let turn = File::create(std::env::temp_dir().join("pitlane-two-cores.lock")).expect("lock file");
    turn.lock().expect("lock");
    Some(Hosts { pair: VethPair::new(queues).expect("veth pair"), _turn: turn })
}

impl Hosts {
    fn engine(&self, port: &'static str) -> Settings {
        Settings::on(&self.pair.engine, port)
    }

    fn start(&self, settings: Settings) -> Engine {
        Engine::start_on(&self.pair.engine, &binary("pitlane"), settings).expect("an engine")
    }

    /// Starts a generator against `address`; `words` say what it does.
    fn generator(&self, address: SocketAddr, port: &str, words: &[&str]) -> Load {
        let folder = Folder::new("load").expect("folder");
        let mut command = self.pair.client.command(binary("pitlane-loadgen"));
        let target = address.to_string();
        command.args(["run", "--target", &target, "--password", PASSWORD, "--port", port, "--quiet"]);
        command.arg("--delivery-only");
        if port == "xdp" {
            command.args(["--interface", &self.pair.client.interface]);
        }
        let log = File::create(folder.path.join("log")).expect("log");
        command
            .args(words)
            .arg("--json")
            .arg(folder.path.join("report.json"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("log"))
            .stderr(log);
        Load { process: Process::new(command.spawn().expect("a generator")), folder }
    }
}

struct Load {
    process: Process,
    folder: Folder,
}

impl Load {
    /// Waits for the end and reads the report.
    fn report(mut self) -> Value {
        let status = self.process.wait(PATIENCE).expect("ends by itself");
        let said = std::fs::read_to_string(self.folder.path.join("log")).unwrap_or_default();
        assert!(status.success(), "the generator: {status}\n{said}");
        let text = std::fs::read_to_string(self.folder.path.join("report.json")).expect("a report");
        serde_json::from_str(&text).expect("JSON")
    }
}

fn every_order_is_answered_once(report: &Value) {
    let count = |key: &str| report[key].as_u64().unwrap_or(u64::MAX);
    assert!(count("orders") > 0, "{report:#}");
    assert_eq!(
        (count("answered"), count("lost"), count("duplicated")),
        (count("orders"), 0, 0),
        "{report:#}"
    );
}

const SHORT: &[&str] = &["--clients", "3", "--window", "8", "--duration", "2s", "--warmup", "200ms"];

#[test]
fn any_port_of_the_generator_reaches_any_port_of_the_engine() {
    let Some(hosts) = hosts("engine and generator on every pair of ports", 1) else { return };
    for (engine_port, generator_port) in [("xdp", "xdp"), ("xdp", "udp"), ("udp", "xdp")] {
        let engine = hosts.start(hosts.engine(engine_port));
        let report = hosts.generator(engine.address(), generator_port, SHORT).report();
        every_order_is_answered_once(&report);
        if engine_port == "xdp" {
            assert!(engine.log_text().contains("AF_XDP open"), "{}", engine.log_text());
        }
    }
}

#[test]
fn every_shard_has_a_queue_of_its_own() {
    let Some(hosts) = hosts("two shards on two queues", 2) else { return };
    let mut settings = hosts.engine("xdp");
    settings.shards = 2;
    settings.symbols = vec!["AAPL".to_owned(), "MSFT".to_owned()];
    let engine = hosts.start(settings);
    // Queue n of one end of a veth pair sends to queue n of the other, so each shard is spoken to from its own queue.
    for (shard, queue) in [(0, "0"), (1, "1")] {
        let address = engine.settings.address(shard);
        let symbol = ["AAPL", "MSFT"][shard];
        let words =
            ["--clients", "2", "--window", "4", "--duration", "1s", "--symbols", symbol, "--queue", queue];
        every_order_is_answered_once(&hosts.generator(address, "xdp", &words).report());
        let received =
            engine.metric(&["rx_datagrams_total", &format!("shard=\"{shard}\"")]).expect("metrics");
        assert!(received > 0.0, "shard {shard} received nothing");
    }
}

#[test]
fn orders_travel_over_ipv6() {
    let Some(hosts) = hosts("AF_XDP over IPv6", 1) else { return };
    let mut settings = hosts.engine("xdp");
    settings.listen = IpAddr::V6(hosts.pair.engine.ipv6);
    let engine = hosts.start(settings);
    for port in ["xdp", "udp"] {
        every_order_is_answered_once(&hosts.generator(engine.address(), port, SHORT).report());
    }
}

#[test]
fn a_killed_engine_leaves_no_program_and_its_successor_goes_on_under_load() {
    let Some(hosts) = hosts("engine killed and restarted under load", 1) else { return };
    let journal = Folder::new("journal").expect("folder");
    let mut settings = hosts.engine("xdp");
    settings.durability = "process";
    settings.journal = Some(journal.path.clone());
    let mut engine = hosts.start(settings.clone());
    let words = ["--clients", "2", "--window", "8", "--duration", "6s", "--warmup", "0s", "--reconnect"];
    let load = hosts.generator(engine.address(), "xdp", &words);
    for _ in 0..2 {
        std::thread::sleep(Duration::from_millis(1200));
        engine.process.crash().expect("killed");
        let link = hosts.pair.engine.ip(&["link", "show", "dev", &hosts.pair.engine.interface]).expect("ip");
        assert!(!link.contains("prog/xdp"), "a program outlived its process: {link}");
        let address = hosts.pair.engine.ipv4.into();
        hosts.pair.client.inside(|| ping(address, Duration::from_secs(5))).expect("namespace").expect("ping");
        engine = hosts.start(settings.clone());
        assert!(engine.log_text().contains("recovered"), "{}", engine.log_text());
    }
    let report = load.report();
    every_order_is_answered_once(&report);
    assert!(report["transport"]["reconnections"].as_u64() >= Some(2), "{report:#}");
}

#[test]
fn a_cable_pulled_and_put_back_costs_time_but_no_order() {
    let Some(hosts) = hosts("link down and up", 1) else { return };
    let engine = hosts.start(hosts.engine("xdp"));
    let words = ["--clients", "1", "--window", "4", "--duration", "5s", "--warmup", "0s"];
    let load = hosts.generator(engine.address(), "xdp", &words);
    std::thread::sleep(Duration::from_millis(1000));
    let interface = &hosts.pair.engine.interface;
    hosts.pair.engine.ip(&["link", "set", interface, "down"]).expect("down");
    std::thread::sleep(Duration::from_millis(500));
    hosts.pair.engine.ip(&["link", "set", interface, "up"]).expect("up");
    every_order_is_answered_once(&load.report());
}

#[test]
fn sources_outside_the_allow_list_are_dropped_before_the_engine() {
    let Some(hosts) = hosts("allow-list", 1) else { return };
    // `auto` without a queue that exists steps down to kernel UDP, and may not forget the list on the way.
    for (port, queue) in [("xdp", 0), ("udp", 0), ("auto", 5)] {
        let network = |allow: &str| format!("queues = [{queue}]\nallow = [{allow:?}]");
        let refused = hosts.start(hosts.engine(port).with("network", network("192.0.2.0/24")));
        let mut stranger = hosts
            .pair
            .client
            .inside(|| Client::connect(refused.address()))
            .expect("namespace")
            .expect("socket");
        let login = stranger.try_login(&user(1), PASSWORD, Duration::from_secs(2));
        assert!(login.is_err(), "{port}: a source outside the list logged in");
        assert_eq!(refused.metric(&["rx_datagrams_total"]).expect("metrics"), 0.0, "{port}");
        drop(refused);
        let listed = network(&format!("{}/32", hosts.pair.client.ipv4));
        let allowed = hosts.start(hosts.engine(port).with("network", listed));
        hosts
            .pair
            .client
            .inside(|| Client::open(allowed.address(), 1).map(drop).map_err(|error| format!("{error:?}")))
            .expect("namespace")
            .expect("a source on the list logs in");
    }
}

#[test]
fn a_source_beyond_its_rate_is_held_to_it() {
    let Some(hosts) = hosts("rate limit", 1) else { return };
    let limits = "rate_per_source = 200\nburst_per_source = 50";
    for port in ["xdp", "udp"] {
        let engine = hosts.start(hosts.engine(port).with("network", limits));
        let sent = hosts.pair.client.inside(|| flood(engine.address(), 5_000)).expect("namespace");
        // Shards publish their counters ten times a second.
        std::thread::sleep(Duration::from_millis(500));
        let arrived = engine.metric(&["rx_datagrams_total"]).expect("metrics");
        assert!(arrived > 0.0 && arrived < f64::from(sent) / 2.0, "{port}: {arrived} of {sent} arrived");
    }
}

#[test]
fn good_clients_are_served_beside_a_flood_of_garbage() {
    let Some(hosts) = hosts("flood of garbage", 1) else { return };
    let engine = hosts.start(hosts.engine("xdp"));
    let load = hosts.generator(engine.address(), "xdp", SHORT);
    let began = Instant::now();
    hosts
        .pair
        .client
        .inside(|| {
            while began.elapsed() < Duration::from_secs(2) {
                flood(engine.address(), 500);
            }
        })
        .expect("namespace");
    every_order_is_answered_once(&load.report());
    let refused = engine.metric(&["refused_total"]).expect("metrics");
    assert!(refused > 0.0, "no garbage reached the engine, so nothing was shown");
}

#[test]
fn an_engine_without_native_xdp_runs_in_generic_mode_or_says_why_not() {
    let Some(hosts) = hosts("generic mode", 1) else { return };
    // A native program must fit a frame into one buffer: this MTU leaves only generic mode.
    for host in [&hosts.pair.engine, &hosts.pair.client] {
        if host.ip(&["link", "set", &host.interface, "mtu", "9000"]).is_err() {
            return skipped("generic mode", "this veth takes no MTU of 9000");
        }
    }
    let engine = hosts.start(hosts.engine("xdp"));
    assert!(engine.log_text().contains("generic"), "{}", engine.log_text());
    every_order_is_answered_once(&hosts.generator(engine.address(), "udp", SHORT).report());
}

#[test]
fn a_port_that_cannot_be_had_is_said_and_auto_steps_down() {
    let Some(hosts) = hosts("auto steps down to kernel UDP", 1) else { return };
    let no_queue = |port| hosts.engine(port).with("network", "queues = [5]");
    let refused = Engine::start_on(&hosts.pair.engine, &binary("pitlane"), no_queue("xdp"));
    let said = refused.err().expect("there is no queue 5").to_string();
    assert!(said.contains("queue") && said.contains('5'), "{said}");
    let engine = hosts.start(no_queue("auto"));
    assert!(engine.log_text().contains("kernel UDP"), "{}", engine.log_text());
    let client = hosts.pair.client.inside(|| Client::open(engine.address(), 1)).expect("namespace");
    client.expect("a session over kernel UDP").enter_accepted(1, b'B', 100, 1_500_000).expect("accepted");
}

#[test]
fn an_engine_told_to_stop_lets_go_of_the_interface() {
    let Some(hosts) = hosts("orderly stop", 1) else { return };
    let mut engine = hosts.start(hosts.engine("xdp"));
    let held = hosts.pair.engine.ip(&["link", "show", "dev", &hosts.pair.engine.interface]).expect("ip");
    assert!(held.contains("prog/xdp"), "{held}");
    engine.process.signal(Signal::SIGTERM).expect("signal");
    let status = engine.process.wait(PATIENCE).expect("ends");
    assert!(status.success(), "{status}\n{}", engine.log_text());
    let free = hosts.pair.engine.ip(&["link", "show", "dev", &hosts.pair.engine.interface]).expect("ip");
    assert!(!free.contains("prog/xdp"), "{free}");
}

/// Sends `count` datagrams that look like order entry and name no session; returns how many left.
fn flood(address: SocketAddr, count: u32) -> u32 {
    let socket = std::net::UdpSocket::bind(("0.0.0.0", 0)).expect("socket");
    let mut payload = [0; 60];
    let mut sent = 0;
    for number in 0..count {
        payload[..10].copy_from_slice(b"UGARBAGE00");
        payload[10..18].copy_from_slice(&u64::from(number).to_be_bytes());
        payload[18..20].copy_from_slice(&1u16.to_be_bytes());
        payload[20..22].copy_from_slice(&38u16.to_be_bytes());
        sent += u32::from(socket.send_to(&payload, address).is_ok());
    }
    sent
}
