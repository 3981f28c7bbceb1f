//! Invalidations by hand, over several replicas and one real Redis.

use std::sync::{Arc, atomic::Ordering};

use larder_cache::{
    ANY, Cache, ChangeSource, Clock, CopyState, Freshness, Key, Policy, ReadOptions, SharedConfig, Subject,
    SubjectCounts, Tier,
};
use larder_test_servers::{Faults, Proxy, Redis};
use tokio::runtime::Handle;

use crate::{
    shared::{Cluster, shared},
    support::{At, Bench, Database, config, list, seq, until},
};

/// Each kind of invalidation that touches `item:a`, and whether it touches `item:b` and `item:absent`, too.
fn subjects() -> [(Subject, bool, bool); 7] {
    [
        (Subject::Key("item:a".into()), false, false),
        // Of what is absent nobody knows the terms.
        (Subject::Term("tag:t".into()), false, true),
        (Subject::Term("category:c".into()), false, true),
        (Subject::Pattern("item:?".into()), true, false),
        (Subject::Pattern("*:[!b]*".into()), false, true),
        (Subject::Pattern("{".into()), true, true),
        (Subject::All, true, true),
    ]
}

fn count(kinds: SubjectCounts) -> u64 {
    kinds.keys + kinds.tags + kinds.categories + kinds.patterns + kinds.all
}

/// Both items are there, and every replica has copies of them and of one that is absent.
async fn warm(cluster: &Cluster) {
    cluster.db.have("item:a", &["tag:t", "category:c"]);
    cluster.db.have("item:b", &["tag:c", "category:t"]);
    cluster.db.put("item:a", &[]);
    cluster.db.put("item:b", &[]);
    for replica in 0..cluster.replicas.len() {
        cluster.replicas[replica].reach(Freshness::FullyConsistent).await.unwrap();
        for (name, expected) in [("item:a", Some(1)), ("item:b", Some(2)), ("item:absent", None)] {
            assert_eq!(cluster.item(replica, name).await.1, expected);
            assert!(cluster.replicas[replica].get(name).is_some());
        }
    }
    until(|| cluster.replicas[0].stats().l2_sets >= 3).await;
}

/// What the invalidation touches is gone from L1 and not taken from L2; all else is a hit.
async fn check(cluster: &Cluster, replica: usize, case: &(Subject, bool, bool), commit: u64) {
    let (subject, b, absent) = case;
    let cache = &cluster.replicas[replica];
    let gone = ["item:a", "item:b", "item:absent"].map(|name| cache.get(name).is_none());
    assert_eq!(gone, [true, *b, *absent], "{subject:?}");
    // Whoever asks for a key that a load on another replica has filled since may have that.
    let (tier, seen) = cluster.item(replica, "item:a").await;
    assert!(seen >= Some(commit), "{subject:?}: {tier:?} shows {seen:?}, not {commit}");
    assert!(cache.get("item:a").is_some(), "{subject:?}: what was read after it is kept");
}

#[tokio::test]
async fn each_kind_reaches_other_replicas_over_the_bus() {
    for case in subjects() {
        let cluster = Cluster::new(3).await;
        warm(&cluster).await;
        // Nothing but the bus tells of it.
        cluster.db.fail_passes.store(true, Ordering::SeqCst);
        let (_, commit) = cluster.write(0, case.0.clone(), true).await;
        assert_eq!(count(cluster.replicas[0].stats().invalidations.own), 1);
        for replica in [1, 2] {
            until(|| count(cluster.replicas[replica].stats().invalidations.bus) == 1).await;
        }
        for (replica, source) in [(0, ChangeSource::Own), (1, ChangeSource::Bus), (2, ChangeSource::Bus)] {
            let newest = cluster.replicas[replica].recent_changes(0).pop().unwrap();
            assert_eq!((newest.source, &newest.subject), (source, &case.0));
        }
        let invalid = cluster.replicas[1].stats().l2_invalid;
        check(&cluster, 1, &case, commit).await;
        assert!(cluster.replicas[1].stats().l2_invalid > invalid, "{:?}: the copy in Redis was refused", case.0);
        check(&cluster, 2, &case, commit).await;
        check(&cluster, 0, &case, commit).await;
    }
}

