//! This machine's GPUs: which there are, what of them is lent, and on which a job can run again. `adit gpu` shows them.

use std::time::Duration;

use adit_node::check_gpu;
use adit_protocol::limits::GPU_MEMORY_BYTES_MAX;
use adit_protocol::{ByteCount, GpuRun};
use adit_runtime::{AdapterName, GpuAdapter, GpuConfig, gpu_access_problem, gpu_adapters};
use anyhow::bail;
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::args::Common;
use crate::config::{Config, Found, NODE_GPU, NODE_GPU_ADAPTER, NODE_GPU_MEMORY, NODE_GPU_SLICE, NODE_GPU_SOFTWARE, Origin};
use crate::exit::{Exit, usage};
use crate::gpu::GpuOfferReport;
use crate::quantity::{parse_bytes, parse_duration, show_bytes, show_duration};
use crate::table::{print_json, print_line};
use crate::visible::visible;

/// What Vulkan does not show.
const NO_ADAPTER: &str = "no GPU: Vulkan shows none on this machine. A GPU needs its maker's Vulkan driver; for tests Mesa has one in \
                          software (Debian: mesa-vulkan-drivers)";

/// How long a dispatch may take where nobody else waits for the adapter, which may be a slow one.
const PATIENT_SLICE: Duration = Duration::from_secs(60);

/// The kind of an adapter that is none.
const SOFTWARE: &str = "software";

/// Show this machine's GPUs and what a node would lend of them
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  adit gpu info
  adit gpu info --json | jq -r 'select(.class and .refused == null) | .class'")]
pub(crate) struct GpuCommandArgs {
    #[command(subcommand)]
    command: GpuCommand,
}

#[derive(Debug, Subcommand)]
enum GpuCommand {
    /// Show every adapter: its class, driver and limits, whether it tells the time of dispatches, and why it is refused where it is
    Info(InfoArgs),
}

#[derive(Debug, Args)]
struct InfoArgs {
    /// Print one JSON object for each adapter, or one with the `error` where there is none
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    terms: TermsArgs,
}

/// What of this machine's GPU is lent.
#[derive(Debug, Default, Clone, Args)]
#[command(next_help_heading = "GPU")]
pub(crate) struct LendGpuArgs {
    /// Lend this machine's GPU; `adit gpu info` shows what that is [default: off]
    #[arg(long)]
    gpu: bool,
    #[command(flatten)]
    terms: TermsArgs,
}

/// How it is lent.
#[derive(Debug, Default, Clone, Args)]
#[command(next_help_heading = "GPU")]
struct TermsArgs {
    /// The adapter's name, or a part of it [default: the best one]
    #[arg(long, value_name = "NAME")]
    gpu_adapter: Option<String>,
    /// Lend an adapter that is only software too, for tests; its class says so
    #[arg(long)]
    gpu_software: bool,
    /// GPU memory for each job [default: 1GiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    gpu_memory: Option<ByteCount>,
    /// How long one dispatch may take; one that takes longer counts as hung [default: 2s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    gpu_slice: Option<Duration>,
}

/// An adapter, as `adit gpu info --json` has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct AdapterReport {
    name: String,
    class: String,
    kind: &'static str,
    driver: String,
    driver_info: String,
    buffer_bytes: u64,
    invocations: u32,
    workgroup_memory_bytes: u32,
    timestamps: bool,
    /// Why no guest runs on it, whatever its owner says.
    refused: Option<String>,
    /// What `adit node --gpu` would lend of it.
    offer: Option<GpuOfferReport>,
    /// How long a dispatch may take there, in milliseconds.
    slice_ms: Option<u64>,
    /// Why it would not, where it would not.
    withheld: Option<String>,
}

/// What `adit gpu info --json` has where there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct NoAdapter<'a> {
    error: &'a str,
}

/// An adapter of this machine, on which a job can run again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct LocalAdapter {
    name: String,
}

