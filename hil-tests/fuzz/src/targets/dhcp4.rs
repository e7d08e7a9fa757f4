//! DHCP packets of whoever is on the LAN: what is read can be answered, and the answer can be read.

use std::net::Ipv4Addr;

use pxe_wire::dhcp4::{BootRequest, Message, ReplyKind, Writer};

/// One input.
pub fn run(input: &[u8]) {
    if let Ok(message) = Message::read(input) {
        let pieces: usize = message.options.pieces().map(|(_, bytes)| bytes.len()).sum();
        assert!(pieces <= input.len());
    }
    let Ok(request) = BootRequest::read(input) else { return };
    let _ = request.boot_item();
    let mut reply = Writer::reply(&request, ReplyKind::Offer);
    reply.address(54, Ipv4Addr::LOCALHOST);
    reply.set_file("boot/00112233445566778899aabbccddeeff/discovery.efi");
    if let Some(bytes) = reply.finish() {
        assert!(Message::read(&bytes).is_ok());
    }
}
