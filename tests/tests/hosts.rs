//! The suites' own hosts: packets cross the veth pair, and nothing is left behind.

use std::net::UdpSocket;
use std::time::Duration;

use pitlane_tests::skip::can_make_hosts;
use pitlane_tests::veth::VethPair;

#[test]
fn datagrams_cross_the_pair_over_ipv4_and_ipv6() {
    if !can_make_hosts("veth hosts") {
        return;
    }
    let pair = VethPair::new(2).expect("a veth pair");
    for (engine, client) in [
        (pair.engine.ipv4.into(), pair.client.ipv4.into()),
        (std::net::IpAddr::from(pair.engine.ipv6), std::net::IpAddr::from(pair.client.ipv6)),
    ] {
        let receiver =
            pair.engine.inside(|| UdpSocket::bind((engine, 7000))).expect("namespace").expect("bind");
        receiver.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
        let sender = pair.client.inside(|| UdpSocket::bind((client, 0))).expect("namespace").expect("bind");
        sender.send_to(b"order", (engine, 7000)).expect("send");
        let mut buffer = [0; 16];
        let (length, from) = receiver.recv_from(&mut buffer).expect("a datagram");
        assert_eq!((&buffer[..length], from.ip()), (&b"order"[..], client));
    }
    let names = [pair.engine.namespace.clone(), pair.client.namespace.clone()];
    drop(pair);
    for name in names {
        assert!(!std::path::Path::new("/run/netns").join(&name).exists(), "{name} is still there");
    }
}
