//! What anybody on a LAN may answer to a search for controllers: SSDP and multicast DNS.

use std::net::IpAddr;

use crate::announce::{mdns_answer, ssdp_answer};

/// One input.
pub fn run(input: &[u8]) {
    for from in ["10.78.0.11", "fd78::11"] {
        let from: IpAddr = from.parse().unwrap();
        for url in [ssdp_answer(from, input), mdns_answer(from, input)].into_iter().flatten() {
            // Nobody sends us elsewhere.
            let place = url.strip_prefix("https://").unwrap();
            let host = match from {
                IpAddr::V4(ip) => ip.to_string(),
                IpAddr::V6(ip) => format!("[{ip}]"),
            };
            assert!(
                place == host
                    || place.strip_prefix(&host).is_some_and(|port| port[1..].parse::<u16>().is_ok())
            );
        }
    }
}
