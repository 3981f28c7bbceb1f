//! No stale fill: a change learned at any step of a load.

use std::sync::Arc;

use larder_cache::{ANY, Freshness, Key, ReadOptions, Subject};
use tokio::task::JoinHandle;

use crate::support::{At, Bench, committed, entry, list, seq};

/// Each kind of change that touches `item:a`, which has tag `t`.
fn subjects() -> [Subject; 6] {
    [
        entry("item:a", &[]),
        Subject::Key("item:a".into()),
        Subject::Term("tag:t".into()),
        Subject::Pattern("item:[ax]".into()),
        Subject::Pattern("one that [cannot be read".into()),
        Subject::All,
    ]
}

async fn bench() -> Arc<Bench> {
    let bench = Bench::new().await;
    bench.db.have("item:a", &["tag:t"]);
    bench.db.put("item:a", &[]);
    bench.db.put("item:b", &[]);
    bench.pass().await;
    Arc::new(bench)
}

fn read(bench: &Arc<Bench>, key: Key) -> JoinHandle<Option<u64>> {
    let bench = Arc::clone(bench);
    tokio::spawn(async move { seq(&bench.read_with(key, ReadOptions::default()).await.unwrap()) })
}

#[tokio::test]
async fn learned_before_the_load_reads() {
    for subject in subjects() {
        let bench = bench().await;
        bench.db.hold(At::Load);
        let reader = read(&bench, Key::item("item:a"));
        bench.db.reached(At::Load, 1).await;
        bench.db.write(subject.clone(), true);
        bench.learn(subject.clone());
        bench.db.release(At::Load);
        assert_eq!(reader.await.unwrap(), Some(3), "{subject:?}");
        assert!(
            bench.cache.get("item:a").is_none(),
            "{subject:?}: it may have read before or after, so it is not kept"
        );
    }
}

#[tokio::test]
async fn learned_between_read_and_store() {
    for subject in subjects() {
        let bench = bench().await;
        bench.db.hold(At::Loaded);
        let reader = read(&bench, Key::item("item:a"));
        bench.db.reached(At::Loaded, 1).await;
        bench.db.write(subject.clone(), true);
        bench.learn(subject.clone());
        bench.db.release(At::Loaded);
        assert_eq!(reader.await.unwrap(), Some(1), "{subject:?}: who waited before may have it");
        assert!(bench.cache.get("item:a").is_none(), "{subject:?}");
        assert_eq!(bench.seq("item:a").await, Some(3), "{subject:?}");
        assert_eq!((bench.stats().sets, bench.stats().not_stored), (1, 1), "{subject:?}");
    }
}

#[tokio::test]
async fn learned_between_store_and_serve() {
    for subject in subjects() {
        let bench = bench().await;
        assert_eq!(bench.seq("item:a").await, Some(1));
        assert!(bench.cache.get("item:a").is_some());
        bench.db.write(subject.clone(), true);
        bench.learn(subject.clone());
        assert!(bench.cache.get("item:a").is_none(), "{subject:?}");
        assert_eq!(bench.seq("item:a").await, Some(3), "{subject:?}");
        assert!(bench.cache.get("item:a").is_some(), "{subject:?}: and from here on it is kept");
    }
}

#[tokio::test]
async fn learned_by_a_pass_while_a_load_is_under_way() {
    let bench = bench().await;
    bench.db.hold(At::Loaded);
    let reader = read(&bench, Key::item("item:a"));
    bench.db.reached(At::Loaded, 1).await;
    bench.db.put("item:a", &[]);
    bench.pass().await;
    bench.db.release(At::Loaded);
    assert_eq!(reader.await.unwrap(), Some(1));
    assert!(bench.cache.get("item:a").is_none());
    assert_eq!(bench.seq("item:a").await, Some(3));
}

#[tokio::test]
async fn learned_twice_late_and_of_strangers_is_harmless() {
    let bench = bench().await;
    for _ in 0..3 {
        assert_eq!(bench.seq("item:a").await, Some(1));
        bench.learn(entry("item:a", &[]));
        bench.learn(entry("item:stranger", &["category:stranger"]));
    }
    assert_eq!((bench.loads(), bench.stats().changes), (3, 6 + 1 + 2), "the first pass, and two of the second");
}

