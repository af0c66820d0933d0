//! A network on this machine: a gateway, nodes and users, each in folders of their own, on ports of their own.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use adit_client::Client;
use adit_protocol::{Answer, NodeStatus, PublicKey, Query, SecretKey};
use adit_relay::{Path as Way, Relay};
use adit_transport::{GatewayAddr, load_key_file, load_or_create_key_file};
use tempfile::TempDir;

use crate::process::{LOOK_EVERY, PATIENCE, Process, Ran, has_strace};

/// A user's home: a folder with nothing in it, and the program run from it.
pub(crate) struct Home(TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file.
    pub(crate) fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Bytes of all files in a folder and below.
    pub(crate) fn folder_bytes(&self, name: &str) -> u64 {
        folder_bytes(&self.path(name))
    }

    /// The program with these arguments.
    pub(crate) fn adit(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Adit {
        let mut command = Command::new(env!("CARGO_BIN_EXE_adit"));
        self.settle(&mut command);
        command.args(args);
        Adit { command, input: Vec::new() }
    }

    /// As [`Home::adit`], in an address space of so many gibibytes.
    pub(crate) fn adit_within(&self, gibibytes: u64, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Adit {
        let mut command = Command::new("/bin/sh");
        self.settle(&mut command);
        let limited = format!("ulimit -v {} && exec \"$0\" \"$@\"", gibibytes << 20);
        command.args(["-c", &limited, env!("CARGO_BIN_EXE_adit")]).args(args);
        Adit { command, input: Vec::new() }
    }

    /// Makes this folder all that a command knows of its user: it finds no other config, cache, key or gateway.
    pub(crate) fn settle(&self, command: &mut Command) {
        command.env_clear().env("HOME", self.0.path()).env("RUST_BACKTRACE", "1").current_dir(self.0.path());
        for variable in ["PATH", "TMPDIR", "LLVM_PROFILE_FILE"] {
            command.envs(std::env::var_os(variable).map(|value| (variable, value)));
        }
        for (variable, folder) in
            [("XDG_CONFIG_HOME", "config"), ("XDG_CACHE_HOME", "cache"), ("XDG_DATA_HOME", "data"), ("XDG_STATE_HOME", "state")]
        {
            command.env(variable, self.path(folder));
        }
        // On a machine that does other things beside, a test shall wait for its own jobs alone.
        command.env("ADIT_NODE_PRIORITY", "normal");
    }
}

/// A run of the program that has not begun.
pub(crate) struct Adit {
    command: Command,
    input: Vec<u8>,
}

impl Adit {
    pub(crate) fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(args);
        self
    }

    pub(crate) fn env(mut self, variable: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(variable, value);
        self
    }

    /// Lets it write in no file behind so many half kibibytes from the beginning.
    pub(crate) fn with_files_of(self, halves: u64) -> Self {
        let limited = format!("ulimit -f {halves} && exec \"$0\" \"$@\"");
        self.run_by("/bin/sh", &["-c".as_ref(), limited.as_ref()])
    }

    /// Has strace write to a file which of these calls it makes, in all of its threads. Nothing where [`has_strace`] says that there is none.
    pub(crate) fn traced(self, calls: &str, file: &Path) -> Option<Self> {
        let traced = format!("trace={calls}");
        let args = ["--follow-forks", "--quiet=all", "-e", &traced, "--output"].map(OsStr::new);
        has_strace().then(|| self.run_by("strace", &[&args[..], &[file.as_os_str()]].concat()))
    }

    /// Has it see a folder as on a file system that is mounted read-only. Nothing where the system lets nobody mount.
    pub(crate) fn with_read_only(self, folder: &Path) -> Option<Self> {
        let mounted = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" && exec \"$@\"";
        let args = ["--map-root-user", "--mount", "/bin/sh", "-c", mounted].map(OsStr::new);
        let args = [&args[..], &[folder.as_os_str()]].concat();
        let may_mount = Command::new("unshare").args(&args).arg("true").output().is_ok_and(|output| output.status.success());
        if !may_mount {
            eprintln!("left out: unshare does not mount a folder read-only");
        }
        may_mount.then(|| self.run_by("unshare", &args))
    }

    /// Has another program run it, which is given it behind `args`.
    fn run_by(mut self, program: &str, args: &[&OsStr]) -> Self {
        let mut command = Command::new(program);
        command.env_clear().envs(self.command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.current_dir(self.command.get_current_dir().expect("a home"));
        command.args(args).arg(self.command.get_program()).args(self.command.get_args());
        self.command = command;
        self
    }

    /// What it reads from standard input.
    pub(crate) fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    pub(crate) fn start(self) -> Process {
        Process::start(self.command, self.input)
    }

    /// Starts it with a standard output that is the test's own to read.
    pub(crate) fn start_into(self, stdout: impl Into<Stdio>) -> Process {
        Process::start_into(self.command, self.input, stdout.into())
    }

    /// Starts it on a terminal, whose content is its standard output.
    pub(crate) fn start_on_terminal(mut self) -> Process {
        self.command.env("TERM", "xterm");
        Process::start_on_terminal(self.command)
    }

    /// Runs it to its end on a terminal.
    #[track_caller]
    pub(crate) fn run_on_terminal(self) -> Ran {
        self.start_on_terminal().wait()
    }

    /// Runs it to its end.
    #[track_caller]
    pub(crate) fn run(self) -> Ran {
        self.start().wait()
    }
}

/// What a gateway is told so that nobody has to be granted credits.
pub(crate) const WELCOME: [&str; 2] = ["--welcome", "1000000"];

/// A gateway's process.
pub(crate) struct Gateway {
    pub(crate) process: Process,
    pub(crate) address: GatewayAddr,
}

impl Gateway {
    /// Starts a gateway over the data and the key in `home`, and waits until it is ready.
    #[track_caller]
    pub(crate) fn start(home: &Home, listen: &str) -> Self {
        Self::start_with(home, listen, &WELCOME)
    }

    /// As [`Gateway::start`], with further arguments.
    #[track_caller]
    pub(crate) fn start_with(home: &Home, listen: &str, args: &[&str]) -> Self {
        let process = Self::command(home, listen).args(args).start();
        let address = process.stdout.wait_for_line("").parse().unwrap();
        Self { process, address }
    }

    /// The command that [`Gateway::start`] runs.
    pub(crate) fn command(home: &Home, listen: &str) -> Adit {
        home.adit(["gateway", "--listen", listen, "--log-listen", "127.0.0.1:0"]).args([
            OsStr::new("--data"),
            home.path("gateway").as_os_str(),
            OsStr::new("--key"),
            home.path("gateway.key").as_os_str(),
        ])
    }
}

/// A node's process.
pub(crate) struct Node {
    pub(crate) process: Process,
    pub(crate) key: PublicKey,
}

/// A gateway, its nodes, and one user, whose home is the home of all.
pub(crate) struct Network {
    pub(crate) home: Home,
    pub(crate) gateway: Gateway,
    pub(crate) nodes: Vec<Node>,
}

impl Network {
    /// A gateway without nodes.
    #[track_caller]
    pub(crate) fn empty() -> Self {
        let home = Home::new();
        let gateway = Gateway::start(&home, "127.0.0.1:0");
        Self { home, gateway, nodes: Vec::new() }
    }

    /// A gateway that grants nobody anything, with these further arguments, and a node of one slot.
    #[track_caller]
    pub(crate) fn of_the_poor(args: &[&str]) -> Self {
        let home = Home::new();
        let gateway = Gateway::start_with(&home, "127.0.0.1:0", args);
        let mut network = Self { home, gateway, nodes: Vec::new() };
        network.add_node(&["--slots", "1"]);
        network
    }

    /// A gateway and for each number a node with so many slots, all connected.
    #[track_caller]
    pub(crate) fn with_slots(slots: &[u32]) -> Self {
        let mut network = Self::empty();
        for slots in slots {
            network.add_node(&["--slots", &slots.to_string()]);
        }
        network
    }

    /// Starts a node with these arguments, and waits until it is connected.
    #[track_caller]
    pub(crate) fn add_node(&mut self, args: &[&str]) {
        let name = format!("node-{}", self.nodes.len());
        self.start_node(&name, args);
    }

    /// Starts the node of this name, as it was before if there was one, and waits until it is connected.
    #[track_caller]
    pub(crate) fn start_node(&mut self, name: &str, args: &[&str]) {
        self.start_node_to(name, &self.gateway.address.clone(), args);
    }

    /// A relay before this gateway.
    pub(crate) fn relay(&self, seed: u64) -> Relay {
        Relay::new(self.gateway.address.host.parse().unwrap(), seed).unwrap()
    }

    /// This gateway, at the end of a relay's way.
    pub(crate) fn over(&self, way: &Way) -> GatewayAddr {
        GatewayAddr { host: way.addr().to_string(), key: self.gateway.address.key }
    }

    /// As [`Network::add_node`], at the end of a relay's way. Which of the nodes it is.
    #[track_caller]
    pub(crate) fn add_node_over(&mut self, way: &Way, args: &[&str]) -> PublicKey {
        let name = format!("node-{}", self.nodes.len());
        self.start_node_to(&name, &self.over(way), args);
        self.nodes[self.nodes.len() - 1].key
    }

    #[track_caller]
    fn start_node_to(&mut self, name: &str, gateway: &GatewayAddr, args: &[&str]) {
        let (cache, key) = (self.home.path(name), self.home.path(format!("{name}.key")));
        let command = self.home.adit(["node", "--gateway", &gateway.to_string()]).args(args);
        let process = command.args([OsStr::new("--cache"), cache.as_os_str(), OsStr::new("--key"), key.as_os_str()]).start();
        process.stderr.wait_for_text("connected to");
        self.nodes.push(Node { process, key: load_key_file(&key).unwrap().public() });
    }

    /// The node with this key.
    pub(crate) fn node_of(&self, key: PublicKey) -> &Process {
        &self.nodes[self.index_of(key)].process
    }

    /// As [`Network::node_of`], and it is no part of the network any more.
    pub(crate) fn take_node(&mut self, key: PublicKey) -> Process {
        let index = self.index_of(key);
        self.nodes.remove(index).process
    }

    fn index_of(&self, key: PublicKey) -> usize {
        self.nodes.iter().position(|node| node.key == key).expect("the node is one of ours")
    }

    /// The program with these arguments, and with the way to this gateway in its environment.
    pub(crate) fn adit(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Adit {
        self.home.adit(args).env("ADIT_GATEWAY", self.gateway.address.to_string())
    }

    /// `adit run` of a module.
    pub(crate) fn run(&self, module: &[u8]) -> Adit {
        self.adit(["run"]).args([self.module(module)])
    }

    /// A file with this module.
    pub(crate) fn module(&self, module: &[u8]) -> PathBuf {
        self.home.file(&format!("{}.wasm", adit_protocol::Digest::of(module)), module)
    }

    /// A connection with the library, as the same user as the command line.
    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.key(), self.gateway.address.clone()).await.unwrap()
    }

    /// The user's key.
    pub(crate) fn key(&self) -> SecretKey {
        load_or_create_key_file(&self.home.path("config/adit/client.key")).unwrap()
    }

    /// Kills the gateway without a word, and starts it again on the same data and the same port.
    #[track_caller]
    pub(crate) fn restart_gateway(&mut self) {
        self.gateway.process.kill_in_place();
        self.gateway = Gateway::start(&self.home, &self.gateway.address.host);
    }
}

/// Asks for the connected nodes until `look` is content with them.
pub(crate) async fn nodes_until(client: &Client, look: impl Fn(&[NodeStatus]) -> bool) -> Vec<NodeStatus> {
    let asking = async {
        loop {
            if let Ok(Answer::Nodes(nodes)) = client.ask(Query::Nodes).await
                && look(&nodes)
            {
                return nodes;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("the nodes never were as expected")
}

/// A file that goes away meanwhile counts for nothing.
fn folder_bytes(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let sizes = entries.filter_map(Result::ok).map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => folder_bytes(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    sizes.sum()
}
