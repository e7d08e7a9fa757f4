//! A machine for tests: a real software TPM, made by `swtpm_setup` with a CA of its own, and a firmware that is us:
//! events are extended into the TPM and written into a log as real firmware would.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use attest_tpm::{Socket, Tpm, Transport as _};
use attest_wire::eventlog::Bank;

use crate::firmware::{event, events, header};

pub(crate) struct Machine {
    pub(crate) folder: tempfile::TempDir,
    swtpm: Option<Child>,
    pub(crate) log: Vec<u8>,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        fs::create_dir(at("ca")).unwrap();
        fs::create_dir(at("state")).unwrap();
        let ca = format!(
            "statedir = {0}\nsigningkey = {0}/key.pem\nissuercert = {0}/issuer.pem\ncertserial = {0}/serial\n",
            at("ca")
        );
        fs::write(at("ca.conf"), ca).unwrap();
        fs::write(at("ca.options"), "").unwrap();
        let setup = format!(
            "create_certs_tool = /usr/bin/swtpm_localca\ncreate_certs_tool_config = {}\ncreate_certs_tool_options = {}\n",
            at("ca.conf"),
            at("ca.options")
        );
        fs::write(at("setup.conf"), setup).unwrap();
        let output = Command::new("swtpm_setup")
            .args(["--tpm2", "--create-ek-cert", "--overwrite", "--pcr-banks", "sha256"])
            .args(["--tpmstate", &at("state"), "--config", &at("setup.conf")])
            .output()
            .expect("swtpm_setup is installed (Debian: swtpm-tools)");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self { folder, swtpm: None, log: Vec::new() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn ca_pem(&self, name: &str) -> Vec<u8> {
        fs::read(self.path("ca").join(name)).unwrap()
    }

    /// Starts the TPM and boots: `image` is what is measured as the UKI.
    pub(crate) fn boot(&mut self, image: &[u8]) -> Tpm {
        self.power_off();
        let socket = self.path("tpm.sock");
        let child = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .arg("--tpmstate")
            .arg(format!("dir={}", self.path("state").display()))
            .arg("--server")
            .arg(format!("type=unixio,path={}", socket.display()))
            .stdout(Stdio::null())
            .spawn()
            .expect("swtpm is installed");
        let child = self.swtpm.insert(child);
        let mut stream = (0..3000)
            .find_map(|_| {
                let stream = Socket::connect(&socket).ok();
                if stream.is_none() {
                    assert_eq!(child.try_wait().unwrap(), None, "swtpm ended");
                    thread::sleep(Duration::from_millis(20));
                }
                stream
            })
            .expect("swtpm listens");
        self.log = header();
        for (pcr, kind, measured, data) in events(image) {
            let digest = Bank::Sha256.hash(&[&measured]);
            extend(&mut stream, pcr, &digest);
            self.log.extend(event(pcr, kind, &digest, &data));
        }
        Tpm::over(Box::new(stream))
    }

    pub(crate) fn power_off(&mut self) {
        if let Some(mut child) = self.swtpm.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let _ = fs::remove_file(self.path("tpm.sock"));
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.power_off();
    }
}

/// TPM2_PCR_Extend with an empty password, SHA-256 bank only.
fn extend(stream: &mut Socket, pcr: u32, digest: &[u8]) {
    let mut body = pcr.to_be_bytes().to_vec();
    body.extend([0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0x0b]);
    body.extend(digest);
    let mut command = vec![0x80, 0x02];
    command.extend(u32::try_from(body.len() + 10).unwrap().to_be_bytes());
    command.extend(0x0182u32.to_be_bytes());
    command.extend(body);
    let response = stream.exchange(&command).unwrap();
    assert_eq!(response[6..10], [0; 4], "TPM2_PCR_Extend({pcr})");
}
