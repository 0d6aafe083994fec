//! The AF_XDP room: datagrams between a NIC's receive queue and one thread, past the kernel's network stack.
//!
//! - [`device`]: opens an interface: the XDP program and one socket for each queue, in the best mode that works.
//! - [`port`]: the packet port over one socket.
//! - [`rings`]: the rings and the ownership of frames; the data path's `unsafe`.
//! - `headers`: Ethernet, VLAN, IP, UDP, as needed per packet.
//! - [`resolve`]: which MAC and source address reach a destination.
//! - [`preflight`]: what would fail, by name.
//!
//! ```no_run
//! # use netio::{Port, xdp::{DeviceConfig, XdpDevice}};
//! let config = DeviceConfig::new("eth1").queue(0, "10.0.0.1".parse()?, 26000..=26000);
//! let (device, mut ports) = XdpDevice::open(&config)?;
//! println!("{}", device.rung());
//! let port = &mut ports[0];
//! let count = port.receive()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod device;
mod headers;
mod options;
pub mod port;
pub mod preflight;
pub mod resolve;
pub mod rings;

pub use crate::port::XdpCounters;
pub use device::{DeviceConfig, Ladder, OpenError, QueueConfig, Rung, RungLeft, XdpDevice};
pub use options::{BusyPoll, receive_queues, receive_ring_depth};
pub use port::{InterfaceFacts, XdpPort};
pub use preflight::Preflight;
pub use resolve::{ResolveError, Route, resolve};
pub use rings::{Census, Frame};
