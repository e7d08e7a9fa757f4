//! `scalerforge image build | diff | inspect | measure` as a builder and a stranger use them: the same bytes in two folders,
//! reference values that a TPM would show, a signature that says who built it, and one changed byte found by name.

use std::{
    path::Path,
    process::{Command, Output},
    time::Instant,
};

use anyhow::{Context as _, ensure};
use attest_evidence::ReferenceValues;
use attest_verify::{
    binding,
    reference_file::{self, ReferenceFileError},
};
use hil_tests_scenarios::Artefacts;
use serde_json::Value;

/// A private key as `openssl rand -hex 32` writes one.
const KEY: &str = "0505050505050505050505050505050505050505050505050505050505050505\n";

/// The tracker's data, of one vulnerability that no release of the package ever had.
const TRACKER: &str =
    r#"{"linux": {"CVE-1999-0001": {"releases": {"trixie": {"status": "resolved", "fixed_version": "0"}}}}}"#;

struct Builder {
    artefacts: Artefacts,
}

impl Builder {
    fn image(&self, words: &[&str]) -> anyhow::Result<Output> {
        let mut command = Command::new(&self.artefacts.scalerforge);
        command.arg("image").args(words).output().context("running scalerforge image")
    }

    fn build(&self, out: &Path, key: &Path, more: &[&str]) -> anyhow::Result<Output> {
        let text = |path: &Path| path.display().to_string();
        let agent = text(&self.artefacts.programs.join("agent"));
        let (cache, lock) = (text(&self.artefacts.cache), text(&self.artefacts.lock));
        let (out, key) = (text(out), text(key));
        let from = ["--agent", &agent, "--cache", &cache, "--lock", &lock];
        self.image(&[&["build", "--out", &out, "--sign-key", &key, "--json"], &from[..], more].concat())
    }
}

fn good(output: &Output) -> anyhow::Result<&[u8]> {
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(&output.stdout)
}

#[expect(clippy::disallowed_methods, reason = "it says how long a build took")]
#[test]
fn an_image_is_built_twice_compared_inspected_and_measured() -> anyhow::Result<()> {
    let builder = Builder { artefacts: Artefacts::find()? };
    let dir = builder.artefacts.scratch.join("image-commands");
    if dir.exists() {
        std::fs::remove_dir_all(&dir)?;
    }
    let (one, two) = (dir.join("one"), dir.join("somewhere/else"));
    std::fs::create_dir_all(&one)?;
    std::fs::create_dir_all(&two)?;
    let key = dir.join("builder.key");
    std::fs::write(&key, "not a key\n")?;
    let refused = builder.build(&one, &key, &[])?;
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(!refused.status.success() && why.contains("openssl rand -hex 32"), "{why}");
    std::fs::write(&key, KEY)?;

    let built: ReferenceValues = serde_json::from_slice(good(&builder.build(&one, &key, &[])?)?)?;
    let begun = Instant::now();
    let tracker = dir.join("tracker.json");
    std::fs::write(&tracker, TRACKER)?;
    good(&builder.build(&two, &key, &["--cve-data", &tracker.display().to_string()])?)?;
    println!("rebuilt from a warm cache in {:.1} s", begun.elapsed().as_secs_f64());
    let [first, second] = [&one, &two].map(|path| path.display().to_string());
    let same = builder.image(&["diff", &first, &second])?;
    ensure!(good(&same)? == b"no difference\n", "{}", String::from_utf8_lossy(&same.stdout));

    // What is known of vulnerabilities lies beside what was built, and is no part of it.
    let lock = image_build::Lock::parse(&std::fs::read_to_string(&builder.artefacts.lock)?)?;
    let known: Value = serde_json::from_slice(&std::fs::read(two.join("cve.json"))?)?;
    ensure!(known["lock"] == lock.digest() && known["tracker"]["known"] == 1, "{known}");
    ensure!(known["critical"] == 0 && !one.join("cve.json").exists(), "{known}");

    // A verifier who was told this key, and one who was told another.
    let signed = std::fs::read(one.join("reference.corim"))?;
    let mut secret = [0; 32];
    hex::decode_to_slice(KEY.trim(), &mut secret)?;
    let builder_public = binding::challenger_public(&secret)?;
    let read = reference_file::read(&signed, &[builder_public])?;
    ensure!(read.values == built && read.signer == Some(builder_public), "{read:?}");
    let stranger = reference_file::read(&signed, &[[7; 64]]);
    ensure!(
        matches!(stranger, Err(ReferenceFileError::Stranger(key)) if key == builder_public),
        "{stranger:?}"
    );

    let measured: ReferenceValues =
        serde_json::from_slice(good(&builder.image(&["measure", &first, "--json"])?)?)?;
    ensure!(measured.pcrs == built.pcrs && measured.uki_sha256 == built.uki_sha256, "{measured:?}");
    let pcrs: Vec<u32> = built.pcrs.iter().map(|pcr| u32::from(pcr.pcr)).collect();
    ensure!([4, 9, 11, 12, 13].iter().all(|pcr| pcrs.contains(pcr)), "{pcrs:?}");
    let inspected: Value = serde_json::from_slice(good(&builder.image(&["inspect", &first, "--json"])?)?)?;
    ensure!(inspected["signed"] == false, "a base image is nobody's: {inspected}");
    let bill: Value = serde_json::from_slice(&std::fs::read(one.join("sbom.cdx.json"))?)?;
    ensure!(bill["bomFormat"] == "CycloneDX", "{}", bill["bomFormat"]);

    // One byte of the command line.
    let uki = two.join("discovery.efi");
    let mut bytes = std::fs::read(&uki)?;
    let word = b"quiet loglevel";
    let at = bytes.windows(word.len()).rposition(|window| window == word).context("no command line")?;
    *bytes.get_mut(at).context("no command line")? ^= 1;
    std::fs::write(&uki, &bytes)?;
    let differs = builder.image(&["diff", &first, &second])?;
    let said = String::from_utf8_lossy(&differs.stdout).into_owned();
    ensure!(!differs.status.success() && said.contains(".cmdline"), "{said}");
    let other: ReferenceValues =
        serde_json::from_slice(good(&builder.image(&["measure", &second, "--json"])?)?)?;
    ensure!(other.pcrs != built.pcrs, "what differs is measured");
    let odd = builder.image(&["inspect", &key.display().to_string()])?;
    ensure!(String::from_utf8_lossy(&odd.stderr).contains("is no UKI of ours"));
    Ok(())
}
