//! The sending half of a MoldUDP64 stream: retention, retransmission, probes and heartbeats. A pure state machine: no I/O, time is passed in.
//!
//! ```text
//!   first            acked            sent              next
//!     |  retained     |  in flight     |  not yet sent   |
//! ----+---------------+----------------+-----------------+---> sequence
//! ```
//! With [`Retention::Overwrite`] `first` may overtake `sent`: what was evicted before it left counts as sent once its release comes, and is asked
//! for as a gap.
//!
//! Messages are written once, as ready-made mold blocks, into a byte ring; a datagram is a header and a copy of a piece of it.

use wire::moldudp64::{BLOCK_HEADER_LENGTH, END_OF_SESSION, HEADER_LENGTH, HEARTBEAT, Header};

use super::ring::BlockRing;
use super::rtt::RoundTrip;
use super::run::RIDING_ACK_DELAY_NS;
use super::{NANOSECONDS_PER_SECOND, SessionName, WINDOW_MESSAGES};

/// Ranges that may wait for retransmission at once. A receiver asks for several holes in one round; more are asked for again.
const RETRANSMIT_RANGES: usize = 8;

/// Unacknowledged messages that no ring is too small for: it is not looked at before.
const NEVER_CROWDED: u64 = 32;

/// What happens when the ring is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// The oldest message goes, acknowledged or not: an engine must not stop for one slow client, and can replay from its journal.
    Overwrite,
    /// Unacknowledged messages stay and `push` is refused: a client waits.
    Block,
}

/// Sizes, policies and timers of a [`SendStream`].
#[derive(Debug, Clone)]
pub struct SendConfig {
    /// Bytes retained; rounded up to a power of two.
    pub ring_bytes: usize,
    /// Messages retained; rounded up to a power of two. Costs 4 bytes each.
    pub ring_messages: usize,
    /// Longest message. Costs as much once more at the end of the ring.
    pub message_bytes_max: usize,
    pub retention: Retention,
    /// With [`Retention::Block`]: messages that may be unacknowledged. At most the receiver's window.
    pub window_messages: u64,
    /// First probe after this time without an acknowledgement, before a round trip was measured. A probe is a heartbeat: it names
    /// the next sequence, so the receiver sees what it lacks and asks. What is late only is never sent twice.
    pub probe_timeout_ns_initial: u64,
    /// Afterwards: as long as a round trip is measured to take at most (RFC 6298), and longer than the usual one by this at least:
    /// the receiver's `ack_delay_ns`, and what a thread that shares its core is away. Each probe without an answer doubles it.
    pub probe_delay_ns: u64,
    pub probe_timeout_ns_max: u64,
    /// Silence after which a heartbeat is sent.
    pub heartbeat_interval_ns: u64,
    /// Bytes retransmitted per second, and in one burst: what a peer can make us send by asking.
    pub retransmit_bytes_per_second: u64,
    pub retransmit_burst_bytes: u64,
}

impl SendConfig {
    /// The engine's side of a session.
    pub fn engine() -> Self {
        SendConfig {
            ring_bytes: 64 * 1024,
            ring_messages: 2048,
            message_bytes_max: 256,
            retention: Retention::Overwrite,
            window_messages: u64::MAX,
            // Two ends that both have to be scheduled answer within this; a path that takes longer is probed once too often.
            probe_timeout_ns_initial: 20_000_000,
            probe_delay_ns: 5_000_000,
            probe_timeout_ns_max: NANOSECONDS_PER_SECOND,
            heartbeat_interval_ns: NANOSECONDS_PER_SECOND,
            retransmit_bytes_per_second: 16 * 1024 * 1024,
            retransmit_burst_bytes: 64 * 1024,
        }
    }

    /// The client's side of a session.
    pub fn client() -> Self {
        SendConfig { retention: Retention::Block, window_messages: WINDOW_MESSAGES, ..SendConfig::engine() }
    }
}

