//! The receiving half of a MoldUDP64 stream: order, duplicates, gaps and acknowledgements. A pure state machine: no I/O, time is passed in.

use wire::moldudp64::{END_OF_SESSION, HEADER_LENGTH, HEARTBEAT, Header};

use super::parking::{Insert, Parked, ParkingPool};
use super::rtt::RoundTrip;
use super::run::{RIDER_LENGTH, RIDING_ACK_DELAY_NS, Run};
use super::{NANOSECONDS_PER_SECOND, SessionName, WINDOW_MESSAGES};

/// Holes asked for in one round. What is lost beyond them is asked for when these are filled.
const REQUESTS_PER_ROUND: u32 = 8;

/// Bounds and timers of a [`ReceiveStream`].
#[derive(Debug, Clone)]
pub struct ReceiveConfig {
    /// Messages ahead of the next expected one that are looked at; what is further ahead is dropped.
    pub window_messages: u64,
    /// Datagrams this stream may have parked at once.
    pub parked_datagrams_max: u32,
    /// Acknowledge after this many messages at the latest: a quarter of the sender's window keeps it moving.
    pub ack_every_messages: u64,
    /// Acknowledge after this time at the latest. Must be below the sender's probe timeout.
    pub ack_delay_ns: u64,
    /// Acknowledgements ride this far apart, or a quarter of `ack_every_messages`.
    pub ride_interval_ns: u64,
    /// How long a new hole may close by itself (reordering) before it is asked for.
    pub reorder_grace_ns: u64,
    /// First repetition of a request, or a round trip if that is known to take longer; doubles up to the maximum while nothing
    /// arrives.
    pub retry_ns: u64,
    pub retry_ns_max: u64,
}

impl Default for ReceiveConfig {
    fn default() -> Self {
        ReceiveConfig {
            window_messages: WINDOW_MESSAGES,
            parked_datagrams_max: 256,
            ack_every_messages: 64,
            ack_delay_ns: 1_000_000,
            ride_interval_ns: 100_000,
            // Simulated with 60 us of reordering among 10% of the datagrams: of the requests sent, 8 in 10 were needless with
            // no grace, 1 in 3 with 50 us, 1 in 10 with 100 us; none of them took measurably longer to finish.
            reorder_grace_ns: 100_000,
            retry_ns: 500_000,
            retry_ns_max: NANOSECONDS_PER_SECOND / 4,
        }
    }
}

/// What a datagram of the stream came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// Messages were delivered, this many.
    Delivered(u64),
    /// Early: kept until the ones before it arrive.
    Parked,
    /// Nothing new in it.
    Duplicate,
    /// Early, and there is no room to keep it.
    Dropped,
    /// Beyond the window. No state changed.
    FarAhead,
    /// Not the claimed number of whole blocks. No state changed.
    Malformed,
    Heartbeat,
    /// The stream has ended and everything before its end was delivered.
    Ended,
}

/// Counters of a [`ReceiveStream`]. They only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReceiveStatistics {
    pub datagrams: u64,
    pub messages: u64,
    pub duplicates: u64,
    pub duplicate_messages: u64,
    pub parked: u64,
    pub dropped_no_room: u64,
    pub far_ahead: u64,
    pub malformed: u64,
    pub heartbeats: u64,
    pub requests_sent: u64,
    pub acks_sent: u64,
    /// Acknowledgements that needed no datagram of their own.
    pub acks_ridden: u64,
}

/// The receiving half of a stream.
///
/// ```
/// use streams::{ParkingPool, ReceiveConfig, ReceiveStream, Received};
/// use wire::moldudp64::Header;
/// let mut pool = ParkingPool::new(16, 1452);
/// let mut stream = ReceiveStream::new(ReceiveConfig::default(), *b"UABCDEFGHI", 1);
/// let header = Header { session: *b"UABCDEFGHI", sequence: 1, count: 1 };
/// let received = stream.on_datagram(&header, b"\0\x05hello", 0, &mut pool, |run| {
///     for (sequence, message) in run.messages() {
///         assert_eq!((sequence, message), (1, &b"hello"[..]));
///     }
/// });
/// assert_eq!(received, Received::Delivered(1));
/// ```
pub struct ReceiveStream {
    session: SessionName,
    next: u64,
    /// Sequence after the last message known to exist.
    highest: u64,
    /// Sequence of the end of the stream, once the peer told it.
    end: Option<u64>,
    parked: Parked,
    /// The next expected sequence as the peer last heard it from us.
    acked: u64,
    ack_due: bool,
    ack_at: u64,
    ack_delay_ns: u64,
    /// No acknowledgement rides before this, unless much has come since the last.
    ride_at: u64,
    /// Holes from here on have not been asked for yet; when to ask.
    requested_to: u64,
    fresh_at: u64,
    /// When to ask again for everything missing.
    retry_at: u64,
    retry_ns: u64,
    /// What `retry_ns` begins with: as long as an answer takes.
    answer_ns: u64,
    /// When a duplicate was last answered: once per round trip is enough.
    duplicate_answered_at: u64,
    /// A round of requests in progress: where it goes on, and how many are left. `u64::MAX`: none.
    round_cursor: u64,
    round_left: u32,
    /// The acknowledgement that came with the last messages.
    rider: Option<u64>,
    statistics: ReceiveStatistics,
    config: ReceiveConfig,
}

