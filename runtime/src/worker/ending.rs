//! How a guest's end is judged: from what the engine says to an outcome and a reason.

use adit_protocol::limits::REASON_BYTES_MAX;
use adit_protocol::{ByteCount, JobLimits, Outcome, TrapKind};
use wasmtime::{FrameInfo, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use super::gpu_client::SessionClosed;
use super::watchdog::Stopped;

/// Longest function name in a reason: generic Rust names can be thousands of bytes.
const FUNCTION_NAME_BYTES_MAX: usize = 256;

/// Why the worker stopped waiting for the guest.
#[derive(Debug)]
pub(super) enum End {
    /// The guest returned, exited or trapped.
    Itself(wasmtime::Result<()>),
    /// The meter stopped it, because its budget was used up.
    OverBudget(Option<wasmtime::Error>),
    /// The meter stopped it, because its calls were nested too deep.
    TooDeep(wasmtime::Error),
    /// It was stopped from outside.
    Stopped(Stopped),
    /// It was not started, because its memory begins larger than its limit.
    MemoryTooSmall { needed: u64 },
}

/// What happened on the way that the engine's error does not tell.
#[derive(Debug, Clone, Copy)]
pub(super) struct Circumstances {
    /// The guest was refused memory.
    pub(super) memory_denied: bool,
    /// The guest wrote more output than it may.
    pub(super) output_over: bool,
    /// The guest used more than its budget. Whatever it did then, it would not have done with its budget alone.
    pub(super) over_budget: bool,
}

/// The outcome of a job, with what a human should know beyond the outcome's name.
///
/// Functions from number `functions` on are the meter's own: what happens in them is the doing of who called them.
pub(super) fn judge(end: &End, seen: Circumstances, limits: &JobLimits, functions: u32) -> (Outcome, String) {
    let outcome = outcome(end, seen);
    (outcome, clip(reason(outcome, end, limits, functions), REASON_BYTES_MAX))
}

fn outcome(end: &End, seen: Circumstances) -> Outcome {
    if seen.over_budget {
        return Outcome::OutOfFuel;
    }
    let error = match end {
        End::OverBudget(_) => return Outcome::OutOfFuel,
        End::TooDeep(_) => return Outcome::Trapped(TrapKind::StackOverflow),
        End::Stopped(Stopped::Deadline) => return Outcome::TimedOut,
        End::Stopped(Stopped::Cancelled) => return Outcome::Cancelled,
        End::MemoryTooSmall { .. } => return Outcome::OutOfMemory,
        End::Itself(Ok(())) => return Outcome::Finished { exit_code: 0 },
        End::Itself(Err(error)) => error,
    };
    // Why, the supervisor knows, and says it instead.
    if error.is::<SessionClosed>() {
        return Outcome::GpuLost;
    }
    if seen.output_over {
        return Outcome::OutputTooLarge;
    }
    match (error.downcast_ref::<I32Exit>(), error.downcast_ref::<Trap>()) {
        (Some(I32Exit(0)), _) => Outcome::Finished { exit_code: 0 },
        // Allocators answer a refused `memory.grow` by abort, by trap or by an error that the program exits with.
        _ if seen.memory_denied => Outcome::OutOfMemory,
        (Some(I32Exit(exit_code)), _) => Outcome::Finished { exit_code: *exit_code },
        (None, trap) => Outcome::Trapped(trap.map_or(TrapKind::HostCall, trap_kind)),
    }
}

fn trap_kind(trap: &Trap) -> TrapKind {
    match trap {
        Trap::UnreachableCodeReached => TrapKind::Unreachable,
        Trap::MemoryOutOfBounds => TrapKind::MemoryOutOfBounds,
        Trap::TableOutOfBounds => TrapKind::TableOutOfBounds,
        Trap::IndirectCallToNull => TrapKind::IndirectCallToNull,
        Trap::BadSignature => TrapKind::BadSignature,
        Trap::IntegerOverflow => TrapKind::IntegerOverflow,
        Trap::IntegerDivisionByZero => TrapKind::IntegerDivisionByZero,
        Trap::BadConversionToInteger => TrapKind::BadConversionToInteger,
        Trap::StackOverflow => TrapKind::StackOverflow,
        _ => TrapKind::Other,
    }
}

fn reason(outcome: Outcome, end: &End, limits: &JobLimits, functions: u32) -> String {
    let JobLimits { fuel, memory: ByteCount(memory), output: ByteCount(output), wall_ms, gpu_ns, .. } = *limits;
    match outcome {
        Outcome::Finished { .. } => String::new(),
        Outcome::OutOfFuel => format!("the limit of {fuel} was used up{}", place(end, functions)),
        Outcome::OutOfMemory if let End::MemoryTooSmall { needed } = end => {
            format!("its memory begins with {needed} bytes, and its limit is {memory}")
        }
        Outcome::OutOfMemory => format!("it asked for more than its limit of {memory} bytes of memory{}", place(end, functions)),
        Outcome::OutputTooLarge => format!("it wrote more than its limit of {output} bytes of output"),
        Outcome::TimedOut => format!("the limit of {wall_ms} ms was reached"),
        Outcome::Cancelled => "withdrawn while it ran".to_owned(),
        Outcome::Preempted => "the node's owner took the machine back".to_owned(),
        Outcome::OutOfGpuTime => format!("the limit of {gpu_ns} ns of GPU time was used up"),
        Outcome::GpuLost => "its work hung the GPU, or made it lose its device".to_owned(),
        Outcome::Trapped(TrapKind::HostCall | TrapKind::Other) => match end {
            End::Itself(Err(error)) => format!("{}{}", error.root_cause(), place(end, functions)),
            _ => String::new(),
        },
        Outcome::Trapped(kind) => format!("{kind}{}", place(end, functions)),
    }
}

/// Where in the module the guest ended: ` in function render`, or nothing where that is unknown. The engine's offsets are those of the
/// rewritten module and would mislead.
fn place(end: &End, functions: u32) -> String {
    let (End::Itself(Err(error)) | End::TooDeep(error) | End::OverBudget(Some(error))) = end else { return String::new() };
    let is_own = |frame: &&FrameInfo| frame.func_index() < functions;
    let frames = error.downcast_ref::<WasmBacktrace>().map(WasmBacktrace::frames).unwrap_or_default();
    let Some(frame) = frames.iter().find(is_own) else {
        return String::new();
    };
    format!(" in function {}", function_name(frame))
}

fn function_name(frame: &FrameInfo) -> String {
    match frame.func_name() {
        // `{:#}` leaves out the hash at the end of a Rust symbol.
        Some(name) => clip(printable(&format!("{:#}", rustc_demangle::demangle(name))), FUNCTION_NAME_BYTES_MAX),
        None => format!("number {}", frame.func_index()),
    }
}

/// Words that a stranger had a part in, for people to read: a module's names are repeated in them, or they come from a worker that may
/// have been taken over.
pub(crate) fn words(text: &str) -> String {
    clip(printable(text), REASON_BYTES_MAX)
}

/// A guest chooses its function names; they must not speak to the terminal that shows them.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// `text`, cut to at most `bytes_max` at a character's border.
pub(crate) fn clip(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        let ellipsis = '…';
        text.truncate(text.floor_char_boundary(bytes_max - ellipsis.len_utf8()));
        text.push(ellipsis);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALM: Circumstances = Circumstances { memory_denied: false, output_over: false, over_budget: false };

    fn trapped(trap: Trap) -> End {
        End::Itself(Err(trap.into()))
    }

    #[test]
    fn ends_become_outcomes() {
        let denied = Circumstances { memory_denied: true, ..CALM };
        let over = Circumstances { output_over: true, ..CALM };
        let exit = |code| End::Itself(Err(I32Exit(code).into()));
        for (end, seen, want) in [
            (End::Itself(Ok(())), denied, Outcome::Finished { exit_code: 0 }),
            (exit(0), denied, Outcome::Finished { exit_code: 0 }),
            (exit(3), CALM, Outcome::Finished { exit_code: 3 }),
            (exit(3), denied, Outcome::OutOfMemory),
            (trapped(Trap::UnreachableCodeReached), denied, Outcome::OutOfMemory),
            (trapped(Trap::UnreachableCodeReached), CALM, Outcome::Trapped(TrapKind::Unreachable)),
            (End::OverBudget(None), denied, Outcome::OutOfFuel),
            (End::Itself(Ok(())), Circumstances { over_budget: true, ..denied }, Outcome::OutOfFuel),
            (End::TooDeep(Trap::UnreachableCodeReached.into()), CALM, Outcome::Trapped(TrapKind::StackOverflow)),
            (End::MemoryTooSmall { needed: 1 }, CALM, Outcome::OutOfMemory),
            (trapped(Trap::HeapMisaligned), CALM, Outcome::Trapped(TrapKind::Other)),
            (End::Itself(Err(wasmtime::format_err!("bad pointer"))), CALM, Outcome::Trapped(TrapKind::HostCall)),
            (End::Itself(Err(wasmtime::format_err!("closed"))), over, Outcome::OutputTooLarge),
            (End::Itself(Err(SessionClosed.into())), denied, Outcome::GpuLost),
            (End::Stopped(Stopped::Deadline), denied, Outcome::TimedOut),
            (End::Stopped(Stopped::Cancelled), CALM, Outcome::Cancelled),
        ] {
            assert_eq!(outcome(&end, seen), want, "{end:?} {seen:?}");
        }
    }

    #[test]
    fn text_is_cut_at_a_character() {
        assert_eq!(clip("short".into(), 5), "short");
        assert_eq!(clip("ääää".into(), 7), "ää…");
        assert_eq!(clip("x".repeat(3000), REASON_BYTES_MAX).len(), REASON_BYTES_MAX);
    }

    #[test]
    fn names_cannot_command_a_terminal() {
        assert_eq!(printable("a\x1b[31mb\n"), "a\u{fffd}[31mb\u{fffd}");
    }
}
