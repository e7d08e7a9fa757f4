//! A side network namespace with a life of its own: the rival's machine, or the router with its relay.
//!
//! It has no name and no file: a thread lives in it, and all its programs are that thread's children.  When the room is
//! dropped they die and the namespace is gone.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use tokio::process::Child;

use crate::children::Nursery;
use crate::error::RackError;
use crate::netns::ip;

/// How long a small server may take until it says that it is ready; it takes milliseconds when the machine is quiet.
const READY_SECONDS_MAX: u64 = 60;

/// One namespace and the programs in it.
#[derive(Debug)]
pub(crate) struct Room {
    name: String,
    folder: PathBuf,
    namespace: PathBuf,
    pub(crate) nursery: Nursery,
    servers: Vec<Child>,
}

impl Room {
    /// An empty room whose programs write into `folder`.
    pub(crate) async fn open(name: &str, folder: &Path) -> Result<Self, RackError> {
        // Logs of an earlier run would say "ready" at once.
        if folder.exists() {
            std::fs::remove_dir_all(folder).map_err(RackError::io("clear", folder))?;
        }
        std::fs::create_dir_all(folder).map_err(RackError::io("create", folder))?;
        let (nursery, namespace) = Nursery::start_apart()?;
        let (name, folder) = (name.to_owned(), folder.to_owned());
        let room = Self { name, folder, namespace, nursery, servers: Vec::new() };
        room.ip("link set lo up").await?;
        Ok(room)
    }

    /// Lays a cable from `bridge` in the caller's namespace to a port called `port` in this room.
    pub(crate) async fn cable(&self, bridge: &str, port: &str) -> Result<(), RackError> {
        let plug = format!("{}-{port}", self.name);
        ip(&format!("link add {plug} type veth peer name {port} netns {}", self.namespace.display()))?;
        ip(&format!("link set {plug} master {bridge}"))?;
        ip(&format!("link set {plug} up"))?;
        self.ip(&format!("link set {port} up")).await
    }

    /// Runs one `ip` command inside; the words are split at spaces.
    pub(crate) async fn ip(&self, arguments: &str) -> Result<(), RackError> {
        let words: Vec<String> = arguments.split(' ').map(ToOwned::to_owned).collect();
        self.run("ip", &words).await
    }

    /// Runs a program inside to its end.
    pub(crate) async fn run(&self, program: &str, arguments: &[String]) -> Result<(), RackError> {
        let log = format!("{program}.log");
        let mut child = self.nursery.spawn(program, arguments, &self.folder, &log).await?;
        let status = child.wait().await.map_err(RackError::io("wait for a program in", &self.folder))?;
        if status.success() {
            return Ok(());
        }
        Err(RackError::Command {
            command: format!("{program} {}", arguments.join(" ")),
            status: status.to_string(),
            stderr: std::fs::read_to_string(self.folder.join(log)).unwrap_or_default().trim().to_owned(),
        })
    }

    /// Does `work` on a thread inside: a socket stays in the namespace that it was made in.
    pub(crate) fn inside<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, RackError> {
        let room = File::open(&self.namespace).map_err(RackError::io("open", &self.namespace))?;
        let enter = move || {
            setns(room, CloneFlags::CLONE_NEWNET)?;
            work()
        };
        let done = std::thread::spawn(enter).join().unwrap_or_else(|_| Err(io::Error::other("it panicked")));
        done.map_err(RackError::io(doing, &self.folder))
    }

    /// Starts a server inside and waits until its log says `ready`.
    pub(crate) async fn serve(
        &mut self,
        program: &str,
        arguments: &[String],
        ready: &str,
    ) -> Result<(), RackError> {
        let child = started(&self.nursery, &self.folder, program, arguments, ready).await?;
        self.servers.push(child);
        Ok(())
    }
}

/// Starts a server in `folder` and waits until its log there says `ready`.
pub(crate) async fn started(
    nursery: &Nursery,
    folder: &Path,
    program: &str,
    arguments: &[String],
    ready: &str,
) -> Result<Child, RackError> {
    let log = format!("{program}.log");
    let mut child = nursery.spawn(program, arguments, folder, &log).await?;
    let said = || std::fs::read_to_string(folder.join(&log)).unwrap_or_default();
    let wait = async {
        // A log can only be looked at; the pause is short beside the start of a firmware.
        loop {
            if said().contains(ready) {
                return Ok(());
            }
            if let Some(status) = child.try_wait().map_err(RackError::io("watch a server in", folder))? {
                return Err(RackError::Command {
                    command: format!("{program} {}", arguments.join(" ")),
                    status: status.to_string(),
                    stderr: said().trim().to_owned(),
                });
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let limit = Duration::from_secs(READY_SECONDS_MAX);
    tokio::time::timeout(limit, wait).await.map_err(|_| RackError::Timeout {
        host: program.to_owned(),
        what: format!("`{ready}` in its log"),
        waited: limit,
        tail: said(),
    })??;
    Ok(child)
}
