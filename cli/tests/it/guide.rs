//! Every page of docs/guide, done as it says: its files are written, its commands run in a shell in their order, and what they print is
//! compared with what the page shows.
//!
//! A page is Markdown with blocks of these kinds, and of no other:
//!
//! - `console`: lines that begin with `$ ` are commands, the lines below each are what it prints, with `[..]` for what differs within a
//!   line and `...` for any lines. Nothing below it, and only its success counts. `# exit 16` after a command is how it ends.
//! - any language with `file=PATH`: a file of that name, in the folder where the page began.
//!
//! `adit up` runs beside the commands after it, as it would in another terminal.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use snapbox::{Assert, IntoData};
use tempfile::TempDir;

/// How long one command may take: the first build of a guest makes a standard library too.
const COMMAND_LIMIT: Duration = Duration::from_secs(600);

/// What ends the output of a command; its exit code follows.
const MARK: &str = "--guide-step-ended--";

/// What a shell that does the guide knows beside what the reader's does. Guests share one build folder, since each would build the
/// standard library again, and have the workspace's own versions of what they depend on.
const PREAMBLE: &str = r#"
trap 'kill $(jobs -p) 2> /dev/null' EXIT
share() {
    if [ -f Cargo.toml ] && [ ! -e target ]; then ln -s "$GUIDE_TARGET" target; fi
    if [ -f Cargo.toml ] && [ ! -e Cargo.lock ]; then cp "$GUIDE_LOCK" Cargo.lock; fi
}
cargo() { share; command cargo "$@"; }
adit() {
    case "$1" in
        build|dev) share; XDG_CACHE_HOME="$GUIDE_TARGET/cache" command adit "$@" ;;
        up)
            command adit "$@" --ready-file "$HOME/up.ready" > "$HOME/up.log" 2>&1 &
            for i in $(seq 600); do [ -s "$HOME/up.ready" ] && return 0; sleep 0.1; done
            cat "$HOME/up.log"; return 1 ;;
        *) command adit "$@" ;;
    esac
}
"#;

/// One thing that a page has its reader do.
#[derive(Debug, PartialEq)]
enum Step {
    File { path: PathBuf, text: String },
    Command { line: String, prints: String, exit: i32 },
}

#[test]
fn first_job() {
    follow("first-job.md");
}

#[test]
fn typed_jobs() {
    follow("typed-jobs.md");
}

#[test]
fn many_tasks() {
    follow("many-tasks.md");
}

#[test]
fn big_data() {
    follow("big-data.md");
}

#[test]
fn determinism() {
    follow("determinism.md");
}

#[test]
fn cost() {
    follow("cost.md");
}

#[test]
fn debugging() {
    follow("debugging.md");
}

#[test]
fn other_languages() {
    follow("other-languages.md");
}

#[test]
fn every_page_is_followed() {
    let tests = include_str!("guide.rs");
    for page in fs::read_dir(guide()).unwrap() {
        let name = page.unwrap().file_name().into_string().unwrap();
        assert!(name == "README.md" || tests.contains(&format!("follow(\"{name}\")")), "no test follows {name}");
    }
}

fn follow(page: &str) {
    let text = fs::read_to_string(guide().join(page)).unwrap();
    let steps = steps(&text).unwrap_or_else(|error| panic!("{page}: {error}"));
    let mut reader = Reader::new();
    for step in steps {
        match step {
            Step::File { path, text } => reader.write(&path, &text),
            Step::Command { line, prints, exit } => {
                let started = Instant::now();
                let (printed, code) = reader.run(&line);
                println!("{:6.1} s  {line}", started.elapsed().as_secs_f64());
                assert_eq!(code, exit, "{page}: `{line}` printed:\n{printed}");
                if !prints.is_empty() {
                    let same = Assert::new().try_eq(Some(&page), printed.raw(), prints.into_data());
                    same.unwrap_or_else(|error| panic!("{page}: `{line}`:\n{error}"));
                }
            }
        }
    }
}

fn guide() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guide").canonicalize().unwrap()
}

/// What a page says is to be done.
fn steps(page: &str) -> Result<Vec<Step>, String> {
    let (mut steps, mut lines) = (Vec::new(), page.lines());
    while let Some(line) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        match info.split_once(" file=") {
            Some((_, path)) => steps.push(Step::File { path: path.into(), text: block.join("\n") + "\n" }),
            None if info == "console" => commands(&block, &mut steps)?,
            None => return Err(format!("a block of `{info}` is neither run nor compiled")),
        }
    }
    Ok(steps)
}

