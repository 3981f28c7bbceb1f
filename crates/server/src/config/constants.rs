//! Values that were settings once and that nobody needs to turn, each with its reason.
//!
//! A program that embeds the server, and a test, can still change them in the [`Config`](super::Config).

use std::time::Duration;

/// How long a statement waits for a free connection to the database. Longer than a burst of writes takes; a read gives up earlier, by
/// its load timeout.
pub(super) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an idle connection to the database is kept. The pool shrinks after a burst; a connection costs milliseconds.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_mins(10);
/// The age at which a connection to the database is replaced, so that failover and load balancing reach every connection.
pub(super) const MAX_LIFETIME: Duration = Duration::from_mins(30);

/// Absent ids that L1 remembers. They have a room of their own, so that a scan for ids that do not exist evicts no product.
pub(super) const NOT_FOUND_ENTRIES: u64 = 10_000;
/// Loads that may wait for a free one of `max-loads`; further ones are refused. At 64 loads of a millisecond the last one waits
/// 64 ms, far less than its timeout: a longer queue would only keep callers waiting for an error.
pub(super) const MAX_WAITING_LOADS: usize = 4_096;
/// Changes that the follower applies one by one. Beyond so many at once, dropping everything from L1 costs less than finding
/// the copies.
pub(super) const MAX_CHANGES_PER_PASS: u32 = 10_000;
/// How long a new replica loads hot products before it is ready. A rolling update waits for it once per replica.
pub(super) const WARM_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections to Redis for commands. Each carries many at once, and the second one keeps small
/// commands from waiting behind a large value.
pub(super) const REDIS_CONNECTIONS: usize = 2;
/// How long it may take to connect to Redis. Without Redis reads go to the database, so nothing waits for long.
pub(super) const REDIS_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long one replica has the right to load a key for all. Longer than most queries take; it delays the others only when the
/// replica that holds the lease dies.
pub(super) const LEASE: Duration = Duration::from_secs(3);
/// The largest copy in Redis, in bytes. `max-bytes` of each policy sets a lower limit.
pub(super) const REDIS_MAX_PAYLOAD: usize = 1 << 20;
/// Messages of other replicas that may wait to be applied. The follower finds in the change log what does not fit.
pub(super) const BUS_QUEUE: usize = 4_096;
/// Keys and terms whose last change is remembered, to judge copies from Redis. Some 100 bytes each,
/// so 20 MB at most; beyond them copies in Redis are judged more strictly, never more loosely.
pub(super) const REMEMBERED: usize = 200_000;

/// How far the time of signing of a webhook may be from now: the five minutes of the Standard Webhooks specification.
pub(super) const WEBHOOK_TOLERANCE: Duration = Duration::from_mins(5);
/// Deliveries after which an event that the database refuses is put aside. An outage
/// of the database does not count: deliveries pause while it is away.
pub(super) const QUEUE_MAX_DELIVERIES: u64 = 10;

/// The largest message to a client, in bytes. A page that is larger is refused, and the client asks for a smaller one.
pub(super) const RESPONSE_BYTES: usize = 64 << 20;
/// The headers of one request, in bytes, each counted with 32 more (RFC 9113, section 6.5.2). Tokens and traces fit several times.
pub(super) const HEADER_BYTES: u32 = 16 << 10;
/// Requests in progress on one connection. Further ones wait at the client, as HTTP/2 arranges. A request that waits takes some 7 KB,
/// and a client that needs more opens another connection, as gRPC's clients do at 100.
pub(super) const CONCURRENT_STREAMS: u32 = 256;
/// Changes that are kept for slow readers of `WatchProducts`. A reader that is further behind is cut off and resumes from
/// its token.
pub(super) const WATCH_BACKLOG: usize = 50_000;
/// An idle watcher learns this often how far its stream has come, so that it resumes from a recent token.
pub(super) const WATCH_CHECKPOINT: Duration = Duration::from_secs(10);
/// The deadline of a request that names none: nothing waits forever for a client that forgot to say so.
pub(super) const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);
/// How long a message may take from its first byte to its last. The largest one takes 16 seconds at 2 Mbit/s.
pub(super) const MESSAGE: Duration = Duration::from_secs(20);
/// How long a client may take until its preface and its settings have come. A slow network needs a second.
pub(super) const GREETING: Duration = Duration::from_secs(10);
/// How often an idle connection is pinged. Often enough to notice a dead peer soon, and rare enough to cost
/// nothing.
pub(super) const KEEPALIVE_INTERVAL: Duration = Duration::from_mins(1);
/// How long the other end of a connection may take to answer a ping before the connection is closed.
pub(super) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
