//! Packet ports: everything between a device and a datagram, behind one trait. Not what a datagram means.
//!
//! - [`port`]: the one trait every room implements, and the addresses it speaks in.
//! - [`echo`]: the smallest program on each port, both ends.
//! - [`idle`]: what a polling thread does when a poll brings nothing.
//! - [`privileges`]: giving up capabilities once all is open.
//! - [`random`]: the seeded generator behind every simulation and generated load.
//! - [`sim`]: the simulated room.
//! - [`udp`]: the kernel-socket room.
//! - `xdp`: the AF_XDP room (feature `xdp`).

pub mod clock;
pub mod echo;
pub mod idle;
pub mod port;
pub mod privileges;
pub mod random;
pub mod sim;
pub mod udp;
#[cfg(feature = "xdp")]
pub mod xdp;

pub use port::{
    Endpoint, Link, Peer, Port, PortError, PortStatistics, RX_BATCH, RxDrops, TransmitFull, Vlan, VlanTag,
    XdpCounters,
};
