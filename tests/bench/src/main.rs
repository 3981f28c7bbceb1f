//! The benchmark: Larder beside a bare tonic server that answers the same bytes on the same runtime.
//!
//! Both are processes of their own and are measured in turn, round by round, in one run; the ratios within a round are what
//! counts. `larder-bench hit-ratio` compares eviction policies on access traces.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

mod arrangement;
mod bare;
mod cli;
mod fill;
mod frame;
mod group;
mod hit_ratio;
mod l2;
mod load;
mod machine;
mod patterns;
mod process;
mod products;
mod render;
mod replay;
mod report;
mod run;
mod scenario;
mod server;
#[cfg(test)]
mod smoke;
mod stats;
mod stream;
mod telemetry;
mod warm;
mod write_calls;
mod writes;

use std::{fs, process::ExitCode};

use anyhow::Context as _;
use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    cli::{Bare, Cli, Command, Measure},
    render::{Form, render},
    server::Addresses,
};

/// The allocator of the real server, so that the bare one differs in the service alone.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    match cli.command {
        None => measure(&cli.measure),
        Some(Command::HitRatio(wanted)) => {
            print(&hit_ratio::run(&wanted)?);
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::L2(wanted)) => {
            print(&until_stopped(l2::run(&wanted))?);
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Invalidation(wanted)) => {
            print(&until_stopped(group::run(&wanted))?);
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Writes(wanted)) => {
            print(&until_stopped(writes::run(&wanted))?);
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Telemetry(wanted)) => {
            print(&until_stopped(telemetry::run(&wanted))?);
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Patterns) => {
            print(&patterns::run()?);
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Replay(wanted)) => {
            print(&until_stopped(replay::run(&wanted))?);
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Warm(wanted)) => {
            print(&until_stopped(warm::run(&wanted))?);
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Bare(bare)) => serve_bare(&bare),
    }
}

/// Measures, and fails when a reply was wrong.
fn measure(measure: &Measure) -> anyhow::Result<ExitCode> {
    let report = until_stopped(run::run(measure))?;
    print(&render(&report, Form::Text));
    if let Some(file) = &measure.markdown {
        fs::write(file, render(&report, Form::Markdown)).with_context(|| format!("cannot write {}", file.display()))?;
    }
    if let Some(file) = &measure.json {
        fs::write(file, report.json()?).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(match report.wrong_replies {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// Runs something to its end, or until a signal says to stop: then the servers are ended where it is dropped.
fn until_stopped<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            done = work => done,
            stopped = stopped() => Err(stopped),
        }
    })
}

/// Waits for a signal to stop.
async fn stopped() -> anyhow::Error {
    let waited = async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok::<_, std::io::Error>(())
    };
    match waited.await {
        Ok(()) => anyhow::anyhow!("stopped by a signal"),
        Err(error) => error.into(),
    }
}

fn serve_bare(bare: &Bare) -> anyhow::Result<ExitCode> {
    let replies = bare::Replies::load(&bare.replies)?;
    bare::serve(replies, |catalog| {
        fs::write(&bare.addresses_file, serde_json::to_vec(&Addresses { catalog, admin: None })?)?;
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::print_stdout, reason = "the result")]
fn print(text: &str) {
    print!("{text}");
}
