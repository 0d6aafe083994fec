//! Why the program could not be loaded, attached or told something, printed so that the reader knows what to do next.
use std::io;

use caps::Capability;

use crate::StepDown;

#[derive(Debug, thiserror::Error)]
pub enum SteeringError {
    #[error("there is no network interface {0:?} in this network namespace")]
    NoInterface(String),
    #[error(
        "{capability} is missing: run as root, or grant it (systemd: AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW CAP_BPF CAP_PERFMON)"
    )]
    MissingCapability { capability: Capability },
    #[error(
        "interface {interface} is already held by XDP program {program_id} ({mode}); look at it with `bpftool prog show id \
         {program_id}` and remove it, or choose another interface"
    )]
    Held { interface: String, program_id: u32, mode: &'static str },
    #[error("the kernel refused the XDP program: {0}")]
    Load(String),
    #[error("could not attach to {interface}: {}", list(steps))]
    Attach { interface: String, steps: Vec<StepDown> },
    #[error(
        "this kernel has no bpf_link for XDP (Linux 5.9 or newer is needed): a crash would leave the program attached"
    )]
    NoBpfLink,
    #[error("queue {queue} is beyond the {max} queues the program has room for")]
    QueueOutOfRange { queue: u32, max: u32 },
    #[error("{count} addresses to listen on are more than the {max} the program has room for")]
    TooManyAddresses { count: usize, max: usize },
    #[error("{count} networks are more than the {max} an allow-list can hold")]
    TooManyNetworks { count: usize, max: usize },
    #[error("map {map:?} of the XDP program: {reason}")]
    Map { map: &'static str, reason: String },
    #[error("{what}: {source}")]
    System { what: &'static str, source: io::Error },
}

fn list(steps: &[StepDown]) -> String {
    steps.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
