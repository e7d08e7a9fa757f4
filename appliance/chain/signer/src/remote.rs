//! A signer in another machine (Web3Signer, Clef): asked over HTTPS, and not believed.
//!
//! It answers a transaction with signed bytes.  They are decoded and compared field by field with what was asked; a
//! signer that was broken into can refuse to sign, and nothing else.

use std::{fmt, time::Duration};

use alloy::{
    consensus::{Signed, TxEip1559, TxEnvelope},
    eips::eip2718::Decodable2718 as _,
    primitives::{Signature, TxKind, hex},
};
use appliance_model::Address;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::{KeyError, SignError, Typed};

/// A person may have to press a button at the signer.
const ANSWER_SECONDS_MAX: u64 = 60;
const CONNECT_SECONDS_MAX: u64 = 5;
/// A batch of 25 registrations is some 40 KB, in hex.
const ANSWER_BYTES_MAX: usize = 512 * 1024;
/// A foreign text is cut here: it ends up on screens.
const TEXT_MAX: usize = 300;

/// Where the signer is, and how it and we know each other.
pub struct RemoteSettings {
    /// `https://…`; plain `http://` on this machine only.
    pub url: String,
    /// The account that signs.
    pub account: Address,
    /// Certificates (PEM) of the authority that the signer's own is from.  Absent: the system's.
    pub authority_pem: Option<Vec<u8>>,
    /// Our certificate and key (PEM), which the signer knows us by.
    pub identity_pem: Option<Zeroizing<Vec<u8>>>,
}

impl fmt::Debug for RemoteSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteSettings").field("account", &self.account).finish_non_exhaustive()
    }
}

/// A signer that answers JSON-RPC.
#[derive(Debug)]
pub(crate) struct Remote {
    http: Http,
    account: Address,
}

/// Where something that signs is, and how it and we know each other.
pub(crate) struct Server<'a> {
    pub(crate) url: &'a str,
    pub(crate) authority_pem: Option<&'a [u8]>,
    pub(crate) identity_pem: Option<&'a [u8]>,
}

/// A connection with limits.
#[derive(Debug)]
pub(crate) struct Http {
    client: reqwest::Client,
    url: reqwest::Url,
    /// Scheme, host and port: a path may hold a key.
    shown: String,
}

impl Remote {
    pub(crate) fn new(settings: &RemoteSettings) -> Result<Self, KeyError> {
        let http = Http::new(&Server {
            url: &settings.url,
            authority_pem: settings.authority_pem.as_deref(),
            identity_pem: settings.identity_pem.as_ref().map(|pem| pem.as_slice()),
        })?;
        Ok(Self { http, account: settings.account })
    }

    pub(crate) async fn transaction(&self, asked: &TxEip1559) -> Result<Signature, SignError> {
        let quantity = |number: u128| format!("0x{number:x}");
        let mut params = json!({
            "from": format!("0x{}", self.account),
            "chainId": quantity(asked.chain_id.into()),
            "nonce": quantity(asked.nonce.into()),
            "gas": quantity(asked.gas_limit.into()),
            "maxFeePerGas": quantity(asked.max_fee_per_gas),
            "maxPriorityFeePerGas": quantity(asked.max_priority_fee_per_gas),
            "value": format!("0x{:x}", asked.value),
            "data": hex::encode_prefixed(&asked.input),
        });
        if let (TxKind::Call(to), Value::Object(fields)) = (asked.to, &mut params) {
            fields.insert("to".into(), json!(hex::encode_prefixed(to)));
        }
        let answer = self.call("eth_signTransaction", json!([params])).await?;
        // Clef wraps the bytes, Web3Signer does not.
        let raw = answer.as_str().or_else(|| answer.get("raw").and_then(Value::as_str));
        let raw = raw.and_then(|raw| hex::decode(raw).ok()).ok_or_else(|| self.nonsense("it is no hex"))?;
        Ok(*same(asked, &raw, self.account)?.signature())
    }

    pub(crate) async fn typed(&self, typed: &Typed) -> Result<Signature, SignError> {
        let data = typed.json().map_err(|_| self.nonsense("typed data cannot be written"))?;
        let answer = self.call("eth_signTypedData", json!([format!("0x{}", self.account), data])).await?;
        let bytes = answer.as_str().and_then(|text| hex::decode(text).ok());
        bytes
            .and_then(|bytes| Signature::try_from(bytes.as_slice()).ok())
            .ok_or_else(|| self.nonsense("it is no signature"))
    }

    async fn call(&self, method: &str, params: Value) -> Result<Value, SignError> {
        let question = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let headers = [("content-type", Zeroizing::new("application/json".to_owned()))];
        let found = self.http.post(question.to_string(), &headers).await?;
        if let Some(error) = found.get("error").filter(|error| !error.is_null()) {
            return Err(self.http.refused(error));
        }
        found.get("result").cloned().ok_or_else(|| self.http.nonsense("it holds no result"))
    }

    fn nonsense(&self, what: &'static str) -> SignError {
        self.http.nonsense(what)
    }
}

