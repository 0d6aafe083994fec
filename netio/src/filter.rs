//! Which sources may send, and how often: what the XDP program enforces before a socket, for ports that have no such program in
//! front of them. Not a parser and not a port: it is given a source and says how many of its datagrams may pass.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use ipnet::IpNet;

/// Sources remembered with a debt; as many as the XDP program has buckets for. 2 MiB.
const SOURCES_MAX: usize = 65_536;
/// Places that a source may take. A power of two divides the table into sets.
const WAYS: usize = 4;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a network: expected an address, or a prefix up to /32 (IPv4) or /128 (IPv6), as in \"10.0.0.0/8\""
)]
pub struct NetworkError(String);

/// A network in CIDR notation, or a single address; host bits are cleared.
pub fn network(text: &str) -> Result<IpNet, NetworkError> {
    let single = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse::<IpNet>()
        .or_else(|_| single())
        .map(|net| net.trunc())
        .map_err(|_| NetworkError(text.to_owned()))
}

/// `per_second` datagrams sustained by one source address, `burst` at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub per_second: u32,
    pub burst: u32,
}

impl Rate {
    /// What one datagram costs.
    pub fn interval_ns(self) -> u64 {
        const NANOSECONDS: u64 = 1_000_000_000;
        (NANOSECONDS / u64::from(self.per_second.max(1))).max(1)
    }

    /// The debt that a source may have. The datagram that opens a burst is allowed at none, so a burst of n is n - 1 intervals.
    pub fn debt_ns_max(self) -> u64 {
        self.interval_ns() * u64::from(self.burst.max(1) - 1)
    }
}

/// What a port is to enforce. While `allowed` is empty every source may send; once it has an entry of either family, sources
/// outside it may not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceRules {
    pub allowed: Vec<IpNet>,
    pub rate: Option<Rate>,
}

/// What became of the datagrams of one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As many of them as were asked for, or fewer: the others are over the rate.
    Pass(usize),
    NotAllowed,
}

/// The rules at work, with what is known of each source. Owned by one port; allocates only when it is made.
pub struct SourceFilter {
    /// `None` while every source may send.
    allowed: Option<Allowed>,
    buckets: Option<Buckets>,
}

/// Disjoint ranges of addresses, ascending, both ends included.
struct Allowed {
    ipv4: Box<[(u32, u32)]>,
    ipv6: Box<[(u128, u128)]>,
}

impl SourceFilter {
    /// `None` when there is nothing to enforce.
    pub fn new(rules: &SourceRules) -> Option<Self> {
        let allowed = (!rules.allowed.is_empty()).then(|| ranges(&rules.allowed));
        let buckets = rules.rate.map(Buckets::new);
        (allowed.is_some() || buckets.is_some()).then_some(SourceFilter { allowed, buckets })
    }

    /// Whether `now_ns` matters.
    pub const fn needs_time(&self) -> bool {
        self.buckets.is_some()
    }

    /// Judges `count` datagrams of a source, as [`crate::Endpoint`] holds its address.
    #[inline]
    pub fn judge(&mut self, source: &[u8; 16], count: usize, now_ns: u64) -> Verdict {
        if let Some(Allowed { ipv4, ipv6 }) = &self.allowed {
            let is_allowed = match Ipv6Addr::from(*source).to_ipv4_mapped() {
                Some(source) => is_within(ipv4, source.to_bits()),
                None => is_within(ipv6, u128::from_be_bytes(*source)),
            };
            if !is_allowed {
                return Verdict::NotAllowed;
            }
        }
        match &mut self.buckets {
            Some(buckets) => Verdict::Pass(buckets.take(source, count, now_ns)),
            None => Verdict::Pass(count),
        }
    }
}

fn ranges(networks: &[IpNet]) -> Allowed {
    // Aggregated networks neither overlap nor touch in a way that could be written as one, and come in ascending order of each family.
    let mut ipv4 = Vec::new();
    let mut ipv6 = Vec::new();
    for network in IpNet::aggregate(&networks.to_vec()) {
        match network {
            IpNet::V4(net) => {
                ipv4.push((Ipv4Addr::to_bits(net.network()), Ipv4Addr::to_bits(net.broadcast())))
            }
            IpNet::V6(net) => {
                ipv6.push((Ipv6Addr::to_bits(net.network()), Ipv6Addr::to_bits(net.broadcast())))
            }
        }
    }
    ipv4.sort_unstable();
    ipv6.sort_unstable();
    Allowed { ipv4: ipv4.into(), ipv6: ipv6.into() }
}

