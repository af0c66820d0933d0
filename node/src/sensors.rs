//! What the machine says of itself.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use adit_protocol::ByteCount;
use jiff::Zoned;
use rustix::fs::statvfs;

use crate::rules::{Celsius, Readings, Share, Wanted};

/// Reads what rules need. Tests bring their own.
pub trait Sensors: Debug + Send {
    /// Makes sure that what is wanted can be read on this machine.
    ///
    /// # Errors
    /// [`MissingSensor`], the first of them.
    fn check(&mut self, wanted: Wanted) -> Result<(), MissingSensor>;

    /// Reads what is wanted. May block for some milliseconds.
    fn read(&mut self, wanted: Wanted) -> Readings;
}

/// A rule needs what this machine does not say.
#[derive(Debug, thiserror::Error)]
#[error("the rule `{rule}` cannot be kept on this machine: {reason}; leave the rule out, or name the right folder ({folder})")]
pub struct MissingSensor {
    rule: &'static str,
    folder: &'static str,
    reason: String,
}

/// What a Linux kernel says.
#[derive(Debug)]
pub struct LinuxSensors {
    sys: PathBuf,
    load: LoadMeter,
}

impl LinuxSensors {
    /// Reads below these folders: `/proc` and `/sys` nearly everywhere.
    pub fn new(proc: impl Into<PathBuf>, sys: impl Into<PathBuf>) -> Self {
        Self { sys: sys.into(), load: LoadMeter { proc: proc.into(), samples: VecDeque::new(), known: None } }
    }
}

impl Sensors for LinuxSensors {
    fn check(&mut self, wanted: Wanted) -> Result<(), MissingSensor> {
        if wanted.load {
            let missing = |error: io::Error| ("load-max", "proc-dir", format!("{}: {error}", self.load.proc.display()));
            Sample::take(&self.load.proc, Instant::now()).map(drop).map_err(missing)
        } else {
            Ok(())
        }
        .and_then(|()| match wanted.temperature && warmest(&self.sys).is_none() {
            true => Err(("temperature-max", "sys-dir", format!("no thermal zone below {} can be read", self.sys.display()))),
            false => Ok(()),
        })
        .and_then(|()| match wanted.mains && on_mains(&self.sys).is_none() {
            true => Err(("mains-only", "sys-dir", format!("{} says nothing of power", self.sys.display()))),
            false => Ok(()),
        })
        .map_err(|(rule, folder, reason)| MissingSensor { rule, folder, reason })
    }

    fn read(&mut self, wanted: Wanted) -> Readings {
        Readings {
            clock: Zoned::now().datetime(),
            load: wanted.load.then(|| self.load.read(Instant::now())).flatten(),
            temperature: wanted.temperature.then(|| warmest(&self.sys)).flatten(),
            on_mains: wanted.mains.then(|| on_mains(&self.sys)).flatten(),
        }
    }
}

/// How much memory this process and its workers may have together: the machine's (proc(5), `meminfo`), or what is left of it by the control groups
/// that they are in (`memory.max` of Documentation/admin-guide/cgroup-v2.rst). Nothing where the kernel does not say.
pub fn memory_total(proc: &Path, sys: &Path) -> Option<ByteCount> {
    let meminfo = fs::read_to_string(proc.join("meminfo")).ok()?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let machine = line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.saturating_mul(1024);
    let groups = fs::read_to_string(proc.join("self/cgroup")).unwrap_or_default();
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let limit = |group: &Path| fs::read_to_string(sys.join("fs/cgroup").join(group).join("memory.max")).ok()?.trim().parse().ok();
    let limits = Path::new(group).ancestors().filter_map(limit);
    Some(ByteCount(limits.fold(machine, |least, limit: u64| least.min(limit))))
}

/// Bytes that are free for this user on the disk that a folder is on, or will be; nothing where that cannot be asked.
pub fn disk_free(folder: &Path) -> Option<ByteCount> {
    let folder = std::path::absolute(folder).ok()?;
    let disk = folder.ancestors().find_map(|folder| statvfs(folder).ok())?;
    Some(ByteCount(disk.f_bavail.saturating_mul(disk.f_frsize)))
}

