//! One drive's volumes, made and taken away by Debian's `lvm`, which sees this one drive and no other.
//!
//! What it says is read as anybody's: bounded, and never believed to have done something; what it did is looked for on
//! the drive.  (Its exit status is no witness either: PID 1 buries whoever ends.)  A group is written in one piece, from a
//! text that follows from the plan, so that its identities are the plan's.

use std::{
    fmt::Write as _,
    io::{self, Read},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use appliance_carve::{EXTENT_BYTES, Part, VOLUMES_START, VolumeGroup};
use appliance_model::Serial;
use image_slots::Device;
use serde::Deserialize;

/// Where a distribution puts it, below the root.
pub(super) const PROGRAM: &str = "usr/sbin/lvm";

/// LVM counts in these, whatever the drive has.
const SECTOR: u64 = 512;

/// LVM's label is in one of the first four sectors: which it is, and of which drive.
const LABEL_SECTORS: usize = 4;
const LABEL: &[u8] = b"LABELONE";
const LABEL_KIND: (usize, &[u8]) = (24, b"LVM2 001");
const LABEL_MEMBER: usize = 32;

/// The metadata area begins here with a header of one sector: checksum, and what it is.
const AREA: usize = 4096;
const AREA_KIND: (usize, &[u8]) = (4, b" LVM2 x[5A%r0N*>");
const AREA_TEXTS: usize = AREA + 512;

/// A report has less than 1 KiB for each of 128 volumes.
const OUT_BYTES_MAX: u64 = 1 << 20;
const WORDS_BYTES_MAX: u64 = 64 << 10;
/// Of its complaints, what is told.
const WHY_CHARS_MAX: usize = 200;

/// 128 volumes on an emulated machine take some seconds; a drive that answers no more is given up.
const WAIT: Duration = Duration::from_secs(120);

/// No file, no daemon, no other drive; and nothing is written but what it is told to write.
const CONFIG: &str = "activation/udev_sync=0 activation/udev_rules=0 activation/verify_udev_operations=0 \
    activation/monitoring=0 backup/backup=0 backup/archive=0 devices/use_devicesfile=0 devices/hints=\"none\" \
    devices/obtain_device_list_from_udev=0 devices/external_device_info_source=\"none\" devices/issue_discards=0 \
    devices/md_component_detection=0 devices/multipath_component_detection=0 global/event_activation=0 \
    global/notify_dbus=0 global/use_lvmpolld=0 global/use_lvmlockd=0 global/system_id_source=\"none\"";

/// What the report is of; all of it comes as text.
const COLUMNS: &str =
    "pv_uuid,vg_name,vg_uuid,vg_extent_size,pe_start,pvseg_start,pvseg_size,lv_name,lv_uuid,segtype";

/// Runs a program with these words.
pub type Run = fn(&Path, &[&str]) -> io::Result<Told>;

/// What a program said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// What was asked for.
    pub out: Vec<u8>,
    /// Its complaints.
    pub words: Vec<u8>,
}

impl Told {
    /// The last complaint that says something.
    fn why(&self) -> String {
        let text = String::from_utf8_lossy(&self.words);
        let said = |line: &&str| {
            !line.is_empty() && !line.starts_with("WARNING") && !line.starts_with("Command failed")
        };
        let last = text.lines().map(str::trim).rfind(said).unwrap_or("it does not say why");
        last.chars().filter(|c| !c.is_control()).take(WHY_CHARS_MAX).collect()
    }
}

/// What is on a drive, as far as LVM goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing of LVM's.
    None,
    /// The header of a physical volume that was taken away, and nothing else in front of where volumes begin.
    Remnant,
    /// A physical volume that we did not make.
    Foreign,
    /// Ours, and no group on it.
    Bare,
    /// Ours, and on it our group with these stretches.
    Group(Vec<Stretch>),
    /// Ours, and on it something else.
    Other(String),
}

/// A stretch of a drive that is somebody's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stretch {
    pub(super) first: u64,
    pub(super) extents: u64,
    pub(super) volume: String,
    id: String,
    linear: bool,
}

impl Stretch {
    /// What a unit is to have; `None` where LVM cannot hold it.
    pub(super) fn of(drive: &Serial, part: Part<'_>) -> Option<Self> {
        let (first, extents) = part.extents().filter(|_| part.is_named())?;
        Some(Self { first, extents, volume: part.unit.to_owned(), id: part.id(drive), linear: true })
    }

