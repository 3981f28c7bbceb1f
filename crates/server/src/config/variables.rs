//! The environment: variables of their own, and the one way to override any key of the file.
//!
//! A key of the file is overridden by `LARDER_`, its path in upper case with `__` behind each section, and `_` for a dash:
//! `ttl` in `[policy.item]` by `LARDER_POLICY__ITEM__TTL`. For a key on the top level that is the variable of its own, save for
//! those that other programs share (`DATABASE_URL`, `REDIS_URL` and its parts), which can be written in either way.

use std::ffi::OsStr;

use super::{
    Sources,
    dropped::Dropped,
    error::{ConfigError, Origin},
    setting::Setting,
    settings, suggest,
};

/// The prefix of Larder's variables.
const PREFIX: &str = "LARDER_";
/// The end of a section in a variable's name.
const SECTION: &str = "__";

/// The variables that give a setting, its own one first. An empty variable counts as none.
pub(super) fn of<'a>(sources: &'a Sources, setting: &Setting) -> Vec<(&'a str, &'a OsStr)> {
    let mut given: Vec<_> =
        filled(sources).filter(|(name, _)| *name == setting.env || overrides(name, setting)).collect();
    given.sort_by_key(|(name, _)| *name != setting.env);
    given
}

/// Finds what is wrong with the names of variables: errors, and warnings of what may be meant for another program.
pub(super) fn misnamed(sources: &Sources) -> (Vec<ConfigError>, Vec<String>) {
    let (mut errors, mut warnings) = (Vec::new(), Vec::new());
    for (name, _) in filled(sources) {
        // Kubernetes sets these by itself beside a service of the name `larder`.
        let of_kubernetes =
            name == "LARDER_PORT" || name.starts_with("LARDER_PORT_") || name.starts_with("LARDER_SERVICE_");
        let known = || settings().any(|setting| setting.env == name || overrides(name, setting));
        if !name.starts_with(PREFIX) || of_kubernetes || known() {
            continue;
        }
        if let Some(dropped) = Dropped::by_variable(name) {
            errors.push(error(name, Dropped::REASON, dropped.instead.to_owned()));
            continue;
        }
        let near = suggest::nearest(name, settings().map(|setting| setting.env));
        let hint = near.map_or_else(
            || "`larder config --markdown` lists every setting".to_owned(),
            |near| format!("did you mean {near}?"),
        );
        if name.contains(SECTION) {
            errors.push(error(name, "the file has no key of this path", hint));
        } else {
            warnings.push(format!("environment {name}: no setting has this name, so it has no effect; {hint}"));
        }
    }
    errors.sort_by(|a, b| a.name.cmp(&b.name));
    warnings.sort();
    (errors, warnings)
}

/// Whether a variable overrides the setting's key of the file.
fn overrides(name: &str, setting: &Setting) -> bool {
    let Some(path) = name.strip_prefix(PREFIX) else { return false };
    setting.in_file() && setting.is_named(&path.to_ascii_lowercase().replace(SECTION, ".").replace('_', "-"))
}

fn filled(sources: &Sources) -> impl Iterator<Item = (&str, &OsStr)> {
    let named = sources.environment.iter().filter_map(|(name, value)| Some((name.to_str()?, value.as_os_str())));
    named.filter(|(_, value)| !value.is_empty())
}

fn error(name: &str, reason: &str, hint: String) -> ConfigError {
    ConfigError {
        name: name.to_owned(),
        origin: Origin::Environment(name.to_owned()),
        value: None,
        reason: reason.to_owned(),
        hint,
    }
}
