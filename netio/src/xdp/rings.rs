//! The four rings of one AF_XDP socket and the frames that travel them. All `unsafe` of the data path is in this file; what is in
//! a frame is not its business.
//!
//! Every frame of the umem is in exactly one place:
//! ```text
//!   free stacks --> fill ring --> kernel --> receive ring --> batch --+--> free stacks (released)
//!       ^     \                                                       |
//!       |      +--> (written by transmit_with) --> transmit ring <----+ (Frame::transmit: answered in place)
//!       +-------------------- completion ring <----- kernel
//! ```
//! There are two free stacks, and a frame's address says which is its home: what another core has filled is not what this one
//! writes next, so the frames that are sent stay in this core's cache. Either stack helps out when the other is empty.
//!
//! A frame outside the kernel is reached only through a [`Frame`] (one of the received batch) or through
//! [`Rings::transmit_with`] (one fresh from the stack). Both borrow the rings mutably, so safe code cannot hold a frame twice,
//! nor keep one after giving it away; one that is dropped or forgotten stays in the batch and returns to the stack with the
//! next [`Rings::receive`], so none can be lost either.
#![allow(unsafe_code)] // xsk-rs' rings are unsafe to use: it leaves the ownership of frames to its caller, which is this file.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
use std::{
    io,
    num::NonZeroU32,
    os::fd::{AsRawFd, BorrowedFd},
    time::Duration,
};

use nix::poll::{PollFd, PollFlags, ppoll};
use xsk_rs::{
    CompQueue, FillQueue, FrameDesc, RxQueue, Socket, TxQueue, Umem,
    config::{BindFlags, FrameSize, Interface, LibxdpFlags, QueueSize, SocketConfig, UmemConfig},
    socket::XdpStatistics,
};

use super::headers;
use crate::port::RX_BATCH;

/// Two to a page: leaves 1792 bytes behind the kernel's headroom of 256, enough for an MTU of 1500 with two VLAN tags. 4096
/// touches twice the pages for nothing.
pub const FRAME_SIZE: u32 = 2048;
/// What the kernel and the driver keep free in front of a received packet (XDP_PACKET_HEADROOM).
pub const FRAME_HEADROOM: u32 = 256;
/// Depth of the receive and transmit rings. At 0.8 M datagrams/s a thread may be away for 2.5 ms before anything is lost.
pub const RING_DEPTH_DEFAULT: u32 = 2048;
/// Of 2 MiB, the smaller of x86-64's huge pages.
const FRAMES_PER_HUGE_PAGE: u32 = (2 << 20) / FRAME_SIZE;
/// Without XDP_MAX_TX_SKB_BUDGET the kernel takes 32 descriptors per call.
const KICK_DESCRIPTORS_MIN: u32 = 32;

const CACHE_LINE: usize = 64;
/// Headers, MoldUDP64 header and an Enter end in the second line.
const PREFETCH_LINES: usize = 2;

const _: () = assert!(RX_BATCH <= u64::BITS as usize, "`Rings::held` has one bit per frame of a batch");

/// What went wrong while the umem or the socket was made; the caller knows what it means for the ladder.
#[derive(Debug, thiserror::Error)]
pub enum RingsError {
    #[error("{what}: {source}")]
    System { what: &'static str, source: io::Error },
    #[error("{0}")]
    Library(String),
}

impl RingsError {
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::System { source, .. } => source.raw_os_error(),
            Self::Library(_) => None,
        }
    }
}

/// What to make.
#[derive(Clone, Copy, Debug)]
pub struct RingsConfig {
    /// Receive and transmit ring entries, a power of two.
    pub ring_depth: u32,
    /// Frames that lie in the fill ring while nothing arrives.
    pub prefill: u32,
    pub zero_copy: bool,
}

/// Where the frames are; for tests of conservation and for statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Census {
    pub free: u32,
    pub in_batch: u32,
    /// In the fill ring, in the kernel, or in the receive ring.
    pub receiving: u32,
    /// In the transmit ring, in the kernel, or in the completion ring.
    pub transmitting: u32,
}

impl Census {
    pub const fn total(&self) -> u32 {
        self.free + self.in_batch + self.receiving + self.transmitting
    }
}

