//! W3C trace context in message headers. NATS headers are case-sensitive, so the names are always in lower case.

use async_nats::HeaderMap;
use opentelemetry::Context;
use opentelemetry::global;
use opentelemetry::propagation::{Extractor, Injector};
use tracing_opentelemetry::OpenTelemetrySpanExt;

struct Writer<'a>(&'a mut HeaderMap);

impl Injector for Writer<'_> {
    fn set(&mut self, key: &str, value: String) {
        self.0.insert(key.to_ascii_lowercase().as_str(), value.as_str());
    }
}

struct Reader<'a>(&'a HeaderMap);

impl Extractor for Reader<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key.to_ascii_lowercase().as_str()).map(async_nats::HeaderValue::as_str)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_ref()).collect()
    }
}

/// Adds the current span's context, if it has one and a propagator is installed.
pub fn inject(headers: &mut HeaderMap) {
    let context = tracing::Span::current().context();
    global::get_text_map_propagator(|propagator| propagator.inject_context(&context, &mut Writer(headers)));
}

/// Reads the context in which a message was published.
#[must_use]
pub fn extract(headers: &HeaderMap) -> Context {
    global::get_text_map_propagator(|propagator| propagator.extract(&Reader(headers)))
}

/// Makes `span` a child of the context in which a message was published.
pub fn continue_in(span: &tracing::Span, headers: &HeaderMap) {
    if let Err(error) = span.set_parent(extract(headers)) {
        tracing::debug!(%error, "the span's trace can't be continued");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_names_are_lower_case_both_ways() {
        let mut headers = HeaderMap::new();
        Writer(&mut headers).set("Traceparent", "00-1-2-01".to_owned());
        assert!(headers.get("traceparent").is_some() && headers.get("Traceparent").is_none());
        assert_eq!(Reader(&headers).get("TraceParent"), Some("00-1-2-01"));
    }
}
