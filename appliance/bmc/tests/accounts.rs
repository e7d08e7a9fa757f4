//! Accounts on controllers of several habits: made once, with the least role, and never another password tried.

mod support;
#[path = "support/world.rs"]
mod world;

use appliance_bmc::{AccountState, Allowed, BmcError, Duty, NewAccount, Password, PasswordError};
use serde_json::{Value, json};
use support::Reply;
use world::{Rule, World, link, refusal, serial};

const SERVICE: &str = "/redfish/v1/AccountService";
const ACCOUNTS: &str = "/redfish/v1/AccountService/Accounts";

fn role(name: &str, rights: &[&str], predefined: bool) -> Value {
    json!({ "Id": name, "RoleId": name, "IsPredefined": predefined, "AssignedPrivileges": rights })
}

/// Three places: free and reserved, ours, free.
async fn world(vendor: &str, rule: Rule) -> World {
    let roles = format!("{SERVICE}/Roles");
    let at = |name: &str| format!("{SERVICE}/{name}");
    let service = json!({ "MinPasswordLength": 8, "MaxPasswordLength": 20, "AccountLockoutThreshold": 3,
        "AccountLockoutDuration": 0, "Accounts": link(ACCOUNTS), "Roles": link(&roles),
        "Oem": { "Maker": { "EnforcePasswordComplexity": true } } });
    let places = ["1", "2", "3"].map(|id| format!("{ACCOUNTS}/{id}"));
    let free = || json!({ "UserName": "", "RoleId": "None", "Enabled": false });
    let names = ["None", "ReadOnly", "Custom", "Operator", "Administrator"];
    let all = ["Login", "ConfigureSelf", "ConfigureComponents", "ConfigureManager", "ConfigureUsers"];
    let links =
        |paths: &[String]| json!({ "Members": paths.iter().map(|path| link(path)).collect::<Vec<_>>() });
    let mut more = vec![
        (SERVICE.to_owned(), service),
        (ACCOUNTS.to_owned(), links(&places)),
        (roles.clone(), links(&names.map(|name| format!("{roles}/{name}")))),
        (places[0].clone(), free()),
        (places[1].clone(), json!({ "UserName": "admin", "RoleId": "Administrator", "Enabled": true })),
        (places[2].clone(), free()),
    ];
    let rights = [&all[..0], &all[..2], &all[..3], &all[..3], &all[..]];
    for (name, rights) in names.iter().zip(rights) {
        more.push((at(&format!("Roles/{name}")), role(name, rights, *name != "Custom")));
    }
    let more: Vec<(&str, Value)> = more.iter().map(|(path, value)| (path.as_str(), value.clone())).collect();
    World::start(vendor, json!({}), &more, rule).await
}

fn allowed() -> Allowed {
    Allowed::accounts(serial())
}

