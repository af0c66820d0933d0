//! The device, which all sessions share: what they submit to it runs one after the other, and is timed by a thread that waits for each.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{io, thread};

use wgpu::{
    BindGroupLayout, BindGroupLayoutDescriptor, BindGroupLayoutEntry, BindingType, Buffer, BufferBindingType, BufferDescriptor,
    BufferSize, BufferUsages, CommandBuffer, ComputePipeline, ComputePipelineDescriptor, Device, PipelineCompilationOptions,
    PipelineLayoutDescriptor, PollType, Queue, ShaderModuleDescriptor, ShaderSource, ShaderStages, SubmissionIndex,
};

use super::meter::Meter;
use super::stamps::{Speed, Stamps};
use super::turns::Turns;
use super::watch::{Supervisor, Watch};
use crate::gpu::adapter::Opened;
use crate::gpu::wire::{BindingKind, BindingShape, Faults, Session, SessionEnd, Shader};

/// Submissions on the device at a time: one runs, and the next is there when it is over.
const FLIGHTS_MAX: usize = 2;
/// How long a driver may take for what is no work of the device: compiling a shader, taking a submission.
pub(super) const DRIVER_TIME_MAX: Duration = Duration::from_secs(10);

/// The device and what belongs to it.
#[derive(Debug)]
pub(super) struct Gpu {
    pub(super) device: Device,
    queue: Queue,
    /// Nanoseconds of a timestamp's tick, where there are timestamps.
    pub(super) tick_ns: Option<f32>,
    slice: Duration,
    pub(super) turns: Arc<Turns>,
    pub(super) watch: Arc<Watch>,
    pub(super) supervisor: Arc<Supervisor>,
    /// Bytes that sessions may still take.
    memory_left: Mutex<u64>,
    flights: Arc<Flights>,
    submitted: SyncSender<Submitted>,
    /// Since when nothing runs; held by whoever waits for what runs.
    idle_since: Mutex<Instant>,
    /// Those that no session uses.
    stamps: Mutex<Vec<Stamps>>,
    /// Until the device is lost on purpose.
    submissions_left: AtomicU32,
    pipelines_left: AtomicU32,
    /// Until the driver does not come back.
    pipelines_until_stuck: AtomicU32,
    /// Until it refuses one.
    pipelines_until_refused: AtomicU32,
}

/// The sessions whose work is on the device, in its order: the first one's runs.
#[derive(Debug, Default)]
struct Flights {
    sessions: Mutex<VecDeque<Session>>,
    landed: Condvar,
}

impl Flights {
    /// Whose work runs, where any does.
    fn running(&self) -> Option<Session> {
        lock(&self.sessions).front().copied()
    }

    /// Adds one of a session, as soon as there are less than [`FLIGHTS_MAX`], and says whether it is alone.
    fn add(&self, session: Session) -> bool {
        let sessions = lock(&self.sessions);
        let is_full = |sessions: &mut VecDeque<Session>| sessions.len() >= FLIGHTS_MAX;
        let mut sessions = self.landed.wait_while(sessions, is_full).unwrap_or_else(PoisonError::into_inner);
        sessions.push_back(session);
        sessions.len() == 1
    }

    /// The first is over.
    fn land(&self) {
        lock(&self.sessions).pop_front();
        self.landed.notify_all();
    }

    /// The last did not begin.
    fn take_back(&self) {
        lock(&self.sessions).pop_back();
        self.landed.notify_all();
    }
}

/// What was submitted, for whoever waits for it.
#[derive(Debug)]
struct Submitted {
    index: SubmissionIndex,
    at: Instant,
    flight: Flight,
}

/// A submission, but for its commands.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) meter: Arc<Meter>,
    /// Whether its time is billed: not where it only moves bytes to a guest or from it, which is paid for in fuel.
    pub(super) is_billed: bool,
    pub(super) done: Arc<Done>,
}

