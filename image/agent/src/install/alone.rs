//! A drive for nobody else; and where somebody has it, who that is and how it becomes free.

use std::{
    fs::{self, File},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use appliance_carve::GROUP_PREFIX;
use nix::fcntl::OFlag;

/// Partitions of a drive that are looked at.
const PARTITIONS_MAX: usize = 256;
/// As many names as a person reads.
const HOLDERS_SHOWN_MAX: usize = 8;

/// Opens drive `name` below `root` for nobody else: `O_EXCL` on a block device is refused while it, or a partition of it, is
/// mounted, swapped to or part of another.
///
/// # Errors
/// In words for a person: what holds it, and what to do.
pub fn alone(root: &Path, name: &str) -> Result<File, String> {
    let path = root.join("dev").join(name);
    let opened = File::options().read(true).custom_flags(OFlag::O_EXCL.bits()).open(&path);
    opened.map_err(|error| match error.raw_os_error() {
        Some(code) if code == nix::libc::EBUSY => {
            format!("{} is in use: {}; it is not written", path.display(), held(&holders(root, name)))
        }
        _ => format!("{} could not be opened: {error}", path.display()),
    })
}

/// What is made of a drive or of its partitions: the device mapper's names, the kernel's for others.
fn holders(root: &Path, name: &str) -> Vec<String> {
    let block = root.join("sys/block");
    let own = block.join(name);
    let partitions = fs::read_dir(&own).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut folders: Vec<PathBuf> =
        partitions.filter(|path| path.join("partition").exists()).take(PARTITIONS_MAX).collect();
    folders.push(own);
    let holders = folders.iter().filter_map(|folder| fs::read_dir(folder.join("holders")).ok());
    let mut names: Vec<String> = holders
        .flatten()
        .flatten()
        .map(|holder| {
            let kernels = holder.file_name().to_string_lossy().into_owned();
            let mapped = fs::read_to_string(block.join(&kernels).join("dm/name"));
            mapped.map_or(kernels, |mapped| mapped.trim_end().to_owned())
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Who holds a drive, and the next step.
fn held(by: &[String]) -> String {
    let (ours, others): (Vec<&String>, Vec<&String>) =
        by.iter().partition(|name| name.starts_with(GROUP_PREFIX));
    let list = |names: &[&String]| {
        let shown: Vec<&str> = names.iter().take(HOLDERS_SHOWN_MAX).map(|name| name.as_str()).collect();
        let more = names.len().saturating_sub(HOLDERS_SHOWN_MAX);
        shown.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
    };
    match (ours.is_empty(), others.is_empty()) {
        (true, true) => {
            "it, or a part of it, is mounted or swapped to: end that, or name another drive".to_owned()
        }
        (true, false) => format!("{} is made of it: stop that, or name another drive", list(&others)),
        (false, true) => format!(
            "units are made of it ({}): `scalerforge unit uncarve HOST --permit \"UNCARVE SERIAL\"`, with the serial of the \
             machine, takes them back; then ask again, or name another drive",
            list(&ours)
        ),
        (false, false) => format!(
            "units are made of it ({}), which `scalerforge unit uncarve` takes back, and so is {}, which is not ours: stop \
             that, or name another drive",
            list(&ours),
            list(&others)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_a_drive_is_named_with_the_next_step() {
        let dir = tempfile::tempdir().unwrap();
        let block = dir.path().join("sys/block");
        let held_by = |holder: &str, of: &str, mapped: Option<&str>| {
            fs::create_dir_all(block.join(of).join("holders").join(holder)).unwrap();
            fs::create_dir_all(block.join(holder).join("dm")).unwrap();
            if let Some(name) = mapped {
                fs::write(block.join(holder).join("dm/name"), format!("{name}\n")).unwrap();
            }
        };
        let said = |name: &str| held(&holders(dir.path(), name));
        assert!(said("sda").contains("is mounted or swapped to"), "{}", said("sda"));

        held_by("dm-0", "nvme0n1", Some("scalerforge_S5_a6e91d7c-storage--0002"));
        held_by("dm-1", "nvme0n1", Some("scalerforge_S5_a6e91d7c-storage--0003"));
        let words = said("nvme0n1");
        for part in ["storage--0002, ", "storage--0003)", "unit uncarve HOST --permit \"UNCARVE SERIAL\""] {
            assert!(words.contains(part), "{part}: {words}");
        }

        fs::create_dir_all(block.join("sdb/sdb1")).unwrap();
        fs::write(block.join("sdb/sdb1/partition"), "1\n").unwrap();
        held_by("md127", "sdb/sdb1", None);
        assert_eq!(said("sdb"), "md127 is made of it: stop that, or name another drive");
        held_by("dm-0", "sdb/sdb1", None);
        assert!(said("sdb").contains("uncarve` takes back, and so is md127"), "{}", said("sdb"));

        for number in 10..30 {
            held_by(&format!("loop{number}"), "sdc", None);
        }
        assert!(said("sdc").starts_with("loop10, loop11, ") && said("sdc").contains(" and 12 more is made"));
    }

    #[test]
    fn a_drive_that_nobody_has_is_opened_and_one_that_is_not_there_is_told() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("dev")).unwrap();
        assert!(alone(dir.path(), "sda").unwrap_err().contains("sda could not be opened"));
        fs::write(dir.path().join("dev/sda"), b"").unwrap();
        assert!(alone(dir.path(), "sda").is_ok());
    }
}
