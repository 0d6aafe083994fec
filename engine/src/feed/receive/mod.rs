//! A receiver of the feed, as a participant would write one: joins, orders, repairs gaps by requests, rebuilds the books,
//! and compares them with a snapshot. Uses nothing of the engine but what is on the wire.

use crate::feed::books::{BookError, Books, differences};
use crate::soup::{Connection, SoupError};
use netio::random::Random;
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};
use streams::{ParkingPool, ReceiveConfig, ReceiveStream, Received};
use wire::itch::GlimpseSnapshot;
use wire::moldudp64::{END_OF_SESSION, HEADER_LENGTH, HEARTBEAT, Header, MAX_PAYLOAD};
use wire::soupbintcp::{ANY_SESSION, LoginRequest, Packet};

/// Early datagrams kept.
const PARKED: u32 = 4096;
/// Messages kept to carry a snapshot forward to where we are.
const RECENT: usize = 1 << 16;
/// Retransmissions taken between two looks at the feed.
const REPAIRS_PER_TURN: usize = 64;
/// Socket buffer asked for: a burst must not be lost before we read it.
const RECEIVE_BUFFER: usize = 8 << 20;
/// How long a snapshot may take to arrive.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(30);

/// Where to listen and whom to ask.
#[derive(Debug, Clone)]
pub struct ReceiverSettings {
    /// Group and port, or own address and port.
    pub listen: SocketAddr,
    /// Address of the interface on which to join the group.
    pub interface: Ipv4Addr,
    pub requests: Option<SocketAddr>,
    /// Datagrams thrown away on purpose, in percent: to see repairs at work.
    pub lose_percent: u32,
    pub seed: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, io::Error),
    #[error("receiving: {0}")]
    Receive(io::Error),
    #[error("message {sequence} does not fit the books: {source}")]
    Book { sequence: u64, source: BookError },
    #[error("GLIMPSE: {0}")]
    Snapshot(#[from] SoupError),
    #[error("GLIMPSE: {0}")]
    SnapshotBook(BookError),
    #[error("GLIMPSE: the snapshot did not end within {} s", SNAPSHOT_TIMEOUT.as_secs())]
    SnapshotTimeout,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct ReceiveCounters {
    pub datagrams: u64,
    pub messages: u64,
    /// Thrown away on purpose.
    pub lost: u64,
    pub early: u64,
    pub duplicates: u64,
    pub requests: u64,
    pub malformed: u64,
}

/// A snapshot of the books, and the first message that is not in it.
pub struct Snapshot {
    pub books: Books,
    pub next: u64,
}

/// Follows one shard's feed.
pub struct Receiver {
    socket: UdpSocket,
    /// Answers come to us alone, which a socket bound to a group would not take.
    repairs: UdpSocket,
    requests: Option<SocketAddr>,
    stream: Option<ReceiveStream>,
    pool: ParkingPool,
    pub books: Books,
    recent: VecDeque<Vec<u8>>,
    start: Instant,
    from: u64,
    random: Random,
    lose_percent: u32,
    pub counters: ReceiveCounters,
    pub ended: bool,
}

impl Receiver {
    /// Joins the feed. `snapshot`: start from there; otherwise from the first message of the session.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub fn join(settings: &ReceiverSettings, snapshot: Option<Snapshot>) -> Result<Self, ReceiveError> {
        let failed = |error| ReceiveError::Listen(settings.listen, error);
        let socket = listen(settings).map_err(failed)?;
        let any = if settings.listen.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
        let repairs = UdpSocket::bind(any).map_err(failed)?;
        repairs.set_nonblocking(true).map_err(failed)?;
        let (books, from) = snapshot.map_or_else(|| (Books::new(), 1), |found| (found.books, found.next));
        Ok(Self {
            socket,
            repairs,
            requests: settings.requests,
            stream: None,
            pool: ParkingPool::new(PARKED, MAX_PAYLOAD),
            books,
            recent: VecDeque::with_capacity(RECENT),
            start: Instant::now(),
            from,
            random: Random::new(settings.seed),
            lose_percent: settings.lose_percent,
            counters: ReceiveCounters::default(),
            ended: false,
        })
    }

    /// Next message expected.
    pub fn next(&self) -> u64 {
        self.stream.as_ref().map_or(self.from, ReceiveStream::next)
    }

    /// Messages known to exist that have not been applied yet.
    pub fn behind(&self) -> u64 {
        self.stream.as_ref().map_or(0, ReceiveStream::behind)
    }

    /// Takes at most one datagram, waiting up to `wait`, and does what is due. `record` sees every message in order.
    ///
    /// # Errors
    /// The socket failed, or the feed contradicts itself.
    pub fn turn(&mut self, wait: Duration, record: &mut dyn FnMut(&[u8])) -> Result<(), ReceiveError> {
        let mut datagram = [0; MAX_PAYLOAD];
        self.socket
            .set_read_timeout(Some(wait.max(Duration::from_micros(100))))
            .map_err(ReceiveError::Receive)?;
        if let Some(length) = received(self.socket.recv(&mut datagram))? {
            self.take(&datagram[..length], record)?;
        }
        for _ in 0..REPAIRS_PER_TURN {
            let Some(length) = received(self.repairs.recv(&mut datagram))? else { break };
            self.take(&datagram[..length], record)?;
        }
        let now_ns = self.now_ns();
        if let Some(stream) = &mut self.stream {
            stream.on_timer(now_ns);
            let mut request = [0; HEADER_LENGTH];
            while let Some(length) = stream.pack(&self.pool, &mut request) {
                // Acknowledgements are for sessions; nobody takes them here.
                let is_request = Header::read(&request).is_ok_and(|header| header.count != HEARTBEAT);
                if let (true, Some(server)) = (is_request, self.requests) {
                    self.counters.requests += 1;
                    // Lost or refused, it is repeated.
                    let _ = self.repairs.send_to(&request[..length], server);
                }
            }
        }
        Ok(())
    }

    fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    fn take(&mut self, datagram: &[u8], record: &mut dyn FnMut(&[u8])) -> Result<(), ReceiveError> {
        if self.lose_percent > 0 && self.random.below(100) < u64::from(self.lose_percent) {
            self.counters.lost += 1;
            return Ok(());
        }
        let Ok(header) = Header::read(datagram) else {
            self.counters.malformed += 1;
            return Ok(());
        };
        let now_ns = self.now_ns();
        let from = self.from;
        let stream = self
            .stream
            .get_or_insert_with(|| ReceiveStream::new(ReceiveConfig::default(), header.session, from));
        if *stream.session() != header.session {
            self.counters.malformed += 1;
            return Ok(());
        }
        self.counters.datagrams += 1;
        let (books, recent, counters) = (&mut self.books, &mut self.recent, &mut self.counters);
        let mut failure = None;
        let received =
            stream.on_datagram(&header, &datagram[HEADER_LENGTH..], now_ns, &mut self.pool, |run| {
                for (sequence, message) in run.messages() {
                    if recent.len() == RECENT {
                        recent.pop_front();
                    }
                    recent.push_back(message.to_vec());
                    counters.messages += 1;
                    record(message);
                    if failure.is_none()
                        && let Err(source) = books.apply(message)
                    {
                        failure = Some(ReceiveError::Book { sequence, source });
                    }
                }
            });
        match received {
            Received::Parked => self.counters.early += 1,
            Received::Duplicate => self.counters.duplicates += 1,
            Received::Malformed => self.counters.malformed += 1,
            Received::Ended => self.ended = true,
            // Far behind: what the window allows is asked for by the heartbeat that this becomes.
            Received::FarAhead | Received::Dropped => {
                let heartbeat = Header { count: HEARTBEAT, ..header };
                stream.on_datagram(&heartbeat, &[], now_ns, &mut self.pool, |_| {});
            }
            Received::Delivered(_) | Received::Heartbeat => {}
        }
        if header.count == END_OF_SESSION && stream.is_ended() {
            self.ended = true;
        }
        failure.map_or(Ok(()), Err)
    }

    /// How our books differ from a snapshot; `None` when it is from another time than we can compare with: take a new one.
    ///
    /// # Errors
    /// The messages after the snapshot contradict it.
    pub fn compare(&self, snapshot: Snapshot) -> Result<Option<Vec<String>>, ReceiveError> {
        let next = self.next();
        let Some(missing) = next.checked_sub(snapshot.next).map(|count| count as usize) else {
            return Ok(None);
        };
        let Some(skipped) = self.recent.len().checked_sub(missing) else { return Ok(None) };
        let mut books = snapshot.books;
        for message in self.recent.iter().skip(skipped) {
            books.apply(message).map_err(ReceiveError::SnapshotBook)?;
        }
        Ok(Some(differences(&self.books, &books)))
    }
}

