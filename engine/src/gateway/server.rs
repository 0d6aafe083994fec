//! The gateway's thread: accepts, reads, asks the shard, writes. Everything it holds is bounded, and a full ring to the
//! shard holds the clients back, never the shard.

use super::connection::{Connection, Stage};
use super::rings::{ConnectionId, FromShard, MAX_BLOCK, ShardLink, ToShard};
use super::tls;
use crate::config::GatewayConfig;
use crate::feed::receivers::address_of;
use anyhow::Context;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use rustls::ServerConfig;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use wire::moldudp64::BLOCK_HEADER_LENGTH;
use wire::ouch::MAX_MESSAGE_LENGTH;
use wire::soupbintcp::{self, Packet, login_reject_reason, split_frame};

/// Silence after which something is sent, and after which a client is given up (SoupBinTCP: "typically 15 seconds").
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
/// A client that has not logged in by then is disconnected (SoupBinTCP: "reasonable amount of time", 30 s).
const LOGIN_TIMEOUT: Duration = Duration::from_secs(30);
/// How often timers are looked at.
const TIMER_INTERVAL: Duration = Duration::from_millis(100);
/// How long the thread waits for sockets: the shard cannot wake it, as that would cost the shard a system call.
const WAIT_ACTIVE: Duration = Duration::from_micros(100);
const WAIT_QUIET: Duration = Duration::from_millis(1);
const WAIT_ALONE: Duration = Duration::from_millis(20);
/// Time without traffic after which a connected gateway polls less often.
const QUIET_AFTER: Duration = Duration::from_millis(50);
/// Items taken from the shard in one go.
const ITEMS_PER_ROUND: usize = 1024;
/// Longest packet a client may send: a login or a message with its type.
const MAX_BODY: usize = MAX_MESSAGE_LENGTH + 1;

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
    let mut listeners = Vec::new();
    let wanted = [
        (config.listen, false, "gateway.listen"),
        (config.drop_copy_listen, true, "gateway.drop_copy_listen"),
    ];
    for (address, drop_copy, key) in wanted {
        let Some(address) = address.map(|address| address_of(address, shard)) else { continue };
        let listener = TcpListener::bind(address).with_context(|| format!("{key} {address}"))?;
        listener.set_nonblocking(true)?;
        tracing::info!(shard, %address, tls = tls.is_some(), drop_copy, "listening for SoupBinTCP");
        listeners.push((listener, drop_copy));
    }
    let stop = Arc::new(AtomicBool::new(false));
    let mut server = Server {
        listeners,
        tls,
        link,
        connections: Vec::new(),
        max_connections: config.max_connections,
        next_number: 0,
        timeout,
        active: Instant::now(),
        timers: Instant::now(),
    };
    let stopped = Arc::clone(&stop);
    let thread = std::thread::Builder::new()
        .name(format!("gateway-{shard}"))
        .spawn(move || server.run(&stopped))
        .context("cannot start the gateway's thread")?;
    Ok(Gateway { stop, thread: Some(thread) })
}

struct Server {
    listeners: Vec<(TcpListener, bool)>,
    tls: Option<Arc<ServerConfig>>,
    link: ShardLink,
    connections: Vec<Connection>,
    max_connections: usize,
    next_number: ConnectionId,
    timeout: Duration,
    active: Instant,
    timers: Instant,
}

