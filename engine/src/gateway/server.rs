//! The gateway's thread: accepts, reads, asks the shard, writes. Everything it holds is bounded, and a full ring to the
//! shard holds the clients back, never the shard.

use super::connection::{Connection, Stage};
use super::rings::{ConnectionId, FromShard, MAX_BLOCK, ShardLink, ToShard};
use super::tls;
use crate::config::GatewayConfig;
use crate::doors::{LATE, LOGIN_TIMEOUT, Places};
use crate::feed::send::receivers::address_of;
use anyhow::Context;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use rustls::ServerConfig;
use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use wire::moldudp64::BLOCK_HEADER_LENGTH;
use wire::ouch::MAX_MESSAGE_LENGTH;
use wire::soupbintcp::{self, Packet, login_reject_reason, split_frame};

/// Silence after which something is sent, and after which a client is given up (SoupBinTCP: "typically 15 seconds").
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
/// How long a client may take to close its side once ours is closed.
const LINGER: Duration = Duration::from_secs(1);
/// How often timers are looked at, and how long the thread sleeps at most.
const TIMER_INTERVAL: Duration = Duration::from_millis(100);
/// How long the thread stays awake for the shard's answer to what it has passed on: waking it costs the shard a system call and the client
/// some microseconds. A shard with a core of its own answers in two or three.
const SPIN: Duration = Duration::from_micros(50);
/// Looks at the shard's ring between two looks at the sockets while it stays awake.
const LOOKS_PER_SPIN: usize = 16;
/// Sleep while the shard's ring is full: it is behind, and does not ring when it has taken something.
const WAIT_FOR_ROOM: Duration = Duration::from_millis(1);
/// Items taken from the shard in one go.
const ITEMS_PER_ROUND: usize = 1024;
/// Packets taken from one client before the others have their turn.
const FRAMES_PER_ROUND: usize = 256;
/// Connections accepted by one listener before anything else is looked at.
const ACCEPTS_PER_ROUND: usize = 16;
/// Sockets whose readiness is fetched at once.
const EVENTS_PER_ROUND: usize = 256;
/// Longest packet with a meaning that a client may send: a login or a message with its type. Debug packets may be as long as their length says.
const MAX_BODY: usize = MAX_MESSAGE_LENGTH + 1;
/// Type of a debug packet.
const DEBUG: u8 = b'+';
/// What epoll tells of: numbers of connections, and above them the listeners and the bell.
const LISTENERS: u64 = 1 << 32;
const BELL: u64 = 1 << 33;

/// The running gateway of a shard. Dropping it stops it.
pub struct Gateway {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

/// Listens and serves.
///
/// # Errors
/// An address is taken, or the certificate cannot be used.
pub fn start(
    config: &GatewayConfig,
    shard: usize,
    timeout: Duration,
    link: ShardLink,
) -> anyhow::Result<Gateway> {
    let tls = match (&config.tls_certificate, &config.tls_key) {
        (Some(certificate), Some(key)) => Some(tls::server(certificate, key)?),
        _ => None,
    };
    let places = Places::new(
        format!("gateway-{shard}"),
        "gateway.max_connections, gateway.max_connections_per_source",
        config.max_connections,
        config.max_connections_per_source,
    );
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll")?;
    let mut listeners = Vec::new();
    let wanted = [
        (config.listen, false, "gateway.listen"),
        (config.drop_copy_listen, true, "gateway.drop_copy_listen"),
    ];
    for (address, drop_copy, key) in wanted {
        let Some(address) = address.map(|address| address_of(address, shard)) else { continue };
        let socket = TcpListener::bind(address).with_context(|| format!("{key} {address}"))?;
        socket.set_nonblocking(true)?;
        let number = LISTENERS + listeners.len() as u64;
        epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, number)).context("epoll")?;
        tracing::info!(shard, %address, tls = tls.is_some(), drop_copy, "listening for SoupBinTCP");
        listeners.push(Listener { socket, drop_copy, rests_until: None });
    }
    let bell = link.bell.hang(EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?);
    epoll.add(bell, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, BELL)).context("epoll")?;
    let stop = Arc::new(AtomicBool::new(false));
    let now = Instant::now();
    let mut server = Server {
        epoll,
        listeners,
        places,
        tls,
        link,
        connections: HashMap::new(),
        marked: Vec::new(),
        spare: Vec::new(),
        next_number: 0,
        timeout,
        awaited: Awaited { answers: 0, until: now },
        skipped: false,
        timers: now,
    };
    let stopped = Arc::clone(&stop);
    let thread = std::thread::Builder::new()
        .name(format!("gateway-{shard}"))
        .spawn(move || server.run(&stopped))
        .context("cannot start the gateway's thread")?;
    Ok(Gateway { stop, thread: Some(thread) })
}

