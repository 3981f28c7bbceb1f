//! The loop that reads the change log and applies what it finds.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use larder_back_off::BackOff;
use larder_change::{Incarnation, Recall, Snapshot, Witness};
use tokio::{
    task::yield_now,
    time::{sleep, timeout},
};

use super::{ChangeLog, Commits, Continuity, Progress, commits::Asked};
use crate::{
    stats::{Counters, Source},
    time::{Clock, Jitter, Moment},
    validity::{Applier, Change, Changes, Copies, LogBatch, Subject, Validity, View},
};

/// The least time between two passes that new changes trigger, so that a flood of changes is read in bulk.
const MIN_GAP: Duration = Duration::from_millis(10);
/// Changes applied before other tasks get a turn: some 0.2 ms.
const APPLIED_AT_ONCE: usize = 256;
/// The first wait after a failed pass. The wait doubles up to a quarter of the staleness bound.
const FIRST_BACK_OFF: Duration = Duration::from_millis(25);
/// The least time that a pass may take.
const LEAST_TIMEOUT: Duration = Duration::from_millis(100);

/// Follows a change log on behalf of the copies `C`.
pub(crate) struct Follower<C> {
    pub(crate) validity: Arc<Validity>,
    pub(crate) applier: Arc<Applier<C>>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) commits: Arc<Commits>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) clock: Clock,
    pub(crate) jitter: Arc<Jitter>,
    pub(crate) continuity: Continuity,
    pub(crate) limits: FollowerLimits,
}

/// The limits of a [`Follower`].
pub(crate) struct FollowerLimits {
    pub(crate) staleness_bound: Duration,
    pub(crate) max_changes_per_pass: u32,
}

/// When a pass began, and its number.
#[derive(Debug, Clone, Copy)]
struct Began {
    at: Moment,
    pass: u64,
}

/// Marks the change log as unreadable when the following ends.
struct Following<'a>(&'a Progress);

impl Drop for Following<'_> {
    fn drop(&mut self) {
        self.0.start_failing();
    }
}

impl<C: Copies> Follower<C> {
    /// Follows a change log until the future is dropped. A pass begins four times within the staleness bound, when the log reports
    /// new changes, and when a reader requests one. A failed pass proves nothing, and the next one follows after a jittered
    /// back-off. However the following ends, the change log then counts as unreadable.
    pub(crate) async fn follow(&self, log: &impl ChangeLog) {
        let _following = Following(&self.progress);
        let interval = self.limits.staleness_bound / 4;
        let mut back_off = BackOff::new(FIRST_BACK_OFF, interval.max(FIRST_BACK_OFF));
        loop {
            let began = self.clock.now();
            if self.pass(log).await {
                back_off.reset();
                tokio::select! {
                    biased;
                    () = self.progress.wait_for_request() => {}
                    () = async {
                        // A log that exceeds the limit must not stop the passes.
                        let _ = timeout(interval, log.changed(interval)).await;
                        sleep(MIN_GAP.saturating_sub(self.clock.now().since(began))).await;
                    } => {}
                }
            } else {
                sleep(back_off.next(self.jitter.unit())).await;
            }
        }
    }

    /// Reads the change log once and applies what it finds. Returns whether that succeeded.
    async fn pass(&self, log: &impl ChangeLog) -> bool {
        let request = self.progress.last_request();
        let began = Began { at: self.clock.now(), pass: self.validity.begin_pass() };
        let last = self.validity.view();
        let since = last.as_deref().map(|view| (&view.snapshot, view.incarnation));
        let at_most = self.limits.staleness_bound.max(LEAST_TIMEOUT);
        // Before the pass, so that the pass sees every change that the log recalls.
        let (asked, recalled) = self.recall(log, at_most).await;
        let read = async { log.pass(since, self.limits.max_changes_per_pass).await };
        let succeeded = match timeout(at_most, AssertUnwindSafe(read).catch_unwind()).await {
            Ok(Ok(Ok(batch))) => {
                self.take_in(batch, last.as_deref(), began).await;
                true
            }
            Ok(Ok(Err(error))) => self.report(&error),
            Ok(Err(_panic)) => self.report("panicked"),
            Err(_) => self.report("timed out"),
        };
        if !succeeded {
            self.counters.failed_passes.one();
            self.progress.failed(request);
            return false;
        }
        if self.progress.stop_failing() {
            tracing::info!("change log can be read again");
        }
        // A reader whose sender is dropped unanswered learns that the log could not be asked.
        if let Some(recall) = recalled {
            let same = self.validity.followed() == Some(recall.incarnation);
            for ((_, answer), recalled) in asked.into_iter().zip(recall.changes) {
                let _ = answer.send(same.then_some((recalled, recall.incarnation)));
            }
        }
        self.counters.passes.one();
        self.progress.succeeded(request);
        true
    }

    /// Asks the log for the changes that readers wait for.
    async fn recall(&self, log: &impl ChangeLog, at_most: Duration) -> (Vec<Asked>, Option<Recall>) {
        let asked = self.commits.take_asked();
        if asked.is_empty() {
            return (asked, None);
        }
        let changes: Vec<Witness> = asked.iter().map(|(witness, _)| *witness).collect();
        let recall = AssertUnwindSafe(async { log.recall(&changes).await }).catch_unwind();
        let recalled = match timeout(at_most, recall).await {
            Ok(Ok(Ok(recall))) => Some(recall),
            Ok(Ok(Err(error))) => {
                tracing::debug!(error, "change log could not be asked for commits");
                None
            }
            Ok(Err(_)) | Err(_) => None,
        };
        (asked, recalled)
    }

