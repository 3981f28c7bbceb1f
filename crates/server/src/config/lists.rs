//! The parts of the file that are lists: tokens, certificates and rules of methods.

use std::{collections::BTreeMap, path::Path};

use super::{
    Access, AuthConfig, CertificateMatch, CertificateRule, Role, TokenHash, TokenRule,
    error::{ConfigError, Origin},
    suggest,
};

/// One `[[list]]` or `[table]` of the file, whose keys are no settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// The list: one of [`LISTS`] or [`TABLES`].
    pub(super) list: &'static str,
    /// The line of its head, counted from 1.
    pub(super) line: usize,
    pub(super) fields: Vec<Field>,
}

/// A key of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) key: String,
    pub(super) text: String,
    pub(super) line: usize,
}

/// Lists of tables: `[[auth.token]]`.
pub(super) const LISTS: [&str; 2] = [TOKEN, CERTIFICATE];
/// Tables whose keys the user chooses: `[auth.rules]`.
pub(super) const TABLES: [&str; 2] = [RULES, ROLES];

const TOKEN: &str = "auth.token";
const CERTIFICATE: &str = "auth.certificate";
const RULES: &str = "auth.rules";
const ROLES: &str = "auth.jwt.roles";

/// Entries of one list: every call with a token is compared with all of them.
const MOST: usize = 1_000;
const ROLE: &str = "write reader, writer or admin";

/// The reader of records.
struct Lists<'a> {
    path: &'a Path,
    auth: &'a mut AuthConfig,
    errors: Vec<ConfigError>,
}

/// Reads the records into the configuration, and returns the errors in them.
pub(super) fn read(records: &[Record], path: &Path, auth: &mut AuthConfig) -> Vec<ConfigError> {
    let mut lists = Lists { path, auth, errors: Vec::new() };
    for record in records {
        match record.list {
            TOKEN => lists.token(record),
            CERTIFICATE => lists.certificate(record),
            RULES => lists.rules(record),
            _ => lists.roles(record),
        }
    }
    for list in LISTS {
        if let Some(record) = records.iter().filter(|record| record.list == list).nth(MOST) {
            lists.error(list, record.line, None, "more than 1000 entries", "remove some");
        }
    }
    lists.errors
}

