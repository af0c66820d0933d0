//! `adit dev`: builds and runs a guest whenever its source changes, and tells what the change did to its bill.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use adit_protocol::{BlobRef, Digest, JobSpec, Outcome, Salt, Usage};
use anyhow::{Context, bail};
use clap::Args;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

use crate::args::{Common, GuestArgs, JobArgs, WorkArgs};
use crate::config::Config;
use crate::exit::{Exit, InterruptedError, usage};
use crate::local;
use crate::node;
use crate::quantity::show_bytes;
use crate::reactor::{StopSignals, block_on};
use crate::report::End;
use crate::screen::{Screen, show_error};
use crate::sink::{AtomicFile, Sink};
use crate::spec::{Start, Submission, Terms};
use crate::visible::visible;

/// How often the source is looked at. A build takes longer than that.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Folders that builds write to, and hidden ones: what changes there is not the author's doing.
const OUTPUTS: [&str; 3] = ["target", "zig-out", "node_modules"];
/// Files that are looked at; a folder of more is no guest's.
const FILES_MAX: usize = 20_000;

/// Build and run a guest at each change of its source, and tell what the change did to its bill
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  adit dev --input book.txt
  adit dev hello --input book.txt --fuel 50G -- --depth 3
  adit dev hello --once                          # build and run once; the exit code is the run's

Each run is one of `adit run --local`, with the guest's clock at 1970 unless --time says otherwise. Fuel and peak memory are told with what
they were at the last run of the same job: input, named inputs, arguments, variables, limits, seed. That is kept in ~/.cache/adit/dev. What
the compiler says is shown, and the next change is waited for; one that comes while the guest runs ends that run. Ctrl-C ends it all, and
whatever was started.")]
pub(crate) struct DevArgs {
    /// The guest's folder
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Arguments of the guest, after those of --arg
    #[arg(last = true, value_name = "ARGS")]
    trailing: Vec<String>,
    /// What the guest reads: a file, which is looked at for changes too [default: nothing]
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Which module to run, by its name without .wasm, where the folder makes several
    #[arg(long, value_name = "NAME")]
    module: Option<String>,
    /// Build and run once, and end
    #[arg(long)]
    once: bool,
    /// Run even where the kernel lacks a part of the sandbox, Landlock or seccomp [env: ADIT_ALLOW_WEAK_SANDBOX]
    #[arg(long)]
    allow_weak_sandbox: bool,
    #[command(flatten)]
    guest: GuestArgs,
}

pub(crate) fn run(args: &DevArgs, common: &Common) -> anyhow::Result<Exit> {
    let config = common.load_config()?;
    if args.input.as_deref() == Some(Path::new("-")) {
        return Err(usage("standard input can be read only once; put it into a file for --input"));
    }
    if !args.dir.is_dir() {
        return Err(usage(format!("{} is no folder; name a guest's", args.dir.display())));
    }
    let allow_weak_sandbox = node::allows_weak_sandbox(&config, args.allow_weak_sandbox)?;
    let terms = Terms::read(&JobArgs::here(args.guest.clone()), &config)?;
    let mut screen = Screen::new(common.quiet);
    let bench = Bench { args, config: &config, terms: &terms, allow_weak_sandbox };
    block_on(async {
        if args.once {
            return bench.once(&mut screen).await;
        }
        bench.watch(&mut screen).await
    })
}

/// What every build and run has in common.
struct Bench<'a> {
    args: &'a DevArgs,
    config: &'a Config,
    terms: &'a Terms,
    allow_weak_sandbox: bool,
}

