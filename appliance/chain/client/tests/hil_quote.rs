//! A quote of a real (software) TPM passes the contract's check, whichever half its signature's s is in.
//!
//! Needs `swtpm` and `tpm2-tools` and fails without them.  It is the proof that the parser in Solidity, the synthetic
//! quotes of the other tests, and TPMs mean the same bytes.
#![expect(clippy::unwrap_used, reason = "tests and what they stand on")]

#[path = "chain/support.rs"]
#[expect(dead_code, reason = "only a part of it is needed here")]
mod support;

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use p256::ecdsa::Signature;
use support::{FEE_CAP, Machine, world};

/// Enough quotes that both halves occur, but for one time in 2⁶³.
const QUOTES_MAX: usize = 64;

/// swtpm, ended with the test.
struct Swtpm {
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
    async fn start() -> Self {
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
        let ready = async {
            while !socket.exists() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), ready).await.expect("swtpm opens its socket");
        Self { process, directory }
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
    fn make_key(&self) -> ([u8; 32], [u8; 32]) {
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
    fn quote(&self, qualifying: &[u8]) -> (Vec<u8>, Signature) {
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

#[tokio::test]
async fn a_quote_of_a_real_tpm_passes_the_contract() {
    let world = world("swtpm").await;
    let tpm = Swtpm::start().await;
    let mut intent = Machine::new("swtpm", "machine").intent(&world).await;
    (intent.ak_x, intent.ak_y) = tpm.make_key();
    // The synthetic quote holds the right qualifying data at its place.
    let qualifying = intent.quote[44..76].to_vec();
    let (mut low, mut high) = (0, 0);
    for _ in 0..QUOTES_MAX {
        let (quote, signature) = tpm.quote(&qualifying);
        assert_eq!(quote.len(), intent.quote.len());
        if signature.normalize_s().is_some() {
            high += 1
        } else {
            low += 1
        }
        intent.quote = quote;
        intent.signature_r = signature.r().to_bytes().into();
        intent.signature_s = signature.s().to_bytes().into();
        world.registry.preflight(&intent, world.operator.address(), FEE_CAP).await.unwrap();
        if low > 0 && high > 0 {
            break;
        }
    }
    assert!(low > 0 && high > 0, "{low} low, {high} high");
    world.approve(intent.collateral).await;
    assert!(world.register(&intent).await.registered.is_some());
}
