//! The kernel-socket room over loopback: addresses, batches, bounds and errors. Not its speed.
#![allow(clippy::unwrap_used)] // The helpers of tests, which clippy does not see as tests.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use netio::filter::{Rate, SourceRules, network};
use netio::udp::{UdpOptions, UdpPort};
use netio::{Endpoint, Peer, Port, RX_BATCH};

const PATIENCE: Duration = Duration::from_secs(5);

fn open(address: &str, options: &UdpOptions) -> UdpPort {
    UdpPort::bind(address.parse::<SocketAddr>().unwrap(), options).expect("binds")
}

fn open_default(address: &str) -> UdpPort {
    open(address, &UdpOptions::default())
}

fn send(port: &mut UdpPort, to: Endpoint, payload: &[u8]) {
    port.send(&Peer::remote(to), |out| {
        out[..payload.len()].copy_from_slice(payload);
        payload.len()
    })
    .expect("there is room");
}

/// Receives until `count` datagrams have come.
fn take(port: &mut UdpPort, count: usize) -> Vec<(Peer, Vec<u8>)> {
    let mut taken = vec![];
    let deadline = Instant::now() + PATIENCE;
    while taken.len() < count && Instant::now() < deadline {
        let batch = port.receive().unwrap();
        assert!(batch <= RX_BATCH);
        taken.extend((0..batch).map(|index| {
            let (peer, payload) = port.datagram(index);
            (*peer, payload.to_vec())
        }));
        if batch == 0 {
            port.wait(Duration::from_millis(10)).unwrap();
        }
    }
    assert_eq!(taken.len(), count);
    taken
}

fn on_loopback(port: &UdpPort, host: &str) -> Endpoint {
    Endpoint::from(SocketAddr::new(host.parse().unwrap(), port.local().port))
}

#[test]
fn datagrams_go_there_and_back_over_ipv4_and_ipv6() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let mut server = open_default(address);
        let mut client = open_default(address);
        send(&mut client, server.local(), b"order");
        client.flush().unwrap();
        let (peer, payload) = take(&mut server, 1).remove(0);
        assert_eq!(payload, b"order");
        assert_eq!(peer.remote, client.local());
        assert_eq!(peer.local, server.local());
        server
            .send(&peer, |out| {
                out[..8].copy_from_slice(b"accepted");
                8
            })
            .unwrap();
        server.flush().unwrap();
        let (peer, payload) = take(&mut client, 1).remove(0);
        assert_eq!((peer.remote, &payload[..]), (server.local(), &b"accepted"[..]));
        let statistics = client.statistics();
        assert_eq!((statistics.tx_datagrams, statistics.tx_bytes), (1, 5));
        assert_eq!((statistics.rx_datagrams, statistics.rx_bytes), (1, 8));
    }
}

#[test]
fn one_wildcard_port_serves_both_families_and_answers_from_the_address_asked() {
    let mut server = open_default("[::]:0");
    // 127.0.0.2 is ours too, but the kernel would answer from 127.0.0.1 if it were left to choose.
    for (client, host) in [("127.0.0.1:0", "127.0.0.2"), ("[::1]:0", "::1")] {
        let mut client = open_default(client);
        let to = on_loopback(&server, host);
        send(&mut client, to, b"question");
        client.flush().unwrap();
        let (peer, _) = take(&mut server, 1).remove(0);
        assert_eq!(peer.local, to);
        server
            .send(&peer, |out| {
                out[0] = 1;
                1
            })
            .unwrap();
        server.flush().unwrap();
        assert_eq!(take(&mut client, 1)[0].0.remote, to);
    }
    let mut server = open_default("0.0.0.0:0");
    let mut client = open_default("127.0.0.1:0");
    let to = on_loopback(&server, "127.0.0.3");
    send(&mut client, to, b"question");
    client.flush().unwrap();
    let (peer, _) = take(&mut server, 1).remove(0);
    send_to_peer(&mut server, &peer);
    assert_eq!(take(&mut client, 1)[0].0.remote, to);
}

fn send_to_peer(port: &mut UdpPort, peer: &Peer) {
    port.send(peer, |out| {
        out[0] = 1;
        1
    })
    .unwrap();
    port.flush().unwrap();
}