/// A submission that whoever made it waits for.
#[must_use = "nobody else waits for it"]
pub(super) struct Waiting<'a> {
    gpu: &'a Gpu,
    idle_since: MutexGuard<'a, Instant>,
    submitted: Submitted,
}

impl Waiting<'_> {
    /// Waits until it is over.
    pub(super) fn wait(mut self) {
        self.gpu.time(self.submitted, &mut self.idle_since);
        drop(self.idle_since);
        self.gpu.flights.land();
    }
}

impl Gpu {
    /// Takes a device into use, and starts the thread that waits for what is submitted.
    pub(super) fn start(
        opened: Opened,
        slice: Duration,
        watch: Arc<Watch>,
        supervisor: Arc<Supervisor>,
        faults: Faults,
    ) -> io::Result<Arc<Self>> {
        let Opened { device, queue, tick_ns, memory_max, .. } = opened;
        let (submitted, waiting) = sync_channel(FLIGHTS_MAX);
        device.on_uncaptured_error(Arc::new(|error| LAST_ERROR.set(Some(SessionEnd::from(error)))));
        let gpu = Arc::new(Self {
            device,
            queue,
            tick_ns,
            slice,
            turns: Arc::default(),
            watch,
            supervisor,
            memory_left: Mutex::new(memory_max),
            flights: Arc::default(),
            submitted,
            idle_since: Mutex::new(Instant::now()),
            stamps: Mutex::default(),
            submissions_left: AtomicU32::new(faults.lost_in_submission),
            pipelines_left: AtomicU32::new(faults.lost_in_pipeline),
            pipelines_until_stuck: AtomicU32::new(faults.stuck_in_pipeline),
            pipelines_until_refused: AtomicU32::new(faults.refused_pipeline),
        });
        let timing = Arc::clone(&gpu);
        thread::Builder::new().name("device".to_owned()).spawn(move || timing.wait_for_all(&waiting))?;
        Ok(gpu)
    }

    /// Ends the process when the device is lost, in the work of whoever has it then.
    pub(super) fn lose_with_device(self: &Arc<Self>) {
        let (supervisor, flights) = (Arc::clone(&self.supervisor), Arc::clone(&self.flights));
        self.device.set_device_lost_callback(move |reason, message| {
            supervisor.lose(flights.running(), format!("its driver gave it up ({reason:?}): {message}"));
        });
    }

    /// Makes a buffer, of zeroes.
    ///
    /// # Errors
    /// Where the adapter has no memory left, or the driver refuses.
    pub(super) fn make_buffer(&self, bytes: u64, usage: BufferUsages) -> Result<Buffer, SessionEnd> {
        checked(|| self.device.create_buffer(&BufferDescriptor { label: None, size: bytes, usage, mapped_at_creation: false }))
    }

    /// Makes a staging buffer that can be written to at once.
    ///
    /// # Errors
    /// As above.
    pub(super) fn make_mapped_buffer(&self, bytes: u64, usage: BufferUsages) -> Result<Buffer, SessionEnd> {
        checked(|| self.device.create_buffer(&BufferDescriptor { label: None, size: bytes, usage, mapped_at_creation: true }))
    }

    /// Takes memory for a session.
    ///
    /// # Errors
    /// Where other sessions have taken too much.
    pub(super) fn take_memory(&self, bytes: u64) -> Result<(), SessionEnd> {
        let mut left = lock(&self.memory_left);
        match left.checked_sub(bytes) {
            Some(rest) => *left = rest,
            None => return Err(SessionEnd::NoMemory(format!("{bytes} bytes are not left of the adapter's memory"))),
        }
        Ok(())
    }

    pub(super) fn give_memory_back(&self, bytes: u64) {
        let mut left = lock(&self.memory_left);
        *left = left.saturating_add(bytes);
    }

