//! Signatures and keys, read as the network reads them, and checked on secp256k1.

use k256::ecdsa::signature::hazmat::PrehashVerifier;
use k256::ecdsa::{Signature, VerifyingKey};
use k256::schnorr;

/// Whether `der` is by `key` over `digest`. A signature or a key that cannot be read is by nobody: where that is an error rather than a
/// no, the scripts say so before they ask here.
pub fn verify_ecdsa(key: &[u8], der: &[u8], digest: &[u8; 32]) -> bool {
    let Some((key, signature)) = parse_key(key).zip(parse_lax(der)) else { return false };
    key.verify_prehash(digest, &signature).is_ok()
}

/// Whether the 64 bytes are by the key, an x coordinate, over `digest` (BIP340).
pub fn verify_schnorr(key: &[u8; 32], signature: &[u8; 64], digest: &[u8; 32]) -> bool {
    let key = schnorr::VerifyingKey::from_slice(key);
    let signature = schnorr::Signature::try_from(&signature[..]);
    key.is_ok_and(|key| signature.is_ok_and(|signature| key.verify_raw(digest, &signature).is_ok()))
}

/// A key on the curve: compressed, whole, or hybrid, which is whole and says once more what the compressed form would.
fn parse_key(bytes: &[u8]) -> Option<VerifyingKey> {
    match (bytes.first()?, bytes.len()) {
        (2 | 3, 33) | (4, 65) => VerifyingKey::from_sec1_bytes(bytes).ok(),
        (tag @ (6 | 7), 65) if bytes[64] & 1 == tag & 1 => {
            let mut whole = bytes.to_vec();
            whole[0] = 4;
            VerifyingKey::from_sec1_bytes(&whole).ok()
        }
        _ => None,
    }
}

/// A signature in anything that OpenSSL once took for DER; blocks of before BIP66 have such. The half of `s` that is called high is as
/// good as the low one: which of them is used is a policy, not a rule. None where it cannot be read, or a number is zero or over the
/// group's order.
fn parse_lax(bytes: &[u8]) -> Option<Signature> {
    let mut reader = Lax(bytes);
    (reader.byte()? == 0x30).then_some(())?;
    // The length of the whole is not looked at, only skipped.
    let length = reader.byte()?;
    if length & 0x80 != 0 {
        reader.take(usize::from(length & 0x7f))?;
    }
    let (r, s) = (reader.number()?, reader.number()?);
    Signature::from_scalars(r, s).ok().map(|signature| signature.normalize_s())
}

/// Reads the way the old parser did: as `ecdsa_signature_parse_der_lax` of Bitcoin Core.
struct Lax<'a>(&'a [u8]);

impl<'a> Lax<'a> {
    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|byte| byte[0])
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<[u8; 32]> {
        (self.byte()? == 2).then_some(())?;
        let length = self.length()?;
        let digits = self.take(length)?;
        let zeros = digits.iter().take_while(|digit| **digit == 0).count();
        let digits = &digits[zeros..];
        let mut number = [0; 32];
        number[32usize.checked_sub(digits.len())?..].copy_from_slice(digits);
        Some(number)
    }

    fn length(&mut self) -> Option<usize> {
        let first = self.byte()?;
        if first & 0x80 == 0 {
            return Some(first.into());
        }
        let digits = self.take((first & 0x7f).into())?;
        let zeros = digits.iter().take_while(|digit| **digit == 0).count();
        let digits = &digits[zeros..];
        if digits.len() > 3 {
            return None;
        }
        Some(digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)))
    }
}

/// Whether a signature, with its last byte that says what is signed, is strict DER (BIP66).
pub(crate) fn is_strict_der(bytes: &[u8]) -> bool {
    // 0x30 [length] 0x02 [length of r] [r] 0x02 [length of s] [s] [what is signed]
    let &[0x30, length, 0x02, r_length, ..] = bytes else { return false };
    let r_length = usize::from(r_length);
    if !(9..=73).contains(&bytes.len()) || usize::from(length) != bytes.len() - 3 || 5 + r_length >= bytes.len() {
        return false;
    }
    let s_length = usize::from(bytes[5 + r_length]);
    if r_length + s_length + 7 != bytes.len() || bytes[4 + r_length] != 2 {
        return false;
    }
    is_strict_number(&bytes[4..4 + r_length]) && is_strict_number(&bytes[6 + r_length..6 + r_length + s_length])
}

/// A positive number without a zero in front that it does not need.
fn is_strict_number(digits: &[u8]) -> bool {
    match digits {
        [] => false,
        [first, ..] if first & 0x80 != 0 => false,
        [0, second, ..] => second & 0x80 != 0,
        _ => true,
    }
}
