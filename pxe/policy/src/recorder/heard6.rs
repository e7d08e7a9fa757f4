//! What one recorded DHCPv6 datagram says, as far as a rule wants to know.

use pxe_wire::dhcp6::{Request, Told};

/// A DHCPv6 packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Dhcp6 {
    /// A client's, through relays or not.
    Asked(Box<Request>),
    /// A server's own word to a client: an ADVERTISE, or else a REPLY.
    Told { offer: bool, told: Box<Told> },
    /// What goes back to a relay, and what is neither.
    Else,
}

/// Reads a payload of port 546 or 547.
pub(super) fn read(payload: &[u8]) -> Dhcp6 {
    if let Ok(request) = Request::read(payload) {
        return Dhcp6::Asked(Box::new(request));
    }
    match Told::read(payload) {
        Ok(told) => Dhcp6::Told { offer: payload.first() == Some(&2), told: Box::new(told) },
        Err(_) => Dhcp6::Else,
    }
}

/// Whether firmware speaks that wants to boot over the network.
pub(super) fn wants_boot(request: &Request) -> bool {
    let class = request.vendor_class.as_deref().unwrap_or_default();
    class.starts_with("PXEClient") || class.starts_with("HTTPClient")
}
