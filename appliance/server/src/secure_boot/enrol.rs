//! The site's keys go into a server's firmware by Redfish, and revoked images into its dbx.
//!
//! Each step is read back and may be done again; a controller that is cut off half way is finished by asking anew.  The
//! platform key comes last, because it ends setup mode: until then the firmware checks nothing and can still be set.

use appliance_bmc::{Allowed, Bmc, Database, KeyChange, KeyState, ResetKeys, SecureBootKeys};
use appliance_model::Digest;

use super::keys::{Certificate, OWNER, Own};
use crate::chain_of;

/// How UEFI calls a list of SHA-256 digests.
const SHA256: &str = "EFI_CERT_SHA256_GUID";

/// Puts the site's keys in the place of all others and switches Secure Boot on.  Says what was done.
///
/// # Errors
/// In words, with what was done before it.
pub(super) async fn enrol(
    bmc: &Bmc,
    allowed: &Allowed,
    own: &Own,
    also: &[Certificate],
) -> Result<Vec<String>, String> {
    let mut steps = Vec::new();
    match enrol_into(bmc, allowed, (own, also), &mut steps).await {
        Ok(()) => Ok(steps),
        Err(why) if steps.is_empty() => Err(why),
        Err(why) => Err(format!("{why}; done before that: {}; ask again to go on", steps.join(", "))),
    }
}

async fn enrol_into(
    bmc: &Bmc,
    allowed: &Allowed,
    (own, also): (&Own, &[Certificate]),
    steps: &mut Vec<String>,
) -> Result<(), String> {
    let failed = |error: appliance_bmc::BmcError| chain_of(&error);
    let keys = bmc.secure_boot_keys().await.map_err(failed)?;
    if let Some(theirs) = foreign_owner(&keys, own) {
        let done = bmc.reset_keys(allowed, ResetKeys::DeleteAll, None).await.map_err(failed)?;
        steps.push(format!("removed the keys of {theirs}{}", how_far(&done)));
    }
    let mut wanted = vec![(Database::Db, &own.db)];
    wanted.extend(also.iter().map(|certificate| (Database::Db, certificate)));
    wanted.extend([(Database::Kek, &own.kek), (Database::Pk, &own.pk)]);
    for (database, certificate) in wanted {
        let done = bmc.enrol_certificate(allowed, database, &certificate.der, Some(OWNER)).await;
        let done = done.map_err(failed)?;
        steps.push(format!("{} has {}{}", database.name(), Digest::of(&certificate.der), how_far(&done)));
    }
    let done = bmc.enable_secure_boot().await.map_err(failed)?;
    steps.push(format!("Secure Boot is on{}", how_far(&done)));
    Ok(())
}

/// Forbids the image with this Authenticode digest.
///
/// # Errors
/// In words.
pub(super) async fn revoke(bmc: &Bmc, allowed: &Allowed, image: &Digest) -> Result<Vec<String>, String> {
    let text = image.to_string();
    let done = bmc.enrol_signature(allowed, Database::Dbx, (SHA256, &text), Some(OWNER)).await;
    let done = done.map_err(|error| chain_of(&error))?;
    Ok(vec![format!("dbx has {text}{}", how_far(&done))])
}

/// Whether the firmware starts what this site signs, and only this site may change that.
pub(super) fn is_ours(keys: &SecureBootKeys, own: &Own) -> bool {
    let has = |database, certificate: &Certificate| {
        let wanted = Some(Digest::of(&certificate.der));
        keys.database(database).is_some_and(|one| one.certificates.iter().any(|one| one.sha256 == wanted))
    };
    has(Database::Pk, &own.pk) && has(Database::Kek, &own.kek) && has(Database::Db, &own.db)
}

/// Whose platform key is there, if it is not ours.
fn foreign_owner(keys: &SecureBootKeys, own: &Own) -> Option<String> {
    let ours = Some(Digest::of(&own.pk.der));
    let theirs = keys.database(Database::Pk)?.certificates.iter().find(|one| one.sha256 != ours)?;
    let named = theirs.subject.clone().or_else(|| theirs.sha256.map(|sha256| sha256.to_string()));
    Some(named.unwrap_or_else(|| "another owner".into()))
}

fn how_far(change: &KeyChange) -> &'static str {
    match change.state {
        KeyState::AlreadyThere => " (was so)",
        KeyState::Shown => "",
        KeyState::AtNextStart => " (from the next start)",
    }
}
