//! `cargo xtask demo`: a gateway and three nodes on loopback, a picture rendered on them, a node killed half-way, every receipt
//! checked.

use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ChildStdout;
use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::network::{Network, stop_on_signal};
use crate::process::{self, StopOnDrop, say};
use crate::wasm;
use crate::workspace::Workspace;

const NODES: usize = 3;
/// How many paths a pixel takes, and how much noise lets it stop before.
const PATHS: [&str; 4] = ["--samples", "32", "--noise", "150"];
/// The node that is killed half-way.
const VICTIM: &str = "node-2";

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
    let demo = workspace.target.join("demo");
    let network = Network::prepare(workspace.target.join("debug"), demo.join("network"), NODES)?;
    let (module, picture, preview) = (guests.join("pathtracer.wasm"), demo.join("picture.png"), demo.join("preview.png"));
    let stage = Stage { network, module, picture, preview };
    let _stop = StopOnDrop(stage.network.family().clone());
    let interrupted = stop_on_signal(stage.network.family().clone())?;

    let start = Instant::now();
    let picture = stage.play(&options.size);
    if interrupted.load(Ordering::SeqCst) {
        bail!("interrupted");
    }
    say(format!("{} in {:.1} s; stopping the network", picture?.display(), start.elapsed().as_secs_f64()));
    Ok(())
}

/// Where the demo is played, and what comes of it.
struct Stage {
    network: Network,
    module: PathBuf,
    picture: PathBuf,
    /// The picture while it is rendered.
    preview: PathBuf,
}

impl Stage {
    fn play(&self, size: &str) -> Result<&Path> {
        let gateway = self.network.start()?;
        self.render(&gateway, size)
    }

    /// Renders the picture, killing [`VICTIM`] half-way, and returns where it is.
    fn render(&self, gateway: &str, size: &str) -> Result<&Path> {
        let mut command = self.network.program("adit-render");
        command.args(["--gateway", gateway, "--size", size, "--wait-nodes", &NODES.to_string()]);
        command.arg("--module").arg(&self.module).arg("--out").arg(&self.picture);
        command.args(PATHS).arg("--preview").arg(&self.preview);
        say(format!("rendering {size} pixels; they show as they come in {}", self.preview.display()));
        let stdout = self.network.family().spawn_piped("render", &mut command, &self.network.log("render"))?;
        let killed = self.follow(stdout)?;
        self.network.family().wait("render").with_context(|| self.network.logs("the picture was not rendered"))?;
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
                let pid = self.network.family().kill(VICTIM)?;
                say(format!("half-way: killed {VICTIM} (process {pid}) with SIGKILL; the others take over its tiles"));
                killed = true;
            }
        }
        bar.end();
        Ok(killed)
    }
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
    use crate::network::{ADIT_SCRIPT, played_by_scripts};

    #[test]
    fn a_node_is_killed_half_way_and_the_picture_is_still_made() {
        let (demo, stage) =
            stage("whole", "echo 'progress 1/4'; echo 'progress 2/4'; echo 'progress 4/4'; echo '4 receipts verified'");
        let _stop = StopOnDrop(stage.network.family().clone());
        assert_eq!(stage.play("64x36").unwrap(), demo.join("picture.png"));
        for (name, lives) in [("gateway", true), ("node-1", true), (VICTIM, false), ("node-3", true)] {
            assert_eq!(stage.network.family().expect_running(name).is_ok(), lives, "{name}");
        }
        std::fs::remove_dir_all(demo).unwrap();
    }

    #[test]
    fn failures_show_the_log_of_who_failed() {
        let (demo, stage) = stage("no-picture", "echo no node fits >&2; exit 4");
        let error = format!("{:#}", stage.render("127.0.0.1:7#ab", "64x36").unwrap_err());
        assert!(error.contains("render ended (exit code 4)") && error.contains("| no node fits"), "{error}");
        std::fs::remove_dir_all(demo).unwrap();
    }

    #[test]
    fn a_demo_without_a_killed_node_is_no_demo() {
        let (demo, stage) = stage("unkilled", "echo 'progress 1/1'");
        let error = stage.render("127.0.0.1:7#ab", "64x36").unwrap_err().to_string();
        assert!(error.contains("next: a larger --size"), "{error}");
        std::fs::remove_dir_all(demo).unwrap();
    }

    /// A stage on which shell scripts play `adit` and `adit-render`.
    fn stage(name: &str, render: &str) -> (PathBuf, Stage) {
        let (demo, network) = played_by_scripts(name, NODES, &[("adit", ADIT_SCRIPT), ("adit-render", render)]);
        let (module, picture, preview) = (demo.join("module.wasm"), demo.join("picture.png"), demo.join("preview.png"));
        let stage = Stage { network, module, picture, preview };
        (demo, stage)
    }

    #[test]
    fn only_progress_lines_are_progress() {
        assert_eq!(parse_progress("progress 3/144"), Some((3, 144)));
        for line in ["progress", "progress 3", "progress a/b", "12 receipts verified", "progress 3/-1"] {
            assert_eq!(parse_progress(line), None, "{line}");
        }
    }
}
