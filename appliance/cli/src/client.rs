//! Speaks to a running appliance over its operator API.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use appliance_api::operator::ProblemView;
use clap::Args;
use serde::{Serialize, de::DeserializeOwned};

/// Answers larger than this are not ours.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Reading a rack back from a chain takes the appliance seconds; who hangs longer than this is not well.
const ANSWER_SECONDS_MAX: Duration = Duration::from_secs(60);

/// Where the appliance is, and how its answer is printed.
#[derive(Debug, Args)]
pub(crate) struct Appliance {
    /// URL of the appliance's operator API.
    #[arg(long, env = "SCALERFORGE_URL", default_value = "http://127.0.0.1:8090")]
    appliance: String,
    /// Print the answer as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

impl Appliance {
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let bytes = self.bytes(path)?;
        serde_json::from_slice(&bytes)
            .with_context(|| format!("{} answered {path} with something else", self.appliance))
    }

    pub(crate) fn bytes(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        self.answer(self.agent().get(self.url(path)).call())
    }

    pub(crate) fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> anyhow::Result<T> {
        let bytes = self.answer(self.agent().post(self.url(path)).send_json(body))?;
        serde_json::from_slice(&bytes)
            .with_context(|| format!("{} answered {path} with something else", self.appliance))
    }

    pub(crate) fn delete(&self, path: &str) -> anyhow::Result<()> {
        self.answer(self.agent().delete(self.url(path)).call()).map(drop)
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.appliance.trim_end_matches('/'))
    }

    fn agent(&self) -> ureq::Agent {
        // The appliance is on the provider's own network, most often on loopback: no proxy knows the way to it.
        let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None);
        config.timeout_global(Some(ANSWER_SECONDS_MAX)).build().into()
    }

    fn answer(
        &self,
        called: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> anyhow::Result<Vec<u8>> {
        let mut response = called.with_context(|| {
            format!(
                "no appliance answers at {}; start it with `scalerforge serve`, or name it with --appliance",
                self.appliance
            )
        })?;
        let bytes = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
        if response.status().is_success() {
            return Ok(bytes);
        }
        match serde_json::from_slice::<ProblemView>(&bytes) {
            Ok(problem) => Err(anyhow!("{}", problem.error)),
            Err(_) => Err(anyhow!("{} answered {}", self.appliance, response.status())),
        }
    }
}

/// For a path or query (RFC 3986): all but unreserved characters.
pub(crate) fn encoded(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}