    /// Makes a pipeline of a shader that was checked.
    ///
    /// # Errors
    /// What the driver said.
    pub(super) fn make_pipeline(&self, session: Session, shader: &Shader) -> Result<Pipeline, SessionEnd> {
        let _guard = self.watch.guard(session, "making a pipeline of its shader", Instant::now(), DRIVER_TIME_MAX);
        self.lose_at(&self.pipelines_left);
        if is_last(&self.pipelines_until_stuck) {
            loop {
                thread::park();
            }
        }
        if is_last(&self.pipelines_until_refused) {
            return Err(SessionEnd::Failed(format!("{} takes no such shader", self.device.adapter_info().name)));
        }
        let entries: Vec<_> = shader.shape.bindings.iter().map(layout_entry).collect();
        checked(|| {
            let source = ShaderSource::Wgsl(shader.wgsl.as_str().into());
            let module = self.device.create_shader_module(ShaderModuleDescriptor { label: None, source });
            let layout = self.device.create_bind_group_layout(&BindGroupLayoutDescriptor { label: None, entries: &entries });
            let pipeline_layout = self.device.create_pipeline_layout(&PipelineLayoutDescriptor {
                label: None,
                bind_group_layouts: &[Some(&layout)],
                immediate_size: 0,
            });
            let compute = self.device.create_compute_pipeline(&ComputePipelineDescriptor {
                label: None,
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: Some(&shader.entry),
                compilation_options: PipelineCompilationOptions::default(),
                cache: None,
            });
            Pipeline { compute, layout, speed: Arc::default() }
        })
    }

    /// Somewhere for timestamps, where the device has them.
    ///
    /// # Errors
    /// As for a buffer.
    pub(super) fn take_stamps(&self) -> Result<Option<Stamps>, SessionEnd> {
        if self.tick_ns.is_none() {
            return Ok(None);
        }
        match lock(&self.stamps).pop() {
            Some(stamps) => Ok(Some(stamps)),
            None => Stamps::make(self).map(Some),
        }
    }

    pub(super) fn give_stamps_back(&self, mut stamps: Stamps) {
        stamps.used = 0;
        lock(&self.stamps).push(stamps);
    }

    /// Submits. To be called by whoever has the turn; waits while there are [`FLIGHTS_MAX`]. Who `waits` for it at once gets what it waits
    /// by, where nothing else runs: it hears of the end from the device, and not from a thread that has to hear of it before.
    ///
    /// # Errors
    /// What the driver said.
    pub(super) fn submit(&self, commands: CommandBuffer, flight: Flight, waits: bool) -> Result<Option<Waiting<'_>>, SessionEnd> {
        let is_alone = self.flights.add(flight.meter.session);
        // Nobody holds this for long then, and nobody else submits.
        let alone = (waits && is_alone).then(|| lock(&self.idle_since));
        // The library lets nobody submit while somebody waits for what was submitted before, which may run for a slice.
        let limit = self.slice + DRIVER_TIME_MAX;
        let guard = self.watch.guard(flight.meter.session, "giving work to the device", Instant::now(), limit);
        let at = Instant::now();
        let index = checked(|| self.queue.submit([commands]));
        drop(guard);
        let submitted = match index {
            Ok(index) => Submitted { index, at, flight },
            Err(error) => {
                self.flights.take_back();
                return Err(error);
            }
        };
        if submitted.flight.is_billed {
            self.lose_at(&self.submissions_left);
        }
        if let Some(idle_since) = alone {
            return Ok(Some(Waiting { gpu: self, idle_since, submitted }));
        }
        // Its thread ends with the process.
        let _ = self.submitted.send(submitted);
        Ok(None)
    }

    /// Loses the device where so many are left, as a driver does that gives it up.
    fn lose_at(&self, left: &AtomicU32) {
        if is_last(left) {
            self.device.destroy();
            // Which tells, and ends this process.
            let _ = self.device.poll(PollType::wait_indefinitely());
        }
    }

    /// Waits for each submission that nobody else waits for, in order.
    fn wait_for_all(&self, submitted: &Receiver<Submitted>) {
        for submitted in submitted {
            // Not before one that was submitted before it is over.
            self.time(submitted, &mut lock(&self.idle_since));
            self.flights.land();
        }
    }

    /// Waits for a submission, and bills it by the clock: what timestamps say of it is known later.
    fn time(&self, submitted: Submitted, idle_since: &mut Instant) {
        let Submitted { index, at, flight } = submitted;
        // It began when the one before was over.
        let began = at.max(*idle_since);
        flight.meter.begin();
        let guard = self.watch.guard(flight.meter.session, "a dispatch", began, self.slice);
        if let Err(error) = self.device.poll(PollType::Wait { submission_index: Some(index), timeout: None }) {
            self.supervisor.lose(Some(flight.meter.session), format!("the device does not answer: {error}"));
        }
        *idle_since = Instant::now();
        drop(guard);
        let wall = u64::try_from(idle_since.duration_since(began).as_nanos()).unwrap_or(u64::MAX);
        flight.meter.end(if flight.is_billed { wall } else { 0 });
        flight.done.finish(wall);
    }
}

