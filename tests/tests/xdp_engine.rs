//! The engine on AF_XDP between two hosts, under load from the real generator: every pairing of ports, several shards, and what a network and an
//! operator do to it. The port without an engine: `xdp_port.rs`.
#![cfg(feature = "xdp")]

use std::net::IpAddr;
use std::time::{Duration, Instant};

use pitlane_tests::client::{Client, LoginError, PATIENCE, datagram, enter};
use pitlane_tests::engine::{Engine, Folder, Settings};
use pitlane_tests::generator::{Generator, assert_complete};
use pitlane_tests::process::binary;
use pitlane_tests::skip::{can_make_hosts, skipped};
use pitlane_tests::veth::VethPair;

const PRICE: u64 = 1_500_000;

/// The hosts, or nothing when the machine cannot have them, which has then been said.
fn hosts(test: &str, queues: u32) -> Option<VethPair> {
    can_make_hosts(test).then(|| VethPair::new(queues).expect("veth pair"))
}

fn start(pair: &VethPair, settings: Settings) -> Engine {
    Engine::start_on(&pair.engine, &binary("pitlane"), settings).expect("an engine")
}

/// Words for a generator on the client's host that speaks to `engine` through `port` for `seconds`.
fn words(pair: &VethPair, engine: &Engine, port: &str, seconds: &str) -> Vec<String> {
    let mut words = vec!["--target".to_owned(), engine.address().to_string(), "--port".into(), port.into()];
    words.extend([
        "--duration".into(),
        seconds.into(),
        "--clients".into(),
        "4".into(),
        "--window".into(),
        "8".into(),
    ]);
    if port == "xdp" {
        words.extend(["--interface".into(), pair.client.interface.clone()]);
    }
    words
}

fn generate(pair: &VethPair, words: &[String]) -> Generator {
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    Generator::start(Some(&pair.client), &words).expect("a generator")
}

#[test]
fn af_xdp_and_kernel_udp_understand_each_other_both_ways_round() {
    let Some(pair) = hosts("engine and generator on every pairing of ports", 1) else { return };
    for engine_port in ["xdp", "udp"] {
        let engine = start(&pair, Settings::on(&pair.engine, engine_port));
        for generator_port in ["xdp", "udp"] {
            let report = generate(&pair, &words(&pair, &engine, generator_port, "1s")).finish();
            let report = report.unwrap_or_else(|error| panic!("{generator_port} to {engine_port}: {error}"));
            assert_complete(&report);
        }
    }
}

#[test]
fn orders_travel_over_ipv6() {
    let Some(pair) = hosts("engine on AF_XDP over IPv6", 1) else { return };
    for port in ["xdp", "udp"] {
        let settings = Settings { listen: IpAddr::V6(pair.engine.ipv6), ..Settings::on(&pair.engine, "xdp") };
        let engine = start(&pair, settings);
        assert_complete(&generate(&pair, &words(&pair, &engine, port, "1s")).finish().expect(port));
    }
}

#[test]
fn orders_travel_through_a_vlan() {
    let Some(pair) = hosts("engine on AF_XDP in a VLAN", 1) else { return };
    for (host, address) in [(&pair.engine, "10.78.0.1"), (&pair.client, "10.78.0.2")] {
        // The tag must be in the frame for the program to see it, not beside it for hardware that is not there.
        host.run(&["ethtool", "-K", &host.interface, "txvlan", "off", "rxvlan", "off"]).expect("ethtool");
        let words = ["link", "add", "link", &host.interface, "name", "vlan7", "type", "vlan", "id", "7"];
        if let Err(error) = host.ip(&words) {
            assert!(error.to_string().contains("Unknown device type"), "{error}");
            return skipped(
                "engine in a VLAN",
                "this kernel has no VLAN devices; xdp_port.rs tests the tags",
            );
        }
        host.ip(&["addr", "add", &format!("{address}/24"), "dev", "vlan7"]).expect("address");
        host.ip(&["link", "set", "vlan7", "up"]).expect("up");
    }
    let listen = "10.78.0.1".parse().expect("an address");
    let engine = start(&pair, Settings { listen, ..Settings::on(&pair.engine, "xdp") });
    assert_complete(&generate(&pair, &words(&pair, &engine, "udp", "1s")).finish().expect("a report"));
    assert!(
        engine.metric(&["pitlane_rx_datagrams_total"]).expect("metrics") > 100.0,
        "the orders came another way"
    );
}

