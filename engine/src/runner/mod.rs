//! A shard's thread, run to completion: receive, take in, apply, send, see to timers and to what other threads ask.
//! The order path is the first half of `turn`; nothing in it blocks, allocates or logs.

mod report;
mod wheel;

pub use report::{Report, SharedReport};

use crate::admin::{AdminRequest, COMMANDS_WAITING};
use crate::clock::{Clock, Now};
use crate::core::{Core, CoreError};
use crate::feed::Publisher;
use crate::history::replay::{Question, ReplayHandle};
use crate::inputs::{CloseReason, Input, SessionId};
use crate::log::error::AppendError;
use crate::log::writer::Log;
use crate::log::{Durability, Lsn};
use crate::session::{Reception, Release};
use netio::idle::{Idle, IdleStrategy};
use netio::{Port, PortError};
use rtrb::Consumer;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use wheel::Wheel;

/// How often a shard publishes its counters.
const REPORT_INTERVAL_NS: u64 = 100_000_000;
/// A second without input still passes: good-till-time orders end on time.
const TIMER_INTERVAL_NS: u64 = 1_000_000_000;
/// Under load, timers and logins wait this long at most: a fifth of the shortest timer.
const ATTENTION_INTERVAL_NS: u64 = 50_000;
/// And this long without load: looking at them takes about 60 ns, in which a datagram would wait.
const IDLE_ATTENTION_INTERVAL_NS: u64 = 2_000;
/// An idle wait ends at the latest after this, so that timers of a millisecond are kept.
const IDLE_MAX: Duration = Duration::from_micros(500);

/// Rounds in which the last of the feed may find room in the port at shutdown.
const END_ATTEMPTS: u32 = 10_000;
/// How often the end of the feed is told, and how far apart.
const END_REPETITIONS: u32 = 3;
const END_PAUSE: Duration = Duration::from_millis(10);
/// Between two looks at what the disk has; END_ATTEMPTS of them are longer than any sync that is not an outage.
const END_DISK_PAUSE: Duration = Duration::from_micros(100);

/// Everything one shard's thread owns.
pub struct Runner<P: Port, L: Log> {
    pub port: P,
    pub reception: Reception,
    pub core: Core<L>,
    wheel: Wheel,
    clock: Clock,
    idle: Idle,
    release: Release,
    stop: Arc<AtomicBool>,
    report: SharedReport,
    requests: Consumer<AdminRequest>,
    /// Operators whose command was carried out and who are told so when its record may be told of.
    obeyed: VecDeque<Obeyed>,
    /// Absent without a journal: then what the windows no longer hold is gone.
    replays: Option<ReplayHandle>,
    next_report_ns: u64,
    next_timer_ns: u64,
    /// Under load, when to look at timers and logins next.
    next_attention_ns: u64,
    /// The port had no room for all that sessions have to say: what arrives stays in its queue until it has.
    is_full: bool,
    /// Present when the feed is on: the stream is in the sessions.
    publisher: Option<Publisher>,
}

/// A command that was carried out, with its record and what there is to say about it.
struct Obeyed {
    lsn: Lsn,
    request: AdminRequest,
    remark: String,
}

/// Why a shard's thread ended other than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Port(#[from] PortError),
    #[error(transparent)]
    Core(#[from] CoreError),
}

impl<P: Port, L: Log> Runner<P, L> {
    pub fn new(
        port: P,
        reception: Reception,
        core: Core<L>,
        clock: Clock,
        idle: IdleStrategy,
        durability: Durability,
        stop: Arc<AtomicBool>,
        report: SharedReport,
        requests: Consumer<AdminRequest>,
        replays: Option<ReplayHandle>,
    ) -> Self {
        Self {
            wheel: Wheel::new(core.shard.genesis.max_sessions as usize),
            port,
            reception,
            core,
            clock,
            idle: Idle::new(idle),
            release: Release::new(durability),
            stop,
            report,
            requests,
            obeyed: VecDeque::with_capacity(COMMANDS_WAITING),
            replays,
            next_report_ns: 0,
            next_timer_ns: TIMER_INTERVAL_NS,
            next_attention_ns: 0,
            is_full: false,
            publisher: None,
        }
    }

    /// Publishes the feed of the sessions.
    pub fn set_publisher(&mut self, publisher: Publisher) {
        self.publisher = Some(publisher);
    }

