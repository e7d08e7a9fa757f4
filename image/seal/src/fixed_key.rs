//! RSA keys for tests: the same for each number, and nobody's.
//!
//! For the tests of this crate and, by its path, of others.

use rsa::RsaPrivateKey;
use rsa::pkcs8::EncodePrivateKey as _;
use rsa::rand_core::{CryptoRng, RngCore};
use sha2::{Digest as _, Sha256};

/// The same bytes for each seed: tests want the same key each time.
pub(crate) struct Fixed(Sha256, u64);

impl RngCore for Fixed {
    fn next_u32(&mut self) -> u32 {
        rsa::rand_core::impls::next_u32_via_fill(self)
    }
    fn next_u64(&mut self) -> u64 {
        rsa::rand_core::impls::next_u64_via_fill(self)
    }
    fn fill_bytes(&mut self, dest: &mut [u8]) {
        for chunk in dest.chunks_mut(32) {
            self.1 += 1;
            let block = self.0.clone().chain_update(self.1.to_le_bytes()).finalize();
            chunk.copy_from_slice(&block[..chunk.len()]);
        }
    }
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), rsa::rand_core::Error> {
        self.fill_bytes(dest);
        Ok(())
    }
}

impl CryptoRng for Fixed {}

/// The private key of a number, PKCS#8, DER.
pub(crate) fn der(number: u64) -> Vec<u8> {
    let private = RsaPrivateKey::new(&mut seeded(number << 32), 2048).unwrap();
    private.to_pkcs8_der().unwrap().as_bytes().to_vec()
}

/// Numbers that begin at a place of their own.
pub(crate) fn seeded(place: u64) -> Fixed {
    Fixed(Sha256::new(), place)
}
