//! A process of the program under test: what it says, when it ends, and that it never outlives its test.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, kill_process, prlimit, waitid};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use serde_json::Value;

/// How long anything may take. Nothing comes near it, but for a test that has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// How often something is looked at that does not tell when it changes.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Looks until it is so; for what nobody tells.
#[track_caller]
pub(crate) fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        thread::sleep(LOOK_EVERY);
    }
}

/// Runs `test` where the kernel has no Landlock for this thread and what it starts.
pub(crate) fn without_landlock(test: impl FnOnce() + Send) {
    let rules = BTreeMap::from([(libc::SYS_landlock_create_ruleset, Vec::new())]);
    let (lacking, architecture) = (SeccompAction::Errno(libc::ENOSYS as u32), std::env::consts::ARCH.try_into().unwrap());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, lacking, architecture).unwrap();
    let filter: BpfProgram = filter.try_into().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            apply_filter(&filter).unwrap();
            test();
        });
    });
}

/// Whether there is strace, and it may look at what it starts, for tests that cannot do without.
pub(crate) fn has_strace() -> bool {
    if std::env::var_os("ADIT_STRACE").is_some_and(|value| value == "0") {
        left_out("ADIT_STRACE=0 says so");
        return false;
    }
    let works = Command::new("strace").args(["--output", "/dev/null", "true"]).output().is_ok_and(|ran| ran.status.success());
    if !works {
        left_out("strace is not installed, or may not look at processes");
    }
    works
}

/// Says that a test does not do its work for want of strace. Where `ADIT_STRACE=1` says that there is one, as `cargo xtask test` does where
/// it found that it works, the test fails instead: nobody would notice that it shows nothing.
fn left_out(why: &str) {
    let is_due = std::env::var_os("ADIT_STRACE").is_some_and(|value| value == "1");
    assert!(!is_due, "{why}; ADIT_STRACE=1 says that tests have strace: install it and let it attach, or set ADIT_STRACE=0");
    eprintln!("left out: {why}");
}

/// A running process. Dropped, it is killed.
pub(crate) struct Process {
    what: String,
    child: Child,
    pub(crate) stdout: Captured,
    pub(crate) stderr: Captured,
    /// Closed when it has ended.
    ended: mpsc::Receiver<()>,
}

impl Process {
    /// Starts `command` with this standard input.
    pub(crate) fn start(command: Command, input: Vec<u8>) -> Self {
        Self::start_into(command, input, Stdio::piped())
    }

    /// As [`Process::start`], with a standard output that is the test's own to read.
    pub(crate) fn start_into(mut command: Command, input: Vec<u8>, stdout: Stdio) -> Self {
        let what = format!("{command:?}");
        let stdin = if input.is_empty() { Stdio::null() } else { Stdio::piped() };
        command.stdin(stdin).stdout(stdout).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        if let Some(mut stdin) = child.stdin.take() {
            // A process that ends without reading is no fault of the test's.
            thread::spawn(move || stdin.write_all(&input));
        }
        let stdout = match child.stdout.take() {
            Some(stdout) => Captured::read(stdout),
            None => Captured::read(std::io::empty()),
        };
        let stderr = Captured::read(child.stderr.take().unwrap());
        Self::watch(what, child, stdout, stderr)
    }

    /// Starts `command` on a terminal. What that is shown counts as standard output.
    pub(crate) fn start_on_terminal(mut command: Command) -> Self {
        let what = format!("{command:?}");
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let end = ioctl_tiocgptpeer(&terminal, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        command.stdin(Stdio::null()).stdout(end.try_clone().unwrap()).stderr(end);
        let child = command.spawn().unwrap();
        // Nobody holds the terminal's other end but the child now, so that reading ends with it.
        drop(command);
        Self::watch(what, child, Captured::read(File::from(terminal)), Captured::read(std::io::empty()))
    }

    fn watch(what: String, child: Child, stdout: Captured, stderr: Captured) -> Self {
        let (alive, ended) = mpsc::channel::<()>();
        let pid = Pid::from_child(&child);
        thread::spawn(move || {
            // Leaves the child unreaped, so that its pid is nobody else's as long as it may be signalled.
            waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).ok();
            drop(alive);
        });
        Self { what, child, stdout, stderr, ended }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Lets it have no more memory of its own than `bytes`: what it allocates beyond fails, and so does the process.
    pub(crate) fn limit_memory(&self, bytes: u64) {
        let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
        prlimit(Some(Pid::from_child(&self.child)), Resource::Data, limit).unwrap();
    }

    /// Lets it make no file longer than `bytes` from here on, until the limit is lifted; as on a full disk, what it writes beyond fails.
    pub(crate) fn limit_files(&self, bytes: Option<u64>) {
        let limit = Rlimit { current: bytes, maximum: None };
        prlimit(Some(Pid::from_child(&self.child)), Resource::Fsize, limit).unwrap();
    }

    /// Has the system refuse some of its calls about a file from here on, of one of its threads or of all: by strace, which this returns and
    /// with which it ends. Nothing where there is no strace, or it may not look at other processes, unless [`left_out`] has it otherwise.
    pub(crate) fn refuse_calls(&self, thread: Option<&str>, file: &Path, refusal: &str) -> Option<Self> {
        if !has_strace() {
            return None;
        }
        let pid = self.pid();
        let is_named = |task: &Path| std::fs::read_to_string(task.join("comm")).is_ok_and(|name| Some(name.trim()) == thread);
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().map(|entry| entry.unwrap().path());
        let of = match thread {
            Some(name) => tasks.into_iter().find(|task| is_named(task)).unwrap_or_else(|| panic!("no thread {name}")),
            None => pid.to_string().into(),
        };
        let mut strace = Command::new("strace");
        strace.args(thread.is_none().then_some("--follow-forks")).args(["--output", "/dev/null", "--trace-path"]).arg(file);
        strace.args(["--inject", refusal, "--attach"]).arg(of.file_name().unwrap());
        let strace = Self::start(strace, Vec::new());
        // It says why, where it does not attach, and ends.
        let is_attached = strace.stderr.wait_for("word of strace", |text| {
            text.contains(" attached").then_some(true).or(text.contains("ptrace(").then_some(false))
        });
        if !is_attached {
            left_out(&strace.stderr.text());
        }
        is_attached.then_some(strace)
    }

    /// Kills it without a word, and waits until it is gone.
    pub(crate) fn kill(self) {
        drop(self);
    }

    /// As [`Process::kill`], for one that is to be replaced in its place.
    pub(crate) fn kill_in_place(&mut self) {
        // After `wait` there is nothing left to do, which the standard library knows.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(self) -> Ran {
        self.wait_within(PATIENCE)
    }

    /// The same for what takes longer than anything else.
    #[track_caller]
    pub(crate) fn wait_within(mut self, patience: Duration) -> Ran {
        assert!(
            self.ended.recv_timeout(patience) == Err(mpsc::RecvTimeoutError::Disconnected),
            "{} does not end; it said\n{}\n{}",
            self.what,
            self.stdout.text(),
            self.stderr.text()
        );
        let status = self.child.wait().unwrap();
        Ran { what: self.what.clone(), status, stdout: self.stdout.whole(), stderr: self.stderr.text_whole() }
    }

    /// Its child processes: a node's workers.
    pub(crate) fn children(&self) -> Vec<u32> {
        let pid = self.pid();
        let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        list.split_whitespace().map(|child| child.parse().unwrap()).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_in_place();
    }
}

/// The most resident memory that a living process ever had, in bytes.
pub(crate) fn memory_peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a living process has a VmHWM");
    line.trim().strip_suffix(" kB").unwrap().trim().parse::<u64>().unwrap() * 1024
}

