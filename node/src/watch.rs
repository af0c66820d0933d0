//! Looks at the machine, and has the node keep its owner's rules.

use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::{spawn_blocking, spawn_local};
use tokio::time::{Instant, sleep};

use crate::node::Shared;
use crate::rules::{Readings, Wanted};
use crate::sensors::{MissingSensor, Sensors};

/// How often the machine is looked at while it has jobs. A guest is stopped within 200 ms of a rule's breach: this, 100 ms for a
/// worker that has to be killed, and 50 ms for a machine that is busy.
const LOOK_BUSY: Duration = Duration::from_millis(50);
/// How often otherwise, so that an idle machine may sleep. Whoever brings a job has it looked at at once.
const LOOK_IDLE: Duration = Duration::from_secs(1);

/// How long a worker that has run jobs waits for more of its client's before a fresh one takes its place.
const WORKER_REST: Duration = Duration::from_secs(300);

/// How long a first reading may take: twice what a load is the mean of.
const FIRST_READING: Duration = Duration::from_secs(2);

/// Reads an owner's sensors away from the thread that serves the network: some take many milliseconds.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    sensors: Arc<Mutex<Box<dyn Sensors>>>,
    started: Instant,
}

impl Watch {
    pub(crate) fn new(sensors: Box<dyn Sensors>) -> Self {
        Self { sensors: Arc::new(Mutex::new(sensors)), started: Instant::now() }
    }

    /// Reads what is wanted, here and now.
    pub(crate) fn read(&self, wanted: Wanted) -> Readings {
        self.sensors.lock().unwrap_or_else(PoisonError::into_inner).read(wanted)
    }

    /// The same, away from the thread that serves the network. A reader that panics knows nothing, and what a rule needs and is not known
    /// keeps the node from working.
    pub(crate) async fn read_aside(&self, wanted: Wanted) -> Readings {
        let watch = self.clone();
        spawn_blocking(move || watch.read(wanted)).await.unwrap_or_else(|_| Readings::unknown())
    }

    /// Makes sure that rules which want this can be kept, and that what they want is known when they begin to hold: jobs would be stopped
    /// for want of a first reading.
    ///
    /// # Errors
    /// [`MissingSensor`].
    pub(crate) async fn prepare(&self, wanted: Wanted) -> Result<(), MissingSensor> {
        let watch = self.clone();
        let prepared = spawn_blocking(move || {
            let known = |read: Readings| {
                (read.load.is_some() || !wanted.load)
                    && (read.temperature.is_some() || !wanted.temperature)
                    && (read.on_mains.is_some() || !wanted.mains)
            };
            watch.sensors.lock().unwrap_or_else(PoisonError::into_inner).check(wanted)?;
            let begun = Instant::now();
            while !known(watch.read(wanted)) && begun.elapsed() < FIRST_READING {
                std::thread::sleep(LOOK_BUSY);
            }
            Ok(())
        });
        // Sensors that panic tell no rule anything, which the next look finds.
        prepared.await.unwrap_or(Ok(()))
    }

    /// The time by which readings are judged.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Looks again and again, for ever.
    pub(crate) async fn run(&self, node: &Rc<Shared>) {
        loop {
            let wait = if node.must_be_watched() { LOOK_BUSY } else { LOOK_IDLE };
            tokio::select! {
                () = sleep(wait) => {}
                () = node.look_now.notified() => {}
            }
            let wanted = node.owner.rules().wanted();
            if wanted == Wanted::default() {
                node.look(self.elapsed(), &self.read(wanted));
            } else {
                node.look_for(wanted).await;
            }
            if node.owner.has_pause_left() {
                let node = Rc::clone(node);
                spawn_local(async move { node.owner.forget_pause().await });
            }
            if let Err(error) = node.runtime.renew_worker(WORKER_REST) {
                tracing::warn!(%error, "no fresh sandbox worker could be started");
            }
        }
    }
}
