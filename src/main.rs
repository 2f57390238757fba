//! The `chinwag` binary: parses the command line, sets up logging and the runtime, and reports how a command came out.

mod cli;

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::cli::failure::{Exit, Failure};
use crate::cli::{Cli, Command, output};

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(exit) => exit.into(),
        Err(error) => report(&error).into(),
    }
}

fn run(command: Command) -> anyhow::Result<Exit> {
    start_logging(command.log_default())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the asynchronous runtime")?;
    runtime.block_on(carry_out(command))
}

async fn carry_out(command: Command) -> anyhow::Result<Exit> {
    Ok(match command {
        Command::Secret(command) => command.run()?,
        Command::Get(command) => command.run().await?,
        Command::Put(command) => command.run().await?,
        Command::Delete(command) => command.run().await?,
        Command::Members(command) => command.run().await?,
        Command::Metrics(command) => command.run().await?,
        Command::Ring(command) => command.run().await?,
        Command::Dump(command) => command.run().await?,
        Command::Repair(command) => command.run().await?,
        Command::AntiEntropy(command) => command.run().await?,
        Command::Backup(command) => command.run().await?,
        Command::Restore(command) => command.run()?,
        Command::Store(command) => command.run()?,
        Command::Console(command) => command.run().await?,
        Command::Node(command) => command.run().await?,
        Command::Demo(command) => command.run().await?,
        Command::Observe(command) => command.run().await?,
        Command::Soak(command) => command.run().await?,
        Command::Check(command) => command.run()?,
        Command::Predict(command) => command.run()?,
        #[cfg(feature = "parquet")]
        Command::Export(command) => command.run()?,
    })
}

/// Logs go to standard error; `CHINWAG_LOG` says which, in the form of `tracing_subscriber::EnvFilter`.
fn start_logging(default: &str) -> anyhow::Result<()> {
    let filter = match std::env::var("CHINWAG_LOG") {
        Ok(text) => EnvFilter::try_new(&text).with_context(|| format!("CHINWAG_LOG is `{text}`"))?,
        Err(_) => EnvFilter::new(default),
    };
    let colours = io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(io::stderr).init();
    Ok(())
}

/// An error and what caused it, each said once.
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// Says why the command failed, and gives its exit code.
fn report(error: &anyhow::Error) -> Exit {
    let Some(failure) = error.downcast_ref::<Failure>() else {
        output::report(&format!("{error:#}"), None);
        return Exit::Failed;
    };
    if failure.is_broken_pipe() {
        return Exit::Done;
    }
    output::report(&with_sources(failure), failure.hint().as_deref());
    failure.exit()
}
