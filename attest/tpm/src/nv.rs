//! Endorsement certificates in NV memory.

use attest_wire::{Reader, WireError, Writer};

use crate::{
    Tpm, TpmError,
    command::{Auth, NV_READ, NV_READ_PUBLIC},
};

/// End-entity certificates ("EK Credential Profile" 2.5, table of NV indices): L-1, L-2, then H-1 to H-7.
const EK_CERTIFICATES: [u32; 9] = [
    0x01c0_0002,
    0x01c0_000a,
    0x01c0_0012,
    0x01c0_0014,
    0x01c0_0016,
    0x01c0_0018,
    0x01c0_001a,
    0x01c0_001c,
    0x01c0_001e,
];

/// Intermediate certificates, one after the other, without regard to where an index ends.
const CHAIN_FIRST: u32 = 0x01c0_0100;
const CHAIN_LAST: u32 = 0x01c0_01ff;

/// Where certificates of boards' keys are (TCG "Registry of Reserved TPM 2.0 Handles"): of which key and in which
/// order differs by edition, so all are read and each is told by its content.
const BOARD_FIRST: u32 = 0x01c9_0000;
const BOARD_LAST: u32 = 0x01c9_01ff;

/// Board certificates that are read: two keys' in each strength, and their chains.
const BOARD_MAX: usize = 16;

/// Bytes asked for at once: less than TPM_PT_NV_BUFFER_MAX of any TPM.
const SLICE_BYTES: u16 = 512;

/// Largest index that is read: ten times a certificate.
const INDEX_BYTES_MAX: u16 = 16 * 1024;

/// Largest chain that is read.
const CHAIN_BYTES_MAX: usize = 64 * 1024;

/// TPM_RH_OWNER.
pub(crate) const OWNER: u32 = 0x4000_0001;
const NV_OWNER_READ: u32 = 1 << 17;
const NV_AUTH_READ: u32 = 1 << 18;
const NV_WRITTEN: u32 = 1 << 29;

/// A certificate and where it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NvCertificate {
    /// NV index; of a chain, the one in which the certificate starts.
    pub nv_index: u32,
    /// DER; what fills the index up behind it is removed.
    pub der: Vec<u8>,
}

/// What the NV memory holds.
#[derive(Debug, Default)]
pub struct Certificates {
    /// Endorsement certificates first, then intermediates.
    pub found: Vec<NvCertificate>,
    /// Indices that exist and could not be read.
    pub unreadable: Vec<(u32, TpmError)>,
}

impl Tpm {
    /// Reads endorsement certificates and intermediates.  An index that does not exist is no error, and one that
    /// cannot be read does not hide the others.
    ///
    /// # Errors
    /// When the TPM does not list its indices.
    pub fn read_certificates(&mut self) -> Result<Certificates, TpmError> {
        let present = self.handles(0x01c0_0000, CHAIN_LAST)?;
        let mut certificates = Certificates::default();
        for index in EK_CERTIFICATES.into_iter().filter(|index| present.contains(index)) {
            match self.nv_read(index) {
                Ok(bytes) => {
                    let der = split_der(&bytes).first().map_or(bytes.as_slice(), |(_, der)| *der);
                    certificates.found.push(NvCertificate { nv_index: index, der: der.into() });
                }
                Err(error) => certificates.unreadable.push((index, error)),
            }
        }
        let mut chain = Vec::new();
        let mut starts = Vec::new();
        for index in present.into_iter().filter(|index| (CHAIN_FIRST..=CHAIN_LAST).contains(index)) {
            match self.nv_read(index) {
                Ok(bytes) if chain.len() + bytes.len() <= CHAIN_BYTES_MAX => {
                    starts.push((chain.len(), index));
                    chain.extend(bytes);
                }
                Ok(_) => break,
                Err(error) => certificates.unreadable.push((index, error)),
            }
        }
        for (at, der) in split_der(&chain) {
            let nv_index =
                starts.iter().rev().find(|(start, _)| *start <= at).map_or(CHAIN_FIRST, |(_, index)| *index);
            certificates.found.push(NvCertificate { nv_index, der: der.into() });
        }
        Ok(certificates)
    }