#[inline]
fn is_within<T: Ord + Copy>(ranges: &[(T, T)], address: T) -> bool {
    let after = ranges.partition_point(|&(first, _)| first <= address);
    after.checked_sub(1).is_some_and(|at| address <= ranges[at].1)
}

/// The token buckets, each as the time at which its source owes nothing any more. A table of fixed size: a source that finds
/// its set full takes the place of the one that owes least, which is the one that is least wronged by being forgotten.
struct Buckets {
    rate: Rate,
    sets: Box<[[Bucket; WAYS]]>,
    /// Random, so that nobody can choose sources that share a set.
    hasher: RandomState,
}

#[derive(Clone, Copy, Default)]
struct Bucket {
    source: [u8; 16],
    due_ns: u64,
}

impl Buckets {
    fn new(rate: Rate) -> Self {
        let sets = vec![[Bucket::default(); WAYS]; SOURCES_MAX / WAYS].into();
        Buckets { rate, sets, hasher: RandomState::new() }
    }

    /// How many of `count` datagrams the source can pay for at `now_ns`.
    fn take(&mut self, source: &[u8; 16], count: usize, now_ns: u64) -> usize {
        let set = &mut self.sets[self.hasher.hash_one(source) as usize % (SOURCES_MAX / WAYS)];
        let place = (0..WAYS).find(|&way| set[way].source == *source).unwrap_or_else(|| {
            let least =
                (1..WAYS).fold(0, |least, way| if set[way].due_ns < set[least].due_ns { way } else { least });
            set[least] = Bucket { source: *source, due_ns: 0 };
            least
        });
        let bucket = &mut set[place];
        let start = bucket.due_ns.max(now_ns);
        let (interval, most) = (self.rate.interval_ns(), self.rate.debt_ns_max());
        let debt = start - now_ns;
        if debt > most {
            return 0;
        }
        // Each passes at the debt of those before it.
        let passed =
            count.min(usize::try_from((most - debt) / interval).unwrap_or(usize::MAX).saturating_add(1));
        bucket.due_ns = start + interval * passed as u64;
        passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn seeded() -> (Random, u64) {
        let seed = crate::random::seed_from_environment().unwrap_or_else(crate::clock::monotonic_ns);
        println!("PITLANE_SEED={seed}");
        (Random::new(seed), seed)
    }

    fn source(text: &str) -> [u8; 16] {
        crate::Endpoint::from(std::net::SocketAddr::new(text.parse().expect("address"), 1)).address
    }

    fn filter(allowed: &[&str], rate: Option<Rate>) -> SourceFilter {
        let allowed = allowed.iter().map(|text| network(text).expect("network")).collect();
        SourceFilter::new(&SourceRules { allowed, rate }).expect("rules")
    }

    #[test]
    fn a_network_is_read_with_or_without_a_length_and_loses_its_host_bits() {
        for (text, printed) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:db8::1/32", "2001:db8::/32"),
            ("::1", "::1/128"),
            ("fe80::1/0", "::/0"),
        ] {
            assert_eq!(network(text).expect(text).to_string(), printed);
        }
        for text in
            ["", "10.1.2", "10.1.2.3/", "10.1.2.3/x", "10.1.2.3/-1", "10.1.2.3/33", "::1/129", "host/8"]
        {
            assert_eq!(network(text), Err(NetworkError(text.to_owned())));
        }
    }

    #[test]
    fn nothing_to_enforce_is_no_filter() {
        assert!(SourceFilter::new(&SourceRules::default()).is_none());
    }

    #[test]
    fn only_sources_within_a_listed_network_pass() {
        let mut filter = filter(&["10.0.0.0/24", "10.0.1.0/24", "10.0.0.7", "fd00::/8"], None);
        for (address, passes) in [
            ("10.0.0.0", true),
            ("10.0.1.255", true),
            ("10.0.2.0", false),
            ("9.255.255.255", false),
            ("fd00::1", true),
            ("fdff:ffff::1", true),
            ("fe00::1", false),
            ("::1", false),
        ] {
            let expected = if passes { Verdict::Pass(3) } else { Verdict::NotAllowed };
            assert_eq!(filter.judge(&source(address), 3, 0), expected, "{address}");
        }
    }

