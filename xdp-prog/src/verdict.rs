//! What the XDP program decided about a packet, and how often. Not a log: only sums over CPUs since the program was loaded.
use std::fmt;

/// In the order of `enum verdict` in bpf/steer.c, which indexes the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Verdict {
    Redirected,
    PassedNotUdp,
    PassedOtherPort,
    PassedOtherAddress,
    PassedIpOptions,
    PassedFragment,
    PassedExtensionHeader,
    PassedOtherQueue,
    PassedNoSocket,
    DroppedBadLength,
    DroppedShort,
    DroppedMoldLength,
    DroppedNotAllowed,
    DroppedOverRate,
}

impl Verdict {
    pub const ALL: [Self; 14] = [
        Self::Redirected,
        Self::PassedNotUdp,
        Self::PassedOtherPort,
        Self::PassedOtherAddress,
        Self::PassedIpOptions,
        Self::PassedFragment,
        Self::PassedExtensionHeader,
        Self::PassedOtherQueue,
        Self::PassedNoSocket,
        Self::DroppedBadLength,
        Self::DroppedShort,
        Self::DroppedMoldLength,
        Self::DroppedNotAllowed,
        Self::DroppedOverRate,
    ];

    /// The label used in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Redirected => "redirected",
            Self::PassedNotUdp => "passed_not_udp",
            Self::PassedOtherPort => "passed_other_port",
            Self::PassedOtherAddress => "passed_other_address",
            Self::PassedIpOptions => "passed_ip_options",
            Self::PassedFragment => "passed_fragment",
            Self::PassedExtensionHeader => "passed_extension_header",
            Self::PassedOtherQueue => "passed_other_queue",
            Self::PassedNoSocket => "passed_no_socket",
            Self::DroppedBadLength => "dropped_bad_length",
            Self::DroppedShort => "dropped_short",
            Self::DroppedMoldLength => "dropped_mold_length",
            Self::DroppedNotAllowed => "dropped_not_allowed",
            Self::DroppedOverRate => "dropped_over_rate",
        }
    }
}

/// One sum per verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters([u64; Verdict::ALL.len()]);

impl Counters {
    pub const fn get(&self, verdict: Verdict) -> u64 {
        self.0[verdict as usize]
    }

    /// Verdicts in the order of the program, with their sums.
    pub fn iter(&self) -> impl Iterator<Item = (Verdict, u64)> + '_ {
        Verdict::ALL.into_iter().map(|verdict| (verdict, self.get(verdict)))
    }

    pub(crate) fn add(&mut self, verdict: Verdict, count: u64) {
        self.0[verdict as usize] += count;
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (verdict, count) in self.iter().filter(|(_, count)| *count > 0) {
            write!(f, "{separator}{} {count}", verdict.name())?;
            separator = ", ";
        }
        if separator.is_empty() { f.write_str("no packets") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verdict_has_a_counter_and_a_name_of_its_own() {
        for (index, verdict) in Verdict::ALL.into_iter().enumerate() {
            assert_eq!(verdict as usize, index);
            assert_eq!(Verdict::ALL.iter().filter(|other| other.name() == verdict.name()).count(), 1);
        }
    }

    #[test]
    fn counters_print_only_what_happened() {
        let mut counters = Counters::default();
        assert_eq!(counters.to_string(), "no packets");
        counters.add(Verdict::Redirected, 3);
        counters.add(Verdict::DroppedShort, 1);
        assert_eq!(counters.to_string(), "redirected 3, dropped_short 1");
    }
}
