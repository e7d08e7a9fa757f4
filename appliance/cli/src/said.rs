//! What services of this machine have to say on its screen: a file for each subject, which the next word replaces.
//!
//! The screen is a program of its own and shows what it finds; who cannot write here still says it in the journal.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use appliance_console::{Level, Line};

/// Where.  It is memory: what was said ends with the machine's run.
pub(crate) const SAID: &str = "/run/scalerforge/said";
/// Subjects that are shown, lines of each, and bytes of each: a screen has no more room.
const SUBJECTS_MAX: usize = 8;
const LINES_MAX: usize = 6;
const BYTES_MAX: u64 = 4 << 10;

/// Says it on the screen, instead of what was said of this subject before; nothing takes it back.
pub(crate) fn on_screen(dir: &Path, subject: &str, lines: &[Line]) {
    let file = dir.join(subject);
    if lines.is_empty() {
        // Nothing to take back is as good.
        let _ = fs::remove_file(&file);
        return;
    }
    let mut text = String::new();
    for Line { level, text: words } in lines {
        let mark = match level {
            Level::Good => "good",
            Level::Warn => "warn",
            Level::Bad => "bad",
        };
        text.push_str(&format!("{mark}\t{}\n", words.replace(['\n', '\t'], " ")));
    }
    let part = file.with_extension("part");
    let written =
        fs::create_dir_all(dir).and_then(|()| write(&part, &text)).and_then(|()| fs::rename(&part, &file));
    if let Err(error) = written {
        eprintln!("scalerforge: the screen cannot be told ({}: {error})", file.display());
    }
}

/// For the screen alone: a password may stand there until it was written down.
fn write(file: &Path, text: &str) -> std::io::Result<()> {
    let mut options = fs::File::options();
    options.write(true).create(true).truncate(true).mode(0o600).open(file)?.write_all(text.as_bytes())
}

/// What was said, subject after subject.
pub(crate) fn read(dir: &Path) -> Vec<Line> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut files: Vec<_> =
        entries.map(|entry| entry.path()).filter(|path| path.extension().is_none()).collect();
    files.sort();
    files.truncate(SUBJECTS_MAX);
    let mut lines = Vec::new();
    for file in files {
        let mut text = Vec::new();
        let read = fs::File::open(&file).and_then(|file| file.take(BYTES_MAX).read_to_end(&mut text));
        if read.is_ok() {
            lines.extend(String::from_utf8_lossy(&text).lines().filter_map(line).take(LINES_MAX));
        }
    }
    lines
}

fn line(text: &str) -> Option<Line> {
    let (mark, words) = text.split_once('\t')?;
    let level = match mark {
        "good" => Level::Good,
        "warn" => Level::Warn,
        "bad" => Level::Bad,
        _ => return None,
    };
    let text = words.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    Some(Line { level, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_read_until_it_is_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("said");
        assert_eq!(read(&dir), []);
        let bad = Line { level: Level::Bad, text: "line 2,\tlan.mode:\nno".into() };
        let good = Line { level: Level::Good, text: "slot a".into() };
        on_screen(&dir, "first-run", &[bad]);
        on_screen(&dir, "update", std::slice::from_ref(&good));
        let found = read(&dir);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].level, found[0].text.as_str()), (Level::Bad, "line 2, lan.mode: no"));
        on_screen(&dir, "first-run", &[]);
        assert_eq!(read(&dir), [good]);
        // Whoever may write there gets no more of the screen than its share.
        fs::write(dir.join("zz"), [vec![0xff; 9000], b"bad\tx\n".repeat(40)].concat()).unwrap();
        fs::write(dir.join("zy"), b"bad\t\x1b[2J\n".repeat(40)).unwrap();
        let found = read(&dir);
        assert_eq!(found.len(), 1 + LINES_MAX, "{found:?}");
        assert!(found.iter().all(|line| !line.text.contains('\u{1b}')));
    }
}