#[test]
fn two_shards_serve_two_queues() {
    let Some(pair) = hosts("two shards on two queues", 2) else { return };
    let settings = Settings {
        shards: 2,
        symbols: vec!["AAPL".into(), "MSFT".into()],
        ..Settings::on(&pair.engine, "xdp")
    };
    let engine = start(&pair, settings);
    let mut words = words(&pair, &engine, "xdp", "1s");
    words.extend(["--threads", "2", "--shards", "2", "--symbols", "AAPL,MSFT"].map(str::to_owned));
    assert_complete(&generate(&pair, &words).finish().expect("a report"));
    for shard in ["shard=\"0\"", "shard=\"1\""] {
        let messages = engine.metric(&["pitlane_messages_total", shard]).expect("metrics");
        assert!(messages > 50.0, "{shard} has seen {messages} messages");
    }
}

#[test]
fn the_link_may_go_down_and_come_back() {
    let Some(pair) = hosts("link down and up under load", 1) else { return };
    let engine = start(&pair, Settings::on(&pair.engine, "xdp"));
    let mut words = words(&pair, &engine, "udp", "4s");
    words.extend(["--silence", "10s", "--reconnect"].map(str::to_owned));
    let generator = generate(&pair, &words);
    std::thread::sleep(Duration::from_millis(1500));
    pair.engine.ip(&["link", "set", &pair.engine.interface, "down"]).expect("down");
    std::thread::sleep(Duration::from_millis(500));
    pair.engine.ip(&["link", "set", &pair.engine.interface, "up"]).expect("up");
    assert_complete(&generator.finish().expect("a report"));
}

#[test]
fn a_killed_engine_leaves_nothing_behind_and_goes_on_where_it_was() {
    let Some(pair) = hosts("engine killed and restarted under load", 1) else { return };
    let journal = Folder::new("journal").expect("a folder");
    let settings = || Settings {
        durability: "process",
        journal: Some(journal.path.clone()),
        ..Settings::on(&pair.engine, "xdp")
    };
    let mut engine = start(&pair, settings());
    let mut words = words(&pair, &engine, "udp", "5s");
    words.extend(["--silence", "1500ms", "--reconnect"].map(str::to_owned));
    let generator = generate(&pair, &words);
    for _ in 0..2 {
        std::thread::sleep(Duration::from_millis(1200));
        engine.process.crash().expect("killed");
        let link = pair.engine.ip(&["link", "show", "dev", &pair.engine.interface]).expect("link");
        assert!(!link.contains("xdp"), "a program is still attached: {link}");
        drop(engine);
        engine = start(&pair, settings());
    }
    assert_complete(&generator.finish().expect("a report"));
}

#[test]
fn only_the_allow_list_gets_through() {
    let Some(pair) = hosts("allow-list", 1) else { return };
    pair.client.ip(&["addr", "add", "10.77.0.3/24", "dev", &pair.client.interface]).expect("address");
    let settings = Settings::on(&pair.engine, "xdp").with("network", "allow = [\"10.77.0.2/32\"]");
    let engine = start(&pair, settings);
    assert_complete(&generate(&pair, &words(&pair, &engine, "udp", "1s")).finish().expect("a report"));
    let before = engine.metric(&["pitlane_rx_datagrams_total"]).expect("metrics");
    let stranger =
        pair.client.inside(|| std::net::UdpSocket::bind("10.77.0.3:0")).expect("namespace").expect("bind");
    for _ in 0..100 {
        stranger.send_to(b"let me in", engine.address()).expect("send");
    }
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(engine.metric(&["pitlane_rx_datagrams_total"]).expect("metrics"), before);
}

