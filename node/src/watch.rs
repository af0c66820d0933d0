//! Looks at the machine, and has the node keep its owner's rules.

use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use crate::node::Shared;
use crate::rules::{Readings, Wanted};
use crate::sensors::Sensors;

/// How often the machine is looked at while it has jobs. A guest is stopped within 200 ms of a rule's breach: this, 100 ms for a
/// worker that has to be killed, and 50 ms for a machine that is busy.
const LOOK_BUSY: Duration = Duration::from_millis(50);
/// How often otherwise, so that an idle machine may sleep. Whoever brings a job has it looked at at once.
const LOOK_IDLE: Duration = Duration::from_secs(1);

/// Reads an owner's sensors away from the thread that serves the network: some take many milliseconds.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    sensors: Arc<Mutex<Box<dyn Sensors>>>,
    wanted: Wanted,
    started: Instant,
}

impl Watch {
    pub(crate) fn new(sensors: Box<dyn Sensors>, wanted: Wanted) -> Self {
        Self { sensors: Arc::new(Mutex::new(sensors)), wanted, started: Instant::now() }
    }

    /// Reads here and now.
    pub(crate) fn read(&self) -> Readings {
        self.sensors.lock().unwrap_or_else(PoisonError::into_inner).read(self.wanted)
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
            if self.wanted == Wanted::default() {
                node.look(self.elapsed(), &self.read());
                continue;
            }
            let watch = self.clone();
            // A reader that panics knows nothing, and what a rule needs and is not known keeps the node from working.
            let read = spawn_blocking(move || watch.read()).await.unwrap_or_else(|_| Readings::unknown());
            node.look(self.elapsed(), &read);
        }
    }
}