impl Lists<'_> {
    fn token(&mut self, record: &Record) {
        let fields = self.fields(record, &["name", "sha256", "role"]);
        let role = self.role(record, &fields);
        let name = self.required(record, &fields, "name").filter(|name| self.is_name(name));
        let hash = self.required(record, &fields, "sha256").and_then(|field| {
            let hash = TokenHash::parse(&field.text);
            if hash.is_none() {
                // The text may be the token itself, which must not be shown.
                let reason = "not 64 hexadecimal digits";
                self.error("auth.token.sha256", field.line, None, reason, "write what `larder hash-token` prints");
            }
            hash
        });
        let (Some(name), Some(sha256), Some(role)) = (name, hash, role) else { return };
        if self.auth.tokens.iter().any(|other| other.name == name.text) {
            let hint = "give each token a name of its own: logs tell callers by it";
            self.error("auth.token.name", name.line, Some(&name.text), "another token has this name", hint);
            return;
        }
        if self.auth.tokens.iter().any(|other| other.sha256 == sha256) {
            self.error("auth.token.sha256", record.line, None, "another entry has this token", "remove one of the two");
            return;
        }
        self.auth.tokens.push(TokenRule { name: name.text.clone(), sha256, role });
    }

    fn certificate(&mut self, record: &Record) {
        let fields = self.fields(record, &["spiffe", "subject", "role"]);
        let role = self.role(record, &fields);
        let matches = match (fields.get("spiffe"), fields.get("subject")) {
            (Some(field), None) => {
                let id = field.text.strip_suffix("/*").unwrap_or(&field.text);
                if id.strip_prefix("spiffe://").is_none_or(str::is_empty) || id.contains('*') {
                    let hint =
                        "write an ID such as spiffe://shop.example/till, or spiffe://shop.example/* for all below it";
                    self.error("auth.certificate.spiffe", field.line, Some(&field.text), "not a SPIFFE ID", hint);
                    return;
                }
                CertificateMatch::Spiffe(field.text.clone())
            }
            (None, Some(field)) if field.text.is_empty() => {
                let hint = "write the common name of the certificate";
                self.error("auth.certificate.subject", field.line, None, "an empty name", hint);
                return;
            }
            (None, Some(field)) => CertificateMatch::Subject(field.text.clone()),
            _ => {
                let hint = "write one of the two";
                self.error(CERTIFICATE, record.line, None, "neither spiffe nor subject, or both", hint);
                return;
            }
        };
        if let Some(role) = role {
            self.auth.certificates.push(CertificateRule { matches, role });
        }
    }

    fn rules(&mut self, record: &Record) {
        for Field { key, text, line } in &record.fields {
            let name = format!("{RULES}.{key}");
            if !crate::auth::has_rule(key) {
                let near = suggest::nearest(key, crate::auth::rule_names());
                let hint = near.map_or_else(
                    || {
                        "write a method such as \"larder.catalog.v1.ProductCatalog/WatchProducts\", or /metrics"
                            .to_owned()
                    },
                    |near| format!("did you mean {near}?"),
                );
                self.error(&name, *line, None, "no method or path has this name", &hint);
                continue;
            }
            match Access::parse(text) {
                Some(access) => drop(self.auth.rules.insert(key.clone(), access)),
                None => self.error(&name, *line, Some(text), "not a role", "write open, reader, writer or admin"),
            }
        }
    }

    fn roles(&mut self, record: &Record) {
        for Field { key, text, line } in &record.fields {
            match Role::parse(text) {
                Some(role) => drop(self.auth.jwt.roles.insert(key.clone(), role)),
                None => self.error(&format!("{ROLES}.{key}"), *line, Some(text), "not a role", ROLE),
            }
        }
    }

    /// The fields of a record by their keys. Unknown keys are errors.
    fn fields<'r>(&mut self, record: &'r Record, known: &[&'static str]) -> BTreeMap<&'r str, &'r Field> {
        for field in record.fields.iter().filter(|field| !known.contains(&field.key.as_str())) {
            let hint = format!("its keys are {}", known.join(", "));
            let name = format!("{}.{}", record.list, field.key);
            self.error(&name, field.line, None, "the table has no key of this name", &hint);
        }
        record.fields.iter().map(|field| (field.key.as_str(), field)).collect()
    }

    fn required<'r>(
        &mut self,
        record: &Record,
        fields: &BTreeMap<&str, &'r Field>,
        key: &'static str,
    ) -> Option<&'r Field> {
        let field = fields.get(key).copied();
        if field.is_none() {
            let reason = format!("the key {key} is missing");
            self.error(record.list, record.line, None, &reason, "each table of the list needs it");
        }
        field
    }

    fn role(&mut self, record: &Record, fields: &BTreeMap<&str, &Field>) -> Option<Role> {
        let field = self.required(record, fields, "role")?;
        let role = Role::parse(&field.text);
        if role.is_none() {
            self.error(&format!("{}.role", record.list), field.line, Some(&field.text), "not a role", ROLE);
        }
        role
    }

    fn is_name(&mut self, field: &Field) -> bool {
        let fits = (1..=128).contains(&field.text.len()) && !field.text.chars().any(char::is_control);
        if !fits {
            let hint = "write 1 to 128 characters without control characters";
            self.error("auth.token.name", field.line, None, "not a name", hint);
        }
        fits
    }

    fn error(&mut self, name: &str, line: usize, value: Option<&str>, reason: &str, hint: &str) {
        self.errors.push(ConfigError {
            name: name.to_owned(),
            origin: Origin::File { path: self.path.to_owned(), line },
            value: value.map(str::to_owned),
            reason: reason.to_owned(),
            hint: hint.to_owned(),
        });
    }
}
