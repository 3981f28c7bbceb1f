//! Figures of samples, and the screen as text.

use std::time::Duration;

use larder_proto::{
    admin::{BusStats, HotKey, InvalidationStats, Latency, LoadStats, Replica, ReplicaStats, TierStats},
    catalog::CacheTier,
};
use ratatui::{Terminal, backend::TestBackend};

use super::{
    draw::draw,
    figures::{COLUMNS, Connection, Figures, History, Sample},
};
use larder_server::contract::duration;

/// A replica that has run for some seconds and answered so many of so many requests from L1.
fn stats(id: &str, seconds: u64, hits: u64, requests: u64) -> ReplicaStats {
    let micros = |micros| Some(duration(Duration::from_micros(micros)));
    let latency = Latency { count: 9, mean: micros(500), p50: micros(412), p95: micros(900), p99: micros(3_450) };
    let misses = requests - hits;
    let l1 = TierStats {
        tier: CacheTier::L1.into(),
        requests,
        hits,
        entries: 12_345,
        bytes: 64 << 20,
        capacity_bytes: 256 << 20,
        ..TierStats::default()
    };
    let l2 = TierStats {
        tier: CacheTier::L2.into(),
        requests: misses,
        hits: misses / 2,
        entries: 8_000,
        bytes: 3 << 20,
        errors: seconds,
        latency: Some(latency),
        ..TierStats::default()
    };
    let database = TierStats {
        tier: CacheTier::Database.into(),
        requests: misses / 2,
        hits: misses / 2,
        latency: Some(latency),
        ..TierStats::default()
    };
    ReplicaStats {
        replica: Some(replica(id, seconds)),
        tiers: vec![l1, l2, database],
        loads: Some(LoadStats { loads: misses / 2, joined: 3 * seconds, ..LoadStats::default() }),
        invalidations: Some(InvalidationStats { from_bus: 2 * seconds, tags: seconds, ..InvalidationStats::default() }),
        bus: Some(BusStats { connected: true, missed_share: 0.012, lag: micros(830), ..BusStats::default() }),
        redis: None,
        prefetch: None,
    }
}

fn replica(id: &str, seconds: u64) -> Replica {
    let uptime = Some(duration(Duration::from_secs(seconds)));
    Replica { id: id.into(), name: format!("{id}:50051"), version: "0.1.0".into(), uptime }
}

fn sample(replicas: Vec<ReplicaStats>) -> Sample {
    Sample { replicas, ..Sample::default() }
}

/// The figures after some samples.
fn after(samples: impl IntoIterator<Item = Sample>) -> Figures {
    let (mut history, mut figures) = (History::default(), Figures::default());
    for sample in samples {
        history.add(sample, &mut figures);
    }
    figures
}

fn requests(figures: &Figures) -> Option<f64> {
    figures.tiers[0].requests
}

fn screen(figures: &Figures, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, figures)).unwrap();
    let buffer = terminal.backend().buffer().clone();
    let rows = buffer.content().chunks(usize::from(width));
    let lines = rows.map(|row| row.iter().map(ratatui::buffer::Cell::symbol).collect::<String>());
    lines.map(|line| line.trim_end().to_owned() + "\n").collect()
}

#[test]
fn rates_come_from_two_samples() {
    let first = sample(vec![stats("a", 10, 900, 1_000), stats("b", 100, 0, 0)]);
    let figures = after([first.clone()]);
    assert_eq!((requests(&figures), figures.tiers[0].hit_rate), (None, None), "one sample tells no rate");
    assert_eq!(figures.replicas[0].requests, None);
    assert_eq!(figures.connection, Connection::Up);

    let second = sample(vec![stats("a", 12, 950, 1_100), stats("b", 101, 30, 30)]);
    let figures = after([first, second]);
    assert_eq!(requests(&figures), Some(50.0 + 30.0), "each by its own time");
    assert_eq!(figures.tiers[0].hit_rate, Some(80.0 / 130.0));
    assert_eq!(figures.replicas.iter().map(|replica| replica.requests).collect::<Vec<_>>(), [Some(50.0), Some(30.0)]);
    assert_eq!(figures.tiers[0].bytes, 128 << 20, "sizes are added up");
    assert_eq!(figures.tiers[1].p99, Some(Duration::from_micros(3_450)));
    assert_eq!(figures.changes, Some([0.0, 4.0, 0.0]));
    assert_eq!(figures.invalidations, Some([0.0, 0.0, 2.0, 0.0, 0.0]));
}

