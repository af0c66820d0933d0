//! The sandbox worker: runs jobs of one tenant, one at a time.

use std::fs::File;
use std::sync::Arc;

use adit_protocol::limits::REASON_BYTES_MAX;
use wasmtime::Engine;

use super::ending::clip;
use super::executor::{Executor, Program};
use super::outbox::Outbox;
use super::stdio::Input;
use super::watchdog::Watchdog;
use crate::ipc::{FromSandbox, InputOrder, IpcError, Receiver, RunOrder, Sender, ToSandbox};
use crate::live::Live;
use crate::walls::Walls;

/// Modules that a worker keeps ready. Each holds a mapping of its code and a memory image.
pub(crate) const MODULE_SLOTS: usize = 8;

/// Serves orders until the supervisor closes the socket.
pub(super) async fn serve(engine: Engine, walls: Walls, sender: Sender, mut receiver: Receiver) -> wasmtime::Result<()> {
    let outbox = Arc::new(Outbox::new(sender));
    let Some(ToSandbox::Hello) = receiver.recv().await? else { return Ok(()) };
    let live = Live::from_fd(receiver.take_fd()?);
    let watchdog = Watchdog::start(live, Arc::clone(&outbox))?;
    let executor = Executor::new(engine, outbox, watchdog)?;
    // The watchdog was the last thread to start; from here on nothing may.
    walls.seal()?;
    let mut sandbox = Sandbox { executor, modules: Default::default(), receiver };
    while let Some(message) = sandbox.receiver.recv().await? {
        match message {
            ToSandbox::Run(order) => sandbox.run(*order).await?,
            ToSandbox::Hello => wasmtime::bail!("a second greeting"),
        }
    }
    Ok(())
}

struct Sandbox {
    executor: Executor,
    modules: [Option<Program>; MODULE_SLOTS],
    receiver: Receiver,
}

impl Sandbox {
    async fn run(&mut self, order: RunOrder) -> wasmtime::Result<()> {
        let answer = match self.prepare(&order)? {
            Ok(program) => {
                let input = self.input(order.input)?;
                FromSandbox::Ended(Box::new(self.executor.run(order.run, &order.spec, input, &program).await?))
            }
            Err(reason) => {
                self.input(order.input)?;
                FromSandbox::Unusable(clip(reason, REASON_BYTES_MAX))
            }
        };
        let sender = self.executor.outbox().sender();
        sender.push(&answer)?;
        Ok(sender.drain().await?)
    }

    /// The order's module, ready to be instantiated; or why it cannot be.
    fn prepare(&mut self, order: &RunOrder) -> Result<Result<Program, String>, IpcError> {
        let slot = &mut self.modules[usize::from(order.slot) % MODULE_SLOTS];
        if order.load {
            let code = File::from(self.receiver.take_fd()?);
            *slot = None;
            match self.executor.load(code, order.tier) {
                Ok(program) => *slot = Some(program),
                Err(error) => return Ok(Err(format!("{error:#}"))),
            }
        }
        Ok(slot.clone().ok_or_else(|| "its slot is empty".to_owned()))
    }

    fn input(&mut self, input: InputOrder) -> Result<Input, IpcError> {
        Ok(match input {
            InputOrder::Inline(bytes) => Input::memory(bytes),
            InputOrder::File { bytes } => Input::file(File::from(self.receiver.take_fd()?), bytes),
        })
    }
}
