//! A firmware for tests: the events of a boot over HTTP, and the log it would write.

use attest_wire::eventlog::{EV_EFI_BOOT_SERVICES_APPLICATION, EV_NO_ACTION, EV_SEPARATOR};

pub(crate) const URL: &str = "http://10.77.0.1:8080/boot/00112233445566778899aabbccddeeff/discovery.efi";

/// (PCR, type, what is hashed, event data).
pub(crate) fn events(image: &[u8]) -> Vec<(u32, u32, Vec<u8>, Vec<u8>)> {
    let same = |pcr, kind, data: &[u8]| (pcr, kind, data.to_vec(), data.to_vec());
    let mut list = vec![same(0, 8, b"firmware 1.0"), same(7, 0x8000_0001, &secure_boot())];
    list.extend((0..8).map(|pcr| same(pcr, EV_SEPARATOR, &[0; 4])));
    list.push((4, EV_EFI_BOOT_SERVICES_APPLICATION, image.to_vec(), image_load()));
    list.push((11, 0xd, [b".linux ", image].concat(), b"linux\0".to_vec()));
    list.push(same(9, 0xd, b"initrd"));
    list
}

fn secure_boot() -> Vec<u8> {
    let mut data =
        vec![0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c];
    data.extend(10u64.to_le_bytes());
    data.extend(1u64.to_le_bytes());
    data.extend("SecureBoot".encode_utf16().flat_map(u16::to_le_bytes));
    data.push(0);
    data
}

fn image_load() -> Vec<u8> {
    let mut path = vec![3, 24];
    path.extend(u16::try_from(URL.len() + 4).unwrap().to_le_bytes());
    path.extend(URL.as_bytes());
    path.extend([0x7f, 0xff, 4, 0]);
    let mut data = vec![0; 24];
    data.extend(u64::try_from(path.len()).unwrap().to_le_bytes());
    data.extend(path);
    data
}

pub(crate) fn header() -> Vec<u8> {
    let mut data = b"Spec ID Event03\0".to_vec();
    data.extend([0, 0, 0, 0, 0, 2, 0, 2, 1, 0, 0, 0, 0x0b, 0, 32, 0, 0]);
    let mut bytes = Vec::new();
    bytes.extend(0u32.to_le_bytes());
    bytes.extend(EV_NO_ACTION.to_le_bytes());
    bytes.extend([0; 20]);
    bytes.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
    bytes.extend(data);
    bytes
}

pub(crate) fn event(pcr: u32, kind: u32, digest: &[u8], data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(pcr.to_le_bytes());
    bytes.extend(kind.to_le_bytes());
    bytes.extend([1, 0, 0, 0, 0x0b, 0]);
    bytes.extend(digest);
    bytes.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
    bytes.extend(data);
    bytes
}
