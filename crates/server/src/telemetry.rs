//! Logs.

use std::{io::IsTerminal as _, str::FromStr as _};

use tracing_subscriber::{
    Layer as _,
    filter::{LevelFilter, Targets},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::config::{LogConfig, LogFormat};

/// Sends log events to standard error from here on. Only the first call has an effect.
pub fn init(config: &LogConfig) {
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match config.format {
        LogFormat::Human => lines.with_ansi(colours()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).boxed(),
    };
    let subscriber = tracing_subscriber::registry().with(lines.with_filter(config.filter.clone()));
    // A test or an embedding program may have set up its own.
    let _ = subscriber.try_init();
}

/// Reads which events are logged: levels, alone or after the module for which they hold, separated by commas.
pub fn filter(text: &str) -> Result<Targets, String> {
    let mut filter = Targets::new();
    for part in text.split(',').map(str::trim) {
        let (target, level) = match part.split_once('=') {
            Some((target, level)) => (Some(target.trim()), level.trim()),
            None => (None, part),
        };
        let level = LevelFilter::from_str(level)
            .ok()
            .filter(|_| !level.is_empty())
            .ok_or_else(|| format!("{level:?} is not a level"))?;
        filter = match target {
            Some("") => return Err("a level without a module before its =".to_owned()),
            Some(target) => filter.with_target(target, level),
            None => filter.with_default(level),
        };
    }
    Ok(filter)
}

/// Whether escape codes for colours go to standard error: only to a terminal, and not against <https://no-color.org>.
fn colours() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::filter;

    #[test]
    fn filters_are_read() {
        let info = filter("info").unwrap();
        assert!(info.would_enable("larder_server", &Level::INFO));
        assert!(!info.would_enable("larder_server", &Level::DEBUG));
        let mixed = filter("warn, larder_server=debug").unwrap();
        assert!(mixed.would_enable("larder_server::app", &Level::DEBUG));
        assert!(!mixed.would_enable("h2", &Level::INFO));
        assert!(!filter("off").unwrap().would_enable("h2", &Level::ERROR));
        for text in ["", "inof", "larder_server", "a=", "=info", "info,,"] {
            assert!(filter(text).is_err(), "{text}");
        }
    }
}
