//! The password of our own account: whether it holds, and another one.
//!
//! A login is tried once: controllers lock accounts.  A change is sent once; when its answer is lost, only a login tells
//! which password holds.  A password that must be changed before anything else (a factory's) is changed here, too.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    client::{Bmc, ROOT},
    credentials::Password,
    error::BmcError,
    exchange::{Call, said},
    field,
    link::local,
    quirks::{Quirks, Who},
    session::Key,
};

/// Why a password was not changed, or may not have been.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// It was not sent: the old one holds.
    #[error("the new password was not sent, the old one holds")]
    NotSent(#[source] BmcError),
    /// The controller said no.
    #[error("the controller refused the new password")]
    Refused(#[source] BmcError),
    /// Nobody knows.
    #[error("the controller may have taken the new password or not; a login will tell")]
    Unsure(#[source] BmcError),
}

/// An error of a request that carried a password, without it: controllers repeat what they refuse.
pub(crate) fn without(error: BmcError, password: &Password) -> BmcError {
    let BmcError::Refused { method, url, status, said } = error else { return error };
    let secret = password.reveal();
    let said = if secret.is_empty() { said } else { said.replace(secret, "(the password)") };
    BmcError::Refused { method, url, status, said }
}

/// What becomes of an error of the request that carries the new password.
pub(crate) fn sent(error: BmcError, new: &Password) -> PasswordError {
    let error = without(error, new);
    let unreached = matches!(&error, BmcError::NoAnswer { source, .. } if source.is_connect());
    if unreached || matches!(error, BmcError::Lacks { .. } | BmcError::PinChanged { .. }) {
        return PasswordError::NotSent(error);
    }
    // Our time was up or theirs: it may have been done.
    let late = matches!(error, BmcError::Refused { status: 408, .. });
    if !late && matches!(error, BmcError::Refused { status: 400..=499, .. }) {
        return PasswordError::Refused(error);
    }
    PasswordError::Unsure(error)
}

impl Bmc {
    /// Logs in with the password of this contact.  Where there are no sessions, asks for something that only who is
    /// logged in gets.
    ///
    /// # Errors
    /// [`BmcError::Login`] where it is refused, [`BmcError::PasswordChange`] where it is right and must be changed;
    /// another one where nobody says so.
    pub async fn try_login(&self) -> Result<(), BmcError> {
        self.inner.enter().await?;
        if let Some(account) = self.inner.stale().await {
            let (url, user) = (self.inner.base.to_string(), self.inner.user.clone());
            return Err(BmcError::PasswordChange { url, user, account: Some(account) });
        }
        if self.inner.has_session().await {
            return Ok(());
        }
        let root = self.inner.get(ROOT).await?.body;
        let told = field::link(&root, &["Systems"]).and_then(|link| local(&self.inner.base, link));
        self.inner.get(&told.unwrap_or_else(|| format!("{ROOT}Systems"))).await.map(drop)
    }

    /// Gives the account that we are logged in with another password.
    ///
    /// # Errors
    /// Says whether the old one still holds, as far as that is known.
    pub async fn change_own_password(&self, new: &Password) -> Result<(), PasswordError> {
        let body = json!({ "Password": new.reveal() });
        match self.inner.enter().await {
            Ok(()) => {}
            // No session before the change: the standard lets the account itself be changed by Basic.
            Err(BmcError::PasswordChange { account: Some(path), .. }) => {
                return self.change_by_basic(&path, &body, new).await;
            }
            Err(error) => return Err(PasswordError::NotSent(error)),
        }
        let path = match self.inner.stale().await {
            Some(path) => path,
            None => self.own_account().await.map_err(PasswordError::NotSent)?,
        };
        let quirks = self.quirks().await;
        let answer = self.tagged("PATCH", &path, Some(&body), &quirks).await;
        answer.map(drop).map_err(|error| sent(error, new))
    }

    async fn change_by_basic(&self, path: &str, body: &Value, new: &Password) -> Result<(), PasswordError> {
        let call = Call { body: Some(body), ..Call::new("PATCH", path) };
        let answer = self.inner.send(&call, &Key::Basic).await.map_err(|error| sent(error, new))?;
        if (200..300).contains(&answer.status) {
            return Ok(());
        }
        let (url, said) = (self.inner.url(path), said(&answer.body));
        Err(sent(BmcError::Refused { method: "PATCH", url, status: answer.status, said }, new))
    }

    /// How to treat this controller: as its machine tells, or its root alone while nothing else may be read.
    async fn quirks(&self) -> Arc<Quirks> {
        if let Ok(machine) = self.machine().await {
            return machine.quirks;
        }
        let root = self.inner.get(ROOT).await.map(|answer| answer.body).unwrap_or_default();
        Arc::new(Quirks::of(&Who::of(&root, &Value::Null, &Value::Null, &Value::Null)))
    }

    /// The account with our user's name.
    async fn own_account(&self) -> Result<String, BmcError> {
        let (at, listed) = self.account_places().await?;
        let ours = |(path, one): (String, Value)| {
            (field::text(&one, &["UserName"]).as_deref() == Some(self.inner.user.as_str())).then_some(path)
        };
        listed.into_iter().find_map(ours).ok_or_else(|| {
            let what = format!("an account `{}`: it lists none of that name", self.inner.user);
            self.lacks(&at, what)
        })
    }
}