#[test]
fn more_than_a_batch_arrives_complete_and_in_order() {
    for offload in [false, true] {
        let options = UdpOptions { receive_offload: offload, send_offload: offload, ..UdpOptions::default() };
        let mut server = open("127.0.0.1:0", &options);
        let mut client = open("127.0.0.1:0", &options);
        // Lengths that form runs of equals, runs with a shorter last one, and no runs.
        let payloads: Vec<Vec<u8>> = (0..500usize)
            .map(|index| {
                let length = if index < 200 { 100 } else { 2 + index * 37 % 300 };
                let mut payload = vec![index as u8; length];
                payload[..2].copy_from_slice(&(index as u16).to_be_bytes());
                payload
            })
            .collect();
        for payload in &payloads {
            send(&mut client, server.local(), payload);
        }
        client.flush().unwrap();
        let received: Vec<_> =
            take(&mut server, payloads.len()).into_iter().map(|(_, bytes)| bytes).collect();
        assert!(received == payloads, "offload {offload}");
        assert_eq!(client.statistics().tx_datagrams, 500);
        assert_eq!(server.statistics().rx_datagrams, 500);
    }
}

#[test]
fn datagrams_to_different_peers_are_never_joined() {
    let options = UdpOptions { send_offload: true, ..UdpOptions::default() };
    let mut client = open("127.0.0.1:0", &options);
    let mut servers = [open_default("127.0.0.1:0"), open_default("127.0.0.1:0")];
    for index in 0..20u8 {
        send(&mut client, servers[usize::from(index / 3) % 2].local(), &[index; 50]);
    }
    client.flush().unwrap();
    let mut seen = vec![];
    for (at, count) in [(0, 11), (1, 9)] {
        seen.extend(take(&mut servers[at], count).into_iter().map(|(_, bytes)| {
            assert_eq!(bytes.len(), 50);
            assert_eq!(usize::from(bytes[0] / 3) % 2, at);
            bytes[0]
        }));
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..20).collect::<Vec<_>>());
}

#[test]
fn what_the_socket_buffer_cannot_hold_is_dropped_and_counted() {
    // Sent one by one, since the kernel drops joined ones together or not at all.
    let options =
        UdpOptions { receive_buffer_bytes: Some(16 * 1024), send_offload: false, ..UdpOptions::default() };
    let mut server = open("127.0.0.1:0", &options);
    assert!(server.granted().receive_buffer_bytes < 100_000);
    let mut client = open("127.0.0.1:0", &options);
    for _ in 0..1000 {
        send(&mut client, server.local(), &[0; 1000]);
    }
    client.flush().unwrap();
    let mut received = 0;
    loop {
        match server.receive().unwrap() {
            0 => break,
            count => received += count as u64,
        }
    }
    let dropped = server.statistics().rx_dropped.queue_full;
    assert!(dropped > 0 && received > 0);
    assert_eq!(received + dropped, 1000);
}

#[test]
fn a_datagram_longer_than_the_buffer_is_dropped_and_counted() {
    for receive_offload in [false, true] {
        let mut server = open("127.0.0.1:0", &UdpOptions { receive_offload, ..UdpOptions::default() });
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = server.local().to_socket_address();
        client.send_to(&[0; 5000], to).unwrap();
        client.send_to(b"", to).unwrap();
        client.send_to(b"fits", to).unwrap();
        assert_eq!(take(&mut server, 1)[0].1, b"fits");
        assert_eq!(server.statistics().rx_dropped.truncated, 1);
        assert_eq!(server.statistics().rx_dropped.malformed, 1, "an empty datagram");
    }
}

#[test]
fn an_unreachable_peer_costs_only_its_own_datagrams() {
    let mut client = open_default("127.0.0.1:0");
    let mut server = open_default("127.0.0.1:0");
    let gone = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let impossible: SocketAddr = "[2001:db8::1]:9".parse().unwrap();
    for _ in 0..10 {
        send(&mut client, gone.into(), b"nobody listens");
        send(&mut client, impossible.into(), b"wrong family");
        send(&mut client, server.local(), b"heard");
        client.flush().unwrap();
        client.receive().unwrap();
    }
    take(&mut server, 10);
    let statistics = client.statistics();
    assert_eq!(statistics.tx_dropped, 10);
    assert_eq!(statistics.tx_datagrams, 20);
    assert!(statistics.transient_errors >= 10);
}

#[test]
fn joined_datagrams_that_are_refused_are_tried_one_by_one_and_cost_no_others() {
    let mut client = open_default("127.0.0.1:0");
    let mut server = open_default("127.0.0.1:0");
    // Port 0 cannot be sent to: EINVAL, as for a segment that a device cannot take.
    let nowhere = Endpoint { port: 0, ..server.local() };
    for round in 0..50 {
        for _ in 0..3 {
            send(&mut client, nowhere, b"to nobody");
        }
        client.flush().unwrap();
        for _ in 0..8 {
            send(&mut client, server.local(), b"to somebody");
        }
        client.flush().unwrap();
        assert_eq!(take(&mut server, 8).len(), 8);
        assert_eq!(client.statistics().tx_dropped, 3 * (round + 1));
    }
}

