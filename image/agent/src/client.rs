//! The appliance, from the agent's side: JSON over HTTPS to one server, trusted by one CA, everything bounded.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use appliance_api::agent::{BODY_BYTES_MAX, POLL_SECONDS_MAX, Problem, host::PART};
use appliance_model::{Digest, Session};
use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;
use ureq::{
    Agent,
    tls::{Certificate, RootCerts, TlsConfig, TlsProvider},
};

/// Above the appliance's longest poll, with time for a slow machine's handshake.
const CALL_SECONDS_MAX: u64 = POLL_SECONDS_MAX + 50;

/// How long a connection may take to come about.
const CONNECT_SECONDS_MAX: u64 = 10;

/// How long a call in passing may take.
const MENTION_SECONDS_MAX: u64 = 3;

/// How long some megabytes of a part may take: one in a minute is still a network.
const PART_SECONDS_MAX: u64 = 300;

/// The largest words of a refusal that are read.
const PROBLEM_BYTES_MAX: u64 = 64 << 10;

/// The largest file of certificates taken.
const CA_BYTES_MAX: usize = 64 << 10;

/// Why a client could not be made.
#[derive(Debug, Error)]
pub enum SetupError {
    /// No certificate in the CA file.
    #[error("the CA file holds no certificate that can be read: the image must be built again for this site")]
    Ca,
}

/// Why a call came to nothing.
#[derive(Debug, Error)]
pub enum CallError {
    /// No answer, or none that could be trusted or read.
    #[error("{url}: {why}")]
    Unreachable {
        /// What was called.
        url: String,
        /// What came back.
        why: String,
    },
    /// 401: the session is not known (any more).
    #[error("the appliance does not know this session")]
    Session,
    /// The appliance understood and declined.
    #[error("the appliance declined with {status}: {why}")]
    Declined {
        /// HTTP status.
        status: u16,
        /// Its words.
        why: String,
    },
}

/// A connection to one appliance.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    base: String,
    session: Mutex<Option<Session>>,
    date: Mutex<Option<String>>,
}

impl Client {
    /// For the appliance at `base` (`https://10.77.0.1:8443`), trusting only what `ca` (PEM) has signed.
    pub fn new(base: &str, ca: &[u8]) -> Result<Self, SetupError> {
        let ca = ca.get(..CA_BYTES_MAX.min(ca.len())).unwrap_or_default();
        let certificates: Vec<Certificate<'static>> = ureq::tls::parse_pem(ca)
            .filter_map(Result::ok)
            .filter_map(
                |item| if let ureq::tls::PemItem::Certificate(found) = item { Some(found) } else { None },
            )
            .collect();
        if certificates.is_empty() {
            return Err(SetupError::Ca);
        }
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(RootCerts::new_with_certs(&certificates))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let agent = Agent::config_builder()
            .https_only(true)
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .tls_config(tls)
            .timeout_connect(Some(Duration::from_secs(CONNECT_SECONDS_MAX)))
            .build()
            .new_agent();
        Ok(Self {
            agent,
            base: base.trim_end_matches('/').to_owned(),
            session: Mutex::default(),
            date: Mutex::default(),
        })
    }

    /// The appliance's address.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// From now on every call carries this.
    pub fn use_session(&self, session: Option<Session>) {
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = session;
    }

    /// The `Date` of the last answer.
    pub fn date(&self) -> Option<String> {
        self.date.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Calls and reads the answer.
    pub fn ask<A: DeserializeOwned>(&self, call: &str, question: &impl Serialize) -> Result<A, CallError> {
        let body = self.post(call, question, CALL_SECONDS_MAX)?;
        serde_json::from_slice(&body)
            .map_err(|error| self.unreachable(call, format!("an answer that makes no sense: {error}")))
    }

    /// Calls; the answer's content does not matter.
    pub fn tell(&self, call: &str, news: &impl Serialize) -> Result<(), CallError> {
        self.post(call, news, CALL_SECONDS_MAX).map(drop)
    }

    /// Calls in passing: what cannot be said at once is not worth waiting for.
    pub fn mention(&self, call: &str, news: &impl Serialize) -> Result<(), CallError> {
        self.post(call, news, MENTION_SECONDS_MAX).map(drop)
    }

    /// Bytes `from..until` of a part of a release.
    pub fn part(&self, sha256: Digest, from: u64, until: u64) -> Result<Vec<u8>, CallError> {
        let call = format!("{PART}/{sha256}");
        let request = self.agent.get(format!("{}/agent/v1/{call}", self.base));
        let mut request =
            request.config().timeout_global(Some(Duration::from_secs(PART_SECONDS_MAX))).build();
        request = request.header("range", format!("bytes={from}-{}", until.saturating_sub(1)));
        let session = *self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = session {
            request = request.header("authorization", format!("Bearer {}", session.reveal()));
        }
        let mut response = request.call().map_err(|error| self.unreachable(&call, error.to_string()))?;
        let wanted = until.saturating_sub(from);
        // One more than may come: the reader calls a body too large that is as large as its limit.
        let limit = wanted.max(PROBLEM_BYTES_MAX).saturating_add(1);
        let content = response.body_mut().with_config().limit(limit).read_to_vec();
        let content = content.map_err(|error| self.unreachable(&call, error.to_string()))?;
        match response.status().as_u16() {
            206 if u64::try_from(content.len()) == Ok(wanted) => Ok(content),
            401 => Err(CallError::Session),
            status @ 400..=499 => Err(CallError::Declined { status, why: problem(&content) }),
            status => Err(self.unreachable(&call, format!("HTTP {status} with {} bytes", content.len()))),
        }
    }

    fn post(&self, call: &str, body: &impl Serialize, seconds_max: u64) -> Result<Vec<u8>, CallError> {
        let body = serde_json::to_vec(body).map_err(|error| self.unreachable(call, error.to_string()))?;
        let request = self.agent.post(format!("{}/agent/v1/{call}", self.base));
        let mut request = request.config().timeout_global(Some(Duration::from_secs(seconds_max))).build();
        request = request.header("content-type", "application/json");
        let session = *self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = session {
            request = request.header("authorization", format!("Bearer {}", session.reveal()));
        }
        let mut response =
            request.send(&body[..]).map_err(|error| self.unreachable(call, error.to_string()))?;
        let date = response.headers().get("date").and_then(|date| date.to_str().ok()).map(str::to_owned);
        *self.date.lock().unwrap_or_else(PoisonError::into_inner) = date;
        let limit = u64::try_from(BODY_BYTES_MAX).unwrap_or(u64::MAX);
        let answer = response.body_mut().with_config().limit(limit).read_to_vec();
        let answer = answer.map_err(|error| self.unreachable(call, error.to_string()))?;
        match response.status().as_u16() {
            200..=299 => Ok(answer),
            401 => Err(CallError::Session),
            status @ 400..=499 => Err(CallError::Declined { status, why: problem(&answer) }),
            status => Err(self.unreachable(call, format!("HTTP {status}: {}", problem(&answer)))),
        }
    }

    fn unreachable(&self, call: &str, why: String) -> CallError {
        CallError::Unreachable { url: format!("{}/agent/v1/{call}", self.base), why }
    }
}

/// The words of an error's body, at most a few lines of them, fit for a console.
fn problem(body: &[u8]) -> String {
    let text = serde_json::from_slice::<Problem>(body).map(|problem| problem.error);
    let text = text.unwrap_or_else(|_| String::from_utf8_lossy(body).into_owned());
    text.chars().filter(|c| !c.is_control()).take(500).collect()
}
