//! Another life of the database that looks like the same one, however it came to be.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use larder_storage::{
    Changes, Incarnation, Product, ProductRepository, ReadPoint, Recalled, Replay, Repository, StorageConfig, Token,
    WriteOptions,
};
use larder_test_servers::{Postgres, PostgresOptions};

use crate::{
    basics::full,
    bench::{Bench, Follower, Shell, named, until},
};

async fn write(repository: &Repository, id: &str) -> Token {
    let done = repository.import(&[(id.to_owned(), named(&format!("{}", rand::random::<u64>())))]).await.unwrap();
    done.commit.unwrap()
}

async fn recall(repository: &Repository, commits: &[Token]) -> Vec<Recalled> {
    let asked: Vec<_> = commits.iter().map(|commit| commit.witness()).collect();
    repository.recall(&asked).await.unwrap().changes
}

async fn point(repository: &Repository) -> ReadPoint {
    repository.get(&[]).await.unwrap().point
}

/// What `larder database new-incarnation` does.
pub(crate) async fn another_life_is_named_by_hand(bench: Bench) {
    let mut follower = bench.follow().await;
    let before = follower.incarnation;
    let commit = write(&bench.repository, "a").await;
    follower.changes().await;
    bench.another().await.begin_life().await.unwrap();
    follower.window(100).await;
    assert_ne!(follower.incarnation, before);
    assert_eq!(point(&bench.repository).await.incarnation, Some(follower.incarnation), "loads agree with passes");
    assert_eq!(recall(&bench.repository, &[commit]).await, [Recalled::Here], "nothing was lost");
    write(&bench.repository, "a").await;
    assert_eq!(follower.told().await, ["put a"]);
}

pub(crate) async fn a_commit_is_recalled_by_id_and_salt(bench: Bench) {
    let mut commits = Vec::new();
    for _ in 0..3 {
        commits.push(write(&bench.repository, "a").await);
    }
    let replayed = WriteOptions { request_id: Some("r".to_owned()), validate_only: false };
    let created = bench.repository.create("b", &full(), &replayed).await.unwrap();
    commits.push(created.commit.unwrap());
    assert!(created.changes.iter().any(|change| change.salt == commits[3].salt));
    assert_eq!(recall(&bench.repository, &commits).await, [Recalled::Here; 4]);
    let other = Token { salt: commits[0].salt ^ 1, ..commits[0] };
    // Other databases of the same server take transaction ids meanwhile, but not that many.
    let future = Token { id: commits[3].id + (1 << 40), ..commits[3] };
    let asked = [other, commits[1], future];
    assert_eq!(recall(&bench.repository, &asked).await, [Recalled::Unknown, Recalled::Here, Recalled::Unknown]);
    crate::log::prune_all(&bench, if bench.is_postgres() { 3 } else { 4 }).await;
    let asked = [commits[0], other, commits[3], future];
    let told = [Recalled::Pruned, Recalled::Pruned, Recalled::Here, Recalled::Unknown];
    assert_eq!(recall(&bench.repository, &asked).await, told);
}

