//! The GPUs of this machine: which there are, which are refused and why, and how one is opened.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use adit_protocol::limits::{GPU_CLASS_BYTES_MAX, GPU_INVOCATIONS_MAX, GPU_WORKGROUP_BYTES_MAX};
use adit_protocol::{ByteCount, Digest, GpuNeed, GpuOffer};
use rustix::fs::{MemfdFlags, memfd_create};
use wgpu::{
    Adapter, AdapterInfo, Backends, Device, DeviceDescriptor, DeviceType, DownlevelFlags, ExperimentalFeatures, Features,
    Instance, InstanceDescriptor, InstanceFlags, Limits, MemoryBudgetThresholds, MemoryHints, Queue, Trace,
};

use super::shader::{STORAGE_BINDINGS_MAX, UNIFORM_BINDINGS_MAX, WORKGROUP_DEPTH_MAX, WORKGROUP_SIDE_MAX};
use super::wire::GpuSetup;
use crate::unchecked::replace_stderr;

/// Of the memory that the driver says is there, how much may be taken, in percent. What is left is for the machine's own screen.
const MEMORY_PERCENT_MAX: u8 = 90;
/// The PCI vendor of the Raspberry Pi's VideoCore.
const BROADCOM: u32 = 0x14e4;
/// Where Linux has the devices of GPUs.
const DEVICE_FOLDER: &str = "/dev/dri";
/// What a software adapter takes is this machine's memory: at most this part of it.
const SOFTWARE_MEMORY_PART: u64 = 2;

/// A GPU of this machine, as far as Vulkan shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuAdapter {
    /// What its driver calls it.
    pub name: String,
    /// What receipts call it: kind, maker, driver, and a mark of model and driver's version, such as `software/mesa/llvmpipe/5d41402a`.
    /// Results of one class are comparable.
    pub class: String,
    /// What drives it.
    pub driver: String,
    /// The driver's version, in its own words.
    pub driver_info: String,
    /// `discrete`, `integrated`, `virtual`, `software` or `other`.
    pub kind: &'static str,
    /// Bytes that all jobs together have of it, where the driver does not say when it is full: software takes them from this machine's memory.
    pub memory: Option<ByteCount>,
    /// Bytes of the largest buffer that a shader can use whole.
    pub buffer: ByteCount,
    /// Invocations of one workgroup.
    pub invocations: u32,
    /// Bytes of memory that the invocations of one workgroup share.
    pub workgroup_memory: u32,
    /// Whether it tells the time of dispatches. Where it does not, the time from the begin of work to its end is billed.
    pub has_timestamps: bool,
    /// Why no guest runs on it, where that is so.
    pub refused: Option<String>,
}

/// What an owner calls an adapter: all of its name, else a part of it, in letters of either case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterName {
    wanted: String,
    /// Whether one of the machine's adapters is called exactly so: then others whose names only begin with that are not meant.
    is_whole: bool,
}

impl AdapterName {
    /// What `wanted` is on a machine that has adapters of these names.
    pub fn of<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Self {
        let is_whole = names.into_iter().any(|name| name.to_lowercase() == wanted.to_lowercase());
        Self { wanted: wanted.to_owned(), is_whole }
    }

    /// Why an adapter of that name is not meant; nothing where it is.
    pub fn unmatched(&self, name: &str) -> Option<String> {
        let (name, wanted) = (name.to_lowercase(), self.wanted.to_lowercase());
        if self.is_whole {
            (name != wanted).then(|| format!("its name is not `{}`", self.wanted))
        } else {
            (!name.contains(&wanted)).then(|| format!("its name has no `{}`", self.wanted))
        }
    }
}

/// The GPUs of this machine, best first. Loads its Vulkan drivers into this process.
pub fn gpu_adapters() -> Vec<GpuAdapter> {
    let mut adapters: Vec<_> =
        without_remarks(enumerate).iter().map(|adapter| (rank(&adapter.get_info()), describe(adapter))).collect();
    adapters.sort_by_key(|(rank, adapter)| (adapter.refused.is_some(), *rank));
    adapters.into_iter().map(|(_, adapter)| adapter).collect()
}

/// Why a GPU of this machine may be missing among [`gpu_adapters`]: this user may not open its device. Nothing where that is not so.
pub fn gpu_access_problem() -> Option<String> {
    let devices = fs::read_dir(DEVICE_FOLDER).into_iter().flatten().flatten().map(|entry| entry.path());
    access_problem(devices, |device| File::options().read(true).write(true).open(device).map(drop))
}

