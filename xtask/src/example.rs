//! `cargo xtask example NAME`: an application of `examples/`, on a network of its own on loopback.

use std::ffi::OsString;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::minilm;
use crate::network::{Network, stop_on_signal};
use crate::process::{self, StopOnDrop, say};
use crate::wasm;
use crate::workspace::Workspace;

const NODES: usize = 3;

/// Which application, and what its client is told beside.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) name: String,
    pub(crate) args: Vec<OsString>,
}

/// An application: a guest, and a client that puts its jobs to the network.
struct Application {
    name: &'static str,
    /// What it does, in a line.
    about: &'static str,
    /// The package of its client, and the program there.
    package: &'static str,
    program: &'static str,
    /// Its guest's module.
    module: &'static str,
    /// Fetches what the client needs and says with which arguments it finds that. What the client writes goes to the folder.
    prepare: fn(&Workspace, &Path) -> Result<Vec<OsString>>,
}

/// What is looked for in the project's own documents.
const QUESTIONS: [&str; 2] =
    ["How much memory does a node need that has no work?", "Can I check a bill without trusting the gateway?"];

const APPLICATIONS: [Application; 5] = [
    Application {
        name: "analytics",
        about: "groups and quantiles of a million sensor readings in Parquet and CSV",
        package: "adit-example-analytics-client",
        program: "adit-analytics",
        module: "analytics.wasm",
        prepare: |_, _| Ok(Vec::new()),
    },
    Application {
        name: "blockchain",
        about: "Bitcoin's headers, blocks and signatures, checked in batches",
        package: "adit-example-blockchain-client",
        program: "adit-blockchain",
        module: "blockchain.wasm",
        prepare: |workspace, _| Ok(vec!["--data".into(), workspace.root.join("examples/blockchain/data").into()]),
    },
    Application {
        name: "rendering",
        about: "a film in tiles, by a path tracer",
        package: "adit-example-render",
        program: "adit-render",
        module: "pathtracer.wasm",
        prepare: |_, folder| {
            let film = "--size 320x180 --tile 60 --frames 12 --samples 48 --noise 10";
            let mut args: Vec<OsString> = film.split(' ').map(OsString::from).collect();
            args.extend(["--out-dir".into(), folder.into(), "--preview".into(), folder.join("preview.png").into()]);
            Ok(args)
        },
    },
    Application {
        name: "inference",
        about: "embeddings of texts by a language model, and a search by meaning",
        package: "adit-example-inference-client",
        program: "adit-inference",
        module: "inference.wasm",
        prepare: prepare_inference,
    },
    Application {
        name: "training",
        about: "a network that learns to read handwritten digits, by gradients from nodes",
        package: "adit-example-training-client",
        program: "adit-training",
        module: "training.wasm",
        prepare: |workspace, folder| {
            let digits = workspace.root.join("examples/training/data/digits.csv.gz");
            Ok(vec!["--digits".into(), digits.into(), "--out".into(), folder.join("curve.svg").into()])
        },
    },
];

/// Builds the application and plays it.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let application = find(&options.name)?;
    let guests = wasm::build_guests(workspace)?;
    say("building adit and the application's client; the first time takes minutes");
    // One after the other: together they would have other features in common for each application, and so other builds of all they share.
    for package in ["adit-cli", application.package] {
        process::run(workspace.cargo().args(["build", "-p", package]), "mend what the compiler says")?;
    }
    let folder = workspace.target.join("examples").join(application.name);
    let network = Network::prepare(workspace.target.join("debug"), folder.join("network"), NODES)?;
    let args = (application.prepare)(workspace, &folder)?;
    let start = Instant::now();
    application.play(&network, &guests, args.iter().chain(&options.args))?;
    say(format!(
        "{} ended after {:.1} s; what it made is in {}",
        application.name,
        start.elapsed().as_secs_f64(),
        folder.display()
    ));
    Ok(())
}

impl Application {
    /// Runs the client on the network, which ends with it.
    fn play<'a>(&self, network: &Network, guests: &Path, args: impl Iterator<Item = &'a OsString>) -> Result<()> {
        let _stop = StopOnDrop(network.family().clone());
        let interrupted = stop_on_signal(network.family().clone())?;
        let gateway = network.start()?;
        let mut client = network.program(self.program);
        client.args(["--gateway", &gateway, "--wait-nodes", &NODES.to_string()]);
        client.arg("--module").arg(guests.join(self.module)).args(args);
        network.family().spawn_shown(self.program, &mut client)?;
        let ended = network.family().wait(self.program);
        if interrupted.load(Ordering::SeqCst) {
            bail!("interrupted");
        }
        ended.with_context(|| network.logs(&format!("{} failed", self.program)))
    }
}

/// The model, and the project's documents with questions about them.
fn prepare_inference(workspace: &Workspace, _: &Path) -> Result<Vec<OsString>> {
    let model = minilm::fetch(workspace)?;
    let mut args = vec!["--model".into(), model.into(), "--texts".into(), workspace.root.join("docs").into()];
    args.extend(QUESTIONS.iter().flat_map(|question| ["--question".into(), question.into()]));
    Ok(args)
}

fn find(name: &str) -> Result<&'static Application> {
    let found = APPLICATIONS.iter().find(|application| application.name == name);
    found.with_context(|| format!("`{name}` is not an application; there are:\n{}", list()))
}

/// The applications, a line each.
pub(crate) fn list() -> String {
    APPLICATIONS.iter().map(|application| format!("  {:<12} {}\n", application.name, application.about)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{ADIT_SCRIPT, played_by_scripts};

    const APPLICATION: Application = Application {
        name: "counting",
        about: "counts",
        package: "adit-example-count",
        program: "adit-count",
        module: "count.wasm",
        prepare: |_, _| Ok(Vec::new()),
    };

    #[test]
    fn client_is_told_gateway_nodes_module_and_its_own_arguments() {
        let script = r#"echo "$@" > "$(dirname "$0")/told""#;
        let (folder, network) = played_by_scripts("example", NODES, &[("adit", ADIT_SCRIPT), ("adit-count", script)]);
        APPLICATION.play(&network, Path::new("/guests"), [OsString::from("--fast")].iter()).unwrap();
        let told = std::fs::read_to_string(folder.join("told")).unwrap();
        assert_eq!(told, "--gateway 127.0.0.1:7#ab --wait-nodes 3 --module /guests/count.wasm --fast\n");
        assert!(network.family().expect_running("gateway").is_err(), "the network ends with the client");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn failed_client_is_told_with_the_logs_of_the_network() {
        let (folder, network) = played_by_scripts("example-fails", 1, &[("adit", ADIT_SCRIPT), ("adit-count", "exit 4")]);
        let error = format!("{:#}", APPLICATION.play(&network, Path::new("/guests"), [].iter()).unwrap_err());
        assert!(error.contains("adit-count failed") && error.contains("(exit code 4)"), "{error}");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn help_names_every_application() {
        assert!(crate::help::text(Some("example")).unwrap().contains(&list()));
    }

    #[test]
    fn unknown_name_is_told_which_there_are() {
        let error = find("cooking").err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("`cooking`") && error.contains("rendering"), "{error}");
    }
}
