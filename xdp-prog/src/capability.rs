//! Which Linux capabilities this thread has. Not a way to change them.
use std::fmt;

/// The capabilities that loading, attaching and AF_XDP sockets ask for; numbers from linux/capability.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    NetAdmin = 12,
    NetRaw = 13,
    IpcLock = 14,
    SysAdmin = 21,
    Perfmon = 38,
    Bpf = 39,
}

impl Capability {
    /// Loading the program and attaching it.
    pub const FOR_PROGRAM: [Self; 2] = [Self::NetAdmin, Self::Bpf];

    /// The effective set of the calling thread, as a bit mask. Nothing when /proc cannot be read.
    fn effective() -> Option<u64> {
        let status = std::fs::read_to_string("/proc/thread-self/status").ok()?;
        let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
        u64::from_str_radix(set.trim(), 16).ok()
    }

    /// The first of `wanted` that is missing. Where the set cannot be read, nothing is: the system call itself will tell.
    pub fn first_missing(wanted: &[Self]) -> Option<Self> {
        let effective = Self::effective()?;
        wanted.iter().copied().find(|capability| !capability.is_in(effective))
    }

    /// CAP_BPF and CAP_PERFMON were split off CAP_SYS_ADMIN, which still implies both.
    const fn is_in(self, set: u64) -> bool {
        has_bit(set, self) || (matches!(self, Self::Bpf | Self::Perfmon) && has_bit(set, Self::SysAdmin))
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::NetRaw => "CAP_NET_RAW",
            Self::IpcLock => "CAP_IPC_LOCK",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::Perfmon => "CAP_PERFMON",
            Self::Bpf => "CAP_BPF",
        })
    }
}

const fn has_bit(set: u64, capability: Capability) -> bool {
    set & (1 << capability as u64) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_administration_stands_for_the_capabilities_split_off_it() {
        let admin = 1 << 21;
        assert!(Capability::Bpf.is_in(admin) && Capability::Perfmon.is_in(admin));
        assert!(!Capability::NetAdmin.is_in(admin) && !Capability::NetRaw.is_in(admin));
        assert!(Capability::NetAdmin.is_in(1 << 12));
    }
}
