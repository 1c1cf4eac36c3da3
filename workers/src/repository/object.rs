//! The S3 client: timeouts inside retries, one request per file. It must not read credentials from the environment,
//! profile files or instance metadata.

use std::time::Duration;

use opendal::layers::{RetryEvent, RetryInterceptor, RetryLayer, TimeoutLayer};
use opendal::{HttpTransporter, OperationContext, Operator, services};
use opendal_http_transport_reqwest::ReqwestTransport;
use secrecy::ExposeSecret;

use super::storage::{S3, Tls};
use super::store_error::{Redactor, StoreError, StoreErrorKind};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
const CONTROL_TIMEOUT: Duration = Duration::from_mins(1);
/// Enough for a pack of 32 MiB at half a megabyte a second, and half a minute to spare.
const IO_TIMEOUT: Duration = Duration::from_secs(100);
const RETRIES: usize = 6;
const DEFAULT_REGION: &str = "us-east-1";

pub(super) fn operator(s3: &S3, redactor: &Redactor) -> Result<Operator, StoreError> {
    let mut builder = services::S3::default()
        .endpoint(&s3.endpoint()?)
        .bucket(&s3.bucket)
        .root(&format!("/{}", s3.root()))
        .region(s3.region.as_deref().filter(|region| !region.is_empty()).unwrap_or(DEFAULT_REGION))
        .disable_config_load()
        .disable_ec2_metadata();
    builder = match (&s3.access_key_id, &s3.secret_access_key) {
        (Some(id), Some(secret)) => builder.access_key_id(id.expose_secret()).secret_access_key(secret.expose_secret()),
        _ => builder.skip_signature(),
    };
    let operator = Operator::new(builder).map_err(|error| redactor.store_error("use", &s3.bucket, &error))?;
    let transport = HttpTransporter::new(ReqwestTransport::new(client(s3)?));
    Ok(operator
        .with_context(OperationContext::new().with_http_transport(transport))
        .layer(TimeoutLayer::new().with_timeout(CONTROL_TIMEOUT).with_io_timeout(IO_TIMEOUT))
        .layer(
            RetryLayer::new()
                .with_min_delay(Duration::from_millis(200))
                .with_max_delay(Duration::from_secs(10))
                .with_factor(2.0)
                .with_max_times(RETRIES)
                .with_jitter()
                .with_notify(LogRetries),
        ))
}

/// Builds a client for one storage. Clients are not shared: their trusted certificates differ, and pooled connections
/// die with the runtime that opened them.
fn client(s3: &S3) -> Result<reqwest::Client, StoreError> {
    let wrong = |error: reqwest::Error| {
        StoreError::new(StoreErrorKind::Misconfigured, "use", "CA_CERT_DATA", error.to_string())
    };
    let mut builder = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT);
    if let Some(pem) = &s3.ca_pem {
        builder = builder.tls_certs_merge(reqwest::Certificate::from_pem_bundle(pem).map_err(wrong)?);
    }
    if s3.tls == Tls::Unverified {
        builder = builder.tls_danger_accept_invalid_certs(true);
    }
    builder.build().map_err(wrong)
}

/// Logs retries without the text of the error, which may quote a request.
struct LogRetries;

impl RetryInterceptor for LogRetries {
    fn intercept(&self, event: RetryEvent<'_>) {
        tracing::warn!(
            operation = event.op.into_static(),
            attempt = event.attempt,
            kind = event.err.kind().into_static(),
            "storage request is retried"
        );
    }
}
