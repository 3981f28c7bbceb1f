//! What a setting is.

use std::path::PathBuf;

use super::{Config, Invalid, mask};

/// One setting: its names, its default, and how its text becomes part of the [`Config`].
///
/// The flags, the look-up of the environment, the keys of the file, the example file, `docs/configuration.md` and the output
/// of `larder config` are all made from these.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The name: the key in the file, with a dot behind each section, and after `--` the flag.
    pub key: &'static str,
    /// The environment variable.
    pub env: &'static str,
    /// Whether a flag sets it too.
    pub flag: bool,
    /// The value when none is given.
    pub default: Default,
    /// What values look like, in capitals: one of [`SHAPES`](super::render::SHAPES).
    pub shape: &'static str,
    /// What the setting decides, in sentences.
    pub help: &'static str,
    /// Whether the value is shown.
    pub secret: Secret,
    /// Who reads it.
    pub scope: Scope,
    /// Reads a text into the configuration.
    pub(super) set: Set,
}

/// Reads the text of a setting into the configuration.
pub(super) type Set = fn(&mut Config, &str) -> Result<(), Invalid>;

/// Computes a default.
pub(super) type Compute = fn(&Known<'_>) -> Result<Option<String>, Invalid>;

/// The value of a setting when none is given.
#[derive(Debug, Clone, Copy)]
pub enum Default {
    /// Always this text.
    Text(&'static str),
    /// A text that depends on the machine, or on settings that stand earlier in the table.
    Computed {
        /// The rule, in words.
        words: &'static str,
        /// A possible text.
        example: &'static str,
        /// The rule; `None` leaves the setting without a value.
        compute: Compute,
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

/// The facts from which a default is computed.
#[derive(Debug)]
pub struct Known<'a> {
    /// The configuration as the earlier settings left it.
    pub config: &'a Config,
    /// Whether the database URL is the default one.
    pub own_database: bool,
    /// The machine.
    pub machine: &'a Machine,
}

/// What a default may depend on outside the configuration.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    /// The platform's directory for this user's program data.
    pub data_dir: Option<PathBuf>,
    /// Whether logs go to a terminal.
    pub terminal: bool,
    /// Processors that this process may use.
    pub cores: usize,
    /// Memory that this process may use, in bytes. `None` where the system does not tell.
    pub memory: Option<u64>,
}

/// Whether the value of a setting is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secret {
    /// The value is shown.
    No,
    /// The value is a URL; its password is hidden.
    Url,
    /// The whole value is hidden.
    Whole,
}

impl Secret {
    /// The text as it may be shown.
    pub fn show(self, text: &str) -> String {
        match self {
            Self::No => text.to_owned(),
            Self::Url => mask::url(text),
            Self::Whole => mask::MASK.to_owned(),
        }
    }

    /// A text that is no value of its setting, as it may be shown: nobody knows where in it a secret is.
    pub(super) fn show_invalid(self, text: &str) -> String {
        match self {
            Self::No => text.to_owned(),
            Self::Url | Self::Whole => mask::MASK.to_owned(),
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
    /// Server and commands, to find the file with all other settings; the file cannot name itself.
    File,
}

impl Setting {
    /// A setting of the server with a flag and without a value; the tables fill in the rest.
    pub(super) const BASE: Self = Self {
        key: "",
        env: "",
        flag: true,
        default: Default::Text("none"),
        shape: "",
        help: "",
        secret: Secret::No,
        scope: Scope::Server,
        set: |_, _| Ok(()),
    };

    /// Whether the file may contain the setting.
    pub fn in_file(&self) -> bool {
        self.scope != Scope::File
    }

    /// The section of the file that contains the setting, and the key there. The top level is the section "".
    pub fn place(&self) -> (&'static str, &'static str) {
        self.key.rsplit_once('.').unwrap_or(("", self.key))
    }

    /// Whether a name means this setting. Sections may be written with dots or run together: `l1.bytes` is `l1-bytes`.
    pub(super) fn is_named(&self, name: &str) -> bool {
        let joined = |c: char| if c == '.' { '-' } else { c };
        self.key.chars().map(joined).eq(name.chars().map(joined))
    }
}
