//! The four rings of one AF_XDP socket. All `unsafe` of this port's data path is in this file; who has which frame is decided in `frames`, and
//! what is in a frame is not its business.
//!
//! A frame outside the kernel is reached only through a [`Frame`] (one of the received batch) or through
//! [`Rings::transmit_with`] (a free one). Both borrow the rings mutably, so safe code cannot hold a frame twice,
//! nor keep one after giving it away; one that is dropped or forgotten stays in the batch and is free again with the
//! next [`Rings::receive`], so none can be lost either.
#![allow(unsafe_code)] // xsk-rs' rings are unsafe to use: it leaves the ownership of frames to its caller.

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

use super::{
    demand::Demand,
    frames::{Census, Descriptor, Frames, Handed},
};
use crate::headers;
use crate::port::RX_BATCH;

/// Two to a page: leaves 1792 bytes behind the kernel's headroom of 256, enough for an MTU of 1500 with two VLAN tags. 4096
/// touches twice the pages for nothing.
pub const FRAME_SIZE: u32 = 2048;
/// What the kernel and the driver keep free in front of a received packet (XDP_PACKET_HEADROOM).
pub const FRAME_HEADROOM: u32 = 256;
/// Depth of the receive and transmit rings. At 0.8 M datagrams/s a thread may be away for 2.5 ms before anything is lost.
pub const RING_DEPTH_DEFAULT: u32 = 2048;
/// The deepest rings that are of use: a datagram in flight of each of 65,536 sessions.
pub const RING_DEPTH_MAX: u32 = 1 << 16;
/// Of 2 MiB, the smaller of x86-64's huge pages.
const FRAMES_PER_HUGE_PAGE: u32 = (2 << 20) / FRAME_SIZE;
/// Without XDP_MAX_TX_SKB_BUDGET the kernel takes 32 descriptors per call.
const KICK_DESCRIPTORS_MIN: u32 = 32;

/// Deeper transmit rings are of no use: who finds one full hands over what is in it. Descriptors are used in turn, so those of a deep
/// ring are never in a cache.
const TRANSMIT_DEPTH_MAX: u32 = RING_DEPTH_DEFAULT;

/// A fill ring of this depth has room for whatever a driver takes ahead; a deeper one holds what the receive ring takes, and no more.
const FILL_DEPTH_AMPLE: u32 = 2 * RING_DEPTH_DEFAULT;

const CACHE_LINE: usize = 64;
/// Headers, MoldUDP64 header and an Enter end in the second line.
const PREFETCH_LINES: usize = 2;

impl Descriptor for FrameDesc {
    #[inline]
    fn address(&self) -> usize {
        self.addr()
    }
}

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
    /// Entries of the receive ring, a power of two. The transmit ring has as many, or [`TRANSMIT_DEPTH_MAX`].
    pub ring_depth: u32,
    /// Frames that lie in the fill ring while nothing arrives: at least, and at most.
    pub prefill: (u32, u32),
    pub zero_copy: bool,
}

pub struct Rings {
    // Declared before `umem`: the queues drop first, and only when all four are gone the device is released.
    transmit: TxQueue,
    receive: RxQueue,
    fill: FillQueue,
    completion: CompQueue,
    umem: Umem,
    frames: Frames<FrameDesc>,
    /// Submitted since the last kick.
    unkicked: u32,
    demand: Demand,
    transmit_depth: u32,
    zero_copy: bool,
    huge_pages: bool,
    kicks: u64,
    wakeups: u64,
}

impl Rings {
    /// Makes a umem of its own (shared with no one) and a socket bound to one queue. Must run in the interface's namespace.
    pub fn new(interface: &str, queue: u32, config: RingsConfig) -> Result<Self, RingsError> {
        let library = |error: &dyn std::error::Error| RingsError::Library(error.to_string());
        let (prefill_least, prefill_most) = config.prefill;
        let transmit_depth = config.ring_depth.min(TRANSMIT_DEPTH_MAX);
        let frame_count = frame_count(prefill_most, config.ring_depth);
        let depth = |entries: u32| QueueSize::new(entries).map_err(|error| library(&error));
        let umem_config = UmemConfig::builder()
            .frame_size(FrameSize::new(FRAME_SIZE).map_err(|error| library(&error))?)
            // Twice the receive ring, up to a point: drivers take frames in bursts ahead of the packets.
            .fill_queue_size(depth(config.ring_depth.max((config.ring_depth * 2).min(FILL_DEPTH_AMPLE)))?)
            .comp_queue_size(depth(transmit_depth)?)
            .build()
            .map_err(|error| library(&error))?;
        let (umem, frames, huge_pages) = new_umem(umem_config, frame_count)?;
        let transmit_from = (prefill_most as usize + RX_BATCH) * FRAME_SIZE as usize;
        let frames = Frames::new(frames, transmit_from);
        let mut flags = BindFlags::XDP_USE_NEED_WAKEUP;
        flags |= if config.zero_copy { BindFlags::XDP_ZEROCOPY } else { BindFlags::XDP_COPY };
        let socket_config = SocketConfig::builder()
            .rx_queue_size(depth(config.ring_depth)?)
            .tx_queue_size(depth(transmit_depth)?)
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
            frames,
            unkicked: 0,
            demand: Demand::new(prefill_least, prefill_most),
            transmit_depth,
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
        self.frames.count()
    }

    pub fn census(&self) -> Census {
        self.frames.census()
    }

