//! Giving up capabilities for good, once everything that needed them is open. Not a way to check or gain any.

use caps::{CapSet, Capability, errors::CapsError};

#[derive(Debug, thiserror::Error)]
pub enum DropError {
    #[error("forbidding new privileges: {0}")]
    NewPrivileges(nix::errno::Errno),
    #[error("emptying the {set:?} set: {source}")]
    Set { set: CapSet, source: CapsError },
    #[error("capabilities {0:?} are still there after dropping them")]
    Kept(Vec<Capability>),
}

/// Takes every capability from the calling thread, and with it from the threads and processes it will start: permitted,
/// effective, inheritable, ambient and bounding sets, and no program it executes can get any back. Rings, sockets, maps and
/// the attached program go on working; what does not any more is to open, attach or replace.
///
/// Linux keeps capabilities for each thread: call this before the first thread is started. Threads that run already keep
/// theirs, which is logged.
pub fn drop_capabilities() -> Result<(), DropError> {
    nix::sys::prctl::set_no_new_privs().map_err(DropError::NewPrivileges)?;
    let clear = |set| caps::clear(None, set).map_err(|source| DropError::Set { set, source });
    // Without CAP_SETPCAP the bounding set is out of reach, and without new privileges nothing can be gained from it.
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP).unwrap_or(false) {
        clear(CapSet::Bounding)?;
    }
    // What is effective has to be permitted, so it goes first.
    [CapSet::Ambient, CapSet::Effective, CapSet::Permitted, CapSet::Inheritable]
        .into_iter()
        .try_for_each(clear)?;
    match caps::read(None, CapSet::Effective) {
        Ok(kept) if !kept.is_empty() => return Err(DropError::Kept(kept.into_iter().collect())),
        _ => {}
    }
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads > 1 {
        tracing::warn!(threads, "capabilities dropped while other threads run: those keep theirs");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_the_drop_the_thread_and_its_children_have_no_capability() {
        std::thread::spawn(|| {
            drop_capabilities().unwrap();
            // A second time has nothing left to do, and does it.
            drop_capabilities().unwrap();
            let child =
                std::process::Command::new("grep").args(["Cap", "/proc/self/status"]).output().unwrap();
            let sets = String::from_utf8(child.stdout).unwrap();
            let is_root = nix::unistd::geteuid().is_root();
            for line in sets.lines().filter(|line| is_root || !line.starts_with("CapBnd")) {
                assert_eq!(u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16), Ok(0), "{line}");
            }
            assert_eq!(sets.lines().count(), 5, "{sets}");
        })
        .join()
        .unwrap();
    }
}
