//! One session of order entry as its client sees it: the login and the two streams. It knows no order and no socket.
//!
//! ```text
//!            login           Accepted              acknowledgement of our stream
//! LoggingIn ------> engine ------------> Resuming ------------------------------> Active
//!     ^  repeated with backoff                                                      |
//!     +------------------------- silence, if reconnecting -------------------------+
//! ```
//! The engine's first acknowledgement tells which upstream message it expects next: 1 for a new session, more for one that goes on.
//! What it has not seen is sent again from there.

use netio::Peer;
use streams::{Duplex, Event, ParkingPool, PushError, ReceiveConfig, Run, SendConfig, SessionName};
use wire::control::{Cookie, Reply, Request};
use wire::moldudp64::{CONTROL_SESSION, HEARTBEAT, Header, Packet as MoldPacket, PacketWriter};
use wire::soupbintcp::{ANY_SESSION, LoginAccepted, LoginRequest, login_reject_reason};

const MILLISECOND_NS: u64 = 1_000_000;

/// First repetition of a login; doubles up to the maximum. A password hash alone takes tens of milliseconds.
const RIDE_REQUEST_INTERVAL_NS: u64 = 250_000_000;
/// An engine that understands it answers the first order with one; of the datagrams that say so some get lost.
const RIDE_REQUESTS: u32 = 8;
const LOGIN_RETRY_NS: u64 = 200 * MILLISECOND_NS;
const LOGIN_RETRY_NS_MAX: u64 = 1000 * MILLISECOND_NS;

/// Who logs in.
#[derive(Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Credentials {
    pub username: [u8; 6],
    pub password: [u8; 10],
}

impl Credentials {
    pub fn user(&self) -> String {
        String::from_utf8_lossy(&self.username).trim_end().to_owned()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing was sent yet.
    Idle,
    LoggingIn,
    /// Accepted; the engine's next expected upstream sequence is not known yet.
    Resuming,
    Active,
    Failed(Failure),
    /// We logged out, or the engine ended the session in good order.
    Closed,
}

/// Why a session cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    Rejected(u8),
    /// After a reconnection the engine wants messages that were acknowledged before: it lost its state.
    StateLost {
        wanted: u64,
        first: u64,
        next: u64,
    },
    /// After a reconnection the engine opened another session.
    OtherSession,
    Ended,
}

impl Failure {
    pub fn describe(&self) -> String {
        match self {
            Failure::Rejected(login_reject_reason::NOT_AUTHORIZED) => "login rejected: not authorized (A). The user name or password is \
                                                                       wrong, or the account is not allowed here"
                .into(),
            Failure::Rejected(login_reject_reason::SESSION_NOT_AVAILABLE) => {
                "login rejected: session not available (S). The engine does not hold the requested session".into()
            }
            Failure::Rejected(other) => format!("login rejected for reason `{}`", other.escape_ascii()),
            Failure::StateLost { wanted, first, next } => format!(
                "the engine wants upstream message {wanted} again, but had acknowledged it: only {first} to {next} are kept. \
                 It lost what it had accepted"
            ),
            Failure::OtherSession => "after the reconnection the engine opened a new session instead of the old one".into(),
            Failure::Ended => "the engine ended the session".into(),
        }
    }
}

/// What a datagram was to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Of the streams; messages, if any, were delivered.
    Stream(Event),
    /// The session became active with it.
    Activated,
    Failed,
    Ignored,
}

pub struct Client {
    credentials: Credentials,
    peer: Peer,
    state: State,
    send_config: SendConfig,
    receive_config: ReceiveConfig,
    /// From the first login on: the downstream session, its name in the upstream, and both streams.
    streams: Option<Streams>,
    /// Of the engine's last challenge.
    cookie: Option<Cookie>,
    /// The sequence that the last login asked for; 0: any.
    requested: u64,
    login_at_ns: u64,
    login_retry_ns: u64,
    last_heard_ns: u64,
    pub logins_sent: u64,
    pub reconnections: u64,
}

