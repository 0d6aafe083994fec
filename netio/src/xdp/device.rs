//! Opens an interface for AF_XDP: program and sockets together, down the ladder of modes. Not the data path.

use std::{
    io,
    net::{IpAddr, SocketAddr, SocketAddrV6},
    os::fd::AsFd,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use xdp_prog::{Counters, ModeChoice, Queue, Steering, SteeringError, SteeringSettings, TokenBucket};

use super::{
    config::{DeviceConfig, QueueConfig, Rung, RungLeft},
    neighbours::{Follower, Neighbours},
    options,
    port::{InterfaceFacts, Sources, XdpPort},
    preflight::{self, Preflight},
    rings::{Rings, RingsConfig, RingsError},
};
use crate::{filter::Rate, port::Endpoint};

/// A queue whose socket was closed a moment ago answers EBUSY for some 40 ms, longer on a loaded machine, where the kernel's
/// worker that releases it waits its turn; another process' socket does so for good.
const BUSY_RETRY_TOTAL: Duration = Duration::from_secs(2);
const BUSY_RETRY_PAUSE: Duration = Duration::from_millis(5);
/// Packets that copy mode may send per call; the kernel takes 32 if not told.
const TRANSMIT_BUDGET: u32 = 2048;

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Preflight(#[from] Preflight),
    #[error(transparent)]
    Steering(#[from] SteeringError),
    #[error(
        "{interface} has no address that {listen} would stand for: give it one, or name the address to listen on"
    )]
    NoAddress { interface: String, listen: IpAddr },
    #[error(
        "no datagram that comes in by {interface} is addressed to {listen}: listen on an address that others reach"
    )]
    Loopback { interface: String, listen: IpAddr },
    #[error(
        "queue {queue} of {interface} is taken by another AF_XDP socket (waited {waited_ms} ms for it to be given up)"
    )]
    QueueBusy { interface: String, queue: u32, waited_ms: u64 },
    #[error("no way to open {interface} for AF_XDP: {}", list(left))]
    Ladder { interface: String, left: Vec<RungLeft> },
}

fn list(left: &[RungLeft]) -> String {
    left.iter().map(|left| format!("{}: {}", left.rung, left.reason)).collect::<Vec<_>>().join("; ")
}

/// An interface held for AF_XDP: the program and what it was told. The ports are handed out once and belong to their threads;
/// the program is detached when this is dropped, or when the process dies in whatever way.
#[derive(Debug)]
pub struct XdpDevice {
    steering: Steering,
    rung: Rung,
    left: Vec<RungLeft>,
    neighbours: Arc<Neighbours>,
    follower: OnceLock<Follower>,
}

impl XdpDevice {
    /// Attaches the program and binds a socket to each queue, all on the same rung: the first on which all of it works. Each
    /// step down is logged with its reason.
    pub fn open(config: &DeviceConfig) -> Result<(Self, Vec<XdpPort>), OpenError> {
        preflight::check(config)?;
        let neighbours = Arc::new(Neighbours::new(&config.interface, &config.neighbours));
        let mut left = Vec::new();
        for rung in config.ladder.rungs() {
            match open_on(config, rung, &neighbours) {
                Ok((steering, ports)) => {
                    let zero_copy = ports.first().is_some_and(XdpPort::zero_copy);
                    let rung = Rung { mode: steering.mode(), zero_copy };
                    let huge_pages = ports.first().is_some_and(XdpPort::huge_pages);
                    tracing::info!(interface = config.interface, %rung, huge_pages, queues = ports.len(), "AF_XDP open");
                    neighbours.resolve();
                    return Ok((Self { steering, rung, left, neighbours, follower: OnceLock::new() }, ports));
                }
                Err(Failure::Rung(reason)) => {
                    tracing::warn!(interface = config.interface, %rung, reason, "AF_XDP: stepping down");
                    left.push(RungLeft { rung, reason });
                }
                Err(Failure::Final(error)) => return Err(error),
            }
        }
        Err(OpenError::Ladder { interface: config.interface.clone(), left })
    }

