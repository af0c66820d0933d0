//! A program that can only be a worker: the smallest [`adit_runtime::WorkerProgram`]. For the tests of the walls it also tries from
//! behind them what they must refuse.

mod attempts;

use std::process::ExitCode;

fn main() -> ExitCode {
    adit_runtime::run_if_worker();
    if let Some(code) = attempts::run_if_asked() {
        return code;
    }
    eprintln!("adit-worker is started by an Adit node and does nothing by itself");
    ExitCode::FAILURE
}
