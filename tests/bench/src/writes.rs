//! Writes per second over PostgreSQL, of one binary or of several beside one another: `larder-bench writes`.
//!
//! Each binary has a database of its own on one server that flushes its commits, and no Redis. In each round, each binary in turn is
//! sent updates by as many writers as wanted, each of which has one connection and one product and waits for every reply.

use std::{
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use larder_proto::catalog::{UpdateProductRequest, product_catalog_client::ProductCatalogClient};
use larder_test_servers::{Postgres, PostgresOptions};
use tonic::transport::{Channel, Endpoint};

use crate::{
    cli::Writes,
    fill::fill,
    machine::Machine,
    products,
    render::{Form, table},
    run::progress,
    server::{ServerProcess, larder_binary},
    stats::{Ratio, median},
};

/// What one binary did in one round.
struct Round {
    per_second: f64,
    /// Milliseconds from a request to its reply: the median, and the 99th percentile.
    p50: f64,
    p99: f64,
}

/// Measures and reports; ratios are those to the first binary.
pub(crate) async fn run(wanted: &Writes) -> anyhow::Result<String> {
    let binaries = match wanted.larder.as_slice() {
        [] => vec![larder_binary(None)?],
        named => named.iter().map(|path| larder_binary(Some(path.clone()))).collect::<Result<_, _>>()?,
    };
    progress(&Machine::look(&binaries[0]).line());
    let directory = tempfile::tempdir()?;
    let postgres = Postgres::start(PostgresOptions { fsync: true, ..PostgresOptions::default() }).await;
    let mut servers = Vec::new();
    for (number, binary) in binaries.iter().enumerate() {
        let settings = [("DATABASE_URL", postgres.create_database().await)];
        let server = ServerProcess::larder(binary, directory.path(), &format!("writes-{number}"), &settings)?;
        fill(server.target.address, wanted.writers as usize).await?;
        servers.push((binary, server, Vec::new()));
    }
    for round in 1..=wanted.rounds {
        progress(&format!("round {round} of {}", wanted.rounds));
        for (_, server, rounds) in &mut servers {
            rounds.push(write(server.target.address, wanted).await?);
        }
    }
    let mut rows =
        vec![["", "writes/s", "p50, ms", "p99, ms", "writes/s ÷ those of the first"].map(str::to_owned).to_vec()];
    for (binary, _, rounds) in &servers {
        rows.push(row(binary, rounds, &servers[0].2));
    }
    Ok(table(Form::Markdown, &rows) + "\n")
}

fn row(binary: &Path, rounds: &[Round], first: &[Round]) -> Vec<String> {
    let shown = |of: fn(&Round) -> f64, digits: usize| {
        median(rounds.iter().map(of)).map_or_else(String::new, |figure| format!("{figure:.digits$}"))
    };
    let pairs = rounds.iter().zip(first).map(|(ours, theirs)| (ours.per_second, theirs.per_second));
    let ratio = Ratio::of(pairs);
    let ratio =
        ratio.map_or_else(String::new, |ratio| format!("{:.2} ({:.2} to {:.2})", ratio.median, ratio.min, ratio.max));
    vec![
        binary.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        shown(|round| round.per_second, 0),
        shown(|round| round.p50, 1),
        shown(|round| round.p99, 1),
        ratio,
    ]
}

/// Writes for as long as wanted.
#[expect(clippy::cast_precision_loss, reason = "far fewer writes than 2^53")]
async fn write(server: SocketAddr, wanted: &Writes) -> anyhow::Result<Round> {
    let mut clients = Vec::new();
    for _ in 0..wanted.writers {
        let channel = Endpoint::from_shared(format!("http://{server}"))?.connect().await?;
        clients.push(ProductCatalogClient::new(channel));
    }
    let begun = Instant::now();
    let until = begun + Duration::from_secs_f64(wanted.seconds);
    let writers = clients.into_iter().enumerate().map(|(number, client)| write_until(client, number, until));
    let told = futures_util::future::try_join_all(writers).await?;
    let took = begun.elapsed().as_secs_f64();
    let mut millis: Vec<f64> = told.into_iter().flatten().map(|took| took.as_secs_f64() * 1e3).collect();
    millis.sort_by(f64::total_cmp);
    let at = |thousandths: usize| millis.get(millis.len() * thousandths / 1_000).copied().unwrap_or_default();
    Ok(Round { per_second: millis.len() as f64 / took, p50: at(500), p99: at(990) })
}

async fn write_until(
    mut client: ProductCatalogClient<Channel>,
    number: usize,
    until: Instant,
) -> anyhow::Result<Vec<Duration>> {
    let mut took = Vec::new();
    while Instant::now() < until {
        let mut product = products::product(number);
        product.name = format!("{} {}", product.name, took.len());
        let request = UpdateProductRequest { product: Some(product), ..UpdateProductRequest::default() };
        let begun = Instant::now();
        client.update_product(request).await?;
        took.push(begun.elapsed());
    }
    Ok(took)
}