    /// Starts the thread that follows the neighbours of the configuration to other MACs, if there are any. Apart from `open`, because
    /// a thread keeps the capabilities that it is started with.
    pub fn follow_neighbours(&self) -> io::Result<()> {
        if !self.neighbours.is_empty() && self.follower.get().is_none() {
            // Somebody else's thread, started at the same moment, does as well.
            let _ = self.follower.set(Follower::start(Arc::clone(&self.neighbours))?);
        }
        Ok(())
    }

    /// How the interface was opened.
    pub const fn rung(&self) -> Rung {
        self.rung
    }

    /// The better rungs that did not work here.
    pub fn left(&self) -> &[RungLeft] {
        &self.left
    }

    pub const fn steering(&self) -> &Steering {
        &self.steering
    }

    /// Replaces allow-list, rate and checks while running; ports and addresses stay as they were opened.
    pub fn apply(&mut self, settings: &SteeringSettings) -> Result<(), SteeringError> {
        let opened = self.steering.settings();
        let merged = opened.ports().fold(settings.clone(), |merged, (port, queue)| merged.port(port, queue));
        let merged = opened.addresses().fold(merged, SteeringSettings::address);
        self.steering.apply(&merged)
    }

    /// Steers further UDP ports to a queue that is open.
    pub fn add_ports(
        &mut self,
        ports: impl IntoIterator<Item = u16>,
        queue: u32,
    ) -> Result<(), SteeringError> {
        let settings = self.steering.settings().clone();
        let merged = ports.into_iter().fold(settings, |merged, port| merged.port(port, Queue::Index(queue)));
        self.steering.apply(&merged)
    }

    /// What the program decided, summed over CPUs.
    pub fn verdicts(&self) -> Result<Counters, SteeringError> {
        self.steering.counters()
    }

    pub const fn steering_mut(&mut self) -> &mut Steering {
        &mut self.steering
    }
}

enum Failure {
    /// The next rung may do better.
    Rung(String),
    Final(OpenError),
}

fn open_on(
    config: &DeviceConfig,
    rung: Rung,
    neighbours: &Arc<Neighbours>,
) -> Result<(Steering, Vec<XdpPort>), Failure> {
    let of_interface = interface_addresses(&config.interface);
    let bucket =
        |rate: Rate| TokenBucket { interval_ns: rate.interval_ns(), debt_ns_max: rate.debt_ns_max() };
    let mut settings =
        SteeringSettings::new().check_mold(config.check_mold).rate(config.rules.rate.map(bucket));
    settings = config.rules.allowed.iter().copied().fold(settings, SteeringSettings::allow);
    for queue in &config.queues {
        let listened = listened(&config.interface, queue.address, &of_interface).map_err(Failure::Final)?;
        settings = listened.into_iter().fold(settings, SteeringSettings::address);
        settings = queue
            .ports
            .clone()
            .fold(settings, |settings, port| settings.port(port, Queue::Index(queue.queue)));
    }
    // The program comes before the sockets: gve and Intel's zero-copy want it there when they are bound.
    let mut steering = match Steering::attach(&config.interface, &settings, ModeChoice::Only(rung.mode)) {
        Ok(steering) => steering,
        Err(SteeringError::Attach { steps, .. }) => {
            return Err(Failure::Rung(
                steps.into_iter().map(|step| step.reason).collect::<Vec<_>>().join("; "),
            ));
        }
        Err(error) => return Err(Failure::Final(error.into())),
    };
    let (index, link) =
        xdp_prog::find_interface(&config.interface).map_err(|error| Failure::Final(error.into()))?;
    let facts = InterfaceFacts { index, mac: link.mac, mtu: link.mtu };
    let sources = |queue: &QueueConfig| sources(queue.address, &of_interface, facts.index);
    let mut ports = Vec::with_capacity(config.queues.len());
    for queue in &config.queues {
        let port = bind(config, queue, rung, facts, sources(queue), Arc::clone(neighbours))?;
        steering.register(queue.queue, port.fd().as_fd()).map_err(|error| Failure::Final(error.into()))?;
        ports.push(port);
    }
    Ok((steering, ports))
}

