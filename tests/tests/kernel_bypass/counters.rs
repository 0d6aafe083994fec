//! Whatever does not reach a session is counted by its reason: by the XDP program, by the socket's rings, by the port.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use nix::sys::signal::Signal;
use pitlane_tests::client::Client;
use pitlane_tests::engine::Engine;
use socket2::{Domain, Protocol, Socket, Type};

use super::{Hosts, PATIENCE, flood, hosts};

/// Another address of the client's host, outside the allow-list.
const STRANGER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 9);
const MOLD_HEADER_LENGTH: usize = 20;
const RAW: i32 = 3;

fn verdict(engine: &Engine, name: &str, least: f64) -> f64 {
    let label = format!("verdict=\"{name}\"");
    engine.await_metric(&["pitlane_xdp_verdicts_total", &label], least, PATIENCE).expect("metrics")
}

fn refused(engine: &Engine, reason: &str, least: f64) -> f64 {
    let label = format!("reason=\"{reason}\"");
    engine.await_metric(&["pitlane_refused_total", &label], least, PATIENCE).expect("metrics")
}

fn of_socket(engine: &Engine, name: &str, least: f64) -> f64 {
    engine.await_metric(&[&format!("pitlane_xdp_{name}_total")], least, PATIENCE).expect("metrics")
}

impl Hosts {
    /// Sends from the client's host by an ordinary socket.
    fn send_from(&self, source: Ipv4Addr, to: SocketAddr, payload: &[u8], times: u32) {
        let sent = self.pair.client.inside(|| {
            let socket = UdpSocket::bind((source, 0))?;
            (0..times).try_for_each(|_| socket.send_to(payload, to).map(drop))
        });
        sent.expect("namespace").expect("sent");
    }

    /// Sends a UDP header that says `length` and `checksum`, true or not, and `payload`.
    fn send_raw(&self, to: SocketAddr, length: u16, checksum: u16, payload: &[u8]) {
        let mut datagram = Vec::new();
        for field in [40_000, to.port(), length, checksum] {
            datagram.extend_from_slice(&field.to_be_bytes());
        }
        datagram.extend_from_slice(payload);
        let sent = self.pair.client.inside(|| {
            let socket = Socket::new(Domain::IPV4, Type::from(RAW), Some(Protocol::UDP))?;
            socket.send_to(&datagram, &SocketAddr::new(to.ip(), 0).into())
        });
        sent.expect("namespace").expect("sent");
    }
}

#[test]
fn what_the_xdp_program_drops_is_counted_by_verdict() {
    let Some(hosts) = hosts("verdicts in /metrics", 1) else { return };
    let client = hosts.pair.client.ipv4;
    let limits = format!("allow = [\"{client}/32\"]\nrate_per_source = 1\nburst_per_source = 20");
    let engine = hosts.start(hosts.engine("xdp").with("network", limits));
    let address = engine.address();
    for name in ["bad_length", "short", "mold_length", "not_allowed", "over_rate"] {
        assert_eq!(verdict(&engine, &format!("dropped_{name}"), 0.0), 0.0, "{name} before anything was sent");
    }
    // The checks are made in this order, so each of these passes those above its own.
    hosts.send_raw(address, 1000, 0, &[0; MOLD_HEADER_LENGTH]);
    assert_eq!(verdict(&engine, "dropped_bad_length", 1.0), 1.0);
    hosts.send_from(client, address, b"no header", 2);
    assert_eq!(verdict(&engine, "dropped_short", 2.0), 2.0);
    let mut lie = [0; MOLD_HEADER_LENGTH + 3];
    lie[19] = 7;
    hosts.send_from(client, address, &lie, 3);
    assert_eq!(verdict(&engine, "dropped_mold_length", 3.0), 3.0);
    hosts
        .pair
        .client
        .ip(&["addr", "add", &format!("{STRANGER}/24"), "dev", &hosts.pair.client.interface])
        .expect("address");
    hosts.send_from(STRANGER, address, &[0; MOLD_HEADER_LENGTH], 4);
    assert_eq!(verdict(&engine, "dropped_not_allowed", 4.0), 4.0);
    let sent = f64::from(hosts.pair.client.inside(|| flood(address, 500)).expect("namespace"));
    let beyond = verdict(&engine, "dropped_over_rate", sent - 100.0);
    let redirected = verdict(&engine, "redirected", 20.0);
    assert!(beyond > 400.0 && redirected >= 20.0, "{beyond} and {redirected} of {sent}");
    assert_eq!(beyond + redirected, sent, "every datagram has one verdict");
    assert_eq!(
        engine.await_metric(&["rx_datagrams_total"], redirected, PATIENCE).expect("metrics"),
        redirected,
        "what was not dropped has reached the port"
    );
}

