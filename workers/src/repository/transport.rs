//! The HTTP transport of object stores. It recognises the failures that no retry can mend (a refused address, a server
//! without TLS, an unknown certificate, a redirect) and bounds every answer that is not a file.

use std::error::Error as StdError;
use std::io;

use futures::StreamExt as _;
use http::{Method, Request, Response, StatusCode, header};
use opendal::{Buffer, Error, ErrorKind, HttpBody, HttpTransport, Result};
use opendal_http_transport_reqwest::ReqwestTransport;

use super::store_error::{ExpiredCredentials, WordlessRefusal};
use crate::outbound::AddressError;

/// Largest answer that is not the content of a file, such as a page of a listing.
const ANSWER_BYTES: u64 = 16 << 20;

/// Answers that mean that the server does not accept such a request at all.
const REFUSALS: [StatusCode; 3] =
    [StatusCode::BAD_REQUEST, StatusCode::METHOD_NOT_ALLOWED, StatusCode::NOT_IMPLEMENTED];

/// Error codes of S3 for temporary credentials that are over.
const EXPIRED: [&str; 3] = ["ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"];

pub(super) struct Transport(ReqwestTransport);

impl Transport {
    pub(super) fn new(client: reqwest::Client) -> Self {
        Self(ReqwestTransport::new(client))
    }
}

impl HttpTransport for Transport {
    async fn fetch(&self, request: Request<Buffer>) -> Result<Response<HttpBody>> {
        let is_listing = request.uri().query().is_some_and(|query| query.contains("list-type="));
        let may_be_file = *request.method() == Method::GET && !is_listing;
        let answer = self.0.fetch(request).await.map_err(permanent)?;
        let status = answer.status();
        if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
            return Err(redirect(&answer));
        }
        if may_be_file && status.is_success() {
            return Ok(answer);
        }
        let answer = answer.map(|body| body.map_inner(|stream| Box::new(bounded(stream))));
        if REFUSALS.contains(&status) { refused(answer).await } else { Ok(answer) }
    }
}

/// Turns an answer that refuses the request as such into a permanent error with the text of the server.
async fn refused(answer: Response<HttpBody>) -> Result<Response<HttpBody>> {
    let (parts, mut body) = answer.into_parts();
    let body = body.to_buffer().await?;
    let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    if text.contains("<Code>RequestTimeout</Code>") {
        let size = body.len() as u64;
        return Ok(Response::from_parts(parts, HttpBody::new(futures::stream::iter([Ok(body)]), Some(size))));
    }
    if EXPIRED.iter().any(|code| text.contains(&format!("<Code>{code}</Code>"))) {
        return Err(Error::new(ErrorKind::PermissionDenied, "").set_source(ExpiredCredentials));
    }
    let status = parts.status.as_u16();
    if text.is_empty() {
        return Err(Error::new(ErrorKind::ConfigInvalid, format!("it answers {status}")).set_source(WordlessRefusal));
    }
    Err(Error::new(ErrorKind::ConfigInvalid, format!("it answers {status}: {text}")))
}

type Body = Box<dyn futures::Stream<Item = Result<Buffer>> + Send + Sync + Unpin + 'static>;

fn bounded(stream: Body) -> impl futures::Stream<Item = Result<Buffer>> + Send + Sync + Unpin + 'static {
    let mut left = ANSWER_BYTES;
    stream.map(move |part| {
        let part = part?;
        match left.checked_sub(part.len() as u64) {
            Some(rest) => {
                left = rest;
                Ok(part)
            }
            None => {
                Err(Error::new(ErrorKind::ConfigInvalid, format!("its answer is longer than {ANSWER_BYTES} bytes")))
            }
        }
    })
}

fn redirect(answer: &Response<HttpBody>) -> Error {
    let to = answer.headers().get(header::LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("another address");
    let status = answer.status().as_u16();
    let text = format!(
        "it answers {status} and redirects to {to}, and redirects are not followed: correct the endpoint and the region"
    );
    Error::new(ErrorKind::ConfigInvalid, text)
}

/// Replaces an error that no retry can mend by a permanent one that names the remedy.
fn permanent(error: Error) -> Error {
    match cause(&error) {
        Some(text) => Error::new(ErrorKind::ConfigInvalid, text),
        None => error,
    }
}

fn cause(error: &(dyn StdError + 'static)) -> Option<String> {
    // The source of an `io::Error` skips the error inside it.
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    remedy(error).or_else(|| inner.and_then(|inner| cause(inner))).or_else(|| error.source().and_then(cause))
}

fn remedy(error: &(dyn StdError + 'static)) -> Option<String> {
    if let Some(address) = error.downcast_ref::<AddressError>().filter(|error| error.is_refusal()) {
        return Some(address.to_string());
    }
    match error.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidMessage(_) => Some(
            "it does not speak TLS on this port: begin the endpoint with `http://` if it is meant to be without TLS"
                .to_owned(),
        ),
        rustls::Error::InvalidCertificate(why) => Some(format!(
            "its certificate is not accepted ({why}): put the PEM of its authority into CA_CERT_DATA of the storage \
             Secret, or set insecureTLS"
        )),
        _ => None,
    }
}
