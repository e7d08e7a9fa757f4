//! TFTP packets of whoever is on the LAN.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pxe_wire::tftp::{self, Packet};

fuzz_target!(|input: &[u8]| {
    if let Ok(Packet::Read(request)) = tftp::parse(input) {
        let again = tftp::request(request.name, request.mode, &request.options);
        assert_eq!(tftp::parse(&again), Ok(Packet::Read(request)));
    }
});
