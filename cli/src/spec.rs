//! A job as the command line describes it: its specification, and where its bytes are.

use std::fs::File;
use std::io::{self, Cursor, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use adit_client::{Job, Source};
use adit_protocol::limits::INLINE_BYTES_MAX;
use adit_protocol::{
    ByteCount, Fuel, GpuNeed, JobLimits, JobSpec, Microcredits, Placement, Preference, Profile, SpecError, UnixMillis,
};
use tempfile::NamedTempFile;

use crate::args::{GuestArgs, JobArgs, PlacementArgs, SubmissionArgs, WorkArgs};
use crate::config::{Config, FUEL, LOG_MAX, MAX_PRICE, MEMORY, OUTPUT_MAX, PREFER, PROFILE, QUEUE_TIMEOUT, TIMEOUT};
use crate::exit::usage;
use crate::named::NamedInputs;
use crate::quantity::{parse_bytes, parse_credits, parse_duration, show_bytes, show_duration};

/// The parts of a specification that do not depend on module and input.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    limits: JobLimits,
    gpu: Option<GpuNeed>,
    profile: Profile,
    max_price: Option<Microcredits>,
    placement: Placement,
    asked: GuestArgs,
}

impl Terms {
    /// Reads flags, environment and config file.
    pub(crate) fn read(args: &JobArgs, config: &Config) -> anyhow::Result<Self> {
        let JobArgs { guest, placement } = args;
        let (gpu, gpu_ns) = guest.gpu.read(config)?;
        let limits = JobLimits {
            fuel: config.value(&FUEL, guest.fuel, str::parse::<Fuel>)?,
            memory: config.value(&MEMORY, guest.memory, parse_bytes)?,
            output: config.value(&OUTPUT_MAX, guest.output_max, parse_bytes)?,
            log: config.value(&LOG_MAX, guest.log_max, parse_bytes)?,
            wall_ms: millis(config.value(&TIMEOUT, guest.timeout, parse_duration)?),
            queue_ms: millis(config.value(&QUEUE_TIMEOUT, placement.queue_timeout, parse_duration)?),
            gpu_ns,
        };
        let profile = config.value(&PROFILE, guest.profile, str::parse::<Profile>)?;
        let max_price = config.find(&MAX_PRICE, placement.max_price, parse_credits)?.map(|f| f.value);
        let prefer = config.value(&PREFER, placement.prefer, str::parse::<Preference>)?;
        Ok(Self { limits, gpu, profile, max_price, placement: placement.to_placement(prefer), asked: guest.clone() })
    }

    /// What the job may use.
    pub(crate) fn limits(&self) -> &JobLimits {
        &self.limits
    }

    /// The specification of a job over `module`, `input` and the `named` inputs. `trailing` are the arguments after `--`.
    pub(crate) fn job(
        &self,
        module: &Source,
        input: &Source,
        named: &NamedInputs,
        trailing: &[String],
        start: Start,
    ) -> anyhow::Result<Job> {
        let mut job = named.given_to(Job::new(module.clone(), input.clone()));
        job.since = Some(Instant::now());
        let asked = &self.asked;
        job.spec = JobSpec {
            args: [&asked.arg[..], trailing].concat(),
            env: asked.env.clone(),
            limits: self.limits,
            gpu: self.gpu,
            profile: self.profile,
            seed: asked.seed,
            time: asked.time.unwrap_or(match start {
                Start::Now => job.spec.time,
                Start::Epoch => UnixMillis(0),
            }),
            max_price: self.max_price,
            placement: self.placement.clone(),
            ..job.spec
        };
        job.spec.check().map_err(|error| usage(describe(&error)))?;
        Ok(job)
    }
}

impl PlacementArgs {
    fn to_placement(&self, prefer: Preference) -> Placement {
        let region = self.region.iter().map(|region| ("region".to_owned(), region.clone()));
        Placement {
            labels: self.label.iter().cloned().chain(region).collect(),
            prefer,
            deadline_ms: self.deadline.map(millis),
            priority: self.priority,
            hedge: self.hedge,
        }
    }
}

