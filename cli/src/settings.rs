//! `adit config`: what is set, and by whom.

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::args::{Common, LinkArgs};
use crate::config::{Config, Found, GATEWAY, KEY, NODE_JOIN_TOKEN, NODE_KEY, SERVE_KEY, SETTINGS, Setting};
use crate::exit::Exit;
use crate::keys::Role;
use crate::link::find_gateway;
use crate::screen::Screen;
use crate::table::{Table, print_json};

/// Show the configuration
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  adit config show
  ADIT_FUEL=50G adit config show --json

The config file is TOML, ~/.config/adit/config.toml unless --config or ADIT_CONFIG names another:
  gateway = \"gateway.example:4433#6f1d5b…\"
  fuel = \"50G\"
  [node]
  slots = 2
A flag beats the environment, which beats the file.")]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Show each setting, its value, and where that came from
    Show(ShowArgs),
}

#[derive(Debug, Args)]
struct ShowArgs {
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    link: LinkArgs,
}

#[derive(Debug, Serialize)]
struct SettingReport {
    setting: &'static str,
    value: Option<String>,
    origin: Option<String>,
    env: &'static str,
}

pub(crate) fn run(args: &ConfigArgs, common: &Common) -> anyhow::Result<Exit> {
    let ConfigCommand::Show(args) = &args.command;
    let config = common.load_config()?;
    let mut reports = Vec::with_capacity(SETTINGS.len());
    for setting in SETTINGS {
        let found = find(&config, setting, &args.link)?;
        let (value, origin) = found.map(|f| (f.value, f.origin.to_string())).unzip();
        reports.push(SettingReport { setting: setting.name, value, origin, env: setting.env });
    }
    if args.json {
        reports.iter().try_for_each(print_json)?;
        return Ok(Exit::Success);
    }
    let mut table = Table::new(["setting", "value", "from"]);
    for report in reports {
        let none = || "-".to_owned();
        table.push([report.setting.to_owned(), report.value.unwrap_or_else(none), report.origin.unwrap_or_else(none)]);
    }
    table.print()?;
    let missing = if config.path().exists() { "" } else { ", which does not exist" };
    Screen::new(common.quiet).note(format!("config file: {}{missing}", config.path().display()));
    Ok(Exit::Success)
}

/// A setting as the commands see it: some have defaults that depend on the machine.
fn find(config: &Config, setting: &Setting, link: &LinkArgs) -> anyhow::Result<Option<Found<String>>> {
    if *setting == GATEWAY {
        let found = find_gateway(config, link.gateway.as_ref())?;
        return Ok(found.map(|Found { value, origin }| Found { value: value.to_string(), origin }));
    }
    let key = |role: Role, flag| {
        let default = config.dirs.config.join(format!("{}.key", role.name()));
        let Found { value, origin } = config.path_or(setting, flag, default);
        Some(Found { value: value.display().to_string(), origin })
    };
    Ok(match setting {
        s if *s == KEY => key(Role::Client, link.key.as_deref()),
        s if *s == NODE_KEY => key(Role::Node, None),
        s if *s == SERVE_KEY => key(Role::Gateway, None),
        // What is shown is pasted into questions and bug reports.
        s if *s == NODE_JOIN_TOKEN => config.text(s).map(|found| Found { value: "(not shown)".to_owned(), ..found }),
        s => config.text(s),
    })
}
