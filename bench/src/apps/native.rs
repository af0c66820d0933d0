//! The native side: a program that is built for this machine, from standard input to standard output.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use adit_runtime::lab::process_time;
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use super::Run;

/// Where `cargo xtask bench apps` builds the programs.
const FOLDER_VARIABLE: &str = "ADIT_NATIVE";

/// A program by its name: that of a binary, or `examples/NAME`.
pub(super) fn program(name: &str) -> Result<PathBuf> {
    let folder = std::env::var_os(FOLDER_VARIABLE).map(PathBuf::from);
    let folder = folder.with_context(|| format!("{FOLDER_VARIABLE} is not set; run this as `cargo xtask bench apps`"))?;
    let program = folder.join(name);
    if !program.is_file() {
        bail!("{} is missing; next: `cargo xtask bench apps`, which builds it", program.display());
    }
    Ok(program)
}

/// Runs a program to its end. What it writes goes through files in `folder`, so that nobody has to read along.
pub(super) fn run(program: &Path, args: &[impl AsRef<OsStr>], input: &Path, folder: &Path) -> Result<Run> {
    let (output, errors) = (folder.join("native.out"), folder.join("native.err"));
    let create = |path: &Path| File::create(path).with_context(|| format!("cannot write {}", path.display()));
    let mut command = Command::new(program);
    command.args(args).stdin(File::open(input).with_context(|| format!("cannot read {}", input.display()))?);
    command.stdout(create(&output)?).stderr(create(&errors)?);
    let child = command.spawn().with_context(|| format!("{} does not start", program.display()))?;
    let (status, cpu) = wait(child)?;
    if !status.success() {
        let errors = fs::read(&errors)?;
        bail!("{} failed ({status}): {}", program.display(), String::from_utf8_lossy(&errors).trim_end());
    }
    Ok(Run { output: fs::read(&output)?, cpu })
}

/// Waits for a child's end; with the processor time that it took, which is known until its end is taken notice of.
fn wait(mut child: Child) -> Result<(ExitStatus, Duration)> {
    let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while let Err(error) = waitid(WaitId::Pid(Pid::from_child(&child)), ended) {
        if error != rustix::io::Errno::INTR {
            return Err(error.into());
        }
    }
    let cpu = process_time(child.id()).context("the system does not tell a process's time")?;
    Ok((child.wait()?, cpu))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, input: &str) -> Result<Run> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("input");
        fs::write(&path, input)?;
        run(Path::new("/bin/sh"), &["-c", script], &path, folder.path())
    }

    #[test]
    fn program_has_its_input_and_its_time_is_told_after_its_end() {
        let busy = shell("read line; n=0; while [ $n -lt 20000 ]; do n=$((n + 1)); done; echo $n$line", "x\n").unwrap();
        assert_eq!(busy.output, b"20000x\n");
        let idle = shell("echo", "").unwrap();
        assert!(idle.cpu > Duration::ZERO && busy.cpu > idle.cpu, "{busy:?} {idle:?}");
    }

    #[test]
    fn failure_is_told_with_what_the_program_said() {
        let error = shell("echo no such model >&2; exit 3", "").unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("no such model"), "{error}");
    }
}
