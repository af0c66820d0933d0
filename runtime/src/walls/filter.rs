//! The system calls of sealed workers. What is not here ends the process.
//!
//! The lists hold what a trace of the test-suite shows, and what the C library may do instead on another machine (an older version,
//! a clock without a vDSO). Numbers differ between architectures, so everything goes by the C library's names.

use std::collections::BTreeMap;
use std::process;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter_all_threads,
};

use crate::process::Role;

/// `PAGEMAP_SCAN`, the question which pages an instance has touched: `_IOWR('f', 16, struct pm_scan_arg)` of 96 bytes
/// (`include/uapi/linux/fs.h`).
const PAGEMAP_SCAN: u64 = 0xc060_6610;

/// How much of an argument the kernel itself looks at, where it is an `int` or a small set of bits.
pub(super) const ARGUMENT_BITS: SeccompCmpArgLen = SeccompCmpArgLen::Dword;

/// System calls, each with alternatives of what its arguments must be; none is every use of it.
pub(super) type Calls = BTreeMap<libc::c_long, Vec<SeccompRule>>;

/// Closes the filter of `role` over every thread of this process.
pub(super) fn install(role: Role) -> Result<(), seccompiler::Error> {
    // The list last: it does not let another one in.
    for refusals in refused(role)? {
        apply_filter_all_threads(&refusals)?;
    }
    apply_filter_all_threads(&compile(allowed(role)?, SeccompAction::KillProcess, SeccompAction::Allow)?)
}

pub(super) fn compile(calls: Calls, otherwise: SeccompAction, listed: SeccompAction) -> Result<BpfProgram, BackendError> {
    let architecture = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(calls, otherwise, listed, architecture)?.try_into()
}

/// Every call that does not end a worker of `role`.
fn allowed(role: Role) -> Result<Calls, BackendError> {
    let mut calls = common()?;
    if matches!(role, Role::Sandbox | Role::Probe) {
        // An instance that ends asks which pages it has touched.
        calls.insert(libc::SYS_ioctl, vec![one(condition(1, ARGUMENT_BITS, PAGEMAP_SCAN)?)?]);
        // The note of what a job has used so far.
        calls.insert(libc::SYS_pwrite64, Vec::new());
    }
    calls.extend(answers(role).into_iter().flat_map(|(calls, _)| calls).map(|call| (call, Vec::new())));
    Ok(calls)
}

/// Filters for the calls that are refused with an error, because the C library makes them by itself and knows another way.
fn refused(role: Role) -> Result<Vec<BpfProgram>, BackendError> {
    let programs = answers(role).into_iter().map(|(calls, errno)| {
        let calls = calls.into_iter().map(|call| (call, Vec::new())).collect();
        compile(calls, SeccompAction::Allow, SeccompAction::Errno(errno as u32))
    });
    programs.collect()
}

fn answers(role: Role) -> Vec<(Vec<libc::c_long>, i32)> {
    // The standard library asks `statx` for a file's size. That call takes a path, so it is refused, and `fstat` is asked then.
    let mut answers = vec![(vec![libc::SYS_statx], libc::ENOSYS)];
    if matches!(role, Role::Compile | Role::Shader) {
        // Before glibc gives back a thread's heap it looks up the system's overcommit setting; where it cannot, it gives back less.
        answers.push((vec![libc::SYS_openat], libc::EACCES));
    }
    answers
}

/// What both kinds of worker do: compute, wait, and talk over a socket.
fn common() -> Result<Calls, BackendError> {
    let mut calls: Calls = [
        // Memory, with `mmap` and `mprotect` below.
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_madvise,
        libc::SYS_brk,
        // Waiting, time, randomness for hash tables.
        libc::SYS_futex,
        libc::SYS_sched_yield,
        libc::SYS_clock_nanosleep,
        libc::SYS_clock_gettime,
        libc::SYS_getrandom,
        // How many cores there are, which glibc asks when a thread first allocates.
        libc::SYS_sched_getaffinity,
        // Descriptors that are open already.
        libc::SYS_read,
        libc::SYS_pread64,
        libc::SYS_write,
        libc::SYS_writev,
        libc::SYS_lseek,
        libc::SYS_fstat,
        libc::SYS_close,
        // The socket and the event loop around it.
        libc::SYS_recvmsg,
        libc::SYS_epoll_ctl,
        libc::SYS_epoll_pwait,
        // Traps of guests are signals; a call that a stop interrupted goes on by `restart_syscall`.
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sigaltstack,
        libc::SYS_restart_syscall,
        // The end, `abort` included, which signals its own thread by `tgkill` below.
        libc::SYS_getpid,
        libc::SYS_gettid,
        libc::SYS_exit,
        libc::SYS_exit_group,
    ]
    .into_iter()
    .map(|call| (call, Vec::new()))
    .collect();
    #[cfg(target_arch = "x86_64")]
    calls.insert(libc::SYS_epoll_wait, Vec::new());
    // New code becomes visible to every core by this call.
    #[cfg(target_arch = "aarch64")]
    calls.insert(libc::SYS_membarrier, Vec::new());
    // Never writable and executable at once; code is mapped, then made executable. Nothing shared: only what is private counts towards
    // the limit of memory.
    let private = SeccompRule::new(vec![without(2, libc::PROT_EXEC)?, without(3, libc::MAP_SHARED)?])?;
    calls.insert(libc::SYS_mmap, vec![private]);
    calls.insert(libc::SYS_mprotect, vec![one(without(2, libc::PROT_EXEC)?)?, one(without(2, libc::PROT_WRITE)?)?]);
    // To the connected peer only.
    calls.insert(libc::SYS_sendto, vec![one(condition(4, SeccompCmpArgLen::Qword, 0)?)?]);
    // A descriptor's own size, in older versions of glibc. The path cannot be checked, which is why there is an empty root.
    calls.insert(libc::SYS_newfstatat, vec![one(is(3, libc::AT_EMPTY_PATH)?)?]);
    // Not the commands by which a descriptor signals other processes. A debug build of tokio looks at a socket's flags.
    let looks = [libc::F_GETFD, libc::F_DUPFD_CLOEXEC, libc::F_GETFL].map(|command| one(is(1, command)?));
    calls.insert(libc::SYS_fcntl, looks.into_iter().collect::<Result<_, _>>()?);
    // To this process only.
    calls.insert(libc::SYS_tgkill, vec![one(is(0, process::id() as i32)?)?]);
    Ok(calls)
}

