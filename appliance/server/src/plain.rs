//! Plain HTTP for strangers (verifiers, controllers that fetch an image), so bounded in connections and in the time they
//! may take.

use std::{sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};

/// Verifiers connected at once: one waits half a minute at most, and a reverse proxy keeps a few lines open.
const CONNECTIONS_MAX: usize = 256;

/// How long a request's head may take to arrive.
const HEAD_SECONDS_MAX: u64 = 10;

/// How long a connection may last, all its requests together: a caller who dribbles a body gives the place back.
const CONNECTION_SECONDS_MAX: u64 = 300;

/// Serves `router` on `listener` until it is dropped; without one it waits for ever.
pub(crate) async fn serve(listener: Option<TcpListener>, router: Router) {
    serve_for(listener, router, CONNECTION_SECONDS_MAX).await;
}

/// The same where a connection may last longer.
pub(crate) async fn serve_for(listener: Option<TcpListener>, router: Router, seconds_max: u64) {
    let Some(listener) = listener else { return std::future::pending().await };
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most often: others must finish first.
                tracing::warn!(%error, "a caller could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(router.clone());
        connections.spawn(async move {
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(HEAD_SECONDS_MAX))
                .serve_connection(TokioIo::new(stream), service);
            let limit = Duration::from_secs(seconds_max);
            if let Ok(Err(error)) = tokio::time::timeout(limit, served).await {
                tracing::debug!(%peer, %error, "a caller's connection ended");
            }
            drop(place);
        });
    }
}