pub struct Rings {
    // Declared before `umem`: the queues drop first, and only when all four are gone the device is released.
    transmit: TxQueue,
    receive: RxQueue,
    fill: FillQueue,
    completion: CompQueue,
    umem: Umem,
    /// Last in, first out: the frame whose bytes are still in the cache is the next to be written.
    free_receive: Vec<FrameDesc>,
    free_transmit: Vec<FrameDesc>,
    /// Frames from this address on have their home on the transmit side.
    transmit_from: usize,
    /// What the completion ring brings is passed on from here.
    sent: [FrameDesc; RX_BATCH],
    batch: [FrameDesc; RX_BATCH],
    /// Bit n: frame n of the batch is still here.
    held: u64,
    receiving: u32,
    transmitting: u32,
    /// Submitted since the last kick.
    unkicked: u32,
    prefill: u32,
    frame_count: u32,
    ring_depth: u32,
    zero_copy: bool,
    huge_pages: bool,
    kicks: u64,
    wakeups: u64,
}

impl Rings {
    /// Makes a umem of its own (shared with no one) and a socket bound to one queue. Must run in the interface's namespace.
    pub fn new(interface: &str, queue: u32, config: RingsConfig) -> Result<Self, RingsError> {
        let library = |error: &dyn std::error::Error| RingsError::Library(error.to_string());
        let frame_count = frame_count(config.prefill, config.ring_depth);
        let depth = |entries: u32| QueueSize::new(entries).map_err(|error| library(&error));
        let umem_config = UmemConfig::builder()
            .frame_size(FrameSize::new(FRAME_SIZE).map_err(|error| library(&error))?)
            // Twice the receive ring: drivers take frames in bursts ahead of the packets.
            .fill_queue_size(depth(config.ring_depth * 2)?)
            .comp_queue_size(depth(config.ring_depth)?)
            .build()
            .map_err(|error| library(&error))?;
        let (umem, frames, huge_pages) = new_umem(umem_config, frame_count)?;
        let transmit_from = (config.prefill as usize + RX_BATCH) * FRAME_SIZE as usize;
        let (mut free_transmit, mut free_receive): (Vec<_>, Vec<_>) =
            frames.into_iter().partition(|frame| frame.addr() >= transmit_from);
        // Either may come to hold them all; none grows on the order path.
        for stack in [&mut free_receive, &mut free_transmit] {
            stack.reserve_exact(frame_count as usize - stack.len());
        }
        let mut flags = BindFlags::XDP_USE_NEED_WAKEUP;
        flags |= if config.zero_copy { BindFlags::XDP_ZEROCOPY } else { BindFlags::XDP_COPY };
        let socket_config = SocketConfig::builder()
            .rx_queue_size(depth(config.ring_depth)?)
            .tx_queue_size(depth(config.ring_depth)?)
            .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
            .bind_flags(flags)
            .build();
        let interface: Interface = interface.parse().map_err(|error: std::ffi::NulError| library(&error))?;
        // SAFETY: the umem is not shared, so no other socket of it can be bound to this pair; the flag that the contract asks
        // for in the other case is set all the same.
        let made = unsafe { Socket::new(socket_config, &umem, &interface, queue) };
        let (transmit, receive, queues) = made.map_err(|error| {
            let source =
                std::error::Error::source(&error).and_then(|source| source.downcast_ref::<io::Error>());
            match source.and_then(io::Error::raw_os_error) {
                Some(code) => RingsError::System {
                    what: "binding the AF_XDP socket",
                    source: io::Error::from_raw_os_error(code),
                },
                None => library(&error),
            }
        })?;
        let (fill, completion) = queues.ok_or_else(|| {
            RingsError::Library("the first socket of a umem came without its queues".to_owned())
        })?;
        let mut rings = Self {
            transmit,
            receive,
            fill,
            completion,
            umem,
            free_receive,
            free_transmit,
            transmit_from,
            sent: [FrameDesc::default(); RX_BATCH],
            batch: [FrameDesc::default(); RX_BATCH],
            held: 0,
            receiving: 0,
            transmitting: 0,
            unkicked: 0,
            prefill: config.prefill,
            frame_count,
            ring_depth: config.ring_depth,
            zero_copy: config.zero_copy,
            huge_pages,
            kicks: 0,
            wakeups: 0,
        };
        rings.refill();
        let probe = |what| move |source| RingsError::System { what, source };
        rings.wake_receive().map_err(probe("first poll of the receive ring"))?;
        // With nothing to send a working driver has nothing to say; ENXIO or EINVAL is a mode that binds and does not work.
        rings.kick().map_err(probe("probe of the transmit ring"))?;
        Ok(rings)
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open as long as the queues are, and these live as long as `self`.
        unsafe { BorrowedFd::borrow_raw(self.receive.fd().as_raw_fd()) }
    }

