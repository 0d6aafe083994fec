//! A tiny engine for the tests: logins, streams and answers. Without a matcher it executes nothing and remembers only open orders.

use std::collections::HashMap;

use netio::{Peer, Port};
use streams::{Duplex, ParkingPool, ReceiveConfig, SendConfig};
use wire::control::{self, Reply};
use wire::moldudp64::{CONTROL_SESSION, Packet as MoldPacket, SESSION_LENGTH};
use wire::ouch::inbound::{EnterOrder, ReplaceOrder};
use wire::ouch::outbound::{
    AccountQueryResponse, OrderAccepted, OrderCanceled, OrderExecuted, OrderRejected, OrderReplaced,
};
use wire::ouch::{Inbound, MAX_MESSAGE_LENGTH, reject_reason, time_in_force};
use wire::soupbintcp::LoginAccepted;

use crate::client::pack_reply;
use crate::mix::Side;
use crate::replay::matcher::Matcher;
use crate::replay::plan::{Answer, Party, Request};
use crate::replay::verify::Arrived;

/// What the scripted engine does other than its duty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Script {
    /// Rejects logins for this reason.
    pub reject_logins: Option<u8>,
    /// The number that the first order of a session has to carry; 0 is 1.
    pub first_number: u32,
    /// Never answers every n-th order.
    pub swallow_every: u64,
    /// Answers every n-th order twice.
    pub double_every: u64,
    /// Rejects every n-th order.
    pub reject_every: u64,
}

pub struct Session {
    user: [u8; 6],
    peer: Peer,
    duplex: Duplex,
    next_urn: u32,
    open: HashMap<u32, u32>,
}

pub struct ScriptedEngine<P: Port> {
    pub port: P,
    pub script: Script,
    /// Matches the orders of the first session (maker) and the second (taker).
    pub matcher: Option<Matcher>,
    pub sessions: Vec<Session>,
    pool: ParkingPool,
    pub orders: u64,
    pub logouts: u64,
}

fn token(index: usize) -> [u8; SESSION_LENGTH] {
    let text = format!("D{index:09}");
    let mut name = [b'0'; SESSION_LENGTH];
    name.copy_from_slice(text.as_bytes());
    name
}

impl<P: Port> ScriptedEngine<P> {
    pub fn new(port: P, script: Script) -> Self {
        ScriptedEngine {
            matcher: None,
            port,
            script,
            sessions: Vec::new(),
            pool: ParkingPool::new(256, 1452),
            orders: 0,
            logouts: 0,
        }
    }

    pub fn open_orders(&self) -> usize {
        self.sessions.iter().map(|session| session.open.len()).sum()
    }

    pub fn step(&mut self, now_ns: u64) {
        let count = self.port.receive().unwrap();
        for index in 0..count {
            let (peer, payload) = self.port.datagram(index);
            let (peer, payload) = (*peer, payload.to_vec());
            if payload.starts_with(&CONTROL_SESSION) {
                self.control(peer, &payload, now_ns);
                continue;
            }
            for index in 0..self.sessions.len() {
                let mut inputs = Vec::new();
                let session = &mut self.sessions[index];
                session.duplex.on_datagram(&payload, now_ns, &mut self.pool, |run| {
                    inputs.extend(run.messages().map(|(_, message)| message.to_vec()));
                });
                for input in inputs {
                    match &mut self.matcher {
                        Some(matcher) => match_order(matcher, &mut self.sessions, index, &input),
                        None => answer(&mut self.sessions[index], &self.script, &mut self.orders, &input),
                    }
                }
            }
        }
        for session in &mut self.sessions {
            if now_ns >= session.duplex.next_deadline() {
                session.duplex.on_timer(now_ns);
            }
            loop {
                let mut length = 0;
                let (duplex, pool) = (&mut session.duplex, &self.pool);
                let sent = self.port.send(&session.peer, |out| {
                    length = duplex.pack(now_ns, u64::MAX, pool, out).unwrap_or(0);
                    length
                });
                if sent.is_err() || length == 0 {
                    break;
                }
            }
        }
        self.port.flush().unwrap();
    }

