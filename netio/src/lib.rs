//! Packet ports: everything between a device and a datagram, behind one trait. Not what a datagram means.
//!
//! - [`kind`]: the kinds of port, by name.
//! - [`port`]: the one trait every room implements, and the addresses it speaks in.
//! - [`echo`]: the smallest program on each port, both ends.
//! - [`filter`]: which sources may send, for ports without a program in front of them.
//! - `headers`: between a frame and a peer, for rooms past the kernel.
//! - [`idle`]: what a polling thread does when a poll brings nothing.
//! - [`privileges`]: giving up capabilities once all is open.
//! - [`random`]: the seeded generator behind every simulation and generated load.
//! - [`sim`]: the simulated room.
//! - [`udp`]: the kernel-socket room.
//! - `xdp`: the AF_XDP room (feature `xdp`).

pub mod clock;
pub mod echo;
pub mod filter;
#[cfg(feature = "xdp")]
mod headers;
pub mod idle;
pub mod kind;
pub mod port;
pub mod privileges;
pub mod random;
pub mod sim;
pub mod udp;
#[cfg(feature = "xdp")]
pub mod xdp;

pub use kind::{PortKind, PortKindError};
pub use port::{
    DeviceCounter, DeviceCounters, Endpoint, Link, Peer, Port, PortError, PortStatistics, RX_BATCH, RxDrops,
    TransmitFull, Vlan, VlanTag,
};

/// Every counter that some kind of port of this build has for itself.
pub const DEVICE_COUNTERS: &[DeviceCounter] = {
    #[cfg(feature = "xdp")]
    {
        &xdp::COUNTERS
    }
    #[cfg(not(feature = "xdp"))]
    {
        &[]
    }
};