/// How long the time is over which a load is the mean: long enough that the kernel's ticks of 10 ms do not show.
const LOAD_OVER: Duration = Duration::from_secs(1);
/// A shorter time tells nothing.
const LOAD_OVER_MIN: Duration = Duration::from_millis(500);

/// Measures what others use of the processors: all that is used, less what this process, its children and theirs use.
#[derive(Debug)]
struct LoadMeter {
    proc: PathBuf,
    /// Oldest first; the first of them is the newest that is old enough.
    samples: VecDeque<Sample>,
    known: Option<Share>,
}

/// Processor time since the machine started, in the kernel's ticks.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Instant,
    /// Whoever used it, and nobody.
    total: u64,
    busy: u64,
    own: u64,
}

impl LoadMeter {
    fn read(&mut self, now: Instant) -> Option<Share> {
        match Sample::take(&self.proc, now) {
            Ok(sample) => self.add(sample),
            Err(error) => {
                tracing::debug!(%error, "no load");
                self.samples.clear();
                self.known = None;
            }
        }
        self.known
    }

    fn add(&mut self, sample: Sample) {
        // A child that ended between two reads of one sample was counted twice, or not at all: that sample is worth nothing.
        if self.samples.back().is_some_and(|last| sample.own < last.own) {
            self.samples.clear();
        }
        self.samples.push_back(sample);
        let age = |of: &Sample| sample.at.saturating_duration_since(of.at);
        while self.samples.get(1).is_some_and(|second| age(second) >= LOAD_OVER) {
            self.samples.pop_front();
        }
        if let Some(first) = self.samples.front().filter(|first| age(first) >= LOAD_OVER_MIN)
            && let Some(total @ 1..) = sample.total.checked_sub(first.total)
        {
            let others = sample.busy.saturating_sub(first.busy).saturating_sub(sample.own - first.own);
            self.known = Some(Share((others.min(total) * 1_000_000 / total) as u32));
        }
    }
}

impl Sample {
    fn take(proc: &Path, at: Instant) -> io::Result<Self> {
        // The children first: one that ends meanwhile is then in its parent's count.
        let below = family_below(proc, &proc.join("self"), FAMILY_DEPTH_MAX)?;
        let own = below + process_ticks(&proc.join("self/stat"))?;
        let stat = fs::read_to_string(proc.join("stat"))?;
        let (total, busy) = machine_ticks(&stat).ok_or_else(|| io::Error::other("its `stat` has no line for all processors"))?;
        Ok(Self { at, total, busy, own })
    }
}

/// Workers start no processes; this is for whoever starts workers through other programs.
const FAMILY_DEPTH_MAX: u32 = 4;

/// The ticks of `/proc` in a second, on every architecture (`USER_HZ`).
const TICKS_PER_SECOND: u128 = 100;

/// What a process's children and theirs used. One that has ended is in its parent's count by then.
///
/// # Errors
/// Where one that goes on cannot be read: to take it for nothing would be to take its time for others'.
fn family_below(proc: &Path, parent: &Path, depth: u32) -> io::Result<u64> {
    let mut sum = 0;
    for child in children(parent)? {
        let folder = proc.join(child.to_string());
        let Some(own) = process_ticks(&folder.join("stat")).ok().or_else(|| hidden_ticks(proc, child)) else {
            if children(parent)?.contains(&child) {
                return Err(io::Error::other(format!("the time that process {child} has taken cannot be read")));
            }
            continue;
        };
        // Whose folder cannot be read is a worker, which has no children.
        sum += own + if depth == 0 { 0 } else { family_below(proc, &folder, depth - 1).unwrap_or(0) };
    }
    Ok(sum)
}

/// What a process used whose folder does not show: a worker lets nobody look into it, and a `/proc` that hides processes (`hidepid`,
/// `ProtectProc=invisible`) hides it from its own supervisor. Its clock tells all the same, where `/proc` counts processes as this one does.
fn hidden_ticks(proc: &Path, pid: u32) -> Option<u64> {
    let own_pid = fs::read_link(proc.join("self")).ok()?;
    if own_pid.to_str() != Some(&std::process::id().to_string()) {
        return None;
    }
    let time = adit_runtime::process_time(pid)?;
    u64::try_from(time.as_nanos() * TICKS_PER_SECOND / 1_000_000_000).ok()
}