/// Counts one of those that are left, and says whether it was the last.
fn is_last(left: &AtomicU32) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)) == Ok(1)
}

fn layout_entry(shape: &BindingShape) -> BindGroupLayoutEntry {
    let ty = match shape.kind {
        BindingKind::Uniform => BufferBindingType::Uniform,
        BindingKind::Read => BufferBindingType::Storage { read_only: true },
        BindingKind::ReadWrite => BufferBindingType::Storage { read_only: false },
    };
    let ty = BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: BufferSize::new(shape.bytes_min) };
    BindGroupLayoutEntry { binding: shape.binding, visibility: ShaderStages::COMPUTE, ty, count: None }
}

/// A pipeline.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) compute: ComputePipeline,
    pub(super) layout: BindGroupLayout,
    pub(super) speed: Arc<Speed>,
}

/// Tells when a submission is over, and what it maps is mapped.
#[derive(Debug, Default)]
pub(super) struct Done {
    state: Mutex<DoneState>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct DoneState {
    is_over: bool,
    /// How long it ran by the clock, in nanoseconds.
    wall_ns: u64,
    maps_left: usize,
    is_failed: bool,
}

impl Done {
    /// One more mapping to wait for; what is returned is told of it.
    pub(super) fn expect_map(self: &Arc<Self>) -> impl FnOnce(Result<(), wgpu::BufferAsyncError>) + Send + 'static {
        lock(&self.state).maps_left += 1;
        let done = Arc::clone(self);
        move |mapped| {
            let mut state = lock(&done.state);
            state.maps_left -= 1;
            state.is_failed |= mapped.is_err();
            done.wake.notify_all();
        }
    }

    fn finish(&self, wall_ns: u64) {
        let mut state = lock(&self.state);
        (state.is_over, state.wall_ns) = (true, wall_ns);
        self.wake.notify_all();
    }

    /// How long it ran, in nanoseconds; nothing as long as it does.
    pub(super) fn wall_ns(&self) -> Option<u64> {
        let state = lock(&self.state);
        state.is_over.then_some(state.wall_ns)
    }

    /// Waits for all.
    ///
    /// # Errors
    /// Where something was not mapped.
    pub(super) fn wait(&self) -> Result<(), SessionEnd> {
        let state = lock(&self.state);
        drop(self.wake.wait_while(state, |state| !state.is_over).unwrap_or_else(PoisonError::into_inner));
        self.wait_for_maps()
    }

    pub(super) fn wait_for_maps(&self) -> Result<(), SessionEnd> {
        let state = lock(&self.state);
        let state = self.wake.wait_while(state, |state| state.maps_left > 0).unwrap_or_else(PoisonError::into_inner);
        if state.is_failed { Err(SessionEnd::Failed("a buffer could not be mapped".to_owned())) } else { Ok(()) }
    }
}

