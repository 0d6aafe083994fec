//! Cookies: a source that gives one back receives what is sent to its address. Nothing is kept for a source; the keys
//! change, so a cookie is good for a short time. Not the wire: `wire::control` has its place.

use super::keyed::{Key, Tag};
use netio::Endpoint;
use wire::soupbintcp::canonical;

/// How long a key makes cookies; for as long again it recognises them. A client answers within a round trip.
const KEY_LIFE_NS: u64 = 15_000_000_000;

#[derive(Debug)]
pub struct Cookies {
    present: Key,
    former: Key,
    /// When the present key came into use.
    since_ns: u64,
}

impl Cookies {
    /// `key` is secret and random.
    pub fn new(key: Key) -> Self {
        // Cookies of the former key cannot have been given to anybody.
        Self { present: key.successor(), former: key, since_ns: 0 }
    }

    /// For a login of `user` from `source`.
    pub fn make(&mut self, source: &Endpoint, user: [u8; 6], now_ns: u64) -> Tag {
        self.turn(now_ns);
        self.present.tag(&parts(source, &source.port.to_be_bytes(), &canonical(user)))
    }

    /// Whether this source was given the cookie for this user, not long ago.
    pub fn is_valid(&mut self, cookie: &Tag, source: &Endpoint, user: [u8; 6], now_ns: u64) -> bool {
        self.turn(now_ns);
        let (port, user) = (source.port.to_be_bytes(), canonical(user));
        let parts = parts(source, &port, &user);
        // Both, whatever the first says: the time tells nothing of which key it was.
        self.present.is_tag(&parts, cookie) | self.former.is_tag(&parts, cookie)
    }

    fn turn(&mut self, now_ns: u64) {
        let lives = now_ns.saturating_sub(self.since_ns) / KEY_LIFE_NS;
        // After two lives both keys are new.
        for _ in 0..lives.min(2) {
            let next = self.present.successor();
            self.former = std::mem::replace(&mut self.present, next);
        }
        self.since_ns += lives * KEY_LIFE_NS;
    }
}

fn parts<'a>(source: &'a Endpoint, port: &'a [u8; 2], user: &'a [u8; 6]) -> [&'a [u8]; 4] {
    [b"login cookie", &source.address, port, user]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    const USER: [u8; 6] = *b"C00001";

    fn endpoint(text: &str) -> Endpoint {
        text.parse::<SocketAddr>().unwrap().into()
    }

    fn cookies() -> Cookies {
        Cookies::new(Key::from_bytes([3; 32]))
    }

    #[test]
    fn a_cookie_is_good_for_its_source_and_user_only() {
        let mut cookies = cookies();
        let source = endpoint("10.0.0.1:4000");
        let cookie = cookies.make(&source, USER, 1_000);
        assert!(cookies.is_valid(&cookie, &source, USER, 2_000));
        assert!(cookies.is_valid(&cookie, &source, *b"c00001", 2_000));
        assert!(!cookies.is_valid(&cookie, &source, *b"C00002", 2_000));
        assert!(!cookies.is_valid(&cookie, &endpoint("10.0.0.1:4001"), USER, 2_000));
        assert!(!cookies.is_valid(&cookie, &endpoint("10.0.0.2:4000"), USER, 2_000));
        assert!(!cookies.is_valid(&[0; 16], &source, USER, 2_000));
    }

    #[test]
    fn a_cookie_ends_with_the_key_after_its_own() {
        let source = endpoint("10.0.0.1:4000");
        for made_at_ns in [0, 1, KEY_LIFE_NS - 1, KEY_LIFE_NS, 7 * KEY_LIFE_NS + 5] {
            let mut cookies = cookies();
            let cookie = cookies.make(&source, USER, made_at_ns);
            assert!(cookies.is_valid(&cookie, &source, USER, made_at_ns + KEY_LIFE_NS));
            assert!(!cookies.is_valid(&cookie, &source, USER, made_at_ns + 2 * KEY_LIFE_NS));
            let fresh = cookies.make(&source, USER, made_at_ns + 100 * KEY_LIFE_NS);
            assert_ne!(fresh, cookie);
        }
    }
}
