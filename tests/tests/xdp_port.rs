//! The AF_XDP port between two hosts: what crosses it, in which modes it opens, and what it leaves alone. No engine is involved.
#![cfg(feature = "xdp")]

use std::{
    fs::File,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use netio::{
    Peer, Port, VlanTag,
    echo::{self, Driven, Load, Served},
    idle::{Idle, IdleStrategy},
    udp::{UdpOptions, UdpPort},
    xdp::{DeviceConfig, OpenError, Preflight, ResolveError, XdpCounters, XdpDevice, XdpPort, resolve},
};
use nix::fcntl::{Flock, FlockArg};
use pitlane_tests::{
    ping::ping,
    skip::can_make_hosts,
    veth::{Host, VethPair},
};
use xdp_prog::{SteeringError, SteeringSettings, TokenBucket, Verdict, XdpMode};

const SERVER_PORT: u16 = 26_000;
const CLIENT_PORT: u16 = 40_000;
/// Busy threads of several suites share two cores: what takes a second alone may take many.
const PATIENCE: Duration = Duration::from_secs(60);

/// A million datagrams take two seconds on two free cores. On busy ones the test makes do with fewer.
const MILLION_TIME_MAX: Duration = Duration::from_secs(15);

/// Two hosts, and the right to keep two cores busy.
struct Hosts {
    pair: VethPair,
    _alone: Flock<File>,
}

impl std::ops::Deref for Hosts {
    type Target = VethPair;

    fn deref(&self) -> &VethPair {
        &self.pair
    }
}

/// The hosts, or nothing when the machine cannot have them, which has then been said.
fn hosts(test: &str, queues: u32) -> Option<Hosts> {
    // A file, because a test runner may give each test a process of its own.
    let file = File::create(std::env::temp_dir().join("pitlane-two-cores.lock")).expect("lock file");
    let alone = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error).expect("lock");
    can_make_hosts(test).then(|| Hosts { pair: VethPair::new(queues).expect("veth pair"), _alone: alone })
}

fn config(host: &Host, address: IpAddr, queue: u32, port: u16) -> DeviceConfig {
    let mut config = DeviceConfig::new(&host.interface).queue(queue, address, port..=port);
    config.check_mold = false;
    config
}

fn open(host: &Host, address: IpAddr, port: u16) -> (XdpDevice, XdpPort) {
    let (device, mut ports) =
        host.inside(|| XdpDevice::open(&config(host, address, 0, port))).expect("namespace").expect("AF_XDP");
    (device, ports.pop().expect("one port"))
}

fn peer_of(host: &Host, server: SocketAddr, local_port: u16) -> Peer {
    let route = host.inside(|| resolve(&host.interface, server.ip())).expect("namespace").expect("route");
    route.peer(server, local_port)
}

/// `count` datagrams with `window` in flight.
fn drive(port: &mut impl Port, peer: &Peer, window: u64, count: u64) -> Driven {
    let load = Load { payload_length: 64, window, duration: PATIENCE };
    let idle = Idle::new(IdleStrategy::Yield);
    echo::drive_counted(port, peer, load, count, idle, &AtomicBool::new(false), |_| {})
        .expect("client goes on")
}

#[track_caller]
fn nothing_lost(driven: Driven) {
    assert!(driven.answered > 0, "{driven:?}");
    assert_eq!((driven.lost, driven.strays, driven.answered), (0, 0, driven.sent), "{driven:?}");
}

/// Serves `server` in place on a thread of its own while `body` runs.
fn while_serving<T>(server: &mut XdpPort, body: impl FnOnce() -> T) -> (T, Served) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let serving = scope.spawn(|| {
            echo::serve_in_place(server, Idle::new(IdleStrategy::Yield), &stop).expect("server goes on")
        });
        let stopper = StopOnDrop(&stop);
        let outcome = body();
        drop(stopper);
        (outcome, serving.join().expect("server thread"))
    })
}

