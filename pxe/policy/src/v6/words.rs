//! A DHCPv6 packet in a few words, for the recorder's story.

use pxe_wire::dhcp6::{Request, Told};

/// `DHCPv6 SOLICIT (HTTPClient:Arch:00016) through relay fd79::1`.
pub(crate) fn words(payload: &[u8]) -> String {
    if let Ok(request) = Request::read(payload) {
        let class = request.vendor_class.map(|class| format!(" ({class})")).unwrap_or_default();
        let relays = request.relays.iter().rev().map(|relay| format!(" through relay {}", relay.link));
        return format!("DHCPv6 {}{class}{}", request.kind.as_str(), relays.collect::<String>());
    }
    let kind = match payload.first() {
        Some(2) => "ADVERTISE",
        Some(7) => "REPLY",
        Some(13) => "answer for a relay",
        Some(_) | None => return format!("{} bytes that are no DHCPv6", payload.len()),
    };
    match Told::read(payload) {
        Ok(told) => {
            let address = if told.leases { " with an address" } else { "" };
            let file = if told.boots { " and a boot file" } else { "" };
            format!("DHCPv6 {kind}{address}{file}")
        }
        Err(_) => format!("DHCPv6 {kind}"),
    }
}
