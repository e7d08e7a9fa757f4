//! The board's own word from a real software TPM: an IAK by the TCG's templates, certified by a maker's CA of this test,
//! certifies the attestation key; and every way in which that word is about something else.
//! Needs swtpm; fails where it is missing.
#![expect(clippy::unwrap_used, reason = "in a test, a panic that names its line is the report")]

use attest_evidence::{
    Attachments, Endorsements, Evidence, Iak as IakPart, Logs, Nonce, Pcr, Purpose, Statement, TpmPart,
    digest, qualifying_data,
};
use attest_tpm::{Ak, Iak, NvCertificate, Tpm};
use attest_verify::{
    Policy, REQUIRED_PCRS, Tier, Verdict,
    challenge::make_credential,
    endorsement::{Roots, certified},
    iak_data, node_id, verify,
};
use attest_wire::{Curve, Public, PublicKey, templates::Template};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
};

mod firmware;
mod machine;
use machine::Machine;

/// A TPM's public key, for rcgen.
struct Point {
    bytes: Vec<u8>,
    curve: Curve,
}

impl Point {
    fn of(public: &Public) -> Self {
        let PublicKey::Ecc { curve, x, y, .. } = public.key() else { panic!("{public:?}") };
        let whole =
            |number: &[u8]| [vec![0; curve.coordinate_bytes() - number.len()], number.to_vec()].concat();
        Self { bytes: [vec![4], whole(x), whole(y)].concat(), curve: *curve }
    }
}

impl PublicKeyData for Point {
    fn der_bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        match self.curve {
            Curve::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Curve::P384 | Curve::P521 => &rcgen::PKCS_ECDSA_P384_SHA384,
        }
    }
}

/// A board maker: its CA, and the certificate of one board's key.
struct Maker {
    params: CertificateParams,
    key: KeyPair,
}

impl Maker {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self { params, key: KeyPair::generate().unwrap() }
    }

    fn pem(&self) -> String {
        self.params.self_signed(&self.key).unwrap().pem()
    }

    fn certify(&self, board: &Public) -> Vec<u8> {
        let mut leaf = CertificateParams::default();
        leaf.distinguished_name.push(DnType::CommonName, "Board BRD-0001");
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let issuer = Issuer::from_params(&self.params, &self.key);
        leaf.signed_by(&Point::of(board), &issuer).unwrap().der().to_vec()
    }
}