/// A failed assertion must not leave the server thread, and with it the test, running for ever.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Every frame is somewhere, and none is kept by the kernel after the last answer.
#[track_caller]
fn frames_are_conserved(port: &mut XdpPort) {
    let total = port.census().total();
    port.receive().expect("collects completions");
    let census = port.census();
    assert_eq!((census.total(), census.transmitting), (total, 0), "{census:?}");
    assert_eq!(total, port.frame_count(), "{census:?}");
}

#[test]
fn datagrams_cross_over_ipv4_and_ipv6_and_no_frame_is_lost() {
    let Some(pair) = hosts("AF_XDP echo", 1) else { return };
    for (server_address, client_address) in [
        (IpAddr::from(pair.engine.ipv4), IpAddr::from(pair.client.ipv4)),
        (pair.engine.ipv6.into(), pair.client.ipv6.into()),
    ] {
        let (server_device, mut server) = open(&pair.engine, server_address, SERVER_PORT);
        let (_client_device, mut client) = open(&pair.client, client_address, CLIENT_PORT);
        assert_eq!(server_device.rung().mode, XdpMode::Native);
        assert!(!server.zero_copy(), "veth has no zero-copy");
        assert_eq!(server_device.left().len(), 1, "{:?}", server_device.left());
        let peer = peer_of(&pair.client, SocketAddr::new(server_address, SERVER_PORT), CLIENT_PORT);
        let (driven, served) = while_serving(&mut server, || {
            nothing_lost(drive(&mut client, &peer, 1, 500));
            drive(&mut client, &peer, 128, 20_000)
        });
        nothing_lost(driven);
        assert_eq!(served.refused, 0);
        let verdicts = server_device.verdicts().expect("counters");
        assert_eq!(verdicts.get(Verdict::Redirected), served.answered, "{verdicts}");
        frames_are_conserved(&mut server);
        frames_are_conserved(&mut client);
    }
}

#[test]
fn a_million_datagrams_leave_every_frame_in_its_place() {
    let Some(pair) = hosts("AF_XDP frame conservation", 1) else { return };
    let (_server_device, mut server) = open(&pair.engine, pair.engine.ipv4.into(), SERVER_PORT);
    let (_client_device, mut client) = open(&pair.client, pair.client.ipv4.into(), CLIENT_PORT);
    let peer = peer_of(&pair.client, SocketAddr::new(pair.engine.ipv4.into(), SERVER_PORT), CLIENT_PORT);
    let started = std::time::Instant::now();
    let mut crossed = 0;
    let ((), _) = while_serving(&mut server, || {
        // More than the rings hold in flight, so that full rings and refusals are part of it.
        while crossed < 1_000_000 && started.elapsed() < MILLION_TIME_MAX {
            crossed += drive(&mut client, &peer, 6000, 100_000).answered;
        }
    });
    assert!(crossed >= 100_000, "{crossed} in {:?}", started.elapsed());
    // What was still on its way comes in.
    thread::sleep(Duration::from_millis(50));
    for _ in 0..200 {
        client.receive().expect("drains");
        server.receive().expect("drains");
    }
    frames_are_conserved(&mut server);
    frames_are_conserved(&mut client);
}

#[test]
fn vlan_tags_are_taken_off_and_put_back() {
    let Some(pair) = hosts("AF_XDP VLAN", 1) else { return };
    let (_server_device, mut server) = open(&pair.engine, pair.engine.ipv4.into(), SERVER_PORT);
    let (_client_device, mut client) = open(&pair.client, pair.client.ipv4.into(), CLIENT_PORT);
    let server_address = SocketAddr::new(pair.engine.ipv4.into(), SERVER_PORT);
    let mut peer = peer_of(&pair.client, server_address, CLIENT_PORT);
    for tags in [&[(0x8100, 7)][..], &[(0x88a8, 3), (0x8100, 0x6007)]] {
        for (slot, (protocol, control)) in peer.link.vlan.tags.iter_mut().zip(tags) {
            *slot = VlanTag { protocol: *protocol, control: *control };
        }
        peer.link.vlan.count = tags.len() as u8;
        let (driven, _) = while_serving(&mut server, || drive(&mut client, &peer, 4, 2000));
        nothing_lost(driven);
        // The port's own way, which builds the answer from the peer.
        client
            .send(&peer, |out| {
                out[..5].copy_from_slice(b"order");
                5
            })
            .expect("room");
        client.flush().expect("flush");
        assert_eq!(receive_one(&mut server), 1);
        let (seen, payload) = server.datagram(0);
        assert_eq!((seen.link.vlan, payload), (peer.link.vlan, &b"order"[..]));
    }
}

