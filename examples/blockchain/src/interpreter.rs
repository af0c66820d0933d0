//! The language of scripts: a stack of byte strings, and operators on it. It follows Bitcoin Core's `EvalScript` in every detail that is
//! a rule, and none that is a policy.

use crate::hash::{Hash, hash160, ripemd160, sha1, sha256};
use crate::read::Reader;
use crate::script::{Flags, ScriptError};
use crate::sighash::Signed;
use crate::signature::{is_strict_der, verify_ecdsa};

/// The longest item that a push may make.
pub(crate) const ITEM_BYTES_MAX: usize = 520;
const SCRIPT_BYTES_MAX: usize = 10_000;
const OPERATORS_MAX: usize = 201;
const STACK_ITEMS_MAX: usize = 1000;
const KEYS_MAX: i64 = 20;
/// Numbers that are calculated with have at most so many bytes, and times one more.
const NUMBER_BYTES_MAX: usize = 4;

const PUSH_MAX: u8 = 0x4e;
const SIXTEEN: u8 = 0x60;
const CODE_SEPARATOR: u8 = 0xab;

/// What signatures sign.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Version {
    /// The old way.
    Legacy,
    /// As witnesses of version 0 do.
    Witness {
        /// What the output holds, which is signed; none where it is not known.
        value: Option<u64>,
    },
}

/// Runs one script.
#[derive(Debug)]
pub(crate) struct Interpreter<'a> {
    pub(crate) signed: &'a Signed<'a>,
    pub(crate) index: usize,
    pub(crate) flags: Flags,
    pub(crate) version: Version,
    /// Counts the signatures that are verified.
    pub(crate) signatures: &'a mut u64,
}

/// What a running script has beside the stack that it is given.
struct Frame<'s> {
    script: &'s [u8],
    stack: &'s mut Stack,
    alternative: Stack,
    /// Which branches of the open conditionals are taken.
    branches: Vec<bool>,
    operators: usize,
    /// Where what is signed begins: after the last code separator.
    code_start: usize,
}

type Stack = Vec<Vec<u8>>;

