//! Questions to the other replicas.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use larder_change::Token;
use tokio::{
    sync::{Notify, Semaphore},
    time::{Instant, timeout_at},
};

use super::{
    Peers, Replica,
    codec::{MOST_BYTES, PeerMessage, Query},
};
use crate::l2::L2;

/// The answers to a question.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answers {
    /// The replicas that answered, and their answers.
    pub answers: Vec<(Replica, Bytes)>,
    /// The known replicas that did not answer in time or had nothing to say.
    pub silent: Vec<Replica>,
}

/// Which replicas have applied a commit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Confirmed {
    /// The replicas that have, besides the one that asks.
    pub applied: Vec<Replica>,
    /// The replicas that did not tell. Each of them applies the commit within the staleness bound, or marks every copy it serves as
    /// stale.
    pub silent: Vec<Replica>,
}

/// Questions that wait for answers, by number.
#[derive(Debug)]
pub(super) struct PendingQueries {
    questions: Mutex<HashMap<u64, Pending>>,
    slots: Semaphore,
}

#[derive(Debug, Default)]
struct Pending {
    /// The outcome of each replica that was asked.
    replicas: HashMap<u64, Outcome>,
    bytes: usize,
    done: Arc<Notify>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Awaited,
    Answered(Bytes),
    Nothing,
}

/// Concurrent questions; further ones wait.
const MOST_QUESTIONS: usize = 16;
/// The bytes of all answers to one question; further answers are dropped.
const MOST_ANSWERS: usize = 16 << 20;
/// The longest wait for answers.
const LONGEST: Duration = Duration::from_mins(1);

impl Default for PendingQueries {
    fn default() -> Self {
        Self { questions: Mutex::default(), slots: Semaphore::new(MOST_QUESTIONS) }
    }
}

impl PendingQueries {
    /// Records an answer. Ignores replicas that were not asked or have answered already.
    pub(super) fn take(&self, number: u64, replica: u64, answer: Option<Bytes>) {
        let mut questions = self.lock();
        let Some(question) = questions.get_mut(&number) else { return };
        let bytes = answer.as_ref().map_or(0, Bytes::len);
        match question.replicas.get_mut(&replica) {
            Some(outcome) if *outcome == Outcome::Awaited => {
                let answer = answer.filter(|_| question.bytes + bytes <= MOST_ANSWERS);
                question.bytes += answer.as_ref().map_or(0, Bytes::len);
                *outcome = answer.map_or(Outcome::Nothing, Outcome::Answered);
            }
            Some(_) | None => return,
        }
        question.notify_if_done();
    }

    /// Records that a replica leaves, so that no question waits for it.
    pub(super) fn leave(&self, replica: u64) {
        for question in self.lock().values_mut() {
            question.replicas.remove(&replica);
            question.notify_if_done();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Pending>> {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pending {
    /// Wakes the asker once no answer is awaited any more.
    fn notify_if_done(&self) {
        if !self.replicas.values().any(|outcome| *outcome == Outcome::Awaited) {
            self.done.notify_one();
        }
    }
}

/// Keeps a question pending until it is dropped.
struct Listening<'a> {
    pending: &'a PendingQueries,
    number: u64,
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        self.pending.lock().remove(&self.number);
    }
}

impl Peers {
    /// Asks every expected replica, and waits for all answers, at most `at_most` (and a minute).
    pub(crate) async fn ask(&self, question: Bytes, at_most: Duration) -> Answers {
        if question.len() > MOST_BYTES {
            self.counters.peer_dropped.one();
            return Answers { answers: Vec::new(), silent: self.expected() };
        }
        self.put(Query::Server(question), at_most).await
    }

    /// Asks every expected replica whether it has applied a commit, and waits until all of them have, at most `at_most`.
    pub(crate) async fn confirm(&self, token: Token, at_most: Duration) -> Confirmed {
        let Answers { answers, silent } = self.put(Query::Applied(token), at_most).await;
        Confirmed { applied: answers.into_iter().map(|(replica, _)| replica).collect(), silent }
    }

    async fn put(&self, query: Query, at_most: Duration) -> Answers {
        let pending = &self.pending;
        let Some(l2) = &self.l2 else { return Answers::default() };
        let deadline = Instant::now() + at_most.min(LONGEST);
        let Ok(Ok(_slot)) = timeout_at(deadline, pending.slots.acquire()).await else {
            return Answers { answers: Vec::new(), silent: self.expected() };
        };
        let replicas = self.expected();
        if replicas.is_empty() {
            return Answers::default();
        }
        let number = self.jitter.number();
        let done = Arc::new(Notify::new());
        let question = Pending {
            replicas: replicas.iter().map(|replica| (replica.id, Outcome::Awaited)).collect(),
            bytes: 0,
            done: Arc::clone(&done),
        };
        pending.lock().insert(number, question);
        let _listening = Listening { pending, number };
        let message =
            PeerMessage::Question { number, at_most: deadline.saturating_duration_since(Instant::now()), query };
        let _ = timeout_at(deadline, self.await_answers(l2, message, &done)).await;
        let mut outcomes = pending.lock().get_mut(&number).map(|question| std::mem::take(&mut question.replicas));
        let mut answers = Answers::default();
        for replica in replicas {
            match outcomes.as_mut().and_then(|outcomes| outcomes.remove(&replica.id)) {
                Some(Outcome::Answered(answer)) => answers.answers.push((replica, answer)),
                Some(Outcome::Awaited | Outcome::Nothing) => answers.silent.push(replica),
                // The replica has left.
                None => {}
            }
        }
        answers
    }

    async fn await_answers(&self, l2: &L2, message: PeerMessage, done: &Notify) {
        // Without a connection in both directions no answer can arrive.
        if self.is_listening() && self.send(&l2.everybody(), message).await.is_ok() {
            done.notified().await;
        }
    }

    fn expected(&self) -> Vec<Replica> {
        self.replicas().into_iter().filter(|replica| replica.expected).collect()
    }
}
