//! A client's receipts, page by page.

use adit_ledger::Reader;
use adit_protocol::PublicKey;

use crate::fixture::{FIRST, client, disk_with, entry, open};

/// The indexes of all of a client's receipts, asked for in pages of `limit`; each receipt is checked to be the one of its index.
fn walk(reader: &Reader, client: &PublicKey, limit: usize) -> Vec<u64> {
    let mut indexes = Vec::new();
    let mut from = Some(0);
    while let Some(index) = from {
        let page = reader.receipts_of(client, index, limit).unwrap();
        assert!(page.rows.len() == limit || page.next.is_none(), "only the last page is short");
        for (index, receipt) in &page.rows {
            assert_eq!(receipt, entry(*index - FIRST).receipt.signed());
        }
        indexes.extend(page.rows.iter().map(|(index, _)| *index));
        from = page.next;
    }
    indexes
}

#[test]
fn pages_of_every_size_make_the_same_list() {
    let ledger = open(&disk_with(0..40));
    for c in 0..3 {
        let want: Vec<u64> = (0..40).filter(|n| n % 3 == c).map(|n| FIRST + n).collect();
        for limit in [1, 2, 3, 12, 13, 14, 15, usize::MAX] {
            assert_eq!(walk(ledger.reader(), &client(c), limit), want, "client {c}, pages of {limit}");
        }
    }
}

#[test]
fn page_begins_where_it_is_asked_to() {
    let ledger = open(&disk_with(0..10));
    // Client 0 has 0, 3, 6 and 9.
    let rows: [(u64, usize, &[u64], Option<u64>); 7] = [
        (0, 2, &[0, 3], Some(6)),
        (3, 2, &[3, 6], Some(9)),
        (4, 2, &[6, 9], None),
        (4, 0, &[], Some(6)),
        (9, 5, &[9], None),
        (10, 5, &[], None),
        (u64::MAX, 5, &[], None),
    ];
    for (from, limit, want, next) in rows {
        let page = ledger.reader().receipts_of(&client(0), from.saturating_add(FIRST), limit).unwrap();
        let indexes: Vec<u64> = page.rows.iter().map(|(index, _)| *index - FIRST).collect();
        assert_eq!((indexes.as_slice(), page.next.map(|next| next - FIRST)), (want, next), "from {from}, at most {limit}");
    }
}

#[test]
fn stranger_has_no_receipts() {
    let ledger = open(&disk_with(0..10));
    for key in [[0xff; 32], [3; 32]] {
        let page = ledger.reader().receipts_of(&PublicKey(key), 0, 10).unwrap();
        assert!(page.rows.is_empty() && page.next.is_none());
    }
}
