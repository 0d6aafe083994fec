//! One TCP connection of the gateway: bytes in, bytes out, with or without TLS, and how far its login has come. Does not
//! block, and keeps a bounded amount of either.

use super::rings::ConnectionId;
use crate::doors::Place;
use nix::sys::epoll::EpollFlags;
use rustls::{ServerConfig, ServerConnection};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;
use wire::moldudp64;
use wire::soupbintcp::{LENGTH_FIELD, LoginAccepted, Packet};

/// Bytes of answers that may wait for a client before its requests are no longer read: TCP then holds it back until it reads.
const MAX_UNREAD: usize = 64 * 1024;
/// Bytes that may wait for a client in all: what others did to its orders, and what its requests on their way to the shard lead to (4,096 of
/// them, some 110 bytes each). Then it is cut off, and finds them after its next login.
const MAX_OUTPUT: usize = 1 << 20;
/// Bytes of requests that may wait for the shard, the longest packet among them; TCP then holds the client back. One read goes beyond.
const MAX_INPUT: usize = LENGTH_FIELD + u16::MAX as usize;
const READ_BYTES: usize = 16 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Connected,
    /// The shard has been asked; whatever else the client says waits for the answer.
    Asked,
    /// `next` is the sequence of the next message to the client.
    LoggedIn {
        next: u64,
    },
    /// Nothing more is taken from the client; what it is to be told is being written.
    Closing,
    /// Everything is written and our side is closed. What the client still sends is read and dropped, as a reset would take from it what it
    /// has not read yet.
    Lingering,
    /// To be forgotten.
    Gone,
}

pub struct Connection {
    pub number: ConnectionId,
    pub stream: TcpStream,
    pub from: SocketAddr,
    pub drop_copy: bool,
    pub stage: Stage,
    /// The shard knows of this connection and has to hear of its end.
    pub known: bool,
    pub input: Vec<u8>,
    /// The client has closed its side; what it said before is still taken.
    ended: bool,
    output: Vec<u8>,
    written: usize,
    tls: Option<Box<ServerConnection>>,
    said_goodbye: bool,
    /// Start of the connection, and of the current stage of its end.
    pub since: Instant,
    /// When the client last sent something or, while its requests are not read, took something.
    pub heard: Instant,
    pub sent: Instant,
    /// Among those looked at in this round.
    pub marked: bool,
    /// What epoll watches.
    pub watched: EpollFlags,
    _place: Place,
}

