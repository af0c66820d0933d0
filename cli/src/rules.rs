//! An owner's rules as flags, environment and config file give them.

use std::fmt::Display;

use adit_node::NodeConfig;
use adit_node::rules::{Celsius, Choice, Hours, Rules, Share};
use adit_protocol::{ByteCount, Digest, Microcredits, PublicKey};
use clap::Args;

use crate::config::{
    Config, RULE_ALLOW_CLIENTS, RULE_ALLOW_MODULES, RULE_DENY_CLIENTS, RULE_DENY_MODULES, RULE_HOURS, RULE_JOB_PRICE, RULE_LOAD,
    RULE_MAINS, RULE_MEMORY, RULE_ONE_TENANT, RULE_TEMPERATURE, RULE_TRAFFIC, Setting,
};
use crate::exit::usage;
use crate::quantity::{parse_bytes, parse_credits, parse_share, show_bytes};

/// When a machine is lent, and to whom.
#[derive(Debug, Default, Clone, Args)]
#[command(next_help_heading = "Rules")]
pub(crate) struct RulesArgs {
    /// Work in these hours alone, by this machine's clock: 22:00-07:00, or 'mon-fri 22:00-07:00, sat-sun'
    #[arg(long, value_name = "HOURS")]
    hours: Option<Hours>,
    /// Work only while other programs use at most so much of the processors
    #[arg(long, value_name = "PERCENT", value_parser = parse_share)]
    load_max: Option<Share>,
    /// Stop while the machine is warmer
    #[arg(long, value_name = "CELSIUS")]
    temperature_max: Option<Celsius>,
    /// Work on mains power only
    #[arg(long)]
    mains_only: bool,
    /// Bytes that the node may send and receive in a day
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    traffic_max: Option<ByteCount>,
    /// Memory that all jobs may have together: slots times --memory; without --slots, as many slots as fit (read at the start alone)
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    memory_max: Option<ByteCount>,
    /// Take jobs of this client, and of no other that is not named so; repeat for more
    #[arg(long, value_name = "KEY")]
    allow_client: Vec<PublicKey>,
    /// Take no jobs of this client; repeat for more
    #[arg(long, value_name = "KEY")]
    deny_client: Vec<PublicKey>,
    /// Run this module, by its BLAKE3 digest, and no other that is not named so; repeat for more
    #[arg(long, value_name = "DIGEST")]
    allow_module: Vec<Digest>,
    /// Never run this module; repeat for more
    #[arg(long, value_name = "DIGEST")]
    deny_module: Vec<Digest>,
    /// Run jobs of one client at a time; others' wait until they are over
    #[arg(long)]
    one_tenant: bool,
    /// Take no job that can earn less than this with all its limits used up; your price is what is paid in any case
    #[arg(long, value_name = "CREDITS", value_parser = parse_credits)]
    job_price_min: Option<Microcredits>,
}

impl RulesArgs {
    /// The rules that flags, environment and config file describe.
    pub(crate) fn read(&self, config: &Config) -> anyhow::Result<Rules> {
        let switch = |setting, flag: bool| config.value(setting, flag.then_some(true), str::parse::<bool>);
        Ok(Rules {
            hours: find(config, &RULE_HOURS, self.hours.clone(), str::parse)?,
            load_max: find(config, &RULE_LOAD, self.load_max, parse_share)?,
            temperature_max: find(config, &RULE_TEMPERATURE, self.temperature_max, str::parse)?,
            mains_only: switch(&RULE_MAINS, self.mains_only)?,
            traffic_max: find(config, &RULE_TRAFFIC, self.traffic_max, parse_bytes)?,
            clients: Choice {
                allow: list(config, &RULE_ALLOW_CLIENTS, &self.allow_client)?,
                deny: list(config, &RULE_DENY_CLIENTS, &self.deny_client)?,
            },
            modules: Choice {
                allow: list(config, &RULE_ALLOW_MODULES, &self.allow_module)?,
                deny: list(config, &RULE_DENY_MODULES, &self.deny_module)?,
            },
            one_tenant: switch(&RULE_ONE_TENANT, self.one_tenant)?,
            job_price_min: config.value(&RULE_JOB_PRICE, self.job_price_min, parse_credits)?,
        })
    }

