//! The two cipher suites: HMAC over SHA-1 or SHA-256, and AES-128 in CBC (IPMI 2.0, 13.28 to 13.32).

use aes::Aes128;
use aes::cipher::{Block, BlockDecrypt as _, BlockEncrypt as _, KeyInit as _};
use hmac::{Hmac, Mac as _};

use super::super::sessions::random;

/// Bytes of an AES block.
const BLOCK: usize = 16;

/// A cipher suite (IPMI 2.0, table 22-20; 17 is of the errata).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Suite {
    /// HMAC-SHA1, HMAC-SHA1-96, AES-CBC-128.
    Three,
    /// HMAC-SHA256, HMAC-SHA256-128, AES-CBC-128.
    Seventeen,
}

impl Suite {
    /// Number, authentication, integrity and confidentiality algorithm.
    pub(crate) fn numbers(self) -> [u8; 4] {
        match self {
            Self::Three => [3, 1, 1, 1],
            Self::Seventeen => [17, 3, 4, 1],
        }
    }

    /// A keyed hash of all parts.
    pub(crate) fn hmac(self, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        match self {
            Self::Three => {
                let Ok(mut mac) = <Hmac<sha1::Sha1> as hmac::Mac>::new_from_slice(key) else {
                    return Vec::new();
                };
                parts.iter().for_each(|part| mac.update(part));
                mac.finalize().into_bytes().to_vec()
            }
            Self::Seventeen => {
                let Ok(mut mac) = <Hmac<sha2::Sha256> as hmac::Mac>::new_from_slice(key) else {
                    return Vec::new();
                };
                parts.iter().for_each(|part| mac.update(part));
                mac.finalize().into_bytes().to_vec()
            }
        }
    }

    /// Bytes of a packet's authentication code and of the last handshake message's check value.
    pub(crate) fn code_bytes(self) -> usize {
        match self {
            Self::Three => 12,
            Self::Seventeen => 16,
        }
    }

    /// A packet's authentication code.
    pub(crate) fn code(self, keys: &Keys, signed: &[u8]) -> Vec<u8> {
        let mut code = self.hmac(&keys.integrity, &[signed]);
        code.truncate(self.code_bytes());
        code
    }
}

/// What a session's packets are sealed with.
pub(crate) struct Keys {
    integrity: Vec<u8>,
    cipher: Aes128,
}

impl std::fmt::Debug for Keys {
    /// Without the keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

impl Keys {
    /// From the session integrity key; the constants are twenty bytes in both suites.
    pub(crate) fn new(suite: Suite, integrity_key: &[u8]) -> Option<Self> {
        let integrity = suite.hmac(integrity_key, &[&[1; 20]]);
        let second = suite.hmac(integrity_key, &[&[2; 20]]);
        let cipher = Aes128::new_from_slice(second.get(..BLOCK)?).ok()?;
        Some(Self { integrity, cipher })
    }

    pub(crate) fn encrypt(&self, clear: &[u8]) -> Option<Vec<u8>> {
        let mut vector = [0; BLOCK];
        random(&mut vector).ok()?;
        let mut body = clear.to_vec();
        let pad = (BLOCK - (body.len() + 1) % BLOCK) % BLOCK;
        for number in 1..=pad {
            body.push(u8::try_from(number).ok()?);
        }
        body.push(u8::try_from(pad).ok()?);
        let mut out = vector.to_vec();
        let mut previous = vector;
        for chunk in body.chunks_exact(BLOCK) {
            let mut block = Block::<Aes128>::default();
            block.copy_from_slice(chunk);
            block.iter_mut().zip(previous).for_each(|(byte, before)| *byte ^= before);
            self.cipher.encrypt_block(&mut block);
            previous.copy_from_slice(&block);
            out.extend_from_slice(&block);
        }
        Some(out)
    }

    pub(crate) fn decrypt(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        if sealed.len() < 2 * BLOCK || !sealed.len().is_multiple_of(BLOCK) {
            return None;
        }
        let mut out = Vec::new();
        for pair in sealed.windows(2 * BLOCK).step_by(BLOCK) {
            let (previous, chunk) = pair.split_at(BLOCK);
            let mut block = Block::<Aes128>::default();
            block.copy_from_slice(chunk);
            self.cipher.decrypt_block(&mut block);
            block.iter_mut().zip(previous).for_each(|(byte, before)| *byte ^= before);
            out.extend_from_slice(&block);
        }
        let pad = usize::from(out.pop()?);
        if pad >= BLOCK {
            return None;
        }
        let end = out.len().checked_sub(pad)?;
        let right = out.get(end..)?.iter().zip(1_u8..).all(|(byte, wanted)| *byte == wanted);
        if !right {
            return None;
        }
        out.truncate(end);
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_and_nothing_else() {
        for suite in [Suite::Three, Suite::Seventeen] {
            let keys = Keys::new(suite, b"some key").unwrap();
            for length in [0, 1, 14, 15, 16, 17, 200] {
                let clear = vec![7; length];
                let sealed = keys.encrypt(&clear).unwrap();
                assert_eq!(keys.decrypt(&sealed), Some(clear), "{length}");
                assert_eq!(keys.decrypt(&sealed[..sealed.len() - 1]), None);
            }
        }
        assert_eq!(Suite::Three.hmac(b"k", &[b"a", b"b"]), Suite::Three.hmac(b"k", &[b"ab"]));
        assert_eq!(Suite::Seventeen.hmac(b"k", &[b"ab"]).len(), 32);
    }
}