impl Connection {
    pub fn new(
        number: ConnectionId,
        stream: TcpStream,
        from: SocketAddr,
        place: Place,
        drop_copy: bool,
        tls: Option<&Arc<ServerConfig>>,
        now: Instant,
    ) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let tls = tls
            .map(|config| ServerConnection::new(Arc::clone(config)).map(Box::new))
            .transpose()
            .map_err(io::Error::other)?;
        Ok(Self {
            number,
            stream,
            from,
            drop_copy,
            stage: Stage::Connected,
            known: false,
            input: Vec::new(),
            ended: false,
            output: Vec::new(),
            written: 0,
            tls,
            said_goodbye: false,
            since: now,
            heard: now,
            sent: now,
            marked: false,
            watched: EpollFlags::EPOLLIN,
            _place: place,
        })
    }

    pub fn wants_to_read(&self) -> bool {
        match self.stage {
            Stage::Connected | Stage::Asked | Stage::LoggedIn { .. } => {
                !self.ended && self.input.len() < MAX_INPUT && !self.is_held_back()
            }
            Stage::Lingering => true,
            Stage::Closing | Stage::Gone => false,
        }
    }

    pub fn wants_to_write(&self) -> bool {
        self.written < self.output.len() || self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Too many answers wait: no request is read or taken until the client has read some.
    pub fn is_held_back(&self) -> bool {
        self.unread() > MAX_UNREAD
    }

    fn unread(&self) -> usize {
        self.output.len() - self.written
    }

    /// The client will say no more: what it said is in `input`.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Takes what has arrived.
    pub fn read(&mut self, now: Instant) {
        let outcome = match &mut self.tls {
            None => read_plain(&mut self.stream, &mut self.input),
            Some(tls) => read_tls(tls, &mut self.stream, &mut self.input),
        };
        let lingers = self.stage == Stage::Lingering;
        if lingers {
            self.input.clear();
        }
        match outcome {
            Ok(0) if lingers => self.stage = Stage::Gone,
            Ok(0) => self.ended = true,
            Ok(_) => self.heard = now,
            Err(error) if is_passing(&error) => {}
            Err(error) => {
                tracing::info!(from = %self.from, %error, "a connection is closed");
                self.stage = Stage::Gone;
            }
        }
    }

    /// Writes what waits, as far as the socket takes it.
    pub fn write(&mut self, now: Instant) {
        let (held_back, before) = (self.is_held_back(), self.written);
        let outcome = match &mut self.tls {
            None => write_plain(&mut self.stream, &self.output, &mut self.written),
            Some(tls) => write_tls(tls, &mut self.stream, &self.output, &mut self.written),
        };
        if outcome.is_err() {
            self.stage = Stage::Gone;
        }
        if held_back && self.written > before {
            self.heard = now;
        }
        if self.written == self.output.len() {
            self.output.clear();
            self.written = 0;
            if self.stage == Stage::Closing {
                self.say_goodbye(now);
            }
        } else if self.written > MAX_OUTPUT {
            self.output.drain(..self.written);
            self.written = 0;
        }
    }

    /// Everything is written: TLS has a last word, without which the client must take the end for a cut.
    fn say_goodbye(&mut self, now: Instant) {
        if let Some(tls) = &mut self.tls
            && !self.said_goodbye
        {
            self.said_goodbye = true;
            tls.send_close_notify();
            if write_tls(tls, &mut self.stream, &[], &mut 0).is_err() {
                self.stage = Stage::Gone;
            }
        }
        if !self.wants_to_write() {
            self.since = now;
            self.stage = match self.stream.shutdown(Shutdown::Write) {
                Ok(()) if !self.ended => Stage::Lingering,
                _ => Stage::Gone,
            };
        }
    }

    pub fn send(&mut self, packet: &Packet<'_>, now: Instant) {
        if self.stage == Stage::Gone {
            return;
        }
        let start = self.output.len();
        if self.unread() > MAX_OUTPUT {
            tracing::warn!(from = %self.from, "a client does not read: its connection is closed");
            self.stage = Stage::Gone;
            return;
        }
        // The longest packet is a message of 256 bytes with type and length.
        self.output.resize(start + 320, 0);
        let length = packet.write_frame(&mut self.output[start..]);
        self.output.truncate(start + length);
        self.sent = now;
    }

    pub fn accept(&mut self, accepted: LoginAccepted, now: Instant) {
        self.stage = Stage::LoggedIn { next: accepted.sequence };
        self.send(&Packet::LoginAccepted(accepted), now);
    }

    /// Tells why there is no session, as the last thing.
    pub fn reject(&mut self, reason: u8, now: Instant) {
        self.send(&Packet::LoginRejected { reason }, now);
        self.close();
    }

    /// Passes on the messages of a datagram that the client does not have. Returns how many it held.
    pub fn deliver(&mut self, datagram: &[u8], now: Instant) -> u64 {
        let Stage::LoggedIn { next } = self.stage else { return 0 };
        let Ok(packet) = moldudp64::Packet::parse(datagram) else { return 0 };
        if packet.header.sequence > next {
            // SoupBinTCP has no gaps: the client logs in again and asks for what it lacks.
            tracing::warn!(from = %self.from, next, "a client fell behind its session's window");
            self.stage = Stage::Gone;
            return 0;
        }
        let mut sequence = packet.header.sequence;
        for message in packet.blocks() {
            if sequence >= next {
                self.send(&Packet::SequencedData(message), now);
            }
            sequence += 1;
        }
        if let Stage::LoggedIn { next } = &mut self.stage {
            *next = sequence.max(*next);
        }
        // A burst of the shard's (a replay, say) is not a client that does not read.
        if self.is_held_back() {
            self.write(now);
        }
        u64::from(packet.header.count)
    }

    /// Ends it, once what it is to be told is written.
    pub fn close(&mut self) {
        if !matches!(self.stage, Stage::Gone | Stage::Lingering) {
            self.stage = Stage::Closing;
        }
    }

    /// What epoll should watch.
    pub fn wanted(&self) -> EpollFlags {
        let mut events = EpollFlags::empty();
        events.set(EpollFlags::EPOLLIN, self.wants_to_read());
        events.set(EpollFlags::EPOLLOUT, self.wants_to_write());
        events
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn write_plain(stream: &mut TcpStream, output: &[u8], written: &mut usize) -> io::Result<()> {
    while *written < output.len() {
        match stream.write(&output[*written..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => *written += count,
            Err(error) if is_passing(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Appends what the socket has, up to a limit, and returns its length; 0 is the end.
fn read_plain(stream: &mut TcpStream, input: &mut Vec<u8>) -> io::Result<usize> {
    let mut bytes = [0; READ_BYTES];
    let count = stream.read(&mut bytes)?;
    input.extend_from_slice(&bytes[..count]);
    Ok(count)
}

/// Takes what the socket has, up to a limit, and appends everything that could be decrypted: what stayed in the TLS session would
/// not make the socket readable again. `Ok(0)` is the end.
fn read_tls(tls: &mut ServerConnection, stream: &mut TcpStream, input: &mut Vec<u8>) -> io::Result<usize> {
    let received = tls.read_tls(stream)?;
    if received == 0 {
        return Ok(0);
    }
    if let Err(error) = tls.process_new_packets() {
        // The client is told by an alert, if it still listens; the connection ends either way.
        let _ = tls.write_tls(stream);
        return Err(io::Error::other(format!("TLS: {error}")));
    }
    let (mut bytes, before) = ([0; READ_BYTES], input.len());
    loop {
        match tls.reader().read(&mut bytes) {
            // The client has closed its side; what it said before is taken first.
            Ok(0) => return Ok(input.len() - before),
            Ok(count) => input.extend_from_slice(&bytes[..count]),
            Err(error) if is_passing(&error) => return Ok(received),
            Err(error) => return Err(error),
        }
    }
}

fn write_tls(
    tls: &mut ServerConnection,
    stream: &mut TcpStream,
    output: &[u8],
    written: &mut usize,
) -> io::Result<()> {
    loop {
        if *written < output.len() {
            // rustls takes a bounded amount at a time; the rest stays in the output.
            *written += tls.writer().write(&output[*written..])?;
        }
        if !tls.wants_write() {
            return Ok(());
        }
        match tls.write_tls(stream) {
            Ok(_) => {}
            Err(error) if is_passing(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
