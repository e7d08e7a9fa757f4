//! The door of the page for other machines: HTTP Basic over TLS, as every browser and `curl` can, for the one user
//! `admin`.
//!
//! A password costs a tenth of a second to check, so what was right once is remembered by its keyed hash until the
//! appliance restarts; what is wrong waits, one after the other, whoever asks.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use base64::Engine as _;
use ring::hmac;
use tokio::sync::Semaphore;

use super::{AdminError, Hash};
use crate::site;

const USER: &str = "admin";
/// How long a wrong password holds up the next try.
const WRONG: Duration = Duration::from_millis(500);
/// Callers that may wait for their password to be looked at; more are sent away.
const WAITING_MAX: usize = 32;

/// Whoever keeps it.
pub(super) struct Door {
    hash: Hash,
    key: hmac::Key,
    known: Mutex<Option<Vec<u8>>>,
    waiting: Semaphore,
    trying: Semaphore,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Door(..)")
    }
}

impl Door {
    pub(super) fn new(hash: Hash) -> Result<Self, AdminError> {
        let random = site::random().map_err(AdminError::Random)?;
        Ok(Self {
            hash,
            key: hmac::Key::new(hmac::HMAC_SHA256, &random),
            known: Mutex::new(None),
            waiting: Semaphore::new(WAITING_MAX),
            trying: Semaphore::new(1),
        })
    }

    fn knows(&self, tried: &str) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().is_some_and(|known| hmac::verify(&self.key, tried.as_bytes(), known).is_ok())
    }

    /// `None` where too many wait.
    async fn opens(&self, tried: String) -> Option<bool> {
        if self.knows(&tried) {
            return Some(true);
        }
        let _waiting = self.waiting.try_acquire().ok()?;
        let _turn = self.trying.acquire().await.ok()?;
        // Several requests of one page came together; the first was right.
        if self.knows(&tried) {
            return Some(true);
        }
        let (hash, password) = (self.hash.clone(), tried.clone());
        let right = tokio::task::spawn_blocking(move || hash.is(&password)).await.unwrap_or(false);
        if right {
            let tag = hmac::sign(&self.key, tried.as_bytes()).as_ref().to_vec();
            *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(tag);
        } else {
            tokio::time::sleep(WRONG).await;
        }
        Some(right)
    }
}

/// Lets through who shows the admin's password.
pub(super) async fn keep(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    let shown = request.headers().get(header::AUTHORIZATION).and_then(|value| password(value.to_str().ok()?));
    let opened = match shown {
        Some(shown) => door.opens(shown).await,
        None => Some(false),
    };
    match opened {
        Some(true) => next.run(request).await,
        Some(false) => {
            let asked = HeaderValue::from_static("Basic realm=\"Scalerforge\", charset=\"UTF-8\"");
            let why = "this page is for the admin; the password is the one of the first run\n";
            (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, asked)], why).into_response()
        }
        None => {
            (StatusCode::TOO_MANY_REQUESTS, "too many wait for their password; try again\n").into_response()
        }
    }
}

/// The password in `Basic …` of our user.
fn password(header: &str) -> Option<String> {
    let (scheme, text) = header.split_once(' ')?;
    let bytes = base64::engine::general_purpose::STANDARD.decode(text.trim()).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.split_once(':')?;
    (scheme.eq_ignore_ascii_case("basic") && user == USER).then(|| password.to_owned())
}

#[cfg(test)]
mod tests {
    use axum::{Router, middleware, routing::get};

    use super::*;

    #[tokio::test]
    async fn only_the_password_opens() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let door = Arc::new(Door::new(Hash::of("correct horse battery").unwrap()).unwrap());
        let router = Router::new()
            .route("/", get(|| async { "in" }))
            .layer(middleware::from_fn_with_state(Arc::clone(&door), keep));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = format!("http://{}/", listener.local_addr().unwrap());
        let served = tokio::spawn(async move { axum::serve(listener, router).await });
        let ask = |user: &'static str, password: &'static str| {
            let request = reqwest::Client::new().get(&at).basic_auth(user, Some(password));
            async move { request.send().await.unwrap() }
        };
        let bare = reqwest::get(&at).await.unwrap();
        assert_eq!(bare.status(), 401);
        assert!(bare.headers()["www-authenticate"].to_str().unwrap().starts_with("Basic"));
        assert_eq!(ask("admin", "correct horse batterz").await.status(), 401);
        assert_eq!(ask("root", "correct horse battery").await.status(), 401);
        assert_eq!(ask("admin", "correct horse battery").await.status(), 200);
        assert!(door.knows("correct horse battery") && !door.knows("correct horse batterz"));
        assert_eq!(ask("admin", "correct horse battery").await.text().await.unwrap(), "in");
        served.abort();
        for bad in ["Basic", "Basic !!", "Bearer YWRtaW46eA==", "Basic YWRtaW4="] {
            assert_eq!(password(bad), None, "{bad}");
        }
    }
}
