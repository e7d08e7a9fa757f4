//! The boot service alone: DHCP, TFTP and HTTP for machines that boot over the network, and the routes of
//! [`crate::boot_api`] on loopback.  No TPM, no chain, no store but the journal of leases and tickets.
//!
//! [`BootService::start`] opens everything and answers nobody yet; [`BootService::run`] answers until it is stopped.
//! Everything that was promised to a machine is on disk before the machine hears it, so killing this at any moment
//! loses nothing.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

pub use pxe_server::{BootEvent, Handle};
use pxe_server::{Clock, PxeServer};
use serde::Deserialize;
use tokio::net::TcpListener;

use crate::{app, boot_api};

/// The file that `boot serve --config` reads.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    /// Directory of leases and tickets.
    state_dir: PathBuf,
    /// Where `scalerforge boot list` and its like ask.
    #[serde(default = "operator")]
    operator: String,
    /// The provisioning LAN.
    pxe: pxe_server::wire::Config,
}

fn operator() -> String {
    "127.0.0.1:8090".into()
}

/// What the boot service does.
#[derive(Debug)]
pub struct BootConfig {
    state_dir: PathBuf,
    operator: SocketAddr,
    pxe: pxe_server::Config,
}

/// Why the boot service did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// No file.
    #[error("{path} cannot be read; `scalerforge boot init {path}` writes an example", path = file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What came back.
        #[source]
        source: io::Error,
    },
    /// Not TOML, or a key we do not know.
    #[error("{name} line {line}: {why}; correct that line, nothing was started")]
    Toml {
        /// The file, or that it was made from flags.
        name: String,
        /// Line, from 1.
        line: usize,
        /// The parser's reason.
        why: String,
    },
    /// The operator's address.
    #[error(
        "{name}: operator: `{value}` is not an address with a port on loopback, such as 127.0.0.1:8090: whoever asks there \
         needs no password; nothing was started"
    )]
    Operator {
        /// The file.
        name: String,
        /// What was written.
        value: String,
    },
    /// The provisioning LAN.
    #[error("{name}: the provisioning LAN cannot be served as written; nothing was started")]
    Pxe {
        /// The file.
        name: String,
        /// Which key, and why.
        #[source]
        source: pxe_server::ConfigError,
    },
    /// The operators' listener.
    #[error(
        "cannot listen on {at} for `scalerforge boot list` and its like; is another one running? choose another `operator`"
    )]
    Listen {
        /// Where.
        at: SocketAddr,
        /// What came back.
        #[source]
        source: io::Error,
    },
    /// A socket, an image, the journal.
    #[error("machines cannot be booted")]
    Start(#[source] pxe_server::StartError),
    /// A socket failed later.
    #[error("the boot service stopped")]
    Stopped(#[source] pxe_server::RunError),
}

impl BootConfig {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read or makes no sense.
    pub fn read(file: &Path) -> Result<Self, BootError> {
        let text = std::fs::read_to_string(file)
            .map_err(|source| BootError::Read { file: file.to_owned(), source })?;
        let dir = file.parent().unwrap_or(Path::new("."));
        Self::parse(&text, &file.display().to_string(), dir)
    }

    /// Makes sense of `text`, called `name` in what is said about it; relative paths are relative to `dir`.
    ///
    /// # Errors
    /// If it makes no sense.
    pub fn parse(text: &str, name: &str, dir: &Path) -> Result<Self, BootError> {
        let wire: Wire = toml::from_str(text).map_err(|error| BootError::Toml {
            name: name.to_owned(),
            line: error.span().map_or(1, |span| line_of(text, span.start)),
            why: error.message().trim().replace('\n', ", "),
        })?;
        let at = wire.operator.parse().ok().filter(|at: &SocketAddr| at.ip().is_loopback());
        let operator =
            at.ok_or_else(|| BootError::Operator { name: name.to_owned(), value: wire.operator.clone() })?;
        let pxe = pxe_server::Config::try_from(wire.pxe)
            .map_err(|source| BootError::Pxe { name: name.to_owned(), source })?
            .in_folder(dir);
        Ok(Self { state_dir: dir.join(wire.state_dir), operator, pxe })
    }

    /// Directory of leases and tickets.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }
}

/// The line, from 1, that holds the byte at `offset`.
fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count().saturating_add(1)
}

/// A boot service that listens; [`BootService::run`] makes it answer.
#[derive(Debug)]
pub struct BootService {
    pxe: Handle,
    server: PxeServer,
    operators: TcpListener,
    operator: SocketAddr,
}

impl BootService {
    /// Opens every socket and replays the journal.
    ///
    /// # Errors
    /// If something cannot be opened.
    pub async fn start(config: BootConfig) -> Result<Self, BootError> {
        let at = config.operator;
        let failed = |source| BootError::Listen { at, source };
        let operators = TcpListener::bind(at).await.map_err(failed)?;
        let operator = operators.local_addr().map_err(failed)?;
        let clock = Clock::new(app::now);
        let (pxe, server) =
            PxeServer::start(config.pxe, &config.state_dir, clock).await.map_err(BootError::Start)?;
        Ok(Self { pxe, server, operators, operator })
    }

    /// What the service can be asked.
    #[must_use]
    pub fn pxe(&self) -> &Handle {
        &self.pxe
    }

    /// Where operators ask.
    #[must_use]
    pub fn operator(&self) -> SocketAddr {
        self.operator
    }

    /// Answers until `stop` resolves.
    ///
    /// # Errors
    /// When a socket fails.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), BootError> {
        let Self { pxe, server, operators, operator } = self;
        tokio::select! {
            () = stop => Ok(()),
            ended = server.run() => ended.map_err(BootError::Stopped),
            ended = async { axum::serve(operators, boot_api::router(pxe)).await } =>
                ended.map_err(|source| BootError::Listen { at: operator, source }),
        }
    }
}
