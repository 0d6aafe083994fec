//! Session by token: open addressing at half load or less. Looked up for every datagram, never iterated.

use crate::inputs::SessionId;
use streams::SessionName;

/// Both streams of a session differ in their first character only, so a look-up uses the other nine.
pub struct Tokens {
    slots: Box<[Slot]>,
    shift: u32,
    used: usize,
}

#[derive(Clone, Copy)]
struct Slot {
    token: [u8; 9],
    session: SessionId,
}

const EMPTY: SessionId = SessionId::MAX;

impl Tokens {
    pub fn with_capacity(sessions: usize) -> Self {
        let size = (sessions.max(8) * 2).next_power_of_two();
        Self {
            slots: vec![Slot { token: [0; 9], session: EMPTY }; size].into_boxed_slice(),
            shift: 64 - size.trailing_zeros(),
            used: 0,
        }
    }

    /// Makes room for so many sessions in all.
    pub fn reserve(&mut self, sessions: usize) {
        if sessions * 2 <= self.slots.len() {
            return;
        }
        let mut larger = Self::with_capacity(sessions);
        for slot in self.slots.iter().filter(|slot| slot.session != EMPTY) {
            larger.insert_token(slot.token, slot.session);
        }
        *self = larger;
    }

    /// The session that one of whose streams has this name.
    #[inline]
    pub fn get(&self, name: &SessionName) -> Option<SessionId> {
        let token = token(name);
        let mut slot = self.home(&token);
        loop {
            let found = &self.slots[slot];
            if found.session == EMPTY {
                return None;
            }
            if found.token == token {
                return Some(found.session);
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
    }

    /// Adds a session. Half of the places stay empty: beyond that the table doubles.
    pub fn insert(&mut self, name: &SessionName, session: SessionId) {
        if (self.used + 1) * 2 > self.slots.len() {
            self.reserve(self.slots.len());
        }
        self.insert_token(token(name), session);
    }

    fn insert_token(&mut self, token: [u8; 9], session: SessionId) {
        let mut slot = self.home(&token);
        while self.slots[slot].session != EMPTY {
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        self.slots[slot] = Slot { token, session };
        self.used += 1;
    }

    #[inline]
    fn home(&self, token: &[u8; 9]) -> usize {
        // Tokens are random, so any eight of their characters spread well.
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&token[..8]);
        (u64::from_le_bytes(bytes).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize
    }
}

#[inline]
fn token(name: &SessionName) -> [u8; 9] {
    let mut token = [0; 9];
    token.copy_from_slice(&name[1..]);
    token
}

/// Characters of a token: 62 to the ninth, 53 bits.
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Where the names of new sessions come from, given their first character.
pub type NameSource = Box<dyn FnMut(u8) -> Result<SessionName, getrandom::Error> + Send>;

/// A downstream session name with a fresh random token.
pub fn random_name(first: u8) -> Result<SessionName, getrandom::Error> {
    let mut name = [first; 10];
    let mut at = 1;
    while at < name.len() {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        for byte in bytes {
            // Values above the last multiple of 62 would make some characters likelier.
            if at < name.len() && byte < 248 {
                name[at] = ALPHABET[usize::from(byte % 62)];
                at += 1;
            }
        }
    }
    Ok(name)
}

/// The other stream of the session: `D...` is downstream, `U...` upstream.
pub fn upstream_name(downstream: &SessionName) -> SessionName {
    let mut name = *downstream;
    name[0] = b'U';
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_found_by_either_stream_and_by_no_other_name() {
        let mut tokens = Tokens::with_capacity(8);
        let names: Vec<_> = (0..1000).map(|_| random_name(b'D').unwrap()).collect();
        for (session, name) in names.iter().enumerate() {
            tokens.insert(name, session as u32);
        }
        for (session, name) in names.iter().enumerate() {
            assert_eq!(tokens.get(name), Some(session as u32));
            assert_eq!(tokens.get(&upstream_name(name)), Some(session as u32));
        }
        assert_eq!(tokens.get(b"DAAAAAAAAA"), None);
        assert_eq!(tokens.get(&[0; 10]), None);
    }
}
