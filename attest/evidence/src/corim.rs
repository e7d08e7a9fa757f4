//! Reference values as a CoRIM (draft-ietf-rats-corim), signed by whoever built the image.
//!
//! The same content as `reference.json`, in the form that verifiers other than ours read.  One CoMID; one reference
//! triple for each accepted value, because the draft wants different states of one thing in different triples; one
//! more for the image file itself.  Signed form: COSE_Sign1 with ES256.  Signing is the caller's, as for
//! [`crate::binding`]: [`Corim::to_be_signed`] says what, [`Corim::envelope`] takes the result.
//! A file is read only in exactly the form that [`Corim`] writes; `attest/FORMAT.md` 7 has it byte by byte.

use crate::{
    Accepted, Hex32, ReferenceBank, ReferencePcr, ReferenceValues,
    cbor::{self, Error, Fault, Fields, Item, Value},
};

/// The largest file that is read, bytes; that of the discovery image has about 1,300.
pub const CORIM_BYTES_MAX: usize = 64 << 10;
/// A digest's numbers stand nine levels deep, and there is one more where the tag of a signed file is.
const DEPTH_MAX: usize = 10;
/// Longest name, version or description, bytes.
const TEXT_BYTES_MAX: usize = 256;
/// The highest PCR of a TPM.
const PCR_MAX: u64 = 23;

const TAG_SIGN1: u64 = 18;
const TAG_CORIM: u64 = 501;
const TAG_COMID: u64 = 506;
const VENDOR: &str = "scalerforge";
const SIGNER: &str = "scalerforge image build";
const CONTENT_TYPE: &str = "application/rim+cbor";
/// The measured element that is the image file.
const UKI: &str = "uki";
/// ES256 (RFC 9053, 2.1) is -7, which CBOR writes as `-1 - 6`.
const ES256: u64 = 6;
/// SHA-256 in the registry of named information hashes, which CoRIM uses for digests.
const NI_SHA256: u64 = 1;

/// What a file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corim {
    /// The reference values.  Written in ascending order of PCR.
    pub reference: ReferenceValues,
    /// Version of the image: `0.1.0`.
    pub version: String,
}

/// A file with its signature, not yet verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCorim {
    /// What is said.
    pub corim: Corim,
    /// Who says so: P-256 public key, x ‖ y, taken from the protected header.
    pub signer: [u8; 64],
    /// ECDSA signature over SHA-256 of `signed`, r ‖ s.
    pub signature: [u8; 64],
    /// The bytes that were signed (COSE `Sig_structure`).
    pub signed: Vec<u8>,
}

/// A file of either form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CorimFile {
    /// Nobody vouches for it.
    Unsigned(Corim),
    /// Somebody does; whether that counts is for `attest/verify`.
    Signed(Box<SignedCorim>),
}

impl Corim {
    /// The unsigned file: tag 501.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let map = cbor::map([
            (0, Some(cbor::text(&self.reference.name))),
            (1, Some(cbor::array(&[cbor::tag(TAG_COMID, &cbor::bytes(&self.comid()))]))),
        ]);
        cbor::tag(TAG_CORIM, &map)
    }

    /// The bytes that `signer` (P-256 public key, x ‖ y) signs with ES256: COSE `Sig_structure`, no external data.
    #[must_use]
    pub fn to_be_signed(&self, signer: &[u8; 64]) -> Vec<u8> {
        sig_structure(&protected(signer), &self.encode())
    }

    /// The signed file, from the signature (r ‖ s) over [`Corim::to_be_signed`].
    #[must_use]
    pub fn envelope(&self, signer: &[u8; 64], signature: &[u8; 64]) -> Vec<u8> {
        let parts = [
            cbor::bytes(&protected(signer)),
            cbor::map([]),
            cbor::bytes(&self.encode()),
            cbor::bytes(signature),
        ];
        cbor::tag(TAG_SIGN1, &cbor::array(&parts))
    }

    fn comid(&self) -> Vec<u8> {
        let name = &self.reference.name;
        let environment =
            cbor::map([(0, Some(cbor::map([(1, Some(cbor::text(VENDOR))), (2, Some(cbor::text(name)))])))]);
        let record = |element: Vec<u8>, version: Option<&str>, digest: &Hex32, name: Option<&str>| {
            let values = cbor::map([
                (0, version.map(|version| cbor::map([(0, Some(cbor::text(version)))]))),
                (2, Some(cbor::array(&[cbor::array(&[cbor::unsigned(NI_SHA256), cbor::bytes(&digest.0)])]))),
                (11, name.map(cbor::text)),
            ]);
            let measurement = cbor::map([(0, Some(element)), (1, Some(values))]);
            cbor::array(&[environment.clone(), cbor::array(&[measurement])])
        };
        let mut records =
            vec![record(cbor::text(UKI), Some(&self.version), &self.reference.uki_sha256, None)];
        let mut pcrs: Vec<&ReferencePcr> = self.reference.pcrs.iter().collect();
        pcrs.sort_by_key(|entry| entry.pcr);
        for entry in pcrs {
            for Accepted { value, holds_for } in &entry.accepted {
                records.push(record(cbor::unsigned(entry.pcr.into()), None, value, Some(holds_for)));
            }
        }
        cbor::map([
            (1, Some(cbor::map([(0, Some(cbor::text(name)))]))),
            (4, Some(cbor::map([(0, Some(cbor::array(&records)))]))),
        ])
    }
}

