//! X.509 as endorsement keys need it: a certificate read once, its signature checked over the bytes as they stand.
//!
//! TLS validators are the wrong tool: they refuse the critical subjectAltName that TPM makers must write.

use attest_wire::{Curve, HashAlg, Public, PublicKey};
use rsa::{BigUint, RsaPublicKey, traits::PublicKeyParts as _};
use x509_cert::{
    Certificate,
    der::{
        Any, Decode as _, Reader as _, SliceReader, Tagged as _,
        asn1::{AnyRef, BitString, ObjectIdentifier},
        referenced::OwnedToRef as _,
    },
    ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages},
    name::Name,
    spki::AlgorithmIdentifierOwned,
};

use crate::{
    crypto::{self, Crypto},
    lenient,
};

/// The largest certificate that is read, bytes; EK certificates have 0.8 to 1.5 KiB.
pub(crate) const CERTIFICATE_BYTES_MAX: usize = 16 << 10;

const OID_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const OID_EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const OID_P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const OID_P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const OID_P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
/// Extended key usage of EK certificates (TCG EK Credential Profile, 3.2.16).
const OID_EK: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.8.1");
/// Critical extensions that are either judged here or say nothing that a verifier of endorsement keys must obey:
/// subjectDirectoryAttributes, keyUsage, subjectAltName, basicConstraints, CRL points, policies, extKeyUsage.
const KNOWN_CRITICAL: [ObjectIdentifier; 7] = [
    ObjectIdentifier::new_unwrap("2.5.29.9"),
    ObjectIdentifier::new_unwrap("2.5.29.15"),
    OID_ALTERNATIVE_NAME,
    ObjectIdentifier::new_unwrap("2.5.29.19"),
    ObjectIdentifier::new_unwrap("2.5.29.31"),
    ObjectIdentifier::new_unwrap("2.5.29.32"),
    ObjectIdentifier::new_unwrap("2.5.29.37"),
];
const OID_ALTERNATIVE_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
/// Manufacturer, model and version of a TPM (TCG EK Credential Profile, 3.1.2).
const OID_TPM: [ObjectIdentifier; 3] = [
    ObjectIdentifier::new_unwrap("2.23.133.2.1"),
    ObjectIdentifier::new_unwrap("2.23.133.2.2"),
    ObjectIdentifier::new_unwrap("2.23.133.2.3"),
];

/// A certificate and the bytes it was read from.
#[derive(Debug, Clone)]
pub(crate) struct Cert {
    pub(crate) der: Vec<u8>,
    pub(crate) parsed: Certificate,
    tbs: Vec<u8>,
}

impl Cert {
    /// Reads DER, or nearly DER, that must be one certificate and nothing else.
    pub(crate) fn parse(der: &[u8]) -> Result<Self, String> {
        if der.len() > CERTIFICATE_BYTES_MAX {
            return Err(format!("has {} bytes, more than {CERTIFICATE_BYTES_MAX}", der.len()));
        }
        let read = || {
            let strict = lenient::strict(der).ok_or("its elements do not fit together")?;
            let parsed = Certificate::from_der(&strict).map_err(|error| error.to_string())?;
            // The reader below skips fields that it does not know, and extensions might be in one.
            let optional = lenient::optional_tags(&strict).unwrap_or_default();
            let known = optional.iter().all(|tag| [0x81, 0x82, 0xa3].contains(tag));
            if !known || !optional.is_sorted_by(|left, right| left & 0x1f < right & 0x1f) {
                return Err("it has an unknown field behind its key".to_owned());
            }
            let tbs = lenient::first_inner(der).ok_or("it holds nothing")?;
            Ok((parsed, tbs.to_vec()))
        };
        let (parsed, tbs) = read().map_err(|error| format!("is not DER: {error}"))?;
        Ok(Self { der: der.to_vec(), parsed, tbs })
    }

    pub(crate) fn subject(&self) -> String {
        self.parsed.tbs_certificate.subject.to_string()
    }

    pub(crate) fn issuer(&self) -> String {
        self.parsed.tbs_certificate.issuer.to_string()
    }

