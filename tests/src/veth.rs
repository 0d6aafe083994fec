//! Two hosts for a test: network namespaces joined by a veth pair, made with iproute2 and removed when dropped. Not a switch: there are
//! always exactly two.
//!
//! ```text
//!   namespace pl-PID-N-left                namespace pl-PID-N-right
//!   +--------------------------+           +---------------------------+
//!   | left  10.99.0.1/24       |== veth ===| right  10.99.0.2/24       |
//!   |       fd99::1/64         |  N queues |        fd99::2/64         |
//!   +--------------------------+           +---------------------------+
//! ```

use std::{
    fs::{self, File},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
    thread::{self, ScopedJoinHandle},
};

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};

static PAIRS: AtomicU32 = AtomicU32::new(0);

const PREFIX: &str = "pl-";
const NAMESPACES: &str = "/run/netns";

/// What to build.
#[derive(Clone, Copy, Debug)]
pub struct Topology {
    /// Receive and transmit queues of each end.
    pub queues: u32,
    pub mtu: u32,
}

impl Default for Topology {
    fn default() -> Self {
        Self { queues: 1, mtu: 1500 }
    }
}

/// One end.
#[derive(Clone, Debug)]
pub struct Host {
    pub namespace: String,
    pub interface: String,
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
}

/// The pair. Dropping it removes both namespaces and all that is in them.
#[derive(Debug)]
pub struct VethPair {
    pub left: Host,
    pub right: Host,
}

/// True when the test may go on; otherwise says loudly that it did not run.
pub fn is_root_or_skips(test: &str) -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        eprintln!("SKIPPED (needs root): {test}");
    }
    is_root
}

impl VethPair {
    pub fn new(topology: Topology) -> Result<Self> {
        sweep();
        let number = PAIRS.fetch_add(1, Ordering::Relaxed);
        let host = |name: &str, last: u8| Host {
            namespace: format!("{PREFIX}{}-{number}-{name}", std::process::id()),
            interface: name.to_owned(),
            v4: Ipv4Addr::new(10, 99, 0, last),
            v6: Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, u16::from(last)),
        };
        // Made first, so that a failure half-way is cleaned up too.
        let pair = Self { left: host("left", 1), right: host("right", 2) };
        let Topology { queues, mtu } = topology;
        for host in [&pair.left, &pair.right] {
            ip(&format!("netns add {}", host.namespace))?;
        }
        let end = |host: &Host| {
            format!("{} netns {} numrxqueues {queues} numtxqueues {queues}", host.interface, host.namespace)
        };
        ip(&format!(
            "link add {} mtu {mtu} type veth peer name {} mtu {mtu}",
            end(&pair.left),
            end(&pair.right)
        ))?;
        for host in [&pair.left, &pair.right] {
            host.ip(&format!("link set {} mtu {mtu}", host.interface))?;
            host.ip(&format!("addr add {}/24 dev {}", host.v4, host.interface))?;
            // Without `nodad` the address cannot be used for a second.
            host.ip(&format!("addr add {}/64 dev {} nodad", host.v6, host.interface))?;
            host.ip("link set lo up")?;
            host.ip(&format!("link set {} up", host.interface))?;
        }
        Ok(pair)
    }
}

impl Drop for VethPair {
    fn drop(&mut self) {
        for host in [&self.left, &self.right] {
            // Half-made pairs lack some of it.
            let _ = ip(&format!("netns del {}", host.namespace));
        }
    }
}

impl Host {
    /// Runs `ip` inside the namespace.
    pub fn ip(&self, arguments: &str) -> Result<Output> {
        ip(&format!("-n {} {arguments}", self.namespace))
    }

    /// A command that will run inside the namespace.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace]).arg(program);
        command
    }

    /// Runs a program inside the namespace and demands that it succeeds.
    pub fn run(&self, program: &str, arguments: &str) -> Result<Output> {
        checked(self.command(program).args(arguments.split_whitespace()))
    }

    /// Moves the calling thread into the namespace, for the rest of its life.
    pub fn enter(&self) -> Result<()> {
        let path = format!("{NAMESPACES}/{}", self.namespace);
        let namespace = File::open(&path).with_context(|| path.clone())?;
        setns(namespace, CloneFlags::CLONE_NEWNET).with_context(|| format!("entering {path}"))
    }

    /// Runs `body` on a thread of its own inside the namespace.
    pub fn spawn<'scope, T: Send + 'scope>(
        &self,
        scope: &'scope thread::Scope<'scope, '_>,
        body: impl FnOnce() -> T + Send + 'scope,
    ) -> ScopedJoinHandle<'scope, Result<T>> {
        let host = self.clone();
        scope.spawn(move || {
            host.enter()?;
            Ok(body())
        })
    }

    /// Runs `body` inside the namespace and waits for it.
    pub fn inside<T: Send>(&self, body: impl FnOnce() -> T + Send) -> Result<T> {
        thread::scope(|scope| match self.spawn(scope, body).join() {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    pub const fn address(&self, v6: bool) -> IpAddr {
        if v6 { IpAddr::V6(self.v6) } else { IpAddr::V4(self.v4) }
    }
}

fn ip(arguments: &str) -> Result<Output> {
    checked(Command::new("ip").args(arguments.split_whitespace()))
}

fn checked(command: &mut Command) -> Result<Output> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {} {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output)
}

/// Removes what killed test processes have left behind.
fn sweep() {
    let Ok(entries) = fs::read_dir(NAMESPACES) else { return };
    for name in entries.filter_map(io::Result::ok).filter_map(|entry| entry.file_name().into_string().ok()) {
        let mut parts = name.strip_prefix(PREFIX).unwrap_or_default().split('-');
        let owner = parts.next().and_then(|pid| pid.parse::<u32>().ok());
        let is_ours =
            matches!((parts.next(), parts.next(), parts.next()), (Some(_), Some("left" | "right"), None));
        if let Some(owner) = owner
            && is_ours
            && !fs::exists(format!("/proc/{owner}")).unwrap_or(true)
        {
            let _ = ip(&format!("netns del {name}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_pair_is_made_speaks_and_is_gone_when_dropped() {
        if !is_root_or_skips("a_pair_is_made_speaks_and_is_gone_when_dropped") {
            return;
        }
        let pair = VethPair::new(Topology { queues: 2, ..Topology::default() }).unwrap();
        let address = pair.right.v4.into();
        pair.left.inside(|| crate::ping::ping(address, Duration::from_secs(2))).unwrap().unwrap();
        let paths = [&pair.left, &pair.right].map(|host| format!("{NAMESPACES}/{}", host.namespace));
        assert!(paths.iter().all(|path| fs::exists(path).unwrap()));
        drop(pair);
        assert!(!paths.iter().any(|path| fs::exists(path).unwrap()));
    }
}
