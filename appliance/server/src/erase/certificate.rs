//! Certificates of erased drives: what they say, the site's signature, and checking one without the site.

use appliance_api::erase::{CERTIFICATE, EraseAgent, EraseCertificate, EraseStatement};
use appliance_enrol::Erasing;
use appliance_model::erase::Level;
use appliance_store::{EraseRow, HostRow};
use p256::ecdsa::{Signature, SigningKey, VerifyingKey, signature::Signer as _, signature::Verifier as _};
use thiserror::Error;

/// The largest certificate that is read.
pub const CERTIFICATE_BYTES_MAX: usize = 64 << 10;

/// Why a certificate is not believed.
#[derive(Debug, Error)]
pub enum NoCertificate {
    /// It is none.
    #[error("this is no erase certificate: {0}")]
    Form(String),
    /// Its signature does not hold.
    #[error("the signature does not hold: statement or signature were changed, or another key signed")]
    Signature,
    /// It is signed by somebody else.
    #[error("it is signed by key {key}, not by the one that was to sign")]
    Key {
        /// Who signed.
        key: String,
    },
    /// What it says contradicts itself.
    #[error("it contradicts itself: {0}")]
    Content(String),
}

/// Makes a certificate; `None` where the erase is not proven, or the key is none.
pub(super) fn certify(
    key: &[u8; 32],
    host: &HostRow,
    evidence: Option<String>,
    row: &EraseRow,
    proven: &Erasing,
) -> Option<EraseCertificate> {
    let Erasing::Proven { begun, at, ended_at, verification } = proven else { return None };
    let (shown, not_shown) = verification.words(begun.method);
    let statement = EraseStatement {
        format: CERTIFICATE.into(),
        drive: begun.drive.clone(),
        host: host.id.to_string(),
        machine: host.facts.serial.to_string(),
        node: host.node.map(|node| node.to_string()),
        method: begun.method,
        command: begun.method.words().into(),
        level: begun.method.level(),
        allowed_by: row.allowed_by.clone(),
        allowed_at_ms: row.allowed_at.0,
        begun_at_ms: at.0,
        ended_at_ms: ended_at.0,
        verification: *verification,
        shown,
        not_shown,
        agent: EraseAgent { version: env!("CARGO_PKG_VERSION").into(), evidence },
    };
    let statement = serde_json::to_string(&statement).ok()?;
    let signing = SigningKey::from_slice(key).ok()?;
    let signature: Signature = signing.sign(&signed(&statement));
    let signature = signature.normalize_s().unwrap_or(signature);
    let point = signing.verifying_key().to_encoded_point(false);
    Some(EraseCertificate {
        statement,
        key: hex::encode(point.as_bytes().get(1..)?),
        signature: hex::encode(signature.to_bytes()),
    })
}

/// Checks a certificate.  `key` is who has to have signed it (x ‖ y, hex), if that is known.
///
/// # Errors
/// [`NoCertificate`].
pub fn verify(bytes: &[u8], key: Option<&str>) -> Result<EraseStatement, NoCertificate> {
    if bytes.len() > CERTIFICATE_BYTES_MAX {
        return Err(NoCertificate::Form(format!("it has more than {CERTIFICATE_BYTES_MAX} bytes")));
    }
    let form = |error: serde_json::Error| NoCertificate::Form(error.to_string());
    let certificate: EraseCertificate = serde_json::from_slice(bytes).map_err(form)?;
    if key.is_some_and(|key| !key.trim().eq_ignore_ascii_case(&certificate.key)) {
        return Err(NoCertificate::Key { key: certificate.key });
    }
    let mut point = [4; 65];
    let (_, affine) = point.split_at_mut(1);
    hex::decode_to_slice(&certificate.key, affine)
        .map_err(|_| NoCertificate::Form("its key is no P-256 key".into()))?;
    let public = VerifyingKey::from_sec1_bytes(&point)
        .map_err(|_| NoCertificate::Form("its key is no P-256 key".into()))?;
    let signature = hex::decode(&certificate.signature)
        .ok()
        .and_then(|bytes| Signature::from_slice(&bytes).ok())
        .ok_or(NoCertificate::Signature)?;
    public.verify(&signed(&certificate.statement), &signature).map_err(|_| NoCertificate::Signature)?;
    let statement: EraseStatement = serde_json::from_str(&certificate.statement).map_err(form)?;
    content(&statement).map_err(NoCertificate::Content)?;
    Ok(statement)
}

