//! A thread's share of a run: one port, many participants, polled in turn. It decides when, the participants decide what.
//!
//! Each round: receive, enter the answers into the books, send what may be sent, see to the timers, kick the port. Nothing
//! blocks and nothing is allocated while orders flow.

mod connect;
mod stop;

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use crossbeam_utils::CachePadded;
use netio::idle::{Idle, IdleStrategy};
use netio::{Endpoint, Port, PortStatistics, RX_BATCH};
use streams::ParkingPool;
use wire::moldudp64::{CONTROL_SESSION, HEADER_LENGTH, MAX_PAYLOAD, SESSION_LENGTH};

use crate::client::Outcome;
use crate::clock::Clock;
use crate::coordination::{Coordination, Gauge, WorkerError, WorkerSettings};
use crate::directory::Directory;
use crate::histograms::{Measurements, Timing};
use crate::pace::{Pace, Schedule};
use crate::participant::{Participant, Placed};
use crate::stalls::Stalls;

/// Orders that share one reading of the clock: about one datagram.
const ORDERS_PER_CLOCK: u32 = 32;

/// Orders an open loop sends before it looks at what has arrived.
const ORDERS_PER_ROUND: u32 = 1024;

/// Traders tried for one order of an open loop before the rest of the round is left.
const TRIES_PER_ORDER: usize = 64;

/// Full batches that are received in one round at most.
const BATCHES_PER_ROUND: usize = 16;

/// Timers are looked at this often, for this many participants at a time.
const TIMER_INTERVAL_NS: u64 = 200_000;
const TIMERS_PER_ROUND: usize = 1024;

/// Early datagrams that may wait for the ones before them, over all participants of a worker.
const PARKED_DATAGRAMS: u32 = 1024;

/// Logins under way with one shard at a time: fewer than the engine lets wait for its password check.
const LOGINS_AT_ONCE: usize = 32;

/// The longest idle wait, so that timers are kept.
const IDLE_NS_MAX: u64 = 1_000_000;

/// How long the clean-up at the end of a run may take.
const CLEANUP_NS: u64 = 5_000_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Connecting { deadline_ns: u64 },
    Waiting,
    Running,
    Draining { deadline_ns: u64 },
    Cleaning { deadline_ns: u64 },
    Done,
}

pub struct Worker<'a, P: Port, C: Clock> {
    port: P,
    idle: Idle,
    clock: C,
    settings: WorkerSettings,
    coordination: &'a Coordination,
    gauge: &'a CachePadded<Gauge>,
    participants: Vec<Participant>,
    /// Which shard each participant speaks to, and per shard who waits for its turn to log in.
    shard_of: Vec<u16>,
    logins: Vec<Logins>,
    logins_at_once: usize,
    directory: Directory,
    pool: ParkingPool,
    phase: Phase,
    schedule: Option<Schedule>,
    /// Traders that may have room for orders (closed loop) or something to send.
    waiting: VecDeque<u32>,
    is_waiting: Vec<bool>,
    turn: usize,
    timer_cursor: usize,
    timers_at_ns: u64,
    measure_from_ns: u64,
    measure_until_ns: u64,
    orders_left: u64,
    sent: u64,
    sent_at_ns: u64,
    /// Why a closed loop stopped by itself.
    stopped: Option<String>,
    answered: u64,
    ready_traders: usize,
    pub stalls: Stalls,
    measurements: Measurements,
    /// The schedule was held up by full windows, not by this thread.
    is_held: bool,
    /// ... and has not been made up for since.
    was_held: bool,
    /// Datagrams for no session of ours, or not of the protocol.
    pub strays: u64,
}

#[derive(Debug, Default)]
struct Logins {
    /// Under way. An answer does not say whose it is: it is told by the address it comes to.
    current: Vec<u32>,
    queue: VecDeque<u32>,
}

