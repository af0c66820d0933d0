use std::io::{self, IsTerminal};
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;

use crate::config::variable;
use crate::exit::usage;

/// What is wrong with `ADIT_LOG`, for the command to tell in its own way.
static FAULT: OnceLock<String> = OnceLock::new();

/// Starts the program's own log on standard error: warnings, or what `-v` or `-q` ask for, or else `ADIT_LOG`. Where that is no filter, warnings
/// too, and [`check`] says so.
pub(crate) fn start(verbose: u8, quiet: bool) {
    let level = match (quiet, verbose) {
        (true, _) => "error",
        (_, 0) => "warn",
        (_, 1) => "warn,adit=info,adit_client=info,adit_gateway=info,adit_node=info,adit_runtime=info,adit_transport=info",
        (_, 2) => "info,adit=debug,adit_client=debug,adit_gateway=debug,adit_node=debug,adit_runtime=debug,adit_transport=debug",
        (_, _) => "debug",
    };
    let asked = if quiet || verbose > 0 { Ok(None) } else { asked() };
    let filter = asked.unwrap_or_else(|fault| {
        // It is started once.
        let _ = FAULT.set(fault);
        None
    });
    let filter = filter.unwrap_or_else(|| EnvFilter::new(level));
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(colours).init();
}

fn asked() -> Result<Option<EnvFilter>, String> {
    let asked = variable("ADIT_LOG").map_err(|error| error.to_string())?;
    let filter = |asked: String| EnvFilter::try_new(&asked).map_err(|error| format!("ADIT_LOG: `{asked}`: {error}"));
    asked.map(filter).transpose()
}

/// Whether the log was started as was asked for.
///
/// # Errors
/// Where `ADIT_LOG` is no filter.
pub(crate) fn check() -> anyhow::Result<()> {
    FAULT.get().map_or(Ok(()), |fault| Err(usage(fault.clone())))
}