#[test]
fn a_withdrawn_datagram_is_not_sent() {
    let mut client = open_default("127.0.0.1:0");
    let mut server = open_default("127.0.0.1:0");
    client.send(&Peer::remote(server.local()), |_| 0).unwrap();
    send(&mut client, server.local(), b"second thoughts");
    client.flush().unwrap();
    assert_eq!(take(&mut server, 1)[0].1, b"second thoughts");
    assert_eq!(client.statistics().tx_datagrams, 1);
}

#[test]
fn waiting_ends_with_a_datagram_or_with_the_timeout() {
    let mut server = open_default("127.0.0.1:0");
    let before = Instant::now();
    server.wait(Duration::from_millis(20)).unwrap();
    assert!(before.elapsed() >= Duration::from_millis(20));
    let mut client = open_default("127.0.0.1:0");
    send(&mut client, server.local(), b"wake up");
    client.flush().unwrap();
    let before = Instant::now();
    server.wait(PATIENCE).unwrap();
    assert!(before.elapsed() < PATIENCE);
    take(&mut server, 1);
}

#[test]
fn a_port_can_be_shared_only_if_asked() {
    let options = UdpOptions { reuse_port: true, ..UdpOptions::default() };
    let first = open("127.0.0.1:0", &options);
    assert!(UdpPort::bind(first.local(), &options).is_ok());
    let refused = UdpPort::bind(first.local(), &UdpOptions::default()).err().expect("is taken");
    assert!(refused.to_string().contains(&first.local().to_string()), "{refused}");
}

#[test]
fn an_absurd_payload_length_is_refused_with_its_bounds() {
    let options = UdpOptions { max_payload: Some(70_000), ..UdpOptions::default() };
    let error = UdpPort::bind("127.0.0.1:0".parse::<SocketAddr>().unwrap(), &options).err().expect("refused");
    assert!(error.to_string().contains("70000") && error.to_string().contains("65507"), "{error}");
}

#[test]
fn payload_lengths_fit_an_mtu_of_1500() {
    assert_eq!(open_default("127.0.0.1:0").max_payload(), 1472);
    assert_eq!(open_default("[::1]:0").max_payload(), 1452);
}

#[test]
fn sources_outside_the_allow_list_are_dropped_and_counted() {
    let rules = SourceRules { allowed: vec![network("127.0.0.2").unwrap()], rate: None };
    let mut server = open("127.0.0.1:0", &UdpOptions { rules, ..UdpOptions::default() });
    let mut listed = open_default("127.0.0.2:0");
    let mut stranger = open_default("127.0.0.3:0");
    // Joined by the kernel, and one by one.
    for _ in 0..5 {
        send(&mut stranger, server.local(), b"unwanted");
    }
    stranger.flush().unwrap();
    send(&mut stranger, server.local(), b"unwanted, too");
    stranger.flush().unwrap();
    send(&mut listed, server.local(), b"order");
    listed.flush().unwrap();
    assert_eq!(take(&mut server, 1).remove(0).1, b"order");
    let statistics = server.statistics();
    assert_eq!((statistics.rx_dropped.not_allowed, statistics.rx_datagrams), (6, 1));
}

#[test]
fn a_source_beyond_its_rate_is_held_to_it() {
    for receive_offload in [true, false] {
        let rules = SourceRules { allowed: vec![], rate: Some(Rate { per_second: 1, burst: 7 }) };
        let options = UdpOptions { rules, receive_offload, ..UdpOptions::default() };
        let mut server = open("127.0.0.1:0", &options);
        let mut flooding = open_default("127.0.0.2:0");
        let mut other = open_default("127.0.0.3:0");
        for number in 0..20u8 {
            send(&mut flooding, server.local(), &[number; 30]);
        }
        flooding.flush().unwrap();
        send(&mut other, server.local(), b"order");
        other.flush().unwrap();
        let taken = take(&mut server, 8);
        let numbers: Vec<u8> = taken[..7].iter().map(|(_, payload)| payload[0]).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6], "the first of a burst are those that pass");
        assert_eq!(taken[7].1, b"order");
        assert_eq!(server.statistics().rx_dropped.over_rate, 13);
    }
}
