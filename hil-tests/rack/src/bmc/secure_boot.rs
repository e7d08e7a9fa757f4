//! Secure Boot: the switch, the databases with their certificates and signatures, handed to the machine before each start.

use serde_json::{Value, json};

use super::answer::Answer;
use super::certificates::{der_of_pem, facts};
use super::desk::Desk;
use super::journal::event;
use super::power::SecureBootKeys;

/// Most keys in one database.
const KEYS_MAX: usize = 32;
/// The one kind of signature that this firmware takes.
const SHA256: &str = "EFI_CERT_SHA256_GUID";

/// Whether a path is within the Secure Boot databases.
pub(crate) fn is_key(path: &str) -> bool {
    path.contains("/SecureBootDatabases/") && path.contains("/Certificates")
}

/// The same for signatures.
pub(crate) fn is_signature(path: &str) -> bool {
    path.contains("/SecureBootDatabases/") && path.contains("/Signatures")
}

fn main_path(desk: &Desk) -> Option<String> {
    desk.store.of_kind("SecureBoot").into_iter().next()
}

/// PATCH of the switch; it acts at the next start.
pub(crate) fn patch(desk: &Desk, path: &str, body: &Value) -> Result<Answer, Answer> {
    let fields = body.as_object().filter(|fields| !fields.is_empty());
    for (key, value) in fields.ok_or_else(|| Answer::lacks("SecureBootEnable"))? {
        if key != "SecureBootEnable" {
            return Err(Answer::bad("PropertyNotWritable", format!("The property {key} cannot be written.")));
        }
        let enable = value.as_bool();
        let enable =
            enable.ok_or_else(|| Answer::bad("PropertyValueTypeError", "SecureBootEnable is a boolean."))?;
        desk.store.edit(path, |value| value["SecureBootEnable"] = json!(enable));
    }
    hand_over(desk);
    Ok(Answer::ok(desk.resource(path).unwrap_or_default()))
}

/// POST of a certificate to a database.
pub(crate) fn add_certificate(desk: &Desk, collection: &str, body: &Value) -> Result<Answer, Answer> {
    if !is_key(collection) {
        return Err(Answer::not_allowed("GET, HEAD"));
    }
    let text = body.get("CertificateString").and_then(Value::as_str);
    let text = text.ok_or_else(|| Answer::lacks("CertificateString"))?;
    if body.get("CertificateType").and_then(Value::as_str).unwrap_or("PEM") != "PEM" {
        return Err(Answer::bad("PropertyValueNotInList", "CertificateType must be PEM."));
    }
    let der = der_of_pem(text).ok_or_else(|| {
        Answer::bad("PropertyValueFormatError", "CertificateString is not one PEM certificate.")
    })?;
    let members = desk.store.members(collection);
    let id = (1..=KEYS_MAX).find(|id| !members.contains(&format!("{collection}/{id}")));
    let id = id.ok_or_else(|| Answer::bad("CreateLimitReachedForResource", "The database is full."))?;
    let mut value = json!({
        "@odata.type": "#Certificate.v1_9_0.Certificate",
        "Name": "Secure Boot certificate",
        "CertificateType": "PEM",
        "CertificateString": text,
        "UefiSignatureOwner": body.get("UefiSignatureOwner").cloned().unwrap_or_else(|| json!("5ca1e4f0-0000-4000-8000-000000000000")),
    });
    if let (Some(fields), Some(Value::Object(facts))) = (value.as_object_mut(), facts(&der)) {
        fields.extend(facts);
    }
    let path = desk.store.add_member(collection, &id.to_string(), value);
    let path = path.ok_or_else(|| Answer::internal("The BMC is full."))?;
    hand_over(desk);
    Ok(Answer::created(&path, desk.resource(&path).unwrap_or_default()))
}

/// POST of an image's digest to a database.
pub(crate) fn add_signature(desk: &Desk, collection: &str, body: &Value) -> Result<Answer, Answer> {
    let text = |name: &str| body.get(name).and_then(Value::as_str).ok_or_else(|| Answer::lacks(name));
    let (kind, digest) = (text("SignatureType")?, text("SignatureString")?);
    if kind != SHA256 || text("SignatureTypeRegistry")? != "UEFI" {
        return Err(Answer::bad(
            "PropertyValueNotInList",
            format!("SignatureType must be {SHA256} of UEFI."),
        ));
    }
    if digest_of(digest).is_none() {
        return Err(Answer::bad("PropertyValueFormatError", "SignatureString is not 64 hex digits."));
    }
    let members = desk.store.members(collection);
    let id = (1..=KEYS_MAX).find(|id| !members.contains(&format!("{collection}/{id}")));
    let id = id.ok_or_else(|| Answer::bad("CreateLimitReachedForResource", "The database is full."))?;
    let value = json!({
        "@odata.type": "#Signature.v1_0_3.Signature",
        "Name": "Secure Boot signature",
        "SignatureType": kind,
        "SignatureTypeRegistry": "UEFI",
        "SignatureString": digest,
        "UefiSignatureOwner": body.get("UefiSignatureOwner").cloned().unwrap_or(Value::Null),
    });
    let path = desk.store.add_member(collection, &id.to_string(), value);
    let path = path.ok_or_else(|| Answer::internal("The BMC is full."))?;
    hand_over(desk);
    Ok(Answer::created(&path, desk.resource(&path).unwrap_or_default()))
}

