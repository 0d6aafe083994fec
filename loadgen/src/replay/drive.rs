//! Carries a replay out: two sessions over one port, the plan of [`Flow`] sent in the sequence of the file, every answer to the
//! [`Verifier`].
//!
//! Within a session requests are pipelined. The engine processes each session in order, but two sessions in whatever order their
//! datagrams arrive: so before the other session goes on, everything the first one led to has to be there.

use std::collections::VecDeque;

use netio::{Peer, Port, PortError};
use streams::{ParkingPool, ReceiveConfig, Run, SendConfig};
use wire::control::Reply;
use wire::moldudp64::{CONTROL_SESSION, HEADER_LENGTH, MAX_PAYLOAD, SESSION_LENGTH};
use wire::ouch::inbound::{AccountQuery, CancelOrder, EnterOrder, ReplaceOrder};
use wire::ouch::{Outbound, capacity, cross_type, display, time_in_force};

use super::event::{EventSource, ReadError};
use super::flow::Flow;
use super::plan::{Answer, Party, Planned, Request};
use super::verify::{Arrived, Verifier};
use crate::client::{Client, Credentials, Outcome, State, parse_reply};
use crate::clock::Clock;

const PARTIES: [Party; 2] = [Party::Maker, Party::Taker];
const PARKED_DATAGRAMS: u32 = 256;
/// Requests sent before the answers are looked at.
const REQUESTS_PER_ROUND: usize = 256;
/// Without news for this long an engine is taken for gone.
const SILENCE_NS: u64 = 15_000_000_000;

#[derive(Debug, Clone)]
pub struct DriveSettings {
    pub connect_timeout_ns: u64,
    /// How long an expected answer may take.
    pub answer_timeout_ns: u64,
    /// Events to take from the file at most.
    pub events_max: u64,
    /// Only these instruments; empty means all.
    pub only_symbols: Vec<[u8; 8]>,
}

#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    #[error(transparent)]
    Port(#[from] PortError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(
        "no answer to the logins of {user} at {target} within {seconds:.0} s: expected a Pitlane engine there"
    )]
    Unreachable { user: String, target: String, seconds: f64 },
    #[error("{user} at {target}: {reason}")]
    Client { user: String, target: String, reason: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Connecting {
        deadline_ns: u64,
    },
    Sending,
    /// Everything was sent and answered: asks for the next numbers, after which nothing unexpected can be under way.
    Fencing,
    Done,
}

struct Session {
    client: Client,
    /// The next UserRefNum as the engine says it, each time it was asked.
    next_urn: Option<u32>,
    asked: bool,
}

/// See the module's documentation.
pub struct Drive<P: Port, C: Clock, S: EventSource> {
    port: P,
    clock: C,
    source: S,
    settings: DriveSettings,
    sessions: [Session; 2],
    pool: ParkingPool,
    phase: Phase,
    flow: Flow,
    verifier: Verifier,
    planned: VecDeque<Planned>,
    current: Party,
    source_ended: bool,
    progress_ns: u64,
    started_ns: u64,
    finished_ns: u64,
    requests: u64,
    switches: u64,
}

/// What a replay leaves behind.
pub struct Driven {
    pub flow: Flow,
    pub verifier: Verifier,
    pub requests: u64,
    /// How often the sending session changed, each time after waiting for all answers.
    pub switches: u64,
    pub elapsed_ns: u64,
    pub retransmitted_messages: u64,
}

impl<P: Port, C: Clock, S: EventSource> Drive<P, C, S> {
    /// The first account is the maker, the second the taker; each has the peer of the same place.
    pub fn new(
        port: P,
        clock: C,
        source: S,
        accounts: [Credentials; 2],
        peers: [Peer; 2],
        settings: DriveSettings,
    ) -> Self {
        let now_ns = clock.now_ns();
        let session = |index: usize| {
            let client =
                Client::new(accounts[index], peers[index], SendConfig::client(), ReceiveConfig::default());
            Session { client, next_urn: None, asked: false }
        };
        let mut drive = Drive {
            pool: ParkingPool::new(PARKED_DATAGRAMS, MAX_PAYLOAD - HEADER_LENGTH),
            phase: Phase::Connecting { deadline_ns: now_ns + settings.connect_timeout_ns },
            flow: Flow::new(1, 1, settings.only_symbols.clone()),
            verifier: Verifier::default(),
            planned: VecDeque::new(),
            current: Party::Maker,
            source_ended: false,
            progress_ns: now_ns,
            started_ns: now_ns,
            finished_ns: now_ns,
            requests: 0,
            switches: 0,
            sessions: [session(0), session(1)],
            port,
            clock,
            source,
            settings,
        };
        drive.sessions[0].client.login(now_ns);
        drive
    }

