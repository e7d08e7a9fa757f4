//! Two namespaces and a cable: `s0` with 10.77.0.1 on the service's side, `c0` without an address on the machines'.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::UdpSocket,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{Receiver, Sender, channel},
    time::Duration,
};

use nix::{
    sched::{CloneFlags, unshare},
    unistd::gettid,
};

use crate::client::{Client, Wire};

/// Far more than any answer takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often a question is asked until its answer is right; asking takes 20 ms at least.
const TRIES: usize = 2000;

/// The network of one test.  The calling thread is moved into the service's namespace for good.
pub(crate) struct Lan {
    dir: tempfile::TempDir,
    work: Sender<Job>,
}

type Job = Box<dyn FnOnce() + Send>;

pub(crate) fn mac(n: u8) -> [u8; 6] {
    [2, 0x77, 0, 0, 0, n]
}

fn private() {
    unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace of our own: run as root");
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("`ip` of iproute2");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Lan {
    pub(crate) fn new() -> Self {
        private();
        let (work, jobs): (_, Receiver<Job>) = channel();
        let (ready, tid) = channel();
        std::thread::spawn(move || {
            private();
            ready.send(gettid()).unwrap();
            jobs.into_iter().for_each(|job| job());
        });
        let machines = tid.recv().unwrap();
        ip("link set lo up");
        ip(&format!("link add s0 type veth peer name c0 netns {machines}"));
        ip("addr add 10.77.0.1/24 dev s0");
        ip("link set s0 up");
        let lan = Self { dir: tempfile::tempdir().unwrap(), work };
        lan.there(|| ip("link set c0 up"));
        std::fs::write(lan.image_file(), lan.image()).unwrap();
        lan
    }

    /// Runs `work` on the machines' side.
    fn there<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = channel();
        self.work.send(Box::new(move || done.send(work()).unwrap_or_default())).unwrap();
        result.recv_timeout(PATIENCE).unwrap()
    }

    pub(crate) fn client(&self) -> Wire<'_> {
        Wire { client: self.there(|| Client::open("c0")).into(), lan: self }
    }

    pub(crate) fn on<T: Send + 'static>(
        &self,
        client: &std::sync::Arc<Client>,
        work: impl FnOnce(&Client) -> T + Send + 'static,
    ) -> T {
        let client = client.clone();
        self.there(move || work(&client))
    }

    /// Gives the machines' side an address, so that it can speak HTTP.
    pub(crate) fn address_there(&self, address: String) {
        self.there(move || ip(&format!("addr add {address}/24 dev c0")));
    }

    fn image_file(&self) -> PathBuf {
        self.dir.path().join("image.efi")
    }

    /// What the service takes for a UEFI program.
    pub(crate) fn image(&self) -> Vec<u8> {
        (0..3_000_000u32).map(|n| if n < 2 { b"MZ"[n as usize] } else { n.to_le_bytes()[1] }).collect()
    }

    fn command(&self, mode: &str, flags: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_scalerforge"));
        let mut given = |flag: &str, value: &str| {
            if !flags.contains(&flag) {
                command.args([flag, value]);
            }
        };
        given("--interface", "s0");
        given("--address", "10.77.0.1/24");
        given("--image", self.image_file().to_str().unwrap());
        given("--pool", "10.77.0.100-10.77.0.250");
        given("--state", self.dir.path().join("state").to_str().unwrap());
        given("--mode", mode);
        let mut all = Command::new(env!("CARGO_BIN_EXE_scalerforge"));
        all.args(["boot", "serve"]).args(command.get_args()).args(flags).env("RUST_LOG", "warn");
        all
    }

    /// Starts the service and waits until it listens.
    pub(crate) fn serve(&self, mode: &str) -> Service {
        let mut child = self
            .command(mode, &["--json", "--operator", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let started: serde_json::Value = serde_json::from_str(&line).expect("it says that it started");
        let url = format!("http://{}", started["operator"].as_str().unwrap());
        // Somebody has to read what it tells, or the pipe fills up.
        std::thread::spawn(move || output.lines().for_each(drop));
        Service { child, url }
    }

    /// What it says when it does not start.
    pub(crate) fn refused(&self, flags: &[&str]) -> String {
        let output = self.command("full", flags).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        said
    }

    /// Somebody else on port 67, who does not share it.
    pub(crate) fn udp_67(&self) -> UdpSocket {
        UdpSocket::bind("0.0.0.0:67").unwrap()
    }

    /// What tcpdump reads in a capture.
    pub(crate) fn tcpdump(&self, capture: &[u8]) -> String {
        let mut child = Command::new("tcpdump")
            .args(["-n", "-vvv", "-r", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("`tcpdump`");
        child.stdin.take().unwrap().write_all(capture).unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
    }
}

/// A running `boot serve`.
pub(crate) struct Service {
    child: Child,
    url: String,
}

impl Service {
    /// SIGKILL: as close to a power cut as a process gets.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_scalerforge"));
        command.args(arguments).args(["--appliance", &self.url]).output().unwrap()
    }

    pub(crate) fn ask(&self, arguments: &[&str]) -> serde_json::Value {
        let output = self.run(arguments);
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr)))
    }

    /// Asks until the answer is `right`.
    pub(crate) fn until(
        &self,
        arguments: &[&str],
        right: impl Fn(&serde_json::Value) -> bool,
    ) -> serde_json::Value {
        let mut last = serde_json::Value::Null;
        for _ in 0..TRIES {
            last = self.ask(arguments);
            if right(&last) {
                return last;
            }
        }
        panic!("{last:#}")
    }

    pub(crate) fn metrics(&self) -> String {
        let agent: ureq::Agent = ureq::Agent::config_builder().proxy(None).build().into();
        agent.get(format!("{}/metrics", self.url)).call().unwrap().body_mut().read_to_string().unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
