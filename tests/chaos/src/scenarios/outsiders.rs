//! Others write into the database, without Larder.

use std::{sync::Arc, time::Duration};

use crate::{
    history::Seen,
    probe,
    product::{self, LOADED},
    psql::Psql,
    report::Report,
    shop::Shop,
    stage::{Setup, wait},
    world::REPLICAS,
};

/// When a change is seen on every replica.
const SEEN_P99: Duration = Duration::from_millis(100);
pub(super) const WRITER: u32 = 300;
/// Keys that only psql writes; of the mass they are the ones that are looked at.
pub(super) const KEYS: std::ops::Range<usize> = LOADED + 20..LOADED + 40;

pub(super) async fn psql(setup: &Setup) -> anyhow::Result<Report> {
    let mut stage = setup.stage().await?;
    let mut session = stage.world.psql().await?;
    stage.start_load().await;
    let count = setup.count(300, 1_000);
    probe::typed(&stage.shop, &mut session, count).await?;
    stage.stop_load().await;
    stage.must_keep_its_rate();
    stage.did(format!("{count} changes typed"));
    let typed = stage.shop.tally.figures().delay;
    stage.must_be_quick(typed.p99 < SEEN_P99, format!("p99 of a change seen everywhere: {:?}", typed.p99));

    let rows = setup.count(20_000, 200_000);
    insert_mass(&mut session, rows).await?;
    create(&stage.shop, &mut session).await?;
    for round in 0..2 {
        let shop = Arc::clone(&stage.shop);
        let mut writes = Vec::new();
        for key in KEYS {
            for replica in 0..REPLICAS {
                shop.get(key, replica, None).await;
            }
        }
        for key in KEYS {
            writes.push(shop.history.begin(key, WRITER, true, shop.now()));
        }
        // The one statement changes what is looked at and the rest; each row tells its own write.
        let begun = shop.now();
        let first = writes[0];
        session.run(&mass_update(first.sequence)).await?;
        let committed = shop.now();
        for write in writes {
            shop.history.acknowledge(write, None, committed);
        }
        // Whoever reads on from here is judged by the bound.
        while shop.now() < committed + 2 * shop.history.bound() {
            for key in KEYS {
                for replica in 0..REPLICAS {
                    shop.get(key, replica, None).await;
                }
            }
        }
        stage.did(format!("UPDATE {} of {rows} rows took {:.1?}", round + 1, committed.saturating_sub(begun)));
    }
    stage.must_be_without_errors();
    Ok(stage.end().await)
}

pub(super) async fn open_transaction(setup: &Setup) -> anyhow::Result<Report> {
    let mut stage = setup.stage().await?;
    let mut session = stage.world.psql().await?;
    create(&stage.shop, &mut session).await?;
    stage.start_load().await;
    stage.stay_healthy(setup).await;
    let (shop, length) = (Arc::clone(&stage.shop), setup.seconds(8, 60));
    let (held, undone) = (KEYS.start, KEYS.start + 1);
    for (key, end) in [(held, "COMMIT"), (undone, "ROLLBACK")] {
        let write = shop.history.begin(key, WRITER, true, shop.now());
        session.run(&format!("BEGIN; {}", product::update(write))).await?;
        if end == "ROLLBACK" {
            shop.history.refuse(write);
        }
        let until = shop.now() + length;
        while shop.now() < until {
            for replica in 0..REPLICAS {
                let seen = shop.get(key, replica, None).await;
                stage.must(seen != Some(Seen::Present(write)), format!("{write:?} was seen before its commit"));
            }
            wait(Duration::from_millis(20)).await;
        }
        stage.must_keep_its_hits("while a transaction was open");
        session.run(end).await?;
        if end == "COMMIT" {
            shop.history.acknowledge(write, None, shop.now());
        }
        wait(Duration::from_secs(2)).await;
        for replica in 0..REPLICAS {
            shop.get(key, replica, None).await;
        }
    }
    stage.stop_load().await;
    stage.did(format!("two transactions held open for {length:?} each"));
    stage.must_be_without_errors();
    stage.must_keep_its_rate();
    Ok(stage.end().await)
}

/// Creates the keys of psql.
pub(super) async fn create(shop: &Shop, session: &mut Psql) -> anyhow::Result<()> {
    for key in KEYS {
        let write = shop.history.begin(key, WRITER, true, shop.now());
        let (id, name) = (product::id(key), product::name(write));
        session
            .run(&format!(
                "INSERT INTO products (id, name, attributes) \
                 VALUES ('{id}', '{name}', jsonb_build_object('made_by', '{name}'))"
            ))
            .await?;
        shop.history.acknowledge(write, None, shop.now());
    }
    Ok(())
}

async fn insert_mass(session: &mut Psql, rows: u32) -> anyhow::Result<()> {
    session
        .run(&format!(
            "INSERT INTO products (id, name) SELECT 'mass-' || number, 'mass' FROM generate_series(1, {rows}) number"
        ))
        .await?;
    Ok(())
}

/// All keys of psql have as many states as one another.
fn mass_update(sequence: u64) -> String {
    let (first, last) = (product::id(KEYS.start), product::id(KEYS.end - 1));
    format!(
        "UPDATE products SET name = id || '|{WRITER}|{sequence}', \
         attributes = jsonb_build_object('made_by', id || '|{WRITER}|{sequence}') \
         WHERE id LIKE 'mass-%' OR id BETWEEN '{first}' AND '{last}'"
    )
}
