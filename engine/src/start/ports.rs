//! Opens the packet port of every shard, the best that the configuration and the machine allow. Not the data path.

use crate::admin::{PortLabels, Verdicts};
use crate::config::{Config, PortKind};
use crate::feed::send::receivers;
use anyhow::Context;
use netio::Peer;
use netio::filter::{Rate, SourceRules};
use netio::udp::{UdpOptions, UdpPort};
use std::net::SocketAddr;
#[cfg(feature = "xdp")]
use std::sync::Arc;

#[cfg(feature = "xdp")]
use {
    crate::config::ZeroCopy,
    netio::xdp::{BusyPoll, DeviceConfig, Ladder, Rung, XdpDevice, XdpPort, ring_depth},
    xdp_prog::XdpMode,
};

/// One port for each shard, in order.
pub enum Ports {
    Udp(Vec<UdpPort>),
    /// The device holds the program: it is detached when this is dropped.
    #[cfg(feature = "xdp")]
    Xdp(Arc<XdpDevice>, Vec<XdpPort>),
}

impl Ports {
    /// How the port of `shard` was opened.
    pub fn labels(&self, config: &Config, shard: usize) -> PortLabels {
        let mut labels = vec![("asked", config.network.port_name())];
        match self {
            Self::Udp(_) => labels.push(("port", "udp".to_owned())),
            #[cfg(feature = "xdp")]
            Self::Xdp(device, ports) => {
                let copy = if device.rung().zero_copy { "zero-copy" } else { "copy" };
                labels.extend([
                    ("port", "xdp".to_owned()),
                    ("interface", device.steering().interface().to_owned()),
                    ("queue", config.queue_of(shard).to_string()),
                    ("mode", device.rung().mode.to_string()),
                    ("copy", copy.to_owned()),
                    ("huge_pages", ports.get(shard).is_some_and(XdpPort::huge_pages).to_string()),
                ]);
            }
        }
        labels
    }

    /// Starts what works beside the ports; not before capabilities are given up.
    pub fn start_threads(&self) -> anyhow::Result<()> {
        match self {
            Self::Udp(_) => Ok(()),
            #[cfg(feature = "xdp")]
            Self::Xdp(device, _) => {
                device.follow_neighbours().context("cannot start the thread that follows neighbours")
            }
        }
    }

    /// What reads the XDP program's counters, if there is a program. Linux before 5.19 may refuse that to a process without
    /// capabilities, and ours are dropped by then.
    pub fn verdicts(&self) -> Option<Verdicts> {
        match self {
            Self::Udp(_) => None,
            #[cfg(feature = "xdp")]
            Self::Xdp(device, _) => {
                let device = Arc::clone(device);
                Some(Box::new(move || {
                    let counters = device.verdicts()?;
                    Ok(counters.iter().map(|(verdict, count)| (verdict.name(), count)).collect())
                }))
            }
        }
    }
}

/// Opens them.
///
/// # Errors
/// What could not be opened and why; with `port = "auto"` only kernel UDP's reasons, AF_XDP's are logged.
pub fn open(config: &Config) -> anyhow::Result<Ports> {
    match config.network.port {
        Some(PortKind::Udp) => open_udp(config).map(Ports::Udp),
        #[cfg(feature = "xdp")]
        Some(PortKind::Xdp) => open_xdp(config).context("network.port is \"xdp\""),
        #[cfg(feature = "xdp")]
        None if config.network.interface.is_some() => open_xdp(config).or_else(|error| {
            tracing::warn!("stepping down to kernel UDP: {error:#}");
            open_udp(config).map(Ports::Udp)
        }),
        None => {
            tracing::info!("kernel UDP: network.interface is not set, or this build is without AF_XDP");
            open_udp(config).map(Ports::Udp)
        }
    }
}

/// The address that shard `shard` listens on.
pub fn address(config: &Config, shard: usize) -> SocketAddr {
    SocketAddr::new(config.network.listen, config.network.base_port + shard as u16)
}

/// Where the shard's feed goes. The port finds the way to each single host.
pub fn receivers(config: &Config, shard: usize) -> Vec<Peer> {
    let addresses = config.feed.receivers.iter().map(|&receiver| receivers::address_of(receiver, shard));
    addresses.map(receivers::peer).collect()
}

/// Who may send orders: enforced by the XDP program or by the port, so that no way of opening it forgets them.
fn rules(config: &Config) -> SourceRules {
    let network = &config.network;
    let rate = Rate { per_second: network.rate_per_source, burst: network.burst_per_source };
    SourceRules { allowed: network.allow.clone(), rate: (network.rate_per_source > 0).then_some(rate) }
}

fn open_udp(config: &Config) -> anyhow::Result<Vec<UdpPort>> {
    let network = &config.network;
    let options = UdpOptions {
        receive_buffer_bytes: Some(network.receive_buffer_bytes),
        send_buffer_bytes: Some(network.send_buffer_bytes),
        busy_poll_us: (network.busy_poll_us > 0).then_some(network.busy_poll_us),
        receive_offload: network.udp_offload,
        send_offload: network.udp_offload,
        rules: rules(config),
        ..UdpOptions::default()
    };
    (0..config.engine.shards)
        .map(|shard| {
            let local = address(config, shard);
            let port = UdpPort::bind(local, &options)
                .with_context(|| format!("shard {shard} on UDP port {local}"))?;
            if config.feed.receivers.iter().any(|receiver| receiver.ip().is_multicast()) {
                port.set_multicast(config.feed.multicast_interface, config.feed.multicast_ttl)?;
            }
            Ok(port)
        })
        .collect()
}

#[cfg(feature = "xdp")]
fn open_xdp(config: &Config) -> anyhow::Result<Ports> {
    let (device, ports) = XdpDevice::open(&device_config(config)?)?;
    Ok(Ports::Xdp(Arc::new(device), ports))
}

#[cfg(feature = "xdp")]
fn device_config(config: &Config) -> anyhow::Result<DeviceConfig> {
    let network = &config.network;
    let interface = network.interface.as_deref().context("network.interface is not set")?;
    let mut device = DeviceConfig::new(interface);
    device.ladder = match network.zero_copy {
        ZeroCopy::Auto => Ladder::Best,
        ZeroCopy::Require => Ladder::Only(Rung { mode: XdpMode::Native, zero_copy: true }),
        ZeroCopy::Off => Ladder::Only(Rung { mode: XdpMode::Native, zero_copy: false }),
    };
    device.busy_poll = (network.busy_poll_us > 0)
        .then(|| BusyPoll { microseconds: network.busy_poll_us, ..BusyPoll::default() });
    device.ring_depth = network.ring_depth.unwrap_or_else(|| ring_depth(config.session.max_sessions));
    device.idle = config.engine.idle;
    device.rules = rules(config);
    let receivers = config.feed.receivers.iter().map(SocketAddr::ip);
    device.neighbours = receivers.filter(|receiver| !receiver.is_multicast()).collect();
    for shard in 0..config.engine.shards {
        let port = address(config, shard).port();
        device = device.queue(config.queue_of(shard), network.listen, port..=port);
    }
    Ok(device)
}
