//! The keys that close copies in L2.

use std::{fmt, ops::RangeInclusive};

use zeroize::Zeroizing;

/// A key that closes frames. It is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct FrameKey(Zeroizing<Vec<u8>>);

impl FrameKey {
    /// The fewest and the most bytes of a key.
    pub const BYTES: RangeInclusive<usize> = 32..=64;

    /// A key of the bytes given; `None` for too few or too many.
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        let bytes = Zeroizing::new(bytes);
        Self::BYTES.contains(&bytes.len()).then_some(Self(bytes))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for FrameKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
