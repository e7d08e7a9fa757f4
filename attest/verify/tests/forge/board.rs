//! A board maker for tests: its CA, a board key (IAK) and what that key signs about the attestation key.

use attest_evidence::{Evidence, Iak};
use attest_verify::iak_data;
use attest_wire::{Public, eventlog::Bank, templates::Template};
use p256::ecdsa::{Signature, SigningKey, signature::Signer as _};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyUsagePurpose};

use super::{Forge, P256, name_of, sized, tpmt_signature, with_point};

/// What a test may bend.
pub(crate) struct IakBend {
    /// fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, adminWithPolicy, restricted, sign: the TCG's template.
    pub(crate) attributes: u32,
    pub(crate) node: [u8; 32],
    pub(crate) ak_public: Vec<u8>,
    /// TPM_ST_ATTEST_CERTIFY.
    pub(crate) kind: u16,
    pub(crate) hierarchy: u32,
    pub(crate) usage: KeyUsagePurpose,
}

fn maker() -> (CertificateParams, P256) {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, "Test Board Maker");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    (params, P256::new(0x72))
}

/// The maker's CA.
pub(crate) fn boards_pem() -> String {
    let (params, key) = maker();
    params.self_signed(&key).unwrap().pem()
}

impl Forge {
    /// `evidence` with the word of a board key.
    pub(crate) fn with_iak(&self, mut evidence: Evidence, bend: impl FnOnce(&mut IakBend)) -> Evidence {
        let mut bent = IakBend {
            attributes: 0x0005_00f2,
            node: evidence.node,
            ak_public: evidence.tpm.ak_public.clone(),
            kind: 0x8017,
            hierarchy: 0x4000_000b,
            usage: KeyUsagePurpose::DigitalSignature,
        };
        bend(&mut bent);
        let key = P256::new(0x71);
        let mut public = with_point(Template::AkP256.public(), 68, key.xy());
        public[4..8].copy_from_slice(&bent.attributes.to_be_bytes());
        let qualified =
            |name: &[u8]| [vec![0, 0x0b], Bank::Sha256.hash(&[&bent.hierarchy.to_be_bytes(), name])].concat();
        let ak_name = Public::parse(&bent.ak_public).unwrap().name();
        let mut attest = 0xff54_4347_u32.to_be_bytes().to_vec();
        attest.extend(bent.kind.to_be_bytes());
        attest.extend(sized(&qualified(&name_of(&public))));
        attest.extend(sized(&iak_data(&bent.node)));
        attest.extend([0; 16]);
        attest.push(1);
        attest.extend(1u64.to_be_bytes());
        attest.extend(sized(ak_name.bytes()));
        attest.extend(sized(&qualified(ak_name.bytes())));
        let signature: Signature = SigningKey::from_slice(&[0x71; 32]).unwrap().sign(&attest);

        let (params, maker_key) = maker();
        let mut leaf = CertificateParams::default();
        leaf.distinguished_name.push(rcgen::DnType::CommonName, "Test Board BRD-0001");
        leaf.key_usages = vec![bent.usage];
        let certificate = leaf.signed_by(&key, &Issuer::new(params, maker_key)).unwrap();
        evidence.endorsements.iak = Some(Iak {
            certificates: vec![certificate.der().to_vec()],
            public,
            attest,
            signature: tpmt_signature(&signature),
        });
        evidence
    }
}
