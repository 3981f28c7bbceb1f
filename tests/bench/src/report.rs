//! The report of a run: figures by server, ratios between them.

use serde::Serialize;

use crate::{
    load::Outcome,
    machine::Machine,
    scenario::Scenario,
    stats::{Ratio, median},
    write_calls::WriteCalls,
};

/// What one server did in one round of a scenario.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Sample {
    /// Requests a second in the closed loop.
    pub(crate) per_second: f64,
    /// The server's CPU microseconds per request in the closed loop.
    pub(crate) server_micros: f64,
    /// The load generator's.
    pub(crate) client_micros: f64,
    /// Percentiles in microseconds: of the open loop where there is one, else of the closed one with correction.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    /// The open loop's requests a second; zero where there is none.
    pub(crate) open_rate: f64,
}

impl Sample {
    /// Of a closed loop. The pace that an undisturbed caller would keep is that of the median reply.
    pub(crate) fn closed(outcome: &Outcome) -> Self {
        let median = std::time::Duration::from_secs_f64(outcome.latencies.micros(0.5) / 1e6);
        let corrected = outcome.latencies.corrected(median);
        Self {
            per_second: outcome.per_second(),
            server_micros: outcome.server_micros(),
            client_micros: outcome.client_micros(),
            p50: outcome.latencies.micros(0.5),
            p99: corrected.micros(0.99),
            p999: corrected.micros(0.999),
            open_rate: 0.0,
        }
    }

    /// Puts the open loop's percentiles in place of the closed one's.
    pub(crate) fn open(&mut self, outcome: &Outcome, rate: f64) {
        self.p50 = outcome.latencies.micros(0.5);
        self.p99 = outcome.latencies.micros(0.99);
        self.p999 = outcome.latencies.micros(0.999);
        self.open_rate = rate;
    }
}

/// The real and the bare server in one scenario, by round.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    pub(crate) scenario: &'static str,
    /// The most that the ratio of CPU times is expected to be.
    pub(crate) expected: Option<f64>,
    /// The real server's sample and the bare one's.
    pub(crate) rounds: Vec<[Sample; 2]>,
}

impl Comparison {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        Self { scenario: scenario.name, expected: scenario.expected, rounds: Vec::new() }
    }

    /// One line about a round, for those who wait.
    pub(crate) fn line(&self, [larder, bare]: &[Sample; 2]) -> String {
        format!(
            "{}: {:.0} and {:.0} requests/s, {:.1} and {:.1} CPU µs",
            self.scenario, larder.per_second, bare.per_second, larder.server_micros, bare.server_micros
        )
    }

    /// A figure's median over the rounds, of the real server (0) or of the bare one (1).
    pub(crate) fn median(&self, side: usize, figure: impl Fn(&Sample) -> f64) -> f64 {
        median(self.rounds.iter().map(|round| figure(&round[side]))).unwrap_or(f64::NAN)
    }

    /// How the servers compare in a figure.
    pub(crate) fn ratio(&self, figure: impl Fn(&Sample) -> f64) -> Option<Ratio> {
        Ratio::of(self.rounds.iter().map(|[larder, bare]| (figure(larder), figure(bare))))
    }

    /// Whether the real server costs more than expected.
    pub(crate) fn exceeds(&self) -> bool {
        let ratio = self.ratio(|sample| sample.server_micros);
        ratio.zip(self.expected).is_some_and(|(ratio, most)| ratio.median > most)
    }
}

/// How a run was made.
#[derive(Debug, Serialize)]
pub(crate) struct Settings {
    pub(crate) rounds: u32,
    pub(crate) seconds: f64,
    pub(crate) products: usize,
    pub(crate) hot: usize,
    /// Bytes of a reply to `GetProduct`, without its frame.
    pub(crate) product_bytes: usize,
    pub(crate) quick: bool,
}

/// A run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) settings: Settings,
    pub(crate) imported_per_second: f64,
    /// The share of the database scenario's reads that did reach the database, by a sample.
    pub(crate) from_database: f64,
    pub(crate) comparisons: Vec<Comparison>,
    pub(crate) writes: WriteCalls,
    pub(crate) wrong_replies: u64,
    pub(crate) first_wrong: Option<String>,
}

impl Report {
    pub(crate) fn json(&self) -> anyhow::Result<String> {
        let mut json = serde_json::to_value(self)?;
        for (comparison, value) in self.comparisons.iter().zip(json["comparisons"].as_array_mut().into_iter().flatten())
        {
            value["ratios"] = serde_json::json!({
                "server_micros": comparison.ratio(|sample| sample.server_micros),
                "per_second": comparison.ratio(|sample| sample.per_second),
                "p50": comparison.ratio(|sample| sample.p50),
            });
        }
        Ok(serde_json::to_string_pretty(&json)? + "\n")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::write_calls::Counter;
    use std::path::Path;

    pub(crate) fn sample(server_micros: f64) -> Sample {
        Sample {
            per_second: 1e6 / server_micros,
            server_micros,
            client_micros: 5.0,
            p50: 120.0,
            p99: 900.0,
            p999: 12_345.0,
            open_rate: 20_000.0,
        }
    }

    pub(crate) fn report() -> Report {
        let comparison = |scenario, expected, rounds: &[(f64, f64)]| Comparison {
            scenario,
            expected,
            rounds: rounds.iter().map(|(a, b)| [sample(*a), sample(*b)]).collect(),
        };
        Report {
            machine: Machine::look(Path::new("no-such-program")),
            settings: Settings { rounds: 3, seconds: 2.0, products: 1000, hot: 100, product_bytes: 512, quick: false },
            imported_per_second: 50_000.0,
            from_database: 0.99,
            comparisons: vec![
                comparison("cheap", Some(1.25), &[(11.0, 10.0), (24.0, 20.0), (9.0, 9.0)]),
                comparison("dear", Some(1.5), &[(20.0, 10.0), (20.0, 20.0), (18.0, 9.0)]),
            ],
            writes: WriteCalls { larder: 0.06, bare: 1.03, counted_by: Counter::Strace },
            wrong_replies: 0,
            first_wrong: None,
        }
    }

    #[test]
    fn marks_what_costs_more_than_expected() {
        let report = report();
        assert!(!report.comparisons[0].exceeds());
        assert!(report.comparisons[1].exceeds());
    }

    #[test]
    fn json_holds_every_round_and_the_ratios() {
        let json: serde_json::Value = serde_json::from_str(&report().json().unwrap()).unwrap();
        let dear = &json["comparisons"][1];
        assert_eq!(dear["rounds"].as_array().unwrap().len(), 3);
        assert_eq!(dear["ratios"]["server_micros"]["median"], 2.0);
        assert_eq!(dear["ratios"]["server_micros"]["min"], 1.0);
        assert_eq!(json["writes"]["counted_by"], "strace");
    }
}
