//! A session: a thread that does what one run of a job asks for, over a socket of its own.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;
use std::{io, thread};

use adit_protocol::GpuNeed;
use wgpu::{
    BindGroup, BindGroupDescriptor, BindGroupEntry, BindingResource, Buffer, BufferBinding, BufferSize, BufferUsages, WriteOnly,
};

use super::batch::Batch;
use super::device::{Done, Flight, Gpu, Pipeline, checked, lock};
use super::meter::Meter;
use super::socket::{Inbox, send};
use super::staging::{CHUNKS_PER_BATCH, Downloads, Uploads};
use super::stamps::{Sent, Stamps, Unsettled};
use super::turns::{Turn, Turns};
use crate::gpu::book::{Book, Fault};
use crate::gpu::wire::{
    Binding, Command, Data, FromGpu, INLINE_MAX, Reply, SHARED_BYTES, SLOT_BYTES, SLOTS, Session, SessionEnd, Shape,
};
use crate::ipc::IpcError;
use crate::unchecked::SharedMemory;

/// What buffers of guests can be used for.
const USAGES: BufferUsages =
    BufferUsages::STORAGE.union(BufferUsages::UNIFORM).union(BufferUsages::COPY_SRC).union(BufferUsages::COPY_DST);
/// A dispatch that takes longer goes alone.
const TINY_NS: u64 = 1_000_000;
/// Time on the device after which a session lets others, where there are.
const TURN_NS: u64 = 50_000_000;
/// Groups of pieces of a read that are on their way at a time.
const READS_AHEAD: usize = 2;

/// Pipelines beyond those that a job may have that wait to be taken in: a sandbox says so with its next batch, and its session may be busy.
const UNADOPTED_MAX: usize = 1024;

/// A session as the control thread sees it.
#[derive(Debug)]
pub(super) struct Handle {
    session: Session,
    need: GpuNeed,
    socket: Arc<UnixStream>,
    pub(super) meter: Arc<Meter>,
    state: Mutex<HandleState>,
    closed: Condvar,
}

#[derive(Debug, Default)]
struct HandleState {
    is_closed: bool,
    /// Pipelines that the sandbox has not taken in, by serial number.
    made: HashMap<u64, (Pipeline, Shape)>,
}

impl Handle {
    /// Starts a session.
    pub(super) fn open(
        gpu: &Arc<Gpu>,
        meter: Arc<Meter>,
        need: GpuNeed,
        socket: UnixStream,
        shared: File,
    ) -> io::Result<Arc<Self>> {
        let shared = SharedMemory::map(&shared, SHARED_BYTES as usize)?;
        let socket = Arc::new(socket);
        let session = meter.session;
        let state = Mutex::default();
        let handle = Arc::new(Self { session, need, socket: Arc::clone(&socket), meter, state, closed: Condvar::new() });
        let worker = Worker {
            gpu: Arc::clone(gpu),
            handle: Arc::clone(&handle),
            inbox: Inbox::new(socket),
            shared,
            book: Book::new(need),
            buffers: HashMap::new(),
            memory: 0,
            doomed: 0,
            pipelines: HashMap::new(),
            groups: HashMap::new(),
            batch: None,
            is_changed: false,
            writers: Writers::default(),
            flights: VecDeque::new(),
            stamps: None,
            unsettled: Unsettled::default(),
            turn: None,
            uploads: Uploads::default(),
            downloads: Downloads::default(),
            slots_free: (0..SLOTS).rev().collect(),
        };
        thread::Builder::new().name(format!("session {session}")).spawn(move || worker.run())?;
        Ok(handle)
    }

    /// Keeps a pipeline until the sandbox takes it in.
    pub(super) fn add(&self, serial: u64, pipeline: Pipeline, shape: Shape) -> Result<(), String> {
        let mut state = lock(&self.state);
        if state.made.len() >= self.need.pipelines as usize + UNADOPTED_MAX {
            return Err(format!("{} pipelines were made and not used", state.made.len()));
        }
        state.made.insert(serial, (pipeline, shape));
        Ok(())
    }

