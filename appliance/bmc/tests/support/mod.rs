//! A small HTTPS server with a self-signed certificate that answers what a test says.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "tests: each file uses its part, and stops when it cannot go on"
)]

use std::{
    io::Error,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use appliance_bmc::{Bmc, Contact, Options, Password, Pin};
use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, Request, Response},
};
use hyper_util::rt::TokioIo;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivatePkcs8KeyDer},
};

/// A request as the server saw it.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: serde_json::Value,
    /// How many requests came on this connection, this one included.
    pub(crate) nth: usize,
}

/// What it answers: status, headers, body.  Status 0 drops the connection.
#[derive(Debug, Clone)]
pub(crate) struct Reply(pub(crate) u16, pub(crate) Vec<(&'static str, String)>, pub(crate) Vec<u8>);

impl Reply {
    pub(crate) fn json(status: u16, body: &serde_json::Value) -> Self {
        Self(status, Vec::new(), body.to_string().into_bytes())
    }
}

type Answer = dyn Fn(&Asked) -> Reply + Send + Sync;

/// A running server.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) asked: Arc<Mutex<Vec<Asked>>>,
}

impl Served {
    /// Serves `answer` on `port` (0: any) of 127.0.0.1 with a new key.
    pub(crate) async fn start(port: u16, answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let parameters = rcgen::CertificateParams::new(vec!["some-other-name".into()]).unwrap();
        Self::with(port, parameters, answer).await
    }

    /// The same with a certificate of one's own.
    pub(crate) async fn with(
        port: u16,
        parameters: rcgen::CertificateParams,
        answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let answer: Arc<Answer> = Arc::new(answer);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, answer, log) = (acceptor.clone(), Arc::clone(&answer), Arc::clone(&log));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let count = Arc::new(AtomicUsize::new(0));
                    let service =
                        hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
                            let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
                            let nth = count.fetch_add(1, Ordering::Relaxed) + 1;
                            async move { respond(request.map(Body::new), &*answer, &log, nth).await }
                        });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { address, asked }
    }

    /// A client for it.
    pub(crate) fn client(&self, pin: Option<Pin>) -> Bmc {
        let contact = Contact {
            url: format!("https://{}", self.address),
            user: "admin".into(),
            password: Password::new("calvin"),
            pin,
        };
        // Tests have no time for a controller's second thoughts.
        Bmc::with(contact, Options { pause: Duration::from_millis(20), ..Options::default() }).unwrap()
    }

    /// How often a method and path were asked for.
    pub(crate) fn count(&self, method: &str, path: &str) -> usize {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|asked| asked.method == method && asked.path == path).count()
    }
}

async fn respond(
    request: Request<Body>,
    answer: &Answer,
    log: &Mutex<Vec<Asked>>,
    nth: usize,
) -> Result<Response<Body>, Error> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap_or_default();
    let asked = Asked {
        method: parts.method.to_string(),
        path: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers: parts.headers,
        body: serde_json::from_slice(&body).unwrap_or_default(),
        nth,
    };
    log.lock().unwrap().push(asked.clone());
    let Reply(status, headers, bytes) = answer(&asked);
    if status == 0 {
        return Err(Error::other("dropped on purpose"));
    }
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    Ok(response.body(Body::from(bytes)).unwrap())
}

/// Answers from a captured tree: `index.json` below each resource's path.  Sessions are given out by itself.
pub(crate) fn tree(root: PathBuf) -> impl Fn(&Asked) -> Reply + Send + Sync + 'static {
    move |asked| match asked.method.as_str() {
        "POST" if asked.path.trim_end_matches('/').ends_with("/Sessions") => {
            let location = "/redfish/v1/SessionService/Sessions/1".to_owned();
            Reply(201, vec![("X-Auth-Token", "t".into()), ("Location", location)], b"{}".to_vec())
        }
        "GET" => read(&root, &asked.path),
        "DELETE" => Reply(204, Vec::new(), Vec::new()),
        _ => Reply(405, Vec::new(), Vec::new()),
    }
}

fn read(root: &Path, path: &str) -> Reply {
    let inside = path.split('?').next().unwrap_or_default().trim_matches('/');
    if inside.split('/').any(|part| part == "..") {
        return Reply(404, Vec::new(), Vec::new());
    }
    // DMTF's mockups start at the service root itself.
    let shorter = inside.strip_prefix("redfish/v1").unwrap_or(inside).trim_start_matches('/');
    for place in [root.join(inside), root.join(shorter)] {
        if let Ok(bytes) = std::fs::read(place.join("index.json")) {
            return Reply(200, Vec::new(), bytes);
        }
    }
    Reply(404, Vec::new(), Vec::new())
}

fn archives() -> PathBuf {
    let told = std::env::var_os("SCALERFORGE_FIXTURES").map(PathBuf::from);
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures");
    told.unwrap_or_else(beside).join("redfish")
}

/// Unpacks an archive; gives the folder that holds the tree.
pub(crate) fn unpack(name: &str, into: &Path) -> PathBuf {
    let archive = archives().join(format!("{name}.tar.gz"));
    assert!(archive.is_file(), "{} is missing; set SCALERFORGE_FIXTURES", archive.display());
    // A cut archive still gives what it has; the tests say what they need of it.
    let _ = Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(into).output().unwrap();
    std::fs::read_dir(into).unwrap().next().unwrap().unwrap().path()
}
