//! IPMI over LAN.
use super::desk::Desk;
use crate::error::RackError;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::task::AbortHandle;

/// Policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IpmiPolicy {
    /// SHA-256 and AES.
    pub suite_17: bool,
    /// SHA-1 and AES.
    pub suite_3: bool,
}

pub(crate) async fn start(
    bind: SocketAddr,
    _policy: IpmiPolicy,
    _desk: Arc<Desk>,
) -> Result<(SocketAddr, AbortHandle), RackError> {
    Ok((bind, tokio::spawn(async {}).abort_handle()))
}
