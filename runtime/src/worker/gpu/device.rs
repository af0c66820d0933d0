//! The device, which all sessions share: what they submit to it runs one after the other, and is timed by a thread that waits for each.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{io, thread};

use wgpu::{
    BindGroupLayout, BindGroupLayoutDescriptor, BindGroupLayoutEntry, BindingType, Buffer, BufferBindingType, BufferDescriptor,
    BufferSize, BufferUsages, CommandBuffer, ComputePipeline, ComputePipelineDescriptor, Device, PipelineCompilationOptions,
    PipelineLayoutDescriptor, PollType, QuerySet, QuerySetDescriptor, QueryType, Queue, ShaderModuleDescriptor, ShaderSource,
    ShaderStages, SubmissionIndex,
};

use super::meter::Meter;
use super::turns::Turns;
use super::watch::{Supervisor, Watch};
use crate::gpu::adapter::Opened;
use crate::gpu::wire::{BindingKind, BindingShape, Session, SessionEnd, Shader};

/// Submissions on the device at a time: one runs, and the next is there when it is over.
const FLIGHTS_MAX: usize = 2;
/// How long a driver may take for what is no work of the device: compiling a shader, taking a submission.
pub(super) const DRIVER_TIME_MAX: Duration = Duration::from_secs(10);
/// Timestamps of a submission.
pub(super) const STAMPS_MAX: u32 = 128;
const STAMP_BYTES: u64 = 8;

/// The device and what belongs to it.
#[derive(Debug)]
pub(super) struct Gpu {
    pub(super) device: Device,
    queue: Queue,
    /// Nanoseconds of a timestamp's tick, where there are timestamps.
    tick_ns: Option<f32>,
    slice: Duration,
    pub(super) turns: Arc<Turns>,
    pub(super) watch: Arc<Watch>,
    pub(super) supervisor: Arc<Supervisor>,
    /// The session whose work runs, or ran last.
    running: Arc<AtomicU64>,
    /// Bytes that sessions may still take.
    memory_left: Mutex<u64>,
    flights: Mutex<usize>,
    landed: Condvar,
    submitted: SyncSender<Submitted>,
    /// Those that no submission uses.
    stamps: Mutex<Vec<Stamps>>,
}

/// What was submitted, for the thread that waits for it.
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
    pub(super) stamps: Option<Stamps>,
    pub(super) spans: Vec<Span>,
    pub(super) done: Arc<Done>,
}

/// What lies between two timestamps.
#[derive(Debug)]
pub(super) enum Span {
    /// Copies between buffers, and the clearing of new ones.
    Copies,
    /// A dispatch of so many workgroups.
    Dispatch(Arc<Speed>, u64),
}

