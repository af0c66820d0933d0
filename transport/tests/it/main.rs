//! Two ends on loopback.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod blobs;
mod connections;

use std::net::SocketAddr;

use adit_protocol::SecretKey;
use adit_transport::{Connection, Dialer, GatewayAddr, Listener};

/// A listener on loopback, its address, and a dialer.
fn pair() -> (Listener, GatewayAddr, Dialer) {
    let key = SecretKey::from_seed([1; 32]);
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let listener = Listener::bind(any, &key).unwrap();
    let addr = GatewayAddr { host: listener.local_addr().to_string(), key: key.public() };
    (listener, addr, Dialer::new(SecretKey::from_seed([2; 32])).unwrap())
}

/// Both ends of one connection.
async fn connected() -> (Listener, Dialer, Connection, Connection) {
    let (listener, addr, dialer) = pair();
    let (near, far) = tokio::join!(dialer.dial(&addr), async { listener.accept().await.unwrap().complete().await });
    (listener, dialer, near.unwrap(), far.unwrap())
}
