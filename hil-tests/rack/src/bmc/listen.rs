//! Connections of one BMC: counted, with or without TLS, each given limited patience.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use super::desk::Desk;

/// Most connections at once.
const CONNECTIONS_MAX: usize = 64;

/// How long a client may take for its handshake or its headers.
const PATIENCE_SECONDS: u64 = 20;

/// Accepts until aborted; connections live in a set that dies with this task.
pub(crate) async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, desk: Arc<Desk>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) if !desk.faults.refuses_connection() => {
                let (acceptor, desk) = (acceptor.clone(), Arc::clone(&desk));
                connections.spawn(async move {
                    converse(stream, acceptor.as_ref(), desk).await;
                    drop(place);
                });
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(error = %error, "BMC accept failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, acceptor: Option<&TlsAcceptor>, desk: Arc<Desk>) {
    let patience = Duration::from_secs(PATIENCE_SECONDS);
    drop(stream.set_nodelay(true));
    match acceptor {
        Some(acceptor) => {
            let Ok(Ok(stream)) = tokio::time::timeout(patience, acceptor.accept(stream)).await else {
                return;
            };
            serve(stream, desk).await;
        }
        None => serve(stream, desk).await,
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, desk: Arc<Desk>) {
    let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        let desk = Arc::clone(&desk);
        async move { desk.answer(request.map(Body::new)).await }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(PATIENCE_SECONDS))
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(error = %error, "BMC connection ended");
    }
}