#[test]
fn a_source_over_its_rate_is_cut_and_the_others_are_not() {
    let Some(pair) = hosts("rate limit", 1) else { return };
    pair.client.ip(&["addr", "add", "10.77.0.3/24", "dev", &pair.client.interface]).expect("address");
    let settings =
        Settings::on(&pair.engine, "xdp").with("network", "rate_per_source = 1000\nburst_per_source = 100");
    let engine = start(&pair, settings);
    let mut good =
        pair.client.inside(|| Client::open(engine.address(), 1)).expect("namespace").expect("a session");
    let loud =
        pair.client.inside(|| std::net::UdpSocket::bind("10.77.0.3:0")).expect("namespace").expect("bind");
    let before = engine.metric(&["reason=\"unknown_token\""]).expect("metrics");
    let began = Instant::now();
    for urn in 1..=50 {
        for _ in 0..200 {
            loud.send_to(&[b'U'; 20], engine.address()).expect("send");
        }
        good.enter_accepted(urn, b'B', 100, PRICE).expect("accepted");
    }
    let allowed = 100.0 + 1000.0 * (began.elapsed().as_secs_f64() + 0.5);
    std::thread::sleep(Duration::from_millis(300));
    let passed = engine.metric(&["reason=\"unknown_token\""]).expect("metrics") - before;
    assert!(passed >= 100.0 && passed <= allowed, "{passed} of 10000 came through, at most {allowed} should");
}

#[test]
fn garbage_beside_good_clients_harms_none_of_them() {
    let Some(pair) = hosts("garbage beside good clients", 1) else { return };
    let engine = start(&pair, Settings::on(&pair.engine, "xdp"));
    let generator = generate(&pair, &words(&pair, &engine, "udp", "3s"));
    let socket =
        pair.client.inside(|| Client::connect(engine.address())).expect("namespace").expect("a socket");
    let order = enter(1, b'B', 100, PRICE);
    let mut sent = 0;
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        let token: [u8; 10] = std::array::from_fn(|place| b'U' + (sent % 7) as u8 * place as u8);
        for bytes in [&b"garbage"[..], &datagram(token, sent, &[&order]), &[0; 1400], &[0xff; 40]] {
            socket.send_raw(bytes).expect("send");
            sent += 1;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    assert_complete(&generator.finish().expect("a report"));
    assert!(engine.metric(&["pitlane_refused_total"]).expect("metrics") > 0.0);
}

#[test]
fn a_port_that_cannot_be_had_is_said_and_auto_steps_down() {
    let Some(pair) = hosts("auto steps down to kernel UDP", 1) else { return };
    let no_queue = |port| Settings::on(&pair.engine, port).with("network", "queues = [5]");
    let refused = Engine::start_on(&pair.engine, &binary("pitlane"), no_queue("xdp"));
    let said = refused.err().expect("queue 5 does not exist").to_string();
    assert!(said.contains("queue") && said.contains('5'), "{said}");
    let engine = start(&pair, no_queue("auto"));
    assert!(engine.log_text().contains("kernel UDP"), "{}", engine.log_text());
    let client = pair.client.inside(|| Client::open(engine.address(), 1)).expect("namespace");
    client.expect("a session over kernel UDP").enter_accepted(1, b'B', 100, PRICE).expect("accepted");
}

/// A login must not be guessed faster than the limit allows, whatever the source's speed.
#[test]
fn login_attempts_of_a_source_are_limited() {
    let Some(pair) = hosts("login attempts", 1) else { return };
    let settings = Settings::on(&pair.engine, "xdp").with("session", "login_attempts_per_minute = 5");
    let engine = start(&pair, settings);
    let mut rejected = 0;
    let began = Instant::now();
    for attempt in 0..8 {
        let mut client =
            pair.client.inside(|| Client::connect(engine.address())).expect("namespace").expect("socket");
        match client.try_login("C00001", &format!("guess{attempt}"), Duration::from_millis(400)) {
            Err(LoginError::Rejected(_)) => rejected += 1,
            Err(LoginError::Io(_)) => {}
            Ok(_) => panic!("a guess was right"),
        }
        assert!(began.elapsed() < PATIENCE * 2, "too slow to tell");
    }
    assert!((5..=6).contains(&rejected), "{rejected} guesses were answered, 5 a minute are allowed");
}
