//! The MACs behind addresses that are sent to without having been heard from (receivers of a feed): asked of the kernel's neighbour table
//! and followed when they change. Not for peers that speak to us: their frames say where the answer goes.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use super::resolve;
use crate::port::Endpoint;

/// How long a change in the kernel's table may go unnoticed.
const REFRESH: Duration = Duration::from_millis(500);
/// Refreshes between two datagrams that make the kernel look whether the neighbour is still there: past the kernel nothing else does,
/// and a table that nobody uses goes stale.
const REFRESHES_PER_PROBE: u32 = 10;

/// Written by the thread that follows, read by the ports.
#[derive(Debug)]
pub(super) struct Neighbours {
    interface: String,
    /// Ascending by address.
    entries: Box<[Entry]>,
}

#[derive(Debug)]
struct Entry {
    /// As `Endpoint` holds it.
    address: [u8; 16],
    destination: IpAddr,
    /// The six bytes at the end of the big-endian number; 0 while nothing is known.
    mac: AtomicU64,
}

impl Neighbours {
    pub(super) fn new(interface: &str, destinations: &[IpAddr]) -> Self {
        let mut entries: Vec<Entry> = destinations
            .iter()
            .map(|&destination| Entry {
                address: Endpoint::from(SocketAddr::new(destination, 0)).address,
                destination,
                mac: AtomicU64::new(0),
            })
            .collect();
        entries.sort_by_key(|entry| entry.address);
        entries.dedup_by_key(|entry| entry.address);
        Neighbours { interface: interface.to_owned(), entries: entries.into() }
    }

    /// Where frames to an address go, if that was asked for and is known.
    #[inline]
    pub(super) fn mac(&self, address: &[u8; 16]) -> Option<[u8; 6]> {
        let at = self.entries.binary_search_by_key(address, |entry| entry.address).ok()?;
        let [_, _, mac @ ..] = self.entries[at].mac.load(Ordering::Relaxed).to_be_bytes();
        (mac != [0; 6]).then_some(mac)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Waits for each to be found, as long as the kernel asks for it. One that is not is looked for from then on.
    pub(super) fn resolve(&self) {
        for entry in &self.entries {
            match resolve::resolve(&self.interface, entry.destination) {
                Ok(route) => entry.set(route.link.remote, &self.interface),
                Err(error) => tracing::warn!(%error, "not sent to until it is found"),
            }
        }
    }

    fn refresh(&self, probe: bool) {
        for entry in &self.entries {
            // Whoever is not found stays where it was last.
            match resolve::look_up(&self.interface, entry.destination, probe) {
                Ok(Some(mac)) => entry.set(mac, &self.interface),
                Ok(None) => {}
                Err(error) => tracing::debug!(%error, "looking a neighbour up"),
            }
        }
    }
}

impl Entry {
    fn set(&self, mac: [u8; 6], interface: &str) {
        let [a, b, c, d, e, f] = mac;
        let new = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        let before = self.mac.swap(new, Ordering::Relaxed);
        if before != new {
            tracing::info!(interface, address = %self.destination, mac = %format_args!("{new:012x}"), "sending to");
        }
    }
}

/// The thread that follows; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Follower {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    pub(super) fn start(neighbours: Arc<Neighbours>) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let work = move || {
            let mut refreshes = 0_u32;
            while !stopped.load(Ordering::Acquire) {
                std::thread::park_timeout(REFRESH);
                refreshes = refreshes.wrapping_add(1);
                neighbours.refresh(refreshes.is_multiple_of(REFRESHES_PER_PROBE));
            }
        };
        let thread = std::thread::Builder::new().name("neighbours".to_owned()).spawn(work)?;
        Ok(Follower { stop, thread: Some(thread) })
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It has nothing to report.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_is_found_once_it_is_known_and_nothing_else() {
        let addresses: Vec<IpAddr> =
            ["10.0.0.9", "fd00::1", "10.0.0.2", "10.0.0.9"].map(|text| text.parse().expect("address")).into();
        let neighbours = Neighbours::new("eth1", &addresses);
        let of = |text: &str| {
            let address: IpAddr = text.parse().expect("address");
            neighbours.mac(&Endpoint::from(SocketAddr::new(address, 0)).address)
        };
        assert_eq!((neighbours.entries.len(), of("10.0.0.9")), (3, None));
        for (entry, last) in neighbours.entries.iter().zip(1..) {
            entry.set([2, 0, 0, 0, 0xff, last], "eth1");
        }
        assert_eq!(of("10.0.0.2"), Some([2, 0, 0, 0, 0xff, 1]));
        assert_eq!(of("10.0.0.9"), Some([2, 0, 0, 0, 0xff, 2]));
        assert_eq!(of("fd00::1"), Some([2, 0, 0, 0, 0xff, 3]));
        assert_eq!(of("10.0.0.3"), None);
    }
}