impl Interpreter<'_> {
    pub(crate) fn run(&mut self, script: &[u8], stack: &mut Stack) -> Result<(), ScriptError> {
        if script.len() > SCRIPT_BYTES_MAX {
            return Err(ScriptError::ScriptSize);
        }
        let mut frame = Frame { script, stack, alternative: Vec::new(), branches: Vec::new(), operators: 0, code_start: 0 };
        let mut at = 0;
        while at < script.len() {
            let (operator, pushed) = next(script, &mut at).ok_or(ScriptError::Push)?;
            self.step(&mut frame, operator, pushed, at)?;
            if frame.stack.len() + frame.alternative.len() > STACK_ITEMS_MAX {
                return Err(ScriptError::StackSize);
            }
        }
        if frame.branches.is_empty() { Ok(()) } else { Err(ScriptError::Conditional) }
    }

    /// One operator; `after` is where the next one stands.
    fn step(&mut self, frame: &mut Frame<'_>, operator: u8, pushed: &[u8], after: usize) -> Result<(), ScriptError> {
        if pushed.len() > ITEM_BYTES_MAX {
            return Err(ScriptError::ItemSize);
        }
        if operator > SIXTEEN {
            frame.count_operators(1)?;
        }
        // What was taken out of the language in its second year may not even stand in a branch that is not taken.
        if matches!(operator, 0x7e..=0x81 | 0x83..=0x86 | 0x8d | 0x8e | 0x95..=0x99) {
            return Err(ScriptError::Forbidden(operator));
        }
        let runs = frame.branches.iter().all(|taken| *taken);
        match operator {
            0x63..=0x68 => frame.branch(operator, runs),
            _ if !runs => Ok(()),
            0..=PUSH_MAX => {
                frame.stack.push(pushed.to_vec());
                Ok(())
            }
            CODE_SEPARATOR => {
                frame.code_start = after;
                Ok(())
            }
            0xac..=0xad => self.check_signature(frame, operator == 0xad),
            0xae..=0xaf => self.check_signatures(frame, operator == 0xaf),
            0xb1 if self.flags.lock_time => self.check_lock_time(frame),
            0xb2 if self.flags.sequence => self.check_sequence(frame),
            // Operators that are kept for what is to come.
            0x61 | 0xb0..=0xb9 => Ok(()),
            0x4f | 0x51..=SIXTEEN => {
                frame.push_number(i64::from(operator) - 0x50);
                Ok(())
            }
            0x69..=0x7d | 0x82 | 0x87 | 0x88 => frame.shuffle(operator),
            0x8b..=0xa5 => frame.calculate(operator),
            0xa6..=0xaa => frame.digest(operator),
            _ => Err(ScriptError::Unknown(operator)),
        }
    }

    fn check_signature(&mut self, frame: &mut Frame<'_>, verify: bool) -> Result<(), ScriptError> {
        let [signature, key] = frame.pop()?;
        self.check_encoding(&signature)?;
        let code = self.signed_code(frame, &[&signature]);
        let is_good = self.is_signed(&signature, &key, &code)?;
        frame.push_or_verify(is_good, verify, "a signature check")
    }

    /// So many signatures, by some of these keys and in their order. A mistake of the first program takes one item too much.
    fn check_signatures(&mut self, frame: &mut Frame<'_>, verify: bool) -> Result<(), ScriptError> {
        let keys = frame.pop_count(KEYS_MAX).map_err(|error| error.unwrap_or(ScriptError::KeyCount))?;
        frame.count_operators(keys)?;
        let keys = frame.pop_many(keys)?;
        let wanted = frame.pop_count(keys.len() as i64).map_err(|error| error.unwrap_or(ScriptError::SignatureCount))?;
        let signatures = frame.pop_many(wanted)?;
        let [spare] = frame.pop()?;

        let code = self.signed_code(frame, &signatures.iter().rev().map(Vec::as_slice).collect::<Vec<_>>());
        // From the last to the first, each key once.
        let (mut signatures, mut keys) = (&signatures[..], &keys[..]);
        while let ([signatures_left @ .., signature], [keys_left @ .., key]) = (signatures, keys) {
            if signatures.len() > keys.len() {
                break;
            }
            self.check_encoding(signature)?;
            if self.is_signed(signature, key, &code)? {
                signatures = signatures_left;
            }
            keys = keys_left;
        }
        if self.flags.null_dummy && !spare.is_empty() {
            return Err(ScriptError::NullDummy);
        }
        frame.push_or_verify(signatures.is_empty(), verify, "a check of several signatures")
    }

    fn check_encoding(&self, signature: &[u8]) -> Result<(), ScriptError> {
        let is_fine = !self.flags.strict_der || signature.is_empty() || is_strict_der(signature);
        if is_fine { Ok(()) } else { Err(ScriptError::Der) }
    }

    /// The part of the script that is signed. Of old scripts the signatures themselves are taken out, and the code separators.
    fn signed_code(&self, frame: &Frame<'_>, signatures: &[&[u8]]) -> Vec<u8> {
        let mut code = frame.script[frame.code_start..].to_vec();
        if matches!(self.version, Version::Legacy) {
            for signature in signatures {
                code = without(&code, &push_of(signature));
            }
            code = without(&code, &[CODE_SEPARATOR]);
        }
        code
    }

    fn is_signed(&mut self, signature: &[u8], key: &[u8], code: &[u8]) -> Result<bool, ScriptError> {
        let Some((kind, der)) = signature.split_last() else { return Ok(false) };
        let digest = match self.version {
            Version::Legacy => self.signed.legacy(self.index, code, (*kind).into()),
            Version::Witness { value } => {
                self.signed.version_0(self.index, code, value.ok_or(ScriptError::ValueUnknown)?, (*kind).into())
            }
        };
        *self.signatures += 1;
        Ok(verify_ecdsa(key, der, &digest))
    }

    fn check_lock_time(&self, frame: &Frame<'_>) -> Result<(), ScriptError> {
        const TIMES: i64 = 500_000_000;
        let transaction = self.signed.transaction;
        let (wanted, stated) = (frame.top_time()?, i64::from(transaction.lock_time));
        let alike = (wanted < TIMES) == (stated < TIMES);
        let counts = transaction.inputs[self.index].sequence != u32::MAX;
        if alike && wanted <= stated && counts { Ok(()) } else { Err(ScriptError::LockTime) }
    }

    fn check_sequence(&self, frame: &Frame<'_>) -> Result<(), ScriptError> {
        const OFF: i64 = 1 << 31;
        const IS_TIME: i64 = 1 << 22;
        const MASK: i64 = IS_TIME | 0xffff;
        let wanted = frame.top_time()?;
        if wanted & OFF != 0 {
            return Ok(());
        }
        let transaction = self.signed.transaction;
        let stated = i64::from(transaction.inputs[self.index].sequence);
        let alike = wanted & IS_TIME == stated & IS_TIME;
        let counts = transaction.version as u32 >= 2 && stated & OFF == 0;
        if alike && counts && wanted & MASK <= stated & MASK { Ok(()) } else { Err(ScriptError::LockTime) }
    }
}

