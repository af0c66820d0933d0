//! `cargo xtask example NAME`: an application of `examples/`, on a network of its own on loopback; `cargo xtask examples`: all of them.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
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

/// How much of its work an application does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    /// What its README tells of.
    Whole,
    /// As little as shows that it works.
    Quick,
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
    prepare: fn(&Workspace, &Path, Size) -> Result<Vec<OsString>>,
    /// What makes it do little.
    quick: &'static [&'static str],
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
        prepare: |_, _, _| Ok(Vec::new()),
        quick: &["--files", "2", "--rows", "1000"],
    },
    Application {
        name: "blockchain",
        about: "Bitcoin's headers, blocks and signatures, checked in batches",
        package: "adit-example-blockchain-client",
        program: "adit-blockchain",
        module: "blockchain.wasm",
        prepare: |workspace, _, _| Ok(vec!["--data".into(), workspace.root.join("examples/blockchain/data").into()]),
        quick: &[],
    },
    Application {
        name: "rendering",
        about: "a film in tiles, by a path tracer",
        package: "adit-example-render",
        program: "adit-render",
        module: "pathtracer.wasm",
        quick: &["--size", "64x36", "--frames", "2"],
        prepare: |_, folder, _| {
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
        quick: &[],
    },
    Application {
        name: "training",
        about: "a network that learns to read handwritten digits, by gradients from nodes",
        package: "adit-example-training-client",
        program: "adit-training",
        module: "training.wasm",
        quick: &["--epochs", "1"],
        prepare: |workspace, folder, _| {
            let digits = workspace.root.join("examples/training/data/digits.csv.gz");
            Ok(vec!["--digits".into(), digits.into(), "--out".into(), folder.join("curve.svg").into()])
        },
    },
];

/// Builds the application and plays it.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let application = find(&options.name)?;
    let guests = wasm::build_guests(workspace)?;
    application.build(workspace)?;
    application.run(workspace, &guests, Size::Whole, &options.args)
}

/// Plays all of them, one after the other.
pub(crate) fn run_all(workspace: &Workspace, size: Size) -> Result<()> {
    let guests = wasm::build_guests(workspace)?;
    match size {
        Size::Whole => APPLICATIONS.iter().try_for_each(|application| application.build(workspace))?,
        Size::Quick => build_with_tests(workspace)?,
    }
    let start = Instant::now();
    for application in &APPLICATIONS {
        application.run(workspace, &guests, size, &[])?;
    }
    say(format!("{} applications ended after {:.1} s", APPLICATIONS.len(), start.elapsed().as_secs_f64()));
    Ok(())
}

/// Builds all programs as the tests have them, so that little is left to build where these were run, as in `ci`.
fn build_with_tests(workspace: &Workspace) -> Result<()> {
    say("building adit and the clients");
    process::run(workspace.cargo().args(["build", "--workspace", "--bins", "--tests"]), "mend what the compiler says")
}

/// Prints what an application's client takes, for which the client alone is built.
pub(crate) fn help(workspace: &Workspace, name: &str) -> Result<()> {
    let application = find(name)?;
    println!("{}\n", application.introduction());
    say(format!("building {}", application.program));
    process::run(workspace.cargo().args(["build", "-p", application.package]), "mend what the compiler says")?;
    process::run(Command::new(workspace.target.join("debug").join(application.program)).arg("--help"), "see what it says")
}

impl Application {
    /// Builds what it is made of.
    fn build(&self, workspace: &Workspace) -> Result<()> {
        say(format!("building adit and the client of {}; the first time takes minutes", self.name));
        // One after the other: together they would have other features in common for each application, and so other builds of all they share.
        for package in ["adit-cli", self.package] {
            process::run(workspace.cargo().args(["build", "-p", package]), "mend what the compiler says")?;
        }
        Ok(())
    }

    /// Plays it, once it is built.
    fn run(&self, workspace: &Workspace, guests: &Path, size: Size, args: &[OsString]) -> Result<()> {
        let folder = workspace.target.join("examples").join(self.name);
        let network = Network::prepare(workspace.target.join("debug"), folder.join("network"), NODES)?;
        let mut all = (self.prepare)(workspace, &folder, size)?;
        if size == Size::Quick {
            all.extend(self.quick.iter().map(OsString::from));
        }
        all.extend(args.iter().cloned());
        let start = Instant::now();
        self.play(&network, guests, &all)?;
        let seconds = start.elapsed().as_secs_f64();
        say(format!("{} ended after {seconds:.1} s; what it made is in {}", self.name, folder.display()));
        Ok(())
    }

    /// What stands over the client's own help.
    fn introduction(&self) -> String {
        let Self { name, about, .. } = self;
        format!(
            "cargo xtask example {name}: {about}.\n\nBuilds the guest and the client, starts a gateway and {NODES} nodes on loopback, and gives what \
             follows the name to the client. --gateway,\n--wait-nodes, --module and what it reads are given already. The client:"
        )
    }

    /// Runs the client on the network, which ends with it.
    fn play(&self, network: &Network, guests: &Path, args: &[OsString]) -> Result<()> {
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

/// The model, and the project's documents with questions about them; or the small model of the tests, with few texts.
fn prepare_inference(workspace: &Workspace, _: &Path, size: Size) -> Result<Vec<OsString>> {
    let root = &workspace.root;
    let (model, texts) = match size {
        Size::Whole => (minilm::fetch(workspace)?, root.join("docs")),
        Size::Quick => (root.join("examples/inference/reference/tiny"), root.join("examples/inference")),
    };
    let mut args = vec!["--model".into(), model.into(), "--texts".into(), texts.into()];
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
        prepare: |_, _, _| Ok(Vec::new()),
        quick: &[],
    };

    #[test]
    fn client_is_told_gateway_nodes_module_and_its_own_arguments() {
        let script = r#"echo "$@" > "$(dirname "$0")/told""#;
        let (folder, network) = played_by_scripts("example", NODES, &[("adit", ADIT_SCRIPT), ("adit-count", script)]);
        APPLICATION.play(&network, Path::new("/guests"), &[OsString::from("--fast")]).unwrap();
        let told = std::fs::read_to_string(folder.join("told")).unwrap();
        assert_eq!(told, "--gateway 127.0.0.1:7#ab --wait-nodes 3 --module /guests/count.wasm --fast\n");
        assert!(network.family().expect_running("gateway").is_err(), "the network ends with the client");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn failed_client_is_told_with_the_logs_of_the_network() {
        let (folder, network) = played_by_scripts("example-fails", 1, &[("adit", ADIT_SCRIPT), ("adit-count", "exit 4")]);
        let error = format!("{:#}", APPLICATION.play(&network, Path::new("/guests"), &[]).unwrap_err());
        assert!(error.contains("adit-count failed") && error.contains("(exit code 4)"), "{error}");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn help_names_every_application() {
        assert!(crate::help::text(Some("example")).unwrap().contains(&list()));
    }

    #[test]
    fn introduction_names_the_application_and_what_it_does() {
        let text = find("analytics").map(Application::introduction).unwrap_or_default();
        assert!(text.contains("example analytics: groups and quantiles"), "{text}");
    }

    #[test]
    fn unknown_name_is_told_which_there_are() {
        let error = find("cooking").err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("`cooking`") && error.contains("rendering"), "{error}");
    }
}