/// The shard's answers to what it has just been given: it is worth staying awake for them, for a moment.
struct Awaited {
    answers: u64,
    until: Instant,
}

impl Awaited {
    fn more(&mut self, now: Instant) {
        self.answers += 1;
        self.until = now + SPIN;
    }

    /// Not counted exactly: a request may have several answers or none, and others' orders have some too. Then one sleep begins late or early.
    fn some_came(&mut self, count: u64) {
        self.answers = self.answers.saturating_sub(count);
    }

    fn are_due(&self, now: Instant) -> bool {
        self.answers > 0 && now < self.until
    }
}

struct Listener {
    socket: TcpListener,
    drop_copy: bool,
    /// Not watched before: it could not accept for lack of descriptors or memory.
    rests_until: Option<Instant>,
}

struct Server {
    epoll: Epoll,
    listeners: Vec<Listener>,
    places: Arc<Places>,
    tls: Option<Arc<ServerConfig>>,
    link: ShardLink,
    connections: HashMap<ConnectionId, Connection>,
    /// Connections with something to do in this round, each once: the others cost nothing.
    marked: Vec<ConnectionId>,
    /// Room for the next round's.
    spare: Vec<ConnectionId>,
    next_number: ConnectionId,
    timeout: Duration,
    awaited: Awaited,
    /// The sockets have waited once for what the shard had brought.
    skipped: bool,
    timers: Instant,
}