    /// Runs until told to stop.
    ///
    /// # Errors
    /// The port is gone or the journal takes no more; what had been acknowledged by then is kept.
    pub fn run(&mut self) -> Result<(), RunError> {
        self.begin();
        while !self.stop.load(Ordering::Relaxed) {
            if self.turn()? {
                self.idle.busy();
            } else {
                if !self.release.is_empty() {
                    self.idle.give_way();
                }
                self.idle.wait(&mut self.port, IDLE_MAX)?;
            }
        }
        let now = self.clock.now();
        self.end_feed(now)?;
        self.publish(now);
        Ok(())
    }

    /// To be called once before the first turn.
    pub fn begin(&mut self) {
        // Recovered sessions have deadlines before anything is heard of them.
        for session in 0..self.core.sessions.len() {
            self.schedule(session as SessionId);
        }
    }

    /// One round; returns whether there was anything to do. The clock is read before the port is polled, where nobody waits for
    /// it: a timestamp is older than its datagram by the polls in between, some 100 ns.
    #[inline]
    fn turn(&mut self) -> Result<bool, RunError> {
        let now = self.clock.now();
        let received = self.receive()?;
        self.turn_at(received, now)
    }

    /// First half of a round: the next batch, whose length it returns, unless too many replies wait for the disk or the port.
    #[inline]
    pub fn receive(&mut self) -> Result<usize, PortError> {
        if self.has_room() { self.idle.poll(&mut self.port) } else { Ok(0) }
    }

    /// Second half of a round, at the given time: the clock is the caller's, who may be a simulation.
    #[inline]
    pub fn turn_at(&mut self, received: usize, now: Now) -> Result<bool, RunError> {
        self.core.sessions.set_now(now.monotonic_ns);
        self.reception.turn(now.monotonic_ns);
        for index in 0..received {
            let (peer, payload) = self.port.datagram(index);
            self.reception.on_datagram(peer, payload, now, &mut self.core);
        }
        let mut busy = received > 0;
        if now.monotonic_ns >= self.next_attention_ns {
            let attended = self.attend(now);
            let interval_ns = if busy { ATTENTION_INTERVAL_NS } else { IDLE_ATTENTION_INTERVAL_NS };
            self.next_attention_ns = now.monotonic_ns + interval_ns;
            busy |= attended;
        }
        // Before anything is sent: what has arrived and was not recorded must not be acknowledged.
        if let Some(failure) = self.core.failure.take() {
            return Err(failure.into());
        }
        self.release();
        self.send(now)?;
        busy |= self.is_full;
        busy |= self.send_feed(now)?;
        Ok(busy)
    }

    /// Whether another batch of replies can wait.
    #[inline]
    fn has_room(&self) -> bool {
        !self.is_full && self.release.has_room(netio::RX_BATCH * 4)
    }

    /// What is not an order: logins, timers, reports.
    fn attend(&mut self, now: Now) -> bool {
        let mut busy = self.reception.poll_logins(now, &mut self.core);
        busy |= self.reception.poll_gateway(now, &mut self.core);
        while let Some(session) = self.wheel.due(now.monotonic_ns) {
            // What was answered meanwhile has put its deadline off.
            let deadline = self.reception.deadline(session, &self.core);
            if deadline > now.monotonic_ns {
                if deadline != u64::MAX {
                    self.wheel.schedule(session, deadline);
                }
                continue;
            }
            busy = true;
            self.core.sessions[session].downstream.stream.on_timer(now.monotonic_ns);
            self.reception.on_timer(session, now, &mut self.core);
            self.core.sessions.mark(session);
        }
        busy |= self.obey(now);
        busy |= self.replay(now);
        if now.monotonic_ns >= self.next_timer_ns {
            self.next_timer_ns = now.monotonic_ns + TIMER_INTERVAL_NS;
            if let Some(failure) = self.core.log.failure() {
                self.core.failure.get_or_insert(AppendError::from(failure).into());
            }
            self.pass_time(now);
        }
        if now.monotonic_ns >= self.next_report_ns {
            self.next_report_ns = now.monotonic_ns + REPORT_INTERVAL_NS;
            self.port.expect(self.core.sessions.bound());
            self.publish(now);
        }
        busy
    }

