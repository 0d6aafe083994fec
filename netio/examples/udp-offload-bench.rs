//! What UDP_GRO and UDP_SEGMENT bring between two ports on loopback, in processor time per datagram. Not a latency measurement.
//!
//! One thread plays both ends, and the kernel delivers on loopback in the sender's context, so its processor time is the whole
//! cost of a datagram and does not suffer from what else the machine does.
//!
//! `cargo run --release -p pitlane-netio --no-default-features --example udp-offload-bench`
#![allow(clippy::print_stdout, clippy::unwrap_used)] // A program for the terminal.

use std::net::{SocketAddr, UdpSocket};

use netio::udp::{UdpOptions, UdpPort};
use netio::{Peer, Port};
use nix::time::{ClockId, clock_gettime};

const ROUNDS: usize = 9;
const DATAGRAMS: usize = 60_000;

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn processor_ns() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
    time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
}

/// Nanoseconds per datagram sent and received, in bursts of `burst` to one peer. Every fourth is shorter if `mixed`.
fn measure(options: &UdpOptions, burst: usize, length: usize, mixed: bool) -> u64 {
    let mut one = UdpPort::bind(loopback(), options).unwrap();
    let mut two = UdpPort::bind(loopback(), options).unwrap();
    let peer = Peer::remote(two.local());
    let start = processor_ns();
    let mut received = 0;
    while received < DATAGRAMS {
        for index in 0..burst {
            let shorter = if mixed { index % 4 } else { 0 };
            one.send(&peer, |_| length - shorter).unwrap();
        }
        one.flush().unwrap();
        let mut expected = burst;
        while expected > 0 {
            let count = two.receive().unwrap();
            expected -= count;
            received += count;
        }
    }
    (processor_ns() - start) / received as u64
}

/// The same with a datagram from each of `senders` ports in turn: nothing can be joined, batches are all there is to gain.
fn measure_fan_in(options: &UdpOptions, senders: usize, length: usize) -> u64 {
    let mut two = UdpPort::bind(loopback(), options).unwrap();
    let peer = Peer::remote(two.local());
    let plain = UdpOptions::default();
    let mut ones: Vec<_> = (0..senders).map(|_| UdpPort::bind(loopback(), &plain).unwrap()).collect();
    let mut received = 0;
    let mut spent = 0;
    while received < DATAGRAMS {
        for one in &mut ones {
            one.send(&peer, |_| length).unwrap();
            one.flush().unwrap();
        }
        let start = processor_ns();
        let mut expected = senders;
        while expected > 0 {
            let count = two.receive().unwrap();
            expected -= count;
            received += count;
        }
        spent += processor_ns() - start;
    }
    spent / received as u64
}

/// The same with plain sockets, one call per datagram.
fn measure_plain(length: usize) -> u64 {
    let one = UdpSocket::bind(loopback()).unwrap();
    let two = UdpSocket::bind(loopback()).unwrap();
    two.set_nonblocking(true).unwrap();
    let to = two.local_addr().unwrap();
    let mut buffer = [0; 2048];
    let start = processor_ns();
    for _ in 0..DATAGRAMS {
        one.send_to(&buffer[..length], to).unwrap();
        two.recv_from(&mut buffer).unwrap();
    }
    (processor_ns() - start) / DATAGRAMS as u64
}

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values[values.len() / 2]
}

fn main() {
    println!("processor ns per datagram, sent and received; median of {ROUNDS} interleaved rounds");
    println!("plain sockets, 100 bytes: {}", median((0..ROUNDS).map(|_| measure_plain(100)).collect()));
    println!("{:24}{:>8}{:>8}{:>8}{:>8}", "", "neither", "GSO", "GRO", "both");
    for (burst, length, mixed) in [
        (1, 100, false),
        (4, 100, false),
        (64, 100, false),
        (4, 1400, false),
        (64, 1400, false),
        (64, 100, true),
    ] {
        let mut results = [const { Vec::new() }; 4];
        for _ in 0..ROUNDS {
            for (variant, result) in results.iter_mut().enumerate() {
                let options = UdpOptions {
                    send_offload: variant & 1 != 0,
                    receive_offload: variant & 2 != 0,
                    ..UdpOptions::default()
                };
                result.push(measure(&options, burst, length, mixed));
            }
        }
        print!("{:24}", format!("{burst} x {length}{}", if mixed { " mixed" } else { "" }));
        for result in results {
            print!("{:8}", median(result));
        }
        println!();
    }
    for senders in [10, 64] {
        let mut results = [const { Vec::new() }; 2];
        for _ in 0..ROUNDS {
            for (variant, result) in results.iter_mut().enumerate() {
                let options = UdpOptions { receive_offload: variant == 1, ..UdpOptions::default() };
                result.push(measure_fan_in(&options, senders, 100));
            }
        }
        let [without, with] = results.map(median);
        println!("received from {senders} peers: {without} without GRO, {with} with");
    }
}