fn receive_one(port: &mut XdpPort) -> usize {
    let started = std::time::Instant::now();
    while started.elapsed() < PATIENCE {
        match port.receive().expect("receive") {
            0 => port.wait(Duration::from_millis(1)).expect("wait"),
            count => return count,
        }
    }
    0
}

#[test]
fn a_kernel_socket_and_an_af_xdp_port_understand_each_other() {
    let Some(pair) = hosts("kernel UDP to AF_XDP", 1) else { return };
    for (server_address, client_address) in [
        (IpAddr::from(pair.engine.ipv4), IpAddr::from(pair.client.ipv4)),
        (pair.engine.ipv6.into(), pair.client.ipv6.into()),
    ] {
        let (_device, mut server) = open(&pair.engine, server_address, SERVER_PORT);
        let local = SocketAddr::new(client_address, 0);
        let mut client = pair
            .client
            .inside(|| UdpPort::bind(local, &UdpOptions::default()))
            .expect("namespace")
            .expect("UDP port");
        let peer = Peer::remote(SocketAddr::new(server_address, SERVER_PORT));
        let in_place = while_serving(&mut server, || drive(&mut client, &peer, 8, 2000)).0;
        nothing_lost(in_place);
        // The copying server looks at checksums, and finds the sender's kernel left them to hardware that is not there.
        let stop = AtomicBool::new(false);
        let driven = thread::scope(|scope| {
            let serving = scope.spawn(|| echo::serve(&mut server, Idle::new(IdleStrategy::Yield), &stop));
            let stopper = StopOnDrop(&stop);
            let driven = drive(&mut client, &peer, 8, 2000);
            drop(stopper);
            serving.join().expect("thread").expect("serves");
            driven
        });
        nothing_lost(driven);
        let XdpCounters { checksum_partial, .. } = server.counters();
        // What the kernel left undone is right by accident for one number in 65,535, which one depends on the client's port.
        assert!(
            (driven.answered - 1..=driven.answered).contains(&checksum_partial),
            "{checksum_partial}, {driven:?}"
        );
        assert_eq!(server.statistics().rx_dropped.total(), 0);
    }
}

#[test]
fn each_queue_has_its_own_port_and_socket() {
    let Some(pair) = hosts("AF_XDP multi queue", 2) else { return };
    let both = |host: &Host, address: IpAddr, port: u16| {
        let mut config = config(host, address, 0, port).queue(1, address, port + 1..=port + 1);
        config.ring_depth = 512;
        config.prefill = Some(512);
        host.inside(|| XdpDevice::open(&config)).expect("namespace").expect("AF_XDP")
    };
    let (device, mut servers) = both(&pair.engine, pair.engine.ipv4.into(), SERVER_PORT);
    let (_client_device, mut clients) = both(&pair.client, pair.client.ipv4.into(), CLIENT_PORT);
    for queue in 0..2 {
        let server = SocketAddr::new(pair.engine.ipv4.into(), SERVER_PORT + queue as u16);
        let peer = peer_of(&pair.client, server, CLIENT_PORT + queue as u16);
        let (driven, served) =
            while_serving(&mut servers[queue], || drive(&mut clients[queue], &peer, 4, 2000));
        nothing_lost(driven);
        assert_eq!(served.answered, driven.answered);
    }
    // The port of the other queue: the program leaves it to the kernel rather than give it to the wrong shard.
    let wrong = peer_of(&pair.client, SocketAddr::new(pair.engine.ipv4.into(), SERVER_PORT + 1), CLIENT_PORT);
    clients[0]
        .send(&wrong, |out| {
            out[..8].fill(1);
            8
        })
        .expect("room");
    clients[0].flush().expect("flush");
    thread::sleep(Duration::from_millis(50));
    assert_eq!(device.verdicts().expect("counters").get(Verdict::PassedOtherQueue), 1);
    assert_eq!(servers.iter_mut().map(|server| server.receive().expect("receive")).sum::<usize>(), 0);
}

