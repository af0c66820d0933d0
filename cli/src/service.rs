//! What `adit up`, `adit gateway` and `adit node` share: the way they say that they are ready, and threads of their own.

use std::future::Future;
use std::path::Path;
use std::thread;

use adit_transport::GatewayAddr;
use anyhow::Context;
use tokio::sync::oneshot;

use crate::reactor::block_on;
use crate::sink::AtomicFile;
use crate::table::print_line;

/// Says that the gateway at `address` takes connections: on standard output, and in the file that scripts wait for.
pub(crate) fn announce(address: &GatewayAddr, ready_file: Option<&Path>) -> anyhow::Result<()> {
    if let Some(path) = ready_file {
        AtomicFile::write(path, format!("{address}\n").as_bytes())?;
    }
    print_line(&address.to_string())
}

/// A part of the network on a thread of its own, with an event loop of its own.
#[derive(Debug)]
pub(crate) struct Service {
    stop: Option<oneshot::Sender<()>>,
    ended: oneshot::Receiver<()>,
    thread: thread::JoinHandle<anyhow::Result<()>>,
}

impl Service {
    /// Starts `serve`, which ends when the future that it is given does.
    pub(crate) fn spawn<F, S>(name: &str, serve: S) -> anyhow::Result<Self>
    where
        S: FnOnce(oneshot::Receiver<()>) -> F + Send + 'static,
        F: Future<Output = anyhow::Result<()>>,
    {
        let (stop, stopped) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let body = move || {
            // Dropped however this ends, which wakes whoever waits for it.
            let _end: oneshot::Sender<()> = end;
            block_on(serve(stopped))
        };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(body).context("cannot start a thread")?;
        Ok(Self { stop: Some(stop), ended, thread })
    }

    /// Waits until the service ends; at once where it has. Cancel-safe.
    pub(crate) async fn ended(&mut self) {
        if !self.ended.is_terminated() {
            // Nothing is ever sent; the sender's end is the news.
            let _ = (&mut self.ended).await;
        }
    }

    /// Asks the service to stop.
    pub(crate) fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // A service that has ended needs no asking.
            let _ = stop.send(());
        }
    }

    /// What the service ended with; to be called after [`Service::ended`].
    pub(crate) fn result(self) -> anyhow::Result<()> {
        match self.thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}
