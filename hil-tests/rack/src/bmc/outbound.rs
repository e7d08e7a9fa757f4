//! What the BMC asks of others: it fetches images and delivers events by plain HTTP/1.1, with or without TLS.
//!
//! Certificates of others are not checked, as most BMCs do not; answers are bounded.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, Uri, header};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long a whole exchange may take.
const EXCHANGE_SECONDS_MAX: u64 = 120;

/// A stream that may be TLS.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Why something could not be had.
#[derive(Debug, thiserror::Error)]
#[error("{uri}: {reason}")]
pub(crate) struct OutboundError {
    uri: String,
    reason: String,
}

/// Fetches `uri` into `file` and says how many bytes it has; without a file the bytes are only counted.
pub(crate) async fn fetch(
    uri: &str,
    credentials: Option<(&str, &str)>,
    bytes_max: u64,
    file: Option<&std::path::Path>,
) -> Result<u64, OutboundError> {
    let fault = |reason: String| OutboundError { uri: uri.to_owned(), reason };
    let limit = Duration::from_secs(EXCHANGE_SECONDS_MAX);
    let work = async {
        let mut request = request(uri, Method::GET, Body::empty())?;
        if let Some((user, password)) = credentials {
            use base64::Engine as _;
            let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
            if let Ok(value) = format!("Basic {pair}").parse() {
                request.headers_mut().insert(header::AUTHORIZATION, value);
            }
        }
        let response = send(request).await?;
        if !response.status().is_success() {
            return Err(format!("answered {}", response.status()));
        }
        let mut out = match file {
            Some(path) => Some(tokio::fs::File::create(path).await.map_err(|error| error.to_string())?),
            None => None,
        };
        let mut body = Body::new(response.into_body()).into_data_stream();
        let mut total = 0_u64;
        while let Some(chunk) = futures_util::StreamExt::next(&mut body).await {
            let chunk = chunk.map_err(|error| error.to_string())?;
            total += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
            if total > bytes_max {
                return Err(format!("more than {bytes_max} bytes"));
            }
            if let Some(out) = &mut out {
                out.write_all(&chunk).await.map_err(|error| error.to_string())?;
            }
        }
        if let Some(mut out) = out {
            out.flush().await.map_err(|error| error.to_string())?;
        }
        Ok(total)
    };
    tokio::time::timeout(limit, work).await.map_err(|_| fault("took too long".to_owned()))?.map_err(fault)
}

/// Posts JSON; any answer counts as delivered.
pub(crate) async fn post(uri: &str, body: String) -> Result<(), OutboundError> {
    let fault = |reason: String| OutboundError { uri: uri.to_owned(), reason };
    let work = async {
        let mut request = request(uri, Method::POST, Body::from(body))?;
        let json = header::HeaderValue::from_static("application/json");
        request.headers_mut().insert(header::CONTENT_TYPE, json);
        send(request).await.map(drop)
    };
    let limit = Duration::from_secs(EXCHANGE_SECONDS_MAX);
    tokio::time::timeout(limit, work).await.map_err(|_| fault("took too long".to_owned()))?.map_err(fault)
}

fn request(uri: &str, method: Method, body: Body) -> Result<Request<Body>, String> {
    let parsed: Uri = uri.parse().map_err(|_| "is no address".to_owned())?;
    let host = parsed.authority().ok_or_else(|| "has no host".to_owned())?.as_str();
    let host = host.rsplit('@').next().unwrap_or(host).to_owned();
    Request::builder()
        .method(method)
        .uri(parsed)
        .header(header::HOST, host)
        .header(header::USER_AGENT, "lab-bmc")
        .header(header::CONNECTION, "close")
        .body(body)
        .map_err(|error| error.to_string())
}

async fn send(request: Request<Body>) -> Result<axum::http::Response<hyper::body::Incoming>, String> {
    let uri = request.uri().clone();
    let tls = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        Some(_) | None => return Err("only http and https are spoken".to_owned()),
    };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let stream = TcpStream::connect((host.as_str(), port)).await.map_err(|error| error.to_string())?;
    let stream: Box<dyn Stream> = if tls {
        let name = ServerName::try_from(host).map_err(|error| error.to_string())?;
        let connector = tokio_rustls::TlsConnector::from(Arc::new(client()?));
        Box::new(connector.connect(name, stream).await.map_err(|error| error.to_string())?)
    } else {
        Box::new(stream)
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    parts.uri = path.parse().map_err(|_| "has no path".to_owned())?;
    sender.send_request(Request::from_parts(parts, body)).await.map_err(|error| error.to_string())
}

fn client() -> Result<rustls::ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(config.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider))).with_no_client_auth())
}

/// Trusts everybody, as the BMCs that this program plays do.
#[derive(Debug)]
struct Anyone(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