fn access_problem(devices: impl Iterator<Item = PathBuf>, open: impl Fn(&Path) -> io::Result<()>) -> Option<String> {
    let is_render = |device: &PathBuf| device.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"renderD"));
    let is_closed = |device: &PathBuf| open(device).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
    let closed = devices.filter(is_render).find(is_closed)?;
    Some(format!(
        "this user may not open {}: add it to the device's group (most often `sudo usermod -aG render USER`), and log in anew",
        closed.display()
    ))
}

/// Calls `load`, and keeps to itself what libraries that drivers load say of a machine without a desktop.
fn without_remarks<T>(load: impl FnOnce() -> T) -> T {
    const REMARK: &[u8] = b"XDG_RUNTIME_DIR";
    let begin = || -> io::Result<_> {
        let (said, before) =
            (File::from(memfd_create("adit-said", MemfdFlags::CLOEXEC)?), io::stderr().as_fd().try_clone_to_owned()?);
        replace_stderr(said.as_fd())?;
        Ok((said, before))
    };
    let begun = begin();
    let loaded = load();
    if let Ok((mut said, before)) = begun
        && replace_stderr(before.as_fd()).is_ok()
    {
        let mut text = Vec::new();
        // What cannot be read is not said; it was none of ours.
        let _ = said.rewind().and_then(|()| said.read_to_end(&mut text));
        let told =
            text.split_inclusive(|byte| *byte == b'\n').filter(|line| !line.windows(REMARK.len()).any(|part| part == REMARK));
        told.for_each(|line| _ = io::stderr().write_all(line));
    }
    loaded
}

/// A device, opened for guests.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) device: Device,
    pub(crate) queue: Queue,
    pub(crate) offer: GpuOffer,
    /// Nanoseconds of a tick of its timestamps, where it has them.
    pub(crate) tick_ns: Option<f32>,
    /// Bytes that all sessions together may have, where that is not the driver's to say.
    pub(crate) memory_max: u64,
}

/// Opens the adapter that an owner chose, or the best that there is.
///
/// # Errors
/// Why none can be had, in words for the owner.
pub(crate) fn open(setup: &GpuSetup) -> Result<Opened, String> {
    let adapter = choose(enumerate(), setup)?;
    let (info, most) = (adapter.get_info(), adapter.limits());
    let memory_max = match setup.faults.memory_max {
        0 => memory_max(&info).unwrap_or(u64::MAX),
        bytes => bytes,
    };
    let offer = offer(&info, &most, setup.memory.min(memory_max));
    let has_timestamps = adapter.features().contains(Features::TIMESTAMP_QUERY) && !setup.faults.no_timestamps;
    let descriptor = DeviceDescriptor {
        label: None,
        required_features: if has_timestamps { Features::TIMESTAMP_QUERY } else { Features::empty() },
        required_limits: required(&offer),
        experimental_features: ExperimentalFeatures::disabled(),
        memory_hints: MemoryHints::MemoryUsage,
        trace: Trace::Off,
    };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))
        .map_err(|error| format!("the GPU {} could not be opened: {error}", info.name))?;
    let tick_ns = has_timestamps.then(|| queue.get_timestamp_period()).filter(|period| *period > 0.0);
    Ok(Opened { device, queue, offer, tick_ns, memory_max })
}

fn enumerate() -> Vec<Adapter> {
    let instance = Instance::new(InstanceDescriptor {
        backends: Backends::VULKAN,
        // Nothing that a build or an environment turns on.
        flags: InstanceFlags::empty(),
        memory_budget_thresholds: MemoryBudgetThresholds {
            for_resource_creation: Some(MEMORY_PERCENT_MAX),
            for_device_loss: None,
        },
        ..InstanceDescriptor::new_without_display_handle()
    });
    pollster::block_on(instance.enumerate_adapters(Backends::VULKAN))
}

fn choose(mut adapters: Vec<Adapter>, setup: &GpuSetup) -> Result<Adapter, String> {
    if adapters.is_empty() {
        let why = gpu_access_problem().map_or_else(String::new, |why| format!("; {why}"));
        return Err(format!("there is no GPU with a Vulkan driver{why}"));
    }
    adapters.sort_by_key(|adapter| rank(&adapter.get_info()));
    let names: Vec<_> = adapters.iter().map(|adapter| adapter.get_info().name).collect();
    let wanted = setup.adapter.as_deref().map(|part| AdapterName::of(part, names.iter().map(String::as_str)));
    let mut reasons = Vec::new();
    for adapter in adapters {
        match unsuited(&adapter, wanted.as_ref(), setup.software) {
            None => return Ok(adapter),
            Some(reason) => reasons.push(format!("{}: {reason}", adapter.get_info().name)),
        }
    }
    Err(format!("no GPU can be used: {}", reasons.join("; ")))
}

