//! A site's authority for HTTPS boot, and keys for Secure Boot, made by `openssl` as an administrator would.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};
use hil_tests_rack::bench::x509_signature_list;

/// Makes an authority and, under it, the certificate `boot.pem` with `boot.key` in `folder`, for the service's address;
/// answers the authority as firmware keeps it.
///
/// # Errors
/// If `openssl` is missing or fails.
pub fn authority(folder: &Path) -> anyhow::Result<Vec<u8>> {
    let openssl = |words: &str| tool(Command::new("openssl").current_dir(folder).args(words.split(' ')));
    openssl("req -x509 -newkey rsa:2048 -nodes -subj /CN=authority -days 30 -keyout ca.key -out ca.pem")?;
    openssl(
        "req -x509 -newkey rsa:2048 -nodes -subj /CN=boot -days 30 -CA ca.pem -CAkey ca.key -keyout boot.key -out \
         boot.pem -addext subjectAltName=IP:10.77.0.1 -addext basicConstraints=critical,CA:FALSE",
    )?;
    openssl("x509 -in ca.pem -outform DER -out ca.der")?;
    x509_signature_list(&std::fs::read(folder.join("ca.der"))?).context("the certificate is too large")
}

/// Makes a key that signs images, and its certificate: `NAME.key` and `NAME.pem` in `folder`.
///
/// # Errors
/// If `openssl` is missing or fails.
pub fn signing_files(folder: &Path, name: &str) -> anyhow::Result<(PathBuf, PathBuf)> {
    let [key, pem] = ["key", "pem"].map(|kind| folder.join(format!("{name}.{kind}")));
    tool(
        Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes"])
            .args(["-subj", "/CN=Secure Boot test key", "-days", "30", "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&pem),
    )?;
    Ok((key, pem))
}

/// Runs a program to its end.
///
/// # Errors
/// If it is missing or fails; the message has what it said.
pub fn tool(command: &mut Command) -> anyhow::Result<()> {
    let done = command.output().with_context(|| format!("{command:?}: is it installed?"))?;
    ensure!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}
