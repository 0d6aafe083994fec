//! The shard's side of its feed: packs what the last inputs led to, sends it to every receiver, and hands a copy to the
//! feed thread. Runs on the shard's thread after the order replies have left; nothing in it blocks or allocates.

use super::tap::TapWriter;
use crate::session::Downstream;
use netio::{Peer, Port};
use streams::SendStream;
use wire::moldudp64::{END_OF_SESSION, HEADER_LENGTH, Header, MAX_PAYLOAD};

/// Datagrams packed in one go, so that a burst of market data does not keep the next orders waiting.
const DATAGRAMS_PER_TURN: usize = 32;
/// Messages waiting that fill a datagram: 38 bytes each is the usual Add Order with its length.
const FULL_ENOUGH: u64 = 35;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FeedCounters {
    pub messages: u64,
    /// Datagrams packed; each goes to every receiver.
    pub datagrams: u64,
    /// The port had no room: tried again in the next turn.
    pub port_full: u64,
    /// The feed thread was behind: tried again later.
    pub tap_full: u64,
    /// Messages that the feed thread has to fetch from the journal.
    pub tap_lost: u64,
}

pub struct Publisher {
    receivers: Box<[Peer]>,
    tap: Option<TapWriter>,
    /// Next sequence for the feed thread.
    tapped: u64,
    /// A datagram that some receivers still lack, its length, and the first of them.
    datagram: Box<[u8; MAX_PAYLOAD]>,
    length: usize,
    receiver: usize,
    /// Shortest time between two departures: what happens in between shares a datagram.
    spacing_ns: u64,
    departed_ns: u64,
    pub counters: FeedCounters,
}

impl Publisher {
    pub fn new(receivers: Vec<Peer>, tap: Option<TapWriter>, next: u64, spacing_ns: u64) -> Self {
        Self {
            receivers: receivers.into(),
            tap,
            tapped: next,
            datagram: Box::new([0; MAX_PAYLOAD]),
            length: 0,
            receiver: 0,
            spacing_ns,
            departed_ns: 0,
            counters: FeedCounters::default(),
        }
    }

    /// Whether something should leave now: a datagram is full, or the last departure is long enough ago.
    #[inline]
    pub fn is_due(&self, feed: &Downstream, now_ns: u64) -> bool {
        if self.length > 0 {
            return true;
        }
        let stream = &feed.stream;
        let unsent = stream.next().min(feed.released()).saturating_sub(stream.sent());
        if unsent == 0 {
            return stream.next_deadline() <= now_ns || self.tapped < stream.sent();
        }
        unsent >= FULL_ENOUGH || now_ns.saturating_sub(self.departed_ns) >= self.spacing_ns
    }

    /// Sends what there is, as far as the port has room. The caller flushes the port.
    pub fn publish<P: Port>(&mut self, feed: &mut Downstream, port: &mut P, now_ns: u64) {
        let released = feed.released();
        let stream = &mut feed.stream;
        self.departed_ns = now_ns;
        self.catch_up(stream);
        stream.on_timer(now_ns);
        for _ in 0..DATAGRAMS_PER_TURN {
            if !self.send(port) {
                self.counters.port_full += 1;
                return;
            }
            let before = stream.sent();
            let room = port.max_payload().min(MAX_PAYLOAD);
            let Some(length) = stream.pack(now_ns, released, &mut self.datagram[..room]) else { return };
            // Nobody acknowledges a feed: without this the stream would probe for an answer.
            stream.on_ack(stream.sent(), now_ns);
            self.length = length;
            self.receiver = 0;
            self.counters.datagrams += 1;
            self.counters.messages += stream.sent() - before;
            self.copy(before, stream);
        }
        if !self.send(port) {
            self.counters.port_full += 1;
        }
    }

    /// Hands the datagram just packed to the feed thread, if that has all before it.
    #[inline]
    fn copy(&mut self, from: u64, stream: &SendStream) {
        let Some(tap) = &mut self.tap else {
            self.tapped = stream.sent();
            return;
        };
        if self.tapped != from || from == stream.sent() {
            return;
        }
        if tap.push(&self.datagram[..self.length]) {
            self.tapped = stream.sent();
        } else {
            self.counters.tap_full += 1;
        }
    }

    /// Hands over what the feed thread had no room for, from the stream's window.
    #[cold]
    fn catch_up_slowly(&mut self, stream: &SendStream) {
        let Some(tap) = &mut self.tap else { return };
        if self.tapped < stream.first() {
            self.counters.tap_lost += stream.first() - self.tapped;
            self.tapped = stream.first();
        }
        let mut datagram = [0; MAX_PAYLOAD];
        for _ in 0..DATAGRAMS_PER_TURN {
            let Some((length, next)) = stream.pack_range(self.tapped, stream.sent(), &mut datagram) else {
                return;
            };
            if !tap.push(&datagram[..length]) {
                return;
            }
            self.tapped = next;
        }
    }

    #[inline]
    fn catch_up(&mut self, stream: &SendStream) {
        if self.tapped < stream.sent() {
            self.catch_up_slowly(stream);
        }
    }

    /// Sends the datagram at hand to the receivers that lack it; false when the port is full.
    #[inline]
    fn send<P: Port>(&mut self, port: &mut P) -> bool {
        if self.length == 0 {
            return true;
        }
        let datagram = &self.datagram[..self.length];
        while let Some(peer) = self.receivers.get(self.receiver) {
            let sent = port.send(peer, |out| match out.get_mut(..datagram.len()) {
                Some(out) => {
                    out.copy_from_slice(datagram);
                    datagram.len()
                }
                None => 0,
            });
            if sent.is_err() {
                return false;
            }
            self.receiver += 1;
        }
        self.length = 0;
        true
    }

    /// Says that the session has ended, to everyone who still listens. Whether all of it left before is the caller's to see to.
    pub fn say_end<P: Port>(&mut self, stream: &SendStream, port: &mut P) {
        let header = Header { session: *stream.session(), sequence: stream.sent(), count: END_OF_SESSION };
        self.length = header.write(&mut self.datagram[..HEADER_LENGTH]);
        self.receiver = 0;
        if !self.send(port) {
            self.counters.port_full += 1;
        }
        if let Some(tap) = &mut self.tap
            && !tap.push(&self.datagram[..HEADER_LENGTH])
        {
            self.counters.tap_full += 1;
        }
    }
}