impl Server {
    fn run(&mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Acquire) {
            let now = Instant::now();
            self.take_from_shard(now);
            self.attend(now);
            self.wait(now);
            let now = Instant::now();
            self.attend(now);
            if now.duration_since(self.timers) >= TIMER_INTERVAL {
                self.timers = now;
                self.look_at_timers(now);
            }
        }
        let now = Instant::now();
        for connection in self.connections.values_mut() {
            connection.send(&Packet::EndOfSession, now);
            connection.close();
            connection.write(now);
        }
    }

    fn take_from_shard(&mut self, now: Instant) {
        for _ in 0..ITEMS_PER_ROUND {
            let Ok(item) = self.link.from.pop() else { return };
            let (FromShard::Accepted { connection: number, .. }
            | FromShard::Rejected { connection: number, .. }
            | FromShard::Ended { connection: number }
            | FromShard::Datagram { connection: number, .. }) = item;
            // It may have left while its password was checked; the shard has heard so or will.
            let Some(connection) = self.connections.get_mut(&number) else { continue };
            match item {
                FromShard::Accepted { accepted, .. } => {
                    tracing::info!(from = %connection.from, sequence = accepted.sequence, "logged in");
                    connection.accept(accepted, now);
                }
                FromShard::Rejected { reason, .. } => {
                    connection.known = false;
                    connection.reject(reason, now);
                }
                FromShard::Ended { .. } => {
                    connection.send(&Packet::EndOfSession, now);
                    connection.known = false;
                    connection.close();
                }
                FromShard::Datagram { length, ref bytes, .. } => {
                    self.awaited.some_came(connection.deliver(&bytes[..usize::from(length)], now));
                }
            }
            mark(&mut self.marked, connection);
        }
    }

    /// Serves the connections that have something to do: what they have sent goes to the shard, what they are to be told into their sockets.
    fn attend(&mut self, now: Instant) {
        let mut served = std::mem::replace(&mut self.marked, std::mem::take(&mut self.spare));
        for number in served.drain(..) {
            let Some(connection) = self.connections.get_mut(&number) else { continue };
            connection.marked = false;
            if connection.wants_to_write() {
                connection.write(now);
            }
            if take_frames(connection, &mut self.link, &mut self.awaited, now) {
                mark(&mut self.marked, connection);
            }
            if connection.stage == Stage::Closing {
                connection.write(now);
            }
            if connection.stage != Stage::Gone {
                watch(&self.epoll, connection);
                continue;
            }
            let lost = ToShard::Lost { connection: number };
            if connection.known && self.link.to.push(lost).is_err() {
                // The shard hears of it when its ring has room.
                mark(&mut self.marked, connection);
            } else {
                self.connections.remove(&number);
            }
        }
        self.spare = served;
    }

    /// Waits for sockets and the shard, reads what has come and accepts who has.
    fn wait(&mut self, now: Instant) {
        let sleep = if self.marked.is_empty() { TIMER_INTERVAL } else { WAIT_FOR_ROOM };
        let works = !self.marked.is_empty() && !self.link.to.is_full();
        let mut events = [EpollEvent::empty(); EVENTS_PER_ROUND];
        let count = if works || self.awaited.are_due(now) {
            if !works && self.spin() {
                return;
            }
            self.epoll.wait(&mut events, EpollTimeout::ZERO)
        } else {
            self.awaited.answers = 0;
            self.link.bell.will_sleep();
            let timeout = if self.link.from.is_empty() { sleep } else { Duration::ZERO };
            let count =
                self.epoll.wait(&mut events, EpollTimeout::try_from(timeout).unwrap_or(EpollTimeout::ZERO));
            self.link.bell.is_awake();
            count
        };
        self.skipped = false;
        // Interrupted or not: readiness is what counts.
        let now = Instant::now();
        for event in &events[..count.unwrap_or(0)] {
            match event.data() {
                BELL => {}
                number if number >= LISTENERS => self.accept((number - LISTENERS) as usize, now),
                number => self.on_socket(number as ConnectionId, event.events(), now),
            }
        }
    }

    /// Looks at the shard's ring for a moment; whether something is there that the sockets may wait for, but not twice.
    fn spin(&mut self) -> bool {
        for _ in 0..LOOKS_PER_SPIN {
            if !self.link.from.is_empty() {
                self.skipped = !self.skipped;
                return self.skipped;
            }
            std::hint::spin_loop();
        }
        // The shard, or the client, may need this core.
        std::thread::yield_now();
        false
    }

    fn on_socket(&mut self, number: ConnectionId, events: EpollFlags, now: Instant) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        if connection.wants_to_read() {
            if events.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR) {
                connection.read(now);
            }
        } else if events.intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR) {
            // Cut, with answers on their way that nobody will read.
            connection.stage = Stage::Gone;
        }
        mark(&mut self.marked, connection);
    }

    fn accept(&mut self, index: usize, now: Instant) {
        let listener = &mut self.listeners[index];
        for _ in 0..ACCEPTS_PER_ROUND {
            let (stream, from) = match listener.socket.accept() {
                Ok(accepted) => accepted,
                Err(error) => {
                    let pause = self.places.after_failure(&error);
                    if !pause.is_zero() {
                        listener.rests_until = Some(now + pause);
                        watch_listener(&self.epoll, listener, index, EpollFlags::empty());
                    }
                    return;
                }
            };
            let Some(place) = self.places.admit(from) else { continue };
            self.next_number += 1;
            let number = self.next_number;
            let made =
                Connection::new(number, stream, from, place, listener.drop_copy, self.tls.as_ref(), now);
            let watched = made.and_then(|connection| {
                let event = EpollEvent::new(connection.watched, number.into());
                self.epoll.add(&connection.stream, event)?;
                Ok(connection)
            });
            match watched {
                Ok(connection) => {
                    self.connections.insert(number, connection);
                }
                Err(error) => tracing::warn!(%from, %error, "a connection could not be set up"),
            }
        }
    }

    fn look_at_timers(&mut self, now: Instant) {
        for (index, listener) in self.listeners.iter_mut().enumerate() {
            if listener.rests_until.is_some_and(|until| now >= until) {
                listener.rests_until = None;
                watch_listener(&self.epoll, listener, index, EpollFlags::EPOLLIN);
            }
        }
        for connection in self.connections.values_mut() {
            let silent = now.duration_since(connection.heard);
            match connection.stage {
                Stage::Connected | Stage::Asked if now.duration_since(connection.since) > LOGIN_TIMEOUT => {
                    LATE.count();
                    connection.reject(login_reject_reason::NOT_AUTHORIZED, now);
                }
                Stage::LoggedIn { .. } if silent > self.timeout => {
                    tracing::info!(from = %connection.from, "a client has been silent, or has not read, for too long");
                    connection.stage = Stage::Gone;
                }
                Stage::LoggedIn { .. } if now.duration_since(connection.sent) >= HEARTBEAT_INTERVAL => {
                    connection.send(&Packet::ServerHeartbeat, now);
                }
                // What it did not read by now it will not.
                Stage::Closing if now.duration_since(connection.sent) > self.timeout => {
                    connection.stage = Stage::Gone;
                }
                Stage::Lingering if now.duration_since(connection.since) > LINGER => {
                    connection.stage = Stage::Gone;
                }
                _ => continue,
            }
            mark(&mut self.marked, connection);
        }
    }
}

/// Has the connection looked at in this round or the next.
fn mark(marked: &mut Vec<ConnectionId>, connection: &mut Connection) {
    if !connection.marked {
        connection.marked = true;
        marked.push(connection.number);
    }
}

/// Has epoll watch what the connection waits for.
fn watch(epoll: &Epoll, connection: &mut Connection) {
    let wanted = connection.wanted();
    if wanted == connection.watched {
        return;
    }
    connection.watched = wanted;
    let mut event = EpollEvent::new(wanted, connection.number.into());
    if let Err(error) = epoll.modify(&connection.stream, &mut event) {
        tracing::warn!(from = %connection.from, %error, "a connection cannot be watched: it is closed");
        connection.stage = Stage::Gone;
    }
}

