//! The controller's own address (IPMI 2.0, 23.2 and 22.24).

use std::net::Ipv4Addr;

use appliance_model::Mac;

use crate::{
    command::{Link, data, odd},
    error::IpmiError,
    message::{Family, Request},
};

/// "The channel that this comes by"; over `/dev/ipmi0` that is no LAN, so [`channels`] is asked first there.
pub const PRESENT: u8 = 0x0e;

/// How the controller got its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Set by hand.
    Static,
    /// By DHCP.
    Dhcp,
    /// By the firmware, another way, or not told.
    Other(u8),
}

/// What a LAN channel is set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lan {
    /// The channel.
    pub channel: u8,
    /// Address; 0.0.0.0 if it has none.
    pub address: Ipv4Addr,
    /// Subnet mask.
    pub mask: Ipv4Addr,
    /// Default gateway; 0.0.0.0 if it has none.
    pub gateway: Ipv4Addr,
    /// Hardware address.
    pub mac: Mac,
    /// How it got the address.
    pub origin: Origin,
    /// VLAN, if one is on.
    pub vlan: Option<u16>,
}

/// Channels that are an Ethernet LAN, lowest first.
///
/// # Errors
/// When the controller cannot be asked.
pub async fn channels<L: Link>(link: &mut L) -> Result<Vec<u8>, IpmiError> {
    let mut found = Vec::new();
    for channel in 1..=0x0b {
        let request = Request::new("what a channel is", Family::App, 0x42, &[channel]);
        let answer = link.ask(&request).await?;
        // Number, medium (4: 802.3), protocol, session support.
        if answer.code == 0 && answer.data.get(1).is_some_and(|medium| medium & 0x7f == 4) {
            found.push(channel);
        }
    }
    Ok(found)
}

/// Reads what a channel is set to.
///
/// # Errors
/// When the controller cannot be asked, has no such channel, or answers oddly.
pub async fn read<L: Link>(link: &mut L, channel: u8) -> Result<Lan, IpmiError> {
    let address = parameter(link, channel, 3, "its IP address").await?;
    let [origin] = parameter(link, channel, 4, "where its IP address is from").await?;
    let mac = parameter(link, channel, 5, "its hardware address").await?;
    let mask = parameter(link, channel, 6, "its subnet mask").await?;
    let gateway: [u8; 4] = parameter(link, channel, 12, "its gateway").await?;
    // Optional.
    let vlan = parameter::<L, 2>(link, channel, 20, "its VLAN").await.ok().map(u16::from_le_bytes);
    let origin = match origin & 0x0f {
        1 => Origin::Static,
        2 => Origin::Dhcp,
        other => Origin::Other(other),
    };
    let [address, mask, gateway] = [address, mask, gateway].map(Ipv4Addr::from);
    let vlan = vlan.filter(|vlan| vlan & 0x8000 != 0).map(|vlan| vlan & 0x0fff);
    Ok(Lan { channel, address, mask, gateway, mac: Mac(mac), origin, vlan })
}

async fn parameter<L: Link, const N: usize>(
    link: &mut L,
    channel: u8,
    number: u8,
    what: &'static str,
) -> Result<[u8; N], IpmiError> {
    let request = Request::new(what, Family::Transport, 0x02, &[channel & 0x0f, number, 0, 0]);
    let bytes = data(link, &request).await?;
    // The parameter's revision comes first.
    let value = bytes.get(1..).and_then(|rest| rest.first_chunk().copied());
    value.ok_or_else(|| odd(link, &request, bytes.len(), "the parameter is longer"))
}
