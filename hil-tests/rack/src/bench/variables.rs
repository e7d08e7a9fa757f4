//! Keys put into OVMF's variable store as a factory would: the file is edited, no firmware is asked.
//!
//! Layout: edk2 `MdePkg/Include/Pi/PiFirmwareVolume.h` and `MdeModulePkg/Include/Guid/VariableFormat.h`.

use super::signature_list::{sha256_signature_list, x509_signature_list};

/// `gEfiAuthenticatedVariableGuid`, aaf32c78-947b-439a-a180-2e144ec37792.
const STORE: [u8; 16] =
    [0x78, 0x2c, 0xf3, 0xaa, 0x7b, 0x94, 0x9a, 0x43, 0xa1, 0x80, 0x2e, 0x14, 0x4e, 0xc3, 0x77, 0x92];

/// `EFI_GLOBAL_VARIABLE`, 8be4df61-93ca-11d2-aa0d-00e098032b8c.
const GLOBAL: [u8; 16] =
    [0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c];

/// `EFI_IMAGE_SECURITY_DATABASE_GUID`, d719b2cb-3d3a-4596-a3bc-dad00e67656f.
const DATABASE: [u8; 16] =
    [0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d, 0x96, 0x45, 0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f];

/// `gEfiSecureBootEnableDisableGuid`, f0a30bc7-af08-4556-99c4-001009c93a44.
const ENABLE: [u8; 16] =
    [0xc7, 0x0b, 0xa3, 0xf0, 0x08, 0xaf, 0x56, 0x45, 0x99, 0xc4, 0x00, 0x10, 0x09, 0xc9, 0x3a, 0x44];

/// Non-volatile, seen by boot services and the system, changed only by signed updates.
const AUTHENTICATED: u32 = 0x27;

/// Non-volatile, seen by boot services.
const PLAIN: u32 = 0x03;

/// Bytes of the store's own header.
const STORE_HEADER_BYTES: usize = 28;

/// Bytes before a variable's name.
const HEADER_BYTES: usize = 60;

/// What a firmware shall trust; certificates in DER.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trust<'a> {
    pub(crate) enable: bool,
    pub(crate) platform: &'a [Vec<u8>],
    pub(crate) exchange: &'a [Vec<u8>],
    pub(crate) allowed: &'a [Vec<u8>],
    pub(crate) forbidden: &'a [Vec<u8>],
    /// Authenticode digests, SHA-256.
    pub(crate) revoked: &'a [[u8; 32]],
}

/// The store with these keys in place of whatever keys it had; all other variables stay.  Nothing if it is no OVMF
/// variable store, or full.
pub(crate) fn with_trust(store: &[u8], trust: Trust<'_>) -> Option<Vec<u8>> {
    let mut store = store.to_vec();
    let lists = |certificates: &[Vec<u8>]| -> Option<Vec<u8>> {
        let lists: Option<Vec<Vec<u8>>> = certificates.iter().map(|der| x509_signature_list(der)).collect();
        Some(lists?.concat())
    };
    let revoked: Option<Vec<Vec<u8>>> = trust.revoked.iter().map(sha256_signature_list).collect();
    let forbidden = [lists(trust.forbidden)?, revoked?.concat()].concat();
    let switch = [u8::from(trust.enable)];
    let mut wanted = Vec::new();
    for (name, owner, attributes, data) in [
        ("PK", GLOBAL, AUTHENTICATED, lists(trust.platform)?),
        ("KEK", GLOBAL, AUTHENTICATED, lists(trust.exchange)?),
        ("db", DATABASE, AUTHENTICATED, lists(trust.allowed)?),
        ("dbx", DATABASE, AUTHENTICATED, forbidden),
        ("SecureBootEnable", ENABLE, PLAIN, switch.to_vec()),
    ] {
        strike(&mut store, name, owner)?;
        // A variable without contents does not exist.
        if !data.is_empty() {
            wanted.extend(variable(name, owner, attributes, &data)?);
        }
    }
    let (_, at) = walk(&store)?;
    let end = at.checked_add(wanted.len())?;
    if store.get(at..end)?.iter().any(|byte| *byte != 0xff) {
        return None;
    }
    store.splice(at..end, wanted);
    Some(store)
}

/// Where variables are, and where the free space begins.
fn walk(store: &[u8]) -> Option<(Vec<usize>, usize)> {
    let volume_header = usize::from(u16::from_le_bytes(store.get(0x30..0x32)?.try_into().ok()?));
    let header = store.get(volume_header..volume_header.checked_add(STORE_HEADER_BYTES)?)?;
    if store.get(0x28..0x2c)? != b"_FVH" || !header.starts_with(&STORE) {
        return None;
    }
    let mut at = aligned(volume_header.checked_add(STORE_HEADER_BYTES)?);
    let mut found = Vec::new();
    while store.get(at..at.checked_add(2)?)? == [0xaa, 0x55] {
        found.push(at);
        let size = sizes(store, at)?;
        at = aligned(at.checked_add(HEADER_BYTES)?.checked_add(size.0)?.checked_add(size.1)?);
    }
    Some((found, at))
}

