//! The kernel-socket room: batches of datagrams by `recvmmsg` and `sendmmsg`. Works everywhere and needs no privilege.
//!
//! Nothing is allocated after [`UdpPort::bind`]. Losses and transient errors are counted, never fatal.

mod receive;
mod socket;
mod sys;
mod transmit;

use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use crate::port::{Endpoint, Peer, Port, PortError, PortStatistics, TransmitFull};
use receive::Receiver;
use socket::Socket;
use transmit::Transmitter;

pub use socket::{UdpGranted, UdpOptions};

/// A UDP socket as a packet port.
///
/// A port bound to `[::]` takes IPv4 too. A port bound to a wildcard address answers from the address that was asked.
pub struct UdpPort {
    socket: Socket,
    receiver: Receiver,
    transmitter: Transmitter,
    statistics: PortStatistics,
}

impl UdpPort {
    /// Binds to `local`; port 0 takes a free one. What the kernel granted is logged once and found in [`UdpPort::granted`].
    pub fn bind(local: impl Into<Endpoint>, options: &UdpOptions) -> Result<Self, PortError> {
        let socket = Socket::bind(local.into(), options)?;
        let receiver = Receiver::new(socket.local(), socket.max_payload(), options);
        let transmitter = Transmitter::new(socket.is_ipv6(), socket.max_payload(), options.send_offload);
        Ok(UdpPort { socket, receiver, transmitter, statistics: PortStatistics::default() })
    }

    /// Multicast leaves by the interface that has this address, and crosses fewer than `ttl` routers. Receivers on this
    /// host get it too.
    pub fn set_multicast(&self, interface: Ipv4Addr, ttl: u32) -> Result<(), PortError> {
        self.socket.set_multicast(interface, ttl)
    }

    /// What the kernel made of the options.
    pub fn granted(&self) -> &UdpGranted {
        self.socket.granted()
    }
}

impl Port for UdpPort {
    #[inline]
    fn receive(&mut self) -> Result<usize, PortError> {
        self.receiver.receive(&self.socket, &mut self.statistics)
    }

    #[inline]
    fn datagram(&self, index: usize) -> (&Peer, &[u8]) {
        self.receiver.datagram(index)
    }

    #[inline]
    fn send(&mut self, peer: &Peer, fill: impl FnOnce(&mut [u8]) -> usize) -> Result<(), TransmitFull> {
        if self.transmitter.is_full() {
            // An error here shows again at the owner's own flush, which can report it.
            let _ = self.transmitter.flush(&self.socket, &mut self.statistics);
            if self.transmitter.is_full() {
                self.statistics.tx_full += 1;
                return Err(TransmitFull);
            }
        }
        self.transmitter.queue(peer, fill);
        Ok(())
    }

    #[inline]
    fn flush(&mut self) -> Result<(), PortError> {
        if self.transmitter.is_empty() {
            return Ok(());
        }
        self.transmitter.flush(&self.socket, &mut self.statistics)
    }

    fn max_payload(&self) -> usize {
        self.socket.max_payload()
    }

    fn wait(&mut self, timeout: Duration) -> Result<(), PortError> {
        if self.receiver.has_pending() {
            return Ok(());
        }
        sys::poll(self.socket.as_raw_fd(), !self.transmitter.is_empty(), timeout)
            .map_err(|source| self.socket.error("poll", source))
    }

    fn statistics(&self) -> PortStatistics {
        let mut statistics = self.statistics;
        // The kernel counts what its socket buffer had no room for; asking is a system call, and only made here.
        statistics.rx_dropped.queue_full = sys::socket_drops(self.socket.as_raw_fd());
        statistics
    }

    fn local(&self) -> Endpoint {
        self.socket.local()
    }
}
