//! A client of the order-entry protocol that does as it is told, right or wrong: what the suites speak to the engine with.
//! Not a good client: nothing is retransmitted, and gaps are an error of the test.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use wire::control::{Reply, Request};
use wire::moldudp64::{CONTROL_SESSION, HEARTBEAT, Header, MAX_PAYLOAD, Packet, PacketWriter};
use wire::ouch::inbound::{AccountQuery, CancelOrder, EnterOrder};
use wire::ouch::outbound::{AccountQueryResponseView, OrderAcceptedView, SystemEvent};
use wire::soupbintcp::{self, ANY_SESSION, LoginAccepted, LoginRequest};

/// Time for an answer. An unoptimised engine beside other work may be slow; a test that waits this long fails.
pub const PATIENCE: Duration = Duration::from_secs(10);
const LOGIN_RETRY: Duration = Duration::from_millis(300);

/// A socket that may be logged in.
pub struct Client {
    socket: UdpSocket,
    pub downstream: [u8; 10],
    pub upstream: [u8; 10],
    /// Next answer expected.
    pub next_downstream: u64,
    /// Number of the next message we send.
    pub next_upstream: u64,
    /// What the engine last acknowledged.
    pub acknowledged: u64,
    /// False for a client of a protocol without challenges.
    pub answers_challenges: bool,
    ready: VecDeque<Vec<u8>>,
}

/// Why there is no session.
#[derive(Debug)]
pub enum LoginError {
    Rejected(u8),
    Io(io::Error),
}

impl From<io::Error> for LoginError {
    fn from(error: io::Error) -> LoginError {
        LoginError::Io(error)
    }
}

