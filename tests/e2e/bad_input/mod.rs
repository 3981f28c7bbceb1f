//! Every kind of bad input, and what is answered: one table.

mod products;
mod reads;
mod wire;

use tonic::Status;

use crate::harness::{Database, Refusal, Server, on_both_databases, product, read_refusal};

on_both_databases!(bad_input_is_refused_with_code_reason_and_fields);

async fn bad_input_is_refused_with_code_reason_and_fields(database: &Database) {
    let server = Server::start_with(database, |config| config.server.limits.response_bytes = 64 << 10).await;
    server.import((0..9).map(|number| product(&format!("p{number}")))).await;
    let mut table = Table { cases: 0, failures: Vec::new() };
    products::creations(&server, &mut table).await;
    products::updates(&server, &mut table).await;
    products::others(&server, &mut table).await;
    reads::reads(&server, &mut table).await;
    reads::lists(&server, &mut table).await;
    reads::searches(&server, &mut table).await;
    reads::page_tokens(&server, &mut table).await;
    reads::tokens(&server, &mut table).await;
    wire::bodies(&server, &mut table).await;
    wire::calls(&server, &mut table).await;
    wire::timeouts(&server, &mut table).await;
    let Table { cases, failures } = table;
    assert!(failures.is_empty(), "{} of {cases} cases:\n{}", failures.len(), failures.join("\n"));
    server.get("p0").await;
    server.stop().await;
}

/// The cases that were tried, and what was wrong.
struct Table {
    cases: usize,
    failures: Vec<String>,
}

impl Table {
    /// A call that must be refused in one way.
    #[expect(clippy::needless_pass_by_value, reason = "nobody has a use for an outcome that was checked")]
    fn refused<T>(&mut self, case: &str, outcome: Result<T, Status>, expected: &Refusal) {
        self.cases += 1;
        let found = match &outcome {
            Ok(_) => Err("it was not refused".to_owned()),
            Err(status) => read_refusal(status).map_err(|broken| format!("{broken}: {status:?}")),
        };
        match found {
            Ok(found) if found == *expected => {}
            Ok(found) => self.failures.push(format!("{case}: {found:?} instead of {expected:?}")),
            Err(broken) => self.failures.push(format!("{case}: {broken}")),
        }
    }

    /// A call that must be refused because of fields.
    fn invalid<T>(&mut self, case: &str, outcome: Result<T, Status>, fields: &[&str]) {
        self.refused(case, outcome, &Refusal::invalid(fields));
    }

    /// Anything else that must hold.
    fn holds(&mut self, case: &str, holds: bool) {
        self.cases += 1;
        if !holds {
            self.failures.push(case.to_owned());
        }
    }
}
