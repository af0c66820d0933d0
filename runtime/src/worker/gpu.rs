//! The GPU worker: holds the device, and does on it what sandboxes ask for.
//!
//! One thread talks to the supervisor, one to each sandbox, one waits for the device, and one for nobody: it ends the process when a driver
//! does not come back.

mod batch;
mod device;
mod meter;
mod session;
mod socket;
mod staging;
mod stamps;
mod turns;
mod watch;

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;
use std::{io, panic, thread};

use adit_protocol::GpuNeed;

use self::device::Gpu;
use self::meter::Meter;
use self::session::Handle;
use self::socket::Inbox;
use self::watch::{Supervisor, Watch, end};
use crate::gpu::adapter::{Opened, open};
use crate::gpu::live::GpuLive;
use crate::gpu::wire::{FromGpu, GpuReport, GpuSetup, Session, SessionEnd, Shader, ToGpu};
use crate::unchecked::close_inherited_descriptors;
use crate::walls::GpuWalls;

/// Stack of a thread that has a pipeline made: what the check of the shader got through on its own stack must not end this process, and a
/// driver's compiler nests too.
const PIPELINE_STACK_BYTES: usize = 64 << 20;
const _: () = assert!(PIPELINE_STACK_BYTES as u64 >= crate::walls::SHADER_STACK_BYTES_MAX);

/// Serves a supervisor until it is gone.
pub(super) fn run() -> wasmtime::Result<()> {
    close_inherited_descriptors()?;
    let walls = GpuWalls::enter()?;
    end_at_panic();
    let socket = Arc::new(UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?));
    let mut inbox = Inbox::new(Arc::clone(&socket));
    let supervisor = Arc::new(Supervisor::new(socket)?);
    let Some(ToGpu::Hello(setup)) = inbox.recv()? else { return Ok(()) };
    let live = Arc::new(GpuLive::from_fd(inbox.take_fd()?));
    match begin(&setup, walls, &supervisor) {
        Ok((gpu, report)) => {
            supervisor.send(&FromGpu::Ready(Ok(Box::new(report))))?;
            Control { gpu, live, sessions: HashMap::new() }.serve(&mut inbox)
        }
        Err(reason) => Ok(supervisor.send(&FromGpu::Ready(Err(reason)))?),
    }
}

/// No session goes on beside one whose thread is gone: what that held may be in any state. The signal tells the supervisor that nobody from
/// outside ended this process.
fn end_at_panic() {
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        tell(info);
        std::process::abort();
    }));
}

/// Opens the device, and closes the walls.
fn begin(setup: &GpuSetup, walls: GpuWalls, supervisor: &Arc<Supervisor>) -> Result<(Arc<Gpu>, GpuReport), String> {
    let opened = open(setup)?;
    let memory_max = memory_max(&opened);
    let (offer, has_timestamps) = (opened.offer.clone(), opened.tick_ns.is_some());
    let watch = Watch::start(Arc::clone(supervisor)).map_err(|error| error.to_string())?;
    let slice = Duration::from_millis(setup.slice_ms);
    let gpu = Gpu::start(opened, slice, watch, Arc::clone(supervisor), setup.faults).map_err(|error| error.to_string())?;
    gpu.lose_with_device();
    let lacks = walls.seal(memory_max).map_err(|error| error.to_string())?;
    Ok((gpu, GpuReport { offer, has_timestamps, lacks }))
}

/// What the process may write to: where buffers are this machine's memory, those too.
fn memory_max(opened: &Opened) -> u64 {
    use crate::walls::{GPU_MEMORY_MAX, GPU_OWN_MEMORY_MAX};
    if opened.memory_max == u64::MAX { GPU_MEMORY_MAX } else { opened.memory_max + GPU_OWN_MEMORY_MAX }
}

/// The thread that talks to the supervisor.
struct Control {
    gpu: Arc<Gpu>,
    live: Arc<GpuLive>,
    sessions: HashMap<Session, Arc<Handle>>,
}

impl Control {
    fn serve(mut self, inbox: &mut Inbox) -> wasmtime::Result<()> {
        while let Some(message) = inbox.recv()? {
            match message {
                ToGpu::Hello(_) => wasmtime::bail!("the supervisor began twice"),
                ToGpu::Open { session, need, time_max_ns } => {
                    let (socket, shared) = (UnixStream::from(inbox.take_fd()?), File::from(inbox.take_fd()?));
                    self.open(session, need, time_max_ns, socket, shared)?;
                }
                ToGpu::Pipeline { session, serial, shader } => {
                    let handle = self.sessions.get(&session).cloned();
                    let handle = handle.ok_or_else(|| wasmtime::format_err!("there is no session {session}"))?;
                    self.make_pipeline(handle, session, serial, *shader)?;
                }
                ToGpu::Close { session } => {
                    let handle = self.sessions.remove(&session);
                    handle.ok_or_else(|| wasmtime::format_err!("there is no session {session}"))?.close(&self.gpu.turns);
                }
            }
        }
        Ok(())
    }

    fn open(
        &mut self,
        session: Session,
        need: GpuNeed,
        time_max_ns: u64,
        socket: UnixStream,
        shared: File,
    ) -> wasmtime::Result<()> {
        let meter = Meter::new(session, time_max_ns, Arc::clone(&self.live));
        let handle = Handle::open(&self.gpu, meter, need, socket, shared)?;
        wasmtime::ensure!(self.sessions.insert(session, handle).is_none(), "session {session} was opened twice");
        Ok(())
    }

    /// Has a thread make a pipeline: a driver may take seconds, which other sessions should not wait for.
    fn make_pipeline(&self, handle: Arc<Handle>, session: Session, serial: u64, shader: Shader) -> io::Result<()> {
        let gpu = Arc::clone(&self.gpu);
        let make = move || {
            let made = gpu.make_pipeline(session, &shader).map_err(|error| match error {
                SessionEnd::NoMemory(why) | SessionEnd::Failed(why) | SessionEnd::Lied(why) => why,
                SessionEnd::OutOfTime => "there is no time left".to_owned(),
            });
            let made = made.and_then(|pipeline| handle.add(serial, pipeline, shader.shape));
            if gpu.supervisor.send(&FromGpu::Made { session, serial, made }).is_err() {
                end();
            }
        };
        thread::Builder::new().name(format!("pipeline {serial}")).stack_size(PIPELINE_STACK_BYTES).spawn(make).map(drop)
    }
}
