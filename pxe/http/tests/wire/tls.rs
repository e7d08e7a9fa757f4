//! HTTPS by rustls: HTTP/1.1 and HTTP/2, chosen by the client.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use hyper::{Request, StatusCode, body::Body, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pxe_http::{Limits, What, Why};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        self, ClientConfig, ClientConnection, RootCertStore, StreamOwned,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject as _},
    },
};

use crate::world::{World, limits};

/// A certificate and its key, PEM.
fn identity() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["boot.test".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

fn trusting(certificate: &str, alpn: &[&[u8]]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

fn world(limits: Limits) -> (World, SocketAddr, String) {
    let (certificate, key) = identity();
    let place = OnceLock::new();
    let world = World::with(limits, 20_000_003, |server| {
        let config = pxe_http::tls(certificate.as_bytes(), key.as_bytes()).unwrap();
        place.set(server.also_tls((Ipv4Addr::LOCALHOST, 0).into(), config).unwrap()).unwrap();
    });
    (world, place.into_inner().unwrap(), certificate)
}

#[test]
fn http_1_1_in_tls_is_the_same_file() {
    let (world, at, certificate) = world(limits());
    let name = ServerName::try_from("boot.test").unwrap();
    let session = ClientConnection::new(trusting(&certificate, &[b"http/1.1"]), name).unwrap();
    let mut stream = StreamOwned::new(session, TcpStream::connect(at).unwrap());
    stream.write_all(b"GET /image HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
    assert!(answer.ends_with(&world.image));
}

#[test]
fn plain_words_to_the_tls_port_are_counted() {
    let (world, at, _) = world(limits());
    let mut stream = TcpStream::connect(at).unwrap();
    stream.write_all(b"GET /image HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    world.wait(|event| event.what == What::Refused(Why::Handshake));
}

struct Client(http2::SendRequest<Empty>);

/// No body.
#[derive(Debug)]
struct Empty;

impl Body for Empty {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }
}

impl Client {
    async fn connect(at: SocketAddr, certificate: &str) -> Self {
        let connector = TlsConnector::from(trusting(certificate, &[b"h2", b"http/1.1"]));
        let tcp = tokio::net::TcpStream::connect(at).await.unwrap();
        let name = ServerName::try_from("boot.test").unwrap();
        let stream = connector.connect(name, tcp).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]), "HTTP/2 is preferred");
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    async fn ask(&mut self, method: &str, path: &str, header: Option<(&str, &str)>) -> (StatusCode, Vec<u8>) {
        let mut request = Request::builder().method(method).uri(format!("https://boot.test{path}"));
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let response = self.0.send_request(request.body(Empty).unwrap()).await.unwrap();
        let status = response.status();
        let mut body = Box::pin(response.into_body());
        let mut bytes = Vec::new();
        while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            bytes.extend_from_slice(frame.unwrap().data_ref().unwrap());
        }
        (status, bytes)
    }
}

#[tokio::test]
async fn http_2_follows_the_same_rules() {
    let (world, at, certificate) = world(Limits { places: 1, ..limits() });
    let mut client = Client::connect(at, &certificate).await;
    let (status, body) = client.ask("GET", "/image", None).await;
    assert_eq!((status, body == world.image), (StatusCode::OK, true));
    let (status, body) = client.ask("GET", "/image", Some(("range", "bytes=1000-70000"))).await;
    assert_eq!((status, body == world.image[1000..=70_000]), (StatusCode::PARTIAL_CONTENT, true));
    for (method, path, header, expected) in [
        ("HEAD", "/image", None, 200),
        ("GET", "/nothing", None, 404),
        ("GET", "/later", None, 503),
        ("POST", "/image", None, 405),
        ("GET", "/a/../image", None, 400),
        ("GET", "/image?x", None, 400),
        ("GET", "/%69mage", None, 400),
        ("GET", "/image", Some(("range", "bytes=99999999-")), 416),
        ("GET", "/image", Some(("if-none-match", "*")), 304),
    ] {
        let (status, body) = client.ask(method, path, header).await;
        assert_eq!((status.as_u16(), body.len()), (expected, 0), "{method} {path}");
    }
    // Several at once take turns at the one place.
    let asked = (0..4).map(|_| {
        let mut client = Client(client.0.clone());
        async move { client.ask("GET", "/image", None).await }
    });
    let asked: Vec<_> = asked.map(tokio::spawn).collect();
    for one in asked {
        assert!(one.await.unwrap().1 == world.image);
    }
    assert!(world.heard().contains(&What::Admitted));
}

#[tokio::test]
async fn a_stream_that_waits_gets_a_few_bytes_now_and_then() {
    let trickle = std::time::Duration::from_millis(20);
    let (world, at, certificate) = world(Limits { places: 1, trickle, ..limits() });
    let mut first = world.client_from(9);
    first.get("/image");
    first.head();
    let mut client = Client::connect(at, &certificate).await;
    let request = Request::get("https://boot.test/image").body(Empty).unwrap();
    let mut body = Box::pin(client.0.send_request(request).await.unwrap().into_body());
    let mut bytes = Vec::new();
    let mut first = Some(first);
    while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        bytes.extend_from_slice(frame.unwrap().data_ref().unwrap());
        if first.is_some() {
            assert!(!world.heard().contains(&What::Admitted));
        }
        if bytes.len() > 1500 {
            // The place is free when its holder leaves.
            first.take();
        }
    }
    assert!(bytes == world.image && world.heard().contains(&What::Admitted));
}

#[test]
fn certificates_that_cannot_work_are_named() {
    let (certificate, key) = identity();
    let (_, other) = identity();
    let wrong =
        |certificate: &str, key: &str| pxe_http::tls(certificate.as_bytes(), key.as_bytes()).unwrap_err();
    assert!(matches!(wrong("", &key), pxe_http::TlsError::Certificate(_)));
    assert!(matches!(wrong(&certificate, "rubbish"), pxe_http::TlsError::Key(_)));
    assert!(matches!(
        wrong(&certificate, &other),
        pxe_http::TlsError::Pair(rustls::Error::InconsistentKeys(_))
    ));
}
