//! Makes the configuration from its sources.

use std::{
    collections::HashSet,
    ffi::OsString,
    io::IsTerminal as _,
    path::{Path, PathBuf},
};

use larder_cache::SharedConfig;

use super::{
    Config, ConfigError, ConfigErrors, Invalid, Origin,
    check::{check, warnings as security_warnings},
    file, lists, memory, otel,
    setting::{Default, Known, Machine, Scope, Setting},
    settings,
    table::setting,
    variables,
};

/// The sources of settings.
#[derive(Debug, Clone, std::default::Default)]
pub struct Sources {
    /// The flags given, by the keys of their settings.
    pub flags: Vec<(&'static str, String)>,
    /// The environment. An empty variable counts as none.
    pub environment: Vec<(OsString, OsString)>,
    /// The machine.
    pub machine: Machine,
}

impl Sources {
    /// The flags given, and this process's environment and machine.
    pub fn of_process(flags: Vec<(&'static str, String)>) -> Self {
        Self::with_environment(flags, std::env::vars_os().collect())
    }

    /// The flags given, another environment, and this process's machine.
    pub fn with_environment(flags: Vec<(&'static str, String)>, environment: Vec<(OsString, OsString)>) -> Self {
        let find = |name: &str| environment.iter().find(|(key, value)| key == name && !value.is_empty());
        let xdg = find("XDG_DATA_HOME").map(|(_, value)| PathBuf::from(value));
        let machine = Machine {
            data_dir: platform_data_dir(xdg, std::env::home_dir()),
            terminal: std::io::stderr().is_terminal(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory: memory::limit(Path::new("/")),
        };
        Self { flags, environment, machine }
    }
}

/// The value of a setting, and where it comes from.
#[derive(Debug, Clone)]
pub struct Effective {
    /// The setting.
    pub setting: &'static Setting,
    /// The text; `None` when the setting has no value.
    pub text: Option<String>,
    /// Where the text comes from.
    pub origin: Origin,
}

/// A configuration without errors.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The configuration.
    pub config: Config,
    /// Each setting with the origin of its value, in the order of the table.
    pub effective: Vec<Effective>,
    /// Likely mistakes that break nothing.
    pub warnings: Vec<String>,
}

/// Who needs a configuration, which decides the parts of it that must be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The server.
    Serve,
    /// A command that opens the database itself.
    Direct,
    /// A command that calls a server.
    Call,
}

impl Purpose {
    /// Whether settings of a scope matter for the purpose.
    pub fn needs(self, scope: Scope) -> bool {
        match (self, scope) {
            (Self::Serve, _) | (_, Scope::File) => true,
            (Self::Direct, scope) => scope == Scope::Database,
            (Self::Call, scope) => scope == Scope::Client,
        }
    }
}

/// Makes the configuration from its sources: flags override environment variables, which override the file, which overrides
/// defaults. Reports all errors in the settings that the purpose needs.
pub fn resolve(sources: &Sources, purpose: Purpose) -> Result<Resolved, ConfigErrors> {
    let mut resolver = Resolver {
        sources,
        config: Config { memory: sources.machine.memory, ..Config::default() },
        effective: Vec::new(),
        errors: Vec::new(),
        failed: HashSet::new(),
    };
    let entries = resolver.read_file(purpose);
    for setting in settings().filter(|setting| purpose.needs(setting.scope)) {
        resolver.resolve(setting, entries.as_ref());
    }
    let mut warnings = Vec::new();
    if purpose == Purpose::Serve {
        resolver.check();
        otel::exports(sources, &mut resolver.config.telemetry, &mut resolver.errors);
        let (errors, unknown) = variables::misnamed(sources);
        resolver.errors.extend(errors);
        warnings = unknown;
        warnings.extend(security_warnings(&resolver.config));
    }
    if let Some(url) = &resolver.config.redis_url {
        resolver.config.cache.shared = Some(SharedConfig { url: url.clone(), ..resolver.config.shared.clone() });
    }
    if resolver.errors.is_empty() {
        Ok(Resolved { config: resolver.config, effective: resolver.effective, warnings })
    } else {
        Err(ConfigErrors(resolver.errors))
    }
}

struct Resolver<'a> {
    sources: &'a Sources,
    config: Config,
    effective: Vec<Effective>,
    errors: Vec<ConfigError>,
    failed: HashSet<&'static str>,
}

struct FileEntries {
    path: PathBuf,
    contents: file::Contents,
}

impl Resolver<'_> {
    fn read_file(&mut self, purpose: Purpose) -> Option<FileEntries> {
        let setting = setting("config")?;
        let (text, origin) = self.given(setting, None)?;
        let path = PathBuf::from(&text);
        let contents = file::read(&path, &origin);
        // A command that calls a server does not judge the server's settings. A file that cannot be read is an error for all.
        let mut errors = contents.errors.clone();
        if purpose == Purpose::Serve {
            errors.extend(lists::read(&contents.records, &path, &mut self.config.security.auth));
        }
        self.errors.extend(errors.into_iter().filter(|error| purpose == Purpose::Serve || error.name == setting.key));
        Some(FileEntries { path, contents })
    }

