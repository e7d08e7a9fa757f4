//! Boot flags (IPMI 2.0, 28.12 to 28.14): set, and read back, since a success code alone proves nothing.

use crate::{
    command::{Link, data, odd},
    error::IpmiError,
    message::{Family, Request},
};

/// Where to boot from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// As the firmware is set.
    NoOverride,
    /// PXE.
    Pxe,
    /// The disk.
    Disk,
    /// The built-in CD drive.
    Cd,
    /// The firmware's setup.
    Setup,
    /// A CD that the controller plays: virtual media.
    RemoteCd,
    /// Something else, with its number.
    Other(u8),
}

impl Source {
    fn number(self) -> u8 {
        match self {
            Self::NoOverride => 0,
            Self::Pxe => 1,
            Self::Disk => 2,
            Self::Cd => 5,
            Self::Setup => 6,
            Self::RemoteCd => 8,
            Self::Other(number) => number & 0x0f,
        }
    }

    fn of(number: u8) -> Self {
        match number & 0x0f {
            0 => Self::NoOverride,
            1 => Self::Pxe,
            2 => Self::Disk,
            5 => Self::Cd,
            6 => Self::Setup,
            8 => Self::RemoteCd,
            other => Self::Other(other),
        }
    }
}

/// Boot flags, parameter 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flags {
    /// Whether they count at the next boot.
    pub valid: bool,
    /// Whether they stay after it.
    pub persistent: bool,
    /// Whether an EFI boot is asked for.  Neither with nor without works everywhere (bmclib took it in by its change
    /// 209 and out again by 217): who needs a boot tries both, and believes only the machine that booted.
    pub efi: bool,
    /// From where.
    pub source: Source,
}

impl Flags {
    /// Reads the parameter's data.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let [flags, source] = *bytes.first_chunk()?;
        Some(Self {
            valid: flags & 0x80 != 0,
            persistent: flags & 0x40 != 0,
            efi: flags & 0x20 != 0,
            source: Source::of(source >> 2),
        })
    }

    fn bytes(self) -> [u8; 5] {
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        let flags = bit(self.valid, 0x80) | bit(self.persistent, 0x40) | bit(self.efi, 0x20);
        [flags, self.source.number() << 2, 0, 0, 0]
    }
}

/// Parameters of Set System Boot Options (table 28-14).
const VALID_BIT_CLEARING: u8 = 3;
const ACKNOWLEDGE: u8 = 4;
const FLAGS: u8 = 5;

/// The boot flags as they stand.
///
/// # Errors
/// When the controller cannot be asked or answers oddly.
pub async fn flags<L: Link>(link: &mut L) -> Result<Flags, IpmiError> {
    let request = Request::new("the boot flags", Family::Chassis, 0x09, &[FLAGS, 0, 0]);
    let bytes = data(link, &request).await?;
    let read = match bytes.split_at_checked(2) {
        Some(([_version, parameter], rest)) if parameter & 0x7f == FLAGS => Flags::read(rest),
        Some(_) | None => None,
    };
    read.ok_or_else(|| odd(link, &request, bytes.len(), "they are no boot flags"))
}

/// Sets boot flags and returns what the controller shows afterwards.
///
/// # Errors
/// When the controller refuses, or shows another source than was set.  Other flags that it lost are no error, some
/// keep only the source: what is returned tells, and the machine that boots decides.
pub async fn set<L: Link>(link: &mut L, flags: Flags) -> Result<Flags, IpmiError> {
    let request = |what, bytes: &[u8]| Request::new(what, Family::Chassis, 0x08, bytes);
    // Both of these are optional parameters.  A controller forgets valid flags after 60 s without a power command,
    // unless bit 3 tells it not to; and its BIOS ignores flags that were marked as handled before.
    link.ask(&request("that boot flags stay valid", &[VALID_BIT_CLEARING, 0x08])).await?;
    link.ask(&request("that boot flags are not handled yet", &[ACKNOWLEDGE, 0x01, 0x01])).await?;
    let set = request("the boot flags", &[&[FLAGS][..], &flags.bytes()].concat());
    data(link, &set).await?;
    let shown = self::flags(link).await?;
    if shown.source == flags.source {
        return Ok(shown);
    }
    Err(IpmiError::NotShown { host: link.host().to_owned(), what: set.what, found: format!("{shown:?}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_written_as_they_are_read() {
        for number in 0..16 {
            assert_eq!(Source::of(number).number(), number);
        }
        let flags = Flags { valid: true, persistent: false, efi: true, source: Source::Pxe };
        // As `ipmitool chassis bootdev pxe options=efiboot` sends it.
        assert_eq!(flags.bytes(), [0xa0, 0x04, 0, 0, 0]);
        assert_eq!(Flags::read(&flags.bytes()), Some(flags));
        assert_eq!(Flags::read(&[0x80]), None);
    }
}
