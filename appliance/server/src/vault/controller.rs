//! Changes and tries passwords by Redfish.

use appliance_bmc::{Bmc, BmcError, Contact, Password, PasswordError, Pin};
use appliance_enrol::{LogIn, Told};
use appliance_store::{AccountRow, Lockout, Store};

use super::{Controller, Secret};
use crate::chain_of;

/// Controllers by Redfish; their keys are kept at first contact and demanded ever after.
#[derive(Debug)]
pub struct ByRedfish<'a> {
    /// Where keys are kept.
    pub store: &'a Store,
}

impl Controller for ByRedfish<'_> {
    async fn change(&self, account: &AccountRow, present: &Secret, new: &Secret) -> Told {
        let Some(bmc) = self.contact(account, present) else { return Told::NotSent };
        // Before anything can go wrong: what follows a change that did is up to two logins with a wrong password.
        if let Ok(rules) = bmc.accounts().await
            && let Some(attempts) = rules.lockout_attempts
        {
            let seconds = rules.lockout_seconds.unwrap_or_default();
            self.keep_lockout(account, Lockout { attempts, seconds });
        }
        let result = bmc.change_own_password(&Password::new(new.reveal())).await;
        self.leave(account, &bmc).await;
        let told = match &result {
            Ok(()) => return Told::Accepted,
            Err(PasswordError::NotSent(_)) => Told::NotSent,
            Err(PasswordError::Refused(_)) => Told::Refused,
            Err(PasswordError::Unsure(_)) => Told::NoAnswer,
        };
        if let Err(error) = result {
            tracing::warn!(account = account.account.name, error = %chain_of(&error), "the password was not changed");
        }
        told
    }

    async fn log_in(&self, account: &AccountRow, password: &Secret) -> LogIn {
        let Some(bmc) = self.contact(account, password) else { return LogIn::NoAnswer };
        let result = bmc.try_login().await;
        self.leave(account, &bmc).await;
        match result {
            // It must be changed, so it is the right one.
            Ok(()) | Err(BmcError::PasswordChange { .. }) => LogIn::Accepted,
            Err(BmcError::Login { .. }) => LogIn::Refused,
            Err(error) => {
                let error = chain_of(&error);
                tracing::warn!(
                    account = account.account.name,
                    error,
                    "whether its password holds is not known"
                );
                LogIn::NoAnswer
            }
        }
    }
}

impl ByRedfish<'_> {
    fn contact(&self, account: &AccountRow, password: &Secret) -> Option<Bmc> {
        let contact = Contact {
            url: account.account.url.clone()?,
            user: account.account.user.clone(),
            password: Password::new(password.reveal()),
            pin: account.pin.map(Pin),
        };
        Bmc::new(contact)
            .map_err(|error| tracing::warn!(account = account.account.name, error = %chain_of(&error), "no contact"))
            .ok()
    }

    fn keep_lockout(&self, account: &AccountRow, lockout: Lockout) {
        let name = &account.account.name;
        let kept = tokio::task::block_in_place(|| self.store.keep_lockout(name, lockout));
        if let Err(error) = kept {
            tracing::warn!(account = name, error = %chain_of(&error), "its lockout was not kept");
        }
    }

    async fn leave(&self, account: &AccountRow, bmc: &Bmc) {
        bmc.log_out().await;
        if let (None, Some(pin)) = (account.pin, bmc.pin())
            && let Err(error) =
                tokio::task::block_in_place(|| self.store.pin_account(&account.account.name, pin.0))
        {
            tracing::warn!(account = account.account.name, error = %chain_of(&error), "its key was not kept");
        }
    }
}
