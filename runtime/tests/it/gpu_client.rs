//! A supervisor and its sandboxes as the GPU worker sees them: they speak to it over its sockets, and say what they like.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command as Program, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use adit_protocol::{FRAME_HEADER_BYTES, GpuNeed, decode_frame, encode_frame, frame_length};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::live::GpuLive;
use self::wire::{
    Binding, Command, Data, Faults, FromGpu, GpuReport, GpuSetup, GpuUsed, INLINE_MAX, Reply, SHARED_BYTES, SLOT_BYTES, SLOTS,
    Session, Shader, ShaderOrder, Shape, ToGpu,
};

#[allow(dead_code, reason = "the tests are neither side")]
#[path = "../../src/gpu/live.rs"]
pub(crate) mod live;
#[allow(dead_code, reason = "the tests are neither side")]
#[path = "../../src/gpu/wire.rs"]
pub(crate) mod wire;

/// For what comes at once, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

/// A GPU worker, and its supervisor.
pub(crate) struct Gpu {
    child: Child,
    socket: UnixStream,
    pub(crate) report: GpuReport,
    pub(crate) live: GpuLive,
    serial: u64,
}

/// A session of it.
pub(crate) struct Sandbox {
    pub(crate) session: Session,
    pub(crate) need: GpuNeed,
    socket: UnixStream,
    shared: File,
    slots: VecDeque<u8>,
}

pub(crate) fn setup() -> GpuSetup {
    GpuSetup {
        adapter: Some("llvmpipe".to_owned()),
        software: true,
        memory: 1 << 30,
        slice_ms: 10_000,
        faults: Faults::default(),
    }
}

/// What such a worker answers to its first message.
pub(crate) fn hello(setup: &GpuSetup) -> (Child, UnixStream, GpuLive, Result<Box<GpuReport>, String>) {
    let (child, mut socket) = start("__adit-gpu-worker");
    let live = GpuLive::create().unwrap();
    send(&socket, &ToGpu::Hello(Box::new(setup.clone())), &[live.as_fd()]);
    let Some(FromGpu::Ready(ready)) = receive(&mut socket) else { panic!("the worker says first whether it is ready") };
    (child, socket, live, ready)
}

impl Gpu {
    pub(crate) fn start() -> Self {
        Self::with(&setup())
    }

    pub(crate) fn with(setup: &GpuSetup) -> Self {
        let (child, socket, live, ready) = hello(setup);
        let report = ready.unwrap_or_else(|reason| {
            panic!("{reason}. These tests run on a GPU that is software, lavapipe: install it with `cargo xtask setup`")
        });
        Self { child, socket, report: *report, live, serial: 0 }
    }

    pub(crate) fn open(&mut self, session: Session, need: GpuNeed) -> Sandbox {
        self.open_for(session, need, u64::MAX)
    }

    pub(crate) fn open_for(&mut self, session: Session, need: GpuNeed, time_max_ns: u64) -> Sandbox {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        let shared = File::from(memfd_create("shared", MemfdFlags::CLOEXEC).unwrap());
        shared.set_len(SHARED_BYTES).unwrap();
        send(&self.socket, &ToGpu::Open { session, need, time_max_ns }, &[theirs.as_fd(), shared.as_fd()]);
        Sandbox { session, need, socket: ours, shared, slots: (0..SLOTS).collect() }
    }

    /// Has a shader checked and made into a pipeline, which the sandbox takes in under this handle.
    pub(crate) fn pipeline(&mut self, sandbox: &Sandbox, pipeline: u32, wgsl: &str) {
        let order = ShaderOrder { wgsl: wgsl.to_owned(), entry: "main".to_owned(), need: sandbox.need };
        let shape = check(&order).unwrap().unwrap_or_else(|error| panic!("{error}\n{wgsl}"));
        self.serial += 1;
        let shader = Box::new(Shader { wgsl: order.wgsl, entry: order.entry, shape });
        self.tell(&ToGpu::Pipeline { session: sandbox.session, serial: self.serial, shader });
        assert_eq!(self.hear(), FromGpu::Made { session: sandbox.session, serial: self.serial, made: Ok(()) });
        sandbox.tell(&Command::Adopt { pipeline, serial: self.serial });
    }

    pub(crate) fn tell(&self, message: &ToGpu) {
        send(&self.socket, message, &[]);
    }

    pub(crate) fn hear(&mut self) -> FromGpu {
        receive(&mut self.socket).expect("the worker is there")
    }

    pub(crate) fn hang_up(&self) {
        self.socket.shutdown(std::net::Shutdown::Both).unwrap();
    }

    /// What the worker says before it is gone, and how it went.
    pub(crate) fn hear_last(mut self) -> (Option<FromGpu>, ExitStatus) {
        let said = receive(&mut self.socket);
        (said, wait(&mut self.child))
    }

