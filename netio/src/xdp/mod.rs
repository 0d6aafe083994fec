//! The AF_XDP room: datagrams between a NIC's receive queue and one thread, past the kernel's network stack.
//!
//! - [`config`]: what to open.
//! - [`device`]: opens an interface: the XDP program and one socket for each queue, in the best mode that works.
//! - [`port`]: the packet port over one socket.
//! - `frames`: who has which frame.
//! - `demand`: how many frames wait to be filled.
//! - [`rings`]: the rings; the data path's `unsafe`.
//! - `neighbours`: the MACs of those that are sent to without having spoken.
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

pub mod config;
mod counters;
mod demand;
pub mod device;
mod frames;
mod neighbours;
mod options;
pub mod port;
pub mod preflight;
pub mod resolve;
pub mod rings;

pub use config::{DeviceConfig, Ladder, QueueConfig, Rung, RungLeft, ring_depth};
pub use counters::{COUNTERS, XdpCounters};
pub use device::{OpenError, XdpDevice};
pub use frames::Census;
pub use options::{BusyPoll, receive_queues, receive_ring_depth};
pub use port::{InterfaceFacts, XdpPort};
pub use preflight::Preflight;
pub use resolve::{ResolveError, Route, resolve};
pub use rings::Frame;
