//! The sandbox worker: runs one job after the other, each in a fresh instance.

use std::cell::Cell;
use std::fs::File;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use adit_protocol::limits::REASON_BYTES_MAX;
use adit_protocol::{Fuel, JobLimits, JobSpec};
use rustix::process::Resource;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};
use wasmtime::{Engine, InstancePre, Linker, Store};

use super::ending::{Circumstances, End, clip, fuel_used, judge};
use super::guest::{self, Counters, Guest};
use super::limit;
use super::outbox::{Outbox, Remainder};
use super::stdio::Input;
use crate::engine::engine;
use crate::ipc::{Ending, FromSandbox, InputOrder, IpcError, Receiver, RunOrder, Sender, ToSandbox, Used};
use crate::meter::FUEL_YIELD_INTERVAL;
use crate::unchecked::load_code;

/// Modules that a worker keeps ready. Each holds a mapping of its code and a memory image.
pub(crate) const MODULE_SLOTS: usize = 8;

/// How often a running job says what it used, so that a killed worker's bill is not far behind.
const HEARTBEAT: Duration = Duration::from_millis(50);

/// Descriptors of a worker: its socket, tokio's, two per module, one input, and room to spare.
const DESCRIPTORS_MAX: u64 = 64;

/// Serves orders until the supervisor closes the socket.
pub(super) async fn serve(sender: Sender, receiver: Receiver) -> wasmtime::Result<()> {
    limit(Resource::Nofile, DESCRIPTORS_MAX)?;
    let mut sandbox = Sandbox::new(sender, receiver)?;
    while let Some(message) = sandbox.receiver.recv().await? {
        match message {
            ToSandbox::Run(order) => sandbox.run(*order).await?,
            // It crossed the end of its job on the way.
            ToSandbox::Cancel { .. } => {}
        }
    }
    Ok(())
}

struct Sandbox {
    engine: Engine,
    linker: Linker<Guest>,
    modules: [Option<InstancePre<Guest>>; MODULE_SLOTS],
    outbox: Arc<Outbox>,
    receiver: Receiver,
}

impl Sandbox {
    fn new(sender: Sender, receiver: Receiver) -> wasmtime::Result<Self> {
        let engine = engine()?;
        let linker = guest::linker(&engine)?;
        Ok(Self { engine, linker, modules: Default::default(), outbox: Arc::new(Outbox::new(sender)), receiver })
    }

    async fn run(&mut self, order: RunOrder) -> wasmtime::Result<()> {
        let answer = match self.prepare(&order)? {
            Ok(module) => {
                let input = self.input(order.input)?;
                FromSandbox::Ended(Box::new(self.execute(order.run, &order.spec, input, module).await?))
            }
            Err(reason) => {
                self.input(order.input)?;
                FromSandbox::Unusable(clip(reason, REASON_BYTES_MAX))
            }
        };
        self.outbox.sender().push(&answer)?;
        Ok(self.outbox.sender().drain().await?)
    }

