//! How the draws of an order flow come from its seed. The generator itself is `netio`'s.

pub use netio::random::Random;
use netio::random::mixed;

/// An independent generator for part `stream` of a run: neighbouring streams share nothing.
pub fn stream(seed: u64, stream: u64) -> Random {
    Random::new(mixed(seed) ^ stream)
}

/// Uniform in the open interval (0, 1): safe to take the logarithm of.
pub fn open_unit(random: &mut Random) -> f64 {
    ((random.next_u64() >> 11) as f64 + 0.5) * (1.0 / (1u64 << 53) as f64)
}

/// Maps 32 uniform bits to `0..bound`, so that one draw can serve several decisions. The bias is below `bound` / 2^32.
pub fn scale(bits: u32, bound: u32) -> u32 {
    ((u64::from(bits) * u64::from(bound)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_one_seed_differ_and_come_again() {
        assert_eq!(stream(1, 0).next_u64(), stream(1, 0).next_u64());
        assert_ne!(stream(1, 0).next_u64(), stream(1, 1).next_u64());
        assert_ne!(stream(1, 0).next_u64(), stream(2, 0).next_u64());
    }

    #[test]
    fn derived_draws_stay_inside_their_bounds() {
        let mut random = Random::new(3);
        let mut seen = [false; 5];
        for _ in 0..1000 {
            let unit = open_unit(&mut random);
            assert!(unit > 0.0 && unit < 1.0);
            seen[scale(random.next_u32(), 5) as usize] = true;
        }
        assert_eq!(seen, [true; 5]);
        assert_eq!((scale(u32::MAX, 0), scale(u32::MAX, 1)), (0, 0));
    }
}
