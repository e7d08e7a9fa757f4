//! Power (IPMI 2.0, 28.2 and 28.3).

use crate::{
    command::{Link, data, odd},
    error::IpmiError,
    message::{Family, Request},
};

/// Whether the machine runs, and what its chassis says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one bit of the answer, independent of the others")]
pub struct Chassis {
    /// Power is on.
    pub on: bool,
    /// More power is drawn than there is.
    pub overload: bool,
    /// The main power subsystem has a fault.
    pub fault: bool,
    /// The chassis was opened.
    pub intrusion: bool,
    /// The last power-off was by an interlock, a fault or an overload rather than on purpose.
    pub fell: bool,
}

impl Chassis {
    /// Reads the answer to Get Chassis Status.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let [power, last, misc] = *bytes.first_chunk()?;
        Some(Self {
            on: power & 0x01 != 0,
            overload: power & 0x02 != 0,
            fault: power & 0x08 != 0,
            intrusion: misc & 0x01 != 0,
            fell: last & 0x0e != 0,
        })
    }
}

/// What can be done to the power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Off at once.
    Down,
    /// On.
    Up,
    /// Off and on.
    Cycle,
    /// Reset.
    Reset,
    /// Ask the operating system to shut down.
    Soft,
}

impl Control {
    fn number(self) -> u8 {
        match self {
            Self::Down => 0,
            Self::Up => 1,
            Self::Cycle => 2,
            Self::Reset => 3,
            Self::Soft => 5,
        }
    }
}

/// Get Chassis Status.
///
/// # Errors
/// When the controller cannot be asked or answers oddly.
pub async fn status<L: Link>(link: &mut L) -> Result<Chassis, IpmiError> {
    let request = Request::new("the chassis' status", Family::Chassis, 0x01, &[]);
    let bytes = data(link, &request).await?;
    Chassis::read(&bytes).ok_or_else(|| odd(link, &request, bytes.len(), "three are the least"))
}

/// Chassis Control.
///
/// # Errors
/// When the controller cannot be asked or refuses.
pub async fn control<L: Link>(link: &mut L, control: Control) -> Result<(), IpmiError> {
    let what = match control {
        Control::Down => "switching the power off",
        Control::Up => "switching the power on",
        Control::Cycle => "cycling the power",
        Control::Reset => "resetting the machine",
        Control::Soft => "asking the operating system to shut down",
    };
    data(link, &Request::new(what, Family::Chassis, 0x02, &[control.number()])).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read() {
        let on = Chassis::read(&[0x21, 0x10, 0x40]).unwrap();
        assert_eq!(on, Chassis { on: true, overload: false, fault: false, intrusion: false, fell: false });
        let off = Chassis::read(&[0x0a, 0x04, 0x01, 0x00]).unwrap();
        assert_eq!(off, Chassis { on: false, overload: true, fault: true, intrusion: true, fell: true });
        assert_eq!(Chassis::read(&[1, 2]), None);
    }
}