async fn server() -> (Arc<Postgres>, Bench) {
    let server = Arc::new(Postgres::start(PostgresOptions::default()).await);
    let url = server.create_database().await;
    let bench = Bench::over(Shell::Postgres(Arc::clone(&server), url.clone()), url).await;
    (server, bench)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_postgres_is_another_incarnation_and_keeps_commits() {
    let (server, bench) = server().await;
    let mut follower = bench.follow().await;
    let commit = write(&bench.repository, "a").await;
    follower.changes().await;
    let before = follower.incarnation;
    server.restart().await;
    follower.window(100).await;
    assert_ne!(follower.incarnation, before, "a cold copy is put back under a server that was stopped, too");
    assert_eq!(point(&bench.repository).await.incarnation, Some(follower.incarnation));
    assert_eq!(recall(&bench.repository, &[commit]).await, [Recalled::Here]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cold_copy_of_postgres_put_back_is_another_incarnation() {
    let (server, bench) = server().await;
    let kept = write(&bench.repository, "a").await;
    let copy = server.cold_copy().await;
    let mut follower = bench.follow().await;
    let lost: Vec<Token> = vec![write(&bench.repository, "a").await, write(&bench.repository, "b").await];
    follower.changes().await;
    let (before, position) = (follower.incarnation, follower.snapshot.clone());
    server.restore(copy).await;
    // Ids of the lost life are used again before anybody looks.
    until("the ids to be used again", || async {
        write(&bench.repository, "c").await.id > lost[1].id
            && point(&bench.repository).await.snapshot.xmax > position.xmax
    })
    .await;
    follower.window(100).await;
    assert_ne!(follower.incarnation, before);
    let asked = [kept, lost[0], lost[1]];
    assert_eq!(recall(&bench.repository, &asked).await, [Recalled::Here, Recalled::Unknown, Recalled::Unknown]);
    assert_eq!(bench.repository.replay(&position, before, 100).await.unwrap(), Replay::OtherLife);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dump_restored_over_the_live_database_is_another_incarnation() {
    let server = Postgres::shared().await;
    let url = server.create_database().await;
    let mut bench = Bench::over(Shell::Postgres(Arc::clone(&server), url.clone()), url.clone()).await;
    // One connection, which has every statement prepared before the tables are replaced.
    bench.config.max_connections = 1;
    let repository = Arc::new(bench.another().await);
    let kept = write(&repository, "a").await;
    let dump = server.dump(&url).await;
    let mut follower = Follower::begin(Arc::clone(&repository)).await;
    let lost = write(&repository, "a").await;
    follower.changes().await;
    for _ in 0..3 {
        assert_eq!(point(&repository).await.incarnation, Some(follower.incarnation));
        assert!(follower.changes().await.is_empty());
    }
    let before = follower.incarnation;
    server.restore_dump(&dump, &url, &["--clean", "--if-exists"]).await;
    let loaded = point(&repository).await.incarnation;
    assert!(loaded.is_some() && loaded != Some(before), "a load knows at once");
    follower.window(100).await;
    assert_eq!(loaded, Some(follower.incarnation));
    assert_eq!(recall(&repository, &[kept, lost]).await, [Recalled::Here, Recalled::Unknown]);
    let incarnation = write(&repository, "a").await.incarnation;
    assert_eq!(incarnation, follower.incarnation, "and so does a write");
    assert_eq!(follower.told().await, ["put a"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_of_another_server_is_removed_once() {
    let (old, bench) = server().await;
    bench.sql("DO $$ BEGIN FOR i IN 1..3000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$").await;
    write(&bench.repository, "a").await;
    until("a row to be pruned", || async {
        write(&bench.repository, "a").await;
        bench.repository.prune(std::time::Duration::ZERO).await.unwrap() > 0
    })
    .await;
    let lost = write(&bench.repository, "b").await;
    let Shell::Postgres(_, old_url) = &bench.shell else { unreachable!() };
    let dump = old.dump(old_url).await;

    let server = Arc::new(Postgres::start(PostgresOptions::default()).await);
    let url = server.create_database().await;
    server.restore_dump(&dump, &url, &[]).await;
    let above = "SELECT count(*) FROM changes WHERE xid >= pg_snapshot_xmax(pg_current_snapshot())";
    assert_ne!(server.psql(&url, above).await, "0", "the old server's ids are higher");
    let mut repositories = Vec::new();
    for _ in 0..3 {
        repositories.push(Arc::new(Repository::connect(&StorageConfig::new(&url)).await.unwrap()));
    }
    let mut followers = Vec::new();
    for repository in &repositories {
        until("a first pass", || async { repository.pass(None, 100).await.is_ok() }).await;
        followers.push(Follower::begin(Arc::clone(repository)).await);
    }
    let incarnations: Vec<Incarnation> = followers.iter().map(|follower| follower.incarnation).collect();
    assert!(incarnations.iter().all(|one| *one == incarnations[0]), "once: {incarnations:?}");
    assert_eq!(server.psql(&url, above).await, "0");
    for follower in &mut followers {
        assert_eq!(follower.told().await, [""; 0], "a second pass has nothing to tell");
        assert_eq!(follower.incarnation, incarnations[0]);
    }
    assert_ne!(recall(&repositories[0], &[lost]).await, [Recalled::Here]);
    write(&repositories[0], "c").await;
    for follower in &mut followers {
        assert_eq!(follower.told().await, ["put c"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_from_before_they_had_salts_get_some() {
    let bench = Bench::postgres().await;
    bench.sql("ALTER TABLE changes DROP COLUMN salt; DELETE FROM larder_migrations WHERE version = 3").await;
    bench.sql("INSERT INTO products (id, name) SELECT 'p' || n, 'x' FROM generate_series(1, 100) n").await;
    // A release that knows no salts goes on beside the migration.
    let upgraded = bench.another().await;
    assert_eq!(bench.number("SELECT count(DISTINCT salt) FROM changes").await, 100);
    let commit = write(&upgraded, "a").await;
    bench.sql("INSERT INTO products (id, name) VALUES ('typed', 'x')").await;
    assert_eq!(bench.number("SELECT count(DISTINCT salt) FROM changes").await, 102);
    assert_eq!(recall(&upgraded, &[commit]).await, [Recalled::Here]);
}

fn path(bench: &Bench) -> PathBuf {
    let Shell::Sqlite(_, path) = &bench.shell else { unreachable!() };
    path.clone()
}

/// Copies the content, as a backup does.
async fn back_up(bench: &Bench, name: &str) -> PathBuf {
    let copy = path(bench).with_extension(name);
    bench.sql(&format!(".backup '{}'", copy.display())).await;
    copy
}

/// Puts the content back into the same file.
async fn put_back(bench: &Bench, copy: &Path) {
    bench.sql(&format!(".restore '{}'", copy.display())).await;
}

async fn get(repository: &Repository, id: &str) -> (Option<Product>, Option<Incarnation>) {
    let loaded = repository.get(&[id.to_owned()]).await.unwrap();
    (loaded.value.found.into_iter().next(), loaded.point.incarnation)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_life_that_only_a_load_has_seen_is_missed() {
    let bench = Bench::sqlite().await;
    write(&bench.repository, "a").await;
    let copy = back_up(&bench, "copy").await;
    let mut follower = bench.follow().await;
    let before = follower.incarnation;
    // Between two passes: a change, a load that sees it, and everything as it was.
    bench.sql("UPDATE products SET name = 'lost'").await;
    let (lost, incarnation) = get(&bench.repository, "a").await;
    assert_eq!((lost.unwrap().data.name.as_str(), incarnation), ("lost", Some(before)));
    put_back(&bench, &copy).await;
    follower.window(100).await;
    assert_ne!(follower.incarnation, before, "whoever kept what was loaded drops it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_load_does_not_hide_it() {
    let bench = Bench::sqlite().await;
    for id in ["a", "b"] {
        write(&bench.repository, id).await;
    }
    let copy = back_up(&bench, "copy").await;
    let mut follower = bench.follow().await;
    let before = follower.incarnation;
    bench.sql("UPDATE products SET name = 'lost' WHERE id = 'a'").await;
    get(&bench.repository, "a").await;
    put_back(&bench, &copy).await;
    // The other life goes on further, and touches nothing that the load saw.
    for _ in 0..3 {
        bench.sql("UPDATE products SET name = 'other' WHERE id = 'b'").await;
        get(&bench.repository, "b").await;
    }
    follower.window(100).await;
    assert_ne!(follower.incarnation, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_that_sees_less_than_the_last_pass_is_of_no_incarnation() {
    let bench = Bench::sqlite().await;
    write(&bench.repository, "a").await;
    let copy = back_up(&bench, "copy").await;
    write(&bench.repository, "b").await;
    let mut follower = bench.follow().await;
    put_back(&bench, &copy).await;
    assert_eq!(get(&bench.repository, "a").await.1, None, "fewer changes");
    bench.sql("UPDATE products SET name = 'other'").await;
    assert_eq!(get(&bench.repository, "a").await.1, None, "as many, and another one");
    let before = follower.incarnation;
    follower.window(100).await;
    assert_ne!(follower.incarnation, before);
    assert_eq!(get(&bench.repository, "a").await.1, Some(follower.incarnation));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_put_back_while_nobody_looks_is_told_by_salts() {
    let bench = Bench::sqlite().await;
    let kept = write(&bench.repository, "a").await;
    let copy = back_up(&bench, "copy").await;
    let lost = write(&bench.repository, "a").await;
    let mut follower = bench.follow().await;
    write(&bench.repository, "b").await;
    follower.changes().await;
    let (position, before) = (follower.snapshot.clone(), follower.incarnation);
    bench.repository.close().await;
    put_back(&bench, &copy).await;
    let again = bench.another().await;
    let life = again.pass(None, 100).await.unwrap();
    assert_eq!(life.incarnation, before, "the file brings its life back");
    for _ in 0..5 {
        write(&again, "c").await;
    }
    let now = again.pass(Some((&life.snapshot, life.incarnation)), 100).await.unwrap();
    assert!(now.snapshot.xmax > position.xmax && matches!(now.changes, Changes::Complete(_)));
    assert_eq!(recall(&again, &[kept, lost]).await, [Recalled::Here, Recalled::Unknown]);
    assert_eq!(again.replay(&position, before, 100).await.unwrap(), Replay::OtherLife);
    assert!(matches!(again.replay(&life.snapshot, before, 100).await.unwrap(), Replay::Told(_)));
    let pass = again.pass(Some((&position, before)), 100).await.unwrap();
    assert_ne!(pass.incarnation, before, "who has followed the lost life");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_log_is_recognised_again() {
    let bench = Bench::sqlite().await;
    let mut follower = bench.follow().await;
    bench.sql("DELETE FROM changes").await;
    assert_eq!(point(&bench.repository).await.incarnation, None, "nothing tells what was seen");
    follower.window(100).await;
    assert_eq!(point(&bench.repository).await.incarnation, Some(follower.incarnation));
    write(&bench.repository, "a").await;
    assert_eq!(follower.told().await, ["put a"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loads_and_passes_of_one_life_agree_while_it_is_written() {
    let bench = Bench::sqlite().await;
    let mut follower = bench.follow().await;
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            let repository = Arc::clone(&bench.repository);
            tokio::spawn(async move {
                for _ in 0..100 {
                    write(&repository, &format!("p{writer}")).await;
                }
            })
        })
        .collect();
    let readers: Vec<_> = (0..3)
        .map(|reader| {
            let (repository, incarnation) = (Arc::clone(&bench.repository), follower.incarnation);
            tokio::spawn(async move {
                for _ in 0..200 {
                    assert_eq!(get(&repository, &format!("p{reader}")).await.1, Some(incarnation));
                }
            })
        })
        .collect();
    while !readers.iter().chain(&writers).all(tokio::task::JoinHandle::is_finished) {
        follower.changes().await;
    }
    for task in readers.into_iter().chain(writers) {
        task.await.unwrap();
    }
}
