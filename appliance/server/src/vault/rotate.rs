//! Drives a password change: `appliance_enrol::Rotation` says what follows, this stores it and then does it.

use appliance_enrol::{Act, Happened, LogIn, Rotation, Told, Which};
use appliance_model::Now;
use appliance_store::{AccountRow, Store};

use super::{Secret, Vault, VaultError};
use crate::app::now;

/// What a password change needs of a controller.
pub trait Controller {
    /// Tells it the new password of the account, logged in with the present one.  Once, without trying again.
    fn change(
        &self,
        account: &AccountRow,
        present: &Secret,
        new: &Secret,
    ) -> impl Future<Output = Told> + Send;
    /// Logs in, once, and out again.
    fn log_in(&self, account: &AccountRow, password: &Secret) -> impl Future<Output = LogIn> + Send;
}

/// How a change ended, or where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The new password is the current one, shown by a login.
    Changed,
    /// The old password holds.
    Kept,
    /// It goes on then.
    Waits(Now),
    /// A person must help.
    Ask(&'static str),
}

/// Changes the password of an account.  What a crash leaves is gone on with by [`settle`].
///
/// # Errors
/// If another change is under way, the address is not known, or vault or store fail.
pub async fn rotate(
    (vault, store): (&Vault, &Store),
    name: &str,
    new: &Secret,
    controller: &impl Controller,
) -> Result<Ended, VaultError> {
    let _claim = vault.claim(name)?;
    let row = known(store, name)?;
    if row.account.url.is_none() {
        return Err(VaultError::NoAddress(name.to_owned()));
    }
    let turn = row.rotation.turn(Happened::Begin, now());
    let sealed = vault.seal(&row.account.name, &row.account.user, new)?;
    let began = turn.to == Rotation::Changing
        && blocking(|| store.begin_rotation(name, &sealed, &turn.to, now())).map_err(VaultError::Store)?;
    if !began {
        return Err(VaultError::Busy(name.to_owned()));
    }
    go_on((vault, store), name, turn.act, controller).await
}

/// Goes on with a change that was begun: finds out which password holds.  Returns at the first wait.
///
/// # Errors
/// If vault or store fail, or somebody else goes on with it.
pub async fn settle(
    (vault, store): (&Vault, &Store),
    name: &str,
    controller: &impl Controller,
) -> Result<Ended, VaultError> {
    let _claim = vault.claim(name)?;
    let row = known(store, name)?;
    let turn = row.rotation.turn(Happened::Woke, now());
    write(store, &row, &turn)?;
    go_on((vault, store), name, turn.act, controller).await
}

async fn go_on(
    (vault, store): (&Vault, &Store),
    name: &str,
    mut act: Act,
    controller: &impl Controller,
) -> Result<Ended, VaultError> {
    let mut kept = Ended::Kept;
    loop {
        let row = known(store, name)?;
        let candidate = || -> Result<Secret, VaultError> {
            let sealed = row.candidate.as_deref().ok_or_else(|| VaultError::Busy(name.to_owned()))?;
            vault.open(&row, sealed)
        };
        let happened = match act {
            Act::Rest => return Ok(kept),
            Act::Ask(why) => return Ok(Ended::Ask(why)),
            Act::Wait(until) => return Ok(Ended::Waits(until)),
            Act::Change => {
                let present = vault.open(&row, &row.account.sealed)?;
                Happened::Told(controller.change(&row, &present, &candidate()?).await)
            }
            Act::LogIn(which) => {
                let password = match which {
                    Which::Current => vault.open(&row, &row.account.sealed)?,
                    Which::Candidate => candidate()?,
                };
                let ended = controller.log_in(&row, &password).await;
                let last = row.lockout.is_some_and(|lockout| (1..=2).contains(&lockout.attempts));
                Happened::LogIn(if last && ended == LogIn::Refused { LogIn::RefusedLast } else { ended })
            }
        };
        let turn = row.rotation.turn(happened, now());
        write(store, &row, &turn)?;
        if turn.keep == Some(Which::Candidate) {
            kept = Ended::Changed;
        }
        act = turn.act;
    }
}

fn known(store: &Store, name: &str) -> Result<AccountRow, VaultError> {
    let row = blocking(|| store.account(name)).map_err(VaultError::Store)?;
    row.ok_or_else(|| VaultError::NoAccount(name.to_owned()))
}

