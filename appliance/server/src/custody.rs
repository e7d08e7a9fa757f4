//! Takes care of accounts: ends password changes that a crash has cut, and, where the site file allows it, replaces
//! imported passwords and makes an account of our own.  One job an account, few at once, nothing twice for one password.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use appliance_api::agent::BmcAccount;
use appliance_bmc::{AccountState, Allowed, Bmc, BmcError, Contact, Duty, Password, Pin};
use appliance_enrol::Rotation;
use appliance_model::{Digest, Now, Seconds, Serial};
use appliance_store::{AccountRow, HostRow, NewAccount, Outcome, Own, StoreError};
use tokio::task::JoinSet;

use crate::{
    app::{App, now},
    chain_of,
    config::wire::{InBand, Rotate},
    vault::{self, ByRedfish, Ended, PasswordLimits, Secret, Vault, VaultError},
};

/// What a controller says whose password must be changed (DSP0266, 13.3.7): our words at the login, its own after it.
const MUST_CHANGE: [&str; 2] = ["to be changed before anything else", "PasswordChangeRequired"];
/// Jobs under way at once.
const JOBS_MAX: usize = 16;
/// Before a job that met an error of ours is done again.
const AGAIN_SECONDS: Seconds = Seconds(10);

/// What is to be done with an account.
#[derive(Debug)]
enum Job {
    /// A cut change is to be ended.
    Settle,
    /// It was met: what the site file allows is done.
    Meet(Met),
}

/// What a controller told when it was met.
#[derive(Debug, Clone, Default)]
pub(crate) struct Met {
    /// How long it wants passwords.
    pub(crate) limits: PasswordLimits,
    /// Serial of its machine; `None` where it tells nothing before its password is changed.
    pub(crate) serial: Option<Serial>,
}

/// Whether a visit failed because the password, which is right, must be changed.
pub(crate) fn must_change(why: &str) -> bool {
    MUST_CHANGE.iter().any(|words| why.contains(words))
}

/// Jobs under way and waiting.
#[derive(Debug, Default)]
pub(crate) struct Custody {
    jobs: JoinSet<String>,
    busy: BTreeSet<String>,
    waiting: VecDeque<(String, Met)>,
    /// Passwords that were met: what did not work once is not done again before the password is another one.
    met: BTreeMap<String, Digest>,
    not_before: BTreeMap<String, Now>,
}

impl Custody {
    /// A controller was read with this account, or says that its password must be changed.
    pub(crate) fn met(&mut self, app: &App, name: String, met: Met) {
        let allows = &app.config.credentials;
        if allows.rotate == Rotate::Propose && allows.own_account.is_none() {
            return;
        }
        let accounts = app.controllers.accounts();
        let Some(row) = accounts.iter().find(|row| row.account.name == name) else { return };
        let what = Digest::of(&row.account.sealed);
        if self.met.insert(name.clone(), what) != Some(what) {
            self.waiting.push_back((name, met));
        }
    }

    /// Starts what is due.
    pub(crate) fn go_on(&mut self, app: &Arc<App>) {
        while let Some(ended) = self.jobs.try_join_next() {
            match ended {
                Ok(name) => {
                    self.busy.remove(&name);
                    self.not_before.insert(name, now().after(AGAIN_SECONDS));
                }
                Err(panic) => {
                    // Whose it was is not known any more; a claim keeps two from doing the same.
                    tracing::error!(%panic, "a defect of the appliance ended a password change");
                    self.busy.clear();
                }
            }
        }
        self.not_before.retain(|_, until| *until > now());
        for row in app.controllers.accounts().iter().filter(|row| is_cut(&row.rotation)) {
            let name = &row.account.name;
            let free = self.jobs.len() < JOBS_MAX && !self.busy.contains(name);
            if free && !self.not_before.contains_key(name) {
                self.start(app, name.clone(), Job::Settle);
            }
        }
        for _ in 0..self.waiting.len() {
            let Some((name, met)) = self.waiting.pop_front() else { break };
            if self.busy.contains(&name) || self.jobs.len() >= JOBS_MAX {
                self.waiting.push_back((name, met));
            } else {
                self.start(app, name, Job::Meet(met));
            }
        }
    }

