//! Guests in C and Zig: both compilers are in one program, `zig`, with the C library of the target.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use super::{Order, is_recent, stdout};
use crate::module::without_debug_information;

const TARGET: &str = "wasm32-wasi";
/// What every engine has that runs guests at all, and the features that make them fast.
const CPU: [&str; 2] = ["generic", "generic+simd128+wide_arithmetic"];
/// The stack of a guest, as rustc has it. Zig's own default is 16 MiB, each page of which a job pays for.
const STACK_BYTES: u32 = 1 << 20;
/// Where modules go, within the guest's folder.
const OUT: &str = "target";

/// How to get the version that the templates are written for.
const INSTALL: &str = "run `pip install ziglang==0.17.1`, or install it as https://ziglang.org/download says";

/// The program, as it is started.
#[derive(Debug)]
pub(super) struct Zig {
    way: &'static [&'static str],
    version: String,
}

impl Zig {
    /// Where it may be: on the path, or as a package of Python's.
    const WAYS: [&[&str]; 3] = [&["zig"], &["python3", "-m", "ziglang"], &["python", "-m", "ziglang"]];

    /// Finds it. One that is too old for the templates is taken where there is no other: what its author wrote for it, it may still compile.
    pub(super) fn find() -> anyhow::Result<Self> {
        let mut old = None;
        for way in Self::WAYS {
            let Some(version) = stdout(started(way).arg("version")) else { continue };
            let found = Self { way, version };
            if !found.is_old() {
                return Ok(found);
            }
            old = old.or(Some(found));
        }
        old.with_context(|| format!("C and Zig are compiled by zig, which is not here; {INSTALL}"))
    }

    /// Whether it is older than 0.17, in whose language the template is written, and whose names of processor features `adit build` says.
    fn is_old(&self) -> bool {
        !is_recent(&self.version, "0.17")
    }

    fn command(&self) -> Command {
        started(self.way)
    }

    /// Runs the compiler, whose words are for standard error: standard output is for what `adit build` says.
    fn run(&self, mut command: Command, what: &str) -> anyhow::Result<()> {
        let status = command.stdin(Stdio::null()).stdout(std::io::stderr()).stderr(Stdio::inherit()).status();
        if status.with_context(|| format!("{what} does not start"))?.success() {
            return Ok(());
        }
        let age = match self.is_old() {
            true => format!("; this is zig {}, and guests are built with 0.17 or later: {INSTALL}", self.version),
            false => String::new(),
        };
        bail!("{what} did not build it; mend what it says above{age}")
    }

    /// The program, with what it keeps for the next time in the guest's folder, wherever it is started.
    fn in_folder(&self, dir: &Path) -> Command {
        let mut command = self.command();
        if std::env::var_os("ZIG_LOCAL_CACHE_DIR").is_none()
            && let Ok(dir) = std::path::absolute(dir)
        {
            command.env("ZIG_LOCAL_CACHE_DIR", dir.join(OUT).join("zig-cache"));
        }
        command
    }

    /// Compiles, and returns the modules.
    pub(super) fn build(&self, source: &Source, order: Order<'_>) -> anyhow::Result<Vec<PathBuf>> {
        let cpu = CPU[usize::from(!order.portable)];
        match source {
            Source::C { files, include } => self.build_c(files, include, cpu, order),
            Source::Zig { main } => self.build_zig(main, cpu, order),
            Source::ZigProject => self.build_project(cpu, order),
        }
    }

    fn build_c(&self, files: &[PathBuf], include: &[PathBuf], cpu: &str, order: Order<'_>) -> anyhow::Result<Vec<PathBuf>> {
        let module = module_path(order.dir)?;
        let mut command = self.in_folder(order.dir);
        command.args(["cc", "--target=wasm32-wasi", "-O3", "-flto", "-DNDEBUG", "-Wall", "-Wextra"]);
        command.arg(format!("-Wl,-z,stack-size={STACK_BYTES}"));
        command.arg(format!("-mcpu={cpu}")).args(include.iter().map(|folder| format!("-I{}", folder.display())));
        command.arg("-o").arg(&module).args(files).args(order.compiler);
        self.run(command, "zig cc")?;
        strip(&module)?;
        Ok(vec![module])
    }

    fn build_zig(&self, main: &Path, cpu: &str, order: Order<'_>) -> anyhow::Result<Vec<PathBuf>> {
        let module = module_path(order.dir)?;
        let mut command = self.in_folder(order.dir);
        command.arg("build-exe").arg(main).args(["-target", TARGET, "-O", "ReleaseFast"]);
        command.args(["--stack", &STACK_BYTES.to_string()]);
        command.arg(format!("-mcpu={cpu}")).arg(format!("-femit-bin={}", module.display())).args(order.compiler);
        self.run(command, "zig build-exe")?;
        strip(&module)?;
        Ok(vec![module])
    }

