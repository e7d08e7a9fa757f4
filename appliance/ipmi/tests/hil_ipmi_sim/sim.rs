//! OpenIPMI's simulator as the other side: a controller that this project did not write.
//!
//! It has one machine whose power and boot device are a script's files, a log, two sensors, a FRU and a serial port
//! (a TCP connection to the test).  It knows cipher suite 3 only.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
};

pub(crate) const USER: &str = "ipmiusr";
pub(crate) const PASSWORD: &str = "test";

/// The simulator; it ends with this.
#[derive(Debug)]
pub(crate) struct Sim {
    process: Child,
    // It ends when its standard input does.
    _stdin: Option<ChildStdin>,
    pub(crate) address: SocketAddr,
    pub(crate) folder: tempfile::TempDir,
    /// The machine's serial port: the simulator connects to it.
    pub(crate) serial: TcpListener,
}

impl Drop for Sim {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What the simulator asks about its machine: `get power`, `set power 1 boot pxe`, `reset …`.
const SCRIPT: &str = r#"#!/bin/sh
shift
verb=$1
shift
while [ $# -gt 0 ]; do
  name=$1
  case "$verb" in
    get) echo "$name:$(cat "FOLDER/$name")"; shift ;;
    set) echo "$2" > "FOLDER/$name"; echo "$verb $name $2" >> FOLDER/done; shift 2 ;;
    *) echo "$verb $name" >> FOLDER/done; shift ;;
  esac
done
[ "$verb" = get ] || [ "$verb" = set ] || echo "$verb" >> FOLDER/done
exit 0
"#;

impl Sim {
    /// Starts it; its absence is a failure.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let serial = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        // Free a moment ago; the simulator cannot choose by itself.
        let address = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let script = folder.path().join("chassis");
        let text = SCRIPT.replace("FOLDER", &folder.path().display().to_string());
        fs::write(&script, text).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        for (name, value) in [("power", "0"), ("boot", "default"), ("done", "")] {
            fs::write(folder.path().join(name), value).unwrap();
        }
        let lan = lan(&script, address.port(), serial.local_addr().unwrap().port());
        fs::write(folder.path().join("lan.conf"), lan).unwrap();
        fs::write(folder.path().join("sim.emu"), machine()).unwrap();
        let state = folder.path().join("state");
        fs::create_dir(&state).unwrap();
        let mut process = Command::new("ipmi_sim")
            .arg("-c")
            .arg(folder.path().join("lan.conf"))
            .arg("-f")
            .arg(folder.path().join("sim.emu"))
            .arg("-s")
            .arg(&state)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("ipmi_sim is missing: install Debian's package openipmi");
        let stdin = process.stdin.take();
        Self { process, _stdin: stdin, address, folder, serial }
    }

    /// What the script was told to do, a line each.
    pub(crate) fn done(&self) -> String {
        fs::read_to_string(self.file("done")).unwrap()
    }

    /// One of the script's files.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn lan(script: &Path, port: u16, serial: u16) -> String {
    format!(
        "name \"sim\"\nset_working_mc 0x20\n\
         startlan 1\naddr 127.0.0.1 {port}\npriv_limit admin\n\
         allowed_auths_callback none md2 md5 straight\nallowed_auths_user none md2 md5 straight\n\
         allowed_auths_operator none md2 md5 straight\nallowed_auths_admin none md2 md5 straight\n\
         guid a123456789abcdefa123456789abcdef\nendlan\n\
         sol \"tcp:127.0.0.1:{serial}\" 115200\n\
         chassis_control \"{} 0x20\"\n\
         user 2 true \"{USER}\" \"{PASSWORD}\" admin 10 none md2 md5 straight\n\
         user 3 true \"reader\" \"readonly\" user 10 none md2 md5 straight\n",
        script.display()
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("0x{byte:02x} ")).collect()
}

/// A sensor that is switched on and sends no events.
const READING: &str =
    "enable scanning per-state 000000000000000 000000000000000 000000000000000 000000000000000";