/// The children that each thread of a process started.
///
/// # Errors
/// Where no thread has a list of them, as with a kernel that makes none (`CONFIG_PROC_CHILDREN`): workers would be taken for others.
fn children(process: &Path) -> io::Result<Vec<u32>> {
    let (mut all, mut is_listed) = (Vec::new(), false);
    for task in fs::read_dir(process.join("task"))? {
        match fs::read_to_string(task?.path().join("children")) {
            Ok(list) => {
                is_listed = true;
                all.extend(list.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
            }
            // The thread has ended.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    if is_listed { Ok(all) } else { Err(io::Error::other("the kernel does not list the children of a process")) }
}

/// User and system time of a process, and of those of its children that ended (proc(5)).
fn process_ticks(stat: &Path) -> io::Result<u64> {
    let text = fs::read_to_string(stat)?;
    // The name, in parentheses, may hold anything.
    let fields = text.rsplit(')').next().unwrap_or_default();
    let times: Vec<u64> = fields.split_whitespace().skip(11).take(4).filter_map(|field| field.parse().ok()).collect();
    match times[..] {
        [user, system, children_user, children_system] => Ok(user + system + children_user + children_system),
        _ => Err(io::Error::other(format!("{} is not understood", stat.display()))),
    }
}

/// All ticks of all processors, and those in which something ran (proc(5)). What a hypervisor took is in neither.
fn machine_ticks(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    let [user, nice, system, idle, io_wait, irq, soft_irq, ..] = ticks[..] else { return None };
    let busy = user + nice + system + irq + soft_irq;
    Some((busy + idle + io_wait, busy))
}

/// What no thermal zone of a machine that runs can mean: some report such numbers where they have nothing to report.
const IMPLAUSIBLE: (i32, i32) = (-40_000, 150_000);

/// The warmest of the kernel's thermal zones (Documentation/driver-api/thermal/sysfs-api.rst) and the processors' own sensors: many machines
/// have zones for their case and their radio, and the processor's temperature in its sensor alone.
fn warmest(sys: &Path) -> Option<Celsius> {
    let (thermal, hwmon) = (sys.join("class/thermal"), sys.join("class/hwmon"));
    let zones = entries(&thermal, "thermal_zone").filter_map(|zone| millidegrees(&zone.join("temp")));
    let chips = entries(&hwmon, "hwmon").filter(|chip| is_processor(chip)).filter_map(warmest_of);
    zones.chain(chips).max()
}

fn is_processor(chip: &Path) -> bool {
    let name = fs::read_to_string(chip.join("name")).unwrap_or_default();
    ["coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu"].contains(&name.trim())
}

fn warmest_of(chip: PathBuf) -> Option<Celsius> {
    entries(&chip, "temp").filter(|file| file.to_string_lossy().ends_with("_input")).filter_map(|file| millidegrees(&file)).max()
}

fn millidegrees(file: &Path) -> Option<Celsius> {
    let degrees: i32 = fs::read_to_string(file).ok()?.trim().parse().ok()?;
    (IMPLAUSIBLE.0..IMPLAUSIBLE.1).contains(&degrees).then_some(Celsius(degrees))
}

/// Whether the machine is fed from outside (Documentation/ABI/testing/sysfs-class-power); one without a battery is. Nothing where the
/// kernel does not say. What an adapter says goes before what a battery does: one that is full, or kept from charging, is not said to drain
/// for some time after the plug is out. Machines that charge over USB have it as an adapter (`Mains`), as a port (`USB`, whatever is
/// negotiated over it), or as both; a port alone may be one of several, of a desk's machine too.
fn on_mains(sys: &Path) -> Option<bool> {
    let folder = sys.join("class/power_supply");
    fs::read_dir(&folder).ok()?;
    let said = |supply: &Path, what: &str| fs::read_to_string(supply.join(what)).unwrap_or_default().trim().to_owned();
    // A mouse has a battery of its own, whose scope is the device.
    let supplies: Vec<PathBuf> = entries(&folder, "").filter(|supply| said(supply, "scope") != "Device").collect();
    let is = |supply: &&PathBuf, kinds: &[&str]| kinds.contains(&said(supply, "type").as_str());
    let of = |kinds: &'static [&str]| supplies.iter().filter(move |supply| is(supply, kinds));
    let says = |kinds, status: &str| of(kinds).any(|supply| said(supply, "status") == status);
    let is_running_down = says(&["Battery", "UPS"], "Discharging");
    if of(&["Battery"]).next().is_none() {
        return Some(!is_running_down);
    }
    // Online is 1, or 2 where the port's voltage can be chosen.
    let has = |kinds, online: &[&str]| of(kinds).any(|supply| online.contains(&said(supply, "online").as_str()));
    let is_fed = has(&["Mains", "USB", "Wireless"], &["1", "2"]);
    let is_unplugged = has(&["Mains"], &["0"]);
    let is_charging = || says(&["Battery"], "Charging");
    let has_port = || of(&["USB", "Wireless"]).next().is_some();
    Some(is_fed || !is_unplugged && !is_running_down && (is_charging() || !has_port()))
}

/// What a folder has under names that start so.
fn entries(folder: &Path, prefix: &str) -> impl Iterator<Item = PathBuf> {
    let prefix = prefix.to_owned();
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries.filter(move |entry| entry.file_name().to_string_lossy().starts_with(&prefix)).map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// A folder with these files.
    fn folder(files: &[(&str, &str)]) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    #[test]
    fn warmest_zone_counts_and_what_cannot_be_does_not() {
        for (files, want) in [
            (
                &[("class/thermal/thermal_zone0/temp", "41000\n"), ("class/thermal/thermal_zone1/temp", "63500\n")][..],
                Some(63_500),
            ),
            (&[("class/thermal/thermal_zone0/temp", "200000"), ("class/thermal/thermal_zone1/temp", "30000")], Some(30_000)),
            (&[("class/thermal/thermal_zone0/temp", "-274000")], None),
            (&[("class/thermal/cooling_device0/temp", "90000")], None),
            (&[("class/hwmon/hwmon0/name", "nvme\n"), ("class/hwmon/hwmon0/temp1_input", "70000")], None),
            (
                &[
                    ("class/hwmon/hwmon1/name", "k10temp\n"),
                    ("class/hwmon/hwmon1/temp1_input", "55000"),
                    ("class/hwmon/hwmon1/temp1_max", "90000"),
                ],
                Some(55_000),
            ),
            // A laptop: the zones are those of its case and its radio.
            (
                &[
                    ("class/thermal/thermal_zone0/temp", "16800"),
                    ("class/thermal/thermal_zone1/temp", "45000"),
                    ("class/hwmon/hwmon0/name", "k10temp\n"),
                    ("class/hwmon/hwmon0/temp1_input", "95000"),
                ],
                Some(95_000),
            ),
            (&[], None),
        ] {
            let sys = folder(files);
            assert_eq!(warmest(sys.path()), want.map(Celsius), "{files:?}");
        }
    }

    #[test]
    fn memory_is_the_machines_or_what_its_control_groups_leave() {
        let meminfo = ("meminfo", "MemTotal:        1994752 kB\nMemFree:          100000 kB\n");
        let group = ("self/cgroup", "1:name=systemd:/other\n0::/system.slice/adit-node.service\n");
        let machine = 1_994_752 << 10;
        for (files, limits, want) in [
            (&[][..], &[][..], None),
            (&[meminfo], &[], Some(machine)),
            (&[meminfo, group], &[("fs/cgroup/system.slice/adit-node.service/memory.max", "max\n")], Some(machine)),
            (&[meminfo, group], &[("fs/cgroup/system.slice/adit-node.service/memory.max", "3221225472\n")], Some(machine)),
            (&[meminfo, group], &[("fs/cgroup/system.slice/memory.max", "536870912\n")], Some(512 << 20)),
            // As in a container, which sees its own group as the root.
            (&[meminfo, ("self/cgroup", "0::/\n")], &[("fs/cgroup/memory.max", "1048576\n")], Some(1 << 20)),
        ] {
            let (proc, sys) = (folder(files), folder(limits));
            assert_eq!(memory_total(proc.path(), sys.path()), want.map(ByteCount), "{files:?} {limits:?}");
        }
    }

    #[test]
    fn disk_of_a_folder_that_is_not_there_yet_is_known() {
        let dir = folder(&[]);
        let free = disk_free(&dir.path().join("not/yet")).unwrap();
        assert!(free > ByteCount(0));
    }

    #[test]
    fn machine_is_on_mains_while_its_adapter_says_so() {
        const CHARGER_IN: [(&str, &str); 2] =
            [("class/power_supply/AC/type", "Mains\n"), ("class/power_supply/AC/online", "1\n")];
        const CHARGER_OUT: [(&str, &str); 2] =
            [("class/power_supply/AC/type", "Mains\n"), ("class/power_supply/AC/online", "0\n")];
        let battery = |status| [("class/power_supply/BAT0/type", "Battery\n"), ("class/power_supply/BAT0/status", status)];
        let port = |online| [("class/power_supply/ucsi/type", "USB\n"), ("class/power_supply/ucsi/online", online)];
        let ups = |status| [("class/power_supply/ups/type", "UPS\n"), ("class/power_supply/ups/status", status)];
        let mouse = [
            ("class/power_supply/hid-1/type", "Battery\n"),
            ("class/power_supply/hid-1/scope", "Device\n"),
            ("class/power_supply/hid-1/status", "Discharging\n"),
        ];
        let none = [("class/power_supply/.keep", "")];
        for (files, want) in [
            ([&none[..], &[]].concat(), Some(true)),
            ([&none[..], &mouse].concat(), Some(true)),
            ([&CHARGER_IN[..], &battery("Charging\n")].concat(), Some(true)),
            ([&CHARGER_IN[..], &battery("Discharging\n")].concat(), Some(true)),
            ([&CHARGER_OUT[..], &battery("Discharging\n")].concat(), Some(false)),
            // For some seconds, or for hours where it is kept from charging, a battery says so without the plug too.
            ([&CHARGER_OUT[..], &battery("Full\n")].concat(), Some(false)),
            ([&CHARGER_OUT[..], &battery("Not charging\n")].concat(), Some(false)),
            ([&CHARGER_OUT[..], &battery("Charging\n")].concat(), Some(false)),
            ([&CHARGER_OUT[..], &battery("Full\n"), &port("1\n")].concat(), Some(true)),
            ([&port("2\n")[..], &battery("Not charging\n")].concat(), Some(true)),
            ([&port("0\n")[..], &battery("Full\n")].concat(), Some(false)),
            ([&port("0\n")[..], &battery("Charging\n")].concat(), Some(true)),
            ([&port("0\n")[..], &battery("Discharging\n")].concat(), Some(false)),
            // A desk's machine with ports, and with a supply for when the power is cut.
            (port("0\n").to_vec(), Some(true)),
            ([&port("0\n")[..], &ups("Full\n")].concat(), Some(true)),
            ([&port("0\n")[..], &ups("Discharging\n")].concat(), Some(false)),
            (battery("Full\n").to_vec(), Some(true)),
            (battery("Discharging\n").to_vec(), Some(false)),
            (Vec::new(), None),
        ] {
            let sys = folder(&files);
            assert_eq!(on_mains(sys.path()), want, "{files:?}");
        }
    }

    fn sample(start: Instant, ms: u64, total: u64, busy: u64, own: u64) -> Sample {
        Sample { at: start + Duration::from_millis(ms), total, busy, own }
    }

    #[test]
    fn load_of_others_is_all_but_our_own_over_the_last_second() {
        let start = Instant::now();
        let mut meter = LoadMeter { proc: PathBuf::new(), samples: VecDeque::new(), known: None };
        for (ms, total, busy, own, want) in [
            (0, 0, 0, 0, None),
            // Too short a time.
            (400, 80, 80, 0, None),
            // Half of 200 ticks, of which we had 60.
            (1_000, 200, 100, 60, Some(200_000)),
            // The last second alone: 20 of 200 are others'.
            (2_000, 400, 200, 140, Some(100_000)),
            // A child was counted twice before: what was known stays.
            (2_100, 420, 220, 100, Some(100_000)),
            (3_100, 620, 420, 300, Some(0)),
            (4_100, 820, 620, 300, Some(1_000_000)),
        ] {
            meter.add(sample(start, ms, total, busy, own));
            assert_eq!(meter.known, want.map(Share), "at {ms} ms");
        }
    }

    #[test]
    fn own_time_is_that_of_the_process_its_children_and_theirs() {
        let stat = |user, system| format!("7 (a) name) S 1 7 7 0 -1 4194304 0 0 0 0 {user} {system} 30 4 20 0 1 0 0\n");
        let proc = folder(&[
            ("stat", "cpu  100 10 50 800 40 5 5 99 0 0\ncpu0 1 1 1 1 1 1 1 0 0 0\n"),
            ("self/stat", &stat(1, 2)),
            ("self/task/7/children", "8 9 "),
            ("self/task/17/children", ""),
            ("8/stat", &stat(100, 200)),
            ("8/task/8/children", "10"),
            ("10/stat", &stat(1000, 2000)),
            ("9/stat", &stat(0, 5)),
        ]);
        let sample = Sample::take(proc.path(), Instant::now()).unwrap();
        assert_eq!((sample.total, sample.busy, sample.own), (1010, 170, 3 + 300 + 3000 + 5 + 4 * 34));
    }

    /// Under the unit that the documentation gives, workers do not show in `/proc`: the node took their time for that of other programs, and
    /// gave its jobs back because of the load that these were.
    #[test]
    fn child_that_does_not_show_is_counted_by_its_clock_and_is_not_taken_for_nothing() {
        let own = std::process::id();
        let mut child = std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let children = format!("{own}/task/{own}/children");
        let proc = folder(&[
            ("stat", "cpu  100 10 50 800 40 5 5 99 0 0\n"),
            (&format!("{own}/stat"), "7 (a) S 1 7 7 0 -1 4194304 0 0 0 0 1 2 30 4 20 0 1 0 0\n"),
            (&children, &child.id().to_string()),
        ]);
        std::os::unix::fs::symlink(own.to_string(), proc.path().join("self")).unwrap();
        let take = || Sample::take(proc.path(), Instant::now()).map(|sample| sample.own);
        let until = Instant::now() + Duration::from_secs(30);
        while take().unwrap() < 37 + 5 {
            assert!(Instant::now() < until, "its time is not seen");
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let unknown = take().unwrap_err().to_string();
        assert!(unknown.contains("cannot be read"), "it is listed still: {unknown}");
        fs::write(proc.path().join(&children), "").unwrap();
        assert_eq!(take().unwrap(), 37);
        let mut meter = LoadMeter { proc: proc.path().into(), samples: VecDeque::new(), known: Some(Share(0)) };
        fs::write(proc.path().join(&children), child.id().to_string()).unwrap();
        assert_eq!(meter.read(Instant::now()), None, "what is not known is not taken for nothing");
    }

    #[test]
    fn this_machine_tells_its_load() {
        let mut sensors = LinuxSensors::new("/proc", "/sys");
        sensors.check(Wanted { load: true, ..Wanted::default() }).unwrap();
        let first = Sample::take(Path::new("/proc"), Instant::now()).unwrap();
        assert!(first.total > first.busy && first.busy >= first.own);
    }

    /// The node took its own workers for other programs, and gave its jobs back for that.
    #[test]
    fn kernel_that_lists_no_children_tells_no_load() {
        let files =
            [("stat", "cpu  100 10 50 800 40 5 5 99 0 0\n"), ("self/stat", "1 (a) S 1 1 1 0 -1 0 0 0 0 0 5 5 0 0 20 0 1 0\n")];
        let check = |more: &[(&str, &str)]| {
            let proc = folder(&[&files[..], more].concat());
            LinuxSensors::new(proc.path(), "/sys").check(Wanted { load: true, ..Wanted::default() })
        };
        let refused = check(&[("self/task/1/stat", ""), ("self/task/2/stat", "")]).unwrap_err().to_string();
        assert!(refused.contains("does not list the children"), "{refused}");
        // A thread that ends has none any more.
        check(&[("self/task/1/children", ""), ("self/task/2/stat", "")]).unwrap();
    }

    #[test]
    fn rule_that_cannot_be_kept_is_named() {
        let empty = folder(&[]);
        let mut sensors = LinuxSensors::new(empty.path(), empty.path());
        for (wanted, want) in [
            (Wanted { load: true, ..Wanted::default() }, "`load-max`"),
            (Wanted { temperature: true, ..Wanted::default() }, "`temperature-max`"),
            (Wanted { mains: true, ..Wanted::default() }, "`mains-only`"),
        ] {
            let error = sensors.check(wanted).unwrap_err().to_string();
            assert!(error.contains(want) && error.contains("-dir"), "{error}");
        }
        sensors.check(Wanted::default()).unwrap();
    }
}
