//! The sending side of a UDP port: datagrams are written into a batch of buffers and leave by `sendmmsg`. What cannot leave is counted.

use std::os::fd::AsRawFd;

use super::socket::Socket;
use super::sys::{MessageHeaders, Outgoing};
use crate::port::{Endpoint, Peer, PortError, PortStatistics};

/// Datagrams queued before the kernel is called without being asked.
const TX_BATCH: usize = 64;

/// Bytes and datagrams the kernel takes as one message (`UDP_MAX_SEGMENTS`, and what an IPv4 UDP datagram can hold).
const OFFLOAD_BYTES_MAX: usize = 65_507;
const OFFLOAD_SEGMENTS_MAX: usize = 64;

/// Peers remembered for having refused a joined message: theirs go one by one. When as many have in a row, and none took one in
/// between, it is the device, and joining is given up.
const OFFLOAD_REFUSALS_MAX: usize = 16;

pub(super) struct Transmitter {
    messages: MessageHeaders,
    lengths: [usize; TX_BATCH],
    remotes: [Endpoint; TX_BATCH],
    locals: [Option<[u8; 16]>; TX_BATCH],
    /// Datagrams `start..count` are queued; the ones before have left.
    start: usize,
    count: usize,
    is_ipv6: bool,
    /// Whether runs are joined: if asked for, until it is given up.
    offload: bool,
    refusals: Refusals,
}

/// Addresses to which joined messages did not leave: a path with a smaller MTU, a device without checksums, an address that is none.
#[derive(Default)]
struct Refusals {
    addresses: [[u8; 16]; OFFLOAD_REFUSALS_MAX],
    /// How many of `addresses` are used, and which is the next to be written over.
    used: usize,
    next: usize,
    in_a_row: usize,
}

impl Refusals {
    #[inline]
    fn contain(&self, address: &[u8; 16]) -> bool {
        self.addresses[..self.used].contains(address)
    }

    #[cold]
    fn add(&mut self, address: [u8; 16]) {
        self.addresses[self.next] = address;
        self.next = (self.next + 1) % OFFLOAD_REFUSALS_MAX;
        self.used = (self.used + 1).min(OFFLOAD_REFUSALS_MAX);
        self.in_a_row += 1;
    }
}

