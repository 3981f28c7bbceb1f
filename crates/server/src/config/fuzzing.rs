//! The configuration for fuzzing.

use std::path::Path;

use super::{
    AuthConfig, Machine, Purpose, Secret, Sources, effective_json, effective_text, file, lists, mask, resolve,
    table::setting, value as values,
};
use crate::fuzzing::texts;

/// Stands in inputs where somebody would write a secret.
const CANARY: &str = "hunter2canary";

/// Reads text as a configuration file, and resolves its settings. No secret is shown, whether the file is right or wrong.
///
/// # Panics
///
/// If the parser breaks a promise.
pub fn config_file(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let path = Path::new("larder.toml");
    let contents = file::parse(path, &text);
    let mut auth = AuthConfig::default();
    let mut errors = lists::read(&contents.records, path, &mut auth);
    errors.extend(contents.errors);
    let lines = 1 + text.matches('\n').count();
    for error in &errors {
        if let super::Origin::File { line, .. } = error.origin {
            assert!((1..=lines).contains(&line), "line {line} of {lines}");
        }
    }
    let mut open = false;
    let mut environment = Vec::new();
    for entry in &contents.entries {
        let secret = setting(entry.key).is_some_and(|setting| setting.secret == Secret::Whole);
        open |= !secret && entry.text.contains(CANARY);
        let name = setting(entry.key).expect("entries are settings").env;
        environment.push((name.into(), entry.text.clone().into()));
    }
    let machine = Machine { data_dir: Some("/var/lib".into()), terminal: false, cores: 2, memory: Some(1 << 30) };
    let sources = Sources { flags: Vec::new(), environment, machine };
    let shown = match resolve(&sources, Purpose::Serve) {
        Ok(resolved) => effective_text(&resolved.effective) + &effective_json(&resolved.effective),
        Err(errors) => errors.to_string(),
    };
    assert!(open || !shown.contains(CANARY), "a secret is shown: {shown}");
}

/// Reads parts as a URL around a secret. The secret is not shown, however broken the rest is.
///
/// # Panics
///
/// If the parser breaks a promise.
pub fn url_mask(input: &[u8]) {
    let [scheme, user, before, after, rest] = texts::<5>(input);
    if [&scheme, &user, &before, &after, &rest].iter().any(|part| part.contains(CANARY)) {
        return;
    }
    let password = format!("{before}{CANARY}{after}");
    let mut urls = vec![format!("{scheme}://{user}:{password}@{rest}"), format!("{user}:{password}@{rest}")];
    // A parameter that is no secret may stand behind an ampersand.
    if !password.contains('&') {
        urls.push(format!("{scheme}://{rest}?password={password}"));
        urls.push(format!("{scheme}://{rest}?sslmode=require&{user}password={password}"));
    }
    if !password.contains("://") {
        urls.push(password);
    }
    for url in urls {
        let shown = mask::url(&url);
        assert!(!shown.contains(CANARY), "{url:?} is shown as {shown:?}");
        assert!(shown.len() <= url.len() * 4 + 3);
    }
}

/// Reads text as values of settings: durations, sizes, shares, addresses.
///
/// # Panics
///
/// If the parser breaks a promise.
pub fn value(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Ok(duration) = values::duration(&text) {
        assert_eq!(values::duration(&values::show_duration(duration)), Ok(duration), "{text}");
    }
    if let Ok(size) = values::size(&text) {
        assert_eq!(values::size(&values::show_size(size)), Ok(size), "{text}");
    }
    if let Ok(share) = values::share(&text) {
        assert!((0.0..=1.0).contains(&share), "{text}");
    }
    if let Ok(address) = values::socket(&text) {
        assert_eq!(values::socket(&address.to_string()), Ok(address));
    }
    let _ = (values::boolean(&text), values::url(&text), values::path(&text), values::eviction(&text));
    let _ = values::count::<u32>(&text, 0..=1_000);
    let _ = values::memory_in(&text, Some(1 << 30), 1..=1 << 40);
    if let Some(decoded) = super::decoded(&text) {
        assert!(decoded.len() <= text.len());
    }
}
