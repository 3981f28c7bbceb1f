//! What only SQLite has: replaced files, statements that skip triggers, more than one process on one file.

use std::{
    fs::Permissions,
    future::poll_fn,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use larder_storage::{
    Deletion, Filter, ProductRepository, Repository, SearchQuery, StorageConfig, StorageError, Subject, WriteOptions,
};

use larder_test_servers::TempDir;

use crate::{
    basics::full,
    bench::{Bench, Shell, in_terms, named},
};

fn path(bench: &Bench) -> PathBuf {
    let Shell::Sqlite(_, path) = &bench.shell else { unreachable!() };
    path.clone()
}

async fn found(bench: &Bench, word: &str) -> Vec<String> {
    let query = SearchQuery { words: vec![word.to_owned()], filter: Filter::default(), after: None, limit: 10 };
    let mut ids = bench.repository.search(&query).await.unwrap().value.ids;
    ids.sort_unstable();
    ids
}

/// Every copy of derived data says what the products say.
async fn derived_data_agrees(bench: &Bench) {
    let orphans = "SELECT (SELECT count(*) FROM product_words WHERE rowid NOT IN (SELECT number FROM products)) \
        + (SELECT count(*) FROM products WHERE number NOT IN (SELECT rowid FROM product_words)) \
        + (SELECT count(*) FROM product_words w JOIN products p ON p.number = w.rowid WHERE p.name <> w.name) \
        + (SELECT count(*) FROM product_terms WHERE id NOT IN (SELECT id FROM products)) \
        + (SELECT count(*) FROM (SELECT p.id, 'category', j.value FROM products p, json_each(p.categories) j \
           EXCEPT SELECT id, kind, term FROM product_terms)) \
        + (SELECT count(*) FROM product_terms) \
        - (SELECT count(*) FROM (SELECT p.id, 'category', j.value FROM products p, json_each(p.categories) j \
           UNION SELECT p.id, 'tag', j.value FROM products p, json_each(p.tags) j))";
    assert_eq!(bench.sql(orphans).await, "0");
    assert_eq!(bench.sql("INSERT INTO product_words (product_words) VALUES ('integrity-check')").await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_database_is_for_its_user_alone() {
    let directory = TempDir::new("private");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let file = directory.join("a/b/larder.db");
    let open = async || Repository::connect(&StorageConfig::new(format!("sqlite:{}", file.display()))).await.unwrap();
    let repository = open().await;
    repository.create("a", &full(), &WriteOptions::default()).await.unwrap();
    for path in [file.clone(), beside(&file, "-wal"), beside(&file, "-shm")] {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    for path in ["a", "a/b"] {
        assert_eq!(mode(&directory.join(path)), 0o700, "{path}");
    }
    repository.close().await;

    // Somebody may depend on wider permissions.
    std::fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let repository = open().await;
    assert_eq!(mode(&file), 0o644);
    repository.close().await;
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", file.display()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn insert_or_replace_is_logged_with_the_old_terms() {
    for recursive in ["", "PRAGMA recursive_triggers = on; "] {
        let bench = Bench::sqlite().await;
        let created = bench.create("a", &in_terms("first", &["old"], &["t"])).await;
        let mut follower = bench.follow().await;
        bench
            .sql(&format!(
                "{recursive}INSERT OR REPLACE INTO products (id, name, categories) VALUES ('a', 'second', '[\"new\"]')"
            ))
            .await;
        let changes = follower.changes().await;
        let Some(Subject::Put { key, version, .. }) = changes.last().map(|change| &change.subject) else {
            panic!("{changes:?}")
        };
        assert!(key == "a" && *version > created.version);
        let terms: Vec<String> = changes.iter().map(|change| format!("{:?}", change.subject)).collect();
        assert!(["old", "new", "t"].iter().all(|term| terms.concat().contains(term)), "{terms:?}");
        let product = bench.get("a").await.unwrap();
        assert_eq!((product.data.name.as_str(), product.version), ("second", *version));
        assert_eq!((found(&bench, "first").await, found(&bench, "second").await), (vec![], vec!["a".to_owned()]));
        derived_data_agrees(&bench).await;

        // Another row goes because its number is taken.
        let number = bench.number("SELECT number FROM products WHERE id = 'a'").await;
        bench
            .sql(&format!("{recursive}REPLACE INTO products (number, id, name) VALUES ({number}, 'b', 'third')"))
            .await;
        assert_eq!(follower.told().await, ["delete a", "put b"]);
        assert_eq!(bench.get("a").await, None);
        derived_data_agrees(&bench).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn insert_or_ignore_leaves_what_stays_alone() {
    let bench = Bench::sqlite().await;
    bench.create("a", &in_terms("first", &["c"], &["t"])).await;
    let mut follower = bench.follow().await;
    bench.sql("INSERT OR IGNORE INTO products (id, name) VALUES ('a', 'second')").await;
    let told = follower.told().await;
    assert!(told.iter().all(|told| told == "put a"), "{told:?}");
    assert_eq!(found(&bench, "first").await, ["a"]);
    derived_data_agrees(&bench).await;
    bench
        .sql(
            "INSERT OR IGNORE INTO products (id, name) VALUES ('a', 'x'), ('b', 'second'), ('a', 'y'); \
             INSERT INTO products (id, name) VALUES ('a', 'third') ON CONFLICT (id) DO UPDATE SET name = excluded.name; \
             UPDATE OR IGNORE products SET in_stock = 1 WHERE id = 'b'; \
             UPDATE OR REPLACE products SET in_stock = 0 WHERE id = 'b'; \
             INSERT OR FAIL INTO products (id, name, tags) VALUES ('c', 'x', '[\"d\",\"d\"]'); \
             DELETE FROM products WHERE id = 'a'; INSERT INTO products (id, name) VALUES ('d', 'x');",
        )
        .await;
    assert_eq!(follower.told().await, ["delete a", "put a", "put b", "put b", "put b", "put c", "put d"]);
    assert_eq!(bench.sql("SELECT count(*) FROM products_maybe_replaced").await, "0");
    derived_data_agrees(&bench).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_of_a_lost_life_holds_for_nothing() {
    let bench = Bench::sqlite().await;
    bench.create("a", &full()).await;
    let copy = path(&bench).with_extension("copy");
    bench.sql(&format!("VACUUM INTO '{}'", copy.display())).await;
    bench.sql("UPDATE products SET name = 'lost'").await;
    let lost = bench.get("a").await.unwrap();
    bench.sql(&format!(".restore '{}'", copy.display())).await;
    bench.sql("UPDATE products SET name = 'other'").await;
    let differs = bench.repository.delete("a", Some(lost.version)).await.unwrap();
    assert_eq!(differs.value, Deletion::VersionDiffers);
    let now = bench.get("a").await.unwrap();
    assert_eq!((now.data.name.as_str(), now.version >> 24), ("other", lost.version >> 24), "the number is used again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_and_versions_cannot_be_chosen() {
    let bench = Bench::sqlite().await;
    bench.create("a", &full()).await;
    let mut follower = bench.follow().await;
    for statement in [
        "UPDATE products SET version = 1",
        "UPDATE products SET version = version + 1, name = 'x'",
        "UPDATE products SET number = 77",
        "UPDATE products SET rowid = 77",
        "INSERT INTO changes (id, kind) VALUES (1000000, 'all'), (5, 'all')",
        "UPDATE products SET tags = '[1]'",
    ] {
        assert!(bench.try_sql(statement).await.is_err(), "{statement}");
    }
    assert_eq!(follower.told().await, [""; 0]);
    let before = bench.get("a").await.unwrap();
    bench.sql("PRAGMA recursive_triggers = on; UPDATE products SET name = 'z'").await;
    assert_eq!(follower.told().await, ["put a"]);
    assert!(bench.get("a").await.unwrap().version > before.version);
    bench.sql("VACUUM").await;
    assert_eq!(found(&bench, "z").await, ["a"]);
    derived_data_agrees(&bench).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_put_in_its_place_is_another_incarnation() {
    let bench = Bench::sqlite().await;
    let (path, mut follower) = (path(&bench), bench.follow().await);
    bench.create("a", &named("before")).await;
    follower.changes().await;
    let copy = path.with_extension("copy");
    bench.sql(&format!("VACUUM INTO '{}'", copy.display())).await;
    bench.create("b", &named("after")).await;
    follower.changes().await;
    let before = follower.incarnation;

    // Only the file: the log of the old one is still beside it, and must not be applied to the new one.
    std::fs::rename(&copy, &path).unwrap();
    bench.repository.changed(Duration::from_mins(1)).await;
    follower.window(100).await;
    assert_ne!(follower.incarnation, before);
    let loaded = bench.repository.get(&["a".to_owned(), "b".to_owned()]).await.unwrap();
    assert_eq!(loaded.value.found.len(), 1, "what came after the copy is gone");
    assert_eq!(loaded.point.incarnation, Some(follower.incarnation));
    bench.create("c", &named("written to the new file")).await;
    assert_eq!(follower.told().await, ["put c"]);
    assert_eq!(bench.sql("SELECT group_concat(id) FROM (SELECT id FROM products ORDER BY id)").await, "a,c");
    assert_eq!(bench.sql("PRAGMA integrity_check").await, "ok");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_goes_to_the_file_that_is_in_place() {
    let bench = Bench::sqlite().await;
    let path = path(&bench);
    let copy = path.with_extension("copy");
    bench.sql(&format!("VACUUM INTO '{}'", copy.display())).await;
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
    }
    std::fs::rename(&copy, &path).unwrap();
    bench.create("a", &full()).await;
    assert_eq!(bench.sql("SELECT id FROM products").await, "a");
    std::fs::remove_file(&path).unwrap();
    let error = bench.repository.create("b", &full(), &WriteOptions::default()).await.unwrap_err();
    assert!(matches!(error, StorageError::Unavailable(_)), "{error:?}");
    assert!(bench.repository.pass(None, 1).await.is_err());
    assert!(!path.exists(), "a missing file is not replaced by an empty one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn content_put_back_from_a_copy_is_another_incarnation() {
    let bench = Bench::sqlite().await;
    let copy = path(&bench).with_extension("copy");
    let mut follower = bench.follow().await;
    bench.create("a", &named("kept")).await;
    bench.sql(&format!("VACUUM INTO '{}'", copy.display())).await;
    bench.create("b", &named("lost")).await;
    follower.changes().await;
    let before = follower.incarnation;
    // The shell's own restore: the same file with other content, through SQLite's backup.
    bench.sql(&format!(".restore '{}'", copy.display())).await;
    follower.window(100).await;
    assert_ne!(follower.incarnation, before, "the last row is missing");
    let point = bench.repository.get(&[]).await.unwrap().point;
    assert_eq!(point.incarnation, Some(follower.incarnation));

    // And again, with a change of the same number in the place of the last one.
    let before = follower.incarnation;
    bench.create("c", &named("lost too")).await;
    follower.changes().await;
    let mut other = bench.config.clone();
    other.url = format!("sqlite:{}", copy.display());
    let elsewhere = Repository::connect(&other).await.unwrap();
    elsewhere.create("d", &named("elsewhere"), &WriteOptions::default()).await.unwrap();
    elsewhere.close().await;
    let incarnation_row = bench.sql("SELECT id FROM incarnation").await;
    bench.sql(&format!(".restore '{}'\nUPDATE incarnation SET id = '{incarnation_row}'", copy.display())).await;
    follower.window(100).await;
    assert_ne!(follower.incarnation, before, "the last row has another salt");
    assert!(bench.get("d").await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_repositories_share_a_file() {
    let bench = Bench::sqlite().await;
    let other = Arc::new(bench.another().await);
    let mut follower = bench.follow().await;
    let writes = (0..20).map(|number| {
        let repository = if number % 2 == 0 { Arc::clone(&bench.repository) } else { Arc::clone(&other) };
        tokio::spawn(async move { repository.create(&format!("p{number}"), &full(), &WriteOptions::default()).await })
    });
    for write in writes.collect::<Vec<_>>() {
        let done = write.await.unwrap().unwrap();
        assert_eq!(done.commit.unwrap().incarnation, follower.incarnation);
    }
    assert_eq!(follower.told().await.len(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_lock_held_elsewhere_times_out() {
    let mut bench = Bench::sqlite().await;
    bench.create("a", &full()).await;
    bench.config.statement_timeout = Duration::from_secs(2);
    let hasty = bench.another().await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path(&bench));
    let mut lock = <sqlx::SqliteConnection as sqlx::Connection>::connect_with(&options).await.unwrap();
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut lock).await.unwrap();
    let error = hasty.delete("a", None).await.unwrap_err();
    assert!(matches!(error, StorageError::Timeout(_)), "{error:?}");
    assert_eq!(hasty.get(&["a".to_owned()]).await.unwrap().value.found.len(), 1, "readers are not held up");
    sqlx::raw_sql("ROLLBACK").execute(&mut lock).await.unwrap();
    hasty.delete("a", None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn urls_are_checked() {
    for url in ["sqlite:", "sqlite::memory:", "sqlite:a.db?mode=ro", "mysql://x", "larder.db", ""] {
        assert!(matches!(Repository::check_url(url), Err(StorageError::Url(_))), "{url}");
        assert!(Repository::connect(&StorageConfig::new(url)).await.is_err(), "{url}");
    }
    for url in ["sqlite:a.db", "sqlite:///tmp/a.db", "postgres://u:p@h:1/d", "postgresql://h/d"] {
        Repository::check_url(url).unwrap();
    }
    assert!(Repository::check_url("postgres://h:notaport/d").is_err());
    let refused = Repository::connect(&StorageConfig::new(format!(
        "postgres://u@127.0.0.1:{}/d",
        larder_test_servers::free_port()
    )))
    .await;
    assert!(matches!(refused, Err(StorageError::Unavailable(_))), "{refused:?}");
    let directory = larder_test_servers::TempDir::new("not-a-database");
    std::fs::write(directory.join("a.db"), "this is no database, whatever its name may say").unwrap();
    let url = format!("sqlite:{}", directory.join("a.db").display());
    let refused = Repository::connect(&StorageConfig::new(url)).await;
    assert!(matches!(refused, Err(StorageError::Schema(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_read_of_a_file_that_was_moved_away_is_nobodys() {
    let bench = Bench::sqlite().await;
    bench.create("a", &named("x")).await;
    let mut follower = bench.follow().await;
    let ids = ["a".to_owned()];
    assert!(bench.repository.get(&ids).await.unwrap().point.incarnation.is_some());
    let (place, aside) = (path(&bench), path(&bench).with_extension("aside"));
    std::fs::rename(&place, &aside).unwrap();
    for replaced in [false, true] {
        if replaced {
            std::fs::write(&place, "no database").unwrap();
        }
        // Of no life that anybody follows: stale, and kept nowhere. Or it fails, where a connection has yet to be made.
        let loaded = bench.repository.get(&ids).await;
        assert!(loaded.as_ref().map_or(true, |loaded| loaded.point.incarnation.is_none()), "{loaded:?}");
        let since = Some((&follower.snapshot, follower.incarnation));
        assert!(bench.repository.pass(since, 10).await.is_err(), "nothing is proven");
        assert!(bench.repository.delete("a", None).await.is_err(), "nothing is written");
    }
    std::fs::rename(&aside, &place).unwrap();
    assert!(bench.repository.get(&ids).await.unwrap().point.incarnation.is_some());
    assert_eq!(follower.told().await, [""; 0]);
}

/// Moves the file away in the middle of a call, before that goes on for the `step`th time, and puts it back afterwards. `None`
/// when the call ends earlier.
async fn moved_away<T>(place: &Path, step: usize, call: impl Future<Output = T>) -> Option<T> {
    let aside = place.with_extension("aside");
    let (mut call, mut steps) = (pin!(call), 0);
    let done = poll_fn(|context| {
        if steps == step {
            std::fs::rename(place, &aside).unwrap();
        }
        steps += 1;
        call.as_mut().poll(context)
    })
    .await;
    (steps > step).then(|| {
        std::fs::rename(&aside, place).unwrap();
        done
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_moved_away_meanwhile_proves_nothing_and_acknowledges_nothing() {
    let bench = Bench::sqlite().await;
    bench.create("a", &named("x")).await;
    let (place, follower) = (path(&bench), bench.follow().await);
    let since = Some((&follower.snapshot, follower.incarnation));
    // How many steps a call takes depends on who is quicker.
    let (mut round, mut looks) = (0, 0);
    while looks < 5 {
        assert!(round < 1_000, "no look was met in the middle of it");
        if let Some(looked) = moved_away(&place, round % 5 + 1, bench.repository.pass(since, 10)).await {
            assert!(looked.is_err(), "round {round}: {looked:?}");
            looks += 1;
        }
        round += 1;
    }
    // The last step of a write takes in the answer to its COMMIT.
    let (mut round, mut unknown) = (0, 0);
    while unknown == 0 {
        assert!(round < 1_000, "no COMMIT was met");
        let (id, options) = (format!("b{round}"), WriteOptions::default());
        let product = full();
        let write = Box::pin(bench.repository.create(&id, &product, &options));
        match moved_away(&place, round % 16, write).await {
            Some(Err(StorageError::UnknownOutcome(_))) => unknown += 1,
            None | Some(Err(StorageError::Unavailable(_))) => {}
            Some(other) => panic!("round {round}: {other:?}"),
        }
        round += 1;
    }
    bench.create("c", &full()).await;
}
