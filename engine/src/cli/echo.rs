//! `pitlane echo`: the smallest program on a port, the limit that the engine's figures are compared with.

use clap::Args;
use netio::PortKind;
use netio::echo;
use netio::idle::{Idle, IdleStrategy};
use netio::udp::{UdpOptions, UdpPort};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

#[derive(Args)]
pub struct EchoArgs {
    /// udp or xdp.
    #[arg(long, default_value = "udp")]
    port: PortKind,
    /// Address to answer on.
    #[arg(long, default_value = "127.0.0.1:26400", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Interface of the AF_XDP socket.
    #[arg(long, required_if_eq("port", "xdp"))]
    interface: Option<String>,
    /// Queue of the AF_XDP socket.
    #[arg(long, default_value_t = 0)]
    queue: u32,
    /// Kernel UDP: every datagram by itself, without the kernel's joining of datagrams (GSO, GRO).
    #[arg(long)]
    no_udp_offload: bool,
    /// CPU to stay on.
    #[arg(long)]
    core: Option<usize>,
    #[arg(long, default_value = "spin")]
    idle: IdleStrategy,
}

pub fn execute(args: &EchoArgs) -> anyhow::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    if let Some(core) = args.core {
        engine::start::pin(core);
    }
    let idle = Idle::new(args.idle);
    let served = match args.port {
        PortKind::Udp => {
            let options = UdpOptions {
                receive_offload: !args.no_udp_offload,
                send_offload: !args.no_udp_offload,
                ..UdpOptions::default()
            };
            let mut port = UdpPort::bind(args.listen, &options)?;
            tracing::info!(listen = %args.listen, "ready");
            echo::serve(&mut port, idle, &stop)?
        }
        #[cfg(feature = "xdp")]
        PortKind::Xdp => serve_xdp(args, idle, &stop)?,
    };
    tracing::info!(answered = served.answered, refused = served.refused, "echo ended");
    Ok(())
}

#[cfg(feature = "xdp")]
fn serve_xdp(args: &EchoArgs, idle: Idle, stop: &AtomicBool) -> anyhow::Result<echo::Served> {
    use anyhow::Context;
    use netio::xdp::{DeviceConfig, XdpDevice};
    let interface = args.interface.as_deref().context("--interface is missing")?;
    let port = args.listen.port();
    let mut config = DeviceConfig::new(interface).queue(args.queue, args.listen.ip(), port..=port);
    config.idle = args.idle;
    config.check_mold = false;
    let (_device, mut ports) = XdpDevice::open(&config)?;
    let port = ports.first_mut().context("no socket was opened")?;
    tracing::info!(listen = %args.listen, "ready");
    Ok(echo::serve_in_place(port, idle, stop)?)
}
