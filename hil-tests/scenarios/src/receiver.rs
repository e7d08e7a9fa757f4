//! Somebody who is told of alerts: an HTTP server that checks each signature, and takes what it is told or does not.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context as _, ensure};
use appliance_api::alerts::AlertPostView;
use ring::hmac;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// Longer than any alert.
const REQUEST_BYTES_MAX: usize = 64 << 10;

/// What was told, by alert and event.
#[derive(Debug, Default)]
struct Told {
    taken: BTreeMap<(String, String), (AlertPostView, u32)>,
    /// Kinds that were told and not taken.
    sent_away: Vec<String>,
    /// What was no alert of this site.
    odd: Vec<String>,
}

/// A receiver of webhooks on loopback.
#[derive(Debug, Clone)]
pub struct Receiver {
    url: String,
    takes: Arc<AtomicBool>,
    told: Arc<Mutex<Told>>,
}

impl Receiver {
    /// Listens; alerts are signed with `secret`.
    ///
    /// # Errors
    /// If there is no free port.
    pub async fn start(secret: &str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let receiver = Self {
            url: format!("http://{}/alerts", listener.local_addr()?),
            takes: Arc::new(AtomicBool::new(true)),
            told: Arc::default(),
        };
        let (key, own) = (hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), receiver.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (key, own) = (key.clone(), own.clone());
                tokio::spawn(async move {
                    if let Err(error) = own.serve(stream, &key).await {
                        own.told().odd.push(error.to_string());
                    }
                });
            }
        });
        Ok(receiver)
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether it takes what it is told from now on, or is busy.
    pub fn take(&self, takes: bool) {
        self.takes.store(takes, Ordering::SeqCst);
    }

    /// Whether it was told of such an alert and was busy.
    #[must_use]
    pub fn has_sent_away(&self, kind: &str) -> bool {
        self.told().sent_away.iter().any(|sent| sent == kind)
    }

    /// Alerts of a kind that it took, each with how often.
    #[must_use]
    pub fn taken(&self, kind: &str) -> Vec<(AlertPostView, u32)> {
        self.told().taken.values().filter(|(post, _)| post.alert.kind == kind).cloned().collect()
    }

    /// Says no unless each alert came once, and nothing else did.
    ///
    /// # Errors
    /// With what came twice, or was no alert.
    pub fn each_once(&self) -> anyhow::Result<()> {
        let told = self.told();
        ensure!(told.odd.is_empty(), "{:?}", told.odd);
        let twice: Vec<_> = told.taken.values().filter(|(_, times)| *times != 1).collect();
        ensure!(twice.is_empty(), "told more than once: {twice:?}");
        Ok(())
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(&self, mut stream: TcpStream, key: &hmac::Key) -> anyhow::Result<()> {
        let Some((head, body)) = request(&mut stream).await? else { return Ok(()) };
        let post = read(&head, &body, key)?;
        let takes = self.takes.load(Ordering::SeqCst);
        if takes {
            let mut told = self.told();
            let named = (post.alert.id.clone(), post.event.clone());
            told.taken.entry(named).or_insert((post, 0)).1 += 1;
        } else {
            self.told().sent_away.push(post.alert.kind);
        }
        let status = if takes { "204 No Content" } else { "503 Service Unavailable" };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.context("answering")
    }
}

/// Head and body; `None` where the other side left before it had said all.
async fn request(stream: &mut TcpStream) -> anyhow::Result<Option<(String, Vec<u8>)>> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let length: usize =
                header(&head, "content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
            if let Some(body) = bytes.get(end + 4..end + 4 + length) {
                return Ok(Some((head, body.to_vec())));
            }
        }
        ensure!(bytes.len() < REQUEST_BYTES_MAX, "more was posted than an alert is");
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// The alert, if the site's secret has signed it.
fn read(head: &str, body: &[u8], key: &hmac::Key) -> anyhow::Result<AlertPostView> {
    let signature = header(head, "x-scalerforge-signature").context("no signature")?;
    let (at, tag) = signature
        .strip_prefix("t=")
        .and_then(|rest| rest.split_once(",v1="))
        .with_context(|| format!("the signature is {signature}"))?;
    let signed = [at.as_bytes(), b".", body].concat();
    let good = hex::decode(tag).is_ok_and(|tag| hmac::verify(key, &signed, &tag).is_ok());
    ensure!(good, "the signature {signature} does not hold");
    serde_json::from_slice(body).context("this is no alert")
}
