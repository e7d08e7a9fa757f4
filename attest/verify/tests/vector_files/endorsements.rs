//! Endorsement keys that no believed maker vouches for, and binding statements that do not count.

use attest_evidence::Evidence;

use crate::{
    Case, case,
    forge::{CHALLENGERS, EkCertificate, Forge, NOW},
};

pub(crate) fn cases(forge: &Forge) -> Vec<Case> {
    let mut cases = certificates();
    cases.extend(makers());
    cases.extend(chains(forge));
    cases.extend(unused(forge));
    cases.extend(bindings(forge));
    cases
}

fn certificates() -> Vec<Case> {
    let ok = EkCertificate::default;
    let made = |name, check, why, wanted: EkCertificate| {
        case(name, check, why, &Forge::new(&wanted).evidence(|_| {}))
    };
    vec![
        made(
            "ek-without-usage",
            "ek-certificate",
            "no extended key usage 2.23.133.8.1",
            EkCertificate { ek_usage: false, ..ok() },
        ),
        made(
            "ek-is-ca",
            "ek-certificate",
            "the EK certificate is one of a CA",
            EkCertificate { is_ca: true, ..ok() },
        ),
        made(
            "ek-unknown-critical",
            "ek-certificate",
            "an unknown critical extension",
            EkCertificate { unknown_critical: Some(&[1, 2, 3, 4]), ..ok() },
        ),
        made(
            "ek-unknown-critical-large",
            "ek-certificate",
            "an unknown critical extension whose last number is 2^32 + 15: 15 where only 32 bits are looked at",
            EkCertificate { unknown_critical: Some(&[2, 5, 29, (1 << 32) + 15]), ..ok() },
        ),
        made(
            "ek-long-length-inside",
            "accepted",
            "a needless byte in a length inside an extension: some makers write BER",
            EkCertificate { long_lengths: true, ..ok() },
        ),
        made(
            "ek-issuer-in-bmp",
            "accepted",
            "the issuer's name is a BMPString, its own certificate has it in UTF-8",
            EkCertificate { issuer_in_bmp: true, ..ok() },
        ),
        made(
            "ek-expired",
            "ek-certificate",
            "the EK certificate ended last year",
            EkCertificate { years: (2020, 2025), ..ok() },
        ),
        made(
            "ek-not-yet",
            "ek-certificate",
            "the EK certificate begins in 2030",
            EkCertificate { years: (2030, 9999), ..ok() },
        ),
        made(
            "ek-issuer-no-ca",
            "ek-chain",
            "the issuer is no CA",
            EkCertificate { issuer_is_ca: false, ..ok() },
        ),
        made(
            "ek-another-maker",
            "ek-chain",
            "a root that nobody believes",
            EkCertificate { maker: 2, ..ok() },
        ),
    ]
}

fn makers() -> Vec<Case> {
    let ok = EkCertificate::default;
    let made = |name, check, why, wanted: EkCertificate| {
        case(name, check, why, &Forge::new(&wanted).evidence(|_| {}))
    };
    vec![
        made(
            "ek-p384",
            "accepted",
            "an endorsement key on P-384: its Name has SHA-384",
            EkCertificate { ek_p384: true, ..ok() },
        ),
        made(
            "ek-rsa",
            "accepted",
            "an endorsement key of RSA, 2048 bits",
            EkCertificate { ek_rsa: true, ..ok() },
        ),
        made(
            "tpm-without-manufacturer",
            "hardware-tpm",
            "the certificate names model and version, but no manufacturer",
            EkCertificate { manufacturer: "", ..ok() },
        ),
        made(
            "tpm-manufacturer-without-id",
            "hardware-tpm",
            "the manufacturer is not written as TCG wants it: `IBM`",
            EkCertificate { manufacturer: "IBM", ..ok() },
        ),
        made(
            "tpm-unnamed",
            "hardware-tpm",
            "the certificate names no TPM: nobody says that this is hardware",
            EkCertificate { unnamed: true, ..ok() },
        ),
        made(
            "tpm-swtpm",
            "hardware-tpm",
            "a TPM in software",
            EkCertificate { manufacturer: "id:00001014", ..ok() },
        ),
        made(
            "tpm-simulator",
            "hardware-tpm",
            "a TPM in software",
            EkCertificate { manufacturer: "id:49424D00", ..ok() },
        ),
        made(
            "tpm-swtpm-allowed",
            "accepted",
            "a TPM in software, and policy lets it through: tier T0",
            EkCertificate { manufacturer: "id:00001014", ..ok() },
        )
        .under(|p| p.allow_software_tpm = true),
    ]
}