    /// Carries out what operators asked for. A refusal is answered at once; what was done is, like any reply, told when its record
    /// may be told of: a command that a crash could undo was not done.
    fn obey(&mut self, now: Now) -> bool {
        let mut busy = false;
        while self.obeyed.len() < COMMANDS_WAITING
            && let Ok(request) = self.requests.pop()
        {
            busy = true;
            if request.dry_run {
                drop(request.answer.send(self.core.would_operate(&request.input)));
                continue;
            }
            match self.core.operate(&request.input, now.timestamp_ns) {
                Ok(remark) => self.obeyed.push_back(Obeyed { lsn: self.core.last, request, remark }),
                // Whoever asked may have given up waiting.
                Err(error) => drop(request.answer.send(Err(error))),
            }
        }
        while let Some(Obeyed { request, remark, .. }) =
            self.obeyed.pop_front_if(|obeyed| self.release.allows(obeyed.lsn))
        {
            busy = true;
            drop(request.answer.send(Ok(remark)));
        }
        busy
    }

    /// Passes on gap requests that only the journal can answer, and sends what it had.
    fn replay(&mut self, now: Now) -> bool {
        let mut busy = false;
        while let Some((session, from, until)) = self.reception.take_replay() {
            busy = true;
            let window = self.core.sessions[session].downstream.stream.first();
            match &mut self.replays {
                Some(replays) => replays.ask(Question { session, from, until, window }),
                None => self.reception.close(session, CloseReason::Administrative, now, &mut self.core),
            }
        }
        while let Some(Ok(answer)) = self.replays.as_mut().map(|replays| replays.answers.pop()) {
            busy = true;
            if answer.messages.is_empty() {
                tracing::warn!(session = answer.session, "messages asked for are gone from the journal");
                self.reception.close(answer.session, CloseReason::Administrative, now, &mut self.core);
            } else {
                self.reception.send_replayed(&answer, &mut self.core, &mut self.port);
            }
        }
        busy
    }

    /// Ends good-till-time orders that are due although no input came to tell the time.
    fn pass_time(&mut self, now: Now) {
        if self.core.shard.expires_by(now.timestamp_ns)
            && let Err(error) = self.core.input(&Input::Timer, now.timestamp_ns)
        {
            tracing::error!(%error, "timer");
        }
    }

    /// Lets go what the log has made as durable as configured since the last look.
    #[inline]
    fn release(&mut self) {
        let releasable = self.core.log.releasable();
        self.release.advance(&mut self.core.sessions, self.core.last, releasable);
    }

    /// Builds and queues datagrams for every marked session until it has nothing more or the port is full, then kicks. Sessions take
    /// turns: who finds the port full is the first in the next round.
    #[inline]
    fn send(&mut self, now: Now) -> Result<(), RunError> {
        self.reception.send_replies(now, &self.release, &mut self.core.sessions, &mut self.port);
        self.is_full = false;
        while let Some(session) = self.core.sessions.unmark() {
            let mut sent = self.reception.send(session, now, &mut self.core, &mut self.port);
            if !sent {
                // Handing over what is queued makes room at once where the port sends within the call.
                self.port.flush()?;
                sent = self.reception.send(session, now, &mut self.core, &mut self.port);
            }
            if !sent {
                self.core.sessions.mark_first(session);
                self.is_full = true;
                break;
            }
            self.schedule(session);
        }
        Ok(self.port.flush()?)
    }

    /// Has the session looked at again when its next timer is due.
    #[inline]
    fn schedule(&mut self, session: SessionId) {
        let deadline = self.reception.deadline(session, &self.core);
        if deadline != u64::MAX {
            self.wheel.schedule(session, deadline);
        }
    }

    /// Market data, after the replies have left. Returns whether some waits for the next departure.
    #[inline]
    fn send_feed(&mut self, now: Now) -> Result<bool, RunError> {
        let (Some(publisher), Some(feed)) = (&mut self.publisher, &mut self.core.sessions.feed) else {
            return Ok(false);
        };
        if publisher.is_due(feed, now.monotonic_ns) {
            publisher.publish(feed, &mut self.port, now.monotonic_ns);
            self.port.flush()?;
        }
        Ok(feed.waits_for_port())
    }

