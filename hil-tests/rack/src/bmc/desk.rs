//! What every request meets: faults, authentication, privileges, and then the resource it is for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Method, Request, Response, StatusCode, header};
use serde_json::Value;

use super::answer::{Answer, Content};
use super::faults::{self, BmcAction, Faults};
use super::journal::Journal;
use super::power::Server;
use super::quirks::Quirks;
use super::sessions::{Caller, Door, Role};
use super::store::Store;
use super::writes::Writes;
use super::{accounts, bios, certificates, events, firmware, live, query, tasks, tree, write};

/// Longest request body that is read whole; images are streamed and counted.
pub(crate) const BODY_BYTES_MAX: usize = 64 * 1024;

/// How the whole BMC behaves beside its quirks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Temper {
    /// Every answer takes between these times.
    pub(crate) latency: Option<(Duration, Duration)>,
    /// So many of a thousand requests fail with 503.
    pub(crate) errors_permille: u32,
}

/// What every request sees.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) store: Store,
    pub(crate) door: Door,
    pub(crate) faults: Faults,
    pub(crate) quirks: Quirks,
    pub(crate) temper: Temper,
    pub(crate) server: Arc<dyn Server>,
    pub(crate) journal: Journal,
    pub(crate) events: events::Events,
    pub(crate) tasks: tasks::Tasks,
    pub(crate) pending: bios::Pending,
    pub(crate) stamps: live::Stamps,
    pub(crate) tls: Option<certificates::Shown>,
    pub(crate) written: Writes,
    /// Whether serial and UUID of the tree give way to those of the server.
    pub(crate) own_identity: bool,
    metadata: std::sync::OnceLock<String>,
    requests: AtomicU64,
}

/// The connection is to be closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("a fault rule drops this request")]
pub(crate) struct Dropped;

impl Desk {
    pub(crate) fn new(
        store: Store,
        server: Arc<dyn Server>,
        quirks: Quirks,
        temper: Temper,
        tls: Option<certificates::Shown>,
    ) -> Self {
        Self {
            store,
            door: Door::new(),
            faults: Faults::default(),
            quirks,
            temper,
            server,
            journal: Journal::default(),
            events: events::Events::default(),
            tasks: tasks::Tasks::default(),
            pending: bios::Pending::default(),
            stamps: live::Stamps::default(),
            tls,
            written: Writes::default(),
            own_identity: true,
            metadata: std::sync::OnceLock::new(),
            requests: AtomicU64::new(0),
        }
    }

