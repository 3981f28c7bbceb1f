//! Whether what has been learned shows a commit that a token names.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use foldhash::fast::RandomState;
use tokio::{sync::oneshot, time::timeout};

use crate::{Cache, Incarnation, ReadError, Recalled, Token, Value, Witness, changelog::follower::Progress};

/// Commits of other incarnations that hold in this one; when there are more, they are looked up again.
const MOST_HELD: usize = 4_096;
/// Commits that wait to be looked up, and how many the change log is asked for at once.
const MOST_ASKED: usize = 10_000;
const AT_ONCE: usize = 1_000;
/// How often a reader tries again while incarnations change under it.
const TRIES: usize = 4;

/// Commits that the change log was asked for or is to be.
#[derive(Debug, Default)]
pub(crate) struct Commits {
    /// In which incarnation they hold.
    held: Mutex<HashMap<Token, Incarnation, RandomState>>,
    asked: Mutex<Vec<Asked>>,
}

/// What the change log says of a change, and of which incarnation. `None` when the database became another one meanwhile.
type Answer = Option<(Recalled, Incarnation)>;

/// A change that somebody asks for.
pub(crate) type Asked = (Witness, oneshot::Sender<Answer>);

/// How a commit stands to what has been learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It has been learned.
    Reached,
    /// It has not, and may be by another look.
    Ahead,
    /// It is of a life of the database that has been replaced.
    Lost,
    /// The change log has to be asked.
    Unknown,
}

impl Commits {
    /// What is to be looked up now.
    pub(crate) fn take(&self) -> Vec<Asked> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let rest = asked.len().saturating_sub(AT_ONCE);
        asked.split_off(rest)
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

impl Progress {
    /// Asks the change log for a change, and waits for a look that begins after that.
    async fn recall(&self, tokens: &Commits, token: Token, at_most: Duration) -> Result<Answer, ReadError> {
        let answer = tokens.ask(Witness { id: token.id, salt: token.salt }).ok_or(ReadError::NoPass)?;
        self.ask();
        match timeout(at_most, answer).await {
            Ok(Ok(recalled)) => Ok(recalled),
            Ok(Err(_)) | Err(_) => Err(ReadError::NoPass),
        }
    }
}

impl<V: Value> Cache<V> {
    /// Makes sure that what is read from here on shows a commit.
    ///
    /// Within one incarnation its id tells, where that cannot be a lost life's. Otherwise it holds only if the log has that very
    /// change: so it outlives a restart of the database, and never holds in a life that lacks the commit.
    pub(crate) async fn reach_commit(&self, token: Token) -> Result<(), ReadError> {
        let at_most = self.config().load_timeout;
        for _ in 0..TRIES {
            match self.standing(token) {
                // While the log is incomplete, a look is what keeps a reader from joining a load that began before it.
                Standing::Reached if self.incomplete().is_some() => return self.pass_now(at_most).await,
                Standing::Reached => return Ok(()),
                Standing::Lost => return Err(ReadError::OtherIncarnation),
                Standing::Ahead => {
                    self.pass_needed().await?;
                    if self.standing(token) == Standing::Ahead {
                        return Err(ReadError::UnknownCommit);
                    }
                }
                Standing::Unknown => {
                    match self.progress().recall(self.commits(), token, at_most).await? {
                        // Under the incarnation that was asked: the next one may have been published since.
                        Some((Recalled::Here, incarnation)) => self.commits().note(token, incarnation),
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

    fn standing(&self, token: Token) -> Standing {
        let Some(view) = self.validity().view() else { return Standing::Unknown };
        if self.commits().holds(token, view.incarnation) {
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
        match self.validity().witnesses().salt(token.id) {
            Some(salt) if salt == token.salt => Standing::Reached,
            Some(_) => Standing::Lost,
            None => Standing::Unknown,
        }
    }
}
