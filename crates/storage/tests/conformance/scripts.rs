//! Searching in every language, over both databases and every kind of locale: all must answer alike.

use std::collections::{BTreeMap, BTreeSet};

use larder_storage::{Filter, ProductRepository, SearchQuery, words};
use larder_test_servers::Postgres;
use unicode_normalization::UnicodeNormalization;

use crate::{
    bench::{Bench, Shell, named},
    languages::NAMES,
};

/// SQLite, and PostgreSQL with the locales that cut and fold most differently.
async fn benches() -> Vec<(&'static str, Bench)> {
    let mut benches = vec![("SQLite", Bench::sqlite().await)];
    for (name, options) in [
        ("PostgreSQL, ctype C", "TEMPLATE template0 LOCALE 'C'"),
        ("PostgreSQL, ctype C.UTF-8", ""),
        ("PostgreSQL, ICU, Turkish", "TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'tr-TR' LOCALE 'C'"),
    ] {
        let server = Postgres::shared().await;
        match server.try_create_database(options).await {
            Ok(url) => benches.push((name, Bench::over(Shell::Postgres(server, url.clone()), url).await)),
            Err(error) if error.contains("ICU is not supported in this build") => println!("{name}: {error}"),
            Err(error) => panic!("{name}: {error}"),
        }
    }
    benches
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_name_word_and_beginning_is_found_in_every_language() {
    let queries = queries();
    let searches = benches().await.into_iter().map(|(name, bench)| {
        let queries = queries.clone();
        tokio::spawn(async move { (name, answers(&bench, &queries).await) })
    });
    let mut all = Vec::new();
    for search in searches.collect::<Vec<_>>() {
        all.push(search.await.unwrap());
    }
    let missed: Vec<String> = all
        .iter()
        .flat_map(|(name, answers)| answers.iter().map(move |(query, found)| (name, query, found)))
        .flat_map(|(name, query, found)| {
            let missing = queries[query].iter().filter(|id| !found.contains(*id));
            missing.map(move |id| format!("{name}: {query:?} does not find {id}"))
        })
        .collect();
    println!("{} queries in {} languages, over {} databases", queries.len(), NAMES.len(), all.len());
    assert!(missed.is_empty(), "{} missed: {:#?}", missed.len(), &missed[..missed.len().min(50)]);
    for (name, answers) in &all[1..] {
        for (query, found) in answers {
            assert_eq!(found, &all[0].1[query], "{query:?}: {name} and {} differ", all[0].0);
        }
    }
}

/// What is asked, and which products it must find: those of the language it is of, however their names are composed.
fn queries() -> BTreeMap<String, BTreeSet<String>> {
    let mut queries: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (number, (language, name)) in NAMES.iter().enumerate() {
        let ids: BTreeSet<String> = ["nfc", "nfd"].iter().map(|form| format!("{form}-{number}")).collect();
        let mut names: Vec<String> = vec![name.nfc().collect(), name.nfd().collect(), name.to_lowercase()];
        // What these letters have below is an accent here, and another letter beside capitals.
        if *language != "Greek, polytonic" {
            names.push(name.to_uppercase());
        }
        for name in names {
            let mut parts = vec![name.clone()];
            for word in name.split_whitespace() {
                parts.push(word.to_owned());
                let letters = word.trim_start_matches(|c: char| !c.is_alphanumeric());
                // Letters with what is written over and under them, and code points alone.
                parts.push(letters.split_inclusive(char::is_alphanumeric).take(3).collect());
                parts.push(letters.chars().take(3).collect());
                if spaceless(letters) {
                    let letters: Vec<char> = letters.chars().collect();
                    parts.extend(letters.windows(2).map(String::from_iter));
                    parts.extend(letters.windows(4).map(String::from_iter));
                }
            }
            for part in parts.into_iter().filter(|part| !words(part).is_empty()) {
                queries.entry(part).or_default().extend(ids.clone());
            }
        }
    }
    queries
}

fn spaceless(word: &str) -> bool {
    word.chars().all(|c| matches!(c, '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{3040}'..='\u{9fff}'))
}

/// Stores every name composed, by the repository, and decomposed, by hand; then asks every query.
async fn answers(bench: &Bench, queries: &BTreeMap<String, BTreeSet<String>>) -> BTreeMap<String, BTreeSet<String>> {
    let mut by_hand = Vec::new();
    for (number, (_, name)) in NAMES.iter().enumerate() {
        let (composed, decomposed): (String, String) = (name.nfc().collect(), name.nfd().collect());
        bench.create(&format!("nfc-{number}"), &named(&composed)).await;
        let decomposed = decomposed.replace('\'', "''");
        by_hand.push(format!("INSERT INTO products (id, name) VALUES ('nfd-{number}', '{decomposed}');\n"));
    }
    bench.sql(&by_hand.concat()).await;
    let mut answers = BTreeMap::new();
    for query in queries.keys() {
        let search = SearchQuery { words: words(query), filter: Filter::default(), after: None, limit: 1_000 };
        let found = bench.repository.search(&search).await.expect(query).value.ids;
        answers.insert(query.clone(), found.into_iter().collect());
    }
    answers
}

/// One program would be best; these are three, so they are compared over everything that there is.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn text_is_folded_like_queries_over_all_of_unicode() {
    let mut tasks = Vec::new();
    for (name, bench) in benches().await {
        tasks.push(tokio::spawn(async move {
            let mut wrong = Vec::new();
            // What is left out is ideographs, private, or nothing yet.
            for (from, to) in [(0, 0xffff), (0x1_0000, 0x1_ffff), (0x2_f000, 0x2_ffff), (0xe_0000, 0xe_0fff)] {
                let folded = bench.sql(&fold_by_hand(&bench, from, to)).await;
                let mut seen = 0;
                for piece in folded.split("zz").skip(1) {
                    let (code, text) = piece.split_at(6);
                    let Some(c) = u32::from_str_radix(code, 16).ok().and_then(char::from_u32) else {
                        panic!("{piece:?}")
                    };
                    seen += 1;
                    let split = text.split(|c: char| c.is_ascii() && !c.is_ascii_alphanumeric());
                    let text: BTreeSet<String> =
                        split.map(str::to_ascii_lowercase).filter(|word| !word.is_empty()).collect();
                    let query: BTreeSet<String> = words(&c.to_string()).into_iter().collect();
                    // Beside pairs, text has the last character of a run, and the first.
                    let single = |word: &str| word.chars().count() == 1 && query.iter().any(|pair| pair.contains(word));
                    if !query.is_subset(&text) || !text.difference(&query).all(|word| single(word)) {
                        wrong.push(format!("{name}: {code} {c:?} is {text:?}, and {query:?} in a query"));
                    }
                }
                assert!(seen > (to - from) * 9 / 10, "{name}: {seen}");
            }
            wrong
        }));
    }
    for task in tasks {
        let wrong = task.await.unwrap();
        assert!(wrong.is_empty(), "{}: {:#?}", wrong.len(), &wrong[..wrong.len().min(20)]);
    }
}

/// SQL that prints `zzCODE` and what the database makes of the character, for each of a range.
fn fold_by_hand(bench: &Bench, from: u32, to: u32) -> String {
    if bench.is_postgres() {
        format!(
            "SELECT string_agg(public.search_words('zz' || lpad(to_hex(n), 6, '0') || ' ' || chr(n) || ' ', 100), '') \
             FROM generate_series(greatest({from}, 1), {to}) n WHERE n NOT BETWEEN 55296 AND 57343"
        )
    } else {
        // In texts of 256 characters.
        format!(
            "INSERT INTO product_texts (number, name, terms, description) \
             SELECT {from} + p.n * 256 + 1, '', '', (SELECT group_concat(printf('zz%06x ', c) || char(c) || ' ', '') FROM \
             (SELECT {from} + p.n * 256 + k.n AS c FROM search_numbers k WHERE k.n < 256) WHERE c > 0 AND c NOT BETWEEN 55296 AND 57343) \
             FROM search_numbers p WHERE p.n <= ({to} - {from}) / 256; \
             SELECT description FROM product_words WHERE rowid BETWEEN {from} + 1 AND {to} + 1; DELETE FROM product_words;"
        )
    }
}
