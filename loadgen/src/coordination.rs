//! What the threads of a run share: what each is told, how they keep in step, what they show, why one gives up. No thread is started here.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

use netio::PortError;

use crate::pace::Pace;

/// What every worker of a run is told.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    pub pace: Pace,
    /// At most this many orders in one datagram.
    pub orders_per_datagram: u32,
    pub warmup_ns: u64,
    pub duration_ns: u64,
    /// This worker's share of the orders to send, not counting the warm-up.
    pub orders_max: u64,
    /// How long answers are waited for after the last order.
    pub drain_ns: u64,
    pub silence_ns: u64,
    /// After a silence: log in again (true) or give up (false).
    pub reconnect: bool,
    pub connect_timeout_ns: u64,
    /// Cancel what is still open at the end.
    pub cancel_open: bool,
    pub seed: u64,
    pub worker: usize,
    pub workers: usize,
}

/// How the threads of a run keep in step.
#[derive(Debug, Default)]
pub struct Coordination {
    /// Workers whose participants are all logged in.
    pub ready: AtomicUsize,
    /// When to start; 0 until it is decided.
    pub start_ns: AtomicU64,
    /// Stop sending, then finish in good order.
    pub stop: AtomicBool,
    /// Something failed: give up.
    pub abort: AtomicBool,
}

/// What a worker shows while it runs.
#[derive(Debug, Default)]
pub struct Gauge {
    pub logged_in: AtomicU64,
    pub sent: AtomicU64,
    pub answered: AtomicU64,
}

/// Why a worker gave up.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    #[error("{0}")]
    Port(#[from] PortError),
    #[error(
        "no answer to {logins} logins of {user} at {target} within {seconds:.0} s: expected a Pitlane engine there. \
         Is it running, and is the port that of the shard (base port + shard number)?"
    )]
    Unreachable { user: String, target: String, logins: u64, seconds: f64 },
    #[error("{user} at {target}: {reason}")]
    Client { user: String, target: String, reason: String },
    #[error(
        "{user} at {target}: nothing was heard of the engine for {seconds:.1} s (--reconnect would log in again)"
    )]
    Silent { user: String, target: String, seconds: f64 },
    #[error("stopped because another thread failed")]
    Aborted,
}
