//! Accounts and sessions as Redfish shows and changes them; who may enter is in [`super::sessions`].

use axum::http::{HeaderName, StatusCode, header};
use serde_json::{Value, json};

use super::answer::{Answer, extended};
use super::desk::Desk;
use super::sessions::{Account, Caller, Refused, Role, Session};
use super::store::link_of;

/// Shortest and longest password, as the account service says.
const PASSWORD: std::ops::RangeInclusive<usize> = 8..=20;

/// Places for accounts, where they are a fixed number; the first is reserved.
const PLACES: std::ops::RangeInclusive<u32> = 1..=16;

/// Longest user name, as IPMI allows.
const USER_MAX: usize = 16;

/// Puts the first account into the tree: into the first slot of an administrator of a captured tree, or a new one.
pub(crate) fn settle(desk: &Desk, user: &str, password: &str) {
    let Some(collection) = collection(desk) else {
        desk.door.set_account(Account::new(user, user, password, Role::Administrator));
        return;
    };
    let has = |path: &String, wanted: &str| {
        let value = desk.store.value(path).unwrap_or_default();
        let name = value.get("UserName").and_then(Value::as_str).unwrap_or_default().to_owned();
        let role = value.get("RoleId").and_then(Value::as_str).unwrap_or_default().to_owned();
        !name.is_empty() && role.starts_with("Admin") && (wanted.is_empty() || name == wanted)
    };
    if desk.quirks.accounts_are_slots && desk.is_built_in() {
        for id in PLACES {
            let mut free = Account::new(&format!("{collection}/{id}"), "", "", Role::ReadOnly);
            free.enabled = false;
            desk.store.add_member(&collection, &id.to_string(), show(&free));
        }
        desk.store.edit(&format!("{collection}/2"), |value| {
            value["UserName"] = json!(user);
            value["RoleId"] = json!(Role::Administrator.name());
        });
    }
    let members = desk.store.members(&collection);
    let slot =
        members.iter().find(|path| has(path, user)).or_else(|| members.iter().find(|path| has(path, "")));
    let place = match slot {
        Some(place) => place.clone(),
        None => format!("{collection}/{}", free_id(desk, &collection)),
    };
    let account = Account::new(&place, user, password, Role::Administrator);
    if slot.is_some() {
        desk.store.edit(&place, |value| {
            value["UserName"] = json!(user);
            value["Enabled"] = json!(true);
            value["Locked"] = json!(false);
        });
    } else {
        let id = place.rsplit('/').next().unwrap_or_default().to_owned();
        desk.store.add_member(&collection, &id, show(&account));
    }
    desk.door.set_account(account);
}

fn collection(desk: &Desk) -> Option<String> {
    desk.store.of_kind("ManagerAccountCollection").into_iter().next()
}

fn free_id(desk: &Desk, collection: &str) -> u32 {
    let taken = |id: &u32| desk.store.has(&format!("{collection}/{id}"));
    (1..=64).find(|id| !taken(id)).unwrap_or(65)
}

fn show(account: &Account) -> Value {
    json!({
        "@odata.type": "#ManagerAccount.v1_12_1.ManagerAccount",
        "Name": "User Account",
        "UserName": account.user,
        "Password": null,
        "RoleId": account.role.name(),
        "Enabled": account.enabled,
        "Locked": false,
        "PasswordChangeRequired": account.stale,
        "AccountTypes": ["Redfish", "IPMI"],
        "Links": { "Role": { "@odata.id": format!("/redfish/v1/AccountService/Roles/{}", account.role.name()) } },
    })
}

/// An account that is nobody's yet, for IPMI, which names users before they have a password.
pub(crate) fn empty(desk: &Desk) -> Account {
    let place = match collection(desk) {
        Some(collection) => format!("{collection}/{}", free_id(desk, &collection)),
        None => format!("ipmi-{}", desk.door.accounts().len()),
    };
    let mut account = Account::new(&place, "", "", Role::ReadOnly);
    account.enabled = false;
    account
}

/// Sets an account and shows it; false when there is no room.
pub(crate) fn put(desk: &Desk, account: Account) -> bool {
    if let Some((collection, id)) = account.place.rsplit_once('/') {
        if desk.store.has(&account.place) {
            desk.store.edit(&account.place, |value| {
                value["UserName"] = json!(account.user);
                value["RoleId"] = json!(account.role.name());
                value["Enabled"] = json!(account.enabled);
            });
        } else {
            desk.store.add_member(collection, id, show(&account));
        }
    }
    desk.door.set_account(account)
}

