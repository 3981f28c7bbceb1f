//! `learn(change)`: remember, age, remove. Three steps, between which readers go on.

use crate::{Change, Protocol, Remedy, Replica};

/// A change that is being learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Learning {
    change: Change,
    step: Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    First,
    Second,
    Remove,
}

impl Learning {
    /// Begins to learn.
    pub fn new(change: Change) -> Self {
        Self { change, step: Step::First }
    }

    /// Makes the next step at `replica`. Returns what is left to do.
    ///
    /// What judges a frame is there before a generation is: a reader who captures the new generation finds the change
    /// remembered. The key is removed last, so that no fill that still stood comes after the removal.
    pub fn step(self, world: &Protocol, replica: &mut Replica) -> Option<Self> {
        let script = world.script(self.change.tx);
        let skips = !world.has(Remedy::LearnAgain) && replica.knowledge.remembers(world, self.change);
        let remembers = (self.step == Step::First) == world.has(Remedy::RememberBeforeAge);
        let next = match self.step {
            Step::First if skips => None,
            Step::First | Step::Second => {
                if remembers {
                    replica.knowledge.remember(world, self.change);
                } else {
                    replica.age(world, script);
                }
                Some(if self.step == Step::First { Step::Second } else { Step::Remove })
            }
            Step::Remove => {
                replica.remove(world, script);
                replica.learned |= 1 << self.change.tx;
                None
            }
        };
        next.map(|step| Self { step, ..self })
    }
}
