//! Proof by a counting allocator that neither streams nor the kernel-socket room allocate once they are constructed.
#![allow(unsafe_code)] // A global allocator cannot be written without.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Duration;

use netio::udp::{UdpOptions, UdpPort};
use netio::{Peer, Port};
use streams::{Duplex, ParkingPool, ReceiveConfig, SendConfig};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is passed on unchanged to the system's allocator; counting touches only a thread-local integer.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations_during(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.with(Cell::get);
    work();
    ALLOCATIONS.with(Cell::get) - before
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations_during(|| drop(std::hint::black_box(Box::new(1)))), 1);
}

#[test]
fn streams_do_not_allocate_after_construction() {
    let names = (*b"DAAAAAAAAA", *b"UAAAAAAAAA");
    let mut pool = ParkingPool::new(64, 1452);
    let mut engine =
        Duplex::new((SendConfig::engine(), names.0, 1), (ReceiveConfig::default(), names.1, 1), 0);
    let mut client =
        Duplex::new((SendConfig::client(), names.1, 1), (ReceiveConfig::default(), names.0, 1), 0);
    let mut out = [0; 1472];
    let mut delivered = 0u64;
    let allocations = allocations_during(|| {
        for step in 0..20_000u64 {
            let now = step * 100_000;
            let _ = client.send.push(49, |_| 49);
            client.on_timer(now);
            engine.on_timer(now);
            while let Some(length) = client.pack(now, u64::MAX, &pool, &mut out) {
                // Every fifth is lost: parking, requests and retransmission have their share.
                if step % 5 != 0 {
                    engine
                        .on_datagram(&out[..length], now, &mut pool, |run| delivered += u64::from(run.count));
                }
            }
            let _ = engine.send.push(70, |_| 70);
            while let Some(length) = engine.pack(now, u64::MAX, &pool, &mut out) {
                if step % 7 != 0 {
                    client
                        .on_datagram(&out[..length], now, &mut pool, |run| delivered += u64::from(run.count));
                }
            }
        }
    });
    assert!(delivered > 20_000, "{delivered} delivered");
    assert!(engine.receive.statistics().parked > 0 && engine.receive.statistics().requests_sent > 0);
    assert_eq!(allocations, 0);
}

#[test]
fn the_kernel_socket_room_does_not_allocate_after_binding() {
    for offload in [false, true] {
        let options = UdpOptions { receive_offload: offload, send_offload: offload, ..UdpOptions::default() };
        let loopback: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let mut one = UdpPort::bind(loopback, &options).expect("binds");
        let mut two = UdpPort::bind(loopback, &options).expect("binds");
        let peer = Peer::remote(two.local());
        let mut received = 0;
        let allocations = allocations_during(|| {
            for _ in 0..200 {
                for _ in 0..100 {
                    one.send(&peer, |out| out.len().min(100)).expect("there is room");
                }
                one.flush().expect("flushes");
                loop {
                    let count = two.receive().expect("receives");
                    received += count;
                    if count == 0 {
                        break;
                    }
                }
                two.wait(Duration::ZERO).expect("waits");
            }
        });
        assert_eq!(received, 20_000);
        assert_eq!(allocations, 0);
    }
}