    /// The order's module, ready to be instantiated; or why it cannot be.
    fn prepare(&mut self, order: &RunOrder) -> Result<Result<InstancePre<Guest>, String>, IpcError> {
        let slot = &mut self.modules[usize::from(order.slot) % MODULE_SLOTS];
        if order.load {
            let code = File::from(self.receiver.take_fd()?);
            *slot = None;
            match load_code(&self.engine, code).and_then(|module| self.linker.instantiate_pre(&module)) {
                Ok(module) => *slot = Some(module),
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

    async fn execute(&mut self, run: u64, spec: &JobSpec, input: Input, module: InstancePre<Guest>) -> wasmtime::Result<Ending> {
        let started = Instant::now();
        self.outbox.open(&spec.limits);
        let counters = Arc::<Counters>::default();
        let guest = Guest::new(spec, input, Arc::clone(&self.outbox), Arc::clone(&counters));
        let mut store = store(&self.engine, guest, spec.limits.fuel)?;

        let meter = Meter::default();
        let deadline = started + Duration::from_millis(spec.limits.wall_ms);
        let end = tokio::select! {
            biased;
            result = meter.watch(call(&mut store, &module)) => End::Itself(result),
            end = stop(run, deadline, &mut self.receiver, || heartbeat(&self.outbox, &meter, &counters, &spec.limits)) => end?,
        };

        let seen = Circumstances { memory_denied: counters.is_memory_denied(), output_over: self.outbox.is_output_over() };
        let (outcome, reason) = judge(&end, seen, &spec.limits);
        let fuel = fuel_used(outcome, spec.limits.fuel, store.get_fuel()?);
        let used = used(fuel, &counters);
        let Remainder { output, log_dropped } = self.outbox.close();
        let run_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        Ok(Ending { outcome, reason, used, run_us, output, log_dropped })
    }
}

fn store(engine: &Engine, guest: Guest, fuel: Fuel) -> wasmtime::Result<Store<Guest>> {
    let mut store = Store::new(engine, guest);
    store.limiter(Guest::limiter);
    store.set_fuel(fuel.0)?;
    store.fuel_async_yield_interval(Some(FUEL_YIELD_INTERVAL))?;
    Ok(store)
}

async fn call(store: &mut Store<Guest>, module: &InstancePre<Guest>) -> wasmtime::Result<()> {
    let instance = module.instantiate_async(&mut *store).await?;
    let start = instance.get_typed_func::<(), ()>(&mut *store, "_start")?;
    start.call_async(store, ()).await
}

/// Waits for a reason to stop the guest, and beats meanwhile.
async fn stop(run: u64, deadline: Instant, receiver: &mut Receiver, beat: impl Fn()) -> wasmtime::Result<End> {
    let mut beats = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut deadline = pin!(sleep_until(deadline));
    loop {
        tokio::select! {
            biased;
            () = &mut deadline => return Ok(End::Deadline),
            message = receiver.recv() => match message? {
                Some(ToSandbox::Cancel { run: cancelled }) if cancelled == run => return Ok(End::Cancelled),
                Some(ToSandbox::Cancel { .. }) => {}
                Some(ToSandbox::Run(_)) => wasmtime::bail!("a second job came while one ran"),
                None => wasmtime::bail!("the supervisor is gone"),
            },
            _ = beats.tick() => beat(),
        }
    }
}

fn heartbeat(outbox: &Outbox, meter: &Meter, counters: &Counters, limits: &JobLimits) {
    outbox.flush();
    let fuel = Fuel(meter.fuel().min(limits.fuel.0));
    // Where the supervisor does not read, the news is queued once and not again.
    if outbox.sender().pending_bytes() == 0 {
        outbox.sender().push(&FromSandbox::Used(used(fuel, counters))).expect("a heartbeat is far smaller than a frame");
        let _ = outbox.sender().try_drain();
    }
}

fn used(fuel: Fuel, counters: &Counters) -> Used {
    Used { fuel: fuel.0, memory_peak: counters.memory_peak(), host_calls: counters.host_calls() }
}

/// Counts a guest's fuel from outside, in whole yields: while it runs, its store cannot be asked.
#[derive(Debug, Default)]
struct Meter {
    yields: Cell<u64>,
}

impl Meter {
    fn fuel(&self) -> u64 {
        self.yields.get().saturating_mul(FUEL_YIELD_INTERVAL)
    }

    /// Runs a guest to its end. The engine yields by waking the guest's own task before it returns; anything else that the guest
    /// waits for wakes it later.
    async fn watch<T>(&self, guest: impl Future<Output = T>) -> T {
        // Tokio's cooperative budget wakes in the same way, so the guest runs without it.
        let mut guest = pin!(tokio::task::unconstrained(guest));
        let mut waker = None;
        poll_fn(|cx| {
            let (waker, noted) = waker.get_or_insert_with(|| NotingWaker::around(cx.waker().clone()));
            noted.woken.store(false, Ordering::Relaxed);
            let polled = guest.as_mut().poll(&mut Context::from_waker(waker));
            if polled.is_pending() && noted.woken.load(Ordering::Relaxed) {
                self.yields.set(self.yields.get() + 1);
            }
            polled
        })
        .await
    }
}

/// A waker that notes when it was used.
struct NotingWaker {
    inner: Waker,
    woken: AtomicBool,
}

impl NotingWaker {
    fn around(inner: Waker) -> (Waker, Arc<Self>) {
        let noting = Arc::new(Self { inner, woken: AtomicBool::new(false) });
        (Arc::clone(&noting).into(), noting)
    }
}

impl Wake for NotingWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Relaxed);
        self.inner.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn only_the_engines_yields_count_as_fuel() {
        let meter = Meter::default();
        let guest = async {
            for _ in 0..3 {
                let mut yielded = false;
                poll_fn(|cx| {
                    if std::mem::replace(&mut yielded, true) {
                        return Poll::Ready(());
                    }
                    cx.waker().wake_by_ref();
                    Poll::Pending
                })
                .await;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        };
        meter.watch(guest).await;
        assert_eq!(meter.fuel(), 3 * FUEL_YIELD_INTERVAL);
    }
}
