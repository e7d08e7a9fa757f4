//! Other people's programs on what is made here: sbverify reads the signature, systemd-measure computes and signs the
//! same policy, and a TPM takes it.
//!
//! Needs sbsigntool, systemd, swtpm, tpm2-tools and openssl.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command},
};

use anyhow::{Context as _, ensure};
use image_seal::{Key, Policy, Site, authenticode, pcr, pe::Image, policy, seal, uki};

const CA: &[u8] = b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n";

#[path = "../src/tiny.rs"]
mod tiny;

fn run(command: &mut Command) -> anyhow::Result<String> {
    let shown = format!("{command:?}");
    let done = command.output().with_context(|| format!("{shown}: install it"))?;
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    ensure!(done.status.success(), "{shown}: {said}{}", String::from_utf8_lossy(&done.stderr));
    Ok(said)
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> anyhow::Result<Place> {
        Ok(Place(tempfile::tempdir()?))
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, content: impl AsRef<[u8]>) -> anyhow::Result<PathBuf> {
        fs::write(self.at(name), content)?;
        Ok(self.at(name))
    }

    /// A key and its certificate (DER), as a site makes them.
    fn key(&self, name: &str) -> anyhow::Result<(Key, Vec<u8>)> {
        let (key, pem, der) = (
            self.at(&format!("{name}.key")),
            self.at(&format!("{name}.pem")),
            self.at(&format!("{name}.der")),
        );
        run(Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj"])
            .arg(format!("/CN={name}"))
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&pem))?;
        run(Command::new("openssl")
            .arg("x509")
            .arg("-in")
            .arg(&pem)
            .args(["-outform", "DER", "-out"])
            .arg(&der))?;
        Ok((Key::from_pem(&fs::read_to_string(key)?)?, fs::read(der)?))
    }
}

/// A UKI of what systemd-measure 252 knows: it measures neither `.uname` nor `.sbat`.
fn base() -> anyhow::Result<Vec<u8>> {
    let mut stub = tiny::tiny_with_room();
    let name = stub.windows(5).position(|name| name == b".sbat").context("the test's stub has a section")?;
    stub[name..name + 5].copy_from_slice(b".text");
    let kernel = tiny::tiny(16);
    Ok(Image::parse(&stub)?.with_sections(&[
        (".osrel", b"NAME=x\nVERSION_ID=1\n"),
        (".cmdline", b"quiet"),
        (".initrd", b"initrd"),
        (".linux", &kernel),
    ])?)
}

#[test]
fn sbverify_accepts_the_signature_by_its_certificate_and_by_no_other() -> anyhow::Result<()> {
    let place = Place::new()?;
    let ((key, certificate), _) = (place.key("ours")?, place.key("theirs")?);
    let sealed = seal(&base()?, &Site { ca_pem: CA, appliance: None }, None)?;
    let signed = place.put("signed.efi", &sealed.signed(&key, &certificate)?.uki)?;
    let verify =
        |file: &Path, by: &str| run(Command::new("sbverify").arg("--cert").arg(place.at(by)).arg(file));
    verify(&signed, "ours.pem")?;
    ensure!(verify(&signed, "theirs.pem").is_err(), "another's certificate");
    // Signed anew, the first signature is gone.
    let other = place.key("third")?;
    let again = place.put("again.efi", authenticode::sign(&fs::read(&signed)?, &other.0, &other.1)?)?;
    verify(&again, "third.pem")?;
    ensure!(verify(&again, "ours.pem").is_err(), "the first signature is still there");
    let mut broken = fs::read(&signed)?;
    let at = broken.windows(6).position(|bytes| bytes == b"initrd").context("the initramfs")?;
    broken[at] ^= 1;
    let broken = place.put("broken.efi", broken)?;
    ensure!(verify(&broken, "ours.pem").is_err(), "one bit was altered");
    // What sbsign has signed is replaced, too.
    let foreign = place.at("foreign.efi");
    run(Command::new("sbsign")
        .arg("--key")
        .arg(place.at("theirs.key"))
        .arg("--cert")
        .arg(place.at("theirs.pem"))
        .arg("--output")
        .arg(&foreign)
        .arg(place.put("unsigned.efi", base()?)?))?;
    let ours = place.put("ours.efi", authenticode::sign(&fs::read(&foreign)?, &key, &certificate)?)?;
    verify(&ours, "ours.pem").map(drop)
}

#[test]
fn systemd_measure_signs_the_same_policy() -> anyhow::Result<()> {
    let place = Place::new()?;
    let (key, _) = place.key("policy")?;
    let sealed = seal(
        &base()?,
        &Site { ca_pem: CA, appliance: Some("https://10.0.0.2") },
        Some(&Policy { key: &key }),
    )?;
    let image = Image::parse(&sealed.uki)?;
    let tpm = Tpm::start(&place)?;
    let mut measure = Command::new("/usr/lib/systemd/systemd-measure");
    measure.arg(format!("--tpm2-device={}", tpm.address()));
    measure
        .args(["sign", "--json=short", "--bank=sha256", "--phase=", "--private-key"])
        .arg(place.at("policy.key"));
    measure.arg("--public-key").arg(place.put("policy.pub", key.public_pem()?)?);
    for name in ["linux", "osrel", "cmdline", "initrd", "pcrpkey"] {
        let content = image.section(&format!(".{name}")).context(name)?;
        measure.arg(format!("--{name}={}", place.put(name, content)?.display()));
    }
    let theirs: serde_json::Value = serde_json::from_str(&run(&mut measure)?)?;
    let ours = image.section(".pcrsig").context("the policy's signature")?;
    let ours: serde_json::Value = serde_json::from_slice(ours)?;
    ensure!(ours == theirs, "ours {ours}\ntheirs {theirs}");
    Ok(())
}