thread_local! {
    /// The error of the last call of this thread. The library has no other way to tell of most, and tells in the thread that called.
    static LAST_ERROR: RefCell<Option<SessionEnd>> = const { RefCell::new(None) };
}

/// Calls the device, and says what went wrong.
pub(super) fn checked<T>(call: impl FnOnce() -> T) -> Result<T, SessionEnd> {
    LAST_ERROR.take();
    let made = call();
    LAST_ERROR.take().map_or(Ok(made), Err)
}

impl From<wgpu::Error> for SessionEnd {
    fn from(error: wgpu::Error) -> Self {
        match error {
            wgpu::Error::OutOfMemory { .. } => Self::NoMemory("the adapter has no memory left".to_owned()),
            other => Self::Failed(other.to_string()),
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};

    use super::super::socket::Inbox;
    use super::*;
    use crate::gpu::adapter;
    use crate::gpu::live::GpuLive;
    use crate::gpu::wire::{FromGpu, GpuSetup};

    const SESSION: Session = 7;
    /// Set in the process that loses its device.
    const LOSES: &str = "ADIT_TEST_LOSES_ITS_DEVICE";

    /// A device on the software adapter that tells what is on this process's standard input.
    fn gpu() -> Arc<Gpu> {
        let supervisor = Arc::new(Supervisor::new(Arc::new(UnixStream::from(stdin()))).unwrap());
        let setup = GpuSetup { adapter: None, software: true, memory: 64 << 20, slice_ms: 60_000, faults: Faults::default() };
        let opened = adapter::open(&setup).expect("no Vulkan adapter to test on; `cargo xtask setup` installs one");
        let watch = Watch::start(Arc::clone(&supervisor)).unwrap();
        let gpu = Gpu::start(opened, Duration::from_mins(1), watch, supervisor, Faults::default()).unwrap();
        gpu.lose_with_device();
        gpu
    }

    fn stdin() -> OwnedFd {
        use std::os::fd::AsFd;
        io::stdin().as_fd().try_clone_to_owned().unwrap()
    }

    fn submit(gpu: &Gpu) {
        let commands = gpu.device.create_command_encoder(&Default::default()).finish();
        let meter = Meter::new(SESSION, u64::MAX, Arc::new(GpuLive::create().unwrap()));
        let flight = Flight { meter, is_billed: true, done: Arc::default() };
        if let Some(waiting) = gpu.submit(commands, flight, true).unwrap() {
            waiting.wait();
        }
    }

    /// The device is destroyed under the worker, which is what a driver does that gives it up. That ends the process, so it is another one.
    #[test]
    fn device_that_is_lost_is_told_with_who_has_it_and_ends_the_process() {
        if let Some(when) = std::env::var_os(LOSES) {
            let gpu = gpu();
            submit(&gpu);
            if when == "busy" {
                gpu.flights.add(SESSION);
            }
            gpu.device.destroy();
            let deadline = Instant::now() + Duration::from_secs(20);
            while Instant::now() < deadline {
                let _ = gpu.device.poll(PollType::Poll);
            }
            panic!("it goes on");
        }
        // Whoever ran last, and was done, was blamed for what came when nothing ran.
        for (when, guilty) in [("busy", Some(SESSION)), ("idle", None)] {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let test = "worker::gpu::device::tests::device_that_is_lost_is_told_with_who_has_it_and_ends_the_process";
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["--exact", test, "--nocapture"]).env(LOSES, when);
            let mut child = command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).spawn().unwrap();
            // Its end of the socket is in nobody else's hands.
            drop(command);
            ours.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            let said = Inbox::new(Arc::new(ours)).recv().unwrap();
            let Some(FromGpu::Lost { session, reason }) = said else { panic!("{said:?}") };
            assert_eq!(session, guilty, "{when}");
            assert!(reason.contains("Destroyed"), "{reason}");
            assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
        }
    }
}