impl Bench<'_> {
    /// Builds and runs until somebody stops it.
    async fn watch(&self, screen: &mut Screen) -> anyhow::Result<Exit> {
        let mut signals = StopSignals::listen()?;
        loop {
            // Before the build, so that what changes while it runs is not missed.
            let seen = self.look()?;
            match self.turn(&seen, screen).await {
                // A run that is stopped says so in its summary.
                Ok(Some(Exit::Cancelled)) => return Ok(Exit::Success),
                Ok(Some(_)) => {}
                Ok(None) => {
                    screen.finish();
                    screen.note("the source has changed, so this run is of no use any more");
                    continue;
                }
                Err(error) if error.is::<InterruptedError>() => return Ok(Exit::Success),
                // A folder that is wrong as a whole does not become right by waiting; a program that does not compile does.
                Err(error) if Exit::of_error(&error) == Exit::Usage => return Err(error),
                Err(error) => show_error(&error),
            }
            screen.note("waiting for a change; Ctrl-C ends this");
            tokio::select! {
                () = signals.next() => return Ok(Exit::Success),
                changed = self.change(&seen) => changed?,
            }
        }
    }

    async fn once(&self, screen: &mut Screen) -> anyhow::Result<Exit> {
        let module = self.build().await?;
        self.run(module, screen).await
    }

    /// Builds and runs, unless what there is to build is no longer what was `seen`: a guest without an end must not keep its author from the
    /// next one. A build ends by itself, and what it writes must not end it.
    async fn turn(&self, seen: &Files, screen: &mut Screen) -> anyhow::Result<Option<Exit>> {
        let module = self.build().await?;
        tokio::select! {
            exit = self.run(module, screen) => exit.map(Some),
            changed = self.change(seen) => changed.map(|()| None),
        }
    }

    /// Waits until the source is no longer what was `seen`.
    async fn change(&self, seen: &Files) -> anyhow::Result<()> {
        while self.look()? == *seen {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    async fn run(&self, module: PathBuf, screen: &mut Screen) -> anyhow::Result<Exit> {
        let work = WorkArgs { module, trailing: self.args.trailing.clone(), input: self.args.input.clone() };
        // At one time, so that only what changed has changed the bill.
        let submitted = Submission::of_work(&work, self.terms, self.config, Start::Epoch)?;
        let sink = Sink::new(None, false);
        let module = &work.module;
        let end = local::run(&submitted, module, &sink, self.config, self.allow_weak_sandbox, screen).await?;
        screen.summary(visible(&end.summary(Some(self.terms.limits()))), end.outcome.is_success());
        if end.outcome != Outcome::Cancelled {
            let record = Record::open(&self.config.dirs.cache, &self.args.dir, module, &submitted.job.spec)?;
            screen.note(compare(record.last(), &end));
            record.keep(&end.usage)?;
        }
        Ok(end.exit())
    }

    /// Has `adit build` build the folder, in a process group of its own: whatever it starts is stopped with it.
    async fn build(&self) -> anyhow::Result<PathBuf> {
        let mut signals = StopSignals::listen()?;
        let program = std::env::current_exe().context("this program's own file")?;
        let mut command = Command::new(program);
        command.arg("build").arg(&self.args.dir).arg("--json").stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
        let mut group = Group(command.spawn().context("`adit build` does not start")?);
        let mut said = String::new();
        let mut output = group.0.stdout.take().expect("a piped standard output is there");
        let status = tokio::select! {
            status = async { output.read_to_string(&mut said).await?; group.0.wait().await } => status.context("`adit build`")?,
            () = signals.next() => return Err(InterruptedError("left the build".to_owned()).into()),
        };
        match status.code() {
            Some(0) => self.choose(&said),
            Some(2) => Err(usage(format!("{} cannot be built", self.args.dir.display()))),
            // It has said why.
            _ => bail!("not built"),
        }
    }

    /// The module to run, of those that the build made.
    fn choose(&self, said: &str) -> anyhow::Result<PathBuf> {
        let objects = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let paths: Vec<PathBuf> = objects.filter_map(|object| object["path"].as_str().map(PathBuf::from)).collect();
        let name = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let wanted = |path: &&PathBuf| self.args.module.as_ref().is_none_or(|wanted| *wanted == name(path));
        let found: Vec<&PathBuf> = paths.iter().filter(wanted).collect();
        match found[..] {
            [path] => Ok(path.clone()),
            _ => {
                let names: Vec<String> = paths.iter().map(|path| name(path)).collect();
                Err(usage(format!("say which module to run with --module: {}", names.join(", "))))
            }
        }
    }

    /// What the source and the inputs look like now.
    fn look(&self) -> anyhow::Result<Files> {
        let mut look = Look::default();
        look.at(self.args.dir.clone());
        let named = self.args.guest.with.iter().map(|file| &file.path);
        self.args.input.iter().chain(named).for_each(|file| look.at(file.clone()));
        if look.files.len() > FILES_MAX {
            let dir = self.args.dir.display();
            return Err(usage(format!("{dir} has over {FILES_MAX} files, with what its links lead to; name a guest's folder")));
        }
        Ok(look.files)
    }
}

/// Files, each with its time and size.
type Files = BTreeMap<PathBuf, (SystemTime, u64)>;

/// A look at files. Links are followed, as a compiler follows them.
#[derive(Debug, Default)]
struct Look {
    files: Files,
    /// The folders that were looked into, by device and number: a link may lead back to where it is.
    folders: BTreeSet<(u64, u64)>,
}

impl Look {
    /// Looks into a folder.
    fn inside(&mut self, folder: &Path) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            // A lock file is written by the build.
            if !(name.starts_with('.') || OUTPUTS.contains(&&*name) || name == "Cargo.lock" || self.files.len() > FILES_MAX) {
                self.at(entry.path());
            }
        }
    }

    /// Looks at whatever is there; what is gone again is not.
    fn at(&mut self, path: PathBuf) {
        let Ok(metadata) = path.metadata() else { return };
        if metadata.is_dir() && self.folders.insert((metadata.dev(), metadata.ino())) {
            self.inside(&path);
        } else if metadata.is_file()
            && let Ok(modified) = metadata.modified()
        {
            self.files.insert(path, (modified, metadata.len()));
        }
    }
}