    fn control(&mut self, peer: Peer, payload: &[u8], now_ns: u64) {
        let Ok(packet) = MoldPacket::parse(payload) else { return };
        let Some(body) = packet.blocks().next() else { return };
        match control::Request::decode(body) {
            Ok(control::Request::Login { request, .. }) => {
                if let Some(reason) = self.script.reject_logins {
                    let _ = self.port.send(&peer, |out| pack_reply(&Reply::Rejected { reason }, out));
                    return;
                }
                let known = self.sessions.iter().position(|session| session.user == request.username);
                let index = known.unwrap_or(self.sessions.len());
                let name = token(index);
                if known.is_none() {
                    let mut upstream = name;
                    upstream[0] = b'U';
                    let send =
                        SendConfig { ring_bytes: 1 << 22, ring_messages: 1 << 16, ..SendConfig::engine() };
                    let duplex =
                        Duplex::new((send, name, 1), (ReceiveConfig::default(), upstream, 1), now_ns);
                    let open = HashMap::new();
                    let next_urn = self.script.first_number.max(1);
                    self.sessions.push(Session { user: request.username, peer, duplex, next_urn, open });
                }
                let session = &mut self.sessions[index];
                session.peer = peer;
                if request.requested_sequence > 0 {
                    session.duplex.send.resume_from(request.requested_sequence, now_ns).unwrap();
                }
                let accepted = LoginAccepted { session: name, sequence: session.duplex.send.sent() };
                let _ = self.port.send(&peer, |out| pack_reply(&Reply::Accepted(accepted), out));
                session.duplex.receive.request_ack();
            }
            Ok(control::Request::Logout { session: Some(session) }) => {
                assert_eq!(
                    self.sessions.iter().filter(|known| *known.duplex.send.session() == session).count(),
                    1
                );
                self.logouts += 1;
            }
            Ok(control::Request::Ride { session: name }) => {
                let known = self.sessions.iter_mut().find(|known| *known.duplex.send.session() == name);
                known.unwrap().duplex.set_rides(true);
            }
            other => panic!("unexpected control packet {other:?}"),
        }
    }
}

fn answer(session: &mut Session, script: &Script, orders: &mut u64, input: &[u8]) {
    let Session { duplex, next_urn, open, .. } = session;
    let mut reply = |message: &dyn Fn(&mut [u8]) -> usize| {
        duplex.send.push(MAX_MESSAGE_LENGTH, |out| message(out)).unwrap();
    };
    *orders += 1;
    let every = |interval: u64| interval > 0 && orders.is_multiple_of(interval);
    match Inbound::decode(input).unwrap() {
        Inbound::EnterOrder(enter) => {
            let EnterOrder { user_ref_num, side, quantity, symbol, price, time_in_force, .. } =
                enter.to_owned();
            assert!(user_ref_num >= *next_urn, "numbers must rise");
            *next_urn = user_ref_num + 1;
            if every(script.swallow_every) {
                return;
            }
            if every(script.reject_every) {
                let reason = reject_reason::INVALID_SYMBOL;
                let rejected = OrderRejected { timestamp: 1, user_ref_num, reason, cl_ord_id: [b' '; 14] };
                return reply(&|out| rejected.write(&[], out));
            }
            let accepted =
                OrderAccepted { side, symbol, time_in_force, ..accepted(user_ref_num, quantity, price) };
            reply(&|out| accepted.write(&[], out));
            if every(script.double_every) {
                reply(&|out| accepted.write(&[], out));
            }
            if time_in_force == time_in_force::IOC {
                let canceled = OrderCanceled { timestamp: 1, user_ref_num, quantity, reason: b'I' };
                reply(&|out| canceled.write(&[], out));
            } else {
                open.insert(user_ref_num, quantity);
            }
        }
        Inbound::CancelOrder(cancel) => {
            let user_ref_num = cancel.user_ref_num();
            if let Some(quantity) = open.remove(&user_ref_num) {
                let canceled = OrderCanceled { timestamp: 1, user_ref_num, quantity, reason: b'U' };
                reply(&|out| canceled.write(&[], out));
            }
        }
        Inbound::ReplaceOrder(replace) => {
            let ReplaceOrder { orig_user_ref_num, user_ref_num, quantity, price, .. } = replace.to_owned();
            if open.remove(&orig_user_ref_num).is_some() {
                *next_urn = user_ref_num + 1;
                open.insert(user_ref_num, quantity);
                let replaced = replaced(orig_user_ref_num, user_ref_num, quantity, price);
                reply(&|out| replaced.write(&[], out));
            }
        }
        Inbound::AccountQuery(_) => {
            let response = AccountQueryResponse { timestamp: 1, next_user_ref_num: *next_urn };
            reply(&|out| response.write(&[], out));
        }
        other => panic!("unexpected {other:?}"),
    }
}