    pub const fn huge_pages(&self) -> bool {
        self.huge_pages
    }

    pub const fn ring_depth(&self) -> u32 {
        self.ring_depth
    }

    /// Calls into the kernel to transmit.
    pub const fn kicks(&self) -> u64 {
        self.kicks
    }

    /// Calls into the kernel because the receive side asked for one.
    pub const fn wakeups(&self) -> u64 {
        self.wakeups
    }

    pub fn kernel_statistics(&self) -> io::Result<XdpStatistics> {
        self.receive.fd().xdp_statistics()
    }

    pub const fn frame_count(&self) -> u32 {
        self.frame_count
    }

    pub fn census(&self) -> Census {
        Census {
            free: (self.free_receive.len() + self.free_transmit.len()) as u32,
            in_batch: self.held.count_ones(),
            receiving: self.receiving,
            transmitting: self.transmitting,
        }
    }

    /// Releases what is left of the last batch, collects what was sent, refills, and takes the next batch: at most
    /// [`RX_BATCH`] frames, numbered from 0. No system call unless the driver asked to be woken.
    ///
    /// The fill ring is topped up when nothing came, or when half of it is gone: its consumer's position is on another core, and
    /// to fetch it takes 60 to 90 ns, which no packet should wait for.
    #[inline]
    pub fn receive(&mut self) -> io::Result<usize> {
        self.release_batch();
        self.collect_sent();
        // SAFETY: every descriptor in the ring is of this umem, since only frames of it were ever put into the fill ring; the
        // slots of `batch` hold no frame any more, `release_batch` has just emptied them.
        let count = unsafe { self.receive.consume(&mut self.batch) };
        if count > 0 {
            // All ones below bit `count`; a shift by 64 would be undefined.
            self.held = u64::MAX >> (u64::BITS as usize - count);
            self.receiving -= count as u32;
            self.prefetch(count);
        }
        if (count == 0 && self.receiving < self.prefill) || self.receiving <= self.prefill / 2 {
            self.refill();
        }
        if self.fill.needs_wakeup() {
            self.wake_receive()?;
        }
        Ok(count)
    }

    /// Asks for the bytes of the batch's packets all at once: another core has just written them, so each line is a transfer
    /// between caches, and those of a packet would otherwise follow one another.
    #[inline]
    fn prefetch(&self, count: usize) {
        #[cfg(target_arch = "x86_64")]
        for descriptor in &self.batch[..count] {
            // SAFETY: as in `packet`, with `&self`: these frames are the batch's. A prefetch reads nothing architecturally.
            let packet = unsafe { self.umem.data(descriptor) }.contents();
            for line in packet.chunks(CACHE_LINE).take(PREFETCH_LINES) {
                // SAFETY: the pointer is of a live slice; the instruction is part of SSE, which x86-64 always has.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
            }
        }
    }

