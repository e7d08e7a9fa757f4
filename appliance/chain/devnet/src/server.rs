//! HTTP and clock around the chain: one POST route, bounded bodies and batches, the interval miner.

use std::{
    convert::Infallible,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::post,
};
use tokio::net::TcpListener;

use crate::{Devnet, Error, Mining, rpc};

/// Bytes of one request body, batches included.
const BODY_BYTES_MAX: usize = 5 * 1024 * 1024;

/// Serves `devnet` on `listener` and mines on its interval.  Returns only if the listener fails or isn't loopback.
pub async fn serve(listener: TcpListener, devnet: Devnet) -> Result<Infallible, Error> {
    let address = listener.local_addr().map_err(Error::Server)?;
    if !address.ip().is_loopback() {
        return Err(Error::NotLoopback { address });
    }
    let served = async { axum::serve(listener, devnet.router()).await };
    tokio::select! {
        ended = served => {
            Err(Error::Server(ended.err().unwrap_or_else(|| std::io::Error::other("it stopped without an error"))))
        }
        () = mine_on_interval(&devnet) => {
            Err(Error::Server(std::io::Error::other("the miner stopped")))
        }
    }
}

pub(crate) fn router(devnet: Devnet) -> Router {
    Router::new().route("/", post(answer)).layer(DefaultBodyLimit::max(BODY_BYTES_MAX)).with_state(devnet)
}

async fn answer(State(devnet): State<Devnet>, headers: HeaderMap, body: Bytes) -> Response {
    // A web page may post text to loopback without asking; JSON it may not.  geth demands the same.
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("application/json") {
        return (
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "invalid content type, only application/json is supported",
        )
            .into_response();
    }
    // Running contracts and flushing to disk both block: off the async threads.
    let done = tokio::task::spawn_blocking(move || rpc::answer(&devnet.chain, &body, unix_seconds())).await;
    match done {
        Ok(Some(json)) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Ok(None) => StatusCode::OK.into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

pub(crate) async fn mine_on_interval(devnet: &Devnet) {
    let Mining::Interval(period) = devnet.mining else { return std::future::pending().await };
    let period = period.max(std::time::Duration::from_millis(1));
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let chain = devnet.chain.clone();
        let mined = tokio::task::spawn_blocking(move || match chain.write() {
            Ok(mut chain) if !chain.automine => chain.mine_ready(unix_seconds()).map(|_| ()),
            Ok(_) => Ok(()),
            Err(_) => Err(rpc::Refusal::stopped()),
        });
        if let Ok(Err(refusal)) = mined.await {
            tracing::warn!(error = %refusal.message, "could not mine a block; will try again");
        }
    }
}

/// Seconds since 1970, by the real clock.
pub(crate) fn unix_seconds() -> u64 {
    u64::try_from(unix_nanoseconds() / 1_000_000_000).unwrap_or(u64::MAX)
}

/// Nanoseconds since 1970, by the real clock.
#[expect(
    clippy::disallowed_methods,
    reason = "a chain stamps its blocks; this is the only place that reads a clock"
)]
pub(crate) fn unix_nanoseconds() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos())
}
