//! The AF_XDP room of the packet port: datagrams in and out of the rings of one queue. Opening it is `device`'s business.

use std::{io, os::fd::BorrowedFd, sync::Arc, time::Duration};

use super::{
    counters::XdpCounters,
    frames::Census,
    neighbours::Neighbours,
    rings::{FRAME_HEADROOM, FRAME_SIZE, Frame, Rings},
};
use crate::headers::{self, Checksum, Malformed};
use crate::port::{Endpoint, Peer, Port, PortError, PortStatistics, RX_BATCH, TransmitFull};

/// What a frame has behind the kernel's headroom and the longest headers.
const FRAME_ROOM: usize = (FRAME_SIZE - FRAME_HEADROOM) as usize - wire::net::MAX_HEADERS_LENGTH;

/// What is known of the interface when a port is opened.
#[derive(Clone, Copy, Debug)]
pub struct InterfaceFacts {
    pub index: u32,
    pub mac: [u8; 6],
    pub mtu: u32,
}

/// Where a datagram comes from that answers none: our address towards each family, as `Endpoint` holds it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sources {
    pub ipv4: [u8; 16],
    pub ipv6: [u8; 16],
}

/// Where a datagram of the current batch lies.
#[derive(Clone, Copy, Default)]
struct Entry {
    /// Of the frame in the batch of the rings: they differ once a malformed frame was left out.
    frame: u8,
    offset: u16,
    length: u16,
}

/// A UDP port on one receive queue of one interface, past the kernel. Made by [`super::XdpDevice::open`].
pub struct XdpPort {
    rings: Rings,
    facts: InterfaceFacts,
    local: Endpoint,
    sources: Sources,
    neighbours: Arc<Neighbours>,
    queue: u32,
    zero_copy: bool,
    verify_checksums: bool,
    max_payload: usize,
    entries: [Entry; RX_BATCH],
    peers: [Peer; RX_BATCH],
    count: usize,
    statistics: PortStatistics,
    counters: XdpCounters,
}

impl XdpPort {
    pub(super) fn new(
        rings: Rings,
        facts: InterfaceFacts,
        local: Endpoint,
        sources: Sources,
        neighbours: Arc<Neighbours>,
        queue: u32,
        zero_copy: bool,
        verify_checksums: bool,
    ) -> Self {
        // A port that may be spoken to over either family must fit its longest header.
        let overhead = if local.is_ipv4() { headers::OVERHEAD_V4 } else { headers::OVERHEAD_V6 };
        Self {
            rings,
            facts,
            local,
            sources,
            neighbours,
            queue,
            zero_copy,
            verify_checksums,
            max_payload: (facts.mtu as usize).saturating_sub(overhead).min(FRAME_ROOM),
            entries: [Entry::default(); RX_BATCH],
            peers: [Peer::default(); RX_BATCH],
            count: 0,
            statistics: PortStatistics::default(),
            counters: XdpCounters::default(),
        }
    }

    pub const fn queue(&self) -> u32 {
        self.queue
    }

    /// What the kernel says of the bind (XDP_OPTIONS), not what was asked for.
    pub const fn zero_copy(&self) -> bool {
        self.zero_copy
    }

    pub const fn huge_pages(&self) -> bool {
        self.rings.huge_pages()
    }

    pub const fn interface(&self) -> &InterfaceFacts {
        &self.facts
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.rings.fd()
    }

    /// Where the frames are. Their total never changes.
    pub fn census(&self) -> Census {
        self.rings.census()
    }

    /// What the census always adds up to.
    pub const fn frame_count(&self) -> u32 {
        self.rings.frame_count()
    }

    /// What only AF_XDP counts. Asks the kernel: not for every batch.
    pub fn counters(&self) -> XdpCounters {
        let mut counters = XdpCounters { receive_wakeups: self.rings.wakeups(), ..self.counters };
        if let Ok(kernel) = self.rings.kernel_statistics() {
            counters.rx_dropped = kernel.rx_dropped();
            counters.rx_ring_full = kernel.rx_ring_full();
            counters.rx_fill_ring_empty = kernel.rx_fill_ring_empty_descs();
            counters.rx_invalid_descriptors = kernel.rx_invalid_descs();
            counters.tx_invalid_descriptors = kernel.tx_invalid_descs();
            counters.tx_ring_empty = kernel.tx_ring_empty_descs();
        }
        counters
    }

    /// The lower floor: polls for frames without looking into them. Use [`XdpPort::frame`] to answer them in place; do not mix
    /// with [`Port::receive`] on the same batch.
    #[inline]
    pub fn receive_frames(&mut self) -> Result<usize, PortError> {
        self.count = 0;
        self.rings.receive().map_err(|source| self.failed("receiving", source))
    }

