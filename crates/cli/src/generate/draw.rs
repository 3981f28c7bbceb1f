//! Random numbers that mean the same on every platform and for years.

/// The random numbers of one product.
///
/// The generator is `SplitMix64` (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014;
/// constants as in Vigna's public-domain `splitmix64.c`).
pub(super) struct Draw {
    state: u64,
}

/// 2⁶⁴ divided by the golden ratio, made odd.
pub(super) const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

impl Draw {
    pub(super) fn new(seed: u64, index: u64) -> Self {
        Self { state: mix(mix(seed.wrapping_add(GOLDEN_GAMMA)) ^ index) }
    }

    fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN_GAMMA);
        mix(self.state)
    }

    /// A number below `bound`, by Lemire's multiplication; its bias is less than `bound` in 2³².
    pub(super) fn below(&mut self, bound: u32) -> u32 {
        let high = self.next_u64() >> 32;
        ((high * u64::from(bound)) >> 32) as u32
    }

    /// A place in a list of `length` items.
    #[expect(clippy::cast_possible_truncation, reason = "the lists are those of this module, a thousand at most")]
    pub(super) fn index(&mut self, length: usize) -> usize {
        self.below(length as u32) as usize
    }

    pub(super) fn pick_ref<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.index(items.len())]
    }

    pub(super) fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        *self.pick_ref(items)
    }
}

/// The finalizer of `SplitMix64`: a bijection of 64-bit numbers in which every bit depends on every other.
pub(super) const fn mix(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
