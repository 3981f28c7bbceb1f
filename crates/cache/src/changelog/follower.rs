//! The loop that reads the change log, and the wish for a look at it.

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt as _;
use tokio::{
    sync::{Notify, watch},
    task::yield_now,
    time::{sleep, timeout},
};

use crate::{
    Cache, Change, Changes, Incarnation, LogBatch, Moment, Recall, Snapshot, Subject, Value, Witness,
    changelog::commits::Asked, stats::invalidations::Source, validity::View,
};

/// Where committed changes are written down.
pub trait ChangeLog: Send + Sync + 'static {
    /// What has been committed since the snapshot `since`. Without one, after another incarnation, or when there are more than
    /// `limit` changes, anything may have changed, and the changes of the last while are told as far as that is possible. The
    /// error is for logs.
    fn pass(
        &self,
        since: Option<(&Snapshot, Incarnation)>,
        limit: u32,
    ) -> impl Future<Output = Result<LogBatch, String>> + Send;

    /// Tells of changes, each named by its id and salt, whether the log has them. The error is for logs.
    fn recall(&self, changes: &[Witness]) -> impl Future<Output = Result<Recall, String>> + Send;

    /// Waits until there may be something new, at most `at_most`. May be dropped and called again at any time, since a look
    /// follows in each case.
    fn changed(&self, at_most: Duration) -> impl Future<Output = ()> + Send;
}

/// Looks after a change come no closer than this, so that a flood of changes is read in bulk.
const MIN_GAP: Duration = Duration::from_millis(10);
/// Changes learned before other tasks get their turn: some 0.2 ms.
const LEARNED_AT_ONCE: usize = 256;
/// The first wait after a look that failed; it doubles up to a quarter of the staleness bound.
const FIRST_BACK_OFF: Duration = Duration::from_millis(25);

/// Wishes for a look at the change log, and what became of them.
#[derive(Debug)]
pub(crate) struct Progress {
    wished: AtomicU64,
    wake: Notify,
    done: watch::Sender<Done>,
    failing: AtomicBool,
}

/// Up to which wish looks have been made, and up to which one of them succeeded.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Done {
    tried: u64,
    succeeded: u64,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self {
            wished: AtomicU64::new(0),
            wake: Notify::new(),
            done: watch::channel(Done::default()).0,
            failing: AtomicBool::new(false),
        }
    }

    /// Whether the last look failed.
    pub(crate) fn failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// Wishes for a look without waiting for it.
    pub(crate) fn ask(&self) {
        self.wished.fetch_add(1, Ordering::SeqCst);
        self.wake.notify_one();
    }

    /// Waits until there is a wish that no look has answered: many wishes wake the follower once.
    async fn wish(&self) {
        loop {
            self.wake.notified().await;
            if self.wished.load(Ordering::SeqCst) > self.done.borrow().tried {
                return;
            }
        }
    }

    /// Tells of every look that has been made.
    pub(crate) fn looks(&self) -> watch::Receiver<Done> {
        self.done.subscribe()
    }

    /// Waits for a look that begins after this call. Many wishes cost one look. Returns whether it succeeded.
    pub(crate) async fn one(&self, at_most: Duration) -> bool {
        let mut done = self.done.subscribe();
        let wish = self.wished.fetch_add(1, Ordering::SeqCst) + 1;
        self.wake.notify_one();
        let waited = timeout(at_most, done.wait_for(|done| done.tried >= wish)).await;
        matches!(waited, Ok(Ok(done)) if done.succeeded >= wish)
    }
}

/// Stands for the following that goes on.
struct Following<'a>(&'a Progress);

impl Drop for Following<'_> {
    fn drop(&mut self) {
        self.0.failing.store(true, Ordering::Relaxed);
    }
}

