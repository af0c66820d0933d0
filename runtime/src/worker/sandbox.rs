//! The sandbox worker: runs jobs of one tenant, one at a time.

use std::fs::File;
use std::sync::Arc;

use adit_protocol::JobSpec;
use adit_protocol::limits::REASON_BYTES_MAX;
use tokio::sync::Mutex;
use wasmtime::Engine;

use super::ending::clip;
use super::executor::{Executor, Program, Supplies};
use super::gpu_client::{Gpu, Link};
use super::named::NamedInputs;
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
    let mut sandbox = Sandbox { executor, modules: Default::default(), receiver: Arc::new(Mutex::new(receiver)) };
    while let Some(message) = sandbox.next().await? {
        match message {
            ToSandbox::Run(order) => sandbox.run(*order).await?,
            // The guest that asked did not wait for it.
            ToSandbox::Pipeline { .. } => {}
            ToSandbox::Hello => wasmtime::bail!("a second greeting"),
        }
    }
    Ok(())
}

struct Sandbox {
    executor: Executor,
    modules: [Option<Program>; MODULE_SLOTS],
    /// A guest with a GPU reads it too, while it runs.
    receiver: Arc<Mutex<Receiver>>,
}

impl Sandbox {
    async fn next(&self) -> Result<Option<ToSandbox>, IpcError> {
        self.receiver.lock().await.recv().await
    }

    async fn run(&mut self, order: RunOrder) -> wasmtime::Result<()> {
        let program = self.prepare(&order).await?;
        let RunOrder { run, spec, bounds, input, has_gpu, .. } = order;
        let supplies = self.supplies(run, &spec, input, has_gpu).await?;
        let (answer, remains) = match program {
            Ok(program) => {
                let (ending, remains) = self.executor.run(run, &spec, bounds, supplies, &program).await?;
                (FromSandbox::Ended(Box::new(ending)), Some(remains))
            }
            Err(reason) => (FromSandbox::Unusable(clip(reason, REASON_BYTES_MAX)), None),
        };
        let sender = self.executor.outbox().sender();
        sender.push(&answer)?;
        sender.drain().await?;
        drop(remains);
        Ok(())
    }

    /// The order's module, ready to be instantiated; or why it cannot be.
    async fn prepare(&mut self, order: &RunOrder) -> Result<Result<Program, String>, IpcError> {
        let slot = &mut self.modules[usize::from(order.slot) % MODULE_SLOTS];
        if order.load {
            let code = File::from(self.receiver.lock().await.take_fd()?);
            *slot = None;
            match self.executor.load(code, order.tier) {
                Ok(program) => *slot = Some(program),
                Err(error) => return Ok(Err(format!("{error:#}"))),
            }
        }
        Ok(slot.clone().ok_or_else(|| "its slot is empty".to_owned()))
    }

    /// What comes beside an order, in the order of its descriptors.
    async fn supplies(&self, run: u64, spec: &JobSpec, input: InputOrder, has_gpu: bool) -> wasmtime::Result<Supplies> {
        let mut receiver = self.receiver.lock().await;
        let input = match input {
            InputOrder::Inline(bytes) => Input::memory(bytes),
            InputOrder::File { bytes } => Input::file(File::from(receiver.take_fd()?), bytes),
        };
        let files = spec.inputs.iter().map(|_| receiver.take_fd().map(File::from)).collect::<Result<Vec<_>, _>>()?;
        let named = NamedInputs::files(&spec.inputs, files);
        let link = if has_gpu { Some(Link::new(receiver.take_fd()?, receiver.take_fd()?)?) } else { None };
        let gpu = |link| Gpu::new(run, spec, link, Arc::clone(self.executor.outbox()), Arc::clone(&self.receiver));
        Ok(Supplies { input, named, gpu: link.map(gpu) })
    }
}
