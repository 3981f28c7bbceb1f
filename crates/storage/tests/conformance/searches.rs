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
        ("STRASSE", vec!["d"]),
        ("strass", vec!["d"]),
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

/// What is searched is limited, so that nothing written by hand breaks a limit of the database.
pub(crate) async fn long_text_is_searched_to_its_limit(bench: Bench) {
    let words_of = |letters: [char; 10], count: u32| {
        let word = |number: u32| number.to_string().bytes().map(|b| letters[usize::from(b - b'0')]).collect::<String>();
        (0..count).map(word).collect::<Vec<_>>()
    };
    // Words of letters that have four bytes each; and characters of which nearly all pairs are different.
    let letters = [
        '\u{10428}',
        '\u{10429}',
        '\u{1042a}',
        '\u{1042b}',
        '\u{1042c}',
        '\u{1042d}',
        '\u{1042e}',
        '\u{1042f}',
        '\u{10430}',
        '\u{10431}',
    ];
    let spaced = words_of(letters, 50_000).join(" ");
    let scattered =
        |number: u32| number.wrapping_mul(2_654_435_761).rotate_left(15).wrapping_mul(2_246_822_519) % 42_000;
    let spaceless: String = (0..150_000).map(|number| char::from_u32(0x20000 + scattered(number)).unwrap()).collect();
    let one = "x".repeat(90_000);
    for (id, text) in [("spaced", &spaced), ("spaceless", &spaceless), ("one", &one)] {
        // An index of PostgreSQL holds whole tags, so that one cannot be long; but there may be many.
        let characters: Vec<char> = text.chars().collect();
        let tags: Vec<String> =
            characters.chunks(200).map(|tag| format!("'{}'", tag.iter().collect::<String>())).collect();
        let tags = tags.join(", ");
        let tags =
            if bench.is_postgres() { format!("ARRAY[{tags}]") } else { format!("'[{}]'", tags.replace('\'', "\"")) };
        bench
            .sql(&format!(
                "INSERT INTO products (id, name, description, tags) VALUES ('{id}', 'ends', '{text}', {tags})"
            ))
            .await;
    }
    let spaceless: Vec<char> = spaceless.chars().collect();
    let part = |from: usize| spaceless[from..from + 3].iter().collect::<String>();
    for (query, expected) in [
        (words_of(letters, 16_000).pop().unwrap(), vec!["spaced"]),
        (words_of(letters, 50_000).pop().unwrap(), vec![]),
        (part(49_000), vec!["spaceless"]),
        (part(60_000), vec![]),
        ("x".repeat(2_000), vec!["one"]),
    ] {
        assert_eq!(search(&bench, &query).await, expected, "{query}");
    }
    assert_eq!(search(&bench, "ends").await.len(), 3);
}

/// Somebody pastes a title of another shop.
pub(crate) async fn a_pasted_title_finds_its_product(bench: Bench) {
    let title = "Hand-Hammered Copper Tea Kettle, 2.5 Litre, for Gas, Electric & Induction Hobs, with Wooden Handle, \
                 Whistling Spout, Tin-Lined Interior and Lid, Includes Matching Trivet, Gift-Boxed, Dishwasher-Unsafe, Polished";
    assert!(words(title).len() >= 30, "{:?}", words(title));
    bench.create("wanted", &named(title)).await;
    bench.create("copper", &named("Copper pan for gas and electric hobs")).await;
    bench.create("lid", &named("Lid")).await;
    bench.create("chinese", &named("四杯装铜制茶壶带哨音手工打造木柄礼品盒装抛光")).await;
    bench.repository.import(&numbered(100)).await.unwrap();
    assert_eq!(search(&bench, title).await, ["wanted"], "alone, for it has every word");
    // With words that it has not, and without some that it has.
    let other =
        format!("BestShop.example: {} | free shipping", title.replace("Whistling", "").replace("Polished", "shiny"));
    assert_eq!(search(&bench, &other).await[0], "wanted");
    assert!(!search(&bench, &other).await.contains(&"lid".to_owned()), "one word is not most of them");
    assert_eq!(search(&bench, "新款四杯装铜制茶壶带哨音手工打造木柄礼品盒装").await, ["chinese"]);
    // Few words must all be there.
    assert_eq!(search(&bench, "copper tea kettle shiny").await, [""; 0]);
    let mut filtered = query(&other);
    filtered.filter.in_stock = Some(true);
    assert_eq!(page(&bench, &filtered).await.ids, [""; 0]);

    // Page by page it is the same, and a page of those that have all words is not followed by others.
    for text in [&other[..], title, "produ number kitchen test 1 2 3 4 5 6 7 8 9 10"] {
        let whole = search(&bench, text).await;
        let mut query = SearchQuery { limit: 1, ..query(text) };
        let mut paged = Vec::new();
        loop {
            let page = page(&bench, &query).await;
            paged.extend(page.ids);
            let Some(next) = page.next else { break };
            query.after = Some(next);
        }
        assert_eq!(paged, whole, "{text}");
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
