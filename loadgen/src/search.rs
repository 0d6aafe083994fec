//! The highest rate that keeps a limit: the top of the range first, then a bisection, then a confirmation. How a trial is run is the caller's.

use anyhow::Result;

#[derive(Debug, Clone, Copy)]
pub struct SearchPlan {
    pub rate_min: f64,
    pub rate_max: f64,
    /// Rates tried at most, the confirmation apart.
    pub steps: u32,
    /// Ends when the best rate and the lowest failing one differ by less than this share.
    pub precision: f64,
    /// Trials of each rate that have to count; most of them decide.
    pub trials: u32,
    /// Spoiled trials of one rate that are repeated at most; after that the generator is the limit.
    pub repeats: u32,
}

/// What a trial showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trial {
    Passed,
    Failed(Limit),
    /// The generator itself was late or paused: it shows nothing.
    Spoiled,
}

/// What kept a rate from passing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    Engine,
    Network,
    Generator,
}

impl Limit {
    pub fn name(self) -> &'static str {
        match self {
            Limit::Engine => "engine",
            Limit::Network => "network",
            Limit::Generator => "generator",
        }
    }
}

/// What a search found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found {
    /// The highest confirmed rate; none if the lowest does not pass.
    pub rate: Option<f64>,
    /// What kept the next higher rate from passing; none if the top of the range passed.
    pub limit: Option<Limit>,
}

impl SearchPlan {
    pub fn check(&self) -> Result<(), String> {
        if !(self.rate_min > 0.0 && self.rate_max > self.rate_min && self.rate_max.is_finite()) {
            return Err(format!(
                "--rate-min {} and --rate-max {}: expected 0 < min < max",
                self.rate_min, self.rate_max
            ));
        }
        if self.steps == 0 || self.trials == 0 || self.precision.is_nan() || self.precision <= 0.0 {
            return Err("--steps, --trials and --precision must be above 0".into());
        }
        Ok(())
    }

    /// Whether a rate passes, by most of its trials that count.
    fn judge(&self, rate: f64, trial: &mut impl FnMut(f64) -> Result<Trial>) -> Result<Option<Limit>> {
        let (mut passed, mut failed, mut spoiled) = (0, Vec::new(), 0);
        let majority = self.trials / 2 + 1;
        while passed < majority && (failed.len() as u32) < majority {
            match trial(rate)? {
                Trial::Passed => passed += 1,
                Trial::Failed(limit) => failed.push(limit),
                Trial::Spoiled if spoiled < self.repeats => spoiled += 1,
                Trial::Spoiled => return Ok(Some(Limit::Generator)),
            }
        }
        let network = failed.iter().filter(|limit| **limit == Limit::Network).count();
        Ok(match (passed >= majority, network * 2 > failed.len()) {
            (true, _) => None,
            (false, true) => Some(Limit::Network),
            (false, false) => Some(Limit::Engine),
        })
    }
}

/// Rates are halved on a logarithmic scale, because they span orders of magnitude.
pub fn search(plan: &SearchPlan, mut trial: impl FnMut(f64) -> Result<Trial>) -> Result<Found> {
    if let Some(limit) = plan.judge(plan.rate_min, &mut trial)? {
        return Ok(Found { rate: None, limit: Some(limit) });
    }
    let mut passing = vec![plan.rate_min];
    let (mut bad, mut limit) = (plan.rate_max, plan.judge(plan.rate_max, &mut trial)?);
    if limit.is_none() {
        passing.push(plan.rate_max);
    } else {
        let mut good = plan.rate_min;
        for _ in 2..plan.steps {
            if bad / good - 1.0 < plan.precision {
                break;
            }
            let middle = (good * bad).sqrt();
            match plan.judge(middle, &mut trial)? {
                None => {
                    good = middle;
                    passing.push(middle);
                }
                failed => (bad, limit) = (middle, failed),
            }
        }
    }
    // What passed once by luck does not pass again: the next lower rate is asked then.
    while let Some(rate) = passing.pop() {
        match plan.judge(rate, &mut trial)? {
            None => return Ok(Found { rate: Some(rate), limit }),
            failed => limit = failed,
        }
    }
    Ok(Found { rate: None, limit })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server of fixed capacity keeps 10 us up to 90% of it.
    fn server(capacity: f64) -> impl FnMut(f64) -> Result<Trial> {
        move |rate| {
            let kept = rate < 0.9 * capacity;
            Ok(if kept { Trial::Passed } else { Trial::Failed(Limit::Engine) })
        }
    }

    const PLAN: SearchPlan =
        SearchPlan { rate_min: 1e3, rate_max: 1e7, steps: 30, precision: 0.01, trials: 3, repeats: 4 };

    #[test]
    fn the_highest_rate_within_the_limit_is_found() {
        let found = search(&PLAN, server(1e6)).unwrap();
        assert!((0.89e6..=0.9e6).contains(&found.rate.unwrap()), "{found:?}");
        assert_eq!(found.limit, Some(Limit::Engine));
    }

    #[test]
    fn the_top_of_the_range_is_tried_and_a_hopeless_limit_is_said() {
        assert_eq!(search(&PLAN, server(1e9)).unwrap(), Found { rate: Some(1e7), limit: None });
        assert_eq!(search(&PLAN, server(500.0)).unwrap(), Found { rate: None, limit: Some(Limit::Engine) });
        let lossy = |_| Ok(Trial::Failed(Limit::Network));
        assert_eq!(search(&PLAN, lossy).unwrap(), Found { rate: None, limit: Some(Limit::Network) });
        assert!(SearchPlan { rate_max: 1.0, ..PLAN }.check().is_err());
        assert!(SearchPlan { trials: 0, ..PLAN }.check().is_err());
    }

    #[test]
    fn rates_tried_are_bounded() {
        let mut rates = Vec::new();
        let plan = SearchPlan { steps: 5, trials: 1, ..PLAN };
        let mut engine = server(1e6);
        search(&plan, |rate| {
            rates.push(rate);
            engine(rate)
        })
        .unwrap();
        assert_eq!(rates.len(), 5 + 1, "and one confirmation: {rates:?}");
    }

    #[test]
    fn spoiled_trials_are_repeated_and_never_counted() {
        // Two of three trials are spoiled: the search finds the same.
        let (mut count, mut engine) = (0, server(1e6));
        let plan = SearchPlan { repeats: 10, ..PLAN };
        let found = search(&plan, |rate| {
            count += 1;
            if count % 3 == 0 { engine(rate) } else { Ok(Trial::Spoiled) }
        })
        .unwrap();
        assert!((0.89e6..=0.9e6).contains(&found.rate.unwrap()), "{found:?}");
        // A generator that cannot do better is named.
        let found =
            search(&PLAN, |rate| Ok(if rate > 5e4 { Trial::Spoiled } else { Trial::Passed })).unwrap();
        assert!((4.9e4..=5e4).contains(&found.rate.unwrap()), "{found:?}");
        assert_eq!(found.limit, Some(Limit::Generator));
    }

    #[test]
    fn a_rate_that_passed_by_luck_is_not_confirmed() {
        // Between 100,000 and 200,000 only the first trials pass.
        let mut lucky = 2;
        let found = search(&PLAN, |rate| {
            Ok(match rate {
                rate if rate <= 1e5 => Trial::Passed,
                rate if rate <= 2e5 && lucky > 0 => {
                    lucky -= 1;
                    Trial::Passed
                }
                _ => Trial::Failed(Limit::Engine),
            })
        })
        .unwrap();
        assert!(found.rate.unwrap() <= 1e5, "{found:?}");
    }
}
