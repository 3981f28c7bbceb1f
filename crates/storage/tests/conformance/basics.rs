//! Reading and writing one product.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use larder_storage::{
    Creation, Deletion, Money, ProductData, ProductMask, ProductRepository, Repository, Subject, Update, Updating,
    WriteOptions,
};

use crate::bench::{Bench, named, until};

pub(crate) fn full() -> ProductData {
    ProductData {
        name: "Espresso machine \u{1F600} \"Größe\"".to_owned(),
        description: "Line one\nline two \\ with 'quotes'".to_owned(),
        price: Some(Money { currency: "EUR".to_owned(), units: 1_299, nanos: 990_000_000 }),
        categories: vec!["kitchen".to_owned(), "coffee, tea & {more}".to_owned()],
        tags: vec!["new \"x\"".to_owned(), "NULL".to_owned(), String::new()],
        attributes: BTreeMap::from([("colour".to_owned(), "dark \\ red".to_owned()), ("ü".to_owned(), String::new())]),
        image_url: "https://example.com/a.png".to_owned(),
        in_stock: true,
    }
}

pub(crate) fn update(id: &str, data: ProductData, mask: ProductMask) -> Update {
    Update { id: id.to_owned(), data, mask, version: None, allow_missing: false }
}

const NAME: ProductMask = ProductMask {
    name: true,
    description: false,
    price: false,
    categories: false,
    tags: false,
    attributes: false,
    image_url: false,
    in_stock: false,
};

pub(crate) async fn a_created_product_is_read_back(bench: Bench) {
    assert!(bench.repository.is_empty().await.unwrap());
    let created = bench.create("a.b_c~d-1", &full()).await;
    assert_eq!(created.data, full());
    assert_eq!(created.create_time, created.update_time);
    assert_eq!(bench.get("a.b_c~d-1").await, Some(created));
    assert_eq!(bench.get("A.b_c~d-1").await, None);
    assert!(!bench.repository.is_empty().await.unwrap());
    let loaded = bench.repository.get(&["nothing".to_owned()]).await.unwrap();
    assert!(loaded.value.found.is_empty() && loaded.point.incarnation.is_some());
    let loaded = bench.repository.get(&[]).await.unwrap();
    assert!(loaded.value.found.is_empty() && loaded.point.snapshot.xmax > 0);
    assert!(["PostgreSQL", "SQLite"].contains(&bench.repository.backend().name));
    bench.repository.close().await;
    assert!(bench.repository.get(&[]).await.is_err());
}

pub(crate) async fn an_id_is_created_once(bench: Bench) {
    let first = bench.create("a", &named("first")).await;
    let again = bench.repository.create("a", &named("second"), &WriteOptions::default()).await.unwrap();
    assert_eq!(again.value, Creation::Exists);
    assert!(again.changes.is_empty());
    assert_eq!(bench.get("a").await, Some(first));
}

pub(crate) async fn updates_change_what_the_mask_names(bench: Bench) {
    let created = bench.create("a", &full()).await;
    let plain = WriteOptions::default();
    let done = bench.repository.update(&update("a", named("other"), NAME), &plain).await.unwrap();
    let Updating::Updated(product) = done.value else { panic!("{done:?}") };
    assert_eq!(product.data, ProductData { name: "other".to_owned(), ..full() });
    assert!(product.version > created.version && product.update_time >= created.update_time);
    assert_eq!(product.create_time, created.create_time);
    assert_eq!(bench.get("a").await, Some(product));

    // The whole mask replaces: what is empty becomes empty, one field at a time or all at once.
    let done = bench.repository.update(&update("a", ProductData::default(), ProductMask::ALL), &plain).await.unwrap();
    assert!(matches!(done.value, Updating::Updated(product) if product.data == ProductData::default()));
    let mut mask = ProductMask::ALL;
    mask.price = false;
    bench.repository.update(&update("a", full(), mask), &plain).await.unwrap();
    let expected = ProductData { price: None, ..full() };
    assert_eq!(bench.get("a").await.unwrap().data, expected);

    let none = bench.repository.update(&update("b", full(), NAME), &plain).await.unwrap();
    assert_eq!(none.value, Updating::Missing);
    assert!(none.changes.is_empty());
}

