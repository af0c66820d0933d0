use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use adit_protocol::limits::{
    GPU_MEMORY_BYTES_MAX, LABEL_BYTES_MAX, LABELS_MAX, MEMORY_BYTES_MAX, PRICE_COMPONENT_MAX, TOKEN_BYTES_MAX,
};
use adit_protocol::{ByteCount, Price, Profile};
use adit_runtime::{CpuShare, GpuConfig, MODULE_BYTES_DEFAULT, Priority, WorkerProgram};
use adit_transport::GatewayAddr;
use bytesize::ByteSize;

use crate::control::{SOCKET_PATH_BYTES_MAX, socket_path};
use crate::node::{GPU_KIND_LABEL, GPU_LABEL, OWN_LABELS};
use crate::rules::Rules;

/// Slots for each core of a machine, at most. Jobs that wait for their input leave their core to others; with more than so many, each is
/// given less of a core than any owner could mean.
const SLOTS_PER_CORE_MAX: u64 = 16;
/// The least memory for a job: what a program that does nothing takes, as compilers lay it out (17 pages), does not fit half of it.
const MEMORY_MIN: ByteCount = ByteCount(1 << 20);
/// The least GPU memory for a job.
const GPU_MEMORY_MIN: ByteCount = ByteCount(1 << 20);
/// How long a dispatch may take, at least: less is over before a driver has begun it.
const GPU_SLICE_MIN: Duration = Duration::from_millis(10);
/// At most: a machine whose screen hangs on the same GPU stands still for so long.
const GPU_SLICE_MAX: Duration = Duration::from_secs(60);

/// What an owner lends, to whom, and for how much.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// The gateway to work for.
    pub gateway: GatewayAddr,
    /// Jobs at once.
    pub slots: u32,
    /// Linear memory for each.
    pub memory: ByteCount,
    /// Holds modules and inputs (`blobs/`), compiled modules (`code/`), and what one node at a time has there: a lock, and the socket for its
    /// owner's commands.
    pub cache_dir: PathBuf,
    /// Holds what a node must remember: that its owner paused it, or keeps the GPU back, and the day's count.
    pub state_dir: PathBuf,
    /// Bytes that modules, inputs and compiled modules may take together: half for the compiled ones, half for the others.
    pub cache_bytes_max: u64,
    /// Bytes of a module.
    pub module_bytes_max: u64,
    /// What is asked.
    pub price: Price,
    /// Profiles that the owner allows.
    pub profiles: Vec<Profile>,
    /// What the node says of itself. It adds `sandbox`, `strong` or `weak`, `arch`, and of the GPU that it lends `gpu`, the class, and
    /// `gpu-kind`, the kind, which are not the owner's to say and refused here.
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
    /// The machine's GPU, where it is lent.
    pub gpu: Option<GpuConfig>,
    /// When the machine is lent, and to whom.
    pub rules: Rules,
    /// What the gateway's operator gave the owner to join with.
    pub join_token: Option<JoinToken>,
    /// Where the kernel tells of processes and load: `/proc`.
    pub proc_dir: PathBuf,
    /// Where the kernel tells of devices: `/sys`.
    pub sys_dir: PathBuf,
}

/// Something that an owner asks for and no machine, or not this one, could ever do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}; {remedy}")]
pub struct AbsurdError {
    pub(crate) what: String,
    pub(crate) remedy: String,
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
    /// One slot of 1 GiB, 8 GiB of cache, what is remembered beside it, modules of 8 MiB, the default price, deterministic jobs only, and no rules. Jobs may take whole
    /// cores, where nothing else wants them.
    pub fn new(gateway: GatewayAddr, cache_dir: impl Into<PathBuf>) -> Self {
        let cache_dir = cache_dir.into();
        Self {
            gateway,
            slots: 1,
            memory: ByteCount(1 << 30),
            state_dir: cache_dir.clone(),
            cache_dir,
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
            gpu: None,
            rules: Rules::default(),
            join_token: None,
            proc_dir: "/proc".into(),
            sys_dir: "/sys".into(),
        }
    }
}

