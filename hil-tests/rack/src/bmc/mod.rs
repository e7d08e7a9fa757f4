//! The management controller of one virtual server: a Redfish service on HTTPS with its own self-signed certificate.
//!
//! It knows one account, shows the inventory of the same description that QEMU's command line is made from, and drives
//! the server through [`power::Server`].  It stays up when the server loses power.  Bodies, connections, sessions and
//! handshakes are bounded: it is attacked by fuzzers as any BMC would be.  Tests bend it by rules and lies
//! ([`faults`]); it shares no code with our client (`appliance/bmc`).

mod answer;
mod faults;
mod power;
mod sessions;
#[cfg(test)]
mod tests;
mod tree;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderName, Method, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

use crate::error::RackError;
use answer::Answer;
pub use faults::{BmcAction, BmcFault};
pub(crate) use power::{Outcome, ResetType, Server};
use sessions::{Door, Refused};

/// Longest request body; the longest that a client has reason to send is below 1 KiB.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Most connections at once.
const CONNECTIONS_MAX: usize = 64;

/// How long a client may take for its handshake or its headers.
const PATIENCE_SECONDS: u64 = 20;

/// The account's name; passwords differ per BMC.
const USER: &str = "admin";

/// A running BMC; it ends with this value.
#[derive(Debug)]
pub(crate) struct Bmc {
    address: SocketAddr,
    desk: Arc<Desk>,
    certificate_pem: String,
    task: AbortHandle,
}

/// What every request sees.
#[derive(Debug)]
struct Desk {
    door: Door,
    faults: faults::Faults,
    server: Arc<dyn Server>,
}

impl Bmc {
    /// Starts serving on `bind`; port 0 takes a free one.
    pub(crate) async fn start(bind: SocketAddr, server: Arc<dyn Server>) -> Result<Self, RackError> {
        let (certificate_pem, acceptor) = identity(bind.ip(), &server.spec().serial)?;
        let listener = TcpListener::bind(bind)
            .await
            .map_err(RackError::io("listen for the BMC on", bind.to_string()))?;
        let address =
            listener.local_addr().map_err(RackError::io("listen for the BMC on", bind.to_string()))?;
        let door = Door::new(USER.to_owned(), sessions::random_hex()?);
        let desk = Arc::new(Desk { door, faults: faults::Faults::default(), server });
        let task = tokio::spawn(accept(listener, acceptor, Arc::clone(&desk))).abort_handle();
        Ok(Self { address, desk, certificate_pem, task })
    }

    /// `https://ADDRESS` with the port only when it is not 443.
    pub(crate) fn url(&self) -> String {
        match self.address.port() {
            443 => format!("https://{}", self.address.ip()),
            port => format!("https://{}:{port}", self.address.ip()),
        }
    }

    pub(crate) fn user(&self) -> &str {
        self.desk.door.user()
    }

    pub(crate) fn password(&self) -> &str {
        self.desk.door.password()
    }

    pub(crate) fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    pub(crate) fn fault(&self, rule: BmcFault) {
        self.desk.faults.add(rule);
    }

    pub(crate) fn lie(&self, path: &str, patch: Value) {
        self.desk.faults.lie(path, patch);
    }

    pub(crate) fn be_honest(&self) {
        self.desk.faults.clear();
    }
}

impl Drop for Bmc {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn identity(address: IpAddr, serial: &str) -> Result<(String, TlsAcceptor), RackError> {
    let fault = |reason: String| RackError::Certificate { address: address.to_string(), reason };
    let key = rcgen::KeyPair::generate().map_err(|error| fault(error.to_string()))?;
    let mut parameters =
        rcgen::CertificateParams::new(vec![address.to_string()]).map_err(|error| fault(error.to_string()))?;
    parameters.distinguished_name.push(rcgen::DnType::CommonName, format!("BMC of {serial}"));
    let certificate = parameters.self_signed(&key).map_err(|error| fault(error.to_string()))?;
    let private = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], private.into())
        })
        .map_err(|error| fault(error.to_string()))?;
    Ok((certificate.pem(), TlsAcceptor::from(Arc::new(config))))
}

