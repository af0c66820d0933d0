//! What native code of the SDK finds in place of a host: a world for each thread.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{Read, Write};

use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};

use super::Told;
use crate::Level;

/// What a call of the host costs on a node.
const CALL_FUEL: u64 = 150;
/// The limit of a job of which nothing is said.
const FUEL_DEFAULT: u64 = 10_000_000_000;

thread_local! {
    static WORLD: RefCell<World> = RefCell::new(World { fuel: u64::MAX, ..World::default() });
}

/// What the thread's job sees of the world.
pub(crate) fn with<T>(look: impl FnOnce(&mut World) -> T) -> T {
    WORLD.with_borrow_mut(look)
}

/// Notes how the thread's job ended.
pub(crate) fn note_exit(code: u8) {
    with(|world| world.job.as_mut().map(|job| job.exit_code = Some(code)));
}

/// Calls a function whose world is `world`, and whose words `job` takes up; then what was before is there again.
pub(super) fn enter<T>(mut world: World, job: Job, function: impl FnOnce() -> T) -> (Job, T) {
    /// Puts the world back that was before, also where the function panics.
    struct Back(Option<World>);

    impl Drop for Back {
        fn drop(&mut self) {
            if let Some(before) = self.0.take() {
                with(|world| *world = before);
            }
        }
    }

    world.job = Some(job);
    let before = with(|now| std::mem::replace(now, world));
    let mut back = Back(Some(before));
    let value = function();
    let before = back.0.take().expect("it was put there");
    let mut world = with(|now| std::mem::replace(now, before));
    (world.job.take().expect("nothing takes the job from its world"), value)
}

/// A job's world.
#[derive(Debug)]
pub(crate) struct World {
    /// There while a harness runs a job; else this process is one, with its own streams.
    pub(crate) job: Option<Job>,
    pub(crate) named: BTreeMap<String, Vec<u8>>,
    /// Those of the process where nothing is said.
    pub(crate) args: Option<Vec<String>>,
    pub(super) start_ns: u64,
    pub(super) fuel: u64,
    pub(super) step: u64,
    used: u64,
    generator: ChaCha20Rng,
}

impl Default for World {
    fn default() -> Self {
        let (named, generator) = (BTreeMap::new(), generator(0));
        Self { job: None, named, args: None, start_ns: 0, fuel: FUEL_DEFAULT, step: CALL_FUEL, used: 0, generator }
    }
}

impl World {
    pub(super) fn seed(&mut self, seed: u64) {
        self.generator = generator(seed);
    }

    pub(crate) fn random(&mut self, bytes: &mut [u8]) {
        self.generator.fill_bytes(bytes);
    }

    pub(crate) fn fuel_left(&mut self) -> u64 {
        self.look();
        self.fuel.saturating_sub(self.used)
    }

    pub(crate) fn wall_clock(&mut self) -> u64 {
        self.look();
        self.start_ns.saturating_add(self.used)
    }

    fn look(&mut self) {
        self.used = self.used.saturating_add(self.step);
    }
}

/// The generator of a node's guests: `Random` in the runtime's `worker/guest.rs`.
fn generator(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::from_seed(blake3::derive_key("adit guest randomness v1", &seed.to_le_bytes()))
}

/// What a job reads and says.
#[derive(Default)]
pub(crate) struct Job {
    /// Nothing where it is empty.
    pub(crate) input: Option<Box<dyn Read>>,
    /// Where the output goes, unless it is kept.
    pub(crate) output: Option<Box<dyn Write>>,
    pub(super) exit_code: Option<u8>,
    pub(super) told: Told,
}

impl Job {
    pub(crate) fn log(&mut self, level: Level, message: &str) {
        self.told.log.push((level, message.to_owned()));
    }

    pub(crate) fn keep(&mut self, output: &[u8]) {
        self.told.output.extend_from_slice(output);
    }

    pub(crate) fn progress(&mut self, done: u64, total: u64) {
        self.told.progress.push((done, total));
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("told", &self.told).finish_non_exhaustive()
    }
}
