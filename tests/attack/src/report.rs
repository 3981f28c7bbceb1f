//! Whether a replica held, and the table of all attacks.

use std::{
    fmt::{self, Write as _},
    time::Duration,
};

use crate::{
    figures::{Goodput, Phase, Summary, Trial},
    load::Ended,
};

/// By so much memory may grow.
const GROWTH: u64 = 64 << 20;
/// Any probe is answered within this time.
const PROBED: Duration = Duration::from_secs(1);
/// Of ten times as many calls as the replica can answer, it answers at least this part of what it can.
const GOODPUT: f64 = 0.8;
/// The p99 of polite reads may double, and take this much longer: attacker, clients and replica share the machine.
const NOISE: Duration = Duration::from_millis(20);

/// The figures of one attack, and what must hold and did not.
#[derive(Debug)]
pub(crate) struct Verdict {
    trial: Trial,
    broken: Vec<String>,
}

/// The attacks so far, one in each line.
#[derive(Debug, Default)]
pub(crate) struct Report(String);

const HEAD: &str = "| attack | | polite reads: p50 / p99 before | during | after | failed | memory before | grew by | descriptors | processor | \
                    longest probe during: health / CacheAdmin / HTTP |\n\
                    | --- | --- | --- | --- | --- | ---: | ---: | ---: | ---: | ---: | --- |\n";

impl Verdict {
    /// Judges an attack. On a machine that does other things besides, how fast anything is says nothing.
    pub(crate) fn of(trial: Trial, brief: bool) -> Self {
        let Trial { phases, goodput } = &trial;
        let [before, during, after] = phases;
        let mut broken = Vec::new();
        let mut must = |holds: bool, text: String| {
            if !holds {
                broken.push(text);
            }
        };
        for (when, phase) in [("during", during), ("after", after)] {
            let Phase { reads, health, admin, http, .. } = phase;
            for (what, summary) in [("reads", reads), ("health", health), ("CacheAdmin", admin), ("HTTP", http)] {
                let Summary { calls, failed, why, .. } = summary;
                let why = why.as_deref().unwrap_or_default();
                must(*failed == 0, format!("{failed} of {calls} calls of {what} failed {when} the attack: {why}"));
                must(brief || *calls > 0, format!("no call of {what} ended {when} the attack"));
            }
            for (what, summary) in [("health", health), ("CacheAdmin", admin), ("HTTP", http)] {
                must(brief || summary.max <= PROBED, format!("{what} took {:.1?} {when} the attack", summary.max));
            }
        }
        let growth = growth(phases);
        must(growth <= GROWTH, format!("memory grew by {} MiB", growth >> 20));
        let (calm, disturbed) = (before.reads.p99, during.reads.p99);
        // Of ten times as many calls as can be answered, any client's may be among those that wait.
        must(
            brief || !goodput.is_empty() || disturbed <= calm * 2 + NOISE,
            format!("the p99 of polite reads rose from {calm:.1?} to {disturbed:.1?}"),
        );
        for goodput in goodput {
            let text = format!("{:.0}% of the peak of {} was answered in time", goodput.share() * 100.0, goodput.kind);
            must(brief || goodput.share() >= GOODPUT, text);
        }
        Self { trial, broken }
    }

    /// An attack that could not be made, or that ended the replica.
    pub(crate) fn failed(error: &anyhow::Error) -> Self {
        Self { trial: Trial::default(), broken: vec![format!("{error:#}")] }
    }

    /// Whether everything that must hold did.
    pub(crate) fn held(&self) -> bool {
        self.broken.is_empty()
    }

    pub(crate) fn outcome(&self) -> &'static str {
        if self.held() { "held" } else { "BROKEN" }
    }

    fn failures(&self) -> u64 {
        let [_, during, after] = &self.trial.phases;
        [during, after].iter().map(|phase| phase.reads.failed).sum()
    }
}

