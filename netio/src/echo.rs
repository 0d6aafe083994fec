//! The echo: the smallest program on each port, the limit that everything else is compared with. It checks nothing and knows no
//! protocol; `serve` answers, `drive` asks and times.
//!
//! A datagram carries its number in its first eight bytes, so that a duplicate or a late answer is not taken for the one
//! awaited.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use crate::{
    idle::{Idle, IdleStrategy},
    port::{Peer, Port, PortError, RX_BATCH},
};

/// Bytes of the number at the front of each datagram: the shortest payload.
pub const PAYLOAD_MIN: usize = 8;
/// The longest payload that `serve` answers on a port that cannot answer in place.
const COPY_MAX: usize = 2048;
/// After this long without an answer the datagram in flight is given up for lost.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);
/// Empty polls between two looks at the clock.
const POLLS_PER_CLOCK: u32 = 64;

/// What `serve` did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    pub answered: u64,
    /// Received and not answered: the transmit queue was full, or it was no datagram.
    pub refused: u64,
}

/// Sends every datagram back to where it came from, until `stop`.
pub fn serve(port: &mut impl Port, mut idle: Idle, stop: &AtomicBool) -> Result<Served, PortError> {
    let mut served = Served::default();
    let mut copy = [0; COPY_MAX];
    while !stop.load(Ordering::Relaxed) {
        let count = port.receive()?;
        for index in 0..count {
            let (peer, payload) = port.datagram(index);
            let (peer, length) = (*peer, payload.len().min(COPY_MAX));
            copy[..length].copy_from_slice(&payload[..length]);
            let answer = port.send(&peer, |out| {
                let length = length.min(out.len());
                out[..length].copy_from_slice(&copy[..length]);
                length
            });
            match answer {
                Ok(()) => served.answered += 1,
                Err(_) => served.refused += 1,
            }
        }
        port.flush()?;
        if count == 0 {
            idle.wait(port, Duration::MAX)?;
        } else {
            idle.busy();
        }
    }
    Ok(served)
}

/// As [`serve`], on AF_XDP: swaps the addresses where the datagram lies and sends the same frame. Nothing is copied.
#[cfg(feature = "xdp")]
pub fn serve_in_place(
    port: &mut crate::xdp::XdpPort,
    mut idle: Idle,
    stop: &AtomicBool,
) -> Result<Served, PortError> {
    let mut served = Served::default();
    while !stop.load(Ordering::Relaxed) {
        let count = port.receive_frames()?;
        for index in 0..count {
            let answered = match port.frame(index) {
                Some(frame) => frame.answer(),
                None => false,
            };
            if answered {
                served.answered += 1;
            } else {
                served.refused += 1;
            }
        }
        port.flush()?;
        if count == 0 {
            idle.wait(port, Duration::MAX)?;
        } else {
            idle.busy();
        }
    }
    Ok(served)
}

/// How `drive` asks.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Payload of each datagram; raised to [`PAYLOAD_MIN`] and cut to what the port can carry.
    pub payload_length: usize,
    /// Datagrams in flight: 1 measures the round trip, more the throughput.
    pub window: u64,
    pub duration: Duration,
}

/// What `drive` saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Driven {
    pub sent: u64,
    pub answered: u64,
    /// Given up after [`ANSWER_TIMEOUT`].
    pub lost: u64,
    /// Answers to datagrams already given up, and datagrams that answer nothing.
    pub strays: u64,
    /// From the first datagram to the last answer.
    pub elapsed: Duration,
}

