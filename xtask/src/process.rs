//! Running other programs: one after another with what to do next on failure, under a time limit, or side by side as a family
//! that ends together.

use std::fmt::Write as _;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long a member of a family may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(5);
/// How often a family is looked at while it ends.
const POLL: Duration = Duration::from_millis(20);
/// Lines of a log that are shown when its process failed.
const TAIL_LINES: usize = 20;

/// Says what happens next. On standard error, so that standard output holds only what a command is asked for.
pub(crate) fn say(text: impl AsRef<str>) {
    eprintln!("xtask: {}", text.as_ref());
}

/// The cargo that runs xtask.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Shows and runs `command` to its end.
///
/// # Errors
/// Where it does not start or fails; the error ends with what to do `next`.
pub(crate) fn run(command: &mut Command, next: &str) -> Result<()> {
    let line = display(command);
    say(format!("$ {line}"));
    let status = command.status().with_context(|| format!("`{line}` does not start; next: {next}"))?;
    if status.success() { Ok(()) } else { bail!("`{line}` failed ({}); next: {next}", describe(status)) }
}

/// Whether `command` runs and succeeds, its output thrown away.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// The standard output of `command` without its last newline, where it runs and succeeds.
pub(crate) fn stdout(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim_end().to_owned())
}

/// Runs `command` with its output captured, and kills it after `limit`: nothing is returned then, nor where it does not start.
pub(crate) fn output_within(command: &mut Command, limit: Duration) -> Option<Output> {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().ok()?;
    let pid = Pid::from_child(&child);
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::spawn(move || sender.send(child.wait_with_output()));
    match receiver.recv_timeout(limit) {
        Ok(output) => output.ok(),
        Err(_) => {
            // The thread above has not reaped the child yet, so the id is still its own.
            let _ = kill_process(pid, Signal::KILL);
            None
        }
    }
}

/// How a process ended, for people.
pub(crate) fn describe(status: ExitStatus) -> String {
    status.code().map_or_else(|| status.to_string(), |code| format!("exit code {code}"))
}

/// `command` as one would type it, without its environment.
fn display(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    command.get_args().fold(program.to_string_lossy().into_owned(), |mut line, arg| {
        let _ = write!(line, " {}", arg.to_string_lossy());
        line
    })
}

/// Processes that run side by side and end together: when the family is dropped, and when a signal ends xtask.
#[derive(Debug, Clone, Default)]
pub(crate) struct Family(Arc<Mutex<Vec<Member>>>);

#[derive(Debug)]
struct Member {
    name: String,
    child: Child,
    /// Where its output goes, unless it is shown.
    log: Option<PathBuf>,
}

impl Family {
    /// Starts `command` as `name`, its standard error (and output, unless the caller piped it) going to the file `log`.
    pub(crate) fn spawn(&self, name: &str, command: &mut Command, log: &Path) -> Result<()> {
        let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdout(file.try_clone().context("cannot share a log file")?);
        self.start(name, command.stderr(file), Some(log)).map(drop)
    }

    /// Starts `command` as `name` and returns its standard output; its standard error goes to the file `log`.
    pub(crate) fn spawn_piped(&self, name: &str, command: &mut Command, log: &Path) -> Result<ChildStdout> {
        let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let stdout = self.start(name, command.stdout(Stdio::piped()).stderr(file), Some(log))?;
        stdout.context("a piped standard output is there")
    }

    /// Starts `command` as `name` with its output and its errors shown.
    pub(crate) fn spawn_shown(&self, name: &str, command: &mut Command) -> Result<()> {
        say(format!("$ {}", display(command)));
        self.start(name, command, None).map(drop)
    }

    fn start(&self, name: &str, command: &mut Command, log: Option<&Path>) -> Result<Option<ChildStdout>> {
        let line = display(command);
        // A group of its own: Ctrl-C then reaches xtask alone, which ends its family in order.
        let mut child =
            command.stdin(Stdio::null()).process_group(0).spawn().with_context(|| format!("`{line}` does not start"))?;
        let stdout = child.stdout.take();
        self.lock().push(Member { name: name.to_owned(), child, log: log.map(Path::to_owned) });
        Ok(stdout)
    }

    /// Kills `name` with SIGKILL and returns its process id.
    pub(crate) fn kill(&self, name: &str) -> Result<u32> {
        let mut members = self.lock();
        let at = members.iter().position(|member| member.name == name).with_context(|| format!("{name} does not run"))?;
        let mut member = members.remove(at);
        member.child.kill().with_context(|| format!("cannot kill {name}"))?;
        member.child.wait().with_context(|| format!("cannot wait for {name}"))?;
        Ok(member.child.id())
    }

