//! A leaf's bytes at their limit.

use adit_protocol::limits::LEAF_BYTES_MAX;
use adit_protocol::{
    FrameError, Leaf, LeafError, Microcredits, PaidKind, Receipt, SecretKey, Settled, UnixMillis, sign_receipts,
};

use crate::wire;

const TIME: UnixMillis = UnixMillis(1_700_000_000_000);

/// The bytes of a leaf with a receipt whose engine has so long a name; as they are written of any receipt, and of one that was verified.
fn leaf(kind: PaidKind, engine: usize) -> Vec<u8> {
    let node = SecretKey::from_seed([4; 32]);
    let receipt = Receipt { engine: "e".repeat(engine), ..wire::receipt(node.public()).public() };
    let (held, fee) = (receipt.cost, Microcredits(0));
    let receipt = sign_receipts(&node, vec![receipt]).remove(0);
    let settled = Box::new(Settled { receipt: receipt.clone(), held, fee, time: TIME });
    let whole = match kind {
        PaidKind::Settlement => Leaf::Settlement(settled),
        PaidKind::Attempt => Leaf::Attempt(settled),
    };
    let bytes = whole.to_bytes();
    assert_eq!(Leaf::paid_bytes(kind, &receipt.verify().unwrap(), held, fee, TIME), bytes);
    bytes
}

#[test]
fn leaf_of_4096_bytes_is_read_and_one_of_4097_is_refused_by_its_size() {
    assert_eq!(LEAF_BYTES_MAX, 4_096);
    for kind in [PaidKind::Settlement, PaidKind::Attempt] {
        let engine = LEAF_BYTES_MAX - leaf(kind, 2_000).len() + 2_000;
        let (most, over) = (leaf(kind, engine), leaf(kind, engine + 1));
        assert_eq!((most.len(), over.len()), (4_096, 4_097));
        assert_eq!(Leaf::from_bytes(&most).unwrap().to_bytes(), most);
        let refused = Leaf::from_bytes(&over).unwrap_err();
        assert_eq!(
            (&refused, refused.to_string().as_str()),
            (&LeafError::TooLarge(4_097), "a leaf of 4097 bytes; the limit is 4096")
        );
    }
    // A size that is allowed makes no leaf of what is none.
    assert_eq!(Leaf::from_bytes(&[&leaf(PaidKind::Settlement, 7)[..], &[0]].concat()), Err(FrameError::Trailing(1).into()));
}
