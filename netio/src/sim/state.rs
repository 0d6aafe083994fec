//! What a simulated network is made of: its clock, datagrams under way, and what happens to them. Not the handles that tests hold.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

use crate::port::{Endpoint, Peer, RxDrops};
use crate::random::Random;

/// Datagrams under way at once. More are lost, as in a switch without buffers.
const IN_FLIGHT_MAX: usize = 65_536;

/// Datagrams that wait at a port to be received.
const QUEUE_MAX: usize = 4_096;

/// Bits flipped in a datagram whose corruption no checksum notices: at most this many.
const FLIPPED_BITS_MAX: u64 = 3;

/// What the network does to datagrams. Probabilities are of each datagram, and independent.
#[derive(Debug, Clone, PartialEq)]
pub struct Faults {
    /// Lost on the way.
    pub loss: f64,
    /// With each loss, up to this many more in a row: a queue that overflows takes what comes close behind.
    pub loss_burst_max: u64,
    /// Delivered twice, each copy with a delay of its own.
    pub duplication: f64,
    /// Overtaken: delayed by up to `reordering_delay_ns` more than the ones behind it. Without it, datagrams from one port to
    /// another arrive in order, whatever their delays.
    pub reordering: f64,
    pub reordering_delay_ns: u64,
    /// Damaged, and noticed by the UDP checksum: dropped at the receiver and counted there. As a real network does it nearly always.
    pub corruption_detected: f64,
    /// Damaged, unnoticed: delivered with bits flipped.
    pub corruption_undetected: f64,
    pub delay_ns_min: u64,
    pub delay_ns_max: u64,
    /// `send` refused with `TransmitFull` though there is room.
    pub transmit_full: f64,
}

impl Faults {
    /// A perfect network without delay.
    pub fn none() -> Self {
        Faults {
            loss: 0.0,
            loss_burst_max: 0,
            duplication: 0.0,
            reordering: 0.0,
            reordering_delay_ns: 0,
            corruption_detected: 0.0,
            corruption_undetected: 0.0,
            delay_ns_min: 0,
            delay_ns_max: 0,
            transmit_full: 0.0,
        }
    }

    /// A bad one: 10% loss, 5% duplication, 10% reordering, 1% corruption that the checksum notices, 10 to 50 us of delay.
    pub fn harsh() -> Self {
        Faults {
            loss: 0.10,
            duplication: 0.05,
            reordering: 0.10,
            reordering_delay_ns: 200_000,
            corruption_detected: 0.01,
            delay_ns_min: 10_000,
            delay_ns_max: 50_000,
            ..Faults::none()
        }
    }
}

/// What became of datagrams, network-wide. `sent + duplicated` are all accounted for by the others and those under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SimStatistics {
    pub sent: u64,
    pub delivered: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub reordered: u64,
    pub corrupted_detected: u64,
    pub corrupted_undetected: u64,
    pub partitioned: u64,
    /// No port is open at the destination.
    pub unreachable: u64,
    /// More under way, or waiting at the receiver, than there is room for.
    pub overflowed: u64,
}

/// Names a partition, to heal it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartitionId(pub(super) u64);

pub(super) struct Partition {
    pub(super) id: PartitionId,
    pub(super) one: BTreeSet<Endpoint>,
    pub(super) other: BTreeSet<Endpoint>,
}

pub(super) struct State {
    pub(super) now_ns: u64,
    pub(super) random: Random,
    pub(super) faults: Faults,
    pub(super) links: BTreeMap<(Endpoint, Endpoint), Link>,
    pub(super) partitions: Vec<Partition>,
    pub(super) partitions_made: u64,
    pub(super) in_flight: BinaryHeap<InFlight>,
    /// Datagrams that go the way of the last one lost.
    pub(super) burst_left: u64,
    pub(super) serial: u64,
    pub(super) inboxes: BTreeMap<Endpoint, Inbox>,
    pub(super) spare_buffers: Vec<Vec<u8>>,
    pub(super) statistics: SimStatistics,
}

/// What is kept about each direction between two endpoints.
#[derive(Default)]
pub(super) struct Link {
    pub(super) faults: Option<Faults>,
    /// Arrival of the last datagram that kept its place: none that keeps its place arrives before.
    pub(super) last_arrival_ns: u64,
}

#[derive(Default)]
pub(super) struct Inbox {
    pub(super) queue: VecDeque<(Peer, Vec<u8>)>,
    pub(super) drops: RxDrops,
}

pub(super) struct InFlight {
    pub(super) at_ns: u64,
    pub(super) serial: u64,
    pub(super) from: Endpoint,
    pub(super) to: Endpoint,
    pub(super) bytes: Vec<u8>,
    pub(super) is_damaged: bool,
}

// The heap gives the greatest first; the earliest is to come first, and among equals the one sent first.
impl Ord for InFlight {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at_ns, other.serial).cmp(&(self.at_ns, self.serial))
    }
}

