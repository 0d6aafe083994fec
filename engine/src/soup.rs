//! SoupBinTCP over a blocking socket, either end: frames, heartbeats, and the login of the market-data services. Not the
//! order gateway, which serves all its connections from one thread.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use wire::soupbintcp::{LoginAccepted, LoginRequest, Packet, split_frame};

/// Longest body taken from a peer: no message of ours is longer.
pub const MAX_BODY: usize = 1024;
/// Silence after which something must be sent.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
/// Silence after which the peer is given up.
pub const PEER_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a peer may take to log in.
pub const LOGIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one write may wait for a peer that does not read.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
const READ_BYTES: usize = 16 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum SoupError {
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    #[error("the peer closed the connection")]
    Closed,
    #[error("the peer sent what is not SoupBinTCP: {0}")]
    Malformed(wire::DecodeError),
    #[error("the peer has been silent for {} s", PEER_TIMEOUT.as_secs())]
    Silent,
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
        stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
        let now = Instant::now();
        Ok(Self { stream, input: Vec::with_capacity(READ_BYTES), taken: 0, heard: now, sent: now, heartbeat })
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

    /// Waits for the client's login request.
    ///
    /// # Errors
    /// Anything else came first, or nothing in time.
    pub fn await_login(&mut self) -> Result<LoginRequest, SoupError> {
        let deadline = Instant::now() + LOGIN_TIMEOUT;
        while Instant::now() < deadline {
            match self.receive(Duration::from_millis(100))? {
                Some(Packet::LoginRequest(request)) => return Ok(request),
                Some(Packet::Debug(_)) | None => {}
                Some(_) => return Err(SoupError::NoLogin),
            }
        }
        Err(SoupError::NoLogin)
    }

    pub fn send(&mut self, packet: &Packet<'_>) -> Result<(), SoupError> {
        let mut frame = [0; MAX_BODY + 2];
        let length = packet.write_frame(&mut frame);
        self.send_frames(&frame[..length])
    }

    /// Sends frames that are ready-made.
    pub fn send_frames(&mut self, frames: &[u8]) -> Result<(), SoupError> {
        self.stream.write_all(frames)?;
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
            split_frame(&self.input[self.taken..], MAX_BODY).map_err(SoupError::Malformed)?
        else {
            return Ok(None);
        };
        self.taken += consumed;
        Packet::decode(body).map(Some).map_err(SoupError::Malformed)
    }

    fn has_frame(&self) -> Result<bool, SoupError> {
        let found = split_frame(&self.input[self.taken..], MAX_BODY).map_err(SoupError::Malformed)?;
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
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                if self.heard.elapsed() > PEER_TIMEOUT {
                    Err(SoupError::Silent)
                } else {
                    Ok(false)
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Appends one Sequenced Data frame.
pub fn push_sequenced(message: &[u8], frames: &mut Vec<u8>) {
    let start = frames.len();
    frames.resize(start + message.len() + 3, 0);
    Packet::SequencedData(message).write_frame(&mut frames[start..]);
}
