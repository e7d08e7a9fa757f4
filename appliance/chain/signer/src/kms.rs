//! Keys in AWS KMS and Google Cloud KMS: the key never leaves their HSM, one small signed request makes one signature.
//!
//! Their SDKs bring 73 and 88 more crates, and Google's a TLS library in C; what is needed of them is one POST each.
//! Credentials come from a file that other tools keep fresh and that is read anew for each signature: AWS's as
//! `aws configure export-credentials --format process` writes it, Google's an access token in its first line.

use std::path::{Path, PathBuf};

use alloy::{
    primitives::{B256, Signature},
    signers::k256::ecdsa,
};
use appliance_model::{Address, Day, Now, Seconds};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac as _};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::{
    KeyError, SignError,
    key::closed_file,
    remote::{Http, Server},
};

/// Which cloud, and which key there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cloud {
    /// AWS KMS, a key of `ECC_SECG_P256K1`.
    Aws {
        /// Its id, ARN or alias.
        key: String,
        /// Region, such as `eu-central-1`.
        region: String,
    },
    /// Google Cloud KMS, a key of `EC_SIGN_SECP256K1_SHA256`.
    Google {
        /// `projects/…/locations/…/keyRings/…/cryptoKeys/…/cryptoKeyVersions/…`.
        key: String,
    },
}

/// A key in a cloud.
#[derive(Debug)]
pub struct KmsSettings {
    /// Which.
    pub cloud: Cloud,
    /// The account that the key signs for.
    pub account: Address,
    /// File of the credentials, which nobody else can read.
    pub credentials_file: PathBuf,
    /// Another endpoint than the public one (a private link).
    pub endpoint: Option<String>,
    /// Certificates (PEM) of the endpoint's authority.  Absent: the system's.
    pub authority_pem: Option<Vec<u8>>,
    /// Tells the time: requests to AWS are good for five minutes.
    pub clock: fn() -> Now,
}

/// The connection.
#[derive(Debug)]
pub(crate) struct Kms {
    http: Http,
    settings: KmsSettings,
}

/// What `aws configure export-credentials --format process` prints.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AwsCredentials {
    access_key_id: String,
    secret_access_key: Zeroizing<String>,
    session_token: Option<Zeroizing<String>>,
}

impl Kms {
    pub(crate) fn new(settings: KmsSettings) -> Result<Self, KeyError> {
        let plain =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_/:.".contains(&byte));
        let (public, named) = match &settings.cloud {
            Cloud::Aws { key, region } => {
                (format!("https://kms.{region}.amazonaws.com/"), plain(key) && plain(region))
            }
            Cloud::Google { key } => ("https://cloudkms.googleapis.com/".to_owned(), plain(key)),
        };
        if !named {
            return Err(KeyError::Remote { why: "the key's name or region has odd characters".into() });
        }
        let mut url = settings.endpoint.clone().unwrap_or(public);
        if let Cloud::Google { key } = &settings.cloud {
            url = format!("{}/v1/{key}:asymmetricSign", url.trim_end_matches('/'));
        }
        let authority_pem = settings.authority_pem.as_deref();
        let http = Http::new(&Server { url: &url, authority_pem, identity_pem: None })?;
        Ok(Self { http, settings })
    }

    pub(crate) async fn sign(&self, hash: B256) -> Result<Signature, SignError> {
        let digest = STANDARD.encode(hash);
        let (body, headers) = match &self.settings.cloud {
            Cloud::Aws { key, region } => {
                let body = json!({
                    "KeyId": key, "Message": digest, "MessageType": "DIGEST", "SigningAlgorithm": "ECDSA_SHA_256",
                });
                let body = body.to_string();
                let headers = self.aws(region, &body)?;
                (body, headers)
            }
            Cloud::Google { .. } => {
                let body = json!({ "digest": { "sha256": digest } }).to_string();
                (body, vec![("authorization", Zeroizing::new(format!("Bearer {}", *self.token()?)))])
            }
        };
        let answer = self.http.post(body, &headers).await?;
        let named =
            ["Signature", "signature"].iter().find_map(|name| answer.get(*name).and_then(Value::as_str));
        let der = named.and_then(|text| STANDARD.decode(text).ok());
        let signature = der.and_then(|der| ecdsa::Signature::from_der(&der).ok());
        let signature = signature.ok_or_else(|| self.http.nonsense("it is no signature"))?;
        // HSMs return either half of s, and not which of two points it was.
        let signature = signature.normalize_s().unwrap_or(signature);
        [false, true]
            .into_iter()
            .map(|parity| Signature::from_signature_and_parity(signature, parity))
            .find(|tried| {
                let signer = tried.recover_address_from_prehash(&hash).ok();
                signer.is_some_and(|signer| signer.0 == self.settings.account.0)
            })
            .ok_or(SignError::Stranger { account: self.settings.account })
    }

