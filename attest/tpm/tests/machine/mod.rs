//! A machine with a software TPM, made for one test: own state, own certificate authority, own socket.
#![allow(dead_code, reason = "each test binary uses its part")]
#![expect(clippy::unwrap_used, reason = "in a test, a panic that names its line is the report")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::Duration,
};

use attest_tpm::Tpm;

/// A machine with a software TPM and nothing else.
pub(crate) struct Machine {
    folder: tempfile::TempDir,
    swtpm: Option<Child>,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let machine = Self { folder, swtpm: None };
        let at = |name: &str| machine.path(name).display().to_string();
        fs::create_dir(machine.path("ca")).unwrap();
        fs::create_dir(machine.path("state")).unwrap();
        let ca = format!(
            "statedir = {0}\nsigningkey = {0}/key.pem\nissuercert = {0}/issuer.pem\ncertserial = {0}/serial\n",
            at("ca")
        );
        fs::write(machine.path("ca.conf"), ca).unwrap();
        let options = "--platform-manufacturer Test\n--platform-version 1\n--platform-model Bench\n";
        fs::write(machine.path("ca.options"), options).unwrap();
        let setup = format!(
            "create_certs_tool = {}\ncreate_certs_tool_config = {}\ncreate_certs_tool_options = {}\n",
            "/usr/bin/swtpm_localca",
            at("ca.conf"),
            at("ca.options")
        );
        fs::write(machine.path("setup.conf"), setup).unwrap();
        let output = Command::new("swtpm_setup")
            .args(["--tpm2", "--create-ek-cert", "--create-platform-cert", "--overwrite"])
            .args(["--pcr-banks", "sha256,sha384", "--tpmstate", &at("state"), "--config", &at("setup.conf")])
            .output()
            .expect("swtpm_setup is installed (Debian: swtpm-tools)");
        assert!(output.status.success(), "{}", text(&output));
        machine
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn power_on(&mut self) -> Tpm {
        let socket = self.path("tpm.sock");
        let child = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init"])
            .arg("--tpmstate")
            .arg(format!("dir={}", self.path("state").display()))
            .arg("--server")
            .arg(format!("type=unixio,path={}", socket.display()))
            // tpm2-tools look for the control channel here, and do nothing without one.
            .arg("--ctrl")
            .arg(format!("type=unixio,path={}.ctrl", socket.display()))
            .stdout(Stdio::null())
            .spawn()
            .expect("swtpm is installed");
        let child = self.swtpm.insert(child);
        let mut tpm = connect(child, &socket);
        // Twice, as after firmware that has done it.
        tpm.startup().unwrap();
        tpm.startup().unwrap();
        tpm
    }

    pub(crate) fn power_cut(&mut self) {
        if let Some(mut child) = self.swtpm.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let _ = fs::remove_file(self.path("tpm.sock"));
        let _ = fs::remove_file(self.path("tpm.sock.ctrl"));
    }

    /// One of tpm2-tools, on a machine that is switched on for it.
    pub(crate) fn tool(&mut self, words: &[String]) -> Output {
        self.power_cut();
        drop(self.power_on());
        let (name, rest) = words.split_first().unwrap();
        let output = Command::new(format!("tpm2_{name}"))
            .env("TPM2TOOLS_TCTI", format!("swtpm:path={}", self.path("tpm.sock").display()))
            .args(rest)
            .output()
            .expect("tpm2-tools are installed (Debian: tpm2-tools)");
        self.power_cut();
        output
    }

    /// MakeCredential by tpm2-tools.  Their file: magic, version, then the two TPM2Bs.
    pub(crate) fn make_credential(&self, ek: &[u8], name: &[u8], secret: &[u8]) -> (Vec<u8>, Vec<u8>) {
        fs::write(self.path("ek.pub"), sized(ek)).unwrap();
        fs::write(self.path("secret"), secret).unwrap();
        let output = Command::new("tpm2_makecredential")
            .args(["-T", "none", "-n", &hex(name)])
            .arg("-u")
            .arg(self.path("ek.pub"))
            .arg("-s")
            .arg(self.path("secret"))
            .arg("-o")
            .arg(self.path("credential"))
            .output()
            .expect("tpm2_makecredential is installed (Debian: tpm2-tools)");
        assert!(output.status.success(), "{}", text(&output));
        let file = fs::read(self.path("credential")).unwrap();
        assert_eq!(file[..8], [0xba, 0xdc, 0xc0, 0xde, 0, 0, 0, 1]);
        let blob = 2 + usize::from(u16::from_be_bytes([file[8], file[9]]));
        (file[8..8 + blob].to_vec(), file[8 + blob..].to_vec())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.power_cut();
    }
}

/// Waits for the socket; a dead swtpm ends the wait at once.
fn connect(child: &mut Child, socket: &Path) -> Tpm {
    for _ in 0..3000 {
        match Tpm::open(socket) {
            Ok(tpm) => return tpm,
            Err(_) => assert_eq!(child.try_wait().unwrap(), None, "swtpm ended"),
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("swtpm does not listen");
}

pub(crate) fn sized(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
