//! The retransmission server under requests that are too many or too old, from sources that may not be there. That it repairs a feed is shown by
//! the suite `feed` and with other people's receivers (`tests/interop`).

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pitlane_tests::client::{enter, user};
use pitlane_tests::engine::{Engine, PASSWORD, Settings, free_port};
use pitlane_tests::process::binary;
use pitlane_tests::soup::{SoupClient, connect};
use wire::moldudp64::{HEADER_LENGTH, Header, Packet as Datagram};
use wire::soupbintcp::Packet;

const PRICE: u64 = 1_500_000;
const PATIENCE: Duration = Duration::from_secs(60);
const UNPROVEN_PER_SECOND: u32 = 100;

/// One of the loopback's addresses.
fn host(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

struct Venue {
    _engine: Engine,
    requests: SocketAddr,
    replays: SocketAddr,
    session: [u8; 10],
    next: u64,
}

impl Venue {
    /// An engine whose feed is far longer than the window in memory.
    fn open(orders: u32) -> Venue {
        let address = || SocketAddr::new(host(1), free_port());
        let (gateway, requests, replays) = (address(), address(), address());
        let settings = Settings { durability: "process", ..Settings::default() }
            .with("gateway", format!("listen = \"{gateway}\""))
            .with("session", "timeout_seconds = 600")
            .with(
                "feed",
                format!(
                    "retransmit_listen = \"{requests}\"\nreplay_listen = \"{replays}\"\nwindow_bytes = 65536"
                ),
            );
        let engine = Engine::start(&binary("pitlane"), settings).expect("an engine");
        let mut client =
            SoupClient::log_in(connect(gateway).expect("connected"), &user(1), PASSWORD, 1).expect("in");
        client.heartbeats = false;
        let mut writer = client.stream.try_clone().expect("a second handle");
        let writing = std::thread::spawn(move || {
            for urn in 1..=orders {
                let mut frame = [0; 128];
                let length = Packet::UnsequencedData(&enter(urn, b'B', 1, PRICE)).write_frame(&mut frame);
                writer.write_all(&frame[..length]).expect("sent");
            }
        });
        for _ in 0..orders {
            client.receive(b'A').expect("Accepted");
        }
        writing.join().expect("the writer");
        let mut venue = Venue { _engine: engine, requests, replays, session: [0; 10], next: 0 };
        let deadline = Instant::now() + PATIENCE;
        while venue.next < u64::from(orders) {
            let accepted = venue.log_in(host(1)).accepted;
            (venue.session, venue.next) = (accepted.session, accepted.sequence);
            assert!(Instant::now() < deadline, "the feed ends at {}", venue.next);
        }
        venue
    }

    /// To the replay port, for new messages only.
    fn log_in(&self, source: IpAddr) -> SoupClient<TcpStream> {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::new(source, 0).into()).expect("a source");
        socket.connect(&self.replays.into()).expect("a connection");
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
        SoupClient::log_in(socket.into(), "C00016", PASSWORD, 0).expect("logged in")
    }

    fn receiver(&self, source: IpAddr) -> UdpSocket {
        let socket = UdpSocket::bind(SocketAddr::new(source, 0)).expect("a socket");
        socket.connect(self.requests).expect("a peer");
        socket.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
        socket
    }

    fn request(&self, socket: &UdpSocket, sequence: u64, count: u16) {
        let mut request = [0; HEADER_LENGTH];
        Header { session: self.session, sequence, count }.write(&mut request);
        // Refused or lost, it is asked again.
        let _ = socket.send(&request);
    }

    /// Asks for the last message this many times, and counts the answers.
    fn answers(&self, socket: &UdpSocket, requests: u32) -> u32 {
        let mut answered = 0;
        let mut datagram = [0; 2048];
        for sent in 1..=requests {
            self.request(socket, self.next - 1, 1);
            // Neither side's buffer is to overflow.
            if sent % 50 == 0 || sent == requests {
                while socket.recv(&mut datagram).is_ok() {
                    answered += 1;
                    if answered == sent {
                        break;
                    }
                }
            }
        }
        answered
    }

    /// Everything from the first message on, a datagram at a time, as a receiver that asks again after a while. Returns how often it asked.
    fn read_all(&self, socket: &UdpSocket, until: u64) -> u32 {
        let (mut next, mut asked) = (1, 0);
        let deadline = Instant::now() + PATIENCE;
        while next < until {
            assert!(Instant::now() < deadline, "at {next} of {until} after {asked} requests");
            asked += 1;
            self.request(socket, next, u16::MAX - 1);
            let mut bytes = [0; 2048];
            let Ok(length) = socket.recv(&mut bytes) else { continue };
            let datagram = Datagram::parse(&bytes[..length]).expect("a datagram");
            assert_eq!(datagram.header.session, self.session);
            if datagram.header.sequence == next {
                next += u64::from(datagram.header.count);
            }
        }
        asked
    }
}

#[test]
fn a_source_that_has_shown_nothing_gets_few_answers_and_one_that_logged_in_plenty() {
    let venue = Venue::open(20_000);
    let source = host(5);
    let socket = venue.receiver(source);
    let began = Instant::now();
    let answered = venue.answers(&socket, 1500);
    // One second's at once, and then as they come.
    let allowed = f64::from(UNPROVEN_PER_SECOND) * (1.0 + began.elapsed().as_secs_f64()) + 1.0;
    assert!(answered >= 1, "a bare request gets its datagram");
    assert!(f64::from(answered) <= allowed, "{answered} answers in {:?}", began.elapsed());
    let _client = venue.log_in(source);
    assert_eq!(venue.answers(&socket, 1500), 1500);
    // Nor does anybody use up another's share.
    assert!(venue.answers(&venue.receiver(host(6)), 10) == 10);
}

#[test]
fn requests_for_old_messages_starve_nobody() {
    /// Far more than one window of what was fetched holds.
    const ORDERS: u32 = 240_000;
    const READ: u64 = 20_000;
    let venue = Venue::open(ORDERS);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for last in [7, 8] {
            let (venue, stop) = (&venue, &stop);
            scope.spawn(move || {
                let socket = venue.receiver(host(last));
                let mut sequence = u64::from(last);
                while !stop.load(Ordering::Relaxed) {
                    // All over the past: each would need a pass over the journal of its own.
                    for _ in 0..20 {
                        sequence = (sequence * 7919) % u64::from(ORDERS) + 1;
                        venue.request(&socket, sequence, 10);
                    }
                    std::thread::sleep(Duration::from_millis(2));
                }
            });
        }
        let stopping = Stop(&stop);
        let source = host(9);
        let _client = venue.log_in(source);
        let asked = venue.read_all(&venue.receiver(source), READ);
        drop(stopping);
        eprintln!("{asked} requests");
    });
}

/// Also when an assertion fails: the scope waits for its threads.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
