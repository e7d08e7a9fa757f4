//! The two ways to a TPM: a character device and a socket.  Both carry one command out and one response back.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::{fs::FileTypeExt, net::UnixStream},
    path::Path,
    thread,
    time::Duration,
};

use crate::TpmError;

/// Largest response: TPM2_MAX_RESPONSE_SIZE of every TPM we know is 4096.
pub(crate) const RESPONSE_BYTES_MAX: usize = 4096;

/// Length of a response header: tag, size, code.
const HEADER_BYTES: usize = 10;

/// How long a socket may be silent.  Making an RSA key takes a cold TPM tens of seconds; the kernel's own limit for
/// a device is five minutes.
const ANSWER_SECONDS_MAX: u64 = 300;

/// Carries a command to a TPM and the response back.
pub trait Transport: std::fmt::Debug + Send {
    /// Sends a whole command, waits, and returns the whole response.
    ///
    /// # Errors
    /// When either got lost.  The transport is not used again after that.
    fn exchange(&mut self, command: &[u8]) -> io::Result<Vec<u8>>;

    /// Gives a busy TPM time before it is asked again.
    fn pause(&mut self, time: Duration) {
        thread::sleep(time);
    }
}

/// Opens what is at `path`, by its kind.
pub(crate) fn open(path: &Path) -> Result<Box<dyn Transport>, TpmError> {
    let failed = |source| TpmError::Open { path: path.into(), source };
    let kind = std::fs::metadata(path).map_err(failed)?.file_type();
    if kind.is_char_device() {
        Ok(Box::new(CharDevice::open(path).map_err(failed)?))
    } else if kind.is_socket() {
        Ok(Box::new(Socket::connect(path).map_err(failed)?))
    } else {
        Err(TpmError::NotTpm { path: path.into() })
    }
}

/// `/dev/tpmrm0` or `/dev/tpm0`: the driver takes a command in one write and gives the response in one read.
#[derive(Debug)]
pub struct CharDevice(File);

impl CharDevice {
    /// Opens the device.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn open(path: &Path) -> io::Result<Self> {
        OpenOptions::new().read(true).write(true).open(path).map(Self)
    }
}

impl Transport for CharDevice {
    fn exchange(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
        // `write_all` would send the rest of a short write as a second command.
        let written = self.0.write(command)?;
        if written != command.len() {
            let text = format!("the driver took {written} of {} bytes", command.len());
            return Err(io::Error::new(io::ErrorKind::WriteZero, text));
        }
        let mut response = vec![0; RESPONSE_BYTES_MAX];
        let read = self.0.read(&mut response)?;
        response.truncate(read);
        Ok(response)
    }
}

/// The socket of `swtpm socket --tpm2 --server type=unixio,path=…`: commands and responses back to back.
#[derive(Debug)]
pub struct Socket(UnixStream);

impl Socket {
    /// Connects.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        let limit = Some(Duration::from_secs(ANSWER_SECONDS_MAX));
        stream.set_read_timeout(limit)?;
        stream.set_write_timeout(limit)?;
        Ok(Self(stream))
    }
}

impl Transport for Socket {
    fn exchange(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
        self.0.write_all(command)?;
        let mut header = [0; HEADER_BYTES];
        self.0.read_exact(&mut header)?;
        let [_, _, a, b, c, d, ..] = header;
        let size = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        if !(HEADER_BYTES..=RESPONSE_BYTES_MAX).contains(&size) {
            let text = format!(
                "a response says it has {size} bytes, {HEADER_BYTES} to {RESPONSE_BYTES_MAX} are possible"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let mut response = Vec::from(header);
        response.resize(size, 0);
        if let Some(rest) = response.get_mut(HEADER_BYTES..) {
            self.0.read_exact(rest)?;
        }
        Ok(response)
    }
}
