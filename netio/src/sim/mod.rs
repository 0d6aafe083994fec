//! The simulated room: ports joined by a network in memory whose faults come from a seed. The same seed gives the same run.
//!
//! The owner moves a virtual clock; nothing happens in between. Everything runs on one thread.
//! ```
//! use netio::sim::{Faults, SimNetwork};
//! use netio::{Peer, Port};
//! let network = SimNetwork::new(1, Faults { delay_ns_min: 1_000, delay_ns_max: 1_000, ..Faults::none() });
//! let one = "10.0.0.1:1".parse::<std::net::SocketAddr>().unwrap();
//! let two = "10.0.0.2:1".parse::<std::net::SocketAddr>().unwrap();
//! let mut a = network.open(one).unwrap();
//! let mut b = network.open(two).unwrap();
//! a.send(&Peer::remote(two), |out| { out[..2].copy_from_slice(b"hi"); 2 }).unwrap();
//! a.flush().unwrap();
//! assert_eq!(b.receive().unwrap(), 0);
//! network.advance(1_000);
//! assert_eq!(b.receive().unwrap(), 1);
//! assert_eq!(b.datagram(0).1, b"hi");
//! ```

mod network;
mod port;
mod state;

pub use network::SimNetwork;
pub use port::SimPort;
pub use state::{Faults, PartitionId, SimStatistics};