    /// Makes sure that all jobs together stay within the owner's memory. Where the number of slots is nobody's wish, there are fewer, which
    /// is what is returned to be said.
    pub(crate) fn fit_memory(
        &self,
        config: &Config,
        setup: &mut NodeConfig,
        are_slots_given: bool,
    ) -> anyhow::Result<Option<String>> {
        let Some(most) = find(config, &RULE_MEMORY, self.memory_max, parse_bytes)? else { return Ok(None) };
        let fitting = u32::try_from(most.0 / setup.memory.0.max(1)).unwrap_or(u32::MAX);
        if setup.slots <= fitting {
            return Ok(None);
        }
        let (each, most) = (show_bytes(setup.memory), show_bytes(most));
        if fitting == 0 {
            return Err(usage(format!("a job may have {each} (--memory), more than all together ({most}, --memory-max)")));
        }
        if are_slots_given {
            let asked = setup.slots;
            return Err(usage(format!(
                "{asked} slots of {each} are more than all jobs may have together ({most}, --memory-max); {fitting} fit"
            )));
        }
        let note = format!("{fitting} instead of {} slots, so that all jobs together have at most {most}", setup.slots);
        setup.slots = fitting;
        Ok(Some(note))
    }
}

fn find<T, E: Display>(
    config: &Config,
    setting: &Setting,
    flag: Option<T>,
    parse: impl Fn(&str) -> Result<T, E>,
) -> anyhow::Result<Option<T>> {
    Ok(config.find(setting, flag, parse)?.map(|found| found.value))
}

fn list<T: Clone + std::str::FromStr<Err: Display>>(config: &Config, setting: &Setting, flags: &[T]) -> anyhow::Result<Vec<T>> {
    let flag = (!flags.is_empty()).then(|| flags.to_vec());
    Ok(config.find_list(setting, flag, str::parse)?.map(|found| found.value).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use adit_transport::GatewayAddr;

    use super::*;
    use crate::dirs::Dirs;

    fn config(text: &str) -> Config {
        let [config, cache, data, state] = ["c", "h", "d", "s"].map(std::path::PathBuf::from);
        Config::from_text(Dirs { config, cache, data, state }, "config.toml".into(), text, |_| None).unwrap()
    }

    #[test]
    fn rules_come_from_the_file_and_flags_beat_it() {
        let [ann, bob] = [1, 2].map(|byte| PublicKey([byte; 32]));
        let file = config(&format!(
            "[node.rules]\nhours = \"sat-sun\"\nload-max = 25\ntemperature-max = 72.5\nmains-only = true\ntraffic-max = \"1GiB\"
             allow-clients = [\"{ann}\", \"{bob}\"]\ndeny-modules = [\"{}\"]\none-tenant = true\njob-price-min = \"0.001\"\n",
            Digest::of(b"module")
        ));
        let rules = RulesArgs::default().read(&file).unwrap();
        let want = Rules {
            hours: Some("sat-sun".parse().unwrap()),
            load_max: Some(Share(250_000)),
            temperature_max: Some(Celsius(72_500)),
            mains_only: true,
            traffic_max: Some(ByteCount(1 << 30)),
            clients: Choice { allow: vec![ann, bob], deny: Vec::new() },
            modules: Choice { allow: Vec::new(), deny: vec![Digest::of(b"module")] },
            one_tenant: true,
            job_price_min: Microcredits(1_000),
        };
        assert_eq!(rules, want);
        let flags = RulesArgs { load_max: Some(Share(500_000)), allow_client: vec![bob], ..RulesArgs::default() };
        let rules = flags.read(&file).unwrap();
        assert_eq!((rules.load_max, rules.clients.allow), (Some(Share(500_000)), vec![bob]));
        assert_eq!(RulesArgs::default().read(&config("")).unwrap(), Rules::default());
    }

    #[test]
    fn mistake_in_a_rule_is_named_with_its_rule() {
        for (text, want) in [
            ("hours = \"someday\"", "node.rules.hours from config.toml: `someday` are no hours"),
            ("load-max = \"lots\"", "node.rules.load-max from config.toml: `lots` is not a percentage"),
            ("temperature-max = 300", "node.rules.temperature-max from config.toml: `300` is not a temperature"),
            ("allow-clients = [\"me\"]", "node.rules.allow-clients from config.toml"),
        ] {
            let error = RulesArgs::default().read(&config(&format!("[node.rules]\n{text}\n"))).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
    }

    #[test]
    fn memory_of_all_jobs_stays_within_the_owners_bound() {
        let gateway: GatewayAddr = format!("127.0.0.1:7#{}", PublicKey([7; 32])).parse().unwrap();
        let fit = |slots, are_slots_given, most| {
            let mut setup = NodeConfig::new(GatewayAddr::clone(&gateway), "cache");
            setup.slots = slots;
            let rules = RulesArgs { memory_max: Some(ByteCount(most)), ..RulesArgs::default() };
            let note = rules.fit_memory(&config(""), &mut setup, are_slots_given).map_err(|error| error.to_string());
            note.map(|note| (setup.slots, note.is_some()))
        };
        assert_eq!(fit(4, true, 4 << 30), Ok((4, false)));
        assert_eq!(fit(4, false, 3 << 30), Ok((3, true)));
        assert!(fit(4, true, 3 << 30).unwrap_err().contains("3 fit"));
        assert!(fit(1, false, 1 << 20).unwrap_err().contains("more than all together"));
    }
}
