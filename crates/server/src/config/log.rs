//! What is logged, and how.

use std::str::FromStr as _;

use tracing_subscriber::filter::{LevelFilter, Targets};

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct LogConfig {
    /// Which events.
    pub filter: Targets,
    /// In which form.
    pub format: LogFormat,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line, for collectors.
    Json,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { filter: Targets::new().with_default(LevelFilter::INFO), format: LogFormat::Json }
    }
}

/// Reads which events are logged: levels, alone or after the module for which they hold, separated by commas.
pub(super) fn filter(text: &str) -> Result<Targets, String> {
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
