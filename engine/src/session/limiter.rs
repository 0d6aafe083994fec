//! Login attempts per source address: a small table of token buckets. Not a limit on orders: the XDP program and the
//! session's risk limits see to those.

/// Sources remembered at once. A source that finds its place taken by a busier one shares that one's bucket, which errs
/// on the side of refusing.
const BUCKETS: usize = 4096;
const MINUTE_NS: u64 = 60_000_000_000;

#[derive(Clone, Copy)]
struct Bucket {
    /// Attempts left, in units of 1/`per_minute` minute.
    credit_ns: u64,
    updated_ns: u64,
}

pub struct AttemptLimiter {
    buckets: Box<[Bucket]>,
    cost_ns: u64,
    seed: u64,
}

impl AttemptLimiter {
    /// `seed` decides which sources share a bucket; random, so that nobody can choose to.
    pub fn new(per_minute: u32, seed: u64) -> Self {
        let empty = Bucket { credit_ns: MINUTE_NS, updated_ns: 0 };
        Self {
            buckets: vec![empty; BUCKETS].into_boxed_slice(),
            cost_ns: MINUTE_NS / u64::from(per_minute.max(1)),
            seed,
        }
    }

    /// Takes one attempt from the source's bucket; false when it is empty.
    pub fn allow(&mut self, source: &[u8; 16], now_ns: u64) -> bool {
        let bucket = &mut self.buckets[slot(source, self.seed)];
        let refilled = (bucket.credit_ns + now_ns.saturating_sub(bucket.updated_ns)).min(MINUTE_NS);
        bucket.credit_ns = refilled;
        bucket.updated_ns = now_ns;
        if bucket.credit_ns < self.cost_ns {
            return false;
        }
        bucket.credit_ns -= self.cost_ns;
        true
    }
}

fn slot(source: &[u8; 16], seed: u64) -> usize {
    let (mut high, mut low) = ([0; 8], [0; 8]);
    high.copy_from_slice(&source[..8]);
    low.copy_from_slice(&source[8..]);
    let mut hash =
        seed ^ u64::from_le_bytes(high).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from_le_bytes(low);
    hash = (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (hash >> 52) as usize & (BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_refused_beyond_its_rate_and_allowed_again_later() {
        let mut limiter = AttemptLimiter::new(6, 1);
        let source = [7; 16];
        let granted = (0..20).filter(|_| limiter.allow(&source, 1_000)).count();
        assert_eq!(granted, 6);
        assert!(!limiter.allow(&source, 9_000_000_000));
        assert!(limiter.allow(&source, 11_000_000_000));
    }

    #[test]
    fn another_source_is_not_affected() {
        let mut limiter = AttemptLimiter::new(1, 1);
        assert!(limiter.allow(&[1; 16], 0));
        assert!(!limiter.allow(&[1; 16], 0));
        assert!(limiter.allow(&[2; 16], 0));
    }
}
