//! A software TPM of a test's own, with its attestation key, spoken to by tpm2-tools.
//!
//! Needs `swtpm` and `tpm2-tools` and fails without them.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use p256::ecdsa::Signature;

/// Looks for its socket, 20 ms apart, a minute in all; it takes milliseconds, and the machine may be busy.
const LOOKS_MAX: usize = 3000;

/// swtpm, ended with the test.
pub(crate) struct Swtpm {
    process: Child,
    directory: tempfile::TempDir,
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Swtpm {
    /// Starts one with an empty state and waits for its socket.
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().display();
        let process = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .arg("--tpmstate")
            .arg(format!("dir={path}"))
            .arg("--server")
            .arg(format!("type=unixio,path={path}/sock"))
            .arg("--ctrl")
            .arg(format!("type=unixio,path={path}/sock.ctrl"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("swtpm is installed");
        let socket = directory.path().join("sock");
        let swtpm = Self { process, directory };
        let ready = (0..LOOKS_MAX).any(|_| {
            thread::sleep(Duration::from_millis(20));
            socket.exists()
        });
        assert!(ready, "swtpm does not open its socket");
        swtpm
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Runs one of the TPM tools in the TPM's directory and gives its output.
    fn tool(&self, name: &str, arguments: &[&str]) -> String {
        let output = Command::new(name)
            .args(arguments)
            .current_dir(self.path())
            .env("TPM2TOOLS_TCTI", format!("swtpm:path={}/sock", self.path().display()))
            .output()
            .expect("tpm2-tools are installed");
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Makes the attestation key (attributes 0x00050472) and gives its point.
    pub(crate) fn make_key(&self) -> ([u8; 32], [u8; 32]) {
        let attributes = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign|noda";
        let template = ["-C", "e", "-G", "ecc256:ecdsa-sha256:null", "-a", attributes, "-c", "ak.ctx"];
        let printed = self.tool("tpm2_createprimary", &template);
        self.tool("tpm2_flushcontext", &["-t"]);
        let coordinate = |name: &str| {
            let line = printed.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            let mut bytes = [0; 32];
            hex::decode_to_slice(line.trim(), &mut bytes).unwrap();
            bytes
        };
        (coordinate("x:"), coordinate("y:"))
    }

    /// Quotes the selection of every node over `qualifying`.
    pub(crate) fn quote(&self, qualifying: &[u8]) -> (Vec<u8>, Signature) {
        let selection = "sha256:0,1,2,3,4,5,6,7,9,11,12,13,14,15";
        let qualifying = hex::encode(qualifying);
        let files = ["-m", "quote.msg", "-s", "quote.sig", "-f", "plain"];
        let arguments = [&["-c", "ak.ctx", "-l", selection, "-q", &qualifying], files.as_slice()].concat();
        self.tool("tpm2_quote", &arguments);
        // Nobody manages this TPM's three places for keys: without this, the fourth quote finds none free.
        self.tool("tpm2_flushcontext", &["-t"]);
        let signature = fs::read(self.path().join("quote.sig")).unwrap();
        (fs::read(self.path().join("quote.msg")).unwrap(), Signature::from_der(&signature).unwrap())
    }
}