#[test]
fn a_queue_that_does_not_exist_is_named() {
    let Some(pair) = hosts("AF_XDP queue that does not exist", 2) else { return };
    let host = &pair.engine;
    let refused = host
        .inside(|| XdpDevice::open(&config(host, host.ipv4.into(), 2, SERVER_PORT)).map(drop))
        .expect("namespace");
    assert!(
        matches!(&refused, Err(OpenError::Preflight(Preflight::NoQueue { queue: 2, queues: 2, .. }))),
        "{refused:?}"
    );
}

#[test]
fn an_interface_without_native_xdp_opens_in_generic_mode() {
    let Some(pair) = hosts("AF_XDP generic mode", 1) else { return };
    // veth refuses a native program that does not know fragments on an MTU above 3498.
    for host in [&pair.engine, &pair.client] {
        host.ip(&["link", "set", &host.interface, "mtu", "9000"]).expect("mtu");
    }
    let (device, mut server) = open(&pair.engine, pair.engine.ipv4.into(), SERVER_PORT);
    assert_eq!(device.rung().mode, XdpMode::Generic);
    assert_eq!(device.left().len(), 2, "{:?}", device.left());
    assert!(device.left()[1].reason.contains("MTU"), "{:?}", device.left());
    let (_client_device, mut client) = open(&pair.client, pair.client.ipv4.into(), CLIENT_PORT);
    let peer = peer_of(&pair.client, SocketAddr::new(pair.engine.ipv4.into(), SERVER_PORT), CLIENT_PORT);
    let (driven, _) = while_serving(&mut server, || drive(&mut client, &peer, 4, 2000));
    nothing_lost(driven);
    assert!(client.max_payload() < 2048, "a payload must fit a frame whatever the MTU");
}

#[test]
fn other_traffic_flows_before_during_and_after() {
    let Some(pair) = hosts("other traffic beside AF_XDP", 1) else { return };
    let address: IpAddr = pair.engine.ipv4.into();
    let listener =
        pair.engine.inside(|| TcpListener::bind((address, 0))).expect("namespace").expect("listener");
    let tcp_server = listener.local_addr().expect("address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut bytes = [0; 5];
            if stream.read_exact(&mut bytes).is_ok() {
                // The client judges.
                let _ = stream.write_all(&bytes);
            }
        }
    });
    let others_work = || {
        pair.client.inside(|| ping(address, PATIENCE)).expect("namespace").expect("ping");
        let answer = pair.client.inside(|| {
            let mut stream = TcpStream::connect_timeout(&tcp_server, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(b"hello")?;
            let mut answer = [0; 5];
            stream.read_exact(&mut answer)?;
            std::io::Result::Ok(answer)
        });
        assert_eq!(&answer.expect("namespace").expect("TCP"), b"hello");
    };
    others_work();
    {
        let (_device, mut server) = open(&pair.engine, address, SERVER_PORT);
        let (_client_device, mut client) = open(&pair.client, pair.client.ipv4.into(), CLIENT_PORT);
        let peer = peer_of(&pair.client, SocketAddr::new(address, SERVER_PORT), CLIENT_PORT);
        let ((), _) = while_serving(&mut server, || {
            thread::scope(|scope| {
                let driving = scope.spawn(|| drive(&mut client, &peer, 32, 5_000));
                others_work();
                nothing_lost(driving.join().expect("thread"));
            });
        });
    }
    others_work();
}

