//! Logins that wait for their passwords to be checked: bounded in all, by source and by account, each for every proof apart, so
//! that who proves less takes no place from who proves more. Not whether one may try at all: that is `accounts::attempts`.

use super::Route;
use crate::accounts::attempts::{Proof, Source};
use crate::accounts::verify::{QUESTIONS_MAX, TICKETS_MAX};
use std::collections::HashMap;
use wire::soupbintcp::{LoginRequest, canonical};

/// Of one source, by proof. Owners are counted by account only: a thousand of them may sit behind one address.
const PER_SOURCE: [usize; 3] = [16, 128, usize::MAX];
/// Of one account, by proof: one that was given up, and the one after it.
const PER_ACCOUNT: usize = 2;

/// A login whose password is being checked.
#[derive(Debug, Clone)]
pub(super) struct Login {
    /// Where it came from and the answer goes.
    pub origin: Route,
    /// It came to the drop copy port.
    pub drop_copy: bool,
    pub request: LoginRequest,
    /// Place in the account list; none is an unknown user.
    pub account: Option<u32>,
    pub proof: Proof,
    pub source: Source,
    /// A keyed hash of request and origin: a repetition has the same.
    pub fingerprint: u64,
}

enum Ticket {
    Free,
    Out(Box<Login>),
    /// Nobody waits for the answer any more, but it will come: until then the ticket must not be given to another.
    Abandoned(Proof),
}

pub(super) struct Waiting {
    tickets: Vec<Ticket>,
    free: Vec<u32>,
    /// Tickets out, by proof.
    out: [usize; 3],
    /// Looked up only.
    by_fingerprint: HashMap<u64, u32>,
    by_source: HashMap<(Proof, Source), usize>,
    by_user: HashMap<(Proof, [u8; 6]), usize>,
}

impl Waiting {
    pub fn new() -> Self {
        Self {
            tickets: Vec::new(),
            free: Vec::new(),
            out: [0; 3],
            by_fingerprint: HashMap::new(),
            by_source: HashMap::new(),
            by_user: HashMap::new(),
        }
    }

    /// Whether this very login waits already.
    pub fn has(&self, fingerprint: u64) -> bool {
        self.by_fingerprint.contains_key(&fingerprint)
    }

    /// Whether a login of this user waits.
    pub fn has_user(&self, user: [u8; 6]) -> bool {
        let user = canonical(user);
        [Proof::Nothing, Proof::ReturnPath, Proof::Session]
            .iter()
            .any(|&proof| self.by_user.contains_key(&(proof, user)))
    }

    pub fn len(&self) -> usize {
        self.out.iter().sum()
    }

    /// A ticket for the login; none when its like have taken all places.
    pub fn enter(&mut self, login: Login) -> Option<u32> {
        let Login { proof, source, .. } = login;
        let user = canonical(login.request.username);
        let of_source = self.by_source.get(&(proof, source)).copied().unwrap_or(0);
        let of_user = self.by_user.get(&(proof, user)).copied().unwrap_or(0);
        // Who proves nothing comes in only while nearly nobody waits.
        let ahead = if proof == Proof::Nothing { self.len() } else { self.out[proof as usize] };
        if ahead >= QUESTIONS_MAX[proof as usize]
            || of_source >= PER_SOURCE[proof as usize]
            || of_user >= PER_ACCOUNT
            || self.has(login.fingerprint)
        {
            return None;
        }
        let ticket = match self.free.pop() {
            Some(ticket) => ticket,
            None if self.tickets.len() < TICKETS_MAX => {
                self.tickets.push(Ticket::Free);
                self.tickets.len() as u32 - 1
            }
            None => return None,
        };
        self.out[proof as usize] += 1;
        self.by_source.insert((proof, source), of_source + 1);
        self.by_user.insert((proof, user), of_user + 1);
        self.by_fingerprint.insert(login.fingerprint, ticket);
        self.tickets[ticket as usize] = Ticket::Out(Box::new(login));
        Some(ticket)
    }

    /// The answer for this ticket has come: the login, if somebody still waits for it.
    pub fn leave(&mut self, ticket: u32) -> Option<Login> {
        let place = self.tickets.get_mut(ticket as usize)?;
        match std::mem::replace(place, Ticket::Free) {
            Ticket::Free => None,
            Ticket::Abandoned(proof) => {
                self.out[proof as usize] -= 1;
                self.free.push(ticket);
                None
            }
            Ticket::Out(login) => {
                self.out[login.proof as usize] -= 1;
                self.free.push(ticket);
                self.forget(&login);
                Some(*login)
            }
        }
    }

    /// Nobody waits for the logins of this origin any more.
    pub fn abandon(&mut self, origin: Route) {
        for place in 0..self.tickets.len() {
            if let Ticket::Out(login) = &self.tickets[place]
                && login.origin == origin
            {
                let abandoned = Ticket::Abandoned(login.proof);
                if let Ticket::Out(login) = std::mem::replace(&mut self.tickets[place], abandoned) {
                    self.forget(&login);
                }
            }
        }
    }