/// By how much memory grew, in bytes.
fn growth([before, during, after]: &[Phase; 3]) -> u64 {
    during.usage.memory.max(after.usage.memory).saturating_sub(before.usage.memory)
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (when, phase) in ["before", "during", "after"].into_iter().zip(&self.trial.phases) {
            let Phase { length, reads, health, admin, http, usage, busy } = phase;
            writeln!(
                f,
                "  {when:6} {:4.1} s: {} reads, {} failed, p50 {:.1?}, p99 {:.1?}, max {:.1?}; probes at most {:.1?} (health), \
                 {:.1?} (CacheAdmin), {:.1?} (HTTP); {} MiB, {} descriptors, {:.0}% of a processor",
                length.as_secs_f64(),
                reads.calls,
                reads.failed,
                reads.p50,
                reads.p99,
                reads.max,
                health.max,
                admin.max,
                http.max,
                usage.memory >> 20,
                usage.descriptors,
                busy * 100.0,
            )?;
        }
        for Goodput { kind, peak, tenfold, ended } in &self.trial.goodput {
            let Ended { good, late, refused, unsent } = ended;
            writeln!(
                f,
                "  {kind}: {tenfold:.0} a second in time, of {peak:.0} at the peak; {good} in time, {late} late, {refused} refused, \
                 {unsent} not sent"
            )?;
        }
        self.broken.iter().try_for_each(|broken| writeln!(f, "  must hold and did not: {broken}"))
    }
}

impl Report {
    /// Adds an attack.
    pub(crate) fn add(&mut self, name: &str, verdict: &Verdict) {
        let [before, during, after] = &verdict.trial.phases;
        let quantiles = |phase: &Phase| format!("{:.1?} / {:.1?}", phase.reads.p50, phase.reads.p99);
        let _ = writeln!(
            self.0,
            "| {name} | {} | {} | {} | {} | {} | {} MiB | {} MiB | {} | {:.0}% | {:.0?} / {:.0?} / {:.0?} |",
            verdict.outcome(),
            quantiles(before),
            quantiles(during),
            quantiles(after),
            verdict.failures(),
            before.usage.memory >> 20,
            growth(&verdict.trial.phases) >> 20,
            during.usage.descriptors,
            during.busy * 100.0,
            during.health.max,
            during.admin.max,
            during.http.max,
        );
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{HEAD}{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Usage;

    fn phase(p99: u64, failed: u64, memory: u64) -> Phase {
        let calls = |p99| Summary { calls: 100, p99: Duration::from_millis(p99), ..Summary::default() };
        let usage = Usage { memory: memory << 20, descriptors: 9, ..Usage::default() };
        let reads = Summary { failed, ..calls(p99) };
        Phase { reads, health: calls(1), admin: calls(1), http: calls(1), usage, ..Phase::default() }
    }

    #[test]
    fn failures_growth_and_slowness_are_found() {
        let trial = |during, after| Trial { phases: [phase(5, 0, 50), during, after], goodput: Vec::new() };
        let judged = |during, after| Verdict::of(trial(during, after), false).broken.len();
        assert_eq!(judged(phase(30, 0, 113), phase(5, 0, 60)), 0);
        assert_eq!(judged(phase(31, 0, 50), phase(5, 0, 50)), 1);
        assert_eq!(judged(phase(5, 1, 50), phase(5, 2, 50)), 2);
        assert_eq!(judged(phase(5, 0, 50), phase(5, 0, 115)), 1);
        let slow = Verdict::of(trial(phase(900, 0, 50), phase(5, 0, 50)), true);
        assert!(slow.held(), "in brief");
    }

    #[test]
    fn every_line_has_as_many_cells_as_the_head() {
        let mut report = Report::default();
        let phases = [(); 3].map(|()| phase(5, 0, 50));
        report.add("one", &Verdict::of(Trial { phases, goodput: Vec::new() }, false));
        report.add("two", &Verdict::failed(&anyhow::anyhow!("no replica")));
        let text = report.to_string();
        let cells: Vec<_> = text.lines().map(|line| line.matches('|').count()).collect();
        assert_eq!(cells, [12; 4], "{text}");
        assert!(text.contains("| one | held |") && text.contains("| two | BROKEN |"), "{text}");
    }
}