struct Streams {
    downstream: SessionName,
    duplex: Duplex,
    /// False until the first acknowledgement told where our stream goes on.
    upstream_known: bool,
    /// How often the engine may still be told that acknowledgements may ride, and when next. It was heard once one rides.
    ride_requests_left: u32,
    ride_request_at_ns: u64,
}

impl Streams {
    /// The login is done: the engine may let acknowledgements ride, and does not know it yet.
    fn request_rides(&mut self, now_ns: u64) {
        self.duplex.set_rides(false);
        self.ride_requests_left = RIDE_REQUESTS;
        self.ride_request_at_ns = now_ns;
    }

    fn ride_deadline(&self) -> u64 {
        if self.ride_requests_left == 0 || self.duplex.rides() { u64::MAX } else { self.ride_request_at_ns }
    }
}

impl Client {
    pub fn new(
        credentials: Credentials,
        peer: Peer,
        send_config: SendConfig,
        receive_config: ReceiveConfig,
    ) -> Self {
        Client {
            credentials,
            peer,
            state: State::Idle,
            send_config,
            receive_config,
            streams: None,
            cookie: None,
            requested: 0,
            login_at_ns: u64::MAX,
            login_retry_ns: LOGIN_RETRY_NS,
            last_heard_ns: 0,
            logins_sent: 0,
            reconnections: 0,
        }
    }

    pub fn state(&self) -> State {
        self.state
    }

    pub fn is_active(&self) -> bool {
        self.state == State::Active
    }

    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// True if a datagram that came from and to the addresses of `other` is for this client. An address or port of ours
    /// that is zero was left to the kernel, and matches any.
    pub fn is_at(&self, other: &Peer) -> bool {
        let (mine, theirs) = (&self.peer.local, &other.local);
        self.peer.remote == other.remote
            && (mine.port == 0 || mine.port == theirs.port)
            && (mine.address == [0; 16] || mine.address == theirs.address)
    }

    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    pub fn last_heard_ns(&self) -> u64 {
        self.last_heard_ns
    }

    /// Both streams, once there has been a login.
    pub fn duplex(&self) -> Option<&Duplex> {
        self.streams.as_ref().map(|streams| &streams.duplex)
    }

    pub fn downstream(&self) -> Option<&SessionName> {
        self.streams.as_ref().map(|streams| &streams.downstream)
    }

    /// Starts logging in: for the first time, or again after a silence.
    pub fn login(&mut self, now_ns: u64) {
        if self.state == State::Active {
            self.reconnections += 1;
        }
        self.state = State::LoggingIn;
        self.login_retry_ns = LOGIN_RETRY_NS;
        self.login_at_ns = now_ns;
    }

    pub fn wants_login(&self, now_ns: u64) -> bool {
        matches!(self.state, State::LoggingIn | State::Resuming) && now_ns >= self.login_at_ns
    }

    /// Writes the login request and sets the time of its repetition.
    pub fn pack_login(&mut self, now_ns: u64, out: &mut [u8]) -> usize {
        self.login_at_ns = now_ns + self.login_retry_ns;
        self.login_retry_ns = (self.login_retry_ns * 2).min(LOGIN_RETRY_NS_MAX);
        self.logins_sent += 1;
        // 0 asks for new messages only; a session that goes on asks for what it has not seen.
        let (requested_session, requested_sequence) = match &self.streams {
            Some(streams) => (streams.downstream, streams.duplex.receive.next()),
            None => (ANY_SESSION, 0),
        };
        self.requested = requested_sequence;
        let Credentials { username, password } = self.credentials;
        let request = LoginRequest { username, password, requested_session, requested_sequence };
        pack_request(&Request::Login { request, cookie: self.cookie }, out)
    }

