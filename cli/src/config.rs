//! Settings that flags, the environment, the config file and defaults give, in this order.

use std::collections::BTreeMap;
use std::env::{self, VarError};
use std::fmt::{self, Display};
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::dirs::Dirs;
use crate::exit::usage;

/// A setting's names and default.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    /// In the config file; a dot separates the table's name.
    pub(crate) name: &'static str,
    /// In the environment.
    pub(crate) env: &'static str,
    /// Where nothing else gives it; empty where there is no fixed default.
    pub(crate) default: &'static str,
}

const fn setting(name: &'static str, env: &'static str, default: &'static str) -> Setting {
    Setting { name, env, default }
}

pub(crate) static GATEWAY: Setting = setting("gateway", "ADIT_GATEWAY", "");
pub(crate) static KEY: Setting = setting("key", "ADIT_KEY", "");
pub(crate) static FUEL: Setting = setting("fuel", "ADIT_FUEL", "10G");
pub(crate) static MEMORY: Setting = setting("memory", "ADIT_MEMORY", "256MiB");
pub(crate) static TIMEOUT: Setting = setting("timeout", "ADIT_TIMEOUT", "60s");
pub(crate) static QUEUE_TIMEOUT: Setting = setting("queue-timeout", "ADIT_QUEUE_TIMEOUT", "5m");
pub(crate) static OUTPUT_MAX: Setting = setting("output-max", "ADIT_OUTPUT_MAX", "64MiB");
pub(crate) static LOG_MAX: Setting = setting("log-max", "ADIT_LOG_MAX", "1MiB");
pub(crate) static MAX_PRICE: Setting = setting("max-price", "ADIT_MAX_PRICE", "");
pub(crate) static PROFILE: Setting = setting("profile", "ADIT_PROFILE", "deterministic");
pub(crate) static PREFER: Setting = setting("prefer", "ADIT_PREFER", "balanced");
pub(crate) static GPU: Setting = setting("gpu", "ADIT_GPU", "0s");
pub(crate) static GPU_MEMORY: Setting = setting("gpu-memory", "ADIT_GPU_MEMORY", "256MiB");
pub(crate) static GPU_BUFFER: Setting = setting("gpu-buffer", "ADIT_GPU_BUFFER", "");
pub(crate) static GPU_DISPATCHES: Setting = setting("gpu-dispatches", "ADIT_GPU_DISPATCHES", "1048576");
pub(crate) static GPU_INVOCATIONS: Setting = setting("gpu-invocations", "ADIT_GPU_INVOCATIONS", "256");
pub(crate) static GPU_WORKGROUP_MEMORY: Setting = setting("gpu-workgroup-memory", "ADIT_GPU_WORKGROUP_MEMORY", "16KiB");
pub(crate) static GPU_COMPARE: Setting = setting("gpu-compare", "ADIT_GPU_COMPARE", "class");
pub(crate) static KEEP_MAX: Setting = setting("keep-max", "ADIT_KEEP_MAX", "1GiB");
pub(crate) static ALLOW_WEAK_SANDBOX: Setting = setting("allow-weak-sandbox", "ADIT_ALLOW_WEAK_SANDBOX", "false");
pub(crate) static NODE_KEY: Setting = setting("node.key", "ADIT_NODE_KEY", "");
pub(crate) static NODE_SLOTS: Setting = setting("node.slots", "ADIT_NODE_SLOTS", "");
pub(crate) static NODE_MEMORY: Setting = setting("node.memory", "ADIT_NODE_MEMORY", "1GiB");
pub(crate) static NODE_MODULE_MAX: Setting = setting("node.module-max", "ADIT_NODE_MODULE_MAX", "8MiB");
pub(crate) static NODE_CACHE: Setting = setting("node.cache", "ADIT_NODE_CACHE", "");
pub(crate) static NODE_CACHE_MAX: Setting = setting("node.cache-max", "ADIT_NODE_CACHE_MAX", "8GiB");
pub(crate) static NODE_JOIN_TOKEN: Setting = setting("node.join-token", "ADIT_NODE_JOIN_TOKEN", "");
pub(crate) static NODE_LABELS: Setting = setting("node.labels", "ADIT_NODE_LABELS", "");
pub(crate) static NODE_REGION: Setting = setting("node.region", "ADIT_NODE_REGION", "");
pub(crate) static NODE_ALLOW_OPEN: Setting = setting("node.allow-open", "ADIT_NODE_ALLOW_OPEN", "false");
pub(crate) static NODE_PROC_DIR: Setting = setting("node.proc-dir", "ADIT_NODE_PROC_DIR", "/proc");
pub(crate) static NODE_SYS_DIR: Setting = setting("node.sys-dir", "ADIT_NODE_SYS_DIR", "/sys");
pub(crate) static RULE_HOURS: Setting = setting("node.rules.hours", "ADIT_NODE_RULES_HOURS", "");
pub(crate) static RULE_LOAD: Setting = setting("node.rules.load-max", "ADIT_NODE_RULES_LOAD_MAX", "");
pub(crate) static RULE_TEMPERATURE: Setting = setting("node.rules.temperature-max", "ADIT_NODE_RULES_TEMPERATURE_MAX", "");
pub(crate) static RULE_MAINS: Setting = setting("node.rules.mains-only", "ADIT_NODE_RULES_MAINS_ONLY", "false");
pub(crate) static RULE_TRAFFIC: Setting = setting("node.rules.traffic-max", "ADIT_NODE_RULES_TRAFFIC_MAX", "");
pub(crate) static RULE_MEMORY: Setting = setting("node.rules.memory-max", "ADIT_NODE_RULES_MEMORY_MAX", "");
pub(crate) static RULE_ALLOW_CLIENTS: Setting = setting("node.rules.allow-clients", "ADIT_NODE_RULES_ALLOW_CLIENTS", "");
pub(crate) static RULE_DENY_CLIENTS: Setting = setting("node.rules.deny-clients", "ADIT_NODE_RULES_DENY_CLIENTS", "");
pub(crate) static RULE_ALLOW_MODULES: Setting = setting("node.rules.allow-modules", "ADIT_NODE_RULES_ALLOW_MODULES", "");
pub(crate) static RULE_DENY_MODULES: Setting = setting("node.rules.deny-modules", "ADIT_NODE_RULES_DENY_MODULES", "");
pub(crate) static RULE_ONE_TENANT: Setting = setting("node.rules.one-tenant", "ADIT_NODE_RULES_ONE_TENANT", "false");
pub(crate) static RULE_JOB_PRICE: Setting = setting("node.rules.job-price-min", "ADIT_NODE_RULES_JOB_PRICE_MIN", "0");
pub(crate) static NODE_PRICE: Setting = setting("node.price-per-minute", "ADIT_NODE_PRICE_PER_MINUTE", "0.001");
pub(crate) static NODE_PRICE_MEMORY: Setting = setting("node.price-per-gib-minute", "ADIT_NODE_PRICE_PER_GIB_MINUTE", "0.0001");
pub(crate) static NODE_PRICE_IN: Setting = setting("node.price-per-gib-in", "ADIT_NODE_PRICE_PER_GIB_IN", "0.0005");
pub(crate) static NODE_PRICE_OUT: Setting = setting("node.price-per-gib-out", "ADIT_NODE_PRICE_PER_GIB_OUT", "0.0005");
pub(crate) static NODE_PRICE_GPU: Setting = setting("node.price-gpu", "ADIT_NODE_PRICE_GPU", "0.02");
pub(crate) static NODE_GPU: Setting = setting("node.gpu", "ADIT_NODE_GPU", "off");
pub(crate) static NODE_GPU_ADAPTER: Setting = setting("node.gpu-adapter", "ADIT_NODE_GPU_ADAPTER", "");
pub(crate) static NODE_GPU_SOFTWARE: Setting = setting("node.gpu-software", "ADIT_NODE_GPU_SOFTWARE", "false");
pub(crate) static NODE_GPU_MEMORY: Setting = setting("node.gpu-memory", "ADIT_NODE_GPU_MEMORY", "1GiB");
pub(crate) static NODE_GPU_SLICE: Setting = setting("node.gpu-slice", "ADIT_NODE_GPU_SLICE", "2s");
pub(crate) static NODE_CPU_SHARE: Setting = setting("node.cpu-share", "ADIT_NODE_CPU_SHARE", "100");
pub(crate) static NODE_PRIORITY: Setting = setting("node.priority", "ADIT_NODE_PRIORITY", "normal");
pub(crate) static SERVE_KEY: Setting = setting("serve.key", "ADIT_SERVE_KEY", "");
pub(crate) static SERVE_LISTEN: Setting = setting("serve.listen", "ADIT_SERVE_LISTEN", "0.0.0.0:4433");
pub(crate) static SERVE_DATA: Setting = setting("serve.data", "ADIT_SERVE_DATA", "");