/// Lays what is true now over an account's resource.
pub(crate) fn overlay(desk: &Desk, path: &str, value: &mut Value) {
    if let Some(account) = desk.door.account(path) {
        for (key, truth) in [
            ("Locked", json!(account.is_locked())),
            ("PasswordChangeRequired", json!(account.stale)),
            ("Enabled", json!(account.enabled)),
            ("UserName", json!(account.user)),
        ] {
            if value.get(key).is_some() {
                value[key] = truth;
            }
        }
    }
}

/// POST to the account collection.
pub(crate) fn create(desk: &Desk, collection: &str, body: &Value) -> Result<Answer, Answer> {
    if desk.quirks.accounts_are_slots {
        return Err(Answer::not_allowed("GET, HEAD"));
    }
    let text = |name: &str| body.get(name).and_then(Value::as_str).ok_or_else(|| Answer::lacks(name));
    let (user, password) = (text("UserName")?, text("Password")?);
    let role = role(text("RoleId")?)?;
    check_user(desk, user)?;
    check_password(password)?;
    let id = free_id(desk, collection);
    let place = format!("{collection}/{id}");
    let mut account = Account::new(&place, user, password, role);
    account.enabled = body.get("Enabled").and_then(Value::as_bool).unwrap_or(true);
    account.stale = body.get("PasswordChangeRequired").and_then(Value::as_bool).unwrap_or(false);
    let shown = show(&account);
    if !desk.door.set_account(account) {
        return Err(Answer::bad("CreateLimitReachedForResource", "There is no free account slot."));
    }
    desk.store.add_member(collection, &id.to_string(), shown);
    Ok(Answer::created(&place, desk.resource(&place).unwrap_or_default()))
}

fn role(name: &str) -> Result<Role, Answer> {
    Role::parse(name).ok_or_else(|| Answer::not_in_list("RoleId", &json!(name)))
}

fn check_user(desk: &Desk, user: &str) -> Result<(), Answer> {
    if user.is_empty() || user.len() > USER_MAX || !user.chars().all(|c| c.is_ascii_graphic()) {
        return Err(Answer::bad(
            "PropertyValueFormatError",
            "UserName must be 1 to 16 printable characters.",
        ));
    }
    if desk.door.accounts().iter().any(|account| account.user == user) {
        return Err(Answer::bad("ResourceAlreadyExists", format!("There is a user {user} already.")));
    }
    Ok(())
}

fn check_password(password: &str) -> Result<(), Answer> {
    if PASSWORD.contains(&password.len()) {
        return Ok(());
    }
    Err(Answer::bad("PropertyValueFormatError", "The password must be 8 to 20 characters long."))
}

/// PATCH of an account.
pub(crate) fn patch(desk: &Desk, path: &str, body: &Value, caller: &Caller) -> Result<Answer, Answer> {
    let fields =
        body.as_object().ok_or_else(|| Answer::bad("MalformedJSON", "The body is not an object."))?;
    let own = caller.place == path;
    if desk.quirks.accounts_are_slots && path.ends_with("/1") {
        return Err(Answer::bad("PropertyNotWritable", "This account is reserved."));
    }
    if !own && caller.role < Role::Administrator {
        return Err(forbidden());
    }
    let known = desk.door.account(path);
    let mut account = known.clone().unwrap_or_else(|| Account::new(path, "", "", Role::ReadOnly));
    let mut unlock = false;
    for (key, value) in fields {
        if own && caller.role < Role::Administrator && key != "Password" {
            return Err(forbidden());
        }
        let wrong = || Answer::bad("PropertyValueTypeError", format!("{value} is no value for {key}."));
        match key.as_str() {
            "UserName" => {
                let user = value.as_str().ok_or_else(wrong)?;
                if !user.is_empty() && user != account.user {
                    check_user(desk, user)?;
                }
                user.clone_into(&mut account.user);
            }
            "Password" => {
                let password = value.as_str().ok_or_else(wrong)?;
                check_password(password)?;
                password.clone_into(&mut account.password);
                account.stale = false;
            }
            "RoleId" => account.role = role(value.as_str().ok_or_else(wrong)?)?,
            "Enabled" => account.enabled = value.as_bool().ok_or_else(wrong)?,
            "PasswordChangeRequired" => account.stale = value.as_bool().ok_or_else(wrong)?,
            "Locked" if value == &json!(false) => unlock = true,
            "AccountTypes" | "Oem" => {}
            _ => return Err(Answer::bad("PropertyNotWritable", format!("{key} cannot be written."))),
        }
    }
    if account.user.is_empty() {
        desk.door.remove_account(path);
    } else if !desk.door.set_account(account.clone()) {
        return Err(Answer::bad("CreateLimitReachedForResource", "There is no free account slot."));
    }
    if unlock {
        desk.door.unlock(path);
    }
    desk.store.edit(path, |value| {
        value["UserName"] = json!(account.user);
        value["RoleId"] = json!(account.role.name());
        value["Enabled"] = json!(account.enabled);
    });
    Ok(Answer::ok(desk.resource(path).unwrap_or_default()))
}

