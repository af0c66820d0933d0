//! The wall around worker processes, tried from inside: one process per attempt, each layer alone, and all together.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use adit_protocol::ByteCount;
use adit_runtime::{CompileLimits, Runtime, RuntimeConfig, SandboxReport, StartError};
use rustix::process::{Pid, Signal, kill_process};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use tempfile::TempDir;

use crate::admission::slow_module;
use crate::streams::memory;
use crate::support::{Host, Job, echo, finish, first_log, spin_after_log, worker_program};
use crate::workers::{compile_workers, is_running};

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It was not refused.
    Done,
    /// The system call gave an error.
    Refused(i32),
    /// The filter killed the process.
    Killed,
}

use End::{Done, Killed, Refused};

/// Somewhere to break out to.
struct Outside {
    folder: TempDir,
    tcp: TcpListener,
    abstract_name: String,
    _abstract_socket: UnixListener,
    _socket: UnixDatagram,
}

static SECRET: u8 = 7;

impl Outside {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), b"secret").unwrap();
        let abstract_name = format!("adit-walls-{}", folder.path().display());
        let address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        let _abstract_socket = UnixListener::bind_addr(&address).unwrap();
        let _socket = UnixDatagram::bind(folder.path().join("socket")).unwrap();
        Self { folder, tcp: TcpListener::bind("127.0.0.1:0").unwrap(), abstract_name, _abstract_socket, _socket }
    }

    fn argument(&self, attempt: &str) -> String {
        match attempt {
            "open_file" | "file_exists" | "file_exists_by_statx" => self.folder.path().join("file").display().to_string(),
            _ if CHANGES.contains(&attempt) => self.folder.path().join("file").display().to_string(),
            "send_to_socket_of_file" => self.folder.path().join("socket").display().to_string(),
            "create_file" => self.folder.path().join("new").display().to_string(),
            "open_below_passed_folder" => "file".to_owned(),
            "connect_tcp" => self.tcp.local_addr().unwrap().to_string(),
            "connect_abstract_socket" => self.abstract_name.clone(),
            "execute" => "/bin/true".to_owned(),
            "read_parent" => (&raw const SECRET).addr().to_string(),
            _ => String::new(),
        }
    }

    fn attempt(&self, name: &str, walls: Walls) -> End {
        let (_ours, theirs) = UnixStream::pair().unwrap();
        let stdout = match name {
            "open_below_passed_folder" => File::open(self.folder.path()).unwrap().into(),
            _ if CHANGES.contains(&name) => File::open(self.folder.path().join("file")).unwrap().into(),
            _ => Stdio::null(),
        };
        let output = Command::new(env!("CARGO_BIN_EXE_adit-worker"))
            .args(["attempt", name, walls.role, walls.layers, walls.thread, &self.argument(name)])
            .env_clear()
            .stdin(OwnedFd::from(theirs))
            .stdout(stdout)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        End::of(name, &output)
    }

    /// Tries each row and compares; tells of every row that differs.
    #[track_caller]
    fn check(&self, walls: Walls, rows: &[(&str, &[End])]) {
        let wrong: Vec<_> = rows
            .iter()
            .map(|(name, wanted)| (name, self.attempt(name, walls), wanted))
            .filter(|(_, end, wanted)| !wanted.contains(end))
            .collect();
        assert!(wrong.is_empty(), "{walls:?}: {wrong:#?}");
    }
}

impl End {
    fn of(name: &str, output: &Output) -> Self {
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.lines().any(|line| line == "trying"), "{name} was not tried: {} {said}", output.status);
        match (output.status.code(), output.status.signal()) {
            (Some(0), _) => Done,
            (_, Some(libc::SIGSYS)) => Killed,
            (Some(errno @ 1..=133), _) => Refused(errno),
            _ => panic!("{name}: {} {said}", output.status),
        }
    }
}

/// What a probe is behind.
#[derive(Debug, Clone, Copy)]
struct Walls {
    role: &'static str,
    layers: &'static str,
    thread: &'static str,
}

const SANDBOX: Walls = Walls { role: "sandbox", layers: "all", thread: "main" };
const COMPILE: Walls = Walls { role: "compile", ..SANDBOX };

const NOT_PERMITTED: End = Refused(libc::EPERM);
const NO_ACCESS: End = Refused(libc::EACCES);

