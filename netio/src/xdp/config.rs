//! What to open on an interface, and on which rung. No I/O.

use std::{net::IpAddr, ops::RangeInclusive};

use xdp_prog::XdpMode;

use super::{
    BusyPoll,
    rings::{RING_DEPTH_DEFAULT, RING_DEPTH_MAX},
};
use crate::{filter::SourceRules, idle::IdleStrategy};

/// One rung: where the program runs, and how packets reach the umem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rung {
    pub mode: XdpMode,
    pub zero_copy: bool,
}

impl std::fmt::Display for Rung {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} XDP, {}", self.mode, if self.zero_copy { "zero-copy" } else { "copy" })
    }
}

/// Which rungs may be tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ladder {
    /// native+zero-copy, native+copy, generic+copy.
    #[default]
    Best,
    Only(Rung),
}

impl Ladder {
    const ZERO_COPY: Rung = Rung { mode: XdpMode::Native, zero_copy: true };
    const NATIVE: Rung = Rung { mode: XdpMode::Native, zero_copy: false };
    const GENERIC: Rung = Rung { mode: XdpMode::Generic, zero_copy: false };

    pub(super) fn rungs(self) -> Vec<Rung> {
        match self {
            Self::Best => vec![Self::ZERO_COPY, Self::NATIVE, Self::GENERIC],
            Self::Only(rung) => vec![rung],
        }
    }
}

/// One socket to open: a receive queue and the UDP ports whose datagrams it wants.
#[derive(Clone, Debug)]
pub struct QueueConfig {
    pub queue: u32,
    /// What datagrams must be addressed to. `0.0.0.0` is every IPv4 address that the interface has when it is opened, `::` every
    /// address of both families. Groups and broadcasts are left to the kernel.
    pub address: IpAddr,
    /// The first is what `Port::local` reports; an engine has one, a load generator one for each client.
    pub ports: RangeInclusive<u16>,
}

/// What to open.
#[derive(Clone, Debug)]
pub struct DeviceConfig {
    pub interface: String,
    pub queues: Vec<QueueConfig>,
    /// Which sources may send: the program drops the others.
    pub rules: SourceRules,
    /// Drop what is no MoldUDP64 packet or lies about its length. Off for ports that carry something else (the echo programs).
    pub check_mold: bool,
    pub ladder: Ladder,
    /// Verify the UDP checksums of what arrives. On by default, because it costs nothing that can be measured: the echo of
    /// 64 bytes on veth had a median of 3.95 us with and 3.90 us without, between runs that differed by more.
    pub verify_checksums: bool,
    /// Only applied when zero-copy was had.
    pub busy_poll: Option<BusyPoll>,
    pub ring_depth: u32,
    /// Frames waiting in the fill ring of each queue: the longest burst that nothing is lost of. `None`: what `idle` and the mode call for,
    /// and more with the number of peers and the bursts seen.
    pub prefill: Option<u32>,
    /// Single hosts that are sent to without having been heard from: a peer without a link address finds its own here.
    pub neighbours: Vec<IpAddr>,
    /// How the threads of the sockets wait.
    pub idle: IdleStrategy,
}

/// Frames in the fill ring, in copy mode, of a thread that never gives its core away, and of few peers: 0.6 ms of 0.8 M datagrams/s. They are filled in turn, so
/// fewer stay warmer: an order's round trip on veth had a median of 3.22 us with these and 3.36 us with 2048.
const PREFILL_SPINNING: u32 = 512;

/// The depth of the rings that a datagram of each of `peers` fits into at once. No deeper: descriptors are used in turn, and those of rings
/// eight times as deep took a single client a quarter of its throughput.
pub fn ring_depth(peers: usize) -> u32 {
    let wanted = u32::try_from(peers).unwrap_or(RING_DEPTH_MAX).clamp(RING_DEPTH_DEFAULT, RING_DEPTH_MAX);
    wanted.next_power_of_two()
}

impl DeviceConfig {
    pub fn new(interface: impl Into<String>) -> Self {
        Self {
            interface: interface.into(),
            queues: Vec::new(),
            rules: SourceRules::default(),
            check_mold: true,
            ladder: Ladder::Best,
            verify_checksums: true,
            busy_poll: None,
            ring_depth: RING_DEPTH_DEFAULT,
            prefill: None,
            neighbours: Vec::new(),
            idle: IdleStrategy::default(),
        }
    }

    /// Least and most frames in each fill ring. A thread that may lose its core is away for milliseconds, and a zero-copy driver keeps its own
    /// ring filled from here: both want the whole depth.
    pub(super) fn prefill(&self, zero_copy: bool) -> (u32, u32) {
        let spins = self.idle == IdleStrategy::Spin && !zero_copy;
        let least = if spins { PREFILL_SPINNING.min(self.ring_depth) } else { self.ring_depth };
        self.prefill.map_or((least, self.ring_depth), |fixed| (fixed, fixed))
    }

    /// Adds a socket.
    #[must_use]
    pub fn queue(mut self, queue: u32, address: IpAddr, ports: RangeInclusive<u16>) -> Self {
        self.queues.push(QueueConfig { queue, address, ports });
        self
    }
}

/// A rung that was tried and why it was left.
#[derive(Clone, Debug)]
pub struct RungLeft {
    pub rung: Rung,
    pub reason: String,
}
