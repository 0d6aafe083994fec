//! How often a login may be tried, by source and by account, over all doors of the engine. Not a limit on orders: the XDP
//! program and the session's risk limits see to those.
//!
//! Token buckets in fixed tables, each an atomic: any thread asks, nobody waits. What is known of who asks decides which
//! buckets are asked, so that nobody can empty those of another:
//!
//! | proof | of the source | of the account | when empty |
//! |---|---|---|---|
//! | `Nothing`: a datagram, whose source may be forged | yes | yes | prove that you receive |
//! | `ReturnPath`: TCP, or a cookie given back | yes | yes | refused |
//! | `Session`: names the account's session, a secret of its owner | no | yes | refused |

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use wire::soupbintcp::canonical;

/// Sources or accounts remembered at once in each table. One that finds its place taken by a busier one shares that one's
/// bucket, which errs on the side of refusing.
const BUCKETS: usize = 4096;
const MINUTE_NS: u64 = 60_000_000_000;

/// What an attempt is counted for: an IPv4 address, or the /64 of an IPv6 address, as a host has all of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source([u8; 16]);

impl Source {
    /// An address as `netio` has it: IPv4 in its v4-mapped form.
    pub fn new(address: &[u8; 16]) -> Self {
        let mut source = *address;
        let is_ipv4 = address[..10] == [0; 10] && address[10..12] == [0xff; 2];
        // Loopback is one host of one address.
        let is_loopback = address[..15] == [0; 15];
        if !is_ipv4 && !is_loopback {
            source[8..].fill(0);
        }
        Self(source)
    }
}

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        Self::new(&match address {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => address.octets(),
        })
    }
}

impl From<SocketAddr> for Source {
    fn from(address: SocketAddr) -> Self {
        address.ip().into()
    }
}

/// What is known of who tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Proof {
    /// Nothing: the source may be forged.
    Nothing,
    /// It receives what is sent to its address.
    ReturnPath,
    /// It knows the name of the account's session.
    Session,
}

/// The attempts of everyone. Shared by all doors.
#[derive(Debug)]
pub struct Attempts {
    unproven_sources: Buckets,
    unproven_users: Buckets,
    sources: Buckets,
    users: Buckets,
    owners: Buckets,
    hasher: RandomState,
    clock: fn() -> u64,
}

impl Attempts {
    pub fn new(per_source_and_minute: u32, per_account_and_minute: u32) -> Self {
        Self::with_clock(per_source_and_minute, per_account_and_minute, netio::clock::monotonic_ns)
    }

    fn with_clock(per_source: u32, per_account: u32, clock: fn() -> u64) -> Self {
        Self {
            unproven_sources: Buckets::new(per_source),
            unproven_users: Buckets::new(per_account),
            sources: Buckets::new(per_source),
            users: Buckets::new(per_account),
            owners: Buckets::new(per_account),
            // Random, so that nobody can choose whose bucket to share.
            hasher: RandomState::new(),
            clock,
        }
    }

    /// Never refuses: for runs that must not depend on the machine's clock.
    pub fn unlimited() -> Self {
        Self::with_clock(u32::MAX, u32::MAX, || 0)
    }

    /// Counts an attempt; false when there are none left, and then it is not counted.
    pub fn take(&self, proof: Proof, source: Source, user: [u8; 6]) -> bool {
        let now_ns = (self.clock)();
        let (source_bucket, user_bucket) = self.buckets(proof, source, user);
        if !source_bucket.as_ref().is_none_or(|bucket| bucket.take(now_ns)) {
            return false;
        }
        if user_bucket.take(now_ns) {
            return true;
        }
        if let Some(bucket) = source_bucket {
            bucket.give_back();
        }
        false
    }

    /// The attempt that was taken did not fail, or came to nothing: it does not count.
    pub fn give_back(&self, proof: Proof, source: Source, user: [u8; 6]) {
        let (source_bucket, user_bucket) = self.buckets(proof, source, user);
        user_bucket.give_back();
        if let Some(bucket) = source_bucket {
            bucket.give_back();
        }
    }

    /// Counts an attempt of a source that names no account, such as a token of the admin port; false when none is left.
    pub fn take_source(&self, source: Source) -> bool {
        self.source_bucket(&self.sources, source).take((self.clock)())
    }

    /// As [`Attempts::give_back`], after [`Attempts::take_source`].
    pub fn give_back_source(&self, source: Source) {
        self.source_bucket(&self.sources, source).give_back();
    }

    fn source_bucket<'a>(&self, table: &'a Buckets, source: Source) -> Bucket<'a> {
        table.bucket(self.hasher.hash_one(source))
    }

    fn buckets(&self, proof: Proof, source: Source, user: [u8; 6]) -> (Option<Bucket<'_>>, Bucket<'_>) {
        let (sources, users) = match proof {
            Proof::Nothing => (Some(&self.unproven_sources), &self.unproven_users),
            Proof::ReturnPath => (Some(&self.sources), &self.users),
            Proof::Session => (None, &self.owners),
        };
        let source = sources.map(|table| self.source_bucket(table, source));
        (source, users.bucket(self.hasher.hash_one(canonical(user))))
    }
}

/// A table of buckets of one rate. Each holds the time at which it will be full again: empty is a minute before that.
#[derive(Debug)]
struct Buckets {
    full_at_ns: Box<[AtomicU64]>,
    cost_ns: u64,
}

