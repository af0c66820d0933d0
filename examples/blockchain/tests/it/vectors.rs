//! Bitcoin Core's own vectors, which lie beside the blocks.

use std::path::Path;

use adit_example_blockchain::{Flags, Hash, Input, OutPoint, Output, ScriptVerdict, Transaction, legacy_digest, verify_input};
use serde_json::Value;

use crate::assembly::assemble;

fn vectors(name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/core").join(name);
    let all: Vec<Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    // A list with one text in it is a comment.
    all.into_iter().filter(|entry| entry.as_array().is_none_or(|list| list.len() > 1)).collect()
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn hash(value: &Value) -> Hash {
    let mut bytes: [u8; 32] = bytes(value).try_into().unwrap();
    bytes.reverse();
    Hash(bytes)
}

/// The rules among the named ones; the others are policies, which a block need not keep.
fn flags(names: &str) -> Flags {
    let has = |name| names.split(',').any(|flag| flag == name);
    Flags {
        script_hash: has("P2SH"),
        strict_der: has("DERSIG"),
        lock_time: has("CHECKLOCKTIMEVERIFY"),
        sequence: has("CHECKSEQUENCEVERIFY"),
        witness: has("WITNESS"),
        null_dummy: has("NULLDUMMY"),
        taproot: has("TAPROOT"),
    }
}

/// Whether a script that ends so breaks a rule: what else can be wrong with one breaks a policy, under which it was run.
fn is_rule(error: &str, names: &str) -> bool {
    const POLICIES: [&str; 11] = [
        "SIG_PUSHONLY",
        "MINIMALDATA",
        "MINIMALIF",
        "SIG_HIGH_S",
        "SIG_HASHTYPE",
        "PUBKEYTYPE",
        "WITNESS_PUBKEYTYPE",
        "NULLFAIL",
        "CLEANSTACK",
        "OP_CODESEPARATOR",
        "SIG_FINDANDDELETE",
    ];
    let is_policy = POLICIES.contains(&error)
        || error.starts_with("DISCOURAGE_")
        || error == "SIG_DER" && !names.contains("DERSIG")
        || matches!(error, "UNKNOWN_ERROR" | "SCRIPTNUM") && names.contains("MINIMALDATA");
    !is_policy
}

/// Whether all of these names are of rules.
fn are_rules(names: &str) -> bool {
    const RULES: [&str; 7] = ["P2SH", "DERSIG", "CHECKLOCKTIMEVERIFY", "CHECKSEQUENCEVERIFY", "WITNESS", "NULLDUMMY", "TAPROOT"];
    names.split(',').all(|name| matches!(name, "" | "NONE") || RULES.contains(&name))
}

#[test]
fn scripts_end_as_in_bitcoin_core() {
    let (mut good, mut bad) = (0, 0);
    for entry in vectors("script_tests.json") {
        let list = entry.as_array().unwrap();
        let (witness, rest) = match list[0].as_array() {
            Some(witness) => (&witness[..], &list[1..]),
            None => (&[][..], &list[..]),
        };
        let [script_sig, script, names, expected] = [0, 1, 2, 3].map(|at| rest[at].as_str().unwrap());
        // Some are templates of taproot's script paths, which are not checked here.
        let is_template = entry.to_string().contains('#') && names.contains("TAPROOT");
        let is_good = expected == "OK";
        // A script that fails by a policy is good by the rules.
        if is_template || !is_good && !is_rule(expected, names) {
            continue;
        }
        let (items, value) = match witness.split_last() {
            Some((value, items)) => (items.iter().map(bytes).collect(), (value.as_f64().unwrap() * 1e8).round() as u64),
            None => (Vec::new(), 0),
        };
        let output = Output { value, script: assemble(script) };
        let result = verify_input(&spending(&output, assemble(script_sig), items), 0, &[output], flags(names));
        assert_eq!(result == Ok(ScriptVerdict::Checked), is_good, "{entry}: {result:?}");
        *(if is_good { &mut good } else { &mut bad }) += 1;
    }
    assert!(good > 600 && bad > 350, "{good} good and {bad} bad scripts were run");
}

/// The two transactions that those vectors mean.
fn spending(output: &Output, script: Vec<u8>, witness: Vec<Vec<u8>>) -> Transaction {
    let none = OutPoint { transaction: Hash::ZERO, index: u32::MAX };
    let input = |spends, script, witness| vec![Input { spends, script, sequence: u32::MAX, witness }];
    let made = Transaction { version: 1, inputs: input(none, vec![0, 0], vec![]), outputs: vec![output.clone()], lock_time: 0 };
    let spends = OutPoint { transaction: made.id(), index: 0 };
    let nothing = Output { value: output.value, script: Vec::new() };
    Transaction { version: 1, inputs: input(spends, script, witness), outputs: vec![nothing], lock_time: 0 }
}

/// Whether a transaction of the vectors holds: by itself, and each input with its output.
fn holds(entry: &Value, flags: Flags) -> bool {
    let Ok(transaction) = Transaction::parse(&bytes(&entry[1])) else { return false };
    if transaction.check().is_err() || transaction.is_coinbase() {
        return transaction.check().is_ok();
    }
    let spent = |input: &Input| {
        let point = |row: &Value| OutPoint { transaction: hash(&row[0]), index: row[1].as_i64().unwrap() as u32 };
        let row = entry[0].as_array().unwrap().iter().find(|row| point(row) == input.spends).unwrap();
        Output { value: row[3].as_u64().unwrap_or(0), script: assemble(row[2].as_str().unwrap()) }
    };
    let spent: Vec<Output> = transaction.inputs.iter().map(spent).collect();
    (0..spent.len()).all(|index| verify_input(&transaction, index, &spent, flags).is_ok())
}

#[test]
fn valid_transactions_hold_under_all_rules_but_those_they_leave_out() {
    let all = "P2SH,DERSIG,CHECKLOCKTIMEVERIFY,CHECKSEQUENCEVERIFY,WITNESS,NULLDUMMY,TAPROOT";
    let entries = vectors("tx_valid.json");
    for entry in &entries {
        let without: Vec<&str> = entry[2].as_str().unwrap().split(',').collect();
        let names: Vec<&str> = all.split(',').filter(|name| !without.contains(name)).collect();
        assert!(holds(entry, flags(&names.join(","))), "{entry}");
    }
    assert!(entries.len() > 100);
}

#[test]
fn invalid_transactions_do_not_hold() {
    let entries = vectors("tx_invalid.json");
    let entries: Vec<&Value> =
        entries.iter().filter(|entry| are_rules(&entry[2].as_str().unwrap().replace("BADTX", ""))).collect();
    for entry in &entries {
        assert!(!holds(entry, flags(entry[2].as_str().unwrap())), "{entry}");
    }
    assert!(entries.len() > 60, "{}", entries.len());
}

#[test]
fn old_digests_are_those_of_bitcoin_core() {
    let entries = vectors("sighash.json");
    for entry in entries.iter().skip(1) {
        let transaction = Transaction::parse(&bytes(&entry[0])).unwrap();
        // The first program takes the code separators out; its vectors leave them in.
        let script: Vec<u8> = bytes(&entry[1]).into_iter().filter(|byte| *byte != 0xab).collect();
        let (index, kind) = (entry[2].as_u64().unwrap() as usize, entry[3].as_i64().unwrap() as u32);
        assert_eq!(legacy_digest(&transaction, index, &script, kind), hash(&entry[4]), "{entry}");
    }
    assert!(entries.len() > 400);
}

#[test]
fn random_spends_end_as_in_bitcoin_core() {
    let entries = vectors("script_assets.json");
    let mut key_paths = 0;
    for entry in &entries {
        let spent: Vec<Output> = entry["prevouts"].as_array().unwrap().iter().map(|output| output_of(&bytes(output))).collect();
        let index = entry["index"].as_u64().unwrap() as usize;
        let flags = flags(entry["flags"].as_str().unwrap());
        for (side, is_good) in [("success", true), ("failure", false)] {
            let Some(side) = entry.get(side) else { continue };
            let mut transaction = Transaction::parse(&bytes(&entry["tx"])).unwrap();
            transaction.inputs[index].script = bytes(&side["scriptSig"]);
            transaction.inputs[index].witness = side["witness"].as_array().unwrap().iter().map(bytes).collect();
            let result = verify_input(&transaction, index, &spent, flags);
            assert_eq!(result.is_ok(), is_good, "{}: {result:?}", entry["comment"]);
            if is_good {
                assert_eq!(result, Ok(ScriptVerdict::Checked), "{}", entry["comment"]);
            }
        }
        key_paths += usize::from(flags.taproot);
    }
    assert!(key_paths > 70 && entries.len() > key_paths, "{key_paths} of {}", entries.len());
}

fn output_of(bytes: &[u8]) -> Output {
    let (value, script) = bytes.split_first_chunk().unwrap();
    let (length, script) = script.split_first().unwrap();
    let script = if *length == 0xfd { &script[2..] } else { script };
    Output { value: u64::from_le_bytes(*value), script: script.to_vec() }
}
