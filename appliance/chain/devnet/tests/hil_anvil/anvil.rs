//! Anvil as a child process, on a port of its own.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

/// Where npm puts it: the package of this machine's kind.
const PACKAGES: &str = "../second/node_modules/@foundry-rs";
/// Lines that anvil prints before it listens, at most: its banner, the chain's parameters.
const LINES_MAX: usize = 200;

/// A running anvil with the development chain's rules; it ends with this value.
pub(crate) struct Anvil {
    pub(crate) url: String,
    process: Child,
}

impl Anvil {
    pub(crate) fn start(more: &[&str]) -> Self {
        let kind = if cfg!(target_arch = "aarch64") { "anvil-linux-arm64" } else { "anvil-linux-amd64" };
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(PACKAGES).join(kind).join("bin/anvil");
        assert!(
            program.is_file(),
            "there is no anvil at {}; run `npm ci --ignore-scripts` in appliance/chain/second",
            program.display()
        );
        let mut process = Command::new(program)
            .args(["--port", "0", "--chain-id", &chain_devnet::CHAIN_ID.to_string(), "--accounts", "0"])
            .args(["--hardfork", "osaka", "--enable-tx-gas-limit", "--gas-limit", "60000000"])
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
        let address = lines.by_ref().take(LINES_MAX).find_map(|line| {
            line.strip_prefix("Listening on ").map(|address| format!("http://{}", address.trim()))
        });
        // It goes on printing; somebody has to read, or it would wait.
        std::thread::spawn(move || lines.for_each(drop));
        Self { url: address.expect("anvil says where it listens"), process }
    }

    /// Ends it now.
    pub(crate) fn stop(&mut self) {
        // It may have ended already; there is nobody to tell.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        self.stop();
    }
}