    pub(crate) fn is_self_issued(&self) -> bool {
        same_name(&self.parsed.tbs_certificate.subject, &self.parsed.tbs_certificate.issuer)
    }

    pub(crate) fn names_as_issuer(&self, other: &Self) -> bool {
        same_name(&self.parsed.tbs_certificate.issuer, &other.parsed.tbs_certificate.subject)
    }

    /// Whether `now` is inside the validity; 9999-12-31 means "no end" and is an ordinary date here.
    pub(crate) fn is_valid_at(&self, now_unix: u64) -> bool {
        self.validity().contains(&now_unix)
    }

    /// From and to, seconds since 1970.
    pub(crate) fn validity(&self) -> std::ops::RangeInclusive<u64> {
        let validity = &self.parsed.tbs_certificate.validity;
        validity.not_before.to_unix_duration().as_secs()..=validity.not_after.to_unix_duration().as_secs()
    }

    fn extension<'a, T: x509_cert::der::Decode<'a> + x509_cert::der::oid::AssociatedOid>(
        &'a self,
    ) -> Result<Option<T>, String> {
        let found = self.parsed.tbs_certificate.get::<T>();
        found.map(|found| found.map(|(_, value)| value)).map_err(|error| format!("an extension: {error}"))
    }

    /// What is wrong with this certificate as an issuer with `below` CA certificates under it; `None` if nothing.
    pub(crate) fn issuer_fault(&self, below: usize) -> Option<String> {
        match self.extension::<BasicConstraints>() {
            Ok(Some(constraints)) if constraints.ca => {
                if constraints.path_len_constraint.is_some_and(|most| below > usize::from(most)) {
                    return Some("its path length constraint is exceeded".into());
                }
            }
            Ok(Some(_) | None) => return Some("is not a CA certificate".into()),
            Err(error) => return Some(error),
        }
        match self.extension::<KeyUsage>() {
            Ok(Some(usage)) if !usage.0.contains(KeyUsages::KeyCertSign) => {
                Some("may not sign certificates".into())
            }
            Ok(Some(_) | None) => self.critical_fault(),
            Err(error) => Some(error),
        }
    }

    /// What is wrong with this certificate as one of an endorsement key; `None` if nothing.
    pub(crate) fn ek_fault(&self) -> Option<String> {
        match self.extension::<BasicConstraints>() {
            Ok(Some(constraints)) if constraints.ca => return Some("is a CA certificate".into()),
            Ok(Some(_) | None) => {}
            Err(error) => return Some(error),
        }
        match self.extension::<ExtendedKeyUsage>() {
            Ok(Some(usage)) if usage.0.contains(&OID_EK) => {}
            Ok(Some(_) | None) => {
                return Some("has no extended key usage 2.23.133.8.1 (EK certificate)".into());
            }
            Err(error) => return Some(error),
        }
        let wanted = KeyUsages::KeyEncipherment | KeyUsages::KeyAgreement;
        match self.extension::<KeyUsage>() {
            Ok(Some(usage)) if (usage.0 & wanted).is_empty() => {
                Some("its key usage allows neither encipherment nor agreement".into())
            }
            Ok(Some(_) | None) => self.critical_fault(),
            Err(error) => Some(error),
        }
    }

    /// What is wrong with this certificate as one of a key that signs; `None` if nothing.
    pub(crate) fn signer_fault(&self) -> Option<String> {
        match self.extension::<BasicConstraints>() {
            Ok(Some(constraints)) if constraints.ca => return Some("is a CA certificate".into()),
            Ok(Some(_) | None) => {}
            Err(error) => return Some(error),
        }
        match self.extension::<KeyUsage>() {
            Ok(Some(usage)) if !usage.0.contains(KeyUsages::DigitalSignature) => {
                Some("its key usage does not allow signatures".into())
            }
            Ok(Some(_) | None) => self.critical_fault(),
            Err(error) => Some(error),
        }
    }