/// Every setting, in the order of `adit config show`.
pub(crate) static SETTINGS: &[&Setting] = &[
    &GATEWAY,
    &KEY,
    &FUEL,
    &MEMORY,
    &TIMEOUT,
    &QUEUE_TIMEOUT,
    &OUTPUT_MAX,
    &LOG_MAX,
    &MAX_PRICE,
    &PROFILE,
    &PREFER,
    &GPU,
    &GPU_MEMORY,
    &GPU_BUFFER,
    &GPU_DISPATCHES,
    &GPU_INVOCATIONS,
    &GPU_WORKGROUP_MEMORY,
    &GPU_COMPARE,
    &KEEP_MAX,
    &ALLOW_WEAK_SANDBOX,
    &NODE_KEY,
    &NODE_SLOTS,
    &NODE_MEMORY,
    &NODE_MODULE_MAX,
    &NODE_CACHE,
    &NODE_CACHE_MAX,
    &NODE_JOIN_TOKEN,
    &NODE_LABELS,
    &NODE_REGION,
    &NODE_ALLOW_OPEN,
    &NODE_PROC_DIR,
    &NODE_SYS_DIR,
    &NODE_PRICE,
    &NODE_PRICE_MEMORY,
    &NODE_PRICE_IN,
    &NODE_PRICE_OUT,
    &NODE_PRICE_GPU,
    &NODE_GPU,
    &NODE_GPU_ADAPTER,
    &NODE_GPU_SOFTWARE,
    &NODE_GPU_MEMORY,
    &NODE_GPU_SLICE,
    &NODE_CPU_SHARE,
    &NODE_PRIORITY,
    &RULE_HOURS,
    &RULE_LOAD,
    &RULE_TEMPERATURE,
    &RULE_MAINS,
    &RULE_TRAFFIC,
    &RULE_MEMORY,
    &RULE_ALLOW_CLIENTS,
    &RULE_DENY_CLIENTS,
    &RULE_ALLOW_MODULES,
    &RULE_DENY_MODULES,
    &RULE_ONE_TENANT,
    &RULE_JOB_PRICE,
    &SERVE_KEY,
    &SERVE_LISTEN,
    &SERVE_DATA,
];