    /// Ends the session, which then tells the supervisor what it used.
    pub(super) fn close(&self, turns: &Turns) {
        lock(&self.state).is_closed = true;
        self.closed.notify_all();
        turns.look_again();
        // Wakes its thread wherever that waits for the sandbox.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }

    fn is_closed(&self) -> bool {
        lock(&self.state).is_closed
    }
}

/// Why a session does nothing more.
enum Stop {
    /// The supervisor or the sandbox closed it.
    Closed,
    Ended(SessionEnd),
}

impl From<SessionEnd> for Stop {
    fn from(end: SessionEnd) -> Self {
        Self::Ended(end)
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        lied(fault.to_string())
    }
}

impl From<IpcError> for Stop {
    fn from(error: IpcError) -> Self {
        match error {
            IpcError::Io(_) => Self::Closed,
            other => lied(other.to_string()),
        }
    }
}

fn lied(what: String) -> Stop {
    Stop::Ended(SessionEnd::Lied(what))
}

/// A turn on the device, since when it is held, and what the session had used then.
struct HeldTurn {
    turn: Turn,
    since: Instant,
    since_ns: u64,
}

struct Worker {
    gpu: Arc<Gpu>,
    handle: Arc<Handle>,
    inbox: Inbox,
    shared: SharedMemory,
    book: Book,
    buffers: HashMap<u32, (Buffer, u64)>,
    /// Bytes of them.
    memory: u64,
    /// Bytes of destroyed buffers that something recorded or running may still hold.
    doomed: u64,
    pipelines: HashMap<u32, Pipeline>,
    /// What was bound to a pipeline last.
    groups: HashMap<u32, (Vec<Binding>, BindGroup)>,
    batch: Option<Batch>,
    /// Whether a buffer was changed since the last dispatch, so that what was seen of dispatches says little of the next.
    is_changed: bool,
    writers: Writers,
    flights: VecDeque<Sent>,
    /// Where the next timestamps go, while nothing is recorded.
    stamps: Option<Stamps>,
    unsettled: Unsettled,
    turn: Option<HeldTurn>,
    uploads: Uploads,
    downloads: Downloads,
    slots_free: Vec<u8>,
}

impl Worker {
    fn run(mut self) {
        let mut stopped = self.serve();
        if stopped.is_ok() {
            stopped = self.check_time();
        }
        self.turn = None;
        if let Err(Stop::Ended(why)) = stopped {
            self.tell(&FromGpu::Ended { session: self.handle.session, why: why.clipped() });
        }
        let Self { gpu, handle, flights, memory, doomed, .. } = self.wait_for_flights();
        debug_assert!(flights.is_empty(), "all that was submitted is over");
        gpu.give_memory_back(memory + doomed);
        let state = lock(&handle.state);
        let mut state =
            handle.closed.wait_while(state, |state| !state.is_closed).unwrap_or_else(std::sync::PoisonError::into_inner);
        state.made.clear();
        drop(state);
        let closed = FromGpu::Closed { session: handle.session, used: handle.meter.used() };
        if gpu.supervisor.send(&closed).is_err() {
            super::watch::end();
        }
    }

    /// Lets what runs come to its end, and has it billed. What was only recorded is dropped with the rest.
    fn wait_for_flights(mut self) -> Self {
        if let Some(batch) = self.batch.take() {
            self.stamps = batch.abandon();
        }
        for flight in &self.flights {
            // A buffer that could not be mapped is of no more use to anybody.
            let _ = flight.done.wait();
        }
        // Where the device has no memory for that, the clock's word holds.
        let _ = self.settle_time();
        if let Some(stamps) = self.stamps.take() {
            self.gpu.give_stamps_back(stamps);
        }
        self
    }

    fn tell(&self, message: &FromGpu) {
        // A supervisor that is gone ends this process.
        if self.gpu.supervisor.send(message).is_err() {
            super::watch::end();
        }
    }

    /// Does what the sandbox says until it is gone.
    fn serve(&mut self) -> Result<(), Stop> {
        loop {
            let turn = &mut self.turn;
            // Whoever has nothing to do now lets others.
            let Some(command) = self.inbox.recv_or(|| *turn = None)? else { return Ok(()) };
            if self.handle.is_closed() {
                return Ok(());
            }
            self.obey(command)?;
        }
    }