impl NodeConfig {
    /// Whether all of it together could be kept on a machine with so many cores.
    ///
    /// # Errors
    /// The first thing that could not, the limit and the next step.
    pub(crate) fn check(&self, cores: usize) -> Result<(), AbsurdError> {
        let absurd = |what: String, remedy: &str| Err(AbsurdError { what, remedy: remedy.to_owned() });
        let (slots, slots_max) = (self.slots, SLOTS_PER_CORE_MAX * cores as u64);
        if slots == 0 || u64::from(slots) > slots_max {
            let most = format!("1 to {slots_max} here ({SLOTS_PER_CORE_MAX} for each of {cores} cores)");
            return absurd(format!("{slots} slots are not what this machine could have, which is {most}"), "lower --slots");
        }
        let (least, most) = (MEMORY_MIN, ByteCount(MEMORY_BYTES_MAX));
        if !(least..=most).contains(&self.memory) {
            let bounds = format!("{} to {}", show_bytes(least), show_bytes(most));
            return absurd(format!("a job has {bounds} of memory, and not {}", show_bytes(self.memory)), "change --memory");
        }
        if self.module_bytes_max == 0 {
            return absurd("no module has 0 bytes".to_owned(), "raise --module-max");
        }
        // Half of it holds modules as they came, and inputs.
        let (cache, module) = (ByteCount(self.cache_bytes_max), ByteCount(self.module_bytes_max));
        if cache.0 / 2 < module.0 {
            let what =
                format!("a cache of {} does not hold the largest module ({}) twice", show_bytes(cache), show_bytes(module));
            return absurd(what, "raise --cache-max, or lower --module-max");
        }
        let socket = socket_path(&self.cache_dir);
        let bytes = socket.as_os_str().len();
        if bytes > SOCKET_PATH_BYTES_MAX {
            let what = format!(
                "the path of a socket has at most {SOCKET_PATH_BYTES_MAX} bytes, and that for the owner's commands, {}, has {bytes}",
                socket.display()
            );
            return absurd(what, "give a shorter --cache (with `adit up`, a shorter --data)");
        }
        self.rules.check()?;
        if let Some(gpu) = &self.gpu {
            check_gpu(gpu)?;
        }
        let is_carried = |label: &&&str| self.gpu.is_some() || ![GPU_LABEL, GPU_KIND_LABEL].contains(*label);
        let own = OWN_LABELS.iter().filter(is_carried).count();
        let (most, labels) = (LABELS_MAX - own, self.labels.len());
        if labels > most {
            return absurd(format!("a node carries at most {most} labels, and not {labels}"), "leave some out");
        }
        if let Some((key, _)) = self.labels.iter().find(|(key, value)| key.len().max(value.len()) > LABEL_BYTES_MAX) {
            let key = &key[..key.floor_char_boundary(LABEL_BYTES_MAX)];
            return absurd(format!("the label `{key}` is longer than {LABEL_BYTES_MAX} bytes"), "shorten it");
        }
        if self.price.components().iter().any(|part| *part > PRICE_COMPONENT_MAX) {
            return absurd("no part of a price is over 1,099,511 credits".to_owned(), "lower it");
        }
        Ok(())
    }
}

/// Whether an owner can lend a GPU so.
///
/// # Errors
/// What of it makes no sense.
pub fn check_gpu(gpu: &GpuConfig) -> Result<(), AbsurdError> {
    let absurd = |what: String, remedy: &str| Err(AbsurdError { what, remedy: remedy.to_owned() });
    let (least, most) = (GPU_MEMORY_MIN, ByteCount(GPU_MEMORY_BYTES_MAX));
    if !(least..=most).contains(&gpu.memory) {
        let bounds = format!("{} to {}", show_bytes(least), show_bytes(most));
        return absurd(format!("a job has {bounds} of a GPU, and not {}", show_bytes(gpu.memory)), "change --gpu-memory");
    }
    if !(GPU_SLICE_MIN..=GPU_SLICE_MAX).contains(&gpu.slice) {
        let bounds = format!("{GPU_SLICE_MIN:?} to {GPU_SLICE_MAX:?}");
        return absurd(format!("a dispatch may take {bounds}, and not {:?}", gpu.slice), "change --gpu-slice");
    }
    Ok(())
}

