use std::io::{Seek, Write};

use adit_protocol::{BlobRef, StreamRequest};
use adit_transport::{BlobError, BlobStore, TransferError, read_request, receive_blob, send_file};

use crate::connected;

/// A few disk pieces and a bit, so that every edge of the pieces is met.
fn content() -> Vec<u8> {
    (0..3 * 1024 * 1024 + 17u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

async fn transfer(announced: BlobRef, sent: &[u8]) -> (tempfile::TempDir, BlobStore, Result<BlobRef, TransferError>) {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path(), 1 << 30).unwrap();
    let (_listener, _dialer, near, far) = connected().await;
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(sent).unwrap();
    file.rewind().unwrap();
    let sending = async {
        let mut transfer = near.open_transfer(&StreamRequest::Put(announced)).await.unwrap();
        // The receiver may stop us half-way; that is its verdict, not a failure of the test.
        let _ = send_file(&mut transfer.send, file, sent.len() as u64).await;
        let _ = transfer.send.finish();
        let _ = transfer.send.stopped().await;
    };
    let receiving = async {
        let mut transfer = far.accept_transfer().await.unwrap();
        assert_eq!(read_request(&mut transfer.recv).await.unwrap(), StreamRequest::Put(announced));
        receive_blob(&mut transfer.recv, store.writer(announced.bytes).unwrap(), Some(announced), false).await
    };
    let ((), received) = tokio::join!(sending, receiving);
    (dir, store, received)
}

#[tokio::test]
async fn file_arrives_under_its_name() {
    let content = content();
    let blob = BlobRef::of(&content);
    let (_dir, store, received) = transfer(blob, &content).await;
    assert_eq!(received.unwrap(), blob);
    assert!(store.contains(&blob.digest));
}

#[tokio::test]
async fn altered_short_and_long_transfers_are_refused() {
    let content = content();
    let blob = BlobRef::of(&content);
    let mut altered = content.clone();
    altered[2_000_000] ^= 1;
    let long = [&content[..], b"!"].concat();
    for (sent, wants_too_large) in [(&altered[..], false), (&content[..content.len() - 1], false), (&long, true)] {
        let (dir, store, received) = transfer(blob, sent).await;
        match received {
            Err(TransferError::Blob(BlobError::Mismatch { .. })) => assert!(!wants_too_large),
            Err(TransferError::Blob(BlobError::TooLarge { .. })) => assert!(wants_too_large),
            other => panic!("{other:?}"),
        }
        assert!(!store.contains(&blob.digest));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
