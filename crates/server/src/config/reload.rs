//! What a running server applies of a changed configuration: the policies, which events are logged, and who may do what. All other
//! changes need a restart.

use super::{AuthConfig, Effective, Resolved, check::check, table::POLICIES};

/// The settings that have changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Settings that are in effect from now on, as `key = value (was value)`.
    pub applied: Vec<String>,
    /// Settings that take effect after a restart, in the same form.
    pub waiting: Vec<String>,
}

impl Resolved {
    /// Applies the policies, the log filter and the credentials of a later reading of the same sources, and tells which other settings differ. It shows no secret.
    /// The error says why the new policies break a rule together with a setting that waits for a restart.
    pub fn apply(&mut self, later: &Self) -> Result<Changes, String> {
        let mut config = self.config.clone();
        config.cache.policies = later.config.cache.policies.clone();
        config.server.log.filter = later.config.server.log.filter.clone();
        let jwt = config.security.auth.jwt.clone();
        config.security.auth = later.config.security.auth.clone();
        // The task that reads the key set was made for its place.
        (config.security.auth.jwt.jwks, config.security.auth.jwt.jwks_ca) = (jwt.jwks, jwt.jwks_ca);
        if let Some(broken) = check(&config).first() {
            return Err(format!(
                "{}: {} until a restart applies the other changes",
                broken.keys[0], broken.invalid.reason
            ));
        }
        let mut changes = Changes::default();
        let lists = |auth: &AuthConfig| {
            (auth.tokens.clone(), auth.certificates.clone(), auth.rules.clone(), auth.jwt.roles.clone())
        };
        if lists(&self.config.security.auth) != lists(&config.security.auth) {
            let auth = &config.security.auth;
            let (tokens, certificates) = (auth.tokens.len(), auth.certificates.len());
            changes.applied.push(format!("auth.token ({tokens}), auth.certificate ({certificates}), auth.rules"));
        }
        self.config = config;
        for (before, after) in self.effective.iter_mut().zip(&later.effective) {
            if before.text == after.text {
                continue;
            }
            let told = format!("{} = {} (was {})", after.setting.key, shown(after), shown(before));
            if is_applied(after.setting.key) {
                changes.applied.push(told);
                *before = after.clone();
            } else {
                changes.waiting.push(told);
            }
        }
        Ok(changes)
    }
}

/// Whether a running server applies a setting.
fn is_applied(key: &str) -> bool {
    let mut policies = POLICIES.iter().flat_map(|section| section.settings);
    let of_tokens = key.starts_with("auth.jwt.") && !key.starts_with("auth.jwt.jwks");
    key == "log" || of_tokens || policies.any(|of| of.key == key)
}

fn shown(effective: &Effective) -> String {
    effective.text.as_deref().map_or_else(|| "none".to_owned(), |text| effective.setting.secret.show(text))
}