impl CorimFile {
    /// Reads a file of either form.  A signature is *not* verified here.
    ///
    /// # Errors
    /// Anything but exactly the bytes that [`Corim`] writes for the same content.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > CORIM_BYTES_MAX {
            return Err(Error::new(CORIM_BYTES_MAX, "corim", Fault::TooLarge(CORIM_BYTES_MAX)));
        }
        let item = cbor::decode_to_depth(bytes, DEPTH_MAX)?;
        match item.value {
            Value::Tag(TAG_CORIM, _) => corim(bytes).map(Self::Unsigned),
            Value::Tag(TAG_SIGN1, inner) => signed(*inner).map(|signed| Self::Signed(Box::new(signed))),
            Value::Tag(..)
            | Value::Unsigned(_)
            | Value::Negative(_)
            | Value::Bytes(_)
            | Value::Text(_)
            | Value::Array(_)
            | Value::Map(_) => Err(Error::new(
                item.offset,
                "corim",
                Fault::Expected("a CoRIM: tag 501, or tag 18 if signed"),
            )),
        }
    }

    /// What it says, vouched for or not.
    #[must_use]
    pub const fn corim(&self) -> &Corim {
        match self {
            Self::Unsigned(corim) => corim,
            Self::Signed(signed) => &signed.corim,
        }
    }
}