/// What a process wrote to one of its streams so far.
#[derive(Clone)]
pub(crate) struct Captured(Arc<Stream>);

#[derive(Default)]
struct Stream {
    content: Mutex<Content>,
    grown: Condvar,
}

#[derive(Default)]
struct Content {
    bytes: Vec<u8>,
    ended: bool,
}

impl Captured {
    fn read(mut from: impl Read + Send + 'static) -> Self {
        let stream = Arc::new(Stream::default());
        let writer = Arc::clone(&stream);
        thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            loop {
                let n = from.read(&mut buffer).unwrap_or(0);
                let mut content = writer.content.lock().unwrap_or_else(PoisonError::into_inner);
                content.bytes.extend_from_slice(&buffer[..n]);
                content.ended = n == 0;
                writer.grown.notify_all();
                if content.ended {
                    break;
                }
            }
        });
        Self(stream)
    }

    /// What there is now.
    pub(crate) fn text(&self) -> String {
        let content = self.0.content.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&content.bytes).into_owned()
    }

    /// Waits until `look` finds what it looks for.
    #[track_caller]
    pub(crate) fn wait_for<T>(&self, what: &str, look: impl Fn(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut content = self.0.content.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let text = String::from_utf8_lossy(&content.bytes);
            if let Some(found) = look(&text) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!content.ended && !left.is_zero(), "no {what} in\n{text}");
            content = self.0.grown.wait_timeout(content, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for a text.
    #[track_caller]
    pub(crate) fn wait_for_text(&self, want: &str) {
        self.wait_for(&format!("`{want}`"), |text| text.contains(want).then_some(()));
    }

    /// Waits for a whole line that starts so, and gives the rest of it.
    #[track_caller]
    pub(crate) fn wait_for_line(&self, start: &str) -> String {
        self.wait_for(&format!("line `{start}…`"), |text| {
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            whole.lines().find_map(|line| line.strip_prefix(start)).map(str::to_owned)
        })
    }

    /// All of it, once the process has ended. A grandchild that outlives it would keep the stream open; that must not hang the test.
    fn whole(&self) -> Vec<u8> {
        let content = self.0.content.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = self.0.grown.wait_timeout_while(content, PATIENCE, |content| !content.ended);
        let (mut content, timeout) = ended.unwrap_or_else(PoisonError::into_inner);
        assert!(!timeout.timed_out(), "somebody holds a stream of a process that ended");
        std::mem::take(&mut content.bytes)
    }

    fn text_whole(&self) -> String {
        String::from_utf8_lossy(&self.whole()).into_owned()
    }
}

/// What a process left that has ended.
pub(crate) struct Ran {
    what: String,
    status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ran {
    /// Checks its exit code.
    #[track_caller]
    pub(crate) fn code(self, want: i32) -> Self {
        assert!(self.status.code() == Some(want), "expected exit code {want}: {self:?}");
        self
    }

    /// Checks that it was a success.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        self.code(0)
    }

    /// Checks that it says `want` on standard error.
    #[track_caller]
    pub(crate) fn says(self, want: &str) -> Self {
        assert!(self.stderr.contains(want), "expected `{want}`: {self:?}");
        self
    }

    /// Standard output as text, without the last line's end.
    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap().trim_end_matches('\n')
    }

    /// Standard output as one JSON value.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Standard output as one JSON value a line.
    #[track_caller]
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self:?}"))).collect()
    }
}

impl Debug for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { what, status, stdout, stderr } = self;
        let end = status.signal().map_or_else(|| format!("{status}"), |signal| format!("signal {signal}"));
        let stdout = String::from_utf8_lossy(&stdout[..stdout.len().min(4096)]);
        write!(f, "{what}\nended with {end}\n--- standard output\n{stdout}\n--- standard error\n{stderr}")
    }
}
