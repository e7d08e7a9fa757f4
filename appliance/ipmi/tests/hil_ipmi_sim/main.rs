//! Our client against OpenIPMI's `ipmi_sim`.  The simulator is Debian's package `openipmi`; without it this fails.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod rough;
mod sim;

use std::{
    io::{Read as _, Write as _},
    time::Duration,
};

use appliance_ipmi::{
    Console, Heard, IpmiError, Level, Login, Password, Policy, Session, Suite, Timing,
    command::{
        boot::{self, Flags, Source},
        chassis::{self, Control},
        device, lan,
        sdr::{self, Record},
        sel, sensor, user,
    },
    handshake::Refusal,
    surface,
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

#[tokio::test]
async fn log_records_and_fru_are_read() {
    let sim = Sim::start();
    let mut session = open(&sim, Level::Administrator).await;
    let log = sel::read(&mut session, 100).await.unwrap();
    assert_eq!((log.entries.len(), log.cut), (1, None));
    assert_eq!(log.entries[0].words(), "temperature sensor 1: high [57 60 50]");

    let found = sdr::read(&mut session).await.unwrap();
    assert_eq!((found.records.len(), found.odd, found.cut), (3, 0, None), "{found:?}");
    let mut read = Vec::new();
    for record in &found.records {
        match record {
            Record::Sensor(sensor) => {
                let reading = sensor::read(&mut session, sensor).await.unwrap();
                read.push(format!("{}: {}", sensor.name, reading.words(sensor)));
            }
            Record::Fru(locator) => read.push(format!("{}: FRU {}", locator.name, locator.device)),
            Record::Other(kind) => panic!("{kind}"),
        }
    }
    assert_eq!(read, ["Ambient: 96 °C", "FAN A: 6000 RPM", "Mainboard: FRU 0"]);

    let identity = surface::identity(&mut session).await.unwrap();
    assert_eq!(identity.serial(), Some("S312345X9000001"));
    assert_eq!(identity.guid.map(|guid| guid[0]), Some(0xa1));
    let fru = identity.fru.unwrap();
    let board = fru.board.unwrap();
    assert_eq!((board.name.as_str(), board.serial.as_str()), ("X11DPU", "WM199S000001"));
    assert_eq!(fru.product.unwrap().custom, ["extra"]);
    assert_eq!((fru.chassis.unwrap().kind, fru.odd.len()), (0x17, 0));

    assert_eq!(sel::clear(&mut session).await.unwrap(), sel::Cleared::Done);
    // Some controllers keep an entry that says so.
    assert!(sel::read(&mut session, 100).await.unwrap().entries.len() <= 1);
    session.close().await.unwrap();
}

#[tokio::test]
async fn a_user_is_made_and_logs_in() {
    let sim = Sim::start();
    let mut session = open(&sim, Level::Administrator).await;
    let channels = lan::channels(&mut session).await.unwrap();
    assert_eq!(channels, [1]);
    // The simulator takes twenty bytes and keeps sixteen.
    let long = Password::new("a-long-password-of20").unwrap();
    match user::create(&mut session, 1, "scalerforge", &long, Level::Operator).await {
        Err(error @ IpmiError::NotShown { .. }) => assert!(error.to_string().contains("sixteen"), "{error}"),
        other => panic!("{other:?}"),
    }
    let password = Password::new("sixteen-bytes-16").unwrap();
    let id = user::create(&mut session, 1, "scalerforge", &password, Level::Operator).await.unwrap();
    let users = user::list(&mut session, 1).await.unwrap();
    let made = users.iter().find(|user| user.id == id).unwrap();
    assert_eq!((made.name.as_str(), made.limit, made.lan), ("scalerforge", 3, true));
    session.close().await.unwrap();
    let login = login("scalerforge", "sixteen-bytes-16", Level::Operator);
    let session = Session::open(sim.address, &login, Policy::AllowSuite3, timing()).await.unwrap();
    session.close().await.unwrap();
}

#[tokio::test]
async fn the_serial_console_takes_keys_and_gives_bytes() {
    let sim = Sim::start();
    let serial = sim.serial.try_clone().unwrap();
    // The machine: greets, then says everything back in capitals.
    let machine = std::thread::spawn(move || {
        let (mut port, _) = serial.accept().unwrap();
        port.write_all(b"login: ").unwrap();
        let mut heard = Vec::new();
        let mut buffer = [0; 512];
        while !heard.ends_with(b"!") {
            let count = port.read(&mut buffer).unwrap();
            heard.extend_from_slice(&buffer[..count]);
            port.write_all(&buffer[..count].to_ascii_uppercase()).unwrap();
        }
        heard
    });
    let mut console = Console::open(open(&sim, Level::Operator).await).await.unwrap();
    let keys = format!("{}!", "a line of keys\r\n".repeat(40));
    assert_eq!(console.type_in(keys.as_bytes()), keys.len());
    let mut printed = Vec::new();
    while !printed.ends_with(b"!") {
        match tokio::time::timeout(Duration::from_secs(30), console.next()).await.unwrap().unwrap() {
            Heard::Bytes(bytes) => printed.extend(bytes),
            other @ (Heard::Unavailable | Heard::Ended) => panic!("{other:?}"),
        }
    }
    let printed = String::from_utf8(printed).unwrap();
    // The greeting may have been before our time.
    assert_eq!(printed.trim_start_matches("login: "), keys.to_uppercase());
    assert_eq!(machine.join().unwrap(), keys.as_bytes());
    console.close().await.unwrap().close().await.unwrap();
}
