//! Giving up capabilities for good, once everything that needed them is open. Not a way to check or gain any.
#![allow(unsafe_code)] // prctl and capset have no safe wrapper here.

use std::io;

/// _LINUX_CAPABILITY_VERSION_3: two words for each set.
const CAPABILITY_VERSION: u32 = 0x2008_0522;
/// Capabilities have 64 bits at most; the kernel answers EINVAL beyond its last one.
const CAPABILITIES_MAX: u32 = 64;

#[derive(Debug, thiserror::Error)]
pub enum DropError {
    #[error("{what} failed: {source}")]
    System { what: &'static str, source: io::Error },
    #[error("capabilities {0:#x} are still there after dropping them")]
    Kept(u64),
}

#[repr(C)]
struct Header {
    version: u32,
    thread: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Sets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Takes every capability from the calling thread, and with it from the threads and processes it will start: permitted,
/// effective, inheritable, ambient and bounding sets, and no program it executes can get any back. Rings, sockets, maps and
/// the attached program go on working; what does not any more is to open, attach or replace.
///
/// Linux keeps capabilities for each thread: call this before the first thread is started. Threads that run already keep
/// theirs, which is logged.
pub fn drop_capabilities() -> Result<(), DropError> {
    prctl("forbidding new privileges", libc::PR_SET_NO_NEW_PRIVS, 1)?;
    for capability in 0..CAPABILITIES_MAX {
        match prctl("dropping from the bounding set", libc::PR_CAPBSET_DROP, capability.into()) {
            Ok(()) => {}
            // Beyond the last capability of this kernel, or without CAP_SETPCAP, and then the bounding set is out of reach
            // anyway: without new privileges nothing can be gained from it.
            Err(DropError::System { source, .. })
                if matches!(source.raw_os_error(), Some(libc::EINVAL | libc::EPERM)) =>
            {
                break;
            }
            Err(error) => return Err(error),
        }
    }
    prctl("clearing the ambient set", libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong)?;
    let header = Header { version: CAPABILITY_VERSION, thread: 0 };
    let none = [Sets::default(); 2];
    // SAFETY: header and sets have the kernel's layout for this version (two sets), and live through the call.
    if unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) } != 0 {
        return Err(DropError::System { what: "capset", source: io::Error::last_os_error() });
    }
    match effective() {
        Some(0) | None => {}
        Some(kept) => return Err(DropError::Kept(kept)),
    }
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads > 1 {
        tracing::warn!(threads, "capabilities dropped while other threads run: those keep theirs");
    }
    Ok(())
}

/// The calling thread's effective set; `None` when /proc cannot be read.
fn effective() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/thread-self/status").ok()?;
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(set.trim(), 16).ok()
}

fn prctl(what: &'static str, option: libc::c_int, argument: libc::c_ulong) -> Result<(), DropError> {
    let zero: libc::c_ulong = 0;
    // SAFETY: none of the options used here reads or writes memory; the arguments they do not use have to be 0.
    if unsafe { libc::prctl(option, argument, zero, zero, zero) } == 0 {
        Ok(())
    } else {
        Err(DropError::System { what, source: io::Error::last_os_error() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_the_drop_the_thread_and_its_children_have_no_capability() {
        std::thread::spawn(|| {
            drop_capabilities().unwrap();
            assert_eq!(effective(), Some(0));
            // A second time has nothing left to do, and does it.
            drop_capabilities().unwrap();
            let child =
                std::process::Command::new("grep").args(["CapEff", "/proc/self/status"]).output().unwrap();
            let line = String::from_utf8(child.stdout).unwrap();
            assert_eq!(u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16), Ok(0), "{line}");
        })
        .join()
        .unwrap();
    }
}