impl Http {
    pub(crate) fn new(server: &Server<'_>) -> Result<Self, KeyError> {
        let wrong = |why: &str| KeyError::Remote { why: why.to_owned() };
        let url = reqwest::Url::parse(server.url).map_err(|_| wrong("its URL is none"))?;
        let host = url.host_str().unwrap_or_default().to_owned();
        let local = host == "localhost" || host.starts_with("127.") || host == "[::1]";
        match url.scheme() {
            "https" => {}
            "http" if local => {}
            _ => return Err(wrong("it has to be https://, or http:// on this machine")),
        }
        // Fails only if there is one already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .timeout(Duration::from_secs(ANSWER_SECONDS_MAX))
            .connect_timeout(Duration::from_secs(CONNECT_SECONDS_MAX))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        if let Some(pem) = server.authority_pem {
            let authorities = reqwest::Certificate::from_pem_bundle(pem)
                .map_err(|_| wrong("its authority's certificate is no PEM"))?;
            builder = builder.tls_certs_only(authorities);
        }
        if let Some(pem) = server.identity_pem {
            let identity =
                reqwest::Identity::from_pem(pem).map_err(|_| wrong("our certificate and key are no PEM"))?;
            builder = builder.identity(identity);
        }
        let client = builder.build().map_err(|_| wrong("TLS cannot be set up with these certificates"))?;
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let shown = format!("{}://{host}{port}", url.scheme());
        Ok(Self { client, url, shown })
    }

    /// The JSON in the answer to a POST.
    pub(crate) async fn post(
        &self,
        body: String,
        headers: &[(&'static str, Zeroizing<String>)],
    ) -> Result<Value, SignError> {
        let down = |source: reqwest::Error| SignError::Down {
            url: self.shown.clone(),
            source: Box::new(source.without_url()),
        };
        let mut request = self.client.post(self.url.clone()).body(body);
        for (name, value) in headers {
            request = request.header(*name, value.as_str());
        }
        let mut answer = request.send().await.map_err(down)?;
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(down)? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(self.nonsense("it is longer than any answer"));
            }
            body.extend_from_slice(&chunk);
        }
        if status.is_server_error() || status.as_u16() == 429 {
            let source = format!("HTTP status {status}: {}", cut(&String::from_utf8_lossy(&body)));
            return Err(SignError::Down { url: self.shown.clone(), source: source.into() });
        }
        let found: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        if status.is_success() {
            return Ok(found);
        }
        // JSON-RPC and Google say it in `error`, AWS at the top.
        let error = found.get("error").filter(|error| error.is_object()).unwrap_or(&found);
        let message = ["message", "Message"].iter().find_map(|name| error.get(*name).and_then(Value::as_str));
        let kind = found.get("__type").and_then(Value::as_str).unwrap_or_default();
        let message = format!("HTTP status {status} {kind} {}", message.unwrap_or_default());
        Err(SignError::Refused { url: self.shown.clone(), message: cut(message.trim_end()) })
    }

    pub(crate) fn nonsense(&self, what: &'static str) -> SignError {
        SignError::Answer { url: self.shown.clone(), what }
    }

    /// Host and port, as they stand in a request.
    pub(crate) fn host(&self) -> String {
        self.shown.split_once("://").map_or_else(String::new, |(_, host)| host.to_owned())
    }

    fn refused(&self, error: &Value) -> SignError {
        let message = error.get("message").and_then(Value::as_str).unwrap_or("no reason");
        SignError::Refused { url: self.shown.clone(), message: cut(message) }
    }
}

/// The signed transaction in `raw`, if it is `asked` and nothing else, signed by `account`.
///
/// # Errors
/// [`SignError::Altered`] names the first field that differs; [`SignError::Stranger`] for another account.
pub fn same(asked: &TxEip1559, raw: &[u8], account: Address) -> Result<Signed<TxEip1559>, SignError> {
    let altered = |field: &'static str| SignError::Altered { account, field };
    let mut rest = raw;
    let envelope = TxEnvelope::decode_2718(&mut rest).map_err(|_| altered("form: it is no transaction"))?;
    if !rest.is_empty() {
        return Err(altered("end: there are bytes behind it"));
    }
    let TxEnvelope::Eip1559(signed) = envelope else {
        return Err(altered("type: it is not of EIP-1559"));
    };
    let found = signed.tx();
    let fields = [
        ("chain id", found.chain_id == asked.chain_id),
        ("nonce", found.nonce == asked.nonce),
        ("recipient", found.to == asked.to),
        ("value", found.value == asked.value),
        ("data", found.input == asked.input),
        ("gas limit", found.gas_limit == asked.gas_limit),
        ("highest fee", found.max_fee_per_gas == asked.max_fee_per_gas),
        ("tip", found.max_priority_fee_per_gas == asked.max_priority_fee_per_gas),
        ("access list", found.access_list == asked.access_list),
    ];
    if let Some((field, _)) = fields.iter().find(|(_, same)| !same) {
        return Err(altered(field));
    }
    let low = signed.signature().normalize_s().is_none();
    let signer = signed.signature().recover_address_from_prehash(&signed.signature_hash()).ok();
    if !low || signer.is_none_or(|signer| signer.0 != account.0) {
        return Err(SignError::Stranger { account });
    }
    Ok(signed)
}

pub(crate) fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(TEXT_MAX).collect()
}