impl Driven {
    pub fn per_second(&self) -> f64 {
        self.answered as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// Keeps `load.window` datagrams in flight to `peer` for `load.duration`. With a window of 1 each round trip's nanoseconds go
/// to `record`, from before the datagram is written to after its answer is seen; with more nothing is timed, because a
/// datagram then waits for the others, and the clock would be part of what is measured.
pub fn drive(
    port: &mut impl Port,
    peer: &Peer,
    load: Load,
    stop: &AtomicBool,
    record: impl FnMut(u64),
) -> Result<Driven, PortError> {
    drive_counted(port, peer, load, u64::MAX, Idle::new(IdleStrategy::Spin), stop, record)
}

/// As [`drive`], for at most `count` datagrams, waiting as `idle` says: for machines with fewer cores than threads.
pub fn drive_counted(
    port: &mut impl Port,
    peer: &Peer,
    load: Load,
    count: u64,
    mut idle: Idle,
    stop: &AtomicBool,
    mut record: impl FnMut(u64),
) -> Result<Driven, PortError> {
    let length = load.payload_length.clamp(PAYLOAD_MIN, port.max_payload().max(PAYLOAD_MIN));
    let mut driven = Driven::default();
    let window = load.window.max(1);
    // A window of answers already given up may still arrive: their numbers are below this one.
    let mut awaited_from = 0;
    let mut in_flight = 0;
    let started = Instant::now();
    let mut last_answer = started;
    let mut sent_at = started;
    let mut empty_polls = 0;
    let mut now = started;
    while !stop.load(Ordering::Relaxed) {
        // The batch bounds how long answers wait while a window is being opened.
        let mut burst = 0;
        while in_flight < window && burst < RX_BATCH && driven.sent < count && now - started < load.duration {
            let number = driven.sent;
            if window == 1 {
                sent_at = Instant::now();
            }
            let queued = port.send(peer, |out| {
                let out = &mut out[..length];
                out[..PAYLOAD_MIN].copy_from_slice(&number.to_be_bytes());
                length
            });
            if queued.is_err() {
                break;
            }
            driven.sent += 1;
            in_flight += 1;
            burst += 1;
        }
        if burst > 0 {
            port.flush()?;
        }
        let received = port.receive()?;
        for index in 0..received {
            let (_, payload) = port.datagram(index);
            let number = payload.first_chunk().map(|number| u64::from_be_bytes(*number));
            match number {
                Some(number) if (awaited_from..driven.sent).contains(&number) && in_flight > 0 => {
                    driven.answered += 1;
                    in_flight -= 1;
                }
                _ => driven.strays += 1,
            }
        }
        if received == 0 {
            idle.wait(port, ANSWER_TIMEOUT)?;
            empty_polls += 1;
            if empty_polls < POLLS_PER_CLOCK {
                continue;
            }
        } else {
            idle.busy();
        }
        empty_polls = 0;
        now = Instant::now();
        if received > 0 {
            last_answer = now;
            if window == 1 && in_flight == 0 {
                record((now - sent_at).as_nanos() as u64);
            }
        } else if in_flight > 0 && now - last_answer.max(sent_at) > ANSWER_TIMEOUT {
            driven.lost += in_flight;
            awaited_from = driven.sent;
            in_flight = 0;
            last_answer = now;
        }
        if in_flight == 0 && (driven.sent >= count || now - started >= load.duration) {
            break;
        }
    }
    driven.elapsed = last_answer - started;
    Ok(driven)
}
/// How `drive_paced` asks.
#[derive(Clone, Copy, Debug)]
pub struct PacedLoad {
    /// As of [`Load`].
    pub payload_length: usize,
    /// Datagrams per second, equally spaced.
    pub rate: f64,
    pub duration: Duration,
}

/// One datagram that was answered. Nanoseconds from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundTrip {
    pub intended_ns: u64,
    pub sent_ns: u64,
    pub answered_ns: u64,
}

/// Datagrams of an open loop whose answers are awaited at a time; older ones are given up.
const PACED_IN_FLIGHT_MAX: u64 = 1 << 16;

/// Sends datagrams to `peer` at `load.rate`, whatever comes back: an open loop. Every answer's three moments go to `record`. What is
/// due leaves before anything is received.
pub fn drive_paced(
    port: &mut impl Port,
    peer: &Peer,
    load: PacedLoad,
    stop: &AtomicBool,
    mut record: impl FnMut(RoundTrip),
) -> Result<Driven, PortError> {
    const UNSENT: u64 = u64::MAX;
    let length = load.payload_length.clamp(PAYLOAD_MIN, port.max_payload().max(PAYLOAD_MIN));
    let interval_ns = 1e9 / load.rate.max(f64::MIN_POSITIVE);
    let total = (load.duration.as_secs_f64() * load.rate) as u64;
    let mut sent_at = vec![UNSENT; PACED_IN_FLIGHT_MAX as usize];
    let place = |number: u64| (number % PACED_IN_FLIGHT_MAX) as usize;
    let intended_ns = |number: u64| (number as f64 * interval_ns) as u64;
    let mut driven = Driven::default();
    let started = Instant::now();
    let now_ns = || started.elapsed().as_nanos() as u64;
    let mut answered_ns = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut now = now_ns();
        let mut burst = 0;
        while driven.sent < total && intended_ns(driven.sent) <= now && burst < RX_BATCH {
            let number = driven.sent;
            let queued = port.send(peer, |out| {
                let out = &mut out[..length];
                out[..PAYLOAD_MIN].copy_from_slice(&number.to_be_bytes());
                length
            });
            if queued.is_err() {
                break;
            }
            sent_at[place(number)] = now;
            driven.sent += 1;
            burst += 1;
            now = now_ns();
        }
        if burst > 0 {
            port.flush()?;
        }
        let received = port.receive()?;
        now = if received > 0 { now_ns() } else { now };
        for index in 0..received {
            let (_, payload) = port.datagram(index);
            let number = payload.first_chunk().map_or(u64::MAX, |number| u64::from_be_bytes(*number));
            let oldest = driven.sent.saturating_sub(PACED_IN_FLIGHT_MAX);
            let sent_ns = match (oldest..driven.sent).contains(&number) {
                true => std::mem::replace(&mut sent_at[place(number)], UNSENT),
                false => UNSENT,
            };
            if sent_ns == UNSENT {
                driven.strays += 1;
                continue;
            }
            driven.answered += 1;
            answered_ns = now;
            record(RoundTrip { intended_ns: intended_ns(number), sent_ns, answered_ns: now });
        }
        let all_answered = driven.answered == driven.sent;
        let given_up = now > intended_ns(total).max(answered_ns) + ANSWER_TIMEOUT.as_nanos() as u64;
        if driven.sent == total && (all_answered || given_up) {
            break;
        }
    }
    driven.lost = driven.sent - driven.answered;
    driven.elapsed = Duration::from_nanos(answered_ns.max(intended_ns(driven.sent)));
    Ok(driven)
}
