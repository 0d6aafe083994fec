//! What a running engine may still ask of the kernel: a list of system calls, in force for all its threads once everything is open.
//! Not the capabilities: those are gone by then (`netio::privileges`).
//!
//! An engine that an attacker has got into cannot start a program, open a raw socket, listen, load a BPF program, map memory as
//! code, enter namespaces, trace or mount. It can do what the engine does: files below its rights, sockets, threads.

use crate::config::Sandbox;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Width, SeccompCmpOp as Is, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};
use std::collections::BTreeMap;

/// Any arguments. Linux (5.11) keeps for these a bitmap in front of the filter, so that those of the order path cost nothing.
const ALLOWED: &[i64] = &[
    // The ports, the doors and the feed.
    libc::SYS_recvmmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    // Journal, snapshots, and what threads read of /proc and /sys.
    libc::SYS_openat,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync_file_range,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fadvise64,
    libc::SYS_flock,
    libc::SYS_fcntl,
    libc::SYS_fchmod,
    libc::SYS_getdents64,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_readlinkat,
    libc::SYS_copy_file_range,
    libc::SYS_sendfile,
    libc::SYS_splice,
    libc::SYS_getcwd,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_add_watch,
    libc::SYS_inotify_rm_watch,
    // Memory; what makes code of it is below.
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_msync,
    libc::SYS_mincore,
    libc::SYS_mlock,
    libc::SYS_mlock2,
    libc::SYS_munlock,
    libc::SYS_brk,
    libc::SYS_membarrier,
    // Threads and time.
    libc::SYS_futex,
    libc::SYS_rseq,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_setaffinity,
    libc::SYS_getcpu,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
    libc::SYS_restart_syscall,
    // Signals, and an end by one.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_tgkill,
    // About ourselves.
    libc::SYS_getrandom,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_getrusage,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
];

/// The older forms, which the C library still uses where they exist.
#[cfg(target_arch = "x86_64")]
const ALLOWED_OLDER: &[i64] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_wait,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_unlink,
    libc::SYS_rename,
    libc::SYS_link,
    libc::SYS_readlink,
    libc::SYS_dup2,
    libc::SYS_pipe,
    libc::SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_OLDER: &[i64] = &[];

/// bpf(2): reading a map, which is how the XDP program's counters are read.
const BPF_MAP_LOOKUP_ELEM: u64 = 1;

#[derive(Debug, thiserror::Error)]
#[error("cannot restrict the engine's system calls: {0}; engine.sandbox = \"off\" goes without")]
pub struct SandboxError(String);

/// From now on no thread of this process makes any other call: it gets EPERM, or is the end of the process.
pub fn enter(sandbox: Sandbox) -> Result<(), SandboxError> {
    let refusal = match sandbox {
        Sandbox::Off => {
            tracing::warn!("engine.sandbox is \"off\": the engine may make any system call");
            return Ok(());
        }
        Sandbox::Refuse => SeccompAction::Errno(libc::EPERM as u32),
        Sandbox::Kill => SeccompAction::KillProcess,
    };
    // Its arguments are in memory, where no filter looks. Without it the C library uses clone, whose flags can be seen.
    let clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let absent = SeccompAction::Errno(libc::ENOSYS as u32);
    for program in
        [compile(clone3, SeccompAction::Allow, absent)?, compile(list()?, refusal, SeccompAction::Allow)?]
    {
        seccompiler::apply_filter_all_threads(&program).map_err(|error| SandboxError(error.to_string()))?;
    }
    tracing::info!(?sandbox, "system calls restricted");
    Ok(())
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn compile(rules: Rules, others: SeccompAction, listed: SeccompAction) -> Result<BpfProgram, SandboxError> {
    let failed = |error: &dyn std::error::Error| SandboxError(error.to_string());
    let architecture = TargetArch::try_from(std::env::consts::ARCH).map_err(|error| failed(&error))?;
    SeccompFilter::new(rules, others, listed, architecture)
        .and_then(TryInto::try_into)
        .map_err(|error| failed(&error))
}

/// What may be called: any of a call's rules is enough.
fn list() -> Result<Rules, SandboxError> {
    let mut rules: Rules = ALLOWED.iter().chain(ALLOWED_OLDER).map(|&call| (call, Vec::new())).collect();
    rules.insert(libc::SYS_clone3, Vec::new());
    let not_code = || Is::MaskedEq(libc::PROT_EXEC as u64);
    let mut only = |call: i64, argument: u8, width: Width, cases: Vec<(Is, u64)>| {
        let rules_of_call = rules.entry(call).or_default();
        for (is, value) in cases {
            let rule = SeccompCondition::new(argument, width.clone(), is, value)
                .and_then(|condition| SeccompRule::new(vec![condition]))
                .map_err(|error| SandboxError(error.to_string()))?;
            rules_of_call.push(rule);
        }
        Ok::<(), SandboxError>(())
    };
    let any_of = |values: &[i64]| values.iter().map(|&value| (Is::Eq, value as u64)).collect();
    only(libc::SYS_mmap, 2, Width::Dword, vec![(not_code(), 0)])?;
    only(libc::SYS_mprotect, 2, Width::Dword, vec![(not_code(), 0)])?;
    // A thread of this process, in its namespaces.
    let threads = libc::CLONE_THREAD as u64;
    only(libc::SYS_clone, 0, Width::Dword, vec![(Is::MaskedEq(threads), threads)])?;
    let families = [libc::AF_INET, libc::AF_INET6, libc::AF_UNIX, libc::AF_NETLINK].map(i64::from);
    only(libc::SYS_socket, 0, Width::Dword, any_of(&families))?;
    only(libc::SYS_socketpair, 0, Width::Dword, any_of(&[i64::from(libc::AF_UNIX)]))?;
    only(
        libc::SYS_ioctl,
        1,
        Width::Dword,
        any_of(&[
            libc::FIONBIO as i64,
            libc::TCGETS as i64,
            libc::TIOCGWINSZ as i64,
            libc::SIOCGIFINDEX as i64,
        ]),
    )?;
    only(
        libc::SYS_prctl,
        0,
        Width::Dword,
        any_of(&[libc::PR_SET_NAME, libc::PR_GET_NAME, libc::PR_SET_TIMERSLACK].map(i64::from)),
    )?;
    only(libc::SYS_bpf, 0, Width::Dword, vec![(Is::Eq, BPF_MAP_LOOKUP_ELEM)])?;
    // Reading a limit of this process: the third argument is where a new one would be.
    only(libc::SYS_prlimit64, 2, Width::Qword, vec![(Is::Eq, 0)])?;
    Ok(rules)
}
