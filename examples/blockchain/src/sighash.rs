//! What a signature in a transaction signs: the old way, the way of BIP143, and the way of BIP341.

use crate::hash::{Hash, sha256, tagged};
use crate::read::{write_bytes, write_length};
use crate::transaction::{Output, Transaction};

const NONE: u32 = 2;
const SINGLE: u32 = 3;
const ANYONE_CAN_PAY: u32 = 0x80;

/// One transaction, with those digests that several of its inputs share.
#[derive(Debug)]
pub(crate) struct Signed<'a> {
    pub(crate) transaction: &'a Transaction,
    /// What each input spends, where all of it is known. Only BIP341 signs all of them.
    pub(crate) spent: Option<&'a [Output]>,
    spends: [u8; 32],
    sequences: [u8; 32],
    outputs: [u8; 32],
}

impl<'a> Signed<'a> {
    pub(crate) fn new(transaction: &'a Transaction, spent: Option<&'a [Output]>) -> Self {
        // Old transactions sign nothing of this.
        let (mut spends, mut sequences, mut outputs) = (Vec::new(), Vec::new(), Vec::new());
        for input in &transaction.inputs {
            input.spends.write(&mut spends);
            sequences.extend(input.sequence.to_le_bytes());
        }
        transaction.outputs.iter().for_each(|output| output.write(&mut outputs));
        Self { transaction, spent, spends: sha256(&spends), sequences: sha256(&sequences), outputs: sha256(&outputs) }
    }

    /// What the first program had its signatures sign: a copy of the transaction that leaves things out. `script` is without what the
    /// interpreter takes out of it.
    pub(crate) fn legacy(&self, index: usize, script: &[u8], kind: u32) -> [u8; 32] {
        let Transaction { version, inputs, outputs, lock_time } = self.transaction;
        if kind & 0x1f == SINGLE && index >= outputs.len() {
            // The first program returned the number 1 where a digest was wanted, and so it stayed.
            let mut one = [0; 32];
            one[0] = 1;
            return one;
        }
        let mut bytes = version.to_le_bytes().to_vec();
        let signs_others = kind & ANYONE_CAN_PAY == 0;
        write_length(if signs_others { inputs.len() } else { 1 }, &mut bytes);
        for (at, input) in inputs.iter().enumerate().filter(|(at, _)| signs_others || *at == index) {
            input.spends.write(&mut bytes);
            write_bytes(if at == index { script } else { &[] }, &mut bytes);
            let is_open = at != index && matches!(kind & 0x1f, NONE | SINGLE);
            bytes.extend(if is_open { [0; 4] } else { input.sequence.to_le_bytes() });
        }
        match kind & 0x1f {
            NONE => write_length(0, &mut bytes),
            SINGLE => {
                write_length(index + 1, &mut bytes);
                let nothing = Output { value: u64::MAX, script: Vec::new() };
                (0..index).for_each(|_| nothing.write(&mut bytes));
                outputs[index].write(&mut bytes);
            }
            _ => {
                write_length(outputs.len(), &mut bytes);
                outputs.iter().for_each(|output| output.write(&mut bytes));
            }
        }
        bytes.extend(lock_time.to_le_bytes());
        bytes.extend(kind.to_le_bytes());
        Hash::of(&bytes).0
    }

    /// What witnesses of version 0 sign (BIP143): the value too, and nothing that takes longer the more inputs there are.
    pub(crate) fn version_0(&self, index: usize, script: &[u8], value: u64, kind: u32) -> [u8; 32] {
        let twice = |digest: &[u8; 32]| sha256(digest);
        let (base, anyone) = (kind & 0x1f, kind & ANYONE_CAN_PAY != 0);
        let input = &self.transaction.inputs[index];
        let mut bytes = self.transaction.version.to_le_bytes().to_vec();
        bytes.extend(if anyone { [0; 32] } else { twice(&self.spends) });
        bytes.extend(if anyone || matches!(base, NONE | SINGLE) { [0; 32] } else { twice(&self.sequences) });
        input.spends.write(&mut bytes);
        write_bytes(script, &mut bytes);
        bytes.extend(value.to_le_bytes());
        bytes.extend(input.sequence.to_le_bytes());
        bytes.extend(match (base, self.transaction.outputs.get(index)) {
            (NONE, _) | (SINGLE, None) => [0; 32],
            (SINGLE, Some(output)) => twice(&digest_of(output)),
            _ => twice(&self.outputs),
        });
        bytes.extend(self.transaction.lock_time.to_le_bytes());
        bytes.extend(kind.to_le_bytes());
        Hash::of(&bytes).0
    }

    /// What a key path of version 1 signs (BIP341). None where the kind is none that it knows, or where there is no such output.
    pub(crate) fn version_1(&self, index: usize, spent: &[Output], annex: Option<&[u8]>, kind: u8) -> Option<[u8; 32]> {
        if !matches!(kind, 0..=3 | 0x81..=0x83) {
            return None;
        }
        let (base, anyone) = (u32::from(kind & 3), kind & 0x80 != 0);
        let input = &self.transaction.inputs[index];
        // The first zero is the epoch.
        let mut bytes = vec![0, kind];
        bytes.extend(self.transaction.version.to_le_bytes());
        bytes.extend(self.transaction.lock_time.to_le_bytes());
        if !anyone {
            bytes.extend(self.spends);
            bytes.extend(sha256(&spent.iter().flat_map(|output| output.value.to_le_bytes()).collect::<Vec<_>>()));
            bytes.extend(scripts_digest(spent));
            bytes.extend(self.sequences);
        }
        if !matches!(base, NONE | SINGLE) {
            bytes.extend(self.outputs);
        }
        bytes.push(annex.is_some().into());
        if anyone {
            input.spends.write(&mut bytes);
            spent[index].write(&mut bytes);
            bytes.extend(input.sequence.to_le_bytes());
        } else {
            bytes.extend((index as u32).to_le_bytes());
        }
        if let Some(annex) = annex {
            let mut whole = Vec::new();
            write_bytes(annex, &mut whole);
            bytes.extend(sha256(&whole));
        }
        if base == SINGLE {
            bytes.extend(digest_of(self.transaction.outputs.get(index)?));
        }
        Some(tagged("TapSighash", &bytes))
    }
}

fn digest_of(output: &Output) -> [u8; 32] {
    let mut bytes = Vec::new();
    output.write(&mut bytes);
    sha256(&bytes)
}

fn scripts_digest(spent: &[Output]) -> [u8; 32] {
    let mut bytes = Vec::new();
    spent.iter().for_each(|output| write_bytes(&output.script, &mut bytes));
    sha256(&bytes)
}
