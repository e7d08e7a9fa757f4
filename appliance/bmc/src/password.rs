//! The password of our own account: whether it holds, and another one.
//!
//! A login is tried once.  A change is sent once; when its answer is lost, only a login tells which password holds.

use serde_json::json;

use crate::{client::Bmc, credentials::Password, error::BmcError, field, link::local};

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

/// Accounts looked through: controllers have 16 places, some of them empty.
const ACCOUNTS_MAX: usize = 64;

impl Bmc {
    /// Logs in with the password of this contact, and asks for something that only who is logged in gets.
    ///
    /// # Errors
    /// [`BmcError::Login`] where it is refused; another one where nobody says so.
    pub async fn try_login(&self) -> Result<(), BmcError> {
        self.inner.enter().await?;
        self.account_service().await.map(drop)
    }

    /// Gives the account that we are logged in with another password.
    ///
    /// # Errors
    /// Says whether the old one still holds, as far as that is known.
    pub async fn change_own_password(&self, new: &Password) -> Result<(), PasswordError> {
        self.inner.enter().await.map_err(PasswordError::NotSent)?;
        let (path, tag) = self.own_account().await.map_err(PasswordError::NotSent)?;
        let body = json!({ "Password": new.reveal() });
        let mut sent = self.inner.change("PATCH", &path, &body, tag.as_deref()).await;
        if tag.is_some() && matches!(sent, Err(BmcError::Refused { status: 412, .. })) {
            // Refused for its tag, before it was looked at: some controllers serve tags that they do not know again.
            sent = self.inner.change("PATCH", &path, &body, None).await;
        }
        match sent {
            Ok(_) => Ok(()),
            Err(error @ BmcError::Refused { status: 400..=499, .. }) => Err(PasswordError::Refused(error)),
            Err(error) => Err(PasswordError::Unsure(error)),
        }
    }

    async fn account_service(&self) -> Result<serde_json::Value, BmcError> {
        self.inner.get("/redfish/v1/AccountService").await.map(|answer| answer.body)
    }

    /// Path and entity tag of the account with our user's name.
    async fn own_account(&self) -> Result<(String, Option<String>), BmcError> {
        let inner = &self.inner;
        let service = self.account_service().await?;
        let told = field::link(&service, &["Accounts"]).and_then(|link| local(&inner.base, link));
        let at = told.unwrap_or_else(|| "/redfish/v1/AccountService/Accounts".to_owned());
        let collection = inner.get(&at).await?;
        let links = field::links(&collection.body, &["Members"]);
        for path in links.into_iter().take(ACCOUNTS_MAX).filter_map(|link| local(&inner.base, link)) {
            let Ok(account) = inner.get(&path).await else { continue };
            if field::text(&account.body, &["UserName"]).as_deref() == Some(inner.user.as_str()) {
                let tag = account.etag.or_else(|| field::text(&account.body, &["@odata.etag"]));
                return Ok((path, tag));
            }
        }
        Err(BmcError::Refused {
            method: "GET",
            url: inner.url(&at),
            status: 404,
            said: format!("it lists no account `{}`", inner.user),
        })
    }
}
