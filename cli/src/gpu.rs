//! What a job asks of a GPU, and what an offer and a receipt say of one.

use std::time::Duration;

use adit_protocol::{ByteCount, Comparison, GpuNeed, GpuOffer, GpuRun, Usage};
use clap::Args;
use serde::Serialize;

use crate::config::{Config, GPU, GPU_BUFFER, GPU_COMPARE, GPU_DISPATCHES, GPU_INVOCATIONS, GPU_MEMORY, GPU_WORKGROUP_MEMORY};
use crate::exit::usage;
use crate::quantity::{parse_bytes, parse_duration, show_bytes, show_micros};

/// What a job is given of a GPU.
#[derive(Debug, Default, Clone, Args)]
#[command(next_help_heading = "GPU of the job")]
pub(crate) struct GpuArgs {
    /// Give the job a GPU, and so much of its time at most, as in 10s; 0s for none [default: none]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    gpu: Option<Duration>,
    /// GPU memory that its buffers may hold together [default: 256MiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    gpu_memory: Option<ByteCount>,
    /// Its largest buffer [default: 128MiB, or --gpu-memory where that is less]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    gpu_buffer: Option<ByteCount>,
    /// Dispatches that it may make in all [default: 1048576]
    #[arg(long, value_name = "N")]
    gpu_dispatches: Option<u64>,
    /// Invocations of its largest workgroup [default: 256]
    #[arg(long, value_name = "N")]
    gpu_invocations: Option<u32>,
    /// Memory that the invocations of one workgroup share [default: 16KiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    gpu_workgroup_memory: Option<ByteCount>,
    /// How results of two runs compare: `exact` (no floats), `class` (bit for bit on adapters of one class), or for an output of f32 a
    /// tolerance such as 1e-6,1e-5: absolute, relative [default: class]
    #[arg(long, value_name = "RULE", allow_hyphen_values = true)]
    gpu_compare: Option<Comparison>,
}

/// The least time for which a job is given a GPU: a dispatch that does nothing takes tens of microseconds.
const TIME_MIN: Duration = Duration::from_millis(1);

/// What a job has of a GPU, and for how many nanoseconds.
pub(crate) type Lent = (Option<GpuNeed>, u64);

impl GpuArgs {
    /// What flags, environment and config file ask for.
    ///
    /// # Errors
    /// Where one of them makes no sense, or a flag asks something of a GPU that the job does not have.
    pub(crate) fn read(&self, config: &Config) -> anyhow::Result<Lent> {
        let time = config.value(&GPU, self.gpu, parse_duration)?;
        if time.is_zero() {
            return match self.first_flag() {
                Some(flag) => Err(usage(format!("{flag} is for a job with a GPU: add --gpu TIME"))),
                None => Ok((None, 0)),
            };
        }
        if time < TIME_MIN {
            return Err(usage(format!(
                "--gpu {time:?}: no GPU does anything in that; give it at least {TIME_MIN:?}, or 0s for no GPU"
            )));
        }
        let memory = config.value(&GPU_MEMORY, self.gpu_memory, parse_bytes)?;
        let buffer = config.find(&GPU_BUFFER, self.gpu_buffer, parse_bytes)?.map(|found| found.value);
        let workgroup_memory = config.value(&GPU_WORKGROUP_MEMORY, self.gpu_workgroup_memory, parse_bytes)?;
        let need = GpuNeed {
            memory,
            buffer: buffer.unwrap_or_else(|| GpuNeed::default().buffer.min(memory)),
            dispatches: config.value(&GPU_DISPATCHES, self.gpu_dispatches, str::parse::<u64>)?,
            invocations: config.value(&GPU_INVOCATIONS, self.gpu_invocations, str::parse::<u32>)?,
            // What does not fit is over the limit, which is told when the whole is checked.
            workgroup_memory: u32::try_from(workgroup_memory.0).unwrap_or(u32::MAX),
            comparison: config.value(&GPU_COMPARE, self.gpu_compare, str::parse::<Comparison>)?,
            ..GpuNeed::default()
        };
        Ok((Some(need), u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// The first of the flags that say what a GPU must be like.
    fn first_flag(&self) -> Option<&'static str> {
        let given = [
            (self.gpu_memory.is_some(), "--gpu-memory"),
            (self.gpu_buffer.is_some(), "--gpu-buffer"),
            (self.gpu_dispatches.is_some(), "--gpu-dispatches"),
            (self.gpu_invocations.is_some(), "--gpu-invocations"),
            (self.gpu_workgroup_memory.is_some(), "--gpu-workgroup-memory"),
            (self.gpu_compare.is_some(), "--gpu-compare"),
        ];
        given.into_iter().find(|(is_given, _)| *is_given).map(|(_, flag)| flag)
    }
}

/// What a receipt says of a GPU, as programs read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct GpuRunReport {
    class: String,
    time_ns: u64,
    dispatches: u64,
    bytes_moved: u64,
    memory_peak_bytes: u64,
    /// `exact`, `class`, or the tolerance.
    comparison: String,
}

impl GpuRunReport {
    pub(crate) fn of(run: &GpuRun, usage: &Usage) -> Self {
        Self {
            class: run.class.clone(),
            time_ns: usage.gpu_ns,
            dispatches: run.dispatches,
            bytes_moved: run.bytes_moved.0,
            memory_peak_bytes: run.memory_peak.0,
            comparison: run.comparison.to_string(),
        }
    }
}

/// What an offer says of a GPU, as programs read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct GpuOfferReport {
    pub(crate) class: String,
    pub(crate) memory_bytes: u64,
    pub(crate) buffer_bytes: u64,
    pub(crate) invocations: u32,
    pub(crate) workgroup_memory_bytes: u32,
}

