//! What a scenario has to say, and the table of all of them.

use std::{
    fmt::{self, Write as _},
    time::Duration,
};

use crate::figures::{Figures, Percentiles};

/// What a scenario has to say.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// The figures at its end.
    pub(crate) figures: Figures,
    /// What was done, in numbers.
    pub(crate) done: Vec<String>,
    /// Figures of its own.
    pub(crate) notes: Vec<String>,
    /// Requests a second while the load ran; 0 where none did.
    pub(crate) rate: u64,
    /// The share of reads that memory answered while nothing was broken, and the lowest one while something was.
    pub(crate) hits: Option<(f64, f64)>,
    /// How long the machine let somebody wait who wanted to run.
    pub(crate) longest_pause: Duration,
    /// What must hold and did not.
    pub(crate) broken: Vec<String>,
    /// Wrong reads and errors in full.
    pub(crate) shown: Vec<String>,
    /// Why it was not played.
    pub(crate) not_played: Option<String>,
}

/// How a scenario went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Everything that must hold did.
    Held,
    /// Something did not.
    Broken,
    /// Something that it needs is missing: nothing is known.
    NotPlayed,
}

/// The scenarios that were played, one in each line.
#[derive(Debug, Default)]
pub(crate) struct Table(String);

const HEAD: &str = "| scenario | | what was done | reads | writes | requests/s | wrong | errors | oldest read | \
                    a write seen elsewhere: p50 / p99 / max | L1 hits: healthy / broken | longest pause of the machine |\n\
                    | --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- | --- | ---: |\n";

impl Report {
    /// Of a scenario that cannot be played here.
    pub(crate) fn not_played(reason: &str) -> Self {
        Self { not_played: Some(reason.to_owned()), ..Self::default() }
    }

    /// How it went.
    pub(crate) fn outcome(&self) -> Outcome {
        match (&self.not_played, self.broken.as_slice()) {
            (Some(_), _) => Outcome::NotPlayed,
            (None, []) => Outcome::Held,
            (None, _) => Outcome::Broken,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Held => "held",
            Self::Broken => "BROKEN",
            Self::NotPlayed => "not played",
        })
    }
}

impl Table {
    /// Adds a scenario.
    pub(crate) fn add(&mut self, name: &str, report: &Report) {
        let Report { figures, rate, hits, longest_pause, .. } = report;
        let outcome = report.outcome();
        if let Some(reason) = &report.not_played {
            let _ = writeln!(self.0, "| {name} | {outcome} | {} | | | | | | | | | |", cell(reason));
            return;
        }
        let rate = if *rate > 0 { rate.to_string() } else { String::new() };
        let hits = hits.map_or_else(String::new, |(healthy, broken)| format!("{healthy:.1}% / {broken:.1}%"));
        let _ = writeln!(
            self.0,
            "| {name} | {outcome} | {} | {} | {} | {rate} | {} | {} | {:.0?} | {} | {hits} | {longest_pause:.1?} |",
            cell(&report.done.join(", ")),
            figures.reads,
            figures.writes,
            figures.wrong,
            figures.errors(),
            figures.oldest,
            seen(figures.delay),
        );
    }

    /// Adds a scenario that could not be set up.
    pub(crate) fn add_failed(&mut self, name: &str, error: &str) {
        let _ = writeln!(self.0, "| {name} | {} | {} | | | | | | | | | |", Outcome::Broken, cell(error));
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{HEAD}{}", self.0)
    }
}

fn seen(delay: Percentiles) -> String {
    let Percentiles { count, p50, p99, max } = delay;
    if count == 0 { String::new() } else { format!("{p50:.1?} / {p99:.1?} / {max:.1?}") }
}

/// A cell holds neither a line's end nor a cell's.
fn cell(text: &str) -> String {
    text.replace(['\n', '|'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_has_as_many_cells_as_the_head() {
        let mut table = Table::default();
        let hits = Some((91.0, 90.0));
        table.add("calm", &Report { done: vec!["20 s of load".to_owned()], rate: 1_200, hits, ..Report::default() });
        table.add("clocks", &Report::not_played("no libfaketime"));
        table.add("broken", &Report { broken: vec!["5 reads were wrong".to_owned()], ..Report::default() });
        table.add_failed("tokens", "a | in\nan error");
        let text = table.to_string();
        let cells: Vec<_> = text.lines().map(|line| line.matches('|').count()).collect();
        assert_eq!(cells, [13; 6], "{text}");
        assert!(text.contains("| calm | held | 20 s of load |") && text.contains("| 91.0% / 90.0% |"), "{text}");
        assert!(
            text.contains("| clocks | not played | no libfaketime |") && text.contains("| broken | BROKEN |"),
            "{text}"
        );
    }
}