    fn resolve(&mut self, setting: &'static Setting, file: Option<&FileEntries>) {
        let Some((text, origin)) = self.given(setting, file).or_else(|| self.default(setting)) else {
            if !self.failed.contains(setting.key) {
                self.effective.push(Effective { setting, text: None, origin: Origin::Default });
            }
            return;
        };
        match (setting.set)(&mut self.config, &text) {
            Ok(()) => self.effective.push(Effective { setting, text: Some(text), origin }),
            Err(invalid) => {
                self.failed.insert(setting.key);
                self.errors.push(ConfigError {
                    name: setting.key.to_owned(),
                    origin,
                    value: Some(setting.secret.show_invalid(&text)),
                    reason: invalid.reason,
                    hint: invalid.hint,
                });
            }
        }
    }

    /// The value that a flag, the environment or the file gives.
    fn given(&mut self, setting: &'static Setting, file: Option<&FileEntries>) -> Option<(String, Origin)> {
        if let Some((key, text)) = self.sources.flags.iter().find(|(key, _)| *key == setting.key) {
            return Some((text.clone(), Origin::Flag(key)));
        }
        let variables = variables::of(self.sources, setting);
        if let [_, (second, _), ..] = variables[..] {
            let origin = Origin::Environment(second.to_owned());
            let reason = format!("{} sets it already", variables[0].0);
            self.fail(setting, origin, Invalid::new(reason, "keep one of the two"));
            return None;
        }
        if let Some((name, value)) = variables.first() {
            let origin = Origin::Environment((*name).to_owned());
            let Some(text) = value.to_str() else {
                self.fail(setting, origin, Invalid::new("not UTF-8 text", "write it in UTF-8"));
                return None;
            };
            return Some((text.to_owned(), origin));
        }
        let file = file?;
        let entry = file.contents.entries.iter().find(|entry| entry.key == setting.key)?;
        let origin = Origin::File { path: file.path.clone(), line: entry.line };
        Some((entry.text.clone(), origin))
    }

    fn default(&mut self, setting: &'static Setting) -> Option<(String, Origin)> {
        if self.failed.contains(setting.key) {
            return None;
        }
        let text = match setting.default {
            Default::Text(text) => text.to_owned(),
            Default::Computed { compute, .. } => {
                let url = self.effective.iter().find(|effective| effective.setting.key == "database-url");
                let known = Known {
                    config: &self.config,
                    own_database: url.is_some_and(|url| url.origin == Origin::Default),
                    machine: &self.sources.machine,
                };
                match compute(&known) {
                    Ok(text) => text?,
                    Err(invalid) => {
                        // A data directory that was named but is wrong is one error, not two.
                        if self.failed.contains("data-dir") {
                            self.failed.insert(setting.key);
                        } else {
                            self.fail(setting, Origin::Default, invalid);
                        }
                        return None;
                    }
                }
            }
        };
        Some((text, Origin::Default))
    }

    /// Reports a setting without a value that could be shown.
    fn fail(&mut self, setting: &Setting, origin: Origin, invalid: Invalid) {
        self.failed.insert(setting.key);
        self.errors.push(ConfigError {
            name: setting.key.to_owned(),
            origin,
            value: None,
            reason: invalid.reason,
            hint: invalid.hint,
        });
    }

    fn check(&mut self) {
        for broken in check(&self.config) {
            if broken.keys.iter().any(|key| self.failed.contains(key)) {
                continue;
            }
            let [key, other] = broken.keys;
            // A user who changed one of the two settings looks for its name.
            let find = |key| self.effective.iter().find(|effective| effective.setting.key == key);
            let Some(effective) = find(key) else { continue };
            let changed = find(other).filter(|other| other.origin != Origin::Default);
            let hint = match changed {
                Some(other) => format!("{} ({} is from {})", broken.invalid.hint, other.setting.key, other.origin),
                None => broken.invalid.hint,
            };
            self.errors.push(ConfigError {
                name: key.to_owned(),
                origin: effective.origin.clone(),
                value: effective.text.as_deref().map(|text| effective.setting.secret.show(text)),
                reason: broken.invalid.reason,
                hint,
            });
        }
    }
}

fn platform_data_dir(xdg: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    let home = home.filter(|home| home.is_absolute());
    if cfg!(target_os = "macos") {
        return Some(home?.join("Library").join("Application Support"));
    }
    // The XDG Base Directory Specification: a relative path is to be ignored.
    if let Some(xdg) = xdg.filter(|xdg| xdg.is_absolute()) {
        return Some(xdg);
    }
    Some(home?.join(".local").join("share"))
}