    /// Releases what is left of the last batch, collects what was sent, refills, and takes the next batch: at most
    /// [`RX_BATCH`] frames, numbered from 0. No system call unless the driver asked to be woken.
    ///
    /// The fill ring is topped up when nothing came, or when much of it is gone: its consumer's position is on another core, and
    /// to fetch it takes 60 to 90 ns, which no packet should wait for.
    #[inline]
    pub fn receive(&mut self) -> io::Result<usize> {
        self.collect_sent();
        let receive = &mut self.receive;
        // SAFETY: every descriptor in the ring is of this umem, since only frames of it were ever put into the fill ring; the
        // slots hold no frame any more, `take_batch` has just emptied them.
        let count = self.frames.take_batch(|slots| unsafe { receive.consume(slots) });
        if count > 0 {
            self.prefetch(count);
        }
        if count == RX_BATCH {
            self.demand.seen(self.receive.nb_avail_exact());
        }
        let receiving = self.frames.receiving();
        if (count == 0 && receiving < self.demand.target()) || receiving <= self.demand.low() {
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
        for descriptor in self.frames.batch(count) {
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
        self.frames.holds(index).then_some(Frame { rings: self, index })
    }

    /// The packet in frame `index` of the batch; empty when the frame is not here.
    #[inline]
    pub fn packet(&self, index: usize) -> &[u8] {
        let Some(descriptor) = self.frames.held(index) else { return &[] };
        // SAFETY: the descriptor came out of the receive ring and the frame has not been given away since, so
        // the kernel does not touch it; the address and length are the kernel's, inside the frame. Mutable access takes
        // `&mut self`.
        unsafe { self.umem.data(descriptor) }.contents()
    }

    /// Takes a frame from the stack, lets `fill` write a packet into it (at most `room` bytes, of unspecified content) and
    /// queues it. `fill` returns the packet's length; 0 gives the frame back. False, without calling `fill`, when no frame
    /// or no ring entry is free.
    #[inline]
    pub fn transmit_with(&mut self, room: usize, fill: impl FnOnce(&mut [u8]) -> usize) -> bool {
        if !self.frames.has_free_to_transmit() || self.is_full() {
            self.collect_sent();
            if self.is_full() {
                return false;
            }
        }
        let Self { frames, umem, transmit, .. } = self;
        let write = |descriptor: &mut FrameDesc| {
            // SAFETY: a free frame is neither in a ring nor in the batch, so neither the kernel nor a `Frame` reaches
            // it, and `&mut self` excludes everything else.
            let mut data = unsafe { umem.data_mut(descriptor) };
            let mut cursor = data.cursor();
            cursor.set_pos(room);
            let length = fill(data.contents_mut()).min(room);
            data.cursor().set_pos(length);
            length > 0
        };
        let handed = frames.transmit_free(write, |descriptor| produce(transmit, descriptor));
        self.unkicked += u32::from(handed == Handed::Queued);
        handed != Handed::Refused
    }

    #[inline]
    fn is_full(&self) -> bool {
        self.frames.transmitting() >= self.transmit_depth
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
            if self.transmit.nb_free_exact() == self.transmit_depth {
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
    fn collect_sent(&mut self) {
        let completion = &mut self.completion;
        // SAFETY: what comes out of the completion ring was put into the transmit ring by `produce`: a frame of this umem.
        self.frames.collect_completed(|slots| unsafe { completion.consume(slots) });
    }

    /// Has the fill ring follow how many may send at once.
    pub fn expect(&mut self, peers: usize) {
        self.demand.expect(peers);
    }

    /// Tops the fill ring up to what is wanted.
    #[inline]
    fn refill(&mut self) {
        let (fill, wanted) = (&mut self.fill, self.demand.target());
        // SAFETY: free frames are of this umem and nowhere else; those produced are no longer free.
        self.frames.give_to_receive(wanted, |free| unsafe { fill.produce(free) });
    }
}

/// Hands a frame to the kernel to be sent; false when the ring is full, which the count of frames in flight rules out.
#[inline]
fn produce(transmit: &mut TxQueue, descriptor: &FrameDesc) -> bool {
    // SAFETY: called from `Frames` alone, with a frame of this umem that it has just taken out of where it was: nothing else
    // refers to it until the completion ring returns it.
    unsafe { transmit.produce_one(descriptor) == 1 }
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
        let Rings { umem, frames, .. } = &mut *self.rings;
        let Some(descriptor) = frames.held_mut(self.index) else { return change(&mut []) };
        // SAFETY: the frame is in the batch; this `Frame` borrows the rings mutably, so this is the
        // only access, and the kernel has no business with the frame until it is given away.
        let mut data = unsafe { umem.data_mut(descriptor) };
        change(data.contents_mut())
    }

    /// Queues the frame as it is: the answer in place. False when the transmit ring is full; the packet is then gone.
    #[inline]
    pub fn transmit(self) -> bool {
        let Self { rings, index } = self;
        if rings.is_full() {
            rings.collect_sent();
            if rings.is_full() {
                return false;
            }
        }
        let Rings { frames, transmit, unkicked, .. } = rings;
        let handed = frames.transmit_held(index, |descriptor| produce(transmit, descriptor));
        *unkicked += u32::from(handed == Handed::Queued);
        handed == Handed::Queued
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
        rings.frames.release(index);
    }
}

/// What fills the fill ring, a batch, and what fills the transmit ring, so that neither side can starve the other; rounded up to whole
/// huge pages when it is as much as one. The rest lies on the stack.
pub const fn frame_count(prefill: u32, ring_depth: u32) -> u32 {
    let transmit_depth = if ring_depth < TRANSMIT_DEPTH_MAX { ring_depth } else { TRANSMIT_DEPTH_MAX };
    let wanted = prefill + RX_BATCH as u32 + transmit_depth;
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
