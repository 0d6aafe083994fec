//! Which Linux capabilities this thread lacks. Not a way to change them.
use caps::{CapSet, Capability, CapsHashSet};

/// Loading the program and attaching it.
pub const FOR_PROGRAM: [Capability; 2] = [Capability::CAP_NET_ADMIN, Capability::CAP_BPF];

/// The first of `wanted` that is not effective. Where the set cannot be read, nothing is missing: the system call itself will tell.
pub fn first_missing(wanted: &[Capability]) -> Option<Capability> {
    let effective = caps::read(None, CapSet::Effective).ok()?;
    wanted.iter().copied().find(|capability| !is_in(*capability, &effective))
}

/// CAP_BPF and CAP_PERFMON were split off CAP_SYS_ADMIN, which still implies both.
fn is_in(capability: Capability, set: &CapsHashSet) -> bool {
    let is_split_off = matches!(capability, Capability::CAP_BPF | Capability::CAP_PERFMON);
    set.contains(&capability) || (is_split_off && set.contains(&Capability::CAP_SYS_ADMIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_administration_stands_for_the_capabilities_split_off_it() {
        let admin = CapsHashSet::from([Capability::CAP_SYS_ADMIN]);
        assert!(is_in(Capability::CAP_BPF, &admin) && is_in(Capability::CAP_PERFMON, &admin));
        assert!(!is_in(Capability::CAP_NET_ADMIN, &admin) && !is_in(Capability::CAP_NET_RAW, &admin));
        assert!(is_in(Capability::CAP_NET_RAW, &CapsHashSet::from([Capability::CAP_NET_RAW])));
    }
}