fn write(store: &Store, row: &AccountRow, turn: &appliance_enrol::Turn) -> Result<(), VaultError> {
    let name = &row.account.name;
    let written = blocking(|| store.turn_rotation(name, &row.rotation, &turn.to, turn.keep, now()));
    if written.map_err(VaultError::Store)? { Ok(()) } else { Err(VaultError::Busy(name.clone())) }
}

/// The store waits for its disk.
fn blocking<T>(call: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(call)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::vault::{import, read_roster};

    /// A controller whose answers are written down beforehand.
    struct Scripted {
        told: Told,
        holds: Mutex<String>,
        logins: Mutex<u32>,
    }

    impl Controller for Scripted {
        async fn change(&self, _account: &AccountRow, present: &Secret, new: &Secret) -> Told {
            let mut holds = self.holds.lock().unwrap();
            if *holds != present.reveal() {
                return Told::NotSent;
            }
            if self.told != Told::Refused {
                new.reveal().clone_into(&mut holds);
            }
            self.told
        }

        async fn log_in(&self, _account: &AccountRow, password: &Secret) -> LogIn {
            *self.logins.lock().unwrap() += 1;
            let same = *self.holds.lock().unwrap() == password.reveal();
            if same { LogIn::Accepted } else { LogIn::Refused }
        }
    }

    fn scripted(told: Told, holds: &str) -> Scripted {
        Scripted { told, holds: Mutex::new(holds.into()), logins: Mutex::new(0) }
    }

    fn site() -> (tempfile::TempDir, Vault, Store) {
        let dir = tempfile::tempdir().unwrap();
        crate::site::init(dir.path()).unwrap();
        let vault = Vault::read(dir.path()).unwrap();
        let store = Store::open(&dir.path().join("store.sqlite")).unwrap();
        let roster = read_roster("serial,password,address\nS1,old-Passw0rd,10.78.0.11\n", false).unwrap();
        import((&vault, &store), &roster, "ADMIN").unwrap();
        (dir, vault, store)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_store_holds_what_the_controller_holds_and_nothing_in_clear() {
        let new = Secret::new("new-Passw0rd");
        for (told, holds, ended, logins) in [
            (Told::Accepted, "old-Passw0rd", Ended::Changed, 1),
            (Told::NoAnswer, "old-Passw0rd", Ended::Changed, 1),
            (Told::Refused, "old-Passw0rd", Ended::Kept, 1),
            (Told::Accepted, "somebody-else", Ended::Kept, 0),
        ] {
            let (dir, vault, store) = site();
            let controller = scripted(told, holds);
            let found = rotate((&vault, &store), "S1", &new, &controller).await.unwrap();
            assert_eq!((found, *controller.logins.lock().unwrap()), (ended.clone(), logins));
            let row = store.account("S1").unwrap().unwrap();
            let current = vault.open(&row, &row.account.sealed).unwrap();
            let wanted = if ended == Ended::Changed { "new-Passw0rd" } else { "old-Passw0rd" };
            assert_eq!(current, Secret::new(wanted));
            for file in std::fs::read_dir(dir.path()).unwrap() {
                let bytes = std::fs::read(file.unwrap().path()).unwrap_or_default();
                assert!(!bytes.windows(8).any(|window| window == b"Passw0rd"));
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_change_that_a_crash_cut_is_settled_at_the_next_start() {
        for (holds, ended) in [("new-Passw0rd", Ended::Changed), ("old-Passw0rd", Ended::Kept)] {
            let (_dir, vault, store) = site();
            let new = Secret::new("new-Passw0rd");
            let sealed = vault.seal("S1", "ADMIN", &new).unwrap();
            assert!(store.begin_rotation("S1", &sealed, &Rotation::Changing, now()).unwrap());
            let controller = scripted(Told::Accepted, holds);
            let again = rotate((&vault, &store), "S1", &new, &controller).await.unwrap_err();
            assert!(matches!(again, VaultError::Busy(_)));
            assert_eq!(settle((&vault, &store), "S1", &controller).await.unwrap(), ended);
            let row = store.account("S1").unwrap().unwrap();
            assert_eq!(vault.open(&row, &row.account.sealed).unwrap(), Secret::new(holds));
        }
    }
}
