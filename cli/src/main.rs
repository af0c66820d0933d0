//! `adit`: the one program of the network. It pushes jobs, runs them here, and is a node or a gateway when it is asked to be.
//!
//! Everything that decides lives in the libraries; this crate reads arguments and files, wires, and shows.
#![forbid(unsafe_code)]

mod account;
mod adapter;
mod args;
mod config;
mod dirs;
mod earnings;
mod exit;
mod gpu;
mod quantity;
mod quote;
mod reactor;
mod tracing_output;

mod run;

mod follow;
mod ledger;
mod link;
mod local;
mod spec;

mod proof;
mod report;
mod screen;
mod sink;
mod spending;
mod statement;
mod table;
mod visible;
mod window;

mod audit;
mod comparison;
mod kept;
mod rerun;

mod jobs;
mod log;
mod manifest;
mod map;
mod nodes;
mod receipts;
mod verify;
mod why;

mod build;
mod dev;
mod inspect;
mod invoice;
mod keys;
mod manual;
mod module;
mod names;
mod new;
mod profile;
mod settings;

mod gateway;
mod named;
mod node;
mod owner;
mod rules;
mod service;
mod tokens;
mod up;
mod witness;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Cli;

fn main() -> ExitCode {
    // A worker process is this binary, started again; it must become a worker before anything else happens in it.
    adit_runtime::run_if_worker();
    let cli = Cli::parse();
    tracing_output::start(cli.common.verbose, cli.common.quiet);
    let exit = match cli.command.run(&cli.common) {
        Ok(exit) => exit,
        Err(error) => exit::report(&error),
    };
    ExitCode::from(exit.code())
}
