//! One run: both servers, in turn, round by round.

use std::time::Duration;

use anyhow::Context as _;

use crate::{
    cli::Measure,
    fill::fill,
    load::{Faults, Outcome, Window, closed, open},
    machine::Machine,
    report::{Comparison, Report, Sample},
    scenario::{Requests, Scenario},
    server::{ServerProcess, larder_binary},
    write_calls,
};

/// The open loop's rate as a share of what the slower of the two servers reached in the closed loop of the same round: the
/// same for both, so that their percentiles can be compared.
const LOAD: f64 = 0.6;
/// The closed loop's share of a scenario's seconds; the open loop has the rest.
const CLOSED: f64 = 0.5;
/// The share of a window for which the server is loaded before it.
const WARM_UP: f64 = 0.15;
/// On the server whose reads reach the database, L1 has one entry for so many products.
const PRODUCTS_PER_ENTRY: usize = 100;

/// Measures and reports. An error means that no figure can be had; wrong replies stand in the report.
pub(crate) async fn run(measure: &Measure) -> anyhow::Result<Report> {
    let binary = larder_binary(measure.larder.clone())?;
    let machine = Machine::look(&binary);
    progress(&machine.line());
    let directory = tempfile::tempdir().context("no temporary directory")?;

    let larder = ServerProcess::larder(&binary, directory.path(), "larder", &[])?;
    let imported = fill(larder.target.address, measure.products()).await?;
    progress(&format!("imported {} products, {imported:.0} a second", measure.products()));
    let requests = Requests::prepare(larder.target.address, measure.products(), measure.hot()).await?;
    requests.replies()?.save(directory.path())?;
    let bare = ServerProcess::bare(directory.path())?;
    let few = ("LARDER_L1_ENTRIES", (measure.products() / PRODUCTS_PER_ENTRY).max(1).to_string());
    let small = ServerProcess::larder(&binary, directory.path(), "small", &[few])?;
    let from_database = requests.share_from_database(small.target.address).await?;

    let scenarios = requests.scenarios(larder.target, small.target, bare.target);
    let mut faults = Faults::default();
    let mut comparisons: Vec<Comparison> = scenarios.iter().map(Comparison::new).collect();
    for round in 1..=measure.rounds() {
        for (scenario, comparison) in scenarios.iter().zip(&mut comparisons) {
            let samples = both(scenario, measure.seconds(), &mut faults).await?;
            progress(&format!("round {round} of {}: {}", measure.rounds(), comparison.line(&samples)));
            comparison.rounds.push(samples);
        }
    }
    let writes = write_calls::compare(&scenarios[0], measure.write_requests()).await?;
    Ok(Report {
        machine,
        settings: measure.settings(requests.product_bytes()),
        imported_per_second: imported,
        from_database,
        comparisons,
        writes,
        wrong_replies: faults.count,
        first_wrong: faults.first,
    })
}

/// One round of a scenario: A B in the closed loop, then A B in the open one.
async fn both(scenario: &Scenario, seconds: f64, faults: &mut Faults) -> anyhow::Result<[Sample; 2]> {
    let window = |share: f64| Window {
        warm_up: Duration::from_secs_f64(seconds * share * WARM_UP),
        measured: Duration::from_secs_f64(seconds * share * (1.0 - WARM_UP)),
    };
    let sides = [&scenario.larder, &scenario.bare];
    let share = if scenario.open_loop { CLOSED } else { 1.0 };
    let mut samples = Vec::with_capacity(sides.len());
    for (target, calls) in sides {
        let outcome = closed(*target, calls, scenario.shape, window(share)).await?;
        samples.push(Sample::closed(&outcome));
        faults.join(outcome.faults);
    }
    let mut samples: [Sample; 2] = samples.try_into().expect("two sides");
    if scenario.open_loop {
        let slower = samples.iter().map(|sample| sample.per_second).fold(f64::MAX, f64::min);
        let rate = (slower * LOAD).max(1.0);
        for ((target, calls), sample) in sides.into_iter().zip(&mut samples) {
            let outcome: Outcome = open(*target, calls, scenario.shape.connections, rate, window(1.0 - CLOSED)).await?;
            sample.open(&outcome, rate);
            faults.join(outcome.faults);
        }
    }
    Ok(samples)
}

#[expect(clippy::print_stderr, reason = "progress is not part of the report")]
pub(crate) fn progress(line: &str) {
    eprintln!("{line}");
}