    /// The rest of the feed and the end of its session, told a few times as nobody acknowledges it.
    fn end_feed(&mut self, now: Now) -> Result<(), RunError> {
        for _ in 0..END_ATTEMPTS {
            self.release();
            let (Some(publisher), Some(feed)) = (&mut self.publisher, &mut self.core.sessions.feed) else {
                return Ok(());
            };
            if feed.waits_for_port() {
                publisher.publish(feed, &mut self.port, now.monotonic_ns);
                self.port.flush()?;
            } else if feed.stream.sent() < feed.stream.next() {
                // Only the disk is still awaited.
                std::thread::sleep(END_DISK_PAUSE);
            } else {
                break;
            }
        }
        let (Some(publisher), Some(feed)) = (&mut self.publisher, &self.core.sessions.feed) else {
            return Ok(());
        };
        for _ in 0..END_REPETITIONS {
            publisher.say_end(&feed.stream, &mut self.port);
            self.port.flush()?;
            std::thread::sleep(END_PAUSE);
        }
        Ok(())
    }

    fn publish(&mut self, now: Now) {
        let report = Report {
            uptime_ns: now.monotonic_ns,
            port: self.port.statistics(),
            ingress: self.reception.counters,
            shard: self.core.shard.counters(),
            sessions: self.core.shard.sessions() as u64,
            bound: self.core.sessions.bound() as u64,
            logins_waiting: self.reception.logins_waiting() as u64,
            resting_orders: self.core.shard.market().live_orders() as u64,
            last_record: self.core.last.0,
            releasable_record: self.core.log.releasable().0,
            waiting: self.release.len() as u64,
            feed: self.publisher.as_ref().map(|publisher| publisher.counters).unwrap_or_default(),
            clock: self.clock.figures(),
        };
        self.report.publish(&report);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::Accounts;
    use crate::accounts::keyed::Key;
    use crate::accounts::verify::VerifierHandle;
    use crate::assembly::{Assembly, Parts};
    use crate::config::{Config, JournalConfig, LimitsConfig};
    use crate::log::error::AppendError;
    use book::TradingState;
    use netio::udp::{UdpOptions, UdpPort};
    use std::cell::Cell;
    use std::rc::Rc;
    use tokio::sync::oneshot;

    /// Takes every record; the test says what is kept.
    struct Held {
        last: Lsn,
        kept: Rc<Cell<Lsn>>,
    }

    impl Log for Held {
        fn append_parts(&mut self, _: u8, _: u64, _: &[&[u8]]) -> Result<Lsn, AppendError> {
            self.last = self.last.next();
            Ok(self.last)
        }

        fn releasable(&self) -> Lsn {
            self.kept.get()
        }
    }

    #[test]
    fn a_command_is_done_when_its_record_is_kept() {
        let config = Config {
            journal: JournalConfig { durability: Durability::Disk, ..JournalConfig::default() },
            limits: LimitsConfig {
                max_orders: 16,
                max_price_levels: 16,
                max_instruments: 4,
                ..LimitsConfig::default()
            },
            ..Config::default()
        };
        let kept = Rc::new(Cell::new(Lsn(0)));
        let mut assembly = Assembly::new(&config, 0);
        let log = Held { last: Lsn(0), kept: Rc::clone(&kept) };
        let core = assembly.core(None, log, 1).expect("a core");
        let (verifier, _questions, _answers) =
            VerifierHandle::by_hand(Key::from_bytes([0; 32])).expect("a verifier");
        let (mut operator, requests) = rtrb::RingBuffer::new(4);
        let parts = Parts {
            clock: Clock::new(0),
            accounts: Accounts::new(Vec::new().into()),
            verifier,
            stop: Arc::default(),
            report: SharedReport::default(),
            requests,
            replays: None,
            gateway: None,
            publisher: None,
        };
        let port = UdpPort::bind(std::net::SocketAddr::from(([127, 0, 0, 1], 0)), &UdpOptions::default())
            .expect("a port");
        let mut runner = assembly.runner(port, core, parts);
        let mut turn = |milliseconds: u64| {
            let now = milliseconds * 1_000_000;
            runner.turn_at(0, Now { monotonic_ns: now, timestamp_ns: now }).expect("a turn");
        };
        let (answer, mut answered) = oneshot::channel();
        let input = Input::SetState { symbol: None, state: TradingState::Halted };
        operator.push(AdminRequest { input, dry_run: false, answer }).expect("room");
        (1..4).for_each(&mut turn);
        assert!(answered.try_recv().is_err(), "its record is not kept yet");
        kept.set(Lsn(u64::MAX));
        (4..7).for_each(&mut turn);
        assert!(matches!(answered.try_recv(), Ok(Ok(_))));
    }
}
