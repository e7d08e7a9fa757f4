//! Erasing a host's drives: the agent's order and words, the permission, how it goes on, the certificate.

use appliance_model::{
    Serial,
    erase::{EraseDrive, Method, Said, Verification, Who},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the agent of a host is to erase; all drives at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EraseOrder {
    /// Each with what is known of it from before a power cut.
    pub drives: Vec<EraseDrive>,
}

/// What the agent says of one of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EraseWord {
    /// Which.
    pub serial: Serial,
    /// What.
    pub said: Said,
}

/// What would be erased, and whether it may be.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ErasePlanView {
    /// Host id.
    pub host: String,
    /// SHA-256 over host and drives: what a permission repeats.
    pub plan: String,
    /// The drives.
    pub drives: Vec<ErasePlanDrive>,
    /// Why nothing is erased in this host now; absent where it may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub barred: Option<String>,
}

/// A drive that would be erased, as the host's inventory has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErasePlanDrive {
    /// Serial.
    pub serial: String,
    /// Model.
    pub model: Option<String>,
    /// Capacity in bytes.
    pub bytes: u64,
    /// Kernel name when the inventory was taken.
    pub name: Option<String>,
}

/// Permission: for each drive the words `ERASE SERIAL`, typed, or `ERASE SERIAL WITH LUKS`, where it may carry that.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ErasePermission {
    /// The words, one for each drive.
    pub words: Vec<String>,
    /// The plan's digest.
    pub plan: String,
    /// Who allows it.
    pub by: String,
}

/// What wiping a host would do: every drive of its inventory erased.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WipePlanView {
    /// Host id.
    pub host: String,
    /// SHA-256 over host and drives: what a permission repeats.
    pub plan: String,
    /// The drives.
    pub drives: Vec<ErasePlanDrive>,
    /// Drives that tell no serial: nobody can name them, so they are left.
    pub unnamed: Vec<String>,
    /// What has to be typed.
    pub words: String,
    /// End of the commitment that the host's owner gave on chain, seconds since 1970; it stands in the words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed_until_unix: Option<u64>,
    /// What of it the chain would not take back: commitment, booking, open case.
    pub against: Vec<String>,
    /// Why nothing is wiped now, whatever is typed; absent where it may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub barred: Option<String>,
}

/// Permission to wipe.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WipePermission {
    /// The plan's words, typed.
    pub words: String,
    /// The plan's digest.
    pub plan: String,
    /// Who allows it.
    pub by: String,
}

/// How an erase stands.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EraseView {
    /// Its number.
    pub id: u64,
    /// Digest of the plan that was allowed.
    pub plan: String,
    /// Who allowed it.
    pub allowed_by: String,
    /// When, in milliseconds since 1970.
    pub allowed_at_ms: u64,
    /// When all drives had ended, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at_ms: Option<u64>,
    /// Its drives.
    pub drives: Vec<EraseDriveView>,
    /// What happened, oldest first.
    pub journal: Vec<crate::remedy::RemedyLineView>,
}

/// How one drive stands.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EraseDriveView {
    /// Serial.
    pub serial: String,
    /// `asked`, `begun`, `erased`, `proven`, `failed`, `refused`.
    pub state: String,
    /// What is happening, or what came of it.
    pub doing: String,
    /// How far the drive says it is, in thousandths, where it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permille: Option<u16>,
    /// Whether there is a certificate.
    pub certificate: bool,
}

/// What an erase certificate says.  `format` is [`CERTIFICATE`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EraseStatement {
    /// Which form this is.
    pub format: String,
    /// The drive, as it said itself.
    pub drive: Who,
    /// Host id of the machine it sat in.
    pub host: String,
    /// The machine's own serial.
    pub machine: String,
    /// The machine's identity, where its TPM had proven one: its node id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The command.
    pub method: Method,
    /// The command, in words.
    pub command: String,
    /// `purge` or `clear`, as NIST SP 800-88 Rev. 1 ranks the command.
    pub level: appliance_model::erase::Level,
    /// Who allowed it, as told.
    pub allowed_by: String,
    /// When, in milliseconds since 1970.
    pub allowed_at_ms: u64,
    /// When it began.
    pub begun_at_ms: u64,
    /// When it had been read back.
    pub ended_at_ms: u64,
    /// What was read back, in counts.
    pub verification: Verification,
    /// What that shows.
    pub shown: Vec<String>,
    /// What it does not show.
    pub not_shown: Vec<String>,
    /// Who ran it: the version of the agent, and SHA-256 of the evidence by which its boot was verified, if it was.
    pub agent: EraseAgent,
}

/// Who ran an erase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EraseAgent {
    /// Version of the appliance whose image the machine had booted.
    pub version: String,
    /// SHA-256 of the accepted evidence of a boot of this machine; absent where none was ever accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
}

/// The form of certificates that this version writes.
pub const CERTIFICATE: &str = "scalerforge/erase/v1";

/// A certificate: the statement's bytes as text, and the site's signature over them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EraseCertificate {
    /// [`EraseStatement`] as JSON: the signature is over exactly these UTF-8 bytes, behind [`CERTIFICATE`] and a zero byte.
    pub statement: String,
    /// The key that also signs this site's binding statements: P-256, x ‖ y, hex.
    pub key: String,
    /// ECDSA with SHA-256, r ‖ s, hex.
    pub signature: String,
}

#[cfg(test)]
mod tests {
    use crate::agent::{Order, Report};

    /// The wire, byte by byte.  **If this fails, change your code, not this test**: images with these bytes are served.
    #[test]
    fn protocol_1_erase() {
        let begun = r#"{"method":"nvme-format","drive":{"serial":"D1","model":"M","firmware":null,"bus":"nvme","bytes":8192},"samples":[{"part":0,"byte":0,"was":"00ff","planted":true},{"part":0,"byte":4096,"planted":false}]}"#;
        let order = format!(
            r#"{{"id":281474976710657,"work":{{"kind":"erase","drives":[{{"serial":"D1","content":["LUKS"],"begun":{begun},"erased":true}},{{"serial":"D2","content":[],"erased":false}}]}}}}"#
        );
        let parsed: Order = serde_json::from_str(&order).unwrap();
        assert_eq!(serde_json::to_string(&parsed).unwrap(), order);
        let counts = r#"{"sample_bytes":4096,"samples":2,"unreadable":0,"zeros":2,"uniform":0,"other":0,"known":1,"remained":0,"planted":1}"#;
        for said in [
            r#"{"said":"refused","why":"w"}"#.to_owned(),
            format!(r#"{{"said":"begins",{}"#, begun.trim_start_matches('{')),
            r#"{"said":"going","permille":7}"#.to_owned(),
            r#"{"said":"erased"}"#.to_owned(),
            format!(r#"{{"said":"read-back",{}"#, counts.trim_start_matches('{')),
            r#"{"said":"failed","why":"w"}"#.to_owned(),
        ] {
            let report = format!(r#"{{"order":9,"outcome":{{"kind":"erase","serial":"D1","said":{said}}}}}"#);
            let parsed: Report = serde_json::from_str(&report).unwrap();
            assert_eq!(serde_json::to_string(&parsed).unwrap(), report);
        }
    }
}
