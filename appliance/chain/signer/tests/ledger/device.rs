//! The device below its app: the listing that Linux makes of it, its node (a pseudo-terminal in raw mode), and reports.
//! Its framing is written from the description again, and shares nothing with ours.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::{fd::OwnedFd, unix::fs::symlink},
    path::Path,
    sync::{Arc, Mutex},
};

use appliance_model::Address;
use chain_signer::KeyPath;
use nix::{
    pty::openpty,
    sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr},
    unistd::ttyname,
};

use crate::ethereum::{App, Habits};

pub(crate) struct Device {
    room: tempfile::TempDir,
    seed: [u8; 32],
    shown: Arc<Mutex<Vec<String>>>,
    /// Keeps the terminal while nobody talks.
    _node: OwnedFd,
}

impl Device {
    pub(crate) fn plugged_in(habits: Habits) -> Self {
        let pty = openpty(None, None).unwrap();
        let mut raw = tcgetattr(&pty.slave).unwrap();
        cfmakeraw(&mut raw);
        tcsetattr(&pty.slave, SetArg::TCSANOW, &raw).unwrap();
        let room = tempfile::tempdir().unwrap();
        let seed = habits.seed;
        let shown = Arc::<Mutex<Vec<String>>>::default();
        let app = App::new(habits, Arc::clone(&shown));
        let node = ttyname(&pty.slave).unwrap();
        let master = File::from(pty.master);
        // Ends with the test.
        std::thread::spawn(move || run(master, app));
        let device = Self { room, seed, shown, _node: pty.slave };
        device.also(0, "HID_ID=0003:00002C97:00005011", &[0x06, 0xa0, 0xff, 0x09, 0x01]);
        std::fs::create_dir_all(device.root().join("dev")).unwrap();
        symlink(node, device.root().join("dev/hidraw0")).unwrap();
        device
    }

    /// Lists another device.
    pub(crate) fn also(&self, number: u32, id: &str, descriptor: &[u8]) {
        let at = self.root().join(format!("sys/class/hidraw/hidraw{number}/device"));
        std::fs::create_dir_all(&at).unwrap();
        std::fs::write(at.join("uevent"), format!("DRIVER=hid-generic\n{id}\nHID_NAME=Ledger Nano X\n"))
            .unwrap();
        std::fs::write(at.join("report_descriptor"), descriptor).unwrap();
    }

    pub(crate) fn root(&self) -> &Path {
        self.room.path()
    }

    pub(crate) fn account(&self, path: &KeyPath) -> Address {
        let text = path.to_string();
        let mut bytes = vec![u8::try_from(text.split('/').count() - 1).unwrap()];
        for part in text.split('/').skip(1) {
            let digits = part.trim_end_matches('\'');
            let number: u32 = digits.parse().unwrap();
            bytes.extend((number | u32::from(digits != part) << 31).to_be_bytes());
        }
        Address(crate::ethereum::key(&self.seed, &bytes).address().into_array())
    }

    pub(crate) fn shown(&self) -> Vec<String> {
        self.shown.lock().unwrap().clone()
    }
}

/// Takes reports, and gives the app's answers as reports.
fn run(mut wire: File, mut app: App) {
    let (mut command, mut wanted, mut sequence) = (Vec::new(), 0, 0_u16);
    let mut report = [0_u8; 65];
    while wire.read_exact(&mut report).is_ok() {
        assert_eq!(report[..4], [0, 1, 1, 5], "number, channel and tag");
        assert_eq!(report[4..6], sequence.to_be_bytes(), "in their order");
        let mut payload = &report[6..];
        if sequence == 0 {
            wanted = usize::from(u16::from_be_bytes([payload[0], payload[1]]));
            payload = &payload[2..];
        }
        sequence += 1;
        command.extend_from_slice(payload);
        if command.len() < wanted {
            continue;
        }
        assert!(command[wanted..].iter().all(|byte| *byte == 0), "what is behind is nothing");
        command.truncate(wanted);
        let Some(answer) = app.asked(&command) else { return };
        (command, sequence) = (Vec::new(), 0);
        let whole = [&u16::try_from(answer.len()).unwrap().to_be_bytes()[..], &answer].concat();
        for (index, part) in whole.chunks(59).enumerate() {
            let mut out = vec![1, 1, 5, 0, u8::try_from(index + usize::from(app.habits.garbled)).unwrap()];
            out.extend_from_slice(part);
            out.resize(64, 0);
            wire.write_all(&out).unwrap();
        }
    }
}