#[tokio::test]
async fn a_list_depends_on_its_term() {
    let bench = bench().await;
    for term in ["category:x", "category:y", ANY] {
        assert_eq!(bench.list_seq(term).await, if term == ANY { Some(2) } else { Some(0) });
    }
    bench.db.put("item:a", &["category:x"]);
    bench.learn(entry("item:a", &["category:x"]));
    assert!(bench.cache.get("list:category:x").is_none());
    assert!(bench.cache.get("list:any").is_none());
    assert!(bench.cache.get("list:category:y").is_some());
    assert_eq!((bench.list_seq("category:x").await, bench.list_seq(ANY).await), (Some(3), Some(3)));
}

#[tokio::test]
async fn an_item_that_moves_touches_both_lists() {
    let bench = bench().await;
    bench.list_seq("category:old").await;
    bench.list_seq("category:new").await;
    bench.db.put("item:a", &["category:old", "category:new"]);
    bench.pass().await;
    assert_eq!((bench.list_seq("category:old").await, bench.list_seq("category:new").await), (Some(3), Some(3)));
}

#[tokio::test]
async fn a_list_is_not_filled_by_a_load_begun_before_a_change_of_its_term() {
    let bench = bench().await;
    bench.db.hold(At::Loaded);
    let reader = read(&bench, list("category:x"));
    bench.db.reached(At::Loaded, 1).await;
    bench.db.put("item:c", &["category:x"]);
    bench.learn(entry("item:c", &["category:x"]));
    bench.db.release(At::Loaded);
    assert_eq!(reader.await.unwrap(), Some(0));
    assert_eq!(bench.list_seq("category:x").await, Some(3));
}

#[tokio::test]
async fn a_key_alone_touches_no_list() {
    let bench = bench().await;
    bench.list_seq(ANY).await;
    bench.learn(Subject::Key("item:a".into()));
    assert!(bench.cache.get("list:any").is_some());
}

#[tokio::test]
async fn a_term_drops_what_has_it_and_nothing_else() {
    let bench = bench().await;
    bench.seq("item:a").await;
    bench.seq("item:b").await;
    bench.learn(Subject::Term("category:t".into()));
    assert!(bench.cache.get("item:a").is_some(), "a category of the same name is another term");
    bench.learn(Subject::Term("tag:t".into()));
    assert!(bench.cache.get("item:a").is_none());
    assert!(bench.cache.get("item:b").is_some());
    bench.learn(Subject::Term("tag:other".into()));
    assert!(bench.cache.get("item:b").is_some());
    assert!(bench.cache.get("item:a").is_none(), "a later rule that spares it does not bring it back");
    assert_eq!(bench.seq("item:a").await, Some(1));
    assert!(bench.cache.get("item:a").is_some(), "loaded after the rule, it stands");
}

#[tokio::test]
async fn a_term_learned_during_a_load_spares_what_does_not_have_it() {
    let bench = bench().await;
    bench.db.hold(At::Loaded);
    let reader = read(&bench, Key::item("item:b"));
    bench.db.reached(At::Loaded, 1).await;
    bench.learn(Subject::Term("tag:t".into()));
    bench.db.release(At::Loaded);
    reader.await.unwrap();
    assert!(bench.cache.get("item:b").is_some());
}

#[tokio::test]
async fn a_pattern_drops_what_it_matches_and_nothing_else() {
    let bench = bench().await;
    let names = ["item:a", "item:b", "item:absent", "list:category:x", "list:any"];
    let copies = || async {
        for name in &names[..3] {
            bench.seq(name).await;
        }
        bench.list_seq("category:x").await;
        bench.list_seq(ANY).await;
    };
    let cases: [(&str, &[&str]); 6] = [
        ("item:?", &["item:absent", "list:category:x", "list:any"]),
        ("list:*", &["item:a", "item:b", "item:absent"]),
        ("{item,list}:a*", &["item:b", "list:category:x"]),
        ("*:x", &["item:a", "item:b", "item:absent", "list:any"]),
        ("item:", &names),
        ("*", &[]),
    ];
    for (pattern, left) in cases {
        copies().await;
        bench.learn(Subject::Pattern(pattern.into()));
        let there: Vec<_> = names.into_iter().filter(|name| bench.cache.get(name).is_some()).collect();
        assert_eq!(there, left, "{pattern}");
    }
}

