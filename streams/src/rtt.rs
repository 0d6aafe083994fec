//! How long a round trip takes, as RFC 6298 estimates it, in integers. It does not know what is timed: the owner gives samples of what was
//! sent once only (Karn), and asks how long to wait.

/// A smoothed round trip and its variation, nanoseconds. Nothing is known before the first sample.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RoundTrip {
    smoothed_ns: u64,
    variation_ns: u64,
}

impl RoundTrip {
    /// RFC 6298, 2.2 and 2.3.
    pub fn sample(&mut self, ns: u64) {
        if self.smoothed_ns == 0 {
            self.smoothed_ns = ns.max(1);
            self.variation_ns = ns / 2;
            return;
        }
        let deviation = self.smoothed_ns.abs_diff(ns);
        self.variation_ns = self.variation_ns - self.variation_ns / 4 + deviation / 4;
        self.smoothed_ns = (self.smoothed_ns - self.smoothed_ns / 8 + ns / 8).max(1);
    }

    /// How long an answer takes at most, but for accidents; `None` before the first sample. However steady the path, an end that is not
    /// scheduled at once, or waits before it answers, takes up to `granularity_ns` longer.
    pub fn timeout_ns(&self, granularity_ns: u64) -> Option<u64> {
        let variation_ns = self.variation_ns.saturating_mul(4).max(granularity_ns);
        (self.smoothed_ns > 0).then(|| self.smoothed_ns.saturating_add(variation_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn the_first_sample_gives_three_round_trips() {
        let mut trip = RoundTrip::default();
        assert_eq!(trip.timeout_ns(0), None);
        trip.sample(10 * MS);
        assert_eq!(trip.timeout_ns(0), Some(30 * MS));
    }

    #[test]
    fn a_steady_path_is_waited_for_little_longer_than_it_takes_and_a_changed_one_is_followed() {
        let mut trip = RoundTrip::default();
        (0..100).for_each(|_| trip.sample(10 * MS));
        assert!((10 * MS..11 * MS).contains(&trip.timeout_ns(0).unwrap()), "{trip:?}");
        trip.sample(50 * MS);
        assert!(
            trip.timeout_ns(0).unwrap() > 50 * MS,
            "one late answer is enough to wait for the next: {trip:?}"
        );
        (0..100).for_each(|_| trip.sample(50 * MS));
        assert!((50 * MS..56 * MS).contains(&trip.timeout_ns(0).unwrap()), "{trip:?}");
        assert!((69 * MS..71 * MS).contains(&trip.timeout_ns(20 * MS).unwrap()), "{trip:?}");
    }

    #[test]
    fn no_sample_overflows() {
        let mut trip = RoundTrip::default();
        for ns in [u64::MAX, 0, u64::MAX, u64::MAX, 1] {
            trip.sample(ns);
        }
        assert!(trip.timeout_ns(0).is_some());
    }
}