/// A process that leads a group. Dropped before its end, all of the group is stopped.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // There while it has not been waited for, so that the number is nobody else's.
        if let Some(leader) = self.0.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// What the last run of the same job used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Used {
    fuel: u64,
    memory_peak: u64,
}

/// Where that is kept.
#[derive(Debug)]
struct Record(PathBuf);

impl Record {
    /// The record of a job: of all that it is asked, but for the module's bytes, whose change is what it is for, and the salt, which is
    /// drawn for each.
    fn open(cache: &Path, dir: &Path, module: &Path, spec: &JobSpec) -> anyhow::Result<Self> {
        let dir = std::fs::canonicalize(dir).with_context(|| dir.display().to_string())?;
        let name = module.file_name().unwrap_or_default();
        let asked = JobSpec { module: BlobRef::of(b""), salt: Salt([0; 32]), ..spec.clone() }.digest();
        let key = postcard::to_allocvec(&(dir.to_string_lossy(), name.to_string_lossy(), asked)).context("a key")?;
        Ok(Self(cache.join("dev").join(format!("{}.json", Digest::of(&key)))))
    }

    fn last(&self) -> Option<Used> {
        serde_json::from_slice(&std::fs::read(&self.0).ok()?).ok()
    }

    fn keep(&self, usage: &Usage) -> anyhow::Result<()> {
        let folder = self.0.parent().expect("a record is in a folder");
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let used = Used { fuel: usage.fuel.0, memory_peak: usage.memory_peak.0 };
        AtomicFile::write(&self.0, &serde_json::to_vec(&used).context("a record")?)
    }
}

/// Fuel and peak memory, before and after.
fn compare(before: Option<Used>, end: &End) -> String {
    let Usage { fuel, memory_peak, .. } = end.usage;
    let Some(before) = before else { return format!("fuel {}, peak {}; the first run", fuel.0, show_bytes(memory_peak)) };
    format!(
        "fuel {} -> {} ({}), peak {} -> {} ({})",
        before.fuel,
        fuel.0,
        change(before.fuel, fuel.0),
        show_bytes(adit_protocol::ByteCount(before.memory_peak)),
        show_bytes(memory_peak),
        change(before.memory_peak, memory_peak.0),
    )
}

