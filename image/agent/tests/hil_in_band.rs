//! The agent's way to its machine's controller, with a real kernel: QEMU's KCS interface leads to OpenIPMI's simulator,
//! Debian's kernel drives it, the agent finds the address and makes the account, and our client logs in by LAN.
//!
//! Needs QEMU, `ipmi_sim` (Debian's `openipmi`) and the kernel of the image build's cache; without them it fails.

#![expect(clippy::unwrap_used, reason = "helpers of a test; a failed unwrap is a failed test")]

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use appliance_api::agent::BmcAccount;
use appliance_ipmi::{
    IpmiError, Level, Login, Password, Policy, Session, Timing, command::user, handshake::Refusal,
};
use appliance_model::inventory::BmcSeen;
use image_build::cpio::Archive;

/// Ends its process with itself.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the simulator asks about the LAN of its controller: `get ip_addr mac_addr …`.
const LAN: &str = r#"#!/bin/sh
shift
verb=$1
shift
[ "$verb" = get ] || exit 0
for name in "$@"; do
  case "$name" in
    ip_addr) echo "ip_addr:10.78.0.11" ;;
    ip_addr_src) echo "ip_addr_src:static" ;;
    mac_addr) echo "mac_addr:52:54:00:78:00:11" ;;
    subnet_mask) echo "subnet_mask:255.255.255.0" ;;
    *_mac_addr) echo "$name:00:00:00:00:00:00" ;;
    *) echo "$name:0.0.0.0" ;;
  esac
done
"#;

/// The simulator, with its LAN port and its port for a virtual machine's KCS.
fn simulator(folder: &Path) -> (Ended, SocketAddr, u16) {
    // Free a moment ago; the simulator cannot choose by itself.
    let lan = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let kcs = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let script = folder.join("lan");
    fs::write(&script, LAN).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let auths = ["callback", "user", "operator", "admin"]
        .map(|level| format!("allowed_auths_{level} none md2 md5 straight\n"));
    let config = format!(
        "name \"sim\"\nset_working_mc 0x20\nstartlan 1\naddr 127.0.0.1 {}\npriv_limit admin\n{}\
         guid a123456789abcdefa123456789abcdef\nlan_config_program \"{} eth0\"\nendlan\n\
         serial 15 127.0.0.1 {kcs} codec VM\nuser 2 true \"factory\" \"factory\" admin 10 none md2 md5 straight\n",
        lan.port(),
        auths.concat(),
        script.display()
    );
    fs::write(folder.join("lan.conf"), config).unwrap();
    let machine = "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 2 0x31 0x9f 0x1291 0xf02 persist_sdr\n\
                   sel_enable 0x20 1000 0x0a\nmc_enable 0x20\n";
    fs::write(folder.join("sim.emu"), machine).unwrap();
    fs::create_dir(folder.join("state")).unwrap();
    let process = Command::new("ipmi_sim")
        .arg("-c")
        .arg(folder.join("lan.conf"))
        .arg("-f")
        .arg(folder.join("sim.emu"))
        .arg("-s")
        .arg(folder.join("state"))
        // It ends when its standard input does.
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("ipmi_sim is missing: install Debian's package openipmi");
    (Ended(process), lan, kcs)
}

/// The kernel's files in the image build's cache.
fn kernel() -> (PathBuf, PathBuf) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.xtask/cache/packages/root");
    let one = |folder: PathBuf, begins: &str| {
        let files = fs::read_dir(&folder).unwrap_or_else(|error| {
            panic!("{}: {error}; `cargo xtask image` fetches the kernel", folder.display())
        });
        let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
        files.retain(|file| file.file_name().unwrap().to_string_lossy().starts_with(begins));
        files.sort();
        files.pop().unwrap_or_else(|| panic!("{} holds no {begins}", folder.display()))
    };
    (
        one(root.join("boot"), "vmlinuz"),
        one(root.join("usr/lib/modules"), "").join("kernel/drivers/char/ipmi"),
    )
}

/// An initramfs whose init is the example, with the libraries that it is linked to.
fn initramfs(modules: &Path, account: &BmcAccount) -> Vec<u8> {
    let test = std::env::current_exe().unwrap();
    let init = test.parent().unwrap().parent().unwrap().join("examples/in_band");
    let mut archive = Archive::new();
    archive.directory("dev").unwrap();
    archive.character("dev/console", 5, 1).unwrap();
    archive.file("init", fs::read(&init).unwrap(), true).unwrap();
    for name in ["ipmi_msghandler", "ipmi_devintf", "ipmi_si"] {
        let file = format!("{name}.ko.xz");
        archive.file(&file, fs::read(modules.join(&file)).unwrap(), false).unwrap();
    }
    archive.file("account.json", serde_json::to_vec(account).unwrap(), false).unwrap();
    let linked = Command::new("ldd").arg(&init).output().unwrap();
    let linked = String::from_utf8(linked.stdout).unwrap();
    for library in linked.split_whitespace().filter(|word| word.starts_with('/')) {
        archive.file(library.trim_start_matches('/'), fs::read(library).unwrap(), true).unwrap();
    }
    archive.to_bytes()
}

/// What the machine's console says until it is switched off.
fn boot(folder: &Path, kcs: u16, account: &BmcAccount) -> String {
    let (kernel, modules) = kernel();
    let initrd = folder.join("initrd");
    fs::write(&initrd, initramfs(&modules, account)).unwrap();
    let output = Command::new("timeout")
        .args(["240", "qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,thread=multi", "-m", "512"])
        .args(["-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio"])
        .args(["-chardev", &format!("socket,id=kcs,host=127.0.0.1,port={kcs},reconnect=1")])
        .args(["-device", "ipmi-bmc-extern,id=bmc0,chardev=kcs", "-device", "isa-ipmi-kcs,bmc=bmc0"])
        .args(["-append", "console=ttyS0 quiet panic=-1"])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(initrd)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_agent_finds_its_controller_and_makes_the_account_that_was_ordered() {
    let folder = tempfile::tempdir().unwrap();
    let (_simulator, lan, kcs) = simulator(folder.path());
    let account = BmcAccount { user: "scalerforge".into(), password: "ordered-Passw0rd".into() };
    let said = boot(folder.path(), kcs, &account);
    let told =
        said.lines().find_map(|line| line.trim().strip_prefix("TOLD ")).unwrap_or_else(|| panic!("{said}"));
    let (seen, gaps): (Option<BmcSeen>, Vec<String>) = serde_json::from_str(told).unwrap();
    assert!(gaps.is_empty(), "{gaps:?}");
    let seen = seen.unwrap();
    assert_eq!(seen.lan_address, Some(Ipv4Addr::new(10, 78, 0, 11)));
    assert_eq!(seen.lan_mac, Some("52:54:00:78:00:11".parse().unwrap()));
    assert!(!said.contains(&account.password));

    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let log_in = async |password: &str| {
            let password = Password::new(password).unwrap();
            let login = Login::new(account.user.clone(), password, Level::Administrator).unwrap();
            Session::open(lan, &login, Policy::AllowSuite3, Timing { first_milliseconds: 300, tries: 20 })
                .await
        };
        let mut session = log_in(&account.password).await.unwrap();
        let users = user::list(&mut session, 1).await.unwrap();
        assert!(users.iter().any(|user| user.name == account.user && user.lan));
        session.close().await.unwrap();
        let refused = log_in("another-Passw0rd").await;
        assert!(
            matches!(refused, Err(IpmiError::NoSession { source: Refusal::Password, .. })),
            "{refused:?}"
        );
    });
}
