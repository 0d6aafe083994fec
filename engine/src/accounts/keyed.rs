//! A keyed hash, fast and with a constant-time comparison: what cookies and remembered passwords are made of. Not a hash
//! for passwords to be stored by: that is `password`.

use blake2::Blake2sMac;
use blake2::digest::consts::U16;
use blake2::digest::{KeyInit, Mac, Update};
use std::fmt;

pub const KEY_LENGTH: usize = 32;
pub const TAG_LENGTH: usize = 16;
/// 128 bits: nobody guesses one.
pub type Tag = [u8; TAG_LENGTH];

#[derive(Clone)]
pub struct Key([u8; KEY_LENGTH]);

/// No key in a log.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl Key {
    /// # Errors
    /// The system has no random numbers.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; KEY_LENGTH];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    pub const fn from_bytes(bytes: [u8; KEY_LENGTH]) -> Self {
        Self(bytes)
    }

    pub const fn bytes(&self) -> &[u8; KEY_LENGTH] {
        &self.0
    }

    /// The tag of these parts, one after another. Two uses of one key differ in their first part, and all parts but the last
    /// have a length of their own.
    pub fn tag(&self, parts: &[&[u8]]) -> Tag {
        self.hash(parts).finalize().into_bytes().into()
    }

    /// Whether it is the tag of these parts, found out in a time that does not tell where they differ.
    pub fn is_tag(&self, parts: &[&[u8]], tag: &Tag) -> bool {
        self.hash(parts).verify(&(*tag).into()).is_ok()
    }

    /// The key that follows this one: it tells nothing of those before it.
    pub fn successor(&self) -> Self {
        let mut bytes = [0; KEY_LENGTH];
        let (first, second) = bytes.split_at_mut(TAG_LENGTH);
        first.copy_from_slice(&self.tag(&[b"successor, first half"]));
        second.copy_from_slice(&self.tag(&[b"successor, second half"]));
        Self(bytes)
    }

    fn hash(&self, parts: &[&[u8]]) -> Blake2sMac<U16> {
        let mut mac = <Blake2sMac<U16> as KeyInit>::new(&self.0.into());
        for part in parts {
            Update::update(&mut mac, part);
        }
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_belongs_to_its_key_and_its_parts() {
        let key = Key::from_bytes([7; KEY_LENGTH]);
        let tag = key.tag(&[b"one", b"two"]);
        assert!(key.is_tag(&[b"one", b"two"], &tag));
        assert!(!key.is_tag(&[b"one", b"twp"], &tag));
        assert!(!key.successor().is_tag(&[b"one", b"two"], &tag));
        for bit in 0..TAG_LENGTH * 8 {
            let mut other = tag;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!key.is_tag(&[b"one", b"two"], &other));
        }
    }
}