    /// Reads what a board's maker left about its keys (IDevID, IAK); most machines have nothing.
    ///
    /// # Errors
    /// When the TPM does not list its indices.
    pub fn read_board_certificates(&mut self) -> Result<Certificates, TpmError> {
        let mut certificates = Certificates::default();
        for index in self.handles(BOARD_FIRST, BOARD_LAST)?.into_iter().take(BOARD_MAX) {
            match self.nv_read(index) {
                Ok(bytes) => certificates.found.extend(
                    split_der(&bytes)
                        .into_iter()
                        .map(|(_, der)| NvCertificate { nv_index: index, der: der.into() }),
                ),
                Err(error) => certificates.unreadable.push((index, error)),
            }
        }
        certificates.found.truncate(BOARD_MAX);
        Ok(certificates)
    }

    /// The content of an index; empty when nothing was ever written.
    fn nv_read(&mut self, index: u32) -> Result<Vec<u8>, TpmError> {
        let public = self.ask(NV_READ_PUBLIC, &[index], &[], Writer::new(0), nv_public)?;
        if public.attributes & NV_WRITTEN == 0 {
            return Ok(Vec::new());
        }
        let size = public.bytes;
        if size > INDEX_BYTES_MAX {
            return Err(TpmError::Unexpected {
                command: NV_READ_PUBLIC.name,
                asked: format!("index {index:#010x} with a certificate of at most {INDEX_BYTES_MAX} bytes"),
                answered: format!("{size} bytes"),
            });
        }
        let by_owner = public.attributes & NV_AUTH_READ == 0 && public.attributes & NV_OWNER_READ != 0;
        let authority = if by_owner { OWNER } else { index };
        let mut content = Vec::new();
        let mut offset = 0;
        while offset < size {
            let count = SLICE_BYTES.min(size - offset);
            let question = Writer::new(4).u16("size", count).u16("offset", offset);
            let slice = self.ask(NV_READ, &[authority, index], &[Auth::Empty], question, |reader| {
                reader.sized_exact("TPM2B_MAX_NV_BUFFER", count.into()).map(<[u8]>::to_vec)
            })?;
            content.extend(slice);
            offset += count;
        }
        Ok(content)
    }
}

pub(crate) struct NvPublic {
    pub(crate) attributes: u32,
    pub(crate) bytes: u16,
}

pub(crate) fn nv_public(reader: &mut Reader<'_>) -> Result<NvPublic, WireError> {
    let mut inner = reader.sized_reader("TPM2B_NV_PUBLIC", 128)?;
    inner.u32("TPMS_NV_PUBLIC.nvIndex")?;
    inner.u16("TPMS_NV_PUBLIC.nameAlg")?;
    let attributes = inner.u32("TPMS_NV_PUBLIC.attributes")?;
    inner.sized("TPMS_NV_PUBLIC.authPolicy", 64)?;
    let bytes = inner.u16("TPMS_NV_PUBLIC.dataSize")?;
    inner.finish("TPMS_NV_PUBLIC")?;
    reader.sized("TPM2B_NAME", 66)?;
    Ok(NvPublic { attributes, bytes })
}

/// DER sequences that stand one after the other, with their offsets.  Stops where no whole one follows: vendors fill
/// indices up with zeros or ones.
fn split_der(bytes: &[u8]) -> Vec<(usize, &[u8])> {
    let mut found = Vec::new();
    let mut at = 0;
    // A certificate is longer than 255 bytes and shorter than 65536: its length always has this two-byte form.
    while let Some([0x30, 0x82, high, low]) = bytes.get(at..at + 4) {
        let end = at + 4 + usize::from(u16::from_be_bytes([*high, *low]));
        let Some(der) = bytes.get(at..end) else { break };
        found.push((at, der));
        at = end;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn der(length: u16) -> Vec<u8> {
        let [high, low] = length.to_be_bytes();
        let mut der = vec![0x30, 0x82, high, low];
        der.resize(4 + usize::from(length), 7);
        der
    }

    #[test]
    fn certificates_are_cut_out_of_what_fills_an_index() {
        let (a, b) = (der(300), der(256));
        for (bytes, expected) in [
            (vec![], vec![]),
            (a.clone(), vec![(0, a.as_slice())]),
            ([a.as_slice(), &[0xff; 40]].concat(), vec![(0, a.as_slice())]),
            ([a.as_slice(), &b, &[0; 3]].concat(), vec![(0, a.as_slice()), (304, b.as_slice())]),
            (a[..200].to_vec(), vec![]),
            (vec![0; 700], vec![]),
        ] {
            assert_eq!(split_der(&bytes), expected);
        }
    }
}