/// Those that are true or false.
static SWITCHES: [&Setting; 6] =
    [&ALLOW_WEAK_SANDBOX, &NODE_ALLOW_OPEN, &NODE_GPU, &NODE_GPU_SOFTWARE, &RULE_MAINS, &RULE_ONE_TENANT];

/// Those that may be lists in the file, whose items may have commas in them; elsewhere a comma stands between two.
static LISTS: [&Setting; 6] =
    [&NODE_LABELS, &RULE_HOURS, &RULE_ALLOW_CLIENTS, &RULE_DENY_CLIENTS, &RULE_ALLOW_MODULES, &RULE_DENY_MODULES];

/// A config file that is no TOML. It is told over several lines: the place in the file with a mark under it, and what is wrong.
#[derive(Debug, thiserror::Error)]
#[error("config file {}: {}", path.display(), error.to_string().trim_end())]
pub(crate) struct SyntaxError {
    path: PathBuf,
    error: toml::de::Error,
}

/// A value and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found<T> {
    /// The value.
    pub(crate) value: T,
    /// Where it came from.
    pub(crate) origin: Origin,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The command line.
    Flag,
    /// A variable of the environment.
    Environment(&'static str),
    /// The config file.
    File(PathBuf),
    /// The `adit up` that runs on this machine.
    Up,
    /// Nobody said anything.
    Default,
}

impl Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("command line"),
            Self::Environment(name) => write!(f, "environment ({name})"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Up => f.write_str("running `adit up`"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// What the file gives for a setting.
#[derive(Debug, Clone)]
enum Value {
    Text(String),
    List(Vec<String>),
}

impl Value {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::List(items) => items.join(","),
        }
    }
}

/// What the environment, the config file and the defaults say.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// The program's folders.
    pub(crate) dirs: Dirs,
    path: PathBuf,
    /// What the file gives, by name.
    file: BTreeMap<String, Value>,
    environment: fn(&str) -> Option<String>,
}