/// What a worker leaves behind.
pub struct Finished {
    pub participants: Vec<Participant>,
    pub port: PortStatistics,
    pub stalls: Stalls,
    pub measurements: Measurements,
    pub strays: u64,
    pub measure_from_ns: u64,
    pub measure_until_ns: u64,
    /// Its number of orders was sent.
    pub ended_by_count: bool,
    /// What kept a closed loop from sending until its time was over.
    pub stopped: Option<String>,
    /// What ended it before its time. What was measured until then is there all the same.
    pub failure: Option<WorkerError>,
}

impl<'a, P: Port, C: Clock> Worker<'a, P, C> {
    /// `participants` come with the number of their shard.
    pub fn new(
        mut port: P,
        clock: C,
        settings: WorkerSettings,
        coordination: &'a Coordination,
        gauge: &'a CachePadded<Gauge>,
        participants: Vec<(u16, Participant)>,
    ) -> Self {
        let now_ns = clock.now_ns();
        port.expect(participants.len());
        let shards = participants.iter().map(|(shard, _)| usize::from(*shard) + 1).max().unwrap_or(1);
        let (shard_of, participants): (Vec<u16>, Vec<Participant>) = participants.into_iter().unzip();
        let mut logins: Vec<Logins> = (0..shards).map(|_| Logins::default()).collect();
        for (index, &shard) in shard_of.iter().enumerate() {
            logins[usize::from(shard)].queue.push_back(index as u32);
        }
        // Clients that share an address can only log in one after the other.
        let distinct =
            participants.iter().all(|participant| participant.client.peer().local != Endpoint::default());
        Worker {
            logins_at_once: if distinct { LOGINS_AT_ONCE } else { 1 },
            directory: Directory::new(participants.len()),
            pool: ParkingPool::new(PARKED_DATAGRAMS, MAX_PAYLOAD - HEADER_LENGTH),
            phase: Phase::Connecting { deadline_ns: now_ns + settings.connect_timeout_ns },
            schedule: None,
            waiting: VecDeque::with_capacity(participants.len()),
            is_waiting: vec![false; participants.len()],
            turn: 0,
            timer_cursor: 0,
            timers_at_ns: 0,
            measure_from_ns: u64::MAX,
            measure_until_ns: u64::MAX,
            orders_left: settings.orders_max,
            sent: 0,
            sent_at_ns: now_ns,
            stopped: None,
            answered: 0,
            ready_traders: 0,
            stalls: Stalls::default(),
            measurements: Measurements::new(settings.duration_ns),
            is_held: false,
            was_held: false,
            strays: 0,
            port,
            idle: Idle::new(IdleStrategy::Yield),
            clock,
            settings,
            coordination,
            gauge,
            participants,
            shard_of,
            logins,
        }
    }

    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Runs to the end on the calling thread. An error only if nothing was sent yet.
    pub fn run(mut self, idle: IdleStrategy) -> Result<Finished, WorkerError> {
        self.idle = Idle::new(idle);
        while self.phase != Phase::Done {
            if let Err(error) = self.step_or_wait() {
                return self.give_up(error);
            }
        }
        Ok(self.finish(None))
    }

    fn step_or_wait(&mut self) -> Result<(), WorkerError> {
        if self.step()? {
            self.idle.busy();
            return Ok(());
        }
        let until_ns = match self.next_send_ns() {
            u64::MAX => IDLE_NS_MAX,
            at_ns => at_ns.saturating_sub(self.clock.now_ns()).min(IDLE_NS_MAX),
        };
        Ok(self.idle.wait(&mut self.port, std::time::Duration::from_nanos(until_ns))?)
    }

    /// Ends because of an error. Once orders flow the books are kept: what was measured is the report.
    pub fn give_up(mut self, error: WorkerError) -> Result<Finished, WorkerError> {
        if matches!(self.phase, Phase::Connecting { .. } | Phase::Waiting) {
            return Err(error);
        }
        if self.measure_until_ns == u64::MAX {
            self.end_measurement(self.clock.now_ns());
        }
        Ok(self.finish(Some(error)))
    }

