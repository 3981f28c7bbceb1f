//! What it costs to invalidate many copies at once, by how many there are: `larder-bench invalidation`.
//!
//! Two servers differ in the number of products that they hold copies of, in L1 and in a Redis of their own. Categories, tags,
//! patterns and everything are invalidated through `CacheAdmin` again and again; the time of a call and the Redis commands that
//! it takes are compared.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use larder_proto::admin::{
    InvalidateAllRequest, InvalidateCategoriesRequest, InvalidatePatternRequest, InvalidateTagsRequest,
    cache_admin_client::CacheAdminClient,
};
use larder_test_servers::{Redis, RedisOptions};
use tonic::transport::{Channel, Endpoint};

use crate::{
    cli::Invalidation,
    fill::fill,
    l2::read_all,
    load::Calls,
    machine::Machine,
    products::CATEGORIES,
    render::{Form, table},
    run::progress,
    scenario::{GET, database_requests},
    server::{ServerProcess, larder_binary},
    stats::median,
};

/// Calls of each kind, in turn at both servers.
const CALLS: usize = 100;
const KINDS: [&str; 4] = ["a category", "a tag", "a pattern", "everything"];

/// A server with copies of so many products.
struct Side {
    keys: u32,
    admin: CacheAdminClient<Channel>,
    redis: Redis,
    _server: ServerProcess,
    _directory: tempfile::TempDir,
}

/// Measures and reports.
pub(crate) async fn run(wanted: &Invalidation) -> anyhow::Result<String> {
    let binary = larder_binary(wanted.larder.clone())?;
    progress(&Machine::look(&binary).line());
    let mut sides = Vec::new();
    for keys in [wanted.few, wanted.many] {
        sides.push(Side::start(&binary, keys).await?);
        progress(&format!("{keys} products are in L1 and in Redis"));
    }
    let mut rows =
        vec![["invalidated", "keys", "p50 of a call", "Redis commands per call"].map(str::to_owned).to_vec()];
    for kind in KINDS {
        let mut took = vec![Vec::new(); sides.len()];
        let mut before = Vec::new();
        for side in &sides {
            before.push(side.commands().await?);
        }
        for number in 0..CALLS {
            for (side, took) in sides.iter_mut().zip(&mut took) {
                let begun = std::time::Instant::now();
                side.invalidate(kind, number).await?;
                took.push(begun.elapsed().as_secs_f64() * 1e6);
            }
        }
        for ((side, took), before) in sides.iter().zip(took).zip(before) {
            // The question itself is one of them; presence and health checks go on besides.
            #[expect(clippy::cast_precision_loss, reason = "far fewer commands than 2^53")]
            let commands = (side.commands().await? - before) as f64 / CALLS as f64;
            let p50 = median(took).context("no call")?;
            rows.push(vec![kind.to_owned(), side.keys.to_string(), format!("{p50:.0} µs"), format!("{commands:.1}")]);
        }
    }
    Ok(table(Form::Markdown, &rows) + "\n")
}

impl Side {
    async fn start(binary: &std::path::Path, keys: u32) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir().context("no temporary directory")?;
        let redis = Redis::start(RedisOptions::default()).await;
        let settings = [
            ("REDIS_URL", redis.url()),
            ("LARDER_L1_ENTRIES", (keys * 2).to_string()),
            ("LARDER_L1_BYTES", "4GiB".to_owned()),
        ];
        let server = ServerProcess::larder(binary, directory.path(), "invalidated", &settings)?;
        fill(server.target.address, keys as usize).await?;
        let calls = Arc::new(Calls::new(GET, database_requests(keys as usize)));
        read_all(server.target.address, &calls).await?;
        let admin = server.admin.context("no CacheAdmin")?;
        let channel = Endpoint::from_shared(format!("http://{admin}"))?.connect().await?;
        let admin = CacheAdminClient::new(channel);
        Ok(Self { keys, admin, redis, _server: server, _directory: directory })
    }

    async fn invalidate(&mut self, kind: &str, number: usize) -> anyhow::Result<()> {
        let (wait, dry_run) = (Some(prost_types::Duration::default()), false);
        match kind {
            "a category" => {
                let categories = vec![CATEGORIES[number % CATEGORIES.len()].to_owned()];
                self.admin.invalidate_categories(InvalidateCategoriesRequest { categories, dry_run, wait }).await?;
            }
            "a tag" => {
                let tags = vec![format!("shelf-{number}")];
                self.admin.invalidate_tags(InvalidateTagsRequest { tags, dry_run, wait }).await?;
            }
            "a pattern" => {
                let pattern = format!("product:bench-*{number}");
                self.admin.invalidate_pattern(InvalidatePatternRequest { pattern, dry_run, wait }).await?;
            }
            _ => {
                self.admin.invalidate_all(InvalidateAllRequest { dry_run, wait }).await?;
            }
        }
        Ok(())
    }

    async fn commands(&self) -> anyhow::Result<u64> {
        let info = tokio::time::timeout(Duration::from_secs(5), self.redis.cli(&["INFO", "stats"])).await?;
        let line = info.lines().find_map(|line| line.trim().strip_prefix("total_commands_processed:"));
        line.and_then(|count| count.parse().ok()).context("INFO tells no count of commands")
    }
}
