//! Sessions over datagrams: what arrives becomes inputs, what the two streams have to say becomes datagrams. Not logins.

use super::{Reception, Route, Session, Upstream};
use crate::clock::Now;
use crate::core::Core;
use crate::history::replica::ReplayedMessages;
use crate::inputs::SessionId;
use crate::log::writer::Log;
use netio::{Peer, Port};
use streams::{Kind, ParkingPool, RIDER_LENGTH, Received, RequestOutcome, Run, classify};
use wire::moldudp64::{CONTROL_SESSION, END_OF_SESSION, HEADER_LENGTH, HEARTBEAT, Header};

impl Reception {
    /// Takes one datagram; whatever it leads to is in the core when this returns.
    #[inline]
    pub fn on_datagram<L: Log>(&mut self, peer: &Peer, payload: &[u8], now: Now, core: &mut Core<L>) {
        self.counters.datagrams += 1;
        let Ok(header) = Header::read(payload) else {
            self.counters.short += 1;
            return;
        };
        let Some(id) = core.sessions.by_token(&header.session) else {
            if header.session == CONTROL_SESSION {
                return self.on_control(peer, payload, now, core);
            }
            self.counters.unknown_token += 1;
            return;
        };
        let session = &mut core.sessions[id];
        match session.route {
            Route::Datagrams(bound) if bound.remote == peer.remote => {}
            _ => {
                self.counters.foreign_source += 1;
                return;
            }
        }
        let kind =
            classify(&header, payload.len(), session.downstream.name(), session.upstream.receive.session());
        let accepted = match kind {
            Kind::Stream if session.downstream.stream.is_crowded() => {
                self.on_messages_in_crowd(id, &header, &payload[HEADER_LENGTH..], now, core)
            }
            Kind::Stream => self.on_messages(id, &header, &payload[HEADER_LENGTH..], now, core),
            Kind::Acknowledgement => {
                session.on_ack(header.sequence, now);
                true
            }
            Kind::Request => {
                let outcome = session.downstream.stream.on_request(header.sequence, header.count);
                if let RequestOutcome::TooOld { from, until } = outcome {
                    self.counters.replays += 1;
                    self.request_replay(id, from, until);
                }
                true
            }
            Kind::Foreign | Kind::Malformed => {
                self.counters.malformed += 1;
                false
            }
        };
        if accepted {
            let session = &mut core.sessions[id];
            if let Some(acknowledged) = session.upstream.receive.take_rider() {
                session.on_ack(acknowledged, now);
            }
            session.upstream.heard_ns = self.listened_ns;
            // Past the kernel nobody else follows a client, or its router, to another MAC or VLAN.
            session.route = Route::Datagrams(*peer);
            core.sessions.mark(id);
        }
    }

    /// Messages of the client, or its heartbeat: what is next in order goes to the core. False when it was refused.
    #[inline]
    fn on_messages<L: Log>(
        &mut self,
        id: SessionId,
        header: &Header,
        blocks: &[u8],
        now: Now,
        core: &mut Core<L>,
    ) -> bool {
        let receive = &mut core.sessions[id].upstream.receive;
        match receive.take(header, blocks, now.monotonic_ns, &mut self.pool) {
            Ok(run) => core.messages(id, &run, now.timestamp_ns),
            Err(Received::Heartbeat) => {
                core.sessions[id].downstream.stream.on_probe();
                return true;
            }
            Err(Received::Delivered(_) | Received::Ended) => return true,
            Err(Received::Duplicate) => {
                self.counters.duplicate += 1;
                return true;
            }
            Err(Received::Parked) => {
                self.counters.parked += 1;
                return true;
            }
            Err(Received::Dropped) => {
                self.counters.parking_full += 1;
                return true;
            }
            Err(Received::FarAhead) => {
                self.counters.far_ahead += 1;
                return false;
            }
            Err(Received::Malformed) => {
                self.counters.malformed += 1;
                return false;
            }
        }
        while let Some(run) = core.sessions[id].upstream.receive.take_parked(&mut self.pool) {
            core.messages(id, &run, now.timestamp_ns);
        }
        core.sessions[id].upstream.receive.taken(now.monotonic_ns);
        true
    }

    /// The client sends while it does not take its answers: more of them would overwrite those that it has not got. What it
    /// sends is not taken, and it sends it again; what it says of the answers is heard.
    #[cold]
    fn on_messages_in_crowd<L: Log>(
        &mut self,
        id: SessionId,
        header: &Header,
        blocks: &[u8],
        now: Now,
        core: &mut Core<L>,
    ) -> bool {
        let session = &mut core.sessions[id];
        let held_to = session.upstream.held_to.max(header.sequence);
        if header.count == HEARTBEAT || header.count == END_OF_SESSION {
            session.upstream.held_to = held_to;
            session.upstream.receive.request_ack();
            session.downstream.stream.on_probe();
            return true;
        }
        let Ok((run, rider)) = Run::parse_ridden(header.sequence, header.count, blocks) else {
            self.counters.malformed += 1;
            return false;
        };
        if let Some(acknowledged) = rider {
            session.on_ack(acknowledged, now);
        }
        if session.downstream.stream.is_crowded() {
            session.upstream.held_to = held_to.max(run.end());
            self.counters.held_back += 1;
            return true;
        }
        self.on_messages(id, header, blocks, now, core)
    }
}

