//! Child processes that cannot outlive the rack.
//!
//! Every QEMU and swtpm is started by one thread that lives as long as its [`Nursery`], with "kill me when my parent
//! dies" set.  The kernel ties that signal to the parent *thread*, which is why runtime workers must not start them:
//! a worker may end early.  So when the rack is dropped, or the test is killed with SIGKILL, all children die.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc;

use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::gettid;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

use crate::error::RackError;

struct Order {
    command: Command,
    answer: oneshot::Sender<std::io::Result<Child>>,
}

/// The thread that is parent to all children of one rack.
#[derive(Clone, Debug)]
pub(crate) struct Nursery {
    orders: mpsc::Sender<Order>,
}

impl Nursery {
    /// Starts the thread; it inherits the caller's network namespace.  Needs a tokio runtime around it.
    pub(crate) fn start() -> Result<Self, RackError> {
        Self::start_after(|| Ok(())).map(|(nursery, ())| nursery)
    }

    /// Starts the thread in an empty network namespace of its own, in which all its children live; says by which path
    /// others reach that namespace while the nursery lives.
    pub(crate) fn start_apart() -> Result<(Self, PathBuf), RackError> {
        Self::start_after(|| {
            unshare(CloneFlags::CLONE_NEWNET)
                .map_err(|source| RackError::Namespace { doing: "make a network namespace", source })?;
            Ok(format!("/proc/{}/task/{}/ns/net", std::process::id(), gettid()).into())
        })
    }

    /// Starts the thread, which first does `prepare`.
    fn start_after<T: Send + 'static>(
        prepare: impl FnOnce() -> Result<T, RackError> + Send + 'static,
    ) -> Result<(Self, T), RackError> {
        let (orders, inbox) = mpsc::channel::<Order>();
        let (ready, prepared) = mpsc::channel();
        let runtime = tokio::runtime::Handle::current();
        let work = move || {
            let _inside = runtime.enter();
            let outcome = prepare();
            let failed = outcome.is_err();
            if ready.send(outcome).is_err() || failed {
                return;
            }
            while let Ok(mut order) = inbox.recv() {
                // A caller that went away drops the child, and `kill_on_drop` ends it.
                drop(order.answer.send(order.command.spawn()));
            }
        };
        std::thread::Builder::new()
            .name("rack-nursery".to_owned())
            .spawn(work)
            .map_err(RackError::io("start a thread for", "the rack's children"))?;
        let gone = |_| RackError::Description("the thread of the rack's children ended at once".to_owned());
        let outcome = prepared.recv().map_err(gone)??;
        Ok((Self { orders }, outcome))
    }

    /// Starts `program` in `folder`; its stdout and stderr are appended to `log` there.
    pub(crate) async fn spawn(
        &self,
        program: &str,
        arguments: &[String],
        folder: &Path,
        log: &str,
    ) -> Result<Child, RackError> {
        let path = folder.join(log);
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(RackError::io("open", &path))?;
        let second = log.try_clone().map_err(RackError::io("open", &path))?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(second)
            .process_group(0)
            .kill_on_drop(true);
        die_with_parent(&mut command);
        let (answer, reply) = oneshot::channel();
        let gone = || RackError::Spawn {
            program: program.to_owned(),
            source: std::io::ErrorKind::BrokenPipe.into(),
        };
        self.orders.send(Order { command, answer }).map_err(|_| gone())?;
        reply
            .await
            .map_err(|_| gone())?
            .map_err(|source| RackError::Spawn { program: program.to_owned(), source })
    }
}

#[expect(
    unsafe_code,
    reason = "pre_exec is the only way to set the parent-death signal between fork and exec"
)]
fn die_with_parent(command: &mut Command) {
    // SAFETY: the closure runs in the forked child before exec and makes one async-signal-safe system call; it
    // allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(|| prctl::set_pdeathsig(Signal::SIGKILL).map_err(std::io::Error::from));
    }
}