#[tokio::test]
async fn each_kind_is_learned_from_the_log_where_the_bus_loses_everything() {
    let redis = Redis::shared().await;
    for case in subjects() {
        let proxy = Proxy::start(redis.address());
        let direct = shared(redis.url());
        let deaf = SharedConfig { url: proxy.url(), ..direct.clone() };
        let cluster = Cluster::with(vec![direct, deaf], Clock::manual(), |db| db).await;
        proxy.set(Faults { push_black_hole: true, ..Faults::default() });
        warm(&cluster).await;
        let (_, commit) = cluster.write(0, case.0.clone(), true).await;
        let invalid = cluster.replicas[1].stats().l2_invalid;
        cluster.replicas[1].reach(Freshness::FullyConsistent).await.unwrap();
        let stats = cluster.replicas[1].stats();
        assert_eq!((count(stats.invalidations.bus), count(stats.invalidations.log)), (0, 1), "{:?}", case.0);
        check(&cluster, 1, &case, commit).await;
        assert!(cluster.replicas[1].stats().l2_invalid > invalid, "{:?}", case.0);
    }
}

#[tokio::test]
async fn a_replica_without_redis_learns_each_kind_from_the_log() {
    for (subject, b, absent) in subjects() {
        let cluster = Cluster::new(1).await;
        warm(&cluster).await;
        let lonely = Cache::new(config(), cluster.clock.clone(), Handle::current(), 9);
        let follower = tokio::spawn(lonely.clone().follow(Arc::clone(&cluster.db)));
        lonely.first_pass().await.unwrap();
        let read = async |name: &'static str| {
            let db = Arc::clone(&cluster.db);
            let load = move |_| {
                let db: Arc<Database> = Arc::clone(&db);
                async move { db.load(vec![name.to_owned()]).await }
            };
            seq(&lonely.get_or_load(Key::item(name), Policy::Item, ReadOptions::default(), load).await.unwrap())
        };
        for name in ["item:a", "item:b", "item:absent"] {
            read(name).await;
        }
        let (token, commit) = cluster.write(0, subject.clone(), true).await;
        lonely.reach(Freshness::AtLeast(token)).await.unwrap();
        let gone = ["item:a", "item:b", "item:absent"].map(|name| lonely.get(name).is_none());
        assert_eq!(gone, [true, b, absent], "{subject:?}");
        assert_eq!(read("item:a").await, Some(commit), "{subject:?}");
        assert!(lonely.replicas().is_empty() && lonely.this_replica().is_none());
        follower.abort();
    }
}

#[tokio::test]
async fn a_page_that_is_invalidated_by_its_key_comes_back_from_no_tier() {
    for (term, told) in [("tag:t", "bus"), ("tag:t", "log"), (ANY, "bus"), (ANY, "log")] {
        let cluster = Cluster::new(2).await;
        let page = list(term);
        for replica in [0, 1] {
            cluster.replicas[replica].reach(Freshness::FullyConsistent).await.unwrap();
            cluster.read(replica, page.clone()).await.unwrap();
        }
        until(|| cluster.replicas[0].stats().l2_sets >= 1).await;
        // A load that began before is not kept either, nor joined.
        cluster.replicas[1].clear();
        let in_redis = cluster.replicas[1].inspect_l2(&page).await.unwrap().unwrap();
        assert_eq!(in_redis.state, CopyState::Valid);
        let other = list("tag:u");
        cluster.read(1, other.clone()).await.unwrap();
        cluster.db.fail_passes.store(told == "bus", Ordering::SeqCst);
        let subject = Subject::Key(page.name.to_string());
        if told == "bus" {
            cluster.write(0, subject, true).await;
            until(|| cluster.replicas[1].stats().invalidations.bus.keys == 1).await;
        } else {
            let id = cluster.db.begin();
            cluster.db.commit(id, subject, true);
            cluster.replicas[1].reach(Freshness::FullyConsistent).await.unwrap();
        }
        let in_redis = cluster.replicas[1].inspect_l2(&page).await.unwrap().unwrap();
        assert_eq!(in_redis.state, CopyState::Invalidated, "{term} {told}");
        let loads = cluster.loads();
        assert_eq!(cluster.read(1, page.clone()).await.unwrap().tier, Tier::Database, "{term} {told}");
        assert_eq!(cluster.loads(), loads + 1);
        assert!(cluster.replicas[1].get(&page.name).is_some() && cluster.replicas[1].get(&other.name).is_some());
    }
}

