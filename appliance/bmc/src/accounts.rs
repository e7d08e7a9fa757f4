//! Accounts of the controller: rules for passwords and lockout, an own account with the least role that does, other
//! passwords, and taking accounts away (DSP2046: AccountService, ManagerAccount, Role).
//!
//! A controller makes accounts on request or has a fixed number of places that are written.  What was made shows in its
//! list, so a change whose answer was lost is looked for and never sent again unlooked.  No password is tried here:
//! [`Bmc::try_login`] tries one once, and [`Accounts::wrong_logins_safe`] says how many may be.

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    change::{Allowed, LOOKS_MAX, What, in_doubt},
    client::Bmc,
    control_plane,
    credentials::Password,
    error::BmcError,
    field,
    inventory::Machine,
    link::local,
    password::{self, PasswordError},
    quirks::Switch,
    view::{Account, Accounts},
};

/// Longest name of an account: what IPMI takes.
const USER_CHARS_MAX: usize = 16;
/// Free places that are tried, when the first refuses: some show as free and are reserved.
const PLACES_MAX: usize = 3;

/// What an account is for.  It gets the role with the fewest rights that has all that its duties need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duty {
    /// To read.
    Watch,
    /// Power, boot, BIOS settings, Secure Boot, updates.
    Operate,
    /// Virtual media, events, certificates, network.
    Manage,
    /// Other accounts.
    Users,
}

impl Duty {
    /// The privilege of the standard (DSP0266, 13.2.2).
    fn privilege(self) -> &'static str {
        match self {
            Self::Watch => "Login",
            Self::Operate => "ConfigureComponents",
            Self::Manage => "ConfigureManager",
            Self::Users => "ConfigureUsers",
        }
    }
}

/// An account to be made.
#[derive(Debug, Clone, Copy)]
pub struct NewAccount<'a> {
    /// Its name.
    pub user: &'a str,
    /// Its password.
    pub password: &'a Password,
    /// What it is for.
    pub duties: &'a [Duty],
}

/// How a change of accounts ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccountState {
    /// It was so before; nothing was sent.  The password of an account that was there may be another.
    AlreadyThere,
    /// The list shows it.
    Shown,
}

/// An account that was made, or was there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AccountMade {
    /// Whether it was there.
    pub state: AccountState,
    /// The account as the list shows it.
    pub account: Account,
}

impl Accounts {
    /// Why a password cannot be, in words that do not repeat it.
    #[must_use]
    pub fn refuses(&self, password: &Password) -> Option<String> {
        let text = password.reveal();
        let count = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
        if !text.chars().all(|c| c.is_ascii_graphic()) {
            return Some("it has other characters than printable ASCII".into());
        }
        if let Some(min) = self.password_chars_min.filter(|min| count < *min) {
            return Some(format!("it has {count} characters, at least {min} are wanted"));
        }
        if let Some(max) = self.password_chars_max.filter(|max| count > *max) {
            return Some(format!("it has {count} characters, at most {max} are taken"));
        }
        let kinds: [fn(&char) -> bool; 4] = [
            char::is_ascii_lowercase,
            char::is_ascii_uppercase,
            char::is_ascii_digit,
            char::is_ascii_punctuation,
        ];
        let has = kinds.iter().filter(|kind| text.chars().any(|c| kind(&c))).count();
        (self.password_complex == Some(true) && has < 3)
            .then(|| format!("it has {has} kinds of characters, three are wanted"))
    }

    /// How many wrong passwords in a row leave the account open for its owner; `None`: any number.  Where the controller
    /// does not tell, one.
    #[must_use]
    pub fn wrong_logins_safe(&self) -> Option<u32> {
        match self.lockout_attempts {
            Some(0) => None,
            // The one that locks, and one that somebody else may have spent.
            Some(attempts) => Some(attempts.saturating_sub(2)),
            None => Some(1),
        }
    }

    /// The account of this name.
    #[must_use]
    pub fn of(&self, user: &str) -> Option<&Account> {
        self.accounts.iter().find(|account| account.user == user)
    }
}

impl Bmc {
    /// Rules for accounts and all accounts, afresh.
    ///
    /// # Errors
    /// When the controller has no account service, or any account cannot be read.
    pub async fn accounts(&self) -> Result<Accounts, BmcError> {
        let (_, service) = self.account_service().await?;
        let (_, listed) = self.account_places().await?;
        Ok(rules(&service, &listed))
    }

