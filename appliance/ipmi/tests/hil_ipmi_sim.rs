//! Our client against OpenIPMI's `ipmi_sim`.  The simulator is Debian's package `openipmi`; without it this fails.

mod sim;

use appliance_ipmi::{
    IpmiError, Level, Login, Password, Policy, Session, Suite, Timing,
    command::{
        boot::{self, Flags, Source},
        chassis::{self, Control},
        device,
    },
    handshake::Refusal,
};
use sim::{PASSWORD, Sim, USER};

fn login(user: &str, password: &str, level: Level) -> Login {
    Login::new(user, Password::new(password).unwrap(), level).unwrap()
}

async fn open(sim: &Sim, level: Level) -> Session {
    let login = login(USER, PASSWORD, level);
    Session::open(sim.address, &login, Policy::AllowSuite3, timing()).await.unwrap()
}

fn timing() -> Timing {
    // It may still be starting.
    Timing { first_milliseconds: 300, tries: 20 }
}

#[tokio::test]
async fn an_operator_switches_power_and_sets_boot_flags() {
    let sim = Sim::start();
    let mut session = open(&sim, Level::Operator).await;
    assert_eq!((session.suite(), session.level()), (Suite::Three, Level::Operator));
    let device = device::id(&mut session).await.unwrap();
    assert_eq!((device.firmware.as_str(), device.ipmi.as_str(), device.maker), ("2.31", "2.0", 0x1291));

    assert!(!chassis::status(&mut session).await.unwrap().on);
    let wanted = Flags { valid: true, persistent: false, efi: false, source: Source::Pxe };
    // The simulator keeps the source only: neither "valid" nor EFI is shown again.
    let shown = boot::set(&mut session, wanted).await.unwrap();
    assert_eq!(shown, Flags { valid: false, ..wanted });
    assert_eq!(boot::flags(&mut session).await.unwrap(), shown);
    chassis::control(&mut session, Control::Up).await.unwrap();
    assert!(chassis::status(&mut session).await.unwrap().on);
    chassis::control(&mut session, Control::Reset).await.unwrap();
    chassis::control(&mut session, Control::Down).await.unwrap();
    assert!(!chassis::status(&mut session).await.unwrap().on);
    session.keep_alive().await.unwrap();
    session.close().await.unwrap();
    let done = sim.done();
    for line in ["set boot pxe", "set power 1", "reset", "set power 0"] {
        assert!(done.contains(line), "{line}: {done}");
    }
}

#[tokio::test]
async fn what_is_refused_is_said() {
    let sim = Sim::start();
    open(&sim, Level::Administrator).await.close().await.unwrap();
    let attempt = async |user: &str, password: &str, level, policy| {
        let login = login(user, password, level);
        match Session::open(sim.address, &login, policy, timing()).await {
            Err(IpmiError::NoSession { source, .. }) => source,
            other => panic!("{other:?}"),
        }
    };
    let allowed = Policy::AllowSuite3;
    assert_eq!(attempt(USER, "wrong", Level::Operator, allowed).await, Refusal::Password);
    let unknown = attempt("nobody", PASSWORD, Level::Operator, allowed).await;
    assert!(matches!(unknown, Refusal::Status { status: 0x0d, .. }), "{unknown}");
    let strict = attempt(USER, PASSWORD, Level::Operator, Policy::Strict).await;
    assert!(strict.is_about_the_suite(), "{strict}");
    let reader = login("reader", "readonly", Level::User);
    let mut session = Session::open(sim.address, &reader, allowed, timing()).await.unwrap();
    match chassis::control(&mut session, Control::Up).await {
        Err(error @ IpmiError::Refused { code: 0xd4, .. }) => {
            assert!(error.to_string().contains("privilege"))
        }
        other => panic!("{other:?}"),
    }
    assert!(!sim.done().contains("power"));
}
