//! The S3 client: timeouts inside retries, one request per file, a checksum with each upload. It must not read
//! credentials from the environment, profile files or instance metadata.

use std::sync::Arc;
use std::time::Duration;

use opendal::layers::{RetryEvent, RetryInterceptor, RetryLayer, TimeoutLayer};
use opendal::{HttpTransporter, OperationContext, Operator, services};
use secrecy::ExposeSecret;

use super::storage::{CertificateCheck, S3};
use super::storage_access::{Patience, StorageAccess};
use super::store_error::{Redactor, StoreError, StoreErrorKind};
use super::transport::Transport;
use crate::outbound::{Outbound, Purpose, Trust, client_of_storage};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
const CONTROL_TIMEOUT: Duration = Duration::from_mins(1);
/// Enough for a pack of 32 MiB at half a megabyte a second, and half a minute to spare.
const IO_TIMEOUT: Duration = Duration::from_secs(100);
const RETRIES: usize = 6;
/// Limit of each of the two tries of a look at a storage.
const BRIEF_TIMEOUT: Duration = Duration::from_secs(5);
const DEFAULT_REGION: &str = "us-east-1";
/// The server compares it with the content. Buckets with object lock accept no upload without one.
const CHECKSUM: &str = "crc32c";

pub(super) fn operator(s3: &S3, access: &StorageAccess, redactor: &Redactor) -> Result<Operator, StoreError> {
    s3.check()?;
    let mut builder = services::S3::default()
        .endpoint(&s3.endpoint()?)
        .bucket(&s3.bucket)
        .root(&format!("/{}", s3.root()))
        .region(s3.region.as_deref().filter(|region| !region.is_empty()).unwrap_or(DEFAULT_REGION))
        .checksum_algorithm(CHECKSUM)
        .disable_config_load()
        .disable_ec2_metadata();
    builder = match (&s3.access_key_id, &s3.secret_access_key) {
        (Some(id), Some(secret)) => builder.access_key_id(id.expose_secret()).secret_access_key(secret.expose_secret()),
        _ => builder.skip_signature(),
    };
    if let Some(token) = &s3.session_token {
        builder = builder.session_token(token.expose_secret());
    }
    let operator = Operator::new(builder).map_err(|error| redactor.store_error("use", &s3.bucket, &error))?;
    let transport = HttpTransporter::new(Transport::new(client(s3, &access.outbound)?));
    let (control, io, retries) = match access.patience {
        Patience::Long => (CONTROL_TIMEOUT, IO_TIMEOUT, RETRIES),
        Patience::Brief => (BRIEF_TIMEOUT, BRIEF_TIMEOUT, 1),
    };
    Ok(operator
        .with_context(OperationContext::new().with_http_transport(transport))
        .layer(TimeoutLayer::new().with_timeout(control).with_io_timeout(io))
        .layer(
            RetryLayer::new()
                .with_min_delay(Duration::from_millis(200))
                .with_max_delay(Duration::from_secs(10))
                .with_factor(2.0)
                .with_max_times(retries)
                .with_jitter()
                .with_notify(LogRetries),
        ))
}

fn client(s3: &S3, outbound: &Arc<Outbound>) -> Result<reqwest::Client, StoreError> {
    let misconfigured = |what: &str, why: String| StoreError::new(StoreErrorKind::Misconfigured, "use", what, why);
    let url = s3.url()?;
    let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default());
    outbound
        .check_literal(Purpose::Storage, host, port)
        .map_err(|error| misconfigured("endpoint", error.to_string()))?;
    let trust = match s3.tls {
        CertificateCheck::Unverified => Trust::Anything,
        CertificateCheck::Verified => Trust::System { more_pem: s3.ca_pem.as_deref() },
    };
    client_of_storage(outbound, port, trust, CONNECT_TIMEOUT)
        .map_err(|error| misconfigured("CA_CERT_DATA", error.to_string()))
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
