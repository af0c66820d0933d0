//! The engines that bills must not depend on.

use adit_runtime::lab::{OptLevel, Strategy, config, small_config};
use wasmtime::{Config, Inlining};

/// An engine with a name.
pub(crate) struct Named {
    pub(crate) name: &'static str,
    pub(crate) config: Config,
}

/// A program that some engines bill otherwise.
pub(crate) struct Exception {
    pub(crate) program: &'static str,
    /// Part of the names of the engines; empty for all.
    engines: &'static str,
    pub(crate) reason: &'static str,
}

/// What is not the same everywhere, each with its reason, of the programs of the corpus. A test fails where an entry is not so.
pub(crate) const EXCEPTIONS: &[Exception] =
    &[inlined("trap_in_a_callee"), inlined("offset_of_all_ones"), inlined("stores_upon_stores")];

/// A program that traps in a callee which the engine inlined. Any such trap is told of by the caller, and billed short by what the callee had
/// not counted yet.
const fn inlined(program: &'static str) -> Exception {
    Exception {
        program,
        engines: "inlining",
        reason: "the engine tells a trap in an inlined callee at the caller's offset, for which the meter's table does not say what the \
                 callee had not counted yet; nodes do not inline",
    }
}

/// The exception that covers a program under an engine.
pub(crate) fn exception(program: &str, engine: &str) -> Option<&'static Exception> {
    EXCEPTIONS.iter().find(|exception| exception.program == program && engine.contains(exception.engines))
}

/// Whether a program's bill is one that a golden file can hold: it is the same on every machine.
pub(crate) fn is_billed_alike(program: &str) -> bool {
    !EXCEPTIONS.iter().any(|exception| exception.program == program && exception.engines.is_empty())
}

/// What nodes have.
pub(crate) fn shipped() -> Config {
    config(Strategy::Cranelift, OptLevel::Speed)
}

/// What makes the plainest code.
pub(crate) fn plain() -> Config {
    config(Strategy::Cranelift, OptLevel::None)
}

/// The others.
pub(crate) fn others() -> Vec<Named> {
    vec![
        Named { name: "cranelift none", config: plain() },
        Named { name: "cranelift speed and size", config: config(Strategy::Cranelift, OptLevel::SpeedAndSize) },
        Named { name: "cranelift none, inlining", config: inlining(OptLevel::None) },
        Named { name: "cranelift speed, inlining", config: inlining(OptLevel::Speed) },
        Named { name: "cranelift speed and size, inlining", config: inlining(OptLevel::SpeedAndSize) },
        Named { name: "cranelift speed, small address space", config: small_config() },
        Named { name: "winch", config: config(Strategy::Winch, OptLevel::None) },
        Named { name: "pulley", config: pulley() },
    ]
}

fn inlining(level: OptLevel) -> Config {
    let mut config = config(Strategy::Cranelift, level);
    config.compiler_inlining(Inlining::Yes);
    config
}

/// The engine's interpreter: no machine code and no signals.
fn pulley() -> Config {
    let mut config = shipped();
    config.target("pulley64").unwrap().signals_based_traps(false);
    config
}
