//! Which controllers there are and with which password each is spoken to: those of the site file and those of the
//! vault, joined by the serial of the machine.  An imported account counts before the site file's, since only it can
//! have been changed since.
//!
//! A refused password is asked again after a quarter of an hour, or once it is another one: whoever asks sooner locks
//! the account, whoever never asks again is locked out by himself.  Read next: `controllers/ledger.rs` (who is visited
//! when), `controllers/placing.rs` (whose controller is at an address), `discovery.rs` and `sightings.rs` (the drivers).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use appliance_bmc::{Bmc, Password};
use appliance_enrol::Rotation;
use appliance_model::{Digest, Now, Seconds};
use appliance_store::{AccountRow, HostRow, RefusedAt, Source, StoreError};

use crate::{
    app::{App, now},
    chain_of, config,
    vault::Vault,
};

pub(crate) mod ledger;
pub(crate) mod placing;

/// After a refused password: longer than makers lock an account by default.
pub(crate) const REFUSED_SECONDS: u64 = 15 * 60;

/// What is known of accounts, in memory.
#[derive(Debug)]
pub(crate) struct Controllers {
    /// The vault, or why there is none.
    vault: Result<Vault, String>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    revision: Option<(u64, Now)>,
    accounts: Arc<Vec<AccountRow>>,
    /// By address: the password that was refused, and until when it is not asked again.
    refused: HashMap<String, (Digest, Now)>,
}

impl Controllers {
    pub(crate) fn new(vault: Result<Vault, String>) -> Self {
        Self { vault, known: Mutex::default() }
    }

    pub(crate) fn vault(&self) -> Option<&Vault> {
        self.vault.as_ref().ok()
    }

