//! What is opened: dropbear in a control group of its own, one key, one port in the packet filter, and a shell for root
//! that the system's own list of users has not.
//!
//! Everything is below `/run/scalerforge/glass`, in memory.  [`shut`] undoes it whoever made it, and is safe at any time.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Stdio},
};

use appliance_model::SshKey;
use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
};

use crate::say;

/// Root's home while it is open.
const HOME: &str = "run/scalerforge/glass";
/// The system's users, none of whom has a shell.
const USERS: &str = "etc/passwd";
/// The host's shell.
const SHELL: &str = "/usr/lib/scalerforge/glass/sh";
const PORT: &str = "22";
/// What a key may not do besides logging in.
const OPTIONS: &str = "no-port-forwarding,no-agent-forwarding,no-X11-forwarding";
/// A session that says nothing for so long is gone, seconds.
const IDLE_SECONDS: &str = "1800";
/// Tries of one connection.
const TRIES: &str = "3";
/// How much later systemd restarts the machine, should nobody else have: what an orderly end needs, twice.
const AFTER_SECONDS: u64 = 60;
/// systemd's timer for that.
const TIMER: &str = "scalerforge-glass-end";
/// More lists over each other than any crash leaves.
const MOUNTS_MAX: usize = 64;
/// The last words of a program that failed.
const WORDS_MAX: usize = 300;

/// An open door.
#[derive(Debug)]
pub(super) struct Door {
    server: Child,
    root: PathBuf,
    /// Fingerprint of the key that was made for it.
    pub(super) host_key: String,
}

impl Door {
    /// Opens for this key; gives what the server says as well.
    pub(super) fn open(root: &Path, key: &SshKey, seconds: u64) -> Result<(Self, ChildStderr), String> {
        shut(root);
        open(root, key, seconds).map_err(|why| {
            shut(root);
            format!("{why}; nothing is opened")
        })
    }

    /// Kills server and sessions, and undoes the rest.
    pub(super) fn close(&mut self) {
        shut(&self.root);
        let _ = self.server.kill();
        let _ = self.server.wait();
    }

    /// Whether the server has ended by itself.
    pub(super) fn is_dead(&mut self) -> bool {
        !matches!(self.server.try_wait(), Ok(None))
    }
}

