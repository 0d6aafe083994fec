//! The highest rate that keeps a latency limit: a bisection with a bounded number of trials. How a trial is run is the caller's.

use anyhow::Result;

/// A trial whose rate stays below this share of what was intended did not keep up.
const KEPT_UP_SHARE: f64 = 0.98;

#[derive(Debug, Clone, Copy)]
pub struct SearchSettings {
    pub rate_min: f64,
    pub rate_max: f64,
    /// Trials at most.
    pub steps: u32,
    /// Ends when the best rate and the lowest failing one differ by less than this share.
    pub precision: f64,
    pub limit_ns: u64,
}

/// What a trial showed.
#[derive(Debug, Clone, Copy)]
pub struct Trial {
    pub orders_per_second: f64,
    pub latency_ns: u64,
    pub is_clean: bool,
}

impl SearchSettings {
    pub fn check(&self) -> Result<(), String> {
        if !(self.rate_min > 0.0 && self.rate_max > self.rate_min && self.rate_max.is_finite()) {
            return Err(format!(
                "--rate-min {} and --rate-max {}: expected 0 < min < max",
                self.rate_min, self.rate_max
            ));
        }
        if self.steps == 0 || self.precision.is_nan() || self.precision <= 0.0 {
            return Err("--steps and --precision must be above 0".into());
        }
        Ok(())
    }

    pub fn passes(&self, rate: f64, trial: &Trial) -> bool {
        trial.is_clean && trial.latency_ns <= self.limit_ns && trial.orders_per_second >= KEPT_UP_SHARE * rate
    }
}

/// Returns the highest rate that passed. Rates are halved on a logarithmic scale, because they span orders of magnitude.
pub fn search(settings: &SearchSettings, mut trial: impl FnMut(f64) -> Result<Trial>) -> Result<Option<f64>> {
    let mut passes = |rate: f64| -> Result<bool> { Ok(settings.passes(rate, &trial(rate)?)) };
    if !passes(settings.rate_min)? {
        return Ok(None);
    }
    let (mut good, mut bad) = (settings.rate_min, settings.rate_max);
    for _ in 1..settings.steps {
        if bad / good - 1.0 < settings.precision {
            break;
        }
        let middle = (good * bad).sqrt();
        if passes(middle)? {
            good = middle;
        } else {
            bad = middle;
        }
    }
    Ok(Some(good))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server of fixed capacity: beyond it answers fall behind.
    fn server(capacity: f64) -> impl Fn(f64) -> Result<Trial> {
        move |rate| {
            let utilisation = rate / capacity;
            let latency_ns = if utilisation < 1.0 { 1000.0 / (1.0 - utilisation) } else { 1e9 };
            Ok(Trial { orders_per_second: rate.min(capacity), latency_ns: latency_ns as u64, is_clean: true })
        }
    }

    const SETTINGS: SearchSettings =
        SearchSettings { rate_min: 1e3, rate_max: 1e7, steps: 30, precision: 0.01, limit_ns: 10_000 };

    #[test]
    fn the_highest_rate_within_the_limit_is_found() {
        // 1 us / (1 - u) = 10 us at u = 0.9.
        let found = search(&SETTINGS, server(1e6)).unwrap().unwrap();
        assert!((0.88e6..=0.9e6).contains(&found), "{found}");
    }

    #[test]
    fn trials_are_bounded_and_a_hopeless_limit_is_said() {
        let mut trials = 0;
        let settings = SearchSettings { steps: 5, ..SETTINGS };
        search(&settings, |rate| {
            trials += 1;
            server(1e6)(rate)
        })
        .unwrap();
        assert_eq!(trials, 5);
        assert_eq!(search(&SETTINGS, server(500.0)).unwrap(), None);
        let lossy = |rate| Ok(Trial { orders_per_second: rate, latency_ns: 1, is_clean: false });
        assert_eq!(search(&SETTINGS, lossy).unwrap(), None);
        assert!(SearchSettings { rate_max: 1.0, ..SETTINGS }.check().is_err());
    }
}
