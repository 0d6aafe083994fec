//! The receiving side of a UDP port: one `recvmmsg` per poll, and joined datagrams taken apart again. It interprets nothing.

use std::os::fd::AsRawFd;

use super::socket::Socket;
use super::socket::UdpOptions;
use super::sys::MessageHeaders;
use crate::clock::monotonic_ns;
use crate::filter::{SourceFilter, Verdict};
use crate::port::{Endpoint, Peer, PortError, PortStatistics, RX_BATCH};

/// With offload the kernel joins up to 64 KiB into one message. The odd remainder keeps the buffers' first lines, often the only
/// ones used, from competing for the same set of every cache.
const OFFLOAD_BUFFER_BYTES: usize = 64 * 1024 + 320;

pub(super) struct Receiver {
    messages: MessageHeaders,
    /// Longest datagram handed over, however much room its buffer has.
    datagram_max: usize,
    /// Messages the next system call asks for.
    ask: usize,
    /// Messages taken by the last system call: their headers must be made ready again.
    received: usize,
    local: Endpoint,
    peers: [Peer; RX_BATCH],
    batch: [Slice; RX_BATCH],
    count: usize,
    /// Where joined datagrams go on that did not fit into the batch: message, offset in it.
    pending: (usize, usize),
    segments: [Segments; RX_BATCH],
    filter: Option<SourceFilter>,
}

/// Where a datagram of the batch lies.
#[derive(Clone, Copy, Default)]
struct Slice {
    message: u32,
    offset: u32,
    length: u32,
}

/// How a message is made of datagrams: `length` bytes, in pieces of `segment`.
#[derive(Clone, Copy, Default)]
struct Segments {
    length: usize,
    segment: usize,
}

impl Receiver {
    pub(super) fn new(local: Endpoint, max_payload: usize, options: &UdpOptions) -> Self {
        // A peer with a somewhat larger MTU is still understood.
        let datagram_max = max_payload.next_multiple_of(2048);
        let stride =
            if options.receive_offload { OFFLOAD_BUFFER_BYTES.max(datagram_max) } else { datagram_max };
        let mut messages = MessageHeaders::new(RX_BATCH, stride);
        (0..RX_BATCH).for_each(|index| messages.prepare_receive(index));
        Receiver {
            messages,
            datagram_max,
            ask: 1,
            received: 0,
            local,
            peers: [Peer { local, ..Peer::default() }; RX_BATCH],
            batch: [Slice::default(); RX_BATCH],
            count: 0,
            pending: (0, 0),
            segments: [Segments::default(); RX_BATCH],
            filter: SourceFilter::new(&options.rules),
        }
    }

    /// Whether datagrams wait that need no system call.
    pub(super) fn has_pending(&self) -> bool {
        self.pending.0 < self.received
    }

    #[inline]
    pub(super) fn receive(
        &mut self,
        socket: &Socket,
        statistics: &mut PortStatistics,
    ) -> Result<usize, PortError> {
        self.count = 0;
        if !self.has_pending() {
            self.poll(socket, statistics)?;
        }
        self.fill_batch(statistics);
        if self.count == 0 {
            statistics.rx_polls_empty += 1;
        } else {
            statistics.rx_polls_full += 1;
        }
        Ok(self.count)
    }

    #[inline]
    fn poll(&mut self, socket: &Socket, statistics: &mut PortStatistics) -> Result<(), PortError> {
        // Only the headers that the kernel wrote to need to be made ready again.
        for index in 0..self.received {
            self.messages.prepare_receive(index);
        }
        self.received = 0;
        self.pending = (0, 0);
        // recvmmsg looks once more after each message unless it has all it was asked for: 0.3 us wasted with one order in
        // flight. So after silence ask for one, and for all when that one was there.
        let ask = std::mem::replace(&mut self.ask, 1);
        match self.messages.receive(socket.as_raw_fd(), ask) {
            Ok(received) => {
                self.received = received;
                self.ask = if received > 0 { RX_BATCH } else { 1 };
                for index in 0..received {
                    self.take(index, statistics);
                }
                if self.filter.is_some() {
                    self.judge(statistics);
                }
                Ok(())
            }
            Err(error) => match error.raw_os_error().unwrap_or(0) {
                libc::EAGAIN => Ok(()),
                // A descriptor or a memory layout that is wrong will not become right.
                libc::EBADF | libc::ENOTSOCK | libc::EFAULT | libc::EINVAL => {
                    Err(socket.error("recvmmsg", error))
                }
                // An error that ICMP or the device left on the socket; reading it has cleared it.
                _ => {
                    statistics.transient_errors += 1;
                    Ok(())
                }
            },
        }
    }

    #[inline]
    fn take(&mut self, index: usize, statistics: &mut PortStatistics) {
        let incoming = self.messages.incoming(index);
        let peer = &mut self.peers[index];
        peer.remote = incoming.remote;
        if let Some(address) = incoming.local {
            peer.local = Endpoint { address, port: self.local.port };
        }
        let length = incoming.length;
        let segment = incoming.segment.unwrap_or(length).min(length);
        self.segments[index] = if incoming.is_truncated || segment > self.datagram_max {
            statistics.rx_dropped.truncated += 1;
            Segments::default()
        } else if length == 0 {
            statistics.rx_dropped.malformed += 1;
            Segments::default()
        } else {
            Segments { length, segment }
        };
    }

    /// Cuts from what was received what its sources may not send.
    fn judge(&mut self, statistics: &mut PortStatistics) {
        let Some(filter) = &mut self.filter else { return };
        let now_ns = if filter.needs_time() { monotonic_ns() } else { 0 };
        for (peer, segments) in self.peers.iter().zip(&mut self.segments[..self.received]) {
            if segments.length == 0 {
                continue;
            }
            let count = segments.length.div_ceil(segments.segment);
            match filter.judge(&peer.remote.address, count, now_ns) {
                Verdict::Pass(passed) if passed == count => {}
                Verdict::Pass(passed) => {
                    statistics.rx_dropped.over_rate += (count - passed) as u64;
                    segments.length = passed * segments.segment;
                }
                Verdict::NotAllowed => {
                    statistics.rx_dropped.not_allowed += count as u64;
                    segments.length = 0;
                }
            }
        }
    }

    #[inline]
    fn fill_batch(&mut self, statistics: &mut PortStatistics) {
        let (mut message, mut offset) = self.pending;
        while message < self.received && self.count < RX_BATCH {
            let Segments { length, segment } = self.segments[message];
            if offset >= length {
                (message, offset) = (message + 1, 0);
                continue;
            }
            let piece = segment.min(length - offset);
            self.batch[self.count] =
                Slice { message: message as u32, offset: offset as u32, length: piece as u32 };
            self.count += 1;
            statistics.rx_datagrams += 1;
            statistics.rx_bytes += piece as u64;
            offset += piece;
            if offset >= length {
                (message, offset) = (message + 1, 0);
            }
        }
        self.pending = (message, offset);
    }

    #[inline]
    pub(super) fn datagram(&self, index: usize) -> (&Peer, &[u8]) {
        let slice = self.batch[..self.count][index];
        let bytes = self.messages.bytes(slice.message as usize, slice.offset as usize, slice.length as usize);
        (&self.peers[slice.message as usize], bytes)
    }
}
