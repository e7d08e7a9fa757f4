//! A password change that dies at each of its steps, against a controller with real TLS: whoever goes on with it ends with
//! the password that the controller has, and tries no wrong one twice.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::path::Path;

use appliance_bmc::{Bmc, Contact, Password, Pin};
use appliance_enrol::{LogIn, Rotation, Told, Trying};
use appliance_model::Now;
use appliance_server::vault::{
    self, AccountRow, AccountStore, ByRedfish, Controller, Ended, PasswordLimits, Secret, Vault, import,
    read_roster,
};
use hil_tests_rack::{
    BmcAction, BmcFault, Quirks,
    fleet::{Fleet, FleetConfig, Places},
};
use tokio::sync::Notify;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    BeforeChange,
    AfterChange,
    BeforeLogIn,
    AfterLogIn,
    Never,
}

/// Does what it is told by Redfish, and stops for good at one moment.
struct Dying<'a> {
    by: ByRedfish<'a>,
    at: Moment,
    dead: Notify,
}

impl Dying<'_> {
    async fn pass(&self, moment: Moment) {
        if self.at == moment {
            self.dead.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

impl Controller for Dying<'_> {
    async fn change(&self, account: &AccountRow, present: &Secret, new: &Secret) -> Told {
        self.pass(Moment::BeforeChange).await;
        let told = self.by.change(account, present, new).await;
        self.pass(Moment::AfterChange).await;
        told
    }

    async fn log_in(&self, account: &AccountRow, password: &Secret) -> LogIn {
        self.pass(Moment::BeforeLogIn).await;
        let ended = self.by.log_in(account, password).await;
        self.pass(Moment::AfterLogIn).await;
        ended
    }
}

async fn fleet(faults: Vec<BmcFault>) -> Fleet {
    let config = FleetConfig {
        count: 1,
        places: Places::Ports("127.0.0.1:0".parse().unwrap()),
        tree: None,
        quirks: Quirks::default(),
        plain: false,
        account: None,
        latency: None,
        dead_permille: 0,
        death: None,
        errors_permille: 0,
        ipmi: None,
        faults,
        on: false,
    };
    Fleet::start(&config).await.unwrap()
}

fn open(dir: &Path) -> (Vault, AccountStore) {
    (Vault::read(dir).unwrap(), AccountStore::open(&dir.join("store.sqlite")).unwrap())
}

/// Lets the pauses pass that are there for a controller's lockout.
fn let_time_pass(store: &AccountStore, name: &str) {
    let row = store.account(name).unwrap().unwrap();
    if let Rotation::Trying(trying) = &row.rotation {
        let due = Rotation::Trying(Trying { not_before: Now(0), ..trying.clone() });
        assert!(store.turn_rotation(name, &row.rotation, &due, None, row.at).unwrap());
    }
}

async fn check(at: Moment, faults: Vec<BmcFault>, changed: bool) {
    let fleet = fleet(faults).await;
    let bmc = fleet.listed()[0].clone();
    let dir = tempfile::tempdir().unwrap();
    appliance_server::site::init(dir.path()).unwrap();
    let new = vault::random_password(PasswordLimits::default()).unwrap();
    {
        let (vault, store) = open(dir.path());
        let list = format!("serial,password,address\n{},{},{}\n", bmc.serial, bmc.password, bmc.url);
        import((&vault, &store), &read_roster(&list, false).unwrap(), &bmc.user).unwrap();
        let controller = Dying { by: ByRedfish { store: &store }, at, dead: Notify::new() };
        tokio::select! {
            ended = vault::rotate((&vault, &store), &bmc.serial, &new, &controller) => {
                assert_eq!(at, Moment::Never, "{:?}", ended.unwrap());
            }
            () = controller.dead.notified() => assert_ne!(at, Moment::Never),
        }
    }
    // The next process.
    let (vault, store) = open(dir.path());
    for _ in 0..5 {
        let_time_pass(&store, &bmc.serial);
        let ended = vault::settle((&vault, &store), &bmc.serial, &ByRedfish { store: &store }).await.unwrap();
        if !matches!(ended, Ended::Waits(_)) {
            break;
        }
    }
    let row = store.account(&bmc.serial).unwrap().unwrap();
    assert_eq!((&row.rotation, row.ours), (&Rotation::Settled, changed), "{at:?}");
    let held = vault.open(&row, &row.account.sealed).unwrap();
    assert_eq!(held == new, changed, "{at:?}");
    assert_eq!(
        row.lockout.map(|lockout| lockout.attempts),
        (at != Moment::BeforeChange).then_some(5),
        "{at:?}"
    );
    let contact = Contact {
        url: bmc.url.clone(),
        user: bmc.user.clone(),
        password: Password::new(held.reveal()),
        pin: row.pin.map(Pin),
    };
    Bmc::new(contact).unwrap().try_login().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_each_step_the_store_ends_with_what_the_controller_has() {
    for (at, changed) in [
        (Moment::BeforeChange, false),
        (Moment::AfterChange, true),
        (Moment::BeforeLogIn, true),
        (Moment::AfterLogIn, true),
        (Moment::Never, true),
    ] {
        check(at, Vec::new(), changed).await;
    }
}

/// The answer to the change is lost, after or before it was carried out; or it is a lie.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_found_out_by_a_login() {
    for (action, changed) in
        [(BmcAction::DropAnswer, true), (BmcAction::DropRequest, false), (BmcAction::Lie, false)]
    {
        let path_contains = "PATCH /redfish/v1/AccountService/Accounts/".to_owned();
        check(Moment::Never, vec![BmcFault { path_contains, action, times: 1 }], changed).await;
    }
}
