//! The XDP program (bpf/steer.c, compiled by build.rs) and its loader. Not the AF_XDP sockets themselves: `netio::xdp` owns those
//! and registers them here. For a port that no program can be in front of, the same rules in Rust (`software`).
//!
//! ```no_run
//! # use xdp_prog::{SteeringSettings, Steering, ModeChoice};
//! let settings = SteeringSettings::new().address([10, 0, 0, 1].into()).port(26000, xdp_prog::Queue::Index(0));
//! let mut steering = Steering::attach("eth1", &settings, ModeChoice::Best)?;
//! println!("attached in {} mode, program {}", steering.mode(), steering.program_id());
//! println!("{}", steering.counters()?);
//! # Ok::<(), xdp_prog::SteeringError>(())
//! ```

mod capability;
mod error;
mod mode;
pub mod netlink;
mod settings;
mod software;
mod steering;
mod verdict;

pub use capability::first_missing;
pub use error::SteeringError;
pub use mode::{ModeChoice, StepDown, XdpMode};
pub use settings::{ADDRESSES_MAX, ALLOW_LIST_MAX, QUEUES_MAX, Queue, SteeringSettings, TokenBucket};
pub use software::SoftwareSteering;
pub use steering::{Steering, demand_capabilities, find_interface, free_interface};
pub use verdict::{Counters, Verdict};

/// The compiled program, as the loader and the fixture tests read it.
pub static PROGRAM: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/steer.o"));
