//! A gateway and nodes on loopback, each a process of its own, that end together.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::process::{self, Family, say};

/// The config file of every process; empty.
const CONFIG: &str = "config.toml";
/// How long the gateway may take to listen.
const GATEWAY_LIMIT: Duration = Duration::from_secs(20);
/// How often the gateway's ready file is looked for.
const POLL: Duration = Duration::from_millis(20);

/// A network whose processes, keys, data, caches and logs are of this run alone.
#[derive(Debug)]
pub(crate) struct Network {
    programs: PathBuf,
    folder: PathBuf,
    nodes: usize,
    family: Family,
}

impl Network {
    /// Clears the traces of the last time from `folder` and makes room there for so many nodes. `programs` is where `adit` is, and
    /// whoever else plays on the network.
    pub(crate) fn prepare(programs: PathBuf, folder: PathBuf, nodes: usize) -> Result<Self> {
        if folder.exists() {
            std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove the last run's {}", folder.display()))?;
        }
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        std::fs::write(folder.join(CONFIG), "").context("cannot write an empty config file")?;
        Ok(Self { programs, folder, nodes, family: Family::default() })
    }

    /// Who runs on it.
    pub(crate) fn family(&self) -> &Family {
        &self.family
    }

    /// Starts the gateway and its nodes, and returns the gateway's `ADDR#KEY`.
    pub(crate) fn start(&self) -> Result<String> {
        let gateway = self.start_gateway()?;
        self.start_nodes(&gateway)?;
        Ok(gateway)
    }

    /// A program of the build.
    pub(crate) fn program(&self, name: &str) -> Command {
        Command::new(self.programs.join(name))
    }

    /// Where a member's output goes.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }

    /// The ends of all logs, below `what` went wrong.
    pub(crate) fn logs(&self, what: &str) -> String {
        let members = std::iter::once("gateway".to_owned()).chain(node_names(self.nodes));
        let logs = members.map(|name| format!("{name}:\n{}\n", process::tail(&self.log(&name))));
        format!("{what}; the network's logs end so:\n{}", logs.collect::<String>())
    }

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
        say(format!("starting {} nodes that dial {gateway}", self.nodes));
        for name in node_names(self.nodes) {
            let mut command = self.adit("node");
            command.args(["--gateway", gateway, "--slots", "1"]).arg("--cache").arg(self.folder.join(&name));
            self.spawn(&name, &mut command)?;
        }
        Ok(())
    }

    fn adit(&self, command: &str) -> Command {
        let mut adit = self.program("adit");
        // The network is the same for everyone, whatever stands in their own config file.
        adit.arg(command).env("ADIT_CONFIG", self.folder.join(CONFIG));
        adit
    }

    /// Starts a member of the network with a key file of its own.
    fn spawn(&self, name: &str, command: &mut Command) -> Result<()> {
        command.arg("--key").arg(self.folder.join(format!("{name}.key")));
        self.family.spawn(name, command, &self.log(name))
    }
}

/// A signal ends the whole family, and with it whatever waits for one of its members. Says later whether there was one.
pub(crate) fn stop_on_signal(family: Family) -> Result<Arc<AtomicBool>> {
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

fn node_names(nodes: usize) -> impl Iterator<Item = String> {
    (1..=nodes).map(|n| format!("node-{n}"))
}

/// The file's first line, once it is written whole.
fn read_line(file: &Path) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let (line, _) = text.split_once('\n')?;
    Some(line.to_owned())
}

/// A network that shell scripts play, in a folder of the test's own.
#[cfg(test)]
pub(crate) fn played_by_scripts(name: &str, nodes: usize, scripts: &[(&str, &str)]) -> (PathBuf, Network) {
    let folder = std::env::temp_dir().join(format!("adit-xtask-network-{}-{name}", std::process::id()));
    let network = Network::prepare(folder.clone(), folder.join("network"), nodes).unwrap();
    // Written by a process of its own: a file that this one wrote could still be open in the child of another test's thread, and
    // so be too busy to be run.
    let write = r#"printf '#!/bin/sh\n%s\n' "$1" > "$2" && chmod +x "$2""#;
    for (program, script) in scripts {
        let status = Command::new("sh").args(["-c", write, "sh", script]).arg(folder.join(program)).status().unwrap();
        assert!(status.success());
    }
    (folder, network)
}

/// A gateway that is ready at once, and nodes that only live. The ready file is `$9`.
#[cfg(test)]
pub(crate) const ADIT_SCRIPT: &str = "case $1 in gateway) echo 127.0.0.1:7#ab > $9;; esac; exec sleep 600";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateway_that_does_not_start_is_told_with_its_log() {
        let (folder, network) = played_by_scripts("no-gateway", 1, &[("adit", "echo port in use >&2; exit 1")]);
        let error = network.start().unwrap_err().to_string();
        assert!(error.contains("gateway ended (exit code 1)") && error.contains("| port in use"), "{error}");
        std::fs::remove_dir_all(folder).unwrap();
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