/// What is wrong with a specification: a bound that is exceeded, in the units that the command line takes.
fn describe(error: &SpecError) -> String {
    let SpecError::OverLimit { name, value, limit } = *error else { return error.to_string() };
    type Show = fn(u64) -> String;
    let units: [(&str, Show); 3] = [
        (" in milliseconds", |ms| show_duration(Duration::from_millis(ms))),
        (" in nanoseconds", |ns| show_duration(Duration::from_nanos(ns))),
        (" in bytes", |bytes| show_bytes(ByteCount(bytes))),
    ];
    for (suffix, show) in units {
        let (value, limit) = (show(value), show(limit));
        // Two amounts that look alike tell nothing; their numbers do.
        if let Some(name) = name.strip_suffix(suffix)
            && value != limit
        {
            return format!("{name} is {value}, over the limit of {limit}");
        }
    }
    error.to_string()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A job that is ready to be submitted, or to be run here.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) job: Job,
    pub(crate) input: Input,
    pub(crate) named: NamedInputs,
}

impl Submission {
    /// Reads what the command line names.
    pub(crate) fn read(args: &SubmissionArgs, terms: &Terms, config: &Config) -> anyhow::Result<Self> {
        let start = if args.idempotency_key.is_some() { Start::Epoch } else { Start::Now };
        let mut submission = Self::of_work(&args.work, terms, config, start)?;
        submission.job.key = args.idempotency_key.unwrap_or(submission.job.key);
        Ok(submission)
    }

    /// Reads a job that has no key of its user's.
    pub(crate) fn of_work(work: &WorkArgs, terms: &Terms, config: &Config, start: Start) -> anyhow::Result<Self> {
        let module = module(&work.module)?;
        let input = Input::open(work.input.as_deref(), &config.dirs.cache)?;
        let named = NamedInputs::open(&terms.asked.with, &config.dirs.cache)?;
        let job = terms.job(&module, &input.source, &named, &work.trailing, start)?;
        Ok(Self { job, input, named })
    }
}

/// Where the guest's clock starts if nobody says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// Now.
    Now,
    /// 1970: the same in every submission, so that the same key names the same specification.
    Epoch,
}

/// A module in a file.
pub(crate) fn module(path: &Path) -> anyhow::Result<Source> {
    check_file("module", path)?;
    Source::file(path).map_err(|error| usage(format!("module {}: {error}", path.display())))
}

/// A job's input, and what keeps it.
#[derive(Debug)]
pub(crate) struct Input {
    /// Name, size and place.
    pub(crate) source: Source,
    bytes: InputBytes,
}

#[derive(Debug)]
enum InputBytes {
    /// Few enough to be at hand.
    Inline(Vec<u8>),
    /// In a file of the user's.
    File(PathBuf),
    /// From a pipe, in a file that goes away with this value.
    Spooled(NamedTempFile),
}

impl Input {
    /// The input that `--input` names: a file, `-` for standard input, or nothing for no bytes. What comes by a pipe and is too
    /// large for memory waits in a file in `spool`.
    pub(crate) fn open(input: Option<&Path>, spool: &Path) -> anyhow::Result<Self> {
        let Some(path) = input else { return Ok(Self::inline(Vec::new())) };
        match path == Path::new("-") {
            true => Self::from_pipe(io::stdin().lock(), spool).map_err(|error| usage(format!("input -: {error}"))),
            false => Self::open_as("input", path, spool),
        }
    }

    /// The input in a file, or that comes by one that can be read only once; `what` it is, for who gave it.
    pub(crate) fn open_as(what: &str, path: &Path, spool: &Path) -> anyhow::Result<Self> {
        Self::from_path(path, spool).map_err(|error| usage(format!("{what} {}: {error}", path.display())))
    }

    /// The bytes as the runtime takes them.
    pub(crate) fn for_runtime(&self) -> io::Result<adit_runtime::Input> {
        Ok(match &self.bytes {
            InputBytes::Inline(bytes) => adit_runtime::Input::Inline(bytes.clone()),
            InputBytes::File(path) => adit_runtime::Input::File(File::open(path)?),
            InputBytes::Spooled(file) => adit_runtime::Input::File(file.reopen()?),
        })
    }

    /// The bytes, from the first to the last.
    pub(crate) fn reader(&self) -> io::Result<Box<dyn Read + Send>> {
        Ok(match &self.bytes {
            InputBytes::Inline(bytes) => Box::new(Cursor::new(bytes.clone())),
            InputBytes::File(path) => Box::new(File::open(path)?),
            InputBytes::Spooled(file) => Box::new(file.reopen()?),
        })
    }

