//! What an attacker, or a broken client, does.

mod floods;
mod holds;
mod work;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use clap::ValueEnum;
use larder_test_servers::wire::{
    ACK, CONTINUATION, END_STREAM, HEADERS, PING, PRIORITY, SETTINGS, WINDOW_UPDATE, frame, literal, request,
};
use tokio::{runtime::Handle, task::JoinSet, time::sleep};

use crate::{load::Mix, target::Target};

/// An attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Attack {
    /// Batches that name one large product 1,000 times, over connections that read nothing
    SlowReaders,
    /// More connections than there are places for, with one byte each
    SilentConnections,
    /// 10,000 calls whose message never comes
    BegunCalls,
    /// 200 messages of 4 MiB, each sent but for its end
    UnfinishedMessages,
    /// 5,000 imports that send nothing
    SilentImports,
    /// 5,000 streams of changes
    Watches,
    /// 5,000 streams of health checks
    HealthWatches,
    /// 400 connections to HTTP that send half a request
    SilentWebhooks,
    /// PRIORITY frames without end
    PriorityFlood,
    /// `WINDOW_UPDATE` frames without end
    WindowFlood,
    /// Frames of an unknown type without end
    UnknownFlood,
    /// PING frames, and acknowledgements that nobody asked for
    PingFlood,
    /// SETTINGS frames without end
    SettingsFlood,
    /// Calls that are reset as soon as they begin (CVE-2023-44487)
    RapidReset,
    /// Headers without end (CVE-2024-27316)
    Continuations,
    /// Headers that unpack to 40 MB
    HeaderBomb,
    /// Messages that are no messages, and messages above the limit
    MalformedMessages,
    /// 200,000 ids of no product, as fast as they are answered
    UnknownIds,
    /// Ten times the searches and lists that the replica can answer
    Overload,
    /// Searches whose callers give up after 5 ms
    Impatience,
    /// More writes than the database takes
    Writes,
    /// Ten times the reads from memory that the replica can answer
    TenfoldReads,
    /// Ten times the searches that the replica can answer
    TenfoldSearches,
    /// Ten times the writes that the replica can answer
    TenfoldWrites,
    /// Ten times the calls that the replica can answer, of which one in twenty writes
    Tenfold,
}

/// Where an attacker attacks, and from where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub(crate) catalog: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) source: IpAddr,
}

/// The attackers of one attack, until this is dropped.
pub(crate) struct Attackers {
    tasks: JoinSet<()>,
    runtime: Handle,
}

/// Between two attempts to connect, where the replica refuses.
const AGAIN: Duration = Duration::from_millis(20);

impl Attackers {
    pub(crate) fn on(runtime: &Handle) -> Self {
        Self { tasks: JoinSet::new(), runtime: runtime.clone() }
    }
}

impl Field {
    pub(crate) fn of(target: &Target) -> Self {
        // All of 127.0.0.0/8 is this machine on Linux, and nowhere else.
        let source = if cfg!(target_os = "linux") { Ipv4Addr::new(127, 0, 0, 2) } else { Ipv4Addr::LOCALHOST };
        Self { catalog: target.address(), http: target.http, source: source.into() }
    }
}

impl Attack {
    pub(crate) fn all() -> Vec<Self> {
        Self::value_variants().to_vec()
    }

    /// Its name on the command line, and what it is about.
    pub(crate) fn described(self) -> (String, String) {
        let value = self.to_possible_value();
        let value = value.as_ref();
        let about = value.and_then(|value| value.get_help().map(ToString::to_string));
        (value.map_or_else(String::new, |value| value.get_name().to_owned()), about.unwrap_or_default())
    }

    /// The calls of which there are to be ten times as many as the replica can answer.
    pub(crate) fn tenfold(self) -> Option<Mix> {
        match self {
            Self::TenfoldReads => Some(Mix([100, 0, 0])),
            Self::TenfoldSearches => Some(Mix([0, 100, 0])),
            Self::TenfoldWrites => Some(Mix([0, 0, 100])),
            Self::Tenfold => Some(Mix([95, 0, 5])),
            _ => None,
        }
    }

    /// Variables of the replica. Places are few, so that an attacker who may open few sockets takes all of them.
    pub(crate) fn variables(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::SilentConnections => &[("LARDER_MAX_CONNECTIONS", "400")],
            _ => &[],
        }
    }

    /// Begins the attack, which goes on until its tasks are aborted.
    pub(crate) fn begin(self, field: &Field, attackers: &mut Attackers) {
        let field = *field;
        match self {
            Self::SlowReaders => crowd(attackers, 8, move || holds::slow_reader(field)),
            Self::SilentConnections => crowd(attackers, 700, move || holds::silent(field)),
            Self::BegunCalls => crowd(attackers, 10, move || holds::begun(field, "GetProduct", 1_000)),
            Self::UnfinishedMessages => crowd(attackers, 20, move || holds::unfinished(field, 10)),
            Self::SilentImports => crowd(attackers, 10, move || holds::begun(field, "ImportProducts", 500)),
            Self::Watches => crowd(attackers, 10, move || holds::watching(field, 500)),
            Self::HealthWatches => crowd(attackers, 10, move || holds::watching_health(field, 500)),
            Self::SilentWebhooks => crowd(attackers, 400, move || holds::half_a_request(field)),
            Self::PriorityFlood => flood(attackers, field, frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 16])),
            Self::WindowFlood => flood(attackers, field, frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
            Self::UnknownFlood => flood(attackers, field, frame(0x55, 0, 0, b"anything")),
            Self::PingFlood => {
                flood(attackers, field, [frame(PING, 0, 0, &[0; 8]), frame(PING, ACK, 0, &[0; 8])].concat());
            }
            Self::SettingsFlood => flood(attackers, field, frame(SETTINGS, 0, 0, &[])),
            Self::RapidReset => crowd(attackers, 4, move || floods::rapid_reset(field)),
            Self::Continuations => crowd(attackers, 4, move || {
                let begin = frame(HEADERS, END_STREAM, 1, &request("GetProduct", &[]));
                floods::flood(field, begin, frame(CONTINUATION, 0, 1, &literal("x", &"y".repeat(10_000))))
            }),
            Self::HeaderBomb => crowd(attackers, 4, move || floods::header_bombs(field)),
            Self::MalformedMessages => crowd(attackers, 8, move || work::malformed(field)),
            Self::UnknownIds => crowd(attackers, 64, move || work::unknown_ids(field)),
            Self::Overload => crowd(attackers, 256, move || work::searches(field, Duration::from_secs(5))),
            Self::Impatience => crowd(attackers, 64, move || work::searches(field, Duration::from_millis(5))),
            Self::Writes => crowd(attackers, 256, move || work::writes(field)),
            Self::TenfoldReads | Self::TenfoldSearches | Self::TenfoldWrites | Self::Tenfold => {}
        }
    }
}

/// So many attackers, each of whom begins again when it is cut off.
fn crowd<F>(attackers: &mut Attackers, count: u32, attack: impl Fn() -> F + Clone + Send + 'static)
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    for _ in 0..count {
        let attack = attack.clone();
        attackers.tasks.spawn_on(
            async move {
                loop {
                    // A connection that is refused or cut is what the replica is to do.
                    let _ = attack().await;
                    sleep(AGAIN).await;
                }
            },
            &attackers.runtime,
        );
    }
}

fn flood(attackers: &mut Attackers, field: Field, frame: Vec<u8>) {
    crowd(attackers, 4, move || floods::flood(field, Vec::new(), frame.clone()));
}