    /// Closes the books and hands everything over.
    pub fn finish(mut self, failure: Option<WorkerError>) -> Finished {
        for participant in &mut self.participants {
            participant.account.close();
        }
        Finished {
            participants: self.participants,
            port: self.port.statistics(),
            stalls: self.stalls,
            measurements: self.measurements,
            strays: self.strays,
            measure_from_ns: self.measure_from_ns,
            measure_until_ns: self.measure_until_ns,
            ended_by_count: self.orders_left == 0,
            stopped: self.stopped,
            failure,
        }
    }

    fn next_send_ns(&self) -> u64 {
        match (&self.schedule, self.phase) {
            (Some(schedule), Phase::Running) => schedule.next_ns(),
            _ => u64::MAX,
        }
    }

    /// One round. True if it did something.
    pub fn step(&mut self) -> Result<bool, WorkerError> {
        let now_ns = self.clock.now_ns();
        let sent_before = self.sent;
        if self.phase == Phase::Running {
            if now_ns >= self.measure_from_ns {
                self.stalls.round(now_ns);
            }
            // What is due leaves before anything is received.
            self.send_what_is_due()?;
        }
        let received = self.receive()?;
        match self.phase {
            Phase::Connecting { deadline_ns } => self.connect(now_ns, deadline_ns)?,
            Phase::Waiting => self.wait_for_start(now_ns),
            Phase::Running => self.trade(now_ns),
            Phase::Draining { deadline_ns } => self.drain(now_ns, deadline_ns),
            Phase::Cleaning { deadline_ns } => self.clean_up(now_ns, deadline_ns),
            Phase::Done => return Ok(false),
        }
        if now_ns >= self.timers_at_ns {
            self.timers_at_ns = now_ns + TIMER_INTERVAL_NS;
            self.see_to_timers(now_ns)?;
            self.gauge.sent.store(self.sent, Ordering::Relaxed);
            self.gauge.answered.store(self.answered, Ordering::Relaxed);
            if self.coordination.abort.load(Ordering::Relaxed) {
                return Err(WorkerError::Aborted);
            }
        }
        self.port.flush()?;
        Ok(received > 0 || self.sent != sent_before)
    }

    fn receive(&mut self) -> Result<usize, WorkerError> {
        // An open loop does not look again and again at an empty port: the next order may be due meanwhile.
        let mut count =
            if self.schedule.is_some() { self.port.receive()? } else { self.idle.poll(&mut self.port)? };
        let mut received = count;
        // Full batches mean that more is there: it is taken before anything is sent again, or the ring would run over.
        for _ in 1..BATCHES_PER_ROUND {
            self.take_batch(count)?;
            if count < RX_BATCH {
                return Ok(received);
            }
            count = self.port.receive()?;
            received += count;
        }
        self.take_batch(count)?;
        Ok(received)
    }

    fn take_batch(&mut self, count: usize) -> Result<(), WorkerError> {
        if count == 0 {
            return Ok(());
        }
        let now_ns = self.clock.now_ns();
        for index in 0..count {
            self.take(index, now_ns)?;
            // Nor does an order wait until a batch of answers has been entered into the books.
            self.send_what_is_due()?;
        }
        Ok(())
    }

    /// Open loop: sends what is due, whatever else is to be done.
    #[inline]
    fn send_what_is_due(&mut self) -> Result<(), WorkerError> {
        if self.phase == Phase::Running
            && let Some(schedule) = &self.schedule
            && !self.is_held
            && schedule.next_ns() <= self.clock.now_ns()
        {
            let sent = self.sent;
            self.send_due();
            if self.sent != sent {
                self.pump_waiting(self.clock.now_ns());
                self.port.flush()?;
            }
        }
        Ok(())
    }