    fn from_path(path: &Path, spool: &Path) -> io::Result<Self> {
        let metadata = path.metadata()?;
        if metadata.is_dir() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        }
        if !metadata.is_file() {
            return Self::from_pipe(File::open(path)?, spool);
        }
        if metadata.len() <= INLINE_BYTES_MAX as u64 {
            return std::fs::read(path).map(Self::inline);
        }
        Ok(Self { source: Source::file(path)?, bytes: InputBytes::File(path.to_owned()) })
    }

    /// Reads what can be read only once.
    fn from_pipe(mut pipe: impl Read, spool: &Path) -> io::Result<Self> {
        let mut head = Vec::new();
        pipe.by_ref().take(INLINE_BYTES_MAX as u64 + 1).read_to_end(&mut head)?;
        if head.len() <= INLINE_BYTES_MAX {
            return Ok(Self::inline(head));
        }
        std::fs::create_dir_all(spool)?;
        let mut file = NamedTempFile::new_in(spool)?;
        file.write_all(&head)?;
        io::copy(&mut pipe, &mut file)?;
        Ok(Self { source: Source::file(file.path())?, bytes: InputBytes::Spooled(file) })
    }

    fn inline(bytes: Vec<u8>) -> Self {
        Self { source: Source::bytes(bytes.clone()), bytes: InputBytes::Inline(bytes) }
    }
}

/// Checks that `path` is there and is a file, with words that name it.
fn check_file(what: &str, path: &Path) -> anyhow::Result<()> {
    match path.metadata() {
        Ok(metadata) if metadata.is_file() => Ok(()),
        Ok(_) => Err(usage(format!("{what} {}: not a file", path.display()))),
        Err(error) => Err(usage(format!("{what} {}: {error}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use adit_protocol::BlobRef;

    use super::*;
    use crate::exit::Exit;

    #[test]
    fn bound_that_is_exceeded_is_told_in_the_units_of_the_command_line() {
        let told = |name, value, limit| describe(&SpecError::OverLimit { name, value, limit });
        assert_eq!(
            told("the deadline in milliseconds", 172_800_000, 86_400_000),
            "the deadline is 2days, over the limit of 1day"
        );
        assert_eq!(told("the memory limit in bytes", 5 << 30, 4 << 30), "the memory limit is 5.0 GiB, over the limit of 4.0 GiB");
        let close = "the memory limit in bytes is 4294967297, over the limit of 4294967296";
        assert_eq!(told("the memory limit in bytes", (4 << 30) + 1, 4 << 30), close);
        assert_eq!(told("the number of labels", 65, 64), "the number of labels is 65, over the limit of 64");
    }

    #[test]
    fn small_input_is_at_hand_and_large_input_is_not() {
        let dir = tempfile::tempdir().unwrap();
        for (bytes, inline) in [(0, true), (INLINE_BYTES_MAX, true), (INLINE_BYTES_MAX + 1, false), (200_000, false)] {
            let content: Vec<u8> = (0..bytes).map(|i| i as u8).collect();
            let path = dir.path().join("input");
            std::fs::write(&path, &content).unwrap();
            for input in [Input::from_path(&path, dir.path()).unwrap(), Input::from_pipe(&content[..], dir.path()).unwrap()] {
                assert_eq!(input.source.blob(), BlobRef::of(&content));
                assert_eq!(matches!(input.bytes, InputBytes::Inline(_)), inline, "{bytes} bytes");
                assert_eq!(matches!(input.for_runtime().unwrap(), adit_runtime::Input::Inline(_)), inline);
                let mut read = Vec::new();
                input.reader().unwrap().read_to_end(&mut read).unwrap();
                assert!(read == content, "{bytes} bytes");
            }
        }
        // What was spooled is gone with its input.
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn missing_files_are_the_users_to_mend() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing");
        for error in [
            Input::open(Some(&missing), dir.path()).unwrap_err(),
            Input::open(Some(dir.path()), dir.path()).unwrap_err(),
            module(&missing).unwrap_err(),
            module(dir.path()).unwrap_err(),
        ] {
            assert_eq!(Exit::of_error(&error), Exit::Usage);
            assert!(error.to_string().contains(dir.path().to_str().unwrap()), "{error}");
        }
    }
}
