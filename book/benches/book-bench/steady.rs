//! Load at a steady rate with Poisson arrivals: the time from when a message was due until the book has dealt with it.

use crate::clock::{Clock, steps};
use crate::drive::Driven;
use crate::measure::quantile;
use crate::message::Message;
use crate::report::{Budget, Report};
use crate::shapes::{Path, References, generate};
use book::random::Random;

/// Messages of one round at each rate.
const MESSAGES: usize = 100_000;
const RATES: [(&str, f64, Budget); 3] =
    [("1m", 1e6, Budget::None), ("5m", 5e6, Budget::AtMost(60.0)), ("8m", 8e6, Budget::None)];

pub fn steady(report: &mut Report, rounds: usize) {
    let flow = generate(Path::Calm, References::Dense, MESSAGES * (RATES.len() * rounds + 1), 1);
    let mut pieces = flow.messages.chunks(MESSAGES);
    let mut driven = Driven::new(&flow);
    driven.run_counted(pieces.next().unwrap_or(&[]));
    let mut random = Random::new(1);
    let clock = Clock::new();
    let mut times: [[Vec<f64>; 2]; RATES.len()] = Default::default();
    for _ in 0..rounds {
        for ((_, rate, _), [book, empty]) in RATES.iter().zip(&mut times) {
            let due = arrivals(&mut random, clock.steps_of(1e9 / rate) as f64);
            let messages = pieces.next().unwrap_or(&[]);
            empty.push(at(&clock, messages, &due, |message| {
                std::hint::black_box(message);
            }));
            book.push(at(&clock, messages, &due, |message| driven.apply(message)));
        }
    }
    for ((name, _, budget), [book, empty]) in RATES.iter().zip(&times) {
        report.add(&format!("book.p50_ns_at_{name}"), "ns", *budget, book);
        report.add(&format!("book.p50_empty_loop_ns_at_{name}"), "ns", Budget::None, empty);
    }
}

/// Steps of the clock at which messages arrive, `mean` of them between two on average.
fn arrivals(random: &mut Random, mean: f64) -> Vec<u64> {
    let mut at = 0.0;
    (0..MESSAGES)
        .map(|_| {
            let share = (random.below(1 << 53) + 1) as f64 / (1u64 << 53) as f64;
            at -= share.ln() * mean;
            at as u64
        })
        .collect()
}

/// Nanoseconds behind its time by which the loop must have been kept from running: no message takes the book as long. What
/// follows is then due that much later, or the median would be that of the machine's stall.
const STALL_NS: f64 = 20_000.0;

/// The median time in nanoseconds, reading the clock included.
fn at(clock: &Clock, messages: &[Message], due: &[u64], mut work: impl FnMut(&Message)) -> f64 {
    let mut times = vec![u32::MAX; messages.len()];
    let (start, stall) = (steps(), clock.steps_of(STALL_NS));
    let now = || steps() - start;
    let mut stalled = 0;
    for ((message, due), time) in messages.iter().zip(due).zip(&mut times) {
        let mut due = due + stalled;
        let began = loop {
            let now = now();
            if now >= due {
                break now;
            }
            std::hint::spin_loop();
        };
        if began - due > stall {
            stalled += began - due;
            due = began;
        }
        work(message);
        *time = (now() - due).try_into().unwrap_or(u32::MAX);
    }
    clock.ns_of(quantile(&mut times, 0.5))
}