    /// Applies a batch, and then publishes up to when the applied changes are complete.
    async fn take_in(&self, batch: LogBatch, last: Option<&View>, began: Began) {
        // A log that went back has lost commits and will reuse their ids.
        let same =
            last.is_some_and(|last| last.incarnation == batch.incarnation && last.snapshot.xmax <= batch.snapshot.xmax);
        let restart = last.filter(|_| !same).and_then(|last| self.continuity.restart(last, &batch));
        let LogBatch { incarnation, lineage, .. } = batch;
        let view = View { snapshot: batch.snapshot, incarnation };
        let told = witnesses(&batch.changes, &view.snapshot);
        match (batch.changes, &restart) {
            (Changes::Incomplete(why), _) => {
                return self.take_in_incomplete(view, same, began.at, why);
            }
            (Changes::Complete(changes), _) if same && self.validity.incomplete().is_none() => {
                self.apply_found(&changes, &view.snapshot, incarnation).await;
                self.continuity.note(began.pass, lineage, changes.iter());
            }
            (Changes::Window { from, changes }, Some(restart)) => {
                self.validity.forget_view();
                self.validity.restart(incarnation, from);
                let (new, known): (Vec<_>, Vec<_>) = changes.into_iter().partition(|change| restart.is_new(change));
                for change in &known {
                    self.validity.record_elsewhere(change, incarnation);
                }
                self.apply_found(&new, &view.snapshot, incarnation).await;
                self.validity.touch_landed_since(restart.landed_since, incarnation);
                self.continuity.note(began.pass, lineage, new.iter());
            }
            // There are more changes than a pass may apply one by one, so that none of the copies here can be kept.
            (Changes::Window { from, changes }, None) if same => {
                self.continuity.note_gap();
                self.validity.raise_start(from);
                self.remember(&changes, incarnation).await;
                self.applier.drop_all();
            }
            (changes, _) => {
                self.continuity.note_gap();
                let (from, changes) = match changes {
                    Changes::Window { from, changes } => (from, changes),
                    Changes::Complete(_) | Changes::Incomplete(_) => (view.snapshot.xmax, Vec::new()),
                };
                self.validity.forget_view();
                self.validity.restart(incarnation, from);
                self.remember(&changes, incarnation).await;
                self.applier.drop_all();
            }
        }
        if let Some(last) = last.filter(|_| !same) {
            self.progress.add_former(last.incarnation);
            tracing::warn!(
                before = format_args!("{:016x}", last.incarnation.0),
                now = format_args!("{:016x}", incarnation.0),
                copies_in_l1 = if restart.is_some() { "kept" } else { "dropped" },
                "database has another incarnation"
            );
        }
        if self.validity.incomplete().is_some() {
            tracing::info!("change log is complete again");
        }
        // After the changes were applied: a copy that one of them vouches for is judged by all of them.
        self.validity.witnesses().vouch(&told, &view.snapshot);
        self.validity.publish(view, began.at);
    }

    /// Drops every copy, again in every pass: a reader who waited for this pass then joins no load that began before it.
    fn take_in_incomplete(&self, view: View, same: bool, began: Moment, why: Arc<str>) {
        self.continuity.note_gap();
        if same {
            self.validity.raise_start(view.snapshot.xmax);
        } else {
            self.validity.forget_view();
            self.validity.restart(view.incarnation, view.snapshot.xmax);
        }
        self.applier.drop_all();
        if self.validity.incomplete().as_ref() != Some(&why) {
            tracing::error!(why = &*why, "change log is incomplete, every read goes to the database");
        }
        self.validity.publish_incomplete(view, began, why);
    }

    /// Applies the changes that a pass found, and counts those that were applied before.
    ///
    /// Where a lost life may return under the same incarnation, a change that was applied before is applied again: copies read in
    /// between may belong to yet another life.
    async fn apply_found(&self, changes: &[Change], snapshot: &Snapshot, incarnation: Incarnation) {
        let source = if snapshot.salt.is_some() { Source::LogAlone } else { Source::Log };
        let mut new = 0;
        for changes in changes.chunks(APPLIED_AT_ONCE) {
            new += self.applier.apply_all(source, changes, incarnation);
            yield_now().await;
        }
        self.counters.log_known.add((changes.len() - new) as u64);
        self.counters.log_new.add(new as u64);
    }

    /// Records changes for judging the copies of other replicas. The caller drops every copy of this replica.
    async fn remember(&self, changes: &[Change], incarnation: Incarnation) {
        for changes in changes.chunks(APPLIED_AT_ONCE) {
            for change in changes {
                match change.subject {
                    Subject::Entry { .. } | Subject::Key(_) => self.validity.remember(change, incarnation),
                    // A rule also has to be counted.
                    Subject::Term(_) | Subject::Pattern(_) | Subject::All => {
                        self.validity.apply(change, incarnation);
                    }
                }
            }
            yield_now().await;
        }
    }

    /// Logs the first of consecutive failures. Returns `false`, the outcome of the pass.
    fn report(&self, error: &str) -> bool {
        if self.progress.start_failing() {
            tracing::warn!(error, "change log cannot be read, copies past the staleness bound are served marked stale");
        }
        false
    }
}

/// The changes of a batch that vouch for copies, where the snapshot has a witness.
fn witnesses(changes: &Changes, snapshot: &Snapshot) -> Vec<Witness> {
    match changes {
        Changes::Complete(changes) | Changes::Window { changes, .. } if snapshot.salt.is_some() => {
            changes.iter().map(|change| Witness { id: change.id, salt: change.salt }).collect()
        }
        _ => Vec::new(),
    }
}
