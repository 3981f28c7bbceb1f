//! Waiting until the applied changes include a commit that a token names, or everything that a snapshot saw.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use foldhash::fast::RandomState;
use larder_change::{Incarnation, Recalled, Snapshot, Token, Witness};
use tokio::{sync::oneshot, time::timeout};

use super::Progress;
use crate::{error::ReadError, validity::Validity};

/// Tokens of other incarnations that are known to hold in this one. When there are more, they are looked up again.
const MOST_HELD: usize = 4_096;
/// Tokens that may wait to be looked up, and how many the change log is asked for at once.
const MOST_ASKED: usize = 10_000;
const AT_ONCE: usize = 1_000;
/// How often a reader retries while incarnations change.
const TRIES: usize = 4;

/// The commits that tokens name, as far as they are known.
pub(crate) struct Commits {
    validity: Arc<Validity>,
    progress: Arc<Progress>,
    load_timeout: Duration,
    /// The incarnation in which each token holds.
    held: Mutex<HashMap<Token, Incarnation, RandomState>>,
    asked: Mutex<Vec<Asked>>,
}

/// The answer of the change log, and the incarnation that gave it. `None` if the database became another one meanwhile.
type Answer = Option<(Recalled, Incarnation)>;

/// A change that the change log is to be asked for, and the reader who waits for the answer.
pub(super) type Asked = (Witness, oneshot::Sender<Answer>);

/// How a commit relates to the applied changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// The commit has been applied.
    Reached,
    /// The commit has not been applied, and another pass may do so.
    Ahead,
    /// The commit belongs to a life of the database that has been replaced.
    Lost,
    /// Only the change log can tell.
    Unknown,
}

impl Commits {
    pub(crate) fn new(validity: Arc<Validity>, progress: Arc<Progress>, load_timeout: Duration) -> Self {
        Self { validity, progress, load_timeout, held: Mutex::default(), asked: Mutex::default() }
    }

    /// Makes sure that reads from here on show everything acknowledged before this call.
    pub(crate) async fn reach_now(&self) -> Result<(), ReadError> {
        self.progress.pass_or_retry(self.load_timeout).await
    }

    /// Makes sure that reads from here on show a commit.
    ///
    /// Within one incarnation the id of the commit tells, unless the id may belong to a lost life. Otherwise the token holds only
    /// if the log has the very change that the token names: so a token survives a restart of the database, and never holds in a
    /// life that lacks the commit.
    pub(crate) async fn reach(&self, token: Token) -> Result<(), ReadError> {
        for _ in 0..TRIES {
            match self.standing(token) {
                // While the log is incomplete, a pass keeps the reader from joining a load that began before the pass.
                Standing::Reached if self.validity.incomplete().is_some() => {
                    return self.progress.pass(self.load_timeout).await;
                }
                Standing::Reached => return Ok(()),
                Standing::Lost => return Err(ReadError::OtherIncarnation),
                Standing::Ahead => {
                    self.reach_now().await?;
                    if self.standing(token) == Standing::Ahead {
                        return Err(ReadError::UnknownCommit);
                    }
                }
                Standing::Unknown => {
                    match self.recall(token).await? {
                        // Noted under the incarnation that answered: the next one may have been published since.
                        Some((Recalled::Here, incarnation)) => self.note(token, incarnation),
                        _ if self.standing(token) != Standing::Unknown => {}
                        Some((Recalled::Pruned, _)) => return Err(ReadError::ForgottenCommit),
                        Some((Recalled::Unknown, _)) => return Err(ReadError::OtherIncarnation),
                        None => {}
                    }
                }
            }
        }
        Err(ReadError::NoPass)
    }

    /// Waits until everything that a snapshot saw has been applied.
    pub(crate) async fn reach_snapshot(
        &self,
        snapshot: &Snapshot,
        incarnation: Incarnation,
        at_most: Duration,
    ) -> Result<(), ReadError> {
        let wait = async {
            let mut passes = self.progress.passes();
            loop {
                match self.validity.view() {
                    Some(view) if view.incarnation != incarnation => return Err(ReadError::OtherIncarnation),
                    Some(view) if view.snapshot.covers(snapshot) => return Ok(()),
                    Some(_) | None => {}
                }
                if passes.changed().await.is_err() {
                    return Err(ReadError::NoPass);
                }
            }
        };
        timeout(at_most, wait).await.unwrap_or(Err(ReadError::NoPass))
    }

    /// Takes the changes that the change log is to be asked for now.
    pub(super) fn take_asked(&self) -> Vec<Asked> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let rest = asked.len().saturating_sub(AT_ONCE);
        asked.split_off(rest)
    }

    fn standing(&self, token: Token) -> Standing {
        let Some(view) = self.validity.view() else { return Standing::Unknown };
        if self.holds(token, view.incarnation) {
            return Standing::Reached;
        }
        if view.incarnation != token.incarnation {
            return Standing::Unknown;
        }
        if !view.snapshot.sees(token.id) {
            return Standing::Ahead;
        }
        if view.snapshot.salt.is_none() {
            return Standing::Reached;
        }
        match self.validity.witnesses().salt(token.id) {
            Some(salt) if salt == token.salt => Standing::Reached,
            Some(_) => Standing::Lost,
            None => Standing::Unknown,
        }
    }

    /// Asks the change log for the change of a token, and waits for a pass that begins after this call.
    async fn recall(&self, token: Token) -> Result<Answer, ReadError> {
        let answer = self.ask(token.witness()).ok_or(ReadError::NoPass)?;
        self.progress.request();
        match timeout(self.load_timeout, answer).await {
            Ok(Ok(recalled)) => Ok(recalled),
            Ok(Err(_)) | Err(_) => Err(ReadError::NoPass),
        }
    }

    fn ask(&self, witness: Witness) -> Option<oneshot::Receiver<Answer>> {
        let (sender, receiver) = oneshot::channel();
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        (asked.len() < MOST_ASKED).then(|| {
            asked.push((witness, sender));
            receiver
        })
    }

    fn holds(&self, token: Token, incarnation: Incarnation) -> bool {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).get(&token) == Some(&incarnation)
    }

    fn note(&self, token: Token, incarnation: Incarnation) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() == MOST_HELD {
            held.clear();
        }
        held.insert(token, incarnation);
    }
}
