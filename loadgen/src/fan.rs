//! Several ports as one, a local address for each client: an engine binds a session to the address it logged in from. It adds no
//! buffering of its own.

use std::time::Duration;

use netio::{Endpoint, Peer, Port, PortError, PortStatistics, RxDrops, TransmitFull};

/// Ports polled in one call before it reports that nothing came.
const POLLS_PER_CALL: usize = 16;

/// A port whose datagrams leave from the member port that the peer's local address names, and arrive from all of them.
pub struct Fan<P: Port> {
    members: Vec<P>,
    /// Local UDP port and index of each member, in the sequence of the ports.
    by_port: Vec<(u16, u32)>,
    /// The member whose batch is the present one, and where polling goes on.
    current: usize,
    cursor: usize,
    unflushed: Vec<u32>,
    is_unflushed: Vec<bool>,
}

impl<P: Port> Fan<P> {
    /// `None` without members. Their local ports must differ.
    pub fn new(members: Vec<P>) -> Option<Self> {
        if members.is_empty() {
            return None;
        }
        let mut by_port: Vec<(u16, u32)> =
            members.iter().enumerate().map(|(index, member)| (member.local().port, index as u32)).collect();
        by_port.sort_unstable();
        Some(Fan {
            by_port,
            current: 0,
            cursor: 0,
            unflushed: Vec::with_capacity(members.len()),
            is_unflushed: vec![false; members.len()],
            members,
        })
    }
}

impl<P: Port> Port for Fan<P> {
    fn receive(&mut self) -> Result<usize, PortError> {
        for _ in 0..self.members.len().min(POLLS_PER_CALL) {
            self.current = self.cursor;
            self.cursor = (self.cursor + 1) % self.members.len();
            let count = self.members[self.current].receive()?;
            if count > 0 {
                return Ok(count);
            }
        }
        Ok(0)
    }

    fn datagram(&self, index: usize) -> (&Peer, &[u8]) {
        self.members[self.current].datagram(index)
    }

    fn send(&mut self, peer: &Peer, fill: impl FnOnce(&mut [u8]) -> usize) -> Result<(), TransmitFull> {
        let found = self.by_port.binary_search_by_key(&peer.local.port, |&(port, _)| port);
        // A peer of no member has no place here; the first one sends it, as a single port would.
        let index = found.map_or(0, |at| self.by_port[at].1);
        if !std::mem::replace(&mut self.is_unflushed[index as usize], true) {
            self.unflushed.push(index);
        }
        self.members[index as usize].send(peer, fill)
    }

    fn flush(&mut self) -> Result<(), PortError> {
        while let Some(index) = self.unflushed.pop() {
            self.is_unflushed[index as usize] = false;
            self.members[index as usize].flush()?;
        }
        Ok(())
    }

    fn expect(&mut self, peers: usize) {
        // A member is one client's.
        let each = peers.div_ceil(self.members.len());
        self.members.iter_mut().for_each(|member| member.expect(each));
    }

    fn max_payload(&self) -> usize {
        self.members.iter().map(Port::max_payload).min().unwrap_or(0)
    }

    fn wait(&mut self, timeout: Duration) -> Result<(), PortError> {
        // One member stands for all: the others wait for its time-out, which is short.
        self.members[self.cursor].wait(timeout)
    }

    fn statistics(&self) -> PortStatistics {
        let mut sum = PortStatistics::default();
        for one in self.members.iter().map(Port::statistics) {
            sum.rx_datagrams += one.rx_datagrams;
            sum.rx_bytes += one.rx_bytes;
            sum.rx_dropped = RxDrops {
                queue_full: sum.rx_dropped.queue_full + one.rx_dropped.queue_full,
                truncated: sum.rx_dropped.truncated + one.rx_dropped.truncated,
                malformed: sum.rx_dropped.malformed + one.rx_dropped.malformed,
                checksum: sum.rx_dropped.checksum + one.rx_dropped.checksum,
                not_allowed: sum.rx_dropped.not_allowed + one.rx_dropped.not_allowed,
                over_rate: sum.rx_dropped.over_rate + one.rx_dropped.over_rate,
            };
            sum.rx_polls_full += one.rx_polls_full;
            sum.rx_polls_empty += one.rx_polls_empty;
            sum.tx_datagrams += one.tx_datagrams;
            sum.tx_bytes += one.tx_bytes;
            sum.tx_full += one.tx_full;
            sum.tx_dropped += one.tx_dropped;
            sum.kicks += one.kicks;
            sum.transient_errors += one.transient_errors;
        }
        sum
    }

    fn local(&self) -> Endpoint {
        self.members[0].local()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netio::sim::{Faults, SimNetwork};
    use std::net::SocketAddr;

    #[test]
    fn each_client_speaks_and_hears_from_its_own_address() {
        let network = SimNetwork::new(1, Faults::none());
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let mut engine = network.open(at("10.0.0.1:1")).unwrap();
        let members =
            (0..40).map(|index| network.open(SocketAddr::from(([10, 0, 0, 2], 100 + index))).unwrap());
        let mut fan = Fan::new(members.collect()).unwrap();
        for port in [139, 100, 117] {
            let mut peer = Peer::remote(at("10.0.0.1:1"));
            peer.local.port = port;
            fan.send(&peer, |out| {
                out[..2].copy_from_slice(&port.to_be_bytes());
                2
            })
            .unwrap();
        }
        fan.flush().unwrap();
        network.advance(1);
        assert_eq!(engine.receive().unwrap(), 3);
        let heard: Vec<(Peer, Vec<u8>)> =
            (0..3).map(|index| (*engine.datagram(index).0, engine.datagram(index).1.to_vec())).collect();
        for (peer, payload) in &heard {
            assert_eq!(payload, &peer.remote.port.to_be_bytes());
            engine
                .send(peer, |out| {
                    out[..2].copy_from_slice(payload);
                    2
                })
                .unwrap();
        }
        engine.flush().unwrap();
        network.advance(1);
        let mut answered = 0;
        for _ in 0..6 {
            for index in 0..fan.receive().unwrap() {
                let (peer, payload) = fan.datagram(index);
                assert_eq!(payload, peer.local.port.to_be_bytes());
                answered += 1;
            }
        }
        assert_eq!((answered, fan.statistics().tx_datagrams, fan.statistics().rx_datagrams), (3, 3, 3));
    }
}
