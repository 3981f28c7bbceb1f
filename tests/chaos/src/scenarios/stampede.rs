//! Everybody reads a cold key at once: one replica asks the database, for all of them.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow, bail};
use larder_proto::catalog::GetProductRequest;
use larder_test_servers::Replica;
use tokio::{
    sync::Barrier,
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::{
    psql::Psql,
    report::Report,
    shop::connect,
    stage::{Setup, Stage, wait},
    world::{Plan, REPLICAS, user},
};

/// Connections to each replica that the readers of a cold key share.
const CONNECTIONS: usize = 4;
const NAME: &str = "Cold";
/// How long a slow query takes.
const SLOW: Duration = Duration::from_secs(2);
/// The length of the server's leases: no replica waits longer for a replica that died while it loaded.
const LEASE: Duration = Duration::from_secs(3);
const READERS_LIMIT: Duration = Duration::from_mins(1);
/// How soon something is asked, logged, or found again.
const LIMIT: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(10);

/// Somebody who reads the cold key.
#[derive(Debug)]
struct Reader {
    replica: usize,
    /// Whether it got the product.
    right: bool,
    begin: Instant,
    end: Instant,
}

/// What the rounds of a kind cost at most.
#[derive(Debug, Default)]
struct Most {
    queries: usize,
    wait: Duration,
}

pub(super) async fn stampede(setup: &Setup) -> anyhow::Result<Report> {
    let log = ("log_statement".to_owned(), "all".to_owned());
    let plan = |plan: &mut Plan| {
        plan.postgres.push(log);
        // A machine that is slow to answer is not a Redis that is away: then every replica loads for itself.
        plan.replicas.push(("LARDER_L2_COMMAND_TIMEOUT", "5s".to_owned()));
        plan.replicas.push(("LARDER_LOAD_TIMEOUT", "20s".to_owned()));
    };
    let mut stage = setup.stage_with(plan).await?;
    let mut session = stage.world.psql().await?;
    let readers = setup.count(5_000, 5_000);

    let (rounds, mut most) = (setup.count(3, 10), Most::default());
    for round in 0..rounds {
        let id = cold(&stage, &mut session, &format!("quick-{round}")).await?;
        let crowd = crowd(&stage, &id, readers).await?;
        judge(&mut stage, &mut session, &id, &crowd, 1, &mut most).await?;
    }
    stage.did(format!("{rounds} times {readers} readers of one cold key: {} query", most.queries));
    stage.note(format!("the longest wait {:.1?}", most.wait));

    let (rounds, mut most) = (setup.count(2, 10), Most::default());
    for round in 0..rounds {
        let id = cold(&stage, &mut session, &format!("slow-{round}")).await?;
        let mut lock = locked(&stage).await?;
        let query = async {
            first_asked(&stage, &mut session).await?;
            wait(SLOW).await;
            lock.run("COMMIT").await
        };
        let (crowd, query) = tokio::join!(crowd(&stage, &id, readers), query);
        let (crowd, _) = (crowd?, query?);
        stage.must(longest(&crowd) >= SLOW, format!("nobody waited for the query of {id}"));
        judge(&mut stage, &mut session, &id, &crowd, 1, &mut most).await?;
    }
    stage.did(format!("{rounds} times a query of {SLOW:?}: {}", most.queries));
    stage.note(format!("of a slow query {:.1?}", most.wait));

    let (rounds, mut most, mut longest) = (setup.count(1, 5), Most::default(), Duration::ZERO);
    for round in 0..rounds {
        let id = cold(&stage, &mut session, &format!("killed-{round}")).await?;
        let mut lock = locked(&stage).await?;
        let killed = async {
            let loader = first_asked(&stage, &mut session).await?;
            // By now the others' readers wait as well.
            wait(SLOW / 2).await;
            tokio::task::block_in_place(|| stage.world.replicas()[loader].kill());
            let died = Instant::now();
            lock.run("COMMIT").await?;
            anyhow::Ok((loader, died))
        };
        let (crowd, killed) = tokio::join!(crowd(&stage, &id, readers), killed);
        let (mut crowd, (loader, died)) = (crowd?, killed?);
        crowd.retain(|reader| reader.replica != loader);
        judge(&mut stage, &mut session, &id, &crowd, 2, &mut most).await?;
        let waited = crowd.iter().map(|reader| reader.end.saturating_duration_since(died)).max();
        longest = longest.max(waited.context("nobody reads")?);
        start_again(&stage, loader).await?;
    }
    stage.did(format!("{rounds} times the loader killed in the middle of it: {}", most.queries));
    stage.note(format!("with a loader that was killed {:.1?}, of that {longest:.1?} after its end", most.wait));
    stage.must_be_quick(
        longest <= LEASE,
        format!("a dead loader was waited for {longest:.1?}, a lease lasts {LEASE:?}"),
    );

    // The keys are not in the history, and something must be.
    for replica in 0..REPLICAS {
        stage.shop.get(0, replica, None).await;
    }
    Ok(stage.end().await)
}

/// Creates a product of which no replica has a copy.
async fn cold(stage: &Stage, session: &mut Psql, name: &str) -> anyhow::Result<String> {
    let id = format!("cold-{name}-key");
    session.run(&format!("INSERT INTO products (id, name) VALUES ('{id}', '{NAME}')")).await?;
    // Until every replica has learned of it, none may take what another one read.
    stage.shop.look_everywhere().await?;
    Ok(id)
}

/// Lets everybody read a product at once, on all replicas.
async fn crowd(stage: &Stage, id: &str, readers: usize) -> anyhow::Result<Vec<Reader>> {
    let mut clients = Vec::new();
    for (replica, address) in stage.world.replicas().iter().map(Replica::address).enumerate() {
        for _ in 0..CONNECTIONS {
            clients.push((replica, connect(address).await?));
        }
    }
    let (barrier, mut tasks) = (Arc::new(Barrier::new(readers)), JoinSet::new());
    for number in 0..readers {
        let (replica, mut client) = clients[number % clients.len()].clone();
        let (barrier, id) = (Arc::clone(&barrier), id.to_owned());
        tasks.spawn(async move {
            barrier.wait().await;
            let begin = Instant::now();
            let reply = client.get_product(GetProductRequest { id: id.clone(), read: None }).await;
            let product = reply.ok().and_then(|reply| reply.into_inner().product);
            let right = product.is_some_and(|product| product.id == id && product.name == NAME);
            Reader { replica, right, begin, end: Instant::now() }
        });
    }
    timeout(READERS_LIMIT, tasks.join_all()).await.context("the readers of a cold key wait for ever")
}

fn longest(crowd: &[Reader]) -> Duration {
    crowd.iter().map(|reader| reader.end - reader.begin).max().unwrap_or_default()
}

/// What must hold of the readers of a key and of the queries that they cost.
async fn judge(
    stage: &mut Stage,
    session: &mut Psql,
    id: &str,
    crowd: &[Reader],
    at_most: usize,
    most: &mut Most,
) -> anyhow::Result<()> {
    // Whatever was asked before this stands before it in PostgreSQL's log.
    let mark = format!("all of {id} is asked");
    session.run(&format!("SELECT '{mark}'")).await?;
    let log = logged(stage, &mark).await?;
    let queries: Vec<_> = log.lines().filter(|line| line.contains("parameters: ") && line.contains(id)).collect();
    let (count, wrong) = (queries.len(), crowd.iter().filter(|reader| !reader.right).count());
    stage.must((1..=at_most).contains(&count), format!("{count} queries for {id}:\n    {}", queries.join("\n    ")));
    stage.must(wrong == 0, format!("{wrong} of {} readers of {id} did not get it", crowd.len()));
    *most = Most { queries: most.queries.max(count), wait: most.wait.max(longest(crowd)) };
    Ok(())
}

/// PostgreSQL's log, when something has been written into it.
async fn logged(stage: &Stage, text: &str) -> anyhow::Result<String> {
    let begin = stage.shop.now();
    loop {
        let log = stage.world.postgres.log();
        if log.contains(text) {
            return Ok(log);
        }
        if stage.shop.now() > begin + LIMIT {
            bail!("PostgreSQL does not log: {text}");
        }
        wait(LOOK).await;
    }
}

/// Lets every query for products wait in PostgreSQL, until the session that is returned commits.
async fn locked(stage: &Stage) -> anyhow::Result<Psql> {
    let mut session = stage.world.psql().await?;
    session.run("BEGIN; LOCK TABLE products").await?;
    Ok(session)
}

/// Waits until a replica has asked the database for a product, and tells which.
async fn first_asked(stage: &Stage, session: &mut Psql) -> anyhow::Result<usize> {
    let begin = stage.shop.now();
    loop {
        let users = session.run("SELECT usename FROM pg_stat_activity WHERE wait_event_type = 'Lock'").await?;
        if let Some(asking) = (0..REPLICAS).find(|replica| users.lines().any(|name| name == user(*replica))) {
            return Ok(asking);
        }
        if stage.shop.now() > begin + LIMIT {
            bail!("nobody asks the database");
        }
        wait(LOOK).await;
    }
}

/// Starts a replica again that was killed, and waits until its clients have found it.
async fn start_again(stage: &Stage, replica: usize) -> anyhow::Result<()> {
    let restarted = stage.world.replicas()[replica].restart().await;
    restarted.map_err(|log| anyhow!("the replica did not start again:\n{log}"))?;
    let begin = stage.shop.now();
    while let Err(status) = stage.shop.look_everywhere().await {
        if stage.shop.now() > begin + LIMIT {
            bail!("the replica that was started again is not found: {status}");
        }
        wait(LOOK).await;
    }
    Ok(())
}
