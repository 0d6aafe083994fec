//! Finds the client that a datagram is for by its session name: a small open-addressing table, looked up once per datagram.

use streams::SessionName;

const EMPTY: u32 = u32::MAX;

/// The first byte tells the direction and is not part of the key: both streams of a session lead to the same client.
pub struct Directory {
    slots: Box<[(u64, u32)]>,
    mask: usize,
    length: usize,
}

fn key(name: &SessionName) -> u64 {
    let [_, a, b, c, d, e, f, g, h, i] = *name;
    // Nine random characters: the ninth is folded in.
    u64::from_le_bytes([a, b, c, d, e, f, g, h]) ^ (u64::from(i) << 7)
}

impl Directory {
    /// Room for `clients` sessions; the table is never more than half full.
    pub fn new(clients: usize) -> Self {
        let slots = (clients.max(1) * 2).next_power_of_two();
        Directory { slots: vec![(0, EMPTY); slots].into_boxed_slice(), mask: slots - 1, length: 0 }
    }

    fn start(&self, key: u64) -> usize {
        (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize & self.mask
    }

    /// Names `client` the owner of the session. False if the table is full.
    pub fn insert(&mut self, name: &SessionName, client: u32) -> bool {
        let key = key(name);
        let mut at = self.start(key);
        while self.slots[at].1 != EMPTY {
            if self.slots[at].0 == key {
                self.slots[at].1 = client;
                return true;
            }
            at = (at + 1) & self.mask;
        }
        if self.length * 2 > self.mask {
            return false;
        }
        self.slots[at] = (key, client);
        self.length += 1;
        true
    }

    #[inline]
    pub fn find(&self, name: &SessionName) -> Option<u32> {
        let key = key(name);
        let mut at = self.start(key);
        loop {
            let (found, client) = self.slots[at];
            if client == EMPTY {
                return None;
            }
            if found == key {
                return Some(client);
            }
            at = (at + 1) & self.mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(index: u32) -> SessionName {
        let text = format!("D{index:09}");
        text.as_bytes().try_into().unwrap()
    }

    #[test]
    fn both_streams_of_a_session_lead_to_its_client() {
        let mut directory = Directory::new(1000);
        for index in 0..1000 {
            assert!(directory.insert(&name(index), index));
        }
        for index in 0..1000 {
            let mut upstream = name(index);
            upstream[0] = b'U';
            assert_eq!((directory.find(&name(index)), directory.find(&upstream)), (Some(index), Some(index)));
        }
        assert_eq!(directory.find(&name(1000)), None);
        assert_eq!(directory.find(&[b' '; 10]), None);
    }

    #[test]
    fn a_full_table_refuses_instead_of_looping() {
        let mut directory = Directory::new(1);
        let taken = (0..10).filter(|&index| directory.insert(&name(index), index)).count();
        assert!(taken < 10);
        assert_eq!(directory.find(&name(99)), None);
    }
}
