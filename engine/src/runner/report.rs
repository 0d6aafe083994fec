//! What a shard tells the rest of the process about itself, ten times a second. A copy behind a lock that the shard only
//! ever tries: a reader in the way costs the shard a report, never time.

use crate::clock::ClockFigures;
use crate::feed::FeedCounters;
use crate::session::IngressCounters;
use crate::shard::ShardCounters;
use netio::PortStatistics;
use std::sync::{Arc, Mutex};

#[derive(Debug, Clone, Copy, Default)]
pub struct Report {
    pub uptime_ns: u64,
    pub port: PortStatistics,
    pub ingress: IngressCounters,
    pub shard: ShardCounters,
    /// Sessions that ever logged in, and those bound to an address now.
    pub sessions: u64,
    pub bound: u64,
    pub logins_waiting: u64,
    pub resting_orders: u64,
    /// Last journal record written, and the last whose replies may leave.
    pub last_record: u64,
    pub releasable_record: u64,
    /// Replies that wait for the disk.
    pub waiting: u64,
    pub feed: FeedCounters,
    pub clock: ClockFigures,
}

/// Both ends of the report.
#[derive(Debug, Clone, Default)]
pub struct SharedReport(Arc<Mutex<Report>>);

impl SharedReport {
    pub fn publish(&self, report: &Report) {
        if let Ok(mut shared) = self.0.try_lock() {
            *shared = *report;
        }
    }

    pub fn read(&self) -> Report {
        // A poisoned lock means that a reader panicked while copying: the copy is whole all the same.
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