    pub(crate) async fn answer(self: &Arc<Self>, request: Request<Body>) -> Result<Response<Body>, Dropped> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        if let Some((least, most)) = self.temper.latency {
            // Spread evenly and the same in every run: a step of the golden ratio.
            let span = u64::try_from((most.saturating_sub(least)).as_micros()).unwrap_or(0).max(1);
            let part = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % span;
            tokio::time::sleep(least + Duration::from_micros(part)).await;
        }
        if self.temper.errors_permille > 0
            && number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 1000 < u64::from(self.temper.errors_permille)
        {
            return Ok(unavailable(StatusCode::SERVICE_UNAVAILABLE).into_response());
        }
        let path = clean(request.uri().path());
        let head = request.method() == Method::HEAD;
        let method = request.method().clone();
        let action = self.faults.for_request(method.as_str(), &path);
        match &action {
            Some(BmcAction::DropRequest | BmcAction::RefuseConnection) => return Err(Dropped),
            Some(BmcAction::Status(code)) => {
                let status = StatusCode::from_u16(*code).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
                return Ok(unavailable(status).into_response());
            }
            Some(BmcAction::Redirect(to)) => {
                let answer = Answer::status(StatusCode::FOUND, None).with(header::LOCATION, to);
                return Ok(answer.into_response());
            }
            Some(BmcAction::Lie) if request.method() != Method::GET => {
                return Ok(Answer::done().into_response());
            }
            Some(BmcAction::Delay(time)) => tokio::time::sleep(*time).await,
            Some(_) | None => {}
        }
        let answer = self.route(&path, request).await;
        if !matches!(method, Method::GET | Method::HEAD) {
            self.written.note(&method, &path, answer.status);
        }
        if action == Some(BmcAction::DropAnswer) {
            return Err(Dropped);
        }
        let answer = action.iter().fold(answer, |answer, action| spoil(answer, action, &path));
        let mut response = answer.into_response();
        if head {
            *response.body_mut() = Body::empty();
        }
        Ok(response)
    }

    async fn route(self: &Arc<Self>, path: &str, request: Request<Body>) -> Answer {
        self.catch_up();
        let (parts, body) = request.into_parts();
        let method = parts.method.as_str();
        let read = matches!(method, "GET" | "HEAD");
        let log_in = method == "POST" && self.is_session_collection(path);
        let public = log_in
            || (read && matches!(path, "/redfish" | "/redfish/v1" | tree::METADATA | "/redfish/v1/odata"));
        let caller = if public { None } else { self.door.admits(&parts.headers) };
        if !public && caller.is_none() {
            return unknown();
        }
        if let Some(caller) = &caller {
            if caller.stale && !accounts::allowed_while_stale(self, caller, method, path) {
                return accounts::must_change(caller);
            }
            if !read && !may_write(caller, method, path) {
                return accounts::forbidden();
            }
        }
        if read {
            return self.read(path, parts.uri.query(), &parts.headers);
        }
        if let Some(refusal) = self.preconditions(method, path, &parts.headers) {
            return refusal;
        }
        if method == "POST" && firmware::is_push(self, path) {
            return firmware::push(self, path, &parts.headers, body).await;
        }
        let no_body = to_bytes(body, BODY_BYTES_MAX).await.map_err(|_| {
            let text = format!("The body is longer than {BODY_BYTES_MAX} bytes or ended early.");
            Answer::error(StatusCode::PAYLOAD_TOO_LARGE, "PayloadTooLarge", text)
        });
        match no_body {
            Ok(bytes) => write::dispatch(self, &parts.method, path, &bytes, caller.as_ref())
                .await
                .unwrap_or_else(|refusal| refusal),
            Err(refusal) => refusal,
        }
    }

    fn read(&self, path: &str, query: Option<&str>, headers: &axum::http::HeaderMap) -> Answer {
        if path == tree::METADATA {
            let text = self.metadata.get_or_init(|| self.metadata_text());
            return Answer::xml(text.clone());
        }
        if path == "/redfish/v1/odata" {
            return Answer::ok(live::odata(self));
        }
        if let Some(answer) = tasks::monitor(self, path) {
            return answer;
        }
        if Some(path) == live::stream_path(self).as_deref() {
            let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
            return events::stream(self, last);
        }
        if path.contains("/Actions/") {
            return Answer::not_allowed("POST");
        }
        let query = match query::Query::parse(query) {
            Ok(query) => query,
            Err(refusal) => return refusal,
        };
        let text = match self.plain(path) {
            Some(bytes) if query.is_empty() => bytes,
            Some(_) | None => match self.resource(path) {
                Some(value) => match query.apply(self, path, value) {
                    Ok(value) => Bytes::from(value.to_string()),
                    Err(refusal) => return refusal,
                },
                None => return Answer::missing(path),
            },
        };
        let etag = etag(&text);
        let given = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
        if given.is_some_and(|given| given == etag || given == "*") {
            return Answer::status(StatusCode::NOT_MODIFIED, None).with(header::ETAG, etag);
        }
        Answer::ready(text).with(header::ETAG, etag).with(header::ALLOW, write::allow(self, path))
    }

    /// A captured tree's own document, else one made from the types in use.
    fn metadata_text(&self) -> String {
        tree::metadata(self.store.base())
    }

    /// The bytes of a resource about which nothing is alive.
    fn plain(&self, path: &str) -> Option<Bytes> {
        if self.faults.has_lie(path) {
            return None;
        }
        let entry = self.store.untouched(path)?;
        if live::is_alive(&entry.kind) { None } else { Some(entry.text.clone()) }
    }

    /// A resource as it is at this moment, lies included.
    pub(crate) fn resource(&self, path: &str) -> Option<Value> {
        let mut value = self
            .store
            .value(path)
            .or_else(|| live::session(self, path))
            .or_else(|| live::log_entry(self, path))?;
        live::overlay(self, path, &mut value);
        self.faults.distort(path, &mut value);
        Some(value)
    }

    /// Whose serial and UUID the system shows, if not the tree's own.
    pub(crate) fn identity(&self) -> Option<&crate::HostSpec> {
        self.own_identity.then(|| self.server.spec())
    }

    /// Whether the tree is the one that was made from a description.
    pub(crate) fn is_built_in(&self) -> bool {
        let manager = self.store.base().entry(tree::MANAGER);
        manager.is_some_and(|entry| entry.value.get("Model").and_then(Value::as_str) == Some("Lab BMC"))
    }

    /// Whether this resource was made by a client, not captured.
    pub(crate) fn is_ours(&self, path: &str) -> bool {
        self.store.base().entry(path).is_none()
    }

    pub(crate) fn tell(&self, message: &str, severity: &str, text: &str, origin: &str) {
        events::tell(self, message, severity, text, origin);
    }

    /// Does what became due since the last request: settings are taken over at a start of the server, however that
    /// start came about.
    pub(crate) fn catch_up(&self) {
        if self.stamps.notice(self.server.boot().starts(), self.server.is_on()) {
            bios::apply(self);
            super::secure_boot::apply(self);
        }
    }

    fn is_session_collection(&self, path: &str) -> bool {
        let path = path.strip_suffix("/Members").unwrap_or(path);
        !self.quirks.no_sessions && accounts::sessions_path(self).as_deref() == Some(path)
    }

    fn preconditions(&self, method: &str, path: &str, headers: &axum::http::HeaderMap) -> Option<Answer> {
        let given = headers.get(header::IF_MATCH).and_then(|value| value.to_str().ok());
        let failed = |text: &str| Answer::error(StatusCode::PRECONDITION_FAILED, "PreconditionFailed", text);
        if self.quirks.if_match_star_refused && given == Some("*") {
            return Some(failed("If-Match: * is not accepted."));
        }
        if self.quirks.if_match_star_only && method == "PATCH" {
            return match given {
                Some("*") => None,
                Some(_) => Some(failed("The ETag does not match.")),
                None => Some(Answer::error(
                    StatusCode::PRECONDITION_REQUIRED,
                    "PreconditionRequired",
                    "The request needs If-Match.",
                )),
            };
        }
        let given = given.filter(|given| *given != "*" && method == "PATCH")?;
        let now =
            self.plain(path).or_else(|| self.resource(path).map(|value| Bytes::from(value.to_string())))?;
        let mut tags = given.split(',').map(|tag| tag.trim().trim_start_matches("W/"));
        if tags.any(|tag| tag == etag(&now)) { None } else { Some(failed("The resource has changed since.")) }
    }
}

