//! DHCPv6 packets and router advertisements of whoever is on the LAN: what is read can be answered, through all its
//! relays, and the answer can be read.

use pxe_wire::{
    dhcp6::{Duid, Given, ReplyKind, Request, Status, Told, Writer, code},
    ra,
};

/// One input.
pub fn run(input: &[u8]) {
    let _ = Told::read(input);
    if let Some(ra::Heard::Advertisement(heard)) = ra::read(input, 255) {
        let again = ra::read(&heard.write(), 255);
        assert!(matches!(again, Some(ra::Heard::Advertisement(again)) if again.prefixes == heard.prefixes));
    }
    let Ok(request) = Request::read(input) else { return };
    assert!(request.relays.len() <= 8 && request.ias.len() <= 4);
    if let Some(client) = request.client {
        assert_eq!(client.to_string().parse(), Ok(client));
    }
    let mut reply = Writer::reply(&request, ReplyKind::Reply, &Duid::of_uuid([7; 16]));
    for ia in &request.ias {
        let given = |address: &_| Given { address: *address, preferred: 60, valid: 60 };
        reply.ia_na(ia.iaid, (30, 48), &ia.addresses.iter().map(given).collect::<Vec<_>>());
        reply.ia_na_refused(ia.iaid, Status::NoBinding, "none");
    }
    reply
        .option(code::BOOT_URL, b"http://[fd77::1]:8080/boot/00112233445566778899aabbccddeeff/discovery.efi");
    reply.vendor_class(343, "HTTPClient");
    let Some(bytes) = reply.finish() else { return };
    if request.relays.is_empty() {
        let told = Told::read(&bytes).unwrap();
        assert!(told.boots && told.client == request.client);
    } else {
        assert_eq!(bytes[0], 13);
    }
}