impl Client {
    /// A socket that sends to the engine; not logged in.
    pub fn connect(engine: SocketAddr) -> io::Result<Client> {
        Client::connect_from(if engine.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() }, engine)
    }

    /// The same from an address of this host.
    pub fn connect_from(local: IpAddr, engine: SocketAddr) -> io::Result<Client> {
        let socket = UdpSocket::bind((local, 0))?;
        socket.connect(engine)?;
        Ok(Client::of(socket))
    }

    /// A program that has been started again at the same address: it knows nothing of the session.
    pub fn restarted(self) -> Client {
        Client::of(self.socket)
    }

    fn of(socket: UdpSocket) -> Client {
        Client {
            socket,
            downstream: [0; 10],
            upstream: [0; 10],
            next_downstream: 1,
            next_upstream: 1,
            acknowledged: 1,
            answers_challenges: true,
            ready: VecDeque::new(),
        }
    }

    /// A logged-in client: account number `account` from 1, from the first message of its session.
    pub fn open(engine: SocketAddr, account: usize) -> Result<Client, LoginError> {
        let mut client = Client::connect(engine)?;
        client.login(&user(account), crate::engine::PASSWORD, 1)?;
        Ok(client)
    }

    /// Logs in, asking for messages from `sequence`.
    pub fn login(&mut self, user: &str, password: &str, sequence: u64) -> Result<LoginAccepted, LoginError> {
        self.login_as(&login_request(user, password, sequence))
    }

    /// One attempt at a login, given up after `patience`.
    pub fn try_login(
        &mut self,
        user: &str,
        password: &str,
        patience: Duration,
    ) -> Result<LoginAccepted, LoginError> {
        self.login_within(&login_request(user, password, 1), patience)
    }

    /// Logs in with exactly this request, repeated until it is answered.
    pub fn login_as(&mut self, request: &LoginRequest) -> Result<LoginAccepted, LoginError> {
        self.login_within(request, PATIENCE)
    }

    fn login_within(
        &mut self,
        request: &LoginRequest,
        patience: Duration,
    ) -> Result<LoginAccepted, LoginError> {
        let deadline = Instant::now() + patience;
        // Datagrams of the session may overtake the answer that names it.
        let mut early: Vec<Vec<u8>> = Vec::new();
        let mut cookie = None;
        while Instant::now() < deadline {
            self.request(&Request::Login { request: *request, cookie })?;
            let retry = (Instant::now() + LOGIN_RETRY).min(deadline);
            while let Some(datagram) = self.receive_raw(retry.saturating_duration_since(Instant::now()))? {
                match control_body(&datagram) {
                    Some(Reply::Accepted(accepted)) => {
                        self.downstream = accepted.session;
                        self.upstream = accepted.session;
                        self.upstream[0] = b'U';
                        self.next_downstream = accepted.sequence;
                        self.ready.clear();
                        self.acknowledged = 0;
                        for datagram in &early {
                            self.take(datagram)?;
                        }
                        self.await_acknowledgement()?;
                        return Ok(accepted);
                    }
                    Some(Reply::Rejected { reason }) => return Err(LoginError::Rejected(reason)),
                    // Logins queue up: the engine wants to see that this one's source receives.
                    Some(Reply::Challenge { cookie: given }) if self.answers_challenges => {
                        cookie = Some(given);
                        break;
                    }
                    _ => early.push(datagram.clone()),
                }
            }
        }
        Err(timed_out("no answer to the login").into())
    }

    /// The engine says with its first acknowledgement where our stream goes on.
    fn await_acknowledgement(&mut self) -> io::Result<()> {
        self.acknowledge()?;
        let deadline = Instant::now() + PATIENCE;
        while self.acknowledged == 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            let datagram =
                self.receive_raw(left)?.ok_or_else(|| timed_out("no acknowledgement after the login"))?;
            self.take(&datagram)?;
        }
        self.next_upstream = self.acknowledged;
        Ok(())
    }

    /// A control datagram.
    pub fn request(&self, request: &Request) -> io::Result<()> {
        let mut body = [0; wire::control::MAX_LENGTH];
        let length = request.write(&mut body);
        self.control(&body[..length])
    }

    /// A control datagram with any body.
    pub fn control(&self, body: &[u8]) -> io::Result<()> {
        self.send_raw(&datagram(CONTROL_SESSION, 0, &[body]))
    }

    pub fn logout(&self) -> io::Result<()> {
        self.request(&Request::Logout { session: Some(self.downstream) })
    }

    /// Any bytes.
    pub fn send_raw(&self, bytes: &[u8]) -> io::Result<()> {
        match self.socket.send(bytes) {
            // The answer to an earlier datagram: nobody listened then.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// The next messages of our stream in one datagram.
    pub fn send(&mut self, messages: &[&[u8]]) -> io::Result<()> {
        let bytes = datagram(self.upstream, self.next_upstream, messages);
        self.next_upstream += messages.len() as u64;
        self.send_raw(&bytes)
    }

    /// Tells the engine what we have.
    pub fn acknowledge(&self) -> io::Result<()> {
        self.send_raw(&header(self.downstream, self.next_downstream, HEARTBEAT))
    }

    /// Any datagram that comes within `timeout`.
    pub fn receive_raw(&self, timeout: Duration) -> io::Result<Option<Vec<u8>>> {
        self.socket.set_read_timeout(Some(timeout.max(Duration::from_millis(1))))?;
        let mut buffer = [0; 2048];
        match self.socket.recv(&mut buffer) {
            Ok(length) => Ok(Some(buffer[..length].to_vec())),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::ConnectionRefused
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The next answer in sequence, within `timeout`. System events are no answers and are passed over.
    pub fn receive_within(&mut self, timeout: Duration) -> io::Result<Option<Vec<u8>>> {
        let deadline = Instant::now() + timeout;
        loop {
            while let Some(message) = self.ready.pop_front() {
                if message.first() != Some(&SystemEvent::TYPE) {
                    return Ok(Some(message));
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            if let Some(datagram) = self.receive_raw(left)? {
                self.take(&datagram)?;
            }
        }
    }

    /// The next answer, which must come.
    pub fn receive(&mut self) -> io::Result<Vec<u8>> {
        self.receive_within(PATIENCE)?.ok_or_else(|| timed_out("no answer"))
    }

    /// A datagram of the session: its messages, in order, are answers to come.
    pub fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        let packet =
            Packet::parse(bytes).map_err(|error| io::Error::other(format!("{error}: {bytes:02x?}")))?;
        let Header { session, sequence, count } = packet.header;
        if session == self.upstream && count == HEARTBEAT {
            self.acknowledged = sequence;
        }
        if session != self.downstream {
            return Ok(());
        }
        for (number, message) in (sequence..).zip(packet.blocks()) {
            if number == self.next_downstream {
                self.ready.push_back(message.to_vec());
                self.next_downstream += 1;
            }
        }
        if packet.blocks().next().is_some() {
            self.acknowledge()?;
        }
        Ok(())
    }

    /// Enters a visible day limit order and returns its answer.
    pub fn enter(&mut self, urn: u32, side: u8, quantity: u32, price: u64) -> io::Result<Vec<u8>> {
        self.send(&[&enter(urn, side, quantity, price)])?;
        self.receive()
    }

    /// Enters an order that must be accepted.
    pub fn enter_accepted(&mut self, urn: u32, side: u8, quantity: u32, price: u64) -> io::Result<()> {
        let answer = self.enter(urn, side, quantity, price)?;
        match OrderAcceptedView::parse(&answer) {
            Ok(accepted) if accepted.user_ref_num() == urn => Ok(()),
            _ => Err(io::Error::other(format!("order {urn} was not accepted: {answer:02x?}"))),
        }
    }

    /// The engine's idea of our next UserRefNum: a question that changes nothing.
    pub fn next_user_ref_num(&mut self) -> io::Result<u32> {
        let mut out = [0; 16];
        let length = AccountQuery {}.write(&[], &mut out);
        self.send(&[&out[..length]])?;
        let answer = self.receive()?;
        AccountQueryResponseView::parse(&answer)
            .map(|view| view.next_user_ref_num())
            .map_err(|error| io::Error::other(format!("{error}: {answer:02x?}")))
    }
}

/// User name of an account of [`crate::engine::Settings`], numbered from 1.
pub fn user(account: usize) -> String {
    format!("C{account:05}")
}

pub fn login_request(user: &str, password: &str, sequence: u64) -> LoginRequest {
    LoginRequest {
        username: soupbintcp::pad_right(user).unwrap_or([b'?'; 6]),
        password: soupbintcp::pad_right(password).unwrap_or([b'?'; 10]),
        requested_session: ANY_SESSION,
        requested_sequence: sequence,
    }
}

/// An Enter Order for AAPL.
pub fn enter(urn: u32, side: u8, quantity: u32, price: u64) -> Vec<u8> {
    enter_order(&order(urn, side, quantity, price))
}

/// The same, to be changed before it is written.
pub fn order(urn: u32, side: u8, quantity: u32, price: u64) -> EnterOrder {
    EnterOrder {
        user_ref_num: urn,
        side,
        quantity,
        symbol: *b"AAPL    ",
        price,
        time_in_force: wire::ouch::time_in_force::DAY,
        display: b'Y',
        capacity: b'P',
        inter_market_sweep_eligibility: b'N',
        cross_type: b'N',
        cl_ord_id: [b' '; 14],
    }
}

pub fn enter_order(order: &EnterOrder) -> Vec<u8> {
    let mut out = [0; wire::ouch::MAX_MESSAGE_LENGTH];
    let length = order.write(&[], &mut out);
    out[..length].to_vec()
}

/// A Cancel Order of everything that is left.
pub fn cancel(urn: u32) -> Vec<u8> {
    let mut out = [0; wire::ouch::MAX_MESSAGE_LENGTH];
    let length = CancelOrder { user_ref_num: urn, quantity: 0 }.write(&[], &mut out);
    out[..length].to_vec()
}

/// A header alone: heartbeat, acknowledgement or request.
pub fn header(session: [u8; 10], sequence: u64, count: u16) -> Vec<u8> {
    let mut out = vec![0; 20];
    Header { session, sequence, count }.write(&mut out);
    out
}

/// A datagram of messages. They must fit.
pub fn datagram(session: [u8; 10], sequence: u64, messages: &[&[u8]]) -> Vec<u8> {
    let mut out = vec![0; MAX_PAYLOAD];
    let length = PacketWriter::new(&mut out, session, sequence).map_or(0, |mut writer| {
        for message in messages {
            assert!(writer.push(message), "the test's messages do not fit one datagram");
        }
        writer.finish()
    });
    out.truncate(length);
    out
}

/// What the engine says in a control datagram.
pub fn control_body(datagram: &[u8]) -> Option<Reply> {
    let packet = Packet::parse(datagram).ok()?;
    let body = packet.blocks().next().filter(|_| packet.header.session == CONTROL_SESSION)?;
    Reply::decode(body).ok()
}

fn timed_out(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}