fn chains(forge: &Forge) -> Vec<Case> {
    let ok = EkCertificate::default;
    let good = forge.evidence(|_| {});
    let altered = |change: fn(&mut Evidence)| {
        let mut evidence = good.clone();
        change(&mut evidence);
        evidence
    };
    vec![
        case("ek-no-roots", "ek-chain", "no maker is believed", &good).under(|p| p.roots.clear()),
        case("ek-both-makers", "accepted", "a root beside the right one does no harm", &good)
            .under(|p| p.roots.insert(0, "policy/another-maker.pem".into())),
        case(
            "ek-without-certificate",
            "ek-certificate",
            "no EK certificate",
            &altered(|e| e.endorsements.ek_certificates.clear()),
        ),
        case(
            "ek-without-intermediate",
            "ek-chain",
            "the intermediate is missing",
            &altered(|e| e.endorsements.intermediates.clear()),
        ),
        case(
            "ek-certificate-altered",
            "ek-chain",
            "a bit of the signature was flipped",
            &altered(|e| {
                *e.endorsements.ek_certificates[0].last_mut().unwrap() ^= 1;
            }),
        ),
        case(
            "ek-certificate-trailing-byte",
            "ek-certificate",
            "a byte behind the certificate",
            &altered(|e| e.endorsements.ek_certificates[0].push(0)),
        ),
        case("ek-root-in-file", "ek-chain", "a file cannot bring its own root", &{
            let other = Forge::new(&EkCertificate { maker: 2, ..ok() });
            let mut evidence = other.evidence(|_| {});
            evidence.endorsements.intermediates.push(other.root_der());
            evidence
        }),
        case(
            "ek-signs",
            "ek-attributes",
            "the endorsement key may sign",
            &altered(|e| e.endorsements.ek_public[5] |= 4),
        ),
    ]
}

fn unused(forge: &Forge) -> Vec<Case> {
    let altered = |change: fn(&mut Evidence)| {
        let mut evidence = forge.evidence(|_| {});
        change(&mut evidence);
        evidence
    };
    vec![
        case(
            "ek-certificate-of-another-beside",
            "ek-certificate",
            "a second EK certificate, of another machine: nobody judges it",
            &altered(|e| {
                let other = Forge::new(&EkCertificate { machine: 1, ..EkCertificate::default() });
                e.endorsements.ek_certificates.extend(other.evidence(|_| {}).endorsements.ek_certificates);
            }),
        ),
        case(
            "ek-intermediate-unused",
            "ek-chain",
            "an intermediate that leads nowhere: nobody judges it",
            &altered(|e| {
                let other = Forge::new(&EkCertificate { maker: 2, ..EkCertificate::default() });
                e.endorsements.intermediates.extend(other.evidence(|_| {}).endorsements.intermediates);
            }),
        ),
        case(
            "ek-intermediate-twice",
            "ek-chain",
            "the intermediate twice",
            &altered(|e| e.endorsements.intermediates.push(e.endorsements.intermediates[0].clone())),
        ),
        case(
            "ek-field-unknown",
            "ek-chain",
            "the intermediate's extensions stand in a field that X.509 does not have",
            &altered(|e| {
                let intermediate = &mut e.endorsements.intermediates[0];
                let extensions = intermediate.windows(4).rposition(|at| at[0] == 0xa3 && at[2] == 0x30);
                intermediate[extensions.unwrap()] = 0xa0;
            }),
        ),
    ]
}

fn bindings(forge: &Forge) -> Vec<Case> {
    let good = forge.evidence(|_| {});
    let with = |bindings: Vec<Vec<u8>>| {
        let mut evidence = good.clone();
        evidence.endorsements.bindings = bindings;
        evidence
    };
    let made = |key: &[u8; 32], time| forge.binding(key, &good.tpm.ak_public, good.node, time);
    let [first, second] = [made(&CHALLENGERS[0], NOW), made(&CHALLENGERS[1], NOW)];
    let mut broken = first.clone();
    *broken.last_mut().unwrap() ^= 1;
    let stranger = made(&[0x23; 32], NOW);
    let two = |case: Case| case.under(|p| p.k = 2);
    vec![
        two(case("binding-two-of-two", "accepted", "two different challengers", &good)),
        two(case(
            "binding-one-twice",
            "bindings",
            "one challenger twice is one",
            &with(vec![first.clone(), made(&CHALLENGERS[0], NOW - 60)]),
        )),
        two(case(
            "binding-one-of-two",
            "bindings",
            "one challenger where two are asked for",
            &with(vec![second]),
        )),
        two(case(
            "binding-with-stranger",
            "bindings",
            "the second challenger is not known",
            &with(vec![first.clone(), stranger]),
        )),
        case("binding-none", "bindings", "no binding statement", &with(Vec::new())),
        case("binding-forged", "bindings", "the challenger's signature does not hold", &with(vec![broken])),
        case(
            "binding-from-the-future",
            "bindings",
            "dated an hour ahead",
            &with(vec![made(&CHALLENGERS[0], NOW + 3600)]),
        ),
        case(
            "binding-of-another-node",
            "bindings",
            "speaks of another node",
            &with(vec![forge.binding(&CHALLENGERS[0], &good.tpm.ak_public, [1; 32], NOW)]),
        ),
        case(
            "binding-of-another-key",
            "bindings",
            "speaks of another attestation key",
            &with(vec![{
                let other = Forge::new(&EkCertificate { machine: 1, ..EkCertificate::default() });
                forge.binding(&CHALLENGERS[0], &other.evidence(|_| {}).tpm.ak_public, good.node, NOW)
            }]),
        ),
        case(
            "binding-not-asked-for",
            "accepted",
            "none asked for and none given: accepted, but tier T1",
            &with(Vec::new()),
        )
        .under(|p| p.k = 0),
    ]
}
