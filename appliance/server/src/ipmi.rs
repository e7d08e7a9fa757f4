//! Power and boot by IPMI, for controllers without Redfish and as the last rung for the others.

use appliance_ipmi::{IpmiError, Session, Timing, handshake::Refusal, surface};
use appliance_model::{BootTarget, PowerState, ResetKind};

use crate::{chain_of, config, sweep::Failed};

/// Sets PXE for the next boot and starts the machine, from whatever state it is in.
pub(crate) async fn boot_by_pxe(entry: &config::Bmc) -> Result<(), Failed> {
    let mut session = open(entry).await?;
    let started = start(&mut session).await.map_err(|error| failed(&error));
    close(session).await;
    started
}

async fn start(session: &mut Session) -> Result<(), IpmiError> {
    if surface::power_state(session).await? != PowerState::Off {
        surface::reset(session, ResetKind::ForceOff).await?;
    }
    surface::set_boot_once(session, BootTarget::Pxe, surface::Efi::Asked).await?;
    surface::reset(session, ResetKind::On).await.map(drop)
}

/// Whether the machine is on.
pub(crate) async fn is_on(entry: &config::Bmc) -> Result<bool, Failed> {
    let mut session = open(entry).await?;
    let state = surface::power_state(&mut session).await.map_err(|error| failed(&error));
    close(session).await;
    state.map(|state| state == PowerState::On)
}

/// Which machine it is.
pub(crate) async fn identity(entry: &config::Bmc) -> Result<surface::Identity, Failed> {
    let mut session = open(entry).await?;
    let identity = surface::identity(&mut session).await.map_err(|error| failed(&error));
    close(session).await;
    identity
}

async fn open(entry: &config::Bmc) -> Result<Session, Failed> {
    let way = entry.ipmi.as_ref().ok_or("the site file allows no IPMI with this BMC (bmc.ipmi)")?;
    let session = Session::open(way.address, &way.login, way.policy, Timing::default()).await;
    session.map_err(|error| failed(&error))
}

fn failed(error: &IpmiError) -> Failed {
    let refused = matches!(error, IpmiError::NoSession { source: Refusal::Password, .. });
    Failed { why: chain_of(error), refused }
}

async fn close(session: Session) {
    // A session that is not closed ends by itself after a minute.
    if let Err(error) = session.close().await {
        tracing::debug!(error = %chain_of(&error), "an IPMI session was not closed");
    }
}