fn bind(
    config: &DeviceConfig,
    queue: &QueueConfig,
    rung: Rung,
    facts: InterfaceFacts,
    sources: Sources,
    neighbours: Arc<Neighbours>,
) -> Result<XdpPort, Failure> {
    let rings_config = RingsConfig {
        ring_depth: config.ring_depth,
        prefill: config.prefill(rung.zero_copy),
        zero_copy: rung.zero_copy,
    };
    let started = Instant::now();
    let rings = loop {
        match Rings::new(&config.interface, queue.queue, rings_config) {
            Ok(rings) => break rings,
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                if started.elapsed() >= BUSY_RETRY_TOTAL {
                    return Err(Failure::Final(OpenError::QueueBusy {
                        interface: config.interface.clone(),
                        queue: queue.queue,
                        waited_ms: BUSY_RETRY_TOTAL.as_millis() as u64,
                    }));
                }
                std::thread::sleep(BUSY_RETRY_PAUSE);
            }
            Err(error) => return Err(Failure::Rung(format!("queue {}: {}", queue.queue, explained(&error)))),
        }
    };
    // Absent before Linux 6.16: sending then takes a call for each 32 packets, and works.
    if !rung.zero_copy
        && let Err(error) = options::set_transmit_budget(rings.fd(), TRANSMIT_BUDGET.min(config.ring_depth))
    {
        tracing::debug!(%error, "no XDP_MAX_TX_SKB_BUDGET");
    }
    let zero_copy = options::is_zero_copy(rings.fd())
        .map_err(|error| Failure::Rung(format!("queue {}: reading XDP_OPTIONS: {error}", queue.queue)))?;
    if rung.zero_copy && !zero_copy {
        return Err(Failure::Rung(format!(
            "queue {}: the bind succeeded, but not as zero-copy",
            queue.queue
        )));
    }
    if let Some(busy_poll) = config.busy_poll.filter(|_| zero_copy)
        && let Err(error) = options::set_busy_poll(rings.fd(), busy_poll)
    {
        tracing::warn!(%error, "busy polling not available");
    }
    let local = Endpoint::from(SocketAddr::new(queue.address, *queue.ports.start()));
    Ok(XdpPort::new(
        rings,
        facts,
        local,
        sources,
        neighbours,
        queue.queue,
        zero_copy,
        config.verify_checksums,
    ))
}

/// The addresses of an interface, in the kernel's order; none when there is no such interface.
fn interface_addresses(interface: &str) -> Vec<IpAddr> {
    let all = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let of_interface = all.filter(|entry| entry.interface_name == interface);
    let address = |entry: nix::ifaddrs::InterfaceAddress| {
        let storage = entry.address?;
        let v4 = storage.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| storage.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    };
    of_interface.filter_map(address).collect()
}

/// What `listen` stands for on an interface with these addresses. One that none of them is may be listened on, as between two AF_XDP
/// ends no kernel needs to know it.
fn listened(interface: &str, listen: IpAddr, of_interface: &[IpAddr]) -> Result<Vec<IpAddr>, OpenError> {
    if !listen.is_unspecified() {
        let is_known = of_interface.contains(&listen);
        if listen.is_loopback() && !is_known {
            return Err(OpenError::Loopback { interface: interface.to_owned(), listen });
        }
        if !is_known {
            tracing::warn!(interface, %listen, "not an address of this interface: who asks for it there gets no answer from the kernel");
        }
        return Ok(vec![listen]);
    }
    let stands_for = |address: &IpAddr| address.is_ipv4() || listen.is_ipv6();
    let listened: Vec<_> = of_interface.iter().copied().filter(stands_for).collect();
    if listened.is_empty() {
        return Err(OpenError::NoAddress { interface: interface.to_owned(), listen });
    }
    tracing::info!(interface, %listen, addresses = ?listened, "listening on what the interface has");
    Ok(listened)
}

