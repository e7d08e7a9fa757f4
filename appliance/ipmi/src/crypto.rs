//! Keys and ciphers of a session: suite 17 (SHA-256) and suite 3 (SHA-1), nothing else.
//!
//! Codes are compared in constant time, and before anything is decrypted.  Entropy comes in as an argument.

use std::fmt;

use aes::{
    Aes128,
    cipher::{BlockDecryptMut as _, BlockEncryptMut as _, KeyIvInit as _},
};
use hmac::{
    Hmac, Mac,
    digest::{Key, KeyInit},
};
use sha1::Sha1;
use sha2::Sha256;

/// A cipher suite: authentication, integrity and confidentiality together (IPMI 2.0, table 22-20).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// RAKP-HMAC-SHA256, HMAC-SHA256-128, AES-CBC-128.
    Seventeen,
    /// RAKP-HMAC-SHA1, HMAC-SHA1-96, AES-CBC-128: for controllers from before 2013 or so.
    Three,
}

impl Suite {
    /// The suite's number.
    #[must_use]
    pub fn id(self) -> u8 {
        match self {
            Self::Seventeen => 17,
            Self::Three => 3,
        }
    }

    /// Authentication, integrity and confidentiality algorithm, as Open Session names them (tables 13-17 to 13-19).
    #[must_use]
    pub fn algorithms(self) -> [u8; 3] {
        match self {
            Self::Seventeen => [3, 4, 1],
            Self::Three => [1, 1, 1],
        }
    }

    /// Length of the code in RAKP 2 and 3, bytes.
    #[must_use]
    pub fn exchange_length(self) -> usize {
        match self {
            Self::Seventeen => 32,
            Self::Three => 20,
        }
    }

    /// Length of the code in RAKP 4 and at each packet's end, bytes.
    #[must_use]
    pub fn code_length(self) -> usize {
        match self {
            Self::Seventeen => 16,
            Self::Three => 12,
        }
    }

    pub(crate) fn hmac(self, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        match self {
            Self::Seventeen => fed::<Hmac<Sha256>>(key, parts).finalize().into_bytes().to_vec(),
            Self::Three => fed::<Hmac<Sha1>>(key, parts).finalize().into_bytes().to_vec(),
        }
    }

    /// Whether `code`, of exactly `length` bytes, begins the HMAC; in constant time.
    pub(crate) fn verifies(self, key: &[u8], parts: &[&[u8]], code: &[u8], length: usize) -> bool {
        if code.len() != length || length == 0 {
            return false;
        }
        match self {
            Self::Seventeen => fed::<Hmac<Sha256>>(key, parts).verify_truncated_left(code).is_ok(),
            Self::Three => fed::<Hmac<Sha1>>(key, parts).verify_truncated_left(code).is_ok(),
        }
    }

    /// The same for the code of RAKP 4 and of each packet.
    pub(crate) fn verifies_truncated(self, key: &[u8], parts: &[&[u8]], code: &[u8]) -> bool {
        self.verifies(key, parts, code, self.code_length())
    }
}

/// An HMAC that has taken in all parts.
fn fed<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]]) -> M {
    // HMAC hashes a long key and pads a short one with zeros, as is done here for the short ones: all keys of this
    // room are at most 32 bytes, less than a block of either hash.
    let mut block = Key::<M>::default();
    for (place, byte) in block.iter_mut().zip(key) {
        *place = *byte;
    }
    let mut mac = <M as KeyInit>::new(&block);
    for part in parts {
        mac.update(part);
    }
    mac
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cipher suite {}", self.id())
    }
}

/// Which suites may be used with one controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// Suite 17 only.
    #[default]
    Strict,
    /// Suite 17, and suite 3 when the controller says that it has no 17.  Somebody on the path can say so in its
    /// place, therefore a site allows this for single controllers.
    AllowSuite3,
}

impl Policy {
    /// Suites in the order of trying.
    #[must_use]
    pub fn suites(self) -> &'static [Suite] {
        match self {
            Self::Strict => &[Suite::Seventeen],
            Self::AllowSuite3 => &[Suite::Seventeen, Suite::Three],
        }
    }
}

/// A user's password or a controller's own key (KG): usable, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Vec<u8>);

/// IPMI 2.0 passwords and keys, bytes (22.30).
pub const PASSWORD_BYTES_MAX: usize = 20;
/// User names, bytes (22.28).
pub const USER_BYTES_MAX: usize = 16;

impl Password {
    /// Takes a password as it was read from its file; `None` if it has more than 20 bytes, which IPMI cannot carry
    /// (a controller would cut it or refuse it), or a zero byte, which ends a password for the controller.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Option<Self> {
        let bytes = bytes.into();
        (bytes.len() <= PASSWORD_BYTES_MAX && !bytes.contains(&0)).then_some(Self(bytes))
    }

    /// For keys and for Set User Password only.
    pub(crate) fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// Block of AES, bytes.
