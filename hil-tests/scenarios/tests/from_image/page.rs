//! The appliance's page from another machine: the API behind the admin's password, over TLS.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use appliance_api::operator::{ChainView, HostView};
use base64::Engine as _;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;
use ureq::tls::{TlsConfig, TlsProvider};

/// An emulated appliance may think long.
const ANSWER: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(500);

/// Who asks, and where.
#[derive(Clone)]
pub(crate) struct Page {
    base: String,
    authorization: String,
}

impl Page {
    pub(crate) fn new(at: &str, password: &str) -> Self {
        let basic = base64::engine::general_purpose::STANDARD.encode(format!("admin:{password}"));
        Self { base: format!("https://{at}"), authorization: format!("Basic {basic}") }
    }

    /// Waits until the host with this serial is in `stage`.
    pub(crate) async fn host(&self, serial: &str, stage: &str, limit: Duration) -> anyhow::Result<HostView> {
        let end = Instant::now() + limit;
        loop {
            let asked: anyhow::Result<Vec<HostView>> = self.get("/api/v1/hosts").await;
            let last = match asked {
                Ok(hosts) => match hosts.into_iter().find(|host| host.serial == serial) {
                    Some(host) if host.stage == stage => return Ok(host),
                    Some(host) if host.stage == "quarantined" => {
                        bail!("{serial} is quarantined: {}", host.why.waiting_for)
                    }
                    Some(host) => format!("it is {}: {}", host.stage, host.why.waiting_for),
                    None => "the appliance does not know it".to_owned(),
                },
                Err(error) => format!("{error:#}"),
            };
            if Instant::now() >= end {
                bail!("waited {} s in vain for {serial} to be {stage}; {last}", limit.as_secs());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    pub(crate) async fn chain(&self) -> anyhow::Result<ChainView> {
        self.get("/api/v1/chain").await
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        serde_json::from_str(&self.ask(path, None).await?).with_context(|| format!("reading {path}"))
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> anyhow::Result<()> {
        self.ask(path, Some(body)).await.map(drop)
    }

    async fn ask(&self, path: &str, body: Option<Value>) -> anyhow::Result<String> {
        let (url, page) = (format!("{}{path}", self.base), self.clone());
        tokio::task::spawn_blocking(move || {
            let agent = agent();
            let mut answer = match body {
                None => agent.get(&url).header("authorization", &page.authorization).call()?,
                Some(body) => {
                    agent.post(&url).header("authorization", &page.authorization).send_json(body)?
                }
            };
            let text = answer.body_mut().read_to_string()?;
            anyhow::ensure!(answer.status().is_success(), "{url}: {} {text}", answer.status());
            Ok(text)
        })
        .await?
    }
}

/// The certificate is of an authority that was made inside: a person would have compared it on the screen.
fn agent() -> ureq::Agent {
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .disable_verification(true)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    let config = ureq::Agent::config_builder().http_status_as_error(false).tls_config(tls);
    config.timeout_global(Some(ANSWER)).proxy(None).build().into()
}