impl Config {
    /// Reads `file`, or where none is named `ADIT_CONFIG`, or the user's own, which need not exist.
    pub(crate) fn load(file: Option<&Path>) -> anyhow::Result<Self> {
        let dirs = Dirs::of_user()?;
        let named = match file {
            Some(path) => Some(path.to_owned()),
            None => variable("ADIT_CONFIG")?.map(PathBuf::from),
        };
        let path = named.clone().unwrap_or_else(|| dirs.config.join("config.toml"));
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => String::new(),
            Err(error) => return Err(usage(format!("config file {}: {error}", path.display()))),
            Ok(text) => text,
        };
        // All of them, before any is used: one that is left out for what it says is worse than none.
        SETTINGS.iter().try_for_each(|setting| variable(setting.env).map(drop))?;
        Self::from_text(dirs, path, &text, |name| variable(name).ok().flatten())
    }

    pub(crate) fn from_text(
        dirs: Dirs,
        path: PathBuf,
        text: &str,
        environment: fn(&str) -> Option<String>,
    ) -> anyhow::Result<Self> {
        let table: toml::Table = text.parse().map_err(|error| SyntaxError { path: path.clone(), error })?;
        let mut file = BTreeMap::new();
        flatten("", table, &mut file)
            .and_then(|()| check_names(&file))
            .map_err(|e| usage(format!("config file {}: {e}", path.display())))?;
        Ok(Self { dirs, path, file, environment })
    }

    /// Where the config file is, or would be.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The value of `setting`, `flag` first; nothing where nobody gives one.
    ///
    /// # Errors
    /// Where environment or file give something that `parse` does not take; the error says which.
    pub(crate) fn find<T, E: Display>(
        &self,
        setting: &Setting,
        flag: Option<T>,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> anyhow::Result<Option<Found<T>>> {
        if let Some(value) = flag {
            return Ok(Some(Found { value, origin: Origin::Flag }));
        }
        let Some(Found { value: text, origin }) = self.text(setting) else { return Ok(None) };
        let value = parse(&text).map_err(|error| usage(format!("{} from {origin}: {error}", setting.name)))?;
        Ok(Some(Found { value, origin }))
    }

    /// As [`Config::find`], for a list: `parse` is given one item at a time.
    pub(crate) fn find_list<T, E: Display>(
        &self,
        setting: &Setting,
        flag: Option<Vec<T>>,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> anyhow::Result<Option<Found<Vec<T>>>> {
        let of_file = match self.file.get(setting.name) {
            Some(Value::List(items)) if (self.environment)(setting.env).is_none() => Some(items),
            _ => None,
        };
        self.find(setting, flag, |text| match of_file {
            Some(items) => items.iter().map(|item| parse(item.trim())).collect(),
            None => text.split(',').map(|item| parse(item.trim())).collect::<Result<Vec<_>, _>>(),
        })
    }

    /// As [`Config::find`], for a setting with a default.
    pub(crate) fn value<T, E: Display>(
        &self,
        setting: &Setting,
        flag: Option<T>,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> anyhow::Result<T> {
        let found = self.find(setting, flag, parse)?;
        Ok(found.with_context(|| format!("{} has neither value nor default", setting.name))?.value)
    }

    /// As [`Config::find`], for a file or folder with a default of the caller's.
    pub(crate) fn path_or(&self, setting: &Setting, flag: Option<&Path>, default: PathBuf) -> Found<PathBuf> {
        if let Some(path) = flag {
            return Found { value: path.to_owned(), origin: Origin::Flag };
        }
        match self.text(setting) {
            Some(found) => Found { value: found.value.into(), origin: found.origin },
            None => Found { value: default, origin: Origin::Default },
        }
    }

    /// What environment, file or default say, unread.
    pub(crate) fn text(&self, setting: &Setting) -> Option<Found<String>> {
        if let Some(value) = (self.environment)(setting.env) {
            return Some(Found { value, origin: Origin::Environment(setting.env) });
        }
        if let Some(value) = self.file.get(setting.name) {
            return Some(Found { value: value.text(), origin: Origin::File(self.path.clone()) });
        }
        (!setting.default.is_empty()).then(|| Found { value: setting.default.to_owned(), origin: Origin::Default })
    }
}

/// A variable of this process; an empty one counts as unset, as shells cannot easily unset for one command.
///
/// # Errors
/// Where it is no text: whoever set it means it.
pub(crate) fn variable(name: &str) -> anyhow::Result<Option<String>> {
    match env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(usage(format!("the variable {name} is not UTF-8; unset it or write it anew"))),
    }
}

fn flatten(prefix: &str, table: toml::Table, into: &mut BTreeMap<String, Value>) -> Result<(), String> {
    for (key, value) in table {
        let name = format!("{prefix}{key}");
        let text = match value {
            toml::Value::Table(inner) => {
                flatten(&format!("{name}."), inner, into)?;
                continue;
            }
            toml::Value::String(text) => text,
            toml::Value::Integer(n) => n.to_string(),
            toml::Value::Float(n) => n.to_string(),
            toml::Value::Boolean(yes) if is_one_of(&name, &SWITCHES) => yes.to_string(),
            toml::Value::Array(list) if is_one_of(&name, &LISTS) => {
                into.insert(name.clone(), Value::List(strings(&name, list)?));
                continue;
            }
            other => return Err(format!("`{name}` is {}; write a string or a number", other.type_str())),
        };
        into.insert(name, Value::Text(text));
    }
    Ok(())
}

fn is_one_of(name: &str, settings: &[&Setting]) -> bool {
    settings.iter().any(|setting| setting.name == name)
}

fn strings(name: &str, list: Vec<toml::Value>) -> Result<Vec<String>, String> {
    let text = |value| match value {
        toml::Value::String(text) => Ok(text),
        other => Err(format!("`{name}` has {} in it; write strings", other.type_str())),
    };
    // An empty allow list could mean everything or nothing.
    match list.into_iter().map(text).collect::<Result<Vec<_>, _>>()? {
        list if list.is_empty() => Err(format!("`{name}` is an empty list; leave it out")),
        list => Ok(list),
    }
}

/// A misspelt name would be a setting that silently does nothing.
fn check_names(file: &BTreeMap<String, Value>) -> Result<(), String> {
    match file.keys().find(|name| SETTINGS.iter().all(|s| s.name != **name)) {
        Some(name) => {
            let known: Vec<&str> = SETTINGS.iter().map(|s| s.name).collect();
            Err(format!("`{name}` is no setting; there are {}", known.join(", ")))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use adit_protocol::{Comparison, Fuel, GpuNeed, JobLimits};

    use super::*;
    use crate::quantity::{parse_bytes, parse_duration, parse_pair};

    fn dirs() -> Dirs {
        let [config, cache, data, state] = ["c", "h", "d", "s"].map(PathBuf::from);
        Dirs { config, cache, data, state }
    }

    fn config(text: &str, environment: fn(&str) -> Option<String>) -> anyhow::Result<Config> {
        Config::from_text(dirs(), "config.toml".into(), text, environment)
    }

    #[test]
    fn flag_beats_environment_beats_file_beats_default() {
        let environment: fn(&str) -> Option<String> = |name| (name == "ADIT_FUEL").then(|| "2G".to_owned());
        let nothing: fn(&str) -> Option<String> = |_| None;
        let file = "fuel = \"3G\"";
        let fuel = |config: &Config, flag| {
            let found = config.find(&FUEL, flag, str::parse::<Fuel>).unwrap().unwrap();
            (found.value.0 / 1_000_000_000, found.origin)
        };
        let full = config(file, environment).unwrap();
        assert_eq!(fuel(&full, Some(Fuel(1_000_000_000))), (1, Origin::Flag));
        assert_eq!(fuel(&full, None), (2, Origin::Environment("ADIT_FUEL")));
        assert_eq!(fuel(&config(file, nothing).unwrap(), None), (3, Origin::File("config.toml".into())));
        assert_eq!(fuel(&config("", nothing).unwrap(), None), (10, Origin::Default));
    }

    #[test]
    fn tables_and_numbers_are_settings_too() {
        let config =
            config("timeout = \"5m\"\nallow-weak-sandbox = true\n[node]\nslots = 3\nprice-per-minute = 0.002\n", |_| None)
                .unwrap();
        assert_eq!(config.text(&NODE_SLOTS).unwrap().value, "3");
        assert_eq!(config.text(&NODE_PRICE).unwrap().value, "0.002");
        assert_eq!(config.text(&TIMEOUT).unwrap().value, "5m");
        assert!(config.value(&ALLOW_WEAK_SANDBOX, None, str::parse::<bool>).unwrap());
        assert_eq!(config.text(&GATEWAY), None);
    }

    #[test]
    fn lists_and_switches_of_a_nested_table_are_settings_too() {
        let config =
            config("[node.rules]\nhours = [\"mon-fri 22:00-07:00\", \"sat-sun\"]\nmains-only = true\n", |_| None).unwrap();
        assert_eq!(config.text(&RULE_HOURS).unwrap().value, "mon-fri 22:00-07:00,sat-sun");
        assert!(config.value(&RULE_MAINS, None, str::parse::<bool>).unwrap());
    }

    #[test]
    fn item_of_a_list_in_the_file_may_have_a_comma_in_it() {
        let labels = |text: &str, environment| {
            let config = config(text, environment).unwrap();
            config.find_list(&NODE_LABELS, None, parse_pair).map(|found| found.map(|found| found.value))
        };
        let pairs = |pairs: &[(&str, &str)]| Some(pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect::<Vec<_>>());
        let array = "[node]\nlabels = [\"note=a,b=c\", \"disk=ssd\"]";
        assert_eq!(labels(array, |_| None).unwrap(), pairs(&[("note", "a,b=c"), ("disk", "ssd")]));
        // Elsewhere it stands between two.
        assert_eq!(labels("[node]\nlabels = \"a=b, c=d\"", |_| None).unwrap(), pairs(&[("a", "b"), ("c", "d")]));
        assert_eq!(labels(array, |_| Some("a=b,c=d".to_owned())).unwrap(), pairs(&[("a", "b"), ("c", "d")]));
        assert_eq!(labels("", |_| None).unwrap(), None);
        let error = labels("[node]\nlabels = [\"disk=ssd\", \"slow\"]", |_| None).unwrap_err().to_string();
        assert!(error.starts_with("node.labels from config.toml: "), "{error}");
    }

    #[test]
    fn mistakes_in_the_file_are_named() {
        for (text, want) in [
            ("feul = \"1G\"", "`feul` is no setting"),
            ("fuel = true", "`fuel` is boolean"),
            ("[node]\nslot = 1", "`node.slot` is no setting"),
            ("[node.rules]\nhour = \"mon\"", "`node.rules.hour` is no setting"),
            ("[node.rules]\nallow-clients = []", "`node.rules.allow-clients` is an empty list"),
            ("[node.rules]\nhours = [1]", "`node.rules.hours` has integer in it"),
            ("[node.rules]\nload-max = true", "`node.rules.load-max` is boolean"),
            ("fuel = ", "config.toml"),
        ] {
            let error = config(text, |_| None).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
        let wrong = config("fuel = \"lots\"", |_| None).unwrap();
        let error = wrong.find(&FUEL, None, str::parse::<Fuel>).unwrap_err().to_string();
        assert!(error.starts_with("fuel from config.toml: `lots`"), "{error}");
    }

    #[test]
    fn file_that_is_no_toml_is_told_with_the_place() {
        let error = config("gateway = \"here\"\nfuel = = 3\n", |_| None).unwrap_err();
        let text = error.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("config file config.toml: TOML parse error at line 2, column 8"), "{text}");
        let line = lines.iter().position(|line| line.ends_with("fuel = = 3")).unwrap();
        assert!(lines[line + 1].trim_end().ends_with('^'), "{text}");
        assert!(error.is::<SyntaxError>() && crate::exit::Exit::of_error(&error) == crate::exit::Exit::Usage);
    }

    #[test]
    fn defaults_are_those_of_the_protocol() {
        let config = config("", |_| None).unwrap();
        let limits = JobLimits::default();
        assert_eq!(config.value(&FUEL, None, str::parse::<Fuel>).unwrap(), limits.fuel);
        assert_eq!(config.value(&MEMORY, None, parse_bytes).unwrap(), limits.memory);
        assert_eq!(config.value(&OUTPUT_MAX, None, parse_bytes).unwrap(), limits.output);
        assert_eq!(config.value(&LOG_MAX, None, parse_bytes).unwrap(), limits.log);
        let gpu = GpuNeed::default();
        assert_eq!(config.value(&GPU_MEMORY, None, parse_bytes).unwrap(), gpu.memory);
        assert_eq!(config.value(&GPU_DISPATCHES, None, str::parse::<u64>).unwrap(), gpu.dispatches);
        assert_eq!(config.value(&GPU_INVOCATIONS, None, str::parse::<u32>).unwrap(), gpu.invocations);
        assert_eq!(config.value(&GPU_WORKGROUP_MEMORY, None, parse_bytes).unwrap().0, u64::from(gpu.workgroup_memory));
        assert_eq!(config.value(&GPU_COMPARE, None, str::parse::<Comparison>).unwrap(), gpu.comparison);
        assert_eq!(config.value(&NODE_MODULE_MAX, None, parse_bytes).unwrap().0, adit_runtime::MODULE_BYTES_DEFAULT);
        assert_eq!(config.value(&TIMEOUT, None, parse_duration).unwrap().as_millis(), limits.wall_ms.into());
        assert_eq!(config.value(&QUEUE_TIMEOUT, None, parse_duration).unwrap().as_millis(), limits.queue_ms.into());
    }
}
