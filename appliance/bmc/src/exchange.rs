//! One request and its answer: bounded, with the tags and encodings that controllers bear.
//!
//! No `Accept-Encoding` is sent: some controllers answer 406 to `identity`, others change the entity tag of what they
//! compress.  `Connection: close` is sent once a controller has dropped a connection that was kept.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::{Response, header};
use serde_json::Value;

use crate::{client::Inner, error::BmcError, field, lost::Lost, session::Key};

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
#[derive(Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) etag: Option<String>,
    /// Where it points: the monitor of a task, a new resource, a redirect.  Not yet known to be on this host.
    pub(crate) location: Option<String>,
    /// How long it asks us to wait.
    pub(crate) retry_after: Option<Duration>,
    /// A new session's.
    pub(crate) token: Option<String>,
    pub(crate) body: Value,
    /// The body as it came.
    pub(crate) raw: Arc<[u8]>,
}

impl std::fmt::Debug for Answer {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

/// Longest `Retry-After` that is obeyed.
const RETRY_AFTER_SECONDS_MAX: u64 = 30;
/// Longest header value that is taken over.
const HEADER_BYTES_MAX: usize = 2048;

impl Inner {
    pub(crate) async fn send(&self, call: &Call<'_>, key: &Key) -> Result<Answer, BmcError> {
        let _permit = self.permits.acquire().await;
        self.exchange(call, key).await
    }

    /// The same without a place among those that are sent at once.
    pub(crate) async fn exchange(&self, call: &Call<'_>, key: &Key) -> Result<Answer, BmcError> {
        let lost = |source: Lost| match self.pinning.mismatch() {
            Some((expected, got)) => BmcError::PinChanged { url: self.base.to_string(), expected, got },
            None => {
                if !source.is_connect() && !source.is_timeout() {
                    self.closes.store(true, Ordering::Relaxed);
                }
                BmcError::NoAnswer { method: call.method, url: self.url(call.path), source }
            }
        };
        let request = self.request_bytes(call, key).map_err(lost)?;
        let reply = self.wire.exchange(&request, call.method, call.method == "GET").await.map_err(lost)?;
        let Some(body) = reply.body else {
            let max = self.options.body_bytes_max;
            return Err(BmcError::TooLong { method: call.method, url: self.url(call.path), max });
        };
        let seconds = |text: String| text.trim().parse::<u64>().ok();
        let answer = Answer {
            status: reply.status,
            etag: reply.etag,
            location: reply.location,
            retry_after: reply.retry_after.and_then(seconds).map(patience),
            token: reply.token,
            ..Answer::default()
        };
        self.with_body(call.method, call.path, answer, body)
    }

    /// The request as it is sent.
    fn request_bytes(&self, call: &Call<'_>, key: &Key) -> Result<Vec<u8>, Lost> {
        if !call.path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Lost::Unsayable("the path"));
        }
        let mut head = format!("{} {} HTTP/1.1\r\n", call.method, call.path);
        let mut put = |name: &'static str, value: &str| {
            if value.contains(char::is_control) {
                return Err(Lost::Unsayable(name));
            }
            for part in [name, ": ", value, "\r\n"] {
                head.push_str(part);
            }
            Ok(())
        };
        put("Host", self.base.authority())?;
        put("Accept", "application/json")?;
        put("OData-Version", "4.0")?;
        match key {
            Key::None => {}
            Key::Token(token) => put("X-Auth-Token", token)?,
            Key::Basic => {
                let words = STANDARD.encode(format!("{}:{}", self.user, self.password.reveal()));
                put("Authorization", &format!("Basic {words}"))?;
            }
        }
        if self.closes.load(Ordering::Relaxed) {
            put("Connection", "close")?;
        }
        if let Some(etag) = call.if_match {
            put("If-Match", etag)?;
        }
        if let Some(etag) = call.if_none_match {
            put("If-None-Match", etag)?;
        }
        let body = call.body.map(Value::to_string);
        if body.is_some() {
            put("Content-Type", "application/json")?;
        }
        if body.is_some() || matches!(call.method, "POST" | "PATCH" | "PUT") {
            put("Content-Length", &body.as_ref().map_or(0, String::len).to_string())?;
        }
        head.push_str("\r\n");
        head.push_str(body.as_deref().unwrap_or_default());
        Ok(head.into_bytes())
    }

    /// The answer to a long request, which went another way.
    pub(crate) async fn read(
        &self,
        method: &'static str,
        path: &str,
        mut response: Response,
    ) -> Result<Answer, BmcError> {
        let max = self.options.body_bytes_max;
        let header = |name: header::HeaderName| {
            let value = response.headers().get(name)?.to_str().ok()?;
            (value.len() <= HEADER_BYTES_MAX).then(|| value.to_owned())
        };
        let seconds = |text: String| text.trim().parse::<u64>().ok();
        let answer = Answer {
            status: response.status().as_u16(),
            etag: header(header::ETAG),
            location: header(header::LOCATION),
            retry_after: header(header::RETRY_AFTER).and_then(seconds).map(patience),
            ..Answer::default()
        };
        let mut bytes = Vec::new();
        loop {
            let lost = |source: reqwest::Error| BmcError::NoAnswer {
                method,
                url: self.url(path),
                source: source.into(),
            };
            let Some(chunk) = response.chunk().await.map_err(lost)? else { break };
            if bytes.len().saturating_add(chunk.len()) > max {
                return Err(BmcError::TooLong { method, url: self.url(path), max });
            }
            bytes.extend_from_slice(&chunk);
        }
        self.with_body(method, path, answer, bytes)
    }

    fn with_body(
        &self,
        method: &'static str,
        path: &str,
        mut answer: Answer,
        bytes: Vec<u8>,
    ) -> Result<Answer, BmcError> {
        if !bytes.iter().all(u8::is_ascii_whitespace) {
            answer.body = match serde_json::from_slice(&bytes) {
                Ok(body) => body,
                // What an error page or the answer to a change says does not matter; what a resource says does.
                Err(source) if (200..300).contains(&answer.status) && method == "GET" => {
                    return Err(BmcError::NotJson { method, url: self.url(path), source });
                }
                Err(_) => Value::Null,
            };
        }
        answer.raw = bytes.into();
        Ok(answer)
    }

    /// The whole URL of a path that [`crate::link::local`] made or that is written here.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{}", self.base.as_str().trim_end_matches('/'), path)
    }
}

fn patience(seconds: u64) -> Duration {
    Duration::from_secs(seconds.min(RETRY_AFTER_SECONDS_MAX))
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