impl Frame<'_> {
    fn count_operators(&mut self, count: usize) -> Result<(), ScriptError> {
        self.operators += count;
        if self.operators > OPERATORS_MAX { Err(ScriptError::OperatorCount) } else { Ok(()) }
    }

    /// If, notif, else, endif, and two that are forbidden even where nothing runs.
    fn branch(&mut self, operator: u8, runs: bool) -> Result<(), ScriptError> {
        match operator {
            0x63 | 0x64 if runs => {
                let [condition] = self.pop().map_err(|_| ScriptError::Conditional)?;
                self.branches.push(truth(&condition) == (operator == 0x63));
            }
            0x63 | 0x64 => self.branches.push(false),
            0x67 => {
                let taken = self.branches.last_mut().ok_or(ScriptError::Conditional)?;
                *taken = !*taken;
            }
            0x68 => {
                self.branches.pop().ok_or(ScriptError::Conditional)?;
            }
            _ => return Err(ScriptError::Unknown(operator)),
        }
        Ok(())
    }

    /// Operators that move items, or compare them as bytes.
    fn shuffle(&mut self, operator: u8) -> Result<(), ScriptError> {
        match operator {
            0x69 => {
                let [item] = self.pop()?;
                return if truth(&item) { Ok(()) } else { Err(ScriptError::Verify("verify")) };
            }
            0x6a => return Err(ScriptError::Return),
            0x6b => {
                let [item] = self.pop()?;
                self.alternative.push(item);
            }
            0x6c => self.stack.push(self.alternative.pop().ok_or(ScriptError::StackEmpty)?),
            0x6d => self.permute(|[_, _]| [])?,
            0x6e => self.permute(|[a, b]| [a.clone(), b.clone(), a, b])?,
            0x6f => self.permute(|[a, b, c]| [a.clone(), b.clone(), c.clone(), a, b, c])?,
            0x70 => self.permute(|[a, b, c, d]| [a.clone(), b.clone(), c, d, a, b])?,
            0x71 => self.permute(|[a, b, c, d, e, f]| [c, d, e, f, a, b])?,
            0x72 => self.permute(|[a, b, c, d]| [c, d, a, b])?,
            0x73 => {
                let top = self.stack.last().ok_or(ScriptError::StackEmpty)?;
                if truth(top) {
                    self.stack.push(top.clone());
                }
            }
            0x74 => self.push_number(self.stack.len() as i64),
            0x75 => self.permute(|[_]| [])?,
            0x76 => self.permute(|[a]| [a.clone(), a])?,
            0x77 => self.permute(|[_, b]| [b])?,
            0x78 => self.permute(|[a, b]| [a.clone(), b, a])?,
            0x79 | 0x7a => self.pick(operator == 0x7a)?,
            0x7b => self.permute(|[a, b, c]| [b, c, a])?,
            0x7c => self.permute(|[a, b]| [b, a])?,
            0x7d => self.permute(|[a, b]| [b.clone(), a, b])?,
            0x82 => {
                let length = self.stack.last().ok_or(ScriptError::StackEmpty)?.len();
                self.push_number(length as i64);
            }
            _ => {
                let [a, b] = self.pop()?;
                return self.push_or_verify(a == b, operator == 0x88, "a comparison");
            }
        }
        Ok(())
    }

    /// Copies or moves the n-th item from the top to the top.
    fn pick(&mut self, takes: bool) -> Result<(), ScriptError> {
        if self.stack.len() < 2 {
            return Err(ScriptError::StackEmpty);
        }
        let [n] = self.pop_numbers()?;
        let depth = usize::try_from(n).ok().filter(|depth| *depth < self.stack.len()).ok_or(ScriptError::StackEmpty)?;
        let at = self.stack.len() - 1 - depth;
        let item = if takes { self.stack.remove(at) } else { self.stack[at].clone() };
        self.stack.push(item);
        Ok(())
    }

    fn calculate(&mut self, operator: u8) -> Result<(), ScriptError> {
        let result = match operator {
            0x8b..=0x92 => {
                let [a] = self.pop_numbers()?;
                match operator {
                    0x8b => a + 1,
                    0x8c => a - 1,
                    0x8f => -a,
                    0x90 => a.abs(),
                    0x91 => (a == 0).into(),
                    _ => (a != 0).into(),
                }
            }
            0xa5 => {
                let [a, least, over] = self.pop_numbers()?;
                (least <= a && a < over).into()
            }
            _ => {
                let [a, b] = self.pop_numbers()?;
                match operator {
                    0x93 => a + b,
                    0x94 => a - b,
                    0x9a => (a != 0 && b != 0).into(),
                    0x9b => (a != 0 || b != 0).into(),
                    0x9c => (a == b).into(),
                    0x9d => return if a == b { Ok(()) } else { Err(ScriptError::Verify("a comparison of numbers")) },
                    0x9e => (a != b).into(),
                    0x9f => (a < b).into(),
                    0xa0 => (a > b).into(),
                    0xa1 => (a <= b).into(),
                    0xa2 => (a >= b).into(),
                    0xa3 => a.min(b),
                    _ => a.max(b),
                }
            }
        };
        self.push_number(result);
        Ok(())
    }

    fn digest(&mut self, operator: u8) -> Result<(), ScriptError> {
        let [item] = self.pop()?;
        self.stack.push(match operator {
            0xa6 => ripemd160(&item).to_vec(),
            0xa7 => sha1(&item).to_vec(),
            0xa8 => sha256(&item).to_vec(),
            0xa9 => hash160(&item).to_vec(),
            _ => Hash::of(&item).0.to_vec(),
        });
        Ok(())
    }

    fn push_number(&mut self, number: i64) {
        self.stack.push(encode(number));
    }

    fn push_or_verify(&mut self, is_so: bool, verify: bool, what: &'static str) -> Result<(), ScriptError> {
        if verify {
            return if is_so { Ok(()) } else { Err(ScriptError::Verify(what)) };
        }
        self.push_number(is_so.into());
        Ok(())
    }

    /// The top items, the topmost last.
    fn pop<const N: usize>(&mut self) -> Result<[Vec<u8>; N], ScriptError> {
        let items = self.pop_many(N)?;
        items.try_into().map_err(|_| ScriptError::StackEmpty)
    }

    fn pop_many(&mut self, count: usize) -> Result<Stack, ScriptError> {
        let at = self.stack.len().checked_sub(count).ok_or(ScriptError::StackEmpty)?;
        Ok(self.stack.split_off(at))
    }

    fn pop_numbers<const N: usize>(&mut self) -> Result<[i64; N], ScriptError> {
        let items: [Vec<u8>; N] = self.pop()?;
        let mut numbers = [0; N];
        for (number, item) in numbers.iter_mut().zip(&items) {
            *number = decode(item, NUMBER_BYTES_MAX)?;
        }
        Ok(numbers)
    }

    /// A number from 0 to `most`; `Err(None)` where it is another.
    fn pop_count(&mut self, most: i64) -> Result<usize, Option<ScriptError>> {
        let [count] = self.pop_numbers().map_err(Some)?;
        if (0..=most).contains(&count) { Ok(count as usize) } else { Err(None) }
    }

    fn permute<const N: usize, const M: usize>(
        &mut self,
        to: impl FnOnce([Vec<u8>; N]) -> [Vec<u8>; M],
    ) -> Result<(), ScriptError> {
        let items = to(self.pop()?);
        self.stack.extend(items);
        Ok(())
    }

    /// The top, which stays, as a time.
    fn top_time(&self) -> Result<i64, ScriptError> {
        let top = self.stack.last().ok_or(ScriptError::StackEmpty)?;
        let time = decode(top, NUMBER_BYTES_MAX + 1)?;
        if time < 0 { Err(ScriptError::NegativeLockTime) } else { Ok(time) }
    }
}