    /// The engine wants to see that we receive: the login goes out again, with this cookie.
    pub fn on_challenge(&mut self, cookie: Cookie, now_ns: u64) -> Outcome {
        if self.state == State::LoggingIn {
            self.cookie = Some(cookie);
            self.login_at_ns = now_ns;
        }
        Outcome::Ignored
    }

    /// The engine's answer to the login of this client.
    pub fn on_accepted(&mut self, accepted: &LoginAccepted, now_ns: u64, pool: &mut ParkingPool) -> Outcome {
        self.last_heard_ns = now_ns;
        // It may also be the answer to an earlier login, that asked for something else.
        if self.state != State::LoggingIn || (self.requested != 0 && accepted.sequence != self.requested) {
            return Outcome::Ignored;
        }
        let mut upstream = accepted.session;
        upstream[0] = b'U';
        match &self.streams {
            Some(streams) if streams.downstream == accepted.session => {}
            Some(_) => {
                self.release(pool);
                return self.fail(Failure::OtherSession);
            }
            None => {
                let duplex = Duplex::new(
                    (self.send_config.clone(), upstream, 1),
                    (self.receive_config.clone(), accepted.session, accepted.sequence),
                    now_ns,
                );
                self.streams = Some(Streams {
                    downstream: accepted.session,
                    duplex,
                    upstream_known: false,
                    ride_requests_left: 0,
                    ride_request_at_ns: u64::MAX,
                });
            }
        }
        // The acknowledgement may have been lost: a repeated login brings another.
        self.login_at_ns = now_ns + LOGIN_RETRY_NS;
        self.state = State::Resuming;
        Outcome::Ignored
    }

    pub fn on_rejected(&mut self, reason: u8) -> Outcome {
        if self.state == State::LoggingIn { self.fail(Failure::Rejected(reason)) } else { Outcome::Ignored }
    }

