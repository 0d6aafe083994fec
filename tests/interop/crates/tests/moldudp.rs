//! The live feed followed by the crate moldudp through a network that loses every tenth datagram, of the feed and of the repairs: in
//! the end it has every message, in order. The crate receives, finds gaps and asks for them; the reader below puts its datagrams in
//! order and asks again for what was lost once more, which the crate leaves to its user.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use moldudp::{MoldUDP64, Packet, PacketKind, RetransmissionPacket, RetransmissionRequest};
use pitlane_tests::engine::{Engine, PASSWORD, Settings, free_port};
use pitlane_tests::process::{Process, binary};
use pitlane_tests::soup::{SoupClient, connect, replay, snapshot};

const LOSE_PERCENT: u64 = 10;
/// The relay sends to it: the engine does not, so that nothing comes past the loss.
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 77, 3, 11);
const READER: &str = "C00016";
const ORDERS_PER_SECOND: &str = "2000";
const BUSY: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(60);
/// Time for an answer before what is missing is asked for again.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// Messages asked for in one request: the server answers each with one datagram.
const MESSAGES_PER_REQUEST: u64 = 30;
/// Requests sent again at a time.
const REQUESTS_AT_ONCE: usize = 64;

/// Loses datagrams by a seeded draw (splitmix64): the same seed loses the same ones.
struct Loss(u64);

impl Loss {
    fn strikes(&mut self) -> bool {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % 100 < LOSE_PERCENT
    }
}

#[derive(Default)]
struct Counted {
    passed: AtomicU64,
    lost: AtomicU64,
}

/// The lossy network: threads that pass on what they receive, or not.
struct Network {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    feed: Arc<Counted>,
    repairs: Arc<Counted>,
    /// Where requests go.
    requests: SocketAddr,
}

impl Network {
    /// The feed from `engine_feed` (where the engine sends it) to the group; requests to `server` and its answers back.
    fn start(engine_feed: UdpSocket, group: SocketAddrV4, server: SocketAddr, seed: u64) -> Network {
        let stop = Arc::new(AtomicBool::new(false));
        let (feed, repairs) = (Arc::new(Counted::default()), Arc::new(Counted::default()));
        let out = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        // By the loopback, never by the route that the machine has for groups.
        socket2::SockRef::from(&out).set_multicast_if_v4(&Ipv4Addr::LOCALHOST).expect("multicast");
        let entrance = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let requests = entrance.local_addr().expect("an address");
        for socket in [&engine_feed, &entrance] {
            socket.set_read_timeout(Some(Duration::from_millis(20))).expect("timeout");
        }
        let mut threads = Vec::new();
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&feed));
        threads.push(std::thread::spawn(move || {
            let mut loss = Loss(seed);
            let mut datagram = [0; 2048];
            while !stopped.load(Ordering::Acquire) {
                let Ok(length) = engine_feed.recv(&mut datagram) else { continue };
                if loss.strikes() {
                    counted.lost.fetch_add(1, Ordering::Relaxed);
                } else if out.send_to(&datagram[..length], group).is_ok() {
                    counted.passed.fetch_add(1, Ordering::Relaxed);
                }
            }
        }));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&repairs));
        threads.push(std::thread::spawn(move || {
            let mut loss = Loss(!seed);
            let mut datagram = [0; 2048];
            let mut client = None;
            while !stopped.load(Ordering::Acquire) {
                let Ok((length, from)) = entrance.recv_from(&mut datagram) else { continue };
                let to = if from == server {
                    client
                } else {
                    client = Some(from);
                    Some(server)
                };
                if loss.strikes() {
                    counted.lost.fetch_add(1, Ordering::Relaxed);
                } else if to.is_some_and(|to| entrance.send_to(&datagram[..length], to).is_ok()) {
                    counted.passed.fetch_add(1, Ordering::Relaxed);
                }
            }
        }));
        Network { stop, threads, feed, repairs, requests }
    }

    fn end(self) -> (u64, u64) {
        self.stop.store(true, Ordering::Release);
        self.threads.into_iter().for_each(|thread| thread.join().expect("a relay"));
        (self.feed.lost.load(Ordering::Relaxed), self.repairs.lost.load(Ordering::Relaxed))
    }
}

/// What the reader has of the stream.
#[derive(Default)]
struct Reader {
    messages: Vec<Vec<u8>>,
    early: BTreeMap<u64, Vec<u8>>,
    /// Beyond the last message known to exist.
    end: u64,
}

impl Reader {
    fn next(&self) -> u64 {
        self.messages.len() as u64 + 1
    }

