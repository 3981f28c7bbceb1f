//! Questions to the other replicas.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{Notify, Semaphore},
    time::{Instant, timeout_at},
};

use crate::{
    Cache, Replica, Token, Value,
    l2::L2,
    peers::codec::{MOST_BYTES, PeerMessage, Question},
};

/// What became of a question.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answers {
    /// Who answered, and what.
    pub answers: Vec<(Replica, Bytes)>,
    /// Who is there, as far as is known, and did not answer in time or had nothing to say.
    pub silent: Vec<Replica>,
}

/// Who has learned of a commit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Confirmed {
    /// The replicas that have, besides the one that asks.
    pub applied: Vec<Replica>,
    /// Those of which it is not known. They learn of it within the staleness bound, or serve nothing that is not marked stale.
    pub silent: Vec<Replica>,
}

/// Questions under way, by their numbers.
#[derive(Debug)]
pub(crate) struct Asked {
    questions: Mutex<HashMap<u64, UnderWay>>,
    places: Semaphore,
}

#[derive(Debug, Default)]
struct UnderWay {
    /// Who is asked, and what has come of it.
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

/// Questions at once; more wait their turn.
const MOST_QUESTIONS: usize = 16;
/// Bytes of all answers to one question; what comes on top is dropped.
const MOST_ANSWERS: usize = 16 << 20;
/// The longest that answers are waited for.
const LONGEST: Duration = Duration::from_mins(1);

impl Default for Asked {
    fn default() -> Self {
        Self { questions: Mutex::default(), places: Semaphore::new(MOST_QUESTIONS) }
    }
}

impl Asked {
    /// An answer came in. Who was not asked, or has answered, is not listened to.
    pub(crate) fn take(&self, number: u64, replica: u64, answer: Option<Bytes>) {
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
        question.look();
    }

    /// A replica ends: nobody waits for it.
    pub(crate) fn leave(&self, replica: u64) {
        for question in self.lock().values_mut() {
            question.replicas.remove(&replica);
            question.look();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, UnderWay>> {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UnderWay {
    /// Tells who asked when nobody is left to wait for.
    fn look(&self) {
        if !self.replicas.values().any(|outcome| *outcome == Outcome::Awaited) {
            self.done.notify_one();
        }
    }
}

/// A question that is listened for until it is dropped.
struct Listening<'a> {
    asked: &'a Asked,
    number: u64,
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        self.asked.lock().remove(&self.number);
    }
}

impl<V: Value> Cache<V> {
    /// Asks every other replica that is known to be there, and waits until all of them have answered, at most `at_most` (and a
    /// minute). A question has at most 256 KiB, and 16 are asked at once; others wait for their turn. Without Redis there is
    /// nobody to ask.
    pub async fn ask(&self, question: Bytes, at_most: Duration) -> Answers {
        if question.len() > MOST_BYTES {
            self.counters().talk_dropped.one();
            return Answers { answers: Vec::new(), silent: self.expected() };
        }
        self.put(Question::Server(question), at_most).await
    }

    /// Asks every other replica that is known to be there whether it has learned of a commit, and waits until all of them have,
    /// at most `at_most`. Each makes a look at the change log for it, if it has to.
    pub async fn confirm(&self, token: Token, at_most: Duration) -> Confirmed {
        let Answers { answers, silent } = self.put(Question::Learned(token), at_most).await;
        Confirmed { applied: answers.into_iter().map(|(replica, _)| replica).collect(), silent }
    }

    async fn put(&self, question: Question, at_most: Duration) -> Answers {
        let asked = &self.peers().asked;
        let Some(l2) = &self.shared().l2 else { return Answers::default() };
        let deadline = Instant::now() + at_most.min(LONGEST);
        let Ok(Ok(_place)) = timeout_at(deadline, asked.places.acquire()).await else {
            return Answers { answers: Vec::new(), silent: self.expected() };
        };
        let replicas = self.expected();
        if replicas.is_empty() {
            return Answers::default();
        }
        let number = self.jitter().number();
        let done = Arc::new(Notify::new());
        let under_way = UnderWay {
            replicas: replicas.iter().map(|replica| (replica.id, Outcome::Awaited)).collect(),
            bytes: 0,
            done: Arc::clone(&done),
        };
        asked.lock().insert(number, under_way);
        let _listening = Listening { asked, number };
        let _ = timeout_at(deadline, self.await_answers(l2, number, question, deadline, &done)).await;
        let mut outcomes = asked.lock().get_mut(&number).map(|question| std::mem::take(&mut question.replicas));
        let mut answers = Answers::default();
        for replica in replicas {
            match outcomes.as_mut().and_then(|outcomes| outcomes.remove(&replica.id)) {
                Some(Outcome::Answered(answer)) => answers.answers.push((replica, answer)),
                Some(Outcome::Awaited | Outcome::Nothing) => answers.silent.push(replica),
                // It said goodbye.
                None => {}
            }
        }
        answers
    }

    async fn await_answers(&self, l2: &L2, number: u64, question: Question, deadline: Instant, done: &Notify) {
        let at_most = deadline.saturating_duration_since(Instant::now());
        let said = PeerMessage::Question { number, at_most, question };
        // Where nothing can be said or heard, there is nothing to wait for.
        if self.bus_connected() == Some(true) && self.say(l2, &l2.everybody(), said).await.is_ok() {
            done.notified().await;
        }
    }

    fn expected(&self) -> Vec<Replica> {
        self.replicas().into_iter().filter(|replica| replica.expected).collect()
    }
}
