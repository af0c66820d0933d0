//! What a guest that broke out of WebAssembly would try next, one thing per process.
//!
//! `adit-worker attempt NAME ROLE LAYERS THREAD ARGUMENT` enters the walls and tries NAME. It exits with 0 where that succeeded and
//! with the system's error number where it was refused; a filter may kill it first.

use std::ffi::{CString, c_long};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
use std::process::{Command, ExitCode, Stdio};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use adit_runtime::probe::{Layers, attempt, attempt_beside_gpu};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::process::{DumpableBehavior, dumpable_behavior};

/// First argument of such a process.
const ATTEMPT: &str = "attempt";

/// Exit code of a probe that did not come as far as its attempt: no error number.
const NOT_TRIED: u8 = 200;

/// The process that started this one; behind the walls nobody can ask any more.
static PARENT: AtomicU32 = AtomicU32::new(0);

const PAGE: usize = 4096;

// Numbers of the kernel's that the C library does not name everywhere.
const F_SETSIG: c_long = 10;
const FIOSETOWN: c_long = 0x8901;
const SIOCSPGRP: c_long = 0x8902;
const FS_IOC_GETFLAGS: c_long = 0x8008_6601;
const FS_IOC_SETFLAGS: c_long = 0x4008_6602;
const FCHMODAT2: c_long = 452;
const SETXATTRAT: c_long = 463;
const REMOVEXATTRAT: c_long = 466;
const FILE_SETATTR: c_long = 469;

type Attempt = fn(&str) -> io::Result<()>;

