use std::fmt;

use crate::abi;

/// How much a log message matters. The numbers are those of the host interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// The job cannot do what it was asked.
    Error = 1,
    /// The job goes on, but someone should know.
    Warn = 2,
    /// What a user wants to read.
    Info = 3,
    /// What the author wants to read.
    Debug = 4,
    /// What the author wants to read once.
    Trace = 5,
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
    ($($message:tt)+) => { $crate::log($crate::Level::Error, ::std::format_args!($($message)+)) };
}

/// Logs at [`Level::Warn`], with the arguments of [`format!`].
#[macro_export]
macro_rules! warn {
    ($($message:tt)+) => { $crate::log($crate::Level::Warn, ::std::format_args!($($message)+)) };
}

/// Logs at [`Level::Info`], with the arguments of [`format!`].
#[macro_export]
macro_rules! info {
    ($($message:tt)+) => { $crate::log($crate::Level::Info, ::std::format_args!($($message)+)) };
}

/// Logs at [`Level::Debug`], with the arguments of [`format!`].
#[macro_export]
macro_rules! debug {
    ($($message:tt)+) => { $crate::log($crate::Level::Debug, ::std::format_args!($($message)+)) };
}

/// Logs at [`Level::Trace`], with the arguments of [`format!`].
#[macro_export]
macro_rules! trace {
    ($($message:tt)+) => { $crate::log($crate::Level::Trace, ::std::format_args!($($message)+)) };
}