/// The path without trailing slash, with the escapes that captured trees have names with.
fn clean(path: &str) -> String {
    let path = path.trim_end_matches('/');
    if !path.contains('%') {
        return path.to_owned();
    }
    path.replace("%23", "#").replace("%20", " ").replace("%24", "$").replace("%3A", ":").replace("%2B", "+")
}

/// A strong tag of these bytes (FNV-1a, 64 bits).
pub(crate) fn etag(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("\"{hash:016x}\"")
}

fn unknown() -> Answer {
    Answer::error(
        StatusCode::UNAUTHORIZED,
        "NoValidSession",
        "There is no valid session established with the implementation.",
    )
    .with(header::WWW_AUTHENTICATE, "Basic realm=\"Redfish\"")
}

fn unavailable(status: StatusCode) -> Answer {
    Answer::error(status, "ServiceTemporarilyUnavailable", "The service is unavailable.")
        .with(header::RETRY_AFTER, "1")
}

/// What the privilege registry of the standard says, by area.
fn may_write(caller: &Caller, method: &str, path: &str) -> bool {
    let own = caller.place == path || path.contains("/Sessions/");
    match caller.role {
        Role::Administrator => true,
        Role::Operator => {
            own || !["/AccountService", "/Managers", "/CertificateService", "/SessionService"]
                .iter()
                .any(|area| path.contains(area) && !path.contains("/VirtualMedia"))
        }
        Role::ReadOnly => own && matches!(method, "PATCH" | "DELETE"),
    }
}

/// Does to a right answer what a fault rule says.
fn spoil(answer: Answer, action: &BmcAction, path: &str) -> Answer {
    let Some(text) = answer.text() else { return answer };
    let json = || serde_json::from_slice::<Value>(&text).unwrap_or_default();
    let spoiled = match action {
        BmcAction::TruncateBody => text.slice(..text.len() / 2),
        BmcAction::NotJson => Bytes::from_static(b"<html><body>500 lighttpd</body></html>"),
        BmcAction::HugeBody(more) => {
            let mut bytes = text.to_vec();
            bytes.resize(bytes.len().saturating_add(*more), b' ');
            Bytes::from(bytes)
        }
        BmcAction::WrongTypes => changed(json(), faults::wrong_types),
        BmcAction::NullMembers => changed(json(), faults::null_lists),
        BmcAction::CyclicLinks => changed(json(), |value| faults::turn_links(value, path)),
        BmcAction::RefuseConnection
        | BmcAction::DropRequest
        | BmcAction::DropAnswer
        | BmcAction::Status(_)
        | BmcAction::Delay(_)
        | BmcAction::Redirect(_)
        | BmcAction::Lie => return answer,
    };
    answer.with_body(Content::Ready(spoiled))
}

fn changed(mut value: Value, change: impl FnOnce(&mut Value)) -> Bytes {
    change(&mut value);
    Bytes::from(value.to_string())
}