fn digest_of(text: &str) -> Option<[u8; 32]> {
    let bytes = text.as_bytes().chunks_exact(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok()?;
        pair.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u8::from_str_radix(pair, 16).ok())?
    });
    if text.len() == 64 { bytes.collect::<Option<Vec<u8>>>()?.try_into().ok() } else { None }
}

/// DELETE of a certificate or a signature.
pub(crate) fn remove_key(desk: &Desk, path: &str) -> Result<Answer, Answer> {
    desk.store.remove_member(path);
    hand_over(desk);
    Ok(Answer::done())
}

/// The action ResetKeys of Secure Boot or of one database.
pub(crate) fn reset_keys(desk: &Desk, resource: &str, body: &Value) -> Result<Answer, Answer> {
    let kind = body.get("ResetKeysType").and_then(Value::as_str);
    let kind =
        kind.ok_or_else(|| Answer::bad("ActionParameterMissing", "The action requires ResetKeysType."))?;
    let within = |path: &str| path.starts_with(&format!("{resource}/"));
    let mut paths: Vec<String> =
        desk.store.of_kind("Certificate").into_iter().filter(|p| is_key(p)).collect();
    paths.extend(desk.store.of_kind("Signature").into_iter().filter(|path| is_signature(path)));
    paths.retain(|path| within(path));
    let back = match kind {
        "ResetAllKeysToDefault" => true,
        "DeleteAllKeys" => false,
        "DeletePK" => {
            paths.retain(|path| path.contains("/PK/"));
            false
        }
        other => {
            let text = format!("ResetKeysType {other} is not one of those allowed.");
            return Err(Answer::bad("ActionParameterValueNotInList", text));
        }
    };
    for path in &paths {
        // The default is what the tree came with.
        if !back || desk.is_ours(path) {
            desk.store.remove_member(path);
        }
    }
    desk.journal.write("Warning", "Secure Boot keys were reset.", event::OTHER);
    hand_over(desk);
    Ok(Answer::done())
}

/// What the databases hold now, in DER.
fn keys(desk: &Desk) -> Option<SecureBootKeys> {
    let main = desk.store.value(&main_path(desk)?)?;
    let mut keys = SecureBootKeys {
        enable: main.get("SecureBootEnable").and_then(Value::as_bool).unwrap_or(false),
        ..SecureBootKeys::default()
    };
    for path in desk.store.of_kind("Certificate").iter().filter(|path| is_key(path)) {
        let Some(value) = desk.store.value(path) else { continue };
        let der = value.get("CertificateString").and_then(Value::as_str).and_then(der_of_pem);
        let list = match path.rsplit('/').nth(2) {
            Some("PK") => &mut keys.platform,
            Some("KEK") => &mut keys.exchange,
            Some("db") => &mut keys.allowed,
            Some("dbx") => &mut keys.forbidden,
            Some(_) | None => continue,
        };
        list.extend(der);
    }
    for path in desk.store.of_kind("Signature").iter().filter(|path| path.contains("/dbx/")) {
        let value = desk.store.value(path);
        let text = value.as_ref().and_then(|value| value.get("SignatureString")).and_then(Value::as_str);
        keys.revoked.extend(text.and_then(digest_of));
    }
    Some(keys)
}

/// Gives the machine what its firmware shall find, and shows the mode that follows from it.
pub(crate) fn hand_over(desk: &Desk) {
    let Some(keys) = keys(desk) else { return };
    if desk.is_built_in() {
        let mode = if keys.platform.is_empty() { "SetupMode" } else { "UserMode" };
        if let Some(path) = main_path(desk).filter(|path| {
            desk.store.value(path).is_some_and(|value| value.get("SecureBootMode") != Some(&json!(mode)))
        }) {
            desk.store.edit(&path, |value| value["SecureBootMode"] = json!(mode));
        }
    }
    desk.server.secure_boot(keys);
}

/// The server has started: what was set is in force.
pub(crate) fn apply(desk: &Desk) {
    let Some((path, keys)) = main_path(desk).zip(keys(desk)) else { return };
    let in_force = keys.enable && (!keys.platform.is_empty() || !desk.is_built_in());
    let word = if in_force { "Enabled" } else { "Disabled" };
    if desk.store.value(&path).is_some_and(|value| value.get("SecureBootCurrentBoot") != Some(&json!(word))) {
        desk.store.edit(&path, |value| value["SecureBootCurrentBoot"] = json!(word));
    }
}
