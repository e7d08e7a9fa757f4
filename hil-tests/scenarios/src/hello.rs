//! Hellos that no agent of ours would say.

use std::sync::Arc;

use serde_json::Value;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider};

use crate::Lab;

/// Says hello to the lab's appliance; answers HTTP status and body.
///
/// # Errors
/// If there is no answer.
pub async fn say_hello(lab: &Lab, hello: Value) -> anyhow::Result<(u16, Value)> {
    let ca = std::fs::read(lab.site().join("ca.pem"))?;
    let roots: Vec<Certificate<'static>> = ureq::tls::parse_pem(&ca)
        .filter_map(|item| if let Ok(PemItem::Certificate(found)) = item { Some(found) } else { None })
        .collect();
    tokio::task::spawn_blocking(move || {
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(RootCerts::new_with_certs(&roots))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let agent: ureq::Agent =
            ureq::Agent::config_builder().http_status_as_error(false).tls_config(tls).build().into();
        let mut answer = agent.post("https://10.77.0.1:8443/agent/v1/hello").send_json(hello)?;
        let status = answer.status().as_u16();
        Ok((status, answer.body_mut().read_json()?))
    })
    .await?
}
