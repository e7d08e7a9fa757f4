//! TFTP packets of whoever is on the LAN.

use pxe_wire::tftp::{self, Packet};

/// One input.
pub fn run(input: &[u8]) {
    if let Ok(Packet::Read(request)) = tftp::parse(input) {
        let again = tftp::request(request.name, request.mode, &request.options);
        assert_eq!(tftp::parse(&again), Ok(Packet::Read(request)));
    }
}
