use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use adit_protocol::limits::TOKEN_BYTES_MAX;
use adit_protocol::{ByteCount, Price, Profile};
use adit_runtime::{CpuShare, MODULE_BYTES_DEFAULT, Priority, WorkerProgram};
use adit_transport::GatewayAddr;

use crate::rules::Rules;

/// What an owner lends, to whom, and for how much.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// The gateway to work for.
    pub gateway: GatewayAddr,
    /// Jobs at once.
    pub slots: u32,
    /// Linear memory for each.
    pub memory: ByteCount,
    /// Holds modules and inputs (`blobs/`), compiled modules (`code/`), and what one node at a time has there: a lock, the socket for its
    /// owner's commands, the day's count, and a pause.
    pub cache_dir: PathBuf,
    /// Bytes that modules, inputs and compiled modules may take together: half for the compiled ones, half for the others.
    pub cache_bytes_max: u64,
    /// Bytes of a module.
    pub module_bytes_max: u64,
    /// What is asked.
    pub price: Price,
    /// Profiles that the owner allows.
    pub profiles: Vec<Profile>,
    /// What the node says of itself. It adds `sandbox`, `strong` or `weak`, and `arch`, which are not the owner's to say and refused here.
    pub labels: Vec<(String, String)>,
    /// What is started as a worker.
    pub worker_program: WorkerProgram,
    /// Whether to work even where the kernel lacks a part of the wall around workers.
    pub allow_weak_sandbox: bool,
    /// Whether a large module that is new here may begin in baseline code, while it is optimised.
    pub baseline_code: bool,
    /// Processor time that each slot may take.
    pub cpu_share: CpuShare,
    /// Whom jobs leave the processor to.
    pub priority: Priority,
    /// When the machine is lent, and to whom.
    pub rules: Rules,
    /// What the gateway's operator gave the owner to join with.
    pub join_token: Option<JoinToken>,
    /// Where the kernel tells of processes and load: `/proc`.
    pub proc_dir: PathBuf,
    /// Where the kernel tells of devices: `/sys`.
    pub sys_dir: PathBuf,
}

/// What a gateway's operator gives an owner to join with: at most [`TOKEN_BYTES_MAX`] bytes. It is a secret, and not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken(String);

impl JoinToken {
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinToken")
    }
}

/// A join token that no gateway gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a join token has 1 to {TOKEN_BYTES_MAX} bytes; this one has {bytes}")]
pub struct ParseTokenError {
    bytes: usize,
}

impl FromStr for JoinToken {
    type Err = ParseTokenError;

    fn from_str(text: &str) -> Result<Self, ParseTokenError> {
        match text.len() {
            1..=TOKEN_BYTES_MAX => Ok(Self(text.to_owned())),
            bytes => Err(ParseTokenError { bytes }),
        }
    }
}

impl NodeConfig {
    /// One slot of 1 GiB, 8 GiB of cache, modules of 8 MiB, the default price, deterministic jobs only, and no rules. Jobs may take whole
    /// cores, where nothing else wants them.
    pub fn new(gateway: GatewayAddr, cache_dir: impl Into<PathBuf>) -> Self {
        Self {
            gateway,
            slots: 1,
            memory: ByteCount(1 << 30),
            cache_dir: cache_dir.into(),
            cache_bytes_max: 8 << 30,
            module_bytes_max: MODULE_BYTES_DEFAULT,
            price: default_price(),
            profiles: vec![Profile::Deterministic],
            labels: Vec::new(),
            worker_program: WorkerProgram::default(),
            allow_weak_sandbox: false,
            baseline_code: true,
            cpu_share: CpuShare::WHOLE,
            priority: Priority::Normal,
            rules: Rules::default(),
            join_token: None,
            proc_dir: "/proc".into(),
            sys_dir: "/sys".into(),
        }
    }
}

/// 0.001 credits per compute minute, a tenth of it per GiB held as long, 0.0005 per GiB moved.
fn default_price() -> Price {
    Price { per_compute_minute: 1_000, per_gib_compute_minute: 100, per_gib_in: 500, per_gib_out: 500, per_gpu_minute: 0 }
}
