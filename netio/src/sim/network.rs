//! The network between simulated ports: a virtual clock, datagrams under way, and what happens to them. Ports are next door.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::rc::Rc;

use super::port::SimPort;
use crate::port::{Endpoint, Peer, PortError, RxDrops};
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
pub struct PartitionId(u64);

struct Partition {
    id: PartitionId,
    one: BTreeSet<Endpoint>,
    other: BTreeSet<Endpoint>,
}

/// A simulated network; clones are handles to the same one.
#[derive(Clone)]
pub struct SimNetwork {
    state: Rc<RefCell<State>>,
}

pub(super) struct State {
    now_ns: u64,
    random: Random,
    faults: Faults,
    links: BTreeMap<(Endpoint, Endpoint), Link>,
    partitions: Vec<Partition>,
    partitions_made: u64,
    in_flight: BinaryHeap<InFlight>,
    /// Datagrams that go the way of the last one lost.
    burst_left: u64,
    serial: u64,
    inboxes: BTreeMap<Endpoint, Inbox>,
    spare_buffers: Vec<Vec<u8>>,
    statistics: SimStatistics,
}

/// What is kept about each direction between two endpoints.
#[derive(Default)]
struct Link {
    faults: Option<Faults>,
    /// Arrival of the last datagram that kept its place: none that keeps its place arrives before.
    last_arrival_ns: u64,
}

#[derive(Default)]
pub(super) struct Inbox {
    pub(super) queue: VecDeque<(Peer, Vec<u8>)>,
    pub(super) drops: RxDrops,
}

struct InFlight {
    at_ns: u64,
    serial: u64,
    from: Endpoint,
    to: Endpoint,
    bytes: Vec<u8>,
    is_damaged: bool,
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

impl SimNetwork {
    pub fn new(seed: u64, faults: Faults) -> Self {
        let state = State {
            now_ns: 0,
            random: Random::new(seed),
            faults,
            links: BTreeMap::new(),
            partitions: Vec::new(),
            partitions_made: 0,
            in_flight: BinaryHeap::new(),
            burst_left: 0,
            serial: 0,
            inboxes: BTreeMap::new(),
            spare_buffers: Vec::new(),
            statistics: SimStatistics::default(),
        };
        SimNetwork { state: Rc::new(RefCell::new(state)) }
    }

    /// Opens a port. Fails if one is open at that endpoint; dropping the port frees it.
    pub fn open(&self, endpoint: impl Into<Endpoint>) -> Result<SimPort, PortError> {
        let endpoint = endpoint.into();
        let mut state = self.state.borrow_mut();
        if state.inboxes.contains_key(&endpoint) {
            let reason = "the endpoint is in use".to_owned();
            return Err(PortError::Setup { local: endpoint, reason });
        }
        state.inboxes.insert(endpoint, Inbox::default());
        Ok(SimPort::new(Rc::clone(&self.state), endpoint))
    }

    pub fn now_ns(&self) -> u64 {
        self.state.borrow().now_ns
    }

    /// Moves the clock, delivering what arrives meanwhile.
    pub fn advance(&self, nanoseconds: u64) {
        let now = self.now_ns();
        self.advance_to(now.saturating_add(nanoseconds));
    }

    /// Moves the clock to `now_ns`, delivering what arrives until then. The clock never goes back.
    pub fn advance_to(&self, now_ns: u64) {
        self.state.borrow_mut().advance_to(now_ns);
    }

    /// When the next datagram arrives, if any is under way: where the clock may jump to.
    pub fn next_arrival_ns(&self) -> Option<u64> {
        self.state.borrow().in_flight.peek().map(|datagram| datagram.at_ns)
    }

    /// Datagrams under way.
    pub fn in_flight(&self) -> usize {
        self.state.borrow().in_flight.len()
    }

    /// Changes the faults of every direction that has none of its own.
    pub fn set_faults(&self, faults: Faults) {
        self.state.borrow_mut().faults = faults;
    }

    /// Gives one direction faults of its own; `None` takes them away again.
    pub fn set_faults_between(
        &self,
        from: impl Into<Endpoint>,
        to: impl Into<Endpoint>,
        faults: Option<Faults>,
    ) {
        self.state.borrow_mut().links.entry((from.into(), to.into())).or_default().faults = faults;
    }

    /// From now on nothing passes between the two sets, either way, until healed. What is under way between them is lost.
    pub fn partition(&self, one: &[Endpoint], other: &[Endpoint]) -> PartitionId {
        let mut state = self.state.borrow_mut();
        let id = PartitionId(state.partitions_made);
        state.partitions_made += 1;
        state.partitions.push(Partition {
            id,
            one: one.iter().copied().collect(),
            other: other.iter().copied().collect(),
        });
        id
    }

    /// Ends a partition.
    pub fn heal(&self, id: PartitionId) {
        self.state.borrow_mut().partitions.retain(|partition| partition.id != id);
    }

    pub fn statistics(&self) -> SimStatistics {
        self.state.borrow().statistics
    }
}

impl State {
    fn advance_to(&mut self, now_ns: u64) {
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
