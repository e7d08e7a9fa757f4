//! The QEMU command line of a virtual server.
//!
//! Emulation only: a `/dev/kvm` that opens but cannot run a stock kernel is common in build machines, so it is never
//! tried.  All sockets and files that belong to the host are relative: QEMU runs in the host's folder, and socket
//! addresses hold 107 bytes only.

use std::path::Path;

use crate::netns::Lan;
use crate::spec::{BIOS, BootTarget, CPU_MODEL_ARM64, DIMM, DriveBus, DriveSpec, HostSpec, SATA_MODEL};
use crate::tpm::CONTROL_SOCKET;

/// Socket on which the rack listens for the serial console.
pub(crate) const CONSOLE_SOCKET: &str = "console.sock";

/// Socket on which the rack listens for QEMU's control channel.
pub(crate) const QMP_SOCKET: &str = "qmp.sock";

/// The host's own copy of the firmware's variables.
pub(crate) const VARIABLES: &str = "vars.fd";

/// All arguments after the program's name.
pub(crate) fn arguments(index: usize, spec: &HostSpec, firmware: &Path, boot: BootTarget) -> Vec<String> {
    let mut line = Line::default();
    board(&mut line, spec, firmware);
    smbios(&mut line, spec);
    for (number, drive) in spec.drives.iter().enumerate() {
        disk(&mut line, number, drive, boot, spec.arm64);
    }
    network(&mut line, index, spec, boot);
    line.words
}

#[derive(Default)]
struct Line {
    words: Vec<String>,
}

impl Line {
    fn add(&mut self, option: &str, value: impl Into<String>) {
        self.words.push(option.to_owned());
        self.words.push(value.into());
    }
}

fn board(line: &mut Line, spec: &HostSpec, firmware: &Path) {
    line.words.extend(["-nodefaults", "-no-user-config"].map(ToOwned::to_owned));
    line.add("-name", value(&spec.serial));
    line.add(
        "-machine",
        match (spec.arm64, spec.secure_boot) {
            (true, _) => "virt",
            (false, true) => "q35,smm=on",
            (false, false) => "q35,smm=off",
        },
    );
    if spec.secure_boot {
        // Its variables are written in system management mode alone, which it insists on; and it cannot sleep.
        line.add("-global", "driver=cfi.pflash01,property=secure,value=on");
        line.add("-global", "ICH9-LPC.disable_s3=1");
    }
    line.add("-accel", "tcg,thread=multi");
    // The newest that emulation knows would spend its time on signed pointers.
    line.add("-cpu", if spec.arm64 { CPU_MODEL_ARM64.0 } else { "max" });
    line.add("-smp", format!("{0},sockets=1,cores={0},threads=1", spec.cpus));
    line.add("-m", spec.memory_mib.to_string());
    line.add("-display", "none");
    line.add(
        "-drive",
        format!("if=pflash,format=raw,readonly=on,file={}", value(&firmware.display().to_string())),
    );
    line.add("-drive", format!("if=pflash,format=raw,file={VARIABLES}"));
    line.add("-chardev", format!("socket,id=console,path={CONSOLE_SOCKET}"));
    line.add("-serial", "chardev:console");
    line.add("-chardev", format!("socket,id=qmp,path={QMP_SOCKET}"));
    line.add("-mon", "chardev=qmp,mode=control");
    line.add("-chardev", format!("socket,id=tpm,path={CONTROL_SOCKET}"));
    line.add("-tpmdev", "emulator,id=tpm0,chardev=tpm");
    line.add("-device", if spec.arm64 { "tpm-tis-device,tpmdev=tpm0" } else { "tpm-crb,tpmdev=tpm0" });
    line.add("-device", "virtio-rng-pci");
    if spec.arm64 {
        // The board has no ISA bus, on which QEMU's controllers are, and no AHCI of its own.
        line.add("-device", "ich9-ahci,id=ahci");
        return;
    }
    line.add("-device", format!("ipmi-bmc-sim,id=bmc0,guid={}", spec.uuid));
    line.add("-device", "isa-ipmi-kcs,bmc=bmc0");
}