struct Bucket<'a> {
    full_at_ns: &'a AtomicU64,
    cost_ns: u64,
}

impl Buckets {
    fn new(per_minute: u32) -> Self {
        Self {
            full_at_ns: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            cost_ns: if per_minute == u32::MAX { 0 } else { MINUTE_NS / u64::from(per_minute.max(1)) },
        }
    }

    fn bucket(&self, hash: u64) -> Bucket<'_> {
        Bucket { full_at_ns: &self.full_at_ns[hash as usize % BUCKETS], cost_ns: self.cost_ns }
    }
}

impl Bucket<'_> {
    fn take(&self, now_ns: u64) -> bool {
        let cost_ns = self.cost_ns;
        let taken = |full_at_ns: u64| {
            let then = full_at_ns.max(now_ns) + cost_ns;
            (then <= now_ns + MINUTE_NS).then_some(then)
        };
        self.full_at_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok()
    }

    fn give_back(&self) {
        let cost_ns = self.cost_ns;
        let given = |full_at_ns: u64| Some(full_at_ns.saturating_sub(cost_ns));
        // Cannot fail: the function always has a value.
        let _ = self.full_at_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, given);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    const USER: [u8; 6] = *b"C00001";
    const SECOND_NS: u64 = 1_000_000_000;

    thread_local! {
        static NOW_NS: Cell<u64> = const { Cell::new(0) };
    }

    fn attempts(per_source: u32, per_account: u32) -> Attempts {
        NOW_NS.set(5 * SECOND_NS);
        Attempts::with_clock(per_source, per_account, || NOW_NS.get())
    }

    fn source(last: u8) -> Source {
        IpAddr::from([10, 0, 0, last]).into()
    }

    /// Of 20 attempts at one moment, how many are allowed.
    fn granted(attempts: &Attempts, proof: Proof, source: Source, user: [u8; 6]) -> usize {
        (0..20).filter(|_| attempts.take(proof, source, user)).count()
    }

    #[test]
    fn a_source_is_refused_beyond_its_rate_and_allowed_again_later() {
        let attempts = attempts(6, u32::MAX);
        assert_eq!(granted(&attempts, Proof::ReturnPath, source(1), USER), 6);
        NOW_NS.set(14 * SECOND_NS);
        assert!(!attempts.take(Proof::ReturnPath, source(1), USER));
        NOW_NS.set(15 * SECOND_NS);
        assert!(attempts.take(Proof::ReturnPath, source(1), USER));
        assert!(!attempts.take(Proof::ReturnPath, source(1), USER));
    }

    #[test]
    fn an_account_is_refused_beyond_its_rate_whatever_the_source_and_the_case() {
        let attempts = attempts(u32::MAX, 3);
        let names = [*b"c00001", *b"C00001"];
        let granted =
            (0..20).filter(|&last| attempts.take(Proof::ReturnPath, source(last), names[last as usize % 2]));
        assert_eq!(granted.count(), 3);
    }

    #[test]
    fn what_was_right_does_not_count() {
        let attempts = attempts(2, 2);
        for _ in 0..10 {
            assert!(attempts.take(Proof::ReturnPath, source(1), USER));
            attempts.give_back(Proof::ReturnPath, source(1), USER);
        }
        assert_eq!(granted(&attempts, Proof::ReturnPath, source(1), USER), 2);
    }

    #[test]
    fn a_refusal_by_the_account_costs_the_source_nothing() {
        let attempts = attempts(2, 1);
        assert!(attempts.take(Proof::ReturnPath, source(1), USER));
        assert!(!attempts.take(Proof::ReturnPath, source(2), USER));
        assert_eq!(granted(&attempts, Proof::ReturnPath, source(2), *b"C00002"), 1);
        assert_eq!(granted(&attempts, Proof::ReturnPath, source(2), *b"C00003"), 1);
    }

    /// Who forges a source empties neither its buckets nor those of who has proved to be there, nor those of the owner.
    #[test]
    fn a_weaker_proof_takes_nothing_from_a_stronger() {
        let attempts = attempts(1, 1);
        for proof in [Proof::Nothing, Proof::ReturnPath, Proof::Session] {
            assert_eq!(granted(&attempts, proof, source(1), USER), 1, "{proof:?}");
        }
    }

    #[test]
    fn an_owner_is_not_counted_by_source() {
        let attempts = attempts(1, 1);
        for number in 0..100 {
            let user = [b'C', b'0', b'0', b'0', b'0' + number / 10, b'0' + number % 10];
            attempts.take(Proof::Session, source(1), user);
        }
        assert!(attempts.take(Proof::ReturnPath, source(1), USER));
    }

    #[test]
    fn an_ipv6_host_is_its_network() {
        let source = |text: &str| Source::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:2"));
        assert_ne!(source("2001:db8:0:1::1"), source("2001:db8:0:2::1"));
        assert_ne!(source("10.0.0.1"), source("10.0.0.2"));
        assert_eq!(source("::ffff:10.0.0.1"), source("10.0.0.1"));
        assert_ne!(source("::1"), source("::"));
    }

    #[test]
    fn without_a_limit_nothing_is_refused() {
        let attempts = Attempts::unlimited();
        assert!((0..100_000).all(|_| attempts.take(Proof::Nothing, source(1), USER)));
    }
}
