//! What a controller can be asked for whether it speaks Redfish or IPMI: power, the next boot's source, identity.

use appliance_model::{BootTarget, PowerState, ResetKind};

use crate::{
    command::{
        Link,
        boot::{self, Flags, Source},
        chassis::{self, Control},
        device::{self, Device},
        fru::{self, Fru},
    },
    error::IpmiError,
};

/// Whether the boot flags ask for EFI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Efi {
    /// They do: what the specification wants for a machine that boots by UEFI.
    #[default]
    Asked,
    /// They do not: some firmware boots by UEFI only without the flag.
    Left,
}

/// Which machine it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The controller.
    pub device: Device,
    /// The system's GUID as sent; `None` if the controller tells none.  See [`device::guid_variants`].
    pub guid: Option<[u8; 16]>,
    /// What the machine's own FRU says; `None` if it has none.
    pub fru: Option<Fru>,
}

impl Identity {
    /// The serial number: the product's, else the chassis', else the board's.
    #[must_use]
    pub fn serial(&self) -> Option<&str> {
        self.fru.as_ref().and_then(Fru::serial)
    }
}

/// Whether the machine runs.
///
/// # Errors
/// When the controller cannot be asked or answers oddly.
pub async fn power_state<L: Link>(link: &mut L) -> Result<PowerState, IpmiError> {
    let on = chassis::status(link).await?.on;
    Ok(if on { PowerState::On } else { PowerState::Off })
}

/// Switches the power.  Returns what was done: a machine that is off cannot be reset and is switched on instead.
///
/// # Errors
/// When the controller refuses.
pub async fn reset<L: Link>(link: &mut L, kind: ResetKind) -> Result<Control, IpmiError> {
    let off = !chassis::status(link).await?.on;
    let control = match kind {
        ResetKind::On => Control::Up,
        ResetKind::ForceOff => Control::Down,
        ResetKind::GracefulOff => Control::Soft,
        ResetKind::Restart | ResetKind::PowerCycle if off => Control::Up,
        ResetKind::Restart => Control::Reset,
        ResetKind::PowerCycle => Control::Cycle,
    };
    chassis::control(link, control).await?;
    Ok(control)
}

/// Sets the source of the next boot and returns what the controller shows afterwards.
///
/// # Errors
/// When IPMI has no such source, the controller refuses, or shows another.
pub async fn set_boot_once<L: Link>(link: &mut L, target: BootTarget, efi: Efi) -> Result<Flags, IpmiError> {
    let source = match target {
        BootTarget::Pxe => Source::Pxe,
        BootTarget::Hdd => Source::Disk,
        BootTarget::Cd => Source::Cd,
        BootTarget::UsbCd => Source::RemoteCd,
        BootTarget::None => Source::NoOverride,
        BootTarget::UefiHttp => {
            let host = link.host().to_owned();
            return Err(IpmiError::CannotBe { host, why: "its boot flags know no HTTP boot; use PXE" });
        }
    };
    let valid = source != Source::NoOverride;
    boot::set(link, Flags { valid, persistent: false, efi: valid && efi == Efi::Asked, source }).await
}

/// Which machine it is.
///
/// # Errors
/// When the controller cannot be asked who it is.  A GUID or FRU that it refuses to tell is left out.
pub async fn identity<L: Link>(link: &mut L) -> Result<Identity, IpmiError> {
    let device = device::id(link).await?;
    let guid = told(device::system_guid(link).await)?;
    let fru = told(fru::read(link, 0).await)?;
    Ok(Identity { device, guid, fru })
}

fn told<T>(answer: Result<T, IpmiError>) -> Result<Option<T>, IpmiError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(IpmiError::Refused { .. } | IpmiError::Odd { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