    fn critical_fault(&self) -> Option<String> {
        let extensions = self.parsed.tbs_certificate.extensions.as_deref().unwrap_or_default();
        let unknown = extensions.iter().find(|one| one.critical && !KNOWN_CRITICAL.contains(&one.extn_id))?;
        Some(format!("has an unknown critical extension {}", unknown.extn_id))
    }

    /// Manufacturer, model and version (2.23.133.2.1 to .3) in the subjectAltName, if it names a manufacturer as TCG
    /// wants it written: `id:` and its number.
    pub(crate) fn tpm(&self) -> Option<[String; 3]> {
        let mut found: [Option<String>; 3] = [None, None, None];
        for name in self.directory_names()? {
            for attribute in name.0.iter().flat_map(|relative| relative.0.iter()) {
                let place = OID_TPM.iter().position(|one| *one == attribute.oid);
                let text = text_of(&attribute.value);
                if let (Some(slot), Some(text)) = (place.and_then(|place| found.get_mut(place)), text) {
                    let shown: String = text.chars().filter(|c| !c.is_control()).take(64).collect();
                    *slot = Some(shown);
                }
            }
        }
        let [manufacturer, model, version] = found;
        let manufacturer = manufacturer.filter(|one| one.to_ascii_lowercase().starts_with("id:"))?;
        Some([manufacturer, model.unwrap_or_default(), version.unwrap_or_default()])
    }

    /// The directoryNames in the one subjectAltName; names of other kinds are not looked at.
    fn directory_names(&self) -> Option<Vec<Name>> {
        const DIRECTORY_NAME: u8 = 0xa4;
        let extensions = self.parsed.tbs_certificate.extensions.as_deref().unwrap_or_default();
        let mut found = extensions.iter().filter(|one| one.extn_id == OID_ALTERNATIVE_NAME);
        let (Some(only), None) = (found.next(), found.next()) else { return None };
        let mut reader = SliceReader::new(only.extn_value.as_bytes()).ok()?;
        let names = reader.sequence(|inner| {
            let mut names = Vec::new();
            while !inner.is_finished() {
                let one = AnyRef::decode(inner)?;
                if one.tag().octet() == DIRECTORY_NAME {
                    names.push(Name::from_der(one.value())?);
                }
            }
            Ok(names)
        });
        reader.finish(names.ok()?).ok()
    }

    /// Whether the certified key is the one of this TPM public area.
    pub(crate) fn certifies(&self, public: &Public) -> bool {
        match (self.key(), public.key()) {
            (Ok(Key::Rsa { modulus: own, exponent: e }), PublicKey::Rsa { exponent, modulus, .. }) => {
                let exponent = if *exponent == 0 { 65537 } else { *exponent };
                BigUint::from_bytes_be(&e) == BigUint::from(exponent)
                    && BigUint::from_bytes_be(&own) == BigUint::from_bytes_be(modulus)
            }
            (Ok(Key::Ecdsa { curve, point }), PublicKey::Ecc { curve: own, x, y, .. }) if curve == *own => {
                let padded = |number: &[u8]| {
                    [vec![0; curve.coordinate_bytes().saturating_sub(number.len())], number.to_vec()].concat()
                };
                [vec![4], padded(x), padded(y)].concat() == point
            }
            (Ok(Key::Rsa { .. } | Key::Ecdsa { .. }) | Err(_), _) => false,
        }
    }