    fn start(&mut self, app: &Arc<App>, name: String, job: Job) {
        self.busy.insert(name.clone());
        let app = Arc::clone(app);
        self.jobs.spawn(async move {
            let done = match (job, app.controllers.vault()) {
                (Job::Settle, Some(vault)) => settle(&app, vault, &name).await,
                (Job::Meet(met), Some(vault)) => meet(&app, vault, &name, met).await,
                (_, None) => Ok(()),
            };
            match done {
                // A command does it at this moment.
                Ok(()) | Err(VaultError::Busy(_)) => {}
                Err(error) => {
                    tracing::error!(account = name, error = %chain_of(&error), "an account was not cared for")
                }
            }
            app.bump();
            name
        });
    }
}

/// Whether a change was begun and is to be gone on with now.
fn is_cut(rotation: &Rotation) -> bool {
    match rotation {
        Rotation::Settled | Rotation::Unknown => false,
        Rotation::Changing => true,
        Rotation::Trying(trying) => trying.not_before <= now(),
    }
}

async fn settle(app: &Arc<App>, vault: &Vault, name: &str) -> Result<(), VaultError> {
    let controller = ByRedfish { store: &app.store };
    let ended = vault::settle((vault, &app.store), name, &controller).await?;
    told(app, name, &ended).await;
    Ok(())
}

/// Says how a change ended, where people look.
async fn told(app: &Arc<App>, name: &str, ended: &Ended) {
    let why = match ended {
        Ended::Changed => {
            tracing::info!(account = name, "its password is a random one of ours, shown by a login");
            return;
        }
        Ended::Kept => "it keeps its password: the controller did not take a new one",
        Ended::Waits(_) => "which password it has is being found out, by logins that are far apart",
        Ended::Ask(why) => why,
    };
    tracing::warn!(account = name, why, "its password was not changed");
    trouble(app, name, why.to_owned()).await;
}

async fn trouble(app: &Arc<App>, name: &str, why: String) {
    let accounts = app.controllers.accounts();
    let url = accounts.iter().find(|row| row.account.name == name).and_then(|row| row.account.url.clone());
    let Some(url) = url else { return };
    if let Err(error) = app.db(move |store| store.visited(&[(url, Outcome::Trouble(why))], now())).await {
        tracing::error!(error = chain_of(&error), "what is wrong with an account was not written down");
    }
}

/// Does with an account that holds what the site file allows.
async fn meet(app: &Arc<App>, vault: &Vault, name: &str, met: Met) -> Result<(), VaultError> {
    let allows = &app.config.credentials;
    let row = row(app, name).await?;
    if allows.rotate == Rotate::OnFirstContact && !row.ours && row.rotation == Rotation::Settled {
        let new = vault::random_password(met.limits)?;
        let controller = ByRedfish { store: &app.store };
        let ended = vault::rotate((vault, &app.store), name, &new, &controller).await?;
        told(app, name, &ended).await;
        if ended != Ended::Changed {
            return Ok(());
        }
    }
    match (&allows.own_account, met.serial) {
        (Some(user), Some(serial))
            if row.account.user != *user && row.own.as_ref().is_none_or(|own| !own.holds) =>
        {
            let made = own_account(app, vault, (name, user), (met.limits, serial)).await?;
            if let Err(error) = made {
                let why = format!("our own account `{user}` was not made on it: {}", chain_of(&error));
                tracing::warn!(account = name, why, "the imported account is used");
                trouble(app, name, why).await;
            } else {
                tracing::info!(account = name, user, "an account of our own is used from now on");
            }
            Ok(())
        }
        (Some(_) | None, _) => Ok(()),
    }
}

/// The name of an account that an agent makes, where the site file names none.
const IN_BAND_USER: &str = "scalerforge";