    pub fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// For the owner's idle strategy.
    pub fn port(&mut self) -> &mut P {
        &mut self.port
    }

    pub fn events(&self) -> u64 {
        self.flow.counts.events
    }

    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Takes the file to end here.
    pub fn cut_short(&mut self) {
        self.settings.events_max = 0;
    }

    pub fn finish(mut self) -> Driven {
        self.verifier.finish();
        let sent = |session: &Session| {
            session.client.duplex().map_or(0, |duplex| duplex.send.statistics().retransmitted_messages)
        };
        Driven {
            retransmitted_messages: self.sessions.iter().map(sent).sum(),
            flow: self.flow,
            verifier: self.verifier,
            requests: self.requests,
            switches: self.switches,
            elapsed_ns: self.finished_ns.saturating_sub(self.started_ns),
        }
    }

    /// One round. True if something was received or sent.
    pub fn step(&mut self) -> Result<bool, DriveError> {
        let outstanding = self.verifier.outstanding();
        let received = self.receive()?;
        let now_ns = self.clock.now_ns();
        if self.verifier.outstanding() != outstanding {
            self.progress_ns = now_ns;
        }
        let requests = self.requests;
        match self.phase {
            Phase::Connecting { deadline_ns } => self.connect(now_ns, deadline_ns)?,
            Phase::Sending => self.send(now_ns)?,
            Phase::Fencing => self.fence(now_ns),
            Phase::Done => return Ok(false),
        }
        self.see_to_timers(now_ns)?;
        for index in 0..2 {
            self.pump(index, now_ns);
        }
        self.port.flush()?;
        Ok(received > 0 || requests != self.requests)
    }

    fn receive(&mut self) -> Result<usize, DriveError> {
        let count = self.port.receive()?;
        let now_ns = self.clock.now_ns();
        for index in 0..count {
            let (_, payload) = self.port.datagram(index);
            let Some(name) = payload.first_chunk::<SESSION_LENGTH>() else { continue };
            if *name == CONTROL_SESSION {
                let logging_in = |session: &&mut Session| session.client.state() == State::LoggingIn;
                // One login is under way at a time; a repeated answer names a session that is known.
                let outcome = match parse_reply(payload) {
                    Some(Reply::Accepted(accepted)) => self
                        .sessions
                        .iter_mut()
                        .find(|session| {
                            session.client.downstream().is_none_or(|known| *known == accepted.session)
                        })
                        .map(|session| session.client.on_accepted(&accepted, now_ns, &mut self.pool)),
                    Some(Reply::Rejected { reason }) => {
                        let found = self.sessions.iter_mut().find(logging_in);
                        found.map(|session| session.client.on_rejected(reason))
                    }
                    Some(Reply::Challenge { cookie }) => {
                        let found = self.sessions.iter_mut().find(logging_in);
                        found.map(|session| session.client.on_challenge(cookie, now_ns))
                    }
                    Some(Reply::EndOfSession { session: name }) => {
                        let ended = self
                            .sessions
                            .iter_mut()
                            .find(|session| session.client.downstream() == Some(&name));
                        ended.map(|session| session.client.on_end(&name))
                    }
                    _ => None,
                };
                if outcome == Some(Outcome::Failed) {
                    return Err(self.client_error());
                }
                continue;
            }
            let mut upstream = *name;
            upstream[0] = b'D';
            let mut sessions = self.sessions.iter_mut().zip(PARTIES);
            let Some((session, party)) =
                sessions.find(|(session, _)| session.client.downstream() == Some(&upstream))
            else {
                continue;
            };
            let Session { client, next_urn, .. } = session;
            let verifier = &mut self.verifier;
            let outcome = client.on_datagram(payload, now_ns, &mut self.pool, |run| {
                compare(verifier, party, next_urn, &run);
            });
            if outcome == Outcome::Failed {
                return Err(self.client_error());
            }
        }
        Ok(count)
    }