/// Why an adapter is not the one to open.
fn unsuited(adapter: &Adapter, wanted: Option<&AdapterName>, software: bool) -> Option<String> {
    let info = adapter.get_info();
    if let Some(why) = wanted.and_then(|wanted| wanted.unmatched(&info.name)) {
        return Some(why);
    }
    if is_software(&info) && !software {
        return Some("it is software, which is for tests".to_owned());
    }
    refusal(&info, &adapter.limits(), adapter.get_downlevel_capabilities().flags)
}

/// Why no guest runs on such an adapter.
fn refusal(info: &AdapterInfo, most: &Limits, flags: DownlevelFlags) -> Option<String> {
    if info.vendor == BROADCOM || info.name.starts_with("V3D") {
        return Some("the Raspberry Pi's GPU hangs under compute work, and takes the machine with it".to_owned());
    }
    if !flags.contains(DownlevelFlags::COMPUTE_SHADERS | DownlevelFlags::SHADER_F16_IN_F32) {
        return Some("its driver lacks what compute shaders need".to_owned());
    }
    let least = GpuNeed::default();
    let least = GpuOffer {
        class: String::new(),
        memory: least.memory,
        buffer: least.buffer,
        invocations: least.invocations,
        workgroup_memory: least.workgroup_memory,
    };
    let mut lacking = Vec::new();
    required(&least).check_limits_with_fail_fn(most, false, |limit, wanted, has| {
        lacking.push(format!("`{limit}` is {has}, not {wanted}"));
    });
    (!lacking.is_empty()).then(|| format!("it is too weak: {}", lacking.join(", ")))
}

/// What a device is opened with: all that the guest of an offer may use, and no more.
fn required(offer: &GpuOffer) -> Limits {
    let side = offer.invocations.max(WORKGROUP_SIDE_MAX);
    Limits {
        max_buffer_size: offer.buffer.0,
        max_storage_buffer_binding_size: offer.buffer.0,
        max_storage_buffers_per_shader_stage: STORAGE_BINDINGS_MAX as u32,
        max_uniform_buffers_per_shader_stage: UNIFORM_BINDINGS_MAX as u32,
        max_compute_invocations_per_workgroup: offer.invocations,
        max_compute_workgroup_size_x: side,
        max_compute_workgroup_size_y: side,
        max_compute_workgroup_size_z: WORKGROUP_DEPTH_MAX,
        max_compute_workgroup_storage_size: offer.workgroup_memory,
        ..Limits::defaults()
    }
}

fn offer(info: &AdapterInfo, most: &Limits, memory: u64) -> GpuOffer {
    let sides = most.max_compute_workgroup_size_x.min(most.max_compute_workgroup_size_y);
    GpuOffer {
        class: class(info),
        memory: ByteCount(memory),
        buffer: ByteCount(buffer(most).min(memory)),
        // So that a workgroup can have all of them in one dimension.
        invocations: most.max_compute_invocations_per_workgroup.min(sides).min(GPU_INVOCATIONS_MAX),
        workgroup_memory: most.max_compute_workgroup_storage_size.min(GPU_WORKGROUP_BYTES_MAX),
    }
}

/// Bytes of the largest buffer that can be bound whole.
fn buffer(most: &Limits) -> u64 {
    most.max_buffer_size.min(most.max_storage_buffer_binding_size) / 4 * 4
}

fn describe(adapter: &Adapter) -> GpuAdapter {
    let (info, most) = (adapter.get_info(), adapter.limits());
    let offer = offer(&info, &most, u64::MAX);
    GpuAdapter {
        class: offer.class,
        kind: kind(info.device_type),
        memory: memory_max(&info).map(ByteCount),
        buffer: offer.buffer,
        invocations: offer.invocations,
        workgroup_memory: offer.workgroup_memory,
        has_timestamps: adapter.features().contains(Features::TIMESTAMP_QUERY),
        refused: refusal(&info, &most, adapter.get_downlevel_capabilities().flags),
        name: info.name,
        driver: info.driver,
        driver_info: info.driver_info,
    }
}

/// Bytes that all sessions together may have, where that is not the driver's to say.
fn memory_max(info: &AdapterInfo) -> Option<u64> {
    is_software(info).then(|| machine_memory() / SOFTWARE_MEMORY_PART)
}