/// Escapes that the filter answers with death, in each kind of worker.
const DEADLY: [&str; 36] = [
    "file_exists_by_statx",
    "connect_tcp",
    "connect_abstract_socket",
    "make_socket",
    "fork",
    "start_thread",
    "execute",
    "attach_to_parent",
    "read_parent",
    "open_parent_by_pidfd",
    "signal_parent",
    "signal_parent_thread",
    "raise_limit",
    "map_writable_and_executable",
    "map_shared_memory",
    "make_executable_writable",
    "mount",
    "leave_namespace",
    "load_bpf",
    "set_up_io_uring",
    "open_performance_counter",
    "catch_page_faults",
    "become_another_user",
    "become_dumpable",
    "outlive_parent",
    "read_kernel_keys",
    "share_memory_by_key",
    "be_told_by_signal",
    "be_told_by_socket",
    "be_told_by_socket_group",
    "be_told_by_any_signal",
    "be_told_of_input",
    "send_to_socket_of_file",
    "type_into_terminal",
    "call_by_x32_number",
    "call_as_32_bit",
];

/// Escapes by a file: a sandbox worker dies of them, a compile worker gets an error.
const BY_FILE: [&str; 5] =
    ["open_file", "create_file", "open_below_passed_folder", "read_parent_by_file", "read_parent_environment"];

/// What can be done to a file that is open for reading only: a lease keeps others waiting, the rest changes what is said of it.
const CHANGES: [&str; 15] = [
    "keep_file_for_oneself",
    "change_mode",
    "change_owner",
    "change_times",
    "change_flags",
    "set_attribute",
    "set_attribute_by_path",
    "set_attribute_of_link",
    "remove_attribute",
    "remove_attribute_by_path",
    "remove_attribute_of_link",
    "change_mode_by_new_call",
    "set_attribute_by_new_call",
    "remove_attribute_by_new_call",
    "change_flags_by_new_call",
];

fn rows<'a>(names: &[&'a str], ends: &'static [End]) -> Vec<(&'a str, &'static [End])> {
    names.iter().map(|name| (*name, ends)).collect()
}

/// Not every kernel has a second entry; other architectures have none.
fn deadly() -> Vec<&'static str> {
    let foreign = cfg!(target_arch = "x86_64");
    DEADLY.into_iter().filter(|name| foreign || !name.starts_with("call_")).collect()
}

/// What this machine's walls are made of.
fn walls_here() -> SandboxReport {
    let reactor = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    reactor.block_on(async { Host::new(1).runtime.sandbox().clone() })
}

#[test]
fn allowed_things_succeed_behind_all_walls() {
    let outside = Outside::new();
    for walls in [SANDBOX, COMPILE, Walls { thread: "other", ..SANDBOX }] {
        outside.check(walls, &[("allowed_things", &[Done])]);
    }
}

#[test]
fn attempts_succeed_without_walls() {
    // What any user may do. So a refusal is the walls' and not the attempt's own failure.
    let names = [
        "open_file",
        "create_file",
        "file_exists",
        "file_exists_by_statx",
        "open_below_passed_folder",
        "connect_tcp",
        "connect_abstract_socket",
        "make_socket",
        "fork",
        "start_thread",
        "execute",
        "open_parent_by_pidfd",
        "signal_parent",
        "map_writable_and_executable",
        "map_shared_memory",
        "make_executable_writable",
        "become_dumpable",
        "am_dumpable",
        "outlive_parent",
        "be_told_by_signal",
        "be_told_by_socket",
        "be_told_by_socket_group",
        "be_told_by_any_signal",
        "be_told_of_input",
        "send_to_socket_of_file",
        "keep_file_for_oneself",
        "change_mode",
        "change_owner",
        "change_times",
    ];
    Outside::new().check(Walls { layers: "none", ..SANDBOX }, &rows(&names, &[Done]));
}

#[test]
fn escapes_from_a_sandbox_worker_are_deadly() {
    let outside = Outside::new();
    outside.check(SANDBOX, &rows(&deadly(), &[Killed]));
    outside.check(SANDBOX, &rows(&BY_FILE, &[Killed]));
    outside.check(SANDBOX, &rows(&CHANGES, &[Killed]));
}

#[test]
fn escapes_from_a_compile_worker_are_refused() {
    let outside = Outside::new();
    outside.check(COMPILE, &rows(&deadly(), &[Killed]));
    outside.check(COMPILE, &rows(&BY_FILE, &[NO_ACCESS]));
    outside.check(COMPILE, &rows(&CHANGES, &[Killed]));
}

