//! A program that can only be a worker: the smallest [`adit_runtime::WorkerProgram`].

use std::process::ExitCode;

fn main() -> ExitCode {
    adit_runtime::run_if_worker();
    eprintln!("adit-worker is started by an Adit node and does nothing by itself");
    ExitCode::FAILURE
}
