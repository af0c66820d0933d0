//! The walls of the process that holds a GPU. They are lower than a sandbox's, because a driver needs much that a guest does not: files,
//! devices, threads, and system calls that differ between drivers. So its filter is a list of what is refused, not of what is allowed.
//! No guest's code runs in this process but what the driver makes of shaders: for the GPU or, where that is software, for the processor.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;

use landlock::{
    ABI, Access, AccessFs, AccessNet, LandlockStatus, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, Scope,
};
use rustix::process::{DumpableBehavior, Resource, set_dumpable_behavior};
use rustix::thread::set_no_new_privs;
use seccompiler::{SeccompAction, SeccompCmpOp, SeccompCondition, SeccompRule, apply_filter_all_threads};

use super::filter::{ARGUMENT_BITS, Calls, compile, condition, is, one};
use super::rights::{LANDLOCK_NEWEST, drop_capabilities, leave_network};
use super::{WallError, die_with_parent, lower, step};

/// What drivers read and run: themselves, their settings, and what the system says of the hardware.
const READABLE: &[&str] = &[
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/opt/rocm",
    "/nix/store",
    "/run/opengl-driver",
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    "/etc/vulkan",
    "/etc/glvnd",
    "/etc/drirc",
    "/etc/nvidia",
    "/etc/localtime",
    "/sys",
    "/proc",
];
/// Devices that drivers open, and folders of them.
const DEVICES: &[&str] = &["/dev/dri", "/dev/kfd", "/dev/null", "/dev/zero", "/dev/urandom", "/dev/udmabuf", "/dev/mali0"];
/// How the names of further devices in `/dev` begin.
const DEVICE_PREFIXES: &[&str] = &["nvidia", "kgsl", "dma_heap"];

/// Memory of the process beside what guests' buffers take: a driver's compiler, the pieces of bulk data on their way.
pub(crate) const GPU_OWN_MEMORY_MAX: u64 = 2 << 30;
/// Memory that counts as the process's own, where buffers are in a GPU's memory.
pub(crate) const GPU_MEMORY_MAX: u64 = 16 << 30;
/// Descriptors: two for each session, and those of the driver.
const DESCRIPTORS_MAX: u64 = 1024;

/// What a machine often does not permit, and what is no loss where the rest stands: the filter refuses sockets.
pub(crate) const NETWORK: &str = "a network namespace";

/// Walls that are up before the device is opened.
#[derive(Debug)]
#[must_use = "a process that is not sealed may make any system call"]
pub(crate) struct GpuWalls {
    lacks: Vec<String>,
}

impl GpuWalls {
    /// Puts up what holds from now on. To be called while the process has one thread.
    pub(crate) fn enter() -> Result<Self, WallError> {
        step("no new privileges", set_no_new_privs(true))?;
        let mut walls = Self { lacks: Vec::new() };
        if !leave_network() {
            walls.lacks.push(format!("{NETWORK} of its own"));
        }
        if let Err(trouble) = restrict_files() {
            walls.lacks.push(format!("Landlock: {trouble}"));
        }
        step("giving up capabilities", drop_capabilities())?;
        for (resource, most) in [(Resource::Core, 0), (Resource::Nofile, DESCRIPTORS_MAX)] {
            lower(resource, most)?;
        }
        die_with_parent()?;
        Ok(walls)
    }

    /// Puts up the last, over every thread, when the device is open; `memory_max` is what the process may write to. Says what is
    /// lacking of all.
    pub(crate) fn seal(mut self, memory_max: u64) -> Result<Vec<String>, WallError> {
        lower(Resource::Data, memory_max)?;
        // Before that, drivers look into `/proc/self`, which they could not.
        step("dumpable", set_dumpable_behavior(DumpableBehavior::NotDumpable))?;
        if let Err(trouble) = refuse_calls() {
            self.lacks.push(format!("seccomp: {trouble}"));
        }
        Ok(self.lacks)
    }
}

/// Refuses all files but those that drivers need, all TCP, and signals and abstract sockets across the border.
fn restrict_files() -> Result<(), String> {
    let status = restrict_self().map_err(|error| error.to_string())?;
    match status {
        LandlockStatus::Available { .. } => Ok(()),
        LandlockStatus::NotEnabled => Err("the kernel has it, switched off at boot".to_owned()),
        _ => Err("the kernel does not have it".to_owned()),
    }
}

