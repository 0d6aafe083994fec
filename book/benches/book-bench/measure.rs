//! Running a flow through a market under a clock: throughput, latency of each message, open loop. Knows no budgets.

use std::time::{Duration, Instant};

use book::Market;
use hdrhistogram::Histogram;

use crate::digest::Digest;
use crate::flow::{Flow, apply, new_market};

/// A market with the flow's resting orders.
pub fn prepared(flow: &Flow) -> Market {
    let mut market = new_market(flow.limits, flow.instruments);
    for message in &flow.preload {
        apply(&mut market, message, &mut ());
    }
    market
}

/// Nanoseconds per message.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    pub wall: f64,
    /// Time on the processor only: what is left when other programs compete for it.
    pub processor: f64,
}

/// Cost over the flow's messages after `warm_up` of them.
pub fn cost(flow: &Flow, warm_up: usize) -> Cost {
    let mut market = prepared(flow);
    let mut digest = Digest::default();
    let (first, rest) = flow.messages.split_at(warm_up);
    for message in first {
        apply(&mut market, message, &mut digest);
    }
    let (start, processor) = (Instant::now(), processor_time_ns());
    for message in rest {
        apply(&mut market, message, &mut digest);
    }
    let processor = processor_time_ns() - processor;
    let per_message = |ns: f64| ns / rest.len() as f64;
    Cost { wall: per_message(start.elapsed().as_nanos() as f64), processor: per_message(processor as f64) }
}

/// Nanoseconds this thread has spent on a processor (Linux; first field of schedstat), 0 where that is not known.
pub fn processor_time_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|field| field.parse().ok()).unwrap_or(0)
}

/// Messages at a fixed rate. Each counts from the moment it was due, however late the one before it ended.
pub fn open_loop(flow: &Flow, warm_up: usize, interval: Duration) -> Histogram<u64> {
    let mut market = prepared(flow);
    let mut digest = Digest::default();
    let (first, rest) = flow.messages.split_at(warm_up);
    for message in first {
        apply(&mut market, message, &mut digest);
    }
    let mut histogram = new_histogram();
    let start = Instant::now();
    let interval = interval.as_nanos() as u64;
    for (number, message) in rest.iter().enumerate() {
        let due = number as u64 * interval;
        while (start.elapsed().as_nanos() as u64) < due {
            std::hint::spin_loop();
        }
        apply(&mut market, message, &mut digest);
        let late = start.elapsed().as_nanos() as u64 - due;
        histogram.saturating_record(late);
    }
    histogram
}

pub fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_max(10_000_000_000, 3).expect("constant, valid bounds")
}
