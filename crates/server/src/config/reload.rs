//! What a running server takes up of a configuration that has changed: the policies. All else needs a restart.

use super::{Effective, Resolved, check::check, table::POLICIES};

/// What has changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Settings that hold from now on, as `key = value`, `was` what they were.
    pub applied: Vec<String>,
    /// Settings that hold after a restart, likewise.
    pub waiting: Vec<String>,
}

impl Resolved {
    /// Takes up the policies of a later reading of the same sources, and tells what differs besides. Nothing secret is shown. The
    /// error says why the policies cannot hold together with what waits for a restart.
    pub fn take_up(&mut self, later: &Self) -> Result<Changes, String> {
        let mut config = self.config.clone();
        config.cache.policies = later.config.cache.policies.clone();
        if let Some(broken) = check(&config).first() {
            return Err(format!(
                "{}: {}, as long as what has changed besides waits for a restart",
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
            if POLICIES.iter().flat_map(|section| section.settings).any(|of| of.key == after.setting.key) {
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