fn smbios(line: &mut Line, spec: &HostSpec) {
    let maker = value(&spec.manufacturer);
    let product = value(&spec.product);
    let tag = value(&spec.asset_tag);
    let (bios_vendor, version, date) = BIOS;
    line.add(
        "-smbios",
        format!("type=0,vendor={bios_vendor},version={version},date={date},release=1.4,uefi=on"),
    );
    line.add(
        "-smbios",
        format!(
            "type=1,manufacturer={maker},product={product},version=1.0,serial={},uuid={},sku=LAB,family=Lab",
            value(&spec.serial),
            spec.uuid
        ),
    );
    line.add(
        "-smbios",
        format!(
            "type=2,manufacturer={maker},product=X-LAB,version=1.0,serial={}",
            value(&spec.board_serial())
        ),
    );
    line.add(
        "-smbios",
        format!(
            "type=3,manufacturer={maker},version=1.0,serial={},asset={tag}",
            value(&spec.chassis_serial())
        ),
    );
    let (dimm_maker, part, speed) = DIMM;
    line.add(
        "-smbios",
        format!(
            "type=17,loc_pfx=DIMM_A,bank=BANK0,manufacturer={dimm_maker},serial={},part={part},speed={speed}",
            value(&spec.dimm_serial())
        ),
    );
}

fn disk(line: &mut Line, number: usize, drive: &DriveSpec, boot: BootTarget, arm64: bool) {
    let node = format!("drive{number}");
    line.add(
        "-blockdev",
        format!(
            "driver=raw,node-name={node},discard=unmap,file.driver=file,file.filename={}",
            backing_file(number)
        ),
    );
    // Beside drives with an index OVMF does not find a network card with a lower one (it connects the drives only),
    // so a network override names the card alone.
    let order = match boot {
        BootTarget::Disk | BootTarget::Setup => format!(",bootindex={}", number + 1),
        // Behind the medium.
        BootTarget::Cd => format!(",bootindex={}", number + 11),
        BootTarget::Pxe | BootTarget::UefiHttp => String::new(),
    };
    let serial = value(&drive.serial);
    let sata = if arm64 { "ahci" } else { "ide" };
    match drive.bus {
        DriveBus::Nvme => {
            line.add("-device", format!("nvme,id=nvme{number},serial={serial}"));
            line.add("-device", format!("nvme-ns,drive={node},bus=nvme{number},nsid=1{order}"));
        }
        DriveBus::Sata { wwn } => line.add(
            "-device",
            format!(
                "ide-hd,id=sata{number},drive={node},bus={sata}.{number},serial={serial},model={SATA_MODEL},\
                 rotation_rate=7200,wwn={wwn:#x}{order}"
            ),
        ),
    }
}

fn network(line: &mut Line, index: usize, spec: &HostSpec, boot: BootTarget) {
    // `romfile=` keeps QEMU's iPXE out: OVMF's own stack boots, and iPXE cannot start a UKI.
    let order = match boot {
        BootTarget::Disk | BootTarget::Cd | BootTarget::Setup => "",
        BootTarget::Pxe | BootTarget::UefiHttp => ",bootindex=1",
    };
    let tap = |id: &str, name: &str| format!("tap,id={id},ifname={name},script=no,downscript=no");
    line.add("-netdev", tap("net0", &Lan::boot_tap(index)));
    line.add("-device", format!("virtio-net-pci,id=nic0,netdev=net0,mac={}{order},romfile=", spec.boot_mac));
    line.add("-netdev", tap("net1", &Lan::data_tap(index)));
    if spec.functions {
        // Virtual functions need numbers of their own, which a port of the bridge has and the root bus has not.
        line.add("-device", "pcie-root-port,id=port1,chassis=1,slot=1".to_owned());
        line.add("-device", format!("igb,id=nic1,bus=port1,netdev=net1,mac={},romfile=", spec.data_mac));
    } else {
        line.add("-device", format!("e1000e,id=nic1,netdev=net1,mac={},romfile=", spec.data_mac));
    }
    // A server room has no UEFI shell; with one, OVMF would start it before the drives once a network override had
    // struck them from the stored order.
    line.add("-fw_cfg", "name=opt/org.tianocore/EFIShellSupport,string=n");
    // OVMF tries network cards last even without an index.  A server without override must not netboot, or a test
    // could not tell whether the BMC's override worked; unless the test is about just that.
    if matches!(boot, BootTarget::Disk | BootTarget::Cd | BootTarget::Setup) {
        let off: &[&str] = if spec.network_last { &["IPv6Support"] } else { &["IPv4Support", "IPv6Support"] };
        for file in off {
            line.add("-fw_cfg", format!("name=opt/org.tianocore/{file},string=n"));
        }
    }
    // An unanswered PXE attempt costs about 130 s before HTTP is tried.
    let off: &[&str] = match boot {
        BootTarget::Pxe => &[],
        BootTarget::UefiHttp if spec.pxe_first => &["IPv6PXESupport"],
        BootTarget::UefiHttp | BootTarget::Disk | BootTarget::Cd | BootTarget::Setup => {
            &["IPv4PXESupport", "IPv6PXESupport"]
        }
    };
    for file in off {
        line.add("-fw_cfg", format!("name=opt/org.tianocore/{file},string=n"));
    }
}

