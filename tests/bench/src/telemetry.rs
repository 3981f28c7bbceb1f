//! Hits while the receiver of spans and metrics answers, is away, or hangs: `larder-bench telemetry`.
//!
//! Four servers hold the same products in L1 and are asked for them in turn, round by round. One exports nothing; the others trace the
//! same share of calls and differ in their receiver alone. Ratios are those to the server whose receiver answers.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use larder_test_servers::free_port;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::{
    cli::Telemetry,
    fill::fill,
    l2::read_all,
    load::{Calls, Outcome, Shape, Window, closed},
    machine::Machine,
    render::{Form, table},
    run::progress,
    scenario::{GET, database_requests},
    server::{ServerProcess, larder_binary},
    stats::{Ratio, median},
};

const SHAPE: Shape = Shape { connections: 8, streams: 32 };
/// The receivers, by their rows.
const RECEIVERS: [(&str, Option<Receiver>); 4] = [
    ("none, nothing is exported", None),
    ("answers", Some(Receiver::Answers)),
    ("away", Some(Receiver::Away)),
    ("hangs", Some(Receiver::Hangs)),
];
/// The row to which ratios are.
const REFERENCE: usize = 1;

/// What a receiver does with exports.
#[derive(Debug, Clone, Copy)]
enum Receiver {
    /// It takes them and answers.
    Answers,
    /// Nobody listens.
    Away,
    /// It accepts connections and never reads from them.
    Hangs,
}

/// Measures and reports.
pub(crate) async fn run(wanted: &Telemetry) -> anyhow::Result<String> {
    let binary = larder_binary(wanted.larder.clone())?;
    progress(&Machine::look(&binary).line());
    let directory = tempfile::tempdir().context("no temporary directory")?;
    // Dropped at the end, and the receivers with it.
    let mut receivers = JoinSet::new();
    let mut servers = Vec::new();
    for (number, (_, receiver)) in RECEIVERS.iter().enumerate() {
        let address = match receiver {
            None => None,
            Some(receiver) => Some(receiver.start(&mut receivers).await?),
        };
        let name = format!("telemetry-{number}");
        servers.push(ServerProcess::larder(&binary, directory.path(), &name, &settings(address, wanted.sampled))?);
    }
    fill(servers[0].target.address, wanted.products as usize).await?;
    let calls = Arc::new(Calls::new(GET, database_requests(wanted.products as usize)));
    for server in &servers {
        read_all(server.target.address, &calls).await?;
    }

    let window = Window {
        warm_up: Duration::from_secs_f64(wanted.seconds * 0.15),
        measured: Duration::from_secs_f64(wanted.seconds * 0.85),
    };
    let mut rounds = Vec::new();
    for round in 1..=wanted.rounds {
        progress(&format!("round {round} of {}", wanted.rounds));
        let mut outcomes = Vec::new();
        for server in &servers {
            let outcome = closed(server.target, &calls, SHAPE, window).await?;
            let faults = &outcome.faults;
            ensure!(faults.count == 0, "{} wrong replies: {:?}", faults.count, faults.first);
            outcomes.push(outcome);
        }
        rounds.push(outcomes);
    }
    Ok(report(&rounds))
}

/// Exports are frequent, so that every measurement has some.
fn settings(receiver: Option<SocketAddr>, sampled: f64) -> Vec<(&'static str, String)> {
    let Some(receiver) = receiver else { return Vec::new() };
    vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{receiver}")),
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio".to_owned()),
        ("OTEL_TRACES_SAMPLER_ARG", sampled.to_string()),
        ("OTEL_BSP_SCHEDULE_DELAY", "200".to_owned()),
        ("OTEL_METRIC_EXPORT_INTERVAL", "1000".to_owned()),
    ]
}

fn report(rounds: &[Vec<Outcome>]) -> String {
    let mut rows = vec![
        ["receiver", "CPU µs per request", "ratio", "p50, µs", "ratio", "p99, µs", "ratio"].map(str::to_owned).to_vec(),
    ];
    for (row, (name, _)) in RECEIVERS.iter().enumerate() {
        let mut cells = vec![(*name).to_owned()];
        let figures: [&dyn Fn(&Outcome) -> f64; 3] =
            [&Outcome::server_micros, &|outcome| outcome.latencies.micros(0.5), &|outcome| {
                outcome.latencies.micros(0.99)
            }];
        for (figure, digits) in figures.into_iter().zip([1, 0, 0]) {
            let all = rounds.iter().map(|outcomes| figure(&outcomes[row]));
            cells.push(median(all).map_or_else(String::new, |median| format!("{median:.digits$}")));
            let pairs = rounds.iter().map(|outcomes| (figure(&outcomes[row]), figure(&outcomes[REFERENCE])));
            let shown = |ratio: Ratio| format!("{:.2} ({:.2}–{:.2})", ratio.median, ratio.min, ratio.max);
            cells.push(Ratio::of(pairs).map_or_else(String::new, shown));
        }
        rows.push(cells);
    }
    table(Form::Markdown, &rows) + "\n"
}

impl Receiver {
    /// Starts the receiver, and returns where Larder looks for it.
    async fn start(self, tasks: &mut JoinSet<()>) -> anyhow::Result<SocketAddr> {
        if matches!(self, Self::Away) {
            return Ok(SocketAddr::from(([127, 0, 0, 1], free_port())));
        }
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tasks.spawn(async move {
            let mut answering = JoinSet::new();
            let mut unread = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                match self {
                    Self::Answers => drop(answering.spawn(answer_all(stream))),
                    Self::Away | Self::Hangs => unread.push(stream),
                }
            }
        });
        Ok(address)
    }
}

/// Answers every export on a connection.
async fn answer_all(stream: TcpStream) -> Result<(), h2::Error> {
    let mut connection = h2::server::handshake(stream).await?;
    let mut exports = JoinSet::new();
    while let Some(export) = connection.accept().await {
        let (request, respond) = export?;
        exports.spawn(answer(request.into_body(), respond));
    }
    Ok(())
}

/// Reads an export, and answers that all of it was taken: with a message that has no field.
async fn answer(mut export: h2::RecvStream, mut respond: h2::server::SendResponse<Bytes>) -> Result<(), h2::Error> {
    const EMPTY: &[u8] = &[0; 5];
    while let Some(chunk) = export.data().await {
        export.flow_control().release_capacity(chunk?.len())?;
    }
    let mut head = Response::new(());
    head.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    let mut reply = respond.send_response(head, false)?;
    reply.send_data(Bytes::from_static(EMPTY), false)?;
    let status = (HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"));
    reply.send_trailers(HeaderMap::from_iter([status]))
}
