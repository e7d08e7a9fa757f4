//! A real browser, driven over the W3C WebDriver protocol: what a person would see on the page.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tokio::{
    process::{Child, Command},
    time::Instant,
};

/// Where the driver listens inside the lab's namespace.
const DRIVER: &str = "http://127.0.0.1:9515";

/// A browser with one page open.  Dropping it ends it.
#[derive(Debug)]
pub struct Browser {
    _driver: Child,
    session: String,
}

impl Browser {
    /// Opens `url`; `profile` must be a new folder.
    ///
    /// # Errors
    /// If chromium or chromedriver are missing or do not start.
    pub async fn open(url: &str, profile: &Path) -> anyhow::Result<Self> {
        let driver = Command::new("chromedriver")
            .arg("--port=9515")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("starting chromedriver (Debian: chromium-driver)")?;
        let data = format!("--user-data-dir={}", profile.display());
        // Without the background flags chromium looks up its maker's hosts at every start.
        let arguments = json!([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1200,900",
            data
        ]);
        let wanted = json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": {"args": arguments}}}});
        let end = Instant::now() + Duration::from_secs(90);
        let session = loop {
            match call("/session", Some(wanted.clone())).await {
                Ok(value) => break value["sessionId"].as_str().context("no session")?.to_owned(),
                Err(error) if Instant::now() > end => return Err(error.context("starting the browser")),
                Err(_) => tokio::time::sleep(Duration::from_millis(250)).await,
            }
        };
        let browser = Self { _driver: driver, session };
        browser.go(url).await?;
        Ok(browser)
    }

    /// Goes to another page.
    ///
    /// # Errors
    /// If the browser does not load it.
    pub async fn go(&self, url: &str) -> anyhow::Result<()> {
        self.tell("url", json!({"url": url})).await.map(drop)
    }

    /// Waits until the page's text has all of `words`.
    ///
    /// # Errors
    /// When `limit` is over; the message has the text.
    pub async fn wait_text(&self, words: &[&str], limit: Duration) -> anyhow::Result<String> {
        let end = Instant::now() + limit;
        loop {
            let script = json!({"script": "return document.body.innerText", "args": []});
            let text = self.tell("execute/sync", script).await?.as_str().unwrap_or_default().to_owned();
            if words.iter().all(|word| text.contains(word)) {
                return Ok(text);
            }
            if Instant::now() > end {
                bail!("the page never showed {words:?}; it shows:\n{text}");
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    /// Keeps a picture of the page.
    ///
    /// # Errors
    /// If the browser gives none.
    pub async fn picture(&self, file: &Path) -> anyhow::Result<()> {
        let value = call(&format!("/session/{}/screenshot", self.session), None).await?;
        let png = base64(value.as_str().context("no picture")?).context("the picture is not base64")?;
        std::fs::write(file, png).with_context(|| format!("writing {}", file.display()))
    }

    /// Closes the browser.
    ///
    /// # Errors
    /// If the driver does not answer.
    pub async fn close(self) -> anyhow::Result<()> {
        let url = format!("{DRIVER}/session/{}", self.session);
        tokio::task::spawn_blocking(move || ureq::delete(&url).call().map(drop))
            .await?
            .context("closing the browser")
    }

    async fn tell(&self, what: &str, body: Value) -> anyhow::Result<Value> {
        call(&format!("/session/{}/{what}", self.session), Some(body)).await
    }
}

async fn call(path: &str, body: Option<Value>) -> anyhow::Result<Value> {
    let url = format!("{DRIVER}{path}");
    tokio::task::spawn_blocking(move || {
        let agent: ureq::Agent =
            ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(60))).build().into();
        let mut answer = match body {
            Some(body) => agent.post(&url).send_json(body)?,
            None => agent.get(&url).call()?,
        };
        let mut value: Value = answer.body_mut().with_config().limit(32 << 20).read_json()?;
        Ok(value["value"].take())
    })
    .await?
}

fn base64(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}