    /// Frame `index` of the batch that [`XdpPort::receive_frames`] brought, once.
    #[inline]
    pub fn frame(&mut self, index: usize) -> Option<Frame<'_>> {
        self.rings.frame(index)
    }

    fn failed(&self, operation: &'static str, source: io::Error) -> PortError {
        match source.raw_os_error() {
            Some(libc::ENXIO | libc::ENODEV | libc::EBADF) => {
                PortError::Gone { local: self.local, reason: format!("{operation}: {source}") }
            }
            _ => PortError::System { operation, local: self.local, source },
        }
    }

    /// Looks into the frames of a batch of `frames` and keeps those that are datagrams.
    #[inline]
    fn parse_batch(&mut self, frames: usize) {
        let mut kept = 0;
        let interface_index = self.facts.index as u16;
        for frame in 0..frames {
            let packet = self.rings.packet(frame);
            match headers::parse(packet, interface_index, self.verify_checksums) {
                Ok(parsed) => {
                    match parsed.checksum {
                        Checksum::Partial => self.counters.checksum_partial += 1,
                        Checksum::Absent => self.counters.checksum_absent += 1,
                        Checksum::Fine => {}
                    }
                    self.peers[kept] = parsed.peer;
                    // A group's MAC is for receiving only: an answer leaves from our own.
                    if parsed.peer.link.local[0] & 1 != 0 {
                        self.peers[kept].link.local = self.facts.mac;
                    }
                    // A frame is 2048 bytes, a batch 64 frames: all fit.
                    self.entries[kept] = Entry {
                        frame: frame as u8,
                        offset: parsed.payload_offset as u16,
                        length: parsed.payload_length as u16,
                    };
                    self.statistics.rx_bytes += parsed.payload_length as u64;
                    kept += 1;
                }
                Err(Malformed::Headers) => self.statistics.rx_dropped.malformed += 1,
                Err(Malformed::Checksum) => self.statistics.rx_dropped.checksum += 1,
            }
        }
        self.statistics.rx_datagrams += kept as u64;
        self.count = kept;
    }
}

impl Port for XdpPort {
    #[inline]
    fn receive(&mut self) -> Result<usize, PortError> {
        let frames = self.receive_frames()?;
        if frames == 0 {
            self.statistics.rx_polls_empty += 1;
            return Ok(0);
        }
        self.statistics.rx_polls_full += 1;
        self.parse_batch(frames);
        Ok(self.count)
    }

    #[inline]
    fn datagram(&self, index: usize) -> (&Peer, &[u8]) {
        let Entry { frame, offset, length } = self.entries[..self.count][index];
        let packet = self.rings.packet(usize::from(frame));
        let payload =
            packet.get(usize::from(offset)..usize::from(offset) + usize::from(length)).unwrap_or_default();
        (&self.peers[index], payload)
    }

    #[inline]
    fn send(&mut self, peer: &Peer, fill: impl FnOnce(&mut [u8]) -> usize) -> Result<(), TransmitFull> {
        let mut peer = *peer;
        if peer.local.port == 0 {
            peer.local.port = self.local.port;
        }
        if peer.local.address == [0; 16] {
            peer.local.address = if peer.remote.is_ipv4() { self.sources.ipv4 } else { self.sources.ipv6 };
        }
        if peer.link.remote == [0; 6] {
            let Some(mac) = self.neighbours.mac(&peer.remote.address) else {
                self.statistics.tx_dropped += 1;
                return Ok(());
            };
            peer.link.remote = mac;
        }
        if peer.link.local == [0; 6] {
            peer.link.local = self.facts.mac;
        }
        let (headers, checksum) = headers::towards(&peer);
        let offset = headers.length();
        let max_payload = self.max_payload;
        let mut sent = 0;
        let taken = self.rings.transmit_with(offset + max_payload, |frame| {
            let length = frame.get_mut(offset..).map_or(0, |payload| fill(payload).min(max_payload));
            if length == 0 {
                return 0;
            }
            sent = length;
            headers.write(frame, length, checksum)
        });
        if !taken {
            self.statistics.tx_full += 1;
            return Err(TransmitFull);
        }
        if sent > 0 {
            self.statistics.tx_datagrams += 1;
            self.statistics.tx_bytes += sent as u64;
        }
        Ok(())
    }

    #[inline]
    fn flush(&mut self) -> Result<(), PortError> {
        self.rings.flush().map_err(|source| self.failed("sending", source))
    }

    fn expect(&mut self, peers: usize) {
        self.rings.expect(peers);
    }

    fn max_payload(&self) -> usize {
        self.max_payload
    }

    fn wait(&mut self, timeout: Duration) -> Result<(), PortError> {
        self.rings.wait(timeout).map_err(|source| self.failed("waiting", source))
    }

    fn statistics(&self) -> PortStatistics {
        let counters = self.counters();
        let mut statistics =
            PortStatistics { kicks: self.rings.kicks(), device: counters.device(), ..self.statistics };
        statistics.rx_dropped.queue_full = counters.rx_ring_full + counters.rx_dropped;
        statistics.tx_dropped += counters.tx_invalid_descriptors;
        statistics
    }

    fn local(&self) -> Endpoint {
        self.local
    }
}
