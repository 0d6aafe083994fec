//! A port of the simulated network. It behaves as a socket does: bounded queues, batches, counters.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::state::State;
use crate::port::{Endpoint, Peer, Port, PortError, PortStatistics, RX_BATCH, TransmitFull};

/// The payload of an MTU of 1500, as on the rooms that are not simulated.
const MAX_PAYLOAD: usize = 1472;

/// Datagrams queued until they go without being flushed.
const TX_BATCH: usize = 64;

/// One end of a simulated network. Dropping it closes the endpoint; what is under way to it is lost.
pub struct SimPort {
    state: Rc<RefCell<State>>,
    local: Endpoint,
    batch: Vec<(Peer, Vec<u8>)>,
    queued: Vec<(Endpoint, Vec<u8>)>,
    statistics: PortStatistics,
}

impl SimPort {
    pub(super) fn new(state: Rc<RefCell<State>>, local: Endpoint) -> Self {
        SimPort {
            state,
            local,
            batch: Vec::with_capacity(RX_BATCH),
            queued: Vec::with_capacity(TX_BATCH),
            statistics: PortStatistics::default(),
        }
    }
}

impl Drop for SimPort {
    fn drop(&mut self) {
        self.state.borrow_mut().close(self.local);
    }
}

impl Port for SimPort {
    fn receive(&mut self) -> Result<usize, PortError> {
        let mut state = self.state.borrow_mut();
        for (_, buffer) in self.batch.drain(..) {
            state.give_back(buffer);
        }
        let Some(inbox) = state.inbox(self.local) else {
            let reason = "the network closed it".to_owned();
            return Err(PortError::Gone { local: self.local, reason });
        };
        let count = inbox.queue.len().min(RX_BATCH);
        self.batch.extend(inbox.queue.drain(..count));
        self.statistics.rx_dropped = inbox.drops;
        self.statistics.rx_datagrams += count as u64;
        self.statistics.rx_bytes += self.batch.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>();
        if count == 0 {
            self.statistics.rx_polls_empty += 1;
        } else {
            self.statistics.rx_polls_full += 1;
        }
        Ok(count)
    }

    fn datagram(&self, index: usize) -> (&Peer, &[u8]) {
        let (peer, bytes) = &self.batch[index];
        (peer, bytes)
    }

    fn send(&mut self, peer: &Peer, fill: impl FnOnce(&mut [u8]) -> usize) -> Result<(), TransmitFull> {
        if self.state.borrow_mut().refuses_transmit() {
            self.statistics.tx_full += 1;
            return Err(TransmitFull);
        }
        let mut buffer = self.state.borrow_mut().buffer(MAX_PAYLOAD);
        let length = fill(&mut buffer).min(MAX_PAYLOAD);
        buffer.truncate(length);
        if length == 0 {
            self.state.borrow_mut().give_back(buffer);
            return Ok(());
        }
        self.queued.push((peer.remote, buffer));
        if self.queued.len() >= TX_BATCH {
            // Cannot fail: the network is memory.
            let _ = self.flush();
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PortError> {
        if self.queued.is_empty() {
            return Ok(());
        }
        self.statistics.kicks += 1;
        let mut state = self.state.borrow_mut();
        for (to, bytes) in self.queued.drain(..) {
            self.statistics.tx_datagrams += 1;
            self.statistics.tx_bytes += bytes.len() as u64;
            state.transmit(self.local, to, bytes);
        }
        Ok(())
    }

    fn max_payload(&self) -> usize {
        MAX_PAYLOAD
    }

    /// Returns at once: time passes only when the network's owner moves the clock.
    fn wait(&mut self, _timeout: Duration) -> Result<(), PortError> {
        Ok(())
    }

    fn statistics(&self) -> PortStatistics {
        self.statistics
    }

    fn local(&self) -> Endpoint {
        self.local
    }
}
