//! Requests to one controller: bounded, pinned, with one session, a few at a time.

use std::{sync::Arc, time::Duration};

use reqwest::{Method, Response, StatusCode, Url, header, redirect};
use serde_json::{Value, json};
use tokio::sync::{Mutex, Semaphore};

use crate::{
    credentials::Password,
    error::BmcError,
    field,
    link::local,
    pin::{Pin, Pinning},
};

/// Where a controller is and how to log in.
#[derive(Debug, Clone)]
pub struct Contact {
    /// `https://10.78.0.11`.
    pub url: String,
    /// User.
    pub user: String,
    /// Password.
    pub password: Password,
    /// Its key, if we have met; `None` takes it at first contact.
    pub pin: Option<Pin>,
}

/// One controller.  Cheap to clone.
#[derive(Debug, Clone)]
pub struct Bmc {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    http: reqwest::Client,
    pub(crate) base: Url,
    user: String,
    password: Password,
    pinning: Arc<Pinning>,
    permits: Semaphore,
    login: Mutex<Login>,
}

/// How we are logged in.
enum Login {
    Not,
    Session {
        token: String,
        location: Option<String>,
    },
    /// It has no sessions.
    Basic,
    /// It refused the password: not tried again, since controllers lock accounts after a few attempts.
    Refused,
}

impl std::fmt::Debug for Login {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Not => "Not",
            Self::Session { .. } => "Session(..)",
            Self::Basic => "Basic",
            Self::Refused => "Refused",
        })
    }
}

/// What a request is sent with.
#[derive(Clone, PartialEq, Eq)]
enum Key {
    None,
    Token(String),
    Basic,
}

/// An answer: status, entity tag, body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) etag: Option<String>,
    pub(crate) body: Value,
}

/// The largest answer read: the largest real resource (a BIOS attribute registry) has 2.5 MB.
const BODY_BYTES_MAX: usize = 4 << 20;
/// Requests at once to one controller: they are small computers, some serve one at a time.
const CONCURRENT_MAX: usize = 3;
/// One request: the slowest real answer recorded took 18 s.
const REQUEST_SECONDS_MAX: u64 = 45;
/// A controller that is reachable connects within a second.
const CONNECT_SECONDS_MAX: u64 = 10;
/// Reads are tried this often when the controller is busy or drops the connection.
const READ_ATTEMPTS_MAX: u32 = 3;
/// Between two attempts.
const PAUSE_SECONDS: u64 = 1;
/// The service root (DSP0266, 6.2: with the slash).
pub(crate) const ROOT: &str = "/redfish/v1/";

