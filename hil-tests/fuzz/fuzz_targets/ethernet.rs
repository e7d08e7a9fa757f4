//! Frames of whoever is on the LAN: what is overheard lies inside the frame.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pxe_wire::ethernet::{self, Frame};

fuzz_target!(|input: &[u8]| {
    if let Some(Frame::Udp { payload, .. }) = ethernet::read(input) {
        assert!(payload.len() + 42 <= input.len());
        let _ = pxe_wire::dhcp4::Message::read(payload);
    }
});