impl ReceiveStream {
    /// A stream that expects sequence `next`: 1 for a new one, more after a recovery or a login with replay.
    pub fn new(config: ReceiveConfig, session: SessionName, next: u64) -> Self {
        let next = next.max(1);
        ReceiveStream {
            session,
            next,
            highest: next,
            end: None,
            parked: Parked::new(),
            acked: next,
            ack_due: false,
            ack_at: u64::MAX,
            ack_delay_ns: config.ack_delay_ns,
            ride_at: 0,
            requested_to: next,
            fresh_at: u64::MAX,
            retry_at: u64::MAX,
            retry_ns: config.retry_ns,
            answer_ns: config.retry_ns,
            duplicate_answered_at: 0,
            round_cursor: u64::MAX,
            round_left: 0,
            rider: None,
            statistics: ReceiveStatistics::default(),
            config,
        }
    }

    pub fn session(&self) -> &SessionName {
        &self.session
    }

    /// Next expected sequence: everything below it was delivered.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Messages known to be missing or parked.
    pub fn behind(&self) -> u64 {
        self.highest.saturating_sub(self.next)
    }

    /// Datagrams parked.
    pub fn parked(&self) -> u32 {
        self.parked.count()
    }

    /// Whether the peer ended the stream and all of it was delivered.
    pub fn is_ended(&self) -> bool {
        self.end.is_some_and(|end| self.next >= end)
    }

    pub fn statistics(&self) -> &ReceiveStatistics {
        &self.statistics
    }

    /// Gives every parked datagram back to the pool. Call it before dropping the stream.
    pub fn clear(&mut self, pool: &mut ParkingPool) {
        self.parked.clear(pool);
    }

