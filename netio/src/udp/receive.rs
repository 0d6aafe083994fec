//! The receiving side of a UDP port: one `recvmmsg` per poll, and joined datagrams taken apart again. It interprets nothing.

use std::os::fd::AsRawFd;

use super::socket::Socket;
use super::sys::Messages;
use crate::port::{Endpoint, Peer, PortError, PortStatistics, RX_BATCH};

/// With offload the kernel joins up to 64 KiB into one message, so fewer and larger buffers are needed.
const OFFLOAD_MESSAGES: usize = 8;
const OFFLOAD_BUFFER_BYTES: usize = 64 * 1024;

pub(super) struct Receiver {
    messages: Messages,
    capacity: usize,
    /// Messages taken by the last system call, and those of them whose headers must be made ready again.
    received: usize,
    local: Endpoint,
    peers: [Peer; RX_BATCH],
    batch: [Slice; RX_BATCH],
    count: usize,
    /// Where joined datagrams go on that did not fit into the batch: message, offset in it.
    pending: (usize, usize),
    segments: [Segments; RX_BATCH],
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
    pub(super) fn new(local: Endpoint, max_payload: usize, offload: bool) -> Self {
        let (capacity, stride) = if offload {
            (OFFLOAD_MESSAGES, OFFLOAD_BUFFER_BYTES)
        } else {
            // A peer with a larger MTU is still understood if the buffer has the room anyway.
            (RX_BATCH, max_payload.next_multiple_of(2048))
        };
        let mut messages = Messages::new(capacity, stride);
        (0..capacity).for_each(|index| messages.prepare_receive(index));
        Receiver {
            messages,
            capacity,
            received: 0,
            local,
            peers: [Peer { local, ..Peer::default() }; RX_BATCH],
            batch: [Slice::default(); RX_BATCH],
            count: 0,
            pending: (0, 0),
            segments: [Segments::default(); RX_BATCH],
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
        match self.messages.receive(socket.as_raw_fd(), self.capacity) {
            Ok(received) => {
                self.received = received;
                for index in 0..received {
                    self.take(index, statistics);
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
        let (length, segment) = if incoming.is_truncated {
            statistics.rx_dropped.truncated += 1;
            (0, 0)
        } else {
            (incoming.length, incoming.segment.unwrap_or(incoming.length))
        };
        if length == 0 && !incoming.is_truncated {
            statistics.rx_dropped.malformed += 1;
        }
        self.segments[index] = Segments { length, segment };
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