/// Every attempt by its name. The last three are no escapes, and succeed.
const ATTEMPTS: &[(&str, Attempt)] = &[
    ("open_file", |path| File::open(path).map(drop)),
    ("create_file", |path| OpenOptions::new().write(true).create(true).truncate(true).open(path).map(drop)),
    ("file_exists", file_exists),
    ("file_exists_by_statx", |path| fs::symlink_metadata(path).map(drop)),
    ("open_below_passed_folder", open_below_passed_folder),
    ("connect_tcp", |address| TcpStream::connect(address).map(drop)),
    ("connect_abstract_socket", |name| UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?).map(drop)),
    ("make_socket", |_| call(libc::SYS_socket, [libc::AF_INET as c_long, libc::SOCK_DGRAM as c_long, 0, 0, 0, 0])),
    ("fork", |_| fork()),
    ("start_thread", |_| thread::Builder::new().spawn(|| ()).map(|thread| drop(thread.join()))),
    ("execute", execute),
    ("attach_to_parent", |_| call(libc::SYS_ptrace, [libc::PTRACE_SEIZE as c_long, parent(), 0, 0, 0, 0])),
    ("read_parent", read_parent),
    ("read_parent_by_file", |_| File::open(format!("/proc/{}/mem", parent())).map(drop)),
    ("read_parent_environment", |_| fs::read(format!("/proc/{}/environ", parent())).map(drop)),
    ("open_parent_by_pidfd", |_| call(libc::SYS_pidfd_open, [parent(), 0, 0, 0, 0, 0])),
    ("signal_parent", |_| call(libc::SYS_kill, [parent(), 0, 0, 0, 0, 0])),
    ("signal_parent_thread", |_| call(libc::SYS_tgkill, [parent(), parent(), 0, 0, 0, 0])),
    ("raise_limit", |_| raise_limit()),
    ("map_writable_and_executable", |_| map(libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC).map(drop)),
    ("map_shared_memory", |_| map_as(libc::MAP_SHARED, libc::PROT_READ | libc::PROT_WRITE).map(drop)),
    ("make_executable_writable", |_| protect(libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC)),
    ("mount", |_| mount()),
    ("leave_namespace", |_| call(libc::SYS_unshare, [libc::CLONE_NEWUSER as c_long, 0, 0, 0, 0, 0])),
    ("load_bpf", |_| call(libc::SYS_bpf, [0; 6])),
    ("set_up_io_uring", |_| {
        let mut parameters = [0_u8; 256];
        call(libc::SYS_io_uring_setup, [1, parameters.as_mut_ptr() as c_long, 0, 0, 0, 0])
    }),
    ("open_performance_counter", |_| {
        let mut attributes = [0_u8; 128];
        call(libc::SYS_perf_event_open, [attributes.as_mut_ptr() as c_long, 0, -1, -1, 0, 0])
    }),
    ("catch_page_faults", |_| call(libc::SYS_userfaultfd, [1, 0, 0, 0, 0, 0])),
    ("become_another_user", |_| call(libc::SYS_setuid, [1, 0, 0, 0, 0, 0])),
    ("become_dumpable", |_| call(libc::SYS_prctl, [libc::PR_SET_DUMPABLE as c_long, 1, 0, 0, 0, 0])),
    ("am_dumpable", |_| am_dumpable()),
    ("outlive_parent", |_| call(libc::SYS_prctl, [libc::PR_SET_PDEATHSIG as c_long, 0, 0, 0, 0, 0])),
    ("read_kernel_keys", |_| call(libc::SYS_keyctl, [0, -3, 0, 0, 0, 0])),
    ("share_memory_by_key", |_| call(libc::SYS_shmget, [0x0ad1, PAGE as c_long, 0o1600, 0, 0, 0])),
    ("be_told_by_signal", |_| call(libc::SYS_fcntl, [0, libc::F_SETOWN as c_long, parent(), 0, 0, 0])),
    ("be_told_by_socket", |_| control(FIOSETOWN, parent() as i32)),
    ("be_told_by_socket_group", |_| control(SIOCSPGRP, parent() as i32)),
    ("be_told_by_any_signal", |_| call(libc::SYS_fcntl, [0, F_SETSIG, libc::SIGUSR1.into(), 0, 0, 0])),
    ("be_told_of_input", |_| control(libc::FIOASYNC as c_long, 0)),
    ("keep_file_for_oneself", |_| call(libc::SYS_fcntl, [1, libc::F_SETLEASE.into(), libc::F_RDLCK.into(), 0, 0, 0])),
    ("send_to_socket_of_file", send_to_socket_of_file),
    ("change_mode", |_| call(libc::SYS_fchmod, [1, 0o600, 0, 0, 0, 0])),
    ("change_mode_by_new_call", |_| call(FCHMODAT2, [1, empty(), 0o600, libc::AT_EMPTY_PATH.into(), 0, 0])),
    ("change_owner", |_| call(libc::SYS_fchown, [1, -1, -1, 0, 0, 0])),
    ("change_times", |_| call(libc::SYS_utimensat, [1, 0, 0, 0, 0, 0])),
    ("change_flags", |_| change_flags()),
    ("set_attribute", |_| call(libc::SYS_fsetxattr, [1, attribute(), empty(), 0, 0, 0])),
    ("set_attribute_by_path", |file| by_path(libc::SYS_setxattr, file)),
    ("set_attribute_of_link", |file| by_path(libc::SYS_lsetxattr, file)),
    ("set_attribute_by_new_call", |_| call(SETXATTRAT, [1, empty(), libc::AT_EMPTY_PATH.into(), attribute(), 0, 0])),
    ("remove_attribute", |_| call(libc::SYS_fremovexattr, [1, attribute(), 0, 0, 0, 0])),
    ("remove_attribute_by_path", |file| by_path(libc::SYS_removexattr, file)),
    ("remove_attribute_of_link", |file| by_path(libc::SYS_lremovexattr, file)),
    ("remove_attribute_by_new_call", |_| call(REMOVEXATTRAT, [1, empty(), libc::AT_EMPTY_PATH.into(), attribute(), 0, 0])),
    ("change_flags_by_new_call", |_| call(FILE_SETATTR, [1, empty(), 0, 0, libc::AT_EMPTY_PATH.into(), 0])),
    ("grow_file_in_memory", |_| grow_file_in_memory()),
    ("type_into_terminal", |_| call(libc::SYS_ioctl, [0, libc::TIOCSTI as c_long, c"x".as_ptr() as c_long, 0, 0, 0])),
    ("call_by_x32_number", |_| call(0x4000_0000 | libc::SYS_getpid, [0; 6])),
    ("call_as_32_bit", |_| call_as_32_bit()),
    ("allowed_things", |_| allowed_things()),
    ("sleep_until_killed", |_| {
        loop {
            thread::sleep(Duration::from_secs(60));
        }
    }),
    ("keep_a_worker", keep_a_worker),
];

