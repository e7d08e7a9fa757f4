//! The agents' listener: TLS with a certificate of the site's authority, bounded connections and handshakes.

use std::{sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};
use tokio_rustls::TlsAcceptor;

/// Agents connected at once: a room of servers, twice.
const CONNECTIONS_MAX: usize = 4096;

/// A handshake takes a server milliseconds, and an emulated one a second.
const HANDSHAKE_SECONDS_MAX: u64 = 30;

/// Serves `router` on `listener` until it is dropped; without one it waits for ever.
pub(crate) async fn serve(listener: Option<TcpListener>, tls: rustls::ServerConfig, router: Router) {
    let Some(listener) = listener else { return std::future::pending().await };
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
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
        let (acceptor, router) = (acceptor.clone(), router.clone());
        connections.spawn(async move {
            let handshake = acceptor.accept(stream);
            let limit = Duration::from_secs(HANDSHAKE_SECONDS_MAX);
            let stream = match tokio::time::timeout(limit, handshake).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return tracing::debug!(%peer, %error, "no TLS with this agent"),
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