    /// All accounts, as last read.
    pub(crate) fn accounts(&self) -> Arc<Vec<AccountRow>> {
        Arc::clone(&self.known().accounts)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the accounts again if they changed: an import takes effect without a restart.  Says whether they did.
pub(crate) async fn refresh(app: &Arc<App>) -> Result<bool, StoreError> {
    let before = app.controllers.known().revision;
    let read = move |store: &appliance_store::Store| {
        let revision = store.accounts_revision()?;
        if Some(revision) == before {
            return Ok(None);
        }
        Ok(Some((revision, store.accounts()?)))
    };
    let Some((revision, accounts)) = app.db(read).await? else { return Ok(false) };
    let mut known = app.controllers.known();
    (known.revision, known.accounts) = (Some(revision), Arc::new(accounts));
    Ok(true)
}

/// How a host's controller is spoken to; `None` where it has none that we know, words where it must wait.
pub(crate) fn of_host(app: &App, host: &HostRow) -> Result<Option<config::Bmc>, String> {
    let accounts = app.controllers.accounts();
    let url = host.facts.bmc.as_deref();
    let serial = Some(host.facts.serial.as_str());
    let by_serial = accounts.iter().find(|row| row.account.serial.as_deref() == serial);
    let by_url = || accounts.iter().find(|row| url.is_some() && row.account.url.as_deref() == url);
    choose(app, by_serial.or_else(by_url), url)
}

/// How the controller at an address is spoken to.
pub(crate) fn at(app: &App, url: &str) -> Result<Option<config::Bmc>, String> {
    let accounts = app.controllers.accounts();
    let account = accounts.iter().find(|row| row.account.url.as_deref() == Some(url));
    choose(app, account, Some(url))
}

fn choose(app: &App, account: Option<&AccountRow>, url: Option<&str>) -> Result<Option<config::Bmc>, String> {
    let by_file = app.config.bmcs.iter().find(|bmc| url == Some(bmc.url.as_str()));
    let entry = match account {
        Some(row) => Some(of_account(&app.controllers, row, by_file)?),
        None => by_file.cloned(),
    };
    if let Some(entry) = &entry {
        open_again(app, entry, account)?;
    }
    Ok(entry)
}

/// An account of the vault as an entry; what only the site file says of the same address is taken from there.
fn of_account(
    controllers: &Controllers,
    row: &AccountRow,
    by_file: Option<&config::Bmc>,
) -> Result<config::Bmc, String> {
    let account = &row.account;
    let name = &account.name;
    match &row.rotation {
        Rotation::Settled => {}
        Rotation::Changing | Rotation::Trying(_) => {
            return Err(format!(
                "the password of {name} is being changed; it is used again once that is done"
            ));
        }
        Rotation::Unknown => {
            return Err(format!(
                "which password {name} has is not known; set one at the controller and import it"
            ));
        }
    }
    let vault = controllers.vault.as_ref().map_err(Clone::clone)?;
    let url = account.url.clone().or_else(|| by_file.map(|entry| entry.url.clone()));
    let url = url.ok_or_else(|| {
        format!(
            "where the controller of {name} is, is not known; let it be discovered, or import its address"
        )
    })?;
    let (user, sealed) = match row.own.as_ref().filter(|own| own.holds) {
        Some(own) => (&own.user, &own.sealed),
        None => (&account.user, &account.sealed),
    };
    let password = vault.open_for(name, user, sealed).map_err(|error| chain_of(&error))?;
    let place: Vec<&str> = [account.rack.as_deref(), account.unit.as_deref()].into_iter().flatten().collect();
    let place = (!place.is_empty()).then(|| place.join("-"));
    let ipmi = by_file.and_then(|entry| entry.ipmi.as_ref()).and_then(|way| {
        let login = config::ipmi_login(user, password.reveal())?;
        Some(config::IpmiWay { login, ..way.clone() })
    });
    Ok(config::Bmc {
        redfish: by_file.is_none_or(|entry| entry.redfish),
        url,
        user: user.clone(),
        password: Password::new(password.reveal()),
        position: place.or_else(|| by_file.and_then(|entry| entry.position.clone())),
        ipmi,
        account: Some(name.clone()),
        what: Digest::of(sealed),
        pin: row.pin,
    })
}

/// Whether the password may be asked, or must wait because it was refused a moment ago.
fn open_again(app: &App, entry: &config::Bmc, account: Option<&AccountRow>) -> Result<(), String> {
    let kept = account.and_then(|row| {
        let refused = row.refused.filter(|refused| refused.what == entry.what)?;
        Some(refused.at.after(Seconds(pause(row))))
    });
    let here = app.controllers.known().refused.get(&entry.url).copied();
    let here = here.filter(|(what, _)| *what == entry.what).map(|(_, until)| until);
    match kept.max(here).filter(|until| *until > now()) {
        Some(until) => Err(refused_words(&entry.user, until.since(now()).0)),
        None => Ok(()),
    }
}

/// What is said of a refused password that is left alone for so long.
pub(crate) fn refused_words(user: &str, seconds: u64) -> String {
    format!(
        "it refused the password of `{user}`; import the right one (`scalerforge bmc import`). The same one is tried \
         again in {} min, since controllers lock accounts",
        seconds.div_ceil(60)
    )
}

/// How long a refused password of this account is left alone, in seconds.
fn pause(row: &AccountRow) -> u64 {
    let locked = row.lockout.filter(|lockout| lockout.attempts > 0).map_or(0, |lockout| lockout.seconds);
    REFUSED_SECONDS.max(u64::from(locked).saturating_add(60))
}

/// Ends the session; a refusal is remembered.
pub(crate) async fn leave(app: &Arc<App>, entry: &config::Bmc, bmc: &Bmc) {
    if bmc.was_refused().await {
        refused(app, entry).await;
    }
    bmc.log_out().await;
}

/// Remembers that a password was refused.  Returns how long it is left alone, in seconds.
pub(crate) async fn refused(app: &Arc<App>, entry: &config::Bmc) -> u64 {
    let accounts = app.controllers.accounts();
    let row = accounts.iter().find(|row| Some(&row.account.name) == entry.account.as_ref());
    let seconds = row.map_or(REFUSED_SECONDS, pause);
    let until = now().after(Seconds(seconds));
    app.controllers.known().refused.insert(entry.url.clone(), (entry.what, until));
    tracing::warn!(bmc = entry.url, user = entry.user, seconds, "it refused our password; left alone");
    if let Some(name) = entry.account.clone() {
        let refused = RefusedAt { at: now(), what: entry.what };
        if let Err(error) = app.db(move |store| store.keep_refusal(&name, Some(refused))).await {
            tracing::error!(error = chain_of(&error), "a refused password was not written down");
        }
    }
    seconds
}

/// Every address that is to be visited, what its password is called, and who names it.
pub(crate) fn targets(app: &App) -> Vec<(String, Digest, Source)> {
    let accounts = app.controllers.accounts();
    let of_account = |row: &AccountRow| {
        let settled = row.rotation == Rotation::Settled;
        let sealed = row.own.as_ref().filter(|own| own.holds).map_or(&row.account.sealed, |own| &own.sealed);
        let url = row.account.url.clone().filter(|_| settled)?;
        Some((url, Digest::of(sealed), Source::Import))
    };
    let mut targets: Vec<_> = accounts.iter().filter_map(of_account).collect();
    for entry in &app.config.bmcs {
        if accounts.iter().all(|row| row.account.url.as_ref() != Some(&entry.url)) {
            targets.push((entry.url.clone(), entry.what, Source::SiteFile));
        }
    }
    targets
}

#[cfg(test)]
mod tests {
    use appliance_store::{Lockout, Own};

    use super::*;
    use crate::vault::{Secret, tests::row};

    fn sealed(vault: &Vault, name: &str, user: &str, password: &str) -> AccountRow {
        let mut row = row(name, user);
        row.account.sealed = vault.seal(name, user, &Secret::new(password)).unwrap();
        row.account.url = Some("https://10.78.0.11".into());
        row
    }

    #[test]
    fn an_account_is_used_as_it_stands() {
        let dir = tempfile::tempdir().unwrap();
        crate::site::init(dir.path()).unwrap();
        let vault = Vault::read(dir.path()).unwrap();
        let imported = sealed(&vault, "S1", "ADMIN", "imported-1");
        let own = Own {
            user: "scalerforge".into(),
            sealed: vault.seal("S1", "scalerforge", &Secret::new("own-1")).unwrap(),
            holds: true,
        };
        let ours = AccountRow { own: Some(own.clone()), ..imported.clone() };
        let making = AccountRow { own: Some(Own { holds: false, ..own }), ..imported.clone() };
        let nowhere = {
            let mut row = imported.clone();
            row.account.url = None;
            row
        };
        let changing = AccountRow { rotation: Rotation::Changing, ..imported.clone() };
        let unknown = AccountRow { rotation: Rotation::Unknown, ..imported.clone() };
        let controllers = Controllers::new(Ok(vault));
        for (row, wanted) in [
            (&imported, Ok(("ADMIN", "imported-1"))),
            (&making, Ok(("ADMIN", "imported-1"))),
            (&ours, Ok(("scalerforge", "own-1"))),
            (&nowhere, Err("is not known; let it be discovered")),
            (&changing, Err("is being changed")),
            (&unknown, Err("set one at the controller and import it")),
        ] {
            match (of_account(&controllers, row, None), wanted) {
                (Ok(entry), Ok((user, password))) => {
                    assert_eq!((entry.user.as_str(), entry.password), (user, Password::new(password)));
                }
                (Err(why), Err(words)) => assert!(why.contains(words), "{why}"),
                (found, wanted) => panic!("{found:?}, {wanted:?}"),
            }
        }
        let none = Controllers::new(Err("the vault's key cannot be read".into()));
        assert!(of_account(&none, &imported, None).unwrap_err().contains("key"));
    }

    #[test]
    fn a_refusal_is_waited_out_as_long_as_the_controller_locks() {
        let mut row = row("S1", "ADMIN");
        assert_eq!(pause(&row), REFUSED_SECONDS);
        for (attempts, seconds, wanted) in [(3, 30, 900), (3, 3600, 3660), (0, 3600, 900)] {
            row.lockout = Some(Lockout { attempts, seconds });
            assert_eq!(pause(&row), wanted);
        }
    }
}