#[tokio::test]
async fn what_a_change_would_drop_is_told_beforehand() {
    let bench = bench().await;
    for name in ["item:a", "item:b", "item:absent"] {
        bench.seq(name).await;
    }
    bench.list_seq(ANY).await;
    let told = |subject: Subject| {
        let matching = bench.cache.dry_run(&subject, 10);
        let mut sample: Vec<String> = matching.sample.iter().map(ToString::to_string).collect();
        sample.sort_unstable();
        assert_eq!(sample.len() as u64, matching.count);
        sample
    };
    let pattern = |pattern: &str| told(Subject::Pattern(pattern.into()));
    assert_eq!(pattern("item:?"), ["item:a", "item:b"]);
    assert_eq!(pattern("nothing"), [""; 0]);
    assert_eq!(pattern("[").len(), 4, "one that cannot be read");
    assert_eq!(told(Subject::All).len(), 4);
    assert_eq!(told(Subject::Key("item:b".into())), ["item:b"]);
    assert_eq!(told(Subject::Key("item:none".into())), [""; 0]);
    assert_eq!(
        told(Subject::Term("tag:t".into())),
        ["item:a", "item:absent"],
        "of what is absent nobody knows the terms"
    );
    let few = bench.cache.dry_run(&Subject::All, 2);
    assert_eq!((few.count, few.sample.len()), (4, 2));
    assert!(bench.cache.get("item:a").is_some(), "nothing was dropped");
    bench.learn(Subject::Pattern("item:*".into()));
    assert_eq!(told(Subject::All), ["list:any"], "what is not served any more does not count");
}

#[tokio::test]
async fn a_rule_that_the_log_tells_again_drops_nothing_a_second_time() {
    for subject in subjects() {
        let bench = bench().await;
        let id = bench.db.begin();
        let seq = bench.db.commit(id, subject.clone(), true);
        bench.cache.apply(&committed(id, &subject, seq), bench.db.token(id).incarnation);
        bench.seq("item:a").await;
        bench.pass().await;
        assert!(bench.cache.get("item:a").is_some(), "{subject:?}");
        let stats = bench.stats();
        let learned = [stats.invalidations.own, stats.invalidations.log]
            .map(|kinds| kinds.entries + kinds.keys + kinds.tags + kinds.categories + kinds.patterns + kinds.all);
        // The database wrote two items before that, of which only the log told.
        assert_eq!((learned, stats.log_known), ([1, 2], 1), "{subject:?}");
    }
}

#[tokio::test]
async fn more_rules_than_are_remembered_drop_everything_older() {
    let bench = bench().await;
    bench.seq("item:a").await;
    bench.seq("item:b").await;
    for n in 0..1_000 {
        bench.learn(Subject::Term(format!("tag:other:{n}")));
    }
    assert!(bench.cache.get("item:b").is_some());
    for n in 0..2_000 {
        bench.learn(Subject::Term(format!("tag:more:{n}")));
    }
    assert!(bench.cache.get("item:a").is_none());
    assert!(bench.cache.get("item:b").is_none(), "it was last matched before what was forgotten");
    bench.seq("item:b").await;
    bench.learn(Subject::Term("tag:other".into()));
    assert!(bench.cache.get("item:b").is_some());
}

#[tokio::test]
async fn own_write_and_its_row_in_the_log_are_one_state() {
    let bench = bench().await;
    bench.seq("item:a").await;
    let token = bench.db.put("item:a", &[]);
    bench.learn(entry("item:a", &[]));
    assert_eq!(bench.seq("item:a").await, Some(3));
    bench.cache.reach(Freshness::AtLeast(token)).await.unwrap();
    assert_eq!(bench.seq("item:a").await, Some(3));
}