/// A message that was not taken; nothing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// [`Retention::Block`]: too much is unacknowledged. Try again after the next acknowledgement.
    #[error("send window is full: {unacknowledged} messages are unacknowledged")]
    WindowFull { unacknowledged: u64 },
    #[error("message of up to {got} bytes, the stream takes {max}")]
    MessageTooLong { got: usize, max: usize },
    #[error("the stream has ended")]
    Ended,
}

/// What a gap request led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestOutcome {
    /// Will be retransmitted by [`SendStream::pack`].
    Queued,
    /// Nothing to do: it asks for what was never sent, or is acknowledged, or waits for retransmission already.
    Nothing,
    /// Messages `from..until` are no longer retained: the owner must replay them from elsewhere. The rest, if any, is queued.
    TooOld { from: u64, until: u64 },
    /// Too many ranges wait already; the receiver will ask again.
    Limited,
}

/// The wanted sequence is older than the oldest retained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("sequence {wanted} is outside of what is retained, {first} to {next}")]
pub struct NotRetained {
    pub wanted: u64,
    pub first: u64,
    pub next: u64,
}

/// Counters of a [`SendStream`]. They only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SendStatistics {
    pub datagrams: u64,
    pub messages: u64,
    pub retransmitted_datagrams: u64,
    pub retransmitted_messages: u64,
    pub heartbeats: u64,
    pub probes: u64,
    /// Acknowledgements of messages never sent: a confused or forging peer.
    pub acks_invalid: u64,
    pub requests: u64,
    pub requests_too_old: u64,
    pub requests_limited: u64,
    /// Messages overwritten before they were acknowledged.
    pub overwritten_unacknowledged: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Range {
    from: u64,
    until: u64,
}

/// The sending half of a stream.
///
/// ```
/// use streams::{SendConfig, SendStream};
/// let mut stream = SendStream::new(SendConfig::client(), *b"UABCDEFGHI", 0);
/// let sequence = stream.push(5, |out| { out.copy_from_slice(b"hello"); 5 }).unwrap();
/// assert_eq!(sequence, 1);
/// let mut datagram = [0; 1472];
/// let length = stream.pack(0, u64::MAX, &mut datagram).unwrap();
/// assert_eq!(&datagram[20..length], b"\0\x05hello");
/// ```
pub struct SendStream {
    session: SessionName,
    ring: BlockRing,
    sent: u64,
    acked: u64,
    /// Where the stream stood when the peer last asked to have it again: what was before counts for nothing in `is_crowded`.
    resumed_at: u64,
    ended: bool,
    heartbeat_due: bool,
    silent_since: u64,
    probe_at: u64,
    probe_timeout_ns: u64,
    /// How long the peer may wait before it acknowledges.
    ack_delay_ns: u64,
    /// The round trip as measured, and what is being timed: the sequence that ends it, and when it began. Nothing that was sent
    /// twice is timed, as its acknowledgement may be the first one's.
    round_trip: RoundTrip,
    timed: Option<(u64, u64)>,
    retransmit: [Range; RETRANSMIT_RANGES],
    retransmit_count: usize,
    /// Retransmission budget in bytes, and when it was last topped up.
    budget_bytes: u64,
    budget_at: u64,
    statistics: SendStatistics,
    config: SendConfig,
}

impl SendStream {
    /// An empty stream whose first message will have sequence 1.
    pub fn new(config: SendConfig, session: SessionName, now_ns: u64) -> Self {
        SendStream::restore(config, session, 1, now_ns)
    }

