use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::input::digest_of;
use crate::limits;
use crate::{ByteCount, Digest, Fuel, GpuNeed, InputName, Microcredits, NamedInput, Placement, Salt, SecretKey, UnixMillis};

/// A job as its client asks for it: everything that decides what runs and what it may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    /// The wasm module.
    pub module: BlobRef,
    /// What the guest reads from standard input.
    pub input: BlobRef,
    /// What it reads beside that, in the order of the names; at most [`limits::NAMED_INPUTS_MAX`].
    pub inputs: Vec<NamedInput>,
    /// The arguments after the program's name.
    pub args: Vec<String>,
    /// The environment, in order.
    pub env: Vec<(String, String)>,
    /// What the job may use.
    pub limits: JobLimits,
    /// What it needs of a GPU; nothing where it has none.
    pub gpu: Option<GpuNeed>,
    /// Which promises the run keeps.
    pub profile: Profile,
    /// Seeds the guest's randomness in the deterministic profile.
    pub seed: u64,
    /// Where the guest's wall clock starts in the deterministic profile.
    pub time: UnixMillis,
    /// The most the client will pay; no node that could cost more is chosen.
    pub max_price: Option<Microcredits>,
    /// Where the job may run, and which node is preferred.
    pub placement: Placement,
    /// Keeps others from guessing what public statements about the job are of; zeros keep nobody.
    pub salt: Salt,
}

/// A blob by name and size. The size is part of the name's meaning: a store can refuse it before a byte arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BlobRef {
    /// BLAKE3 of the bytes.
    pub digest: Digest,
    /// How many bytes.
    pub bytes: u64,
}

impl BlobRef {
    /// The reference to `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self { digest: Digest::of(bytes), bytes: bytes.len() as u64 }
    }
}

/// What a job may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobLimits {
    /// Work, in the meter's unit.
    pub fuel: Fuel,
    /// Linear memory.
    pub memory: ByteCount,
    /// Standard output.
    pub output: ByteCount,
    /// Standard error that is kept; what is over is dropped and counted.
    pub log: ByteCount,
    /// Wall time of one attempt on its node, in milliseconds.
    pub wall_ms: u64,
    /// The longest wait for a node, in milliseconds.
    pub queue_ms: u64,
    /// GPU time, in nanoseconds; 0 where the job has no GPU.
    pub gpu_ns: u64,
}

impl Default for JobLimits {
    /// 10 Gfuel, 256 MiB of memory, 64 MiB of output, 1 MiB of log, one minute of run and five of waiting.
    fn default() -> Self {
        Self {
            fuel: Fuel(10_000_000_000),
            memory: ByteCount(256 << 20),
            output: ByteCount(64 << 20),
            log: ByteCount(1 << 20),
            wall_ms: 60_000,
            queue_ms: 300_000,
            gpu_ns: 0,
        }
    }
}

/// Which promises a run keeps.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Same module, input and seed give the same output, outcome and re-computable usage on every machine.
    #[default]
    Deterministic,
    /// The host's clocks and entropy; the receipt says that it cannot be re-computed.
    Open,
}

impl Profile {
    /// The profile's name as scripts read it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Deterministic => "deterministic",
            Self::Open => "open",
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "deterministic" => Ok(Self::Deterministic),
            "open" => Ok(Self::Open),
            _ => Err(format!("`{text}` is not a profile; write `deterministic` or `open`")),
        }
    }
}

/// A specification that no node may be asked to run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// Something is larger than anyone may ask.
    #[error("{name} is {value}, over the limit of {limit}")]
    OverLimit {
        /// What is too large, as the user knows it.
        name: &'static str,
        /// How large it is.
        value: u64,
        /// How large it may be.
        limit: u64,
    },
    /// Two inputs have one name, so that a guest could not tell them apart.
    #[error("two inputs have the name `{0}`")]
    SameInputName(InputName),
    /// The named inputs stand in another order than that of their names, which is the order that guests number them by.
    #[error("the named inputs are not in the order of their names: `{1}` stands behind `{0}`")]
    InputOrder(InputName, InputName),
    /// An argument is none that a WASI program can be given.
    #[error("argument {0} holds a NUL, at which it would end for the program")]
    ArgumentText(usize),
    /// So is a variable.
    #[error("environment variable {0} has no name, or one with `=`, or a NUL in name or value")]
    VariableText(usize),
}