pub(crate) const BLOCK: usize = 16;

/// Initialisation vector and ciphertext of a payload (13.29: padded with 1, 2, 3… and the count of them).
pub(crate) fn encrypt(key: [u8; BLOCK], iv: [u8; BLOCK], plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(plain.len() + 2 * BLOCK);
    out.extend_from_slice(plain);
    let mut pad = 0u8;
    while !(out.len() + 1).is_multiple_of(BLOCK) {
        pad += 1;
        out.push(pad);
    }
    out.push(pad);
    let mut cipher = cbc::Encryptor::<Aes128>::new(&key.into(), &iv.into());
    for block in out.as_chunks_mut::<BLOCK>().0 {
        cipher.encrypt_block_mut(block.into());
    }
    [&iv[..], &out].concat()
}

/// The payload again; `None` if lengths or padding are not as 13.29 wants them.
pub(crate) fn decrypt(key: [u8; BLOCK], sealed: &[u8]) -> Option<Vec<u8>> {
    let (iv, body) = sealed.split_first_chunk::<BLOCK>()?;
    if body.is_empty() || !body.len().is_multiple_of(BLOCK) {
        return None;
    }
    let mut out = body.to_vec();
    let mut cipher = cbc::Decryptor::<Aes128>::new(&key.into(), iv.into());
    for block in out.as_chunks_mut::<BLOCK>().0 {
        cipher.decrypt_block_mut(block.into());
    }
    let pad = out.pop()?;
    let kept = out.len().checked_sub(usize::from(pad))?;
    let (plain, padding) = out.split_at_checked(kept)?;
    let fits = usize::from(pad) < BLOCK && padding.iter().zip(1u8..).all(|(byte, number)| *byte == number);
    fits.then(|| plain.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_is_that_of_rfc_4231_and_2202() {
        // RFC 4231 test case 2, RFC 2202 test case 2.
        let parts: [&[u8]; 2] = [b"what do ya want ", b"for nothing?"];
        let long = Suite::Seventeen.hmac(b"Jefe", &parts);
        assert_eq!(long[..8], [0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e]);
        let short = Suite::Three.hmac(b"Jefe", &parts);
        assert_eq!(short[..8], [0xef, 0xfc, 0xdf, 0x6a, 0xe5, 0xeb, 0x2f, 0xa2]);
        assert!(Suite::Seventeen.verifies(b"Jefe", &parts, &long[..16], 16));
        for (code, length) in [(&long[..15], 16), (&[][..], 0), (&short[..16], 16), (&long[..], 16)] {
            assert!(!Suite::Seventeen.verifies(b"Jefe", &parts, code, length));
        }
    }

    #[test]
    fn cbc_is_that_of_sp_800_38a() {
        // NIST SP 800-38A, F.2.1, first block.
        let key =
            [0x2b, 0x7e, 0x15, 0x16, 0x28, 0xae, 0xd2, 0xa6, 0xab, 0xf7, 0x15, 0x88, 9, 0xcf, 0x4f, 0x3c];
        let iv: [u8; 16] = std::array::from_fn(|at| u8::try_from(at).unwrap());
        let plain =
            [0x6b, 0xc1, 0xbe, 0xe2, 0x2e, 0x40, 0x9f, 0x96, 0xe9, 0x3d, 0x7e, 0x11, 0x73, 0x93, 0x17, 0x2a];
        let sealed = encrypt(key, iv, &plain);
        assert_eq!(sealed[16..24], [0x76, 0x49, 0xab, 0xac, 0x81, 0x19, 0xb2, 0x46]);
        assert_eq!(sealed.len(), 48);
        assert_eq!(decrypt(key, &sealed).unwrap(), plain);
    }

    #[test]
    fn padding_is_checked() {
        let (key, iv) = ([7; 16], [9; 16]);
        for length in 0..40 {
            let plain = vec![0xaa; length];
            assert_eq!(decrypt(key, &encrypt(key, iv, &plain)), Some(plain));
        }
        let sealed = encrypt(key, iv, &[1, 2, 3]);
        for cut in 0..sealed.len() {
            assert_eq!(decrypt(key, &sealed[..cut]), None, "{cut}");
        }
        // The initialisation vector is flipped into the plain text: the last padding byte, then the count.
        for at in [14, 15] {
            let mut bent = sealed.clone();
            bent[at] ^= 0x40;
            assert_eq!(decrypt(key, &bent), None);
        }
    }

    #[test]
    fn a_password_fits_and_does_not_print() {
        assert!(Password::new([b'a'; 20]).is_some());
        assert!(Password::new([b'a'; 21]).is_none());
        assert!(Password::new(*b"a\0b").is_none());
        assert_eq!(format!("{:?}", Password::new(*b"calvin").unwrap()), "Password(..)");
    }
}
