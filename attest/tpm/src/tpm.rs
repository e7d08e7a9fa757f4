//! A TPM that is open: one caller, one command at a time.

use std::path::Path;

use attest_wire::{Reader, WireError, Writer, templates::Template};

use crate::{
    ResponseCode, TpmError, Transport,
    command::{self, Auth, Code, Response},
    transport,
};

/// An open TPM.  Keys are loaded when they are first used and stay loaded until [`Tpm::release`] or drop: making an
/// RSA key takes a hardware TPM many seconds.
#[derive(Debug)]
pub struct Tpm {
    transport: Box<dyn Transport>,
    /// Set when an exchange broke off: the next answer might belong to the last command.
    broken: bool,
    /// Keys in the TPM's memory, with their handles.
    pub(crate) loaded: Vec<(Template, u32)>,
}

impl Tpm {
    /// Opens `/dev/tpmrm0`, `/dev/tpm0` or a socket of swtpm, by what is at `path`.
    ///
    /// # Errors
    /// When nothing is there or it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, TpmError> {
        transport::open(path).map(Self::over)
    }

    /// Uses a transport of one's own.
    #[must_use]
    pub fn over(transport: Box<dyn Transport>) -> Self {
        Self { transport, broken: false, loaded: Vec::new() }
    }

    /// TPM2_Startup(CLEAR).  Firmware does this on real machines; a TPM that is started already is left as it is.
    ///
    /// # Errors
    /// When the TPM refuses.
    pub fn startup(&mut self) -> Result<(), TpmError> {
        match self.send(command::STARTUP, &[], &[], Writer::new(2).u16("startupType", 0)) {
            Ok(_) => Ok(()),
            Err(TpmError::Refused { code: ResponseCode::INITIALIZE, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Unloads all keys; the next use loads them again.
    ///
    /// # Errors
    /// When the TPM refuses; the keys are forgotten even then.
    pub fn release(&mut self) -> Result<(), TpmError> {
        let mut result = Ok(());
        for (_, handle) in std::mem::take(&mut self.loaded) {
            let flushed = self.flush(handle);
            result = result.and(flushed);
        }
        result
    }

    pub(crate) fn send(
        &mut self,
        command: Code,
        handles: &[u32],
        auths: &[Auth],
        parameters: Writer,
    ) -> Result<Response, TpmError> {
        if self.broken {
            return Err(TpmError::Broken { command: command.name });
        }
        let result = command::send(self.transport.as_mut(), command, handles, auths, parameters);
        self.broken = matches!(result, Err(TpmError::Exchange { .. }));
        result
    }

    /// Sends a command and reads its parameters to the last byte.
    pub(crate) fn ask<T>(
        &mut self,
        command: Code,
        handles: &[u32],
        auths: &[Auth],
        parameters: Writer,
        read: impl FnOnce(&mut Reader<'_>) -> Result<T, WireError>,
    ) -> Result<T, TpmError> {
        let response = self.send(command, handles, auths, parameters)?;
        parameters_of(command, &response, read)
    }

    pub(crate) fn flush(&mut self, handle: u32) -> Result<(), TpmError> {
        self.send(command::FLUSH_CONTEXT, &[], &[], Writer::new(4).u32("flushHandle", handle)).map(|_| ())
    }
}

/// Reads a response's parameters to the last byte.
pub(crate) fn parameters_of<T>(
    command: Code,
    response: &Response,
    read: impl FnOnce(&mut Reader<'_>) -> Result<T, WireError>,
) -> Result<T, TpmError> {
    let mut reader = Reader::new(&response.parameters);
    read(&mut reader)
        .and_then(|value| reader.finish("parameters").map(|()| value))
        .map_err(|source| TpmError::Response { command: command.name, source })
}

impl Drop for Tpm {
    fn drop(&mut self) {
        // Nobody is left to tell; the kernel's resource manager flushes again when the device closes.
        let _ = self.release();
    }
}
