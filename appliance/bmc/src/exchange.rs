//! One request and its answer: bounded, with the tags and encodings that controllers bear.
//!
//! No `Accept-Encoding` is sent: some controllers answer 406 to `identity`, others change the entity tag of what they
//! compress.  `Connection: close` is sent once a controller has dropped a connection that was kept.

use std::{sync::atomic::Ordering, time::Duration};

use reqwest::{Method, Response, header};
use serde_json::Value;

use crate::{client::Inner, error::BmcError, field, session::Key};

/// What to send.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) method: &'static str,
    pub(crate) path: &'a str,
    pub(crate) body: Option<&'a Value>,
    pub(crate) if_match: Option<&'a str>,
    pub(crate) if_none_match: Option<&'a str>,
}

impl<'a> Call<'a> {
    pub(crate) fn new(method: &'static str, path: &'a str) -> Self {
        Self { method, path, body: None, if_match: None, if_none_match: None }
    }
}

/// An answer: status, what its headers tell, body.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) etag: Option<String>,
    /// Where it points: the monitor of a task, a new resource, a redirect.  Not yet known to be on this host.
    pub(crate) location: Option<String>,
    /// How long it asks us to wait.
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: Value,
    /// The body as it came.
    pub(crate) raw: Vec<u8>,
}

/// Longest `Retry-After` that is obeyed.
const RETRY_AFTER_SECONDS_MAX: u64 = 30;
/// Longest header value that is taken over.
const HEADER_BYTES_MAX: usize = 2048;

impl Inner {
    pub(crate) async fn send(&self, call: &Call<'_>, key: &Key) -> Result<Answer, BmcError> {
        let _permit = self.permits.acquire().await;
        let response = self.transmit(call, key).await?;
        self.read(call.method, call.path, response).await
    }

    pub(crate) async fn transmit(&self, call: &Call<'_>, key: &Key) -> Result<Response, BmcError> {
        let verb = Method::from_bytes(call.method.as_bytes()).unwrap_or(Method::GET);
        let url = self.url(call.path);
        let mut request = self
            .http
            .request(verb, &url)
            .header(header::ACCEPT, "application/json")
            .header("OData-Version", "4.0");
        request = match key {
            Key::None => request,
            Key::Token(token) => request.header("X-Auth-Token", token),
            Key::Basic => request.basic_auth(&self.user, Some(self.password.reveal())),
        };
        if self.closes.load(Ordering::Relaxed) {
            request = request.header(header::CONNECTION, "close");
        }
        if let Some(body) = call.body {
            request = request.json(body);
        }
        if let Some(etag) = call.if_match {
            request = request.header(header::IF_MATCH, etag);
        }
        if let Some(etag) = call.if_none_match {
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        request.send().await.map_err(|source| match self.pinning.mismatch() {
            Some((expected, got)) => BmcError::PinChanged { url: self.base.to_string(), expected, got },
            None => {
                if !source.is_connect() && !source.is_timeout() {
                    self.closes.store(true, Ordering::Relaxed);
                }
                BmcError::NoAnswer { method: call.method, url, source: source.without_url() }
            }
        })
    }

    pub(crate) async fn read(
        &self,
        method: &'static str,
        path: &str,
        mut response: Response,
    ) -> Result<Answer, BmcError> {
        let url = self.url(path);
        let max = self.options.body_bytes_max;
        let status = response.status();
        let header = |name: header::HeaderName| {
            let value = response.headers().get(name)?.to_str().ok()?;
            (value.len() <= HEADER_BYTES_MAX).then(|| value.to_owned())
        };
        let seconds = |text: String| text.trim().parse::<u64>().ok();
        let mut answer = Answer {
            status: status.as_u16(),
            etag: header(header::ETAG),
            location: header(header::LOCATION),
            retry_after: header(header::RETRY_AFTER)
                .and_then(seconds)
                .map(|seconds| Duration::from_secs(seconds.min(RETRY_AFTER_SECONDS_MAX))),
            ..Answer::default()
        };
        let announced =
            response.content_length().is_some_and(|length| usize::try_from(length).is_ok_and(|l| l > max));
        let mut bytes = Vec::new();
        loop {
            if announced {
                return Err(BmcError::TooLong { method, url, max });
            }
            let chunk = response.chunk().await.map_err(|source| BmcError::NoAnswer {
                method,
                url: url.clone(),
                source: source.without_url(),
            })?;
            let Some(chunk) = chunk else { break };
            if bytes.len().saturating_add(chunk.len()) > max {
                return Err(BmcError::TooLong { method, url, max });
            }
            bytes.extend_from_slice(&chunk);
        }
        answer.body = if bytes.iter().all(u8::is_ascii_whitespace) {
            Value::Null
        } else {
            match serde_json::from_slice(&bytes) {
                Ok(body) => body,
                // What an error page or the answer to a change says does not matter; what a resource says does.
                Err(source) if status.is_success() && method == "GET" => {
                    return Err(BmcError::NotJson { method, url, source });
                }
                Err(_) => Value::Null,
            }
        };
        answer.raw = bytes;
        Ok(answer)
    }

    /// The whole URL of a path that [`crate::link::local`] made or that is written here.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{}", self.base.as_str().trim_end_matches('/'), path)
    }
}

/// Messages of one refusal taken over: settings are refused one by one.
const SAID_MAX: usize = 8;

/// The controller's own words about an error (DSP0266, 8.6), shortened: messages with their ids.
pub(crate) fn said(body: &Value) -> String {
    let extended = field::at(body, &["error", "@Message.ExtendedInfo"]);
    let extended = extended.or_else(|| field::at(body, &["@Message.ExtendedInfo"]));
    let listed = extended.and_then(Value::as_array).into_iter().flatten().take(SAID_MAX);
    let mut texts: Vec<String> = listed.filter_map(message).collect();
    texts.dedup();
    if texts.is_empty() {
        return field::text(body, &["error", "message"]).unwrap_or_else(|| "no explanation".into());
    }
    texts.join("; ")
}

fn message(info: &Value) -> Option<String> {
    match (field::text(info, &["MessageId"]), field::text(info, &["Message"])) {
        (Some(id), Some(message)) => Some(format!("{message} ({id})")),
        (Some(text), None) | (None, Some(text)) => Some(text),
        (None, None) => None,
    }
}