impl Transmitter {
    pub(super) fn new(is_ipv6: bool, max_payload: usize, offload: bool) -> Self {
        Transmitter {
            messages: MessageHeaders::new(TX_BATCH, max_payload),
            lengths: [0; TX_BATCH],
            remotes: [Endpoint::default(); TX_BATCH],
            locals: [None; TX_BATCH],
            start: 0,
            count: 0,
            is_ipv6,
            offload,
            refusals: Refusals::default(),
        }
    }

    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.count == TX_BATCH
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.count
    }

    /// Adds a datagram; the caller made sure that the batch is not full.
    #[inline]
    pub(super) fn queue(&mut self, peer: &Peer, fill: impl FnOnce(&mut [u8]) -> usize) {
        let index = self.count;
        let buffer = self.messages.buffer_mut(index);
        let length = fill(buffer).min(buffer.len());
        if length == 0 {
            return;
        }
        self.lengths[index] = length;
        self.remotes[index] = peer.remote;
        // A source address is given only where a wildcard socket learned it from the peer's own datagram.
        self.locals[index] = (peer.local.address != [0; 16]).then_some(peer.local.address);
        self.count += 1;
    }

    /// Hands the queue to the kernel. What the socket has no room for stays queued.
    pub(super) fn flush(
        &mut self,
        socket: &Socket,
        statistics: &mut PortStatistics,
    ) -> Result<(), PortError> {
        let choose_source = socket.local().is_unspecified();
        // Each round sends, drops, or uses up an error that was left on the socket; the bound is for the unforeseen.
        for _ in 0..2 * TX_BATCH {
            if self.is_empty() {
                break;
            }
            let messages = self.prepare(choose_source);
            statistics.kicks += 1;
            match self.messages.send(socket.as_raw_fd(), 0, messages) {
                Ok(sent) => {
                    for _ in 0..sent {
                        self.leave(statistics);
                    }
                }
                Err(error) => match error.raw_os_error().unwrap_or(0) {
                    libc::EAGAIN => return Ok(()),
                    libc::EBADF | libc::ENOTSOCK | libc::EFAULT => {
                        return Err(socket.error("sendmmsg", error));
                    }
                    // Left by ICMP for an earlier datagram: reported instead of sending, and cleared by that.
                    libc::EINTR | libc::ECONNREFUSED => statistics.transient_errors += 1,
                    // The path's device cannot compute checksums, or its MTU is smaller than a segment: one by one, the kernel does it.
                    libc::EIO | libc::EINVAL | libc::EMSGSIZE if self.run_length(self.start) > 1 => {
                        statistics.transient_errors += 1;
                        self.refusals.add(self.remotes[self.start].address);
                        if self.refusals.in_a_row == OFFLOAD_REFUSALS_MAX {
                            self.offload = false;
                            tracing::warn!(local = %socket.local(), %error, "UDP_SEGMENT is refused: sending one by one from now on");
                        }
                    }
                    // Unreachable, not permitted, too long, out of buffers: this datagram cannot leave, others may.
                    _ => {
                        statistics.transient_errors += 1;
                        self.drop_first(statistics);
                    }
                },
            }
        }
        if self.is_empty() {
            (self.start, self.count) = (0, 0);
        }
        Ok(())
    }

    /// Describes the queue to the kernel. Returns the number of messages: fewer than datagrams where runs are joined.
    #[inline]
    fn prepare(&mut self, choose_source: bool) -> usize {
        let mut messages = 0;
        let mut first = self.start;
        while first < self.count {
            let count = self.run_length(first);
            self.messages.prepare_send(
                messages,
                &Outgoing {
                    first,
                    count,
                    lengths: &self.lengths,
                    remote: &self.remotes[first],
                    local: self.locals[first].filter(|_| choose_source),
                    is_ipv6: self.is_ipv6,
                },
            );
            messages += 1;
            first += count;
        }
        messages
    }

    /// How many datagrams from `first` on can leave as one message: to one peer, equally long but for a shorter last one.
    #[inline]
    fn run_length(&self, first: usize) -> usize {
        if !self.offload || self.refusals.contain(&self.remotes[first].address) {
            return 1;
        }
        let segment = self.lengths[first];
        let mut bytes = segment;
        let mut end = first + 1;
        while end < self.count
            && end - first < OFFLOAD_SEGMENTS_MAX
            && self.lengths[end] <= segment
            && bytes + self.lengths[end] <= OFFLOAD_BYTES_MAX
            && self.remotes[end] == self.remotes[first]
            && self.locals[end] == self.locals[first]
        {
            bytes += self.lengths[end];
            end += 1;
            if self.lengths[end - 1] < segment {
                break;
            }
        }
        end - first
    }

    #[inline]
    fn leave(&mut self, statistics: &mut PortStatistics) {
        let run = self.run_length(self.start);
        if run > 1 {
            self.refusals.in_a_row = 0;
        }
        for _ in 0..run {
            statistics.tx_datagrams += 1;
            statistics.tx_bytes += self.lengths[self.start] as u64;
            self.start += 1;
        }
    }

    fn drop_first(&mut self, statistics: &mut PortStatistics) {
        let count = self.run_length(self.start);
        statistics.tx_dropped += count as u64;
        self.start += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::udp::UdpOptions;
    use std::net::SocketAddr;

    const RUN: usize = 3;

    struct Sender {
        socket: Socket,
        transmitter: Transmitter,
        statistics: PortStatistics,
    }

    impl Sender {
        fn new() -> Self {
            let any = Endpoint::from(SocketAddr::from(([127, 0, 0, 1], 0)));
            let socket = Socket::bind(any, &UdpOptions::default()).expect("binds");
            let transmitter = Transmitter::new(false, 1472, true);
            Sender { socket, transmitter, statistics: PortStatistics::default() }
        }

        /// Queues a run to one peer, and sends it. Returns how many datagrams at its front would leave as one.
        fn send_run(&mut self, peer: SocketAddr) -> usize {
            for _ in 0..RUN {
                self.transmitter.queue(&Peer::remote(peer), |out| {
                    out[..4].fill(1);
                    4
                });
            }
            let joined = self.transmitter.run_length(self.transmitter.start);
            self.transmitter.flush(&self.socket, &mut self.statistics).expect("no error is fatal");
            assert!(self.transmitter.is_empty());
            joined
        }
    }

    /// Linux sends nothing to port 0, joined or not: EINVAL.
    fn unreachable(host: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 1, host], 0))
    }

    fn reachable() -> (std::net::UdpSocket, SocketAddr) {
        let socket = std::net::UdpSocket::bind(("127.0.0.1", 0)).expect("socket");
        let address = socket.local_addr().expect("address");
        (socket, address)
    }

    #[test]
    fn one_peer_that_takes_no_joined_message_does_not_end_joining_for_the_others() {
        let mut sender = Sender::new();
        let (_receiver, good) = reachable();
        assert_eq!(sender.send_run(unreachable(1)), RUN);
        for _ in 0..4 * OFFLOAD_REFUSALS_MAX {
            assert_eq!(sender.send_run(unreachable(1)), 1, "it has refused, and is not asked again");
        }
        assert_eq!(sender.send_run(good), RUN);
        assert_eq!(sender.statistics.tx_datagrams as usize, RUN);
        // The joined message once, and every datagram by itself.
        let refused = RUN * (4 * OFFLOAD_REFUSALS_MAX + 1);
        assert_eq!(sender.statistics.tx_dropped as usize, refused);
        assert_eq!(sender.statistics.transient_errors as usize, refused + 1);
    }

    #[test]
    fn joining_is_given_up_when_nobody_takes_a_joined_message() {
        let mut sender = Sender::new();
        let (_receiver, good) = reachable();
        for host in 1..OFFLOAD_REFUSALS_MAX as u8 {
            assert_eq!(sender.send_run(unreachable(host)), RUN);
        }
        assert_eq!(sender.send_run(good), RUN, "one that takes it shows that the device can");
        for host in 101..=100 + OFFLOAD_REFUSALS_MAX as u8 {
            assert_eq!(sender.send_run(unreachable(host)), RUN);
        }
        assert_eq!(sender.send_run(good), 1);
    }
}
