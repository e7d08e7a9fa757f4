//! A machine made of files and a software TPM: enough of `/sys`, `/proc` and `/dev` for the agent to enrol.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

/// The ticket in the machine's boot URL.
pub(crate) const TICKET: &str = "00112233445566778899aabbccddeeff";

pub(crate) struct Machine {
    folder: tempfile::TempDir,
    swtpm: Child,
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.swtpm.kill();
        let _ = self.swtpm.wait();
        let _ = fs::remove_file(self.tpm());
    }
}

impl Machine {
    pub(crate) fn new() -> Self {
        // In the build directory: the drive is a file, and tmpfs refuses O_DIRECT.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        files(&folder.path().join("root"));
        fs::create_dir(folder.path().join("tpm")).unwrap();
        // Unix socket paths are short; the build directory's may not be.
        let socket = std::env::temp_dir().join(format!("sf-agent-{}.sock", std::process::id()));
        let _ = fs::remove_file(&socket);
        let swtpm = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .arg("--tpmstate")
            .arg(format!("dir={}", folder.path().join("tpm").display()))
            .arg("--server")
            .arg(format!("type=unixio,path={}", socket.display()))
            .stdout(Stdio::null())
            .spawn()
            .expect("swtpm is installed");
        let machine = Self { folder, swtpm };
        // The socket is there when swtpm is ready; ten seconds are many times what it takes.
        for _ in 0..1000 {
            if socket.exists() {
                fs::rename(&socket, machine.tpm()).unwrap();
                return machine;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("swtpm did not start");
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub(crate) fn tpm(&self) -> PathBuf {
        std::env::temp_dir().join(format!("sf-agent-{}.tpm", std::process::id()))
    }
}

fn write(root: &Path, path: &str, content: impl AsRef<[u8]>) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn files(root: &Path) {
    // SMBIOS type 1 with a serial (string 1), then the end of the table.
    let mut table = vec![1, 27, 0, 1, 0, 0, 0, 1];
    table.extend([0x11; 16]);
    table.extend([0, 0, 0]);
    table.extend(b"SYS1\0\0");
    table.extend([127, 4, 0, 2, 0, 0]);
    write(root, "sys/firmware/dmi/tables/DMI", table);
    for cpu in 0..2 {
        write(root, &format!("sys/devices/system/cpu/cpu{cpu}/topology/core_id"), cpu.to_string());
        write(root, &format!("sys/devices/system/cpu/cpu{cpu}/topology/physical_package_id"), "0");
    }
    write(root, "proc/meminfo", "MemTotal: 8388608 kB\nMemAvailable: 262144 kB\n");
    for (file, text) in
        [("size", "16384"), ("nsid", "1"), ("device/model", "File"), ("device/serial", "DRIVE1")]
    {
        write(root, &format!("sys/block/nvme0n1/{file}"), text);
    }
    write(root, "dev/nvme0n1", vec![7; 8 << 20]);
    for (file, text) in [
        ("type", "1"),
        ("addr_assign_type", "0"),
        ("address", "52:54:00:00:00:01"),
        ("carrier", "1"),
        ("speed", "10000"),
        ("device/vendor", "0x1af4"),
    ] {
        write(root, &format!("sys/class/net/eth0/{file}"), text);
    }
    write(root, "sys/kernel/security/tpm0/binary_bios_measurements", event_log());
}

/// A TCG log of two events: the head, and an application loaded from a URL.
fn event_log() -> Vec<u8> {
    let mut spec = b"Spec ID Event03\0".to_vec();
    spec.extend([0, 0, 0, 0, 0, 2, 0, 2]);
    spec.extend(1_u32.to_le_bytes());
    spec.extend([0x0b, 0, 32, 0, 0]);
    let mut log = Vec::new();
    log.extend([0_u32, 3].map(u32::to_le_bytes).concat());
    log.extend([0; 20]);
    log.extend(u32::try_from(spec.len()).unwrap().to_le_bytes());
    log.extend(spec);
    let url = format!("http://10.77.0.1:8080/boot/{TICKET}/discovery.efi");
    let mut path = vec![3, 24];
    path.extend(u16::try_from(url.len() + 4).unwrap().to_le_bytes());
    path.extend(url.as_bytes());
    path.extend([0x7f, 0xff, 4, 0]);
    let mut data = [0_u64, 0, 0, path.len() as u64].map(u64::to_le_bytes).concat();
    data.extend(path);
    log.extend([4_u32, 0x8000_0003, 1].map(u32::to_le_bytes).concat());
    log.extend([0x0b, 0]);
    log.extend([9; 32]);
    log.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
    log.extend(data);
    log
}