impl<V: Value> Cache<V> {
    /// Follows the change log until the future is dropped; one follower to a cache.
    ///
    /// A look is made four times within the staleness bound, when the log says that there may be something new, and when a
    /// reader asks for one. A look that fails proves nothing, and the next comes after a jittered back-off. When the
    /// following ends, for whatever reason, that is how a change log counts that cannot be read.
    pub async fn follow(self, log: Arc<impl ChangeLog>) {
        let _following = Following(self.progress());
        let interval = self.config().staleness_bound / 4;
        let mut back_off = FIRST_BACK_OFF;
        loop {
            let began = self.clock().now();
            if self.pass(&*log).await {
                back_off = FIRST_BACK_OFF;
                tokio::select! {
                    biased;
                    () = self.progress().wish() => {}
                    () = async {
                        // A log that does not keep to the time must not end the looks.
                        let _ = timeout(interval, log.changed(interval)).await;
                        sleep(MIN_GAP.saturating_sub(self.clock().now().since(began))).await;
                    } => {}
                }
            } else {
                sleep(self.jitter().part_of(back_off)).await;
                back_off = (back_off * 2).min(interval.max(FIRST_BACK_OFF));
            }
        }
    }

    /// Looks at the change log once and learns what it finds. Returns whether that succeeded.
    async fn pass(&self, log: &impl ChangeLog) -> bool {
        let passes = self.progress();
        let wishes = passes.wished.load(Ordering::SeqCst);
        let began = self.clock().now();
        let last = self.validity().view();
        let since = last.as_deref().map(|view| (&view.snapshot, view.incarnation));
        let limit = self.config().max_changes_per_pass;
        let most = self.config().staleness_bound.max(Duration::from_millis(100));
        // First: the look that follows then sees whatever is told to be there.
        let (asked, recalled) = self.recall(log, most).await;
        let look = AssertUnwindSafe(async { log.pass(since, limit).await }).catch_unwind();
        let look = timeout(most, look).await;
        let succeeded = match look {
            Ok(Ok(Ok(pass))) => {
                self.take_in(pass, last.as_deref(), began).await;
                true
            }
            Ok(Ok(Err(error))) => self.report(&error),
            Ok(Err(_panic)) => self.report("panicked"),
            Err(_) => self.report("timed out"),
        };
        if succeeded && passes.failing.swap(false, Ordering::Relaxed) {
            tracing::info!("change log can be read again");
        }
        // Whoever is not answered is told that it could not be found out.
        if let (true, Some(recall)) = (succeeded, recalled) {
            let same = self.validity().view().is_some_and(|view| view.incarnation == recall.incarnation);
            for ((_, answer), recalled) in asked.into_iter().zip(recall.changes) {
                let _ = answer.send(same.then_some((recalled, recall.incarnation)));
            }
        }
        let counters = self.counters();
        if succeeded { &counters.passes } else { &counters.failed_passes }.one();
        passes.done.send_modify(|done| {
            done.tried = wishes;
            if succeeded {
                done.succeeded = wishes;
            }
        });
        succeeded
    }

    /// Asks the log for the changes that readers wait for.
    async fn recall(&self, log: &impl ChangeLog, most: Duration) -> (Vec<Asked>, Option<Recall>) {
        let asked = self.commits().take();
        if asked.is_empty() {
            return (asked, None);
        }
        let changes: Vec<Witness> = asked.iter().map(|(witness, _)| *witness).collect();
        let recall = AssertUnwindSafe(async { log.recall(&changes).await }).catch_unwind();
        let recalled = match timeout(most, recall).await {
            Ok(Ok(Ok(recall))) => Some(recall),
            Ok(Ok(Err(error))) => {
                tracing::debug!(error, "change log could not be asked for commits");
                None
            }
            Ok(Err(_)) | Err(_) => None,
        };
        (asked, recalled)
    }

