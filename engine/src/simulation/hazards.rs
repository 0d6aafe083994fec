//! What besides crashes, loss and bad disks may be in a run. Each can be left out, so that it shows what a failure needs.

use netio::random::Random;
use std::fmt;
use std::str::FromStr;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hazard {
    /// Resend windows of a few messages, and clients that forget what they received.
    Replays,
    /// The machine's clock is set, forward and back.
    Clock,
    /// Tables for fewer sessions, orders and price levels than there are.
    Tables,
}

impl Hazard {
    const ALL: [Hazard; 3] = [Hazard::Replays, Hazard::Clock, Hazard::Tables];

    const fn name(self) -> &'static str {
        match self {
            Hazard::Replays => "replays",
            Hazard::Clock => "clock",
            Hazard::Tables => "tables",
        }
    }
}

impl FromStr for Hazard {
    type Err = String;

    fn from_str(text: &str) -> Result<Hazard, String> {
        let known = || Hazard::ALL.map(Hazard::name).join(", ");
        Hazard::ALL
            .into_iter()
            .find(|hazard| hazard.name() == text)
            .ok_or_else(|| format!("`{text}` is no hazard; there are {}", known()))
    }
}

/// A set of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hazards([bool; 3]);

impl Hazards {
    pub const ALL: Hazards = Hazards([true; 3]);
    pub const NONE: Hazards = Hazards([false; 3]);

    pub fn without(left_out: &[Hazard]) -> Hazards {
        Hazards(Hazard::ALL.map(|hazard| !left_out.contains(&hazard)))
    }

    pub const fn has(self, hazard: Hazard) -> bool {
        self.0[hazard as usize]
    }

    /// Some of these, or one that a deliberate defect needs to show.
    pub(super) fn some(self, random: &mut Random, needed: Option<Hazard>) -> Hazards {
        Hazards(Hazard::ALL.map(|hazard| random.chance(0.5) && self.has(hazard) || needed == Some(hazard)))
    }
}

/// As the command line takes it.
impl fmt::Display for Hazards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left_out = Hazard::ALL.into_iter().filter(|&hazard| !self.has(hazard));
        for (place, hazard) in left_out.enumerate() {
            f.write_str(if place == 0 { " --without " } else { "," })?;
            f.write_str(hazard.name())?;
        }
        Ok(())
    }
}