/// Bytes of a variable's name and of its data.
fn sizes(store: &[u8], at: usize) -> Option<(usize, usize)> {
    let size = |from: usize| {
        let bytes = store.get(at + from..at + from + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    Some((size(36)?, size(40)?))
}

/// Marks a variable as deleted (state `VAR_ADDED & VAR_DELETED`), as the firmware does.
fn strike(store: &mut [u8], name: &str, owner: [u8; 16]) -> Option<()> {
    let name: Vec<u8> = name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    for at in walk(store)?.0 {
        let same_owner = store.get(at + 44..at + HEADER_BYTES)? == owner;
        let bytes = sizes(store, at)?.0;
        let same_name = store.get(at + HEADER_BYTES..at + HEADER_BYTES + bytes)? == name;
        if same_owner && same_name {
            *store.get_mut(at + 2)? &= 0xfd;
        }
    }
    Some(())
}

/// An empty store in which this certificate (DER) is platform key, exchange key and the only one that may sign what is
/// booted, with Secure Boot on.  Nothing if `empty` is not an OVMF variable store, or full.
#[must_use]
pub fn secure_boot_variables(empty: &[u8], certificate: &[u8]) -> Option<Vec<u8>> {
    revoking_variables(empty, certificate, &[])
}

/// The same, with images (Authenticode digests, SHA-256) that are not started although they are signed.
#[must_use]
pub fn revoking_variables(empty: &[u8], certificate: &[u8], revoked: &[[u8; 32]]) -> Option<Vec<u8>> {
    let one = [certificate.to_vec()];
    let trust =
        Trust { enable: true, platform: &one, exchange: &one, allowed: &one, forbidden: &[], revoked };
    with_trust(empty, trust)
}

fn variable(name: &str, owner: [u8; 16], attributes: u32, data: &[u8]) -> Option<Vec<u8>> {
    let name: Vec<u8> = name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    // Marker, "complete", reserved.
    let mut bytes = vec![0xaa, 0x55, 0x3f, 0];
    bytes.extend(attributes.to_le_bytes());
    // Count, time and key index are of interest to signed updates only.
    bytes.extend([0; 8 + 16 + 4]);
    for part in [name.as_slice(), data] {
        bytes.extend(u32::try_from(part.len()).ok()?.to_le_bytes());
    }
    bytes.extend(owner);
    bytes.extend(&name);
    bytes.extend(data);
    bytes.resize(aligned(bytes.len()), 0xff);
    Some(bytes)
}

fn aligned(at: usize) -> usize {
    at.next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_into_the_free_space_and_nowhere_else() {
        let mut empty = vec![0xff; 4096];
        empty[0x28..0x2c].copy_from_slice(b"_FVH");
        empty[0x30..0x32].copy_from_slice(&72_u16.to_le_bytes());
        empty[72..88].copy_from_slice(&STORE);
        let there = variable("x", GLOBAL, PLAIN, &[1, 2, 3]).unwrap();
        empty[100..100 + there.len()].copy_from_slice(&there);
        let filled = secure_boot_variables(&empty, &[0x30, 0]).unwrap();
        assert_eq!(filled.len(), empty.len());
        assert_eq!(filled[..100 + there.len()], empty[..100 + there.len()]);
        let next = 100 + there.len();
        assert_eq!(filled[next..next + 3], [0xaa, 0x55, 0x3f]);
        assert_eq!(filled[next + HEADER_BYTES..next + HEADER_BYTES + 6], *b"P\0K\0\0\0");
        let none =
            Trust { enable: false, platform: &[], exchange: &[], allowed: &[], forbidden: &[], revoked: &[] };
        let revoked = with_trust(&empty, Trust { revoked: &[[7; 32]], ..none }).unwrap();
        assert!(revoked.windows(32).any(|bytes| bytes == [7; 32]), "a digest is kept as it is");
        let cleared = with_trust(&filled, none).unwrap();
        assert_eq!(cleared[next + 2], 0x3d, "the platform key is struck");
        assert_eq!(cleared[..next], filled[..next]);
        empty.truncate(300);
        assert!(secure_boot_variables(&empty, &[0x30, 0]).is_none(), "no room");
        empty[0x28] = 0;
        assert!(secure_boot_variables(&empty, &[0x30, 0]).is_none(), "no volume");
    }
}
