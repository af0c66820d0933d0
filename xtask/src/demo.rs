//! `cargo xtask demo`: a gateway and three nodes on loopback, a picture rendered on them, a node killed half-way, every receipt
//! checked.

use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::process::{self, Family, StopOnDrop, say};
use crate::wasm;
use crate::workspace::Workspace;

const NODES: usize = 3;
/// The node that is killed half-way.
const VICTIM: &str = "node-2";
/// The config file of every process of the demo; empty.
const CONFIG: &str = "config.toml";
/// How long the gateway may take to listen.
const GATEWAY_LIMIT: Duration = Duration::from_secs(20);
/// How often the gateway's ready file is looked for.
const POLL: Duration = Duration::from_millis(20);

/// What to render.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// Width and height in pixels, as `640x360`.
    pub(crate) size: String,
}

impl Default for Options {
    fn default() -> Self {
        Self { size: "640x360".to_owned() }
    }
}

/// Builds everything and plays the demo.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let guests = wasm::build_guests(workspace)?;
    say("building adit and the demo's client; the first time takes minutes");
    process::run(
        workspace.cargo().args(["build", "-p", "adit-cli", "-p", "adit-example-render"]),
        "mend what the compiler says",
    )?;
    let stage = Stage::prepare(workspace.target.join("debug"), &workspace.target.join("demo"), guests.join("pathtracer.wasm"))?;
    let _stop = StopOnDrop(stage.family.clone());
    let interrupted = stop_on_signal(stage.family.clone())?;

    let start = Instant::now();
    let picture = stage.play(&options.size);
    if interrupted.load(Ordering::SeqCst) {
        bail!("interrupted");
    }
    say(format!("{} in {:.1} s; stopping the network", picture?.display(), start.elapsed().as_secs_f64()));
    Ok(())
}

/// A signal ends the whole family, and with it whatever waits for one of its members. Says later whether there was one.
fn stop_on_signal(family: Family) -> Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).context("cannot listen to signals")?;
    thread::spawn({
        let interrupted = Arc::clone(&interrupted);
        move || {
            if signals.forever().next().is_some() {
                interrupted.store(true, Ordering::SeqCst);
                say("stopping the network");
                family.stop();
            }
        }
    });
    Ok(interrupted)
}

/// Where the demo is played, and by whom.
struct Stage {
    programs: PathBuf,
    module: PathBuf,
    /// Keys, data, caches and logs; new each time.
    folder: PathBuf,
    picture: PathBuf,
    family: Family,
}

impl Stage {
    /// Clears the traces of the last time from `demo` and makes room there. `programs` is where `adit` and `adit-render` are.
    fn prepare(programs: PathBuf, demo: &Path, module: PathBuf) -> Result<Self> {
        let folder = demo.join("network");
        if folder.exists() {
            std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove the last demo's {}", folder.display()))?;
        }
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        std::fs::write(folder.join(CONFIG), "").context("cannot write an empty config file")?;
        Ok(Self { programs, module, folder, picture: demo.join("picture.png"), family: Family::default() })
    }

    fn play(&self, size: &str) -> Result<&Path> {
        let gateway = self.start_gateway()?;
        self.start_nodes(&gateway)?;
        self.render(&gateway, size)
    }

    /// Starts the gateway and returns its `ADDR#KEY`.
    fn start_gateway(&self) -> Result<String> {
        say(format!("starting a gateway on loopback; keys, data and logs are in {}", self.folder.display()));
        let ready = self.folder.join("gateway.ready");
        let mut command = self.adit("gateway");
        command
            .args(["--listen", "127.0.0.1:0", "--welcome", "1000"])
            .arg("--data")
            .arg(self.folder.join("gateway"))
            .arg("--ready-file")
            .arg(&ready);
        self.spawn("gateway", &mut command)?;
        let deadline = Instant::now() + GATEWAY_LIMIT;
        loop {
            if let Some(address) = read_line(&ready) {
                return Ok(address);
            }
            self.family.expect_running("gateway")?;
            if Instant::now() > deadline {
                bail!(
                    "the gateway does not listen after {} s; its log:\n{}",
                    GATEWAY_LIMIT.as_secs(),
                    process::tail(&self.log("gateway"))
                );
            }
            thread::sleep(POLL);
        }
    }

