//! Requests to one controller: bounded, pinned, with one session, a few at a time.

use std::{
    sync::{
        Arc, Mutex as Lock, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use reqwest::{Url, redirect, retry};
use serde_json::Value;
use tokio::sync::{Mutex, Semaphore};

use crate::{
    credentials::Password,
    error::BmcError,
    evidence::{Bodies, Keep},
    exchange::{Answer, Call, said},
    inventory::Known,
    link::local,
    pin::{Pin, Pinning},
    session::{Key, Login},
    wire::{Limits, Wire},
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

/// How patient and how thorough we are with one controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Requests at once: controllers are small computers, some serve one at a time.
    pub requests_at_once: usize,
    /// The largest answer read: the largest real resource (a BIOS attribute registry) has 2.5 MB.
    pub body_bytes_max: usize,
    /// One request: the slowest real answer recorded took 18 s.
    pub request_seconds_max: u64,
    /// A connection and its handshake: a controller that is reachable has both within a second.
    pub connect_seconds_max: u64,
    /// Connections that fail are tried again at once; a sweep comes back later instead.
    pub connect_again: bool,
    /// One walk through the resources; what is left then is a finding.
    pub walk_seconds_max: u64,
    /// Between two attempts, and between the first two looks at a task.
    pub pause: Duration,
    /// How much of what it said is kept.
    pub keep: Keep,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            requests_at_once: 3,
            body_bytes_max: 4 << 20,
            request_seconds_max: 45,
            connect_seconds_max: 10,
            connect_again: true,
            walk_seconds_max: 900,
            pause: Duration::from_secs(1),
            keep: Keep::Bodies { bytes_max: 16 << 20 },
        }
    }
}

/// One controller.  Cheap to clone.
#[derive(Debug, Clone)]
pub struct Bmc {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    /// For images and streams.
    pub(crate) http: reqwest::Client,
    pub(crate) wire: Wire,
    pub(crate) base: Url,
    pub(crate) user: String,
    pub(crate) password: Password,
    pub(crate) options: Options,
    pub(crate) pinning: Arc<Pinning>,
    pub(crate) permits: Semaphore,
    pub(crate) login: Mutex<Login>,
    /// New sessions that did not help.
    pub(crate) vain_logins: AtomicU32,
    /// It drops connections that are kept.
    pub(crate) closes: AtomicBool,
    bodies: Lock<Bodies>,
    /// Which of its systems is the machine, and how to treat it.
    known: Lock<Option<Arc<Known>>>,
}

/// Reads are tried this often when the controller is busy or drops the connection.
const READ_ATTEMPTS_MAX: u32 = 3;
/// Redirects followed, all on the same host (`/redfish/v1` to `/redfish/v1/`).
const REDIRECTS_MAX: u32 = 3;
/// The service root (DSP0266, 6.2: with the slash).
pub(crate) const ROOT: &str = "/redfish/v1/";

impl Bmc {
    /// Prepares to speak to a controller; nothing is sent yet.
    ///
    /// # Errors
    /// When the address is not an https address.
    pub fn new(contact: Contact) -> Result<Self, BmcError> {
        Self::with(contact, Options::default())
    }

    /// The same with other bounds.
    ///
    /// # Errors
    /// When the address is not an https address.
    pub fn with(contact: Contact, options: Options) -> Result<Self, BmcError> {
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
        let limits = Limits {
            connect: Duration::from_secs(options.connect_seconds_max),
            request: Duration::from_secs(options.request_seconds_max),
            body_bytes_max: options.body_bytes_max,
            idle_max: options.requests_at_once,
        };
        let wire = Wire::new(&base, config.clone(), limits);
        let http = http(config, &options).map_err(|error| tls(error.into()))?;
        let inner = Inner {
            http,
            wire,
            base,
            user: contact.user,
            password: contact.password,
            options,
            pinning,
            permits: Semaphore::new(options.requests_at_once.max(1)),
            login: Mutex::new(Login::Not),
            vain_logins: AtomicU32::new(0),
            closes: AtomicBool::new(false),
            bodies: Lock::new(Bodies::new(options.keep)),
            known: Lock::new(None),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The controller's key, once it has answered; to be kept and given to the next [`Contact`].
    #[must_use]
    pub fn pin(&self) -> Option<Pin> {
        self.inner.pinning.pin()
    }

    /// From now on another key of this controller is right, too: one it was given a certificate for
    /// ([`Bmc::request_certificate`]).  Once it has proven to hold it, that key alone is right and is [`Bmc::pin`].
    pub fn expect_key(&self, key: Pin) {
        self.inner.pinning.expect(key);
    }

    /// The last body of a resource as it came, where it was kept: evidence of what the controller said.
    #[must_use]
    pub fn raw_body(&self, path: &str) -> Option<Vec<u8>> {
        self.inner.bodies().raw(path).map(|raw| raw.to_vec())
    }

    /// Ends the session.  Controllers have few; one not ended blocks a place for half an hour.
    pub async fn log_out(&self) {
        self.inner.leave().await;
    }
}

fn http(config: rustls::ClientConfig, options: &Options) -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .redirect(redirect::Policy::none())
        // What is sent again is decided here: a change never is.
        .retry(retry::never())
        .no_proxy()
        .http1_only()
        .connect_timeout(Duration::from_secs(options.connect_seconds_max))
        .timeout(Duration::from_secs(options.request_seconds_max))
        .pool_max_idle_per_host(options.requests_at_once)
        .build()
}

impl Inner {
    /// A whole handshake: kept connections and resumed sessions show no certificate.
    pub(crate) async fn handshake(&self) -> Result<(), BmcError> {
        let tls = |source| BmcError::Tls { url: self.base.to_string(), source };
        let config = self.pinning.client().map_err(|error| tls(error.into()))?;
        let http = http(config, &self.options).map_err(|error| tls(error.into()))?;
        let url = self.url(ROOT);
        match http.get(&url).header(reqwest::header::CONNECTION, "close").send().await {
            Ok(_) => Ok(()),
            Err(source) => Err(match self.pinning.mismatch() {
                Some((expected, got)) => BmcError::PinChanged { url: self.base.to_string(), expected, got },
                None => BmcError::NoAnswer { method: "GET", url, source: source.into() },
            }),
        }
    }

