//! The kernel's log from now on: what NVIDIA's driver says of a GPU there (Xid).

use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Read as _, Seek as _, SeekFrom},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

/// A record has at most 8 KiB, and what is read must hold it.
const RECORD_BYTES_MAX: usize = 16 << 10;
/// Records read at a time: whoever floods the log does not hold us up.
const RECORDS_MAX: usize = 10_000;
/// Messages that are kept.
const KEPT_MAX: usize = 256;
/// How much of a message is told.
const TEXT_MAX: usize = 200;

/// What is not counted: the driver cleans up after a program that was ended (NVIDIA, Xid catalogue).
const AFTERMATH: [u32; 2] = [43, 45];

/// What is known of a number (NVIDIA, Xid catalogue).
const MEANINGS: [(u32, &str); 12] = [
    (13, "the graphics engine met an exception"),
    (31, "an address was not mapped"),
    (48, "a memory error of two bits"),
    (62, "the microcontroller stopped"),
    (63, "a row is to be remapped"),
    (64, "a row could not be remapped"),
    (74, "an NVLink error"),
    (79, "the GPU has fallen off the bus"),
    (92, "many corrected memory errors"),
    (94, "a contained memory error"),
    (95, "an uncontained memory error"),
    (119, "the system processor does not answer"),
];

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Xid {
    /// `0000:1b:00`: without the function.
    place: String,
    pub(super) number: u32,
    pub(super) text: String,
}

impl Xid {
    /// In words, where it is known.
    pub(super) fn meaning(&self) -> String {
        let known = MEANINGS.iter().find(|(number, _)| *number == self.number);
        known.map(|(_, meaning)| format!(" ({meaning})")).unwrap_or_default()
    }
}

/// What was said of one GPU.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct About {
    pub(super) lines: Vec<Xid>,
    /// Messages of any GPU that were not kept.
    pub(super) more: u64,
    /// Records were overwritten before they were read.
    pub(super) lost: bool,
}

#[derive(Debug)]
pub(super) struct Log {
    file: File,
    /// The beginning of a line whose end is not read yet.
    rest: Vec<u8>,
    all: About,
}

impl Log {
    /// From its end on; `None` if there is no such log, or not for us.
    pub(super) fn open(root: &Path) -> Option<Self> {
        let mut file =
            OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(root.join("dev/kmsg")).ok()?;
        file.seek(SeekFrom::End(0)).ok()?;
        Some(Self { file, rest: Vec::new(), all: About::default() })
    }

    /// Reads what has come.
    pub(super) fn poll(&mut self) {
        let mut record = vec![0; RECORD_BYTES_MAX];
        for _ in 0..RECORDS_MAX {
            match self.file.read(&mut record) {
                Ok(0) => return,
                Ok(bytes) => self.take(record.get(..bytes).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // What was next is overwritten; reading goes on with what is there.
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => self.all.lost = true,
                Err(_) => return,
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            match parse(&String::from_utf8_lossy(&line)) {
                Some(xid) if self.all.lines.len() < KEPT_MAX => self.all.lines.push(xid),
                Some(_) => self.all.more += 1,
                None => {}
            }
        }
        // No record is so long.
        if self.rest.len() > RECORD_BYTES_MAX {
            self.rest.clear();
        }
    }

    /// What was said of the GPU at this PCI address until now, or of all if that is not known.
    pub(super) fn about(&mut self, pci: Option<&str>) -> About {
        self.poll();
        let here = |xid: &&Xid| {
            pci.is_none_or(|pci| {
                pci.rsplit_once('.').map_or(pci, |(place, _)| place).eq_ignore_ascii_case(&xid.place)
            })
        };
        let lines = self.all.lines.iter().filter(here).cloned().collect();
        About { lines, ..self.all }
    }
}

/// `…NVRM: Xid (PCI:0000:1b:00): 79, pid=…`.
fn parse(line: &str) -> Option<Xid> {
    let (_, rest) = line.split_once("NVRM: Xid (")?;
    let (place, rest) = rest.split_once("): ")?;
    let place = place.strip_prefix("PCI:").unwrap_or(place);
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let number = digits.parse().ok()?;
    let text: String = rest.trim().chars().filter(|letter| !letter.is_control()).take(TEXT_MAX).collect();
    (!AFTERMATH.contains(&number)).then(|| Xid { place: place.to_owned(), number, text })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn messages_are_read() {
        for (line, expected) in [
            (
                "3,1,2,-;NVRM: Xid (PCI:0000:1b:00): 79, pid=7, GPU has fallen off the bus.",
                Some(("0000:1b:00", 79)),
            ),
            ("NVRM: Xid (PCI:0000:1B:00): 48, DBE", Some(("0000:1B:00", 48))),
            ("NVRM: Xid (0000:1b:00): 13, older", Some(("0000:1b:00", 13))),
            ("NVRM: Xid (PCI:0000:1b:00): 45, pid=7", None),
            ("NVRM: Xid (PCI:0000:1b:00): many", None),
            ("NVRM: GPU at PCI:0000:1b:00: GPU-1", None),
            ("NVRM: Xid (", None),
        ] {
            let found = parse(line);
            assert_eq!(found.as_ref().map(|xid| (xid.place.as_str(), xid.number)), expected, "{line}");
        }
    }

    #[test]
    fn only_what_comes_from_now_on_and_only_of_this_gpu() {
        let root = crate::counters::tests::tree(
            "kmsg",
            &[("dev/kmsg", "3,1,1,-;NVRM: Xid (PCI:0000:1b:00): 79, x\n")],
        );
        let mut log = Log::open(&root).unwrap();
        let mut file = OpenOptions::new().append(true).open(root.join("dev/kmsg")).unwrap();
        file.write_all(b"3,2,2,-;NVRM: Xid (PCI:0000:43:00): 48, x\n3,3,3,-;NVRM: Xid (PCI:0000:1B:00)")
            .unwrap();
        assert_eq!(log.about(Some("0000:1b:00.0")).lines, []);
        file.write_all(b": 95, x\n").unwrap();
        let found = log.about(Some("0000:1b:00.0"));
        assert_eq!(found.lines.iter().map(|xid| xid.number).collect::<Vec<_>>(), [95]);
        assert_eq!((log.about(None).lines.len(), found.more, found.lost), (2, 0, false));
        // A line without an end, and a flood.
        log.take(&vec![b'x'; RECORD_BYTES_MAX + 1]);
        assert!(log.rest.is_empty());
        (0..1000).for_each(|_| log.take(b"NVRM: Xid (PCI:0000:1b:00): 63, x\n"));
        let found = log.about(None);
        assert_eq!((found.lines.len(), found.more), (KEPT_MAX, 1002 - KEPT_MAX as u64));
        std::fs::remove_dir_all(root).unwrap();
        assert!(Log::open(Path::new("/nonexistent")).is_none());
    }
}
