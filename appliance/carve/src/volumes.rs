//! Parts of drives as logical volumes: names, identities and places, which follow from drive and unit alone.
//!
//! One volume group a drive, its physical volume the whole drive, one linear volume a unit.  A machine that is begun anew
//! comes to the same volumes, and whoever finds some can tell by their identities whether they are ours.  Nothing here
//! runs a program or looks at a drive: that is the agent's.

use appliance_model::{Serial, real::Volume};
use sha2::{Digest as _, Sha256};

/// Where the first volume of a drive begins, bytes: behind LVM's label and metadata.  LVM's own default.
pub const VOLUMES_START: u64 = 1 << 20;

/// Volumes are so many bytes or a multiple: LVM's own default for an extent.
pub const EXTENT_BYTES: u64 = 4 << 20;

/// What every group of ours is called first, and so every device that the kernel maps for one of its volumes.
pub const GROUP_PREFIX: &str = "scalerforge_";

/// Of a serial, what goes into a name; LVM has room for 127 characters with the unit's.
const SERIAL_CHARS: usize = 40;

/// A drive's volume group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeGroup {
    /// Its name.
    pub name: String,
    /// LVM's identity of it.
    pub id: String,
    /// LVM's identity of its one physical volume, which is the drive.
    pub member: String,
}

impl VolumeGroup {
    /// The group of this drive.
    #[must_use]
    pub fn of(drive: &Serial) -> Self {
        // LVM takes these; hyphens it would double in the kernel's names.
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' || c == '+' { c } else { '_' };
        let readable: String = drive.as_str().chars().take(SERIAL_CHARS).map(plain).collect();
        let id = id(&["group", drive.as_str()]);
        // Two serials may differ only in what a name cannot hold.
        let tail: String = id.chars().filter(|c| *c != '-').take(8).collect();
        Self {
            name: format!("{GROUP_PREFIX}{readable}_{tail}"),
            id,
            member: self::id(&["drive", drive.as_str()]),
        }
    }

    /// A unit's volume as the kernel's device mapper shows it: LVM joins names with a hyphen and doubles those within,
    /// and joins identities without.
    #[must_use]
    pub fn volume(&self, drive: &Serial, part: Part<'_>) -> Volume {
        let plain = |id: &str| id.replace('-', "");
        let uuid = format!("LVM-{}{}", plain(&self.id), plain(&part.id(drive)));
        Volume { name: format!("{}-{}", self.name, part.unit.replace('-', "--")), uuid }
    }
}

/// A unit's place on its drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part<'a> {
    /// The unit, and the name of its volume.
    pub unit: &'a str,
    /// First byte on the drive.
    pub start: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Part<'_> {
    /// LVM's identity of the volume: another place or size is another volume.
    #[must_use]
    pub fn id(&self, drive: &Serial) -> String {
        id(&["volume", drive.as_str(), self.unit, &self.start.to_string(), &self.bytes.to_string()])
    }

    /// First extent and how many, where it lies on whole ones.
    #[must_use]
    pub fn extents(&self) -> Option<(u64, u64)> {
        let from = self.start.checked_sub(VOLUMES_START)?;
        let whole = from.is_multiple_of(EXTENT_BYTES) && self.bytes.is_multiple_of(EXTENT_BYTES);
        (whole && self.bytes > 0).then_some((from / EXTENT_BYTES, self.bytes / EXTENT_BYTES))
    }

    /// Whether LVM takes the unit's name for a volume's.
    #[must_use]
    pub fn is_named(&self) -> bool {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        self.unit.len() <= 32 && self.unit.starts_with("storage-") && self.unit.chars().all(plain)
    }
}

/// An identity as LVM writes them, out of what it identifies.
fn id(words: &[&str]) -> String {
    let hash = words.iter().fold(Sha256::new(), |hash, word| hash.chain_update(word).chain_update([0]));
    let digits: String = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if [6, 10, 14, 18, 22, 26].contains(&at) {
            text.push('-');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// If this fails, change your code, not this test: drives have been cut by these names.
    #[test]
    fn names_and_identities_never_change() {
        let drive = Serial::parse("S5-GX 01").unwrap();
        let group = VolumeGroup::of(&drive);
        let part = Part { unit: "storage-0002", start: VOLUMES_START + EXTENT_BYTES, bytes: 1 << 30 };
        let volume = group.volume(&drive, part);
        let said =
            [group.name.as_str(), &group.id, &group.member, &part.id(&drive), &volume.name, &volume.uuid];
        assert_eq!(said, PINNED);
        assert_eq!(part.extents(), Some((1, 256)));
    }

    const PINNED: [&str; 6] = [
        "scalerforge_S5_GX_01_a6e91d7c",
        "a6e91d-7c4e-a807-8206-418f-27d5-5bd553",
        "6b4263-222a-b9c8-8e18-dbd3-f911-cbfdb7",
        "c5cad2-628c-73b3-d888-7d21-c58d-187b43",
        "scalerforge_S5_GX_01_a6e91d7c-storage--0002",
        "LVM-a6e91d7c4ea8078206418f27d55bd553c5cad2628c73b3d8887d21c58d187b43",
    ];

    #[test]
    fn another_drive_unit_place_or_size_is_another_volume() {
        let (one, two) = (Serial::parse("A B").unwrap(), Serial::parse("A_B").unwrap());
        assert_ne!(VolumeGroup::of(&one).name, VolumeGroup::of(&two).name);
        let part = Part { unit: "storage-0001", start: VOLUMES_START, bytes: EXTENT_BYTES };
        let others = [
            Part { unit: "storage-0002", ..part },
            Part { start: VOLUMES_START + EXTENT_BYTES, ..part },
            Part { bytes: 2 * EXTENT_BYTES, ..part },
        ];
        assert!(others.iter().all(|other| other.id(&one) != part.id(&one)));
        assert_ne!(part.id(&one), part.id(&two));
    }

    #[test]
    fn what_lvm_cannot_hold_is_seen_before() {
        let part = Part { unit: "storage-0001", start: VOLUMES_START, bytes: EXTENT_BYTES };
        assert!(part.is_named() && part.extents() == Some((0, 1)));
        let odd = [
            Part { start: 0, ..part },
            Part { start: VOLUMES_START + 512, ..part },
            Part { bytes: 0, ..part },
            Part { bytes: EXTENT_BYTES + 1, ..part },
        ];
        assert!(odd.iter().all(|part| part.extents().is_none()));
        for unit in
            ["storage-0001/x", "storage-\"", "..", "", "snapshot0", &format!("storage-{}", "0".repeat(40))]
        {
            assert!(!Part { unit, ..part }.is_named(), "{unit}");
        }
        let long = Serial::parse(&"S-".repeat(60)).unwrap();
        let name = VolumeGroup::of(&long).volume(&long, part).name;
        assert!(name.len() < 127, "{name}");
    }
}