pub(crate) async fn a_version_is_a_precondition(bench: Bench) {
    let created = bench.create("a", &full()).await;
    let plain = WriteOptions::default();
    let mut change = update("a", named("other"), NAME);
    change.version = Some(created.version);
    let done = bench.repository.update(&change, &plain).await.unwrap();
    assert!(matches!(done.value, Updating::Updated(_)));
    let late = bench.repository.update(&change, &plain).await.unwrap();
    assert_eq!(late.value, Updating::VersionDiffers);
    "b".clone_into(&mut change.id);
    change.allow_missing = true;
    let none = bench.repository.update(&change, &plain).await.unwrap();
    assert_eq!(none.value, Updating::Missing, "what must have a version must be there");
}

pub(crate) async fn a_missing_product_is_created_when_allowed(bench: Bench) {
    let mut change = update("a", full(), NAME);
    change.allow_missing = true;
    let done = bench.repository.update(&change, &WriteOptions::default()).await.unwrap();
    let Updating::Updated(product) = done.value else { panic!("{done:?}") };
    assert_eq!(product.data, named(&full().name));
    assert_eq!(done.changes.len(), 1);
    assert_eq!(bench.get("a").await, Some(product));
}

pub(crate) async fn concurrent_upserts_of_one_product_all_succeed(bench: Bench) {
    for round in 0..5 {
        let calls = (0..8).map(|caller| {
            let repository = Arc::clone(&bench.repository);
            let mut change = update(&format!("p{round}"), named(&format!("{caller}")), ProductMask::ALL);
            change.allow_missing = true;
            tokio::spawn(async move { repository.update(&change, &WriteOptions::default()).await })
        });
        for call in calls.collect::<Vec<_>>() {
            assert!(matches!(call.await.unwrap().unwrap().value, Updating::Updated(_)));
        }
    }
}

pub(crate) async fn concurrent_updates_under_one_version_have_one_winner(bench: Bench) {
    let created = bench.create("a", &named("0")).await;
    let calls = (0..8).map(|caller| {
        let repository = Arc::clone(&bench.repository);
        let mut change = update("a", named(&format!("{caller}")), ProductMask::ALL);
        change.version = Some(created.version);
        tokio::spawn(async move { repository.update(&change, &WriteOptions::default()).await })
    });
    let mut winners = 0;
    for call in calls.collect::<Vec<_>>() {
        match call.await.unwrap().unwrap().value {
            Updating::Updated(_) => winners += 1,
            other => assert_eq!(other, Updating::VersionDiffers),
        }
    }
    assert_eq!(winners, 1);
}

pub(crate) async fn deletes_have_three_outcomes(bench: Bench) {
    let created = bench.create("a", &full()).await;
    let differs = bench.repository.delete("a", Some(created.version + 1)).await.unwrap();
    assert_eq!(differs.value, Deletion::VersionDiffers);
    let done = bench.repository.delete("a", Some(created.version)).await.unwrap();
    assert_eq!(done.value, Deletion::Deleted);
    assert!(matches!(&done.changes[..], [change] if matches!(&change.subject, Subject::Delete { key, version, .. }
        if key == "a" && *version > created.version)));
    assert_eq!(bench.get("a").await, None);
    let missing = bench.repository.delete("a", None).await.unwrap();
    assert_eq!(missing.value, Deletion::Missing);
    assert!(missing.changes.is_empty() && missing.commit.is_some());
}

pub(crate) async fn a_dry_run_changes_nothing(bench: Bench) {
    let mut follower = bench.follow().await;
    let dry = WriteOptions { request_id: Some("r".to_owned()), validate_only: true };
    let created = bench.repository.create("a", &full(), &dry).await.unwrap();
    assert!(matches!(created.value, Creation::Created(_)));
    assert!(created.commit.is_none() && created.changes.is_empty());
    assert_eq!(bench.get("a").await, None);
    assert_eq!(bench.number("SELECT count(*) FROM requests").await, 0);

    let product = bench.create("a", &full()).await;
    follower.changes().await;
    let updated = bench.repository.update(&update("a", named("other"), NAME), &dry).await.unwrap();
    assert!(matches!(updated.value, Updating::Updated(changed) if changed.data.name == "other"));
    assert_eq!(bench.get("a").await, Some(product));
    assert_eq!(follower.told().await, [""; 0]);
    let exists = bench.repository.create("a", &full(), &dry).await.unwrap();
    assert_eq!(exists.value, Creation::Exists);
}