fn restrict_self() -> Result<LandlockStatus, RulesetError> {
    let readable = READABLE.iter().map(PathBuf::from);
    let ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(LANDLOCK_NEWEST))?
        .handle_access(AccessNet::from_all(LANDLOCK_NEWEST))?
        .scope(Scope::from_all(LANDLOCK_NEWEST))?
        .create()?
        .add_rules(readable.filter_map(|path| rule(&path, AccessFs::from_read(ABI::V1))))?
        .add_rules(devices().filter_map(|path| rule(&path, device_access())))?;
    Ok(ruleset.restrict_self()?.landlock)
}

fn device_access() -> landlock::BitFlags<AccessFs> {
    AccessFs::ReadFile | AccessFs::ReadDir | AccessFs::WriteFile | AccessFs::IoctlDev
}

fn devices() -> impl Iterator<Item = PathBuf> {
    let listed = fs::read_dir("/dev").into_iter().flatten().flatten().map(|entry| entry.path());
    let is_device = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        DEVICE_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    };
    DEVICES.iter().map(PathBuf::from).chain(listed.filter(is_device))
}

/// What is not there needs no rule. A file is not given what only folders have.
fn rule(path: &Path, access: landlock::BitFlags<AccessFs>) -> Option<Result<PathBeneath<PathFd>, RulesetError>> {
    let file = PathFd::new(path).ok()?;
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(LANDLOCK_NEWEST) };
    Some(Ok(PathBeneath::new(file, access)))
}

/// Closes the filter over every thread.
fn refuse_calls() -> Result<(), String> {
    let with_errno = |calls: Calls, errno: i32| {
        let program =
            compile(calls, SeccompAction::Allow, SeccompAction::Errno(errno as u32)).map_err(|error| error.to_string())?;
        apply_filter_all_threads(&program).map_err(|error| error.to_string())
    };
    // Its flags are in memory, where a filter does not see them; the C library goes on with `clone`.
    with_errno(Calls::from([(libc::SYS_clone3, Vec::new())]), libc::ENOSYS)?;
    let refused = refused().map_err(|error| error.to_string())?;
    with_errno(refused, libc::EPERM)
}

/// Calls by which a process gets hold of other programs, processes, the network, the kernel or more rights. A driver that works needs none
/// of them.
const REFUSED: &[libc::c_long] = &[
    // Other programs.
    libc::SYS_execve,
    libc::SYS_execveat,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_kcmp,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_setpgid,
    libc::SYS_setsid,
    // The network. What is connected stays so. A pair can send elsewhere than to each other: to a socket that is a file.
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    // What processes share by a key or a name, which no file stands for.
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_semctl,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    // The view of the system.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_fsconfig,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    OPEN_TREE_ATTR,
    libc::SYS_open_by_handle_at,
    // Changes of files, where Landlock is not there.
    libc::SYS_mknodat,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_mkdirat,
    libc::SYS_truncate,
    // Changes of what is said of files, of which Landlock knows nothing; a descriptor that is open for reading is enough for them. A node
    // that runs as root owns the system's programs. `ftruncate` stays, since drivers have files in memory grow by it: it needs one that is
    // open for writing, which Landlock leaves to devices.
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    FCHMODAT2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    SETXATTRAT,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    REMOVEXATTRAT,
    FILE_SETATTR,
    // Parts of the kernel that are large and not needed.
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_personality,
    libc::SYS_fanotify_init,
    libc::SYS_mbind,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    // More rights.
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_setgroups,
    libc::SYS_capset,
];

// Calls so new that the C library does not name them everywhere. From 424 on a number is the same on every architecture.
const FCHMODAT2: libc::c_long = 452;
const SETXATTRAT: libc::c_long = 463;
const REMOVEXATTRAT: libc::c_long = 466;
const OPEN_TREE_ATTR: libc::c_long = 467;
const FILE_SETATTR: libc::c_long = 469;

/// The same by the names that only older machines have.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[libc::c_long] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_mknod,
    libc::SYS_link,
    libc::SYS_symlink,
    libc::SYS_unlink,
    libc::SYS_rename,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_creat,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_kexec_file_load,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[libc::c_long] = &[];