    pub(crate) fn close(&mut self, sandbox: &Sandbox) -> GpuUsed {
        self.tell(&ToGpu::Close { session: sandbox.session });
        match self.hear() {
            FromGpu::Closed { session, used } if session == sandbox.session => used,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Sandbox {
    /// A session that has ended hears nothing more.
    pub(crate) fn tell(&self, command: &Command) {
        let mut frame = Vec::new();
        encode_frame(command, &mut frame).unwrap();
        let _ = (&self.socket).write_all(&frame);
    }

    pub(crate) fn tell_bytes(&self, bytes: &[u8]) {
        (&self.socket).write_all(bytes).unwrap();
    }

    /// Nothing where the worker has closed the session's socket.
    pub(crate) fn hear(&mut self) -> Option<Reply> {
        receive(&mut self.socket)
    }

    pub(crate) fn create(&self, buffer: u32, bytes: u64) {
        self.tell(&Command::Create { buffer, bytes });
    }

    pub(crate) fn dispatch(&self, pipeline: u32, bindings: &[u32], workgroups: [u32; 3], sizes: &[u64]) {
        let bindings = bindings.iter().zip(sizes).enumerate();
        let bindings =
            bindings.map(|(at, (buffer, bytes))| Binding { binding: at as u32, buffer: *buffer, offset: 0, bytes: *bytes });
        self.tell(&Command::Dispatch { pipeline, bindings: bindings.collect(), workgroups });
    }

    pub(crate) fn write(&mut self, buffer: u32, data: &[u8]) {
        for (at, piece) in data.chunks(SLOT_BYTES).enumerate() {
            let offset = (at * SLOT_BYTES) as u64;
            if piece.len() <= INLINE_MAX {
                self.tell(&Command::Write { buffer, offset, data: Data::Inline(piece.to_vec()) });
                continue;
            }
            let slot = self.take_slot();
            self.shared.write_all_at(piece, u64::from(slot) * SLOT_BYTES as u64).unwrap();
            let data = Data::Slot { slot, bytes: piece.len() as u32 };
            self.tell(&Command::Write { buffer, offset, data });
        }
    }

    fn take_slot(&mut self) -> u8 {
        loop {
            if let Some(slot) = self.slots.pop_front() {
                return slot;
            }
            match self.hear() {
                Some(Reply::Free { slot }) => self.slots.push_back(slot),
                other => panic!("{other:?}"),
            }
        }
    }

    pub(crate) fn read(&mut self, buffer: u32, offset: u64, bytes: u64) -> Vec<u8> {
        self.tell(&Command::Read { buffer, offset, bytes });
        let mut data = Vec::new();
        while (data.len() as u64) < bytes {
            match self.hear() {
                Some(Reply::Data(Data::Inline(piece))) => data.extend(piece),
                Some(Reply::Data(Data::Slot { slot, bytes })) => {
                    let mut piece = vec![0; bytes as usize];
                    self.shared.read_exact_at(&mut piece, u64::from(SLOTS + slot) * SLOT_BYTES as u64).unwrap();
                    self.tell(&Command::Taken { slot });
                    data.extend(piece);
                }
                Some(Reply::Free { slot }) => self.slots.push_back(slot),
                other => panic!("{other:?}"),
            }
        }
        data
    }

    pub(crate) fn read_words(&mut self, buffer: u32, count: u64) -> Vec<u32> {
        let bytes = self.read(buffer, 0, 4 * count);
        bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
    }

    pub(crate) fn finish(&mut self) {
        self.tell(&Command::Finish);
        loop {
            match self.hear() {
                Some(Reply::Finished) => return,
                Some(Reply::Free { slot }) => self.slots.push_back(slot),
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Has a shader checked in a process for it. Where that dies, how it went.
pub(crate) fn check(order: &ShaderOrder) -> Result<Result<Shape, String>, ExitStatus> {
    let (mut child, mut socket) = start("__adit-shader-worker");
    // As its supervisor does.
    let cpu = Rlimit { current: Some(5), maximum: Some(6) };
    prlimit(Pid::from_raw(child.id() as i32), Resource::Cpu, cpu).unwrap();
    send(&socket, order, &[]);
    match receive(&mut socket) {
        Some(answer) => {
            wait(&mut child);
            Ok(answer)
        }
        None => Err(wait(&mut child)),
    }
}

fn start(role: &str) -> (Child, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let child = Program::new(env!("CARGO_BIN_EXE_adit-worker"))
        .arg(role)
        .env_clear()
        .env("NODEVICE_SELECT", "1")
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    ours.set_read_timeout(Some(PATIENCE)).unwrap();
    (child, ours)
}

/// Waits until a process is gone, and ends one that is not.
fn wait(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    panic!("the process went on")
}

fn send<M: Serialize>(socket: &UnixStream, message: &M, fds: &[BorrowedFd<'_>]) {
    let mut frame = Vec::new();
    encode_frame(message, &mut frame).unwrap();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
    }
    let sent = sendmsg(socket, &[IoSlice::new(&frame)], &mut control, SendFlags::NOSIGNAL).unwrap();
    let mut socket = socket;
    socket.write_all(&frame[sent..]).unwrap();
}

/// The next message, or nothing where the other side is gone.
fn receive<M: Serialize + DeserializeOwned>(socket: &mut UnixStream) -> Option<M> {
    let mut header = [0; FRAME_HEADER_BYTES];
    match socket.read_exact(&mut header) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("nothing was said for {PATIENCE:?}"),
        Err(_) => return None,
    }
    let mut body = vec![0; frame_length(header).unwrap()];
    socket.read_exact(&mut body).unwrap();
    Some(decode_frame(&body).unwrap())
}