/// Accepts until aborted; connections live in a set that dies with this task.
async fn accept(listener: TcpListener, acceptor: TlsAcceptor, desk: Arc<Desk>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) if !desk.faults.refuses_connection() => {
                let (acceptor, desk) = (acceptor.clone(), Arc::clone(&desk));
                connections.spawn(async move {
                    converse(stream, &acceptor, desk).await;
                    drop(place);
                });
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(error = %error, "BMC accept failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, acceptor: &TlsAcceptor, desk: Arc<Desk>) {
    let patience = Duration::from_secs(PATIENCE_SECONDS);
    let Ok(Ok(stream)) = tokio::time::timeout(patience, acceptor.accept(stream)).await else { return };
    let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        let desk = Arc::clone(&desk);
        async move { desk.answer(request.map(Body::new)).await }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(error = %error, "BMC connection ended");
    }
}

/// The connection is to be closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("a fault rule drops this request")]
struct Dropped;

impl Desk {
    async fn answer(&self, request: Request<Body>) -> Result<Response<Body>, Dropped> {
        let path = request.uri().path().trim_end_matches('/').to_owned();
        let action = self.faults.for_request(&path);
        match action {
            Some(BmcAction::DropRequest | BmcAction::RefuseConnection) => return Err(Dropped),
            Some(BmcAction::Status(code)) => {
                let status = StatusCode::from_u16(code).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
                let answer =
                    Answer::error(status, "ServiceTemporarilyUnavailable", "The service is unavailable.");
                return Ok(answer.with(header::RETRY_AFTER, "1").into_response());
            }
            Some(BmcAction::Delay(time)) => tokio::time::sleep(time).await,
            Some(BmcAction::TruncateBody) | None => {}
        }
        let answer = self.route(&path, request).await;
        if action == Some(BmcAction::TruncateBody) {
            return Ok(truncated(answer));
        }
        Ok(answer.into_response())
    }

    async fn route(&self, path: &str, request: Request<Body>) -> Answer {
        let (parts, body) = request.into_parts();
        let method = parts.method;
        let log_in = method == Method::POST && path == tree::SESSIONS;
        let public = log_in || path == "/redfish" || path == "/redfish/v1";
        if !public && !self.door.admits(&parts.headers) {
            return Answer::error(
                StatusCode::UNAUTHORIZED,
                "NoValidSession",
                "There is no valid session established with the implementation.",
            )
            .with(header::WWW_AUTHENTICATE, "Basic realm=\"Redfish\"");
        }
        match (method.as_str(), path) {
            ("GET" | "HEAD", _) => self.read(path),
            ("POST", tree::SESSIONS) => respond(body, |body| self.log_in(body)).await,
            ("POST", tree::RESET) => match json(body).await.and_then(|body| ResetType::parse(&body)) {
                Ok(reset) => self.reset(reset).await,
                Err(answer) => answer,
            },
            ("PATCH", tree::SYSTEM) => respond(body, |body| self.set_boot(body)).await,
            ("DELETE", _) if path.starts_with(tree::SESSIONS) => self.log_out(path),
            (_, tree::RESET) => Answer::not_allowed("POST"),
            (_, tree::SESSIONS) => Answer::not_allowed("GET, HEAD, POST"),
            (_, tree::SYSTEM) => Answer::not_allowed("GET, HEAD, PATCH"),
            _ if self.resource(path).is_some() => Answer::not_allowed("GET, HEAD"),
            _ => Answer::missing(path),
        }
    }

    fn read(&self, path: &str) -> Answer {
        if path == tree::RESET {
            return Answer::not_allowed("POST");
        }
        self.resource(path).map_or_else(|| Answer::missing(path), Answer::ok)
    }