    fn start_nodes(&self, gateway: &str) -> Result<()> {
        say(format!("starting {NODES} nodes that dial {gateway}"));
        for name in node_names() {
            let mut command = self.adit("node");
            command.args(["--gateway", gateway, "--slots", "1"]).arg("--cache").arg(self.folder.join(&name));
            self.spawn(&name, &mut command)?;
        }
        Ok(())
    }

    /// Renders the picture, killing [`VICTIM`] half-way, and returns where it is.
    fn render(&self, gateway: &str, size: &str) -> Result<&Path> {
        let mut command = Command::new(self.programs.join("adit-render"));
        command.args(["--gateway", gateway, "--size", size, "--wait-nodes", &NODES.to_string()]);
        command.arg("--module").arg(&self.module).arg("--out").arg(&self.picture);
        say(format!("rendering {size} pixels"));
        let stdout = self.family.spawn_piped("render", &mut command, &self.log("render"))?;
        let killed = self.follow(stdout)?;
        self.family.wait("render").with_context(|| self.logs_of_the_network())?;
        if !killed {
            bail!("the picture was done before {VICTIM} could be killed; next: a larger --size");
        }
        Ok(&self.picture)
    }

    /// Shows what the client prints until it ends. Says whether the victim was killed on the way.
    fn follow(&self, stdout: ChildStdout) -> Result<bool> {
        let mut killed = false;
        let mut bar = ProgressLine::default();
        for line in BufReader::new(stdout).lines() {
            let line = line.context("cannot read what the client prints")?;
            let Some((done, total)) = parse_progress(&line) else {
                bar.end();
                println!("{line}");
                continue;
            };
            bar.show(done, total);
            if !killed && done < total && done * 2 >= total {
                bar.end();
                let pid = self.family.kill(VICTIM)?;
                say(format!("half-way: killed {VICTIM} (process {pid}) with SIGKILL; the others take over its tiles"));
                killed = true;
            }
        }
        bar.end();
        Ok(killed)
    }

    fn adit(&self, command: &str) -> Command {
        let mut adit = Command::new(self.programs.join("adit"));
        // The demo is the same for everyone, whatever stands in their own config file.
        adit.arg(command).env("ADIT_CONFIG", self.folder.join(CONFIG));
        adit
    }

    /// Starts a member of the network with a key file of its own.
    fn spawn(&self, name: &str, command: &mut Command) -> Result<()> {
        command.arg("--key").arg(self.folder.join(format!("{name}.key")));
        self.family.spawn(name, command, &self.log(name))
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }

    fn logs_of_the_network(&self) -> String {
        let members = std::iter::once("gateway".to_owned()).chain(node_names());
        let logs = members.map(|name| format!("{name}:\n{}\n", process::tail(&self.log(&name))));
        format!("the picture was not rendered; the network's logs end so:\n{}", logs.collect::<String>())
    }
}

fn node_names() -> impl Iterator<Item = String> {
    (1..=NODES).map(|n| format!("node-{n}"))
}

/// The file's first line, once it is written whole.
fn read_line(file: &Path) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let (line, _) = text.split_once('\n')?;
    Some(line.to_owned())
}

/// Reads `progress DONE/TOTAL`.
fn parse_progress(line: &str) -> Option<(u64, u64)> {
    let (done, total) = line.strip_prefix("progress ")?.split_once('/')?;
    Some((done.parse().ok()?, total.parse().ok()?))
}

/// The progress: one line that is written over on a terminal, else a line per tenth.
#[derive(Debug, Default)]
struct ProgressLine {
    tenths: u64,
    open: bool,
}

impl ProgressLine {
    fn show(&mut self, done: u64, total: u64) {
        let mut out = std::io::stdout().lock();
        if out.is_terminal() {
            self.open = true;
            // A terminal that cannot be written to ends the demo elsewhere; the progress is decoration.
            let _ = write!(out, "\r{done} of {total} tiles ");
            let _ = out.flush();
        } else if done * 10 / total.max(1) > self.tenths {
            self.tenths = done * 10 / total.max(1);
            let _ = writeln!(out, "{done} of {total} tiles");
        }
    }