    /// Takes one datagram of the batch.
    fn take(&mut self, index: usize, now_ns: u64) -> Result<(), WorkerError> {
        let (_, payload) = self.port.datagram(index);
        let Some(name) = payload.first_chunk::<SESSION_LENGTH>() else {
            self.strays += 1;
            return Ok(());
        };
        if *name == CONTROL_SESSION {
            return self.take_control(index, now_ns);
        }
        let Some(at) = self.directory.find(name) else {
            self.strays += 1;
            return Ok(());
        };
        let participant = &mut self.participants[at as usize];
        let in_flight = participant.account.in_flight();
        let outcome = participant.on_datagram(payload, now_ns, &mut self.pool);
        let answered = in_flight - participant.account.in_flight();
        self.answered += u64::from(answered);
        self.is_held &= answered == 0;
        for (timing, count) in participant.account.drain_answered() {
            self.measurements.record(timing, count, now_ns);
            self.stalls.answered(count);
        }
        if outcome == Outcome::Failed {
            return Err(self.client_error(at));
        }
        Self::enqueue(&mut self.waiting, &mut self.is_waiting, at);
        Ok(())
    }

    #[inline]
    fn enqueue(waiting: &mut VecDeque<u32>, is_waiting: &mut [bool], at: u32) {
        if !std::mem::replace(&mut is_waiting[at as usize], true) {
            waiting.push_back(at);
        }
    }

    fn wait_for_start(&mut self, now_ns: u64) {
        self.pump_waiting(now_ns);
        let start_ns = self.coordination.start_ns.load(Ordering::Acquire);
        if start_ns == 0 || now_ns < start_ns {
            return;
        }
        self.measure_from_ns = start_ns + self.settings.warmup_ns;
        self.measurements.start_at(self.measure_from_ns);
        let WorkerSettings { seed, worker, workers, .. } = self.settings;
        self.schedule = match self.settings.pace {
            Pace::Closed { .. } => None,
            Pace::Open(arrivals) => Some(Schedule::new(arrivals, seed, worker, workers, start_ns)),
        };
        for at in 0..self.participants.len() {
            self.participants[at].account.measure_from(self.measure_from_ns);
            Self::enqueue(&mut self.waiting, &mut self.is_waiting, at as u32);
        }
        self.sent_at_ns = now_ns;
        self.phase = Phase::Running;
    }

    fn trade(&mut self, now_ns: u64) {
        let over = now_ns >= self.measure_from_ns
            && (now_ns - self.measure_from_ns >= self.settings.duration_ns || self.orders_left == 0);
        if over || self.coordination.stop.load(Ordering::Relaxed) || self.has_stopped_for_good(now_ns) {
            // What was meant for before the end and is late, leaves late.
            self.send_due();
            self.end_measurement(now_ns);
            self.phase = Phase::Draining { deadline_ns: now_ns + self.settings.drain_ns };
            return;
        }
        match self.settings.pace {
            Pace::Closed { window } => self.fill_windows(window),
            Pace::Open(_) => {
                self.send_due();
                self.pump_waiting(now_ns);
            }
        }
    }

    /// Closed loop: participants that had an answer send as much as their windows allow. No more of them than answers come in a batch, or a
    /// thousand answers would arrive while a thousand orders are sent.
    fn fill_windows(&mut self, window: u32) {
        for _ in 0..self.waiting.len().min(RX_BATCH) {
            let Some(at) = self.waiting.pop_front() else { break };
            self.is_waiting[at as usize] = false;
            let participant = &mut self.participants[at as usize];
            // An order is there before it is sent: its latency begins when it has been drawn.
            let mut drawn = if participant.account.in_flight() < window { participant.draw() } else { None };
            let mut now_ns = self.clock.now_ns();
            let measured = now_ns >= self.measure_from_ns;
            loop {
                let participant = &mut self.participants[at as usize];
                let room = window.saturating_sub(participant.account.in_flight());
                let mut limit = room.min(self.settings.orders_per_datagram).min(ORDERS_PER_CLOCK);
                if measured {
                    limit = limit.min(self.orders_left.min(u64::from(u32::MAX)) as u32);
                }
                let mut placed = 0;
                while placed < limit
                    && let Some(action) = drawn.take().or_else(|| participant.draw())
                    && participant.place(action, now_ns.into()) == Placed::Yes
                {
                    placed += 1;
                }
                if placed > 0 {
                    self.sent += u64::from(placed);
                    self.sent_at_ns = now_ns;
                }
                if measured {
                    self.orders_left -= u64::from(placed);
                }
                let last = placed < limit || room == placed;
                if (last || self.settings.orders_per_datagram < ORDERS_PER_CLOCK) && !self.pump(at, now_ns) {
                    break;
                }
                if placed == 0 || last {
                    break;
                }
                now_ns = self.clock.now_ns();
            }
        }
    }