    /// Learns first, then says up to when everything is learned.
    async fn take_in(&self, pass: LogBatch, last: Option<&View>, began: Moment) {
        // A log that went back lost commits, and will use their ids again.
        let same =
            last.is_some_and(|last| last.incarnation == pass.incarnation && last.snapshot.xmax <= pass.snapshot.xmax);
        let incarnation = pass.incarnation;
        let view = View { snapshot: pass.snapshot, incarnation };
        let told: Vec<Witness> = match &pass.changes {
            Changes::Complete(told) | Changes::Window { changes: told, .. } if view.snapshot.salt.is_some() => {
                told.iter().map(|change| Witness { id: change.id, salt: change.salt }).collect()
            }
            _ => Vec::new(),
        };
        if let Changes::Incomplete(why) = pass.changes {
            return self.take_in_incomplete(view, same, began, why);
        }
        match pass.changes {
            Changes::Complete(changes) if same && self.incomplete().is_none() => {
                self.learn_found(&changes, &view.snapshot, incarnation).await;
            }
            // More than a look may tell one by one: what was asked for before it cannot be told from what was not.
            Changes::Window { from, changes } if same => {
                self.validity().raise_start(from);
                self.remember(&changes, incarnation).await;
                self.drop_all();
            }
            news => {
                let (from, changes) = match news {
                    Changes::Window { from, changes } => (from, changes),
                    Changes::Complete(_) | Changes::Incomplete(_) => (view.snapshot.xmax, Vec::new()),
                };
                self.validity().forget_view();
                self.validity().restart(incarnation, from);
                self.remember(&changes, incarnation).await;
                self.drop_all();
            }
        }
        if let Some(last) = last.filter(|_| !same) {
            self.bus().was_ours(last.incarnation);
            tracing::warn!(
                before = format_args!("{:016x}", last.incarnation.0),
                now = format_args!("{:016x}", incarnation.0),
                "database has another incarnation, every copy is dropped"
            );
        }
        if self.incomplete().is_some() {
            tracing::info!("change log is complete again");
        }
        // After they were learned: a copy that one of them stands for is judged by all of them.
        self.validity().witnesses().vouch(&told, &view.snapshot);
        self.validity().publish(view, began);
    }

    /// Drops everything, with each look anew: whoever waited for this one then joins no load that began before it.
    fn take_in_incomplete(&self, view: View, same: bool, began: Moment, why: Arc<str>) {
        if same {
            self.validity().raise_start(view.snapshot.xmax);
        } else {
            self.validity().forget_view();
            self.validity().restart(view.incarnation, view.snapshot.xmax);
        }
        self.drop_all();
        if self.incomplete().as_ref() != Some(&why) {
            tracing::error!(why = &*why, "change log is incomplete, every read goes to the database");
        }
        self.validity().publish_incomplete(view, began, why);
    }

    /// Learns what a look found, and counts what was known already.
    ///
    /// Where a lost life may come back under the same incarnation, what was learned before is learned again: copies that were
    /// read in between may be of yet another life.
    async fn learn_found(&self, changes: &[Change], snapshot: &Snapshot, incarnation: Incarnation) {
        let source = if snapshot.salt.is_some() { Source::LogAlone } else { Source::Log };
        let (mut known, mut new) = (0, 0);
        for changes in changes.chunks(LEARNED_AT_ONCE) {
            for change in changes {
                *(if self.apply_from(source, change, incarnation) { &mut new } else { &mut known }) += 1;
            }
            yield_now().await;
        }
        self.counters().log_known.add(known);
        self.counters().log_new.add(new);
    }

    /// Remembers changes for judging the copies of others; those of this replica are dropped all together.
    async fn remember(&self, changes: &[Change], incarnation: Incarnation) {
        for changes in changes.chunks(LEARNED_AT_ONCE) {
            for change in changes {
                match change.subject {
                    Subject::Entry { .. } | Subject::Key(_) => self.validity().remember(change, incarnation),
                    // A rule is a counter, too.
                    Subject::Term(_) | Subject::Pattern(_) | Subject::All => {
                        self.validity().apply(change, incarnation);
                    }
                }
            }
            yield_now().await;
        }
    }

    /// Logs the first of a row of failures.
    fn report(&self, error: &str) -> bool {
        if !self.progress().failing.swap(true, Ordering::Relaxed) {
            tracing::warn!(error, "change log cannot be read, copies past the staleness bound are served marked stale");
        }
        false
    }
}
