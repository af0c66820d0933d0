//! The one thread that waits: for the network, for workers, for signals.

use std::future::Future;

use anyhow::Context;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Runs `future` to its end on this thread. Nothing here computes, so that more threads would only add wakes between them.
pub(crate) fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = Builder::new_current_thread().enable_all().build().context("cannot start the event loop")?;
    let result = runtime.block_on(future);
    // A read of standard input may still hang in a blocking thread; it must not hold up the end.
    runtime.shutdown_background();
    result
}

/// Lets a write that is over the limit on file sizes (`ulimit -f`) fail as one on a full disk does, instead of ending the process. To be
/// called inside of a tokio runtime, once for the process.
pub(crate) fn survive_file_limit() -> anyhow::Result<()> {
    // A handler, once installed, stays; there is nothing to hear from it.
    let over_limit = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
    signal(over_limit).map(drop).context("cannot listen to signals")
}

/// The signal by which a service manager has a service read its configuration anew. While this lives, it does not end the process.
#[derive(Debug)]
pub(crate) struct Hangups(Signal);

impl Hangups {
    /// Starts listening.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        signal(SignalKind::hangup()).map(Self).context("cannot listen to signals")
    }

    /// Waits for the next of them. Cancel-safe.
    pub(crate) async fn next(&mut self) {
        self.0.recv().await;
    }
}

/// Ctrl-C and the signal that a service manager stops with. While this lives, neither ends the process by itself.
#[derive(Debug)]
pub(crate) struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    /// Starts listening.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen to signals");
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// Waits for the next of them. Cancel-safe.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
