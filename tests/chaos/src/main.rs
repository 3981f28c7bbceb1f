//! `larder-chaos`: breaks a cluster of real processes under load, and checks every read against the history of writes.
//!
//! Three replicas of Larder, each with a proxy of its own before Redis and another one before PostgreSQL, serve some
//! 1,000 requests a second, of which one in twenty writes. All clients are in this process, so that one clock tells what
//! was acknowledged before what began; [`history`] judges every state that a reply shows. The [`scenarios`] say what is
//! broken meanwhile, and what must hold.

#![allow(clippy::disallowed_methods, reason = "what is measured is real time")]

mod calls;
mod connections;
mod figures;
mod history;
mod learned;
mod load;
mod pauses;
mod probe;
mod product;
mod psql;
mod report;
mod retry;
mod scenarios;
mod shop;
mod stage;
mod tally;
mod world;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use report::{Outcome, Report, Table};
use scenarios::Scenario;
use stage::{Form, Setup};

/// Breaks a cluster of real processes under load, and checks every read against the history of writes.
#[derive(Debug, Parser)]
#[command(version)]
#[expect(clippy::struct_excessive_bools, reason = "flags")]
struct Cli {
    /// Names the scenarios
    #[arg(long)]
    list: bool,
    /// Plays these scenarios alone
    #[arg(long, value_name = "NAME", value_enum, value_delimiter = ',')]
    only: Vec<Scenario>,
    /// Takes the whole time for each; otherwise all of them take some minutes
    #[arg(long)]
    full: bool,
    /// Takes as little time as may be, for tests on a busy machine: asks whether what is read is right, not how fast it is
    #[arg(long, conflicts_with = "full")]
    brief: bool,
    /// Breaks one cluster in all ways by chance, and looks whether its replicas use more and more
    #[arg(long, conflicts_with_all = ["only", "full", "brief"])]
    soak: bool,
    /// How long a soak lasts, in minutes
    #[arg(long, default_value_t = 120)]
    minutes: u64,
    /// The server's binary [default: `larder` beside this program]
    #[arg(long, value_name = "PATH")]
    larder: Option<PathBuf>,
    /// Writes the table of all scenarios, in Markdown, to this file
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Tells the time, for the scenario in which a clock is wrong
    #[arg(long, hide = true)]
    clocks: bool,
    /// What chance begins with
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.clocks {
        scenarios::clocks::print();
        return ExitCode::SUCCESS;
    }
    if cli.list {
        for (name, about) in Scenario::all().into_iter().map(Scenario::described) {
            println!("{name:18} {about}");
        }
        return ExitCode::SUCCESS;
    }
    let beside = || std::env::current_exe().ok().map(|own| own.with_file_name("larder"));
    let program = cli.larder.clone().or_else(beside).unwrap_or_else(|| PathBuf::from("larder"));
    // The replicas run in another directory.
    let Some(program) = std::path::absolute(&program).ok().filter(|program| program.is_file()) else {
        let missing = program.display();
        eprintln!("larder-chaos: there is no {missing}: `cargo build --bin larder` builds one, --larder names another");
        return ExitCode::FAILURE;
    };
    let form = match (cli.full, cli.brief) {
        (true, _) => Form::Full,
        (_, true) => Form::Brief,
        _ => Form::Short,
    };
    let setup = Setup { program, form, seed: cli.seed };
    let plays = if cli.soak {
        vec![Play::Soak(Duration::from_secs(60 * cli.minutes))]
    } else {
        let scenarios = if cli.only.is_empty() { Scenario::all() } else { cli.only };
        scenarios.into_iter().map(Play::Scenario).collect()
    };
    let mut interrupts = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
        .map(|kind| signal(kind).expect("a signal to listen to"));
    let [one, two, three] = &mut interrupts;
    // Whatever is under way is dropped, and everything that was started ends with it.
    tokio::select! {
        held = play(&setup, &plays, cli.report.as_deref()) => if held { ExitCode::SUCCESS } else { ExitCode::FAILURE },
        _ = one.recv() => ExitCode::FAILURE,
        _ = two.recv() => ExitCode::FAILURE,
        _ = three.recv() => ExitCode::FAILURE,
    }
}

/// What is played.
#[derive(Debug, Clone, Copy)]
enum Play {
    Scenario(Scenario),
    /// A soak of this length.
    Soak(Duration),
}

impl Play {
    fn described(self) -> (String, String) {
        match self {
            Self::Scenario(scenario) => scenario.described(),
            Self::Soak(length) => {
                ("soak".to_owned(), format!("faults of every kind for {} min", length.as_secs() / 60))
            }
        }
    }

    async fn run(self, setup: &Setup) -> anyhow::Result<Report> {
        match self {
            Self::Scenario(scenario) => scenario.run(setup).await,
            Self::Soak(length) => scenarios::soak::soak(setup, length).await,
        }
    }
}

/// Plays one after another, and returns whether everything held.
async fn play(setup: &Setup, plays: &[Play], file: Option<&Path>) -> bool {
    let (mut failed, mut missing, mut table) = (Vec::new(), Vec::new(), Table::default());
    for played in plays {
        let ((name, about), begin) = (played.described(), Instant::now());
        println!("{name}: {about}");
        let report = played.run(setup).await;
        let took = begin.elapsed().as_secs();
        match report {
            Ok(report) => {
                let outcome = report.outcome();
                show(&report);
                println!("{outcome} {name} ({took} s)\n");
                table.add(&name, &report);
                match outcome {
                    Outcome::Held => {}
                    Outcome::Broken => failed.push(name),
                    Outcome::NotPlayed => missing.push(name),
                }
            }
            Err(error) => {
                println!("BROKEN {name} ({took} s): {error:#}\n");
                table.add_failed(&name, &format!("{error:#}"));
                failed.push(name);
            }
        }
        if let Some(file) = file
            && let Err(error) = std::fs::write(file, table.to_string())
        {
            eprintln!("larder-chaos: {} cannot be written: {error}", file.display());
        }
    }
    println!("{table}");
    if !missing.is_empty() {
        println!("Not played: {}", missing.join(", "));
    }
    match failed.as_slice() {
        [] => println!("All {} held.", plays.len() - missing.len()),
        names => println!("{} of {} did not hold: {}", names.len(), plays.len(), names.join(", ")),
    }
    // Where everything is said to be installed, nothing is passed over; a clock is set wrong on Linux alone.
    let required = cfg!(target_os = "linux") && std::env::var_os("LARDER_REQUIRE_TOOLS").is_some();
    failed.is_empty() && (missing.is_empty() || !required)
}

fn show(report: &Report) {
    if let Some(reason) = &report.not_played {
        return println!("  {reason}");
    }
    println!("  {}", report.figures);
    let mut notes = report.done.clone();
    notes.extend(report.notes.iter().cloned());
    if report.rate > 0 {
        notes.push(format!("{} requests/s", report.rate));
    }
    if let Some((healthy, broken)) = report.hits {
        notes.push(format!("L1 {healthy:.1}% healthy, {broken:.1}% broken"));
    }
    notes.push(format!("longest pause of the machine {:.1?}", report.longest_pause));
    println!("  {}", notes.join(", "));
    for broken in &report.broken {
        println!("  must hold and did not: {broken}");
    }
    for text in &report.shown {
        println!("  {text}");
    }
}
