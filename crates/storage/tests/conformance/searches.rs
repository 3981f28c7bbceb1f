//! Full text.

use larder_storage::{Filter, ProductData, ProductRepository, SearchPage, SearchQuery, words};

use crate::{
    bench::{Bench, in_terms, named},
    imports::numbered,
};

fn query(text: &str) -> SearchQuery {
    SearchQuery { words: words(text), filter: Filter::default(), after: None, limit: 100 }
}

async fn search(bench: &Bench, text: &str) -> Vec<String> {
    page(bench, &query(text)).await.ids
}

async fn page(bench: &Bench, query: &SearchQuery) -> SearchPage {
    let loaded = bench.repository.search(query).await.unwrap();
    assert!(loaded.point.incarnation.is_some());
    loaded.value
}

pub(crate) async fn words_and_prefixes_must_all_occur(bench: Bench) {
    let described = |name: &str, description: &str| ProductData { description: description.to_owned(), ..named(name) };
    bench.create("a", &described("Espresso machine", "With a USB-C cable, 3.5 mm jack")).await;
    bench.create("b", &in_terms("Coffee grinder", &["kitchen"], &["espresso-ready"])).await;
    bench.create("c", &named("Wi-Fi kettle v2.0")).await;
    bench.create("d", &named("Straße 7: the game")).await;
    for (text, expected) in [
        ("espresso", vec!["a", "b"]),
        ("ESPR", vec!["a", "b"]),
        ("espresso mach", vec!["a"]),
        ("kitch", vec!["b"]),
        ("ready", vec!["b"]),
        ("usb", vec!["a"]),
        ("usb c", vec!["a"]),
        ("usb-c", vec!["a"]),
        ("3.5 jack", vec!["a"]),
        ("wi-fi", vec!["c"]),
        ("fi ket", vec!["c"]),
        ("v2.0", vec!["c"]),
        ("2.0", vec![]),
        ("v2", vec!["c"]),
        ("straße", vec!["d"]),
        ("ettle", vec![]),
        ("espresso kettle", vec![]),
        ("nothing", vec![]),
    ] {
        let mut found = search(&bench, text).await;
        found.sort_unstable();
        assert_eq!(found, expected, "{text}");
    }
    let mut filtered = query("espresso");
    filtered.filter.category = Some("kitchen".to_owned());
    assert_eq!(page(&bench, &filtered).await.ids, ["b"]);
    filtered.filter.tag = Some("nope".to_owned());
    assert_eq!(page(&bench, &filtered).await.ids, [""; 0]);

    // What is changed or gone is found by its new words only.
    bench.sql("UPDATE products SET name = 'Teapot' WHERE id = 'c'").await;
    assert_eq!(search(&bench, "kettle").await, [""; 0]);
    assert_eq!(search(&bench, "teap").await, ["c"]);
    bench.repository.delete("c", None).await.unwrap();
    assert_eq!(search(&bench, "teap").await, [""; 0]);
}

pub(crate) async fn better_matches_come_first(bench: Bench) {
    let filler = "plain words about something else entirely";
    let described = |name: &str, description: String| ProductData { description, ..named(name) };
    bench.create("described", &described("Thing", format!("{filler} lantern {filler}"))).await;
    bench
        .create("tagged", &ProductData { description: filler.to_owned(), ..in_terms("Object", &[], &["lantern"]) })
        .await;
    bench.create("named", &described("Lantern", filler.to_owned())).await;
    for number in 0..20 {
        bench.create(&format!("other{number}"), &described("Other", filler.to_owned())).await;
    }
    assert_eq!(search(&bench, "lantern").await, ["named", "tagged", "described"]);
}

pub(crate) async fn pages_of_a_search(bench: Bench) {
    bench.repository.import(&numbered(300)).await.unwrap();
    let all = search_all(&bench, 1_000).await;
    assert_eq!(all.len(), 300);
    assert_eq!(search_all(&bench, 7).await, all);
    let mut sorted = all.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), 300, "none twice");
}

async fn search_all(bench: &Bench, limit: u32) -> Vec<String> {
    let mut query = SearchQuery { limit, ..query("produ") };
    let mut ids = Vec::new();
    loop {
        let page = page(bench, &query).await;
        ids.extend(page.ids);
        let Some(next) = page.next else { return ids };
        query.after = Some(next);
    }
}

pub(crate) async fn hostile_words_are_words(bench: Bench) {
    bench.create("a", &named("or and not near select")).await;
    bench.create("b", &named("safe")).await;
    for text in [
        "' OR 1=1 --",
        "\"",
        "safe' | 'a",
        "a:*b & !c | (d)",
        "NEAR(x, 5)",
        "name:safe",
        "-safe ^x {y}:z",
        "AND OR NOT",
        "\u{e9}\u{ff}\u{300}",
        "ﬁ ǅ ſ İ",
        "٣ ４ Ⅷ",
        "日本語 テスト",
        "x*",
        "safe\\",
        "%_",
    ] {
        let query = query(text);
        if !query.words.is_empty() {
            page(&bench, &query).await;
        }
    }
    assert_eq!(search(&bench, "AND OR NOT").await, ["a"]);
    assert_eq!(search(&bench, "NEAR").await, ["a"]);
    assert_eq!(search(&bench, "safe").await, ["b"]);
}