    /// Whether it is a unit's: only of those does the identity follow from name and place.
    pub(super) fn is_units(&self, drive: &Serial) -> bool {
        let place = |extents: u64| extents.checked_mul(EXTENT_BYTES);
        let (Some(from), Some(bytes)) = (place(self.first), place(self.extents)) else { return false };
        let Some(start) = from.checked_add(VOLUMES_START) else { return false };
        Self::of(drive, Part { unit: &self.volume, start, bytes }).as_ref() == Some(self)
    }
}

/// A drive, and who speaks of its volumes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Volumes<'a> {
    pub(super) program: &'a Path,
    pub(super) run: Run,
    pub(super) drive: &'a Path,
    pub(super) group: &'a VolumeGroup,
}

impl Volumes<'_> {
    /// What is on the drive.  Only one of ours is shown to LVM.
    pub(super) fn state(&self, device: &mut dyn Device) -> io::Result<State> {
        let seen = self.look(device)?;
        if seen != State::Bare {
            return Ok(seen);
        }
        let told = self.lvm(
            "pvs",
            &["--segments", "--units", "s", "--nosuffix", "--reportformat", "json", "-o", COLUMNS],
        )?;
        let report: Report = serde_json::from_slice(&told.out).map_err(|error| {
            io::Error::other(format!("lvm's report is not readable ({error}): {}", told.why()))
        })?;
        let rows = report.report.into_iter().flat_map(|part| part.pvseg);
        let rows: Vec<Row> = rows.filter(|row| row.pv_uuid == self.group.member).collect();
        // Of a drive without a group it says one row.  Where it says nothing, nobody knows what is on it, and what may be a
        // group is not taken for none.
        if rows.is_empty() {
            return Err(io::Error::other(format!("lvm does not see what its label says: {}", told.why())));
        }
        Ok(self.judge(rows).unwrap_or_else(|| State::Other("a report of LVM's that makes no sense".into())))
    }

    /// What its first sectors say: whether it is ours, and not yet what is on it.
    pub(super) fn look(&self, device: &mut dyn Device) -> io::Result<State> {
        if device.bytes() < VOLUMES_START {
            return Ok(State::None);
        }
        device.forget()?;
        let mut head = vec![0; usize::try_from(VOLUMES_START).map_err(io::Error::other)?];
        device.read(0, &mut head)?;
        Ok(match member(&head) {
            None if is_remnant(&head) => State::Remnant,
            None => State::None,
            Some(id) if id == self.group.member.replace('-', "").into_bytes() => State::Bare,
            Some(_) => State::Foreign,
        })
    }

    fn judge(&self, rows: Vec<Row>) -> Option<State> {
        if rows.iter().all(|row| row.vg_name.is_empty()) {
            return Some(State::Bare);
        }
        let number = |text: &str| text.parse::<u64>().ok();
        let mut found = Vec::new();
        for row in rows {
            let own = row.vg_name == self.group.name && row.vg_uuid == self.group.id;
            let laid = number(&row.vg_extent_size)? == EXTENT_BYTES / SECTOR
                && number(&row.pe_start)? == VOLUMES_START / SECTOR;
            if !own || !laid {
                let name: String = row.vg_name.chars().take(WHY_CHARS_MAX).collect();
                return Some(State::Other(format!("the volume group `{name}`")));
            }
            if row.lv_name.is_empty() {
                continue;
            }
            let (first, extents) = (number(&row.pvseg_start)?, number(&row.pvseg_size)?);
            let linear = row.segtype == "linear";
            found.push(Stretch { first, extents, volume: row.lv_name, id: row.lv_uuid, linear });
        }
        found.sort();
        Some(State::Group(found))
    }

    /// Makes a blank drive ours: first its label.
    pub(super) fn label(&self, text: &Path) -> io::Result<Told> {
        let (text, member) = (text.to_string_lossy(), self.group.member.as_str());
        self.lvm("pvcreate", &["-y", "--zero", "n", "--uuid", member, "--restorefile", &text, &self.device()])
    }

    /// Then its group with all volumes at once.
    pub(super) fn write(&self, text: &Path) -> io::Result<Told> {
        self.lvm("vgcfgrestore", &["-y", "-f", &text.to_string_lossy(), &self.group.name])
    }

    /// Has the kernel map the volumes.
    pub(super) fn activate(&self) -> io::Result<Told> {
        self.lvm("vgchange", &["-y", "-ay", &self.group.name])
    }

    /// Has the kernel forget them, where nobody uses them.
    pub(super) fn deactivate(&self) -> io::Result<Told> {
        self.lvm("vgchange", &["-y", "-an", &self.group.name])
    }

    /// Removes the group.  What is in its volumes stays where it is.
    pub(super) fn remove(&self) -> io::Result<Told> {
        self.lvm("vgremove", &["-y", "-f", &self.group.name])
    }

    /// Takes away what made an empty drive ours.  The label goes last but for one sector, which nobody takes for content:
    /// whoever is killed here finds out where he was.
    pub(super) fn unlabel(&self, device: &mut dyn Device) -> io::Result<()> {
        zero(device, AREA_TEXTS, usize::try_from(VOLUMES_START).unwrap_or(AREA_TEXTS))?;
        let told = self.lvm("pvremove", &["-y", &self.device()])?;
        match self.state(device)? {
            State::Remnant => sweep(device),
            State::None => Ok(()),
            State::Foreign | State::Bare | State::Group(_) | State::Other(_) => {
                Err(io::Error::other(format!("its label stays: {}", told.why())))
            }
        }
    }

    fn device(&self) -> String {
        self.drive.to_string_lossy().into_owned()
    }

    fn lvm(&self, verb: &str, words: &[&str]) -> io::Result<Told> {
        let device = self.device();
        (self.run)(self.program, &[&[verb, "--config", CONFIG, "--devices", &device], words].concat())
    }
}