pub(crate) fn run(args: &GpuCommandArgs, common: &Common) -> anyhow::Result<Exit> {
    let GpuCommand::Info(args) = &args.command;
    let lent = args.terms.read(&common.load_config()?)?;
    check_gpu(&lent).map_err(|error| usage(error.to_string()))?;
    let reports = report(&gpu_adapters(), &lent);
    for report in &reports {
        if args.json { print_json(report)? } else { report.show()? }
    }
    let closed = gpu_access_problem();
    if reports.is_empty() {
        let why = closed.map_or_else(|| NO_ADAPTER.to_owned(), |why| format!("no GPU: {why}"));
        if args.json {
            print_json(&NoAdapter { error: &why })?;
        }
        bail!(why);
    }
    if let Some(why) = closed {
        eprintln!("A GPU may be missing here: {why}");
    }
    Ok(Exit::Success)
}

/// This machine's GPU for its owner's own job. Software will do: whoever runs a job here wants what it comes to.
pub(crate) fn lent_here(config: &Config) -> anyhow::Result<GpuConfig> {
    let terms = TermsArgs::default().read(config)?;
    Ok(GpuConfig { software: true, memory: ByteCount(GPU_MEMORY_BYTES_MAX), slice: slice_here(config)?, ..terms })
}

/// How long a dispatch may take here: long, where nobody said.
fn slice_here(config: &Config) -> anyhow::Result<Duration> {
    Ok(match config.find(&NODE_GPU_SLICE, None, parse_duration)? {
        Some(Found { value, origin }) if origin != Origin::Default => value,
        _ => PATIENT_SLICE,
    })
}

/// How a node's GPU is lent, in words.
pub(crate) fn describe(lent: &GpuConfig) -> String {
    let adapter = lent.adapter.as_ref().map_or_else(|| "the best adapter".to_owned(), |name| format!("the adapter `{name}`"));
    let software = if lent.software { ", software too" } else { "" };
    let (memory, slice) = (show_bytes(lent.memory), show_duration(lent.slice));
    format!("lends its GPU, {adapter}{software}: {memory} for each job, {slice} for a dispatch")
}

/// Reads `on` or `off`, or what a switch of TOML says.
pub(crate) fn parse_on(text: &str) -> Result<bool, String> {
    match text {
        "on" | "true" => Ok(true),
        "off" | "false" => Ok(false),
        _ => Err(format!("`{text}` is neither `on` nor `off`")),
    }
}

impl LendGpuArgs {
    /// What flags, environment and config file lend.
    ///
    /// # Errors
    /// Where one of them makes no sense, or a flag says how a GPU is lent that is not.
    pub(crate) fn read(&self, config: &Config) -> anyhow::Result<Option<GpuConfig>> {
        if config.value(&NODE_GPU, self.gpu.then_some(true), parse_on)? {
            return self.terms.read(config).map(Some);
        }
        match self.terms.first_flag() {
            Some(flag) => Err(usage(format!("{flag} is for a node that lends its GPU: add --gpu"))),
            None => Ok(None),
        }
    }
}

impl TermsArgs {
    fn read(&self, config: &Config) -> anyhow::Result<GpuConfig> {
        Ok(GpuConfig {
            adapter: config.find(&NODE_GPU_ADAPTER, self.gpu_adapter.clone(), str::parse::<String>)?.map(|found| found.value),
            software: config.value(&NODE_GPU_SOFTWARE, self.gpu_software.then_some(true), str::parse::<bool>)?,
            memory: config.value(&NODE_GPU_MEMORY, self.gpu_memory, parse_bytes)?,
            slice: config.value(&NODE_GPU_SLICE, self.gpu_slice, parse_duration)?,
            ..GpuConfig::default()
        })
    }

    fn first_flag(&self) -> Option<&'static str> {
        let given = [
            (self.gpu_adapter.is_some(), "--gpu-adapter"),
            (self.gpu_software, "--gpu-software"),
            (self.gpu_memory.is_some(), "--gpu-memory"),
            (self.gpu_slice.is_some(), "--gpu-slice"),
        ];
        given.into_iter().find(|(is_given, _)| *is_given).map(|(_, flag)| flag)
    }
}