impl Session {
    /// Whether acknowledgements ride behind messages, both ways, and wait for one to ride behind.
    pub(super) fn set_rides(&mut self, rides: bool) {
        self.rides = rides;
        self.downstream.stream.set_peer_waits_to_ride(rides);
    }

    /// The client has everything below this sequence. How long that took is how long answers to requests take as well.
    #[inline]
    fn on_ack(&mut self, sequence: u64, now: Now) {
        self.downstream.stream.on_ack(sequence, now.monotonic_ns);
        self.upstream.receive.set_round_trip(self.downstream.stream.round_trip());
        if self.upstream.held_to != 0 && !self.downstream.stream.is_crowded() {
            let held_to = std::mem::take(&mut self.upstream.held_to);
            self.upstream.receive.on_dropped(held_to, now.monotonic_ns);
        }
    }
}

/// Sends what the session's two streams have to say, as far as it was released. False when the port has no room for more.
#[inline]
pub(super) fn send<P: Port>(
    session: &mut Session,
    peer: &Peer,
    pool: &ParkingPool,
    now: Now,
    port: &mut P,
) -> bool {
    send_all(port, peer, session, Session::wants_to_send, |session, out| session.pack(pool, now, out))
}

/// Sends what is to be said of the client's stream. False when the port has no room for more.
#[inline]
pub(super) fn acknowledge<P: Port>(
    upstream: &mut Upstream,
    peer: &Peer,
    pool: &ParkingPool,
    port: &mut P,
) -> bool {
    send_all(
        port,
        peer,
        upstream,
        |upstream| upstream.receive.wants_to_send(),
        |upstream, out| upstream.pack(pool, out),
    )
}

impl Session {
    #[inline]
    fn wants_to_send(&self) -> bool {
        self.downstream.stream.wants_to_send(self.downstream.released)
            || self.upstream.receive.wants_to_send()
    }

    /// Builds the next datagram: messages first, with an acknowledgement behind them where the client understands that, then what
    /// the upstream has to say by itself.
    #[inline]
    fn pack(&mut self, pool: &ParkingPool, now: Now, out: &mut [u8]) -> Option<usize> {
        let Self { upstream, downstream, rides, .. } = self;
        let reserved = if *rides { RIDER_LENGTH } else { 0 };
        let room = out.len().saturating_sub(reserved);
        match downstream.stream.pack(now.monotonic_ns, downstream.released, &mut out[..room]) {
            // Behind messages only: a heartbeat has no blocks.
            Some(length) if *rides && length > HEADER_LENGTH => {
                Some(length + upstream.receive.ride(upstream.released, now.monotonic_ns, &mut out[length..]))
            }
            Some(length) => Some(length),
            None => upstream.pack(pool, out),
        }
    }
}

impl Upstream {
    /// Builds the next acknowledgement, no further than was released, or the next request for what is missing.
    #[inline]
    fn pack(&mut self, pool: &ParkingPool, out: &mut [u8]) -> Option<usize> {
        let length = self.receive.pack(pool, out)?;
        if let Ok(header) = Header::read(out)
            && header.count == HEARTBEAT
            && header.sequence > self.released
        {
            self.ack_owed = true;
            Header { sequence: self.released, ..header }.write(out);
        }
        Some(length)
    }
}

/// Sends to the peer what `pack` builds from `source` until it has nothing more. False when the port has no room.
#[inline]
fn send_all<T>(
    port: &mut impl Port,
    peer: &Peer,
    source: &mut T,
    wants_to_send: impl Fn(&T) -> bool,
    pack: impl Fn(&mut T, &mut [u8]) -> Option<usize>,
) -> bool {
    while wants_to_send(source) {
        let mut packed = true;
        let sent = port.send(peer, |out| {
            pack(source, out).unwrap_or_else(|| {
                packed = false;
                0
            })
        });
        if sent.is_err() {
            return false;
        }
        if !packed {
            break;
        }
    }
    true
}

/// Messages from the log, as far as they were released and the port has room; what is lost is asked for again.
pub(super) fn send_replayed<P: Port>(
    session: &Session,
    peer: &Peer,
    messages: &ReplayedMessages,
    port: &mut P,
) {
    let name = *session.downstream.name();
    let room = port.max_payload() - HEADER_LENGTH;
    let mut next = messages.first;
    while let Some((blocks, count)) = messages.blocks_between(next, session.downstream.released, room) {
        let sent = port.send(peer, |out| {
            Header { session: name, sequence: next, count }.write(out);
            out[HEADER_LENGTH..HEADER_LENGTH + blocks.len()].copy_from_slice(blocks);
            HEADER_LENGTH + blocks.len()
        });
        if sent.is_err() {
            return;
        }
        next += u64::from(count);
    }
}
