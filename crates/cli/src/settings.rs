//! The flags that come from the table of settings.

use std::{ffi::OsString, marker::PhantomData};

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use super::{CliError, error::Exit};
use larder_server::config::{self, ConfigError, Dropped, Origin, Purpose, Resolved, SECTIONS, Scope, Setting, Sources};

/// The settings with the address of a server, and that of its `CacheAdmin`.
const ADDRESS: &str = "address";
const ADMIN_ADDRESS: &str = "admin-address";

/// The flags given for the settings that a command reads.
#[derive(Debug, Clone)]
pub(crate) struct SettingArgs<T> {
    given: Vec<(&'static str, String)>,
    takes: PhantomData<T>,
}

/// Which settings a command reads.
pub(crate) trait Takes {
    /// Whether the command reads a setting.
    fn takes(setting: &Setting) -> bool;
    /// The flag without which the settings of a scope have no effect.
    fn needs(_scope: Scope) -> Option<&'static str> {
        None
    }
}

/// All settings, as the server does.
#[derive(Debug, Clone)]
pub(crate) struct All;

impl Takes for All {
    fn takes(_setting: &Setting) -> bool {
        true
    }
}

/// The address of a server.
#[derive(Debug, Clone)]
pub(crate) struct Calls;

impl Takes for Calls {
    fn takes(setting: &Setting) -> bool {
        setting.scope == Scope::File || setting.key == ADDRESS
    }
}

/// The address of the `CacheAdmin` of a replica.
#[derive(Debug, Clone)]
pub(crate) struct CallsAdmin;

impl Takes for CallsAdmin {
    fn takes(setting: &Setting) -> bool {
        setting.scope == Scope::File || setting.key == ADMIN_ADDRESS
    }
}

/// The address of a server, and that of its `CacheAdmin`.
#[derive(Debug, Clone)]
pub(crate) struct CallsEither;

impl Takes for CallsEither {
    fn takes(setting: &Setting) -> bool {
        Calls::takes(setting) || CallsAdmin::takes(setting)
    }
}

/// The address of a server or, with `--direct`, the database.
#[derive(Debug, Clone)]
pub(crate) struct CallsOrOpens;

impl Takes for CallsOrOpens {
    fn takes(setting: &Setting) -> bool {
        Calls::takes(setting) || setting.scope == Scope::Database
    }

    fn needs(scope: Scope) -> Option<&'static str> {
        (scope == Scope::Database).then_some("direct")
    }
}

/// The database.
#[derive(Debug, Clone)]
pub(crate) struct Opens;

impl Takes for Opens {
    fn takes(setting: &Setting) -> bool {
        setting.scope == Scope::File || setting.scope == Scope::Database
    }
}

impl<T> SettingArgs<T> {
    /// The flags given, the environment and the machine. In tests of this crate the environment is empty, so that the
    /// tester's own variables do not reach the commands under test.
    fn sources(&self) -> Sources {
        if cfg!(test) {
            return Sources::with_environment(self.given.clone(), Vec::new());
        }
        Sources::of_process(self.given.clone())
    }

    /// Makes the configuration for a purpose.
    pub(crate) fn resolve(&self, purpose: Purpose) -> Result<Resolved, CliError> {
        config::resolve(&self.sources(), purpose).map_err(|errors| failure(&errors.0))
    }
}

fn failure(errors: &[ConfigError]) -> CliError {
    let mut details: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let failure = |message: String| CliError::new(Exit::Config, message);
    if details.len() == 1 {
        return failure(format!("configuration: {}", details.remove(0)));
    }
    let mut error = failure(format!("{} errors in the configuration", details.len()));
    if let CliError::Failed(failure) = &mut error {
        failure.details = details;
    }
    error
}

/// Finds flags of earlier releases on a command line, and says what replaced each.
pub(crate) fn dropped(arguments: &[OsString]) -> Option<CliError> {
    let names = arguments.iter().filter_map(|argument| argument.to_str()?.strip_prefix("--"));
    let names = names.map(|flag| flag.split_once('=').map_or(flag, |(name, _)| name));
    let error = |dropped: &Dropped| ConfigError {
        name: dropped.key.to_owned(),
        origin: Origin::Flag(dropped.key),
        value: None,
        reason: Dropped::REASON.to_owned(),
        hint: dropped.instead.to_owned(),
    };
    let errors: Vec<_> = names.filter_map(Dropped::by_key).map(error).collect();
    (!errors.is_empty()).then(|| failure(&errors))
}

fn taken<T: Takes>() -> impl Iterator<Item = (&'static str, &'static Setting)> {
    let all = SECTIONS.iter().flat_map(|section| section.settings.iter().map(|setting| (section.title, setting)));
    all.filter(|(_, setting)| setting.flag && T::takes(setting))
}

impl<T: Takes> Args for SettingArgs<T> {
    fn augment_args(mut command: Command) -> Command {
        for (title, setting) in taken::<T>() {
            let help = format!("{} [env: {}] [default: {}]", setting.help, setting.env, setting.default.shown());
            let mut arg = Arg::new(setting.key).long(setting.key).value_name(setting.shape).help(help);
            if matches!(setting.shape, "BOOLEAN" | "CATALOGUE") {
                arg = arg.num_args(0..=1).require_equals(true).default_missing_value("true");
            } else {
                // A wrong value such as -1 is reported as a wrong value, not as an unknown flag.
                arg = arg.allow_hyphen_values(true);
            }
            if let Some(other) = T::needs(setting.scope) {
                arg = arg.requires(other);
            }
            command = command.arg(arg.help_heading(title));
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<T: Takes> FromArgMatches for SettingArgs<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = taken::<T>()
            .filter_map(|(_, setting)| Some((setting.key, matches.get_one::<String>(setting.key)?.clone())))
            .collect();
        Ok(Self { given, takes: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
