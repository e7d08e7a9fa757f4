//! Secure Boot with its databases of keys; all empty, as a factory leaves a server in setup mode.

use serde_json::json;

use super::{Growing, SYSTEM, link};

/// The databases that exist.
pub(crate) const DATABASES: [&str; 4] = ["PK", "KEK", "db", "dbx"];

pub(super) fn grow(tree: &mut Growing) {
    let path = format!("{SYSTEM}/SecureBoot");
    let databases = format!("{path}/SecureBootDatabases");
    tree.add(&path, "SecureBoot.v1_1_2.SecureBoot", "UEFI Secure Boot", json!({
        "SecureBootEnable": false,
        "SecureBootCurrentBoot": "Disabled",
        "SecureBootMode": "SetupMode",
        "SecureBootDatabases": link(&databases),
        "Actions": { "#SecureBoot.ResetKeys": {
            "target": format!("{path}/Actions/SecureBoot.ResetKeys"),
            "ResetKeysType@Redfish.AllowableValues": ["ResetAllKeysToDefault", "DeleteAllKeys", "DeletePK"],
        }},
    }));
    tree.collection(&databases, "SecureBootDatabase", &DATABASES);
    for name in DATABASES {
        let database = format!("{databases}/{name}");
        let kind = "SecureBootDatabase.v1_0_3.SecureBootDatabase";
        tree.add(
            &database,
            kind,
            &format!("UEFI {name} database"),
            json!({
                "DatabaseId": name,
                "Certificates": link(&format!("{database}/Certificates")),
                "Signatures": link(&format!("{database}/Signatures")),
                "Actions": { "#SecureBootDatabase.ResetKeys": {
                    "target": format!("{database}/Actions/SecureBootDatabase.ResetKeys"),
                    "ResetKeysType@Redfish.AllowableValues": ["ResetAllKeysToDefault", "DeleteAllKeys"],
                }},
            }),
        );
        tree.collection(&format!("{database}/Certificates"), "Certificate", &[]);
        tree.collection(&format!("{database}/Signatures"), "Signature", &[]);
    }
}