/// DELETE of an account.
pub(crate) fn remove(desk: &Desk, path: &str) -> Result<Answer, Answer> {
    let administrators = |account: &Account| account.role == Role::Administrator && account.place != path;
    if !desk.door.accounts().iter().any(administrators) {
        return Err(Answer::bad("ResourceCannotBeDeleted", "The last administrator cannot be deleted."));
    }
    desk.door.remove_account(path);
    desk.store.remove_member(path);
    Ok(Answer::done())
}

/// What the account service's own settings mean for the door.
pub(crate) fn take_policy(desk: &Desk, service: &Value) {
    let number = |name: &str| service.get(name).and_then(Value::as_u64);
    desk.door.set_policy(|policy| {
        if let Some(threshold) = number("AccountLockoutThreshold") {
            policy.threshold = u32::try_from(threshold).unwrap_or(u32::MAX);
        }
        if let Some(seconds) = number("AccountLockoutDuration") {
            policy.lock_seconds = seconds;
        }
    });
}

pub(crate) fn forbidden() -> Answer {
    Answer::error(
        StatusCode::FORBIDDEN,
        "InsufficientPrivilege",
        "There are insufficient privileges for the account or credentials to do this.",
    )
}

/// Whether a request for this path may be made with a password that must be changed.
pub(crate) fn allowed_while_stale(desk: &Desk, caller: &Caller, method: &str, path: &str) -> bool {
    let session =
        desk.store.kind(path).as_deref() == Some("SessionCollection") || path.contains("/Sessions/");
    match method {
        "PATCH" | "GET" if path == caller.place => true,
        "DELETE" | "POST" => session,
        _ => matches!(path, "/redfish" | "/redfish/v1" | "/redfish/v1/AccountService"),
    }
}

/// The refusal that says how to get on.
pub(crate) fn must_change(caller: &Caller) -> Answer {
    let text = format!("The password of {} must be changed before access is granted.", caller.user);
    let id = "Base.1.18.PasswordChangeRequired";
    let mut message = extended(id, &text);
    message["MessageArgs"] = json!([caller.place]);
    let body = json!({ "error": { "code": id, "message": text, "@Message.ExtendedInfo": [message] } });
    Answer::status(StatusCode::FORBIDDEN, Some(body))
}

/// POST to the session collection.
pub(crate) fn log_in(desk: &Desk, collection: &str, body: &Value) -> Result<Answer, Answer> {
    let text = |name: &str| body.get(name).and_then(Value::as_str).ok_or_else(|| Answer::lacks(name));
    match desk.door.log_in(text("UserName")?, text("Password")?) {
        Ok((session, token)) => {
            let path = format!("{collection}/{}", session.id);
            let mut shown = show_session(&path, &session);
            let stale = desk.door.user(&session.user).filter(|account| account.stale);
            if let Some(account) = stale {
                let mut message = extended("Base.1.18.PasswordChangeRequired", "Change the password first.");
                message["MessageArgs"] = json!([account.place]);
                shown["@Message.ExtendedInfo"] = json!([message]);
            }
            Ok(Answer::created(&path, shown).with(HeaderName::from_static("x-auth-token"), token))
        }
        Err(Refused::WrongPassword) => {
            let text = "The user name or the password is wrong.";
            Err(Answer::error(StatusCode::UNAUTHORIZED, "ResourceAtUriUnauthorized", text))
        }
        Err(Refused::TooManySessions) => {
            let text = "The session limit is reached; close sessions or wait for them to expire.";
            Err(Answer::error(StatusCode::SERVICE_UNAVAILABLE, "SessionLimitExceeded", text)
                .with(header::RETRY_AFTER, "30"))
        }
    }
}

/// A session's resource.
pub(crate) fn show_session(path: &str, session: &Session) -> Value {
    json!({
        "@odata.id": path,
        "@odata.type": "#Session.v1_7_1.Session",
        "Id": session.id.to_string(),
        "Name": "User Session",
        "UserName": session.user,
        "Password": null,
        "CreatedTime": super::clock::text(session.made),
        "SessionType": "Redfish",
    })
}

/// Path of the session collection, for whatever tree.
pub(crate) fn sessions_path(desk: &Desk) -> Option<String> {
    let root = desk.store.value("/redfish/v1")?;
    link_of(root.get("Links")?, "Sessions")
}
