//! SCSI: SEND DIAGNOSTIC in the background, and the results in log page 10h (SPC-4, 6.42 and 7.3.21).

use super::{SelfTest, Stands};
use crate::device::{Commands, SOON, ScsiAnswer, Transfer, Wrong};

/// Twenty results of 20 bytes behind a head of 4.
const LOG_BYTES: u8 = 0x94;

pub(super) struct Scsi<'a>(pub(super) &'a dyn Commands);

/// The newest result (parameter 1), which has to be of the kind that was asked for.
pub(super) fn stands(log: &[u8], extended: bool, permille: u16) -> Stands {
    let ended = |why: &str| Stands::Ended { why: why.into() };
    let &[page, _, _, _, 0, 1, _, length, what, number, _, _, ref rest @ ..] = log else {
        return ended("its log cannot be read");
    };
    if page & 0x3f != 0x10 || length < 16 {
        return ended("its log cannot be read");
    }
    let (code, result) = (what >> 5, what & 0x0f);
    if result == 0x0f {
        return Stands::Going { permille };
    }
    if code != if extended { 2 } else { 1 } {
        return ended("the newest result in its log is of another test");
    }
    let place = match rest.first_chunk::<8>() {
        Some(place) if *place != [0xff; 8] => format!(" at block {}", u64::from_be_bytes(*place)),
        Some(_) | None => String::new(),
    };
    match result {
        0 => Stands::Passed,
        1 => ended("aborted by a command"),
        2 => ended("aborted by something else"),
        3 => Stands::Failed { what: format!("an unknown error, and it could not complete{place}") },
        4 => Stands::Failed { what: format!("an unknown segment failed{place}") },
        5..=7 => Stands::Failed { what: format!("segment {number} failed{place}") },
        other => ended(&format!("result {other:#x}, which the specification does not name")),
    }
}

impl Scsi<'_> {
    fn diagnose(&self, code: u8) -> Result<(), Wrong> {
        self.0.scsi(&[0x1d, code << 5, 0, 0, 0, 0], Transfer::None, SOON)?.done().map(drop)
    }

    fn page(&self) -> Result<[u8; 404], Wrong> {
        let mut log = [0; 404];
        let command = [0x4d, 0, 0x40 | 0x10, 0, 0, 0, 0, 1, LOG_BYTES, 0];
        self.0.scsi(&command, Transfer::FromDrive(&mut log), SOON)?.done()?;
        Ok(log)
    }

    /// What REQUEST SENSE tells of the progress, where it does.
    fn progress(&self) -> u16 {
        let mut sense = [0; 32];
        let command = [0x03, 0, 0, 0, 32, 0];
        let answer = self.0.scsi(&command, Transfer::FromDrive(&mut sense), SOON);
        answer.ok().and_then(|_| ScsiAnswer { status: 0, sense }.progress()).unwrap_or(0)
    }
}

impl SelfTest for Scsi<'_> {
    /// A drive without self-tests has no log of them.
    fn offered(&self, _: bool) -> Result<Option<u32>, String> {
        self.log()
            .map_err(|why| format!("it has no log of self-tests (page 10h: {why}): nothing was tested"))?;
        Ok(None)
    }

    fn start(&self, extended: bool) -> Result<(), Wrong> {
        self.diagnose(if extended { 2 } else { 1 })
    }

    fn look(&self, extended: bool) -> Result<Stands, Wrong> {
        let log = self.page()?;
        Ok(match stands(&log, extended, 0) {
            Stands::Going { .. } => Stands::Going { permille: self.progress() },
            ended @ (Stands::Passed | Stands::Failed { .. } | Stands::Ended { .. }) => ended,
        })
    }

    fn log(&self) -> Result<Vec<u8>, Wrong> {
        Ok(self.page()?.to_vec())
    }

    fn abort(&self) -> Result<(), Wrong> {
        self.diagnose(4)
    }
}