    /// A project says itself what it makes; what it puts into its `bin` folder is looked through.
    fn build_project(&self, cpu: &str, order: Order<'_>) -> anyhow::Result<Vec<PathBuf>> {
        let out = order.dir.join(OUT);
        let bin = out.join("bin");
        // What an earlier build left there is not what this one makes.
        for old in modules_in(&bin) {
            std::fs::remove_file(&old).with_context(|| format!("cannot remove {}", old.display()))?;
        }
        let mut command = self.in_folder(order.dir);
        command.current_dir(order.dir).args(["build", "--prefix", OUT, "-Doptimize=ReleaseFast"]);
        command.arg(format!("-Dtarget={TARGET}")).arg(format!("-Dcpu={cpu}")).args(order.compiler);
        self.run(command, "zig build")?;
        let modules = modules_in(&bin);
        modules.iter().try_for_each(|module| strip(module))?;
        Ok(modules)
    }
}

/// What a folder holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// C: every file of the folder that `main.c` is in, and where headers are looked for.
    C { files: Vec<PathBuf>, include: Vec<PathBuf> },
    /// One file of Zig, and what it imports.
    Zig { main: PathBuf },
    /// A `build.zig`, with the standard options for target and optimisation.
    ZigProject,
}

impl Source {
    pub(super) fn find(dir: &Path) -> Option<Self> {
        if dir.join("build.zig").is_file() {
            return Some(Self::ZigProject);
        }
        let folders = [dir.join("src"), dir.to_owned()];
        if let Some(main) = folders.iter().map(|folder| folder.join("main.zig")).find(|main| main.is_file()) {
            return Some(Self::Zig { main });
        }
        let folder = folders.into_iter().find(|folder| folder.join("main.c").is_file())?;
        let include = [dir.join("include"), folder.clone()].into_iter().filter(|folder| folder.is_dir()).collect();
        Some(Self::C { files: files_in(&folder, "c"), include })
    }
}

/// Where the module of a folder goes: it has the folder's name.
fn module_path(dir: &Path) -> anyhow::Result<PathBuf> {
    let whole = std::fs::canonicalize(dir).with_context(|| dir.display().to_string())?;
    let name = whole.file_name().and_then(OsStr::to_str).unwrap_or("guest");
    let out = dir.join(OUT);
    std::fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    Ok(out.join(format!("{name}.wasm")))
}

/// A program and its first arguments.
fn started(way: &[&str]) -> Command {
    let mut command = Command::new(way[0]);
    command.args(&way[1..]);
    command
}

/// Takes out what only a debugger reads: most of a module that zig writes. Names stay, for traps and profiles tell of them.
fn strip(module: &Path) -> anyhow::Result<()> {
    let cannot = || module.display().to_string();
    let bytes = std::fs::read(module).with_context(cannot)?;
    let lean = without_debug_information(&bytes).with_context(|| format!("{} is no module", module.display()))?;
    std::fs::write(module, lean).with_context(cannot)
}

fn modules_in(folder: &Path) -> Vec<PathBuf> {
    files_in(folder, "wasm")
}

/// The files of a folder and of those within it that end in `.EXTENSION`, in the order of their names.
fn files_in(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    let take = |path: PathBuf| match path.extension() {
        _ if path.is_symlink() => Vec::new(),
        // Tests have a main function of their own, and outputs are no source.
        _ if path.is_dir() && !path.ends_with("test") && !path.ends_with(OUT) => files_in(&path, extension),
        Some(end) if end == extension && path.is_file() => vec![path],
        _ => Vec::new(),
    };
    paths.into_iter().flat_map(take).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        dir
    }

    #[test]
    fn a_folder_is_known_by_its_main_file() {
        let found = |files: &[&str]| {
            let dir = folder(files);
            let short = |path: PathBuf| path.strip_prefix(dir.path()).unwrap().to_owned();
            Source::find(dir.path()).map(|source| match source {
                Source::C { files, .. } => Source::C { files: files.into_iter().map(short).collect(), include: Vec::new() },
                Source::Zig { main } => Source::Zig { main: short(main) },
                Source::ZigProject => Source::ZigProject,
            })
        };
        let c = |files: &[&str]| Some(Source::C { files: files.iter().map(PathBuf::from).collect(), include: Vec::new() });
        assert_eq!(found(&["main.c", "b.c", "test/t.c", "README.md"]), c(&["b.c", "main.c"]));
        assert_eq!(found(&["src/main.c", "src/deep/x.c", "test/t.c", "other.c"]), c(&["src/deep/x.c", "src/main.c"]));
        assert_eq!(found(&["src/main.zig", "src/x.c"]), Some(Source::Zig { main: "src/main.zig".into() }));
        assert_eq!(found(&["build.zig", "src/main.zig"]), Some(Source::ZigProject));
        assert_eq!(found(&["src/lib.c", "notes.txt"]), None);
    }

    #[test]
    fn module_has_the_name_of_its_folder() {
        let dir = folder(&["hello/main.c"]);
        let hello = dir.path().join("hello");
        assert_eq!(module_path(&hello).unwrap(), hello.join("target/hello.wasm"));
    }
}