/// Whether an item counts as true: any bit but the sign of a zero.
pub(crate) fn truth(item: &[u8]) -> bool {
    item.split_last().is_some_and(|(last, rest)| last & 0x7f != 0 || rest.iter().any(|byte| *byte != 0))
}

/// Whether a script does nothing but push.
pub(crate) fn is_push_only(script: &[u8]) -> bool {
    let mut at = 0;
    while at < script.len() {
        if next(script, &mut at).is_none_or(|(operator, _)| operator > SIXTEEN) {
            return false;
        }
    }
    true
}

/// The operator at `at` and what it pushes; `at` moves behind it. None where the push goes over the end.
fn next<'s>(script: &'s [u8], at: &mut usize) -> Option<(u8, &'s [u8])> {
    let (&operator, rest) = script.get(*at..)?.split_first()?;
    let mut reader = Reader::new(rest);
    let (length, width) = match operator {
        0..=0x4b => (usize::from(operator), 0),
        0x4c => (reader.u8().ok()?.into(), 1),
        0x4d => (u16::from_le_bytes(reader.array().ok()?).into(), 2),
        PUSH_MAX => (usize::try_from(reader.u32().ok()?).ok()?, 4),
        _ => (0, 0),
    };
    let pushed = reader.take(length).ok()?;
    *at += 1 + width + length;
    Some((operator, pushed))
}

