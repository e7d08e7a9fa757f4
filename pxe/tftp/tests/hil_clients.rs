//! Clients that other people wrote fetch files from this server: curl (Debian `curl`), tftp (`tftp-hpa`).
//!
//! A missing one fails.  Everything is on the loopback, at a port of the kernel's choice.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    net::SocketAddr,
    path::Path,
    process::{Command, Output},
    sync::{Arc, Condvar, Mutex},
};

use bytes::Bytes;
use pxe_tftp::{Broken, Code, Event, Files, Limits, Opened, Refusal, Server, What};

/// Over 65,535 blocks of 512 bytes, so that numbers wrap, and no multiple of any block size.
const BYTES: usize = 34_000_001;

struct One {
    bytes: Bytes,
    told: Mutex<Vec<Event>>,
    news: Condvar,
}

impl Files for One {
    fn open(&self, name: &str, _from: SocketAddr) -> Result<Opened, Refusal> {
        match name {
            "boot/x.efi" => Ok(Opened { bytes: self.bytes.clone(), tag: 1 }),
            "empty" => Ok(Opened { bytes: Bytes::new(), tag: 2 }),
            _ => Err(Refusal { code: Code::NotFound, text: "no such boot file".into() }),
        }
    }

    fn tell(&self, event: Event) {
        self.told.lock().unwrap().push(event);
        self.news.notify_all();
    }
}

/// Runs `work` beside a server at this address; returns what the server told.
fn beside(address: &str, work: impl FnOnce(SocketAddr, &Path, &One) + Send + 'static) -> Vec<Event> {
    let bytes: Bytes = (0..BYTES).map(|at| u8::try_from(at % 253).unwrap()).collect::<Vec<_>>().into();
    let files = Arc::new(One { bytes, told: Mutex::default(), news: Condvar::new() });
    let server = Server::bind(address.parse().unwrap(), Limits::default()).unwrap();
    let mut at = server.local_addr();
    if at.ip().is_unspecified() {
        // Any address of ours but the first: answers have to come from the one that was asked.
        at.set_ip("127.0.0.9".parse().unwrap());
    }
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let path = folder.path().to_owned();
        let told = files.clone();
        let client = tokio::task::spawn_blocking(move || work(at, &path, &told));
        tokio::select! {
            ended = server.run(files.clone()) => panic!("the server ended: {ended:?}"),
            done = client => done.unwrap(),
        }
    });
    // Dropped by now: its port is free.
    drop(Server::bind(at, Limits::default()).unwrap());
    std::mem::take(&mut files.told.lock().unwrap())
}

impl One {
    /// Waits until it was told of this.
    fn wait_for(&self, what: impl Fn(&What) -> bool) {
        let mut told = self.told.lock().unwrap();
        while !told.iter().any(|event| what(&event.what)) {
            let (again, waited) = self.news.wait_timeout(told, std::time::Duration::from_secs(60)).unwrap();
            assert!(!waited.timed_out(), "{again:?}");
            told = again;
        }
    }
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; install its Debian package"))
}

fn done(events: &[Event]) -> usize {
    events.iter().filter(|event| matches!(event.what, What::Done { .. })).count()
}

#[test]
fn curl_with_and_without_options() {
    let events = beside("127.0.0.1:0", |at, folder, one| {
        for options in [&["--tftp-no-options"][..], &["--tftp-blksize", "1468"], &["--tftp-blksize", "65464"]]
        {
            let file = folder.join("out");
            let url = format!("tftp://{at}/boot/x.efi");
            let output = run(Command::new("curl").args(["-sS", "-o"]).arg(&file).args(options).arg(&url));
            assert!(output.status.success(), "{options:?}: {output:?}");
            assert!(std::fs::read(&file).unwrap() == one.bytes, "{options:?}: other bytes");
        }
        let output = run(Command::new("curl").args(["-sS", &format!("tftp://{at}/etc/passwd")]));
        assert_eq!(output.status.code(), Some(68), "curl's word for no such file: {output:?}");
        let upload =
            run(Command::new("curl").args(["-sS", "-T", "/etc/hostname", &format!("tftp://{at}/x")]));
        assert_eq!(upload.status.code(), Some(69), "curl's word for a refused permission: {upload:?}");
    });
    assert_eq!(done(&events), 3, "{events:?}");
    assert!(events.iter().any(|event| event.what == What::Refused(Code::NotFound)));
    assert!(events.iter().any(|event| matches!(&event.what, What::WriteAttempt { name } if name == "x")));
}

#[test]
fn tftp_hpa_in_both_modes() {
    let events = beside("127.0.0.1:0", |at, folder, one| {
        let file = folder.join("out");
        let ask = |mode: &str, name: &str| {
            let (ip, port) = (at.ip().to_string(), at.port().to_string());
            run(Command::new("tftp").args(["-m", mode, &ip, &port, "-c", "get", name]).arg(&file))
        };
        ask("binary", "boot/x.efi");
        assert!(std::fs::read(&file).unwrap() == one.bytes);
        ask("binary", "empty");
        assert_eq!(std::fs::read(&file).unwrap(), b"");
        let said = ask("netascii", "boot/x.efi");
        let said = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
        assert!(said.contains("octet"), "{said}");
    });
    assert_eq!(done(&events), 2);
    assert!(events.iter().any(|event| event.what == What::WrongMode));
}

#[test]
fn answers_come_from_the_address_that_was_asked() {
    let events = beside("0.0.0.0:0", |at, folder, one| {
        let file = folder.join("out");
        let (ip, port) = (at.ip().to_string(), at.port().to_string());
        run(Command::new("tftp").args(["-m", "binary", &ip, &port, "-c", "get", "boot/x.efi"]).arg(&file));
        assert!(std::fs::read(&file).unwrap() == one.bytes);
    });
    assert_eq!(done(&events), 1);
}

#[test]
fn a_client_that_is_gone_is_noticed() {
    let events = beside("[::1]:0", |at, _, told| {
        let client = std::net::UdpSocket::bind("[::1]:0").unwrap();
        client.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        client.send_to(b"\0\x01boot/x.efi\0octet\0blksize\x001400\0windowsize\x008\0", at).unwrap();
        let mut packet = [0; 600];
        let (_, from) = client.recv_from(&mut packet).unwrap();
        client.send_to(b"\0\x04\0\0", from).unwrap();
        client.recv_from(&mut packet).unwrap();
        drop(client);
        // The first sending may have met the open socket; the next one, 200 ms later, meets nobody.
        told.wait_for(|what| matches!(what, What::Broken { why: Broken::Unreachable, acked: 0, .. }));
    });
    assert_eq!(done(&events), 0, "{events:?}");
}