pub(crate) async fn versions_rise_and_are_not_used_again(bench: Bench) {
    let mut last = 0;
    for round in 0..5 {
        let created = bench.create("a", &named("a")).await;
        assert!(created.version > last, "round {round}");
        let done = bench.repository.update(&update("a", named("b"), NAME), &WriteOptions::default()).await.unwrap();
        let Updating::Updated(product) = done.value else { panic!("{done:?}") };
        assert!(product.version > created.version);
        let deleted = bench.repository.delete("a", None).await.unwrap();
        let Subject::Delete { version, .. } = deleted.changes[0].subject else { panic!("{deleted:?}") };
        assert!(version > product.version);
        last = version;
    }
}

pub(crate) async fn the_schema_refuses_what_a_product_cannot_be(bench: Bench) {
    let statements = [
        "INSERT INTO products (id, name) VALUES ('', 'x')",
        "INSERT INTO products (id, name) VALUES ('a b', 'x')",
        "INSERT INTO products (id, name) VALUES ('é', 'x')",
        "INSERT INTO products (id, name) VALUES ('a/b', 'x')",
        "INSERT INTO products (id) VALUES ('a')",
        "INSERT INTO products (id, name, price_currency) VALUES ('a', 'x', 'eur')",
        "INSERT INTO products (id, name, price_currency) VALUES ('a', 'x', 'EURO')",
        "INSERT INTO products (id, name, price_units) VALUES ('a', 'x', 1)",
        "INSERT INTO products (id, name, price_currency, price_units) VALUES ('a', 'x', 'EUR', -1)",
        "INSERT INTO products (id, name, price_currency, price_nanos) VALUES ('a', 'x', 'EUR', 1000000000)",
        "INSERT INTO products (id, name, attributes) VALUES ('a', 'x', '[]')",
        "INSERT INTO products (id, name, attributes) VALUES ('a', 'x', '{\"k\": 1}')",
        "INSERT INTO products (id, name, attributes) VALUES ('a', 'x', '{\"k\": [\"v\"]}')",
        "INSERT INTO products (id, name, categories) VALUES ('a', 'x', '{\"k\": 1')",
        "INSERT INTO changes (kind, key) VALUES ('nonsense', 'x')",
        "INSERT INTO changes (kind) VALUES ('tag')",
        "INSERT INTO changes (kind) VALUES ('category')",
    ];
    for statement in statements {
        assert!(bench.try_sql(statement).await.is_err(), "{statement}");
    }
    let long = format!("INSERT INTO products (id, name) VALUES ('{}', 'x')", "a".repeat(65));
    assert!(bench.try_sql(&long).await.is_err());
    assert!(bench.repository.is_empty().await.unwrap());
}

pub(crate) async fn a_cancelled_write_leaves_no_trace_in_the_next(bench: Bench) {
    let mut follower = bench.follow().await;
    let mut told_of = std::collections::BTreeSet::new();
    for round in 0..60_u64 {
        let id = format!("p{round}");
        let (data, plain) = (full(), WriteOptions::default());
        let write = bench.repository.create(&id, &data, &plain);
        // Cut at a different place every time.
        let cut = tokio::time::timeout(Duration::from_micros(round * 60), write).await;
        let kept = bench.create(&format!("q{round}"), &full()).await;
        assert_eq!(bench.get(&kept.id).await, Some(kept));
        if let Ok(done) = cut {
            assert!(matches!(done.unwrap().value, Creation::Created(_)));
            assert!(bench.get(&id).await.is_some());
        }
        // A COMMIT that was cut off may still be under way, but nobody is told of what is not there.
        for told in follower.told().await {
            let id = told.strip_prefix("put ").expect("a put").to_owned();
            assert!(bench.get(&id).await.is_some(), "round {round}: {id}");
            assert!(told_of.insert(id), "round {round}: told twice");
        }
    }
    // Neither more nor less is there than is told of in the end.
    let follower = tokio::sync::Mutex::new((follower, told_of));
    until("everything that is there to be told", || async {
        let (follower, told_of) = &mut *follower.lock().await;
        let all = bench.number("SELECT count(*) FROM products").await;
        told_of.extend(follower.told().await);
        i64::try_from(told_of.len()).is_ok_and(|told| told == all)
    })
    .await;
}

