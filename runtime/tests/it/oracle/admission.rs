//! Admission: whatever the bytes, in bounded time, a module that the rest of the way can take or the reason why not.

use std::time::Duration;

use adit_protocol::limits::REASON_BYTES_MAX;
use adit_runtime::lab::{Lab, OptLevel, Options, Pending, Strategy, admit, config, features, instrument};
use wasmparser::{Validator, WasmFeatures};

use super::{effort, modules};

/// Processor time for a module of the size that a fuzzer makes: ample, since what hurts takes minutes.
const TIME_MAX: Duration = Duration::from_secs(20);
/// Modules up to this size are compiled too.
const COMPILED_BYTES_MAX: usize = 4096;
/// Bytes at the end of an input that say what is changed in a module.
const CHANGES_BYTES: usize = 24;

thread_local! {
    static LAB: Lab = Lab::new(&config(Strategy::Cranelift, OptLevel::None)).expect("this machine runs guests");
}

/// What became of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// The bytes made no module to try.
    Nothing,
    /// It was refused.
    Refused,
    /// It was admitted.
    Admitted,
}

/// The first byte says what the others are: a module as it is, what a module of any proposal or a command is made of, or what a
/// command is made of that is then damaged.
pub(crate) fn check(bytes: &[u8]) -> Verdict {
    let Some((&how, rest)) = bytes.split_first() else { return Verdict::Nothing };
    let wasm = match how % 4 {
        0 => Some(rest.to_vec()),
        1 => modules::any(rest),
        2 => modules::command(rest),
        _ => damaged(rest),
    };
    wasm.map_or(Verdict::Nothing, |wasm| judge(&wasm))
}

fn judge(wasm: &[u8]) -> Verdict {
    let (verdict, effort) = effort::of(|| admit(wasm));
    assert!(effort.time < TIME_MAX, "{:?} for {} bytes", effort.time, wasm.len());
    let metered = match verdict {
        Ok(metered) => metered,
        Err(reason) => {
            let printable = !reason.chars().any(char::is_control);
            assert!(!reason.is_empty() && reason.len() <= REASON_BYTES_MAX && printable, "{reason:?}");
            return Verdict::Refused;
        }
    };
    Validator::new_with_features(features()).validate_all(wasm).expect("what is admitted is valid under the profile");
    let with_meter = features().union(WasmFeatures::MULTI_MEMORY).union(WasmFeatures::CUSTOM_PAGE_SIZES);
    Validator::new_with_features(with_meter).validate_all(&metered.wasm).expect("the metered module is valid");
    assert_eq!(Pending::from_bytes(&metered.pending.to_bytes()).as_ref(), Ok(&metered.pending));
    let again = instrument(wasm, &Options::default()).expect("what was metered once is metered again");
    assert_eq!((&again.wasm, &again.pending, &again.facts), (&metered.wasm, &metered.pending, &metered.facts));
    if wasm.len() <= COMPILED_BYTES_MAX {
        LAB.with(|lab| lab.compile(wasm, &Options::default())).expect("what is admitted compiles and has all its imports");
    }
    Verdict::Admitted
}

/// A command with some of its bytes changed.
fn damaged(bytes: &[u8]) -> Option<Vec<u8>> {
    let (entropy, changes) = bytes.split_last_chunk::<CHANGES_BYTES>()?;
    let mut wasm = modules::command(entropy)?;
    for change in changes.as_chunks::<4>().0 {
        let [low, high, how, to] = *change;
        let at = usize::from(u16::from_le_bytes([low, high])) % wasm.len().max(1);
        match how % 8 {
            0 | 1 => wasm[at] = to,
            2 => wasm[at] ^= 1 << (to % 8),
            3 => wasm.insert(at, to),
            4 if wasm.len() > 1 => drop(wasm.remove(at)),
            5 if to < 16 => wasm.truncate(at.max(1)),
            6 => wasm[at] = wasm[at].wrapping_add(1),
            _ => {}
        }
    }
    Some(wasm)
}