/// Tries what the arguments say, if they say so.
pub(crate) fn run_if_asked() -> Option<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [command, name, role, layers, thread, argument] = arguments.as_slice() else { return None };
    if command != ATTEMPT {
        return None;
    }
    let run = find(name)?;
    PARENT.store(std::os::unix::process::parent_id(), Ordering::Relaxed);
    let argument = argument.clone();
    let attempted = move || {
        // Whoever watches knows from this that the walls are up.
        let _ = io::stderr().write_all(b"trying\n");
        run(&argument)
    };
    let tried = match role.as_str() {
        "gpu" => attempt_beside_gpu(attempted),
        _ => attempt(role == "compile", read_layers(layers), thread == "other", attempted),
    };
    Some(match tried {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            eprintln!("{name}: {error}");
            error.raw_os_error().and_then(|errno| u8::try_from(errno).ok()).unwrap_or(NOT_TRIED).into()
        }
        Err(error) => {
            eprintln!("{name}: {error}");
            NOT_TRIED.into()
        }
    })
}

fn find(name: &str) -> Option<Attempt> {
    ATTEMPTS.iter().find(|(known, _)| *known == name).map(|(_, run)| *run)
}

fn read_layers(text: &str) -> Layers {
    match text {
        "none" => Layers::NONE,
        "seccomp" => Layers { seccomp: true, ..Layers::NONE },
        "landlock" => Layers { landlock: true, ..Layers::NONE },
        "process" => Layers { process: true, ..Layers::NONE },
        _ => Layers::ALL,
    }
}

/// Any system call, by number.
fn call(number: c_long, arguments: [c_long; 6]) -> io::Result<()> {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: every call of this file gets pointers to live buffers of the size that the kernel reads or writes, or null; none
    // changes memory that Rust knows of.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn parent() -> c_long {
    PARENT.load(Ordering::Relaxed).into()
}

fn path(text: &str) -> io::Result<CString> {
    Ok(CString::new(text)?)
}

fn file_exists(file: &str) -> io::Result<()> {
    let (file, mut status) = (path(file)?, [0_u8; 256]);
    call(
        libc::SYS_newfstatat,
        [libc::AT_FDCWD.into(), file.as_ptr() as c_long, status.as_mut_ptr() as c_long, libc::AT_EMPTY_PATH.into(), 0, 0],
    )
}

/// Standard output is a folder in this attempt.
fn open_below_passed_folder(name: &str) -> io::Result<()> {
    let name = path(name)?;
    call(libc::SYS_openat, [io::stdout().as_raw_fd().into(), name.as_ptr() as c_long, libc::O_RDONLY.into(), 0, 0, 0])
}

fn fork() -> io::Result<()> {
    // SAFETY: the child calls nothing but `_exit`.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: as above.
        0 => unsafe { libc::_exit(0) },
        _ => Ok(()),
    }
}

fn execute(program: &str) -> io::Result<()> {
    let program = path(program)?;
    let arguments = [program.as_ptr(), ptr::null()];
    call(libc::SYS_execve, [program.as_ptr() as c_long, arguments.as_ptr() as c_long, 0, 0, 0, 0])
}

fn read_parent(address: &str) -> io::Result<()> {
    let address: usize = address.parse().map_err(io::Error::other)?;
    let mut byte = 0_u8;
    let here = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let there = libc::iovec { iov_base: ptr::without_provenance_mut(address), iov_len: 1 };
    let (here, there) = (&raw const here as c_long, &raw const there as c_long);
    call(libc::SYS_process_vm_readv, [parent(), here, 1, there, 1, 0])
}

/// Asks something of standard input, which is a socket.
fn control(command: c_long, mut value: i32) -> io::Result<()> {
    call(libc::SYS_ioctl, [0, command, (&raw mut value) as c_long, 0, 0, 0])
}

fn empty() -> c_long {
    c"".as_ptr() as c_long
}

fn attribute() -> c_long {
    c"user.adit".as_ptr() as c_long
}

/// Sets or removes an attribute.
fn by_path(number: c_long, file: &str) -> io::Result<()> {
    let file = path(file)?;
    call(number, [file.as_ptr() as c_long, attribute(), empty(), 0, 0, 0])
}

