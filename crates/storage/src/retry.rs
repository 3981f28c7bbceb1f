//! Trying again after a conflict.

use std::time::Duration;

use larder_back_off::BackOff;

use crate::StorageError;

const ATTEMPTS: u32 = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(8);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Allows a bounded number of further attempts, each after a pause.
#[derive(Debug)]
pub(crate) struct Retry {
    failed: u32,
    back_off: BackOff,
}

impl Default for Retry {
    fn default() -> Self {
        Self { failed: 0, back_off: BackOff::new(FIRST_PAUSE, LONGEST_PAUSE) }
    }
}

impl Retry {
    /// Waits before the next attempt; returns the error when it is no conflict or was the last one allowed.
    #[expect(clippy::disallowed_methods, reason = "the length of a pause decides nothing")]
    pub(crate) async fn after(&mut self, error: StorageError) -> Result<(), StorageError> {
        self.failed += 1;
        if !matches!(error, StorageError::Conflict(_)) || self.failed >= ATTEMPTS {
            return Err(error);
        }
        tracing::debug!(error = %error, attempt = self.failed, "transaction lost a conflict");
        tokio::time::sleep(self.back_off.next(rand::random())).await;
        Ok(())
    }
}