/// A step that did not lead where it should.
pub(super) fn unmoved(told: &Told) -> io::Error {
    io::Error::other(format!("lvm says: {}", told.why()))
}

/// Removes the header that is left of a physical volume.
pub(super) fn sweep(device: &mut dyn Device) -> io::Result<()> {
    zero(device, AREA, AREA_TEXTS)
}

fn zero(device: &mut dyn Device, from: usize, to: usize) -> io::Result<()> {
    let at = u64::try_from(from).map_err(io::Error::other)?;
    device.write(at, &vec![0; to.saturating_sub(from)])?;
    device.barrier()
}

/// The identity in LVM's label, if there is one.
fn member(head: &[u8]) -> Option<Vec<u8>> {
    let sectors = head.chunks(512).take(LABEL_SECTORS);
    let is = |sector: &&[u8]| {
        let (at, kind) = LABEL_KIND;
        sector.starts_with(LABEL) && sector.get(at..at + kind.len()) == Some(kind)
    };
    sectors.into_iter().find(is)?.get(LABEL_MEMBER..LABEL_MEMBER + 32).map(<[u8]>::to_vec)
}

fn is_remnant(head: &[u8]) -> bool {
    let (at, kind) = AREA_KIND;
    let rest = head.get(..AREA).into_iter().chain(head.get(AREA_TEXTS..)).flatten();
    head.get(AREA + at..AREA + at + kind.len()) == Some(kind) && rest.into_iter().all(|byte| *byte == 0)
}

/// The group as LVM writes it down (lvm2, `lib/format_text`): what `vgcfgrestore` takes.
pub(super) fn text(group: &VolumeGroup, drive_bytes: u64, wanted: &[Stretch]) -> String {
    let VolumeGroup { name, id, member } = group;
    let (extent, start) = (EXTENT_BYTES / SECTOR, VOLUMES_START / SECTOR);
    let (sectors, extents) = (drive_bytes / SECTOR, drive_bytes.saturating_sub(VOLUMES_START) / EXTENT_BYTES);
    // Nobody else's machine is to activate the units of a drive that was pulled.
    let mut text = format!(
        "contents = \"Text Format Volume Group\"\nversion = 1\n{name} {{\nid = \"{id}\"\nseqno = 1\nformat = \"lvm2\"\n\
         status = [\"RESIZEABLE\", \"READ\", \"WRITE\"]\nflags = [\"NOAUTOACTIVATE\"]\nextent_size = {extent}\nmax_lv = 0\n\
         max_pv = 0\nmetadata_copies = 0\nphysical_volumes {{\npv0 {{\nid = \"{member}\"\nstatus = [\"ALLOCATABLE\"]\n\
         flags = []\ndev_size = {sectors}\npe_start = {start}\npe_count = {extents}\n}}\n}}\nlogical_volumes {{\n"
    );
    for Stretch { first, extents, volume, id, .. } in wanted {
        let _ = write!(
            text,
            "{volume} {{\nid = \"{id}\"\nstatus = [\"READ\", \"WRITE\", \"VISIBLE\"]\nflags = []\nsegment_count = 1\n\
             segment1 {{\nstart_extent = 0\nextent_count = {extents}\ntype = \"striped\"\nstripe_count = 1\n\
             stripes = [\"pv0\", {first}]\n}}\n}}\n"
        );
    }
    text.push_str("}\n}\n");
    text
}