#[test]
fn escapes_from_a_gpu_worker_are_refused() {
    let outside = Outside::new();
    let walls = Walls { role: "gpu", ..SANDBOX };
    let by_filter = [
        "connect_tcp",
        "connect_abstract_socket",
        "make_socket",
        "fork",
        "execute",
        "attach_to_parent",
        "read_parent",
        "open_parent_by_pidfd",
        "signal_parent",
        "signal_parent_thread",
        "raise_limit",
        "mount",
        "leave_namespace",
        "load_bpf",
        "set_up_io_uring",
        "open_performance_counter",
        "catch_page_faults",
        "become_another_user",
        "become_dumpable",
        "am_dumpable",
        "outlive_parent",
        "read_kernel_keys",
        "share_memory_by_key",
        "be_told_by_signal",
        "be_told_by_socket",
        "be_told_by_socket_group",
        "be_told_by_any_signal",
        "be_told_of_input",
        "send_to_socket_of_file",
        "type_into_terminal",
    ];
    outside.check(walls, &rows(&by_filter, &[NOT_PERMITTED]));
    outside.check(walls, &rows(&CHANGES, &[NOT_PERMITTED]));
    // A kernel without that entry has no such call.
    outside.check(walls, &rows(&["call_as_32_bit"], &[Killed, Refused(libc::ENOSYS)]));
    outside.check(walls, &rows(&["open_file", "create_file", "open_below_passed_folder", "read_parent_by_file"], &[NO_ACCESS]));
    outside.check(walls, &rows(&["read_parent_environment"], &[NO_ACCESS, NOT_PERMITTED]));
    // What drivers do.
    outside.check(walls, &rows(&["allowed_things", "start_thread", "grow_file_in_memory"], &[Done]));
}

#[test]
fn seccomp_refuses_alone() {
    let outside = Outside::new();
    let walls = Walls { layers: "seccomp", ..SANDBOX };
    outside.check(walls, &rows(&deadly(), &[Killed]));
    outside.check(walls, &rows(&BY_FILE, &[Killed]));
    outside.check(walls, &rows(&CHANGES, &[Killed]));
}

#[test]
fn landlock_refuses_alone() {
    let outside = Outside::new();
    let walls = Walls { layers: "landlock", ..SANDBOX };
    let abi = walls_here().landlock_abi.unwrap();
    // The version of Landlock that first refuses it.
    let refused: [(u32, &str, &[End]); 9] = [
        (1, "open_file", &[NO_ACCESS]),
        (1, "create_file", &[NO_ACCESS]),
        (1, "open_below_passed_folder", &[NO_ACCESS]),
        (1, "attach_to_parent", &[NOT_PERMITTED]),
        (1, "read_parent", &[NOT_PERMITTED]),
        (1, "read_parent_by_file", &[NO_ACCESS]),
        (4, "connect_tcp", &[NO_ACCESS]),
        (6, "connect_abstract_socket", &[NOT_PERMITTED]),
        (6, "signal_parent", &[NOT_PERMITTED]),
    ];
    let known: Vec<_> = refused.iter().filter(|(since, ..)| *since <= abi).map(|(_, name, ends)| (*name, *ends)).collect();
    outside.check(walls, &known);
    // It knows nothing of these.
    outside.check(walls, &rows(&["make_socket", "fork", "start_thread", "map_writable_and_executable"], &[Done]));
    outside.check(walls, &rows(&["change_mode", "change_owner", "change_times", "be_told_by_any_signal"], &[Done]));
}

#[test]
fn what_a_process_gives_up_is_refused_alone() {
    let outside = Outside::new();
    let walls = Walls { layers: "process", ..SANDBOX };
    outside.check(walls, &[("raise_limit", &[NOT_PERMITTED]), ("become_another_user", &[NOT_PERMITTED, Refused(libc::EINVAL)])]);
    outside.check(walls, &[("open_performance_counter", &[NO_ACCESS, NOT_PERMITTED]), ("mount", &[NOT_PERMITTED])]);
    outside.check(walls, &[("am_dumpable", &[NOT_PERMITTED])]);
    if walls_here().network_namespace {
        outside.check(walls, &[("connect_tcp", &[Refused(libc::ENETUNREACH)])]);
        outside.check(walls, &[("connect_abstract_socket", &[Refused(libc::ECONNREFUSED)])]);
    }
}

#[test]
fn files_do_not_even_exist_behind_an_empty_root() {
    let outside = Outside::new();
    let walls = Walls { layers: "landlock", ..SANDBOX };
    // Landlock alone would tell.
    outside.check(walls, &[("file_exists", &[Done])]);
    if walls_here().network_namespace {
        outside.check(SANDBOX, &[("file_exists", &[Refused(libc::ENOENT)])]);
    }
}

#[test]
fn threads_that_began_before_the_seal_are_behind_it() {
    let outside = Outside::new();
    let other = Walls { thread: "other", ..SANDBOX };
    outside.check(other, &rows(&["open_file", "make_socket", "fork", "start_thread", "execute", "signal_parent"], &[Killed]));
    outside.check(Walls { layers: "landlock", ..other }, &[("open_file", &[NO_ACCESS])]);
}

