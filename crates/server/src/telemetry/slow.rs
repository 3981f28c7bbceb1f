//! Log lines about calls that took long.

use std::time::Duration;

use tokio::time::Instant;
use tonic::Code;

use super::LineLimit;
use crate::codes::code_name;

/// The log is one for the whole process, and so is the limit of its lines: what makes one call slow makes many slow.
static LINES: LineLimit = LineLimit::new();

/// Logs calls that take longer than a threshold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SlowCalls(Duration);

impl SlowCalls {
    /// Logs calls over a threshold.
    pub(crate) fn over(threshold: Duration) -> Self {
        Self(threshold)
    }

    /// Logs a call that began waiting at `began`, if it was slow.
    pub(crate) fn note(self, began: Instant, code: Code) {
        let took = Instant::now().saturating_duration_since(began);
        if took < self.0 {
            return;
        }
        let Some(omitted) = LINES.admit() else { return };
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(code = code_name(code), took_ms, omitted, "slow call");
    }
}