    /// A resource as it is now.  Tried again when the controller is busy.
    pub(crate) async fn get(&self, path: &str) -> Result<Answer, BmcError> {
        self.patient(path, None).await
    }

    /// A resource; the kept body where the controller says that it has not changed.  For facts that stay, not for
    /// what was just changed.
    pub(crate) async fn get_if_changed(&self, path: &str) -> Result<Answer, BmcError> {
        let Some(tag) = self.bodies().tag(path) else { return self.get(path).await };
        let answer = self.patient(path, Some(&tag)).await?;
        if answer.status != 304 {
            return Ok(answer);
        }
        let kept = self.bodies().raw(path);
        let parsed = kept.and_then(|raw| Some((serde_json::from_slice(&raw).ok()?, raw)));
        match parsed {
            Some((body, raw)) => Ok(Answer { status: 200, etag: Some(tag), body, raw, ..Answer::default() }),
            None => self.get(path).await,
        }
    }

    async fn patient(&self, path: &str, tag: Option<&str>) -> Result<Answer, BmcError> {
        let mut attempt = 1;
        loop {
            let result = self.redirected(path, tag).await;
            let busy = match &result {
                Ok(_) => false,
                Err(BmcError::NoAnswer { source, .. }) => {
                    let wanted = self.options.connect_again || !source.is_connect();
                    wanted && self.pinning.mismatch().is_none()
                }
                Err(BmcError::NotJson { .. }) => self.pinning.mismatch().is_none(),
                Err(BmcError::Refused { status, .. }) => matches!(status, 429 | 502 | 503 | 504),
                Err(_) => false,
            };
            if !busy || attempt >= READ_ATTEMPTS_MAX {
                return result;
            }
            attempt += 1;
            tokio::time::sleep(self.options.pause).await;
        }
    }

    /// One GET, and where it is redirected to on the same host.
    async fn redirected(&self, path: &str, tag: Option<&str>) -> Result<Answer, BmcError> {
        let mut place = path.to_owned();
        for _ in 0..=REDIRECTS_MAX {
            let call = Call { if_none_match: tag, ..Call::new("GET", &place) };
            let answer = self.request(&call).await?;
            if !matches!(answer.status, 301 | 302 | 303 | 307 | 308) {
                if answer.status == 200 {
                    self.bodies().put(path, &answer);
                }
                return Ok(answer);
            }
            let to = answer.location.unwrap_or_default();
            place = local(&self.base, &to).ok_or_else(|| BmcError::Elsewhere {
                url: self.url(path),
                status: answer.status,
                to: to.chars().filter(|c| !c.is_control()).take(200).collect(),
            })?;
        }
        Err(BmcError::Elsewhere { url: self.url(path), status: 302, to: place })
    }

    /// A change.  Never repeated by itself: the controller may have done it before it failed.
    pub(crate) async fn change(
        &self,
        method: &'static str,
        path: &str,
        body: &Value,
        if_match: Option<&str>,
    ) -> Result<Answer, BmcError> {
        self.bodies().forget_tags();
        let answer = self.request(&Call { body: Some(body), if_match, ..Call::new(method, path) }).await?;
        if answer.status < 300 {
            return Ok(answer);
        }
        Err(BmcError::Refused {
            method,
            url: self.url(path),
            status: answer.status,
            said: said(&answer.body),
        })
    }

    /// Sends with the session; when it was revoked, logs in once more and sends once more.  A redirect and "not
    /// changed" are answers; other refusals are errors.
    async fn request(&self, call: &Call<'_>) -> Result<Answer, BmcError> {
        let key = if call.path == ROOT { Key::None } else { self.key(None).await? };
        let first = self.send(call, &key).await?;
        let answer = if first.status == 401 && key != Key::None {
            let renewed = self.key(Some(&key)).await?;
            let second = self.send(call, &renewed).await?;
            if second.status == 401 {
                self.vain_logins.fetch_add(1, Ordering::Relaxed);
            } else {
                self.vain_logins.store(0, Ordering::Relaxed);
            }
            second
        } else {
            first
        };
        if (200..400).contains(&answer.status) {
            return Ok(answer);
        }
        let url = self.url(call.path);
        if answer.status == 401 {
            return Err(BmcError::Login { url, user: self.user.clone() });
        }
        Err(BmcError::Refused { method: call.method, url, status: answer.status, said: said(&answer.body) })
    }

    pub(crate) fn bodies(&self) -> MutexGuard<'_, Bodies> {
        self.bodies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn known(&self) -> MutexGuard<'_, Option<Arc<Known>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
