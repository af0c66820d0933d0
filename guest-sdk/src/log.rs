use alloc::string::ToString;
use core::fmt;

use crate::abi;

/// How much a log message matters. The numbers are those of the host interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// The job cannot do what it was asked.
    Error = adit_abi::LOG_ERROR as isize,
    /// The job goes on, but someone should know.
    Warn = adit_abi::LOG_WARN as isize,
    /// What a user wants to read.
    Info = adit_abi::LOG_INFO as isize,
    /// What the author wants to read.
    Debug = adit_abi::LOG_DEBUG as isize,
    /// What the author wants to read once.
    Trace = adit_abi::LOG_TRACE as isize,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        })
    }
}

/// Writes one message to the job's log, or to standard error on a native target. The macros [`error!`](crate::error),
/// [`warn!`](crate::warn), [`info!`](crate::info), [`debug!`](crate::debug) and [`trace!`](crate::trace) call it.
pub fn log(level: Level, message: fmt::Arguments<'_>) {
    match message.as_str() {
        Some(literal) => abi::log(level, literal),
        None => abi::log(level, &message.to_string()),
    }
}

/// Logs at [`Level::Error`], with the arguments of [`format!`].
#[macro_export]
macro_rules! error {
    ($($message:tt)+) => { $crate::log($crate::Level::Error, ::core::format_args!($($message)+)) };
}

/// Logs at [`Level::Warn`], with the arguments of [`format!`].
#[macro_export]
macro_rules! warn {
    ($($message:tt)+) => { $crate::log($crate::Level::Warn, ::core::format_args!($($message)+)) };
}

/// Logs at [`Level::Info`], with the arguments of [`format!`].
#[macro_export]
macro_rules! info {
    ($($message:tt)+) => { $crate::log($crate::Level::Info, ::core::format_args!($($message)+)) };
}

/// Logs at [`Level::Debug`], with the arguments of [`format!`].
#[macro_export]
macro_rules! debug {
    ($($message:tt)+) => { $crate::log($crate::Level::Debug, ::core::format_args!($($message)+)) };
}

/// Logs at [`Level::Trace`], with the arguments of [`format!`].
#[macro_export]
macro_rules! trace {
    ($($message:tt)+) => { $crate::log($crate::Level::Trace, ::core::format_args!($($message)+)) };
}

/// Has the macros of the crate `log` write to the job's log, up to the level info: what is not kept costs next to nothing, and what is
/// costs fuel by the byte. A job that wants more calls `log::set_max_level`. Where the job has another logger already, that stays.
#[cfg(feature = "log")]
pub(crate) fn install() {
    if ::log::set_logger(&Bridge).is_ok() {
        ::log::set_max_level(::log::LevelFilter::Info);
    }
}

#[cfg(feature = "log")]
struct Bridge;

#[cfg(feature = "log")]
impl ::log::Log for Bridge {
    fn enabled(&self, _: &::log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &::log::Record<'_>) {
        let level = match record.level() {
            ::log::Level::Error => Level::Error,
            ::log::Level::Warn => Level::Warn,
            ::log::Level::Info => Level::Info,
            ::log::Level::Debug => Level::Debug,
            ::log::Level::Trace => Level::Trace,
        };
        log(level, format_args!("{}: {}", record.target(), record.args()));
    }

    fn flush(&self) {}
}
