//! Sets up logs to stderr, and traces. Trace context always travels with messages; spans are exported only if an OTLP
//! endpoint is set. It must not log anything itself.

use std::io::IsTerminal as _;

use opentelemetry::global;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

use crate::args::{Global, LogFormat};
use crate::error::{Exit, Problem};

/// Environment variable with a log filter, in the syntax of `tracing-subscriber`.
const FILTER: &str = "LAGAN_LOG";
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];

/// The role of a process, which decides the default level and format of its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A command that talks to a running Lagan and ends.
    Client,
    /// `lagan up`, whose log a person reads in a terminal or a file.
    Up,
    /// `lagan engine` and `lagan worker`, whose logs a program collects.
    Service,
}

/// A guard: spans are exported until it is dropped.
pub struct Telemetry {
    provider: SdkTracerProvider,
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        // The collector may be gone, and a process that ends has no place left to report it.
        let _ = self.provider.shutdown();
    }
}

/// Crates that log credentials at debug level. Whatever the filter says, only their warnings are logged, and a client
/// without `-v` logs nothing of theirs: the command reports their errors itself.
const LOGS_CREDENTIALS: [&str; 8] = [
    "kube_client",
    "kube_runtime",
    "reqsign_core",
    "reqsign_aws_core",
    "reqsign_aws_v4",
    "opendal",
    "opendal_core",
    "opendal_service_s3",
];

/// Starts logs and traces, once and before the runtime: the HTTP client of the exporter is a blocking one.
pub fn start(role: Role, global: &Global) -> Result<Telemetry, Problem> {
    global::set_text_map_propagator(TraceContextPropagator::new());
    let provider = provider(role)?;
    let tracing = tracing_opentelemetry::layer().with_tracer(provider.tracer("lagan"));
    let filter = match std::env::var(FILTER) {
        Ok(text) if !text.is_empty() => EnvFilter::try_new(&text).map_err(|error| {
            Problem::from_error(Exit::Usage, &error).help(format!("correct {FILTER}, for example `debug`"))
        })?,
        _ => EnvFilter::new(default_filter(role, global)),
    };
    let loudest = if role == Role::Client && global.verbose == 0 { "off" } else { "warn" };
    let filter = LOGS_CREDENTIALS.iter().fold(filter, |filter, target| {
        filter.add_directive(format!("{target}={loudest}").parse().expect("a crate's name is a directive"))
    });
    let colours = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    let text = fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    let logs = match format(role, global.log_format) {
        LogFormat::Json => text.json().flatten_event(true).with_current_span(true).boxed(),
        LogFormat::Text | LogFormat::Auto => text.with_target(global.verbose > 0).boxed(),
    };
    // The filter is for the log only: spans carry the trace context at any log level.
    let spans = EnvFilter::new("info,lagan=info,opendal=warn,rustic_core=warn");
    tracing_subscriber::registry()
        .with(tracing.with_filter(spans))
        .with(logs.with_filter(filter))
        .try_init()
        .map_err(|error| Problem::from_error(Exit::Failed, &error))?;
    Ok(Telemetry { provider })
}

fn provider(role: Role) -> Result<SdkTracerProvider, Problem> {
    let service = match role {
        Role::Client => "lagan-cli",
        Role::Up => "lagan-up",
        Role::Service => "lagan",
    };
    let resource = Resource::builder().with_service_name(service).build();
    let builder = SdkTracerProvider::builder().with_resource(resource);
    let wanted = ENDPOINTS.iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    if !wanted {
        return Ok(builder.build());
    }
    let exporter = SpanExporter::builder().with_http().build().map_err(|error| {
        Problem::from_error(Exit::Failed, &error).help("correct OTEL_EXPORTER_OTLP_ENDPOINT, or unset it")
    })?;
    Ok(builder.with_batch_exporter(exporter).build())
}

fn default_filter(role: Role, global: &Global) -> &'static str {
    match (role, global.quiet, global.verbose) {
        (_, _, 2..) => "debug,lagan=trace,h2=info,hyper=info,hyper_util=info,rustls=info",
        (_, _, 1) => {
            "info,lagan=debug,lagan_schemas=debug,lagan_bus=debug,lagan_sources=debug,lagan_engine=debug,lagan_workers=debug"
        }
        (_, true, _) => "error",
        (Role::Client, ..) => "error",
        (Role::Up | Role::Service, ..) => {
            "info,async_nats=warn,tokio_cron_scheduler=warn,rustic_core=warn,opendal=warn,reqwest=warn,opentelemetry=warn"
        }
    }
}

fn format(role: Role, asked: LogFormat) -> LogFormat {
    match (asked, role) {
        (LogFormat::Auto, Role::Service) if !std::io::stderr().is_terminal() => LogFormat::Json,
        (LogFormat::Auto, _) => LogFormat::Text,
        (format, _) => format,
    }
}
