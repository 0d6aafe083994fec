//! SoupBinTCP over a blocking socket, either end: frames, heartbeats, and the login of the market-data services. Not the
//! order gateway, which serves all its connections from one thread.

use crate::accounts::attempts::Source;
use crate::doors::{LATE, LOGIN_TIMEOUT};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};
use wire::soupbintcp::{LoginAccepted, LoginRequest, Packet, login_reject_reason, split_frame};

/// Longest body with a meaning: no message of ours is longer. Debug packets may be as long as their length says.
pub const MAX_BODY: usize = 1024;
/// Silence after which something must be sent.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
/// Silence after which the peer is given up.
pub const PEER_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a peer may take for one write of ours, all of it: whoever reads a byte now and then is not waited for.
const WRITE_TIMEOUT: Duration = Duration::from_secs(15);
/// One look at a peer that does not read, between two looks at the clock.
const WRITE_POLL: Duration = Duration::from_secs(1);
/// How long a peer may take to close its side once ours is closed.
const LINGER: Duration = Duration::from_secs(1);
const READ_BYTES: usize = 16 * 1024;
/// What a frame's length can say.
const LONGEST_BODY: usize = u16::MAX as usize;

#[derive(Debug, thiserror::Error)]
pub enum SoupError {
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    #[error("the peer closed the connection")]
    Closed,
    #[error("the peer sent what is not SoupBinTCP: {0}")]
    Malformed(wire::DecodeError),
    #[error("the peer has sent a packet of {0} bytes; expected at most {MAX_BODY}")]
    TooLong(usize),
    #[error("the peer has been silent for {} s", PEER_TIMEOUT.as_secs())]
    Silent,
    #[error("the peer did not read what was sent in {} s: {unread} bytes are left", WRITE_TIMEOUT.as_secs())]
    DoesNotRead { unread: usize },
    #[error("login rejected: {}", reject_text(*.0))]
    Rejected(u8),
    #[error("the peer did not log in, or answer a login, in {} s", LOGIN_TIMEOUT.as_secs())]
    NoLogin,
}

fn reject_text(reason: u8) -> &'static str {
    match reason {
        b'A' => "not authorized: user name or password wrong, or not allowed here",
        b'S' => "session not available: no such session, or the sequence is not to be had",
        _ => "for a reason of the peer's own",
    }
}

/// One end of a connection.
pub struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    taken: usize,
    start: Instant,
    heard: Instant,
    sent: Instant,
    /// Which heartbeat is ours.
    heartbeat: Packet<'static>,
}

impl Connection {
    /// A server's end of an accepted connection.
    pub fn server(stream: TcpStream) -> io::Result<Self> {
        Self::new(stream, Packet::ServerHeartbeat)
    }

    fn new(stream: TcpStream, heartbeat: Packet<'static>) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(false)?;
        stream.set_write_timeout(Some(WRITE_POLL))?;
        let now = Instant::now();
        Ok(Self {
            stream,
            input: Vec::with_capacity(READ_BYTES),
            taken: 0,
            start: now,
            heard: now,
            sent: now,
            heartbeat,
        })
    }

    /// Connects and logs in; returns what the server accepted.
    ///
    /// # Errors
    /// No connection, a rejection, or no answer in time.
    pub fn log_in(
        address: std::net::SocketAddr,
        request: &LoginRequest,
    ) -> Result<(Self, LoginAccepted), SoupError> {
        let stream = TcpStream::connect_timeout(&address, LOGIN_TIMEOUT)?;
        let mut connection = Self::new(stream, Packet::ClientHeartbeat)?;
        connection.send(&Packet::LoginRequest(*request))?;
        let deadline = Instant::now() + LOGIN_TIMEOUT;
        while Instant::now() < deadline {
            match connection.receive(Duration::from_millis(100))? {
                Some(Packet::LoginAccepted(accepted)) => return Ok((connection, accepted)),
                Some(Packet::LoginRejected { reason }) => return Err(SoupError::Rejected(reason)),
                _ => {}
            }
        }
        Err(SoupError::NoLogin)
    }

