//! The host secret: an HMAC key of the endorsement hierarchy, made from the seed by a fixed template, so that the same
//! TPM gives the same answer for the same label for ever, and nothing is stored anywhere.
//!
//! The key itself never leaves the TPM.  Its answers do: whoever may use this TPM gets them, so what is derived from
//! them is as safe as the running system, and no proof of what runs.  That proof is the quote's.

use attest_wire::{Hierarchy, PUBLIC_BYTES_MAX, Problem, Reader, WireError, Writer, templates};

use crate::{
    Tpm, TpmError,
    command::{Auth, CREATE_PRIMARY, HMAC, Response},
    keys::{ALG_NULL, no_secret},
    tpm::parameters_of,
};

/// Longest label: a TPM2B_MAX_BUFFER holds at least 1024 bytes on every TPM.
const LABEL_BYTES_MAX: usize = 256;

impl Tpm {
    /// What the host secret answers to `label` (at most 256 bytes): HMAC-SHA256, 32 bytes.
    ///
    /// # Errors
    /// When the TPM refuses, as one without TPM2_HMAC does, or makes another kind of key.
    pub fn host_secret(&mut self, label: &[u8]) -> Result<[u8; 32], TpmError> {
        if label.len() > LABEL_BYTES_MAX {
            let problem = Problem::TooLong { length: label.len(), most: LABEL_BYTES_MAX };
            let source = WireError { field: "label", offset: 0, problem };
            return Err(TpmError::Command { command: HMAC.name, source });
        }
        // Three objects are all that a TPM has room for.
        self.release()?;
        let parameters = no_secret(&templates::host_secret());
        let endorsement = Hierarchy::Endorsement.handle();
        let made = self.send(CREATE_PRIMARY, &[endorsement], &[Auth::Empty], parameters)?;
        let answer = self.ask_host_secret(&made, label);
        let flushed = self.flush(made.handle);
        let answer = answer?;
        flushed.map(|()| answer)
    }

    fn ask_host_secret(&mut self, made: &Response, label: &[u8]) -> Result<[u8; 32], TpmError> {
        if !parameters_of(CREATE_PRIMARY, made, is_ours)? {
            return Err(TpmError::Unexpected {
                command: CREATE_PRIMARY.name,
                asked: "an HMAC key by the host secret's template".into(),
                answered: "one with another public area".into(),
            });
        }
        let parameters = Writer::new(512).sized("buffer", label).u16("hashAlg", ALG_NULL);
        let answer = self.ask(HMAC, &[made.handle], &[Auth::Empty], parameters, |reader| {
            reader.sized("outHMAC", 64).map(<[u8]>::to_vec)
        })?;
        <[u8; 32]>::try_from(answer.as_slice()).map_err(|_| TpmError::Unexpected {
            command: HMAC.name,
            asked: "32 bytes".into(),
            answered: format!("{} bytes", answer.len()),
        })
    }
}

/// Whether the public area is the template's, `unique` aside, which the TPM fills.
fn is_ours(reader: &mut Reader<'_>) -> Result<bool, WireError> {
    let public = reader.sized("outPublic", PUBLIC_BYTES_MAX)?;
    let ours = public.starts_with(&templates::host_secret_head());
    // Creation data, hash, ticket and name say nothing about a primary key that its template does not.
    reader.bytes("creationData", reader.left())?;
    Ok(ours)
}
