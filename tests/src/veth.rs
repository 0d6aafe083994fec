//! Two hosts on one machine: a network namespace for the engine, one for its clients, and a veth pair between them.
//! Not a simulation: packets go through the real drivers, in copy mode.
//!
//! ```text
//!   namespace pl-PID-N-engine                namespace pl-PID-N-client
//!   veth-e 10.77.0.1/24  -------- veth --------  veth-c 10.77.0.2/24
//!          fd77::1/64    (queue n to queue n)           fd77::2/64
//! ```
//! Everything is removed on drop. A test run that was killed leaves its namespaces; the next one removes those whose process is gone.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

const PREFIX: &str = "pl-";

/// One end of the pair.
#[derive(Debug, Clone)]
pub struct Host {
    pub namespace: String,
    pub interface: String,
    pub ipv4: Ipv4Addr,
    pub ipv6: Ipv6Addr,
}

/// The pair. Namespaces go when it is dropped.
#[derive(Debug)]
pub struct VethPair {
    pub engine: Host,
    pub client: Host,
}

/// Why the machine cannot have hosts, if it cannot: tried once, by making a pair.
pub fn supported() -> Result<(), String> {
    static TRIED: std::sync::OnceLock<Result<(), String>> = std::sync::OnceLock::new();
    TRIED.get_or_init(|| VethPair::new(1).map(drop).map_err(|error| error.to_string())).clone()
}

impl VethPair {
    /// Both hosts up, with `queues` receive and transmit queues each.
    pub fn new(queues: u32) -> io::Result<VethPair> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        remove_stale()?;
        let name = format!("{PREFIX}{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let host = |role: &str, number: u8| Host {
            namespace: format!("{name}-{role}"),
            interface: format!("veth-{}", &role[..1]),
            ipv4: Ipv4Addr::new(10, 77, 0, number),
            ipv6: Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, u16::from(number)),
        };
        let pair = VethPair { engine: host("engine", 1), client: host("client", 2) };
        for host in [&pair.engine, &pair.client] {
            ip(&["netns", "add", &host.namespace])?;
        }
        let queues = queues.to_string();
        let (engine, client) = (&pair.engine, &pair.client);
        // Queue n transmits to the peer's queue n, so both ends need the same number.
        ip(&[
            "link",
            "add",
            &engine.interface,
            "netns",
            &engine.namespace,
            "numrxqueues",
            &queues,
            "numtxqueues",
            &queues,
            "type",
            "veth",
            "peer",
            "name",
            &client.interface,
            "netns",
            &client.namespace,
            "numrxqueues",
            &queues,
            "numtxqueues",
            &queues,
        ])?;
        for host in [engine, client] {
            host.configure()?;
        }
        Ok(pair)
    }
}

impl Drop for VethPair {
    fn drop(&mut self) {
        for host in [&self.engine, &self.client] {
            if let Err(error) = ip(&["netns", "del", &host.namespace]) {
                eprintln!("{}: not removed: {error}", host.namespace);
            }
        }
    }
}

impl Host {
    fn configure(&self) -> io::Result<()> {
        self.ip(&["link", "set", "lo", "up"])?;
        self.ip(&["addr", "add", &format!("{}/24", self.ipv4), "dev", &self.interface])?;
        // Without duplicate address detection the address can be used at once.
        self.ip(&["addr", "add", &format!("{}/64", self.ipv6), "dev", &self.interface, "nodad"])?;
        self.ip(&["link", "set", &self.interface, "up"])?;
        Ok(())
    }

    /// A command that will run on this host. The process is the program's own, not a shell's.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace]).arg(program);
        command
    }

    /// Runs a program on this host to its end, and gives its output; anything but success is an error.
    pub fn run(&self, words: &[&str]) -> io::Result<String> {
        checked(self.command(words[0]).args(&words[1..]).output()?, words)
    }

    /// `ip ...` on this host.
    pub fn ip(&self, words: &[&str]) -> io::Result<String> {
        checked(Command::new("ip").args(["-n", &self.namespace]).args(words).output()?, words)
    }

    /// Runs `work` in a thread of its own that is on this host: sockets it opens belong to it.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        let namespace = std::fs::File::open(Path::new("/run/netns").join(&self.namespace))?;
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET)?;
                Ok(work())
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

fn ip(words: &[&str]) -> io::Result<String> {
    checked(Command::new("ip").args(words).output()?, words)
}

fn checked(output: Output, words: &[&str]) -> io::Result<String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{}: {} ({})", words.join(" "), complaint.trim(), output.status)))
}

/// Removes the namespaces of runs whose process is gone.
fn remove_stale() -> io::Result<()> {
    let Ok(entries) = std::fs::read_dir("/run/netns") else { return Ok(()) };
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if let Some(owner) = owner
            && !Path::new("/proc").join(owner.to_string()).exists()
        {
            // Another run may be removing it at the same moment.
            if let Err(error) = ip(&["netns", "del", &name]) {
                eprintln!("{name}: {error}");
            }
        }
    }
    Ok(())
}
