//! What a setting is.

use std::path::PathBuf;

use super::{Config, Invalid, mask};

/// One setting: its names, its default and how its text becomes part of the [`Config`].
///
/// From these come the flags, the look-up of the environment, the keys of the file, the example file, the table of the
/// README and what `larder config` prints.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its name in the file and, after `--`, as a flag.
    pub key: &'static str,
    /// Its variable in the environment.
    pub env: &'static str,
    /// What it is when nobody says otherwise.
    pub default: Default,
    /// What kind of value it takes, in capitals.
    pub kind: &'static str,
    /// What it decides; sentences.
    pub help: &'static str,
    /// Whether its value is shown.
    pub secret: Secret,
    /// Who reads it.
    pub scope: Scope,
    /// Reads a text into the configuration.
    pub(super) set: Set,
}

/// Reads the text of a setting into the configuration.
pub(super) type Set = fn(&mut Config, &str) -> Result<(), Invalid>;

/// What a setting is when nobody says otherwise.
#[derive(Debug, Clone, Copy)]
pub enum Default {
    /// Always this.
    Text(&'static str),
    /// It depends on the machine, or on settings that stand before it in the table.
    Computed {
        /// In words.
        words: &'static str,
        /// A text that it may be.
        example: &'static str,
        /// The text; `None` leaves the setting as it is.
        compute: fn(&Known<'_>) -> Result<Option<String>, Invalid>,
    },
}

impl Default {
    /// The default as documentation shows it.
    pub fn shown(&self) -> &'static str {
        match self {
            Self::Text(text) => text,
            Self::Computed { words, .. } => words,
        }
    }
}

/// What is known when a default is computed.
#[derive(Debug)]
pub struct Known<'a> {
    /// The settings before it.
    pub config: &'a Config,
    /// Whether the database URL is the default one.
    pub own_database: bool,
    /// The machine.
    pub machine: &'a Machine,
}

/// What a default may depend on outside the configuration.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    /// The directory for data of programs, as the platform has it for this user.
    pub data_dir: Option<PathBuf>,
    /// Whether logs go to a terminal.
    pub terminal: bool,
    /// Processors that this process may use.
    pub cores: usize,
}

/// Whether the value of a setting is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secret {
    /// It is.
    No,
    /// It is a URL, of which the password is hidden.
    Url,
    /// Nothing of it.
    Whole,
}

impl Secret {
    /// The text as it may be shown.
    pub fn show(self, text: &str) -> String {
        match self {
            Self::No => text.to_owned(),
            Self::Url => mask::url(text),
            Self::Whole => "***".to_owned(),
        }
    }
}

/// Who reads a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The server.
    Server,
    /// The server, and commands that open the database themselves.
    Database,
    /// The commands that call a server.
    Client,
    /// Both, to find the file with all others; it cannot stand in that file.
    File,
}

impl Setting {
    /// A setting of the server with a fixed default.
    pub(super) const fn new(
        key: &'static str,
        env: &'static str,
        default: &'static str,
        kind: &'static str,
        help: &'static str,
        set: Set,
    ) -> Self {
        Self { key, env, default: Default::Text(default), kind, help, secret: Secret::No, scope: Scope::Server, set }
    }

    pub(super) const fn computed(
        mut self,
        example: &'static str,
        compute: fn(&Known<'_>) -> Result<Option<String>, Invalid>,
    ) -> Self {
        self.default = Default::Computed { words: self.default_text(), example, compute };
        self
    }

    pub(super) const fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    pub(super) const fn secret(mut self, secret: Secret) -> Self {
        self.secret = secret;
        self
    }

    const fn default_text(&self) -> &'static str {
        match self.default {
            Default::Text(text) | Default::Computed { words: text, .. } => text,
        }
    }
}
