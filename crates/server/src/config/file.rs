//! The TOML file with settings.

use std::path::Path;

use toml::de::{DeArray, DeTable, DeValue};

use super::{
    dropped::Dropped,
    error::{ConfigError, Origin},
    lists::{Field, LISTS, Record, TABLES},
    suggest,
    table::setting,
};

/// A key of the file, with its value as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// The name of a setting.
    pub(super) key: &'static str,
    /// Its value.
    pub(super) text: String,
    /// The line, counted from 1.
    pub(super) line: usize,
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Contents {
    /// The settings.
    pub(super) entries: Vec<Entry>,
    /// The lists.
    pub(super) records: Vec<Record>,
    /// What is wrong.
    pub(super) errors: Vec<ConfigError>,
}

/// Reads a file. A key may stand in a section or be run together with it: `bytes` in `[l1]` is `l1-bytes`.
pub(super) fn read(path: &Path, origin: &Origin) -> Contents {
    let failed = |why: &str| Contents { errors: vec![unreadable(path, origin, why)], ..Contents::default() };
    match std::fs::read(path) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => parse(path, &text),
            Err(_) => failed("is not UTF-8 text"),
        },
        Err(error) => failed(&format!("cannot be read: {error}")),
    }
}

fn unreadable(path: &Path, origin: &Origin, why: &str) -> ConfigError {
    ConfigError {
        name: "config".to_owned(),
        origin: origin.clone(),
        value: Some(path.display().to_string()),
        reason: format!("the file {why}"),
        hint: "name a TOML file; `larder config --example` prints one".to_owned(),
    }
}

pub(super) fn parse(path: &Path, text: &str) -> Contents {
    let (table, syntax) = DeTable::parse_recoverable(text);
    let mut reader = Reader { path, text, contents: Contents::default() };
    for error in &syntax {
        let at = error.span().map_or(0, |span| span.start);
        let reason = error.message().replace('\n', ", ");
        reader.error("config", at, None, reason, "the file must be TOML: name = \"value\", one a line");
    }
    // One mistake can lead the parser from error to error: the first one of a line is enough.
    let line = |error: &ConfigError| match error.origin {
        Origin::File { line, .. } => line,
        _ => 0,
    };
    reader.contents.errors.sort_by_key(line);
    reader.contents.errors.dedup_by_key(|error| line(error));
    // The rest of a broken file may not mean what its author meant.
    if syntax.is_empty() {
        reader.table("", table.get_ref());
    }
    reader.contents
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    contents: Contents,
}

impl Reader<'_> {
    fn table(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let at = key.span().start;
            let name = match prefix {
                "" => key.get_ref().to_string(),
                _ => format!("{prefix}.{}", key.get_ref()),
            };
            match value.get_ref() {
                DeValue::Table(table) => match TABLES.into_iter().find(|&known| known == name) {
                    Some(list) => self.record(list, at, table),
                    None => self.table(&name, table),
                },
                DeValue::Array(items) if LISTS.contains(&name.as_str()) => self.list(&name, at, items),
                value => {
                    if let Some(text) = self.value(&name, at, value) {
                        self.entry(&name, text, at);
                    }
                }
            }
        }
    }

    /// A list of tables.
    fn list(&mut self, name: &str, at: usize, items: &DeArray<'_>) {
        let Some(list) = LISTS.into_iter().find(|&known| known == name) else { return };
        for item in items {
            match item.get_ref() {
                DeValue::Table(table) => self.record(list, item.span().start, table),
                other => {
                    let reason = format!("an entry is of the TOML type {}", other.type_str());
                    self.error(name, at, None, reason, &format!("write [[{list}]] above the keys of each entry"));
                }
            }
        }
    }

    /// A table whose keys are no settings.
    fn record(&mut self, list: &'static str, at: usize, table: &DeTable<'_>) {
        let mut fields = Vec::new();
        for (key, value) in table {
            let (key, at) = (key.get_ref().to_string(), key.span().start);
            let name = format!("{list}.{key}");
            if let Some(text) = self.value(&name, at, value.get_ref()) {
                fields.push(Field { key, text, line: line(self.text, at) });
            }
        }
        self.contents.records.push(Record { list, line: line(self.text, at), fields });
    }

    /// A value as text; anything else than one value is an error.
    fn value(&mut self, name: &str, at: usize, value: &DeValue<'_>) -> Option<String> {
        let text = match value {
            DeValue::String(text) => text.to_string(),
            DeValue::Boolean(value) => value.to_string(),
            DeValue::Float(value) => value.as_str().to_owned(),
            DeValue::Integer(value) => match i64::from_str_radix(value.as_str(), value.radix()) {
                Ok(value) => value.to_string(),
                Err(_) => value.as_str().to_owned(),
            },
            DeValue::Table(_) | DeValue::Array(_) | DeValue::Datetime(_) => {
                let reason = format!("the value is of the TOML type {}", value.type_str());
                self.error(name, at, None, reason, "write a text, a number, true or false");
                return None;
            }
        };
        Some(text)
    }

    fn entry(&mut self, name: &str, text: String, at: usize) {
        let line = line(self.text, at);
        match setting(name).filter(|setting| setting.in_file()) {
            None => {
                let (reason, hint) = unknown(name);
                self.error(name, at, None, reason, &hint);
            }
            Some(setting) => match self.contents.entries.iter().find(|entry| entry.key == setting.key) {
                Some(first) => {
                    let reason = format!("line {} has it already", first.line);
                    self.error(name, at, None, reason, "keep one of the two");
                }
                None => self.contents.entries.push(Entry { key: setting.key, text, line }),
            },
        }
    }

    fn error(&mut self, name: &str, at: usize, value: Option<String>, reason: impl Into<String>, hint: &str) {
        self.contents.errors.push(ConfigError {
            name: name.to_owned(),
            origin: Origin::File { path: self.path.to_owned(), line: line(self.text, at) },
            value,
            reason: reason.into(),
            hint: hint.to_owned(),
        });
    }
}

/// What is wrong with a key that is no setting, and what to do.
fn unknown(name: &str) -> (&'static str, String) {
    if let Some(dropped) = Dropped::by_key(name) {
        return (Dropped::REASON, dropped.instead.to_owned());
    }
    let keys = super::settings().filter(|setting| setting.in_file());
    let hint = match suggest::nearest(name, keys.map(|setting| setting.key)) {
        Some(key) => format!("did you mean {key}?"),
        None => "`larder config --example` prints every setting".to_owned(),
    };
    ("no setting has this name", hint)
}

fn line(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}