pub(crate) async fn several_connect_at_once(bench: Bench) {
    // Another database than the bench's, so that the migrations have everything to do.
    let fresh = if bench.is_postgres() {
        let crate::bench::Shell::Postgres(server, _) = &bench.shell else { unreachable!() };
        server.create_database().await
    } else {
        format!("{}-fresh", bench.config.url)
    };
    let mut config = bench.config.clone();
    config.url = fresh;
    let connects = (0..8).map(|_| {
        let config = config.clone();
        tokio::spawn(async move { Repository::connect(&config).await })
    });
    for (number, connect) in connects.collect::<Vec<_>>().into_iter().enumerate() {
        let repository = connect.await.unwrap().expect("a connection among many");
        let done = repository.create(&format!("p{number}"), &named("x"), &WriteOptions::default()).await.unwrap();
        assert!(matches!(done.value, Creation::Created(_)));
    }
}

pub(crate) async fn a_migration_of_a_later_release_is_tolerated(bench: Bench) {
    bench
        .sql(
            "INSERT INTO larder_migrations (version, description, success, checksum, execution_time) \
             SELECT 9999, 'of a later release', success, checksum, 1 FROM larder_migrations WHERE version = 1; \
             ALTER TABLE products ADD COLUMN later text DEFAULT 'x'; \
             INSERT INTO products (id, name, later) VALUES ('a', 'a', 'y');",
        )
        .await;
    let again = bench.another().await;
    let loaded = again.get(&["a".to_owned()]).await.unwrap();
    assert_eq!(loaded.value.found.len(), 1);
    let created = again.create("b", &full(), &WriteOptions::default()).await.unwrap();
    assert!(matches!(created.value, Creation::Created(_)));
}

pub(crate) async fn a_write_is_seen_by_whoever_sees_its_commit(bench: Bench) {
    for round in 0..20 {
        let before = bench.repository.get(&[]).await.unwrap().point;
        let id = format!("p{round}");
        let done = bench.repository.create(&id, &full(), &WriteOptions::default()).await.unwrap();
        let commit = done.commit.unwrap();
        assert_eq!(done.changes.len(), 1);
        assert_eq!(done.changes[0].id, commit.id);
        let after = bench.repository.get(&[id]).await.unwrap();
        assert_eq!(after.point.incarnation, Some(commit.incarnation));
        assert_eq!(after.value.found.len(), 1);
        assert!(after.point.snapshot.sees(commit.id));
        assert!(!before.snapshot.sees(commit.id));
    }
}

/// Prints what calls cost; a figure that is far off shows a round trip too many.
pub(crate) async fn calls_are_timed(bench: Bench) {
    const CALLS: u32 = 100;
    let mut follower = bench.follow().await;
    let begin = std::time::Instant::now();
    for number in 0..CALLS {
        bench.create(&format!("p{number}"), &full()).await;
    }
    let create = begin.elapsed() / CALLS;
    follower.changes().await;
    let begin = std::time::Instant::now();
    for _ in 0..CALLS {
        assert!(follower.changes().await.is_empty());
    }
    let pass = begin.elapsed() / CALLS;
    let begin = std::time::Instant::now();
    for number in 0..CALLS {
        assert!(bench.get(&format!("p{number}")).await.is_some());
    }
    let get = begin.elapsed() / CALLS;
    println!("create {create:?}, pass without news {pass:?}, get {get:?}");
}