pub(super) fn condition(argument: u8, bits: SeccompCmpArgLen, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, bits, SeccompCmpOp::Eq, value)
}

/// The argument has this value.
pub(super) fn is(argument: u8, value: i32) -> Result<SeccompCondition, BackendError> {
    condition(argument, ARGUMENT_BITS, u64::from(value as u32))
}

/// The argument has none of these bits.
fn without(argument: u8, bits: i32) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, ARGUMENT_BITS, SeccompCmpOp::MaskedEq(u64::from(bits as u32)), 0)
}

pub(super) fn one(condition: SeccompCondition) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(vec![condition])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_of_every_role_fit_the_kernel() {
        for role in [Role::Sandbox, Role::Compile, Role::Probe, Role::Shader] {
            let program = compile(allowed(role).unwrap(), SeccompAction::KillProcess, SeccompAction::Allow).unwrap();
            // The kernel's own bound is 4,096; a few hundred steps are what a call costs at most.
            assert!(program.len() < 400, "{role:?}: {}", program.len());
        }
    }
}

/// The filter beside what owners are told of it, which is written for x86-64.
#[cfg(all(test, target_arch = "x86_64"))]
mod document_tests {
    use std::collections::BTreeSet;

    use super::*;

    const DOCUMENT: &str = include_str!("../../../docs/security.md");

    macro_rules! numbers {
        ($($name:ident)*) => {
            // The C library's names are the kernel's with this before them.
            [$((stringify!($name).trim_start_matches("SYS_"), libc::$name)),*]
        };
    }

    #[test]
    fn owners_are_told_of_every_call_that_a_sandbox_worker_may_make() {
        assert!(DOCUMENT.contains("`statx` is answered with `ENOSYS`"));
        let mut allowed: BTreeSet<_> = allowed(Role::Sandbox).unwrap().into_keys().collect();
        assert!(allowed.remove(&libc::SYS_statx));
        let told: BTreeSet<_> = calls_told().into_iter().map(number).collect();
        assert_eq!(told.difference(&allowed).collect::<Vec<_>>(), [&0; 0], "told, and not allowed");
        assert_eq!(allowed.difference(&told).collect::<Vec<_>>(), [&0; 0], "allowed, and not told");
    }

    /// What stands in backticks in the second column of the table, but for what stands in brackets: what a call may be asked.
    fn calls_told() -> Vec<&'static str> {
        let (_, table) = DOCUMENT.split_once("The calls that remain to a sandbox worker:").expect("there is a table");
        let rows = table.trim_start().lines().skip(2).take_while(|line| line.starts_with('|'));
        let pieces = rows.filter_map(|row| row.split('|').nth(2)).flat_map(|calls| calls.split(')'));
        let named = pieces.map(|piece| piece.split_once('(').map_or(piece, |(named, _asked)| named));
        named.flat_map(|named| named.split('`').skip(1).step_by(2)).collect()
    }

    fn number(name: &str) -> libc::c_long {
        let known = numbers! {
            SYS_mmap SYS_mprotect SYS_munmap SYS_mremap SYS_madvise SYS_brk SYS_futex SYS_sched_yield SYS_clock_nanosleep
            SYS_clock_gettime SYS_sched_getaffinity SYS_getrandom SYS_read SYS_pread64 SYS_write SYS_writev SYS_pwrite64 SYS_lseek
            SYS_fstat SYS_newfstatat SYS_close SYS_fcntl SYS_sendto SYS_recvmsg SYS_epoll_ctl SYS_epoll_wait SYS_epoll_pwait
            SYS_rt_sigaction SYS_rt_sigprocmask SYS_rt_sigreturn SYS_sigaltstack SYS_restart_syscall SYS_exit SYS_exit_group
            SYS_getpid SYS_gettid SYS_tgkill SYS_ioctl
        };
        let call = known.into_iter().find(|(known, _)| *known == name);
        call.unwrap_or_else(|| panic!("docs/security.md names `{name}`, and no filter here does")).1
    }
}