    /// Open loop: sends the orders whose time has come, whoever has room.
    fn send_due(&mut self) {
        let Some(mut schedule) = self.schedule.take() else { return };
        let mut now_ns = self.clock.now_ns();
        // An order that had to wait for an answer, and those behind it, are late because of the engine.
        self.was_held |= std::mem::take(&mut self.is_held);
        let end_ns = self.measure_from_ns.saturating_add(self.settings.duration_ns);
        for count in 1..=ORDERS_PER_ROUND {
            let intended_ns = schedule.next_ns();
            let measured = intended_ns >= self.measure_from_ns;
            if intended_ns > now_ns || (measured && self.orders_left == 0) {
                self.was_held = false;
                break;
            }
            if intended_ns >= end_ns {
                break;
            }
            if schedule.is_in_burst() {
                self.turn = (self.turn + self.participants.len() - 1) % self.participants.len();
            }
            let Some(at) = self.place_somewhere(Timing { intended_ns, sent_ns: now_ns }) else {
                self.is_held = true;
                break;
            };
            schedule.take_due(now_ns);
            if measured {
                self.stalls.sent(intended_ns, now_ns, self.was_held);
                self.measurements.lag.record(now_ns - intended_ns, 1);
            }
            self.sent += 1;
            self.orders_left -= u64::from(measured);
            let unsent =
                self.participants[at as usize].client.duplex().map_or(0, |duplex| duplex.send.unsent());
            if unsent >= u64::from(self.settings.orders_per_datagram) && !self.pump(at, now_ns) {
                break;
            }
            Self::enqueue(&mut self.waiting, &mut self.is_waiting, at);
            if count % ORDERS_PER_CLOCK == 0 {
                now_ns = self.clock.now_ns();
            }
        }
        self.schedule = Some(schedule);
    }

    fn place_somewhere(&mut self, timing: Timing) -> Option<u32> {
        for _ in 0..self.participants.len().min(TRIES_PER_ORDER) {
            let at = self.turn;
            self.turn = (self.turn + 1) % self.participants.len();
            if self.participants[at].place_next(timing) == Placed::Yes {
                return Some(at as u32);
            }
        }
        None
    }

    fn drain(&mut self, now_ns: u64, deadline_ns: u64) {
        self.pump_waiting(now_ns);
        if self.sent == self.answered {
            let deadline_ns = now_ns + CLEANUP_NS;
            self.phase = Phase::Cleaning { deadline_ns };
            for at in 0..self.participants.len() {
                Self::enqueue(&mut self.waiting, &mut self.is_waiting, at as u32);
            }
        } else if now_ns >= deadline_ns {
            self.log_out(now_ns);
        }
    }