    fn token(&self) -> Result<Zeroizing<String>, SignError> {
        let bytes = self.credentials()?;
        let text = std::str::from_utf8(&bytes).ok().and_then(|text| text.lines().next()).unwrap_or_default();
        let text = text.trim();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(self.credentials_of("it holds no access token in its first line"));
        }
        Ok(Zeroizing::new(text.to_owned()))
    }

    fn aws(&self, region: &str, body: &str) -> Result<Vec<(&'static str, Zeroizing<String>)>, SignError> {
        let bytes = self.credentials()?;
        let known: AwsCredentials = serde_json::from_slice(&bytes)
            .map_err(|_| self.credentials_of("it is not what `aws configure export-credentials` prints"))?;
        let mut headers = vec![
            ("content-type", Zeroizing::new("application/x-amz-json-1.1".to_owned())),
            ("x-amz-target", Zeroizing::new("TrentService.Sign".to_owned())),
        ];
        if let Some(token) = known.session_token {
            headers.push(("x-amz-security-token", token));
        }
        let request = AwsRequest {
            host: self.http.host(),
            service: "kms",
            region,
            key_id: &known.access_key_id,
            secret: &known.secret_access_key,
            at: (self.settings.clock)(),
        };
        request.sign(&mut headers, body);
        Ok(headers)
    }

    fn credentials(&self) -> Result<Zeroizing<Vec<u8>>, SignError> {
        closed_file(&self.settings.credentials_file).map_err(|source| SignError::Credentials {
            account: self.settings.account,
            source: Box::new(source),
        })
    }

    fn credentials_of(&self, why: &str) -> SignError {
        let path: &Path = &self.settings.credentials_file;
        let why = format!("credentials {}: {why}", path.display());
        SignError::Credentials { account: self.settings.account, source: Box::new(KeyError::Remote { why }) }
    }
}

/// What AWS's "Signature Version 4" signs a POST to `/` with.
struct AwsRequest<'a> {
    host: String,
    service: &'a str,
    region: &'a str,
    key_id: &'a str,
    secret: &'a str,
    at: Now,
}

impl AwsRequest<'_> {
    /// Adds `x-amz-date` and `authorization`.
    fn sign(&self, headers: &mut Vec<(&'static str, Zeroizing<String>)>, body: &str) {
        let seconds = self.at.0 / 1000;
        let date = Day::of_unix(Seconds(seconds)).to_string().replace('-', "");
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        let stamp = format!("{date}T{hour:02}{minute:02}{second:02}Z");
        headers.push(("x-amz-date", Zeroizing::new(stamp.clone())));
        let mut all: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        all.push(("host", &self.host));
        all.sort_unstable();
        let canonical: String =
            all.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
        let canonical = Zeroizing::new(canonical);
        let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let hash = |text: &str| hex::encode(Sha256::digest(text.as_bytes()));
        let request = Zeroizing::new(format!("POST\n/\n\n{}\n{names}\n{}", *canonical, hash(body)));
        let scope = format!("{date}/{}/{}/aws4_request", self.region, self.service);
        let text = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}", hash(&request));
        let signature = hex::encode(mac(&*self.signing_key(&date), &text));
        let said = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            self.key_id
        );
        headers.push(("authorization", Zeroizing::new(said)));
    }

    fn signing_key(&self, date: &str) -> Zeroizing<[u8; 32]> {
        let secret = Zeroizing::new(format!("AWS4{}", self.secret));
        let mut key = Zeroizing::new(mac(secret.as_bytes(), date));
        for part in [self.region, self.service, "aws4_request"] {
            key = Zeroizing::new(mac(&*key, part));
        }
        key
    }
}

fn mac(key: &[u8], text: &str) -> [u8; 32] {
    // HMAC takes keys of any length, and the library's type says otherwise.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `post-vanilla` of AWS's test suite for Signature Version 4, and the signing key of its documentation.
    #[test]
    fn signatures_are_those_of_the_published_suite() {
        let request = AwsRequest {
            host: "example.amazonaws.com".into(),
            service: "service",
            region: "us-east-1",
            key_id: "AKIDEXAMPLE",
            secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            // 2015-08-30T12:36:00Z
            at: Now(1_440_938_160_000),
        };
        let mut headers = Vec::new();
        request.sign(&mut headers, "");
        assert_eq!(headers[0].1.as_str(), "20150830T123600Z");
        assert_eq!(
            headers[1].1.as_str(),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-date, Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
        );
        let documented = AwsRequest { service: "iam", ..request };
        assert_eq!(
            hex::encode(*documented.signing_key("20120215")),
            "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d"
        );
    }
}
