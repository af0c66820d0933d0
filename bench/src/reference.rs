//! The bare QUIC server that ours is compared with: the same endpoint settings, keys and streams, in a process of its own as the
//! gateway is, and nothing behind them.

use std::io::Read;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use adit_protocol::{Digest, SecretKey, StreamRequest};
use adit_transport::{Connection, Dialer, GatewayAddr, Listener, Transfer};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use tempfile::TempDir;

use crate::net::{Process, scratch_folder};

/// The hidden flag that makes this program the server.
pub(crate) const SERVER_FLAG: &str = "--reference-server";
/// What is at most this long is echoed; of what is longer only the length is sent back.
const ECHO_BYTES_MAX: usize = 1024;

/// A connection to the server, and the server's process.
#[derive(Debug)]
pub(crate) struct Reference {
    connection: Connection,
    _dialer: Dialer,
    _server: Process,
    _folder: TempDir,
}

impl Reference {
    /// Starts the server and connects to it.
    pub(crate) async fn start() -> Result<Self> {
        let folder = scratch_folder()?;
        let ready = folder.path().join("ready");
        let program = std::env::current_exe().context("this program's own path is unknown")?;
        let mut server = Process::spawn("reference", Command::new(program).arg(SERVER_FLAG).arg(&ready), folder.path())?;
        let addr = server.await_ready(&ready).await?;
        let dialer = Dialer::new(SecretKey::generate())?;
        let connection = dialer.dial(&addr).await?;
        Ok(Self { connection, _dialer: dialer, _server: server, _folder: folder })
    }

    /// Sends `bytes` on a stream of their own, at most about [`ECHO_BYTES_MAX`], and waits for them to come back.
    pub(crate) async fn echo(&self, bytes: &[u8]) -> Result<()> {
        let answer = self.exchange(Bytes::copy_from_slice(bytes)).await?;
        ensure!(answer.ends_with(bytes), "the reference server did not echo");
        Ok(())
    }

    /// Sends `bytes` to nowhere, and waits until they are all there.
    pub(crate) async fn sink(&self, bytes: Bytes) -> Result<()> {
        let length = bytes.len() as u64;
        let answer = self.exchange(bytes).await?;
        let received = answer.try_into().map(u64::from_le_bytes).ok().context("the reference server did not count")?;
        ensure!(received >= length, "the reference server received {received} of {length} bytes");
        Ok(())
    }

    async fn exchange(&self, bytes: Bytes) -> Result<Vec<u8>> {
        // The library opens a stream with a frame that says its purpose: 39 bytes that the server takes as part of the rest.
        let mut transfer = self.connection.open_transfer(&StreamRequest::Get(Digest([0; 32]))).await?;
        transfer.send.write_chunk(bytes).await?;
        transfer.send.finish()?;
        Ok(transfer.recv.read_to_end(2 * ECHO_BYTES_MAX).await?)
    }
}

/// Is the server: writes its address to `ready` and answers until its standard input ends, which it does with whoever started it.
pub(crate) async fn serve(ready: &Path) -> Result<()> {
    let key = SecretKey::generate();
    let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into(), &key)?;
    let addr = GatewayAddr { host: listener.local_addr().to_string(), key: key.public() };
    std::fs::write(ready, format!("{addr}\n")).with_context(|| format!("cannot write {}", ready.display()))?;
    let orphaned = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    tokio::select! {
        () = accept(&listener) => {}
        _ = orphaned => {}
    }
    Ok(())
}

async fn accept(listener: &Listener) {
    while let Some(handshake) = listener.accept().await {
        let Ok(connection) = handshake.complete().await else { continue };
        tokio::spawn(async move {
            while let Ok(transfer) = connection.accept_transfer().await {
                tokio::spawn(answer(transfer));
            }
        });
    }
}

async fn answer(mut transfer: Transfer) -> Result<()> {
    let mut received = 0;
    let mut echo = Vec::new();
    while let Some(chunk) = transfer.recv.read_chunk(usize::MAX, true).await? {
        received += chunk.bytes.len();
        if received <= ECHO_BYTES_MAX {
            echo.extend_from_slice(&chunk.bytes);
        }
    }
    if received > ECHO_BYTES_MAX {
        echo = (received as u64).to_le_bytes().to_vec();
    }
    transfer.send.write_all(&echo).await?;
    transfer.send.finish()?;
    Ok(())
}