#[tokio::test]
async fn a_load_of_a_page_that_began_before_its_invalidation_is_neither_kept_nor_joined() {
    let bench = Bench::new().await;
    bench.db.hold(At::Loaded);
    let loads = bench.db.arrived(At::Loaded);
    let invalidate = async {
        bench.db.reached(At::Loaded, loads + 1).await;
        bench.learn(Subject::Key(list("tag:t").name.to_string()));
        let release = async {
            bench.db.reached(At::Loaded, loads + 2).await;
            bench.db.release(At::Loaded);
        };
        tokio::join!(bench.list_seq("tag:t"), release);
    };
    let (_, ()) = tokio::join!(bench.list_seq("tag:t"), invalidate);
    assert_eq!(bench.loads(), 2, "the second reader joined no load of before");
    let stats = bench.stats();
    assert_eq!((stats.sets, stats.not_stored), (1, 1));
}

#[tokio::test]
async fn a_load_that_began_before_the_invalidation_is_not_kept() {
    for (subject, ..) in subjects() {
        let cluster = Cluster::new(2).await;
        cluster.db.have("item:a", &["tag:t", "category:c"]);
        cluster.db.put("item:a", &[]);
        cluster.replicas[1].reach(Freshness::FullyConsistent).await.unwrap();
        cluster.db.hold(At::Loaded);
        let slow = cluster.item(1, "item:a");
        let meanwhile = async {
            cluster.db.reached(At::Loaded, 1).await;
            cluster.db.fail_passes.store(true, Ordering::SeqCst);
            let (_, commit) = cluster.write(0, subject.clone(), true).await;
            until(|| count(cluster.replicas[1].stats().invalidations.bus) == 1).await;
            cluster.db.release(At::Loaded);
            commit
        };
        let (slow, commit) = tokio::join!(slow, meanwhile);
        assert_eq!(slow, (Tier::Database, Some(1)), "{subject:?}: who waited before may have it");
        assert!(cluster.replicas[1].get("item:a").is_none(), "{subject:?}");
        for replica in [0, 1] {
            assert_eq!(cluster.item(replica, "item:a").await.1, Some(commit), "{subject:?}");
        }
    }
}

#[tokio::test]
async fn a_new_replica_reads_invalidations_back_and_refuses_older_frames() {
    let redis = Redis::shared().await;
    for (subject, b, absent) in subjects() {
        let config = shared(redis.url());
        let mut cluster = Cluster::of(1, &config, |db| db).await;
        warm(&cluster).await;
        let commit = cluster.write(0, subject.clone(), true).await.1;
        cluster.join(config);
        cluster.joined(&cluster.replicas[1]).await;
        let tiers = [
            ("item:a", true, Some(commit)),
            ("item:b", b, Some(if b { commit } else { 2 })),
            ("item:absent", absent, None),
        ];
        for (name, touched, expected) in tiers {
            let tier = if touched { Tier::Database } else { Tier::L2 };
            assert_eq!(cluster.item(1, name).await, (tier, expected), "{subject:?} {name}");
        }
    }
}

#[tokio::test]
async fn what_the_log_tells_again_drops_nothing() {
    for (subject, ..) in subjects() {
        let cluster = Cluster::new(2).await;
        warm(&cluster).await;
        let known = cluster.replicas[1].stats().log_known;
        // The bus tells it first.
        cluster.db.hold(At::Pass);
        cluster.write(0, subject.clone(), true).await;
        until(|| count(cluster.replicas[1].stats().invalidations.bus) == 1).await;
        cluster.db.release(At::Pass);
        cluster.item(1, "item:a").await;
        cluster.replicas[1].reach(Freshness::FullyConsistent).await.unwrap();
        assert!(cluster.replicas[1].get("item:a").is_some(), "{subject:?}");
        assert_eq!(cluster.replicas[1].stats().log_known, known + 1, "{subject:?}");
    }
}
