//! What workers and supervisors make of any bytes from the other, without sockets and processes: for fuzzing.

use std::sync::Arc;
use std::time::Duration;

use adit_protocol::{BlobRef, JobLimits, JobSpec, encode_frame};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::account::Account;
use crate::ipc::{FromCompiler, FromSandbox, IpcError, ToCompiler, ToSandbox, receive_pieces};
use crate::run::{Bounds, RunReport};

/// Who reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// A sandbox worker, what its supervisor sends.
    SandboxWorker,
    /// A compile worker, what its supervisor sends.
    CompileWorker,
    /// A supervisor, what a sandbox worker sends.
    SupervisorOfSandbox,
    /// A supervisor, what a compile worker sends.
    SupervisorOfCompiler,
}

/// What a reader made of bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The messages, each in a frame as we write it.
    pub frames: Vec<Vec<u8>>,
    /// Whether the bytes ended with a message's, and why not.
    pub ended: Result<(), String>,
    /// The report of a job with the limits that were given, where a sandbox worker ended it and nothing before was a lie.
    pub report: Option<RunReport>,
}

/// Reads bytes that come in these pieces. `limits` are those of the job whose sandbox worker is read.
pub fn receive(reader: Reader, pieces: &[&[u8]], limits: &JobLimits) -> Received {
    match reader {
        Reader::SandboxWorker => read::<ToSandbox>(pieces, |_| {}),
        Reader::CompileWorker => read::<ToCompiler>(pieces, |_| {}),
        Reader::SupervisorOfCompiler => read::<FromCompiler>(pieces, |_| {}),
        Reader::SupervisorOfSandbox => {
            let spec = JobSpec { limits: *limits, ..JobSpec::new(BlobRef::of(b""), BlobRef::of(b"")) };
            let (mut account, mut report) = (Some(Account::new(Arc::new(spec), Bounds::of(limits))), None);
            let received = read(pieces, |message| report = report.take().or_else(|| settle(&mut account, message)));
            Received { report, ..received }
        }
    }
}

fn read<M: Serialize + DeserializeOwned>(pieces: &[&[u8]], mut each: impl FnMut(M)) -> Received {
    let mut frames = Vec::new();
    let ended = receive_pieces(pieces, |message: M| {
        let mut frame = Vec::new();
        encode_frame(&message, &mut frame).expect("a message that was read fits a frame again");
        frames.push(frame);
        each(message);
    });
    Received { frames, ended: ended.map_err(|error: IpcError| error.to_string()), report: None }
}

/// Counts a message as [`crate::Run`] does. After a lie, or the end, nothing counts any more.
fn settle(account: &mut Option<Account>, message: FromSandbox) -> Option<RunReport> {
    let mut counting = account.take()?;
    let counted = match message {
        FromSandbox::Log(bytes) => counting.add_log(&bytes),
        FromSandbox::Output(bytes) => counting.add_piece(&bytes),
        FromSandbox::Profile(bytes) => counting.add_profile(&bytes),
        // All of it comes at once.
        FromSandbox::Progress { .. } => counting.add_progress(Duration::ZERO),
        FromSandbox::Ended(ending) => return counting.close(*ending, None).ok(),
        FromSandbox::Unusable(_) | FromSandbox::Pipeline { .. } => return None,
    };
    if counted.is_ok() {
        *account = Some(counting);
    }
    None
}