    fn key(&self) -> Result<Key, String> {
        let info = self.parsed.tbs_certificate.subject_public_key_info.owned_to_ref();
        let bits = info.subject_public_key.as_bytes().ok_or("its public key has odd bits")?;
        if info.algorithm.oid == OID_RSA {
            return rsa_key(bits);
        }
        let curve = info
            .algorithm
            .parameters
            .and_then(|curve: AnyRef<'_>| curve.decode_as::<ObjectIdentifier>().ok());
        let curve = match (info.algorithm.oid, curve) {
            (OID_EC, Some(OID_P256)) => Curve::P256,
            (OID_EC, Some(OID_P384)) => Curve::P384,
            (OID_EC, Some(OID_P521)) => Curve::P521,
            (oid, _) => return Err(format!("its key is of an unsupported kind ({oid})")),
        };
        Ok(Key::Ecdsa { curve, point: bits.to_vec() })
    }

    /// Whether `issuer`'s key signed this certificate.
    ///
    /// # Errors
    /// Why the signature cannot be checked: an algorithm or key that is not supported.
    pub(crate) fn is_signed_by(&self, issuer: &Self, crypto: &dyn Crypto) -> Result<bool, String> {
        let parts = (&self.parsed.signature_algorithm, &self.parsed.tbs_certificate.signature);
        signature_holds(&self.tbs, parts, &self.parsed.signature, issuer, crypto)
    }

    /// Whether its key signed `message`, as TPMs do: r ‖ s for ECDSA as DER, or PKCS#1 v1.5.
    pub(crate) fn signed(
        &self,
        hash: HashAlg,
        message: &[u8],
        signature: &[u8],
        crypto: &dyn Crypto,
    ) -> bool {
        self.key().is_ok_and(|key| crypto.x509(key.as_ref(), hash, message, signature))
    }
}

/// Whether `issuer`'s key signed `tbs`; `algorithms` are the outer one and the one that is signed along.
///
/// # Errors
/// Why the signature cannot be checked: an algorithm or key that is not supported.
pub(crate) fn signature_holds(
    tbs: &[u8],
    algorithms: (&AlgorithmIdentifierOwned, &AlgorithmIdentifierOwned),
    signature: &BitString,
    issuer: &Cert,
    crypto: &dyn Crypto,
) -> Result<bool, String> {
    let signature = signature.as_bytes().ok_or("its signature has odd bits")?;
    let (outer, inner) = algorithms;
    // Parameters too (RFC 5280, 4.1.1.2): the outer copy is not signed.
    if outer != inner {
        return Err("names two signature algorithms".into());
    }
    let (scheme, hash) = scheme(&outer.oid.to_string())
        .ok_or_else(|| format!("is signed with {}, which is not accepted", outer.oid))?;
    let key = issuer.key()?;
    Ok(match (scheme, &key) {
        (SignatureKind::Rsa, Key::Rsa { .. }) | (SignatureKind::Ecdsa, Key::Ecdsa { .. }) => {
            crypto.x509(key.as_ref(), hash, tbs, signature)
        }
        (SignatureKind::Rsa, Key::Ecdsa { .. }) | (SignatureKind::Ecdsa, Key::Rsa { .. }) => false,
    })
}

/// Whether two names are one: attribute by attribute, text without regard to its string type, to case and to the
/// number of spaces (RFC 5280, 7.1).  STMicroelectronics write one name in two string types.
pub(crate) fn same_name(left: &Name, right: &Name) -> bool {
    let plain = |name: &Name| -> Vec<Vec<(ObjectIdentifier, Plain)>> {
        let relative = name.0.iter().map(|relative| {
            let mut parts: Vec<_> = relative.0.iter().map(|one| (one.oid, plain(&one.value))).collect();
            parts.sort_unstable();
            parts
        });
        relative.collect()
    };
    left == right || plain(left) == plain(right)
}

/// What parts of names are compared by.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Plain {
    Text(String),
    /// Of another kind than text: tag and content.
    Raw(u8, Vec<u8>),
}

fn plain(value: &Any) -> Plain {
    match text_of(value) {
        Some(text) => {
            let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
            Plain::Text(words.join(" ").to_ascii_lowercase())
        }
        None => Plain::Raw(value.tag().octet(), value.value().to_vec()),
    }
}

/// Text of one of the string types that names have, whatever its encoding.
fn text_of(value: &Any) -> Option<String> {
    const UTF8: u8 = 0x0c;
    const PRINTABLE: u8 = 0x13;
    const TELETEX: u8 = 0x14;
    const IA5: u8 = 0x16;
    const BMP: u8 = 0x1e;
    let bytes = value.value();
    match value.tag().octet() {
        UTF8 => std::str::from_utf8(bytes).ok().map(str::to_owned),
        // Teletex strings are Latin-1 in practice; the other two are ASCII.
        PRINTABLE | TELETEX | IA5 => Some(bytes.iter().map(|byte| char::from(*byte)).collect()),
        BMP if bytes.len().is_multiple_of(2) => {
            let units = bytes.chunks_exact(2).map(|unit| match *unit {
                [high, low] => u16::from_be_bytes([high, low]),
                _ => 0,
            });
            char::decode_utf16(units).collect::<Result<String, _>>().ok()
        }
        _ => None,
    }
}

