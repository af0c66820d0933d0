//! Sandbox workers that wait for a job.

use std::io;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use adit_protocol::{Digest, PublicKey};
use lru::LruCache;

use crate::engine::Tier;
use crate::ipc::{IpcError, ToSandbox};
use crate::live::Live;
use crate::process::{Role, WorkerProcess, WorkerProgram};
use crate::walls::Need;
use crate::worker::MODULE_SLOTS;

/// A sandbox worker with what its supervisor knows of it.
#[derive(Debug)]
pub(crate) struct SandboxWorker {
    pub(crate) process: WorkerProcess,
    pub(crate) live: Arc<Live>,
    /// Whose jobs it has run; nobody's yet where it is fresh.
    tenant: Option<PublicKey>,
    pub(crate) modules: Modules,
    runs: u64,
}

/// Which modules a worker has ready, and where.
#[derive(Debug)]
pub(crate) struct Modules(LruCache<(Digest, Tier), u8>);

/// Where a module goes in a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) slot: u8,
    /// Whether it is already there.
    pub(crate) loaded: bool,
}

impl SandboxWorker {
    fn spawn(program: &WorkerProgram, need: Need) -> io::Result<Self> {
        let (process, live) = (WorkerProcess::spawn(program, Role::Sandbox, need)?, Live::create()?);
        match process.sender.send_first(&ToSandbox::Hello, live.as_fd()) {
            Ok(()) => {}
            // A worker that is gone already is found out when a job is handed to it.
            Err(IpcError::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(IpcError::Io(error)) => return Err(error),
            Err(error) => return Err(io::Error::other(error)),
        }
        Ok(Self { process, live: Arc::new(live), tenant: None, modules: Modules::new(), runs: 0 })
    }

    /// Numbers the next job of this worker.
    pub(crate) fn next_run(&mut self) -> u64 {
        self.runs += 1;
        self.runs
    }
}

impl Modules {
    fn new() -> Self {
        Self(LruCache::new(NonZeroUsize::new(MODULE_SLOTS).expect("a worker has slots")))
    }

    /// Decides where the code of a module goes: where it is, else in a free slot, else in place of the one not used for longest.
    pub(crate) fn place(&mut self, module: (Digest, Tier)) -> Place {
        if let Some(&slot) = self.0.get(&module) {
            return Place { slot, loaded: true };
        }
        let slot = match self.0.len() {
            MODULE_SLOTS.. => self.0.pop_lru().expect("a full cache has an oldest entry").1,
            free => free as u8,
        };
        self.0.put(module, slot);
        Place { slot, loaded: false }
    }
}

/// The workers that wait. Beside one per slot, one fresh worker is kept ready, so that a new tenant need not wait for a process.
#[derive(Debug)]
pub(crate) struct Pool {
    program: WorkerProgram,
    need: Need,
    slots: usize,
    /// Longest-waiting first.
    idle: Mutex<Vec<SandboxWorker>>,
}

impl Pool {
    /// Starts a worker for each slot.
    pub(crate) fn new(program: WorkerProgram, need: Need, slots: usize) -> io::Result<Self> {
        let idle = (0..slots).map(|_| SandboxWorker::spawn(&program, need)).collect::<io::Result<_>>()?;
        Ok(Self { program, need, slots, idle: Mutex::new(idle) })
    }

    /// A worker for `tenant`: its own from before, else a fresh one. Never one that served another.
    pub(crate) fn take(&self, tenant: PublicKey) -> io::Result<SandboxWorker> {
        let mut worker = loop {
            match self.take_idle(tenant) {
                // One that died while it waited is dropped, and the next one looked at.
                Some(mut worker) => {
                    if worker.process.is_alive() {
                        break worker;
                    }
                }
                None => break SandboxWorker::spawn(&self.program, self.need)?,
            }
        };
        worker.tenant = Some(tenant);
        Ok(worker)
    }

    fn take_idle(&self, tenant: PublicKey) -> Option<SandboxWorker> {
        let mut idle = self.idle();
        let own = idle.iter().rposition(|w| w.tenant == Some(tenant));
        let index = own.or_else(|| idle.iter().rposition(|w| w.tenant.is_none()))?;
        Some(idle.remove(index))
    }

    /// How many workers wait.
    pub(crate) fn idle_workers(&self) -> usize {
        self.idle().len()
    }

    /// Takes back a worker whose job is over.
    pub(crate) fn give_back(&self, worker: SandboxWorker) {
        self.idle().push(worker);
        self.trim();
    }

    /// Starts a fresh worker where none waits, in place of the one that waited longest where there are enough.
    pub(crate) fn top_up(&self) -> io::Result<()> {
        if self.idle().iter().all(|w| w.tenant.is_some()) {
            let fresh = SandboxWorker::spawn(&self.program, self.need)?;
            self.idle().push(fresh);
            self.trim();
        }
        Ok(())
    }

    /// Ends the longest-waiting used workers over the bound.
    fn trim(&self) {
        let mut idle = self.idle();
        while idle.len() > self.slots + 1 {
            let oldest = idle.iter().position(|w| w.tenant.is_some()).unwrap_or(0);
            drop(idle.remove(oldest));
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<SandboxWorker>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_keeps_its_slot_until_it_is_the_oldest() {
        let mut modules = Modules::new();
        let module = |n: usize| (Digest::of(&n.to_le_bytes()), Tier::Optimised);
        for n in 0..MODULE_SLOTS {
            assert_eq!(modules.place(module(n)), Place { slot: n as u8, loaded: false });
        }
        assert_eq!(modules.place(module(0)), Place { slot: 0, loaded: true });
        assert_eq!(modules.place(module(99)), Place { slot: 1, loaded: false });
        assert_eq!(modules.place(module(1)), Place { slot: 2, loaded: false });
    }
}