/// What a signer could not have meant.
fn content(statement: &EraseStatement) -> Result<(), String> {
    if statement.format != CERTIFICATE {
        return Err(format!("its form is {}, not {CERTIFICATE}", statement.format));
    }
    statement.verification.verdict()?;
    if statement.level != statement.method.level() || statement.command != statement.method.words() {
        return Err("the command is ranked or named as another".into());
    }
    let times = [statement.allowed_at_ms, statement.begun_at_ms, statement.ended_at_ms];
    if !times.is_sorted() {
        return Err("it ended before it began, or began before it was allowed".into());
    }
    Ok(())
}

fn signed(statement: &str) -> Vec<u8> {
    [CERTIFICATE.as_bytes(), &[0], statement.as_bytes()].concat()
}

/// A level in words.
#[must_use]
pub fn level(level: Level) -> &'static str {
    match level {
        Level::Purge => "purge: meant to withstand a laboratory",
        Level::Clear => "clear: meant to withstand whoever reads through the drive's own interface",
    }
}

#[cfg(test)]
mod tests {
    use appliance_model::{
        Now, Serial,
        erase::{Begun, Method, Verification, Who},
        inventory::Bus,
    };
    use appliance_store::NewHost;

    use super::*;

    fn certificate() -> EraseCertificate {
        let serial = |text: &str| Serial::parse(text).unwrap_or_else(|| unreachable!());
        let facts = NewHost {
            serial: serial("M1"),
            model: None,
            position: None,
            bmc: None,
            bmc_pin: None,
            macs: vec![],
        };
        let host = HostRow {
            id: appliance_model::HostId::of_serial(&facts.serial),
            facts,
            stage: appliance_enrol::Stage::Found,
            entered_at: Now(0),
            generation: 0,
            session: None,
            boot: None,
            node: None,
        };
        let row = EraseRow {
            id: 1,
            host: host.id.clone(),
            plan: String::new(),
            allowed_by: "somebody".into(),
            allowed_at: Now(1),
            ended_at: None,
            despite: None,
            drives: vec![],
        };
        let drive = Who { serial: serial("D1"), model: None, firmware: None, bus: Bus::Nvme, bytes: 8192 };
        let verification = Verification {
            sample_bytes: 4096,
            samples: 2,
            zeros: 2,
            known: 1,
            planted: 1,
            ..Verification::default()
        };
        let begun = Box::new(Begun { method: Method::NvmeFormat, drive, samples: vec![] });
        let proven = Erasing::Proven { begun, at: Now(2), ended_at: Now(3), verification };
        certify(&[7; 32], &host, None, &row, &proven).unwrap_or_else(|| unreachable!())
    }

    #[test]
    fn a_stranger_can_check_it() {
        let good = certificate();
        let read = |certificate: &EraseCertificate, key: Option<&str>| {
            verify(&serde_json::to_vec(certificate).unwrap_or_default(), key)
                .map_err(|error| error.to_string())
        };
        assert_eq!(read(&good, None).unwrap().drive.serial.as_str(), "D1");
        assert!(read(&good, Some(&good.key.to_uppercase())).is_ok());
        for (changed, key, says) in [
            (
                EraseCertificate { statement: good.statement.replace("D1", "D2"), ..good.clone() },
                None,
                "signature",
            ),
            (EraseCertificate { signature: "00".repeat(64), ..good.clone() }, None, "signature"),
            (EraseCertificate { key: "11".repeat(64), ..good.clone() }, None, "no P-256 key"),
            (good.clone(), Some("22"), "not by the one"),
        ] {
            let why = read(&changed, key).unwrap_err();
            assert!(why.contains(says), "{why}");
        }
        assert!(
            verify(b"{}", None).is_err() && verify(&vec![b' '; CERTIFICATE_BYTES_MAX + 1], None).is_err()
        );
    }

    /// Even the site's own key does not make sense of nonsense.
    #[test]
    fn a_signed_contradiction_is_refused() {
        let statement: EraseStatement = serde_json::from_str(&certificate().statement).unwrap();
        let remained = Verification { remained: 1, ..statement.verification };
        for (wrong, says) in [
            (EraseStatement { verification: remained, ..statement.clone() }, "hold what they held"),
            (EraseStatement { level: Level::Clear, ..statement.clone() }, "ranked"),
            (EraseStatement { ended_at_ms: 0, ..statement.clone() }, "before it began"),
            (EraseStatement { format: "x".into(), ..statement.clone() }, "its form is x"),
        ] {
            let why = content(&wrong).unwrap_err();
            assert!(why.contains(says), "{why}");
        }
        assert_eq!(content(&statement), Ok(()));
    }
}
