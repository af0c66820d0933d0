//! Sandbox workers that wait for a job.

use std::io;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use adit_protocol::{ByteCount, Digest, PublicKey};
use lru::LruCache;

use crate::engine::{Tier, writable_bytes_max};
use crate::ipc::{IpcError, ToSandbox};
use crate::live::Live;
use crate::process::{Role, WorkerProcess, WorkerSetup};
use crate::share::{Accounts, CpuShare, Hold};
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
    /// Since when it has no job.
    idle_since: Instant,
    accounts: Arc<Accounts>,
    /// There while it has a job, where it may not take all of a core.
    hold: Option<Hold>,
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
    fn spawn(setup: &WorkerSetup, memory_max: ByteCount, accounts: &Arc<Accounts>) -> io::Result<Self> {
        let (process, live) = (setup.spawn(Role::Sandbox)?, Live::create()?);
        process.limit_memory(writable_bytes_max(memory_max.0))?;
        match process.sender.send_first(&ToSandbox::Hello, live.as_fd()) {
            Ok(()) => {}
            // A worker that is gone already is found out when a job is handed to it.
            Err(IpcError::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(IpcError::Io(error)) => return Err(error),
            Err(error) => return Err(io::Error::other(error)),
        }
        let (live, accounts) = (Arc::new(live), Arc::clone(accounts));
        let (modules, idle_since) = (Modules::new(), Instant::now());
        Ok(Self { process, live, tenant: None, modules, runs: 0, idle_since, accounts, hold: None })
    }

    /// Numbers the next job of this worker, which keeps to a slot's share of the processor until it is given back.
    ///
    /// # Errors
    /// Where this machine has no more descriptors.
    pub(crate) fn next_run(&mut self) -> io::Result<u64> {
        // One that is gone already is found out when the job is handed to it.
        if let Some(pid) = self.process.pid() {
            // The hold from before first, so that what it knows counts.
            self.hold = None;
            self.hold = self.accounts.hold(pid)?;
        }
        self.runs += 1;
        Ok(self.runs)
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
    setup: WorkerSetup,
    /// What a guest may have of memory.
    memory_max: ByteCount,
    accounts: Arc<Accounts>,
    slots: usize,
    /// Longest-waiting first.
    idle: Mutex<Vec<SandboxWorker>>,
}

impl Pool {
    /// Starts a worker for each slot, whose guests may have `memory_max` each.
    pub(crate) fn new(setup: WorkerSetup, memory_max: ByteCount, share: CpuShare, slots: usize) -> io::Result<Self> {
        let pool = Self { setup, memory_max, accounts: Accounts::new(share, slots), slots, idle: Mutex::default() };
        pool.fill()?;
        Ok(pool)
    }

    /// Starts fresh workers until one waits for each slot.
    fn fill(&self) -> io::Result<()> {
        while self.idle().len() < self.slots {
            let fresh = self.spawn()?;
            self.idle().push(fresh);
        }
        Ok(())
    }

    /// Ends the workers of a tenant that will not come again, and starts fresh ones in their place.
    pub(crate) fn dismiss(&self, tenant: PublicKey) -> io::Result<()> {
        self.idle().retain(|worker| worker.tenant != Some(tenant));
        self.fill()
    }

    fn spawn(&self) -> io::Result<SandboxWorker> {
        SandboxWorker::spawn(&self.setup, self.memory_max, &self.accounts)
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
                None => break self.spawn()?,
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
    pub(crate) fn give_back(&self, mut worker: SandboxWorker) {
        worker.hold = None;
        worker.idle_since = Instant::now();
        self.idle().push(worker);
        self.trim();
    }

    /// Starts a fresh worker where none waits, in place of the one that waited longest where there are enough.
    pub(crate) fn top_up(&self) -> io::Result<()> {
        if self.idle().iter().all(|w| w.tenant.is_some()) {
            let fresh = self.spawn()?;
            self.idle().push(fresh);
            self.trim();
        }
        Ok(())
    }

    /// Ends a used worker that has waited for so long, if there is one: what it keeps of its modules' memory is the machine's again. A fresh one
    /// takes its place where it was one of as many as there are slots.
    pub(crate) fn renew(&self, rest: Duration) -> io::Result<()> {
        let is_short = {
            let mut idle = self.idle();
            let Some(at) = idle.iter().position(|w| w.tenant.is_some() && w.idle_since.elapsed() >= rest) else { return Ok(()) };
            drop(idle.remove(at));
            idle.len() < self.slots
        };
        if is_short {
            let fresh = self.spawn()?;
            self.idle().push(fresh);
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
