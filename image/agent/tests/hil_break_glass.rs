//! Break-glass on an installed host under Secure Boot, with the real agent and OpenSSH's client: closed without an addon,
//! open for one key with it, measured as computed, closed again by its appliance, by its time, and before it was ever open.
//!
//! It needs what `image/build/tests/hil_host.rs` needs, the agent built as README says, and OpenSSH's client.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

#[path = "../../build/tests/hil_machine/mod.rs"]
mod hil_machine;
#[path = "hil_wire/server.rs"]
#[expect(dead_code, reason = "faults are for the wire's own tests")]
mod server;

use std::{
    fs,
    io::Read as _,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use appliance_api::agent::{
    Outcome, QuoteOrder, Work,
    glass::{PlantOrder, UnlockOrder, Words},
    host::Release as ReleaseName,
};
use appliance_model::{Digest, HostId, NodeId, Serial, SshKey};
use attest_evidence::{Nonce, ReferenceValues};
use hil_machine::lab::{Lab, Release, build, enforced, key};
use hil_machine::{Machine, Restart, Trust, cache, fetch, start};
use image_build::release::{self, Edition, Role};
use image_seal::{
    Site,
    addon::{Ingredients, addon},
    uki,
};
use server::Server;

const SERIAL: &str = "GLASS1";
const VERSION: &str = "1.9";
/// 2055: behind every clock.
const FAR: u64 = 2_700_000_000;
/// 2026-01-02: before every clock.
const PAST: u64 = 1_767_312_000;
/// Nine boots at half a minute each, and as much again.
const SECONDS_MAX: u32 = 900;

fn id(serial: &str) -> HostId {
    HostId::of_serial(&Serial::parse(serial).unwrap())
}

/// A key pair of OpenSSH's; where the private half is, and the public one.
fn pair(dir: &Path, name: &str) -> (PathBuf, SshKey) {
    let path = dir.join(name);
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&path).status();
    assert!(made.unwrap().success());
    (path, SshKey::parse(&fs::read_to_string(dir.join(format!("{name}.pub"))).unwrap()).unwrap())
}

/// The host's SSH port, seen from outside.
struct Outside {
    port: u16,
    known_hosts: PathBuf,
}

impl Outside {
    fn new(dir: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { port, known_hosts: dir.join("known_hosts") }
    }

    /// Whether an SSH server answers there.
    fn answers(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
        stream.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
        let mut banner = [0; 4];
        stream.read_exact(&mut banner).is_ok() && &banner == b"SSH-"
    }

    fn ssh(&self, key: &Path, more: &[&str]) -> Command {
        let mut command = Command::new("ssh");
        command.args(["-F", "none", "-p", &self.port.to_string(), "-i"]).arg(key);
        command.arg("-o").arg(format!("UserKnownHostsFile={}", self.known_hosts.display()));
        for option in ["BatchMode=yes", "IdentitiesOnly=yes", "StrictHostKeyChecking=no", "ConnectTimeout=40"]
        {
            command.args(["-o", option]);
        }
        command.args(more).stdin(Stdio::null());
        command
    }

    fn run(&self, key: &Path, words: &str) -> (bool, String) {
        let done = self.ssh(key, &["root@127.0.0.1", words]).output().unwrap();
        let said = [done.stdout, done.stderr].concat();
        (done.status.success(), String::from_utf8_lossy(&said).into_owned())
    }
}

/// What the machine said so far.
fn listen(mut output: impl std::io::Read + Send + 'static) -> Arc<Mutex<String>> {
    let said: Arc<Mutex<String>> = Arc::default();
    let heard = Arc::clone(&said);
    thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(count @ 1..) = output.read(&mut piece) {
            let text = String::from_utf8_lossy(&piece[..count]).into_owned();
            print!("{text}");
            heard.lock().unwrap().push_str(&text);
        }
    });
    said
}

struct Host {
    server: Server,
    trust: Trust,
}

impl Host {
    /// Plants an addon with these words, and restarts into it.
    fn plant(&mut self, words: &Words) {
        let addon = hex::encode(self.trust.signed(&addon(&words.to_string()).unwrap()));
        let planted = self.server.order(Work::Plant(PlantOrder { addon }));
        assert!(matches!(planted, Outcome::Planted), "{planted:?}");
        self.restart();
    }

    fn restart(&mut self) {
        let left = self.server.order(Work::Reboot);
        assert!(matches!(left, Outcome::Leaving), "{left:?}");
    }

