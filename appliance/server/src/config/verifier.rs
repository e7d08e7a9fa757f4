//! Where HyperNodes and other verifiers call, and whose binding statements are taken.

use std::net::SocketAddr;

use super::{ConfigError, Reader, wire};

/// Where verifiers call, understood.
#[derive(Debug, Clone)]
pub struct Verifier {
    /// Address and port.
    pub listen: SocketAddr,
    /// Challengers whose binding statements are taken; `None` is anybody.
    pub challengers: Option<Vec<[u8; 64]>>,
}

impl Reader<'_> {
    pub(super) fn verifier(&self, wire: wire::Verifier) -> Result<Verifier, ConfigError> {
        let key = |text: String| {
            let mut key = [0; 64];
            match hex::decode_to_slice(&text, &mut key) {
                Ok(()) => Ok(key),
                Err(_) => {
                    Err(self.value("verifier.challengers", &text, "a P-256 public key of 128 hex digits"))
                }
            }
        };
        Ok(Verifier {
            listen: self.socket("verifier.listen", &wire.listen)?,
            challengers: wire.challengers.map(|keys| keys.into_iter().map(key).collect()).transpose()?,
        })
    }
}