    fn resource(&self, path: &str) -> Option<Value> {
        let moment = tree::Moment {
            on: self.server.is_on(),
            boot: self.server.boot().read(),
            sessions: self.door.ids(),
            user: self.door.user().to_owned(),
        };
        let mut value = tree::resources(self.server.spec(), &moment).remove(path)?;
        self.faults.distort(path, &mut value);
        Some(value)
    }

    fn log_in(&self, body: &Value) -> Result<Answer, Answer> {
        let field = |name: &str| {
            let missing = || Answer::bad("PropertyMissing", format!("The property {name} is required."));
            body.get(name).and_then(Value::as_str).ok_or_else(missing)
        };
        match self.door.log_in(field("UserName")?, field("Password")?) {
            Ok((id, token)) => {
                let path = format!("{}/{id}", tree::SESSIONS);
                let mut answer = Answer::ok(self.resource(&path).unwrap_or_default());
                answer.status = StatusCode::CREATED;
                Ok(answer.with(HeaderName::from_static("x-auth-token"), token).with(header::LOCATION, path))
            }
            Err(Refused::WrongPassword) => Err(Answer::error(
                StatusCode::UNAUTHORIZED,
                "ResourceAtUriUnauthorized",
                "The user name or the password is wrong.",
            )),
            Err(Refused::TooManySessions) => Err(Answer::error(
                StatusCode::SERVICE_UNAVAILABLE,
                "SessionLimitExceeded",
                "The session limit is reached; close sessions or wait for them to expire.",
            )),
        }
    }

    fn log_out(&self, path: &str) -> Answer {
        let id = path.strip_prefix(tree::SESSIONS).and_then(|rest| rest.strip_prefix('/'));
        match id.and_then(|id| id.parse().ok()) {
            Some(id) if self.door.log_out(id) => Answer::done(),
            Some(_) | None => Answer::missing(path),
        }
    }

    fn set_boot(&self, body: &Value) -> Result<Answer, Answer> {
        let setting = power::patch(self.server.boot().read(), body)?;
        self.server.boot().write(setting);
        Ok(Answer::done())
    }

    async fn reset(&self, reset: ResetType) -> Answer {
        if reset.needs_power() && !self.server.is_on() {
            let text = format!("{reset:?} cannot be done while the system is off.");
            return Answer::error(StatusCode::CONFLICT, "OperationFailed", text);
        }
        // Its own task: a client that hangs up must not leave the server half started.
        let command = Arc::clone(&self.server).command(reset);
        match tokio::spawn(command).await {
            Ok(Ok(())) => Answer::done(),
            Ok(Err(error)) => {
                tracing::warn!(error = %error, ?reset, "BMC command failed");
                Answer::error(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", error.to_string())
            }
            Err(error) => {
                Answer::error(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", error.to_string())
            }
        }
    }
}

/// Reads the body as JSON, then answers.
async fn respond(body: Body, answer: impl FnOnce(&Value) -> Result<Answer, Answer>) -> Answer {
    match json(body).await {
        Ok(body) => answer(&body).unwrap_or_else(|refusal| refusal),
        Err(refusal) => refusal,
    }
}

async fn json(body: Body) -> Result<Value, Answer> {
    let bytes = to_bytes(body, BODY_BYTES_MAX).await.map_err(|_| {
        let text = format!("The body is longer than {BODY_BYTES_MAX} bytes or ended early.");
        Answer::error(StatusCode::PAYLOAD_TOO_LARGE, "PayloadTooLarge", text)
    })?;
    serde_json::from_slice(&bytes).map_err(|error| Answer::bad("MalformedJSON", error.to_string()))
}

/// A whole HTTP answer whose JSON stops in the middle.
fn truncated(answer: Answer) -> Response<Body> {
    let text = answer.body.as_ref().map(ToString::to_string).unwrap_or_default();
    let half = text.as_bytes().get(..text.len() / 2).unwrap_or_default().to_vec();
    let mut response = answer.into_response();
    *response.body_mut() = Body::from(half);
    response
}