/// The controller, its records and its FRU.
fn machine() -> String {
    let fru = fru();
    format!(
        "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 2 0x31 0x9f 0x1291 0xf02 persist_sdr\n\
         sel_enable 0x20 1000 0x0a\n\
         sensor_add 0x20 0 1 1 1\nsensor_set_value 0x20 0 1 0x60 0\nsensor_set_event_support 0x20 0 1 {READING}\n\
         sensor_add 0x20 0 2 4 1\nsensor_set_value 0x20 0 2 0x28 0\nsensor_set_event_support 0x20 0 2 {READING}\n\
         main_sdr_add 0x20 {}\nmain_sdr_add 0x20 {}\nmain_sdr_add 0x20 {}\n\
         sel_add 0x20 0x02 0 0 0 0 0x20 0 4 1 1 1 0x57 0x60 0x50\n\
         mc_add_fru_data 0x20 0 {} data {}\n\
         mc_enable 0x20\n",
        hex(&full_record(1, 0x01, 1, (1, 0), b"Ambient")),
        // 150 x: R.P.M. of a fan.
        hex(&full_record(2, 0x04, 18, (150, 0), b"FAN A")),
        hex(&locator()),
        fru.len(),
        hex(&fru),
    )
}

/// A full sensor record (IPMI 2.0, table 43-1): unsigned, linear, y = m x + b.
fn full_record(number: u8, kind: u8, unit: u8, (m, b): (u8, u8), name: &[u8]) -> Vec<u8> {
    let mut body = vec![0x20, 0, number, 7, 1, 0x7f, 0x68, kind, 1, 0x95, 0x7a, 0x95, 0x7a, 0x3f, 0x3f];
    body.extend([
        0, unit, 0, 0, m, 0, b, 0, 0, 0, 0, 0, 0, 0, 0xff, 0, 0xf0, 0xe0, 0xd0, 5, 10, 20, 0, 0, 0, 0, 0,
    ]);
    body.push(0xc0 | u8::try_from(name.len()).unwrap());
    body.extend(name);
    [&[number, 0, 0x51, 0x01, u8::try_from(body.len()).unwrap()][..], &body].concat()
}

/// A FRU device locator record (table 43-7).
fn locator() -> Vec<u8> {
    let name = b"Mainboard";
    let mut body = vec![0x20, 0, 0x80, 0, 0, 0x10, 0, 7, 1, 0, 0xc0 | u8::try_from(name.len()).unwrap()];
    body.extend(name);
    [&[3, 0, 0x51, 0x11, u8::try_from(body.len()).unwrap()][..], &body].concat()
}

/// Chassis, board and product of a FRU (Platform Management FRU Information Storage Definition 1.0).
fn fru() -> Vec<u8> {
    let area = |head: &[u8], fields: &[&str]| {
        let mut bytes = vec![1, 0];
        bytes.extend(head);
        for field in fields {
            bytes.push(0xc0 | u8::try_from(field.len()).unwrap());
            bytes.extend(field.as_bytes());
        }
        bytes.push(0xc1);
        while (bytes.len() + 1) % 8 != 0 {
            bytes.push(0);
        }
        bytes[1] = u8::try_from(bytes.len() / 8 + 1).unwrap();
        bytes.push(bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg());
        bytes
    };
    let chassis = area(&[0x17], &["CSE-829", "C8290LK00AB0001"]);
    let board = area(&[0, 0x10, 0x20, 0xc0], &["Supermicro", "X11DPU", "WM199S000001", "X11DPU-01", ""]);
    let product =
        area(&[0], &["Supermicro", "SYS-6029U", "PN-1", "01", "S312345X9000001", "tag-7", "", "extra"]);
    let places = [chassis.len(), board.len()].map(|length| u8::try_from(length / 8).unwrap());
    let mut head = vec![1, 0, 1, 1 + places[0], 1 + places[0] + places[1], 0, 0];
    head.push(head.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg());
    [head, chassis, board, product].concat()
}