/// The length of what came, if something did.
fn received(outcome: io::Result<usize>) -> Result<Option<usize>, ReceiveError> {
    match outcome {
        Ok(length) => Ok(Some(length)),
        Err(error) => match error.kind() {
            // Refused: a request server that is not there, told by ICMP. The feed itself goes on.
            io::ErrorKind::WouldBlock
            | io::ErrorKind::TimedOut
            | io::ErrorKind::Interrupted
            | io::ErrorKind::ConnectionRefused => Ok(None),
            _ => Err(ReceiveError::Receive(error)),
        },
    }
}

fn listen(settings: &ReceiverSettings) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(settings.listen), Type::DGRAM, Some(Protocol::UDP))?;
    // Several receivers of a group on one host.
    socket.set_reuse_address(true)?;
    // The system's limit is what it may be cut to.
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.bind(&settings.listen.into())?;
    if let SocketAddr::V4(group) = settings.listen
        && group.ip().is_multicast()
    {
        socket.join_multicast_v4(group.ip(), &settings.interface)?;
    }
    if let SocketAddr::V6(group) = settings.listen
        && group.ip().is_multicast()
    {
        socket.join_multicast_v6(group.ip(), group.scope_id())?;
    }
    Ok(socket.into())
}

/// Takes a GLIMPSE snapshot.
///
/// # Errors
/// The server refuses, is silent, or sends what is no snapshot.
pub fn snapshot(
    address: SocketAddr,
    username: [u8; 6],
    password: [u8; 10],
) -> Result<Snapshot, ReceiveError> {
    let request = LoginRequest { username, password, requested_session: ANY_SESSION, requested_sequence: 1 };
    let (mut connection, _accepted) = Connection::log_in(address, &request)?;
    let mut books = Books::new();
    let deadline = Instant::now() + SNAPSHOT_TIMEOUT;
    while Instant::now() < deadline {
        let Some(Packet::SequencedData(message)) = connection.receive(Duration::from_millis(100))? else {
            continue;
        };
        if let Ok(end) = GlimpseSnapshot::parse(message) {
            // The server may have closed already: the snapshot is whole all the same.
            let _ = connection.send(&Packet::LogoutRequest);
            return Ok(Snapshot { books, next: end.sequence });
        }
        books.apply(message).map_err(ReceiveError::SnapshotBook)?;
    }
    Err(ReceiveError::SnapshotTimeout)
}
