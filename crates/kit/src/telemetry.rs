//! Tracing to stderr (text or JSON), OTLP export when configured, and trace context over the bus.

use std::{error::Error as StdError, fmt::Write};

use bcs_schemas::envelope::header;
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use schemars::JsonSchema;
use serde::Deserialize;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{
    EnvFilter, Layer, filter::LevelFilter, layer::SubscriberExt, util::SubscriberInitExt,
};

/// What is written where.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// What is logged, as `RUST_LOG` has it: `info`, `bcs_kit=debug,info`.
    pub log: String,
    /// How lines look.
    pub format: LogFormat,
    /// Collector that takes spans over OTLP/gRPC: `http://127.0.0.1:4317`. None are sent when absent.
    pub otlp: Option<String>,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { log: "info".to_owned(), format: LogFormat::Text, otlp: None }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter cannot be read.
    #[error("log filter {0:?} is not understood: expected such as info or bcs_kit=debug,info")]
    Filter(String, #[source] tracing_subscriber::filter::ParseError),
    /// The exporter cannot be built.
    #[error("OTLP exporter for {0} cannot be set up")]
    Exporter(String, #[source] opentelemetry_otlp::ExporterBuildError),
    /// Somebody set a subscriber before us.
    #[error("telemetry is set up already")]
    Twice(#[source] tracing_subscriber::util::TryInitError),
}

/// Sends out what is left when dropped.
#[derive(Debug)]
pub struct Guard(Option<SdkTracerProvider>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.0.take().map(|provider| provider.shutdown()) {
            tracing::debug!(%error, "some spans were not exported");
        }
    }
}

/// Sets up logging for the whole process, as `service`.
pub fn init(config: &TelemetryConfig, service: &'static str) -> Result<Guard, Error> {
    let filter = EnvFilter::builder().parse(&config.log).map_err(|e| Error::Filter(config.log.clone(), e))?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let lines = match config.format {
        LogFormat::Text => lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let provider = config.otlp.as_deref().map(|url| exporter(url, service)).transpose()?;
    // Whatever is logged: what libraries say of every byte would bury what a command is about.
    let spans = provider
        .as_ref()
        .map(|p| tracing_opentelemetry::layer().with_tracer(p.tracer("bcs")).with_filter(LevelFilter::INFO));
    tracing_subscriber::registry()
        .with(spans)
        .with(lines.with_filter(filter))
        .try_init()
        .map_err(Error::Twice)?;
    Ok(Guard(provider))
}

fn exporter(url: &str, service: &'static str) -> Result<SdkTracerProvider, Error> {
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(url)
        .build()
        .map_err(|e| Error::Exporter(url.to_owned(), e))?;
    let resource = Resource::builder().with_service_name(format!("bcs-{service}")).build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

/// The trace context of the current span, as headers; nothing when no trace is being made.
pub fn trace_headers() -> Vec<(&'static str, String)> {
    current_traceparent().map(|value| (header::TRACEPARENT, value)).into_iter().collect()
}

/// The trace context of the current span, as W3C writes it.
pub fn current_traceparent() -> Option<String> {
    let context = Span::current().context();
    let span = context.span();
    let span = span.span_context();
    span.is_valid().then(|| {
        format!("00-{:032x}-{:016x}-{:02x}", span.trace_id(), span.span_id(), span.trace_flags().to_u8())
    })
}

/// Makes `span` a child of the context that came with a message. A context that cannot be read is ignored: a message is
/// never refused for it.
pub fn continue_trace(span: &Span, traceparent: Option<&str>) {
    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
    let Some(text) = traceparent else { return };
    let mut parts = text.split('-');
    let (Some("00"), Some(trace), Some(parent), Some(flags)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return;
    };
    let (Ok(trace), Ok(parent), Ok(flags)) =
        (TraceId::from_hex(trace), SpanId::from_hex(parent), u8::from_str_radix(flags, 16))
    else {
        return;
    };
    let remote = SpanContext::new(trace, parent, TraceFlags::new(flags), true, TraceState::default());
    // Without an exporter there is no layer that could hold the context; that is no error.
    let _ = span.set_parent(opentelemetry::Context::new().with_remote_span_context(remote));
}

/// An error with its causes, for one log line. Displays never repeat their source, so nothing is said twice.
pub fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Writing to a string cannot fail.
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}