#[test]
fn what_finds_no_frame_is_counted_by_the_socket() {
    let Some(hosts) = hosts("XDP_STATISTICS in /metrics", 1) else { return };
    let engine = hosts.start(hosts.engine("xdp").with("network", "ring_depth = 64"));
    for name in ["rx_dropped", "fill_ring_empty"] {
        assert_eq!(of_socket(&engine, name, 0.0), 0.0, "{name} before anything was sent");
    }
    // An engine that stands still: 64 frames are filled, and none comes back.
    engine.process.signal(Signal::SIGSTOP).expect("signal");
    let sent = f64::from(hosts.pair.client.inside(|| flood(engine.address(), 500)).expect("namespace"));
    engine.process.signal(Signal::SIGCONT).expect("signal");
    let dropped = of_socket(&engine, "rx_dropped", sent - 64.0);
    assert_eq!(dropped, sent - 64.0);
    assert!(of_socket(&engine, "fill_ring_empty", 1.0) > 0.0);
    assert_eq!(
        refused(&engine, "port_queue_full", dropped),
        dropped,
        "the same loss, as every port counts it"
    );
    for name in ["rx_invalid_descriptors", "tx_invalid_descriptors"] {
        assert_eq!(of_socket(&engine, name, 0.0), 0.0, "{name}: the engine itself is at fault");
    }
    let client = hosts.pair.client.inside(|| Client::open(engine.address(), 1)).expect("namespace");
    client.expect("goes on").enter_accepted(1, b'B', 100, 1_500_000).expect("accepted");
}

#[test]
fn checksums_are_counted_by_their_kind() {
    let Some(hosts) = hosts("checksums in /metrics", 1) else { return };
    let engine = hosts.start(hosts.engine("xdp"));
    let address = engine.address();
    let payload = [0; MOLD_HEADER_LENGTH];
    let length = 8 + MOLD_HEADER_LENGTH as u16;
    hosts.send_raw(address, length, 0x1234, &payload);
    assert_eq!(refused(&engine, "port_checksum", 1.0), 1.0);
    hosts.send_raw(address, length, 0, &payload);
    assert_eq!(of_socket(&engine, "checksum_absent", 1.0), 1.0);
    hosts.send_from(hosts.pair.client.ipv4, address, &payload, 2);
    assert_eq!(of_socket(&engine, "checksum_partial", 2.0), 2.0, "veth leaves the checksum to the hardware");
}

#[test]
fn how_the_port_was_opened_is_a_metric() {
    let Some(hosts) = hosts("port_info", 1) else { return };
    let expect = |engine: &Engine, labels: &[&str]| {
        let mut parts = vec!["pitlane_port_info", "shard=\"0\""];
        parts.extend(labels);
        assert_eq!(engine.metric(&parts).expect("metrics"), 1.0, "{labels:?}: {:?}", engine.metrics());
    };
    let interface = format!("interface=\"{}\"", hosts.pair.engine.interface);
    let engine = hosts.start(hosts.engine("auto"));
    let native =
        ["port=\"xdp\"", "asked=\"auto\"", "mode=\"native\"", "copy=\"copy\"", "queue=\"0\"", &interface];
    expect(&engine, &native);
    drop(engine);
    for host in [&hosts.pair.engine, &hosts.pair.client] {
        host.ip(&["link", "set", &host.interface, "mtu", "9000"]).expect("mtu");
    }
    let engine = hosts.start(hosts.engine("auto"));
    expect(&engine, &["port=\"xdp\"", "mode=\"generic\""]);
    drop(engine);
    hosts.pair.engine.ip(&["link", "set", &hosts.pair.engine.interface, "down"]).expect("down");
    std::thread::sleep(Duration::from_millis(50));
    let mut settings = hosts.engine("auto");
    settings.listen = Ipv4Addr::UNSPECIFIED.into();
    expect(&hosts.start(settings), &["port=\"udp\"", "asked=\"auto\""]);
}