    /// Waits until `name` ends.
    ///
    /// # Errors
    /// Where it ends with a failure; the end of its log is in the error.
    pub(crate) fn wait(&self, name: &str) -> Result<()> {
        loop {
            if let Some(status) = self.poll(name)? {
                return if status.success() { Ok(()) } else { Err(self.failure(name, status)) };
            }
            thread::sleep(POLL);
        }
    }

    /// Fails where `name` has ended, with the end of its log.
    pub(crate) fn expect_running(&self, name: &str) -> Result<()> {
        match self.poll(name)? {
            None => Ok(()),
            Some(status) => Err(self.failure(name, status)),
        }
    }

    /// Ends everyone: asks, waits a little, then kills. Nobody else gets at the family before it is done.
    pub(crate) fn stop(&self) {
        let mut members = self.lock();
        for member in members.iter() {
            let _ = kill_process(Pid::from_child(&member.child), Signal::TERM);
        }
        let deadline = Instant::now() + GRACE;
        loop {
            members.retain_mut(|member| matches!(member.child.try_wait(), Ok(None)));
            if members.is_empty() || Instant::now() > deadline {
                break;
            }
            thread::sleep(POLL);
        }
        for mut member in members.drain(..) {
            let _ = member.child.kill();
            let _ = member.child.wait();
        }
    }

    fn poll(&self, name: &str) -> Result<Option<ExitStatus>> {
        let mut members = self.lock();
        let member = members.iter_mut().find(|member| member.name == name).with_context(|| format!("{name} does not run"))?;
        member.child.try_wait().with_context(|| format!("cannot wait for {name}"))
    }

    fn failure(&self, name: &str, status: ExitStatus) -> anyhow::Error {
        let members = self.lock();
        let log = members.iter().find(|member| member.name == name).and_then(|member| member.log.as_deref());
        let end = log.map(|log| format!("; the end of its log:\n{}", tail(log))).unwrap_or_default();
        anyhow::anyhow!("{name} ended ({}){end}", describe(status))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Member>> {
        // A panic elsewhere leaves the list whole: every change of it is one push, one removal or one take.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stops its family when dropped, so that no error path leaves a process behind.
#[derive(Debug)]
pub(crate) struct StopOnDrop(pub(crate) Family);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// The last lines of a log, indented, and where all of it is.
pub(crate) fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let shown = lines[lines.len().saturating_sub(TAIL_LINES)..].iter().map(|line| format!("  | {line}\n"));
    shown.chain([format!("  (all of it: {})", log.display())]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("adit-xtask-{}-{name}.log", std::process::id()))
    }

    #[test]
    fn output_is_captured_and_the_limit_kills() {
        let output = output_within(Command::new("echo").arg("hello"), Duration::from_secs(60)).unwrap();
        assert_eq!(output.stdout, b"hello\n");
        assert!(output_within(Command::new("sleep").arg("600"), Duration::from_millis(1)).is_none());
        assert!(output_within(&mut Command::new("/no/such/program"), Duration::from_secs(60)).is_none());
    }

    #[test]
    fn failed_command_says_what_to_do_next() {
        let error = run(&mut Command::new("false"), "try `true`").unwrap_err();
        assert_eq!(error.to_string(), "`false` failed (exit code 1); next: try `true`");
    }

    #[test]
    fn dropped_family_leaves_no_process() {
        let (family, log) = (Family::default(), log("drop"));
        let stop = StopOnDrop(family.clone());
        let mut stdout = family.spawn_piped("sleeper", Command::new("sleep").arg("600"), &log).unwrap();
        family.expect_running("sleeper").unwrap();
        drop(stop);
        // The pipe ends when its last writer, the sleeper, is gone.
        assert_eq!(std::io::copy(&mut stdout, &mut std::io::sink()).unwrap(), 0);
        assert!(family.expect_running("sleeper").is_err());
        std::fs::remove_file(log).unwrap();
    }

    #[test]
    fn failed_member_is_reported_with_the_end_of_its_log() {
        let (family, log) = (Family::default(), log("fail"));
        let script = "for i in $(seq 30); do echo line $i >&2; done; exit 3";
        family.spawn("worker", Command::new("sh").args(["-c", script]), &log).unwrap();
        let error = family.wait("worker").unwrap_err().to_string();
        assert!(error.contains("worker ended (exit code 3)"), "{error}");
        assert!(error.contains("| line 30\n") && error.contains("| line 11\n") && !error.contains("| line 10\n"), "{error}");
        std::fs::remove_file(log).unwrap();
    }

    #[test]
    fn killed_member_is_gone_and_the_others_stay() {
        let (family, log) = (Family::default(), log("kill"));
        let _stop = StopOnDrop(family.clone());
        for name in ["a", "b"] {
            family.spawn(name, Command::new("sleep").arg("600"), &log).unwrap();
        }
        family.kill("a").unwrap();
        assert!(family.expect_running("a").is_err());
        family.expect_running("b").unwrap();
        std::fs::remove_file(log).unwrap();
    }
}