/// A software TPM.
struct Tpm {
    child: Child,
    socket: PathBuf,
}

impl Tpm {
    #[expect(clippy::disallowed_methods, reason = "swtpm's start has a limit")]
    fn start(place: &Place) -> anyhow::Result<Tpm> {
        let (socket, control) = (place.at("tpm"), place.at("tpm.ctrl"));
        let child = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "startup-clear,not-need-init", "--tpmstate"])
            .arg(format!("dir={}", place.0.path().display()))
            .args(["--server", &format!("type=unixio,path={}", socket.display())])
            .args(["--ctrl", &format!("type=unixio,path={}", control.display())])
            .spawn()
            .context("swtpm: install it")?;
        let tpm = Tpm { child, socket };
        let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while !tpm.socket.exists() {
            ensure!(std::time::Instant::now() < until, "swtpm does not start");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        Ok(tpm)
    }

    /// As programs on tpm2-tss want it.
    fn address(&self) -> String {
        format!("swtpm:path={}", self.socket.display())
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        let _ = (self.child.kill(), self.child.wait());
    }
}

#[test]
fn a_tpm_takes_the_signature_for_the_images_pcr_11_and_for_no_other() -> anyhow::Result<()> {
    let place = Place::new()?;
    let (key, _) = place.key("policy")?;
    let sealed = seal(&base()?, &Site { ca_pem: CA, appliance: None }, Some(&Policy { key: &key }))?;
    let image = Image::parse(&sealed.uki)?;
    let signature: serde_json::Value = serde_json::from_slice(image.section(".pcrsig").context("pcrsig")?)?;
    let text = |name: &str| {
        signature.pointer(&format!("/sha256/0/{name}")).and_then(serde_json::Value::as_str).context("a field")
    };
    ensure!(text("pol")? == hex(&policy::policy_digest(&pcr::pcr11(&image))));
    place.put("pol", policy::policy_digest(&pcr::pcr11(&image)))?;
    run(Command::new("sh")
        .current_dir(place.0.path())
        .args(["-c", "printf %s \"$1\" | base64 -d >sig", "sh"])
        .arg(text("sig")?))?;
    place.put("key.pub", key.public_pem()?)?;
    let tpm = Tpm::start(&place)?;
    let tpm = |line: &str| {
        run(Command::new("sh")
            .current_dir(place.0.path())
            .env("TPM2TOOLS_TCTI", tpm.address())
            .args(["-ec", line]))
    };
    // What the boot stub measures, extended for real; the event's digests are ours.
    for digest in events(&image) {
        tpm(&format!("tpm2_pcrextend 11:sha256={}", hex(&digest)))?;
    }
    let read = tpm("tpm2_pcrread sha256:11")?;
    ensure!(read.to_lowercase().contains(&hex(&pcr::pcr11(&image))), "{read}");
    let open = "tpm2_loadexternal -Q -G rsa -C o -u key.pub -c key.ctx -n key.name; tpm2_flushcontext -t
        tpm2_verifysignature -Q -c key.ctx -g sha256 -m pol -s sig -f rsassa -t ticket; tpm2_flushcontext -t
        tpm2_startauthsession -Q --policy-session -S session
        tpm2_policypcr -Q -S session -l sha256:11
        tpm2_policyauthorize -Q -S session -i pol -n key.name -t ticket || { tpm2_flushcontext session; exit 9; }
        tpm2_flushcontext session";
    tpm(open).context("the TPM refuses the image's own policy")?;
    tpm(&format!("tpm2_pcrextend 11:sha256={}", hex(&[7; 32])))?;
    ensure!(tpm(open).is_err(), "another PCR 11 was accepted");
    Ok(())
}

/// The digests that make PCR 11 of an image without `.uname` and `.sbat`.
fn events(image: &Image<'_>) -> Vec<[u8; 32]> {
    let sections = [".linux", ".osrel", ".cmdline", ".initrd", ".pcrpkey"];
    let digest = |bytes: &[u8]| -> [u8; 32] {
        sha2::Digest::finalize(sha2::Digest::chain_update(sha2::Sha256::default(), bytes)).into()
    };
    let of = |name: &str| {
        [digest(format!("{name}\0").as_bytes()), digest(image.section(name).unwrap_or_default())]
    };
    sections.into_iter().flat_map(of).collect()
}

fn hex(bytes: &[u8]) -> String {
    hex::encode(bytes)
}

#[test]
fn the_name_is_the_images_own() -> anyhow::Result<()> {
    ensure!(uki::measure(None, &base()?)?.name == "x-1");
    Ok(())
}
