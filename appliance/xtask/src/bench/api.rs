//! The API of a boot service while 500 machines pull an image from the same process: how long does an answer take?
//!
//! There is no peer: the figure to compare with is the same API beside one pull.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use super::{
    lan::{INTERFACE, Lan, SERVER},
    table::{Better, OURS, Table},
};
use crate::{
    prepare,
    run::{cargo, output, run as run_command},
};

/// What `--case` is compared with.
pub(super) const NAME: &str = "API beside pulls";
/// The operator's API, and what a page that shows progress asks for.
const OPERATOR: &str = "127.0.0.1:8090";
/// What it must have before it is asked: DHCP, images, the API.
const PORTS: [u16; 3] = [67, IMAGES, 8090];
const PATH: &str = "/api/v1/boot/counters";
/// The image server's port, the default of `pxe.http_port`.
const IMAGES: u16 = 8080;

/// Looks at an image whose digest is not yet known, and what lies between two.
const TRIES_MAX: u32 = 200;
const PAUSE: Duration = Duration::from_millis(100);

/// A service that is ready to start.
pub(super) struct Desk {
    lan: Lan,
    folder: PathBuf,
    image: String,
    scalerforge: PathBuf,
    load: PathBuf,
}

#[derive(Debug, Deserialize)]
struct Outcome {
    failures: u64,
    failure: Option<String>,
    beside: Option<Beside>,
}

#[derive(Debug, Deserialize)]
struct Beside {
    answers: u32,
    p50_ms: f64,
    p99_ms: f64,
    slowest_ms: f64,
}

impl Desk {
    /// `files` is the folder where the image lies already.
    pub(super) fn prepare(root: &Path, files: &Path) -> anyhow::Result<Self> {
        run_command(cargo(root).args(["build", "--quiet", "--release", "-p", "appliance-cli"]))?;
        let folder = root.join(".xtask/bench/api").canonicalize();
        let folder = folder.or_else(|_| {
            fs::create_dir_all(root.join(".xtask/bench/api/images"))?;
            root.join(".xtask/bench/api").canonicalize()
        })?;
        let image = files.join("files/image");
        let said = output(Command::new("sha256sum").arg(&image))?;
        let digest = said.split_whitespace().next().context("sha256sum said nothing")?.to_owned();
        let named = folder.join("images").join(&digest);
        if !named.is_file() {
            fs::hard_link(&image, &named).with_context(|| format!("linking {}", named.display()))?;
        }
        // Nothing of it is fetched; what the service wants to see is that it begins as a program does.
        fs::write(folder.join("image.efi"), b"MZ bench")?;
        let config = format!(
            "state_dir = \"state\"\noperator = \"{OPERATOR}\"\n[pxe]\nmode = \"proxy\"\n\
             interface = \"{INTERFACE}\"\naddress = \"{SERVER}\"\nsubnet = \"10.98.0.0/15\"\nuefi_pxe = \"uki\"\n\
             [pxe.images]\nx64 = \"image.efi\"\nfolder = \"images\"\n"
        );
        fs::write(folder.join("boot.toml"), config)?;
        let release = prepare::target(root).join("release");
        let (scalerforge, load) = (release.join("scalerforge"), release.join("hil-tests-load"));
        Ok(Self { lan: Lan::create()?, folder, image: digest, scalerforge, load })
    }

    /// Once beside one pull and once beside 500.
    pub(super) fn sample(&self, table: &mut Table) -> anyhow::Result<()> {
        let config = self.folder.join("boot.toml").display().to_string();
        let words = ["boot", "serve", "--config", &config].map(str::to_owned);
        let _service = self.lan.serve_widely(&self.scalerforge, &words, &PORTS)?;
        // A new image is served once its digest was taken.
        let mut tries = 0;
        while self.pull(&["--clients", "1", "--bytes", "1"])?.failures > 0 {
            tries += 1;
            ensure!(tries < TRIES_MAX, "the image is not served after {TRIES_MAX} tries");
            thread::sleep(PAUSE);
        }
        for clients in ["1", "500"] {
            let outcome = self.pull(&[
                "--clients",
                clients,
                "--seconds",
                "5",
                "--beside",
                PATH,
                "--beside-target",
                OPERATOR,
            ])?;
            let reason = outcome.failure.unwrap_or_default();
            ensure!(outcome.failures == 0, "{} pulls failed, the first: {reason}", outcome.failures);
            let beside = outcome.beside.context("nothing was asked beside the load")?;
            let mut add = |figure: &str, unit, better, value| {
                table.add(&format!("{NAME}, {clients}: {figure}"), unit, better, OURS, value);
            };
            add("answers", "in 5 s", Better::More, beside.answers.into());
            add("median", "ms", Better::Less, beside.p50_ms);
            add("p99", "ms", Better::Less, beside.p99_ms);
            add("slowest", "ms", Better::Less, beside.slowest_ms);
        }
        Ok(())
    }

    /// Pulls the image with clients of addresses of their own.
    fn pull(&self, how: &[&str]) -> anyhow::Result<Outcome> {
        let (target, path) = (format!("{SERVER}:{IMAGES}"), format!("/images/sha256/{}", self.image));
        let words = ["http", "--target", &target, "--path", &path, "--spread"];
        let words: Vec<String> = words.iter().chain(how).map(|word| (*word).to_owned()).collect();
        let said = self.lan.ask_beside(&self.load, &words)?;
        serde_json::from_str(&said).with_context(|| format!("`{said}`"))
    }
}
