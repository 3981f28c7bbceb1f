//! Trying again after a conflict.

use std::time::Duration;

use crate::StorageError;

const ATTEMPTS: u32 = 8;

/// Allows a bounded number of further attempts, each after a longer pause of random length.
#[derive(Debug, Default)]
pub(crate) struct Retry {
    failed: u32,
}

impl Retry {
    /// Waits before the next attempt; returns the error when it is no conflict or was the last one allowed.
    pub(crate) async fn after(&mut self, error: StorageError) -> Result<(), StorageError> {
        self.failed += 1;
        if !matches!(error, StorageError::Conflict(_)) || self.failed >= ATTEMPTS {
            return Err(error);
        }
        tracing::debug!(error = %error, attempt = self.failed, "transaction lost a conflict");
        self.pause().await;
        Ok(())
    }

    #[expect(clippy::disallowed_methods, reason = "the length of a pause decides nothing")]
    async fn pause(&self) {
        let longest = 4_u64 << self.failed.min(8);
        tokio::time::sleep(Duration::from_millis(rand::random_range(1..=longest))).await;
    }
}
