//! Secure Boot on controllers of several habits: who may change keys, what is sent, and when it counts as done.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;
#[path = "support/world.rs"]
mod world;

use appliance_bmc::{Allowed, BmcError, Database, KeyState, ResetKeys};
use appliance_model::{Digest, Serial};
use serde_json::{Value, json};
use support::Reply;
use world::{Rule, SYSTEM, World, link, refusal, serial, standard};

const AT: &str = "/redfish/v1/Systems/1/SecureBoot";

fn resources() -> Vec<(String, Value)> {
    let mut all = vec![(
        AT.to_owned(),
        json!({ "SecureBootEnable": false, "SecureBootCurrentBoot": "Disabled", "SecureBootMode": "UserMode",
            "SecureBootDatabases": link(&format!("{AT}/SecureBootDatabases")),
            "Actions": { "#SecureBoot.ResetKeys": {
                "ResetKeysType@Redfish.AllowableValues": ["ResetAllKeysToDefault", "DeleteAllKeys"] } } }),
    )];
    let names = ["PK", "KEK", "db", "dbx"];
    let databases = format!("{AT}/SecureBootDatabases");
    let members: Vec<Value> = names.iter().map(|name| link(&format!("{databases}/{name}"))).collect();
    all.push((databases.clone(), json!({ "Members": members })));
    for name in names {
        let place = format!("{databases}/{name}");
        let (certificates, signatures) = (format!("{place}/Certificates"), format!("{place}/Signatures"));
        all.push((
            place,
            json!({ "Id": name, "DatabaseId": name, "Certificates": link(&certificates),
                "Signatures": link(&signatures) }),
        ));
        all.push((certificates, json!({ "Members": [] })));
        all.push((signatures, json!({ "Members": [] })));
    }
    all
}

async fn world(vendor: &str, rule: Rule) -> World {
    let resources = resources();
    let more: Vec<(&str, Value)> =
        resources.iter().map(|(path, value)| (path.as_str(), value.clone())).collect();
    World::start(vendor, json!({ "SecureBoot": link(AT) }), &more, rule).await
}

fn plain() -> Rule {
    Box::new(|_, _| None)
}

