//! `httpGet` and `httpPost`: a status from 200 to 399 is success, and redirects are not followed. The answer is read up
//! to a limit, for a message. Paths, headers and bodies often hold tokens, so no message shows them.

use std::time::Duration;

use lagan_schemas::resource::hooks::{HttpGetAction, HttpHeader, HttpPostAction, Port, Scheme};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Response};
use url::{Host, Url};

use super::hidden::Hidden;
use super::template::{TemplateData, render};
use super::{CONNECT, HookError, REQUEST, Site, quoted};
use crate::outbound::{Checked, Trust, client_of_one_host};

/// Largest part of an answer that is read.
const READ_BYTES: usize = 64 * 1024;
/// Longest wait for the text of an answer, whose status has already decided.
const READ: Duration = Duration::from_secs(2);

struct Request<'a> {
    method: Method,
    scheme: Scheme,
    host: Option<&'a str>,
    port: &'a Port,
    path: Option<&'a str>,
    headers: &'a [HttpHeader],
    body: Option<Body>,
}

struct Body {
    text: String,
    /// Used unless the headers of the hook name a content type.
    content_type: Option<&'static str>,
}

pub(super) async fn get(site: &Site<'_>, get: &HttpGetAction, hidden: &Hidden) -> Result<String, HookError> {
    let request = Request {
        method: Method::GET,
        scheme: get.scheme,
        host: get.host.as_deref(),
        port: &get.port,
        path: get.path.as_deref(),
        headers: &get.http_headers,
        body: None,
    };
    send(site, request, hidden).await
}

pub(super) async fn post(
    site: &Site<'_>,
    post: &HttpPostAction,
    data: &TemplateData,
    hidden: &Hidden,
) -> Result<String, HookError> {
    let body = match &post.body {
        Some(body) => Body { text: render(body, data)?, content_type: None },
        None => Body { text: form(post), content_type: Some("application/x-www-form-urlencoded") },
    };
    let request = Request {
        method: Method::POST,
        scheme: post.scheme,
        host: post.host.as_deref(),
        port: &post.port,
        path: post.path.as_deref(),
        headers: &post.http_headers,
        body: Some(body),
    };
    send(site, request, hidden).await
}

fn form(post: &HttpPostAction) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    for entry in &post.form {
        for value in &entry.values {
            form.append_pair(&entry.key, value);
        }
    }
    form.finish()
}

async fn send(site: &Site<'_>, request: Request<'_>, hidden: &Hidden) -> Result<String, HookError> {
    let port = site.port(request.port).await?;
    let checked = site.reach(request.host, port).await?;
    let place = format!("{}://{}:{port}", scheme(request.scheme), checked.host);
    let url = url(&place, request.path, &checked.host)?;
    let client = client(site, &checked)?;
    let mut headers = headers(request.headers)?;
    let mut building = client.request(request.method, url);
    if let Some(body) = request.body {
        if let Some(content_type) = body.content_type.filter(|_| !headers.contains_key(CONTENT_TYPE)) {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        building = building.body(body.text);
    }
    let answer = building.headers(headers).timeout(REQUEST).send().await;
    // Errors of the client quote the whole address.
    let answer = answer.map_err(|error| HookError::NoAnswer(place.clone(), error.without_url()))?;
    let status = answer.status().as_u16();
    let text = read(answer).await;
    match status {
        200..=399 => Ok(format!("{place} answered {status}")),
        _ => Err(HookError::Answer { place, status, said: quoted(&text, hidden) }),
    }
}

const fn scheme(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    }
}

fn url(place: &str, path: Option<&str>, host: &Host) -> Result<Url, HookError> {
    // Concatenated, not joined: a path that begins with two slashes would name another host.
    let path = path.unwrap_or_default();
    let slash = if path.starts_with('/') { "" } else { "/" };
    let url = Url::parse(&format!("{place}{slash}{path}")).map_err(|_| HookError::BadUrl(place.to_owned()))?;
    // The checked addresses are those of this host.
    let same = url.host().is_some_and(|found| found.to_owned() == *host);
    same.then_some(url).ok_or_else(|| HookError::BadUrl(place.to_owned()))
}

/// Builds a client for one request, which connects only to the checked addresses.
fn client(site: &Site<'_>, checked: &Checked) -> Result<Client, HookError> {
    let trust = Trust::System { more_pem: site.ca_pem.map(str::as_bytes) };
    client_of_one_host(checked, trust, CONNECT).map_err(HookError::Client)
}

fn headers(given: &[HttpHeader]) -> Result<HeaderMap, HookError> {
    let mut headers = HeaderMap::new();
    for (index, header) in given.iter().enumerate() {
        // Error messages must not quote the name, because people write whole headers into it.
        let bad = || HookError::BadHeader(index + 1);
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| bad())?;
        headers.append(name, HeaderValue::from_str(&header.value).map_err(|_| bad())?);
    }
    Ok(headers)
}

/// Drops the last word of a text that was cut: half a token would not be recognised and hidden.
fn without_last_word(mut text: String) -> String {
    text.truncate(text.rfind(char::is_whitespace).unwrap_or(0));
    text
}

/// Reads the beginning of an answer, up to the limits of size and time.
async fn read(mut answer: Response) -> String {
    let mut text = Vec::new();
    let reading = async {
        while let Ok(Some(chunk)) = answer.chunk().await {
            text.extend_from_slice(&chunk[..chunk.len().min(READ_BYTES - text.len())]);
            if text.len() >= READ_BYTES {
                break;
            }
        }
    };
    // On a timeout, the part that has arrived is shown.
    let is_whole = tokio::time::timeout(READ, reading).await.is_ok() && text.len() < READ_BYTES;
    let text = String::from_utf8_lossy(&text).into_owned();
    if is_whole { text } else { without_last_word(text) }
}
