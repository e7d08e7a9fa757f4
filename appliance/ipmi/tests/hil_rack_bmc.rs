//! Our client against the rack's simulated controller, which shares no code with it, by cipher suite 17; `ipmitool`
//! judges that controller in its own room.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use appliance_ipmi::{
    IpmiError, Level, Login, Password, Policy, Session, Suite, Timing,
    command::{
        device, lan,
        sdr::{self, Record},
        sel, sensor, user,
    },
    surface::{self, Efi},
};
use appliance_model::{BootTarget, PowerState, ResetKind};
use hil_tests_rack::{
    IpmiPolicy, Quirks,
    fleet::{Fleet, FleetConfig, Listed, Places},
};

const USER: &str = "admin";
const PASSWORD: &str = "Sup3r-secret-of-20-b";

async fn controller() -> (Fleet, Listed) {
    let account = Some((USER.to_owned(), PASSWORD.to_owned()));
    let ipmi = Some((0, IpmiPolicy { suite_17: true, suite_3: false }));
    let config = FleetConfig {
        count: 1,
        places: Places::Ports(([127, 0, 0, 1], 0).into()),
        tree: None,
        quirks: Quirks::default(),
        plain: true,
        account,
        latency: None,
        dead_permille: 0,
        death: None,
        errors_permille: 0,
        ipmi,
        faults: Vec::new(),
        on: false,
    };
    let fleet = Fleet::start(&config).await.unwrap();
    let listed = fleet.listed()[0].clone();
    (fleet, listed)
}

async fn open(bmc: &Listed, user: &str, password: &str, level: Level) -> Result<Session, IpmiError> {
    let login = Login::new(user, Password::new(password).unwrap(), level).unwrap();
    Session::open(bmc.ipmi.unwrap(), &login, Policy::Strict, Timing::default()).await
}

#[tokio::test]
async fn suite_17_carries_everything() {
    let (_fleet, bmc) = controller().await;
    let mut session = open(&bmc, USER, PASSWORD, Level::Administrator).await.unwrap();
    assert_eq!(session.suite(), Suite::Seventeen);
    let identity = surface::identity(&mut session).await.unwrap();
    assert_eq!(identity.serial(), Some(bmc.serial.as_str()));
    assert_eq!(device::likely_guid(identity.guid.unwrap()), "5ca1e4f0-0000-4000-8000-000000000001");

    assert_eq!(surface::power_state(&mut session).await.unwrap(), PowerState::Off);
    for (efi, shown) in [(Efi::Asked, true), (Efi::Left, false)] {
        let flags = surface::set_boot_once(&mut session, BootTarget::Pxe, efi).await.unwrap();
        assert!(flags.valid && !flags.persistent && flags.efi == shown, "{flags:?}");
    }
    let none = surface::set_boot_once(&mut session, BootTarget::UefiHttp, Efi::Asked).await;
    assert!(matches!(none, Err(IpmiError::CannotBe { .. })));
    surface::reset(&mut session, ResetKind::Restart).await.unwrap();
    assert_eq!(surface::power_state(&mut session).await.unwrap(), PowerState::On);

    let found = sdr::read(&mut session).await.unwrap();
    assert_eq!((found.odd, found.cut), (0, None));
    let mut numbers = 0;
    for record in &found.records {
        if let Record::Sensor(sensor) = record {
            let reading = sensor::read(&mut session, sensor).await.unwrap();
            numbers += usize::from(matches!(reading, sensor::Reading::Value { .. }));
        }
    }
    assert!(numbers >= 5, "{found:?}");
    assert!(!sel::read(&mut session, 100).await.unwrap().entries.is_empty());
    assert!(lan::channels(&mut session).await.unwrap().contains(&1));

    let password = Password::new("another-of-20-bytes!").unwrap();
    user::create(&mut session, 1, "scalerforge", &password, Level::Operator).await.unwrap();
    session.close().await.unwrap();
    let session = open(&bmc, "scalerforge", "another-of-20-bytes!", Level::Operator).await.unwrap();
    session.close().await.unwrap();
}