fn plain() -> Rule {
    Box::new(|_, _| None)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_made_once_with_the_least_role_that_does() {
    // Where it comes to be, and with which method, on makers with lists and makers with places.
    let no_post: Rule = Box::new(|_, asked| {
        (asked.method == "POST" && asked.path == ACCOUNTS).then(|| Reply(405, vec![], vec![]))
    });
    let rows = [("", plain(), "new3", 1), ("Dell", plain(), "3", 1), ("", no_post, "3", 2)];
    for (vendor, rule, place, changes) in rows {
        let world = world(vendor, rule).await;
        let bmc = world.served.client(None);
        let password = Password::new("Correct-horse-7");
        let new = NewAccount { user: "scalerforge", password: &password, duties: &[Duty::Operate] };
        let made = bmc.create_account(&allowed(), &new).await.unwrap();
        assert_eq!((made.state, made.account.role.as_deref()), (AccountState::Shown, Some("Operator")));
        assert_eq!(made.account.url, format!("{ACCOUNTS}/{place}"), "{vendor}");
        assert_eq!(world.changes(ACCOUNTS), changes, "{vendor}");
        let again = bmc.create_account(&allowed(), &new).await.unwrap();
        assert_eq!(again.state, AccountState::AlreadyThere);
        assert_eq!(world.changes(ACCOUNTS), changes, "nothing is sent for what is there");
        let state = bmc.delete_account(&allowed(), "scalerforge").await.unwrap();
        assert_eq!(state, AccountState::Shown, "{vendor}");
        assert!(bmc.accounts().await.unwrap().of("scalerforge").is_none());
        assert_eq!(bmc.delete_account(&allowed(), "scalerforge").await.unwrap(), AccountState::AlreadyThere);
    }
    let world = world("", plain()).await;
    let bmc = world.served.client(None);
    let password = Password::new("Correct-horse-7");
    for (duties, role) in [(&[][..], "ReadOnly"), (&[Duty::Operate, Duty::Users][..], "Administrator")] {
        let user = format!("for-{}", role.to_lowercase());
        let new = NewAccount { user: &user[..8], password: &password, duties };
        let made = bmc.create_account(&allowed(), &new).await.unwrap();
        assert_eq!(made.account.role.as_deref(), Some(role));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_whose_answer_was_lost_is_found_and_not_made_twice() {
    for status in [0, 500, 503] {
        let mut lost = false;
        let rule: Rule = Box::new(move |tree, asked| {
            if asked.method != "POST" || asked.path != ACCOUNTS || lost {
                return None;
            }
            lost = true;
            world::standard(tree, asked);
            Some(Reply(status, vec![], vec![]))
        });
        let world = world("", rule).await;
        let bmc = world.served.client(None);
        let password = Password::new("Correct-horse-7");
        let new = NewAccount { user: "scalerforge", password: &password, duties: &[Duty::Manage] };
        let made = bmc.create_account(&allowed(), &new).await.unwrap();
        assert_eq!((made.state, world.changes(ACCOUNTS)), (AccountState::Shown, 1), "{status}");
    }
    // Refused before it was looked at: told, and the next attempt makes one.
    let mut busy = true;
    let rule: Rule = Box::new(move |_, asked| {
        let hit = asked.method == "POST" && asked.path == ACCOUNTS && std::mem::take(&mut busy);
        hit.then(|| Reply(503, vec![], vec![]))
    });
    let world = world("", rule).await;
    let bmc = world.served.client(None);
    let password = Password::new("Correct-horse-7");
    let new = NewAccount { user: "scalerforge", password: &password, duties: &[] };
    assert!(matches!(bmc.create_account(&allowed(), &new).await, Err(BmcError::Refused { status: 503, .. })));
    assert_eq!(bmc.create_account(&allowed(), &new).await.unwrap().state, AccountState::Shown);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_before_anything_is_sent() {
    let world = world("", plain()).await;
    let bmc = world.served.client(None);
    let rules = bmc.accounts().await.unwrap();
    assert_eq!((rules.wrong_logins_safe(), rules.lockout_seconds), (Some(1), Some(0)));
    for (password, why) in [
        ("Ab1", "at least 8"),
        ("Abcdefghijklmnop-12345", "at most 20"),
        ("abcdefgh1", "three are wanted"),
        ("Abcdefgh 1", "printable"),
    ] {
        let told = rules.refuses(&Password::new(password)).unwrap();
        assert!(told.contains(why) && !told.contains(password), "{told}");
        let password = Password::new(password);
        let new = NewAccount { user: "scalerforge", password: &password, duties: &[] };
        assert!(matches!(bmc.create_account(&allowed(), &new).await, Err(BmcError::Unfit { .. })));
    }
    let good = Password::new("Correct-horse-7");
    for user in ["", "a b", "seventeen-letters", "a:b"] {
        let new = NewAccount { user, password: &good, duties: &[] };
        assert!(matches!(bmc.create_account(&allowed(), &new).await, Err(BmcError::Unfit { .. })), "{user}");
    }
    let other = Allowed::firmware(serial());
    let new = NewAccount { user: "scalerforge", password: &good, duties: &[] };
    assert!(matches!(bmc.create_account(&other, &new).await, Err(BmcError::NotAllowed { .. })));
    for result in
        [bmc.delete_account(&allowed(), "admin").await, bmc.enable_account(&allowed(), "admin", false).await]
    {
        assert!(result.unwrap_err().to_string().contains("the account we are logged in with"));
    }
    assert_eq!(world.changes(ACCOUNTS), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_are_sent_once_and_never_told() {
    let echo: Rule = Box::new(|_, asked| {
        let password = asked.body["Password"].as_str()?;
        (asked.method == "PATCH").then(|| {
            refusal(400, "Base.1.8.PropertyValueFormatError", &format!("The value '{password}' is bad"))
        })
    });
    let silent: Rule = Box::new(|_, asked| (asked.method == "PATCH").then(|| Reply(0, vec![], vec![])));
    for (rule, sure) in [(echo, true), (silent, false)] {
        let world = world("", rule).await;
        let bmc = world.served.client(None);
        let new = Password::new("Correct-horse-7");
        let error = bmc.set_account_password(&allowed(), "admin", &new).await.unwrap_err();
        assert_eq!(matches!(error, PasswordError::Refused(_)), sure, "{error:?}");
        assert!(!format!("{error:?}").contains("Correct-horse"), "{error:?}");
        let error = bmc.change_own_password(&new).await.unwrap_err();
        assert_eq!(matches!(error, PasswordError::Unsure(_)), !sure, "{error:?}");
        assert!(!format!("{error:?}").contains("Correct-horse"), "{error:?}");
        assert_eq!(world.changes(ACCOUNTS), 2);
    }
    let world = world("AMI", plain()).await;
    let bmc = world.served.client(None);
    bmc.change_own_password(&Password::new("Correct-horse-7")).await.unwrap();
    assert_eq!(world.at(&format!("{ACCOUNTS}/2"))["Password"], "Correct-horse-7");
}

/// A factory's password opens nothing but the way to another one (DSP0266, 13.3.7), told in two ways.
#[tokio::test(flavor = "multi_thread")]
async fn a_factory_password_is_changed_first() {
    let mine = format!("{ACCOUNTS}/2");
    for status in [201, 403] {
        let place = mine.clone();
        let mut changed = false;
        let rule: Rule = Box::new(move |_, asked| {
            let message =
                json!([{ "MessageId": "Base.1.18.PasswordChangeRequired", "MessageArgs": [place] }]);
            changed |= asked.method == "PATCH" && asked.path == place;
            match (asked.method.as_str(), asked.path.as_str()) {
                ("POST", world::SESSIONS) if status == 201 => {
                    let body = json!({ "@Message.ExtendedInfo": message }).to_string().into_bytes();
                    Some(Reply(201, vec![("X-Auth-Token", "t".into())], body))
                }
                ("GET", "/redfish/v1/") | ("PATCH", _) => None,
                _ if changed => None,
                _ => {
                    let error = json!({ "error": { "@Message.ExtendedInfo": message } });
                    Some(Reply::json(403, &error))
                }
            }
        });
        let world = world("", rule).await;
        let bmc = world.served.client(None);
        let told = bmc.try_login().await;
        assert!(
            matches!(&told, Err(BmcError::PasswordChange { account, .. }) if account.as_ref() == Some(&mine))
        );
        bmc.change_own_password(&Password::new("Correct-horse-7")).await.unwrap();
        assert_eq!(world.at(&mine)["Password"], "Correct-horse-7", "{status}");
        assert_eq!(world.changes(ACCOUNTS), 1);
    }
}