#[tokio::test]
async fn worker_that_runs_a_job_is_behind_the_walls() {
    let host = Host::new(1);
    let mut run = host.start(spin_after_log()).await.unwrap();
    first_log(&mut run).await;
    let pid = run.worker_pid().unwrap();
    for thread in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let status = std::fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        for line in ["Seccomp:\t2", "NoNewPrivs:\t1", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000"] {
            assert!(status.contains(line), "{line} in {status}");
        }
    }
    // The file that it shares with a GPU worker.
    let file_max = 8 << 20;
    // The engine has four places for guests of 4 GiB, which is this runtime's limit, and one more in baseline code.
    let memory_max: u64 = (5 * 4 + 2) << 30;
    assert_limits(limits_of(pid).unwrap(), &[("Max file size", [file_max; 2]), ("Max data size", [memory_max; 2])]);
}

#[tokio::test]
async fn worker_that_compiles_is_behind_its_limits() {
    // No other test's.
    let cpu_s = 77;
    let limits = CompileLimits { cpu: Duration::from_secs(cpu_s), memory: 300 << 20, ..CompileLimits::default() };
    let host = Host::with(Arc::new(TempDir::new().unwrap()), |config| {
        (config.compile_limits, config.baseline_code) = (limits, false);
    });
    // The last limit is set by who is about to read the module.
    let ready = |limits: &BTreeMap<String, [String; 2]>| {
        limits["Max cpu time"][0] == cpu_s.to_string() && limits["Max processes"][1] == "0"
    };
    let find = async || loop {
        if let Some(limits) = compile_workers().into_iter().filter_map(limits_of).find(ready) {
            break limits;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    let wasm = slow_module(6);
    tokio::select! {
        compiled = host.compile(&wasm) => panic!("nobody saw its worker: {compiled:?}"),
        found = find() => assert_limits(
            found,
            &[("Max cpu time", [cpu_s, cpu_s + 1]), ("Max file size", [1 << 30; 2]), ("Max data size", [limits.memory; 2])],
        ),
    }
}

/// The soft and the hard limit of each resource of a process that is there.
fn limits_of(pid: u32) -> Option<BTreeMap<String, [String; 2]>> {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let row = |line: &str| {
        let (name, rest) = line.split_at_checked(25)?;
        let mut values = rest.split_whitespace().map(str::to_owned);
        Some((name.trim_end().to_owned(), [values.next()?, values.next()?]))
    };
    limits.lines().skip(1).map(row).collect()
}

/// Checks all limits of a worker: they are those of every worker, its own, and otherwise those that its supervisor has.
#[track_caller]
fn assert_limits(limits: BTreeMap<String, [String; 2]>, own: &[(&str, [u64; 2])]) {
    let every = [
        ("Max processes", [0; 2]),
        ("Max core file size", [0; 2]),
        ("Max open files", [80; 2]),
        ("Max stack size", [8 << 20; 2]),
        ("Max locked memory", [0; 2]),
        ("Max msgqueue size", [0; 2]),
    ];
    let mut wanted = limits_of(std::process::id()).unwrap();
    for (name, most) in every.iter().chain(own) {
        let known = wanted.insert((*name).to_owned(), most.map(|most| most.to_string()));
        assert!(known.is_some(), "{name} is no limit");
    }
    assert_eq!(limits, wanted);
}

/// A worker that was taken over could have all of the machine's memory; and no honest one may meet its limit, whatever its guests before left
/// behind.
#[tokio::test]
async fn memory_of_a_worker_is_limited_beyond_what_its_guests_can_have() {
    let pages = 4096;
    let bytes = ByteCount(pages << 16);
    let host = Host::with(Arc::new(TempDir::new().unwrap()), |config| config.memory_max = bytes);
    // A place for each module, and more of these than places; each grows to all that there is, and touches its last byte.
    let greedy = |n: u32| {
        let text = format!(
            r#"(module (memory 1) (global i32 (i32.const {n})) (func (export "_start")
                (if (i32.ne (memory.grow (i32.const {})) (i32.const 1)) (then unreachable))
                (i32.store (i32.const {}) (i32.const 1))))"#,
            pages - 1,
            (pages << 16) - 4
        );
        Job::wat(&text).with(|spec| spec.limits.memory = bytes)
    };
    let mut pids = Vec::new();
    for n in [0, 1, 2, 3, 4, 5, 0, 5] {
        let run = host.start(greedy(n)).await.unwrap();
        pids.push(run.worker_pid().unwrap());
        finish(run).await.unwrap().assert_ok();
    }
    let pid = pids.pop().unwrap();
    assert!(pids.iter().all(|other| *other == pid), "one worker had them all: {pids:?}");
    let limit = data_limit(pid);
    let held = memory(pid, "VmData");
    println!("{held} bytes are writable, of {limit}");
    assert_eq!(limit, 5 * bytes.0 + (2 << 30));
    assert!(held + bytes.0 < limit, "a guest more would meet the limit: {held} of {limit}");
}

