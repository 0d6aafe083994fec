//! What a configuration needs of the machine it is for: cores, interfaces and files that are there, ports of its own. Not what
//! the settings mean.

use super::problem::{Checked, problem};
use super::{Config, ConfigError};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// The first number that is no port.
const PORTS_END: usize = 65_536;
/// Where Linux lists the processors that run, as `0-3,5`.
const CORES: &str = "/sys/devices/system/cpu/online";

/// Looks for what the configuration names on this machine.
///
/// # Errors
/// The first that is not there, by key.
pub fn check(config: &Config, origin: &str) -> Result<(), ConfigError> {
    let checked = || {
        cores(config)?;
        interface(config)?;
        readable("gateway.tls_certificate", config.gateway.tls_certificate.as_deref())?;
        readable("gateway.tls_key", config.gateway.tls_key.as_deref())
    };
    checked().map_err(|problem| problem.at(origin))
}

fn cores(config: &Config) -> Checked {
    let Ok(online) = std::fs::read_to_string(CORES) else { return Ok(()) };
    let is_online = |core: usize| {
        online.trim().split(',').any(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            matches!((first.parse(), last.parse()), (Ok(first), Ok(last)) if (first..=last).contains(&core))
        })
    };
    match config.engine.cores.iter().find(|&&core| !is_online(core)) {
        Some(core) => {
            problem("engine.cores", core.to_string(), format!("cores of this machine: {}", online.trim()))
        }
        None => Ok(()),
    }
}

/// By the kernel's own list: sysfs may show another network namespace's.
fn interface(config: &Config) -> Checked {
    let Some(name) = &config.network.interface else { return Ok(()) };
    if nix::net::if_::if_nametoindex(name.as_str()).is_ok() {
        return Ok(());
    }
    let all = nix::net::if_::if_nameindex().map(|all| {
        all.iter()
            .map(|interface| interface.name().to_string_lossy().into_owned())
            .collect::<Vec<_>>()
            .join(", ")
    });
    let expected = format!("an interface of this machine: {}", all.unwrap_or_default());
    problem("network.interface", format!("{name:?}"), expected)
}

fn readable(key: &str, file: Option<&Path>) -> Checked {
    match file.map(|file| (file, std::fs::File::open(file))) {
        Some((file, Err(error))) => {
            problem(key, format!("{} ({error})", file.display()), "a file that can be read")
        }
        _ => Ok(()),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Transport {
    Udp,
    Tcp,
}

/// One or more neighbouring ports that the engine listens on.
struct Listener {
    key: &'static str,
    transport: Transport,
    first: SocketAddr,
    count: usize,
}

impl Listener {
    fn clashes(&self, other: &Self) -> bool {
        let same_address = |a: IpAddr, b: IpAddr| a == b || a.is_unspecified() || b.is_unspecified();
        let (first, other_first) = (usize::from(self.first.port()), usize::from(other.first.port()));
        self.transport == other.transport
            && same_address(self.first.ip(), other.first.ip())
            && first < other_first + other.count
            && other_first < first + self.count
    }
}

/// Every listener has ports of its own, and there are ports for all shards.
pub(super) fn listeners(config: &Config) -> Checked {
    use Transport::{Tcp, Udp};
    let Config { network, gateway, feed, admin, engine, .. } = config;
    let orders = SocketAddr::new(network.listen, network.base_port);
    let listeners: Vec<Listener> = [
        ("network.base_port", Udp, Some(orders), engine.shards),
        ("feed.retransmit_listen", Udp, feed.retransmit_listen, engine.shards),
        ("admin.listen", Tcp, admin.listen, 1),
        ("gateway.listen", Tcp, gateway.listen, engine.shards),
        ("gateway.drop_copy_listen", Tcp, gateway.drop_copy_listen, engine.shards),
        ("feed.replay_listen", Tcp, feed.replay_listen, engine.shards),
        ("feed.glimpse_listen", Tcp, feed.glimpse_listen, engine.shards),
    ]
    .into_iter()
    .filter_map(|(key, transport, first, count)| Some(Listener { key, transport, first: first?, count }))
    .collect();
    for (index, listener) in listeners.iter().enumerate() {
        let port = usize::from(listener.first.port());
        if port == 0 || port + listener.count > PORTS_END {
            let expected = "a port with room for one per shard above it";
            return problem(listener.key, listener.first.port().to_string(), expected);
        }
        if let Some(other) = listeners[..index].iter().find(|other| listener.clashes(other)) {
            let each =
                if engine.shards > 1 { " (each shard has one of its own, counted upwards)" } else { "" };
            let expected = format!("ports that {} ({}) does not listen on{each}", other.key, other.first);
            return problem(listener.key, listener.first.to_string(), expected);
        }
    }
    Ok(())
}
