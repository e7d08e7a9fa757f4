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
use attest_wire::eventlog::{Bank, EV_EFI_BOOT_SERVICES_APPLICATION, EV_NO_ACTION, EV_SEPARATOR};

pub(crate) const URL: &str = "http://10.77.0.1:8080/boot/00112233445566778899aabbccddeeff/discovery.efi";

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

/// (PCR, type, what is hashed, event data).
fn events(image: &[u8]) -> Vec<(u32, u32, Vec<u8>, Vec<u8>)> {
    let same = |pcr, kind, data: &[u8]| (pcr, kind, data.to_vec(), data.to_vec());
    let mut list = vec![same(0, 8, b"firmware 1.0"), same(7, 0x8000_0001, &secure_boot())];
    list.extend((0..8).map(|pcr| same(pcr, EV_SEPARATOR, &[0; 4])));
    list.push((4, EV_EFI_BOOT_SERVICES_APPLICATION, image.to_vec(), image_load()));
    list.push((11, 0xd, [b".linux ", image].concat(), b"linux\0".to_vec()));
    list.push(same(9, 0xd, b"initrd"));
    list
}

fn secure_boot() -> Vec<u8> {
    let mut data =
        vec![0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c];
    data.extend(10u64.to_le_bytes());
    data.extend(1u64.to_le_bytes());
    data.extend("SecureBoot".encode_utf16().flat_map(u16::to_le_bytes));
    data.push(0);
    data
}

fn image_load() -> Vec<u8> {
    let mut path = vec![3, 24];
    path.extend(u16::try_from(URL.len() + 4).unwrap().to_le_bytes());
    path.extend(URL.as_bytes());
    path.extend([0x7f, 0xff, 4, 0]);
    let mut data = vec![0; 24];
    data.extend(u64::try_from(path.len()).unwrap().to_le_bytes());
    data.extend(path);
    data
}

fn header() -> Vec<u8> {
    let mut data = b"Spec ID Event03\0".to_vec();
    data.extend([0, 0, 0, 0, 0, 2, 0, 2, 1, 0, 0, 0, 0x0b, 0, 32, 0, 0]);
    let mut bytes = Vec::new();
    bytes.extend(0u32.to_le_bytes());
    bytes.extend(EV_NO_ACTION.to_le_bytes());
    bytes.extend([0; 20]);
    bytes.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
    bytes.extend(data);
    bytes
}

fn event(pcr: u32, kind: u32, digest: &[u8], data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(pcr.to_le_bytes());
    bytes.extend(kind.to_le_bytes());
    bytes.extend([1, 0, 0, 0, 0x0b, 0]);
    bytes.extend(digest);
    bytes.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
    bytes.extend(data);
    bytes
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