/// Name of the file behind a drive.
pub(crate) fn backing_file(number: usize) -> String {
    format!("drive{number}.raw")
}

/// QEMU splits option values at commas; a doubled comma is one comma.
fn value(text: &str) -> String {
    text.replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_target_decides_who_boots_first() {
        let spec = HostSpec::lab(0);
        for (boot, nic, drives, pxe_off, network_off) in [
            (BootTarget::Disk, false, true, true, true),
            (BootTarget::Pxe, true, false, false, false),
            (BootTarget::UefiHttp, true, false, true, false),
        ] {
            let words = arguments(0, &spec, Path::new("code.fd"), boot);
            let has = |kind: &str, what: &str| words.iter().any(|w| w.starts_with(kind) && w.contains(what));
            assert_eq!(has("virtio-net-pci", "bootindex=1"), nic, "{boot:?}");
            assert_eq!(has("nvme-ns", "bootindex=1"), drives, "{boot:?}");
            assert_eq!(has("ide-hd", "bootindex=3"), drives, "{boot:?}");
            assert_eq!(has("name=", "IPv4PXESupport"), pxe_off, "{boot:?}");
            assert_eq!(has("name=", "/IPv4Support"), network_off, "{boot:?}");
            assert!(!has("e1000e", "bootindex"), "{boot:?}");
            let last = HostSpec { network_last: true, ..spec.clone() };
            let words = arguments(0, &last, Path::new("code.fd"), boot);
            assert!(!words.iter().any(|w| w.contains("/IPv4Support")), "{boot:?}");
            let first = HostSpec { pxe_first: true, ..spec.clone() };
            let words = arguments(0, &first, Path::new("code.fd"), boot);
            let is_off = words.iter().any(|w| w.contains("/IPv4PXESupport"));
            assert_eq!(is_off, boot == BootTarget::Disk, "{boot:?}");
        }
    }

    #[test]
    fn a_server_with_arm_processors_has_that_boards_devices() {
        let spec = HostSpec::lab(0).with_arm64();
        let line = arguments(0, &spec, Path::new("code.fd"), BootTarget::UefiHttp).join(" ");
        for there in ["-machine virt", "-cpu neoverse-n1", "tpm-tis-device", "bus=ahci.2", "virtio-net-pci"] {
            assert!(line.contains(there), "{there} in {line}");
        }
        for not in ["q35", "tpm-crb", "isa-ipmi", "bus=ide"] {
            assert!(!line.contains(not), "{not} in {line}");
        }
    }

    #[test]
    fn commas_in_names_stay_in_their_value() {
        let spec = HostSpec { product: "A,serial=FORGED".to_owned(), ..HostSpec::lab(0) };
        let words = arguments(0, &spec, Path::new("code.fd"), BootTarget::Disk);
        assert!(words.iter().any(|w| w.contains("product=A,,serial=FORGED,")));
    }
}