    fn forget(&mut self, login: &Login) {
        self.by_fingerprint.remove(&login.fingerprint);
        decrease(&mut self.by_source, (login.proof, login.source));
        decrease(&mut self.by_user, (login.proof, canonical(login.request.username)));
    }
}

fn decrease<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: K) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;
    use wire::soupbintcp::ANY_SESSION;

    fn login(number: u32, proof: Proof, source: u8) -> Login {
        let mut username = *b"C00000";
        username[1..].copy_from_slice(format!("{number:05}").as_bytes());
        Login {
            origin: Route::None,
            drop_copy: false,
            request: LoginRequest {
                username,
                password: [b' '; 10],
                requested_session: ANY_SESSION,
                requested_sequence: 0,
            },
            account: Some(number),
            proof,
            source: IpAddr::from([10, 0, source, 1]).into(),
            fingerprint: (u64::from(number) << 16) | (u64::from(source) << 8) | proof as u64,
        }
    }

    /// How many of 300 logins of different users are taken.
    fn taken(waiting: &mut Waiting, proof: Proof, source: impl Fn(u32) -> u8) -> usize {
        (0..300).filter(|&number| waiting.enter(login(number, proof, source(number))).is_some()).count()
    }

    #[test]
    fn a_source_has_its_share_and_others_theirs() {
        let mut waiting = Waiting::new();
        assert_eq!(taken(&mut waiting, Proof::Nothing, |_| 1), PER_SOURCE[0]);
        assert!(waiting.enter(login(1, Proof::Nothing, 2)).is_some());
        assert_eq!(taken(&mut waiting, Proof::ReturnPath, |_| 1), PER_SOURCE[1]);
        assert!(waiting.enter(login(1, Proof::ReturnPath, 2)).is_some());
        // Owners behind one address.
        assert_eq!(taken(&mut waiting, Proof::Session, |_| 1), 300);
    }

    #[test]
    fn who_proves_nothing_leaves_room_for_the_others_and_waits_behind_them() {
        let mut waiting = Waiting::new();
        assert_eq!(taken(&mut waiting, Proof::Nothing, |number| number as u8), QUESTIONS_MAX[0]);
        assert_eq!(taken(&mut waiting, Proof::ReturnPath, |number| number as u8), QUESTIONS_MAX[1]);
        let mut waiting = Waiting::new();
        assert_eq!(taken(&mut waiting, Proof::Session, |_| 1), 300);
        assert_eq!(taken(&mut waiting, Proof::Nothing, |number| number as u8), 0);
    }

    #[test]
    fn an_account_has_its_share_whoever_asks() {
        let mut waiting = Waiting::new();
        for proof in [Proof::Nothing, Proof::ReturnPath, Proof::Session] {
            let taken = (0..20).filter(|&source| waiting.enter(login(7, proof, source)).is_some());
            assert_eq!(taken.count(), PER_ACCOUNT, "{proof:?}");
        }
    }

    #[test]
    fn a_repetition_is_the_same_login() {
        let mut waiting = Waiting::new();
        let ticket = waiting.enter(login(1, Proof::Nothing, 1)).unwrap();
        assert!(waiting.has(login(1, Proof::Nothing, 1).fingerprint) && waiting.has_user(*b"c00001"));
        assert_eq!(waiting.enter(login(1, Proof::Nothing, 1)), None);
        assert!(waiting.leave(ticket).is_some() && waiting.len() == 0);
        assert!(!waiting.has_user(*b"C00001") && waiting.leave(ticket).is_none());
        assert!(waiting.enter(login(1, Proof::Nothing, 1)).is_some());
    }

    /// Else the answer to a right password would let in whoever got the ticket next.
    #[test]
    fn a_ticket_whose_owner_has_gone_is_nobody_elses_until_it_is_answered() {
        let mut waiting = Waiting::new();
        let gone = Login { origin: Route::Connection(5), ..login(1, Proof::ReturnPath, 1) };
        let ticket = waiting.enter(gone).unwrap();
        waiting.abandon(Route::Connection(5));
        assert!(!waiting.has_user(*b"C00001"));
        let other = waiting.enter(login(2, Proof::ReturnPath, 1)).unwrap();
        assert_ne!(other, ticket);
        assert!(waiting.leave(ticket).is_none());
        assert_eq!(waiting.leave(other).unwrap().account, Some(2));
        assert_eq!(waiting.len(), 0);
    }

    #[test]
    fn places_come_back_whatever_happens() {
        let mut waiting = Waiting::new();
        for round in 0..1000 {
            let tickets: Vec<u32> = (0..300)
                .filter_map(|number| waiting.enter(login(number, Proof::ReturnPath, number as u8)))
                .collect();
            assert_eq!(tickets.len(), QUESTIONS_MAX[1], "round {round}");
            if round % 2 == 0 {
                waiting.abandon(Route::None);
            }
            for ticket in tickets {
                assert_eq!(waiting.leave(ticket).is_none(), round % 2 == 0);
            }
        }
        assert!(
            waiting.by_source.is_empty() && waiting.by_user.is_empty() && waiting.by_fingerprint.is_empty()
        );
        assert!(waiting.tickets.len() <= QUESTIONS_MAX[1]);
    }
}