    #[test]
    fn a_list_of_one_family_keeps_the_other_out_whatever_its_length() {
        let mut all_of_ipv6 = filter(&["::/0"], None);
        assert_eq!(all_of_ipv6.judge(&source("10.0.0.1"), 1, 0), Verdict::NotAllowed);
        assert_eq!(all_of_ipv6.judge(&source("fd00::1"), 1, 0), Verdict::Pass(1));
        let mut all_of_ipv4 = filter(&["0.0.0.0/0"], None);
        assert_eq!(all_of_ipv4.judge(&source("255.255.255.255"), 1, 0), Verdict::Pass(1));
        assert_eq!(all_of_ipv4.judge(&source("fd00::1"), 1, 0), Verdict::NotAllowed);
    }

    #[test]
    fn any_list_says_what_each_of_its_networks_says() {
        let (mut random, seed) = seeded();
        for _ in 0..200 {
            let networks: Vec<IpNet> = (0..random.between(1, 12))
                .map(|_| {
                    // A few bits at the top, so that networks overlap, nest and touch.
                    let address = Ipv4Addr::from_bits((random.between(0, 15) as u32) << 28);
                    IpNet::new(address.into(), random.between(1, 6) as u8).expect("length").trunc()
                })
                .collect();
            let rules = SourceRules { allowed: networks.clone(), rate: None };
            let mut filter = SourceFilter::new(&rules).expect("rules");
            for _ in 0..50 {
                let address = Ipv4Addr::from_bits(random.between(0, u64::from(u32::MAX)) as u32);
                let expected = networks.iter().any(|network| network.contains(&IpAddr::V4(address)));
                let verdict = filter.judge(&address.to_ipv6_mapped().octets(), 1, 0);
                assert_eq!(verdict == Verdict::Pass(1), expected, "{address} in {networks:?}, seed {seed}");
            }
        }
    }

    #[test]
    fn a_source_is_held_to_its_burst_and_its_rate_and_others_are_not() {
        let mut filter = filter(&[], Some(Rate { per_second: 1000, burst: 5 }));
        let (one, other) = (source("10.0.0.1"), source("10.0.0.2"));
        assert_eq!(filter.judge(&one, 3, 10), Verdict::Pass(3));
        assert_eq!(filter.judge(&one, 3, 10), Verdict::Pass(2));
        assert_eq!(filter.judge(&one, 1, 10), Verdict::Pass(0));
        assert_eq!(filter.judge(&other, 7, 10), Verdict::Pass(5));
        assert_eq!(filter.judge(&one, 9, 1_000_009), Verdict::Pass(0), "a nanosecond early");
        assert_eq!(filter.judge(&one, 9, 1_000_010), Verdict::Pass(1));
        assert_eq!(
            filter.judge(&one, 9, 60_000_000_000),
            Verdict::Pass(5),
            "silence earns no more than a burst"
        );
    }

    #[test]
    fn joined_datagrams_pass_as_single_ones_would() {
        let (mut random, seed) = seeded();
        let rate = Rate { per_second: 1_000_000, burst: 20 };
        let (mut joined, mut single) = (filter(&[], Some(rate)), filter(&[], Some(rate)));
        let mut now_ns = 0;
        for _ in 0..2000 {
            now_ns += random.between(0, 20_000);
            let address = Ipv4Addr::from_bits(random.between(1, 3) as u32).to_ipv6_mapped().octets();
            let count = random.between(1, 30) as usize;
            let one_by_one =
                (0..count).filter(|_| single.judge(&address, 1, now_ns) == Verdict::Pass(1)).count();
            assert_eq!(joined.judge(&address, count, now_ns), Verdict::Pass(one_by_one), "seed {seed}");
        }
    }

    #[test]
    fn a_table_full_of_sources_still_holds_each_newcomer_to_its_burst() {
        let mut filter = filter(&[], Some(Rate { per_second: 1, burst: 2 }));
        for number in 0..3 * SOURCES_MAX as u32 {
            let address = Ipv4Addr::from_bits(number).to_ipv6_mapped().octets();
            assert_eq!(filter.judge(&address, 5, 1), Verdict::Pass(2));
        }
    }
}
