//! Log lines as JSON objects.

use std::fmt;

use serde_json::{Map, Value};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer,
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::Writer,
        time::{FormatTime as _, SystemTime},
    },
    layer::Context,
    registry::LookupSpan,
};

/// One object a line: time, level, target and message, the fields of the event, and those of the call in which it happened, such as
/// `request_id`, `method` and `trace_id`. Collectors look for these at the top, and not inside a list of spans.
pub(super) struct Lines;

/// Keeps the fields of spans for [`Lines`].
pub(super) struct SpanFields;

/// The fields of a span.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for SpanFields {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let metadata = event.metadata();
        let mut line = Fields::default();
        line.text("timestamp", &time);
        line.text("level", metadata.level().as_str());
        event.record(&mut line);
        line.text("target", metadata.target());
        for span in context.event_scope().into_iter().flatten() {
            if let Some(Fields(fields)) = span.extensions().get() {
                for (name, value) in fields {
                    // What is nearer to the event counts.
                    if !line.0.contains_key(name) {
                        line.0.insert(name.clone(), value.clone());
                    }
                }
            }
        }
        writeln!(writer, "{}", Value::Object(line.0))
    }
}

impl Fields {
    fn text(&mut self, name: &str, text: &str) {
        self.0.insert(name.to_owned(), text.into());
    }

    fn value(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.value(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.value(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.value(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.value(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.value(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.value(field, value);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_has_the_fields_of_its_call_at_the_top() {
        let written = Written::default();
        let writer = written.clone();
        let lines = tracing_subscriber::fmt::layer().event_format(Lines).with_writer(move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(SpanFields).with(lines), || {
            let call = tracing::info_span!("call", request_id = "r-1", trace_id = tracing::field::Empty, rows = 1);
            call.record("trace_id", "0af7");
            call.in_scope(|| tracing::warn!(rows = 7, ok = true, "a \"quoted\"\nmessage"));
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.matches('\n').count(), 1, "one line: {text}");
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["message"], "a \"quoted\"\nmessage");
        assert_eq!((&line["level"], &line["request_id"]), (&"WARN".into(), &"r-1".into()));
        assert_eq!((&line["trace_id"], &line["rows"], &line["ok"]), (&"0af7".into(), &7.into(), &true.into()));
    }
}