#[test]
fn a_replica_that_began_anew_has_no_rate_until_the_next_sample() {
    let before = sample(vec![stats("a", 1_000, 900, 1_000)]);
    // Under the same id or another one: its uptime, or a counter, went back.
    for restarted in [stats("a", 1, 5, 10), stats("a", 1_001, 5, 10), stats("c", 1, 5, 10)] {
        let id = restarted.replica.as_ref().unwrap().id.clone();
        let seconds = u64::try_from(restarted.replica.as_ref().unwrap().uptime.unwrap().seconds).unwrap();
        let figures = after([before.clone(), sample(vec![restarted.clone()])]);
        assert_eq!(requests(&figures), None);
        assert_eq!(figures.tiers[0].past, [None], "nothing is drawn of it");
        let next = sample(vec![stats(&id, seconds + 1, 15, 30)]);
        assert_eq!(requests(&after([before.clone(), sample(vec![restarted]), next])), Some(20.0));
    }
}

#[test]
fn one_that_was_silent_is_counted_on() {
    let silent = Sample { silent: vec![replica("a", 11)], ..Sample::default() };
    let gone = Sample::default();
    let (before, back) = (sample(vec![stats("a", 10, 0, 0)]), sample(vec![stats("a", 12, 0, 100)]));
    let figures = after([before.clone(), silent.clone()]);
    assert!(!figures.replicas[0].answered);
    assert_eq!(requests(&after([before.clone(), silent, back.clone()])), Some(50.0));
    assert_eq!(requests(&after([before, gone, back])), None, "what has gone is forgotten");
}

#[test]
fn the_past_is_bounded() {
    let figures = after((0..2_000).map(|second| sample(vec![stats("a", second, second * 3, second * 4)])));
    let past = &figures.tiers[0].past;
    assert_eq!((past.len(), past[0], past[COLUMNS - 1]), (COLUMNS, Some(0.75), Some(0.75)));
}

#[test]
fn a_screen_of_eighty_columns_holds_everything() {
    let seconds = 0..60;
    let mut figures = after(seconds.map(|second| {
        let mut hits = second * second * 20;
        if second < 20 {
            hits = 0;
        }
        let mut b = stats("replica-b.example.org", second, 7 * second, 8 * second);
        b.bus.as_mut().unwrap().connected = second < 50;
        Sample {
            replicas: vec![stats("replica-a", second + 3_600, hits, hits.max(second) + second * 120), b],
            silent: vec![replica("replica-c", 5)],
            hot: vec![
                HotKey { key: "product:cast-iron-skillet-28cm".into(), rate: 1_204.4, reads: 99 },
                HotKey { key: "list:\u{1b}[2J".into(), rate: 3.25, reads: 9 },
            ],
        }
    }));
    figures.address = "http://127.0.0.1:50052".to_owned();
    let expected = include_str!("screen.txt");
    let shown = screen(&figures, 80, 24);
    assert!(shown == expected, "shown:\n{shown}\nexpected:\n{expected}");
}

#[test]
fn a_server_that_is_away_is_said() {
    let figures = Figures { address: "http://h:1".into(), ..Figures::default() };
    assert!(screen(&figures, 80, 24).contains("connecting"));
    let lost = Figures { connection: Connection::Lost("UNAVAILABLE: no\u{7}".into()), ..figures };
    assert!(screen(&lost, 80, 24).contains("old figures, trying again: UNAVAILABLE: no\\u{7}"));
}

#[test]
fn small_and_large_screens_do_no_harm() {
    let figures = after((0..60).map(|second| sample(vec![stats("a", second, second, second)])));
    for (width, height) in [(1, 1), (20, 5), (40, 12), (200, 60), (79, 23)] {
        assert_eq!(screen(&figures, width, height).lines().count(), usize::from(height));
    }
}
