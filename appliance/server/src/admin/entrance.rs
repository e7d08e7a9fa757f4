//! Where the page is for other machines: a listener of its own, TLS with a certificate of the site's authority, the door
//! in front.

use std::{net::IpAddr, sync::Arc};

use axum::{Router, middleware};
use nix::ifaddrs::getifaddrs;
use tokio::net::TcpListener;

use super::door::{self, Door};
use crate::{
    config::Config,
    serve::{ServeError, listen},
    site::Keys,
    tls,
};

/// The page's listener and what stands in front of it.
#[derive(Debug)]
pub(crate) struct Entrance {
    listener: TcpListener,
    tls: rustls::ServerConfig,
    door: Arc<Door>,
}

/// Opens it, where the site file has one.
pub(crate) async fn open(config: &Config, keys: &Keys) -> Result<Option<Entrance>, ServeError> {
    let Some(page) = &config.page else { return Ok(None) };
    let tls = keys.tls(&names(page.listen.ip())).map_err(ServeError::Keys)?;
    let door = Door::new(page.admin.clone()).map_err(ServeError::Admin)?;
    let listener = listen("people on other machines", page.listen).await?;
    tracing::info!(page = ?listener.local_addr().ok(), "the page asks for the admin's password there");
    Ok(Some(Entrance { listener, tls, door: Arc::new(door) }))
}

/// Serves `router` behind the door; without one it waits for ever.
pub(crate) async fn serve(entrance: Option<Entrance>, router: Router) {
    let Some(Entrance { listener, tls, door }) = entrance else { return std::future::pending().await };
    let router = router.layer(middleware::from_fn_with_state(door, door::keep));
    tls::serve(Some(listener), tls, router).await;
}

/// What the certificate is for: where all addresses are listened on, those that there are now.
pub(crate) fn names(listen: IpAddr) -> Vec<IpAddr> {
    if !listen.is_unspecified() {
        return vec![listen];
    }
    let all = getifaddrs().into_iter().flatten().filter_map(|one| one.address);
    let names = all.filter_map(|address| {
        let v4 = address.as_sockaddr_in().map(|at| IpAddr::V4(at.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|at| IpAddr::V6(at.ip())))
    });
    names.collect()
}
