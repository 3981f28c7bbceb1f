//! `larder-attack`: attacks a replica of Larder, and measures what a polite client beside the attacker sees.
//!
//! For each [attack](attacks) a replica is started over an SQLite file with 1,000 products. A polite client reads 200 products a second,
//! and others check its health, `CacheAdmin` and HTTP, before, during and after the attack. The attacker has an address of its own, so
//! that limits for each caller can tell the two apart, and where there are several processors one of its own ([`cores`]).

#![allow(clippy::disallowed_methods, reason = "what is measured is real time")]

mod attacks;
mod cores;
mod figures;
mod load;
mod polite;
mod report;
mod target;

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use clap::Parser;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::sleep,
};

use self::{
    attacks::{Attack, Attackers, Field},
    cores::{Cores, Division},
    figures::{Goodput, Trial},
    load::{Way, load},
    polite::Polite,
    report::{Report, Verdict},
    target::Target,
};

/// Attacks a replica of Larder, and measures what a polite client beside the attacker sees.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// Names the attacks
    #[arg(long)]
    list: bool,
    /// Makes these attacks alone
    #[arg(long, value_name = "NAME", value_enum, value_delimiter = ',')]
    only: Vec<Attack>,
    /// Attacks for a second each, and asks whether others are served, not how fast
    #[arg(long)]
    brief: bool,
    /// How long each attack lasts, in seconds
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Calls a second of the polite client
    #[arg(long, default_value_t = 200)]
    calls: u32,
    /// Lets attackers, replica and polite clients share all processors, so that the attacker's own work slows down the others
    #[arg(long)]
    shared: bool,
    /// The server's binary [default: `larder` beside this program]
    #[arg(long, value_name = "PATH")]
    larder: Option<PathBuf>,
    /// Writes the table of all attacks, in Markdown, to this file
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// How each attack is made.
#[derive(Debug, Clone)]
struct Setup {
    program: PathBuf,
    /// Before and after the attack.
    calm: Duration,
    attack: Duration,
    calls: u32,
    brief: bool,
    cores: Arc<Cores>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let attacks = if cli.only.is_empty() { Attack::all() } else { cli.only };
    if cli.list {
        for (name, about) in attacks.into_iter().map(Attack::described) {
            println!("{name:20} {about}");
        }
        return ExitCode::SUCCESS;
    }
    let beside = || std::env::current_exe().ok().map(|own| own.with_file_name("larder"));
    let program = cli.larder.or_else(beside).unwrap_or_else(|| PathBuf::from("larder"));
    // The replica runs in another directory.
    let Some(program) = std::path::absolute(&program).ok().filter(|program| program.is_file()) else {
        let missing = program.display();
        eprintln!(
            "larder-attack: there is no {missing}: `cargo build --bin larder` builds one, --larder names another"
        );
        return ExitCode::FAILURE;
    };
    let lengths = if cli.brief { [500, 1_000] } else { [4_000, cli.seconds * 1_000] };
    let [calm, attack] = lengths.map(Duration::from_millis);
    let division = if cli.shared { Division::Shared } else { Division::Apart };
    let cores = match Cores::divide(division) {
        Ok(cores) => Arc::new(cores),
        Err(error) => {
            eprintln!("larder-attack: processors cannot be chosen: {error}");
            return ExitCode::FAILURE;
        }
    };
    let setup = Setup { program, calm, attack, calls: cli.calls, brief: cli.brief, cores };
    let mut ends = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
        .map(|kind| signal(kind).expect("a signal to listen to"));
    let [one, two, three] = &mut ends;
    let held = tokio::select! {
        held = play(&setup, &attacks, cli.report) => held,
        _ = one.recv() => false,
        _ = two.recv() => false,
        _ = three.recv() => false,
    };
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Makes one attack after another, and returns whether the replica held against all.
async fn play(setup: &Setup, attacks: &[Attack], file: Option<PathBuf>) -> bool {
    let (mut table, mut fallen) = (Report::default(), Vec::new());
    for &attack in attacks {
        let (name, about) = attack.described();
        println!("{name}: {about}");
        let verdict = match suffer(setup, attack).await {
            Ok(trial) => Verdict::of(trial, setup.brief),
            Err(error) => Verdict::failed(&error),
        };
        print!("{verdict}");
        println!("{} {name}\n", verdict.outcome());
        if !verdict.held() {
            fallen.push(name.clone());
        }
        table.add(&name, &verdict);
        if let Some(file) = &file
            && let Err(error) = std::fs::write(file, table.to_string())
        {
            eprintln!("larder-attack: {} cannot be written: {error}", file.display());
        }
    }
    println!("{table}");
    match fallen.as_slice() {
        [] => println!("Held against all {}.", attacks.len()),
        names => println!("Did not hold against {} of {}: {}", names.len(), attacks.len(), names.join(", ")),
    }
    fallen.is_empty()
}

/// The figures before, during and after an attack.
async fn suffer(setup: &Setup, attack: Attack) -> anyhow::Result<Trial> {
    let cores = &setup.cores;
    let mut variables = attack.variables().to_vec();
    if cores.are_apart() {
        // As it would be on a machine with one processor.
        variables.push(("LARDER_WORKERS", "1"));
    }
    let target = Target::start(&setup.program, &variables).await?;
    let polite = Polite::start(&target, setup.calls).await?;
    // The first calls warm the cache, the connections and the allocator.
    sleep(setup.calm).await;
    let before = polite.phase(&target, setup.calm).await?;
    let field = Field::of(&target);
    let mut goodput = Vec::new();
    let during = if let Some(mix) = attack.tenfold() {
        let way = Way { source: field.source, address: field.catalog };
        let peak = cores.as_attacker(load(way, mix, None, setup.calm)).await??;
        let rate = 10.0 * mix.kinds().map(|kind| peak.goodput(kind)).sum::<f64>();
        let tenfold = cores.as_attacker(load(way, mix, Some(rate), setup.attack));
        let (during, tenfold) = tokio::join!(polite.phase(&target, setup.attack), tenfold);
        let tenfold = tenfold??;
        goodput.extend(mix.kinds().map(|kind| Goodput::of(kind, &peak, &tenfold)));
        during?
    } else {
        let mut attackers = Attackers::on(cores.attackers());
        attack.begin(&field, &mut attackers);
        polite.phase(&target, setup.attack).await?
    };
    sleep(setup.calm / 4).await;
    let after = polite.phase(&target, setup.calm).await?;
    Ok(Trial { phases: [before, during, after], goodput })
}