    fn obey(&mut self, command: Command) -> Result<(), Stop> {
        match command {
            Command::Create { buffer, bytes } => self.create(buffer, bytes),
            Command::Destroy { buffer } => self.destroy(buffer),
            Command::Write { buffer, offset, data } => self.write(buffer, offset, data),
            Command::Copy { from, from_offset, to, to_offset, bytes } => self.copy(from, from_offset, to, to_offset, bytes),
            Command::Adopt { pipeline, serial } => self.adopt(pipeline, serial),
            Command::DropPipeline { pipeline } => {
                self.book.drop_pipeline(pipeline)?;
                self.pipelines.remove(&pipeline);
                self.groups.remove(&pipeline);
                self.writers.drop_pipeline(pipeline);
                Ok(())
            }
            Command::Dispatch { pipeline, bindings, workgroups } => self.dispatch(pipeline, &bindings, workgroups),
            Command::Submit => self.flush(),
            Command::Read { buffer, offset, bytes } => self.read(buffer, offset, bytes),
            Command::Taken { slot } => self.taken(slot),
            Command::Finish => self.finish(),
        }
    }

    fn create(&mut self, buffer: u32, bytes: u64) -> Result<(), Stop> {
        if self.book.create(bytes)? != buffer {
            return Err(lied(format!("buffer {buffer} is not the next")));
        }
        if self.memory + self.doomed + bytes > self.book.need().memory.0 {
            // The guest has the room only when those are gone.
            self.settle()?;
        }
        self.gpu.take_memory(bytes)?;
        self.memory += bytes;
        let made = self.gpu.make_buffer(bytes, USAGES)?;
        // Now, and not by the library when it is first used: then the time would be nobody's.
        self.batch()?.clear(&made, bytes);
        self.buffers.insert(buffer, (made, bytes));
        self.flush_if_full()
    }

    fn destroy(&mut self, buffer: u32) -> Result<(), Stop> {
        self.book.destroy(buffer)?;
        if let Some((_, bytes)) = self.buffers.remove(&buffer) {
            self.memory -= bytes;
            self.doomed += bytes;
        }
        self.writers.drop_buffer(buffer);
        self.groups.clear();
        self.forget_doomed();
        Ok(())
    }

    /// Where nothing is recorded and nothing runs, nothing holds a destroyed buffer.
    fn forget_doomed(&mut self) {
        self.take_in_landed();
        if self.batch.is_none() && self.flights.is_empty() {
            self.gpu.give_memory_back(std::mem::take(&mut self.doomed));
        }
    }

    fn write(&mut self, buffer: u32, offset: u64, data: Data) -> Result<(), Stop> {
        match data {
            Data::Inline(data) => {
                if data.len() > INLINE_MAX {
                    return Err(lied(format!("{} bytes within a frame", data.len())));
                }
                self.book.write(buffer, offset, data.len() as u64)?;
                let staged = self.stage(data.len(), |mut memory, _| memory.copy_from_slice(&data))?;
                self.upload(buffer, offset, staged, data.len() as u64)
            }
            Data::Slot { slot, bytes } => {
                if slot >= SLOTS || bytes as usize > SLOT_BYTES {
                    return Err(lied(format!("{bytes} bytes in slot {slot}")));
                }
                self.book.write(buffer, offset, bytes.into())?;
                let at = usize::from(slot) * SLOT_BYTES;
                let staged = self.stage(bytes as usize, |memory, shared| shared.read_to_device(at, memory))?;
                // While this goes on its way, the sandbox fills the slot again.
                self.say(&Reply::Free { slot })?;
                self.upload(buffer, offset, staged, bytes.into())
            }
        }
    }