fn data_limit(pid: u32) -> u64 {
    limits_of(pid).unwrap()["Max data size"][0].parse().unwrap()
}

#[test]
fn worker_dies_with_a_supervisor_that_is_killed() {
    let (_ours, theirs) = UnixStream::pair().unwrap();
    let mut supervisor = Command::new(env!("CARGO_BIN_EXE_adit-worker"))
        .args(["attempt", "keep_a_worker", "sandbox", "none", "main", ""])
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(supervisor.stdout.take().unwrap()).read_line(&mut said).unwrap();
    let worker: u32 = said.trim().parse().unwrap();
    assert!(is_running(worker), "it sleeps, and reads nothing");
    supervisor.kill().unwrap();
    supervisor.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while is_running(worker) {
        if Instant::now() > deadline {
            kill_process(Pid::from_raw(worker as i32).unwrap(), Signal::KILL).unwrap();
            panic!("the worker lives on");
        }
        thread::yield_now();
    }
}

#[test]
fn orphan_does_not_begin() {
    // The socket was made by this process, but the worker's parent is a shell.
    let (ours, theirs) = UnixStream::pair().unwrap();
    // Should it begin all the same, it ends in peace.
    drop(ours);
    let output = Command::new("/bin/sh")
        .args(["-c", "\"$0\" __adit-sandbox-worker; exit $?", env!("CARGO_BIN_EXE_adit-worker")])
        .stdin(OwnedFd::from(theirs))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(70));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("the supervisor ended before its worker began"), "{said}");
}

/// Runs `test` where some system calls, for this thread and what it starts, are answered with `errno`: a kernel that lacks them.
fn on_a_kernel_without(calls: &[libc::c_long], errno: i32, test: impl AsyncFnOnce() + Send) {
    let rules: BTreeMap<_, _> = calls.iter().map(|call| (*call, Vec::new())).collect();
    let architecture = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(errno as u32), architecture).unwrap();
    let filter: BpfProgram = filter.try_into().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            apply_filter(&filter).unwrap();
            let reactor = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            reactor.block_on(test());
        });
    });
}

fn start(folder: &TempDir, allow_weak_sandbox: bool) -> Result<Runtime, StartError> {
    let worker_program = worker_program();
    Runtime::new(RuntimeConfig { worker_program, allow_weak_sandbox, ..RuntimeConfig::new(folder.path().join("cache")) })
}

/// Says what the refusal says, and that a job runs where the owner allows it.
async fn weak_only_by_consent(want: &str) {
    let folder = TempDir::new().unwrap();
    let refusal = start(&folder, false).unwrap_err().to_string();
    assert!(refusal.starts_with("the sandbox would be weak, because this kernel lacks ") && refusal.contains(want), "{refusal}");
    assert!(refusal.contains("--allow-weak-sandbox"), "{refusal}");
    let runtime = start(&folder, true).unwrap();
    assert_eq!(runtime.sandbox().strength(), "weak");
    let host = Host { runtime, folder: folder.into() };
    assert_eq!(host.run(echo().input(b"weak")).await.assert_ok().output, b"weak");
}

#[test]
fn without_landlock_nothing_starts_unless_a_weak_sandbox_is_allowed() {
    on_a_kernel_without(&[libc::SYS_landlock_create_ruleset], libc::ENOSYS, async || weak_only_by_consent("Landlock").await);
}

#[test]
fn without_seccomp_nothing_starts_unless_a_weak_sandbox_is_allowed() {
    on_a_kernel_without(&[libc::SYS_seccomp], libc::ENOSYS, async || weak_only_by_consent("seccomp").await);
}

#[test]
fn without_namespaces_the_sandbox_is_still_strong() {
    on_a_kernel_without(&[libc::SYS_unshare], libc::EPERM, async || {
        let folder = TempDir::new().unwrap();
        let runtime = start(&folder, false).unwrap();
        assert!(!runtime.sandbox().network_namespace);
        assert_eq!(runtime.sandbox().strength(), "strong");
        let host = Host { runtime, folder: folder.into() };
        assert_eq!(host.run(echo().input(b"strong")).await.assert_ok().output, b"strong");
    });
}
