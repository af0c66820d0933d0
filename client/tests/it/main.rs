//! The client library against a gateway that a test plays by hand.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod handles;
mod patience;
mod uploads;

use adit_client::Client;
use adit_protocol::{BlobRef, GatewayToClient, Greeting, SecretKey, StreamReply, StreamRequest};
use adit_transport::{Connection, GatewayAddr, Inbox, Listener, Outbox, Transfer, read_request, write_frame};

/// A gateway that takes connections, and its address.
fn listener() -> (Listener, GatewayAddr) {
    let key = SecretKey::from_seed([1; 32]);
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), &key).unwrap();
    let address = GatewayAddr { host: listener.local_addr().to_string(), key: key.public() };
    (listener, address)
}

/// Takes a connection and its greeting, and answers it.
async fn greet(listener: &Listener, answer: GatewayToClient) -> (Connection, Outbox, Inbox) {
    let connection = listener.accept().await.unwrap().complete().await.unwrap();
    let (outbox, mut inbox) = connection.accept_control().await.unwrap();
    assert!(matches!(inbox.next().await, Ok(Some(Greeting::Client { .. }))));
    outbox.send(&answer).unwrap();
    (connection, outbox, inbox)
}

fn welcome() -> GatewayToClient {
    GatewayToClient::Welcome { software: "test".into() }
}

/// A client, and the gateway's end of its connection.
async fn connected() -> (Client, Connection, Outbox, Inbox) {
    let (listener, address) = listener();
    let (client, (connection, outbox, inbox)) =
        tokio::join!(Client::connect(SecretKey::from_seed([2; 32]), address), greet(&listener, welcome()));
    // The listener goes; the connection stays.
    std::mem::forget(listener);
    (client.unwrap(), connection, outbox, inbox)
}

/// Takes the one blob that is sent next.
async fn take_blob(connection: &Connection) -> BlobRef {
    let transfer = connection.accept_transfer().await.unwrap();
    take(transfer).await
}

async fn take(mut transfer: Transfer) -> BlobRef {
    let StreamRequest::Put(blob) = read_request(&mut transfer.recv).await.unwrap() else { panic!("only blobs are sent") };
    let bytes = transfer.recv.read_to_end(1 << 20).await.unwrap();
    assert_eq!(BlobRef::of(&bytes), blob);
    write_frame(&mut transfer.send, &StreamReply::Stored(blob)).await.unwrap();
    transfer.send.finish().unwrap();
    blob
}
