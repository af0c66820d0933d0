//! Whether an input may spend an output: the two scripts, and a third or a witness where the output asks for one.

use crate::hash::sha256;
use crate::interpreter::{Interpreter, Version, is_push_only, truth};
use crate::sighash::Signed;
use crate::signature::verify_schnorr;
use crate::transaction::{Input, Output};

/// Rules that came later than the first block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags {
    /// Outputs that name a script's hash run that script (BIP16).
    pub script_hash: bool,
    /// Signatures are strict DER (BIP66).
    pub strict_der: bool,
    /// Lock times in scripts (BIP65).
    pub lock_time: bool,
    /// Relative lock times in scripts (BIP112).
    pub sequence: bool,
    /// Witnesses (BIP141).
    pub witness: bool,
    /// What a multisignature takes too much off the stack is empty (BIP147).
    pub null_dummy: bool,
    /// Taproot (BIP341).
    pub taproot: bool,
}

/// How an input was let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All scripts ran, and are content.
    Checked,
    /// It spends by a script of taproot, or by taproot where something spent beside it is not known. That is not checked.
    Unchecked,
}

/// Why a script does not let an input spend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScriptError {
    /// It ended in false, or in nothing.
    #[error("the scripts end in false")]
    False,
    /// It said so.
    #[error("a script returns early")]
    Return,
    /// A verify found false.
    #[error("{0} finds what is not so")]
    Verify(&'static str),
    /// More than 10,000 bytes.
    #[error("a script is over 10,000 bytes")]
    ScriptSize,
    /// More than 520 bytes.
    #[error("an item is over 520 bytes")]
    ItemSize,
    /// More than 201 operators.
    #[error("a script has more than 201 operators")]
    OperatorCount,
    /// More than a thousand items.
    #[error("the stack has more than 1,000 items")]
    StackSize,
    /// Less there than an operator takes.
    #[error("an operator finds the stack too short")]
    StackEmpty,
    /// Not 0 to 20 keys.
    #[error("a multisignature does not have 0 to 20 keys")]
    KeyCount,
    /// More signatures than keys.
    #[error("a multisignature wants more signatures than keys")]
    SignatureCount,
    /// An operator that no script may have.
    #[error("a script has the forbidden operator {0:#04x}")]
    Forbidden(u8),
    /// An operator that there is not.
    #[error("a script has the unknown operator {0:#04x}")]
    Unknown(u8),
    /// A push goes over the end.
    #[error("a push goes over the end of its script")]
    Push,
    /// If, else and endif do not match.
    #[error("if, else and endif do not match")]
    Conditional,
    /// A number of more than four bytes, or five for times.
    #[error("a number has too many bytes")]
    Number,
    /// A signature that is not strict DER.
    #[error("a signature is not strict DER")]
    Der,
    /// What a multisignature takes too much is not empty.
    #[error("the spare item of a multisignature is not empty")]
    NullDummy,
    /// A negative lock time.
    #[error("a lock time is negative")]
    NegativeLockTime,
    /// Too early.
    #[error("a lock time is not over")]
    LockTime,
    /// More than pushes where only those may be.
    #[error("the spending script does more than push")]
    PushOnly,
    /// A witness script that is not the one whose hash is asked for.
    #[error("the witness's script is another than the output names")]
    WitnessMismatch,
    /// No witness where one is asked for.
    #[error("the witness is empty")]
    WitnessEmpty,
    /// A program of a length that its version does not have.
    #[error("a witness program has {0} bytes")]
    ProgramLength(usize),
    /// A script beside a witness.
    #[error("a spending script stands beside a witness that needs none")]
    WitnessMalleated,
    /// A witness where nothing asks for one.
    #[error("there is a witness that nothing asks for")]
    WitnessUnexpected,
    /// A signature of taproot is false, or of a wrong form.
    #[error("a Schnorr signature does not verify")]
    Schnorr,
    /// The value is signed, and is not known.
    #[error("the value that is spent is signed, and the batch does not state it")]
    ValueUnknown,
}

/// Checks that input `index` may spend an output of this script; of this value where it is known, and it must be where a witness signs
/// it. Counts signatures as they are verified.
pub(crate) fn verify(
    signed: &Signed<'_>,
    index: usize,
    script: &[u8],
    value: Option<u64>,
    flags: Flags,
    signatures: &mut u64,
) -> Result<Verdict, ScriptError> {
    Spend { signed, index, value, flags, signatures }.verify(script)
}

struct Spend<'a> {
    signed: &'a Signed<'a>,
    index: usize,
    value: Option<u64>,
    flags: Flags,
    signatures: &'a mut u64,
}

