use std::path::PathBuf;

use adit_protocol::{ByteCount, Price, Profile};
use adit_runtime::{CpuShare, MODULE_BYTES_DEFAULT, Priority, WorkerProgram};
use adit_transport::GatewayAddr;

/// What an owner lends, to whom, and for how much.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// The gateway to work for.
    pub gateway: GatewayAddr,
    /// Jobs at once.
    pub slots: u32,
    /// Linear memory for each.
    pub memory: ByteCount,
    /// Holds modules and inputs (`blobs/`) and compiled modules (`code/`).
    pub cache_dir: PathBuf,
    /// Bytes of modules and inputs that are kept, and as many again of compiled modules.
    pub cache_bytes_max: u64,
    /// Bytes of a module.
    pub module_bytes_max: u64,
    /// What is asked.
    pub price: Price,
    /// Profiles that the owner allows.
    pub profiles: Vec<Profile>,
    /// What the node says of itself. It adds `sandbox`, `strong` or `weak`, which is not the owner's to say and refused here.
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
}

impl NodeConfig {
    /// One slot of 1 GiB, 4 GiB of cache, modules of 8 MiB, the default price, deterministic jobs only. They may take
    /// whole cores, where nothing else wants them.
    pub fn new(gateway: GatewayAddr, cache_dir: impl Into<PathBuf>) -> Self {
        Self {
            gateway,
            slots: 1,
            memory: ByteCount(1 << 30),
            cache_dir: cache_dir.into(),
            cache_bytes_max: 4 << 30,
            module_bytes_max: MODULE_BYTES_DEFAULT,
            price: default_price(),
            profiles: vec![Profile::Deterministic],
            labels: Vec::new(),
            worker_program: WorkerProgram::default(),
            allow_weak_sandbox: false,
            baseline_code: true,
            cpu_share: CpuShare::WHOLE,
            priority: Priority::Low,
        }
    }
}

/// 0.001 credits per compute minute, a tenth of it per GiB held as long, 0.0005 per GiB moved.
fn default_price() -> Price {
    Price { per_compute_minute: 1_000, per_gib_compute_minute: 100, per_gib_in: 500, per_gib_out: 500, per_gpu_minute: 0 }
}
