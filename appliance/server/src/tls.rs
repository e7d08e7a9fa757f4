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
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{AlertDescription, Error},
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
    let acceptor = TlsAcceptor::from(Arc::new(tls));
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
        let (acceptor, router, told) = (acceptor.clone(), router.clone(), Arc::clone(&told));
        connections.spawn(async move {
            let handshake = acceptor.accept(stream);
            let limit = Duration::from_secs(HANDSHAKE_SECONDS_MAX);
            let stream = match tokio::time::timeout(limit, handshake).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return refused(&error, peer.ip(), &told),
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

/// No TLS came about.  One that knows another authority is told of, once for each address: somebody wonders why that
/// server does not come.
fn refused(error: &io::Error, peer: IpAddr, told: &Mutex<BTreeSet<IpAddr>>) {
    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
    if knows_another_authority(error) && told.len() < TOLD_MAX && told.insert(peer) {
        tracing::warn!(
            %peer,
            "an agent does not take this appliance for its own: its image was sealed for another site, or before this \
             site's authority was made anew. Boot that server from this appliance"
        );
    } else {
        tracing::debug!(%peer, %error, "no TLS with this agent");
    }
}

fn knows_another_authority(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>());
    // Authorities of two sites have the same name: then it is the signature that does not fit.
    matches!(
        cause,
        Some(Error::AlertReceived(
            AlertDescription::UnknownCA | AlertDescription::BadCertificate | AlertDescription::DecryptError
        ))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_authority_is_told_of() {
        for (alert, expected) in [
            (AlertDescription::UnknownCA, true),
            (AlertDescription::BadCertificate, true),
            (AlertDescription::DecryptError, true),
            (AlertDescription::ProtocolVersion, false),
        ] {
            let error = io::Error::new(io::ErrorKind::InvalidData, Error::AlertReceived(alert));
            assert_eq!(knows_another_authority(&error), expected, "{alert:?}");
        }
        assert!(!knows_another_authority(&io::Error::from(io::ErrorKind::UnexpectedEof)));
    }
}
