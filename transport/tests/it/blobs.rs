use std::cell::Cell;
use std::io::{Seek, Write};
use std::time::Duration;

use adit_protocol::{BlobRef, StreamRequest};
use adit_transport::{BlobError, BlobStore, TransferError, read_request, receive_blob, receive_blob_while, send_file};

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

/// Once a stream that brought nothing more held what had come of it for as long as its connection lived.
#[tokio::test]
async fn transfer_that_brings_nothing_is_given_up_unless_it_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path(), 1 << 20).unwrap();
    let (_listener, _dialer, near, far) = connected().await;
    let blob = BlobRef::of(b"hello");
    let mut sending = near.open_transfer(&StreamRequest::Put(blob)).await.unwrap();
    sending.send.write_all(b"hell").await.unwrap();
    let mut transfer = far.accept_transfer().await.unwrap();
    read_request(&mut transfer.recv).await.unwrap();
    let (stall, asked) = (Duration::from_millis(20), Cell::new(0));
    let waits_on = || {
        asked.set(asked.get() + 1);
        asked.get() < 3
    };
    let writer = store.writer(blob.bytes).unwrap();
    let received = receive_blob_while(&mut transfer.recv, writer, Some(blob), false, (stall, waits_on)).await;
    assert!(matches!(received, Err(TransferError::Stalled(after)) if after == stall));
    assert_eq!(asked.get(), 3);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
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

/// Once what trickled in stayed in memory until it was a MiB, where no bound of the store's saw it.
#[tokio::test]
async fn what_trickles_in_reaches_the_disk_while_more_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path(), 1 << 20).unwrap();
    let (_listener, _dialer, near, far) = connected().await;
    let mut sending = near.open_transfer(&StreamRequest::Put(BlobRef::of(b""))).await.unwrap();
    let mut transfer = far.accept_transfer().await.unwrap();
    read_request(&mut transfer.recv).await.unwrap();
    let receiving = receive_blob(&mut transfer.recv, store.writer(1 << 20).unwrap(), None, false);
    let trickling = async {
        let on_disk = || std::fs::read_dir(dir.path()).unwrap().any(|file| file.unwrap().metadata().unwrap().len() > 0);
        for sent in 1_u64.. {
            sending.send.write_all(b"x").await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            if on_disk() {
                sending.send.finish().unwrap();
                return sent;
            }
            assert!(sent < 1_000, "nothing is on the disk after {sent} bytes");
        }
        unreachable!()
    };
    let (received, sent) = tokio::join!(receiving, trickling);
    assert_eq!(received.unwrap().bytes, sent);
}

/// Once a file that ended too early looked whole on its stream, and its reader said that the sender was wrong.
#[tokio::test]
async fn file_that_is_shorter_than_announced_breaks_the_transfer_off() {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path(), 1 << 30).unwrap();
    let (_listener, _dialer, near, far) = connected().await;
    let content = content();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&content[..1 << 20]).unwrap();
    file.rewind().unwrap();
    let blob = BlobRef::of(&content);
    let sending = async {
        let mut transfer = near.open_transfer(&StreamRequest::Put(blob)).await.unwrap();
        let sent = send_file(&mut transfer.send, file, blob.bytes).await;
        assert!(matches!(sent, Err(TransferError::Io(_))), "{sent:?}");
    };
    let receiving = async {
        let mut transfer = far.accept_transfer().await.unwrap();
        read_request(&mut transfer.recv).await.unwrap();
        receive_blob(&mut transfer.recv, store.writer(blob.bytes).unwrap(), Some(blob), false).await
    };
    let ((), received) = tokio::join!(sending, receiving);
    assert!(matches!(received, Err(TransferError::Read(_))), "{received:?}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