fn is_software(info: &AdapterInfo) -> bool {
    info.device_type == DeviceType::Cpu
}

/// Which adapter is taken before which.
fn rank(info: &AdapterInfo) -> u8 {
    match info.device_type {
        DeviceType::DiscreteGpu => 0,
        DeviceType::IntegratedGpu => 1,
        DeviceType::VirtualGpu => 2,
        DeviceType::Other => 3,
        DeviceType::Cpu => 4,
    }
}

fn kind(device: DeviceType) -> &'static str {
    match device {
        DeviceType::DiscreteGpu => "discrete",
        DeviceType::IntegratedGpu => "integrated",
        DeviceType::VirtualGpu => "virtual",
        DeviceType::Cpu => "software",
        DeviceType::Other => "other",
    }
}

/// Kind, maker, driver, and a mark: what a shader makes of floats may differ between models, and between versions of a driver.
fn class(info: &AdapterInfo) -> String {
    let driver = if info.driver.is_empty() { "unknown" } else { &info.driver };
    let mut class = format!("{}/{}/{}", kind(info.device_type), maker(info.vendor), word(driver));
    let mark = mark(info);
    class.truncate(GPU_CLASS_BYTES_MAX - mark.len());
    class + &mark
}

/// The same for the same model under the same version of its driver, and most likely for no others.
fn mark(info: &AdapterInfo) -> String {
    let AdapterInfo { name, device, driver, driver_info, .. } = info;
    let digest = Digest::of(format!("{name}\0{device}\0{driver}\0{driver_info}").as_bytes());
    format!("/{:08x}", u32::from_be_bytes(*digest.0.first_chunk().expect("a digest has 32 bytes")))
}

/// Who made an adapter, by its PCI vendor or Khronos's number.
fn maker(vendor: u32) -> String {
    let name = match vendor {
        0x1002 | 0x1022 => "amd",
        0x10de => "nvidia",
        0x8086 => "intel",
        0x13b5 => "arm",
        0x5143 => "qualcomm",
        0x1010 => "imagination",
        0x106b => "apple",
        0x1ae0 => "google",
        0x1af4 => "virtio",
        0x1_0005 => "mesa",
        BROADCOM => "broadcom",
        _ => return format!("{vendor:04x}"),
    };
    name.to_owned()
}

/// Lower-case letters, digits and dashes.
fn word(text: &str) -> String {
    text.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' }).collect()
}