    fn client_error(&self) -> DriveError {
        let failed = self.sessions.iter().find_map(|session| match session.client.state() {
            State::Failed(failure) => Some((session, failure.describe())),
            _ => None,
        });
        let (session, reason) =
            failed.unwrap_or((&self.sessions[0], "the session failed without a reason".to_owned()));
        self.error(session, reason)
    }

    fn error(&self, session: &Session, reason: String) -> DriveError {
        let client = &session.client;
        DriveError::Client {
            user: client.credentials().user(),
            target: client.peer().remote.to_string(),
            reason,
        }
    }

    fn connect(&mut self, now_ns: u64, deadline_ns: u64) -> Result<(), DriveError> {
        if self.sessions[0].client.state() != State::LoggingIn
            && self.sessions[1].client.state() == State::Idle
        {
            self.sessions[1].client.login(now_ns);
        }
        for session in &mut self.sessions {
            if session.client.is_active() && !session.asked {
                session.asked = ask(&mut session.client);
            }
        }
        if let (Some(maker), Some(taker)) = (self.sessions[0].next_urn, self.sessions[1].next_urn) {
            self.flow = Flow::new(maker, taker, self.settings.only_symbols.clone());
            for session in &mut self.sessions {
                (session.next_urn, session.asked) = (None, false);
            }
            self.started_ns = now_ns;
            self.phase = Phase::Sending;
        } else if now_ns >= deadline_ns {
            let missing = self.sessions.iter().find(|session| session.next_urn.is_none());
            let client = &missing.unwrap_or(&self.sessions[0]).client;
            return Err(DriveError::Unreachable {
                user: client.credentials().user(),
                target: client.peer().remote.to_string(),
                seconds: self.settings.connect_timeout_ns as f64 / 1e9,
            });
        }
        Ok(())
    }

    fn send(&mut self, now_ns: u64) -> Result<(), DriveError> {
        for _ in 0..REQUESTS_PER_ROUND {
            self.read_ahead()?;
            let Some(next) = self.planned.front() else {
                if self.verifier.outstanding() == 0 {
                    self.finished_ns = now_ns;
                    self.phase = Phase::Fencing;
                }
                break;
            };
            if next.party != self.current {
                if self.verifier.outstanding() > 0 {
                    break;
                }
                self.current = next.party;
                self.switches += 1;
            }
            let client = &mut self.sessions[next.party.index()].client;
            if !push(client, &next.request) {
                break;
            }
            self.verifier.expect(next);
            self.planned.pop_front();
            self.requests += 1;
            self.progress_ns = now_ns;
        }
        if self.verifier.outstanding() > 0 && now_ns >= self.progress_ns + self.settings.answer_timeout_ns {
            // What is missing is named by the verifier; going on would compare against a state that is not there.
            self.finished_ns = now_ns;
            self.log_out(now_ns);
        }
        Ok(())
    }

    /// Takes events from the file until there is something to send.
    fn read_ahead(&mut self) -> Result<(), DriveError> {
        while self.planned.is_empty() && !self.source_ended {
            let event = if self.flow.counts.events < self.settings.events_max {
                self.source.next_event()?
            } else {
                None
            };
            match event {
                Some(event) => self.flow.push(&event, &mut self.planned),
                None => {
                    self.source_ended = true;
                    self.flow.finish(&mut self.planned);
                }
            }
        }
        Ok(())
    }

    fn fence(&mut self, now_ns: u64) {
        for session in &mut self.sessions {
            if !session.asked {
                session.asked = ask(&mut session.client);
                self.progress_ns = now_ns;
            }
        }
        if let (Some(maker), Some(taker)) = (self.sessions[0].next_urn, self.sessions[1].next_urn) {
            let expected = self.flow.next_urns();
            for (party, got, expected) in
                [(Party::Maker, maker, expected.0), (Party::Taker, taker, expected.1)]
            {
                if got != expected {
                    let what =
                        format!("the engine's next order number is {got}, the file implies {expected}");
                    self.verifier.note_difference(party, what);
                }
            }
            self.log_out(now_ns);
        } else if now_ns >= self.progress_ns + self.settings.answer_timeout_ns {
            let what = "no answer to the final account query".to_owned();
            self.verifier.note_difference(Party::Maker, what);
            self.log_out(now_ns);
        }
    }

    fn log_out(&mut self, now_ns: u64) {
        for index in 0..2 {
            self.sessions[index].client.close();
            self.pump(index, now_ns);
            let client = &mut self.sessions[index].client;
            let (peer, pool) = (*client.peer(), &mut self.pool);
            // Not repeated: the engine's session timeout does the rest.
            let _ = self.port.send(&peer, |out| client.pack_logout(pool, out));
        }
        self.phase = Phase::Done;
    }