    /// The host's key, or why nothing was opened.
    fn unlock(&mut self, key: &SshKey, seconds: u64) -> Result<String, String> {
        let outcome = self.server.order(Work::Unlock(UnlockOrder { key: key.clone(), seconds }));
        if let Outcome::Failed { why } = outcome {
            return Err(why);
        }
        let Outcome::Unlocked { host_key } = outcome else { panic!("{outcome:?}") };
        Ok(host_key)
    }

    fn quoted(&mut self, pcr: u8) -> Digest {
        let outcome = self.server.order(Work::Quote(QuoteOrder {
            purpose: "admission".into(),
            nonce: hex::encode(Nonce::Verifier([7; 32]).encode()),
            node: NodeId([1; 32]),
            target: None,
            manifest: None,
            previous: None,
            sequence: 0,
        }));
        let Outcome::Quoted { pcrs, .. } = outcome else { panic!("{outcome:?}") };
        pcrs.into_iter().find(|(index, _)| *index == pcr).unwrap().1
    }
}

/// A host that runs, what is outside of it, and what was computed of it.
struct Bed {
    host: Host,
    outside: Outside,
    said: Arc<Mutex<String>>,
    right: PathBuf,
    wrong: PathBuf,
    public: SshKey,
    other: SshKey,
    root_hash: Digest,
    kept: Ingredients,
    plain: ReferenceValues,
    _machine: Machine,
}

/// Builds, seals, writes and starts it.
fn bed(dir: &Path) -> Bed {
    let server = Server::listen("0.0.0.0:0", "10.0.2.2");
    let port = server.url.rsplit(':').next().unwrap().to_owned();
    let packages = fetch(&cache());
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| here.join("target"), PathBuf::from);
    let agent = target.join("x86_64-unknown-linux-gnu/agent/agent");
    let (one, edition) = (dir.join("one"), Edition { version: VERSION, epoch: 1 });
    let made = build(&one, &agent, edition);
    let appliance = format!("https://10.0.2.2:{port}");
    let site = Site { ca_pem: server.ca.as_bytes(), appliance: Some(&appliance) };
    let trust = Trust::new(dir);
    let keys = (&key(dir, "site.key"), &trust);
    let release = Release::sealed_for(&site, &one, &made, 'a', edition, keys);
    let loader = trust.signed(&fs::read(one.join(release::file(Role::Loader))).unwrap());
    let lab = Lab { dir: dir.join("lab"), packages: &packages, trust: Some(&trust) };
    fs::create_dir(&lab.dir).unwrap();
    lab.install(&loader, [Some(release.filled()), None]);

    let outside = Outside::new(dir);
    let net = format!("user,id=n0,hostfwd=tcp:127.0.0.1:{}-:22", outside.port);
    let smbios = format!("type=1,serial={SERIAL}");
    let more = ["-smbios", &smbios, "-netdev", &net, "-device", "virtio-net-pci,netdev=n0,romfile="];
    let mut machine = start(lab.board(), &lab.disk(), Restart::Starts, SECONDS_MAX, &more);
    let ((right, public), (wrong, other)) = (pair(dir, "right"), pair(dir, "wrong"));
    Bed {
        host: Host { server, trust },
        outside,
        said: listen(machine.output()),
        right,
        wrong,
        public,
        other,
        root_hash: made.root_hash.parse().unwrap(),
        kept: Ingredients::of(Some(&loader), &release.uki).unwrap(),
        plain: uki::measure(Some(&loader), &release.uki).unwrap(),
        _machine: machine,
    }
}

#[test]
#[ignore = "many minutes of emulation; `cargo xtask soak --break-glass` runs it"]
fn a_host_opens_for_one_key_and_its_time_and_shows_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut bed = bed(dir.path());
    let version = VERSION.to_owned();
    let name = ReleaseName { name: "scalerforge-host".into(), version, epoch: 1, root_hash: bed.root_hash };
    let promoted = bed.host.server.order(Work::Promote { release: name });
    assert!(matches!(promoted, Outcome::Promoted { .. }), "{promoted:?}");
    bed.is_closed();
    let words = Words::new(id(SERIAL), FAR, &bed.public);
    bed.opens_for_the_key_that_the_addon_binds(&words);
    bed.its_appliance_ends_it();
    bed.its_time_ends_it(&words);
    // What is over, or for another server, opens nothing and goes by itself.
    for (words, why) in [
        (Words::new(id(SERIAL), PAST, &bed.public), "the addon's time is up; nothing is opened"),
        (Words::new(id("GLASS2"), FAR, &bed.public), "; nothing is opened, and the addon is taken away"),
    ] {
        bed.host.plant(&words);
        bed.is_closed();
        until(&bed.said, why, 1);
        assert_eq!(bed.host.quoted(12), Digest([0; 32]));
    }
}