    /// Leaves the line, so that something else can be printed.
    fn end(&mut self) {
        if std::mem::take(&mut self.open) {
            println!();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A gateway that is ready at once, and nodes that only live. The ready file is `$9`.
    const ADIT: &str = "case $1 in gateway) echo 127.0.0.1:7#ab > $9;; esac; exec sleep 600";

    #[test]
    fn a_node_is_killed_half_way_and_the_picture_is_still_made() {
        let (demo, stage) =
            stage("whole", ADIT, "echo 'progress 1/4'; echo 'progress 2/4'; echo 'progress 4/4'; echo '4 receipts verified'");
        let _stop = StopOnDrop(stage.family.clone());
        assert_eq!(stage.play("64x36").unwrap(), demo.join("picture.png"));
        for (name, lives) in [("gateway", true), ("node-1", true), (VICTIM, false), ("node-3", true)] {
            assert_eq!(stage.family.expect_running(name).is_ok(), lives, "{name}");
        }
        std::fs::remove_dir_all(demo).unwrap();
    }

    #[test]
    fn failures_show_the_log_of_who_failed() {
        let (demo, stage) = stage("no-gateway", "echo port in use >&2; exit 1", "exit 0");
        let error = stage.start_gateway().unwrap_err().to_string();
        assert!(error.contains("gateway ended (exit code 1)") && error.contains("| port in use"), "{error}");
        std::fs::remove_dir_all(demo).unwrap();

        let (demo, stage) = self::stage("no-picture", ADIT, "echo no node fits >&2; exit 4");
        let error = format!("{:#}", stage.render("127.0.0.1:7#ab", "64x36").unwrap_err());
        assert!(error.contains("render ended (exit code 4)") && error.contains("| no node fits"), "{error}");
        std::fs::remove_dir_all(demo).unwrap();
    }

    #[test]
    fn a_demo_without_a_killed_node_is_no_demo() {
        let (demo, stage) = stage("unkilled", ADIT, "echo 'progress 1/1'");
        let error = stage.render("127.0.0.1:7#ab", "64x36").unwrap_err().to_string();
        assert!(error.contains("next: a larger --size"), "{error}");
        std::fs::remove_dir_all(demo).unwrap();
    }

    /// A stage on which shell scripts play `adit` and `adit-render`.
    fn stage(name: &str, adit: &str, render: &str) -> (PathBuf, Stage) {
        let demo = std::env::temp_dir().join(format!("adit-xtask-demo-{}-{name}", std::process::id()));
        let stage = Stage::prepare(demo.clone(), &demo, demo.join("module.wasm")).unwrap();
        // Written by a process of its own: a file that this one wrote could still be open in the child of another test's thread, and
        // so be too busy to be run.
        let write = r#"printf '#!/bin/sh\n%s\n' "$1" > "$2" && chmod +x "$2""#;
        for (program, script) in [("adit", adit), ("adit-render", render)] {
            let status = Command::new("sh").args(["-c", write, "sh", script]).arg(demo.join(program)).status().unwrap();
            assert!(status.success());
        }
        (demo, stage)
    }

    #[test]
    fn only_progress_lines_are_progress() {
        assert_eq!(parse_progress("progress 3/144"), Some((3, 144)));
        for line in ["progress", "progress 3", "progress a/b", "12 receipts verified", "progress 3/-1"] {
            assert_eq!(parse_progress(line), None, "{line}");
        }
    }

    #[test]
    fn ready_file_counts_once_its_line_is_whole() {
        let file = std::env::temp_dir().join(format!("adit-xtask-ready-{}", std::process::id()));
        for (text, want) in [("127.0.0.1:7", None), ("127.0.0.1:7#ab\n", Some("127.0.0.1:7#ab".to_owned()))] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(read_line(&file), want, "{text:?}");
        }
        std::fs::remove_file(&file).unwrap();
        assert_eq!(read_line(&file), None);
    }
}