fn open(root: &Path, key: &SshKey, seconds: u64) -> Result<(Door, ChildStderr), String> {
    let home = root.join(HOME);
    let failed = |what: &'static str| move |error: std::io::Error| format!("{what}: {error}");
    let put = |path: &Path, text: &str, mode| {
        fs::write(path, text)?;
        fs::set_permissions(path, Permissions::from_mode(mode))
    };
    for folder in [home.clone(), home.join(".ssh")] {
        fs::create_dir_all(&folder).map_err(failed("root's home"))?;
        fs::set_permissions(&folder, Permissions::from_mode(0o700)).map_err(failed("root's home"))?;
    }
    let line = format!("{OPTIONS} {}\n", key.as_str());
    put(&home.join(".ssh/authorized_keys"), &line, 0o600).map_err(failed("the key"))?;
    let users = fs::read_to_string(root.join(USERS)).map_err(failed("the list of users"))?;
    put(&home.join("passwd"), &with_shell(&users), 0o644).map_err(failed("the list of users"))?;
    let (from, to) = (home.join("passwd"), root.join(USERS));
    mount(Some(&from), &to, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .map_err(|error| failed("the list of users")(error.into()))?;
    let made = run("/usr/bin/dropbearkey", &["-t", "ed25519", "-f", &text(&home.join("host_key"))])?;
    let host_key = fingerprint(&made).ok_or("dropbearkey told no fingerprint")?;
    let cell = cell(root).ok_or("this service has no control group")?;
    fs::create_dir_all(&cell).map_err(failed("a control group"))?;
    // Before anything is reachable: should this program hang, systemd ends it.
    let after = format!("--on-active={}", seconds.saturating_add(AFTER_SECONDS));
    let unit = format!("--unit={TIMER}");
    let end = ["--quiet", "--collect", &unit, &after, "/usr/bin/systemctl", "reboot", "--force"];
    run("/usr/bin/systemd-run", &end)?;
    let mut server = Command::new("/usr/sbin/dropbear")
        .args(["-F", "-E", "-s", "-j", "-k", "-m", "-p", PORT, "-T", TRIES, "-I", IDLE_SECONDS, "-r"])
        .arg(home.join("host_key"))
        .arg("-P")
        .arg(home.join("pid"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed("dropbear"))?;
    // It has no children before somebody can come, and nobody can before the last step.
    let joined = fs::write(cell.join("cgroup.procs"), server.id().to_string());
    let said = server.stderr.take();
    let element = format!("{{ {PORT} timeout {seconds}s }}");
    let opened = joined
        .map_err(failed("a control group"))
        .and_then(|()| run("/usr/sbin/nft", &["add", "element", "inet", "host", "glass", &element]));
    match (opened, said) {
        (Ok(_), Some(said)) => Ok((Door { server, root: root.to_owned(), host_key }, said)),
        (opened, _) => {
            let _ = server.kill();
            let _ = server.wait();
            Err(opened.err().unwrap_or_else(|| "dropbear cannot be heard".into()))
        }
    }
}

/// Undoes all that [`Door::open`] does, as far as it was done.
pub(super) fn shut(root: &Path) {
    let home = root.join(HOME);
    let cell = cell(root).filter(|cell| cell.exists());
    if !home.exists() && cell.is_none() {
        return;
    }
    if let Err(why) = run("/usr/sbin/nft", &["flush", "set", "inet", "host", "glass"]) {
        say!("break-glass: the packet filter: {why}");
    }
    if let Some(cell) = cell {
        let _ = fs::write(cell.join("cgroup.kill"), "1");
        // A group that still buries its dead cannot be removed, and need not be.
        let _ = fs::remove_dir(cell);
    }
    match detached(|| umount2(&root.join(USERS), MntFlags::MNT_DETACH)) {
        Ok(()) => drop(fs::remove_dir_all(home)),
        // What is left has whoever comes next try again.
        Err(error) => say!("break-glass: the list of users: {error}"),
    }
    let _ = Command::new("/usr/bin/systemctl").args(["--quiet", "stop", &format!("{TIMER}.timer")]).status();
}

/// Takes the list of users with a shell out of the tree, as often as it was mounted.  Whoever has it open at this moment,
/// as any program that looks up a name, keeps what it has open and holds nothing up: from here on the system's own list is
/// what everybody opens.
fn detached(mut once: impl FnMut() -> nix::Result<()>) -> nix::Result<()> {
    for _ in 0..MOUNTS_MAX {
        match once() {
            Ok(()) => {}
            // It is no mount any more, or never was one.
            Err(Errno::EINVAL | Errno::ENOENT) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Err(Errno::ELOOP)
}

/// The control group of server and sessions, below this service's own.
fn cell(root: &Path) -> Option<PathBuf> {
    let own = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    (!own.is_empty() && !own.contains("..")).then(|| root.join("sys/fs/cgroup").join(own).join("glass"))
}

/// The list of users in which root has a home and a shell.
fn with_shell(users: &str) -> String {
    let others = users.lines().filter(|line| !line.starts_with("root:"));
    let all = std::iter::once(format!("root:x:0:0::/{HOME}:{SHELL}")).chain(others.map(str::to_owned));
    all.map(|line| line + "\n").collect()
}

/// What `dropbearkey` says of the key that it made.
fn fingerprint(said: &str) -> Option<String> {
    let word = said.lines().find_map(|line| line.strip_prefix("Fingerprint: "))?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+/:=".contains(&byte);
    let word = word.split_ascii_whitespace().next()?;
    (word.starts_with("SHA256:") && word.len() <= 64 && word.bytes().all(plain)).then(|| word.to_owned())
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Runs a program to its end; gives what it said.
fn run(program: &'static str, arguments: &[&str]) -> Result<String, String> {
    let done = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let done = done.map_err(|error| format!("{program}: {error}"))?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&done.stderr);
    let words: String = words.chars().map(|c| if c.is_control() { ' ' } else { c }).take(WORDS_MAX).collect();
    Err(format!("{program}: {}", words.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_alone_gets_a_shell() {
        let users =
            "root:x:0:0::/root:/usr/sbin/nologin\nnobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n";
        let made = with_shell(users);
        assert_eq!(
            made,
            "root:x:0:0::/run/scalerforge/glass:/usr/lib/scalerforge/glass/sh\n\
             nobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n"
        );
        assert_eq!(with_shell(&made), made);
    }

    #[test]
    fn every_list_is_taken_away_and_what_fails_is_told() {
        let after = |answers: &[nix::Result<()>]| {
            let mut left = answers.iter();
            detached(|| *left.next().unwrap_or(&Err(Errno::EINVAL)))
        };
        assert_eq!(after(&[]), Ok(()));
        assert_eq!(after(&[Ok(()), Ok(()), Err(Errno::EINVAL), Err(Errno::EPERM)]), Ok(()));
        assert_eq!(after(&[Err(Errno::ENOENT)]), Ok(()));
        assert_eq!(after(&[Ok(()), Err(Errno::EPERM)]), Err(Errno::EPERM));
        assert_eq!(detached(|| Ok(())), Err(Errno::ELOOP), "it ends");
    }

    /// The kernel's own answer: a list that somebody reads cannot be unmounted, and is gone even so.
    #[test]
    fn a_list_that_somebody_reads_is_gone_for_everybody_else() {
        use nix::sched::{CloneFlags, unshare};
        // Namespaces are a thread's own, and end with it.
        let thread = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)
                .or_else(|_| unshare(CloneFlags::CLONE_NEWNS))
                .unwrap();
            let all = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, all, None::<&str>).unwrap();
            let dir = tempfile::tempdir().unwrap();
            let (root, home) = (dir.path(), dir.path().join(HOME));
            let users = root.join(USERS);
            fs::create_dir_all(&home).unwrap();
            fs::create_dir_all(root.join("etc")).unwrap();
            fs::write(home.join("passwd"), "with a shell").unwrap();
            fs::write(&users, "without").unwrap();
            for _ in 0..2 {
                mount(Some(&home.join("passwd")), &users, None::<&str>, MsFlags::MS_BIND, None::<&str>)
                    .unwrap();
            }
            let mut reader = fs::File::open(&users).unwrap();
            assert_eq!(nix::mount::umount(&users), Err(Errno::EBUSY));
            shut(root);
            assert_eq!(fs::read_to_string(&users).unwrap(), "without");
            assert!(!home.exists());
            let mut said = String::new();
            std::io::Read::read_to_string(&mut reader, &mut said).unwrap();
            assert_eq!(said, "with a shell", "whoever had it open is not disturbed");
            // Again, with nothing to do.
            shut(root);
        });
        thread.join().unwrap();
    }

    #[test]
    fn a_fingerprint_is_one_or_none() {
        let said = "Generating 256 bit ed25519 key, this may take a while...\nPublic key portion is:\nssh-ed25519 AAAA\n\
                    Fingerprint: SHA256:qPKfx+rPGSntJoaLVTjuK3FPfiRUIG4NSl32H25Lt9I\n";
        assert_eq!(fingerprint(said).as_deref(), Some("SHA256:qPKfx+rPGSntJoaLVTjuK3FPfiRUIG4NSl32H25Lt9I"));
        for odd in ["", "Fingerprint: md5 00", "Fingerprint: SHA256:a\u{1b}[2J"] {
            assert_eq!(fingerprint(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn the_cell_is_below_this_services_group() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("proc/self")).unwrap();
        for (said, expected) in [
            ("0::/system.slice/a.service\n", Some("sys/fs/cgroup/system.slice/a.service/glass")),
            ("0::/\n", None),
            ("0::/../x\n", None),
            ("1:cpu:/x\n", None),
        ] {
            fs::write(dir.path().join("proc/self/cgroup"), said).unwrap();
            assert_eq!(cell(dir.path()), expected.map(|path| dir.path().join(path)), "{said}");
        }
    }
}
