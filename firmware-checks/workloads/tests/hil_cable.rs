//! Two ports, each in a network namespace of its own, and a cable between them that loses frames when told to: what the
//! machines' tasks find, and what the judge makes of it.  Needs root and `ip`.
//!
//! The cable is a program that carries frames between two TAP devices, so that no kernel module is needed for the loss.

#![expect(clippy::unwrap_used, reason = "functions of a test: a panic is the failure message")]

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use appliance_model::{
    Mac, Serial,
    burn_in::{
        Verdict,
        aid::{BoardQuestion, BoardWord, Match, Pairing, Role, Seek, Token},
        staged::{Course, Done, Outcome, Task},
    },
    inventory::{Inventory, Nic, Thread},
};
use firmware_checks_burn_in::staged::{Given, Profile, judge, plan};
use firmware_checks_workloads::{
    Watch,
    aid::Aid,
    task::{self, Machine},
};

const PROFILE: &str = r#"
version = 2
name = "cable"
about = "One port."
seconds_max = 60

[[stage]]
name = "network"
seconds_max = 60

[[stage.job]]
work = "network"
seconds = 3

[[rule]]
figure = "frames-lost"
at_most = 1
unit = "permille"
origin = "this test: a cable without a fault loses none"

[[rule]]
figure = "frame-bytes"
at_least = 1500
unit = "bytes"
origin = "this test: what the ports are set to"
"#;

/// Namespaces `PREFIX-0` and `PREFIX-1` with a port each, and the cable.
struct Cable {
    prefix: String,
    over: Arc<AtomicBool>,
    wires: Vec<thread::JoinHandle<()>>,
}

impl Cable {
    /// Of so many frames from port 0 to port 1, one is lost; 0: none.
    fn new(name: &str, loses_one_of: u64) -> Self {
        let prefix = format!("sf{name}{}", std::process::id());
        let over = Arc::new(AtomicBool::new(false));
        let ends: Vec<File> = (0..2)
            .map(|end| {
                let space = format!("{prefix}-{end}");
                ip(&format!("netns add {space}"));
                let tap = in_space(&space, tap);
                ip(&format!("-n {space} link set lo up"));
                ip(&format!("-n {space} link set port address {} up", mac(end)));
                ip(&format!("-n {space} addr add 10.99.0.{}/24 dev port", end + 1));
                tap
            })
            .collect();
        let [one, other] = [&ends[0], &ends[1]];
        let pairs = [(one, other, loses_one_of), (other, one, 0)];
        let wires = pairs.map(|(from, to, loses)| {
            let (from, to, over) = (from.try_clone().unwrap(), to.try_clone().unwrap(), Arc::clone(&over));
            thread::spawn(move || carry(from, to, loses, &over))
        });
        Self { prefix, over, wires: wires.into() }
    }

    fn space(&self, end: u8) -> String {
        format!("{}-{end}", self.prefix)
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for wire in self.wires.drain(..) {
            let _ = wire.join();
        }
        for end in 0..2 {
            let _ = Command::new("ip").args(["netns", "del", &self.space(end)]).status();
        }
    }
}

fn carry(mut from: File, mut to: File, loses_one_of: u64, over: &AtomicBool) {
    let (mut frame, carried) = (vec![0; 1 << 16], AtomicU64::new(1));
    while !over.load(Ordering::Relaxed) {
        match from.read(&mut frame) {
            Ok(bytes) => {
                let number = carried.fetch_add(1, Ordering::Relaxed);
                if loses_one_of == 0 || !number.is_multiple_of(loses_one_of) {
                    // A port whose queue is full loses it too; that would be ours to mend.
                    let _ = to.write(&frame[..bytes]);
                }
            }
            Err(_) => thread::sleep(Duration::from_micros(200)),
        }
    }
}

fn ip(arguments: &str) {
    let done = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(done.success(), "ip {arguments}");
}

fn mac(end: u8) -> Mac {
    Mac([0x02, 0x53, 0x46, 0, 0, end + 1])
}

/// Does something on a thread that is moved into a namespace.
fn in_space<T: Send>(space: &str, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let file = File::open(format!("/var/run/netns/{space}")).unwrap();
            #[expect(unsafe_code, reason = "setns has no safe form in the standard library")]
            // SAFETY: it takes a descriptor and a number, and changes this thread only.
            let done = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
            assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
            work()
        });
        thread.join().unwrap()
    })
}

/// A port whose frames come to us, by the name `port`.
fn tap() -> File {
    let tap = OpenOptions::new().read(true).write(true).open("/dev/net/tun").unwrap();
    // `struct ifreq` (netdevice(7)): a name of 16 bytes, then flags.
    let mut request = [0_u8; 40];
    request[..4].copy_from_slice(b"port");
    let flags = u16::try_from(libc::IFF_TAP | libc::IFF_NO_PI).unwrap();
    request[16..18].copy_from_slice(&flags.to_ne_bytes());
    #[expect(unsafe_code, reason = "ioctl and fcntl have no safe form in the standard library")]
    // SAFETY: the kernel reads and writes one `ifreq`, which is as long and lives until it returns.
    let done = unsafe {
        libc::ioctl(tap.as_raw_fd(), libc::TUNSETIFF, request.as_mut_ptr())
            | libc::fcntl(tap.as_raw_fd(), libc::F_SETFL, libc::O_RDWR | libc::O_NONBLOCK)
    };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    tap
}

