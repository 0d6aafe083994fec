//! A client: logs in, trades at random, keeps what it sent and what it was told, and after a crash goes on from there. It believes
//! nothing: every answer is compared with what it knows.

use super::flow::Flow;
use super::truth::Truth;
use netio::random::Random;
use netio::sim::{SimNetwork, SimPort};
use netio::{Endpoint, Peer, Port};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use streams::{Duplex, ParkingPool, ReceiveConfig, SendConfig, SessionName};
use wire::control::{Cookie, MAX_LENGTH, Reply, Request};
use wire::moldudp64::{CONTROL_SESSION, HEADER_LENGTH, HEARTBEAT, Header, MAX_PAYLOAD, Packet, PacketWriter};
use wire::soupbintcp::{ANY_SESSION, LoginAccepted, LoginRequest};

pub const SYMBOLS: [[u8; 8]; 2] = [*b"AAPL    ", *b"MSFT    "];
pub const PASSWORD: [u8; 10] = *b"secret    ";
/// Messages of one client: what the engine's window retains of the answers, with room to spare.
const MESSAGES_MAX: usize = 400;
const LOGIN_RETRY_NS: u64 = 200_000_000;
/// The engine breaks its silence every second.
const SILENCE_MAX_NS: u64 = 1_500_000_000;
const PARKED_MAX: u32 = 64;

/// What survives the client's crashes: its own journal, in a manner of speaking.
#[derive(Default)]
struct Memory {
    sent: Vec<Vec<u8>>,
    received: Vec<Vec<u8>>,
    session: Option<SessionName>,
    /// The engine has confirmed messages below this sequence.
    acknowledged: u64,
}

enum State {
    Down {
        until_ns: u64,
    },
    LoggingIn {
        retry_ns: u64,
    },
    /// Accepted; where our stream goes on comes with the first acknowledgement.
    Accepted {
        accepted: LoginAccepted,
        retry_ns: u64,
    },
    Active {
        duplex: Box<Duplex>,
        handed_over: u64,
    },
}

pub struct Client {
    pub user: [u8; 6],
    index: u8,
    port: SimPort,
    incarnation: u16,
    engine: Peer,
    network: SimNetwork,
    pool: ParkingPool,
    state: State,
    /// Of the engine's last challenge.
    cookie: Option<Cookie>,
    last_heard_ns: u64,
    memory: Memory,
    flow: Flow,
    random: Random,
    /// Logins that found no place.
    pub refused: u64,
}

impl Client {
    pub fn new(network: &SimNetwork, engine: Endpoint, index: u8, random: Random) -> Result<Self, String> {
        let user = [b'C', b'0', b'0', b'0', b'0' + index / 10, b'0' + index % 10];
        Ok(Self {
            user,
            index,
            port: open(network, index, 0)?,
            incarnation: 0,
            engine: Peer::remote(engine),
            network: network.clone(),
            pool: ParkingPool::new(PARKED_MAX, MAX_PAYLOAD - HEADER_LENGTH),
            state: State::Down { until_ns: 0 },
            cookie: None,
            last_heard_ns: 0,
            memory: Memory { acknowledged: 1, ..Memory::default() },
            flow: Flow::default(),
            random,
            refused: 0,
        })
    }

    pub fn endpoint(&self) -> Endpoint {
        self.port.local()
    }

    pub fn received(&self) -> &[Vec<u8>] {
        &self.memory.received
    }

    /// It loses its memory of what it was told, and will want to hear everything again.
    pub fn forget(&mut self) {
        self.memory.received.clear();
    }

    /// The process ends and comes back at another port: what is under way to it is lost.
    pub fn crash(&mut self, now_ns: u64) -> Result<(), String> {
        self.incarnation = self.incarnation.wrapping_add(1);
        self.port = open(&self.network, self.index, self.incarnation)?;
        self.pool = ParkingPool::new(PARKED_MAX, MAX_PAYLOAD - HEADER_LENGTH);
        self.state = State::Down { until_ns: now_ns + self.random.between(0, 20_000_000) };
        self.cookie = None;
        Ok(())
    }

