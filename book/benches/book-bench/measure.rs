//! Running a flow through a market under a clock: throughput, batches, open loop. Knows no budgets.

use std::time::{Duration, Instant};

use book::{Market, OrderKey, Side, WARM_INSTRUMENTS, WARM_MAX, WarmList};
use nix::time::ClockId;

use crate::digest::Digest;
use crate::drive::{apply, new_market};
use crate::message::{Action, Flow, Message};

/// Nanoseconds per message.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    pub wall: f64,
    /// Time on the processor only: what is left when other programs compete for it.
    pub processor: f64,
}

/// How messages reach the market.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    OneByOne,
    /// In full receive batches, each warmed first.
    Batches,
}

impl Delivery {
    /// As a shard does it that has so many instruments.
    pub fn of_a_shard(instruments: u32) -> Self {
        if instruments >= WARM_INSTRUMENTS { Self::Batches } else { Self::OneByOne }
    }
}

/// A flow under way: the first part has warmed everything up, the rest is measured piece by piece.
pub struct Run<'a> {
    market: Market,
    digest: Digest,
    pieces: std::slice::Chunks<'a, Message>,
    delivery: Delivery,
}

impl<'a> Run<'a> {
    /// A market with the flow's resting orders, warmed up with the first of `pieces + 1` equal parts of its messages.
    pub fn new(flow: &'a Flow, pieces: usize, delivery: Delivery) -> Self {
        let mut market = new_market(flow.instruments, flow.owners, flow.orders);
        for message in &flow.preload {
            apply(&mut market, message, &mut ());
        }
        let pieces = flow.messages.chunks(flow.messages.len() / (pieces + 1));
        let mut run = Self { market, digest: Digest::default(), pieces, delivery };
        run.piece();
        run
    }

    /// Runs the next part of the messages.
    pub fn piece(&mut self) -> Cost {
        let messages = self.pieces.next().unwrap_or(&[]);
        let (start, processor) = (Instant::now(), processor_time_ns());
        match self.delivery {
            Delivery::OneByOne => {
                for message in messages {
                    apply(&mut self.market, message, &mut self.digest);
                }
            }
            Delivery::Batches => {
                let mut list = WarmList::default();
                for batch in messages.chunks(WARM_MAX) {
                    for message in batch {
                        announce(message, &mut list);
                    }
                    self.market.warm(&mut list);
                    for message in batch {
                        apply(&mut self.market, message, &mut self.digest);
                    }
                }
            }
        }
        let processor = processor_time_ns() - processor;
        let per_message = |ns: f64| ns / messages.len().max(1) as f64;
        Cost {
            wall: per_message(start.elapsed().as_nanos() as f64),
            processor: per_message(processor as f64),
        }
    }

    /// The next part at a fixed rate: nanoseconds of each message, counted from the moment it was due, however late the one
    /// before it ended.
    pub fn open_loop(&mut self, interval: Duration) -> Vec<u32> {
        let messages = self.pieces.next().unwrap_or(&[]);
        at_rate(messages, interval, |message| {
            apply(&mut self.market, message, &mut self.digest);
        })
    }

    /// The same loop for the same time without a book: what the machine itself does to it.
    pub fn empty_loop(&self, interval: Duration) -> Vec<u32> {
        let messages = self.pieces.clone().next().unwrap_or(&[]);
        at_rate(messages, interval, |message| {
            std::hint::black_box(message);
        })
    }
}

fn at_rate(messages: &[Message], interval: Duration, mut work: impl FnMut(&Message)) -> Vec<u32> {
    // Written once before the clock starts: no page is missing while it runs.
    let mut times = vec![u32::MAX; messages.len()];
    let interval = interval.as_nanos() as u64;
    let start = Instant::now();
    for ((number, message), time) in (0..).zip(messages).zip(&mut times) {
        let due = number * interval;
        while (start.elapsed().as_nanos() as u64) < due {
            std::hint::spin_loop();
        }
        work(message);
        *time = (start.elapsed().as_nanos() as u64 - due).try_into().unwrap_or(u32::MAX);
    }
    times
}

/// The value that a share of the times does not exceed.
pub fn quantile(times: &mut [u32], share: f64) -> f64 {
    let rank = (times.len() as f64 * share).ceil() as usize;
    let at = rank.clamp(1, times.len().max(1)) - 1;
    if times.is_empty() { 0.0 } else { f64::from(*times.select_nth_unstable(at).1) }
}

/// The median time of each message over identical runs. What the book itself does slowly it does in every run; a stall of
/// the machine meets other messages each time.
pub fn median_by_message(runs: &[Vec<u32>]) -> Vec<u32> {
    let count = runs.iter().map(Vec::len).min().unwrap_or(0);
    let mut times = vec![0; runs.len()];
    let median = |message: usize| {
        times.iter_mut().zip(runs).for_each(|(time, run)| *time = run[message]);
        times.sort_unstable();
        times[times.len() / 2]
    };
    (0..count).map(median).collect()
}

/// Announces the message to a market that warms its batches.
#[inline]
fn announce(message: &Message, list: &mut WarmList) {
    let key = OrderKey::new(message.owner, 0, message.user_ref);
    match message.action {
        Action::Enter | Action::Take => {
            let side = if message.buy { Side::Buy } else { Side::Sell };
            list.push_new(key.party, message.instrument, side, u64::from(message.price));
        }
        Action::Cancel | Action::Reduce => list.push_known(key),
        Action::Replace => list.push_known(OrderKey { user_ref: message.original, ..key }),
    }
}

/// Nanoseconds this thread has spent on a processor.
pub fn processor_time_ns() -> u64 {
    ClockId::CLOCK_THREAD_CPUTIME_ID
        .now()
        .map_or(0, |time| time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}