fn watch_listener(epoll: &Epoll, listener: &Listener, index: usize, events: EpollFlags) {
    let mut event = EpollEvent::new(events, LISTENERS + index as u64);
    if let Err(error) = epoll.modify(&listener.socket, &mut event) {
        tracing::error!(%error, "a listener cannot be watched");
    }
}

/// Passes on what a client has sent, as far as the ring to the shard has room and its answers have been read. Returns whether there is more
/// to take at once.
fn take_frames(
    connection: &mut Connection,
    link: &mut ShardLink,
    awaited: &mut Awaited,
    now: Instant,
) -> bool {
    let (mut taken, mut frames) = (0, 0);
    let more = loop {
        // Until the shard has answered a login, what follows it waits.
        if !matches!(connection.stage, Stage::Connected | Stage::LoggedIn { .. }) || connection.is_held_back()
        {
            break false;
        }
        if frames == FRAMES_PER_ROUND || link.to.is_full() {
            break true;
        }
        match split_frame(&connection.input[taken..], usize::from(u16::MAX)) {
            Ok(Some((body, consumed))) => {
                // The bytes are the connection's own, which `take` changes: one copy of at most a longest message.
                let mut copy = [0; MAX_BODY];
                taken += consumed;
                frames += 1;
                match copy.get_mut(..body.len()) {
                    Some(copied) => {
                        copied.copy_from_slice(body);
                        take(connection, &copy[..body.len()], link, awaited, now);
                    }
                    None if body[0] == DEBUG => {}
                    None => refuse(connection, "a packet longer than any message", now),
                }
            }
            Ok(None) => {
                if connection.has_ended() {
                    connection.stage = Stage::Gone;
                }
                break false;
            }
            Err(_) => refuse(connection, "a packet without a type", now),
        }
    };
    connection.input.drain(..taken);
    more
}

/// One packet of a client. The ring has room for it.
fn take(connection: &mut Connection, body: &[u8], link: &mut ShardLink, awaited: &mut Awaited, now: Instant) {
    match (Packet::decode(body), connection.stage) {
        (Ok(Packet::LoginRequest(request)), Stage::Connected) => {
            let item = ToShard::Login {
                connection: connection.number,
                source: netio::Endpoint::from(connection.from).address,
                request,
                drop_copy: connection.drop_copy,
            };
            let _ = link.to.push(item);
            connection.stage = Stage::Asked;
            connection.since = now;
            connection.known = true;
        }
        // Blank, say: which messages it wants is not to be guessed.
        (Err(_), Stage::Connected) if body[0] == soupbintcp::LoginRequest::TYPE => {
            connection.reject(login_reject_reason::SESSION_NOT_AVAILABLE, now);
        }
        (Ok(Packet::UnsequencedData(message)), Stage::LoggedIn { .. }) => {
            if !connection.drop_copy {
                let _ = link.to.push(message_item(connection.number, message));
                awaited.more(now);
            }
        }
        (Ok(Packet::LogoutRequest), _) => {
            if connection.known {
                let _ = link.to.push(ToShard::Logout { connection: connection.number });
                connection.known = false;
            }
            connection.close();
        }
        (Ok(Packet::ClientHeartbeat | Packet::Debug(_)), _) => {}
        (Ok(_) | Err(_), _) => {
            refuse(connection, "a packet that is no client's, or not for this moment", now)
        }
    }
}

/// Ends a connection whose client does not keep to the protocol: it cannot be followed any further.
fn refuse(connection: &mut Connection, what: &str, now: Instant) {
    tracing::info!(from = %connection.from, "a connection is closed: {what}");
    if connection.stage == Stage::Connected {
        connection.reject(login_reject_reason::NOT_AUTHORIZED, now);
    } else {
        connection.stage = Stage::Gone;
    }
}

fn message_item(connection: ConnectionId, message: &[u8]) -> ToShard {
    let mut block = [0; MAX_BLOCK];
    let length = message.len().min(MAX_MESSAGE_LENGTH);
    block[..BLOCK_HEADER_LENGTH].copy_from_slice(&(length as u16).to_be_bytes());
    block[BLOCK_HEADER_LENGTH..BLOCK_HEADER_LENGTH + length].copy_from_slice(&message[..length]);
    ToShard::Message { connection, length: (BLOCK_HEADER_LENGTH + length) as u16, block }
}

// A login fits what a client may send.
const _: () = assert!(soupbintcp::LoginRequest::LENGTH <= MAX_BODY);
