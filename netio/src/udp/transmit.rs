//! The sending side of a UDP port: datagrams are written into a batch of buffers and leave by `sendmmsg`. What cannot leave is counted.

use std::os::fd::AsRawFd;

use super::socket::Socket;
use super::sys::{Messages, Outgoing};
use crate::port::{Endpoint, Peer, PortError, PortStatistics};

/// Datagrams queued before the kernel is called without being asked.
const TX_BATCH: usize = 64;

/// Bytes and datagrams the kernel takes as one message (`UDP_MAX_SEGMENTS`, and what an IPv4 UDP datagram can hold).
const OFFLOAD_BYTES_MAX: usize = 65_507;
const OFFLOAD_SEGMENTS_MAX: usize = 64;

/// Joined messages refused in a row before joining is given up: one peer with a bad address is not the device's fault.
const OFFLOAD_REFUSALS_MAX: u32 = 16;

pub(super) struct Transmitter {
    messages: Messages,
    lengths: [usize; TX_BATCH],
    remotes: [Endpoint; TX_BATCH],
    locals: [Option<[u8; 16]>; TX_BATCH],
    /// Datagrams `start..count` are queued; the ones before have left.
    start: usize,
    count: usize,
    is_ipv6: bool,
    /// Whether runs are joined: if asked for, but not for the rest of a flush in which it was refused, nor after too many of those.
    offload: bool,
    offload_asked: bool,
    offload_refusals: u32,
}

impl Transmitter {
    pub(super) fn new(is_ipv6: bool, max_payload: usize, offload: bool) -> Self {
        Transmitter {
            messages: Messages::new(TX_BATCH, max_payload),
            lengths: [0; TX_BATCH],
            remotes: [Endpoint::default(); TX_BATCH],
            locals: [None; TX_BATCH],
            start: 0,
            count: 0,
            is_ipv6,
            offload,
            offload_asked: offload,
            offload_refusals: 0,
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
                    // The device cannot compute checksums, or its MTU is smaller than a segment: one by one, the kernel does it.
                    libc::EIO | libc::EINVAL | libc::EMSGSIZE if self.run_length(self.start) > 1 => {
                        statistics.transient_errors += 1;
                        self.offload = false;
                        self.offload_refusals += 1;
                        if self.offload_refusals == OFFLOAD_REFUSALS_MAX {
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
            self.offload = self.offload_asked && self.offload_refusals < OFFLOAD_REFUSALS_MAX;
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
        if !self.offload {
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
            self.offload_refusals = 0;
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