    /// Frame `index` of the batch; `None` when it was given away or never there.
    #[inline]
    pub fn frame(&mut self, index: usize) -> Option<Frame<'_>> {
        let here = index < RX_BATCH && self.held & (1 << index) != 0;
        here.then_some(Frame { rings: self, index })
    }

    /// The packet in frame `index` of the batch; empty when the frame is not here.
    #[inline]
    pub fn packet(&self, index: usize) -> &[u8] {
        if index >= RX_BATCH || self.held & (1 << index) == 0 {
            return &[];
        }
        // SAFETY: the descriptor came out of the receive ring and its bit says that the frame has not been given away since, so
        // the kernel does not touch it; the address and length are the kernel's, inside the frame. Mutable access takes
        // `&mut self`.
        unsafe { self.umem.data(&self.batch[index]) }.contents()
    }

    /// Takes a frame from the stack, lets `fill` write a packet into it (at most `room` bytes, of unspecified content) and
    /// queues it. `fill` returns the packet's length; 0 gives the frame back. False, without calling `fill`, when no frame
    /// or no ring entry is free.
    #[inline]
    pub fn transmit_with(&mut self, room: usize, fill: impl FnOnce(&mut [u8]) -> usize) -> bool {
        if self.free_transmit.is_empty() || self.transmitting >= self.ring_depth {
            self.collect_sent();
            if self.transmitting >= self.ring_depth {
                return false;
            }
        }
        // The frame stays on the stack until it is sent, so that a `fill` that unwinds loses nothing.
        let stack =
            if self.free_transmit.is_empty() { &mut self.free_receive } else { &mut self.free_transmit };
        let Some(descriptor) = stack.last_mut() else { return false };
        // SAFETY: a frame on a free stack is neither in a ring nor in the batch, so neither the kernel nor a `Frame` reaches
        // it, and `&mut self` excludes everything else.
        let mut data = unsafe { self.umem.data_mut(descriptor) };
        let mut cursor = data.cursor();
        cursor.set_pos(room);
        let length = fill(data.contents_mut()).min(room);
        if length == 0 {
            return true;
        }
        data.cursor().set_pos(length);
        let Some(descriptor) = stack.pop() else { return false };
        self.submit(descriptor)
    }

    /// True when nothing was refused; the frame goes back to the stack when the ring is full, which the count of frames in
    /// flight rules out.
    #[inline]
    fn submit(&mut self, descriptor: FrameDesc) -> bool {
        // SAFETY: the descriptor is of this umem and was taken out of the stack or the batch by the caller: nothing else
        // refers to the frame until the completion ring returns it.
        if unsafe { self.transmit.produce_one(&descriptor) } == 1 {
            self.transmitting += 1;
            self.unkicked += 1;
            true
        } else {
            self.put_home(descriptor);
            false
        }
    }

    /// Makes the kernel send what was queued, if it wants to be told.
    #[inline]
    pub fn flush(&mut self) -> io::Result<()> {
        if self.unkicked == 0 {
            return Ok(());
        }
        // A zero-copy driver sends in its own time once it is told; copy mode sends inside the call, a budget at a time.
        let bound = if self.zero_copy { 1 } else { self.unkicked / KICK_DESCRIPTORS_MIN + 1 };
        self.unkicked = 0;
        for _ in 0..bound {
            if !self.transmit.needs_wakeup() {
                return Ok(());
            }
            self.kick()?;
            if self.transmit.nb_free_exact() == self.ring_depth {
                return Ok(());
            }
        }
        // Not all were taken (socket buffer full, link down): the next flush tries again.
        self.unkicked = 1;
        Ok(())
    }

    fn kick(&mut self) -> io::Result<()> {
        self.kicks += 1;
        self.transmit.wakeup()
    }

    fn wake_receive(&mut self) -> io::Result<()> {
        self.wakeups += 1;
        self.fill.wakeup(self.receive.fd_mut(), 0)
    }

    /// Blocks until a packet is there or the time is up.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        if self.receive.nb_avail_exact() > 0 {
            return Ok(());
        }
        let mut descriptors = [PollFd::new(self.fd(), PollFlags::POLLIN)];
        match ppoll(&mut descriptors, Some(timeout.into()), None) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    #[inline]
    fn put_home(&mut self, descriptor: FrameDesc) {
        if descriptor.addr() >= self.transmit_from {
            self.free_transmit.push(descriptor);
        } else {
            self.free_receive.push(descriptor);
        }
    }

    #[inline]
    fn release_batch(&mut self) {
        while self.held != 0 {
            let index = self.held.trailing_zeros() as usize;
            self.held &= self.held - 1;
            self.put_home(self.batch[index]);
        }
    }

    #[inline]
    fn collect_sent(&mut self) {
        if self.transmitting == 0 {
            return;
        }
        loop {
            // SAFETY: what comes out of the completion ring was put into the transmit ring by `submit`: a frame of this umem.
            let count = unsafe { self.completion.consume(&mut self.sent) };
            self.transmitting -= count as u32;
            for index in 0..count {
                self.put_home(self.sent[index]);
            }
            if count < self.sent.len() {
                return;
            }
        }
    }

    /// Tops the fill ring up to `prefill` frames on the receive side.
    #[inline]
    fn refill(&mut self) {
        for stack in [&mut self.free_receive, &mut self.free_transmit] {
            let wanted = self.prefill.saturating_sub(self.receiving) as usize;
            let keep = stack.len() - wanted.min(stack.len());
            // SAFETY: frames on a free stack are of this umem and nowhere else; those produced leave the stack just below.
            let count = unsafe { self.fill.produce(&stack[keep..]) };
            // The ring takes all or none.
            if count > 0 {
                stack.truncate(keep);
                self.receiving += count as u32;
            }
        }
    }
}