fn commands(block: &[&str], steps: &mut Vec<Step>) -> Result<(), String> {
    for text in block {
        match (text.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => {
                let (line, exit) = command.split_once("  # exit ").unwrap_or((command, "0"));
                let exit = exit.parse().map_err(|_| format!("`{exit}` is no exit code"))?;
                steps.push(Step::Command { line: line.to_owned(), prints: String::new(), exit });
            }
            (None, Some(Step::Command { prints, .. })) => *prints += &format!("{text}\n"),
            (None, _) => return Err(format!("`{text}` is printed by no command")),
        }
    }
    Ok(())
}

/// A shell in a home of its own.
struct Reader {
    home: TempDir,
    shell: Child,
    stdin: ChildStdin,
    lines: mpsc::Receiver<String>,
}

impl Reader {
    fn new() -> Self {
        let home = TempDir::new().unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap();
        let adit = Path::new(env!("CARGO_BIN_EXE_adit"));
        let built = adit.ancestors().nth(2).unwrap();
        let target = built.join("guide");
        fs::create_dir_all(&target).unwrap();
        let path = format!("{}:{}", adit.parent().unwrap().display(), std::env::var("PATH").unwrap_or_default());
        let user = std::env::var("HOME").unwrap_or_default();
        let tool = |name: &str, below: &str| std::env::var(name).unwrap_or_else(|_| format!("{user}/{below}"));
        let mut command = Command::new("bash");
        command.args(["--noprofile", "--norc"]).current_dir(home.path());
        for (name, _) in
            std::env::vars().filter(|(name, _)| ["ADIT_", "XDG_", "CARGO", "RUST"].iter().any(|p| name.starts_with(p)))
        {
            command.env_remove(name);
        }
        command.env("HOME", home.path()).env("PATH", path);
        command.env("CARGO_HOME", tool("CARGO_HOME", ".cargo")).env("RUSTUP_HOME", tool("RUSTUP_HOME", ".rustup"));
        // Zig's compiler, as `cargo xtask guests` fetched it.
        command.env("PYTHONPATH", built.join("ziglang")).env("ZIG_GLOBAL_CACHE_DIR", built.join("zig-cache"));
        command.env("GUIDE_TARGET", target).env("GUIDE_LOCK", root.join("Cargo.lock"));
        // A group of its own, so that whatever it left running ends with it.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut shell = command.spawn().unwrap();
        let (stdin, stdout) = (shell.stdin.take().unwrap(), shell.stdout.take().unwrap());
        let mut reader = Self { home, shell, stdin, lines: lines_of(stdout) };
        reader.stdin.write_all(PREAMBLE.as_bytes()).unwrap();
        reader
    }

    fn write(&self, path: &Path, text: &str) {
        let path = self.home.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// What the command printed, and how it ended.
    fn run(&mut self, line: &str) -> (String, i32) {
        writeln!(self.stdin, "{{ {line}\n}} 2>&1 < /dev/null; printf '%s%d\\n' {MARK} $?").unwrap();
        let mut printed = String::new();
        loop {
            let heard = self.lines.recv_timeout(COMMAND_LIMIT);
            let text = heard.unwrap_or_else(|_| panic!("`{line}` does not end; it printed:\n{printed}"));
            if let Some((last, code)) = text.split_once(MARK) {
                return (printed + last, code.parse().unwrap());
            }
            printed += &format!("{text}\n");
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let group = Pid::from_child(&self.shell);
        // What is left of the page's processes; there may be none.
        let _ = kill_process_group(group, Signal::TERM);
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.shell.wait();
    }
}

/// The lines of a stream, as a thread reads them.
fn lines_of(stream: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (send, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            if send.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                break;
            }
        }
    });
    lines
}

#[test]
fn page_is_read_as_files_and_commands() {
    let page = "Text.\n\n```rust file=a/b.rs\nfn x() {}\n```\n```console\n$ adit run x  # exit 16\nout [..]\n...\n$ true\n```\n";
    let command = |line: &str, prints: &str, exit| Step::Command { line: line.into(), prints: prints.into(), exit };
    let want = [
        Step::File { path: "a/b.rs".into(), text: "fn x() {}\n".into() },
        command("adit run x", "out [..]\n...\n", 16),
        command("true", "", 0),
    ];
    assert_eq!(steps(page).unwrap(), want);
    assert!(steps("```rust\nfn x() {}\n```\n").is_err());
    assert!(steps("```console\nprinted by nobody\n```\n").is_err());
}

#[test]
fn reader_sees_output_and_exit_code_and_leaves_nothing_running() {
    let mut reader = Reader::new();
    reader.write(Path::new("x/y.txt"), "hello\n");
    assert_eq!(reader.run("cat x/y.txt; printf no-newline"), ("hello\nno-newline".into(), 0));
    assert_eq!(reader.run("cd x && echo wrong >&2 && (exit 3)"), ("wrong\n".into(), 3));
    let (pid, _) = reader.run("pwd > where; sleep 600 & echo $!");
    let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    drop(reader);
    crate::process::until("a process of the page ends", || rustix::process::test_kill_process(pid).is_err());
}
