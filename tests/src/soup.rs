//! A SoupBinTCP client over any stream, for the suites: order entry over TCP and TLS, replays, snapshots. Does as it is told.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use wire::itch::GlimpseSnapshot;
use wire::soupbintcp::{ANY_SESSION, LoginAccepted, LoginRequest, Packet, pad_right, split_frame};

use crate::client::{LoginError, PATIENCE};

/// A read that finds nothing gives up after this: `connect` sets it.
const POLL: Duration = Duration::from_millis(20);
const MAX_BODY: usize = 1024;
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// A logged-in client.
pub struct SoupClient<S> {
    pub stream: S,
    pub accepted: LoginAccepted,
    input: Vec<u8>,
    /// When the last heartbeat was sent.
    heartbeat: Instant,
    /// Sends heartbeats while it waits. Without them it is given up after the session's timeout.
    pub heartbeats: bool,
}

/// A TCP connection whose reads do not wait for long.
pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(POLL))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl<S: Read + Write> SoupClient<S> {
    /// Logs in over `stream`, whose reads must time out.
    pub fn log_in(stream: S, user: &str, password: &str, sequence: u64) -> Result<Self, LoginError> {
        let request = LoginRequest {
            username: pad_right(user).unwrap_or([b'?'; 6]),
            password: pad_right(password).unwrap_or([b'?'; 10]),
            requested_session: ANY_SESSION,
            requested_sequence: sequence,
        };
        let accepted = LoginAccepted { session: ANY_SESSION, sequence: 0 };
        let mut client =
            Self { stream, accepted, input: Vec::new(), heartbeat: Instant::now(), heartbeats: true };
        client.send(&Packet::LoginRequest(request))?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match client.body()?.as_deref().map(Packet::decode) {
                Some(Ok(Packet::LoginAccepted(accepted))) => {
                    client.accepted = accepted;
                    return Ok(client);
                }
                Some(Ok(Packet::LoginRejected { reason })) => return Err(LoginError::Rejected(reason)),
                Some(other) => return Err(io::Error::other(format!("{other:?}")).into()),
                None => {}
            }
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "no answer to the login").into())
    }

    pub fn send(&mut self, packet: &Packet<'_>) -> io::Result<()> {
        let mut out = [0; 512];
        let length = packet.write_frame(&mut out);
        self.stream.write_all(&out[..length])?;
        self.stream.flush()
    }

    /// Sends one message of order entry.
    pub fn enter(&mut self, message: &[u8]) -> io::Result<()> {
        self.send(&Packet::UnsequencedData(message))
    }

    /// The body of the next packet, if it is there or comes within one read.
    fn body(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some((body, consumed)) = split_frame(&self.input, MAX_BODY).map_err(io::Error::other)? {
                let body = body.to_vec();
                self.input.drain(..consumed);
                return Ok(Some(body));
            }
            let mut bytes = [0; 16 * 1024];
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.input.extend_from_slice(&bytes[..count]),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The next sequenced message within `timeout`; `None` then, or when the session has ended.
    pub fn receive_within(&mut self, timeout: Duration) -> io::Result<Option<Vec<u8>>> {
        let deadline = Instant::now() + timeout;
        while Instant::now() < deadline {
            if self.heartbeats && self.heartbeat.elapsed() > HEARTBEAT_INTERVAL {
                self.heartbeat = Instant::now();
                self.send(&Packet::ClientHeartbeat)?;
            }
            let Some(body) = self.body()? else { continue };
            match Packet::decode(&body).map_err(io::Error::other)? {
                Packet::SequencedData(message) => return Ok(Some(message.to_vec())),
                Packet::EndOfSession => return Ok(None),
                _ => {}
            }
        }
        Ok(None)
    }

    /// The next sequenced message of this type, which must come; others before it are passed over.
    pub fn receive(&mut self, message_type: u8) -> io::Result<Vec<u8>> {
        let deadline = Instant::now() + PATIENCE;
        while let Some(message) = self.receive_within(deadline.saturating_duration_since(Instant::now()))? {
            if message.first() == Some(&message_type) {
                return Ok(message);
            }
        }
        let what = format!("no message of type {} came", message_type as char);
        Err(io::Error::new(io::ErrorKind::TimedOut, what))
    }
}

/// A GLIMPSE snapshot: its messages, and the sequence from which the feed goes on.
pub fn snapshot(address: SocketAddr, user: &str, password: &str) -> Result<(Vec<Vec<u8>>, u64), LoginError> {
    let mut client = SoupClient::log_in(connect(address)?, user, password, 1)?;
    let mut messages = Vec::new();
    while let Some(message) = client.receive_within(PATIENCE)? {
        if let Ok(end) = GlimpseSnapshot::parse(&message) {
            return Ok((messages, end.sequence));
        }
        messages.push(message);
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "the snapshot has no end").into())
}

/// Messages `from` to before `until` of a feed, from its replay service.
pub fn replay(
    address: SocketAddr,
    user: &str,
    password: &str,
    from: u64,
    until: u64,
) -> Result<Vec<Vec<u8>>, LoginError> {
    let mut client = SoupClient::log_in(connect(address)?, user, password, from)?;
    let mut messages = Vec::new();
    while messages.len() as u64 + from < until {
        match client.receive_within(PATIENCE)? {
            Some(message) => messages.push(message),
            None => return Err(io::Error::other(format!("{} messages, then nothing", messages.len())).into()),
        }
    }
    Ok(messages)
}
