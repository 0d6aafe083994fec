//! Whose datagrams the engine takes, and where its answers go: destination addresses, and link addresses that change under a session.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use pitlane_tests::client::Client;
use pitlane_tests::engine::Engine;

use super::{Hosts, PATIENCE, hosts};

/// A second address of the engine's host.
const SECOND: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 9);

impl Hosts {
    fn add_second_address(&self) {
        let engine = &self.pair.engine;
        engine.ip(&["addr", "add", &format!("{SECOND}/24"), "dev", &engine.interface]).expect("address");
    }

    fn client_at(&self, address: impl Into<IpAddr>, engine: &Engine, account: usize) -> Option<Client> {
        let address = SocketAddr::new(address.into(), engine.address().port());
        self.pair.client.inside(|| Client::open(address, account).ok()).expect("namespace")
    }
}

#[test]
fn datagrams_to_another_address_of_the_interface_belong_to_another_program() {
    let Some(hosts) = hosts("another address of the interface", 1) else { return };
    hosts.add_second_address();
    let engine = hosts.start(hosts.engine("xdp"));
    let there = SocketAddr::from((SECOND, engine.address().port()));
    let other = hosts.pair.engine.inside(|| UdpSocket::bind(there)).expect("namespace").expect("socket");
    other.set_read_timeout(Some(PATIENCE)).expect("timeout");
    let words = b"for the other program, as long as any order";
    let sent = hosts.pair.client.inside(|| UdpSocket::bind(("0.0.0.0", 0))?.send_to(words, there));
    sent.expect("namespace").expect("sent");
    let mut received = [0; 100];
    let length = other.recv(&mut received).expect("the other program's datagram");
    assert_eq!(&received[..length], words);
    let passed = ["pitlane_xdp_verdicts_total", "verdict=\"passed_other_address\""];
    assert_eq!(engine.await_metric(&passed, 1.0, PATIENCE).expect("metrics"), 1.0);
    hosts
        .client_at(hosts.pair.engine.ipv4, &engine, 1)
        .expect("a session at the address listened on")
        .enter_accepted(1, b'B', 100, 1_500_000)
        .expect("accepted");
}

#[test]
fn a_wildcard_listens_on_every_address_of_the_interface_and_answers_from_the_one_asked() {
    let Some(hosts) = hosts("AF_XDP on 0.0.0.0", 1) else { return };
    hosts.add_second_address();
    let mut settings = hosts.engine("xdp");
    settings.listen = Ipv4Addr::UNSPECIFIED.into();
    let engine = hosts.start(settings);
    for (account, address) in [(1, hosts.pair.engine.ipv4), (2, SECOND)] {
        // The client's socket takes answers from nowhere else.
        let client = hosts.client_at(address, &engine, account);
        let mut client = client.unwrap_or_else(|| panic!("no session at {address}"));
        client.enter_accepted(1, b'B', 100, 1_500_000).expect("accepted");
    }
}

#[test]
fn an_address_that_nothing_on_the_interface_is_sent_to_is_refused() {
    let Some(hosts) = hosts("AF_XDP on the loopback's address", 1) else { return };
    let mut settings = hosts.engine("xdp");
    settings.listen = Ipv4Addr::LOCALHOST.into();
    let refused = Engine::start_on(&hosts.pair.engine, &pitlane_tests::process::binary("pitlane"), settings);
    let said = refused.err().expect("no datagram could arrive").to_string();
    assert!(said.contains("127.0.0.1") && said.contains(&hosts.pair.engine.interface), "{said}");
}

#[test]
fn answers_follow_a_client_to_another_mac() {
    let Some(hosts) = hosts("a client's MAC changes", 1) else { return };
    let engine = hosts.start(hosts.engine("xdp"));
    let mut client = hosts.client_at(hosts.pair.engine.ipv4, &engine, 1).expect("a session");
    client.enter_accepted(1, b'B', 100, 1_500_000).expect("accepted");
    let interface = &hosts.pair.client.interface;
    // As after a failover between two routers or the links of a bond. Frames to the old one are not taken any more.
    hosts.pair.client.ip(&["link", "set", interface, "address", "02:00:00:00:00:0b"]).expect("MAC");
    client.enter_accepted(2, b'B', 100, 1_500_000).expect("accepted");
}

#[test]
fn a_feed_follows_its_receiver_to_another_mac() {
    let Some(hosts) = hosts("a receiver's MAC changes", 1) else { return };
    let host = &hosts.pair.client;
    let there = SocketAddr::from((host.ipv4, 26_600));
    let receiver = host.inside(|| UdpSocket::bind(there)).expect("namespace").expect("socket");
    receiver.set_read_timeout(Some(Duration::from_millis(200))).expect("timeout");
    let engine = hosts.start(hosts.engine("xdp").with("feed", format!("receivers = [\"{there}\"]")));
    let mut client = hosts.client_at(hosts.pair.engine.ipv4, &engine, 1).expect("a session");
    let mut next = 0;
    let mut arrives_within = |patience: Duration| {
        let started = Instant::now();
        let mut datagram = [0; 2000];
        while started.elapsed() < patience {
            next += 1;
            client.enter_accepted(next, b'B', 100, 1_500_000).expect("accepted");
            while let Ok(length) = receiver.recv(&mut datagram) {
                // A heartbeat is the header alone.
                if length > 20 {
                    return true;
                }
            }
        }
        false
    };
    assert!(arrives_within(PATIENCE), "market data, to the MAC that the receiver had at the start");
    // As routers and bonds do it, the host announces its new address; the kernel's table has it from there.
    let announce = format!("echo 1 > /proc/sys/net/ipv4/conf/{}/arp_notify", host.interface);
    host.run(&["sh", "-c", &announce]).expect("arp_notify");
    // What it announces within a second of the last answer is not believed.
    std::thread::sleep(Duration::from_millis(1100));
    host.ip(&["link", "set", &host.interface, "address", "02:00:00:00:00:0b"]).expect("MAC");
    while receiver.recv(&mut [0; 2000]).is_ok() {}
    assert!(arrives_within(PATIENCE), "market data, to the new MAC");
}
