//! `adit key`: who one is.

use std::path::PathBuf;

use adit_transport::{create_key_file, load_key_file};
use clap::{Args, Subcommand, ValueEnum};

use crate::args::Common;
use crate::config::{Config, KEY, NODE_KEY, SERVE_KEY, Setting};
use crate::exit::Exit;
use crate::table::{print_json, print_line};

/// Make or show a key: the name of a client, a node or a gateway
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  adit key new                       # your client key; made on first use anyway
  adit key new --key work.key        # another one, for --key work.key or ADIT_KEY
  adit key show --role gateway

A key file is never overwritten, and is readable by its owner only. Whoever has it is you.")]
pub(crate) struct KeyArgs {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Make a key, in a file that must not exist
    New(KeyFileArgs),
    /// Show the public half of a key
    Show(KeyFileArgs),
}

#[derive(Debug, Args)]
struct KeyFileArgs {
    /// Whose key, where --key does not name a file
    #[arg(long, value_enum, default_value_t = Role::Client)]
    role: Role,
    /// The key's file [default: ~/.config/adit/ROLE.key]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Print {"key", "file"} instead
    #[arg(long)]
    json: bool,
}

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Asks for jobs and pays.
    Client,
    /// Runs jobs and is paid.
    Node,
    /// Places jobs and records receipts.
    Gateway,
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Node => "node",
            Self::Gateway => "gateway",
        }
    }

    fn setting(self) -> &'static Setting {
        match self {
            Self::Client => &KEY,
            Self::Node => &NODE_KEY,
            Self::Gateway => &SERVE_KEY,
        }
    }

    /// The file with this role's key.
    pub(crate) fn file(self, config: &Config, flag: Option<&std::path::Path>) -> PathBuf {
        let default = config.dirs.config.join(format!("{}.key", self.name()));
        config.path_or(self.setting(), flag, default).value
    }
}

pub(crate) fn run(args: &KeyArgs, common: &Common) -> anyhow::Result<Exit> {
    let config = common.load_config()?;
    let (KeyCommand::New(file) | KeyCommand::Show(file)) = &args.command;
    let path = file.role.file(&config, file.key.as_deref());
    let key = match args.command {
        KeyCommand::New(_) => create_key_file(&path)?,
        KeyCommand::Show(_) => load_key_file(&path)?,
    };
    let public = key.public().to_string();
    if file.json {
        print_json(&serde_json::json!({ "key": public, "file": path.display().to_string() }))?;
    } else {
        print_line(&public)?;
    }
    Ok(Exit::Success)
}