    /// One round: take what came, do what is due, trade if `trading`, send.
    pub fn turn(&mut self, now_ns: u64, trading: bool, truth: &Truth) -> Result<(), String> {
        let received = self.port.receive().map_err(|error| error.to_string())?;
        for index in 0..received {
            let payload = self.port.datagram(index).1.to_vec();
            self.on_datagram(&payload, now_ns, truth)?;
        }
        self.on_time(now_ns);
        if trading {
            self.trade();
        }
        self.send(now_ns);
        Ok(())
    }

    fn on_datagram(&mut self, payload: &[u8], now_ns: u64, truth: &Truth) -> Result<(), String> {
        let Ok(header) = Header::read(payload) else { return Ok(()) };
        if header.session == CONTROL_SESSION {
            let packet = Packet::parse(payload).ok();
            let body = packet.as_ref().and_then(|packet| packet.blocks().next());
            return match body.and_then(|body| Reply::decode(body).ok()) {
                Some(reply) => self.on_control(&reply, now_ns, truth),
                None => Ok(()),
            };
        }
        if let Some(name) = self.memory.session
            && header.session == upstream(&name)
            && header.count == HEARTBEAT
            && payload.len() == HEADER_LENGTH
        {
            self.on_acknowledged(header.sequence, now_ns, truth)?;
        }
        let State::Active { duplex, .. } = &mut self.state else { return Ok(()) };
        self.last_heard_ns = now_ns;
        let received = &mut self.memory.received;
        let before = received.len();
        let mut misplaced = None;
        duplex.on_datagram(payload, now_ns, &mut self.pool, |run| {
            for (sequence, message) in run.messages() {
                if sequence != received.len() as u64 + 1 {
                    misplaced.get_or_insert(sequence);
                }
                received.push(message.to_vec());
            }
        });
        if let Some(sequence) = misplaced {
            return Err(self.complaint(format!("message {sequence} out of its place")));
        }
        self.compare_received(before, truth)
    }

    /// The engine has our messages below `next`.
    fn on_acknowledged(&mut self, next: u64, now_ns: u64, truth: &Truth) -> Result<(), String> {
        if next > self.memory.sent.len() as u64 + 1 {
            return Err(self.complaint(format!("message {} acknowledged and never sent", next - 1)));
        }
        self.memory.acknowledged = self.memory.acknowledged.max(next);
        self.compare_sent(truth)?;
        if let State::Accepted { accepted, .. } = &self.state {
            // What the engine has not is sent again, under the same numbers.
            let name = accepted.session;
            let send = (SendConfig::client(), upstream(&name), next);
            let receive = (ReceiveConfig::default(), name, accepted.sequence);
            let duplex = Box::new(Duplex::new(send, receive, now_ns));
            self.state = State::Active { duplex, handed_over: next - 1 };
            self.last_heard_ns = now_ns;
        }
        Ok(())
    }