/// What there is, and what would be lent of it: the first that fits.
fn report(adapters: &[GpuAdapter], lent: &GpuConfig) -> Vec<AdapterReport> {
    let wanted = lent.adapter.as_deref().map(|name| AdapterName::of(name, adapters.iter().map(|adapter| adapter.name.as_str())));
    let mut taken: Option<&str> = None;
    let mut reports = Vec::new();
    for adapter in adapters {
        let withheld =
            withheld(adapter, wanted.as_ref(), lent.software).or_else(|| taken.map(|name| format!("{name} is lent before it")));
        if withheld.is_none() {
            taken = Some(&adapter.name);
        }
        reports.push(AdapterReport::of(adapter, lent, withheld));
    }
    reports
}

/// Why an adapter would not be lent, whatever the others are.
fn withheld(adapter: &GpuAdapter, wanted: Option<&AdapterName>, software: bool) -> Option<String> {
    if let Some(reason) = &adapter.refused {
        return Some(reason.clone());
    }
    if let Some(why) = wanted.and_then(|wanted| wanted.unmatched(&adapter.name)) {
        return Some(format!("{why} (--gpu-adapter)"));
    }
    let is_withheld = adapter.kind == SOFTWARE && !software;
    is_withheld.then(|| "it is software, which is for tests: --gpu-software lends it".to_owned())
}

impl AdapterReport {
    fn of(adapter: &GpuAdapter, lent: &GpuConfig, withheld: Option<String>) -> Self {
        let memory = adapter.memory.map_or(lent.memory, |most| lent.memory.min(most));
        let offer = GpuOfferReport {
            class: adapter.class.clone(),
            memory_bytes: memory.0,
            buffer_bytes: adapter.buffer.min(memory).0,
            invocations: adapter.invocations,
            workgroup_memory_bytes: adapter.workgroup_memory,
        };
        Self {
            name: adapter.name.clone(),
            class: adapter.class.clone(),
            kind: adapter.kind,
            driver: adapter.driver.clone(),
            driver_info: adapter.driver_info.clone(),
            buffer_bytes: adapter.buffer.0,
            invocations: adapter.invocations,
            workgroup_memory_bytes: adapter.workgroup_memory,
            timestamps: adapter.has_timestamps,
            refused: adapter.refused.clone(),
            offer: withheld.is_none().then_some(offer),
            slice_ms: withheld.is_none().then(|| u64::try_from(lent.slice.as_millis()).unwrap_or(u64::MAX)),
            withheld,
        }
    }

    fn show(&self) -> anyhow::Result<()> {
        print_line(&visible(&self.name))?;
        self.lines().iter().try_for_each(|line| print_line(&format!("  {}", visible(line))))
    }

    /// What is told of it, below its name.
    fn lines(&self) -> [String; 5] {
        let [buffer, shared] = [self.buffer_bytes, self.workgroup_memory_bytes.into()].map(|bytes| show_bytes(ByteCount(bytes)));
        let times = if self.timestamps { "yes" } else { "no: the time from the begin of work to its end is billed" };
        let lent = match (&self.offer, &self.refused, &self.withheld) {
            (Some(offer), _, _) => {
                let (memory, slice) =
                    (show_bytes(ByteCount(offer.memory_bytes)), Duration::from_millis(self.slice_ms.unwrap_or_default()));
                format!("lent        {memory} for each job, {} for a dispatch, by `adit node --gpu`", show_duration(slice))
            }
            (None, Some(reason), _) => format!("refused     {reason}"),
            (None, None, reason) => format!("not lent    {}", reason.as_deref().unwrap_or_default()),
        };
        [
            format!("class       {}", self.class),
            format!("driver      {} {}", self.driver, self.driver_info),
            format!("limits      buffers of {buffer}, {} invocations in a workgroup, which share {shared}", self.invocations),
            format!("timestamps  {times}"),
            lent,
        ]
    }
}

