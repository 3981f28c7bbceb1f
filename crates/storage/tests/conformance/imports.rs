//! Bulk upsert.

use std::{collections::BTreeMap, sync::Arc};

use larder_storage::{Filter, Imported, ListQuery, Money, Order, OrderField, ProductData, ProductRepository, Subject};

use crate::{
    basics::full,
    bench::{Bench, in_terms, named},
};

pub(crate) fn numbered(count: usize) -> Vec<(String, ProductData)> {
    (0..count)
        .map(|number| {
            let data = ProductData {
                price: Some(Money {
                    currency: ["EUR", "USD", "JPY"][number % 3].to_owned(),
                    units: i64::try_from(number % 50).unwrap(),
                    nanos: 500_000_000,
                }),
                in_stock: number % 2 == 0,
                ..in_terms(
                    &format!("Product {}", number % 97),
                    &[["books", "tools", "toys"][number % 3]],
                    &[["new", "sale"][number % 2]],
                )
            };
            (format!("p{number:05}"), data)
        })
        .collect()
}

pub(crate) async fn every_outcome_is_told(bench: Bench) {
    bench.create("same", &full()).await;
    let changed = bench.create("changed", &in_terms("x", &["old"], &["t"])).await;
    let input = vec![
        ("new".to_owned(), named("new")),
        ("same".to_owned(), full()),
        ("changed".to_owned(), in_terms("x", &["fresh"], &["t"])),
    ];
    let same = bench.get("same").await.unwrap();
    let done = bench.repository.import(&input).await.unwrap();
    assert_eq!(done.value, [Imported::Created, Imported::Unchanged, Imported::Updated]);
    assert_eq!(done.changes.len(), 2);
    let terms = |change: &larder_storage::Change| match &change.subject {
        Subject::Put { key, terms, version } if key == "changed" => {
            assert!(*version > changed.version);
            Some(terms.len())
        }
        _ => None,
    };
    assert_eq!(done.changes.iter().find_map(terms), Some(3), "old, fresh and t: {done:?}");
    assert_eq!(bench.get("same").await, Some(same));
    assert_eq!(bench.get("changed").await.unwrap().data, input[2].1);
    let again = bench.repository.import(&input).await.unwrap();
    assert_eq!(again.value, [Imported::Unchanged; 3]);
    assert!(again.changes.is_empty() && again.commit.is_some());
    let none = bench.repository.import(&[]).await.unwrap();
    assert!(none.value.is_empty());
}

pub(crate) async fn a_thousand_products_at_once(bench: Bench) {
    let mut follower = bench.follow().await;
    let mut input = numbered(1_000);
    let done = bench.repository.import(&input).await.unwrap();
    assert_eq!(done.value, vec![Imported::Created; 1_000]);
    assert_eq!(done.changes.len(), 1_000);
    assert!(done.changes.iter().all(|change| matches!(change.subject, Subject::Put { .. })));
    assert_eq!(follower.changes().await.len(), 1_000, "an import does not collapse");
    for (_, data) in input.iter_mut().step_by(2) {
        data.name.push('!');
    }
    let done = bench.repository.import(&input).await.unwrap();
    assert_eq!(done.value.iter().filter(|done| **done == Imported::Updated).count(), 500);
    assert_eq!(done.changes.len(), 500);
    let ids: Vec<String> = input.iter().map(|(id, _)| id.clone()).collect();
    let mut loaded = bench.repository.get(&ids).await.unwrap().value.found;
    loaded.sort_by(|a, b| a.id.cmp(&b.id));
    let loaded: Vec<_> = loaded.into_iter().map(|product| (product.id, product.data)).collect();
    assert_eq!(loaded, input);
}

pub(crate) async fn products_are_created_in_the_order_of_the_import(bench: Bench) {
    let mut input = numbered(200);
    input.sort_by_key(|(id, _)| id.chars().rev().collect::<String>());
    bench.repository.import(&input).await.unwrap();
    let order = Order { field: OrderField::CreateTime, descending: false };
    let query = ListQuery { filter: Filter::default(), order, after: None, limit: 1_000, count: false };
    let created = async || bench.repository.list(&query).await.unwrap().value.ids;
    let expected: Vec<String> = input.iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(created().await, expected);
    let product = bench.get(&expected[7]).await.unwrap();
    assert_eq!(product.create_time, product.update_time);
    // A product keeps its place when a later import replaces it.
    let again: Vec<_> = input.iter().rev().map(|(id, _)| (id.clone(), named("other"))).collect();
    bench.repository.import(&again).await.unwrap();
    assert_eq!(created().await, expected);
    let replaced = bench.get(&expected[7]).await.unwrap();
    assert!(replaced.create_time == product.create_time && replaced.update_time >= product.update_time);
}

pub(crate) async fn text_comes_back_exactly(bench: Bench) {
    let texts = [
        "",
        " ",
        "{}",
        "{a,b}",
        "\"",
        "\\",
        "NULL",
        "'; DROP TABLE products; --",
        "\u{feff}x",
        "e\u{301} é",
        "\u{10ffff}",
        "a\r\n\tb",
        "\u{1}",
        "?1 $1 %s",
    ];
    let input: Vec<(String, ProductData)> = texts
        .iter()
        .enumerate()
        .map(|(number, &text)| {
            let data = ProductData {
                name: text.to_owned(),
                description: text.repeat(3),
                categories: vec![text.to_owned(), "x".to_owned()],
                tags: vec![format!("{text}t")],
                attributes: BTreeMap::from([(text.to_owned(), text.to_owned())]),
                image_url: text.to_owned(),
                price: Some(Money { currency: "KWD".to_owned(), units: i64::MAX, nanos: 999_999_999 }),
                in_stock: true,
            };
            (format!("p{number}"), data)
        })
        .collect();
    bench.repository.import(&input).await.unwrap();
    for (id, data) in &input {
        assert_eq!(bench.get(id).await.unwrap().data, *data);
        let copy = bench.create(&format!("{id}-copy"), data).await;
        assert_eq!(copy.data, *data);
    }
    assert_eq!(bench.repository.import(&input).await.unwrap().value, vec![Imported::Unchanged; texts.len()]);
}

pub(crate) async fn concurrent_imports_of_the_same_products(bench: Bench) {
    let input = Arc::new(numbered(200));
    let calls = (0..4).map(|caller| {
        let (repository, mut input) = (Arc::clone(&bench.repository), input.to_vec());
        if caller % 2 == 1 {
            input.reverse();
        }
        tokio::spawn(async move { repository.import(&input).await })
    });
    let mut created = 0;
    for call in calls.collect::<Vec<_>>() {
        let done = call.await.unwrap().expect("an import among others");
        created += done.value.iter().filter(|done| **done == Imported::Created).count();
    }
    assert_eq!(created, 200);
}