/// Of standard output, a file that is open for reading. What they are now stands there again.
fn change_flags() -> io::Result<()> {
    let mut flags = 0_u64;
    call(libc::SYS_ioctl, [1, FS_IOC_GETFLAGS, (&raw mut flags) as c_long, 0, 0, 0])?;
    call(libc::SYS_ioctl, [1, FS_IOC_SETFLAGS, (&raw mut flags) as c_long, 0, 0, 0])
}

/// No socket is made to be connected: one of a pair sends to whom it likes.
fn send_to_socket_of_file(file: &str) -> io::Result<()> {
    let (ours, _theirs) = UnixDatagram::pair()?;
    ours.send_to(b"told", file).map(drop)
}

/// What a driver does that shares memory with itself.
fn grow_file_in_memory() -> io::Result<()> {
    let file = memfd_create(c"probe", MemfdFlags::CLOEXEC)?;
    Ok(ftruncate(file, PAGE as u64)?)
}

fn raise_limit() -> io::Result<()> {
    let more = [1_u64 << 20; 2];
    call(libc::SYS_prlimit64, [0, libc::RLIMIT_NOFILE as c_long, more.as_ptr() as c_long, 0, 0, 0])
}

fn map(protection: i32) -> io::Result<*mut libc::c_void> {
    map_as(libc::MAP_PRIVATE, protection)
}

fn map_as(kind: i32, protection: i32) -> io::Result<*mut libc::c_void> {
    // SAFETY: a new mapping at an address of the kernel's choice touches no other.
    let page = unsafe { libc::mmap(ptr::null_mut(), PAGE, protection, kind | libc::MAP_ANONYMOUS, -1, 0) };
    if page == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(page) }
}

fn protect(protection: i32) -> io::Result<()> {
    let page = map(libc::PROT_READ | libc::PROT_WRITE)?;
    call(libc::SYS_mprotect, [page as c_long, PAGE as c_long, protection.into(), 0, 0, 0])
}

fn mount() -> io::Result<()> {
    let [kind, target] = [c"tmpfs", c"/"].map(|text| text.as_ptr() as c_long);
    // A bind of the root onto itself would need no right over the target; this needs the right to mount.
    call(libc::SYS_mount, [kind, target, kind, libc::MS_REMOUNT as c_long | libc::MS_BIND as c_long, 0, 0])
}

/// Whether others of the same user may read this process; no call is refused here.
fn am_dumpable() -> io::Result<()> {
    match dumpable_behavior()? {
        DumpableBehavior::NotDumpable => Err(io::Error::from_raw_os_error(libc::EPERM)),
        _ => Ok(()),
    }
}

/// The 32-bit entry of a 64-bit kernel has other numbers: 20 is `getpid`.
#[cfg(target_arch = "x86_64")]
fn call_as_32_bit() -> io::Result<()> {
    let mut result: u64 = 20;
    // SAFETY: `getpid` takes nothing and changes nothing; the entry clobbers at most r8 to r11.
    unsafe {
        core::arch::asm!("int 0x80", inout("rax") result, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    if result as i64 > 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-(result as i32))) }
}

#[cfg(not(target_arch = "x86_64"))]
fn call_as_32_bit() -> io::Result<()> {
    Err(io::Error::from_raw_os_error(libc::ENOSYS))
}

/// Is a supervisor that starts a worker, says its number, and never speaks to it.
fn keep_a_worker(_: &str) -> io::Result<()> {
    let (_ours, theirs) = UnixStream::pair()?;
    let mut worker = Command::new("/proc/self/exe")
        .args([ATTEMPT, "sleep_until_killed", "sandbox", "all", "main", ""])
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stderr(Stdio::piped())
        .spawn()?;
    // It says something when its walls are up.
    worker.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?.read_exact(&mut [0])?;
    println!("{}", worker.id());
    worker.wait().map(drop)
}

/// What a worker does all the time: compute with memory, make memory executable, tell the time, draw randomness, write.
fn allowed_things() -> io::Result<()> {
    protect(libc::PROT_READ | libc::PROT_EXEC)?;
    let hashed: std::collections::HashSet<usize> = (0..10_000).collect();
    thread::sleep(Duration::from_micros(hashed.len() as u64));
    thread::yield_now();
    writeln!(io::stderr(), "{:?} after {} things", std::time::Instant::now(), hashed.len())
}
