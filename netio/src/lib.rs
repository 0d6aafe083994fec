//! Packet ports and the reliable streams that run over them: everything between a device and a message, but no message's meaning.
//!
//! - [`port`]: the one trait every room implements, and the addresses it speaks in.
//! - [`echo`]: the smallest program on each port, both ends.
//! - [`idle`]: what a polling thread does when a poll brings nothing.
//! - [`privileges`]: giving up capabilities once all is open.
//! - [`random`]: the seeded generator behind every simulation and generated load.
//! - [`sim`]: the simulated room.
//! - [`stream`]: the two MoldUDP64 streams of a session as pure state machines.
//! - [`udp`]: the kernel-socket room.
//! - `xdp`: the AF_XDP room (feature `xdp`).

pub mod clock;
pub mod echo;
pub mod idle;
pub mod port;
pub mod privileges;
pub mod random;
pub mod sim;
pub mod stream;
pub mod udp;
#[cfg(feature = "xdp")]
pub mod xdp;

pub use port::{
    Endpoint, Link, Peer, Port, PortError, PortStatistics, RX_BATCH, RxDrops, TransmitFull, Vlan, VlanTag,
    XdpCounters,
};
