//! The remedies of the protocol: each can be taken out, to see what it is for.

/// One thing the protocol does so that some race ends well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Remedy {
    /// A fill is stored in L1 only while what its read captured still stands.
    GenerationWhenStored,
    /// An L1 copy is served only while what its read captured still stands. Learning removes items but not lists.
    GenerationWhenServed,
    /// Generation and rule counter are captured before anything is looked at; without, when the fill is stored.
    CaptureFirst,
    /// The rule counter is part of what is captured; without, it is read when the fill is stored.
    RuleCounterCaptured,
    /// Whoever joins a load must have captured the same generation and rule counter.
    CaptureInFlightKey,
    /// A reader takes the proof of freshness before it looks at a copy; without, after.
    ProofReadFirst,
    /// Only what was loaded from the database is fresh by its own age; without, what L2 returned is, too.
    OnlyLoadsHaveAge,
    /// Learning remembers first, then ages; without, the other way round.
    RememberBeforeAge,
    /// What is remembered already is learned all the same, for whoever remembered it may not have aged anything yet.
    LearnAgain,
    /// What is remembered are maxima; without, whatever came last.
    Maxima,
    /// The follower learns what it reads in the change log; without, the bus is trusted.
    Follower,
    /// The follower asks for what its last snapshot did not see; without, for ids above the highest it has seen.
    SnapshotNotCursor,
    /// The follower publishes when it has learned; without, before.
    LearnBeforePublish,
    /// The follower notes the time before it asks; without, when it publishes.
    TimeBeforeQuery,
    /// A follower whose last snapshot is below what was pruned starts anew.
    SleeperStartsAnew,
    /// A new replica's knowledge starts at what was pruned; without, at the beginning of time.
    StartAtPruned,
    /// The first pass ages everything, as any other that does not continue one before.
    FirstPassAges,
    /// Before its first pass a replica takes nothing from L2.
    NoFrameBeforePass,
    /// A pass that finds more than it can take in starts anew; without, it takes the first of them.
    FloodStartsAnew,
    /// A message of another incarnation is dropped; without, it is learned, and forgotten when the incarnation is noticed.
    MessageOfOurLife,
    /// Who forgets a change raises the start of knowledge above it.
    ForgettingRaisesStart,
    /// A frame must have been read at or above the start of knowledge.
    FrameAboveStart,
    /// A frame must be of our incarnation.
    FrameOfOurLife,
    /// The follower notices another incarnation, and drops everything.
    FollowerNoticesLife,
    /// An item's frame must not be below the highest version learned.
    ItemByVersion,
    /// A frame that says "not found" must have been read above the last change learned of its key.
    AbsenceByHorizon,
    /// A list's frame must have been read above the last change learned of its term.
    ListByHorizon,
    /// An item's frame must have been read above the last requested invalidation of its key.
    FrameAboveInvalidation,
    /// A frame must have been read above the last rule.
    FrameAboveRules,
    /// A frame's horizon is its snapshot's xmin; without, its xmax, which an older, longer transaction may follow.
    HorizonIsXmin,
    /// A writer's frame has the horizon of the statement that wrote; without, of the moment of its commit or later.
    OwnHorizonOfStatement,
    /// A deletion draws a version.
    DeleteDrawsVersion,
    /// A change names the terms of the old row as well as the new one's.
    OldTerms,
    /// A writer stores nothing in its own L1.
    OwnWriteNotStored,
    /// PostgreSQL: the server's start time, which cannot be put back, is part of the incarnation.
    StartTimeInIncarnation,
    /// PostgreSQL: copies outlive a restart of the server only where the log still has every change of the last batch.
    LastBatchInPlace,
    /// PostgreSQL: of these, the ones that landed since the last pass began are dropped: a cold copy may be older.
    LandedSinceDropped,
    /// PostgreSQL: what such a pass finds above the last batch is new, even if its id was seen: it may have been used again.
    AboveLastBatchIsNew,
    /// PostgreSQL: so are the oids of the tables, which a restored dump makes anew under a running server.
    TablesInIncarnation,
    /// PostgreSQL: the life id is not logged for recovery, so that a crash empties it.
    UnloggedLifeId,
    /// A pass that finds triggers missing, or not all firing ALWAYS, proves nothing.
    TriggersWhole,
    /// Which triggers there are, and when they were altered last, is part of the incarnation; without, only who made a pass
    /// before notices.
    TriggersInIncarnation,
    /// What a standby returns is not stored, and served marked stale.
    NothingOfStandby,
    /// SQLite: a frame names the newest change that it saw, and is taken only if the last pass's log has that very change.
    FrameNamesNewestChange,
    /// SQLite: a pass looks whether the newest change of the last pass is still there, with its salt.
    PassLooksForNewest,
    /// SQLite: it looks for the newest changes that loads saw as well.
    PassLooksForLoads,
    /// SQLite: for those of all loads since the last pass; without, for the last with the highest id.
    EveryLoadIsLookedFor,
    /// SQLite: a load that saw less than the pass before it is not stored.
    LoadNotBelowPass,
    /// SQLite: nor is one that saw what the pass's log does not have, or what is above it while a pass asks.
    LoadLandsInOurLog,
    /// SQLite: what the log tells is learned to the end, even if somebody told it before. The file may have been put back
    /// in between, and forth again, so that copies are older than what was learned.
    LogIsLearnedToTheEnd,
    /// SQLite: a load counts only if the path still leads to the file that it read, checked after the read.
    LoadOfFileUnderPath,
    /// SQLite: a token holds only if the log has that very change, also where the incarnation is the same.
    TokenBySalt,
    /// PostgreSQL: a token of another incarnation holds only if the log has that very change.
    TokenOfOtherLifeBySalt,
    /// A token whose change may have been pruned is refused.
    PrunedTokenIsRefused,
    /// A watch position of another incarnation is refused.
    PositionOfOurLife,
    /// SQLite: a watch position holds only if the log has the newest change that it saw.
    PositionBySalt,
}

/// Which remedies there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remedies {
    missing: u64,
}

impl Remedies {
    /// All of them: the protocol as it is.
    pub const ALL: Self = Self { missing: 0 };

    /// The protocol with one remedy fewer.
    #[must_use]
    pub fn without(self, remedy: Remedy) -> Self {
        Self { missing: self.missing | 1 << remedy as u8 }
    }

    /// Whether a remedy is taken.
    pub fn has(self, remedy: Remedy) -> bool {
        self.missing & (1 << remedy as u8) == 0
    }
}
