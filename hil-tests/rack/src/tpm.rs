//! TPMs as a factory would ship them: swtpm state with an endorsement key, its certificate in NV, and a CA behind it.
//!
//! The CA is made by `swtpm_localca` inside the rack's folder on first use, never the machine-wide one.  Two CAs can
//! exist: the trusted one, whose root the tests give to the verifier, and another that nobody trusts.

use std::path::{Path, PathBuf};
use std::process::Command;

use tokio::process::Child;

use crate::children::Nursery;
use crate::error::RackError;
use crate::spec::EkKind;

/// Makes TPMs below one rack folder.
#[derive(Debug)]
pub(crate) struct Factory {
    folder: PathBuf,
}

/// Name of swtpm's control socket inside a host's folder; relative, since socket addresses hold 107 bytes only.
pub(crate) const CONTROL_SOCKET: &str = "tpm.sock";

/// Name of the folder with a TPM's state inside a host's folder.
const STATE: &str = "tpm";

impl Factory {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Makes the TPM of the host whose folder is `host`; a TPM that is there already is kept.
    ///
    /// `copied` is the folder of the host that [`EkKind::CopyOf`] names; it must have its TPM.
    pub(crate) fn manufacture(
        &self,
        host: &Path,
        ek: EkKind,
        copied: Option<&Path>,
    ) -> Result<(), RackError> {
        let state = host.join(STATE);
        if state.join("tpm2-00.permall").exists() {
            return Ok(());
        }
        std::fs::create_dir_all(&state).map_err(RackError::io("create", &state))?;
        match (ek, copied) {
            (EkKind::Genuine, _) => self.set_up(&state, "trusted"),
            (EkKind::UntrustedCa, _) => self.set_up(&state, "untrusted"),
            (EkKind::CopyOf(_), Some(original)) => copy_state(&original.join(STATE), &state),
            (EkKind::CopyOf(index), None) => {
                Err(RackError::Description(format!("no host {index} whose TPM could be copied")))
            }
        }
    }

    fn set_up(&self, state: &Path, ca: &str) -> Result<(), RackError> {
        let ca = self.certificate_authority(ca)?;
        let arguments = [
            "--tpm2",
            "--create-ek-cert",
            "--create-platform-cert",
            "--pcr-banks",
            "sha256,sha384",
            "--tpmstate",
            &state.display().to_string(),
            "--config",
            &ca.join("setup.conf").display().to_string(),
        ]
        .map(ToOwned::to_owned);
        let output = Command::new("swtpm_setup")
            .args(&arguments)
            .output()
            .map_err(|source| RackError::Spawn { program: "swtpm_setup".to_owned(), source })?;
        if output.status.success() {
            return Ok(());
        }
        // swtpm_setup reports on stdout unless told otherwise.
        let said = [output.stdout, output.stderr].concat();
        Err(RackError::Command {
            command: format!("swtpm_setup {}", arguments.join(" ")),
            status: output.status.to_string(),
            stderr: String::from_utf8_lossy(&said).trim().to_owned(),
        })
    }

    /// Writes the configuration of one CA; its keys appear when it first signs.
    fn certificate_authority(&self, name: &str) -> Result<PathBuf, RackError> {
        let folder = self.folder.join("tpm-ca").join(name);
        std::fs::create_dir_all(&folder).map_err(RackError::io("create", &folder))?;
        let at = folder.display();
        let files = [
            (
                "localca.conf",
                format!(
                    "statedir = {at}\nsigningkey = {at}/signkey.pem\nissuercert = {at}/issuercert.pem\n\
                     certserial = {at}/certserial\n"
                ),
            ),
            (
                "localca.options",
                "--platform-manufacturer Scalerforge\n--platform-version 1.0\n--platform-model Rack\n"
                    .to_owned(),
            ),
            (
                "setup.conf",
                format!(
                    "create_certs_tool = /usr/bin/swtpm_localca\ncreate_certs_tool_config = {at}/localca.conf\n\
                     create_certs_tool_options = {at}/localca.options\nactive_pcr_banks = sha256,sha384\n"
                ),
            ),
        ];
        for (file, text) in files {
            let path = folder.join(file);
            std::fs::write(&path, text).map_err(RackError::io("write", &path))?;
        }
        Ok(folder)
    }

    /// PEM of the trusted CA's root certificate.
    pub(crate) fn root_pem(&self) -> Result<String, RackError> {
        self.certificate("swtpm-localca-rootca-cert.pem")
    }

    /// PEM of the intermediate that signed the endorsement certificates.
    pub(crate) fn intermediate_pem(&self) -> Result<String, RackError> {
        self.certificate("issuercert.pem")
    }

    fn certificate(&self, file: &str) -> Result<String, RackError> {
        let path = self.folder.join("tpm-ca/trusted").join(file);
        std::fs::read_to_string(&path).map_err(RackError::io("read the TPM maker's certificate", &path))
    }
}

/// Starts the TPM of one host: it loses its volatile state with each power-on, as a real one does.
pub(crate) async fn power_on(nursery: &Nursery, host: &Path) -> Result<Child, RackError> {
    let socket = host.join(CONTROL_SOCKET);
    match std::fs::remove_file(&socket) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(RackError::io("remove", &socket)(error)),
    }
    let arguments = [
        "socket",
        "--tpm2",
        "--tpmstate",
        &format!("dir={STATE}"),
        "--ctrl",
        &format!("type=unixio,path={CONTROL_SOCKET}"),
        "--flags",
        "startup-clear",
        "--terminate",
    ]
    .map(ToOwned::to_owned);
    let mut child = nursery.spawn("swtpm", &arguments, host, "swtpm.log").await?;
    // swtpm has no way to say "ready" but its socket; it appears within milliseconds.
    loop {
        if socket.exists() {
            return Ok(child);
        }
        if let Some(status) = child.try_wait().map_err(RackError::io("watch swtpm in", host))? {
            return Err(RackError::Command {
                command: format!("swtpm {}", arguments.join(" ")),
                status: status.to_string(),
                stderr: std::fs::read_to_string(host.join("swtpm.log")).unwrap_or_default().trim().to_owned(),
            });
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

fn copy_state(from: &Path, to: &Path) -> Result<(), RackError> {
    let entries = std::fs::read_dir(from).map_err(RackError::io("list", from))?;
    for entry in entries {
        let entry = entry.map_err(RackError::io("list", from))?;
        if entry.file_name() != ".lock" {
            let target = to.join(entry.file_name());
            std::fs::copy(entry.path(), &target).map_err(RackError::io("copy TPM state to", &target))?;
        }
    }
    Ok(())
}