/// A difference, and what part it is of what was before.
fn change(before: u64, after: u64) -> String {
    if before == after {
        return "the same".to_owned();
    }
    let difference = i128::from(after) - i128::from(before);
    match before {
        0 => format!("{difference:+}"),
        before => format!("{difference:+}, {:+.2} %", difference as f64 * 100.0 / before as f64),
    }
}

#[cfg(test)]
mod tests {
    use adit_client::{Job, Source};
    use adit_protocol::{Profile, UnixMillis};

    use super::*;

    #[test]
    fn change_is_told_with_its_sign_and_its_part() {
        assert_eq!(change(1_000, 900), "-100, -10.00 %");
        assert_eq!(change(1_000, 1_001), "+1, +0.10 %");
        assert_eq!(change(7, 7), "the same");
        assert_eq!(change(0, 7), "+7");
        assert_eq!(change(u64::MAX, 0), format!("-{}, -100.00 %", u64::MAX));
    }

    #[test]
    fn what_builds_write_is_not_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        for file in
            ["src/main.rs", "Cargo.toml", "Cargo.lock", "target/x.wasm", ".git/index", ".zig-cache/x", "a/target/y", "a/b"]
        {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let mut look = Look::default();
        look.inside(dir.path());
        let names: Vec<PathBuf> = look.files.into_keys().map(|path| path.strip_prefix(dir.path()).unwrap().to_owned()).collect();
        assert_eq!(names, ["Cargo.toml", "a/b", "src/main.rs"].map(PathBuf::from));
    }

    #[test]
    fn links_to_sources_are_followed_and_end() {
        let (dir, shared) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(shared.path().join("lib.c"), "").unwrap();
        std::fs::write(shared.path().join("main.c"), "").unwrap();
        let link = |to: PathBuf, from: PathBuf| std::os::unix::fs::symlink(to, from).unwrap();
        link(shared.path().to_owned(), dir.path().join("src"));
        link(shared.path().join("main.c"), dir.path().join("main.c"));
        link(dir.path().to_owned(), shared.path().join("back"));
        link("nowhere".into(), dir.path().join("broken"));
        let mut look = Look::default();
        look.at(dir.path().to_owned());
        let names: Vec<PathBuf> = look.files.keys().map(|path| path.strip_prefix(dir.path()).unwrap().to_owned()).collect();
        assert_eq!(names, ["main.c", "src/lib.c", "src/main.c"].map(PathBuf::from));
        std::fs::write(shared.path().join("lib.c"), "changed").unwrap();
        let mut again = Look::default();
        again.at(dir.path().to_owned());
        assert_ne!(again.files, look.files);
    }

    #[test]
    fn a_record_is_of_one_job_whatever_its_module_is() {
        let record = |change: fn(&mut JobSpec)| {
            let mut spec = Job::new(Source::bytes(b"one".to_vec()), Source::bytes(Vec::new())).spec;
            spec.time = UnixMillis(0);
            change(&mut spec);
            Record::open(Path::new("cache"), Path::new("."), Path::new("job.wasm"), &spec).unwrap().0
        };
        let before = record(|_| {});
        assert_eq!(record(|spec| spec.module = BlobRef::of(b"another")), before);
        let changes: [fn(&mut JobSpec); 6] = [
            |spec| spec.seed = 1,
            |spec| spec.env.push(("A".into(), "b".into())),
            |spec| spec.args.push("x".into()),
            |spec| spec.input = BlobRef::of(b"read"),
            |spec| spec.profile = Profile::Open,
            |spec| spec.limits.memory.0 += 1,
        ];
        for (number, change) in changes.into_iter().enumerate() {
            assert_ne!(record(change), before, "{number}");
        }
    }
}
