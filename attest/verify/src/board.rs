//! The board's own word: an initial attestation key (IAK) that a board maker certified, which certified the attestation
//! key (TCG "TPM 2.0 Keys for Device Identity and Attestation").
//!
//! Unlike a challenger's binding statement it convinces anybody who believes the maker, without asking: the TPM signs
//! with the IAK that it holds a key of this Name.  What ties it to this node is extraData (`iak_data`).

use attest_evidence::{Evidence, Iak};
use attest_wire::{
    AlgId, Attest, Attributes, Body, HashAlg, Hierarchy, Name, Public, PublicKey, Scheme, Signature,
    SignatureValue,
};
use sha2::{Digest as _, Sha256};

use crate::{endorsement::Search, policy::Policy, verdict::Checks, verify::Context, x509::Cert};

/// What the IAK is asked to sign along: SHA-256 over `scalerforge/iak/v1\0` and the node id.
#[must_use]
pub fn iak_data(node: &[u8; 32]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"scalerforge/iak/v1\0");
    hash.update(node);
    hash.finalize().into()
}

/// Judges the IAK of a file, if there is one.  `Some` names the board as its certificate does, if everything holds and
/// a maker is believed.
pub(crate) fn judge(
    evidence: &Evidence,
    ak_name: &Name,
    policy: &Policy,
    context: &mut Context<'_>,
    checks: &mut Checks,
) -> Option<String> {
    let iak = evidence.endorsements.iak.as_ref()?;
    let public = match Public::parse(&iak.public) {
        Ok(public) => public,
        Err(error) => {
            checks.fail("iak-public", error.to_string(), "the board key's public area cannot be read");
            return None;
        }
    };
    let wanted = [
        Attributes::FIXED_TPM,
        Attributes::FIXED_PARENT,
        Attributes::SENSITIVE_DATA_ORIGIN,
        Attributes::RESTRICTED,
        Attributes::SIGN,
    ];
    let attributes = public.attributes();
    let sound = checks.add(
        "iak-attributes",
        wanted.into_iter().all(|one| attributes.has(one)) && !attributes.has(Attributes::DECRYPT),
        format!("{:#010x}", attributes.0),
        "fixedTPM, fixedParent, sensitiveDataOrigin, restricted, sign, not decrypt",
        "the board key could sign something that the TPM did not make",
    );
    let certificates: Vec<Cert> = iak.certificates.iter().filter_map(|der| Cert::parse(der).ok()).collect();
    let leaf = certificates.iter().find(|cert| cert.certifies(&public));
    let Some(leaf) = leaf else {
        checks.fail("iak-certificate", "", "none of the board's certificates is for the board key");
        return None;
    };
    let fault = leaf
        .signer_fault()
        .or_else(|| (!leaf.is_valid_at(context.now_unix)).then(|| "is not valid at this time".to_owned()));
    let certified = checks.add(
        "iak-certificate",
        fault.is_none(),
        leaf.subject(),
        "a certificate of a signing key, valid now",
        format!("the board key's certificate {}", fault.unwrap_or_default()),
    );
    let signed = word(iak, &public, leaf, ak_name, &evidence.node, context, checks);
    let believed = chain(leaf, &certificates, policy, context, checks);
    (sound && certified && signed && believed).then(|| leaf.subject())
}

/// Whether a believed maker vouches for the board; without any there is nothing to judge.
fn chain(leaf: &Cert, given: &[Cert], policy: &Policy, context: &Context<'_>, checks: &mut Checks) -> bool {
    if policy.roots.boards.is_empty() {
        checks.skip("iak-chain", "the policy believes no board maker");
        return false;
    }
    let mut search = Search::boards(&policy.roots, given, context.now_unix, context.crypto);
    let root = search.root_of(leaf, 0);
    let why = search.revoked.unwrap_or(search.why);
    checks.add(
        "iak-chain",
        root.is_some(),
        root.clone().unwrap_or_default(),
        "",
        format!(
            "the board key's certificate, issued by `{}`, chains to no believed maker{why}",
            leaf.issuer()
        ),
    )
}

/// What the board key signed, and that it did.
fn word(
    iak: &Iak,
    public: &Public,
    leaf: &Cert,
    ak_name: &Name,
    node: &[u8; 32],
    context: &Context<'_>,
    checks: &mut Checks,
) -> bool {
    let attest = match Attest::parse(&iak.attest) {
        Ok(attest) => attest,
        Err(error) => {
            checks.fail("iak-certifies", error.to_string(), "what the board key signed cannot be read");
            return false;
        }
    };
    let holds = checks.add(
        "iak-signature",
        signature_holds(iak, public, leaf, context),
        "",
        "valid",
        "the board key did not sign this, or not with its own scheme",
    );
    let qualified = ak_name.qualified(Hierarchy::Endorsement);
    let same = match &attest.body {
        Body::Certify { name, qualified_name } => name == ak_name && *qualified_name == qualified,
        Body::Quote { .. } => false,
    };
    let signer = attest.qualified_signer == public.name().qualified(Hierarchy::Endorsement);
    let data = attest.extra_data == iak_data(node);
    checks.add(
        "iak-certifies",
        same && signer && data,
        format!("this key: {same}, by the board key: {signer}, for this node: {data}"),
        "true for all three",
        "the board key certified another key, or for another node",
    ) && holds
}

fn signature_holds(iak: &Iak, public: &Public, leaf: &Cert, context: &Context<'_>) -> bool {
    let Ok(signature) = Signature::parse(&iak.signature) else { return false };
    let scheme = match public.key() {
        PublicKey::Rsa { scheme, .. } | PublicKey::Ecc { scheme, .. } => *scheme,
    };
    let Some(hash) = HashAlg::from_id(signature.hash()) else { return false };
    match (scheme, signature.value()) {
        (Scheme::Ecdsa(own), SignatureValue::Ecdsa { r, s }) if own == hash.id() => {
            leaf.signed(hash, &iak.attest, &ecdsa_der(r, s), context.crypto)
        }
        (Scheme::Rsassa(own), SignatureValue::Rsassa { signature }) if own == hash.id() => {
            leaf.signed(hash, &iak.attest, signature, context.crypto)
        }
        (Scheme::Null | Scheme::Rsassa(AlgId(_)) | Scheme::Rsapss(AlgId(_)) | Scheme::Ecdsa(AlgId(_)), _) => {
            false
        }
    }
}

/// Ecdsa-Sig-Value: two positive integers of at most 66 bytes each.
fn ecdsa_der(r: &[u8], s: &[u8]) -> Vec<u8> {
    let integer = |number: &[u8]| {
        let start = number.iter().position(|byte| *byte != 0).unwrap_or(number.len());
        let number = number.get(start..).unwrap_or_default();
        let sign = number.first().is_none_or(|first| *first >= 0x80);
        let content = if sign { [&[0], number].concat() } else { number.to_vec() };
        // At most 67, so one byte of length.
        [vec![2, u8::try_from(content.len()).unwrap_or(0)], content].concat()
    };
    let both = [integer(r), integer(s)].concat();
    let length = u8::try_from(both.len()).unwrap_or(0);
    let head = if length < 0x80 { vec![0x30, length] } else { vec![0x30, 0x81, length] };
    [head, both].concat()
}