fn signed(item: Item<'_>) -> Result<SignedCorim, Error> {
    let wrong = Error::new(item.offset, "corim", Fault::Expected("a COSE_Sign1: four parts"));
    let parts: [Item<'_>; 4] = item.array("corim")?.try_into().map_err(|_| wrong)?;
    let [header, unprotected, payload, signature] = parts;
    let header_bytes = header.bytes("corim.protected")?;
    let mut fields = cbor::decode(header_bytes)?.fields("corim.protected")?;
    let signer = fields.required(4, "corim.protected.kid")?.fixed("corim.protected.kid")?;
    if header_bytes != protected(&signer) {
        let what =
            "ES256, application/rim+cbor, the signer's key (64 bytes), and signer `scalerforge image build`";
        return Err(Error::new(header.offset, "corim.protected", Fault::Expected(what)));
    }
    unprotected.fields("corim.unprotected")?.finish()?;
    let payload = payload.bytes("corim.payload")?;
    Ok(SignedCorim {
        corim: corim(payload)?,
        signer,
        signature: signature.fixed("corim.signature")?,
        signed: sig_structure(header_bytes, payload),
    })
}

fn corim(bytes: &[u8]) -> Result<Corim, Error> {
    let item = cbor::decode(bytes)?;
    let offset = item.offset;
    let wrong = |what| Error::new(offset, "corim", Fault::Expected(what));
    let Value::Tag(TAG_CORIM, inner) = item.value else { return Err(wrong("a CoRIM with tag 501")) };
    let mut fields = inner.fields("corim")?;
    let name = text(&fields.required(0, "corim.id")?, "corim.id")?;
    let tags: [Item<'_>; 1] = fields
        .required(1, "corim.tags")?
        .array("corim.tags")?
        .try_into()
        .map_err(|_| wrong("a CoRIM with one tag"))?;
    fields.finish()?;
    let [tag] = tags;
    let Value::Tag(TAG_COMID, comid_bytes) = tag.value else { return Err(wrong("a CoRIM with one CoMID")) };
    let corim = comid(name, comid_bytes.bytes("corim.comid")?)?;
    // Whatever was not looked at above is settled here: the environments, the order, the tag's identity.
    let wanted = corim.encode();
    if wanted != bytes {
        let offset = wanted.iter().zip(bytes).take_while(|(wanted, byte)| wanted == byte).count();
        let what = "the form in which the image build writes this content";
        return Err(Error::new(offset, "corim", Fault::Expected(what)));
    }
    Ok(corim)
}

fn comid(name: String, bytes: &[u8]) -> Result<Corim, Error> {
    let mut fields = cbor::decode_to_depth(bytes, DEPTH_MAX)?.fields("comid")?;
    let mut triples = fields.required(4, "comid.triples")?.fields("comid.triples")?;
    let mut image = None;
    let mut pcrs: Vec<ReferencePcr> = Vec::new();
    for record in triples.required(0, "comid.reference-triples")?.array("comid.reference-triples")? {
        let offset = record.offset;
        let (element, mut values) = measurement(record)?;
        let value = Hex32(digest(&mut values)?);
        match element.value {
            Value::Text(UKI) => {
                let mut version = values.required(0, "comid.version")?.fields("comid.version")?;
                let version = text(&version.required(0, "comid.version")?, "comid.version")?;
                image = Some((version, value));
            }
            Value::Unsigned(index) if index <= PCR_MAX => {
                let pcr = u8::try_from(index).unwrap_or(u8::MAX);
                let holds_for = text(&values.required(11, "comid.name")?, "comid.name")?;
                let accepted = Accepted { value, holds_for };
                match pcrs.last_mut() {
                    Some(last) if last.pcr == pcr => last.accepted.push(accepted),
                    Some(last) if last.pcr > pcr => {
                        let why = Fault::Expected("ascending order of PCRs");
                        return Err(Error::new(offset, "comid.reference-triples", why));
                    }
                    Some(_) | None => pcrs.push(ReferencePcr { pcr, accepted: vec![accepted] }),
                }
            }
            Value::Unsigned(_)
            | Value::Text(_)
            | Value::Negative(_)
            | Value::Bytes(_)
            | Value::Array(_)
            | Value::Map(_)
            | Value::Tag(..) => {
                let what = Fault::Expected("`uki` or a PCR from 0 to 23");
                return Err(Error::new(element.offset, "comid.mkey", what));
            }
        }
    }
    let (version, uki_sha256) = image.ok_or_else(|| Error::new(0, "comid.uki", Fault::Missing))?;
    Ok(Corim { reference: ReferenceValues { name, uki_sha256, bank: ReferenceBank::Sha256, pcrs }, version })
}

/// The measured element and its values, of a reference triple with one measurement.
fn measurement(record: Item<'_>) -> Result<(Item<'_>, Fields<'_>), Error> {
    let offset = record.offset;
    let wrong = |what| Error::new(offset, "comid.reference-triples", Fault::Expected(what));
    let parts: [Item<'_>; 2] = record
        .array("comid.reference-triples")?
        .try_into()
        .map_err(|_| wrong("an environment and its claims"))?;
    let [_, claims] = parts;
    let claims: [Item<'_>; 1] =
        claims.array("comid.ref-claims")?.try_into().map_err(|_| wrong("one measurement in each triple"))?;
    let [claim] = claims;
    let mut claim = claim.fields("comid.measurement")?;
    let element = claim.required(0, "comid.mkey")?;
    Ok((element, claim.required(1, "comid.mval")?.fields("comid.mval")?))
}

fn digest(values: &mut Fields<'_>) -> Result<[u8; 32], Error> {
    let item = values.required(2, "comid.digests")?;
    let offset = item.offset;
    let wrong = || Error::new(offset, "comid.digests", Fault::Expected("one SHA-256 digest: [[1, bytes]]"));
    let one: [Item<'_>; 1] = item.array("comid.digests")?.try_into().map_err(|_| wrong())?;
    let [one] = one;
    let pair: [Item<'_>; 2] = one.array("comid.digests")?.try_into().map_err(|_| wrong())?;
    let [algorithm, value] = pair;
    if algorithm.unsigned("comid.digests")? != NI_SHA256 {
        return Err(wrong());
    }
    value.fixed("comid.digests")
}

fn text(item: &Item<'_>, field: &'static str) -> Result<String, Error> {
    let text = item.text(field)?;
    if text.is_empty() || text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control) {
        let why = format!("has to be 1 to {TEXT_BYTES_MAX} bytes of text in one line");
        return Err(Error::new(item.offset, field, Fault::Value(why)));
    }
    Ok(text.to_owned())
}

fn protected(signer: &[u8; 64]) -> Vec<u8> {
    let meta = cbor::map([(0, Some(cbor::map([(0, Some(cbor::text(SIGNER)))])))]);
    cbor::map([
        (1, Some(cbor::negative(ES256))),
        (3, Some(cbor::text(CONTENT_TYPE))),
        (4, Some(cbor::bytes(signer))),
        (8, Some(cbor::bytes(&meta))),
    ])
}

fn sig_structure(protected: &[u8], payload: &[u8]) -> Vec<u8> {
    cbor::array(&[cbor::text("Signature1"), cbor::bytes(protected), cbor::bytes(&[]), cbor::bytes(payload)])
}