#[derive(Debug, Deserialize)]
struct Report {
    report: Vec<OfOne>,
}

#[derive(Debug, Deserialize)]
struct OfOne {
    pvseg: Vec<Row>,
}

#[derive(Debug, Deserialize)]
struct Row {
    pv_uuid: String,
    vg_name: String,
    vg_uuid: String,
    vg_extent_size: String,
    pe_start: String,
    pvseg_start: String,
    pvseg_size: String,
    lv_name: String,
    lv_uuid: String,
    segtype: String,
}

/// Runs `lvm`, bounded in time and in bytes.
///
/// # Errors
/// If it does not start, or does not end.
pub fn run(program: &Path, words: &[&str]) -> io::Result<Told> {
    run_for(program, words, WAIT)
}

fn run_for(program: &Path, words: &[&str], wait: Duration) -> io::Result<Told> {
    let mut child = Command::new(program)
        .args(words)
        .env_clear()
        // No file of settings, no questions to udev, no remarks on files that are open.
        .envs([
            ("LC_ALL", "C"),
            ("LVM_SYSTEM_DIR", ""),
            ("DM_DISABLE_UDEV", "1"),
            ("LVM_SUPPRESS_FD_WARNINGS", "1"),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| {
            io::Error::new(error.kind(), format!("{} could not be started: {error}", program.display()))
        })?;
    let out = reader(child.stdout.take(), OUT_BYTES_MAX);
    let words = reader(child.stderr.take(), WORDS_BYTES_MAX);
    let told = out.recv_timeout(wait).and_then(|out| Ok(Told { out, words: words.recv_timeout(wait)? }));
    if told.is_err() {
        // One that waits for a dead drive cannot even be killed: it is left to a thread that waits with it.
        let _ = child.kill();
        thread::spawn(move || child.wait());
        let slow = format!("{} did not end within {} s and was ended", program.display(), wait.as_secs());
        return Err(io::Error::new(io::ErrorKind::TimedOut, slow));
    }
    let _ = child.wait();
    told.map_err(io::Error::other)
}

/// Reads to the end, and keeps so much of it: who stopped reading would stop the program.
fn reader(pipe: Option<impl Read + Send + 'static>, bytes_max: u64) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.by_ref().take(bytes_max).read_to_end(&mut bytes);
            let _ = io::copy(&mut pipe, &mut io::sink());
        }
        let _ = sender.send(bytes);
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_bounded_and_its_complaints_are_told() {
        let sh = |script: &str, wait| run_for(Path::new("/bin/sh"), &["-c", script], wait);
        let long = Duration::from_secs(60);
        let told = sh("echo out; echo 'WARNING: x' >&2; echo '  it is  broken' >&2; echo 'Command failed with status code 5.' >&2; exit 5", long).unwrap();
        assert_eq!((told.out.as_slice(), told.why().as_str()), (&b"out\n"[..], "it is  broken"));
        let told = sh("head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2", long).unwrap();
        assert_eq!((told.out.len(), told.words.len()), (1 << 20, 64 << 10));
        assert_eq!(told.why(), "");
        let slow = sh("exec sleep 60", Duration::from_millis(20)).unwrap_err().to_string();
        assert!(slow.contains("did not end"), "{slow}");
        assert!(
            run(Path::new("/nonexistent"), &[]).unwrap_err().to_string().contains("could not be started")
        );
    }
}