/// What is sent unasked leaves from the address listened on, or from the interface's first of the family.
fn sources(listen: IpAddr, of_interface: &[IpAddr], interface_index: u32) -> Sources {
    let endpoint = |address: IpAddr| match address {
        IpAddr::V6(v6) => Endpoint::from(SocketAddr::V6(SocketAddrV6::new(v6, 0, 0, interface_index))),
        IpAddr::V4(_) => Endpoint::from(SocketAddr::new(address, 0)),
    };
    if !listen.is_unspecified() {
        let address = endpoint(listen).address;
        return Sources { ipv4: address, ipv6: address };
    }
    let first = |is_wanted: fn(&IpAddr) -> bool| of_interface.iter().copied().find(is_wanted);
    let is_global = |address: &IpAddr| matches!(address, IpAddr::V6(v6) if !v6.is_unicast_link_local());
    let ipv6 = first(is_global).or_else(|| first(IpAddr::is_ipv6));
    let of = |address: Option<IpAddr>| endpoint(address.unwrap_or(listen)).address;
    Sources { ipv4: of(first(IpAddr::is_ipv4)), ipv6: of(ipv6) }
}

/// The errors that drivers really give, said in words.
fn explained(error: &RingsError) -> String {
    let hint = match error.raw_os_error() {
        Some(libc::EOPNOTSUPP) => " (the driver has no zero-copy)",
        Some(libc::EINVAL) => " (the driver cannot, or the queue does not exist)",
        Some(libc::ENXIO) => " (the driver binds but does not transmit in this mode)",
        Some(libc::ENETDOWN) => " (the interface is down: bring it up first)",
        Some(libc::ENOBUFS) => " (RLIMIT_MEMLOCK is too small for the umem)",
        Some(libc::EPERM) => " (CAP_NET_RAW is missing)",
        _ => "",
    };
    format!("{error}{hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|text| text.parse().expect("address")).collect()
    }

    fn listened_on(listen: &str, of_interface: &[&str]) -> Result<Vec<IpAddr>, OpenError> {
        listened("eth1", listen.parse().expect("address"), &addresses(of_interface))
    }

    #[test]
    fn a_wildcard_stands_for_what_the_interface_has_and_an_address_for_itself() {
        let both = ["10.0.0.1", "10.0.0.9", "fd00::1", "fe80::1"];
        assert_eq!(listened_on("10.0.0.9", &both).expect("one"), addresses(&["10.0.0.9"]));
        assert_eq!(listened_on("0.0.0.0", &both).expect("all of IPv4"), addresses(&both[..2]));
        assert_eq!(listened_on("::", &both).expect("all"), addresses(&both));
        assert_eq!(listened_on("192.0.2.1", &[]).expect("nobody's"), addresses(&["192.0.2.1"]));
        assert!(matches!(listened_on("0.0.0.0", &both[2..]), Err(OpenError::NoAddress { .. })));
        assert!(matches!(listened_on("127.0.0.1", &both), Err(OpenError::Loopback { .. })));
        assert_eq!(listened_on("127.0.0.1", &["127.0.0.1"]).expect("lo"), addresses(&["127.0.0.1"]));
    }

    #[test]
    fn what_is_sent_unasked_leaves_from_an_address_that_can_be_answered() {
        let of = |listen: &str, list: &[&str]| {
            let Sources { ipv4, ipv6 } = sources(listen.parse().expect("address"), &addresses(list), 3);
            [ipv4, ipv6].map(|address| Endpoint { address, port: 0 }.ip().to_string())
        };
        assert_eq!(of("10.0.0.9", &["10.0.0.1", "fd00::1"]), ["10.0.0.9", "10.0.0.9"]);
        assert_eq!(of("0.0.0.0", &["10.0.0.1", "10.0.0.9", "fd00::1"])[0], "10.0.0.1");
        assert_eq!(of("::", &["fe80::1", "10.0.0.1", "fd00::1"]), ["10.0.0.1", "fd00::1"]);
        assert_eq!(of("::", &["fe80::1", "10.0.0.1"]), ["10.0.0.1", "fe80::1"]);
    }
}
