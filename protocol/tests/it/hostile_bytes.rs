//! Bytes from a peer that does not keep to the protocol, by the oracles that the fuzz targets share.

use adit_protocol::{FRAME_HEADER_BYTES, PROTOCOL_VERSION, SecretKey, SignedReceipt, sign_receipts};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::dump::{self, Pin};
use crate::{oracle, wire};

/// The bodies of all pinned frames: where mutations start from.
fn bodies() -> Vec<Vec<u8>> {
    fn of<M>(pins: Vec<Pin<M>>) -> impl Iterator<Item = Vec<u8>> {
        pins.into_iter().map(|(_, dump)| dump::bytes(&dump)[FRAME_HEADER_BYTES..].to_vec())
    }
    of(wire::greeting_pins())
        .chain(of(wire::client_message_pins()))
        .chain(of(wire::gateway_to_client_pins()))
        .chain(of(wire::node_message_pins()))
        .chain(of(wire::gateway_to_node_pins()))
        .chain(of(wire::stream_request_pins()))
        .chain(of(wire::stream_reply_pins()))
        .chain(events())
        .chain(answers())
        .collect()
}

/// Bodies of `Event` frames, with every event and every result in them.
fn events() -> impl Iterator<Item = Vec<u8>> {
    let before = dump::bytes("08 04 0b*16");
    let results = wire::job_result_pins().into_iter().map(|(_, dump)| format!("03 {dump}"));
    let dumps = wire::job_event_pins().into_iter().map(|(_, dump)| dump).chain(results);
    dumps.map(move |dump| [before.clone(), dump::bytes(&dump)].concat())
}

/// Bodies of `Answer` frames, with every answer in them.
fn answers() -> impl Iterator<Item = Vec<u8>> {
    wire::answer_pins().into_iter().map(|(_, dump)| dump::bytes(&format!("08 05 ac02 {dump}")))
}

/// One change of some bytes.
#[derive(Debug, Clone)]
enum Mutation {
    Set(Index, u8),
    Flip(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index),
    Cut(Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    // The bytes at which varints, options and lengths turn.
    let byte = prop_oneof![select(vec![0x00, 0x01, 0x02, 0x7f, 0x80, 0xff]), any::<u8>()];
    prop_oneof![
        (any::<Index>(), byte.clone()).prop_map(|(at, to)| Mutation::Set(at, to)),
        (any::<Index>(), 0u8..8).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        (any::<Index>(), vec(byte, 1..12)).prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        any::<Index>().prop_map(Mutation::Remove),
        any::<Index>().prop_map(Mutation::Cut),
    ]
}

fn mutated(mut bytes: Vec<u8>, mutations: Vec<Mutation>) -> Vec<u8> {
    for mutation in mutations {
        if bytes.is_empty() {
            break;
        }
        match mutation {
            Mutation::Set(at, to) => *at.get_mut(&mut bytes) = to,
            Mutation::Flip(at, bit) => *at.get_mut(&mut bytes) ^= 1 << bit,
            Mutation::Insert(at, new) => {
                let at = at.index(bytes.len());
                bytes.splice(at..at, new);
            }
            Mutation::Remove(at) => drop(bytes.remove(at.index(bytes.len()))),
            Mutation::Cut(at) => bytes.truncate(at.index(bytes.len())),
        }
    }
    bytes
}

fn real_receipt() -> SignedReceipt {
    let node = SecretKey::from_seed([4; 32]);
    sign_receipts(&node, vec![wire::receipt(node.public())]).remove(0)
}

#[test]
fn pinned_frames_pass_the_oracle() {
    for body in bodies() {
        assert!(oracle::frame(&body) >= 1, "{}", hex::encode(&body));
    }
    assert!(oracle::receipt(&real_receipt().to_bytes()));
    assert!(oracle::specification(&dump::bytes(wire::SPEC)));
}

/// A gateway may predict what it likes.
#[test]
fn longest_times_are_shown() {
    let most = "ffffffffffffffffff01 ".repeat(7);
    let decision = format!("02 00 00 00 00 00 00 00 01 ed*32 {most} 00 00 00 00");
    assert_eq!(oracle::frame(&dump::bytes(&format!("08 05 00 0e 01 00 00 {decision}"))), 1);
}

/// A length that promises 16 EiB must not be believed: nothing that long can follow.
#[test]
fn huge_lengths_are_refused_without_an_allocation() {
    let rows = [
        ("a string", "08 00 ffffffffffffffffff01"),
        ("inline input", &format!("08 00 1d*16 {} 01 ffffffffffffffffff01", wire::SPEC)),
        ("named inputs", "08 00 1d*16 4d*32 ac02 14*32 05 ffffffffffffffffff01 01 61"),
        ("a named input's name", "08 00 1d*16 4d*32 ac02 14*32 05 01 ffffffffffffffffff01 61"),
        ("missing blobs", "08 03 0b*16 ffffffffffffffffff01 4d*32"),
        ("labels", "08 01 04 61646974 02 00 00 00 00 00 00 00 00 ffffffffffffffffff01"),
        ("a GPU's class", "08 01 04 61646974 02 00 01 ffffffffffffffffff01 61"),
        ("known modules", &format!("08 01 {} 00 ffffffffffffffffff01 4d*32", wire::OFFER)),
        ("a token", &format!("08 01 {} 00 00 01 ffffffffffffffffff01 61", wire::OFFER)),
        ("a reason to pause", "08 06 02 ffffffffffffffffff01 61"),
        ("steps", "08 05 00 0e ffffffffffffffffff01 ed*104"),
        ("candidates", "08 05 00 0e 01 00 00 02 00 00 00 00 00 00 00 ffffffffffffffffff01 ed*104"),
        ("an integer that goes on for ever", "08 03 ff*32"),
    ];
    for (what, dump) in rows {
        assert_eq!(oracle::frame(&dump::bytes(dump)), 0, "{what}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_frames_are_messages_or_errors(body in vec(any::<u8>(), 0..200), variant in 0u8..8) {
        oracle::frame(&body);
        oracle::frame(&[&[PROTOCOL_VERSION, variant], &body[..]].concat());
    }

    #[test]
    fn mutated_frames_are_messages_or_errors(body in select(bodies()), mutations in vec(mutation(), 1..4)) {
        oracle::frame(&mutated(body, mutations));
    }

    #[test]
    fn mutated_specifications_are_checked_and_priced(mutations in vec(mutation(), 1..6)) {
        oracle::specification(&mutated(dump::bytes(wire::SPEC), mutations));
    }

    #[test]
    fn mutated_receipts_are_receipts_or_errors(mutations in vec(mutation(), 1..4)) {
        oracle::receipt(&mutated(real_receipt().to_bytes(), mutations));
    }

    #[test]
    fn mutated_settlements_settle_nothing_else(mutations in vec(mutation(), 1..4)) {
        let bytes = dump::bytes(&format!("{} {}", wire::SETTLEMENT, wire::PROOF));
        oracle::settlement(&mutated(bytes, mutations), &real_receipt());
    }
}
