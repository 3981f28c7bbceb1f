//! Logs.

use std::{io::IsTerminal as _, sync::OnceLock};

use tracing_subscriber::{
    Layer as _, Registry, filter::Targets, layer::SubscriberExt as _, reload, util::SubscriberInitExt as _,
};

use super::json::{Lines, SpanFields};
use crate::config::{LogConfig, LogFormat};

/// The filter in force.
static FILTER: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// Sends log events to standard error from here on. Only the first call has an effect.
pub fn init(config: &LogConfig) {
    // A line that cannot be written, as to a file on a full disk, is lost: to report it on standard error would panic.
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).log_internal_errors(false);
    let lines = match config.format {
        LogFormat::Human => lines.with_ansi(colours()).boxed(),
        LogFormat::Json => SpanFields.and_then(lines.event_format(Lines)).boxed(),
    };
    let (filter, handle) = reload::Layer::new(config.filter.clone());
    let subscriber = tracing_subscriber::registry().with(lines.with_filter(filter));
    // A test or an embedding program may have set up its own.
    if subscriber.try_init().is_ok() {
        let _ = FILTER.set(handle);
    }
}

/// Changes which events are logged, from here on.
pub fn set_filter(filter: &Targets) {
    if let Some(handle) = FILTER.get() {
        // Fails only where the subscriber is gone.
        let _ = handle.reload(filter.clone());
    }
}

/// Whether standard error gets escape codes for colours: only a terminal does, and only without <https://no-color.org>.
fn colours() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