    fn on_control(&mut self, reply: &Reply, now_ns: u64, truth: &Truth) -> Result<(), String> {
        match reply {
            Reply::Challenge { cookie } => {
                if let State::LoggingIn { retry_ns } = &mut self.state {
                    self.cookie = Some(*cookie);
                    *retry_ns = now_ns;
                }
                Ok(())
            }
            Reply::Accepted(accepted) if matches!(self.state, State::LoggingIn { .. }) => {
                if self.memory.session.is_some_and(|name| name != accepted.session) {
                    return Err(self.complaint("its session has another name than before".to_owned()));
                }
                // The answer to an earlier login that asked for something else: the one to the last will come.
                if accepted.sequence != self.memory.received.len() as u64 + 1 {
                    return Ok(());
                }
                if truth.session_of(&self.user).is_none_or(|(_, name)| name != accepted.session) {
                    return Err(self.complaint("told of a session that the journal does not have".to_owned()));
                }
                self.memory.session = Some(accepted.session);
                self.state = State::Accepted { accepted: *accepted, retry_ns: now_ns + LOGIN_RETRY_NS };
                Ok(())
            }
            // There is no place for it, ever: sessions are for good.
            Reply::Rejected { .. }
                if matches!(self.state, State::LoggingIn { .. }) && self.has_no_place(truth) =>
            {
                self.refused += 1;
                self.state = State::Down { until_ns: now_ns + self.random.between(0, 1_000_000_000) };
                Ok(())
            }
            Reply::Rejected { reason } if matches!(self.state, State::LoggingIn { .. }) => {
                let wanted = self.memory.received.len() + 1;
                let reason = char::from(*reason);
                Err(self.complaint(format!("refused ({reason}) when it asked for message {wanted}")))
            }
            Reply::EndOfSession { session }
                if matches!(self.state, State::Active { .. }) && self.memory.session == Some(*session) =>
            {
                self.state = State::Down { until_ns: now_ns + self.random.between(0, 20_000_000) };
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn has_no_place(&self, truth: &Truth) -> bool {
        truth.is_full_of_sessions() && truth.session_of(&self.user).is_none()
    }

    fn complaint(&self, what: String) -> String {
        format!("client {}: {what}", self.index)
    }

    /// What this client was told since message `from` is what the engine's inputs lead to.
    fn compare_received(&self, from: usize, truth: &Truth) -> Result<(), String> {
        let told = &self.memory.received[from..];
        if told.is_empty() {
            return Ok(());
        }
        let session = truth.session_of(&self.user).map(|(session, _)| session as usize);
        let Some(streams) = session.and_then(|session| truth.sessions.get(session)) else {
            return Err(self.complaint("was sent messages of a session that does not exist".to_owned()));
        };
        for (index, message) in told.iter().enumerate() {
            let place = from + index;
            if streams.downstream.get(place) != Some(message) {
                let known = streams.downstream.len();
                let what = format!("was told message {}, which is not so ({known} exist)", place + 1);
                return Err(self.complaint(what));
            }
            let (cause, released) = (streams.causes[place], truth.released());
            if cause > released {
                let what =
                    format!("was told message {} of record {cause}, released is {released}", place + 1);
                return Err(self.complaint(what));
            }
        }
        Ok(())
    }

    /// What was acknowledged to this client exists, once, and what exists is what it sent.
    fn compare_sent(&self, truth: &Truth) -> Result<(), String> {
        let streams =
            truth.session_of(&self.user).and_then(|(session, _)| truth.sessions.get(session as usize));
        let exists = streams.map_or(&[][..], |streams| &streams.upstream);
        if (exists.len() as u64) < self.memory.acknowledged - 1 {
            let (have, told) = (exists.len(), self.memory.acknowledged - 1);
            return Err(self.complaint(format!("{told} messages were acknowledged, {have} exist")));
        }
        match exists.iter().zip(&self.memory.sent).position(|(exists, sent)| exists != sent) {
            Some(place) => Err(self.complaint(format!("message {} is not what was sent", place + 1))),
            None if exists.len() > self.memory.sent.len() => {
                Err(self.complaint("more messages exist than were sent".to_owned()))
            }
            None => Ok(()),
        }
    }

    /// Everything this client knows, compared with what is true now.
    pub fn compare(&self, truth: &Truth) -> Result<(), String> {
        self.compare_received(0, truth)?;
        self.compare_sent(truth)
    }

    /// What is still missing; None when all that was sent is acknowledged and all answers are here.
    pub fn missing(&self, truth: &Truth) -> Option<String> {
        if self.has_no_place(truth) {
            return None;
        }
        let answers = truth
            .session_of(&self.user)
            .and_then(|(session, _)| truth.sessions.get(session as usize))
            .map_or(0, |streams| streams.downstream.len());
        let state = match &self.state {
            State::Down { .. } => "down",
            State::LoggingIn { .. } => "logging in",
            State::Accepted { .. } => "accepted",
            State::Active { .. } => "active",
        };
        let Memory { sent, received, acknowledged, .. } = &self.memory;
        let active = matches!(self.state, State::Active { .. });
        (!active || *acknowledged != sent.len() as u64 + 1 || received.len() != answers).then(|| {
            let (received, sent, acknowledged) = (received.len(), sent.len(), acknowledged - 1);
            self.complaint(format!(
                "{state}, {acknowledged} of {sent} messages acknowledged, {received} of {answers} answers"
            ))
        })
    }

    fn on_time(&mut self, now_ns: u64) {
        match &mut self.state {
            State::Down { until_ns } if now_ns >= *until_ns => {
                self.state = State::LoggingIn { retry_ns: now_ns };
            }
            State::Active { duplex, .. } => {
                if now_ns >= self.last_heard_ns + SILENCE_MAX_NS {
                    duplex.receive.clear(&mut self.pool);
                    self.state = State::LoggingIn { retry_ns: now_ns };
                } else {
                    duplex.on_timer(now_ns);
                }
            }
            _ => {}
        }
        let due = match &mut self.state {
            State::LoggingIn { retry_ns } if now_ns >= *retry_ns => {
                *retry_ns = now_ns + LOGIN_RETRY_NS;
                true
            }
            // The acknowledgement was lost, and will be repeated; or the engine was.
            State::Accepted { retry_ns, .. } if now_ns >= *retry_ns => {
                *retry_ns = now_ns + LOGIN_RETRY_NS;
                true
            }
            _ => false,
        };
        if due {
            self.log_in();
        }
    }

    fn log_in(&mut self) {
        let request = LoginRequest {
            username: self.user,
            password: PASSWORD,
            requested_session: self.memory.session.unwrap_or(ANY_SESSION),
            requested_sequence: self.memory.received.len() as u64 + 1,
        };
        let mut body = [0; MAX_LENGTH];
        let length = Request::Login { request, cookie: self.cookie }.write(&mut body);
        // A full port drops it; the next attempt comes by itself.
        let _ = self.port.send(&self.engine, |out| {
            let Some(mut writer) = PacketWriter::new(out, CONTROL_SESSION, 0) else { return 0 };
            writer.push(&body[..length]);
            writer.finish()
        });
    }

    /// Thinks of new messages.
    fn trade(&mut self) {
        let count = if self.random.chance(0.2) { self.random.between(1, 4) } else { 0 };
        for _ in 0..count {
            if self.memory.sent.len() >= MESSAGES_MAX {
                return;
            }
            let message = self.flow.next(&mut self.random, &SYMBOLS);
            self.say(message);
        }
    }

    /// Sends a message as soon as the session has room for it.
    pub fn say(&mut self, message: Vec<u8>) {
        self.memory.sent.push(message);
    }

    fn send(&mut self, now_ns: u64) {
        if let State::Active { duplex, handed_over } = &mut self.state {
            while let Some(message) = self.memory.sent.get(*handed_over as usize) {
                let pushed = duplex.send.push(message.len(), |out| {
                    out[..message.len()].copy_from_slice(message);
                    message.len()
                });
                if pushed.is_err() {
                    break;
                }
                *handed_over += 1;
            }
            let mut more = true;
            while more && duplex.wants_to_send(u64::MAX) {
                let sent = self.port.send(&self.engine, |out| {
                    duplex.pack(now_ns, u64::MAX, &self.pool, out).unwrap_or_else(|| {
                        more = false;
                        0
                    })
                });
                more &= sent.is_ok();
            }
        }
        // Cannot fail: the network is memory.
        let _ = self.port.flush();
    }
}

fn open(network: &SimNetwork, index: u8, incarnation: u16) -> Result<SimPort, String> {
    let address = IpAddr::V4(Ipv4Addr::new(10, 0, 1, index));
    network.open(SocketAddr::new(address, 1_024 + incarnation)).map_err(|error| error.to_string())
}

fn upstream(downstream: &SessionName) -> SessionName {
    let mut name = *downstream;
    name[0] = b'U';
    name
}