/// The account that the agent of a machine is to make on its controller, where the site file allows that and no other
/// one is known.  It is stored before the agent hears of it, and said again until it was used.
pub(crate) async fn in_band(app: &Arc<App>, host: &HostRow) -> Result<Option<BmcAccount>, StoreError> {
    let allows = &app.config.credentials;
    let Some(vault) = app.controllers.vault() else { return Ok(None) };
    let named = app.config.bmcs.iter().any(|entry| host.facts.bmc.as_ref() == Some(&entry.url));
    if allows.in_band == InBand::Address || named {
        return Ok(None);
    }
    let name = host.facts.serial.as_str().to_owned();
    let user = allows.own_account.clone().unwrap_or_else(|| IN_BAND_USER.to_owned());
    let asked = name.clone();
    if let Some(row) = app.db(move |store| store.account(&asked)).await? {
        // Imported, or met before: it is not ours to set from inside.
        let again = row.ours && row.pin.is_none();
        let password = again.then(|| vault.open(&row, &row.account.sealed).ok()).flatten();
        let user = row.account.user;
        return Ok(password.map(|secret| BmcAccount { user, password: secret.reveal().to_owned() }));
    }
    let limits = PasswordLimits { chars_min: None, chars_max: Some(16) };
    let made = vault::random_password(limits).and_then(|new| Ok((vault.seal(&name, &user, &new)?, new)));
    let (sealed, new) = match made {
        Ok(made) => made,
        Err(error) => {
            tracing::error!(host = %host.id, error = %chain_of(&error), "no account is made from inside");
            return Ok(None);
        }
    };
    let serial = Some(name.clone());
    let (mac, url, rack, unit) = (None, None, None, None);
    let account = NewAccount { name, serial, mac, url, user: user.clone(), rack, unit, sealed };
    app.db(move |store| store.make_account(&account, now())).await?;
    tracing::info!(host = %host.id, user, "its agent is to make an account on its controller");
    Ok(Some(BmcAccount { user, password: new.reveal().to_owned() }))
}

async fn row(app: &Arc<App>, name: &str) -> Result<AccountRow, VaultError> {
    let asked = name.to_owned();
    let row = app.db(move |store| store.account(&asked)).await.map_err(VaultError::Store)?;
    row.ok_or_else(|| VaultError::NoAccount(name.to_owned()))
}

/// What our own account is for: power, boot, media, BIOS settings and updates.  Other accounts it cannot touch; for
/// that the imported one stays in the vault.
const DUTIES: [Duty; 2] = [Duty::Operate, Duty::Manage];

/// Makes our own account.  Its password is stored before the controller is told of it, and used only after a login with
/// it: who starts after a crash in between makes it again, with another password.
async fn own_account(
    app: &Arc<App>,
    vault: &Vault,
    (name, user): (&str, &str),
    (limits, serial): (PasswordLimits, Serial),
) -> Result<Result<(), BmcError>, VaultError> {
    let _claim = vault.claim(name)?;
    let row = row(app, name).await?;
    let new = vault::random_password(limits)?;
    let own = Own { user: user.to_owned(), sealed: vault.seal(name, user, &new)?, holds: false };
    let keep = |own: Own| {
        let name = name.to_owned();
        app.db(move |store| store.keep_own(&name, &own, now()))
    };
    keep(own.clone()).await.map_err(VaultError::Store)?;
    let present = vault.open(&row, &row.account.sealed)?;
    let made = make(&row, &present, (user, &new), serial).await;
    if made.is_ok() {
        keep(Own { holds: true, ..own }).await.map_err(VaultError::Store)?;
    }
    Ok(made)
}

fn client(row: &AccountRow, user: &str, password: &Secret) -> Result<Bmc, BmcError> {
    Bmc::new(Contact {
        url: row.account.url.clone().unwrap_or_default(),
        user: user.to_owned(),
        password: Password::new(password.reveal()),
        pin: row.pin.map(Pin),
    })
}

/// Makes or takes over the account, and shows by a login that its password holds.
async fn make(
    row: &AccountRow,
    present: &Secret,
    (user, new): (&str, &Secret),
    serial: Serial,
) -> Result<(), BmcError> {
    let bmc = client(row, &row.account.user, present)?;
    let made = tell(&bmc, &Allowed::accounts(serial), user, new).await;
    bmc.log_out().await;
    made?;
    let bmc = client(row, user, new)?;
    let holds = bmc.try_login().await;
    bmc.log_out().await;
    holds
}

async fn tell(bmc: &Bmc, allowed: &Allowed, user: &str, new: &Secret) -> Result<(), BmcError> {
    let password = Password::new(new.reveal());
    let account = appliance_bmc::NewAccount { user, password: &password, duties: &DUTIES };
    let made = bmc.create_account(allowed, &account).await?;
    if made.state == AccountState::AlreadyThere {
        // Ours of before, whose password a crash has swallowed; the site file says that this name is ours.
        bmc.set_account_password(allowed, user, &password).await.map_err(|error| match error {
            appliance_bmc::PasswordError::NotSent(error)
            | appliance_bmc::PasswordError::Refused(error)
            | appliance_bmc::PasswordError::Unsure(error) => error,
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_that_must_be_changed_is_known_by_its_words() {
        let error = BmcError::PasswordChange { url: "u".into(), user: "ADMIN".into(), account: None };
        assert!(must_change(&error.to_string()), "{error}");
    }
}