impl Gpu {
    /// Takes a device into use, and starts the thread that waits for what is submitted.
    pub(super) fn start(
        opened: Opened,
        slice: Duration,
        watch: Arc<Watch>,
        supervisor: Arc<Supervisor>,
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
            running: Arc::default(),
            memory_left: Mutex::new(memory_max),
            flights: Mutex::new(0),
            landed: Condvar::new(),
            submitted,
            stamps: Mutex::default(),
        });
        let timing = Arc::clone(&gpu);
        thread::Builder::new().name("device".to_owned()).spawn(move || timing.wait_for_all(&waiting))?;
        Ok(gpu)
    }

    /// Ends the process when the device is lost, in the work of whoever had it.
    pub(super) fn lose_with_device(self: &Arc<Self>) {
        let (supervisor, running) = (Arc::clone(&self.supervisor), Arc::clone(&self.running));
        self.device.set_device_lost_callback(move |reason, message| {
            supervisor.lose(running.load(Ordering::Relaxed), format!("the device is lost ({reason:?}): {message}"));
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
        let Some(_) = self.tick_ns else { return Ok(None) };
        if let Some(stamps) = lock(&self.stamps).pop() {
            return Ok(Some(stamps));
        }
        let descriptor = QuerySetDescriptor { label: None, ty: QueryType::Timestamp, count: STAMPS_MAX };
        let bytes = u64::from(STAMPS_MAX) * STAMP_BYTES;
        Ok(Some(Stamps {
            queries: checked(|| self.device.create_query_set(&descriptor))?,
            resolved: self.make_buffer(bytes, BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC)?,
            read: self.make_buffer(bytes, BufferUsages::MAP_READ | BufferUsages::COPY_DST)?,
            mapped: Arc::default(),
        }))
    }

    /// Submits. To be called by whoever has the turn; waits while there are [`FLIGHTS_MAX`].
    ///
    /// # Errors
    /// What the driver said.
    pub(super) fn submit(&self, commands: CommandBuffer, flight: Flight) -> Result<(), SessionEnd> {
        let flights = lock(&self.flights);
        let is_full = |flights: &mut usize| *flights >= FLIGHTS_MAX;
        *self.landed.wait_while(flights, is_full).unwrap_or_else(PoisonError::into_inner) += 1;
        let guard = self.watch.guard(flight.meter.session, "giving work to the device", Instant::now(), DRIVER_TIME_MAX);
        let at = Instant::now();
        let index = checked(|| self.queue.submit([commands]));
        drop(guard);
        match index {
            Ok(index) => {
                // Its thread ends with the process.
                let _ = self.submitted.send(Submitted { index, at, flight });
                Ok(())
            }
            Err(error) => {
                self.land();
                Err(error)
            }
        }
    }

    fn land(&self) {
        *lock(&self.flights) -= 1;
        self.landed.notify_all();
    }

    /// Waits for each submission in order, and bills it.
    fn wait_for_all(&self, submitted: &Receiver<Submitted>) {
        let mut idle_since = Instant::now();
        for Submitted { index, at, flight } in submitted {
            // It began when the one before was over.
            let began = at.max(idle_since);
            flight.meter.begin();
            self.running.store(flight.meter.session, Ordering::Relaxed);
            let guard = self.watch.guard(flight.meter.session, "a dispatch", began, self.slice);
            if let Err(error) = self.device.poll(PollType::Wait { submission_index: Some(index), timeout: None }) {
                self.supervisor.lose(flight.meter.session, format!("the device does not answer: {error}"));
            }
            idle_since = Instant::now();
            drop(guard);
            self.bill(flight, idle_since.duration_since(began));
            self.land();
        }
    }

    /// Bills the shorter of what timestamps say and what a clock says; nothing where it only moved bytes to a guest or from it.
    fn bill(&self, flight: Flight, wall: Duration) {
        let wall = if flight.spans.is_empty() { 0 } else { u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX) };
        let stamped = flight.stamps.and_then(|stamps| {
            let times = stamps.read_spans(flight.spans.len(), self.tick_ns.unwrap_or_default());
            lock(&self.stamps).push(stamps);
            times
        });
        let billed = stamped.as_ref().map_or(wall, |times| times.iter().sum::<u64>().min(wall));
        let even = wall / flight.spans.len().max(1) as u64;
        for (at, span) in flight.spans.iter().enumerate() {
            if let Span::Dispatch(speed, workgroups) = span {
                speed.note(stamped.as_ref().map_or(even, |times| times[at].min(wall)), *workgroups);
            }
        }
        flight.meter.end(billed);
        flight.done.finish();
    }
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

/// How long a pipeline took when it was last seen.
#[derive(Debug, Default)]
pub(super) struct Speed(Mutex<Option<Seen>>);

#[derive(Debug, Clone, Copy)]
struct Seen {
    ns: u64,
    workgroups: u64,
}

impl Speed {
    fn note(&self, ns: u64, workgroups: u64) {
        *lock(&self.0) = Some(Seen { ns, workgroups: workgroups.max(1) });
    }

    /// How long a dispatch of so many workgroups may take, as far as that can be known.
    pub(super) fn expected_ns(&self, workgroups: u64) -> Option<u64> {
        let seen = (*lock(&self.0))?;
        let times = workgroups.div_ceil(seen.workgroups).max(1);
        Some(seen.ns.saturating_mul(times))
    }
}

/// The timestamps of one submission.
#[derive(Debug)]
pub(super) struct Stamps {
    pub(super) queries: QuerySet,
    pub(super) resolved: Buffer,
    pub(super) read: Buffer,
    pub(super) mapped: Arc<Done>,
}

impl Stamps {
    /// Nanoseconds of each span; nothing where they cannot be read.
    fn read_spans(&self, spans: usize, tick_ns: f32) -> Option<Vec<u64>> {
        if spans == 0 {
            return None;
        }
        self.mapped.wait_for_maps().ok()?;
        let view = self.read.slice(..stamp_bytes(spans)).get_mapped_range().ok()?;
        let ticks: Vec<_> = view.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
        let times = ticks.array_windows().map(|[began, ended]| (ended.saturating_sub(*began) as f64 * f64::from(tick_ns)) as u64);
        let times = times.collect();
        drop(view);
        self.read.unmap();
        Some(times)
    }
}

/// Timestamps of so many spans: each ends where the next begins.
pub(super) fn stamps_of(spans: usize) -> usize {
    spans + 1
}

/// Bytes of them.
pub(super) fn stamp_bytes(spans: usize) -> u64 {
    stamps_of(spans) as u64 * STAMP_BYTES
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

    fn finish(&self) {
        lock(&self.state).is_over = true;
        self.wake.notify_all();
    }

    pub(super) fn is_over(&self) -> bool {
        lock(&self.state).is_over
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

    fn wait_for_maps(&self) -> Result<(), SessionEnd> {
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