    /// A stream that goes on with sequence `next`: everything before it is acknowledged and no longer retained.
    pub fn restore(mut config: SendConfig, session: SessionName, next: u64, now_ns: u64) -> Self {
        let next = next.max(1);
        config.message_bytes_max = config.message_bytes_max.min(usize::from(u16::MAX));
        SendStream {
            session,
            ring: BlockRing::new(config.ring_bytes, config.ring_messages, config.message_bytes_max, next),
            sent: next,
            acked: next,
            resumed_at: next,
            ended: false,
            heartbeat_due: false,
            silent_since: now_ns,
            probe_at: u64::MAX,
            probe_timeout_ns: config.probe_timeout_ns_initial,
            ack_delay_ns: 0,
            round_trip: RoundTrip::default(),
            timed: None,
            retransmit: [Range::default(); RETRANSMIT_RANGES],
            retransmit_count: 0,
            budget_bytes: config.retransmit_burst_bytes,
            budget_at: now_ns,
            statistics: SendStatistics::default(),
            config,
        }
    }

    pub fn session(&self) -> &SessionName {
        &self.session
    }

    /// Oldest sequence retained.
    pub fn first(&self) -> u64 {
        self.ring.first()
    }

    /// Sequence of the next message pushed.
    pub fn next(&self) -> u64 {
        self.ring.next()
    }

    /// Sequence of the next message to leave for the first time.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// The peer has everything below this sequence.
    pub fn acked(&self) -> u64 {
        self.acked
    }

    /// Messages pushed that have not left yet.
    pub fn unsent(&self) -> u64 {
        self.ring.next() - self.sent
    }

    /// Messages pushed that the peer has not acknowledged.
    pub fn unacknowledged(&self) -> u64 {
        self.ring.next() - self.acked
    }

    /// Whether so much is unacknowledged that more would soon overwrite it: three quarters of the ring. Whoever sends what has to be
    /// answered is then not to be heard, or the answers are lost.
    #[inline]
    pub fn is_crowded(&self) -> bool {
        let from = self.acked.max(self.resumed_at);
        self.ring.next() - from > NEVER_CROWDED && self.is_ring_crowded(from)
    }

    #[cold]
    fn is_ring_crowded(&self, from: u64) -> bool {
        from < self.ring.first() || self.ring.bytes_from(from) > self.ring.capacity() / 4 * 3
    }

    pub fn statistics(&self) -> &SendStatistics {
        &self.statistics
    }

    /// A retained message.
    pub fn message(&self, sequence: u64) -> Option<&[u8]> {
        self.ring.block(sequence).map(|block| &block[BLOCK_HEADER_LENGTH..])
    }