fn refused() -> Result<Calls, seccompiler::BackendError> {
    let mut calls: Calls = REFUSED.iter().chain(REFUSED_HERE).map(|call| (*call, Vec::new())).collect();
    // Threads can be made, processes cannot.
    let thread = u64::from(libc::CLONE_THREAD as u32);
    calls.insert(libc::SYS_clone, vec![one(SeccompCondition::new(0, ARGUMENT_BITS, SeccompCmpOp::MaskedEq(thread), 0)?)?]);
    // To this process only.
    for call in [libc::SYS_tgkill, libc::SYS_kill] {
        calls.insert(call, vec![one(differs(0, process::id().into())?)?]);
    }
    // Neither become readable for others nor outlive the supervisor.
    calls.insert(libc::SYS_prctl, vec![one(is(0, libc::PR_SET_DUMPABLE)?)?, one(is(0, libc::PR_SET_PDEATHSIG)?)?]);
    // Not the commands by which a descriptor signals other processes, or has them wait to open a file on which it holds a lease.
    let commands = [libc::F_SETOWN, F_SETOWN_EX, F_SETSIG, libc::F_SETLEASE];
    calls.insert(libc::SYS_fcntl, commands.into_iter().map(|command| one(is(1, command)?)).collect::<Result<_, _>>()?);
    calls.insert(libc::SYS_ioctl, controls_refused()?);
    // Own limits can be asked for; nobody's are changed.
    calls.insert(
        libc::SYS_prlimit64,
        vec![SeccompRule::new(vec![SeccompCondition::new(2, seccompiler::SeccompCmpArgLen::Qword, SeccompCmpOp::Ne, 0)?])?],
    );
    #[cfg(target_arch = "x86_64")]
    refuse_x32(&mut calls);
    Ok(calls)
}

/// `fcntl.h` of the kernel.
const F_SETSIG: i32 = 10;
const F_SETOWN_EX: i32 = 15;

/// `sockios.h` of the kernel: whom a socket signals, by two names.
const FIOSETOWN: u64 = 0x8901;
const SIOCSPGRP: u64 = 0x8902;

/// The second byte of file systems' own controls: flags and attributes of any, and btrfs's. No driver's device has one of these.
const FILE_SYSTEMS: [u8; 4] = [b'f', b'X', b'v', 0x94];

/// Controls that signal other processes, type into a terminal, or change a file that is open for reading.
fn controls_refused() -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let commands = [libc::TIOCSTI, libc::FIOASYNC, FIOSETOWN, SIOCSPGRP];
    let commands = commands.into_iter().map(|command| condition(1, ARGUMENT_BITS, command));
    let kinds = FILE_SYSTEMS
        .into_iter()
        .map(|kind| SeccompCondition::new(1, ARGUMENT_BITS, SeccompCmpOp::MaskedEq(0xff00), u64::from(kind) << 8));
    commands.chain(kinds).map(|control| one(control?)).collect()
}

fn differs(argument: u8, value: u64) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(argument, ARGUMENT_BITS, SeccompCmpOp::Ne, value)
}

/// The kernel has the same calls once more under other numbers, for programs with short pointers, and some under numbers of their own. A
/// list of what is refused has to name them too.
#[cfg(target_arch = "x86_64")]
fn refuse_x32(calls: &mut Calls) {
    const X32: libc::c_long = 0x4000_0000;
    /// `arch/x86/entry/syscalls/syscall_64.tbl`, those marked `x32`.
    const OWN: std::ops::RangeInclusive<libc::c_long> = 512..=547;
    let again: Vec<_> = calls.iter().map(|(call, rules)| (X32 | *call, rules.clone())).collect();
    calls.extend(again);
    // By its first number it has an answer of its own.
    calls.insert(X32 | libc::SYS_clone3, Vec::new());
    calls.extend(OWN.map(|call| (X32 | call, Vec::new())));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filter_fits_the_kernel() {
        let program = compile(refused().unwrap(), SeccompAction::Allow, SeccompAction::Errno(1)).unwrap();
        assert!(program.len() < 4096, "{}", program.len());
    }
}
