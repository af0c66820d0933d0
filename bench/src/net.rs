//! What is measured, as processes: a gateway with its node, and the bare QUIC server that they are compared with.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use adit_client::Client;
use adit_protocol::{Answer, PublicKey, Query, SecretKey};
use adit_transport::{GatewayAddr, load_or_create_key_file};
use anyhow::{Context, Result, bail};
use tempfile::TempDir;

/// How long a process may take until it is of use.
const READY_LIMIT: Duration = Duration::from_secs(20);
/// How often that is looked at.
const POLL: Duration = Duration::from_millis(5);
/// Jobs that the node runs at once. More than cores: a slot that waits for its next job costs nothing, and the next job is then
/// on its way to another while the first one's receipt is signed.
const SLOTS: [&str; 2] = ["--slots", "8"];

/// A gateway and a node of the release binary on loopback, with their files in a folder of their own.
#[derive(Debug)]
pub(crate) struct Network {
    // Fields are dropped in this order: nobody writes to the folder any more when it is removed.
    node: Process,
    _gateway: Process,
    gateway: GatewayAddr,
    node_key: PublicKey,
    folder: TempDir,
}

/// A gateway of the release binary whose nodes come one by one, as the measurement likes.
#[derive(Debug)]
pub(crate) struct Wide {
    // Dropped in this order, as above.
    nodes: Vec<(PublicKey, Process)>,
    _gateway: Process,
    gateway: GatewayAddr,
    folder: TempDir,
}

/// A child process that is killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Network {
    /// Starts both and waits until the gateway listens. [`Network::client`] waits for the node.
    pub(crate) async fn start() -> Result<Self> {
        let folder = scratch_folder()?;
        let (gateway, addr) = start_gateway(folder.path(), &[]).await?;
        let node_key = load_or_create_key_file(&folder.path().join("node.key"))?.public();
        let node = start_node(&addr, folder.path(), &SLOTS)?;
        Ok(Self { node, _gateway: gateway, gateway: addr, node_key, folder })
    }

    /// A client of a new key, once the node is connected.
    pub(crate) async fn client(&mut self) -> Result<Client> {
        let client = Client::connect(SecretKey::generate(), self.gateway.clone()).await?;
        self.await_node(&client).await?;
        Ok(client)
    }

    /// Kills the node and starts it again over the same cache; waits until it is connected.
    pub(crate) async fn restart_node(&mut self, client: &Client) -> Result<()> {
        self.node.kill();
        self.node = start_node(&self.gateway, self.folder.path(), &SLOTS)?;
        self.await_node(client).await
    }

    /// Waits for a connection of the node under which it has run nothing yet: one that was lost may still be listed.
    async fn await_node(&mut self, client: &Client) -> Result<()> {
        self.node.await_connected(client, self.node_key).await
    }
}

impl Wide {
    /// Starts a gateway with these further arguments.
    pub(crate) async fn start(args: &[&str]) -> Result<Self> {
        let folder = scratch_folder()?;
        let (gateway, addr) = start_gateway(folder.path(), args).await?;
        Ok(Self { nodes: Vec::new(), _gateway: gateway, gateway: addr, folder })
    }

    /// Where it listens.
    pub(crate) fn gateway(&self) -> &GatewayAddr {
        &self.gateway
    }

    /// Starts a node that dials `gateway`, which is this one or a relay's way to it, and waits until it is connected, so that no two
    /// measure the machine's speed at once.
    pub(crate) async fn add_node(&mut self, client: &Client, gateway: &GatewayAddr, args: &[&str]) -> Result<PublicKey> {
        let folder = self.folder.path().join(format!("node-{}", self.nodes.len()));
        std::fs::create_dir(&folder)?;
        let key = load_or_create_key_file(&folder.join("node.key"))?.public();
        let mut node = start_node(gateway, &folder, args)?;
        node.await_connected(client, key).await?;
        self.nodes.push((key, node));
        Ok(key)
    }
}

/// Starts a gateway over `folder`, and waits until it listens.
async fn start_gateway(folder: &Path, args: &[&str]) -> Result<(Process, GatewayAddr)> {
    let ready = folder.join("gateway.ready");
    let mut command = adit("gateway")?;
    command.args(["--listen", "127.0.0.1:0", "--welcome", "1000000"]).args(args).arg("--data").arg(folder.join("gateway"));
    command.arg("--key").arg(folder.join("gateway.key")).arg("--ready-file").arg(&ready);
    let mut gateway = Process::spawn("gateway", &mut command, folder)?;
    let addr = gateway.await_ready(&ready).await?;
    Ok((gateway, addr))
}

