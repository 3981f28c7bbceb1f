//! Random walks, for what is too large to be searched to the end.

use stateright::Model as _;

use super::{Judged, Kind, Protocol, Scenario, Step};
use crate::{Invariants, Remedies};

/// What some walks came across.
#[derive(Debug, Clone, Default)]
pub struct Walk {
    /// What was judged.
    pub judged: Judged,
    /// The first walk that broke an invariant: its seed, which invariants, and its steps.
    pub broken: Option<(u64, Invariants, Vec<Step>)>,
}

/// Takes walks of `steps` steps each with the seeds, over a database of this kind, until one breaks an invariant. The same seed
/// takes the same walk.
pub fn walk(kind: Kind, remedies: Remedies, seeds: impl IntoIterator<Item = u64>, steps: usize) -> Walk {
    let protocol = Protocol { scenario: Scenario::everything(kind), remedies };
    let mut walk = Walk::default();
    for seed in seeds {
        let mut random = Random(seed);
        let mut world = protocol.init_states().remove(0);
        let (mut actions, mut taken) = (Vec::new(), Vec::new());
        for _ in 0..steps {
            actions.clear();
            protocol.actions(&world, &mut actions);
            let step = random.step(&actions);
            taken.push(step);
            let Judged { copies, tokens } = protocol.advance(&mut world, step);
            walk.judged.copies += copies;
            walk.judged.tokens += tokens;
            if world.broken != Invariants::NONE {
                walk.broken = Some((seed, world.broken, shorten(&protocol, taken)));
                return walk;
            }
        }
    }
    walk
}

/// Leaves out steps without which an invariant is broken all the same.
fn shorten(protocol: &Protocol, mut steps: Vec<Step>) -> Vec<Step> {
    let mut place = steps.len();
    while place > 0 {
        place -= 1;
        let mut shorter = steps.clone();
        shorter.remove(place);
        if breaks(protocol, &shorter) {
            steps = shorter;
            place = steps.len();
        }
    }
    steps
}

fn breaks(protocol: &Protocol, steps: &[Step]) -> bool {
    let mut world = protocol.init_states().remove(0);
    for (place, &step) in steps.iter().enumerate() {
        let mut possible = Vec::new();
        protocol.actions(&world, &mut possible);
        if !possible.contains(&step) {
            return false;
        }
        protocol.advance(&mut world, step);
        if world.broken != Invariants::NONE {
            return place + 1 == steps.len();
        }
    }
    false
}

/// `SplitMix64`: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap_or_default()
    }

    /// First which kind of step, so that those of which there are many are not all that ever happens.
    fn step(&mut self, steps: &[Step]) -> Step {
        let weights: Vec<usize> = steps.iter().map(|step| weight(*step)).collect();
        let mut kinds: Vec<_> = steps.iter().map(std::mem::discriminant).collect();
        kinds.dedup();
        kinds.sort_by_key(|kind| steps.iter().position(|step| std::mem::discriminant(step) == *kind));
        kinds.dedup();
        let of = |kind| (0..steps.len()).filter(move |&step| std::mem::discriminant(&steps[step]) == kind);
        let total = kinds.iter().map(|&kind| of(kind).next().map_or(0, |step| weights[step])).sum();
        let mut left = self.below(total);
        for kind in kinds {
            let of: Vec<usize> = of(kind).collect();
            let weight = weights[of[0]];
            if left < weight {
                return steps[of[self.below(of.len())]];
            }
            left -= weight;
        }
        steps[0]
    }
}

fn weight(step: Step) -> usize {
    match step {
        Step::Begin(_) | Step::Commit(_) | Step::Load(..) | Step::Land(_) | Step::Ask(_) | Step::Follow(_) => 12,
        Step::Take(..) | Step::Learn(..) => 4,
        Step::PutBack(_) | Step::Restore(_) | Step::Crash(_) | Step::Stop(_) | Step::LoadStandby(..) => 2,
        Step::Alter | Step::Slip(_) | Step::Prune | Step::Restart | Step::Replace(_) => 1,
    }
}
