//! `scalerforge evidence agreement`: how many boards of one model measured the same firmware.  Advice, never a check.

use std::{path::PathBuf, process::ExitCode};

use attest_verify::agreement::{Agreement, agreement, measured};
use clap::Args;
use serde::Serialize;

use crate::{
    evidence::{decode, read, unix_seconds},
    host::print,
    say,
};

/// Firmware's code: the PCRs that boards of one model should share.  1 and 3 hold settings, which differ.
const CODE: [u8; 2] = [0, 2];
/// Enough digits to tell two values apart by eye.
const DIGITS_SHOWN: usize = 16;

#[derive(Debug, Args)]
pub(crate) struct Files {
    /// Evidence files, of different hosts.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Print the counts as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct NotCounted {
    file: PathBuf,
    why: String,
}

#[derive(Debug, Serialize)]
struct Report {
    agreement: Vec<Agreement>,
    not_counted: Vec<NotCounted>,
}

pub(crate) fn run(call: &Files) -> anyhow::Result<ExitCode> {
    let (mut boards, mut not_counted) = (Vec::new(), Vec::new());
    for file in &call.files {
        let evidence = decode(&read(file)?, &file.display().to_string())?;
        match measured(&evidence, unix_seconds()) {
            Ok(board) => boards.push(board),
            Err(why) => not_counted.push(NotCounted { file: file.clone(), why }),
        }
    }
    let lines = agreement(&boards).into_iter().filter(|line| CODE.contains(&line.pcr)).collect();
    let report = Report { agreement: lines, not_counted };
    if call.json {
        print(&report)?;
        return Ok(ExitCode::SUCCESS);
    }
    for line in &report.agreement {
        say!("{} · firmware {} · PCR {}", line.model, line.firmware, line.pcr);
        for shared in &line.values {
            let digits = shared.value.get(..DIGITS_SHOWN).unwrap_or_default();
            say!("  {:>4} of {} boards  {digits}…", shared.boards, line.boards);
        }
    }
    for file in &report.not_counted {
        say!("not counted: {}: {}", file.file.display(), file.why);
    }
    say!("Advice only: boards can be wrong together. No verdict depends on this.");
    Ok(ExitCode::SUCCESS)
}
