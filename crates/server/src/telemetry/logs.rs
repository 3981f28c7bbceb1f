//! Logs.

use std::io::IsTerminal as _;

use tracing_subscriber::{Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

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

/// Whether standard error gets escape codes for colours: only a terminal does, and only without <https://no-color.org>.
fn colours() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
