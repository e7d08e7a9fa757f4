//! Whole drives in `/sys/block`: NVMe namespaces, SATA and SAS disks, paravirtual disks.

use appliance_model::{
    Serial,
    inventory::{Bus, Drive, Inventory, NvmeController},
};

use crate::files::Tree;

/// Kernel names of block devices that are no drives of the machine.
const NO_DRIVES: [&str; 9] = ["loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd", "mtdblock"];

/// The kernel counts sizes in sectors of 512 bytes, whatever the drive does.
const SECTOR_BYTES: u64 = 512;

pub(crate) fn read(tree: &Tree, inventory: &mut Inventory) {
    for name in tree.names("sys/block") {
        let path = |file: &str| format!("sys/block/{name}/{file}");
        let other = NO_DRIVES.iter().any(|prefix| name.starts_with(prefix));
        // Hidden ones are single paths to an NVMe namespace that is listed as a whole too.
        if other || tree.number::<u8>(&path("hidden")) == Some(1) {
            continue;
        }
        let mut drive =
            if name.starts_with("nvme") { nvme(tree, &name) } else { scsi_or_virtio(tree, &name) };
        drive.bytes = tree.number::<u64>(&path("size")).unwrap_or(0).saturating_mul(SECTOR_BYTES);
        drive.sector_bytes = tree.number(&path("queue/logical_block_size"));
        drive.sector_bytes_physical = tree.number(&path("queue/physical_block_size"));
        drive.rotational = tree.number::<u8>(&path("queue/rotational")).map(|value| value == 1);
        if drive.serial.is_none() && drive.bytes > 0 {
            inventory.gaps.push(format!("drive {name} does not tell its serial"));
        }
        drive.name = Some(name);
        inventory.drives.push(drive);
    }
    inventory.sources.insert("drives".into(), "/sys/block".into());
    controllers(tree, inventory);
}

fn controllers(tree: &Tree, inventory: &mut Inventory) {
    for name in tree.names("sys/class/nvme") {
        let text = |file: &str| tree.text(&format!("sys/class/nvme/{name}/{file}"));
        let (pci, node) = tree.pci(&format!("sys/class/nvme/{name}/device"));
        let state = text("state");
        if let Some(state) = state.as_ref().filter(|state| *state != "live") {
            inventory
                .gaps
                .push(format!("NVMe controller {name} is `{state}`, not live: its drive may be missing"));
        }
        inventory.nvme.push(NvmeController {
            model: text("model"),
            serial: text("serial").and_then(|serial| Serial::parse(&serial)),
            firmware: text("firmware_rev"),
            transport: text("transport"),
            state,
            pci,
            node,
            name,
            ..NvmeController::default()
        });
    }
    if !inventory.nvme.is_empty() {
        inventory.sources.insert("nvme".into(), "/sys/class/nvme".into());
    }
}

fn nvme(tree: &Tree, name: &str) -> Drive {
    let path = |file: &str| format!("sys/block/{name}/{file}");
    // With multipath in the kernel the parent is a subsystem, whose controllers lie beside the namespace.
    let mut controllers = vec!["device/device".to_owned()];
    let beside = tree.names(&path("device")).into_iter().filter(|entry| entry.starts_with("nvme"));
    controllers.extend(beside.map(|entry| format!("device/{entry}/device")));
    let mut place = controllers.iter().map(|controller| tree.pci(&path(controller)));
    let (pci, node) = place.find(|(pci, _)| pci.is_some()).unwrap_or_default();
    Drive {
        model: tree.text(&path("device/model")),
        serial: tree.text(&path("device/serial")).and_then(|text| Serial::parse(&text)),
        firmware: tree.text(&path("device/firmware_rev")),
        wwid: tree.text(&path("wwid")),
        namespace: tree.number(&path("nsid")),
        node,
        pci,
        bus: Bus::Nvme,
        ..Drive::default()
    }
}

fn scsi_or_virtio(tree: &Tree, name: &str) -> Drive {
    let path = |file: &str| format!("sys/block/{name}/{file}");
    let real = tree.real(&path("device")).unwrap_or_default();
    let vendor = tree.text(&path("device/vendor")).unwrap_or_default();
    let has = |part: &str| real.split('/').any(|piece| piece.starts_with(part));
    let (pci, node) = tree.pci(&path("device"));
    let found = Drive { node, pci, ..Drive::default() };
    if name.starts_with("vd") {
        let serial = tree.text(&path("serial")).and_then(|text| Serial::parse(&text));
        return Drive { bus: Bus::Virtio, serial, ..found };
    }
    let bus = match () {
        () if has("usb") => Bus::Usb,
        // SATA drives behind a SAS controller say `ATA` too.
        () if vendor == "ATA" => Bus::Sata,
        () if has("end_device-") => Bus::Sas,
        () if has("virtio") => Bus::Virtio,
        () => Bus::Unknown,
    };
    let model = tree.text(&path("device/model"));
    let named = match (&model, vendor.as_str()) {
        (Some(model), "" | "ATA") => Some(model.clone()),
        (Some(model), vendor) => Some(format!("{vendor} {model}")),
        (None, _) => None,
    };
    Drive {
        bus,
        model: named,
        serial: tree.bytes(&path("device/vpd_pg80")).as_deref().and_then(unit_serial),
        firmware: tree.text(&path("device/rev")),
        wwid: tree.text(&path("device/wwid")),
        ..found
    }
}

/// Vital product data page 80h (SPC-4): four bytes of head, the last two of them the length, then text.
fn unit_serial(page: &[u8]) -> Option<Serial> {
    let [_, 0x80, high, low, rest @ ..] = page else { return None };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    Serial::parse(std::str::from_utf8(rest.get(..length)?).ok()?)
}
