//! What a running server applies of a changed configuration: the policies, and which events are logged. All other changes need a
//! restart.

use super::{Effective, Resolved, check::check, table::POLICIES};

/// The settings that have changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Settings that are in effect from now on, as `key = value (was value)`.
    pub applied: Vec<String>,
    /// Settings that take effect after a restart, in the same form.
    pub waiting: Vec<String>,
}

impl Resolved {
    /// Applies the policies and the log filter of a later reading of the same sources, and tells which other settings differ. It shows no secret.
    /// The error says why the new policies break a rule together with a setting that waits for a restart.
    pub fn apply(&mut self, later: &Self) -> Result<Changes, String> {
        let mut config = self.config.clone();
        config.cache.policies = later.config.cache.policies.clone();
        config.server.log.filter = later.config.server.log.filter.clone();
        if let Some(broken) = check(&config).first() {
            return Err(format!(
                "{}: {} until a restart applies the other changes",
                broken.keys[0], broken.invalid.reason
            ));
        }
        self.config = config;
        let mut changes = Changes::default();
        for (before, after) in self.effective.iter_mut().zip(&later.effective) {
            if before.text == after.text {
                continue;
            }
            let told = format!("{} = {} (was {})", after.setting.key, shown(after), shown(before));
            let mut policies = POLICIES.iter().flat_map(|section| section.settings);
            if after.setting.key == "log" || policies.any(|of| of.key == after.setting.key) {
                changes.applied.push(told);
                *before = after.clone();
            } else {
                changes.waiting.push(told);
            }
        }
        Ok(changes)
    }
}

fn shown(effective: &Effective) -> String {
    effective.text.as_deref().map_or_else(|| "none".to_owned(), |text| effective.setting.secret.show(text))
}