fn der() -> Vec<u8> {
    let key = rcgen::KeyPair::generate().unwrap();
    let parameters = rcgen::CertificateParams::new(vec!["ours".into()]).unwrap();
    parameters.self_signed(&key).unwrap().der().to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn our_key_is_enrolled_once_and_taken_out_again() {
    let world = world("", plain()).await;
    let (bmc, allowed, der) = (world.served.client(None), Allowed::secure_boot_keys(serial()), der());
    let first = bmc.enrol_certificate(&allowed, Database::Db, &der, None).await.unwrap();
    assert_eq!(first.state, KeyState::Shown);
    let again = bmc.enrol_certificate(&allowed, Database::Db, &der, None).await.unwrap();
    assert_eq!((again.state, &again.url), (KeyState::AlreadyThere, &first.url));
    assert_eq!(world.changes("db/Certificates"), 1);
    let keys = bmc.secure_boot_keys().await.unwrap();
    let enrolled = &keys.database(Database::Db).unwrap().certificates;
    assert_eq!(enrolled[0].sha256, Some(Digest::of(&der)));
    let hash = ("EFI_CERT_SHA256_GUID", "80b4d96931bf0d02fd91a61e19d14f1d");
    assert_eq!(
        bmc.enrol_signature(&allowed, Database::Dbx, hash, None).await.unwrap().state,
        KeyState::Shown
    );
    let gone = bmc.delete_key(&allowed, first.url.as_deref().unwrap()).await.unwrap();
    assert_eq!(gone.state, KeyState::Shown);
    assert!(bmc.secure_boot_keys().await.unwrap().database(Database::Db).unwrap().certificates.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_is_for_one_machine_and_one_kind_of_change() {
    let world = world("", plain()).await;
    let bmc = world.served.client(None);
    let other = Serial::parse("S9999").unwrap();
    for allowed in [Allowed::secure_boot_keys(other), Allowed::firmware(serial())] {
        let result = bmc.enrol_certificate(&allowed, Database::Db, &der(), None).await;
        assert!(matches!(result, Err(BmcError::NotAllowed { .. })), "{result:?}");
        assert!(bmc.reset_keys(&allowed, ResetKeys::DeleteAll, None).await.is_err());
        assert!(bmc.disable_secure_boot(&allowed).await.is_err());
    }
    let right = Allowed::secure_boot_keys(serial());
    assert!(matches!(
        bmc.enrol_certificate(&right, Database::Db, b"no certificate", None).await,
        Err(BmcError::Unfit { .. })
    ));
    assert_eq!(world.changes("SecureBoot"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_switched_on_as_each_maker_takes_it() {
    // Demands `If-Match: *`.
    let star: Rule = Box::new(|_, asked| {
        let given = asked.headers.get("if-match").is_some_and(|tag| tag == "*");
        (asked.method == "PATCH" && !given).then(|| Reply(428, vec![], vec![]))
    });
    // Accepts, and shows nothing before the next start.
    let silent: Rule = Box::new(|_, asked| (asked.method == "PATCH").then(|| Reply(202, vec![], vec![])));
    let rows = [
        ("", plain(), KeyState::Shown, 1),
        ("AMI", star, KeyState::Shown, 1),
        ("Supermicro", silent, KeyState::AtNextStart, 1),
    ];
    for (vendor, rule, state, changes) in rows {
        let world = world(vendor, rule).await;
        let change = world.served.client(None).enable_secure_boot().await.unwrap();
        assert_eq!(change.state, state, "{vendor}");
        assert_eq!(world.changes("SecureBoot"), changes, "{vendor}");
    }
    let liar =
        world("", Box::new(|_, asked| (asked.method == "PATCH").then(|| Reply(204, vec![], vec![])))).await;
    let result = liar.served.client(None).enable_secure_boot().await;
    assert!(matches!(result, Err(BmcError::NotShown { .. })), "{result:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_licence_gate_is_told_in_words() {
    let shut: Rule = Box::new(|_, asked| {
        asked
            .path
            .contains("/SecureBoot")
            .then(|| refusal(403, "OEM.NotLicensed", "Not licensed to perform this"))
    });
    let world = world("Supermicro", shut).await;
    let error = world.served.client(None).secure_boot_keys().await.unwrap_err();
    assert!(matches!(error, BmcError::Licence { .. }) && error.to_string().contains("licence"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_looked_for_and_not_repeated() {
    let mut dropped = false;
    let drops: Rule = Box::new(move |tree, asked| {
        let hit = !dropped && asked.method == "POST" && asked.path.ends_with("db/Certificates");
        hit.then(|| {
            dropped = true;
            standard(tree, asked);
            Reply(0, vec![], vec![])
        })
    });
    let world = world("", drops).await;
    let allowed = Allowed::secure_boot_keys(serial());
    let change =
        world.served.client(None).enrol_certificate(&allowed, Database::Db, &der(), None).await.unwrap();
    assert_eq!(change.state, KeyState::Shown);
    assert_eq!(world.changes("db/Certificates"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_reset_as_far_as_it_is_offered() {
    let deletes: Rule = Box::new(|tree, asked| {
        (asked.path.ends_with("SecureBoot.ResetKeys")).then(|| {
            for (path, value) in tree.iter_mut() {
                if path.ends_with("/Certificates") {
                    value["Members"] = json!([]);
                }
            }
            Reply(204, vec![], vec![])
        })
    });
    let world = world("", deletes).await;
    let (bmc, allowed) = (world.served.client(None), Allowed::secure_boot_keys(serial()));
    bmc.enrol_certificate(&allowed, Database::Kek, &der(), None).await.unwrap();
    let reset = bmc.reset_keys(&allowed, ResetKeys::DeleteAll, None).await.unwrap();
    assert_eq!(reset.state, KeyState::Shown);
    // Not among the values it offers.
    let result = bmc.reset_keys(&allowed, ResetKeys::DeletePk, None).await;
    assert!(matches!(result, Err(BmcError::Lacks { .. })), "{result:?}");
    assert!(world.at(SYSTEM).is_object());
}