enum Key {
    /// Big-endian, without leading zeros.
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    /// SEC1, uncompressed.  P-521: makers' roots only.
    Ecdsa { curve: Curve, point: Vec<u8> },
}

impl Key {
    fn as_ref(&self) -> crypto::Key<'_> {
        match self {
            Self::Rsa { modulus, exponent } => crypto::Key::Rsa { modulus, exponent },
            Self::Ecdsa { curve, point } => crypto::Key::Ecdsa { curve: *curve, point },
        }
    }
}

enum SignatureKind {
    Rsa,
    Ecdsa,
}

/// Signature algorithms that are accepted; SHA-1 is not among them.
fn scheme(oid: &str) -> Option<(SignatureKind, HashAlg)> {
    Some(match oid {
        "1.2.840.113549.1.1.11" => (SignatureKind::Rsa, HashAlg::Sha256),
        "1.2.840.113549.1.1.12" => (SignatureKind::Rsa, HashAlg::Sha384),
        "1.2.840.113549.1.1.13" => (SignatureKind::Rsa, HashAlg::Sha512),
        "1.2.840.10045.4.3.2" => (SignatureKind::Ecdsa, HashAlg::Sha256),
        "1.2.840.10045.4.3.3" => (SignatureKind::Ecdsa, HashAlg::Sha384),
        "1.2.840.10045.4.3.4" => (SignatureKind::Ecdsa, HashAlg::Sha512),
        _ => return None,
    })
}

/// RSAPublicKey ::= SEQUENCE { modulus, publicExponent }.  2048 to 4096 bits.
fn rsa_key(bits: &[u8]) -> Result<Key, String> {
    let read = || -> x509_cert::der::Result<(Vec<u8>, Vec<u8>)> {
        let mut reader = SliceReader::new(bits)?;
        let parts = reader.sequence(|inner| {
            let modulus = x509_cert::der::asn1::UintRef::decode(inner)?.as_bytes().to_vec();
            let exponent = x509_cert::der::asn1::UintRef::decode(inner)?.as_bytes().to_vec();
            Ok((modulus, exponent))
        })?;
        reader.finish(parts)
    };
    let (modulus, exponent) = read().map_err(|error| format!("its RSA key: {error}"))?;
    let key = RsaPublicKey::new(BigUint::from_bytes_be(&modulus), BigUint::from_bytes_be(&exponent))
        .map_err(|error| format!("its RSA key: {error}"))?;
    if key.size() < 256 {
        return Err("its RSA key has less than 2048 bits".into());
    }
    Ok(Key::Rsa { modulus: key.n().to_bytes_be(), exponent: key.e().to_bytes_be() })
}

/// The bytes that the signature covers: the first element of the outer sequence, as it stands.
pub(crate) fn tbs_bytes(der: &[u8]) -> x509_cert::der::Result<Vec<u8>> {
    let mut reader = SliceReader::new(der)?;
    let tbs = reader.sequence(|inner| {
        let tbs = inner.tlv_bytes()?.to_vec();
        AnyRef::decode(inner)?;
        AnyRef::decode(inner)?;
        Ok(tbs)
    })?;
    reader.finish(tbs)
}

/// SPKI of a certificate-like key, for tests and export.
pub(crate) fn spki_p256(xy: &[u8; 64]) -> Vec<u8> {
    // SEQUENCE { SEQUENCE { ecPublicKey, prime256v1 }, BIT STRING { 04 ‖ x ‖ y } }: RFC 5480, always these lengths.
    const HEAD: [u8; 27] = [
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
        0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
    ];
    [&HEAD[..], xy].concat()
}