impl From<&GpuOffer> for GpuOfferReport {
    fn from(offer: &GpuOffer) -> Self {
        Self {
            class: offer.class.clone(),
            memory_bytes: offer.memory.0,
            buffer_bytes: offer.buffer.0,
            invocations: offer.invocations,
            workgroup_memory_bytes: offer.workgroup_memory,
        }
    }
}

/// `discrete/nvidia/nvidia, 8.0 GiB`.
pub(crate) fn show_offer(offer: &GpuOffer) -> String {
    format!("{}, {}", offer.class, show_bytes(offer.memory))
}

/// GPU time as people read it.
pub(crate) fn show_gpu_time(nanoseconds: u64) -> String {
    show_micros(nanoseconds / 1_000)
}

/// What a run did on a GPU, in one line.
pub(crate) fn show_run(run: &GpuRun, usage: &Usage) -> String {
    let (time, moved) = (show_gpu_time(usage.gpu_ns), show_bytes(run.bytes_moved));
    format!("{time} of {} in {} dispatches, {moved} moved", run.class, run.dispatches)
}

/// By which rule results compare, in words.
pub(crate) fn show_comparison(comparison: &Comparison, class: &str) -> String {
    match comparison {
        Comparison::Exact => "bit for bit on any adapter".to_owned(),
        Comparison::Class => format!("bit for bit on adapters of class {class}"),
        Comparison::Tolerance(tolerance) => format!("within {tolerance} (absolute, relative)"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use adit_protocol::Tolerance;

    use super::*;
    use crate::dirs::Dirs;

    fn config(text: &str) -> Config {
        let [config, cache, data, state] = ["c", "h", "d", "s"].map(PathBuf::from);
        Config::from_text(Dirs { config, cache, data, state }, "config.toml".into(), text, |_| None).unwrap()
    }

    #[test]
    fn job_has_a_gpu_where_it_is_given_time_of_one() {
        let args = |time| GpuArgs { gpu: time, ..GpuArgs::default() };
        assert_eq!(args(None).read(&config("")).unwrap(), (None, 0));
        let ten = Some(Duration::from_secs(10));
        assert_eq!(args(ten).read(&config("")).unwrap(), (Some(GpuNeed::default()), 10_000_000_000));
        assert_eq!(args(None).read(&config("gpu = \"1ms\"")).unwrap().1, 1_000_000);
        assert_eq!(args(Some(Duration::ZERO)).read(&config("gpu = \"1ms\"")).unwrap(), (None, 0));
        let none = args(Some(Duration::from_nanos(1))).read(&config("")).unwrap_err().to_string();
        assert_eq!(none, "--gpu 1ns: no GPU does anything in that; give it at least 1ms, or 0s for no GPU");
        let asks = GpuArgs { gpu_invocations: Some(512), ..GpuArgs::default() };
        let refused = asks.read(&config("")).unwrap_err().to_string();
        assert_eq!(refused, "--gpu-invocations is for a job with a GPU: add --gpu TIME");
        // In the file they stand ready for jobs that have one.
        assert_eq!(args(None).read(&config("gpu-memory = \"1GiB\"")).unwrap(), (None, 0));
    }

    #[test]
    fn what_a_job_needs_comes_from_the_file_and_flags_beat_it() {
        let file = config(
            "gpu = \"1s\"\ngpu-memory = \"64MiB\"\ngpu-dispatches = 7\ngpu-invocations = 64\n\
             gpu-workgroup-memory = \"4KiB\"\ngpu-compare = \"1e-6,1e-5\"",
        );
        let rule = Comparison::Tolerance(Tolerance { absolute_e9: 1_000, relative_e9: 10_000 });
        let want = GpuNeed {
            memory: ByteCount(64 << 20),
            buffer: ByteCount(64 << 20),
            dispatches: 7,
            invocations: 64,
            workgroup_memory: 4096,
            comparison: rule,
            ..GpuNeed::default()
        };
        assert_eq!(GpuArgs::default().read(&file).unwrap(), (Some(want), 1_000_000_000));
        let flags = GpuArgs { gpu_buffer: Some(ByteCount(1 << 20)), gpu_compare: Some(Comparison::Exact), ..GpuArgs::default() };
        let (need, _) = flags.read(&file).unwrap();
        assert_eq!(need, Some(GpuNeed { buffer: ByteCount(1 << 20), comparison: Comparison::Exact, ..want }));
        for (text, error) in
            [("gpu-compare = \"nearly\"", "is not how GPU results compare"), ("gpu-memory = \"lots\"", "is not a size")]
        {
            let told = GpuArgs::default().read(&config(&format!("gpu = \"1s\"\n{text}"))).unwrap_err().to_string();
            assert!(told.contains(error), "{told}");
        }
    }
}
