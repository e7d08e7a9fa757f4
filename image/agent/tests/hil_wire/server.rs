//! A tiny appliance: HTTPS with a certificate of its own CA, and a list of orders.

use std::{
    collections::VecDeque,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    sync::{Arc, Condvar, Mutex},
    thread,
};

use appliance_api::agent::{
    Hello, Order, Outcome, Progress, Report, StreamFrom, StreamPart, Work, glass::GlassWord,
};
use rustls::{ServerConfig, ServerConnection, StreamOwned, pki_types::PrivateKeyDer};

/// Few, so that an agent has to ask again.
const LINES_AT_ONCE: usize = 4;

/// What a call is answered with, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection ends without an answer.
    Cut,
    /// HTTP 503.
    Busy,
    /// HTTP 401: the appliance was restarted and has lost its sessions.
    Forgotten,
}

#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) hellos: Vec<Hello>,
    pub(crate) reports: Vec<Report>,
    pub(crate) progress: Vec<Progress>,
    /// What came of a burn-in's result stream.
    pub(crate) stream: String,
    /// What was heard of an open door.
    pub(crate) heard: Vec<String>,
    orders: VecDeque<Order>,
    faults: VecDeque<(&'static str, Fault)>,
    session: usize,
}

pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) ca: String,
    seen: Arc<(Mutex<Seen>, Condvar)>,
    orders: u64,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::listen("127.0.0.1:0", "127.0.0.1")
    }

    /// Listens at `address` with a certificate for `name`.
    pub(crate) fn listen(address: &str, name: &str) -> Self {
        let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let ca = authority.self_signed(&key).unwrap();
        let issuer = rcgen::Issuer::new(authority, key);
        let own = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec![name.into()]).unwrap().signed_by(&own, &issuer);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.unwrap().der().clone()],
                PrivateKeyDer::Pkcs8(own.serialize_der().into()),
            );
        let config = Arc::new(config.unwrap());
        let listener = TcpListener::bind(address).unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let seen: Arc<(Mutex<Seen>, Condvar)> = Arc::default();
        let shared = Arc::clone(&seen);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, shared) = (Arc::clone(&config), Arc::clone(&shared));
                thread::spawn(move || {
                    let connection = ServerConnection::new(config).unwrap();
                    serve(BufReader::new(StreamOwned::new(connection, stream)), &shared);
                });
            }
        });
        Self { url, ca: ca.pem(), seen, orders: 0 }
    }

    /// Gives an order and waits for its (last) outcome.
    pub(crate) fn order(&mut self, work: Work) -> Outcome {
        self.orders += 1;
        let id = self.orders;
        self.seen.0.lock().unwrap().orders.push_back(Order { id, work });
        let done = |seen: &Seen| {
            let mut reports = seen.reports.iter().filter(|report| report.order == id);
            reports.any(|report| !matches!(report.outcome, Outcome::BurnInLines { .. }))
        };
        let seen = self.seen.1.wait_while(self.seen.0.lock().unwrap(), |seen| !done(seen)).unwrap();
        seen.reports.iter().rfind(|report| report.order == id).unwrap().outcome.clone()
    }

    /// Answers the next call of this name in another way.
    pub(crate) fn fault(&self, call: &'static str, fault: Fault) {
        self.seen.0.lock().unwrap().faults.push_back((call, fault));
    }

    pub(crate) fn seen<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.seen.0.lock().unwrap())
    }
}

fn serve(
    mut stream: BufReader<StreamOwned<ServerConnection, std::net::TcpStream>>,
    shared: &(Mutex<Seen>, Condvar),
) {
    loop {
        let (mut path, mut length, mut token, mut range) = (String::new(), 0, String::new(), None);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let line = line.trim().to_owned();
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            } else if let Some(value) = lower.strip_prefix("authorization: bearer ") {
                value.clone_into(&mut token);
            } else if let Some(value) = lower.strip_prefix("range: bytes=") {
                let (first, last) = value.split_once('-').unwrap();
                range = Some(last.parse::<usize>().unwrap() + 1 - first.parse::<usize>().unwrap());
            } else if lower.starts_with("post ") || lower.starts_with("get ") {
                line.split(' ').nth(1).unwrap().clone_into(&mut path);
            } else if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).unwrap();
        let call = path.strip_prefix("/agent/v1/").unwrap();
        let mut seen = shared.0.lock().unwrap();
        let Some((status, answer)) = range
            .map(|bytes| Some((206, "p".repeat(bytes))))
            .unwrap_or_else(|| answer(&mut seen, call, &token, &body))
        else {
            return;
        };
        shared.1.notify_all();
        drop(seen);
        let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", answer.len());
        if stream.get_mut().write_all(format!("{head}{answer}").as_bytes()).is_err() {
            return;
        }
    }
}

/// Status and body; `None` cuts the connection.
fn answer(seen: &mut Seen, call: &str, token: &str, body: &[u8]) -> Option<(u16, String)> {
    if let Some(index) = seen.faults.iter().position(|(name, _)| *name == call) {
        match seen.faults.remove(index).unwrap().1 {
            Fault::Cut => return None,
            Fault::Busy => return Some((503, r#"{"error":"starting"}"#.into())),
            Fault::Forgotten => seen.session += 1,
        }
    }
    let session = format!("{:064x}", seen.session + 1);
    if call == "hello" {
        seen.hellos.push(serde_json::from_slice(body).unwrap());
        return Some((200, format!(r#"{{"host":"h-000000000001","session":"{session}"}}"#)));
    }
    if token != session {
        return Some((401, r#"{"error":"say hello"}"#.into()));
    }
    match call {
        // The order stays until it is reported.
        "next" => {
            let order = seen.orders.front().cloned().unwrap_or(Order { id: 0, work: Work::Wait });
            Some((200, serde_json::to_string(&order).unwrap()))
        }
        "report" => {
            let report: Report = serde_json::from_slice(body).unwrap();
            if let Outcome::BurnInLines { from, lines } = &report.outcome {
                // What came twice counts once.
                let have = seen.stream.lines().count() as u64;
                assert!(*from <= have, "lines {have} to {from} were left out");
                let skip = usize::try_from(have - from).unwrap();
                seen.stream.extend(lines.split_inclusive('\n').skip(skip));
            } else {
                seen.orders.retain(|order| order.id != report.order);
            }
            seen.reports.push(report);
            Some((200, "{}".into()))
        }
        "progress" => {
            seen.progress.push(serde_json::from_slice(body).unwrap());
            Some((204, String::new()))
        }
        "glass" => {
            let word: GlassWord = serde_json::from_slice(body).unwrap();
            seen.heard.extend(word.lines);
            Some((204, String::new()))
        }
        "stream" => {
            let question: StreamFrom = serde_json::from_slice(body).unwrap();
            let skip = usize::try_from(question.from).unwrap();
            let lines = seen.stream.split_inclusive('\n').skip(skip).take(LINES_AT_ONCE).collect();
            Some((200, serde_json::to_string(&StreamPart { lines }).unwrap()))
        }
        other => panic!("{other}"),
    }
}