impl Server {
    fn run(&mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Acquire) {
            let now = Instant::now();
            self.take_from_shard(now);
            self.write();
            self.wait(now);
            let now = Instant::now();
            self.accept(now);
            for index in 0..self.connections.len() {
                self.take_frames(index, now);
            }
            if now.duration_since(self.timers) >= TIMER_INTERVAL {
                self.timers = now;
                self.look_at_timers(now);
            }
            self.forget();
        }
        for connection in &mut self.connections {
            connection.send(&Packet::EndOfSession, Instant::now());
            connection.write();
        }
    }

    fn find(&mut self, number: ConnectionId) -> Option<&mut Connection> {
        // Numbers ascend in the list.
        let place = self.connections.binary_search_by_key(&number, |connection| connection.number).ok()?;
        self.connections.get_mut(place)
    }

    fn take_from_shard(&mut self, now: Instant) {
        for _ in 0..ITEMS_PER_ROUND {
            let Ok(item) = self.link.from.pop() else { return };
            self.active = now;
            match item {
                FromShard::Accepted { connection, accepted } => {
                    // It may have left while its password was checked; `forget` has said so or will.
                    if let Some(connection) = self.find(connection) {
                        tracing::info!(from = %connection.from, sequence = accepted.sequence, "logged in");
                        connection.accept(accepted, now);
                    }
                }
                FromShard::Rejected { connection, reason } => {
                    if let Some(connection) = self.find(connection) {
                        connection.send(&Packet::LoginRejected { reason }, now);
                        connection.known = false;
                        connection.close();
                    }
                }
                FromShard::Ended { connection } => {
                    if let Some(connection) = self.find(connection) {
                        connection.send(&Packet::EndOfSession, now);
                        connection.known = false;
                        connection.close();
                    }
                }
                FromShard::Datagram { connection, length, bytes } => {
                    if let Some(connection) = self.find(connection) {
                        connection.deliver(&bytes[..usize::from(length)], now);
                    }
                }
            }
        }
    }

    fn write(&mut self) {
        for connection in &mut self.connections {
            if connection.wants_to_write() || connection.stage == Stage::Closing {
                connection.write();
            }
        }
    }

    /// Waits for sockets, and reads those that have something.
    fn wait(&mut self, now: Instant) {
        let timeout = if self.connections.is_empty() {
            WAIT_ALONE
        } else if now.duration_since(self.active) < QUIET_AFTER {
            WAIT_ACTIVE
        } else {
            WAIT_QUIET
        };
        let mut fds: Vec<PollFd<'_>> = self
            .listeners
            .iter()
            .map(|(listener, _)| PollFd::new(listener.as_fd(), PollFlags::POLLIN))
            .collect();
        for connection in &self.connections {
            let mut events = PollFlags::empty();
            if connection.wants_to_read() {
                events |= PollFlags::POLLIN;
            }
            if connection.wants_to_write() {
                events |= PollFlags::POLLOUT;
            }
            fds.push(PollFd::new(connection.stream.as_fd(), events));
        }
        // Interrupted or not: readiness is what counts.
        let ready = ppoll(&mut fds, Some(TimeSpec::from_duration(timeout)), None).unwrap_or(0);
        if ready == 0 {
            return;
        }
        let readable: Vec<bool> = fds[self.listeners.len()..]
            .iter()
            .map(|fd| {
                fd.revents().is_some_and(|events| {
                    events.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR)
                })
            })
            .collect();
        drop(fds);
        let now = Instant::now();
        for (connection, readable) in self.connections.iter_mut().zip(readable) {
            if readable && connection.stage == Stage::Closing {
                connection.stage = Stage::Gone;
            } else if readable && connection.wants_to_read() {
                connection.read(now);
                self.active = now;
            }
        }
    }

    fn accept(&mut self, now: Instant) {
        for (listener, drop_copy) in &self.listeners {
            // One for each listener and round: the next comes with the next round.
            let Ok((stream, from)) = listener.accept() else { continue };
            if self.connections.len() >= self.max_connections {
                tracing::warn!(%from, "gateway.max_connections reached: the connection is closed");
                continue;
            }
            self.next_number += 1;
            match Connection::new(self.next_number, stream, from, *drop_copy, self.tls.as_ref(), now) {
                Ok(connection) => self.connections.push(connection),
                Err(error) => tracing::warn!(%from, %error, "a connection could not be set up"),
            }
            self.active = now;
        }
    }

    /// Passes on what a client has sent, as far as the ring to the shard has room.
    fn take_frames(&mut self, index: usize, now: Instant) {
        let connection = &mut self.connections[index];
        let mut taken = 0;
        while !matches!(connection.stage, Stage::Closing | Stage::Gone) && !self.link.to.is_full() {
            let body = match split_frame(&connection.input[taken..], MAX_BODY) {
                Ok(Some((body, consumed))) => {
                    taken += consumed;
                    body
                }
                Ok(None) => break,
                Err(_) => {
                    connection.stage = Stage::Gone;
                    break;
                }
            };
            match (Packet::decode(body), connection.stage) {
                (Ok(Packet::LoginRequest(request)), Stage::Connected) => {
                    let item = ToShard::Login {
                        connection: connection.number,
                        source: netio::Endpoint::from(connection.from).address,
                        request,
                        drop_copy: connection.drop_copy,
                    };
                    // Fits: a full ring was ruled out above.
                    let _ = self.link.to.push(item);
                    connection.stage = Stage::Asked;
                    connection.known = true;
                }
                (Ok(Packet::UnsequencedData(message)), Stage::LoggedIn { .. }) => {
                    if !connection.drop_copy {
                        let _ = self.link.to.push(message_item(connection.number, message));
                    }
                }
                (Ok(Packet::LogoutRequest), _) => {
                    if connection.known {
                        let _ = self.link.to.push(ToShard::Logout { connection: connection.number });
                        connection.known = false;
                    }
                    connection.close();
                }
                (Ok(Packet::ClientHeartbeat | Packet::Debug(_)), _) => {}
                // Neither a client's packet nor one for this moment.
                (Ok(_) | Err(_), _) => connection.stage = Stage::Gone,
            }
            self.active = now;
        }
        connection.input.drain(..taken);
    }

    fn look_at_timers(&mut self, now: Instant) {
        for connection in &mut self.connections {
            let silent = now.duration_since(connection.heard);
            match connection.stage {
                Stage::Connected | Stage::Asked if silent > LOGIN_TIMEOUT => {
                    let reason = login_reject_reason::NOT_AUTHORIZED;
                    connection.send(&Packet::LoginRejected { reason }, now);
                    connection.close();
                }
                Stage::LoggedIn { .. } if silent > self.timeout => connection.stage = Stage::Gone,
                Stage::LoggedIn { .. } if now.duration_since(connection.sent) >= HEARTBEAT_INTERVAL => {
                    connection.send(&Packet::ServerHeartbeat, now);
                }
                // What it did not read by now it will not.
                Stage::Closing if now.duration_since(connection.sent) > self.timeout => {
                    connection.stage = Stage::Gone;
                }
                _ => {}
            }
        }
    }

    /// Drops connections that are gone, once the shard has been told.
    fn forget(&mut self) {
        let to = &mut self.link.to;
        self.connections.retain(|connection| {
            if connection.stage != Stage::Gone {
                return true;
            }
            connection.known && to.push(ToShard::Lost { connection: connection.number }).is_err()
        });
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