    /// Waits for the client's login request, until [`LOGIN_TIMEOUT`] after the connection's start whatever it sends.
    ///
    /// # Errors
    /// Anything else came first, or nothing in time. What cannot be a login is rejected before.
    pub fn await_login(&mut self) -> Result<LoginRequest, SoupError> {
        let deadline = self.start + LOGIN_TIMEOUT;
        while Instant::now() < deadline {
            match self.receive(Duration::from_millis(100)) {
                Ok(Some(Packet::LoginRequest(request))) => return Ok(request),
                Ok(Some(Packet::Debug(_) | Packet::ClientHeartbeat) | None) => {}
                // A login whose sequence is blank, say: which messages it wants is not to be guessed.
                Err(error @ SoupError::Malformed(_)) => {
                    self.send(&Packet::LoginRejected { reason: login_reject_reason::SESSION_NOT_AVAILABLE })?;
                    return Err(error);
                }
                Ok(Some(_)) => break,
                Err(error) => return Err(error),
            }
        }
        LATE.count();
        self.send(&Packet::LoginRejected { reason: login_reject_reason::NOT_AUTHORIZED })?;
        Err(SoupError::NoLogin)
    }

    pub fn send(&mut self, packet: &Packet<'_>) -> Result<(), SoupError> {
        let mut frame = [0; MAX_BODY + 2];
        let length = packet.write_frame(&mut frame);
        self.send_frames(&frame[..length])
    }

    /// Sends frames that are ready-made.
    pub fn send_frames(&mut self, frames: &[u8]) -> Result<(), SoupError> {
        let (start, mut written) = (Instant::now(), 0);
        while written < frames.len() {
            if start.elapsed() > WRITE_TIMEOUT {
                return Err(SoupError::DoesNotRead { unread: frames.len() - written });
            }
            match self.stream.write(&frames[written..]) {
                Ok(0) => return Err(SoupError::Closed),
                Ok(count) => written += count,
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.sent = Instant::now();
        Ok(())
    }

    /// The next packet, or `None` if none came within `wait`. Sends heartbeats and notices a dead peer.
    pub fn receive(&mut self, wait: Duration) -> Result<Option<Packet<'_>>, SoupError> {
        if self.sent.elapsed() >= HEARTBEAT_INTERVAL {
            let heartbeat = self.heartbeat;
            self.send(&heartbeat)?;
        }
        if !self.has_frame()? && !self.fill(wait)? {
            return Ok(None);
        }
        if !self.has_frame()? {
            return Ok(None);
        }
        let Some((body, consumed)) =
            split_frame(&self.input[self.taken..], LONGEST_BODY).map_err(SoupError::Malformed)?
        else {
            return Ok(None);
        };
        self.taken += consumed;
        match Packet::decode(body).map_err(SoupError::Malformed)? {
            packet @ Packet::Debug(_) => Ok(Some(packet)),
            _ if body.len() > MAX_BODY => Err(SoupError::TooLong(body.len())),
            packet => Ok(Some(packet)),
        }
    }

    /// Whom attempts to log in over it are counted for.
    pub fn source(&self) -> io::Result<Source> {
        self.stream.peer_addr().map(Source::from)
    }

    /// Closes our side, and waits a moment for the peer to close its own: a socket closed with something unread resets the connection, and
    /// the peer loses what it has not read yet.
    pub fn end(mut self) {
        if self.stream.shutdown(Shutdown::Write).is_err() {
            return;
        }
        let deadline = Instant::now() + LINGER;
        while Instant::now() < deadline && self.fill(LINGER).is_ok() {
            self.input.clear();
        }
    }

    fn has_frame(&self) -> Result<bool, SoupError> {
        let found = split_frame(&self.input[self.taken..], LONGEST_BODY).map_err(SoupError::Malformed)?;
        Ok(found.is_some())
    }

    /// Reads what has come; false if nothing did within `wait`.
    fn fill(&mut self, wait: Duration) -> Result<bool, SoupError> {
        self.input.drain(..self.taken);
        self.taken = 0;
        self.stream.set_read_timeout(Some(wait.max(Duration::from_millis(1))))?;
        let mut bytes = [0; READ_BYTES];
        match self.stream.read(&mut bytes) {
            Ok(0) => Err(SoupError::Closed),
            Ok(count) => {
                self.heard = Instant::now();
                self.input.extend_from_slice(&bytes[..count]);
                Ok(true)
            }
            Err(error) if is_passing(&error) => {
                if self.heard.elapsed() > PEER_TIMEOUT {
                    Err(SoupError::Silent)
                } else {
                    Ok(false)
                }
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

/// Appends one Sequenced Data frame.
pub fn push_sequenced(message: &[u8], frames: &mut Vec<u8>) {
    let start = frames.len();
    frames.resize(start + message.len() + 3, 0);
    Packet::SequencedData(message).write_frame(&mut frames[start..]);
}
