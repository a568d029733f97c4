//! Redaction of log events: the last stop before text, JSON or journal.
//!
//! In: an event. Out: the same event, with secrets replaced in its message and its fields.

use std::fmt::Debug;

use tracing::field::{Field, Value, Visit, display};
use tracing::{Event, Metadata, Subscriber, subscriber::Interest};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::redact::redact;

/// A layer that passes events to another one, without secrets.
pub struct Redacting<L>(pub L);

impl<S: Subscriber, L: Layer<S>> Layer<S> for Redacting<L> {
    fn on_layer(&mut self, subscriber: &mut S) {
        self.0.on_layer(subscriber);
    }

    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        self.0.register_callsite(metadata)
    }

    fn enabled(&self, metadata: &Metadata<'_>, context: Context<'_, S>) -> bool {
        self.0.enabled(metadata, context)
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut found = Fields { is_changed: false, values: vec![None; event.metadata().fields().len()] };
        event.record(&mut found);
        if !found.is_changed {
            return self.0.on_event(event, context);
        }
        let shown: Vec<Option<Box<dyn Value>>> =
            found.values.into_iter().map(|value| value.map(Recorded::value)).collect();
        let values: Vec<Option<&dyn Value>> = shown.iter().map(Option::as_deref).collect();
        let values = event.metadata().fields().value_set_all(&values);
        self.0.on_event(&Event::new(event.metadata(), &values), context);
    }
}

/// A recorded value of a field.
#[derive(Clone)]
enum Recorded {
    Text(String),
    /// The output of `Debug` or `Display`.
    Formatted(String),
    Float(f64),
    Signed(i64),
    Unsigned(u64),
    Flag(bool),
}

impl Recorded {
    fn value(self) -> Box<dyn Value> {
        match self {
            Self::Text(text) => Box::new(text),
            Self::Formatted(text) => Box::new(display(text)),
            Self::Float(number) => Box::new(number),
            Self::Signed(number) => Box::new(number),
            Self::Unsigned(number) => Box::new(number),
            Self::Flag(flag) => Box::new(flag),
        }
    }
}

/// The fields of an event without secrets.
struct Fields {
    is_changed: bool,
    /// By index of the field.
    values: Vec<Option<Recorded>>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Recorded) {
        if let Some(place) = self.values.get_mut(field.index()) {
            *place = Some(value);
        }
    }

    fn redacted(&mut self, text: &str) -> String {
        let safe = redact(text);
        self.is_changed |= safe != text;
        safe
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = self.redacted(&format!("{value:?}"));
        self.put(field, Recorded::Formatted(text));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let text = self.redacted(value);
        self.put(field, Recorded::Text(text));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, Recorded::Float(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Recorded::Signed(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Recorded::Unsigned(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Recorded::Flag(value));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn messages_and_fields_are_logged_without_secrets_in_every_format() {
        let address = "rtsp://admin:log\"s-ecret-5@cam-log/s";
        crate::redact::learn(address);
        let sink = Sink::default();
        let writer = || {
            let sink = sink.clone();
            move || sink.clone()
        };
        let text = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(writer());
        let json = tracing_subscriber::fmt::layer().json().with_writer(writer());
        let log = tracing_subscriber::registry().with(Redacting(text)).with(Redacting(json));
        tracing::subscriber::with_default(log, || {
            tracing::info!(address, count = 3, shown = %address, debug = ?address, share = 0.5, flag = true, "opened {address}");
            tracing::info!(count = 4, "plain");
        });
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        assert!(!text.contains("ecret-5"), "{text}");
        assert_eq!(text.matches("rtsp://***@cam-log/s").count(), 8, "{text}");
        for kept in ["count=3", "\"count\":3", "share=0.5", "flag=true", "\"flag\":true", "plain count=4"] {
            assert!(text.contains(kept), "{kept}: {text}");
        }
    }
}
