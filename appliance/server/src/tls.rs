//! The agents' listener: TLS with a certificate of the site's authority, bounded connections and handshakes.

use std::{
    collections::BTreeSet,
    io,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::Router;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};
use tokio_rustls::{
    LazyConfigAcceptor,
    rustls::{AlertDescription, Error, server::Acceptor},
    server::TlsStream,
};

/// Agents connected at once: a room of servers, twice.
const CONNECTIONS_MAX: usize = 4096;

/// A handshake takes a server milliseconds, and an emulated one a second.
const HANDSHAKE_SECONDS_MAX: u64 = 30;

/// Addresses that are remembered to have been told of: a LAN has fewer, and a log is not to be filled from outside.
const TOLD_MAX: usize = 1024;

/// Serves `router` on `listener` until it is dropped; without one it waits for ever.
pub(crate) async fn serve(listener: Option<TcpListener>, tls: rustls::ServerConfig, router: Router) {
    let Some(listener) = listener else { return std::future::pending().await };
    let tls = Arc::new(tls);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let told: Arc<Mutex<BTreeSet<IpAddr>>> = Arc::default();
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most often: others must finish first.
                tracing::warn!(%error, "an agent could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (tls, router, told) = (Arc::clone(&tls), router.clone(), Arc::clone(&told));
        connections.spawn(async move {
            let handshake = shake_hands(stream, tls);
            let limit = Duration::from_secs(HANDSHAKE_SECONDS_MAX);
            let stream = match tokio::time::timeout(limit, handshake).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(none)) => return refused(&none, peer.ip(), &told),
                Err(_) => return tracing::debug!(%peer, "an agent's TLS handshake took too long"),
            };
            let service = TowerToHyperService::new(router);
            let served = hyper::server::conn::http1::Builder::new()
                .timer(hyper_util::rt::TokioTimer::new())
                .header_read_timeout(Duration::from_secs(HANDSHAKE_SECONDS_MAX))
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = served.await {
                tracing::debug!(%peer, %error, "an agent's connection ended");
            }
            drop(place);
        });
    }
}

/// Why no TLS came about.
#[derive(Debug)]
struct NoTls {
    error: io::Error,
    /// Whether the other side had got our certificate.
    certificate_shown: bool,
}

async fn shake_hands(
    stream: TcpStream,
    tls: Arc<rustls::ServerConfig>,
) -> Result<TlsStream<TcpStream>, NoTls> {
    let before = |error| NoTls { error, certificate_shown: false };
    let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await.map_err(before)?;
    hello.into_stream(tls).await.map_err(|error| NoTls { error, certificate_shown: true })
}

/// No TLS came about.  One that knows another authority is told of, once for each address: somebody wonders why that
/// server does not come.
fn refused(none: &NoTls, peer: IpAddr, told: &Mutex<BTreeSet<IpAddr>>) {
    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
    if knows_another_authority(none) && told.len() < TOLD_MAX && told.insert(peer) {
        tracing::warn!(
            %peer,
            "an agent does not take this appliance for its own: its image was sealed for another site, or before this \
             site's authority was made anew. Boot that server from this appliance"
        );
    } else {
        tracing::debug!(%peer, error = %none.error, "no TLS with this agent");
    }
}

/// An agent says so by an alert, or hangs up without one: its client writes the alert behind another record, and may get
/// no further than that one.
fn knows_another_authority(none: &NoTls) -> bool {
    let hung_up = [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset];
    let cause = none.error.get_ref().and_then(|cause| cause.downcast_ref::<Error>());
    // Authorities of two sites have the same name: then it is the signature that does not fit.
    let alerted = matches!(
        cause,
        Some(Error::AlertReceived(
            AlertDescription::UnknownCA | AlertDescription::BadCertificate | AlertDescription::DecryptError
        ))
    );
    none.certificate_shown && (alerted || hung_up.contains(&none.error.kind()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    #[test]
    fn only_another_authority_is_told_of() {
        let alert = |alert| io::Error::new(io::ErrorKind::InvalidData, Error::AlertReceived(alert));
        let eof = || io::Error::from(io::ErrorKind::UnexpectedEof);
        for (error, certificate_shown, expected) in [
            (alert(AlertDescription::UnknownCA), true, true),
            (alert(AlertDescription::BadCertificate), true, true),
            (alert(AlertDescription::DecryptError), true, true),
            (alert(AlertDescription::ProtocolVersion), true, false),
            (eof(), true, true),
            (eof(), false, false),
        ] {
            let none = NoTls { error, certificate_shown };
            assert_eq!(knows_another_authority(&none), expected, "{none:?}");
        }
    }

    /// What a port scanner does, and what an agent does that does not like the certificate.
    #[tokio::test]
    async fn one_that_hangs_up_at_our_certificate_is_told_from_one_that_never_spoke() {
        let dir = tempfile::tempdir().unwrap();
        crate::site::init(dir.path()).unwrap();
        let address = std::net::Ipv4Addr::LOCALHOST.into();
        let tls = Arc::new(crate::site::Keys::read(dir.path()).unwrap().tls(&[address]).unwrap());
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let at = listener.local_addr().unwrap();
        for speaks in [false, true] {
            let client = tokio::task::spawn_blocking(move || {
                let mut stream = std::net::TcpStream::connect(at).unwrap();
                if speaks {
                    let config = rustls::ClientConfig::builder_with_provider(
                        rustls::crypto::ring::default_provider().into(),
                    )
                    .with_safe_default_protocol_versions()
                    .unwrap()
                    .with_root_certificates(rustls::RootCertStore::empty())
                    .with_no_client_auth();
                    let mut client = rustls::ClientConnection::new(config.into(), address.into()).unwrap();
                    client.write_tls(&mut stream).unwrap();
                    stream.flush().unwrap();
                    stream.read_exact(&mut [0; 64]).unwrap();
                }
            });
            let (stream, _) = listener.accept().await.unwrap();
            let none = shake_hands(stream, Arc::clone(&tls)).await.unwrap_err();
            client.await.unwrap();
            assert_eq!(knows_another_authority(&none), speaks, "{none:?}");
        }
    }
}