impl Spend<'_> {
    fn verify(&mut self, script: &[u8]) -> Result<Verdict, ScriptError> {
        let input = &self.signed.transaction.inputs[self.index];
        let mut stack = Vec::new();
        self.run(&input.script, &mut stack, Version::Legacy)?;
        let before = stack.clone();
        self.run(script, &mut stack, Version::Legacy)?;
        ends_true(&stack)?;

        let mut verdict = None;
        if let Some((version, program)) = self.witness_program(script) {
            if !input.script.is_empty() {
                return Err(ScriptError::WitnessMalleated);
            }
            verdict = Some(self.verify_witness(input, version, program, false)?);
        }
        if self.flags.script_hash && is_script_hash(script) {
            if !is_push_only(&input.script) {
                return Err(ScriptError::PushOnly);
            }
            verdict = self.verify_script_hash(input, before)?.or(verdict);
        }
        if self.flags.witness && verdict.is_none() && !input.witness.is_empty() {
            return Err(ScriptError::WitnessUnexpected);
        }
        Ok(verdict.unwrap_or(Verdict::Checked))
    }

    /// The script that the spender pushed last, and whose hash the output had; it may be a witness program in turn.
    fn verify_script_hash(&mut self, input: &Input, mut stack: Vec<Vec<u8>>) -> Result<Option<Verdict>, ScriptError> {
        let inner = stack.pop().ok_or(ScriptError::StackEmpty)?;
        self.run(&inner, &mut stack, Version::Legacy)?;
        ends_true(&stack)?;
        let Some((version, program)) = self.witness_program(&inner) else { return Ok(None) };
        // Nothing but the push of the program, in its only form.
        if input.script.split_first().map(|(length, pushed)| (usize::from(*length), pushed)) != Some((inner.len(), &inner)) {
            return Err(ScriptError::WitnessMalleated);
        }
        self.verify_witness(input, version, program, true).map(Some)
    }

    fn verify_witness(&mut self, input: &Input, version: u8, program: &[u8], wrapped: bool) -> Result<Verdict, ScriptError> {
        match (version, program.len()) {
            (0, 20) => {
                let [_, _] = &input.witness[..] else { return Err(ScriptError::WitnessMismatch) };
                let script = [&[0x76, 0xa9, 20], program, &[0x88, 0xac]].concat();
                self.run_witness(&script, input.witness.clone())
            }
            (0, 32) => {
                let (script, stack) = input.witness.split_last().ok_or(ScriptError::WitnessEmpty)?;
                if sha256(script) != program {
                    return Err(ScriptError::WitnessMismatch);
                }
                self.run_witness(script, stack.to_vec())
            }
            (0, length) => Err(ScriptError::ProgramLength(length)),
            (1, 32) if !wrapped && self.flags.taproot => self.verify_taproot(input, program),
            // Versions that are not yet taken let everybody spend.
            _ => Ok(Verdict::Checked),
        }
    }

    fn run_witness(&mut self, script: &[u8], mut stack: Vec<Vec<u8>>) -> Result<Verdict, ScriptError> {
        if stack.iter().any(|item| item.len() > crate::interpreter::ITEM_BYTES_MAX) {
            return Err(ScriptError::ItemSize);
        }
        self.run(script, &mut stack, Version::Witness { value: self.value })?;
        match &stack[..] {
            [item] if truth(item) => Ok(Verdict::Checked),
            _ => Err(ScriptError::False),
        }
    }

    fn verify_taproot(&mut self, input: &Input, key: &[u8]) -> Result<Verdict, ScriptError> {
        let (annex, items) = match &input.witness[..] {
            [] => return Err(ScriptError::WitnessEmpty),
            [items @ .., annex] if !items.is_empty() && annex.first() == Some(&0x50) => (Some(&annex[..]), items),
            items => (None, items),
        };
        let ([signature], Some(spent)) = (items, self.signed.spent) else { return Ok(Verdict::Unchecked) };
        *self.signatures += 1;
        self.is_signed(signature, key, spent, annex).then_some(Verdict::Checked).ok_or(ScriptError::Schnorr)
    }

    fn is_signed(&self, signature: &[u8], key: &[u8], spent: &[Output], annex: Option<&[u8]>) -> bool {
        let Some((signature, kind)) = signature.split_first_chunk::<64>() else { return false };
        let kind = match kind {
            [] => 0,
            // The kind that is meant where none is said is not said.
            [kind] if *kind != 0 => *kind,
            _ => return false,
        };
        let digest = self.signed.version_1(self.index, spent, annex, kind);
        key.try_into().is_ok_and(|key| digest.is_some_and(|digest| verify_schnorr(key, signature, &digest)))
    }

    fn witness_program<'b>(&self, script: &'b [u8]) -> Option<(u8, &'b [u8])> {
        if self.flags.witness { witness_program(script) } else { None }
    }

    fn run(&mut self, script: &[u8], stack: &mut Vec<Vec<u8>>, version: Version) -> Result<(), ScriptError> {
        let Self { signed, index, flags, .. } = *self;
        Interpreter { signed, index, flags, version, signatures: self.signatures }.run(script, stack)
    }
}

fn ends_true(stack: &[Vec<u8>]) -> Result<(), ScriptError> {
    stack.last().filter(|item| truth(item)).map(|_| ()).ok_or(ScriptError::False)
}

/// `HASH160 <20 bytes> EQUAL` (BIP16).
fn is_script_hash(script: &[u8]) -> bool {
    matches!(script, [0xa9, 20, hash @ .., 0x87] if hash.len() == 20)
}

/// A version and 2 to 40 bytes, and nothing else (BIP141).
fn witness_program(script: &[u8]) -> Option<(u8, &[u8])> {
    let [version, length, program @ ..] = script else { return None };
    let version = match version {
        0 => 0,
        0x51..=0x60 => version - 0x50,
        _ => return None,
    };
    ((2..=40).contains(&program.len()) && usize::from(*length) == program.len()).then_some((version, program))
}
