//! Looks for what would fail before anything is touched, and names it. It promises nothing: the kernel has the last word.

use std::io;

use caps::Capability;
use nix::sys::resource::{Resource, getrlimit};
use xdp_prog::SteeringError;

use super::{
    config::{DeviceConfig, Ladder},
    options,
    rings::{FRAME_SIZE, frame_count},
};

#[derive(Debug, thiserror::Error)]
pub enum Preflight {
    #[error(transparent)]
    Steering(#[from] SteeringError),
    #[error(
        "the umem needs {needed} bytes of locked memory and the limit is {limit}: raise it (systemd: LimitMEMLOCK=infinity; \
         shell: ulimit -l unlimited) or grant CAP_IPC_LOCK"
    )]
    LockedMemory { needed: u64, limit: u64 },
    #[error(
        "{interface} has {queues} receive queues, so there is no queue {queue}; `ethtool -L {interface} combined N` adds some"
    )]
    NoQueue { interface: String, queue: u32, queues: u32 },
    #[error("queue {queue} is asked for twice")]
    QueueTwice { queue: u32 },
    #[error("{interface} is down: `ip link set {interface} up` first")]
    Down { interface: String },
    #[error("{what}: {source}")]
    System { what: &'static str, source: io::Error },
}

/// Everything that can be known without touching the interface, cheapest first.
pub fn check(config: &DeviceConfig) -> Result<(), Preflight> {
    xdp_prog::find_interface(&config.interface)?;
    let wants_zero_copy = match config.ladder {
        Ladder::Only(rung) => rung.zero_copy,
        Ladder::Best => false,
    };
    let mut wanted = vec![Capability::CAP_NET_ADMIN, Capability::CAP_NET_RAW, Capability::CAP_BPF];
    if wants_zero_copy {
        wanted.push(Capability::CAP_PERFMON);
    }
    xdp_prog::demand_capabilities(&wanted)?;
    locked_memory(config)?;
    queues(config)?;
    let (_, link) = xdp_prog::free_interface(&config.interface)?;
    if !link.is_up {
        return Err(Preflight::Down { interface: config.interface.clone() });
    }
    Ok(())
}

fn locked_memory(config: &DeviceConfig) -> Result<(), Preflight> {
    if xdp_prog::first_missing(&[Capability::CAP_IPC_LOCK]).is_none() {
        return Ok(());
    }
    let frames =
        u64::from(frame_count(config.prefill(true).1, config.ring_depth)) * config.queues.len() as u64;
    let needed = frames * u64::from(FRAME_SIZE);
    let (limit, _) = getrlimit(Resource::RLIMIT_MEMLOCK)
        .map_err(|error| Preflight::System { what: "reading RLIMIT_MEMLOCK", source: error.into() })?;
    if limit < needed { Err(Preflight::LockedMemory { needed, limit }) } else { Ok(()) }
}

fn queues(config: &DeviceConfig) -> Result<(), Preflight> {
    // A driver that does not tell its queues answers the bind with EINVAL.
    let known = options::receive_queues(&config.interface);
    for (position, wanted) in config.queues.iter().enumerate() {
        if let Some(queues) = known
            && wanted.queue >= queues
        {
            return Err(Preflight::NoQueue {
                interface: config.interface.clone(),
                queue: wanted.queue,
                queues,
            });
        }
        if config.queues[..position].iter().any(|other| other.queue == wanted.queue) {
            return Err(Preflight::QueueTwice { queue: wanted.queue });
        }
    }
    Ok(())
}