    /// Takes a datagram that names this stream: `header` and what follows it. `deliver` gets every run of messages that
    /// is next in order: from this datagram, then from parked ones. Each message is delivered once.
    ///
    /// For an owner whose `deliver` cannot run while it holds the stream there are the steps of it: [`ReceiveStream::take`],
    /// [`ReceiveStream::take_parked`] until there is none, [`ReceiveStream::taken`].
    #[inline]
    pub fn on_datagram(
        &mut self,
        header: &Header,
        blocks: &[u8],
        now_ns: u64,
        pool: &mut ParkingPool,
        mut deliver: impl FnMut(Run<'_>),
    ) -> Received {
        let before = self.next;
        match self.take(header, blocks, now_ns, pool) {
            Ok(run) => deliver(run),
            Err(received) => return received,
        }
        while let Some(run) = self.take_parked(pool) {
            deliver(run);
        }
        self.taken(now_ns);
        Received::Delivered(self.next - before)
    }

    /// First step of [`ReceiveStream::on_datagram`]: the run of this datagram that is next in order. It counts as delivered.
    ///
    /// # Errors
    /// There is none: what the datagram was instead. Nothing more is to be done then.
    #[inline]
    pub fn take<'a>(
        &mut self,
        header: &Header,
        blocks: &'a [u8],
        now_ns: u64,
        pool: &mut ParkingPool,
    ) -> Result<Run<'a>, Received> {
        if header.count == HEARTBEAT || header.count == END_OF_SESSION {
            return Err(self.on_heartbeat(header, blocks, now_ns));
        }
        let Ok((run, rider)) = Run::parse_ridden(header.sequence, header.count, blocks) else {
            return Err(self.malformed());
        };
        if run.first == 0 {
            return Err(self.malformed());
        }
        self.rider = rider;
        if run.end() <= self.next {
            self.statistics.duplicates += 1;
            self.statistics.duplicate_messages += u64::from(run.count);
            self.on_duplicate(now_ns);
            return Err(Received::Duplicate);
        }
        self.statistics.datagrams += 1;
        if run.first > self.next {
            return Err(self.on_early(&run, now_ns, pool));
        }
        Ok(self.advance(&run))
    }

    /// Second step, again and again: a parked run that is next in order by now.
    #[inline]
    pub fn take_parked<'a>(&mut self, pool: &'a mut ParkingPool) -> Option<Run<'a>> {
        while self.parked.is_due(pool, self.next) {
            let place = self.parked.pop(pool)?;
            if pool.run(place).end() > self.next {
                return Some(self.advance(&pool.run(place)));
            }
        }
        None
    }

    /// Last step: acknowledgements and requests follow from what was taken.
    #[inline]
    pub fn taken(&mut self, now_ns: u64) {
        self.after_progress(now_ns);
    }

    /// The part of the run that is new; the stream goes on behind it.
    #[inline]
    fn advance<'a>(&mut self, run: &Run<'a>) -> Run<'a> {
        let new = run.skip_to(self.next);
        self.statistics.duplicate_messages += u64::from(run.count - new.count);
        self.statistics.messages += u64::from(new.count);
        self.next = new.end();
        new
    }

    #[inline]
    fn after_progress(&mut self, now_ns: u64) {
        self.highest = self.highest.max(self.next);
        if self.next - self.acked >= self.config.ack_every_messages {
            self.ack_due = true;
        } else if self.ack_at == u64::MAX {
            self.ack_at = now_ns.saturating_add(self.ack_delay_ns);
        }
        if self.retry_at != u64::MAX || self.fresh_at != u64::MAX {
            self.retry_ns = self.answer_ns;
            if self.next >= self.highest {
                self.retry_at = u64::MAX;
                self.fresh_at = u64::MAX;
                self.round_cursor = u64::MAX;
            } else if self.retry_at != u64::MAX {
                self.retry_at = now_ns.saturating_add(self.retry_ns);
            }
        }
    }

    /// The peer sends what we have: it lost our acknowledgement, or could not wait for it. Several in a round trip have one cause.
    #[cold]
    fn on_duplicate(&mut self, now_ns: u64) {
        let answer_at = self.duplicate_answered_at.saturating_add(self.answer_ns);
        if now_ns >= answer_at {
            self.duplicate_answered_at = now_ns;
            self.ack_due = true;
        } else {
            self.ack_at = self.ack_at.min(answer_at);
        }
    }

    /// Answers take this long at most, as the session's other stream has measured.
    #[inline]
    pub fn set_round_trip(&mut self, round_trip: RoundTrip) {
        if let Some(timeout_ns) = round_trip.timeout_ns(self.config.retry_ns) {
            self.answer_ns = timeout_ns.min(self.config.retry_ns_max);
        }
    }

    fn on_early(&mut self, run: &Run<'_>, now_ns: u64, pool: &mut ParkingPool) -> Received {
        if run.end() - self.next > self.config.window_messages {
            self.statistics.far_ahead += 1;
            return Received::FarAhead;
        }
        let received = if self.parked.count() >= self.config.parked_datagrams_max {
            Insert::NoRoom
        } else {
            self.parked.insert(pool, run)
        };
        // Even what found no room proves that messages are missing, and then is missing itself.
        self.learn_of(run.end(), now_ns);
        match received {
            Insert::Parked => {
                self.statistics.parked += 1;
                Received::Parked
            }
            Insert::Duplicate => {
                self.statistics.duplicates += 1;
                self.statistics.duplicate_messages += u64::from(run.count);
                Received::Duplicate
            }
            Insert::NoRoom => {
                self.statistics.dropped_no_room += 1;
                Received::Dropped
            }
        }
    }

    /// The owner has dropped messages below `end` unseen: what is missing is asked for.
    pub fn on_dropped(&mut self, end: u64, now_ns: u64) {
        self.learn_of(end.min(self.next.saturating_add(self.config.window_messages)), now_ns);
    }

    /// Messages below `highest` exist: if some are missing that were not asked for, the grace period starts.
    fn learn_of(&mut self, highest: u64, now_ns: u64) {
        if highest > self.highest {
            self.highest = highest;
            if self.fresh_at == u64::MAX {
                self.fresh_at = now_ns.saturating_add(self.config.reorder_grace_ns);
            }
        }
    }

    fn on_heartbeat(&mut self, header: &Header, blocks: &[u8], now_ns: u64) -> Received {
        if !blocks.is_empty() || header.sequence == 0 {
            return self.malformed();
        }
        self.statistics.heartbeats += 1;
        // The answer tells the peer what we have: it may be probing because our last acknowledgement was lost.
        self.ack_due = true;
        // Where the end lies is believed only within the window; the next heartbeat shows the rest.
        let within = self.next.saturating_add(self.config.window_messages);
        if header.sequence > self.next {
            self.learn_of(header.sequence.min(within), now_ns);
        }
        if header.count == END_OF_SESSION && (self.next..=within).contains(&header.sequence) {
            self.end = Some(header.sequence);
        }
        if self.is_ended() { Received::Ended } else { Received::Heartbeat }
    }

    fn malformed(&mut self) -> Received {
        self.statistics.malformed += 1;
        Received::Malformed
    }

    /// Whether acknowledgements wait for a message to ride behind, which the peer must know.
    pub fn set_waits_to_ride(&mut self, waits: bool) {
        self.ack_delay_ns = if waits { RIDING_ACK_DELAY_NS } else { self.config.ack_delay_ns };
    }

    /// Acknowledges with the next [`ReceiveStream::pack`], for instance before closing.
    pub fn request_ack(&mut self) {
        self.ack_due = true;
    }

    /// When [`ReceiveStream::on_timer`] next has something to do; `u64::MAX` for not before the next datagram.
    #[inline]
    pub fn next_deadline(&self) -> u64 {
        self.ack_at.min(self.fresh_at).min(self.retry_at)
    }

    /// Does what is due at `now_ns`: afterwards [`ReceiveStream::pack`] builds the acknowledgement or the requests.
    pub fn on_timer(&mut self, now_ns: u64) {
        if now_ns >= self.ack_at {
            self.ack_due = true;
        }
        if now_ns >= self.retry_at {
            self.begin_round(self.next);
            self.retry_at = now_ns.saturating_add(self.retry_ns);
            self.retry_ns = self.retry_ns.saturating_mul(2).min(self.config.retry_ns_max);
        } else if now_ns >= self.fresh_at {
            self.begin_round(self.requested_to.max(self.next));
            // A steady trickle of new holes must not put off the repetition for older ones.
            self.retry_at = self.retry_at.min(now_ns.saturating_add(self.retry_ns));
        }
    }

    fn begin_round(&mut self, from: u64) {
        self.fresh_at = u64::MAX;
        self.requested_to = self.highest;
        self.round_cursor = from;
        self.round_left = REQUESTS_PER_ROUND;
    }

    /// Whether [`ReceiveStream::pack`] may have something to send now.
    #[inline]
    pub fn wants_to_send(&self) -> bool {
        self.ack_due || self.round_cursor != u64::MAX
    }

    /// Builds the next datagram for the peer: an acknowledgement or a request, 20 bytes. Call it until it returns `None`.
    #[inline]
    pub fn pack(&mut self, pool: &ParkingPool, out: &mut [u8]) -> Option<usize> {
        if !self.wants_to_send() || out.len() < HEADER_LENGTH {
            return None;
        }
        if self.ack_due {
            self.ack_due = false;
            self.ack_at = u64::MAX;
            self.acked = self.next;
            self.statistics.acks_sent += 1;
            return Some(self.write(self.next, HEARTBEAT, out));
        }
        self.pack_request(pool, out)
    }

    /// The acknowledgement of our own stream that rode with the last messages: for [`super::SendStream::on_ack`].
    #[inline]
    pub fn take_rider(&mut self) -> Option<u64> {
        self.rider.take()
    }

    /// Lets an acknowledgement, of nothing at or beyond `limit`, ride behind the blocks of a datagram that leaves anyway, if there is
    /// anything new to say that was not said just before, and `out` has room for it. Returns the bytes written.
    #[inline]
    pub fn ride(&mut self, limit: u64, now_ns: u64, out: &mut [u8]) -> usize {
        let reached = self.next.min(limit);
        let Some(out) = out.first_chunk_mut::<RIDER_LENGTH>() else { return 0 };
        let soon = now_ns < self.ride_at && self.next - self.acked < self.config.ack_every_messages / 4;
        if (soon || reached <= self.acked) && !self.ack_due {
            return 0;
        }
        *out = reached.to_be_bytes();
        self.acked = reached;
        self.ride_at = now_ns.saturating_add(self.config.ride_interval_ns);
        // What the limit holds back is still owed.
        if reached == self.next {
            self.ack_due = false;
            self.ack_at = u64::MAX;
        }
        self.statistics.acks_ridden += 1;
        RIDER_LENGTH
    }

    fn pack_request(&mut self, pool: &ParkingPool, out: &mut [u8]) -> Option<usize> {
        let from = self.round_cursor.max(self.next);
        let hole = self.parked.hole(pool, from, self.highest);
        let (Some((first, end)), true) = (hole, self.round_left > 0) else {
            self.round_cursor = u64::MAX;
            return None;
        };
        // 0xFFFF is not a number of messages.
        let count = (end - first).min(u64::from(END_OF_SESSION) - 1);
        self.round_cursor = first + count;
        self.round_left -= 1;
        self.statistics.requests_sent += 1;
        Some(self.write(first, count as u16, out))
    }

    fn write(&self, sequence: u64, count: u16, out: &mut [u8]) -> usize {
        Header { session: self.session, sequence, count }.write(out);
        HEADER_LENGTH
    }
}
