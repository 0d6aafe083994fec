//! The network between simulated ports, as its owner holds it: opens ports, moves the clock, sets faults. What happens inside is `state`.

use std::cell::RefCell;
use std::collections::{BTreeMap, BinaryHeap};
use std::rc::Rc;

use super::port::SimPort;
use super::state::{Faults, Inbox, Partition, PartitionId, SimStatistics, State};
use crate::port::{Endpoint, PortError};
use crate::random::Random;

/// A simulated network; clones are handles to the same one.
#[derive(Clone)]
pub struct SimNetwork {
    state: Rc<RefCell<State>>,
}

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