    /// Takes bytes in on their way to a buffer: where they are, or nothing where there are none.
    fn stage(
        &mut self,
        bytes: usize,
        fill: impl FnOnce(WriteOnly<'_, [u8]>, &SharedMemory),
    ) -> Result<Option<(Buffer, u64)>, Stop> {
        let shared = &self.shared;
        let put = (bytes > 0).then(|| self.uploads.put(&self.gpu, bytes, |memory| fill(memory, shared)));
        Ok(put.transpose()?)
    }

    /// Records that what was taken in goes to a buffer.
    fn upload(&mut self, buffer: u32, offset: u64, staged: Option<(Buffer, u64)>, bytes: u64) -> Result<(), Stop> {
        let Some((staged, at)) = staged else { return Ok(()) };
        let target = self.buffer(buffer)?;
        self.is_changed = true;
        self.batch()?.move_bytes(&staged, at, &target, offset, bytes);
        if self.uploads.is_full() { self.flush() } else { self.flush_if_full() }
    }

    fn copy(&mut self, from: u32, from_offset: u64, to: u32, to_offset: u64, bytes: u64) -> Result<(), Stop> {
        self.book.copy(from, from_offset, to, to_offset, bytes)?;
        if bytes == 0 {
            return Ok(());
        }
        let (source, target) = (self.buffer(from)?, self.buffer(to)?);
        self.is_changed = true;
        self.batch()?.copy(&source, from_offset, &target, to_offset, bytes);
        self.flush_if_full()
    }

    fn adopt(&mut self, pipeline: u32, serial: u64) -> Result<(), Stop> {
        let made = lock(&self.handle.state).made.remove(&serial);
        let Some((made, shape)) = made else { return Err(lied(format!("there is no pipeline of serial number {serial}"))) };
        if self.book.add_pipeline(shape)? != pipeline {
            return Err(lied(format!("pipeline {pipeline} is not the next")));
        }
        self.pipelines.insert(pipeline, made);
        Ok(())
    }

    fn dispatch(&mut self, pipeline: u32, bindings: &[Binding], workgroups: [u32; 3]) -> Result<(), Stop> {
        let bound = self.book.dispatch(pipeline, bindings, workgroups)?;
        let all: u64 = workgroups.iter().map(|count| u64::from(*count)).product();
        if all == 0 {
            return Ok(());
        }
        let is_as_before = self.writers.note(pipeline, &bound, &self.book);
        self.bind(pipeline, bound)?;
        self.take_in_landed();
        let used = self.pipelines.get(&pipeline).ok_or_else(|| lied(format!("there is no pipeline {pipeline}")))?;
        let is_known = !std::mem::take(&mut self.is_changed) && is_as_before;
        let is_tiny = is_known && used.speed.expected_ns(all).is_some_and(|ns| ns <= TINY_NS);
        if !is_tiny && self.batch.as_ref().is_some_and(Batch::has_dispatches) {
            self.flush()?;
        }
        self.batch()?;
        let (Some(batch), Some(pipeline), Some((_, group))) =
            (&mut self.batch, self.pipelines.get(&pipeline), self.groups.get(&pipeline))
        else {
            return Err(SessionEnd::Failed("a dispatch was lost".to_owned()).into());
        };
        batch.dispatch(pipeline, group, workgroups);
        if is_tiny { self.flush_if_full() } else { self.flush() }
    }

    /// Makes a group of what is bound, unless it is what was bound last.
    fn bind(&mut self, pipeline: u32, bound: Vec<Binding>) -> Result<(), Stop> {
        if self.groups.get(&pipeline).is_some_and(|(last, _)| *last == bound) {
            return Ok(());
        }
        let buffers = bound.iter().map(|binding| self.buffer(binding.buffer)).collect::<Result<Vec<_>, _>>()?;
        let entries: Vec<_> = bound.iter().zip(&buffers).map(|(binding, buffer)| entry(binding, buffer)).collect();
        let used = self.pipelines.get(&pipeline).ok_or_else(|| lied(format!("there is no pipeline {pipeline}")))?;
        let descriptor = BindGroupDescriptor { label: None, layout: &used.layout, entries: &entries };
        let group = checked(|| self.gpu.device.create_bind_group(&descriptor))?;
        self.groups.insert(pipeline, (bound, group));
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Stop> {
        self.settle()?;
        self.check_time()?;
        self.say(&Reply::Finished)
    }

    /// Has all done that came before.
    fn settle(&mut self) -> Result<(), Stop> {
        if self.batch.is_some() {
            self.submit(true)?;
        }
        // What others submit meanwhile begins when this is over.
        self.turn = None;
        self.wait_for_all()?;
        self.forget_doomed();
        Ok(())
    }

    fn wait_for_all(&self) -> Result<(), SessionEnd> {
        self.flights.iter().try_for_each(|flight| flight.done.wait())
    }

    /// Bills what is over, and lets go of it.
    fn take_in_landed(&mut self) {
        while let Some(wall_ns) = self.flights.front().and_then(|flight| flight.done.wall_ns())
            && let Some(Sent { first, spans, resolving, .. }) = self.flights.pop_front()
        {
            self.unsettled.add(first, spans, wall_ns, self.gpu.tick_ns.is_some());
            if let Some(stamps) = resolving {
                self.unsettled.settle(&stamps, self.gpu.tick_ns.unwrap_or_default(), &self.handle.meter);
                self.gpu.give_stamps_back(stamps);
            }
        }
    }

    /// Bills all that is over by its timestamps.
    fn settle_time(&mut self) -> Result<(), SessionEnd> {
        if let Some(flight) = self.flights.iter().rfind(|flight| flight.resolving.is_some()) {
            flight.done.wait()?;
        }
        self.take_in_landed();
        if self.unsettled.is_empty() {
            return Ok(());
        }
        let stamps = self.batch.as_ref().map_or(self.stamps.as_ref(), Batch::stamps);
        let (Some(stamps), Some(tick_ns)) = (stamps, self.gpu.tick_ns) else { return Ok(()) };
        let commands = checked(|| {
            let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
            stamps.resolve(&mut encoder);
            encoder.finish()
        })?;
        let turn = self.turn.is_none().then(|| self.gpu.turns.take_short());
        let done = Arc::<Done>::default();
        let flight = Flight { meter: Arc::clone(&self.handle.meter), is_billed: false, done: Arc::clone(&done) };
        let waiting = self.gpu.submit(commands, flight, true)?;
        drop(turn);
        match waiting {
            Some(waiting) => waiting.wait(),
            None => done.wait()?,
        }
        self.unsettled.settle(stamps, tick_ns, &self.handle.meter);
        Ok(())
    }

    fn read(&mut self, buffer: u32, offset: u64, bytes: u64) -> Result<(), Stop> {
        self.book.read(buffer, offset, bytes)?;
        let source = self.buffer(buffer)?;
        let mut groups = VecDeque::new();
        let (mut asked, mut pieces_max) = (0, 1);
        loop {
            while groups.len() < READS_AHEAD && asked < bytes {
                let (group, end) = self.ask(&source, offset, asked..bytes, pieces_max, groups.is_empty())?;
                groups.push_back(group);
                asked = end;
                // The first goes on its way to the guest while the next are copied.
                pieces_max = (2 * pieces_max).min(CHUNKS_PER_BATCH);
            }
            let Some(group) = groups.pop_front() else { return Ok(()) };
            self.turn = None;
            group.done.wait()?;
            self.check_time()?;
            for (staged, length) in group.pieces {
                self.reply(&staged, length)?;
                self.downloads.give_back(staged);
            }
        }
    }

    /// Submits the copies of the next pieces of what is left of a read, and says where the one after begins. Where these are the last, and it
    /// has no others, it waits for them.
    fn ask(
        &mut self,
        source: &Buffer,
        offset: u64,
        left: Range<u64>,
        pieces_max: usize,
        is_alone: bool,
    ) -> Result<(Pieces, u64), Stop> {
        let (mut at, mut pieces) = (left.start, Vec::new());
        while pieces.len() < pieces_max && at < left.end {
            let length = (left.end - at).min(SLOT_BYTES as u64);
            let staged = self.downloads.take(&self.gpu)?;
            let batch = self.batch()?;
            batch.move_bytes(source, offset + at, &staged, 0, length);
            batch.map(&staged, length);
            pieces.push((staged, length as usize));
            at += length;
        }
        let done = self.submit(is_alone && at == left.end)?;
        Ok((Pieces { done, pieces }, at))
    }

    /// Sends a piece that was read.
    fn reply(&mut self, staged: &Buffer, length: usize) -> Result<(), Stop> {
        let view = staged.slice(..length as u64).get_mapped_range();
        let view = view.map_err(|error| SessionEnd::Failed(error.to_string()))?;
        if length <= INLINE_MAX {
            return self.say(&Reply::Data(Data::Inline(view.to_vec())));
        }
        let slot = self.take_slot()?;
        self.shared.write(usize::from(SLOTS + slot) * SLOT_BYTES, &view);
        self.say(&Reply::Data(Data::Slot { slot, bytes: length as u32 }))
    }

    fn take_slot(&mut self) -> Result<u8, Stop> {
        loop {
            if let Some(slot) = self.slots_free.pop() {
                return Ok(slot);
            }
            match self.inbox.recv()? {
                Some(Command::Taken { slot }) => self.taken(slot)?,
                // Not told in its own words, which may be long.
                Some(_) => return Err(lied("another command in the middle of a read".to_owned())),
                None => return Err(Stop::Closed),
            }
        }
    }

    fn taken(&mut self, slot: u8) -> Result<(), Stop> {
        if slot >= SLOTS || self.slots_free.contains(&slot) {
            return Err(lied(format!("slot {slot} was not full")));
        }
        self.slots_free.push(slot);
        Ok(())
    }

    fn buffer(&self, buffer: u32) -> Result<Buffer, Stop> {
        let found = self.buffers.get(&buffer).map(|(buffer, _)| buffer.clone());
        found.ok_or_else(|| lied(format!("there is no buffer {buffer}")))
    }

    /// What is being recorded.
    fn batch(&mut self) -> Result<&mut Batch, Stop> {
        let batch = match self.batch.take() {
            Some(batch) => batch,
            None => {
                let stamps = match self.stamps.take() {
                    Some(stamps) => Some(stamps),
                    None => self.gpu.take_stamps()?,
                };
                Batch::begin(&self.gpu, stamps)?
            }
        };
        Ok(self.batch.insert(batch))
    }

    fn flush_if_full(&mut self) -> Result<(), Stop> {
        if self.batch.as_ref().is_some_and(Batch::is_full) { self.flush() } else { Ok(()) }
    }

    /// Submits what was recorded, if anything was.
    fn flush(&mut self) -> Result<(), Stop> {
        if self.batch.is_some() {
            self.submit(false)?;
        }
        Ok(())
    }

    /// Submits what was recorded. Who `waits` for it lets others submit what runs after it.
    fn submit(&mut self, waits: bool) -> Result<Arc<Done>, Stop> {
        self.batch()?;
        self.take_turn()?;
        if self.handle.is_closed() {
            return Err(Stop::Closed);
        }
        self.check_time()?;
        let Some(mut batch) = self.batch.take() else { return Err(Stop::Closed) };
        self.uploads.hand_over(&mut batch);
        let (commands, sent, stamps) = batch.finish()?;
        self.stamps = stamps;
        let done = Arc::clone(&sent.done);
        let (meter, is_billed) = (Arc::clone(&self.handle.meter), !sent.spans.is_empty());
        let gpu = Arc::clone(&self.gpu);
        let waiting = gpu.submit(commands, Flight { meter, is_billed, done: Arc::clone(&done) }, waits)?;
        self.flights.push_back(sent);
        match waiting {
            Some(waiting) => {
                self.turn = None;
                waiting.wait();
            }
            None => self.end_turn_if_wanted(),
        }
        self.take_in_landed();
        Ok(done)
    }

    fn take_turn(&mut self) -> Result<(), Stop> {
        if self.turn.is_none() {
            let turn = self.gpu.turns.take(|| self.handle.is_closed()).ok_or(Stop::Closed)?;
            self.turn = Some(HeldTurn { turn, since: Instant::now(), since_ns: self.handle.meter.ns() });
        }
        Ok(())
    }

    /// What is not billed takes the device's time too, so both clocks count.
    fn end_turn_if_wanted(&mut self) {
        let now = self.handle.meter.ns();
        let is_long = |held: &HeldTurn| {
            now.saturating_sub(held.since_ns) >= TURN_NS || held.since.elapsed().as_nanos() >= u128::from(TURN_NS)
        };
        if self.turn.as_ref().is_some_and(|held| held.turn.is_wanted() && is_long(held)) {
            self.turn = None;
        }
    }

    /// Says something to the sandbox, which may be slow to listen: nobody else waits for that.
    fn say(&mut self, reply: &Reply) -> Result<(), Stop> {
        self.turn = None;
        Ok(send(&self.handle.socket, reply)?)
    }

    /// Ends a session whose time is over by what the device says. By the clock, which counts at first, more may have passed.
    fn check_time(&mut self) -> Result<(), Stop> {
        self.handle.meter.count(&self.book);
        if self.handle.meter.is_over_time() {
            self.settle_time()?;
        }
        if self.handle.meter.is_over_time() && !self.flights.is_empty() {
            // What landed while that was settled counts by the clock again. Only where nothing more can land is the sum final.
            self.wait_for_all()?;
            self.settle_time()?;
        }
        if self.handle.meter.is_over_time() { Err(SessionEnd::OutOfTime.into()) } else { Ok(()) }
    }
}

/// A pipeline that is no more.
const GONE: u32 = u32::MAX;

/// Which pipelines wrote last to buffers: what a dispatch takes may depend on what it reads.
#[derive(Debug, Default)]
struct Writers {
    /// By buffer.
    last: HashMap<u32, u32>,
    /// Those of the buffers that a pipeline read when it was dispatched last, by pipeline.
    seen: HashMap<u32, Vec<Option<u32>>>,
}

impl Writers {
    /// Notes a dispatch, and says whether its buffers were written by the same pipelines as those of the one before of its pipeline. In a
    /// chain that goes round that is so from the second round on.
    fn note(&mut self, pipeline: u32, bound: &[Binding], book: &Book) -> bool {
        let by_others = |binding: &Binding| self.last.get(&binding.buffer).copied().filter(|writer| *writer != pipeline);
        let writers: Vec<_> = bound.iter().map(by_others).collect();
        for binding in bound.iter().filter(|binding| book.is_written(pipeline, binding.binding)) {
            self.last.insert(binding.buffer, pipeline);
        }
        let is_new = |writer: &Option<u32>, before: Option<&Option<u32>>| writer.is_some() && before != Some(writer);
        let before = self.seen.get(&pipeline).map(Vec::as_slice).unwrap_or_default();
        let is_as_before = !writers.iter().enumerate().any(|(at, writer)| is_new(writer, before.get(at)));
        self.seen.insert(pipeline, writers);
        is_as_before
    }

    fn drop_buffer(&mut self, buffer: u32) {
        self.last.remove(&buffer);
    }

    /// Another pipeline may get its number.
    fn drop_pipeline(&mut self, pipeline: u32) {
        self.seen.remove(&pipeline);
        let writers = self.last.values_mut().chain(self.seen.values_mut().flatten().flatten());
        writers.filter(|writer| **writer == pipeline).for_each(|writer| *writer = GONE);
    }
}

/// Pieces of a read that are on their way together, with their lengths.
struct Pieces {
    done: Arc<Done>,
    pieces: Vec<(Buffer, usize)>,
}

fn entry<'a>(binding: &Binding, buffer: &'a Buffer) -> BindGroupEntry<'a> {
    let resource = BufferBinding { buffer, offset: binding.offset, size: BufferSize::new(binding.bytes) };
    BindGroupEntry { binding: binding.binding, resource: BindingResource::Buffer(resource) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::wire::{BindingKind, BindingShape};

    /// A book of pipelines that read binding 0 and write binding 1.
    fn book(pipelines: usize) -> Book {
        let binding = |binding, kind| BindingShape { binding, kind, bytes_min: 4 };
        let bindings = vec![binding(0, BindingKind::Read), binding(1, BindingKind::ReadWrite)];
        let mut book = Book::new(GpuNeed::default());
        for _ in 0..pipelines {
            let (bindings, workgroup) = (bindings.clone(), [1; 3]);
            let shape = Shape { bindings, workgroup, has_floats: false, uses_atomic_results: false, operations: 1 };
            book.add_pipeline(shape).unwrap();
        }
        book
    }

    fn from_to(from: u32, to: u32) -> Vec<Binding> {
        [from, to].into_iter().zip(0..).map(|(buffer, binding)| Binding { binding, buffer, offset: 0, bytes: 4 }).collect()
    }

    /// Chains of a pipeline that another had given more to do went as one submission, and counted as hung.
    #[test]
    fn pipeline_that_reads_what_another_wrote_anew_is_not_as_before() {
        let (mut writers, book) = (Writers::default(), book(3));
        let mut note = |pipeline, from, to| writers.note(pipeline, &from_to(from, to), &book);
        assert!(note(0, 10, 11), "only the host wrote to its buffers");
        assert!(note(0, 11, 10), "nor is what it wrote itself another's");
        // Round and round: as before from the second round on.
        assert!(!note(1, 10, 11), "0 wrote to 10");
        assert!(!note(0, 11, 10), "1 wrote to 11");
        for round in 0..3 {
            assert!(note(1, 10, 11) && note(0, 11, 10), "{round}");
        }
        assert!(!note(2, 12, 11), "1 wrote to 11");
        assert!(!note(0, 11, 10), "2 wrote to 11, and no longer 1");
        writers.drop_buffer(11);
        assert!(writers.note(0, &from_to(11, 10), &book), "a new buffer");
    }

    #[test]
    fn pipeline_of_a_number_that_another_had_is_another() {
        let (mut writers, book) = (Writers::default(), book(2));
        assert!(writers.note(0, &from_to(10, 11), &book));
        assert!(!writers.note(1, &from_to(11, 12), &book));
        writers.drop_pipeline(0);
        assert!(writers.note(1, &from_to(11, 12), &book), "nobody wrote since");
        writers.note(0, &from_to(10, 11), &book);
        assert!(!writers.note(1, &from_to(11, 12), &book));
    }
}