    /// Runs of missing messages: first, and how many.
    fn missing(&self) -> Vec<(u64, u64)> {
        let mut next = self.next();
        let mut runs = Vec::new();
        for &present in self.early.keys().chain(&[self.end]) {
            while next < present {
                let count = (present - next).min(MESSAGES_PER_REQUEST);
                runs.push((next, count));
                next += count;
            }
            next = present + 1;
        }
        runs
    }

    fn take(&mut self, packet: &Packet<'_>) {
        let mut sequence = packet.seq_num();
        if let PacketKind::Standard = packet.packet_kind() {
            let mut count = 0;
            for message in packet.iter() {
                if sequence >= self.next() {
                    self.early.insert(sequence, message.data().to_vec());
                }
                sequence += 1;
                count += 1;
            }
            assert_eq!(count, packet.msg_count(), "the crate reads every block of a datagram");
        }
        self.end = self.end.max(sequence);
        while let Some(message) = self.early.remove(&self.next()) {
            self.messages.push(message);
        }
    }
}

#[test]
fn moldudp_follows_the_live_feed_through_ten_percent_loss() {
    let seed = std::env::var("PITLANE_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("PITLANE_SEED={seed}");
    let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let (server, replays, glimpse) = (address(free_port()), address(free_port()), address(free_port()));
    let engine_feed = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let receiver = engine_feed.local_addr().expect("an address");
    let settings = Settings { durability: "process", idle: "park", ..Settings::default() }.with(
        "feed",
        format!(
            "receivers = [\"{receiver}\"]\nretransmit_listen = \"{server}\"\nreplay_listen = \"{replays}\"\n\
             glimpse_listen = \"{glimpse}\""
        ),
    );
    // Before the engine: its first messages leave when it starts, and are lost or not like all others.
    let group = SocketAddrV4::new(GROUP, free_port());
    let network = Network::start(engine_feed, group, server, seed);
    let engine = Engine::start(&binary("pitlane"), settings).expect("an engine");
    let session = SoupClient::log_in(connect(replays).expect("a connection"), READER, PASSWORD, 0);
    let session = session.expect("a login").accepted.session;
    let (datagrams, requests) = MoldUDP64::builder()
        .multicast_addr(group)
        .interface_addr(Ipv4Addr::LOCALHOST)
        .rerequest_server_addrs(vec![network.requests])
        .expected_session_ident(String::from_utf8(session.to_vec()).expect("ASCII"))
        .expected_seq_num(1)
        .build()
        .start()
        .expect("the receiver joins the group");

    let mut load = Process::new(
        Command::new(binary("pitlane-loadgen"))
            .args(["run", "--target", &engine.address().to_string(), "--password", PASSWORD, "--quiet"])
            .args(["--clients", "4", "--rate", ORDERS_PER_SECOND, "--warmup", "0s", "--duration", "600s"])
            .args(["--idle", "park", "--seed", &(seed >> 1).to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the load generator"),
    );
    let mut reader = Reader::default();
    let mut asked = Instant::now();
    let (mut asked_again, began) = (0u64, Instant::now());
    let mut whole = None;
    while whole.is_none_or(|whole| reader.next() < whole) {
        assert!(
            began.elapsed() < PATIENCE,
            "seed {seed}: message {} of {:?} has not come\n{}",
            reader.next(),
            whole,
            engine.log_text()
        );
        if let Ok(datagram) = datagrams.recv_timeout(Duration::from_millis(5)) {
            reader.take(&Packet::new(datagram.bytes()));
        }
        if asked.elapsed() > ASK_AGAIN {
            asked = Instant::now();
            for (first, count) in reader.missing().into_iter().take(REQUESTS_AT_ONCE) {
                asked_again += 1;
                let packet = RetransmissionPacket::new(session, first, count as u16);
                requests.try_send(RetransmissionRequest::new(packet)).ok().expect("room for a request");
            }
        }
        if whole.is_none() && began.elapsed() > BUSY {
            // The load generator cancels what it has open, and then nothing happens any more.
            load.terminate(PATIENCE).expect("the load generator ends");
            let (_, next) = snapshot(glimpse, READER, PASSWORD).expect("a snapshot");
            whole = Some(next);
        }
    }
    let next = reader.next();
    let journaled = replay(replays, READER, PASSWORD, 1, next).expect("the whole feed");
    let (lost, repairs_lost) = network.end();
    eprintln!(
        "{} messages; {lost} datagrams of the feed and {repairs_lost} of the repairs were lost; asked again {asked_again} times",
        next - 1
    );
    assert!(next > 5_000 && lost > 100 && repairs_lost > 10, "a busy run, and a bad network");
    let differs = reader.messages.iter().zip(&journaled).position(|(ours, theirs)| ours != theirs);
    assert_eq!((differs, reader.messages.len()), (None, journaled.len()), "seed {seed}");
}
