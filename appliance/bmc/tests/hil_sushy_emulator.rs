//! OpenStack's `sushy-emulator` driven by our client: another party's idea of a controller, with TLS, without sessions and
//! without a serial.  The program comes from `cargo xtask prepare`; a missing one is a failure.

#![expect(clippy::unwrap_used, reason = "functions of a test: a panic is the failure message")]

use std::{
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use appliance_bmc::{
    Allowed, Bmc, BmcError, BootTarget, Contact, KeyState, Options, Password, PowerState, ResetKind,
};
use appliance_model::Serial;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// What its chassis tells.
const SERIAL: &str = "437XR1138R2";
/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);
/// A minute for an interpreter to start on a busy machine.
const START_LOOKS_MAX: u32 = 300;
/// Its driver switches the power after 1 to 11 seconds.
const POWER_LOOKS_MAX: u32 = 200;

/// A running emulator; it ends with this value.
struct Emulator {
    child: Child,
    port: u16,
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(folder: &Path) -> Emulator {
    let judges = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.xtask/judges");
    let program = judges.join("venv/bin/sushy-emulator");
    assert!(program.is_file(), "sushy-emulator is missing: run `cargo xtask prepare`");
    let key = rcgen::KeyPair::generate().unwrap();
    let made = rcgen::CertificateParams::new(vec!["emulator".into()]).unwrap().self_signed(&key).unwrap();
    std::fs::write(folder.join("certificate.pem"), made.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
    let settings = format!("SUSHY_EMULATOR_STATE_DIR = {:?}\n", folder.display().to_string());
    std::fs::write(folder.join("settings.py"), settings).unwrap();
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let mut command = Command::new(program);
    command.args(["--fake", "-i", "127.0.0.1", "-p", &port.to_string(), "--config", "settings.py"]);
    command.args(["--ssl-certificate", "certificate.pem", "--ssl-key", "key.pem"]);
    let log = std::fs::File::create(folder.join("log")).unwrap();
    let child = command
        .env("SUSHY_EMULATOR_CONFIG", folder.join("settings.py"))
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let mut emulator = Emulator { child, port };
    for _ in 0..START_LOOKS_MAX {
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return emulator;
        }
        if emulator.child.try_wait().unwrap().is_some() {
            break;
        }
        std::thread::sleep(LOOK);
    }
    let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
    panic!("the emulator did not start: {log}");
}

fn client(emulator: &Emulator) -> Bmc {
    let contact = Contact {
        url: format!("https://127.0.0.1:{}", emulator.port),
        user: "admin".into(),
        password: Password::new("password"),
        pin: None,
    };
    Bmc::with(contact, Options { pause: Duration::from_millis(100), ..Options::default() }).unwrap()
}

async fn serve(bytes: &'static [u8]) -> String {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", bytes.len());
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.write_all(bytes).await;
        }
    });
    format!("http://{address}/discovery.iso")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_client_drives_sushy_emulator() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().to_owned();
    let emulator = tokio::task::spawn_blocking(move || start(&at)).await.unwrap();
    let bmc = client(&emulator);
    bmc.try_login().await.unwrap();

    let view = bmc.inventory().await.unwrap();
    assert!(view.system.starts_with("/redfish/v1/Systems/"));
    assert_eq!(view.inventory.nics[0].mac.map(|mac| mac.to_string()).as_deref(), Some("00:5c:52:31:3a:9c"));
    let serial = view.inventory.system.serial.map(|serial| serial.to_string());
    assert_eq!((view.power, serial.as_deref()), (PowerState::Off, Some(SERIAL)));
    assert!(view.quirks.iter().any(|quirk| quirk.id == "sushy-emulator-continuous"));
    assert_eq!(view.media.len(), 2);

    bmc.reset(ResetKind::On).await.unwrap();
    for target in [BootTarget::Pxe, BootTarget::Cd] {
        assert_eq!(bmc.set_boot_once(target).await.unwrap().seen_at, view.system);
    }
    // It takes HTTP boot and makes PXE of it: what was accepted is not believed before it shows.
    let turned = bmc.set_boot_once(BootTarget::UefiHttp).await;
    assert!(matches!(turned, Err(BmcError::BootNotSet { .. })), "{turned:?}");
    assert!(matches!(bmc.set_boot_once(BootTarget::UsbCd).await, Err(BmcError::NoSuchBootTarget { .. })));

    let image = serve(b"VIRTUAL MEDIUM").await;
    let inserted = bmc.insert_media(&image).await.unwrap();
    assert_eq!((inserted.image.as_str(), inserted.boot), (image.as_str(), BootTarget::Cd));
    bmc.eject_media(&inserted.slot).await.unwrap();

    assert_eq!(bmc.enable_secure_boot().await.unwrap().state, KeyState::Shown);
    assert_eq!(bmc.secure_boot_keys().await.unwrap().databases, []);
    // It tells no serial but its chassis does, by which its machine is known.
    let allowed = |serial: &str| Allowed::secure_boot_keys(Serial::parse(serial).unwrap());
    assert!(matches!(bmc.disable_secure_boot(&allowed("S1")).await, Err(BmcError::NotAllowed { .. })));
    assert_eq!(bmc.disable_secure_boot(&allowed(SERIAL)).await.unwrap().state, KeyState::Shown);
    assert!(matches!(bmc.bios().await, Err(BmcError::Lacks { .. })));
    assert!(matches!(bmc.accounts().await, Err(BmcError::Lacks { .. })));
    assert!(matches!(bmc.event_stream(None).await, Err(BmcError::Lacks { .. })));

    let mut looks = 0;
    while bmc.power_state().await.unwrap() != PowerState::On {
        looks += 1;
        assert!(looks < POWER_LOOKS_MAX, "the power did not come");
        tokio::time::sleep(LOOK).await;
    }
    bmc.log_out().await;
}