impl JobSpec {
    /// A job over `module` and `input` with everything else at its default.
    pub fn new(module: BlobRef, input: BlobRef) -> Self {
        Self {
            module,
            input,
            inputs: Vec::new(),
            args: Vec::new(),
            env: Vec::new(),
            limits: JobLimits::default(),
            gpu: None,
            profile: Profile::default(),
            seed: 0,
            time: UnixMillis(0),
            max_price: None,
            placement: Placement::default(),
            salt: Salt([0; 32]),
        }
    }

    /// Adds an input under a name, in its place among the others. A name that another one has is told of by [`Self::check`].
    pub fn add_input(&mut self, name: InputName, blob: BlobRef) {
        let place = self.inputs.partition_point(|input| input.name <= name);
        self.inputs.insert(place, NamedInput { name, blob });
    }

    /// Every blob that the job needs: its module, its standard input, its named inputs.
    pub fn blobs(&self) -> impl Iterator<Item = BlobRef> {
        [self.module, self.input].into_iter().chain(self.inputs.iter().map(|input| input.blob))
    }

    /// What a receipt says that the job has read: the digest of its standard input; where there are named inputs, one of all inputs with
    /// their names.
    pub fn input_digest(&self) -> Digest {
        digest_of(self.input.digest, &self.inputs)
    }

    /// What is billed as read: the bytes of all inputs, whether a guest reads them or not, and whether its node had them or not.
    pub fn bytes_in(&self) -> ByteCount {
        ByteCount(self.inputs.iter().fold(self.input.bytes, |sum, input| sum.saturating_add(input.blob.bytes)))
    }

    /// The same job under the salt that `key` gives it.
    pub fn salted(self, key: &SecretKey) -> Self {
        let unsalted = Self { salt: Salt([0; 32]), ..self };
        Self { salt: Salt::derive(key, &unsalted.digest()), ..unsalted }
    }

    /// The digest that a receipt carries: BLAKE3 of the postcard encoding.
    pub fn digest(&self) -> Digest {
        Digest::of(&postcard::to_allocvec(self).expect("a specification always encodes"))
    }

    /// Checks every bound of [`crate::limits`] that concerns a specification.
    ///
    /// # Errors
    /// [`SpecError`] names the first bound that is exceeded.
    pub fn check(&self) -> Result<(), SpecError> {
        let text_bytes =
            self.args.iter().map(String::len).sum::<usize>() + self.env.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>();
        let largest_input = self.inputs.iter().map(|input| input.blob.bytes).max().unwrap_or(0);
        let label_bytes = self.placement.labels.iter().flat_map(|(k, v)| [k.len(), v.len()]).max().unwrap_or(0);
        let rows = [
            ("the module's size in bytes", self.module.bytes, limits::MODULE_BYTES_MAX),
            ("the input's size in bytes", self.input.bytes, limits::BLOB_BYTES_MAX),
            ("the number of named inputs", self.inputs.len() as u64, limits::NAMED_INPUTS_MAX as u64),
            ("the size of a named input in bytes", largest_input, limits::BLOB_BYTES_MAX),
            ("the number of arguments", self.args.len() as u64, limits::ARGS_MAX as u64),
            ("the number of environment variables", self.env.len() as u64, limits::ENV_MAX as u64),
            ("the size of arguments and environment in bytes", text_bytes as u64, limits::ARGS_ENV_BYTES_MAX as u64),
            ("the number of labels", self.placement.labels.len() as u64, limits::LABELS_MAX as u64),
            ("the size of a label in bytes", label_bytes as u64, limits::LABEL_BYTES_MAX as u64),
            ("the fuel limit", self.limits.fuel.0, limits::FUEL_MAX),
            ("the memory limit in bytes", self.limits.memory.0, limits::MEMORY_BYTES_MAX),
            ("the output limit in bytes", self.limits.output.0, limits::BLOB_BYTES_MAX),
            ("the log limit in bytes", self.limits.log.0, limits::LOG_BYTES_MAX),
            ("the timeout in milliseconds", self.limits.wall_ms, limits::WALL_MS_MAX),
            ("the queue timeout in milliseconds", self.limits.queue_ms, limits::WALL_MS_MAX),
            ("the deadline in milliseconds", self.placement.deadline_ms.unwrap_or(0), limits::WALL_MS_MAX),
            // Time on a GPU is for those who have one.
            ("the GPU time in nanoseconds", self.limits.gpu_ns, self.gpu.map_or(0, |_| limits::GPU_NS_MAX)),
        ];
        SpecError::first_of(rows)?;
        self.check_text()?;
        self.check_inputs()?;
        self.gpu.map_or(Ok(()), |gpu| gpu.check())
    }