/// By a file made now: what is older, such as this process, is older than the TPM's certificate too.
fn now() -> u64 {
    let since = tempfile::tempfile().unwrap().metadata().unwrap().modified().unwrap();
    since.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

/// Admission evidence of the machine, without the board's word.
fn evidence(machine: &Machine, tpm: &mut Tpm) -> (Evidence, Ak) {
    let eks: Vec<Public> = tpm.create_eks().0.iter().map(|ek| ek.public().clone()).collect();
    let certificates: Vec<Vec<u8>> =
        tpm.read_certificates().unwrap().found.into_iter().map(|found| found.der).collect();
    let (ek, certificate) = certified(&eks, &certificates).unwrap();
    let ak = tpm.create_ak().unwrap();
    let statement = Statement {
        purpose: Purpose::Admission,
        nonce: Nonce::Verifier([7; 32]),
        node: node_id(ek.name().bytes()),
        ak_name: ak.name().bytes().to_vec(),
        inventory: None,
        burn_in: None,
        uefi_log: digest(&machine.log),
        previous: None,
        sequence: 0,
        host_key: None,
    };
    let quote = tpm.quote(&ak, &qualifying_data(&statement), &REQUIRED_PCRS).unwrap();
    let pcr = |(index, value): &(u8, [u8; 32])| Pcr { bank: 0x0b, index: *index, digest: value.to_vec() };
    let file = Evidence {
        node: statement.node,
        tpm: TpmPart {
            ak_public: ak.public().raw().to_vec(),
            attest: quote.attest.raw().to_vec(),
            signature: quote.signature.raw().to_vec(),
            pcrs: quote.pcrs.iter().map(pcr).collect(),
        },
        endorsements: Endorsements {
            ek_certificates: vec![certificate.to_vec()],
            ek_public: ek.raw().to_vec(),
            ..Endorsements::default()
        },
        logs: Logs { uefi: machine.log.clone() },
        statement,
        attachments: Attachments::default(),
        previous: None,
    };
    (file, ak)
}

/// The same evidence with the board's word.
fn with(
    evidence: &Evidence,
    iak: &Iak,
    certificate: &[u8],
    tpm: &mut Tpm,
    ak: &Ak,
    node: [u8; 32],
) -> Evidence {
    let word = tpm.certify(iak, ak, &iak_data(&node)).unwrap();
    let mut evidence = evidence.clone();
    evidence.endorsements.iak = Some(IakPart {
        certificates: vec![certificate.to_vec()],
        public: iak.public().raw().to_vec(),
        attest: word.attest.raw().to_vec(),
        signature: word.signature.raw().to_vec(),
    });
    // As it travels.
    Evidence::decode(&evidence.encode()).unwrap()
}

fn policy(machine: &Machine, makers: &[&Maker]) -> Policy {
    let mut roots = Roots::default();
    roots.add_pem(&machine.ca_pem("swtpm-localca-rootca-cert.pem")).unwrap();
    roots.add_pem(&machine.ca_pem("issuer.pem")).unwrap();
    for maker in makers {
        roots.add_boards_pem(maker.pem().as_bytes()).unwrap();
    }
    Policy {
        roots,
        reference: vec![],
        allow_software_tpm: true,
        challengers: vec![],
        k: 0,
        expected_nonce: Some(Nonce::Verifier([7; 32])),
        last_seen: None,
    }
}

fn refused_by(verdict: &Verdict) -> String {
    verdict.clone().accept().map_or_else(|why| why.check, |_| "nothing".into())
}

#[test]
fn a_board_vouches_for_the_attestation_key_of_its_tpm() {
    let mut machine = Machine::new();
    let mut tpm = machine.boot(b"image");
    let (plain, ak) = evidence(&machine, &mut tpm);
    let (maker, stranger) = (Maker::new("Board Maker"), Maker::new("Somebody"));
    let believing = policy(&machine, &[&maker]);
    for template in [Template::IakP256, Template::IakP384] {
        let iak = tpm.create_iak(template).unwrap();
        assert_eq!(iak, tpm.create_iak(template).unwrap(), "the same key each time");
        let certificate = maker.certify(iak.public());
        let file = with(&plain, &iak, &certificate, &mut tpm, &ak, plain.node);
        let verdict = verify(&file, &believing, now());
        assert!(verdict.is_accepted(), "{template:?}: {verdict:#?}");
        // All that a board can add; what is missing is a TPM that is none in software.
        let json = serde_json::to_string(&verdict).unwrap();
        for check in ["iak-attributes", "iak-certificate", "iak-signature", "iak-certifies", "iak-chain"] {
            assert!(json.contains(check), "{check}: {json}");
        }
        assert_eq!(verdict.tier, Tier::T0, "{json}");
        assert!(json.contains("software"), "{json}");

        let other = verify(&file, &policy(&machine, &[&stranger]), now());
        assert_eq!(refused_by(&other), "iak-chain");
        assert!(verify(&file, &policy(&machine, &[]), now()).is_accepted(), "nobody to believe is no fault");
        for (wrong, check) in [
            (with(&plain, &iak, &certificate, &mut tpm, &ak, [9; 32]), "iak-certifies"),
            (with(&plain, &iak, &stranger.certify(iak.public()), &mut tpm, &ak, plain.node), "iak-chain"),
            (with(&plain, &iak, &maker.certify(ak.public()), &mut tpm, &ak, plain.node), "iak-certificate"),
        ] {
            assert_eq!(refused_by(&verify(&wrong, &believing, now())), check, "{template:?}");
        }
        let mut bent = file.clone();
        let word = bent.endorsements.iak.as_mut().unwrap();
        *word.attest.last_mut().unwrap() ^= 1;
        assert_eq!(refused_by(&verify(&bent, &believing, now())), "iak-signature");
        // restricted taken away: another key than the certified one, and refused before that is seen.
        let mut free = file.clone();
        free.endorsements.iak.as_mut().unwrap().public[5] &= !0x01;
        assert_eq!(refused_by(&verify(&free, &believing, now())), "iak-attributes");
    }
}

/// A board key of one TPM cannot speak for the attestation key of another.
#[test]
fn the_word_of_another_board_is_refused() {
    let (mut ours, mut theirs) = (Machine::new(), Machine::new());
    let (mut tpm, mut other) = (ours.boot(b"image"), theirs.boot(b"image"));
    let (plain, _) = evidence(&ours, &mut tpm);
    let maker = Maker::new("Board Maker");
    let iak = other.create_iak(Template::IakP256).unwrap();
    let other_ak = other.create_ak().unwrap();
    let file = with(&plain, &iak, &maker.certify(iak.public()), &mut other, &other_ak, plain.node);
    assert_eq!(refused_by(&verify(&file, &policy(&ours, &[&maker]), now())), "iak-certifies");
    // The TPM itself does not certify what it does not hold.
    assert!(tpm.certify(&iak, &other_ak, &[0; 32]).is_err());
}

#[test]
fn the_certified_key_is_found_by_its_certificate() {
    let mut machine = Machine::new();
    let mut tpm = machine.boot(b"image");
    let maker = Maker::new("Board Maker");
    assert!(tpm.read_board_certificates().unwrap().found.is_empty());
    assert_eq!(tpm.certified_iak(&[]), None);
    let found = |der: Vec<u8>| NvCertificate { nv_index: 0x01c9_0019, der };
    let (low, high) =
        (tpm.create_iak(Template::IakP256).unwrap(), tpm.create_iak(Template::IakP384).unwrap());
    let ak = tpm.create_ak().unwrap();
    let idevid = found(maker.certify(ak.public()));
    for iak in [low, high] {
        let own = found(maker.certify(iak.public()));
        let (chosen, chain) = tpm.certified_iak(&[idevid.clone(), own.clone()]).unwrap();
        assert_eq!((chosen, chain), (iak, vec![own.der, idevid.der.clone()]));
    }
    assert_eq!(tpm.certified_iak(&[idevid]), None);
}

/// H-3: the key that the TPM's maker certified at 0x01C00016, and credentials for it.
#[test]
fn credentials_activate_on_the_p384_endorsement_key() {
    let mut machine = Machine::new();
    let mut tpm = machine.boot(b"image");
    let ek = tpm.create_ek(Template::EkP384).unwrap();
    let certificates = tpm.read_certificates().unwrap().found;
    let own = certificates.iter().find(|found| found.nv_index == 0x01c0_0016).unwrap();
    let keys = [ek.public().clone()];
    let (chosen, _) = certified(&keys, std::slice::from_ref(&own.der)).unwrap();
    assert_eq!(chosen, ek.public(), "the maker certified this key");
    let ak = tpm.create_ak().unwrap();
    for round in 1..=100_u8 {
        let (secret, entropy) = ([round; 32], [round; 64]);
        let made = make_credential(ek.public(), &ak.name(), &secret, &entropy).unwrap();
        let opened = tpm.activate(&ek, &ak, &made.credential_blob, &made.encrypted_secret);
        assert_eq!(opened.unwrap(), secret, "round {round}");
    }
    let wrong = make_credential(ek.public(), &ek.name(), &[1; 32], &[2; 64]).unwrap();
    assert!(tpm.activate(&ek, &ak, &wrong.credential_blob, &wrong.encrypted_secret).is_err());
    let mut bent = make_credential(ek.public(), &ak.name(), &[1; 32], &[2; 64]).unwrap();
    *bent.credential_blob.last_mut().unwrap() ^= 1;
    assert!(tpm.activate(&ek, &ak, &bent.credential_blob, &bent.encrypted_secret).is_err());
    // More keys than a TPM has room for, in every order.
    let board = tpm.create_iak(Template::IakP256).unwrap();
    for ek in tpm.create_eks().0 {
        let made = make_credential(ek.public(), &ak.name(), &[1; 32], &[2; 64]).unwrap();
        assert_eq!(tpm.activate(&ek, &ak, &made.credential_blob, &made.encrypted_secret).unwrap(), [1; 32]);
        tpm.certify(&board, &ak, &[3; 32]).unwrap();
    }
}