fn accepted(user_ref_num: u32, quantity: u32, price: u64) -> OrderAccepted {
    OrderAccepted {
        timestamp: 1,
        user_ref_num,
        side: b'B',
        quantity,
        symbol: *b"DEMO    ",
        price,
        time_in_force: b'0',
        display: b'Y',
        order_reference_number: 7,
        capacity: b'A',
        inter_market_sweep_eligibility: b'N',
        cross_type: b'N',
        order_state: b'L',
        cl_ord_id: [b' '; 14],
    }
}

fn replaced(orig_user_ref_num: u32, user_ref_num: u32, quantity: u32, price: u64) -> OrderReplaced {
    OrderReplaced {
        timestamp: 1,
        orig_user_ref_num,
        user_ref_num,
        side: b'B',
        quantity,
        symbol: *b"DEMO    ",
        price,
        time_in_force: b'0',
        display: b'Y',
        order_reference_number: 8,
        capacity: b'A',
        inter_market_sweep_eligibility: b'N',
        cross_type: b'N',
        order_state: b'L',
        cl_ord_id: [b' '; 14],
    }
}

fn match_order(matcher: &mut Matcher, sessions: &mut [Session], index: usize, input: &[u8]) {
    let party = if index == 0 { Party::Maker } else { Party::Taker };
    let request = match Inbound::decode(input).unwrap() {
        Inbound::EnterOrder(enter) => Request::Enter {
            urn: enter.user_ref_num(),
            symbol: enter.symbol(),
            side: if enter.side() == b'B' { Side::Buy } else { Side::Sell },
            quantity: enter.quantity(),
            price: enter.price(),
            immediate: enter.time_in_force() == time_in_force::IOC,
        },
        Inbound::CancelOrder(cancel) => {
            Request::Cancel { urn: cancel.user_ref_num(), total: cancel.quantity() }
        }
        Inbound::ReplaceOrder(replace) => Request::Replace {
            original: replace.orig_user_ref_num(),
            urn: replace.user_ref_num(),
            total: replace.quantity(),
            price: replace.price(),
        },
        Inbound::AccountQuery(_) => {
            let response = AccountQueryResponse { timestamp: 1, next_user_ref_num: sessions[index].next_urn };
            sessions[index].duplex.send.push(MAX_MESSAGE_LENGTH, |out| response.write(&[], out)).unwrap();
            return;
        }
        other => panic!("unexpected {other:?}"),
    };
    if let Request::Enter { urn, .. } | Request::Replace { urn, .. } = request {
        sessions[index].next_urn = urn + 1;
    }
    matcher.apply(party, request);
    for (party, arrived) in matcher.answers.drain(..) {
        let stream = &mut sessions[party.index()].duplex.send;
        let pushed = stream.push(MAX_MESSAGE_LENGTH, |out| match arrived {
            Arrived::Answer(Answer::Accepted { urn, quantity, price }) => {
                accepted(urn, quantity, price).write(&[], out)
            }
            Arrived::Answer(Answer::Replaced { original, urn, quantity, price }) => {
                replaced(original, urn, quantity, price).write(&[], out)
            }
            Arrived::Answer(Answer::Canceled { urn, quantity }) => {
                OrderCanceled { timestamp: 1, user_ref_num: urn, quantity, reason: b'U' }.write(&[], out)
            }
            Arrived::Execution { urn, quantity, price, match_number } => OrderExecuted {
                timestamp: 1,
                user_ref_num: urn,
                quantity,
                price,
                liquidity_flag: b'A',
                match_number,
            }
            .write(&[], out),
            other => panic!("the matcher does not say {other:?}"),
        });
        pushed.unwrap();
    }
}