    /// Makes an account with the least role that does.
    ///
    /// # Errors
    /// When it is not allowed for this machine, name or password cannot be, no role does, or the controller refuses.
    pub async fn create_account(
        &self,
        allowed: &Allowed,
        new: &NewAccount<'_>,
    ) -> Result<AccountMade, BmcError> {
        let machine = self.machine().await?;
        self.permit(&machine, allowed, What::Accounts)?;
        let (at, service) = self.account_service().await?;
        let (collection, listed) = self.account_places().await?;
        let rules = rules(&service, &listed);
        if let Some(account) = rules.of(new.user) {
            return Ok(AccountMade { state: AccountState::AlreadyThere, account: account.clone() });
        }
        let name = !new.user.is_empty()
            && new.user.len() <= USER_CHARS_MAX
            && new.user.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        if !name {
            let why = format!("an account's name has 1 to {USER_CHARS_MAX} letters, digits, dots and dashes");
            return Err(self.unfit(&at, why));
        }
        if let Some(why) = rules.refuses(new.password) {
            return Err(self.unfit(&at, format!("the password cannot be: {why}")));
        }
        let role = self.least_role(&service, new.duties).await?;
        let made = self.make(&machine, &collection, &listed, new, &role).await;
        let hidden = |error| password::without(error, new.password);
        let lost = made.map_err(hidden)?.map(hidden);
        for look in 0..LOOKS_MAX {
            if look > 0 {
                tokio::time::sleep(self.inner.options.pause).await;
            }
            let found = match self.accounts().await {
                Ok(now) => now.of(new.user).cloned(),
                Err(_) if lost.is_some() => None,
                Err(error) => return Err(error),
            };
            let Some(account) = found else { continue };
            let same = account.role.as_deref().is_none_or(|shown| shown.eq_ignore_ascii_case(&role));
            if same && account.enabled != Some(false) {
                return Ok(AccountMade { state: AccountState::Shown, account });
            }
        }
        let nothing = || BmcError::NotShown {
            url: self.inner.url(&collection),
            wanted: format!("the account {} with the role {role}", new.user),
            found: "no such account, or another role".into(),
        };
        Err(lost.unwrap_or_else(nothing))
    }

    /// Gives an account another password.  Sent once.
    ///
    /// # Errors
    /// Says whether the old one still holds, as far as that is known.
    pub async fn set_account_password(
        &self,
        allowed: &Allowed,
        user: &str,
        new: &Password,
    ) -> Result<(), PasswordError> {
        let found = async {
            let (machine, account, rules) = self.allowed_account(allowed, user).await?;
            let account = account.ok_or_else(|| self.lacks("/", format!("an account {user}")))?;
            match rules.refuses(new) {
                Some(why) => Err(self.unfit(&account.url, format!("the password cannot be: {why}"))),
                None => Ok((machine, account)),
            }
        };
        let (machine, account) = found.await.map_err(PasswordError::NotSent)?;
        let body = json!({ "Password": new.reveal() });
        let sent = self.tagged("PATCH", &account.url, Some(&body), &machine.quirks).await;
        sent.map(drop).map_err(|error| password::sent(error, new))
    }

    /// Lets an account log in, or no more.
    ///
    /// # Errors
    /// When it is not allowed for this machine, there is no such account, it is our own or the last administrator's, or
    /// the controller refuses or does not show it.
    pub async fn enable_account(
        &self,
        allowed: &Allowed,
        user: &str,
        on: bool,
    ) -> Result<AccountState, BmcError> {
        let (machine, account, rules) = self.allowed_account(allowed, user).await?;
        let account = account.ok_or_else(|| self.lacks("/", format!("an account {user}")))?;
        match account.enabled {
            Some(now) if now == on => return Ok(AccountState::AlreadyThere),
            None => return Err(self.lacks(&account.url, "accounts that can be disabled")),
            Some(_) => {}
        }
        if !on {
            self.spare(&rules, &account)?;
        }
        let shown = |value: &Value| field::flag(value, &["Enabled"]) == Some(on);
        self.account_change(&machine, &account.url, &json!({ "Enabled": on }), shown).await
    }

    /// Opens an account that wrong passwords have locked.
    ///
    /// # Errors
    /// When it is not allowed for this machine, there is no such account, or the controller refuses or does not show it.
    pub async fn unlock_account(&self, allowed: &Allowed, user: &str) -> Result<AccountState, BmcError> {
        let (machine, account, _) = self.allowed_account(allowed, user).await?;
        let account = account.ok_or_else(|| self.lacks("/", format!("an account {user}")))?;
        if account.locked == Some(false) {
            return Ok(AccountState::AlreadyThere);
        }
        let shown = |value: &Value| field::flag(value, &["Locked"]) != Some(true);
        self.account_change(&machine, &account.url, &json!({ "Locked": false }), shown).await
    }