/// The appliance: pairs the first two that come.
#[derive(Default)]
struct Desk(Mutex<(Vec<Seek>, HashMap<Mac, Match>)>);

impl Aid for Desk {
    fn order(&self) -> u64 {
        1
    }

    fn partner(&self, seek: &Seek) -> Result<Pairing, String> {
        thread::sleep(Duration::from_millis(20));
        let mut desk = self.0.lock().unwrap();
        let (waiting, ready) = &mut *desk;
        if let Some(game) = ready.remove(&seek.port) {
            return Ok(Pairing::Go(game));
        }
        waiting.retain(|other| other.port != seek.port);
        let Some(other) = waiting.pop() else {
            waiting.push(seek.clone());
            return Ok(Pairing::Wait);
        };
        let game = |role, partner: &Seek| Match {
            role,
            address: partner.at,
            token: Token([9; 32]),
            seconds: seek.seconds,
            partner: format!("port {}", partner.port),
            partner_mbps: partner.link_mbps,
        };
        ready.insert(other.port, game(Role::Listen, seek));
        Ok(Pairing::Go(game(Role::Dial, &other)))
    }

    fn board(&self, _: &BoardQuestion) -> Result<BoardWord, String> {
        Err("nobody asks for a board here".into())
    }
}

/// What the kernel shows of a port under `/sys`; a thread in a namespace still sees the first one's.
fn root(dir: &Path, end: u8) -> PathBuf {
    let root = dir.join(end.to_string());
    let port = root.join("sys/class/net/port");
    fs::create_dir_all(port.join("statistics")).unwrap();
    let mac = mac(end).to_string();
    for (file, text) in [
        ("address", mac.as_str()),
        ("mtu", "1500"),
        ("speed", "1000"),
        ("ifindex", "2"),
        ("statistics/rx_errors", "0"),
        ("statistics/tx_errors", "0"),
    ] {
        fs::write(port.join(file), text).unwrap();
    }
    root
}

fn course(end: u8, profile: &Profile) -> Course {
    let nic = Nic { mac: Some(mac(end)), link_up: Some(true), ..Nic::default() };
    let mut inventory = Inventory {
        threads: vec![Thread::default()],
        memory_bytes: Some(1 << 30),
        nics: vec![nic],
        ..Inventory::default()
    };
    inventory.system.serial = Serial::parse(&format!("S{end}"));
    plan(&inventory, profile, Given { partners: true, ..Given::default() }).unwrap()
}

/// Both machines' verdicts on a cable.
fn verdicts(name: &str, loses_one_of: u64) -> [Verdict; 2] {
    let (cable, desk, dir) = (Cable::new(name, loses_one_of), Desk::default(), tempfile::tempdir().unwrap());
    let profile = Profile::parse(PROFILE.as_bytes()).unwrap();
    let one = |end: u8| {
        let course = course(end, &profile);
        let task: &Task = &course.stages[0].waves[0][0];
        let root = root(dir.path(), end);
        let ran = in_space(&cable.space(end), || {
            let stop = AtomicBool::new(false);
            let machine = Machine {
                root: &root,
                cpus: &[0],
                drive: &|serial| Err(format!("no drive {serial}")),
                health: &|serial| Err(format!("no drive {serial}")),
                commands: &|serial| Err(format!("no drive {serial}")),
                consents: &[],
                settled: &|_| false,
                seed: 1,
                aid: Some(&desk),
            };
            let time = Duration::from_secs(task.seconds.into());
            task::run(&task.work, time, machine, Watch::new(&stop, &|_| {}))
        });
        if let Done::Measured { figures, coverage, .. } = &ran.done {
            assert!(coverage[0].contains(&format!("with port {}", mac(1 - end))), "{coverage:?}");
            assert!(figures.iter().any(|figure| figure.name == "network-rate" && figure.value > 0));
            assert!(!ran.series.is_empty());
        }
        let outcome = Outcome { task: task.id.clone(), boot: 1, seconds: 3, done: ran.done };
        judge(&course, &[outcome], &profile, &BTreeMap::new(), &[])
    };
    thread::scope(|scope| {
        let other = scope.spawn(|| one(1));
        [one(0), other.join().unwrap()]
    })
}

#[test]
fn a_cable_that_loses_two_of_a_hundred_is_caught_and_named() {
    for verdict in verdicts("good", 0) {
        assert!(matches!(verdict, Verdict::Pass { .. }), "{verdict:?}");
    }
    for (end, verdict) in (0..).zip(verdicts("bad", 50)) {
        let Verdict::Fail { reasons } = verdict else { panic!("{verdict:?}") };
        let reasons = reasons.join("; ");
        let named = format!("port {}: frames-lost", mac(end));
        assert!(reasons.contains(&named) && reasons.contains("the rule is at most 1"), "{reasons}");
    }
}