/// `code` without `what`, wherever an operator begins with it.
fn without(code: &[u8], what: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(code.len());
    let mut at = 0;
    loop {
        while code[at..].starts_with(what) {
            at += what.len();
        }
        let from = at;
        if at == code.len() || next(code, &mut at).is_none() {
            // What cannot be read stays as it is.
            kept.extend(&code[from..]);
            return kept;
        }
        kept.extend(&code[from..at]);
    }
}

/// The shortest push of some bytes by their length.
fn push_of(bytes: &[u8]) -> Vec<u8> {
    let mut push = match bytes.len() {
        length @ 0..=0x4b => vec![length as u8],
        length @ 0x4c..=0xff => vec![0x4c, length as u8],
        length => [&[0x4d], &(length as u16).to_le_bytes()[..]].concat(),
    };
    push.extend(bytes);
    push
}

/// A number: the little end first, and a sign in the top bit.
fn decode(item: &[u8], bytes_max: usize) -> Result<i64, ScriptError> {
    if item.len() > bytes_max {
        return Err(ScriptError::Number);
    }
    let Some((last, rest)) = item.split_last() else { return Ok(0) };
    let top = i64::from(last & 0x7f) << (8 * rest.len());
    let number = rest.iter().rev().fold(0, |number, byte| number << 8 | i64::from(*byte)) | top;
    Ok(if last & 0x80 == 0 { number } else { -number })
}

fn encode(number: i64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut left = number.unsigned_abs();
    while left > 0 {
        bytes.push(left as u8);
        left >>= 8;
    }
    let sign = if number < 0 { 0x80 } else { 0 };
    match bytes.last_mut() {
        Some(last) if *last & 0x80 == 0 => *last |= sign,
        Some(_) => bytes.push(sign),
        None => {}
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_a_sign_and_no_byte_too_many() {
        for (number, bytes) in [
            (0, &[][..]),
            (1, &[1]),
            (-1, &[0x81]),
            (127, &[0x7f]),
            (128, &[0x80, 0]),
            (-128, &[0x80, 0x80]),
            (-255, &[0xff, 0x80]),
            (256, &[0, 1]),
        ] {
            assert_eq!(encode(number), bytes, "{number}");
            assert_eq!(decode(bytes, 4), Ok(number));
        }
        assert_eq!(decode(&[0, 0x80], 4), Ok(0));
        assert_eq!(decode(&[1, 0, 0, 0, 0], 4), Err(ScriptError::Number));
    }

    #[test]
    fn what_is_taken_out_is_taken_out_where_operators_begin() {
        assert_eq!(without(&[0xab, 1, 0xab, 0xab, 0xac], &[0xab]), [1, 0xab, 0xac]);
        assert_eq!(without(&[0xab, 2, 0xab], &[0xab]), [2, 0xab]);
        assert!(without(&[], &[0xab]).is_empty());
    }

    #[test]
    fn truth_is_any_bit_but_the_sign_of_zero() {
        assert!([&[1][..], &[0, 1], &[0x80, 0], &[0x81]].iter().all(|item| truth(item)));
        assert!(![&[][..], &[0], &[0, 0x80], &[0x80]].iter().any(|item| truth(item)));
    }
}