    /// Cancels what is still open: the next run should find the books as this one did.
    fn clean_up(&mut self, now_ns: u64, deadline_ns: u64) {
        let mut open = false;
        if self.settings.cancel_open {
            for _ in 0..self.waiting.len() {
                let Some(at) = self.waiting.pop_front() else { break };
                self.is_waiting[at as usize] = false;
                let mut placed = 0;
                while self.participants[at as usize].cancel_one(now_ns) == Placed::Yes {
                    placed += 1;
                    if placed % self.settings.orders_per_datagram == 0 {
                        self.pump(at, now_ns);
                    }
                }
                self.sent += u64::from(placed);
                self.pump(at, now_ns);
            }
            open = self.sent != self.answered
                || self.participants.iter().any(|participant| participant.account.open_orders() > 0);
        }
        if !open || now_ns >= deadline_ns {
            self.log_out(now_ns);
        }
    }

    fn log_out(&mut self, now_ns: u64) {
        for at in 0..self.participants.len() {
            self.participants[at].client.close();
            self.pump(at as u32, now_ns);
            let Participant { client, .. } = &mut self.participants[at];
            let peer = *client.peer();
            let pool = &mut self.pool;
            // Not acknowledged, and not repeated: the engine's session timeout does the rest.
            let _ = self.port.send(&peer, |out| client.pack_logout(pool, out));
        }
        self.phase = Phase::Done;
    }

    /// Sends what those that heard something have to say: acknowledgements, requests, retransmissions.
    fn pump_waiting(&mut self, now_ns: u64) {
        for _ in 0..self.waiting.len() {
            let Some(at) = self.waiting.pop_front() else { break };
            self.is_waiting[at as usize] = false;
            self.pump(at, now_ns);
        }
    }

    /// Sends everything one participant has to send. False if the port is full; the participant then waits for the next round.
    #[inline]
    fn pump(&mut self, at: u32, now_ns: u64) -> bool {
        self.pump_into_room(at, now_ns) || self.pump_after_flush(at, now_ns)
    }

    /// Handing over what is queued makes room at once where the port sends within the call.
    #[cold]
    fn pump_after_flush(&mut self, at: u32, now_ns: u64) -> bool {
        if self.port.flush().is_ok() && self.pump_into_room(at, now_ns) {
            return true;
        }
        self.stalls.transmit_full += 1;
        Self::enqueue(&mut self.waiting, &mut self.is_waiting, at);
        false
    }

    #[inline]
    fn pump_into_room(&mut self, at: u32, now_ns: u64) -> bool {
        let client = &mut self.participants[at as usize].client;
        let peer = *client.peer();
        while client.wants_to_send() {
            let mut length = 0;
            let pool = &self.pool;
            let sent = self.port.send(&peer, |out| {
                length = client.pack(now_ns, pool, out);
                length
            });
            if sent.is_err() {
                return false;
            }
            if length == 0 {
                break;
            }
        }
        true
    }

    fn see_to_timers(&mut self, now_ns: u64) -> Result<(), WorkerError> {
        self.advance_logins(now_ns);
        for _ in 0..self.participants.len().min(TIMERS_PER_ROUND) {
            let at = self.timer_cursor;
            self.timer_cursor = (self.timer_cursor + 1) % self.participants.len();
            let client = &mut self.participants[at].client;
            if client.wants_login(now_ns) {
                let peer = *client.peer();
                let _ = self.port.send(&peer, |out| client.pack_login(now_ns, out));
                continue;
            }
            if now_ns >= client.next_deadline() {
                client.on_timer(now_ns);
                self.pump(at as u32, now_ns);
            }
            let client = &self.participants[at].client;
            let silent_ns = now_ns.saturating_sub(client.last_heard_ns());
            if client.is_active() && silent_ns >= self.settings.silence_ns && self.phase != Phase::Done {
                if !self.settings.reconnect {
                    return Err(WorkerError::Silent {
                        user: client.credentials().user(),
                        target: client.peer().remote.to_string(),
                        seconds: silent_ns as f64 / 1e9,
                    });
                }
                let shard = usize::from(self.shard_of[at]);
                if !self.logins[shard].queue.contains(&(at as u32))
                    && !self.logins[shard].current.contains(&(at as u32))
                {
                    self.logins[shard].queue.push_back(at as u32);
                }
            }
        }
        Ok(())
    }
}