    /// Appends a message, written in place: `fill` is given `max_length` bytes of unspecified content and returns how many it used.
    #[inline]
    pub fn push(
        &mut self,
        max_length: usize,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<u64, PushError> {
        if self.ended {
            return Err(PushError::Ended);
        }
        if max_length > self.config.message_bytes_max {
            return Err(PushError::MessageTooLong { got: max_length, max: self.config.message_bytes_max });
        }
        let block = self.config.retention == Retention::Block;
        if block && self.unacknowledged() >= self.config.window_messages {
            return Err(PushError::WindowFull { unacknowledged: self.unacknowledged() });
        }
        while !self.ring.has_room(max_length) {
            let oldest = self.ring.first();
            if oldest >= self.acked {
                if block {
                    return Err(PushError::WindowFull { unacknowledged: self.unacknowledged() });
                }
                self.statistics.overwritten_unacknowledged += 1;
            }
            self.ring.evict();
        }
        Ok(self.ring.push(max_length, fill))
    }

    /// No more messages will follow. From now on heartbeats say so, once everything has left.
    pub fn end(&mut self) {
        self.ended = true;
        self.heartbeat_due = true;
    }

    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// Asks for a heartbeat with the next [`SendStream::pack`], for instance right after a login.
    pub fn request_heartbeat(&mut self) {
        self.heartbeat_due = true;
    }

    /// Forgets what the peer is supposed to have and sends from `sequence` on again: a new login asked for it.
    pub fn resume_from(&mut self, sequence: u64, now_ns: u64) -> Result<(), NotRetained> {
        let (first, next) = (self.ring.first(), self.ring.next());
        if sequence < first || sequence > next {
            return Err(NotRetained { wanted: sequence, first, next });
        }
        self.sent = sequence;
        self.acked = sequence;
        self.resumed_at = next;
        self.retransmit_count = 0;
        self.probe_at = u64::MAX;
        self.probe_timeout_ns = self.timeout_ns();
        self.timed = None;
        self.silent_since = now_ns;
        Ok(())
    }

    /// The peer has everything below `sequence`. Returns how many messages that newly acknowledges.
    pub fn on_ack(&mut self, sequence: u64, now_ns: u64) -> u64 {
        if sequence > self.sent {
            self.statistics.acks_invalid += 1;
            return 0;
        }
        let progress = sequence.saturating_sub(self.acked);
        if progress > 0 {
            self.acked = sequence;
            if let Some((end, began)) = self.timed
                && sequence >= end
            {
                self.round_trip.sample(now_ns.saturating_sub(began));
                self.timed = None;
            }
            // The peer is there: doubling is over, as in QUIC. A probe repeats nothing, so one too early makes no storm.
            self.probe_timeout_ns = self.timeout_ns();
            self.probe_at =
                if self.acked < self.sent { now_ns.saturating_add(self.probe_timeout_ns) } else { u64::MAX };
        }
        progress
    }

    /// How long an acknowledgement takes at most, as far as is known.
    fn timeout_ns(&self) -> u64 {
        let SendConfig { probe_timeout_ns_initial, probe_delay_ns, probe_timeout_ns_max, .. } = self.config;
        let timeout_ns = self.round_trip.timeout_ns(probe_delay_ns).unwrap_or(probe_timeout_ns_initial);
        timeout_ns.saturating_add(self.ack_delay_ns).min(probe_timeout_ns_max)
    }

    /// Whether the peer's acknowledgements wait for a message to ride behind.
    pub fn set_peer_waits_to_ride(&mut self, waits: bool) {
        self.ack_delay_ns = if waits { RIDING_ACK_DELAY_NS } else { 0 };
        self.probe_timeout_ns = self.timeout_ns();
    }

    /// Whether they do.
    pub fn peer_waits_to_ride(&self) -> bool {
        self.ack_delay_ns != 0
    }

    /// The peer probes, so something was lost: it is told at once how far this stream is, in case that was.
    pub fn on_probe(&mut self) {
        self.heartbeat_due |= self.acked < self.sent;
    }

    /// The round trip as acknowledgements show it; the other stream of the session takes the same way.
    #[inline]
    pub fn round_trip(&self) -> RoundTrip {
        self.round_trip
    }

    /// The peer lacks `count` messages from `sequence` on.
    pub fn on_request(&mut self, sequence: u64, count: u16) -> RequestOutcome {
        self.statistics.requests += 1;
        let until = sequence.saturating_add(u64::from(count)).min(self.sent);
        if sequence == 0 || sequence >= until {
            return RequestOutcome::Nothing;
        }
        // No clipping at `acked`: a client that lost its state asks for what it had acknowledged before.
        let first = self.ring.first();
        let queued = self.queue_retransmission(Range { from: sequence.max(first), until });
        if sequence < first {
            self.statistics.requests_too_old += 1;
            return RequestOutcome::TooOld { from: sequence, until: until.min(first) };
        }
        if queued == RequestOutcome::Limited {
            self.statistics.requests_limited += 1;
        }
        queued
    }

    /// Adds a range, merged with those it touches, so that asking twice does not send twice.
    fn queue_retransmission(&mut self, mut range: Range) -> RequestOutcome {
        if range.from >= range.until {
            return RequestOutcome::Nothing;
        }
        if self.timed.is_some_and(|(end, _)| range.from < end) {
            self.timed = None;
        }
        let mut index = 0;
        while index < self.retransmit_count {
            let other = self.retransmit[index];
            if other.from <= range.from && range.until <= other.until {
                return RequestOutcome::Nothing;
            }
            if range.from <= other.until && other.from <= range.until {
                range = Range { from: range.from.min(other.from), until: range.until.max(other.until) };
                self.remove_range(index);
            } else {
                index += 1;
            }
        }
        if self.retransmit_count == RETRANSMIT_RANGES {
            return RequestOutcome::Limited;
        }
        self.retransmit[self.retransmit_count] = range;
        self.retransmit_count += 1;
        RequestOutcome::Queued
    }

    fn remove_range(&mut self, index: usize) {
        self.retransmit.copy_within(index + 1..self.retransmit_count, index);
        self.retransmit_count -= 1;
    }

    /// Whether [`SendStream::pack`] may have something to send now, short of the retransmission budget.
    #[inline]
    pub fn wants_to_send(&self, limit_sequence: u64) -> bool {
        self.sent < limit_sequence.min(self.ring.next()) || self.retransmit_count > 0 || self.heartbeat_due
    }

    /// Builds the next datagram that should leave: a retransmission, new messages, or a heartbeat. Call it until it returns `None`. No
    /// message at or beyond `limit_sequence` is in it, nor a word of its existence; `u64::MAX` lifts that.
    #[inline]
    pub fn pack(&mut self, now_ns: u64, limit_sequence: u64, out: &mut [u8]) -> Option<usize> {
        if self.retransmit_count > 0
            && let Some(length) = self.pack_retransmission(now_ns, limit_sequence, out)
        {
            return Some(length);
        }
        if let Some(length) = self.pack_new(now_ns, limit_sequence, out) {
            return Some(length);
        }
        if self.heartbeat_due { self.pack_heartbeat(now_ns, limit_sequence, out) } else { None }
    }

    /// Builds a datagram of messages that leave for the first time: as many as fit, all below `limit_sequence`.
    #[inline]
    pub fn pack_new(&mut self, now_ns: u64, limit_sequence: u64, out: &mut [u8]) -> Option<usize> {
        if self.sent < self.ring.first() {
            self.skip_evicted(limit_sequence);
        }
        let until = limit_sequence.min(self.ring.next());
        let (length, packed_to) = self.pack_range(self.sent, until, out)?;
        self.statistics.datagrams += 1;
        self.statistics.messages += packed_to - self.sent;
        self.sent = packed_to;
        if self.timed.is_none() {
            self.timed = Some((packed_to, now_ns));
        }
        self.silent_since = now_ns;
        self.heartbeat_due &= self.ended;
        if self.probe_at == u64::MAX {
            self.probe_at = now_ns.saturating_add(self.probe_timeout_ns);
        }
        Some(length)
    }

    /// Overwritten before it left: the receiver is told where the stream is, sees the gap and asks, and the owner replays it.
    #[cold]
    fn skip_evicted(&mut self, limit_sequence: u64) {
        let reached = self.ring.first().min(limit_sequence);
        if reached > self.sent {
            self.sent = reached;
            self.heartbeat_due = true;
        }
    }

    /// Builds a datagram of retained messages from `from` on, below `until`, without touching any state: as many as fit.
    /// Returns its length and the sequence after its last message.
    #[inline]
    pub fn pack_range(&self, from: u64, until: u64, out: &mut [u8]) -> Option<(usize, u64)> {
        let body = out.get_mut(HEADER_LENGTH..)?;
        let (length, count) = self.ring.copy_blocks(from, until, body)?;
        let header = Header { session: self.session, sequence: from, count };
        header.write(out);
        Some((HEADER_LENGTH + length, from + u64::from(count)))
    }

    /// Builds a datagram of requested messages below `limit_sequence`, as far as the budget allows.
    pub fn pack_retransmission(&mut self, now_ns: u64, limit_sequence: u64, out: &mut [u8]) -> Option<usize> {
        self.top_up_budget(now_ns);
        let end = self.sent.min(limit_sequence);
        while self.retransmit_count > 0 {
            let Range { from, until } = self.retransmit[0];
            let from = from.max(self.ring.first());
            if from >= until.min(end) {
                self.remove_range(0);
                continue;
            }
            if self.budget_bytes < self.config.retransmit_burst_bytes.min(out.len() as u64) {
                return None;
            }
            let Some((length, packed_to)) = self.pack_range(from, until.min(end), out) else {
                // A message that does not fit into this port's datagrams can never leave; waiting would not help.
                self.remove_range(0);
                continue;
            };
            self.retransmit[0].from = packed_to;
            if packed_to >= until {
                self.remove_range(0);
            }
            self.budget_bytes = self.budget_bytes.saturating_sub(length as u64);
            self.silent_since = now_ns;
            self.statistics.retransmitted_datagrams += 1;
            self.statistics.retransmitted_messages += packed_to - from;
            return Some(length);
        }
        None
    }

    /// Builds a heartbeat, or once the stream has ended and everything left, the end-of-session packet.
    pub fn pack_heartbeat(&mut self, now_ns: u64, limit_sequence: u64, out: &mut [u8]) -> Option<usize> {
        let sequence = self.sent.min(limit_sequence);
        let all_left = sequence == self.ring.next();
        let count = if self.ended && all_left { END_OF_SESSION } else { HEARTBEAT };
        let header = Header { session: self.session, sequence, count };
        if out.len() < HEADER_LENGTH {
            return None;
        }
        header.write(out);
        self.heartbeat_due = false;
        self.silent_since = now_ns;
        self.statistics.heartbeats += 1;
        Some(HEADER_LENGTH)
    }

    fn top_up_budget(&mut self, now_ns: u64) {
        let rate = self.config.retransmit_bytes_per_second;
        let elapsed_ns = now_ns.saturating_sub(self.budget_at);
        let earned = u128::from(elapsed_ns) * u128::from(rate) / u128::from(NANOSECONDS_PER_SECOND);
        if earned > 0 {
            let full = self.config.retransmit_burst_bytes;
            self.budget_bytes =
                full.min(self.budget_bytes.saturating_add(earned.min(u128::from(full)) as u64));
            self.budget_at = now_ns;
        }
    }

    /// When [`SendStream::on_timer`] next has something to do. There is always a heartbeat to come.
    #[inline]
    pub fn next_deadline(&self) -> u64 {
        let heartbeat_at = self.silent_since.saturating_add(self.config.heartbeat_interval_ns);
        let mut deadline = heartbeat_at.min(self.probe_at);
        if self.retransmit_count > 0 {
            deadline = deadline.min(self.budget_at.saturating_add(self.budget_wait_ns()));
        }
        deadline
    }

    /// Time in which one full datagram is earned, bounded so that an idle clock still moves.
    fn budget_wait_ns(&self) -> u64 {
        let rate = self.config.retransmit_bytes_per_second.max(1);
        (wire::moldudp64::MAX_PAYLOAD as u64).saturating_mul(NANOSECONDS_PER_SECOND) / rate
    }

    /// Does what is due at `now_ns`: afterwards [`SendStream::pack`] builds the heartbeat, probe or retransmission.
    pub fn on_timer(&mut self, now_ns: u64) {
        if now_ns >= self.silent_since.saturating_add(self.config.heartbeat_interval_ns) {
            self.heartbeat_due = true;
        }
        if now_ns >= self.probe_at {
            self.probe_timeout_ns =
                self.probe_timeout_ns.saturating_mul(2).min(self.config.probe_timeout_ns_max);
            if self.acked >= self.sent {
                self.probe_at = u64::MAX;
                return;
            }
            self.probe_at = now_ns.saturating_add(self.probe_timeout_ns);
            self.statistics.probes += 1;
            self.heartbeat_due = true;
        }
    }
}
