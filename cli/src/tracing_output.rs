use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::config::variable;
use crate::exit::usage;

/// Starts the program's own log on standard error: warnings, or what `-v` or `-q` ask for, or else `ADIT_LOG`.
pub(crate) fn start(verbose: u8, quiet: bool) -> anyhow::Result<()> {
    let level = match (quiet, verbose) {
        (true, _) => "error",
        (_, 0) => "warn",
        (_, 1) => "warn,adit=info,adit_client=info,adit_gateway=info,adit_node=info,adit_runtime=info,adit_transport=info",
        (_, 2) => "info,adit=debug,adit_client=debug,adit_gateway=debug,adit_node=debug,adit_runtime=debug,adit_transport=debug",
        (_, _) => "debug",
    };
    let asked = if quiet || verbose > 0 { None } else { variable("ADIT_LOG")? };
    let filter = match asked {
        Some(asked) => EnvFilter::try_new(&asked).map_err(|error| usage(format!("ADIT_LOG: `{asked}`: {error}")))?,
        None => EnvFilter::new(level),
    };
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(colours).init();
    Ok(())
}