/// `2.1 MiB`.
fn show_bytes(bytes: ByteCount) -> String {
    ByteSize(bytes.0).display().iec().to_string()
}

/// 0.001 credits per compute minute, a tenth of it per GiB held as long, 0.0005 per GiB moved, and twenty times a core's price for a GPU,
/// about what one takes and costs more.
fn default_price() -> Price {
    Price { per_compute_minute: 1_000, per_gib_compute_minute: 100, per_gib_in: 500, per_gib_out: 500, per_gpu_minute: 20_000 }
}

#[cfg(test)]
mod tests {
    use adit_protocol::SecretKey;

    use super::*;

    #[test]
    fn what_no_machine_could_do_is_refused_with_its_limit() {
        let gateway = GatewayAddr { host: "127.0.0.1:1".to_owned(), key: SecretKey::from_seed([1; 32]).public() };
        let usual = NodeConfig::new(gateway, "cache");
        assert_eq!(usual.check(1), Ok(()));
        type Change = fn(&mut NodeConfig);
        let rows: [(Change, Option<&str>); 23] = [
            (|c| c.slots = 32, None),
            (|c| c.slots = 33, Some("1 to 32 here (16 for each of 2 cores)")),
            (|c| c.slots = 0, Some("1 to 32 here")),
            (|c| c.memory = ByteCount(0), Some("1.0 MiB to 4.0 GiB of memory, and not 0 B; change --memory")),
            (|c| c.memory = ByteCount(1 << 20), None),
            (|c| c.memory = ByteCount(5 << 30), Some("and not 5.0 GiB")),
            (|c| c.module_bytes_max = 0, Some("no module has 0 bytes")),
            (|c| c.cache_bytes_max = 1, Some("a cache of 1 B does not hold the largest module (8.0 MiB) twice")),
            (|c| c.cache_bytes_max = 2 * c.module_bytes_max, None),
            (|c| c.cache_bytes_max = 2 * c.module_bytes_max - 1, Some("raise --cache-max")),
            // `/` and `control.sock` behind it.
            (|c| c.cache_dir = "x".repeat(94).into(), None),
            (|c| c.cache_dir = "x".repeat(95).into(), Some("/control.sock, has 108; give a shorter --cache")),
            (
                |c| c.rules.traffic_max = Some(ByteCount(0)),
                Some("at most 0 B a day could run nothing; give --traffic-max 1.0 MiB"),
            ),
            (|c| c.rules.traffic_max = Some(ByteCount(1 << 20)), None),
            (|c| c.labels = vec![("a".into(), "b".into()); 62], None),
            (|c| c.labels = vec![("a".into(), "b".into()); 63], Some("at most 62 labels, and not 63")),
            (|c| (c.gpu, c.labels) = (Some(GpuConfig::default()), vec![("a".into(), "b".into()); 60]), None),
            // With the four that a node with a GPU gives itself there were 65, and no gateway took it.
            (
                |c| (c.gpu, c.labels) = (Some(GpuConfig::default()), vec![("a".into(), "b".into()); 61]),
                Some("at most 60 labels, and not 61"),
            ),
            (|c| c.labels = vec![("a".into(), "b".repeat(129))], Some("the label `a` is longer than 128 bytes")),
            (|c| c.gpu = Some(GpuConfig::default()), None),
            (|c| c.gpu = Some(GpuConfig { memory: ByteCount(0), ..GpuConfig::default() }), Some("change --gpu-memory")),
            (
                |c| c.gpu = Some(GpuConfig { slice: Duration::ZERO, ..GpuConfig::default() }),
                Some("a dispatch may take 10ms to 60s, and not 0ns; change --gpu-slice"),
            ),
            (|c| c.price.per_gib_in = u64::MAX, Some("no part of a price is over 1,099,511 credits")),
        ];
        for (change, want) in rows {
            let mut config = usual.clone();
            change(&mut config);
            let told = config.check(2).map_err(|error| error.to_string());
            match want {
                None => assert_eq!(told, Ok(()), "{config:?}"),
                Some(want) => assert!(told.as_ref().is_err_and(|told| told.contains(want)), "{told:?}, not {want}"),
            }
        }
    }
}
