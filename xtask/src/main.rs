//! Every chore of the project: `cargo xtask COMMAND`. Each command says what it does before it does it, and does nothing the
//! second time. It has few dependencies, so that it builds in seconds.
#![forbid(unsafe_code)]

mod apt;
mod bench;
mod ci;
mod conformance;
mod cross;
mod demo;
mod example;
mod fuzz;
mod golden;
mod help;
mod minilm;
mod network;
mod process;
mod python;
mod sim;
mod strace;
mod strangers;
mod templates;
mod test;
mod vulkan;
mod wasm;
mod workspace;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use lexopt::{Arg, ValueExt};

use crate::workspace::Workspace;

fn main() -> ExitCode {
    match Invocation::parse(lexopt::Parser::from_env()).and_then(Invocation::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Invocation {
    Help(Option<String>),
    Setup,
    Guests,
    Test { runner_args: Vec<OsString> },
    Ci,
    Golden,
    Conformance(conformance::Options),
    Cross { target: String },
    Demo(demo::Options),
    Example(example::Options),
    ExampleHelp { name: String },
    Examples { size: example::Size },
    Bench(bench::Options),
    Fuzz(fuzz::Options),
    Sim { args: Vec<OsString> },
}

impl Invocation {
    fn parse(mut args: lexopt::Parser) -> Result<Self> {
        let command = match args.next()? {
            None | Some(Arg::Short('h') | Arg::Long("help")) => return Ok(Self::Help(None)),
            Some(Arg::Value(command)) => command.to_string_lossy().into_owned(),
            Some(other) => return Err(other.unexpected().into()),
        };
        // These hand their arguments on, so they look at them before lexopt does.
        if let "test" | "sim" | "example" = command.as_str() {
            return Self::hand_on(&command, args.raw_args()?.collect());
        }
        if command == "help" {
            let topic = args.next()?.map(|topic| topic_name(&topic)).transpose()?;
            return Ok(Self::Help(topic));
        }
        let (mut demo, mut bench) = (demo::Options::default(), bench::Options::default());
        let (mut conformance, mut target) = (conformance::Options::default(), None);
        let (mut fuzz, mut size) = (fuzz::Options::default(), example::Size::Whole);
        while let Some(arg) = args.next()? {
            match (command.as_str(), arg) {
                (_, Arg::Short('h') | Arg::Long("help")) => return Ok(Self::Help(Some(command))),
                ("demo", Arg::Long("size")) => demo.size = args.value()?.to_string_lossy().into_owned(),
                ("examples", Arg::Long("quick")) => size = example::Size::Quick,
                ("bench" | "calibrate", Arg::Long("json")) => bench.json = true,
                ("bench" | "calibrate", Arg::Long("quick")) => bench.quick = true,
                ("calibrate", Arg::Long("operators")) => bench.name = Some(bench::OF_OPERATORS.to_owned()),
                ("bench", Arg::Value(name)) if bench.name.is_none() => bench.name = Some(name.to_string_lossy().into_owned()),
                ("conformance", Arg::Long("compiler")) => conformance.compiler = Some(args.value()?.string()?),
                ("conformance", Arg::Long("opt-level")) => conformance.opt_level = Some(args.value()?.string()?),
                ("conformance", Arg::Long("wasi-testsuite")) => conformance.wasi_testsuite = Some(args.value()?),
                ("cross", Arg::Value(name)) if target.is_none() => target = Some(name.to_string_lossy().into_owned()),
                ("fuzz", Arg::Long("seconds")) => fuzz.seconds = Some(args.value()?.parse()?),
                ("fuzz", Arg::Long("check")) => fuzz.check = true,
                ("fuzz", Arg::Value(name)) if fuzz.target.is_none() => fuzz.target = Some(name.string()?),
                (
                    "setup" | "guests" | "ci" | "golden" | "conformance" | "cross" | "demo" | "examples" | "bench" | "calibrate"
                    | "fuzz",
                    other,
                ) => {
                    return Err(other.unexpected().into());
                }
                _ => break,
            }
        }
        match command.as_str() {
            "setup" => Ok(Self::Setup),
            "guests" => Ok(Self::Guests),
            "ci" => Ok(Self::Ci),
            "golden" => Ok(Self::Golden),
            "conformance" => Ok(Self::Conformance(conformance)),
            "cross" => Ok(Self::Cross {
                target: target.context("`cargo xtask cross` takes a processor, as in `cargo xtask cross aarch64`")?,
            }),
            "demo" => Ok(Self::Demo(demo)),
            "examples" => Ok(Self::Examples { size }),
            "bench" => Ok(Self::Bench(bench)),
            "fuzz" => Ok(Self::Fuzz(fuzz)),
            "calibrate" => Ok(Self::Bench(bench::Options { name: bench.name.or(Some(command)), ..bench })),
            _ => bail!("`{command}` is not a command; `cargo xtask help` lists them"),
        }
    }

    fn hand_on(command: &str, mut args: Vec<OsString>) -> Result<Self> {
        Ok(match args.first().and_then(|arg| arg.to_str()) {
            Some("-h" | "--help") => Self::Help(Some(command.to_owned())),
            _ if command == "sim" => Self::Sim { args },
            _ if command == "test" => Self::Test { runner_args: args },
            // The client has help of its own, but it is built with a network around it, which nobody asks for who wants to read.
            _ if command == "example"
                && args.iter().skip(1).take_while(|arg| *arg != "--").any(|arg| arg == "-h" || arg == "--help") =>
            {
                Self::ExampleHelp { name: args.swap_remove(0).to_string_lossy().into_owned() }
            }
            None => bail!("`cargo xtask example` takes an application's name; there are:\n{}", example::list()),
            Some(name) => {
                let name = name.to_owned();
                args.remove(0);
                Self::Example(example::Options { name, args })
            }
        })
    }

    fn run(self) -> Result<()> {
        if let Self::Help(topic) = self {
            return help::print(topic.as_deref());
        }
        let workspace = Workspace::load()?;
        match self {
            Self::Help(_) => Ok(()),
            Self::Setup => wasm::set_up(&workspace).and_then(|()| vulkan::set_up()).and_then(|()| strace::set_up()).map(drop),
            Self::Guests => {
                wasm::build_guests(&workspace)?;
                wasm::build_templates(&workspace)?;
                strangers::fetch(&workspace)
            }
            Self::Test { runner_args } => test::run(&workspace, &runner_args),
            Self::Ci => ci::run(&workspace),
            Self::Golden => golden::run(&workspace),
            Self::Conformance(options) => conformance::run(&workspace, &options),
            Self::Cross { target } => cross::run(&workspace, &target),
            Self::Demo(options) => demo::run(&workspace, &options),
            Self::Example(options) => example::run(&workspace, &options),
            Self::Examples { size } => example::run_all(&workspace, size),
            Self::ExampleHelp { name } => example::help(&workspace, &name),
            Self::Bench(options) => bench::run(&workspace, &options),
            Self::Fuzz(options) => fuzz::run(&workspace, &options),
            Self::Sim { args } => sim::run(&workspace, &args),
        }
    }
}

fn topic_name(arg: &Arg<'_>) -> Result<String> {
    match arg {
        Arg::Value(topic) => Ok(topic.to_string_lossy().into_owned()),
        _ => bail!("`cargo xtask help` takes the name of one command"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Invocation> {
        Invocation::parse(lexopt::Parser::from_args(line.split_whitespace()))
    }

    #[test]
    fn each_command_line_is_understood() {
        let help = |topic: &str| Invocation::Help(Some(topic.to_owned()));
        let bench =
            |name: Option<&str>, json| Invocation::Bench(bench::Options { name: name.map(str::to_owned), json, quick: false });
        let rows = [
            ("", Invocation::Help(None)),
            ("--help", Invocation::Help(None)),
            ("help demo", help("demo")),
            ("setup", Invocation::Setup),
            ("ci --help", help("ci")),
            ("golden", Invocation::Golden),
            ("test --help", help("test")),
            (
                "test -p adit-protocol --help",
                Invocation::Test { runner_args: ["-p", "adit-protocol", "--help"].map(OsString::from).to_vec() },
            ),
            ("demo", Invocation::Demo(demo::Options::default())),
            ("example --help", help("example")),
            (
                "example rendering --size 64x36",
                Invocation::Example(example::Options {
                    name: "rendering".to_owned(),
                    args: ["--size", "64x36"].map(OsString::from).to_vec(),
                }),
            ),
            ("examples", Invocation::Examples { size: example::Size::Whole }),
            ("examples --quick", Invocation::Examples { size: example::Size::Quick }),
            ("example rendering --help", Invocation::ExampleHelp { name: "rendering".to_owned() }),
            ("example inference --nodes 2 -h", Invocation::ExampleHelp { name: "inference".to_owned() }),
            ("demo --size 320x180", Invocation::Demo(demo::Options { size: "320x180".to_owned() })),
            ("conformance", Invocation::Conformance(conformance::Options::default())),
            (
                "conformance --compiler winch --opt-level none --wasi-testsuite ../suite",
                Invocation::Conformance(conformance::Options {
                    compiler: Some("winch".to_owned()),
                    opt_level: Some("none".to_owned()),
                    wasi_testsuite: Some(OsString::from("../suite")),
                }),
            ),
            ("cross aarch64", Invocation::Cross { target: "aarch64".to_owned() }),
            ("bench", bench(None, false)),
            ("bench bulk_in --json", bench(Some("bulk_in"), true)),
            ("bench --json bulk_in", bench(Some("bulk_in"), true)),
            ("calibrate --json", bench(Some("calibrate"), true)),
            ("calibrate --operators", bench(Some("operators"), false)),
            ("fuzz", Invocation::Fuzz(fuzz::Options::default())),
            ("sim --help", help("sim")),
            ("sim --seed 7 --trace", Invocation::Sim { args: ["--seed", "7", "--trace"].map(OsString::from).to_vec() }),
            (
                "fuzz meter --seconds 60",
                Invocation::Fuzz(fuzz::Options { target: Some("meter".to_owned()), seconds: Some(60), check: false }),
            ),
            ("fuzz --check", Invocation::Fuzz(fuzz::Options { check: true, ..fuzz::Options::default() })),
        ];
        for (line, want) in rows {
            assert_eq!(parse(line).unwrap(), want, "{line}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for line in [
            "tset",
            "ci --fast",
            "golden x",
            "setup now",
            "bench a b",
            "calibrate now",
            "demo --json",
            "examples rendering",
            "example",
            "conformance x",
            "cross",
            "cross a b",
            "fuzz a b",
            "--version",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn every_command_has_help_with_an_example() {
        for command in [
            "setup",
            "guests",
            "test",
            "ci",
            "golden",
            "conformance",
            "cross",
            "demo",
            "example",
            "examples",
            "bench",
            "calibrate",
            "fuzz",
            "sim",
        ] {
            let text = help::text(Some(command)).unwrap();
            assert!(text.contains(&format!("cargo xtask {command}")), "{command}");
            assert!(help::text(None).unwrap().contains(command), "{command}");
        }
        assert!(help::text(Some("tset")).is_err());
    }
}