    /// Takes an account away.
    ///
    /// # Errors
    /// When it is not allowed for this machine, it is our own or the last administrator's, or the controller refuses or
    /// still shows it.
    pub async fn delete_account(&self, allowed: &Allowed, user: &str) -> Result<AccountState, BmcError> {
        let (machine, account, rules) = self.allowed_account(allowed, user).await?;
        let Some(account) = account else { return Ok(AccountState::AlreadyThere) };
        self.spare(&rules, &account)?;
        let gone = |value: &Value| field::text(value, &["UserName"]).as_deref() != Some(user);
        let empty = json!({ "UserName": "", "Enabled": false });
        if machine.quirks.has(Switch::AccountsAreSlots) {
            return self.account_change(&machine, &account.url, &empty, gone).await;
        }
        let lost = match self.tagged("DELETE", &account.url, None, &machine.quirks).await {
            Ok(_) => None,
            // Its accounts are places after all.
            Err(BmcError::Refused { status: 405 | 501, .. }) => {
                return self.account_change(&machine, &account.url, &empty, gone).await;
            }
            Err(error) if in_doubt(&error) => Some(error),
            Err(error) => return Err(error),
        };
        for look in 0..LOOKS_MAX {
            if look > 0 {
                tokio::time::sleep(self.inner.options.pause).await;
            }
            match self.accounts().await {
                Ok(now) if now.of(user).is_none() => return Ok(AccountState::Shown),
                Err(error) if lost.is_none() => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
        let still = || BmcError::NotShown {
            url: self.inner.url(&account.url),
            wanted: format!("that the account {user} is gone"),
            found: "it still".into(),
        };
        Err(lost.unwrap_or_else(still))
    }

    async fn account_service(&self) -> Result<(String, Value), BmcError> {
        self.service("AccountService", "an account service").await
    }

    /// The collection of accounts, and all places in it, also the free ones.
    pub(crate) async fn account_places(&self) -> Result<(String, Vec<(String, Value)>), BmcError> {
        let (at, service) = self.account_service().await?;
        let told = field::link(&service, &["Accounts"]).and_then(|link| local(&self.inner.base, link));
        let collection = told.unwrap_or_else(|| format!("{}/Accounts", at.trim_end_matches('/')));
        let listed = self.listed(&collection).await?;
        Ok((collection, listed))
    }

    async fn allowed_account(
        &self,
        allowed: &Allowed,
        user: &str,
    ) -> Result<(Machine, Option<Account>, Accounts), BmcError> {
        let machine = self.machine().await?;
        self.permit(&machine, allowed, What::Accounts)?;
        let rules = self.accounts().await?;
        Ok((machine, rules.of(user).cloned(), rules))
    }

    /// Our own account and the last administrator's are not taken away: nobody could give them back.
    fn spare(&self, rules: &Accounts, account: &Account) -> Result<(), BmcError> {
        if account.user == self.inner.user {
            return Err(self.unfit(&account.url, "it is the account we are logged in with"));
        }
        let other = |one: &&Account| {
            let role = one.role.as_deref().unwrap_or_default();
            one.url != account.url && role.starts_with("Admin") && one.enabled != Some(false)
        };
        let administers = account.role.as_deref().is_some_and(|role| role.starts_with("Admin"));
        if administers && rules.accounts.iter().find(other).is_none() {
            return Err(self.unfit(&account.url, "it is the last administrator"));
        }
        Ok(())
    }

    async fn account_change(
        &self,
        machine: &Machine,
        path: &str,
        body: &Value,
        shown: impl Fn(&Value) -> bool,
    ) -> Result<AccountState, BmcError> {
        match self.shown_change(path, body, &machine.quirks, shown).await?.shown {
            Ok(_) => Ok(AccountState::Shown),
            Err(found) => Err(BmcError::NotShown {
                url: self.inner.url(path),
                wanted: body.to_string(),
                found: format!(
                    "UserName {}, Enabled {}, Locked {}",
                    found.get("UserName").unwrap_or(&Value::Null),
                    found.get("Enabled").unwrap_or(&Value::Null),
                    found.get("Locked").unwrap_or(&Value::Null)
                ),
            }),
        }
    }

    /// Sends the new account, by POST or into a free place.  `Some`: the answer was lost, it may be there.
    async fn make(
        &self,
        machine: &Machine,
        collection: &str,
        listed: &[(String, Value)],
        new: &NewAccount<'_>,
        role: &str,
    ) -> Result<Option<BmcError>, BmcError> {
        let mut body = json!({ "UserName": new.user, "Password": new.password.reveal(), "RoleId": role });
        if !machine.quirks.has(Switch::AccountsAreSlots) {
            match self.tagged("POST", collection, Some(&body), &machine.quirks).await {
                Ok(_) => return Ok(None),
                // Refused unlooked: its accounts are places.
                Err(BmcError::Refused { status: 405 | 501, .. }) => {}
                Err(error) if in_doubt(&error) => return Ok(Some(error)),
                Err(error) => return Err(error),
            }
        }
        body["Enabled"] = true.into();
        let mut refusal = None;
        for place in free_places(listed) {
            match self.tagged("PATCH", place, Some(&body), &machine.quirks).await {
                Ok(_) => return Ok(None),
                Err(error) if in_doubt(&error) => return Ok(Some(error)),
                Err(error @ BmcError::Refused { .. }) => {
                    // Some write what they can before they refuse the rest: then another place would be a second account.
                    let now = self.inner.get(place).await?.body;
                    let password = error.to_string().to_ascii_lowercase().contains("password");
                    if field::text(&now, &["UserName"]).is_some() || password {
                        return Err(error);
                    }
                    refusal = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(refusal.unwrap_or_else(|| self.lacks(collection, "a free place for another account")))
    }

    /// The role with the fewest rights that has what these duties need.
    async fn least_role(&self, service: &Value, duties: &[Duty]) -> Result<String, BmcError> {
        let mut needs: Vec<&str> = duties.iter().map(|duty| duty.privilege()).collect();
        needs.push(Duty::Watch.privilege());
        let roles = field::link(service, &["Roles"]).and_then(|link| local(&self.inner.base, link));
        let listed = match &roles {
            Some(roles) => self.listed(roles).await.unwrap_or_default(),
            None => Vec::new(),
        };
        let known: Vec<Role> = listed.iter().filter_map(|(_, one)| Role::of(one)).collect();
        if known.is_empty() {
            // The standard's own roles (DSP0266, 13.2.4).
            let high = needs.iter().any(|need| matches!(*need, "ConfigureManager" | "ConfigureUsers"));
            let low = needs.iter().all(|need| *need == "Login");
            return Ok(if high {
                "Administrator"
            } else if low {
                "ReadOnly"
            } else {
                "Operator"
            }
            .into());
        }
        let does = |role: &&Role| needs.iter().all(|need| role.rights.iter().any(|right| right == need));
        let least = known.iter().filter(does).min_by_key(|role| (!role.predefined, role.rights.len()));
        let what = || format!("a role with the privileges {}", needs.join(", "));
        least
            .map(|role| role.name.clone())
            .ok_or_else(|| self.lacks(roles.as_deref().unwrap_or_default(), what()))
    }
}

/// A role of the controller.
#[derive(Debug)]
struct Role {
    name: String,
    rights: Vec<String>,
    /// The standard's or the maker's own; the others may be for directory groups only.
    predefined: bool,
}

impl Role {
    fn of(value: &Value) -> Option<Self> {
        let mut rights = field::texts(value, &["AssignedPrivileges"]);
        rights.extend(field::texts(value, &["OemPrivileges"]));
        let name = field::text(value, &["RoleId"]).or_else(|| field::text(value, &["Id"]))?;
        let restricted = field::flag(value, &["Restricted"]) == Some(true);
        let predefined = field::flag(value, &["IsPredefined"]) == Some(true);
        (!restricted && !rights.is_empty()).then_some(Self { name, rights, predefined })
    }
}

fn rules(service: &Value, listed: &[(String, Value)]) -> Accounts {
    let mut rules = control_plane::account_rules(service);
    rules.accounts = listed.iter().filter_map(|(place, one)| control_plane::account(place, one)).collect();
    rules
}

/// Places without a name; the first of all last, since it is reserved on some.
fn free_places(listed: &[(String, Value)]) -> impl Iterator<Item = &str> {
    let mut free: Vec<&(String, Value)> =
        listed.iter().filter(|(_, one)| field::text(one, &["UserName"]).is_none()).collect();
    free.sort_by_key(|(path, _)| path.trim_end_matches('/').ends_with("/1"));
    free.into_iter().map(|(path, _)| path.as_str()).take(PLACES_MAX)
}
