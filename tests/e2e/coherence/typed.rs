//! Changes typed into psql and sqlite3 while a server runs that has copies of everything.

use std::time::{Duration, Instant};

use larder_proto::catalog::{CacheTier, ListProductsRequest, Product, ProductFilter};

use super::watch::{BOUND, Question, Row, Rows, Watch};
use crate::harness::{Database, Server, on_both_databases};

on_both_databases!(
    what_is_typed_by_hand_is_seen_within_the_bound,
    a_bulk_update_typed_by_hand_is_seen_within_the_bound,
    invalidations_typed_by_hand_drop_copies,
);

/// Some are there, some will be, one never.
const QUESTIONS: [Question; 15] = [
    Question::Get("a"),
    Question::Get("b"),
    Question::Get("c"),
    Question::Get("d"),
    Question::Get("new"),
    Question::Get("usurper"),
    Question::Get("never"),
    Question::Batch(&["d", "new", "b", "usurper", "c", "a", "never"]),
    Question::All(100),
    Question::Category("pans"),
    Question::Category("pots"),
    Question::Tag("copper"),
    Question::Tag("iron"),
    Question::Search("kettle"),
    Question::Search("nam"),
];

/// One statement, or a few, and what it makes of the rows.
struct Typed {
    what: &'static str,
    sql: String,
    effect: fn(&mut Rows),
}

async fn what_is_typed_by_hand_is_seen_within_the_bound(database: &Database) {
    let server = Server::start(database).await;
    let mut rows = Rows::new();
    for (id, category, tag) in
        [("a", "pans", "copper"), ("b", "pans", "iron"), ("c", "pots", "copper"), ("d", "pots", "iron")]
    {
        rows.insert(id.to_owned(), row(&format!("Name of {id}"), category, tag));
    }
    server.import(rows.iter().map(|(id, row)| product(id, row))).await;
    let watch = Watch { server: &server, questions: &QUESTIONS };
    let mut slowest = Duration::ZERO;
    for typed in statements(database) {
        watch.warm(&rows).await;
        let before = rows.clone();
        (typed.effect)(&mut rows);
        database.shell(&typed.sql).await;
        let took = watch.until_shown(typed.what, &before, &rows, Instant::now()).await;
        slowest = slowest.max(took);
    }
    println!("everything typed was seen, at the latest {slowest:?} after the shell had ended");
    server.stop().await;
}

fn statements(database: &Database) -> Vec<Typed> {
    let is_postgres = matches!(database, Database::Postgres { .. });
    let list = |text: &str| if is_postgres { format!("'{{{text}}}'") } else { format!("'[\"{text}\"]'") };
    let (pans, pots, copper) = (list("pans"), list("pots"), list("copper"));
    let of = |postgres: String, sqlite: String| if is_postgres { postgres } else { sqlite };
    vec![
        Typed {
            what: "UPDATE",
            sql: "UPDATE products SET name = 'Renamed kettle' WHERE id = 'a'".to_owned(),
            effect: |rows| rename(rows, "a", "Renamed kettle"),
        },
        Typed {
            what: "a move to another category",
            sql: format!("UPDATE products SET categories = {pots} WHERE id = 'b'"),
            effect: |rows| drop(rows.insert("b".to_owned(), row("Name of b", "pots", "iron"))),
        },
        Typed {
            what: "INSERT of what was known to be absent",
            sql: format!(
                "INSERT INTO products (id, name, categories, tags) VALUES ('new', 'Kettle', {pans}, {copper})"
            ),
            effect: |rows| drop(rows.insert("new".to_owned(), row("Kettle", "pans", "copper"))),
        },
        Typed {
            what: "DELETE",
            sql: "DELETE FROM products WHERE id = 'c'".to_owned(),
            effect: |rows| drop(rows.remove("c")),
        },
        Typed {
            what: "a replacement",
            sql: of(
                format!(
                    "INSERT INTO products (id, name, categories, tags) VALUES ('a', 'Pan', {pans}, {copper}) \
                     ON CONFLICT (id) DO UPDATE SET name = excluded.name, categories = excluded.categories"
                ),
                format!(
                    "INSERT OR REPLACE INTO products (id, name, categories, tags) VALUES ('a', 'Pan', {pans}, {copper})"
                ),
            ),
            effect: |rows| drop(rows.insert("a".to_owned(), row("Pan", "pans", "copper"))),
        },
        Typed {
            what: "one product in the place of another",
            sql: of(
                format!(
                    "WITH gone AS (DELETE FROM products WHERE id = 'b' RETURNING id) \
                     INSERT INTO products (id, name, categories) SELECT 'usurper', 'Usurper', {pans} FROM gone"
                ),
                format!(
                    "INSERT OR REPLACE INTO products (number, id, name, categories) \
                     SELECT number, 'usurper', 'Usurper', {pans} FROM products WHERE id = 'b'"
                ),
            ),
            effect: |rows| {
                rows.remove("b");
                rows.insert("usurper".to_owned(), row("Usurper", "pans", ""));
            },
        },
        Typed {
            what: "what was not rolled back",
            sql: "BEGIN; UPDATE products SET name = 'Lost'; ROLLBACK; \
                  BEGIN; UPDATE products SET name = 'Kept name' WHERE id = 'd'; \
                  SAVEPOINT s; DELETE FROM products; ROLLBACK TO SAVEPOINT s; COMMIT"
                .to_owned(),
            effect: |rows| rename(rows, "d", "Kept name"),
        },
        Typed {
            what: "TRUNCATE, or DELETE of everything",
            sql: of("TRUNCATE products".to_owned(), "DELETE FROM products".to_owned()),
            effect: Rows::clear,
        },
    ]
}

