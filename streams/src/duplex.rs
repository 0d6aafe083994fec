//! Both streams of a session in one: sorts datagrams to the half they concern, and asks both what to send. It adds no protocol of its own.

use wire::moldudp64::{HEADER_LENGTH, Header};

use super::{
    Kind, ParkingPool, RIDER_LENGTH, ReceiveConfig, ReceiveStream, Received, RequestOutcome, Run, SendConfig,
    SendStream, SessionName, classify,
};

/// One end of a session: it sends one stream and receives the other.
pub struct Duplex {
    pub send: SendStream,
    pub receive: ReceiveStream,
    /// The peer understands acknowledgements that ride with messages: it has sent one, or said so.
    rides: bool,
}

/// What a datagram meant to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The peer's stream; messages were handed to `deliver`.
    Received(Received),
    /// This many messages of ours are newly acknowledged; 0 if the acknowledgement told nothing new.
    Acknowledged(u64),
    /// The peer asked for messages of ours. [`RequestOutcome::TooOld`] is the owner's to answer.
    Requested(RequestOutcome),
    /// Not for this session.
    Foreign,
    /// Cut short, or nonsense. No state changed.
    Malformed,
}

impl Duplex {
    /// `send_next` and `receive_next` are 1 for a new session.
    pub fn new(
        send: (SendConfig, SessionName, u64),
        receive: (ReceiveConfig, SessionName, u64),
        now_ns: u64,
    ) -> Self {
        Duplex {
            send: SendStream::restore(send.0, send.1, send.2, now_ns),
            receive: ReceiveStream::new(receive.0, receive.1, receive.2),
            rides: false,
        }
    }

    /// Whether acknowledgements ride with messages from now on. A new login starts without.
    pub fn set_rides(&mut self, rides: bool) {
        self.rides = rides;
        self.send.set_peer_waits_to_ride(rides);
        if !rides {
            self.receive.set_waits_to_ride(false);
        }
    }

    /// Whether they do.
    pub fn rides(&self) -> bool {
        self.rides
    }

    /// Takes a whole UDP payload.
    #[inline]
    pub fn on_datagram(
        &mut self,
        payload: &[u8],
        now_ns: u64,
        pool: &mut ParkingPool,
        deliver: impl FnMut(Run<'_>),
    ) -> Event {
        let Ok(header) = Header::read(payload) else { return Event::Malformed };
        match classify(&header, payload.len(), self.send.session(), self.receive.session()) {
            Kind::Stream => {
                let blocks = &payload[HEADER_LENGTH..];
                let received = self.receive.on_datagram(&header, blocks, now_ns, pool, deliver);
                if self.send.peer_waits_to_ride() && received == Received::Heartbeat {
                    self.send.on_probe();
                }
                if let Some(acknowledged) = self.receive.take_rider() {
                    if !std::mem::replace(&mut self.rides, true) {
                        // The peer knows, and waits.
                        self.receive.set_waits_to_ride(true);
                    }
                    self.on_ack(acknowledged, now_ns);
                }
                Event::Received(received)
            }
            Kind::Acknowledgement => Event::Acknowledged(self.on_ack(header.sequence, now_ns)),
            Kind::Request => Event::Requested(self.send.on_request(header.sequence, header.count)),
            Kind::Foreign => Event::Foreign,
            Kind::Malformed => Event::Malformed,
        }
    }

    fn on_ack(&mut self, sequence: u64, now_ns: u64) -> u64 {
        let progress = self.send.on_ack(sequence, now_ns);
        self.receive.set_round_trip(self.send.round_trip());
        progress
    }

    /// When [`Duplex::on_timer`] next has something to do.
    #[inline]
    pub fn next_deadline(&self) -> u64 {
        self.send.next_deadline().min(self.receive.next_deadline())
    }

    /// Does what is due. Call [`Duplex::pack`] until it returns `None` afterwards.
    pub fn on_timer(&mut self, now_ns: u64) {
        self.send.on_timer(now_ns);
        self.receive.on_timer(now_ns);
    }

    /// Whether [`Duplex::pack`] may have something to send now.
    #[inline]
    pub fn wants_to_send(&self, limit_sequence: u64) -> bool {
        self.send.wants_to_send(limit_sequence) || self.receive.wants_to_send()
    }

    /// Builds the next datagram that should leave: messages first, then what the other stream needs.
    #[inline]
    pub fn pack(
        &mut self,
        now_ns: u64,
        limit_sequence: u64,
        pool: &ParkingPool,
        out: &mut [u8],
    ) -> Option<usize> {
        if !self.rides {
            return self.send.pack(now_ns, limit_sequence, out).or_else(|| self.receive.pack(pool, out));
        }
        let room = out.len().saturating_sub(RIDER_LENGTH);
        match self.send.pack(now_ns, limit_sequence, &mut out[..room]) {
            // Behind messages only: a heartbeat has no blocks.
            Some(length) if length > HEADER_LENGTH => {
                Some(length + self.receive.ride(u64::MAX, now_ns, &mut out[length..]))
            }
            Some(length) => Some(length),
            None => self.receive.pack(pool, out),
        }
    }
}