impl Bmc {
    /// Prepares to speak to a controller; nothing is sent yet.
    ///
    /// # Errors
    /// When the address is not an https address.
    pub fn new(contact: Contact) -> Result<Self, BmcError> {
        let wrong = || BmcError::Address { url: contact.url.chars().take(200).collect() };
        let mut base = Url::parse(&contact.url).map_err(|_| wrong())?;
        let plain = base.username().is_empty() && base.password().is_none() && base.query().is_none();
        if base.scheme() != "https" || base.host().is_none() || !plain {
            return Err(wrong());
        }
        base.set_path("/");
        base.set_fragment(None);
        let tls = |source| BmcError::Tls { url: base.to_string(), source };
        let pinning = Pinning::new(contact.pin);
        let config = pinning.client().map_err(|error| tls(error.into()))?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(config)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .http1_only()
            .connect_timeout(Duration::from_secs(CONNECT_SECONDS_MAX))
            .timeout(Duration::from_secs(REQUEST_SECONDS_MAX))
            .pool_max_idle_per_host(CONCURRENT_MAX)
            .build()
            .map_err(|error| tls(error.into()))?;
        let inner = Inner {
            http,
            base,
            user: contact.user,
            password: contact.password,
            pinning,
            permits: Semaphore::new(CONCURRENT_MAX),
            login: Mutex::new(Login::Not),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The controller's key, once it has answered; to be kept and given to the next [`Contact`].
    #[must_use]
    pub fn pin(&self) -> Option<Pin> {
        self.inner.pinning.pin()
    }

    /// Ends the session.  Controllers have few; one not ended blocks a place for half an hour.
    pub async fn log_out(&self) {
        let was = std::mem::replace(&mut *self.inner.login.lock().await, Login::Not);
        if let Login::Session { token, location: Some(path) } = was {
            let ended = self.inner.send("DELETE", &path, None, None, &Key::Token(token)).await;
            if let Err(error) = ended {
                tracing::debug!(bmc = %self.inner.base, error = %error, "session not ended; it will expire");
            }
        }
    }
}

impl Inner {
    /// A resource.  Tried again when the controller is busy.
    pub(crate) async fn get(&self, path: &str) -> Result<Answer, BmcError> {
        let mut attempt = 1;
        loop {
            let result = self.request("GET", path, None, None).await;
            let busy = match &result {
                Ok(_) => false,
                Err(BmcError::NoAnswer { .. } | BmcError::NotJson { .. }) => {
                    self.pinning.mismatch().is_none()
                }
                Err(BmcError::Refused { status, .. }) => matches!(status, 429 | 502 | 503 | 504),
                Err(_) => false,
            };
            if !busy || attempt >= READ_ATTEMPTS_MAX {
                return result;
            }
            attempt += 1;
            tokio::time::sleep(Duration::from_secs(PAUSE_SECONDS)).await;
        }
    }

    /// Logs in if that has not happened, so that a wrong password is told as such and not as missing resources.
    pub(crate) async fn enter(&self) -> Result<(), BmcError> {
        self.key(None).await.map(|_| ())
    }

    /// A change.  Never repeated by itself: the controller may have done it before it failed.
    pub(crate) async fn change(
        &self,
        method: &'static str,
        path: &str,
        body: &Value,
        if_match: Option<&str>,
    ) -> Result<Answer, BmcError> {
        self.request(method, path, Some(body), if_match).await
    }

    /// Sends with the session; when it was revoked, logs in once more and sends once more.
    async fn request(
        &self,
        method: &'static str,
        path: &str,
        body: Option<&Value>,
        if_match: Option<&str>,
    ) -> Result<Answer, BmcError> {
        let key = if path == ROOT { Key::None } else { self.key(None).await? };
        let first = self.send(method, path, body, if_match, &key).await?;
        let answer = if first.status == 401 && key != Key::None {
            let renewed = self.key(Some(&key)).await?;
            self.send(method, path, body, if_match, &renewed).await?
        } else {
            first
        };
        if (200..300).contains(&answer.status) {
            return Ok(answer);
        }
        let url = self.url(path);
        if answer.status == 401 {
            return Err(BmcError::Login { url, user: self.user.clone() });
        }
        Err(BmcError::Refused { method, url, status: answer.status, said: said(&answer.body) })
    }

    /// The key to send with.  `stale` is one that was just refused: it is replaced, unless another request has done
    /// so meanwhile.
    async fn key(&self, stale: Option<&Key>) -> Result<Key, BmcError> {
        let refused = || BmcError::Login { url: self.base.to_string(), user: self.user.clone() };
        let mut login = self.login.lock().await;
        let present = match &*login {
            Login::Refused => return Err(refused()),
            Login::Not => None,
            Login::Session { token, .. } => Some(Key::Token(token.clone())),
            Login::Basic => Some(Key::Basic),
        };
        if let Some(present) = present.filter(|present| Some(present) != stale) {
            return Ok(present);
        }
        if stale == Some(&Key::Basic) {
            *login = Login::Refused;
            return Err(refused());
        }
        *login = self.log_in().await?;
        match &*login {
            Login::Session { token, .. } => Ok(Key::Token(token.clone())),
            Login::Refused => Err(refused()),
            Login::Not | Login::Basic => Ok(Key::Basic),
        }
    }

    async fn log_in(&self) -> Result<Login, BmcError> {
        let path = self.sessions().await;
        let body = json!({ "UserName": self.user, "Password": self.password.reveal() });
        let response = self.transmit("POST", &path, Some(&body), None, &Key::None).await?;
        let status = response.status();
        let header = |name: &str| response.headers().get(name)?.to_str().ok().map(str::to_owned);
        let token = header("x-auth-token");
        let location = header("location").and_then(|link| local(&self.base, &link));
        let answer = self.read("POST", &path, response).await;
        if status.is_success()
            && let Some(token) = token
        {
            let named =
                answer.ok().and_then(|answer| local(&self.base, answer.body.get("@odata.id")?.as_str()?));
            return Ok(Login::Session { token, location: location.or(named) });
        }
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST => Ok(Login::Refused),
            // No session service, or one that gives no token: the standard's other way.
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
                Ok(Login::Basic)
            }
            other if other.is_success() => Ok(Login::Basic),
            other => Err(BmcError::Refused {
                method: "POST",
                url: self.url(&path),
                status: other.as_u16(),
                said: answer.map(|answer| said(&answer.body)).unwrap_or_default(),
            }),
        }
    }