#[test]
fn a_port_without_its_socket_falls_through_to_the_kernel() {
    let Some(pair) = hosts("fall back to the kernel socket", 1) else { return };
    let (mut device, server) = open(&pair.engine, pair.engine.ipv4.into(), SERVER_PORT);
    let address = SocketAddr::new(pair.engine.ipv4.into(), SERVER_PORT);
    let socket = pair.engine.inside(|| UdpSocket::bind(address)).expect("namespace").expect("socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("timeout");
    device.steering_mut().unregister(0).expect("unregister");
    drop(server);
    let sender = pair.client.inside(|| UdpSocket::bind("0.0.0.0:0")).expect("namespace").expect("socket");
    sender.send_to(b"order", address).expect("send");
    let mut buffer = [0; 16];
    assert_eq!(socket.recv_from(&mut buffer).expect("through the kernel").0, 5);
    assert_eq!(device.verdicts().expect("counters").get(Verdict::PassedNoSocket), 1);
}

#[test]
fn a_queue_given_up_a_moment_ago_can_be_opened_again() {
    let Some(pair) = hosts("AF_XDP reopen", 1) else { return };
    for _ in 0..5 {
        drop(open(&pair.engine, pair.engine.ipv4.into(), SERVER_PORT));
    }
}

#[test]
fn an_interface_held_by_another_program_is_named_with_its_id() {
    let Some(pair) = hosts("interface held by another program", 1) else { return };
    let host = &pair.engine;
    let (device, _port) = open(host, host.ipv4.into(), SERVER_PORT);
    let id = device.steering().program_id();
    assert_ne!(id, 0);
    let refused = host
        .inside(|| XdpDevice::open(&config(host, host.ipv4.into(), 0, SERVER_PORT)).map(drop))
        .expect("namespace");
    assert!(
        matches!(&refused, Err(OpenError::Preflight(Preflight::Steering(SteeringError::Held { program_id, .. }))) if *program_id == id),
        "{refused:?}"
    );
    let refused = host
        .inside(|| {
            xdp_prog::Steering::attach(&host.interface, &SteeringSettings::new(), xdp_prog::ModeChoice::Best)
                .map(drop)
        })
        .expect("namespace")
        .expect_err("held");
    assert!(refused.to_string().contains(&id.to_string()), "{refused}");
}

#[test]
fn a_missing_capability_and_a_missing_interface_are_named() {
    let Some(pair) = hosts("preflight", 1) else { return };
    let host = &pair.engine;
    let missing = XdpDevice::open(&DeviceConfig::new("no-such-if")).map(drop).expect_err("no interface");
    assert!(
        matches!(missing, OpenError::Preflight(Preflight::Steering(SteeringError::NoInterface(_)))),
        "{missing}"
    );
    let refused = host
        .inside(|| {
            netio::privileges::drop_capabilities().expect("drop");
            XdpDevice::open(&config(host, host.ipv4.into(), 0, SERVER_PORT)).map(drop)
        })
        .expect("namespace")
        .expect_err("no capability");
    assert!(refused.to_string().contains("CAP_NET_ADMIN"), "{refused}");
    host.ip(&["link", "set", &host.interface, "down"]).expect("down");
    let refused = host
        .inside(|| XdpDevice::open(&config(host, host.ipv4.into(), 0, SERVER_PORT)).map(drop))
        .expect("namespace")
        .expect_err("down");
    assert!(matches!(refused, OpenError::Preflight(Preflight::Down { .. })), "{refused}");
}

#[test]
fn an_open_port_works_on_without_capabilities() {
    let Some(pair) = hosts("AF_XDP without capabilities", 1) else { return };
    let (mut device, mut server) = open(&pair.engine, pair.engine.ipv4.into(), SERVER_PORT);
    let (_client_device, mut client) = open(&pair.client, pair.client.ipv4.into(), CLIENT_PORT);
    let peer = peer_of(&pair.client, SocketAddr::new(pair.engine.ipv4.into(), SERVER_PORT), CLIENT_PORT);
    // Capabilities belong to threads, and those that this one starts inherit what it has left.
    thread::spawn(move || {
        netio::privileges::drop_capabilities().expect("drop");
        let (driven, _) = while_serving(&mut server, || drive(&mut client, &peer, 4, 2000));
        nothing_lost(driven);
        assert!(device.verdicts().expect("counters stay readable").get(Verdict::Redirected) > 0);
        device.apply(&SteeringSettings::new().check_mold(false)).expect("settings stay changeable");
    })
    .join()
    .expect("thread");
}

#[test]
fn settings_take_effect_while_packets_flow() {
    let Some(pair) = hosts("settings while running", 1) else { return };
    let (mut device, mut server) = open(&pair.engine, pair.engine.ipv4.into(), SERVER_PORT);
    let (_client_device, mut client) = open(&pair.client, pair.client.ipv4.into(), CLIENT_PORT);
    let peer = peer_of(&pair.client, SocketAddr::new(pair.engine.ipv4.into(), SERVER_PORT), CLIENT_PORT);
    let open_to_all = SteeringSettings::new().check_mold(false);
    let mut drive_under = |settings: &SteeringSettings, expected: Verdict| {
        device.apply(settings).expect("apply");
        let before = device.verdicts().expect("counters").get(expected);
        let (driven, _) = while_serving(&mut server, || drive(&mut client, &peer, 5, 5));
        assert!(device.verdicts().expect("counters").get(expected) > before, "{settings:?}: {driven:?}");
        driven
    };
    nothing_lost(drive_under(&open_to_all, Verdict::Redirected));
    let elsewhere = open_to_all.clone().allow("192.0.2.0/24".parse().expect("network"));
    assert_eq!(drive_under(&elsewhere, Verdict::DroppedNotAllowed).answered, 0);
    let here = elsewhere.clone().allow("10.77.0.0/24".parse().expect("network"));
    nothing_lost(drive_under(&here, Verdict::Redirected));
    let (interval_ns, debt_ns_max) = (1_000_000_000, 2_000_000_000);
    let slow = open_to_all.clone().rate(Some(TokenBucket { interval_ns, debt_ns_max }));
    let limited = drive_under(&slow, Verdict::DroppedOverRate);
    assert_eq!((limited.answered, limited.lost), (3, 2), "{limited:?}");
    assert_eq!(drive_under(&SteeringSettings::new(), Verdict::DroppedMoldLength).answered, 0);
    nothing_lost(drive_under(&open_to_all, Verdict::Redirected));
}

#[test]
fn the_program_is_replaced_without_losing_a_packet() {
    let Some(pair) = hosts("program replaced under load", 1) else { return };
    let (mut device, mut server) = open(&pair.engine, pair.engine.ipv4.into(), SERVER_PORT);
    let (_client_device, mut client) = open(&pair.client, pair.client.ipv4.into(), CLIENT_PORT);
    let peer = peer_of(&pair.client, SocketAddr::new(pair.engine.ipv4.into(), SERVER_PORT), CLIENT_PORT);
    let old = device.steering().program_id();
    let replaced = AtomicBool::new(false);
    let ((), _) = while_serving(&mut server, || {
        thread::scope(|scope| {
            let driving = scope.spawn(|| {
                while !replaced.load(Ordering::Relaxed) {
                    nothing_lost(drive(&mut client, &peer, 16, 500));
                }
                nothing_lost(drive(&mut client, &peer, 16, 500));
            });
            let replaced = StopOnDrop(&replaced);
            for _ in 0..3 {
                thread::sleep(Duration::from_millis(50));
                device.steering_mut().replace(xdp_prog::PROGRAM).expect("replace");
            }
            drop(replaced);
            driving.join().expect("thread");
        });
    });
    assert_ne!(device.steering().program_id(), old);
    assert!(device.verdicts().expect("counters").get(Verdict::Redirected) > 0);
}

#[test]
fn a_link_that_goes_down_and_comes_back_carries_on() {
    let Some(pair) = hosts("AF_XDP link down and up", 1) else { return };
    let (_server_device, mut server) = open(&pair.engine, pair.engine.ipv4.into(), SERVER_PORT);
    let (_client_device, mut client) = open(&pair.client, pair.client.ipv4.into(), CLIENT_PORT);
    let peer = peer_of(&pair.client, SocketAddr::new(pair.engine.ipv4.into(), SERVER_PORT), CLIENT_PORT);
    let ((), _) = while_serving(&mut server, || {
        nothing_lost(drive(&mut client, &peer, 4, 200));
        for host in [&pair.engine, &pair.client] {
            host.ip(&["link", "set", &host.interface, "down"]).expect("down");
            assert_eq!(drive(&mut client, &peer, 4, 4).answered, 0, "{} is down", host.interface);
            host.ip(&["link", "set", &host.interface, "up"]).expect("up");
            // What was queued while the link was down may be answered now, and is then a stray.
            let driven = drive(&mut client, &peer, 4, 200);
            assert!(driven.answered >= 190, "{driven:?}");
            drive(&mut client, &peer, 4, 200);
            nothing_lost(drive(&mut client, &peer, 4, 200));
        }
    });
    frames_are_conserved(&mut server);
    frames_are_conserved(&mut client);
}

#[test]
fn an_address_that_nobody_has_is_not_resolved() {
    let Some(pair) = hosts("address resolution", 1) else { return };
    let host = &pair.client;
    let route = |address: &str| {
        let address = address.parse().expect("address");
        host.inside(|| resolve(&host.interface, address)).expect("namespace")
    };
    let known = route("10.77.0.1").expect("the other end");
    assert_eq!((known.source, known.next_hop), (host.ipv4.into(), pair.engine.ipv4.into()));
    assert_eq!(route("fd77::1").expect("the other end").source, IpAddr::from(host.ipv6));
    assert!(matches!(route("10.77.0.99"), Err(ResolveError::NoNeighbour { .. })));
    // Asked for one interface, the kernel takes what it has no route for as being on that link: where nobody answers.
    assert!(matches!(route("203.0.113.1"), Err(ResolveError::NoNeighbour { .. })));
    host.ip(&["route", "add", "203.0.113.0/24", "via", "10.77.0.1"]).expect("route");
    assert_eq!(route("203.0.113.1").expect("through the gateway").link, known.link);
}

const HOLDER: &str = "PITLANE_TEST_HOLDER";

/// Not a test: the process that `a_killed_process_leaves_no_program_behind` starts and kills. On its own it does nothing.
#[test]
fn holder_process() {
    let Ok(interface) = std::env::var(HOLDER) else { return };
    let config =
        DeviceConfig::new(interface).queue(0, IpAddr::from([10, 77, 0, 1]), SERVER_PORT..=SERVER_PORT);
    let held = XdpDevice::open(&config);
    assert!(held.is_ok(), "{:?}", held.err());
    thread::sleep(PATIENCE * 3);
}

#[test]
fn a_killed_process_leaves_no_program_behind() {
    let Some(pair) = hosts("AF_XDP and kill -9", 1) else { return };
    let host = &pair.engine;
    let index = host.inside(|| nix::net::if_::if_nametoindex(host.interface.as_str())).expect("namespace");
    let index = index.expect("index");
    let program = || {
        let link = host.inside(|| xdp_prog::netlink::link(index)).expect("namespace").expect("netlink");
        link.and_then(|link| link.program)
    };
    let within_patience = |condition: &dyn Fn() -> bool| {
        let started = std::time::Instant::now();
        while !condition() {
            if started.elapsed() > PATIENCE {
                return false;
            }
            thread::sleep(Duration::from_millis(10));
        }
        true
    };
    let (sender, receiver) = mpsc::channel();
    let mut child = host
        .command(std::env::current_exe().expect("this test"))
        .args(["--exact", "holder_process", "--nocapture"])
        .env(HOLDER, &host.interface)
        .spawn()
        .expect("child");
    let watched = thread::spawn(move || {
        let stop: Result<(), _> = receiver.recv_timeout(PATIENCE * 2);
        child.kill().expect("SIGKILL");
        child.wait().expect("wait");
        stop
    });
    let attached = within_patience(&|| program().is_some());
    sender.send(()).expect("watcher");
    watched.join().expect("watcher").expect("in time");
    assert!(attached, "the child never attached its program");
    assert!(within_patience(&|| program().is_none()), "the program outlived its process");
    // And the queue is free again.
    drop(open(host, host.ipv4.into(), SERVER_PORT));
}