    /// WASI hands arguments and variables over as strings that end with a NUL, and a variable's name ends at its first `=`.
    fn check_text(&self) -> Result<(), SpecError> {
        let has_nul = |text: &String| text.contains('\0');
        if let Some(at) = self.args.iter().position(has_nul) {
            return Err(SpecError::ArgumentText(at + 1));
        }
        let is_bad = |(key, value): &&(String, String)| key.is_empty() || key.contains('=') || has_nul(key) || has_nul(value);
        self.env.iter().position(|variable| is_bad(&variable)).map_or(Ok(()), |at| Err(SpecError::VariableText(at + 1)))
    }

    /// Every name once, in the order of the names: so an input's number is the same for everybody.
    fn check_inputs(&self) -> Result<(), SpecError> {
        match self.inputs.windows(2).find(|pair| pair[0].name >= pair[1].name) {
            None => Ok(()),
            Some([first, second]) if first.name == second.name => Err(SpecError::SameInputName(first.name.clone())),
            Some(pair) => Err(SpecError::InputOrder(pair[0].name.clone(), pair[1].name.clone())),
        }
    }
}

impl SpecError {
    /// The first of the rows (name, value, limit) whose value is over its limit.
    pub(crate) fn first_of(rows: impl IntoIterator<Item = (&'static str, u64, u64)>) -> Result<(), Self> {
        match rows.into_iter().find(|(_, value, limit)| value > limit) {
            Some((name, value, limit)) => Err(Self::OverLimit { name, value, limit }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Preference;

    fn spec() -> JobSpec {
        JobSpec::new(BlobRef::of(b"module"), BlobRef::of(b"input"))
    }

    fn name(text: &str) -> InputName {
        text.parse().unwrap()
    }

    /// The name and the limit of what is too large.
    fn exceeded(spec: &JobSpec) -> (&'static str, u64) {
        match spec.check() {
            Err(SpecError::OverLimit { name, limit, .. }) => (name, limit),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn default_specification_is_within_every_limit() {
        assert_eq!(spec().check(), Ok(()));
    }

    #[test]
    fn first_exceeded_limit_is_named() {
        let mut over = spec();
        over.limits.fuel = Fuel(limits::FUEL_MAX + 1);
        assert_eq!(exceeded(&over), ("the fuel limit", limits::FUEL_MAX));
        let mut over = spec();
        over.args = vec!["x".repeat(limits::ARGS_ENV_BYTES_MAX + 1)];
        assert_eq!(exceeded(&over).1, limits::ARGS_ENV_BYTES_MAX as u64);
        let mut over = spec();
        over.placement.labels = vec![("region".into(), "x".repeat(limits::LABEL_BYTES_MAX + 1))];
        assert!(over.check().is_err());
        let mut over = spec();
        over.limits.gpu_ns = 1;
        assert_eq!(exceeded(&over).1, 0, "there is no GPU to have time of");
        over.gpu = Some(GpuNeed::default());
        assert_eq!(over.check(), Ok(()));
        over.gpu = Some(GpuNeed { buffers: limits::GPU_BUFFERS_MAX + 1, ..GpuNeed::default() });
        assert_eq!(exceeded(&over).0, "the number of GPU buffers");
        let mut over = spec();
        over.placement.deadline_ms = Some(limits::WALL_MS_MAX);
        assert_eq!(over.check(), Ok(()));
        over.placement.deadline_ms = Some(limits::WALL_MS_MAX + 1);
        assert_eq!(exceeded(&over).0, "the deadline in milliseconds");
        let mut over = spec();
        over.add_input(name("a"), BlobRef { bytes: limits::BLOB_BYTES_MAX + 1, ..BlobRef::of(b"") });
        assert_eq!(exceeded(&over).0, "the size of a named input in bytes");
    }

    #[test]
    fn inputs_are_named_once_and_in_order_and_are_not_too_many() {
        let mut spec = spec();
        for n in (0..limits::NAMED_INPUTS_MAX).rev() {
            spec.add_input(name(&format!("{n:02}")), BlobRef::of(&[n as u8]));
        }
        assert_eq!(spec.check(), Ok(()), "they are put in order, whatever order they come in");
        assert!(spec.inputs.is_sorted_by(|a, b| a.name < b.name));
        let mut over = spec.clone();
        over.add_input(name("x"), BlobRef::of(b""));
        assert_eq!(exceeded(&over), ("the number of named inputs", 16));
        spec.inputs.truncate(2);
        spec.inputs.swap(0, 1);
        assert_eq!(spec.check(), Err(SpecError::InputOrder(name("01"), name("00"))));
        spec.inputs[1].name = name("01");
        assert_eq!(spec.check(), Err(SpecError::SameInputName(name("01"))));
    }

    /// A guest would be given more arguments or other variables than it is told of.
    #[test]
    fn text_that_no_program_can_be_given_is_refused() {
        let blob = BlobRef::of(b"m");
        let with = |args: &[&str], env: &[(&str, &str)]| {
            let mut spec = JobSpec::new(blob, blob);
            spec.args = args.iter().map(|arg| (*arg).to_owned()).collect();
            spec.env = env.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            spec.check()
        };
        assert_eq!(with(&["", "a=b", "\n"], &[("A", ""), ("B", "c=d")]), Ok(()));
        assert_eq!(with(&["a", "b\0c"], &[]), Err(SpecError::ArgumentText(2)));
        for (key, value) in [("", "x"), ("A=B", "x"), ("A\0", "x"), ("A", "x\0y")] {
            assert_eq!(with(&[], &[("OK", "1"), (key, value)]), Err(SpecError::VariableText(2)), "{key:?}={value:?}");
        }
    }

    #[test]
    fn all_inputs_are_read_and_billed() {
        let mut spec = spec();
        assert_eq!(spec.blobs().collect::<Vec<_>>(), [spec.module, spec.input]);
        assert_eq!((spec.input_digest(), spec.bytes_in()), (spec.input.digest, ByteCount(5)));
        spec.add_input(name("weights"), BlobRef::of(b"1234567"));
        assert_ne!(spec.input_digest(), spec.input.digest);
        assert_eq!(spec.bytes_in(), ByteCount(12));
        spec.inputs[0].blob.bytes = u64::MAX;
        assert_eq!(spec.bytes_in(), ByteCount(u64::MAX), "a sum from outside does not overflow");
    }

    #[test]
    fn digest_covers_every_field() {
        let base = spec().digest();
        let changes: [fn(&mut JobSpec); 14] = [
            |s| s.add_input(name("a"), BlobRef::of(b"")),
            |s| s.gpu = Some(GpuNeed::default()),
            |s| s.seed = 1,
            |s| s.time = UnixMillis(1),
            |s| s.args.push(String::new()),
            |s| s.limits.queue_ms += 1,
            |s| s.limits.gpu_ns += 1,
            |s| s.profile = Profile::Open,
            |s| s.max_price = Some(Microcredits(0)),
            |s| s.placement.prefer = Preference::Cheap,
            |s| s.placement.deadline_ms = Some(0),
            |s| s.placement.priority = 1,
            |s| s.placement.hedge = true,
            |s| s.salt = Salt([1; 32]),
        ];
        for change in changes {
            let mut changed = spec();
            change(&mut changed);
            assert_ne!(changed.digest(), base);
        }
    }
}