impl PartialOrd for InFlight {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for InFlight {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for InFlight {}

impl State {
    pub(super) fn advance_to(&mut self, now_ns: u64) {
        while self.in_flight.peek().is_some_and(|datagram| datagram.at_ns <= now_ns) {
            if let Some(datagram) = self.in_flight.pop() {
                self.now_ns = self.now_ns.max(datagram.at_ns);
                self.arrive(datagram);
            }
        }
        self.now_ns = self.now_ns.max(now_ns);
    }

    /// Takes a buffer for a datagram of `length` bytes: contents are the caller's to write.
    pub(super) fn buffer(&mut self, length: usize) -> Vec<u8> {
        let mut buffer = self.spare_buffers.pop().unwrap_or_default();
        buffer.resize(length, 0);
        buffer
    }

    pub(super) fn give_back(&mut self, buffer: Vec<u8>) {
        if self.spare_buffers.len() < QUEUE_MAX {
            self.spare_buffers.push(buffer);
        }
    }

    pub(super) fn inbox(&mut self, endpoint: Endpoint) -> Option<&mut Inbox> {
        self.inboxes.get_mut(&endpoint)
    }

    pub(super) fn close(&mut self, endpoint: Endpoint) {
        self.inboxes.remove(&endpoint);
    }

    pub(super) fn refuses_transmit(&mut self) -> bool {
        let probability = self.faults.transmit_full;
        probability > 0.0 && self.random.chance(probability)
    }

    /// Sends a datagram on its way, with whatever is going to happen to it.
    pub(super) fn transmit(&mut self, from: Endpoint, to: Endpoint, bytes: Vec<u8>) {
        self.statistics.sent += 1;
        if self.is_partitioned(from, to) {
            self.statistics.partitioned += 1;
            return self.give_back(bytes);
        }
        let faults =
            self.links.get(&(from, to)).and_then(|link| link.faults.as_ref()).unwrap_or(&self.faults);
        let faults = faults.clone();
        if self.random.chance(faults.duplication) {
            self.statistics.duplicated += 1;
            let mut copy = self.buffer(bytes.len());
            copy.copy_from_slice(&bytes);
            self.launch(from, to, copy, &faults);
        }
        self.launch(from, to, bytes, &faults);
    }

    fn launch(&mut self, from: Endpoint, to: Endpoint, mut bytes: Vec<u8>, faults: &Faults) {
        if self.burst_left > 0 {
            self.burst_left -= 1;
            self.statistics.lost += 1;
            return self.give_back(bytes);
        }
        if self.random.chance(faults.loss) {
            if faults.loss_burst_max > 0 {
                self.burst_left = self.random.between(0, faults.loss_burst_max);
            }
            self.statistics.lost += 1;
            return self.give_back(bytes);
        }
        if self.in_flight.len() >= IN_FLIGHT_MAX {
            self.statistics.overflowed += 1;
            return self.give_back(bytes);
        }
        if self.random.chance(faults.corruption_undetected) && !bytes.is_empty() {
            self.statistics.corrupted_undetected += 1;
            for _ in 0..self.random.between(1, FLIPPED_BITS_MAX) {
                let bit = self.random.index(bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
        let is_damaged = self.random.chance(faults.corruption_detected);
        let delay_ns = self.random.between(faults.delay_ns_min, faults.delay_ns_max);
        let mut at_ns = self.now_ns.saturating_add(delay_ns);
        if self.random.chance(faults.reordering) {
            self.statistics.reordered += 1;
            at_ns = at_ns.saturating_add(self.random.between(1, faults.reordering_delay_ns));
        } else {
            let link = self.links.entry((from, to)).or_default();
            at_ns = at_ns.max(link.last_arrival_ns);
            link.last_arrival_ns = at_ns;
        }
        self.serial += 1;
        self.in_flight.push(InFlight { at_ns, serial: self.serial, from, to, bytes, is_damaged });
    }

    fn arrive(&mut self, datagram: InFlight) {
        let InFlight { from, to, bytes, is_damaged, .. } = datagram;
        if self.is_partitioned(from, to) {
            self.statistics.partitioned += 1;
            return self.give_back(bytes);
        }
        let Some(inbox) = self.inboxes.get_mut(&to) else {
            self.statistics.unreachable += 1;
            return self.give_back(bytes);
        };
        if is_damaged {
            inbox.drops.checksum += 1;
            self.statistics.corrupted_detected += 1;
            return self.give_back(bytes);
        }
        if inbox.queue.len() >= QUEUE_MAX {
            inbox.drops.queue_full += 1;
            self.statistics.overflowed += 1;
            return self.give_back(bytes);
        }
        let peer = Peer { remote: from, local: to, ..Peer::default() };
        inbox.queue.push_back((peer, bytes));
        self.statistics.delivered += 1;
    }

    fn is_partitioned(&self, from: Endpoint, to: Endpoint) -> bool {
        self.partitions.iter().any(|Partition { one, other, .. }| {
            (one.contains(&from) && other.contains(&to)) || (one.contains(&to) && other.contains(&from))
        })
    }
}
