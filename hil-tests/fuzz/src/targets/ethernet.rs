//! Frames of whoever is on the LAN: what is overheard lies inside the frame.

use pxe_wire::ethernet::{self, Frame};

/// One input.
pub fn run(input: &[u8]) {
    if let Some(Frame::Udp { payload, .. }) = ethernet::read(input) {
        assert!(payload.len() + 42 <= input.len());
        let _ = pxe_wire::dhcp4::Message::read(payload);
    }
}