    /// Where sessions are made: as the root says, else where the standard says.
    async fn sessions(&self) -> String {
        let standard = "/redfish/v1/SessionService/Sessions".to_owned();
        let Ok(root) = self.send("GET", ROOT, None, None, &Key::None).await else { return standard };
        let told = field::link(&root.body, &["Links", "Sessions"]);
        told.and_then(|link| local(&self.base, link)).unwrap_or(standard)
    }

    async fn send(
        &self,
        method: &'static str,
        path: &str,
        body: Option<&Value>,
        if_match: Option<&str>,
        key: &Key,
    ) -> Result<Answer, BmcError> {
        let _permit = self.permits.acquire().await;
        let response = self.transmit(method, path, body, if_match, key).await?;
        self.read(method, path, response).await
    }

    async fn transmit(
        &self,
        method: &'static str,
        path: &str,
        body: Option<&Value>,
        if_match: Option<&str>,
        key: &Key,
    ) -> Result<Response, BmcError> {
        let verb = Method::from_bytes(method.as_bytes()).unwrap_or(Method::GET);
        let url = self.url(path);
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
        if let Some(body) = body {
            request = request.json(body);
        }
        if let Some(etag) = if_match {
            request = request.header(header::IF_MATCH, etag);
        }
        request.send().await.map_err(|source| match self.pinning.mismatch() {
            Some((expected, got)) => BmcError::PinChanged { url: self.base.to_string(), expected, got },
            None => BmcError::NoAnswer { method, url, source: source.without_url() },
        })
    }

    async fn read(
        &self,
        method: &'static str,
        path: &str,
        mut response: Response,
    ) -> Result<Answer, BmcError> {
        let url = self.url(path);
        let status = response.status();
        let etag = response.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        let mut bytes = Vec::new();
        loop {
            let chunk = response.chunk().await.map_err(|source| BmcError::NoAnswer {
                method,
                url: url.clone(),
                source: source.without_url(),
            })?;
            let Some(chunk) = chunk else { break };
            if bytes.len().saturating_add(chunk.len()) > BODY_BYTES_MAX {
                return Err(BmcError::TooLong { method, url, max: BODY_BYTES_MAX });
            }
            bytes.extend_from_slice(&chunk);
        }
        let body = if bytes.iter().all(u8::is_ascii_whitespace) {
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
        Ok(Answer { status: status.as_u16(), etag, body })
    }

    /// The whole URL of a path that [`local`] made or that is written here.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{}", self.base.as_str().trim_end_matches('/'), path)
    }
}

/// The controller's own words about an error (DSP0266, 8.6), shortened.
fn said(body: &Value) -> String {
    let extended = field::at(body, &["error", "@Message.ExtendedInfo"]);
    let first = extended.and_then(|info| info.get(0)).and_then(|info| field::text(info, &["Message"]));
    let text = first.or_else(|| field::text(body, &["error", "message"]));
    text.unwrap_or_else(|| "no explanation".into())
}