async fn a_bulk_update_typed_by_hand_is_seen_within_the_bound(database: &Database) {
    let server = Server::start(database).await;
    let insert = match database {
        Database::Postgres { .. } => {
            "INSERT INTO products (id, name, categories) \
             SELECT 'p' || n, 'Number ' || n, '{bulk}' FROM generate_series(1, 20000) n"
        }
        Database::Sqlite(_) => {
            "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 20000) \
             INSERT INTO products (id, name, categories) SELECT 'p' || n, 'Number ' || n, '[\"bulk\"]' FROM s"
        }
    };
    database.shell(insert).await;
    let mut rows: Rows = (1..=20_000).map(|n| (format!("p{n}"), row(&format!("Number {n}"), "bulk", ""))).collect();
    let questions = [
        Question::Get("p1"),
        Question::Get("p2001"),
        Question::Get("p19999"),
        Question::Get("p20001"),
        Question::Batch(&["p7", "p70", "p700", "p7000", "p17000"]),
        Question::All(50),
        Question::Search("4711"),
    ];
    let watch = Watch { server: &server, questions: &questions };
    watch.warm(&rows).await;
    let before = rows.clone();
    for row in rows.values_mut() {
        row.name.push_str(" again");
    }
    let begin = Instant::now();
    database.shell("UPDATE products SET name = name || ' again'").await;
    let typing = begin.elapsed();
    let took = watch.until_shown("a bulk update", &before, &rows, Instant::now()).await;
    println!("20,000 rows updated in {typing:?}, seen {took:?} after the shell had ended");
    server.stop().await;
}

async fn invalidations_typed_by_hand_drop_copies(database: &Database) {
    let server = Server::start(database).await;
    let rows = [("a", row("A", "pans", "copper")), ("b", row("B", "pans", "iron")), ("c", row("C", "pots", "iron"))];
    server.import(rows.iter().map(|(id, row)| product(id, row))).await;
    // What is typed, whether it drops the copies of a, b and the list, and whether it must leave those of b.
    let cases = [
        ("('key', 'a')", [true, false, false], true),
        ("('key', 'product:a')", [true, false, false], true),
        ("('tag', 'copper')", [true, false, true], true),
        ("('category', 'pots')", [false, false, true], true),
        ("('pattern', 'product:a*')", [true, false, false], true),
        ("('all', '')", [true, true, true], false),
    ];
    for (values, dropped, leaves_b) in cases {
        server.settle().await;
        for _ in 0..2 {
            tiers(&server).await;
        }
        assert_eq!(tiers(&server).await, [CacheTier::L1; 3], "warm");
        database.shell(&format!("INSERT INTO changes (kind, key) VALUES {values}")).await;
        let typed = Instant::now();
        let mut seen = [false; 3];
        loop {
            let began = typed.elapsed();
            for (seen, tier) in seen.iter_mut().zip(tiers(&server).await) {
                *seen |= tier == CacheTier::Database;
            }
            if dropped.iter().zip(seen).all(|(dropped, seen)| !*dropped || seen) {
                break;
            }
            assert!(began <= BOUND, "{values}: dropped {seen:?} within the bound");
        }
        assert!(!(leaves_b && seen[1]), "{values} has nothing to do with b");
    }
    server.stop().await;
}

/// Where a, b and a list come from, on which neither stands: reading it loads neither of them.
async fn tiers(server: &Server) -> [CacheTier; 3] {
    let filter = Some(ProductFilter { category: "pots".to_owned(), ..Default::default() });
    let request = ListProductsRequest { filter, ..Default::default() };
    let list = server.client().list_products(request).await.expect("a page").into_inner().cache;
    let (a, b) = (server.get("a").await.cache, server.get("b").await.cache);
    [a, b, list].map(|cache| cache.expect("facts of the cache").tier())
}

fn rename(rows: &mut Rows, id: &str, name: &str) {
    name.clone_into(&mut rows.get_mut(id).expect("a row").name);
}

fn row(name: &str, category: &str, tag: &str) -> Row {
    Row { name: name.to_owned(), category: category.to_owned(), tag: tag.to_owned() }
}

fn product(id: &str, row: &Row) -> Product {
    Product {
        id: id.to_owned(),
        name: row.name.clone(),
        categories: vec![row.category.clone()],
        tags: vec![row.tag.clone()],
        ..Product::default()
    }
}