impl Bed {
    /// Closed, and not to be opened without an addon.
    fn is_closed(&mut self) {
        let why = self.host.unlock(&self.public, 600).unwrap_err();
        assert!(why.contains("not started to be opened"), "{why}");
        assert!(!self.outside.answers());
    }

    fn opens_for_the_key_that_the_addon_binds(&mut self, words: &Words) {
        self.host.plant(words);
        assert!(self.host.unlock(&self.other, 600).unwrap_err().contains("another key"));
        assert!(!self.outside.answers(), "an addon alone opens nothing");
        let host_key = self.host.unlock(&self.public, 600).unwrap();
        seen_from_outside(&self.outside, &self.right, &self.wrong, &host_key);
        for entry in &self.kept.with("glass", &words.to_string()).unwrap().pcrs {
            let path = format!("cat /sys/class/tpm/tpm0/pcr-sha256/{}", entry.pcr);
            let (_, value) = self.outside.run(&self.right, &path);
            assert_eq!(value.trim().to_lowercase(), enforced(entry), "PCR {}", entry.pcr);
        }
        heard(&self.host, "Pubkey auth succeeded for 'root'");
        heard(&self.host, self.public.fingerprint());
    }

    /// Sessions too.
    fn its_appliance_ends_it(&mut self) {
        let mut session = self.outside.ssh(&self.right, &["root@127.0.0.1", "sleep 1000"]).spawn().unwrap();
        thread::sleep(Duration::from_secs(5));
        assert!(session.try_wait().unwrap().is_none());
        let locked = self.host.server.order(Work::Lock);
        assert!(matches!(locked, Outcome::Locked { restart: true }), "{locked:?}");
        assert!(!session.wait().unwrap().success());
        assert!(!self.outside.answers());
        self.host.restart();
        self.is_closed();
        for entry in &self.plain.pcrs {
            assert_eq!(self.host.quoted(entry.pcr).to_string(), enforced(entry));
        }
    }

    /// Without a word from anybody.
    fn its_time_ends_it(&mut self, words: &Words) {
        self.host.plant(words);
        self.host.unlock(&self.public, 20).unwrap();
        assert!(self.outside.answers());
        until(&self.said, "SSH is closed, its sessions have ended", 2);
        assert!(!self.outside.answers());
        // Until it has restarted, its agent answers that it was started for it.
        while !self.host.unlock(&self.other, 600).unwrap_err().contains("not started to be opened") {
            thread::sleep(Duration::from_secs(1));
        }
        self.is_closed();
    }
}

/// One key gets in, and nothing else does.
fn seen_from_outside(outside: &Outside, right: &Path, wrong: &Path, host_key: &str) {
    let waits =
        "until [ -f /run/scalerforge/state ]; do sleep 1; done; cat /run/scalerforge/state; id -un; ls /";
    let (entered, words) = outside.run(right, waits);
    assert!(entered && words.contains("STATE=sealed") && words.contains("root\n"), "{words}");
    let (entered, words) = outside.run(wrong, "id");
    assert!(!entered && words.contains("Permission denied (publickey)"), "{words}");
    let forward = outside.ssh(right, &["-W", "127.0.0.1:22", "root@127.0.0.1"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&forward.stdout).contains("SSH-"), "forwarding is off");
    let shown = Command::new("ssh-keygen").arg("-lf").arg(&outside.known_hosts).output().unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains(host_key), "{host_key}: {shown}");
}

fn heard(host: &Host, words: &str) {
    for _ in 0..60 {
        if host.server.seen(|seen| seen.heard.iter().any(|line| line.contains(words))) {
            return;
        }
        thread::sleep(Duration::from_millis(500));
    }
    panic!("nobody told `{words}`: {:?}", host.server.seen(|seen| seen.heard.clone()));
}

/// Waits until the machine has said that so often.
fn until(said: &Mutex<String>, words: &str, times: usize) {
    for _ in 0..240 {
        if said.lock().unwrap().matches(words).count() >= times {
            return;
        }
        thread::sleep(Duration::from_millis(500));
    }
    panic!("never said: {words}");
}