    /// A datagram that names one of this client's streams.
    #[inline]
    pub fn on_datagram(
        &mut self,
        payload: &[u8],
        now_ns: u64,
        pool: &mut ParkingPool,
        deliver: impl FnMut(Run<'_>),
    ) -> Outcome {
        let Some(streams) = &mut self.streams else { return Outcome::Ignored };
        if self.state == State::Active {
            let event = streams.duplex.on_datagram(payload, now_ns, pool, deliver);
            if !matches!(event, Event::Foreign | Event::Malformed) {
                self.last_heard_ns = now_ns;
            }
            return Outcome::Stream(event);
        }
        if self.state != State::Resuming {
            return Outcome::Ignored;
        }
        let Ok(header) = Header::read(payload) else { return Outcome::Ignored };
        if header.session != *streams.duplex.send.session() || header.count != HEARTBEAT {
            // Messages may come before the acknowledgement; they are ours all the same.
            return Outcome::Stream(streams.duplex.on_datagram(payload, now_ns, pool, deliver));
        }
        let next = header.sequence;
        if streams.upstream_known {
            if let Err(lost) = streams.duplex.send.resume_from(next, now_ns) {
                return self.fail(Failure::StateLost {
                    wanted: lost.wanted,
                    first: lost.first,
                    next: lost.next,
                });
            }
        } else {
            let name = *streams.duplex.send.session();
            streams.duplex.send = streams::SendStream::restore(self.send_config.clone(), name, next, now_ns);
            streams.upstream_known = true;
        }
        streams.duplex.receive.request_ack();
        streams.request_rides(now_ns);
        self.last_heard_ns = now_ns;
        self.state = State::Active;
        Outcome::Activated
    }

    /// The engine said that the session of this name is over: ours, or it was somebody else who said so.
    pub fn on_end(&mut self, name: &SessionName) -> Outcome {
        if self.state == State::Closed || self.downstream() != Some(name) {
            return Outcome::Ignored;
        }
        self.fail(Failure::Ended)
    }

    fn fail(&mut self, failure: Failure) -> Outcome {
        self.state = State::Failed(failure);
        Outcome::Failed
    }

    /// Appends a message to the upstream; refused while the session is not active or its window is full.
    #[inline]
    pub fn push(
        &mut self,
        max_length: usize,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<u64, PushError> {
        match &mut self.streams {
            Some(streams) if self.state == State::Active => streams.duplex.send.push(max_length, fill),
            _ => Err(PushError::WindowFull { unacknowledged: 0 }),
        }
    }

    /// True if one more message would be taken.
    #[inline]
    pub fn has_room(&self) -> bool {
        match &self.streams {
            Some(streams) if self.state == State::Active => {
                streams.duplex.send.unacknowledged() < self.send_config.window_messages
            }
            _ => false,
        }
    }

    #[inline]
    pub fn wants_to_send(&self) -> bool {
        self.state == State::Active
            && self.streams.as_ref().is_some_and(|streams| streams.duplex.wants_to_send(u64::MAX))
    }

    /// Builds the next datagram that should leave; 0 if there is none.
    #[inline]
    pub fn pack(&mut self, now_ns: u64, pool: &ParkingPool, out: &mut [u8]) -> usize {
        match &mut self.streams {
            Some(streams) if self.state == State::Active => {
                if now_ns >= streams.ride_deadline() {
                    streams.ride_requests_left -= 1;
                    streams.ride_request_at_ns = now_ns + RIDE_REQUEST_INTERVAL_NS;
                    return pack_request(&Request::Ride { session: streams.downstream }, out);
                }
                streams.duplex.pack(now_ns, u64::MAX, pool, out).unwrap_or(0)
            }
            _ => 0,
        }
    }

    pub fn next_deadline(&self) -> u64 {
        match (&self.streams, self.state) {
            (Some(streams), State::Active) => streams.duplex.next_deadline(),
            (_, State::LoggingIn | State::Resuming) => self.login_at_ns,
            _ => u64::MAX,
        }
    }

    pub fn on_timer(&mut self, now_ns: u64) {
        if let (Some(streams), State::Active) = (&mut self.streams, self.state) {
            streams.duplex.on_timer(now_ns);
        }
    }

    /// Ends the upstream; what is packed next tells the engine so. Call [`Client::pack_logout`] after it.
    pub fn close(&mut self) {
        if let (Some(streams), State::Active) = (&mut self.streams, self.state) {
            streams.duplex.receive.request_ack();
            streams.duplex.send.end();
        }
    }

    /// Writes the logout, after which the session takes nothing more.
    pub fn pack_logout(&mut self, pool: &mut ParkingPool, out: &mut [u8]) -> usize {
        self.release(pool);
        self.state = State::Closed;
        pack_request(&Request::Logout { session: self.downstream().copied() }, out)
    }

    fn release(&mut self, pool: &mut ParkingPool) {
        if let Some(streams) = &mut self.streams {
            streams.duplex.receive.clear(pool);
        }
    }
}

/// A control datagram to the engine; 0 if `out` is too short.
pub fn pack_request(request: &Request, out: &mut [u8]) -> usize {
    pack_control(out, |body| request.write(body))
}

/// A control datagram from the engine; 0 if `out` is too short.
pub fn pack_reply(reply: &Reply, out: &mut [u8]) -> usize {
    pack_control(out, |body| reply.write(body))
}

fn pack_control(out: &mut [u8], write: impl FnOnce(&mut [u8]) -> usize) -> usize {
    let mut body = [0; wire::control::MAX_LENGTH];
    let length = write(&mut body);
    let Some(mut writer) = PacketWriter::new(out, CONTROL_SESSION, 0) else { return 0 };
    if length == 0 || !writer.push(&body[..length]) {
        return 0;
    }
    writer.finish()
}

/// What the engine says in a control datagram.
pub fn parse_reply(datagram: &[u8]) -> Option<Reply> {
    let packet = MoldPacket::parse(datagram).ok()?;
    Reply::decode(packet.blocks().next()?).ok()
}
