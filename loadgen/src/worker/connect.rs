//! The part of a worker that logs its participants in. It places no order.

use std::sync::atomic::Ordering;

use netio::Port;
use wire::control::Reply;

use super::{Logins, Phase, Worker};
use crate::client::{Outcome, State, parse_reply};
use crate::clock::Clock;
use crate::coordination::WorkerError;
use crate::participant::Participant;

impl<P: Port, C: Clock> Worker<'_, P, C> {
    /// Takes the answer to a login.
    pub(super) fn take_control(&mut self, index: usize, now_ns: u64) -> Result<(), WorkerError> {
        let (peer, payload) = self.port.datagram(index);
        let pending = |participants: &[Participant], logins: &[Logins]| {
            let mut current = logins.iter().flat_map(|logins| &logins.current);
            current.find(|&&at| participants[at as usize].client.is_at(peer)).copied()
        };
        let outcome = match parse_reply(payload) {
            Some(Reply::Accepted(accepted)) => {
                let known = self.directory.find(&accepted.session);
                known.or_else(|| pending(&self.participants, &self.logins)).map(|at| {
                    self.directory.insert(&accepted.session, at);
                    let client = &mut self.participants[at as usize].client;
                    (at, client.on_accepted(&accepted, now_ns, &mut self.pool))
                })
            }
            Some(Reply::Rejected { reason }) => pending(&self.participants, &self.logins)
                .map(|at| (at, self.participants[at as usize].client.on_rejected(reason))),
            Some(Reply::Challenge { cookie }) => pending(&self.participants, &self.logins)
                .map(|at| (at, self.participants[at as usize].client.on_challenge(cookie, now_ns))),
            _ => None,
        };
        match outcome {
            Some((at, Outcome::Failed)) => Err(self.client_error(at)),
            Some(_) => Ok(()),
            None => {
                self.strays += 1;
                Ok(())
            }
        }
    }

    pub(super) fn client_error(&self, at: u32) -> WorkerError {
        let client = &self.participants[at as usize].client;
        let reason = match client.state() {
            State::Failed(failure) => failure.describe(),
            state => format!("in unexpected state {state:?}"),
        };
        WorkerError::Client {
            user: client.credentials().user(),
            target: client.peer().remote.to_string(),
            reason,
        }
    }

    /// Starts logins, as many at once as can be told apart. True if nobody waits any more.
    pub(super) fn advance_logins(&mut self, now_ns: u64) -> bool {
        let mut all_done = true;
        for logins in &mut self.logins {
            logins.current.retain(|&at| self.participants[at as usize].client.state() == State::LoggingIn);
            while logins.current.len() < self.logins_at_once
                && let Some(at) = logins.queue.pop_front()
            {
                logins.current.push(at);
                let client = &mut self.participants[at as usize].client;
                client.login(now_ns);
                let peer = *client.peer();
                // A datagram that does not fit is sent again by the timer.
                let _ = self.port.send(&peer, |out| client.pack_login(now_ns, out));
            }
            all_done &= logins.current.is_empty() && logins.queue.is_empty();
        }
        all_done
    }

    pub(super) fn connect(&mut self, now_ns: u64, deadline_ns: u64) -> Result<(), WorkerError> {
        let logged_in = self.advance_logins(now_ns);
        // What a new session has to say (the query of its number) goes out at once.
        self.pump_waiting(now_ns);
        while self.ready_traders < self.participants.len() && self.participants[self.ready_traders].is_ready()
        {
            self.ready_traders += 1;
        }
        self.gauge.logged_in.store(self.ready_traders as u64, Ordering::Relaxed);
        if logged_in && self.ready_traders == self.participants.len() {
            self.phase = Phase::Waiting;
            self.coordination.ready.fetch_add(1, Ordering::AcqRel);
        } else if now_ns >= deadline_ns {
            let client = &self.participants[self.ready_traders.min(self.participants.len() - 1)].client;
            return Err(WorkerError::Unreachable {
                user: client.credentials().user(),
                target: client.peer().remote.to_string(),
                logins: client.logins_sent,
                seconds: self.settings.connect_timeout_ns as f64 / 1e9,
            });
        }
        Ok(())
    }
}
