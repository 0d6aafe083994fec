//! Deterministic simulation: one shard, its clients, its network and its disk in one thread on a virtual clock, with faults in all of
//! them and checks throughout. The engine is the real one ([`engine`] wires it); nothing here is on its order path.
//!
//! ```text
//!  client ─┐                ┌─ Reception ─ Core ─ Sessions ─┐
//!  client ─┼─ SimNetwork ───┤          Recording             ├── virtual clock (world)
//!  client ─┘                └─ Writer ──── SimStorage ──────┘
//!                                │
//!                             Truth: what the journal was given, replayed by a second shard and a naive book
//! ```
//! The same seed gives the same run, to the byte. A failure names its seed: `pitlane sim --seed N --steps M` repeats it.

pub mod broken;
mod client;
mod engine;
mod flow;
mod hazards;
#[cfg(test)]
mod lossless;
mod naive;
mod truth;
mod wiring;
mod world;

pub use broken::Broken;
pub use hazards::{Hazard, Hazards};

use std::fmt;

/// What to simulate.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub seed: u64,
    /// Rounds with faults; a quiet time follows in which everything has to come right.
    pub steps: u64,
    /// What may be in the run; whether it is, the seed decides.
    pub allowed: Hazards,
    /// A deliberate defect, to see whether the checks find it.
    pub broken: Option<Broken>,
}

/// What happened in a run that broke no rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Of everything that clients and journal saw: two runs of a seed have the same.
    pub fingerprint: u64,
    pub records: u64,
    pub messages_received: u64,
    pub executions: u64,
    pub engine_crashes: u64,
    pub power_losses: u64,
    pub client_crashes: u64,
    pub partitions: u64,
    /// Ranges of messages that came from the journal.
    pub replays: u64,
    pub clock_steps: u64,
    /// Orders and logins that found no place.
    pub refused_by_tables: u64,
    /// Times that a restart found a record cut short.
    pub torn_tails: u64,
    /// The disk damaged what it had confirmed, and the engine refused to start on it: the run ends there.
    pub refused: bool,
    /// The disk damaged the newest records before any later write could vouch for them: no single disk can tell that from a write
    /// that never came. The run ends there.
    pub tail_damaged: bool,
}

/// A rule that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub seed: u64,
    pub steps: u64,
    pub allowed: Hazards,
    pub broken: Option<Broken>,
    pub step: u64,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation { seed, steps, allowed, broken, step, what } = self;
        write!(f, "step {step}: {what}\nrepeat with: pitlane sim --seed {seed} --steps {steps}{allowed}")?;
        if let Some(broken) = broken {
            write!(f, " --break {broken}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Violation {}

/// Runs one seed.
///
/// # Errors
/// The first rule that was broken.
pub fn run(options: Options) -> Result<Report, Violation> {
    world::World::new(options).run()
}
