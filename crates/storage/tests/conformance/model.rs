//! Random writes, each of which a follower must be told exactly once; with transactions that overlap where the database has them.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use larder_storage::{Imported, ProductRepository, Snapshot, Subject};
use rand::{Rng, SeedableRng, rngs::StdRng};
use sqlx::{Connection, PgConnection, Row};

use crate::bench::{Bench, Follower, Shell, named};

const ROUNDS: u64 = 60;
const STEPS: usize = 60;

/// Writers on several tasks, a follower beside them; what each write was told is what the follower reads, and all of it.
pub(crate) async fn random_writes_are_all_told(bench: Bench) {
    let mut follower = bench.follow().await;
    let writers: Vec<_> = (0..4_u64)
        .map(|writer| {
            let repository = Arc::clone(&bench.repository);
            tokio::spawn(async move {
                let mut random = StdRng::seed_from_u64(writer);
                let mut told = Vec::new();
                for step in 0..60 {
                    let id = format!("p{}", random.random_range(0..10));
                    let data = named(&format!("{writer}-{step}"));
                    let changes = if random.random_bool(0.3) {
                        repository.delete(&id, None).await.unwrap().changes
                    } else {
                        let done = repository.import(&[(id, data)]).await.unwrap();
                        assert_ne!(done.value, [Imported::Unchanged]);
                        done.changes
                    };
                    told.extend(changes);
                }
                told
            })
        })
        .collect();
    let mut read = Vec::new();
    while !writers.iter().all(tokio::task::JoinHandle::is_finished) {
        bench.repository.changed(Duration::from_millis(5)).await;
        read.extend(follower.changes().await);
    }
    read.extend(follower.changes().await);
    let mut written = Vec::new();
    for writer in writers {
        written.extend(writer.await.unwrap());
    }
    let sorted = |changes: &[larder_storage::Change]| {
        let mut all: Vec<String> = changes.iter().map(|change| format!("{change:?}")).collect();
        all.sort_unstable();
        all
    };
    assert_eq!(sorted(&read), sorted(&written));
}

/// One transaction of the model.
struct Writer {
    connection: PgConnection,
    /// The keys that it will have invalidated when it commits; `None` between transactions.
    pending: Option<BTreeSet<u64>>,
    /// The part of `pending` since the savepoint.
    since_savepoint: Option<BTreeSet<u64>>,
}

/// Transactions that overlap, roll back, use savepoints and commit in any order: a follower by snapshots is told of every committed
/// change once, in the very pass that begins after its commit. The same log read by a cursor loses some.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_lose_nothing_and_a_cursor_does() {
    let bench = Bench::postgres().await;
    let Shell::Postgres(_, url) = &bench.shell else { unreachable!() };
    let mut writers = Vec::new();
    for _ in 0..4 {
        writers.push(Writer {
            connection: PgConnection::connect(url).await.unwrap(),
            pending: None,
            since_savepoint: None,
        });
    }
    let mut reader = PgConnection::connect(url).await.unwrap();
    let mut follower = bench.follow().await;
    let mut cursor = follower.snapshot.xmax.saturating_sub(1);
    let (mut next_key, mut committed, mut lost) = (0_u64, 0_usize, 0_usize);
    for round in 0..ROUNDS {
        let mut random = StdRng::seed_from_u64(round);
        let mut unread = BTreeSet::new();
        let mut unread_by_cursor = BTreeSet::new();
        for step in 0..STEPS {
            let at_end = step + 1 == STEPS;
            if at_end || random.random_bool(0.2) {
                if at_end {
                    for writer in &mut writers {
                        finish(writer, true, &mut unread, &mut unread_by_cursor, &mut committed).await;
                    }
                }
                pass(&mut follower, &mut unread, round).await;
                cursor = read_by_cursor(&mut reader, cursor, &mut unread_by_cursor).await;
            } else {
                let writer = random.random_range(0..writers.len());
                let writer = &mut writers[writer];
                let choice = random.random_range(0..10);
                act(writer, choice, &mut next_key).await;
                if choice >= 8 {
                    finish(writer, choice == 8, &mut unread, &mut unread_by_cursor, &mut committed).await;
                }
            }
        }
        assert!(unread.is_empty());
        lost += unread_by_cursor.len();
    }
    println!("{committed} committed changes, all told once; a cursor lost {lost}");
    assert!(committed > 500);
    assert!(lost > 0, "the model does not commit out of order");
}

async fn act(writer: &mut Writer, choice: u32, next_key: &mut u64) {
    if writer.pending.is_none() {
        execute(&mut writer.connection, "BEGIN").await;
        // A transaction gets its number before it writes anything that is to be told.
        execute(&mut writer.connection, "SELECT pg_current_xact_id()").await;
        writer.pending = Some(BTreeSet::new());
    }
    match choice {
        0..5 => {
            let sql = format!("INSERT INTO changes (kind, key) VALUES ('key', '{next_key}')");
            execute(&mut writer.connection, &sql).await;
            writer.since_savepoint.as_mut().or(writer.pending.as_mut()).unwrap().insert(*next_key);
            *next_key += 1;
        }
        5 if writer.since_savepoint.is_none() => {
            execute(&mut writer.connection, "SAVEPOINT s").await;
            writer.since_savepoint = Some(BTreeSet::new());
        }
        6 if writer.since_savepoint.take().is_some() => {
            execute(&mut writer.connection, "ROLLBACK TO SAVEPOINT s").await;
        }
        _ => {}
    }
}

async fn finish(
    writer: &mut Writer,
    commit: bool,
    unread: &mut BTreeSet<u64>,
    unread_by_cursor: &mut BTreeSet<u64>,
    committed: &mut usize,
) {
    let Some(mut keys) = writer.pending.take() else {
        return;
    };
    keys.extend(writer.since_savepoint.take().into_iter().flatten());
    if commit {
        execute(&mut writer.connection, "COMMIT").await;
        *committed += keys.len();
        unread.extend(&keys);
        unread_by_cursor.extend(&keys);
    } else {
        execute(&mut writer.connection, "ROLLBACK").await;
    }
}

async fn pass(follower: &mut Follower, unread: &mut BTreeSet<u64>, round: u64) {
    let before: Snapshot = follower.snapshot.clone();
    for change in follower.changes().await {
        let Subject::Key(key) = &change.subject else { panic!("{change:?}") };
        assert!(!before.sees(change.id) && follower.snapshot.sees(change.id));
        assert!(unread.remove(&key.parse().unwrap()), "round {round}: {key} was not committed, or told before");
    }
    assert!(unread.is_empty(), "round {round}: not told of {unread:?}");
}

/// What the design forbids: everything above the highest number read so far.
async fn read_by_cursor(reader: &mut PgConnection, cursor: u64, unread: &mut BTreeSet<u64>) -> u64 {
    let rows = sqlx::query("SELECT xid::text, key FROM changes WHERE xid > $1::text::xid8")
        .bind(cursor.to_string())
        .fetch_all(reader)
        .await
        .unwrap();
    let mut highest = cursor;
    for row in rows {
        highest = highest.max(row.get::<String, _>(0).parse().unwrap());
        unread.remove(&row.get::<String, _>(1).parse().unwrap());
    }
    highest
}

async fn execute(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(connection).await.unwrap();
}
