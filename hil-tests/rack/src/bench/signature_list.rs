//! The form in which UEFI firmware keeps certificates (UEFI 2.10, section 32.4.1, `EFI_SIGNATURE_LIST`).

/// `EFI_CERT_X509_GUID`, a5c059a1-94e4-4aa7-87b5-ab155c2bf072: first three fields little-endian.
const X509: [u8; 16] =
    [0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72];

/// `EFI_CERT_SHA256_GUID`, c1c41626-504c-4092-aca9-41f936934328.
const SHA256: [u8; 16] =
    [0x26, 0x16, 0xc4, 0xc1, 0x4c, 0x50, 0x92, 0x40, 0xac, 0xa9, 0x41, 0xf9, 0x36, 0x93, 0x43, 0x28];

/// Who put the entry there: a GUID of this rack's own.
const OWNER: [u8; 16] = *b"scalerforge-rack";

/// Bytes before the first entry: type, list size, header size, entry size.
const HEADER_BYTES: usize = 28;

/// A list with one certificate, DER in.  Nothing if it is too large for the format.
#[must_use]
pub fn x509_signature_list(der: &[u8]) -> Option<Vec<u8>> {
    list(X509, der)
}

/// A list with the digest of one image.
pub(crate) fn sha256_signature_list(digest: &[u8; 32]) -> Option<Vec<u8>> {
    list(SHA256, digest)
}

fn list(kind: [u8; 16], content: &[u8]) -> Option<Vec<u8>> {
    let entry = OWNER.len().checked_add(content.len())?;
    let total = u32::try_from(entry.checked_add(HEADER_BYTES)?).ok()?;
    let entry = u32::try_from(entry).ok()?;
    let mut list = kind.to_vec();
    for number in [total, 0, entry] {
        list.extend(number.to_le_bytes());
    }
    list.extend(OWNER);
    list.extend(content);
    Some(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_add_up() {
        let list = x509_signature_list(&[0x30, 1, 2]).unwrap();
        assert_eq!(list.len(), 28 + 16 + 3);
        assert_eq!(list[16..20], 47_u32.to_le_bytes());
        assert_eq!(list[20..28], [0, 0, 0, 0, 19, 0, 0, 0]);
        assert_eq!(list[44..], [0x30, 1, 2]);
    }
}
