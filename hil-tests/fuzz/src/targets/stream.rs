//! Burn-in's result stream: lines of strangers, alone and after a good beginning; what a reader takes, a writer wrote.

use std::sync::LazyLock;

use crate::stream::{AT, outcome, story};
use firmware_checks_burn_in::stream::{Reader, Run, Writer, judge, read};

/// A good stream, cut after its opening.
static OPENED: LazyLock<Run> = LazyLock::new(|| {
    let text: String = story().split_inclusive('\n').take(3).collect();
    read(&text).unwrap()
});

/// One input.
pub fn run(input: &[u8]) {
    let Some((kind, rest)) = input.split_first() else { return };
    let text = String::from_utf8_lossy(rest);
    match kind % 3 {
        0 => whole(&text),
        1 => after(&text),
        _ => written(rest),
    }
}

/// Anything at all.
fn whole(text: &str) {
    match read(text) {
        Ok(run) => {
            let lines = u64::try_from(text.lines().count()).unwrap();
            assert_eq!(run.head.lines, lines);
            let _ = judge(&run);
        }
        Err(refused) => assert!(refused.line >= 1),
    }
}

/// Lines after a good opening: what is refused changes nothing.
fn after(text: &str) {
    let mut reader = Reader::resume(OPENED.clone());
    for line in text.lines() {
        let before = reader.lines();
        match reader.push(line) {
            Ok(()) => assert_eq!(reader.lines(), before + 1),
            Err(refused) => assert_eq!((refused.line, reader.lines()), (before + 1, before)),
        }
    }
    let _ = reader.run().map(judge);
}

/// Whatever is written is read, from any line on.
fn written(bytes: &[u8]) {
    let mut writer = Writer::resume(OPENED.clone());
    let mut reader = Reader::resume(OPENED.clone());
    let tasks: Vec<_> =
        OPENED.opening.course.stages.iter().flat_map(|stage| stage.waves.iter().flatten()).collect();
    for part in bytes.chunks(8) {
        let (verb, rest) = (part[0], &part[1..]);
        let task = tasks[usize::from(verb >> 2) % tasks.len()];
        let boot = u32::from(rest.first().copied().unwrap_or(0) % 3);
        let lines = match verb & 3 {
            0 => writer.begin(task, boot, AT),
            1 | 2 => {
                let (outcome, curves) = outcome(task, boot, rest);
                writer.end(&outcome, &curves, AT)
            }
            _ => {
                let verdict = judge(writer.run().unwrap());
                writer.close(&verdict, AT)
            }
        };
        for line in lines.unwrap_or_default().lines() {
            reader.push(line).unwrap();
            // A power cut here: what was read so far is gone on with, and what follows from its last line is owed.
            if verb & 4 != 0 {
                writer = Writer::resume(reader.run().unwrap().clone());
                break;
            }
        }
        assert_eq!(writer.run().unwrap().head, reader.run().unwrap().head);
    }
}