fn start_node(gateway: &GatewayAddr, folder: &Path, args: &[&str]) -> Result<Process> {
    let mut command = adit("node")?;
    command.args(["--gateway", &gateway.to_string()]).args(args);
    command.arg("--cache").arg(folder.join("cache")).arg("--key").arg(folder.join("node.key"));
    Process::spawn("node", &mut command, folder)
}

impl Process {
    /// Starts `command`, its output going to `NAME.log` in `folder`. Its standard input ends when this process does.
    pub(crate) fn spawn(name: &'static str, command: &mut Command, folder: &Path) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::piped()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("{} does not start", command.get_program().display()))?;
        Ok(Self { name, child, log })
    }

    /// Waits until the process has written its address to `ready`.
    pub(crate) async fn await_ready(&mut self, ready: &Path) -> Result<GatewayAddr> {
        let deadline = Instant::now() + READY_LIMIT;
        while Instant::now() < deadline {
            // Without its newline the line is not whole yet.
            if let Ok(text) = std::fs::read_to_string(ready)
                && let Some((line, _)) = text.split_once('\n')
            {
                return Ok(line.parse()?);
            }
            self.expect_running()?;
            tokio::time::sleep(POLL).await;
        }
        bail!("the {} does not listen after {} s; its log:\n{}", self.name, READY_LIMIT.as_secs(), self.log())
    }

    /// Waits until the gateway has this node, with nothing run yet.
    async fn await_connected(&mut self, client: &Client, key: PublicKey) -> Result<()> {
        let deadline = Instant::now() + READY_LIMIT;
        while Instant::now() < deadline {
            if let Answer::Nodes(nodes) = client.ask(Query::Nodes).await?
                && nodes.iter().any(|status| status.node == key && status.jobs_done == 0)
            {
                return Ok(());
            }
            self.expect_running()?;
            tokio::time::sleep(POLL).await;
        }
        bail!("the node is not connected after {} s; its log:\n{}", READY_LIMIT.as_secs(), self.log())
    }

    /// Fails where the process has ended.
    pub(crate) fn expect_running(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the {} ended ({status}); its log:\n{}", self.name, self.log()),
        }
    }

    fn kill(&mut self) {
        // A child that ended by itself is only to be reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A new folder beside the programs, so on the disk that holds the build: durability on a `tmpfs` would cost nothing and mean
/// nothing.
pub(crate) fn scratch_folder() -> Result<TempDir> {
    let programs = programs_folder()?;
    tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in(&programs)
        .with_context(|| format!("cannot write to {}", programs.display()))
}

/// The program under test: `ADIT_BIN`, or `adit` beside this program.
fn adit(subcommand: &str) -> Result<Command> {
    let program = match std::env::var_os("ADIT_BIN") {
        Some(program) => PathBuf::from(program),
        None => programs_folder()?.join("adit"),
    };
    if !program.is_file() {
        bail!("{} is missing; next: cargo build --release -p adit-cli, or set ADIT_BIN", program.display());
    }
    let mut command = Command::new(program);
    command.arg(subcommand);
    Ok(command)
}

fn programs_folder() -> Result<PathBuf> {
    let program = std::env::current_exe().context("this program's own path is unknown")?;
    Ok(program.parent().context("a program lies in a folder")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn process_that_ends_before_it_is_ready_is_reported_with_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no room >&2; exit 3"]);
        let mut process = Process::spawn("gateway", &mut command, folder.path()).unwrap();
        let error = process.await_ready(&folder.path().join("ready")).await.unwrap_err().to_string();
        assert!(error.contains("the gateway ended (exit status: 3)") && error.contains("no room"), "{error}");
    }

    #[tokio::test]
    async fn dropped_process_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        // Opening a pipe for reading waits for its writer, and reading it to the end for the writer's death.
        let script = format!("exec sleep 600 > {}", pipe.display());
        let process = Process::spawn("sleeper", Command::new("sh").args(["-c", &script]), folder.path()).unwrap();
        let mut reader = File::open(&pipe).unwrap();
        drop(process);
        assert_eq!(std::io::copy(&mut reader, &mut std::io::sink()).unwrap(), 0);
    }
}