    fn see_to_timers(&mut self, now_ns: u64) -> Result<(), DriveError> {
        for index in 0..2 {
            let client = &mut self.sessions[index].client;
            if client.wants_login(now_ns) {
                let peer = *client.peer();
                let _ = self.port.send(&peer, |out| client.pack_login(now_ns, out));
            } else if now_ns >= client.next_deadline() {
                client.on_timer(now_ns);
            }
            if client.is_active() && now_ns >= client.last_heard_ns().saturating_add(SILENCE_NS) {
                let reason = "nothing was heard of the engine for 15 s".to_owned();
                return Err(self.error(&self.sessions[index], reason));
            }
        }
        Ok(())
    }

    fn pump(&mut self, index: usize, now_ns: u64) {
        let client = &mut self.sessions[index].client;
        let peer = *client.peer();
        while client.wants_to_send() {
            let mut length = 0;
            let pool = &self.pool;
            let sent = self.port.send(&peer, |out| {
                length = client.pack(now_ns, pool, out);
                length
            });
            if sent.is_err() || length == 0 {
                break;
            }
        }
    }
}

fn ask(client: &mut Client) -> bool {
    client.push(AccountQuery::LENGTH, |out| AccountQuery {}.write(&[], out)).is_ok()
}

fn push(client: &mut Client, request: &Request) -> bool {
    let cl_ord_id = [b' '; 14];
    let pushed = client.push(EnterOrder::LENGTH, |out| match *request {
        Request::Enter { urn, symbol, side, quantity, price, immediate } => EnterOrder {
            user_ref_num: urn,
            side: side.wire(),
            quantity,
            symbol,
            price,
            time_in_force: if immediate { time_in_force::IOC } else { time_in_force::DAY },
            display: display::VISIBLE,
            capacity: capacity::AGENCY,
            inter_market_sweep_eligibility: b'N',
            cross_type: cross_type::CONTINUOUS,
            cl_ord_id,
        }
        .write(&[], out),
        Request::Cancel { urn, total } => CancelOrder { user_ref_num: urn, quantity: total }.write(&[], out),
        Request::Replace { original, urn, total, price } => ReplaceOrder {
            orig_user_ref_num: original,
            user_ref_num: urn,
            quantity: total,
            price,
            time_in_force: time_in_force::DAY,
            display: display::VISIBLE,
            inter_market_sweep_eligibility: b'N',
            cl_ord_id,
        }
        .write(&[], out),
    });
    pushed.is_ok()
}

/// Hands every message of a run to the verifier.
fn compare(verifier: &mut Verifier, party: Party, next_urn: &mut Option<u32>, run: &Run<'_>) {
    for (_, message) in run.messages() {
        let arrived = match Outbound::decode(message) {
            Ok(Outbound::OrderAccepted(accepted)) => Arrived::Answer(Answer::Accepted {
                urn: accepted.user_ref_num(),
                quantity: accepted.quantity(),
                price: accepted.price(),
            }),
            Ok(Outbound::OrderReplaced(replaced)) => Arrived::Answer(Answer::Replaced {
                original: replaced.orig_user_ref_num(),
                urn: replaced.user_ref_num(),
                quantity: replaced.quantity(),
                price: replaced.price(),
            }),
            Ok(Outbound::OrderCanceled(canceled)) => Arrived::Answer(Answer::Canceled {
                urn: canceled.user_ref_num(),
                quantity: canceled.quantity(),
            }),
            Ok(Outbound::OrderExecuted(executed)) => Arrived::Execution {
                urn: executed.user_ref_num(),
                quantity: executed.quantity(),
                price: executed.price(),
                match_number: executed.match_number(),
            },
            Ok(Outbound::OrderRejected(rejected)) => {
                Arrived::Rejected { urn: rejected.user_ref_num(), reason: rejected.reason() }
            }
            Ok(Outbound::AccountQueryResponse(response)) => {
                *next_urn = Some(response.next_user_ref_num());
                continue;
            }
            Ok(Outbound::SystemEvent(_)) => continue,
            Ok(_) | Err(_) => Arrived::Other(message.first().copied().unwrap_or(0)),
        };
        verifier.on_message(party, arrived);
    }
}