/// One received packet: a token for its frame. Consumed by [`transmit`](Self::transmit) or [`release`](Self::release); there
/// is no second one for the same frame, and none that outlives the frame's stay here.
pub struct Frame<'a> {
    rings: &'a mut Rings,
    index: usize,
}

impl Frame<'_> {
    #[inline]
    pub fn packet(&self) -> &[u8] {
        self.rings.packet(self.index)
    }

    /// Changes the packet where it lies.
    #[inline]
    pub fn edit<T>(&mut self, change: impl FnOnce(&mut [u8]) -> T) -> T {
        let Rings { umem, batch, .. } = &mut *self.rings;
        // SAFETY: a `Frame` exists only while its bit says that the frame is here; it borrows the rings mutably, so this is the
        // only access, and the kernel has no business with the frame until it is given away.
        let mut data = unsafe { umem.data_mut(&mut batch[self.index]) };
        change(data.contents_mut())
    }

    /// Queues the frame as it is: the answer in place. False when the transmit ring is full; the packet is then gone.
    #[inline]
    pub fn transmit(self) -> bool {
        let Self { rings, index } = self;
        if rings.transmitting >= rings.ring_depth {
            rings.collect_sent();
            if rings.transmitting >= rings.ring_depth {
                return false;
            }
        }
        rings.held &= !(1 << index);
        let descriptor = rings.batch[index];
        rings.submit(descriptor)
    }

    /// Answers with the packet itself: addresses and ports swapped, the frame queued. False when it is no plain datagram or the
    /// transmit ring is full.
    #[inline]
    pub fn answer(mut self) -> bool {
        self.edit(headers::swap_in_place) && self.transmit()
    }

    /// Gives the frame back to be filled again.
    #[inline]
    pub fn release(self) {
        let Self { rings, index } = self;
        rings.held &= !(1 << index);
        rings.put_home(rings.batch[index]);
    }
}

/// What fills the fill ring, a batch, and what fills the transmit ring, so that neither side can starve the other; rounded up to whole
/// huge pages when it is as much as one. The rest lies on the stack.
pub const fn frame_count(prefill: u32, ring_depth: u32) -> u32 {
    let wanted = prefill + RX_BATCH as u32 + ring_depth;
    if wanted < FRAMES_PER_HUGE_PAGE { wanted } else { wanted.next_multiple_of(FRAMES_PER_HUGE_PAGE) }
}

/// Huge pages where the host has some to spare (one TLB entry instead of hundreds), ordinary ones otherwise. Either is
/// populated at once, so that no packet waits for a page fault.
fn new_umem(config: UmemConfig, frame_count: u32) -> Result<(Umem, Vec<FrameDesc>, bool), RingsError> {
    let count =
        NonZeroU32::new(frame_count).ok_or_else(|| RingsError::Library("a umem of no frames".to_owned()))?;
    // A mapping of huge pages has to be a whole number of them, or it cannot be unmapped.
    if frame_count.is_multiple_of(FRAMES_PER_HUGE_PAGE)
        && let Ok((umem, frames)) = Umem::new(config, count, true)
    {
        return Ok((umem, frames, true));
    }
    let (umem, frames) =
        Umem::new(config, count, false).map_err(|error| {
            match std::error::Error::source(&error).and_then(|source| source.downcast_ref::<io::Error>()) {
                Some(source) => RingsError::System {
                    what: "registering the umem",
                    source: io::Error::from_raw_os_error(source.raw_os_error().unwrap_or(0)),
                },
                None => RingsError::Library(error.to_string()),
            }
        })?;
    Ok((umem, frames, false))
}