impl LocalAdapter {
    /// The adapter on which a job that did `run` runs again, of the same class where there is one. Loads this machine's Vulkan drivers.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub(crate) fn to_audit(run: &GpuRun) -> Result<Self, String> {
        choose(gpu_adapters(), run)
    }

    /// A runtime's GPU.
    pub(crate) fn lent(&self, config: &Config) -> anyhow::Result<GpuConfig> {
        Ok(GpuConfig { adapter: Some(self.name.clone()), ..lent_here(config)? })
    }
}

fn choose(mut adapters: Vec<GpuAdapter>, run: &GpuRun) -> Result<LocalAdapter, String> {
    adapters.retain(|adapter| adapter.refused.is_none());
    if adapters.is_empty() {
        return Err(format!(
            "it ran on a GPU ({}), and this machine has none that jobs could run on: see `adit gpu info`",
            run.class
        ));
    }
    // One of another class can confirm a bill, if not refute it, and shows whether shaders compute with floats.
    let index = adapters.iter().position(|adapter| adapter.class == run.class).unwrap_or(0);
    Ok(LocalAdapter { name: adapters.swap_remove(index).name })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use adit_protocol::Comparison;

    use super::*;
    use crate::dirs::Dirs;

    fn config(text: &str) -> Config {
        let [config, cache, data, state] = ["c", "h", "d", "s"].map(PathBuf::from);
        Config::from_text(Dirs { config, cache, data, state }, "config.toml".into(), text, |_| None).unwrap()
    }

    fn adapter(name: &str, kind: &'static str, refused: Option<&str>) -> GpuAdapter {
        GpuAdapter {
            name: name.into(),
            class: format!("{kind}/maker/{name}"),
            driver: "driver".into(),
            driver_info: "1.0".into(),
            kind,
            memory: (kind == SOFTWARE).then_some(ByteCount(1 << 29)),
            buffer: ByteCount(1 << 31),
            invocations: 1024,
            workgroup_memory: 32_768,
            has_timestamps: true,
            refused: refused.map(Into::into),
        }
    }

    #[test]
    fn first_adapter_that_fits_is_lent_and_the_others_say_why_not() {
        let adapters = [
            adapter("big", "discrete", None),
            adapter("small", "integrated", None),
            adapter("soft", "software", None),
            adapter("pi", "integrated", Some("it hangs")),
        ];
        let told = |lent: &GpuConfig| {
            let reports = report(&adapters, lent);
            reports.into_iter().map(|report| report.withheld.unwrap_or_else(|| "lent".into())).collect::<Vec<_>>()
        };
        let soft = "it is software, which is for tests: --gpu-software lends it";
        assert_eq!(told(&GpuConfig::default()), ["lent", "big is lent before it", soft, "it hangs"]);
        let named = GpuConfig { adapter: Some("SOF".into()), software: true, ..GpuConfig::default() };
        let other = "its name has no `SOF` (--gpu-adapter)";
        assert_eq!(told(&named), [other, other, "lent", "it hangs"]);
        let offer = report(&adapters, &named)[2].offer.clone().unwrap();
        assert_eq!((offer.memory_bytes, offer.buffer_bytes), (1 << 29, 1 << 29), "software has half of the machine's memory");
        let offer = report(&adapters, &GpuConfig::default())[0].offer.clone().unwrap();
        assert_eq!((offer.memory_bytes, offer.buffer_bytes), (1 << 30, 1 << 30));
        let whole = [adapter("rtx 3080 ti", "discrete", None), adapter("rtx 3080", "discrete", None)];
        let named = GpuConfig { adapter: Some("RTX 3080".into()), ..GpuConfig::default() };
        let told: Vec<_> = report(&whole, &named).into_iter().map(|report| report.withheld).collect();
        assert_eq!(told, [Some("its name is not `RTX 3080` (--gpu-adapter)".into()), None]);
    }

    #[test]
    fn each_adapter_says_last_whether_it_is_lent_and_why_not() {
        let mut silent = adapter("silent", "integrated", None);
        silent.has_timestamps = false;
        let adapters = [silent, adapter("soft", "software", None), adapter("V3D 4.2", "integrated", Some("it hangs"))];
        let lines: Vec<_> = report(&adapters, &GpuConfig::default()).iter().map(AdapterReport::lines).collect();
        let lent = "lent        1.0 GiB for each job, 2s for a dispatch, by `adit node --gpu`";
        let soft = "not lent    it is software, which is for tests: --gpu-software lends it";
        assert_eq!([&lines[0][4], &lines[1][4], &lines[2][4]], [lent, soft, "refused     it hangs"]);
        assert_eq!(lines[0][3], "timestamps  no: the time from the begin of work to its end is billed");
        assert_eq!(
            lines[2][..4],
            [
                "class       integrated/maker/V3D 4.2",
                "driver      driver 1.0",
                "limits      buffers of 2.0 GiB, 1024 invocations in a workgroup, which share 32.0 KiB",
                "timestamps  yes",
            ]
        );
        // As programs read it: why, and no offer.
        let pi = serde_json::to_value(&report(&adapters, &GpuConfig::default())[2]).unwrap();
        assert_eq!(
            (&pi["refused"], &pi["offer"], &pi["slice_ms"]),
            (&"it hangs".into(), &serde_json::Value::Null, &serde_json::Value::Null)
        );
    }

    #[test]
    fn job_runs_again_on_an_adapter_of_its_class_or_on_the_best() {
        let here = || {
            vec![
                adapter("big", "discrete", None),
                adapter("soft", "software", None),
                adapter("pi", "integrated", Some("it hangs")),
            ]
        };
        let run = |class: &str| GpuRun {
            class: class.into(),
            comparison: Comparison::Class,
            dispatches: 1,
            bytes_moved: ByteCount(4),
            memory_peak: ByteCount(4),
        };
        for (class, want) in [
            ("software/maker/soft", "soft"),
            ("discrete/maker/big", "big"),
            ("discrete/other/x", "big"),
            // Refused here, whatever it did there.
            ("integrated/maker/pi", "big"),
        ] {
            assert_eq!(choose(here(), &run(class)).unwrap().name, want, "{class}");
        }
        let none = choose(Vec::new(), &run("discrete/other/x")).unwrap_err();
        assert_eq!(
            none,
            "it ran on a GPU (discrete/other/x), and this machine has none that jobs could run on: see `adit gpu info`"
        );
    }

    #[test]
    fn gpu_is_lent_where_the_owner_says_so() {
        assert_eq!(LendGpuArgs::default().read(&config("")).unwrap(), None);
        let file =
            "[node]\ngpu = \"on\"\ngpu-adapter = \"llvm\"\ngpu-software = true\ngpu-memory = \"64MiB\"\ngpu-slice = \"1s\"";
        let want = GpuConfig {
            adapter: Some("llvm".into()),
            software: true,
            memory: ByteCount(64 << 20),
            slice: Duration::from_secs(1),
            ..GpuConfig::default()
        };
        assert_eq!(LendGpuArgs::default().read(&config(file)).unwrap(), Some(want));
        let flag = LendGpuArgs { gpu: true, ..LendGpuArgs::default() };
        assert_eq!(flag.read(&config("")).unwrap(), Some(GpuConfig::default()));
        assert_eq!(LendGpuArgs::default().read(&config("[node]\ngpu = true")).unwrap(), Some(GpuConfig::default()));
        let lonely = LendGpuArgs { terms: TermsArgs { gpu_software: true, ..TermsArgs::default() }, gpu: false };
        assert!(lonely.read(&config("")).unwrap_err().to_string().contains("--gpu-software is for a node that lends its GPU"));
        let wrong = LendGpuArgs::default().read(&config("[node]\ngpu = \"perhaps\"")).unwrap_err().to_string();
        assert!(wrong.contains("`perhaps` is neither `on` nor `off`"), "{wrong}");
    }
}