/// Bytes of memory of this machine.
fn machine_memory() -> u64 {
    let told = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = told.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = total.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    // Where the system does not tell: what the smallest machine that runs this has.
    kibibytes.unwrap_or(1 << 20) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(device_type: DeviceType, vendor: u32, driver: &str) -> AdapterInfo {
        let mut info = AdapterInfo::new(device_type, wgpu::Backend::Vulkan);
        (info.vendor, info.driver) = (vendor, driver.to_owned());
        info
    }

    fn all() -> DownlevelFlags {
        DownlevelFlags::all()
    }

    #[test]
    fn class_is_kind_maker_and_driver() {
        for (info, wanted) in [
            (info(DeviceType::Cpu, 0x1_0005, "llvmpipe"), "software/mesa/llvmpipe"),
            (info(DeviceType::DiscreteGpu, 0x10de, "NVIDIA"), "discrete/nvidia/nvidia"),
            (
                info(DeviceType::IntegratedGpu, 0x8086, "Intel open-source Mesa driver"),
                "integrated/intel/intel-open-source-mesa-driver",
            ),
            (info(DeviceType::Other, 0xabc, ""), "other/0abc/unknown"),
        ] {
            let class = class(&info);
            let (named, mark) = class.rsplit_once('/').unwrap();
            assert_eq!((named, mark.len()), (wanted, 8), "{class}");
        }
        assert_eq!(class(&info(DeviceType::Cpu, 1, &"é".repeat(100))).len(), GPU_CLASS_BYTES_MAX);
    }

    #[test]
    fn another_model_or_driver_is_another_class() {
        let base = info(DeviceType::DiscreteGpu, 0x10de, "NVIDIA");
        let changes: [fn(&mut AdapterInfo); 3] =
            [|i| i.device = 0x2684, |i| i.driver_info = "550.54".into(), |i| i.name = "llvmpipe (LLVM 15.0.6, 256 bits)".into()];
        for change in changes {
            let mut other = base.clone();
            change(&mut other);
            assert_ne!(class(&other), class(&base), "{other:?}");
        }
        assert_eq!(class(&base), class(&base.clone()));
    }

    #[test]
    fn raspberry_pi_is_refused_with_its_reason_and_no_other_is() {
        // By its maker, and by its name where a driver tells another maker.
        for (vendor, name, is_refused) in [
            (BROADCOM, "V3D 4.2.14", true),
            (BROADCOM, "another name", true),
            (0x1_0005, "V3D 7.1.7.0", true),
            (0x1_0005, "llvmpipe (LLVM 15.0.6, 256 bits)", false),
            (0x8086, "Intel(R) UHD Graphics 620, no V3D", false),
            (0x10de, "NVIDIA GeForce RTX 3080", false),
        ] {
            let info = AdapterInfo { name: name.to_owned(), ..info(DeviceType::IntegratedGpu, vendor, "V3DV Mesa") };
            let refused = refusal(&info, &Limits::defaults(), all());
            let why = "the Raspberry Pi's GPU hangs under compute work, and takes the machine with it";
            assert_eq!(refused.as_deref(), is_refused.then_some(why), "{vendor:x} {name}");
        }
    }

    #[test]
    fn driver_without_compute_shaders_is_refused() {
        for lacking in [DownlevelFlags::COMPUTE_SHADERS, DownlevelFlags::SHADER_F16_IN_F32] {
            let refused = refusal(&info(DeviceType::DiscreteGpu, 0x1002, ""), &Limits::defaults(), all() - lacking);
            assert_eq!(refused.as_deref(), Some("its driver lacks what compute shaders need"), "{lacking:?}");
        }
    }

    #[test]
    fn device_that_this_user_may_not_open_is_told_with_what_to_do() {
        let devices = || ["/dev/dri/card0", "/dev/dri/renderD128", "/dev/dri/renderD129"].into_iter().map(PathBuf::from);
        let denied = |device: &Path| match device.ends_with("renderD128") {
            true => Ok(()),
            false => Err(io::Error::from(io::ErrorKind::PermissionDenied)),
        };
        let told = access_problem(devices(), denied).unwrap();
        assert!(told.starts_with("this user may not open /dev/dri/renderD129: add it to"), "{told}");
        assert_eq!(access_problem(devices(), |_| Ok(())), None);
        assert_eq!(access_problem(devices(), |_| Err(io::Error::from(io::ErrorKind::NotFound))), None);
    }

    /// The "RTX 3080" of a machine opened its "RTX 3080 Ti".
    #[test]
    fn whole_name_of_an_adapter_is_no_part_of_anothers() {
        let names = ["NVIDIA RTX 3080 Ti", "NVIDIA RTX 3080"];
        let meant = |wanted: &str| {
            let wanted = AdapterName::of(wanted, names);
            names.map(|name| wanted.unmatched(name).unwrap_or_default())
        };
        assert_eq!(meant("nvidia rtx 3080"), ["its name is not `nvidia rtx 3080`", ""]);
        assert_eq!(meant("NVIDIA RTX 3080 Ti"), ["", "its name is not `NVIDIA RTX 3080 Ti`"]);
        assert_eq!(meant("rtx"), ["", ""]);
        assert_eq!(meant(" Ti"), ["", "its name has no ` Ti`"]);
        assert_eq!(meant("Voodoo2"), ["its name has no `Voodoo2`"; 2]);
    }

    #[test]
    fn adapter_that_is_too_weak_says_where() {
        let weak = Limits { max_compute_invocations_per_workgroup: 128, ..Limits::defaults() };
        let reason = refusal(&info(DeviceType::IntegratedGpu, 0x8086, ""), &weak, all()).unwrap();
        assert!(reason.contains("max_compute_invocations_per_workgroup` is 128, not 256"), "{reason}");
    }

    #[test]
    fn offer_is_what_the_adapter_can_do_and_the_owner_gives() {
        let most = Limits {
            max_compute_workgroup_size_x: 1024,
            max_compute_workgroup_size_y: 512,
            max_compute_invocations_per_workgroup: 1024,
            ..Limits::defaults()
        };
        let offer = offer(&info(DeviceType::Cpu, 1, "x"), &most, 1 << 20);
        assert_eq!((offer.memory.0, offer.buffer.0, offer.invocations), (1 << 20, 1 << 20, 512));
        assert_eq!(self::offer(&info(DeviceType::Cpu, 1, "x"), &most, 1 << 40).buffer.0, 128 << 20);
    }
}
