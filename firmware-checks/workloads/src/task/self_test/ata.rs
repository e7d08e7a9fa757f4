//! ATA: SMART EXECUTE OFF-LINE IMMEDIATE, and how it stands in SMART READ DATA (ACS-3, 7.48; SAT-4).

use super::{SelfTest, Stands};
use crate::device::{Commands, Fields, SOON, Transfer, Wrong};

/// Sub-commands of SMART.
const READ_DATA: u8 = 0xd0;
const EXECUTE: u8 = 0xd4;
const READ_LOG: u8 = 0xd5;
/// The log of self-tests.
const SELF_TESTS: u8 = 0x06;

pub(super) struct Ata<'a>(pub(super) &'a dyn Commands);

/// A SMART command in ATA PASS-THROUGH (16); `low` is LBA bits 7 to 0, `data` whether a sector comes back.
pub(super) fn smart(feature: u8, low: u8, data: bool) -> [u8; 16] {
    // Protocol 4 is PIO in with one block; protocol 3 has no data.
    let (protocol, flags, sectors) = if data { (4 << 1, 0x0e, 1) } else { (3 << 1, 0, 0) };
    [0x85, protocol, flags, 0, feature, 0, sectors, 0, low, 0, 0x4f, 0, 0xc2, 0, 0xb0, 0]
}

/// Whether it has self-tests (byte 367, bit 4), and the minutes of the short or extended one.
fn offered(data: &[u8], extended: bool) -> Option<u32> {
    let fields = Fields(data);
    let minutes = match (extended, fields.u8(373)) {
        (false, _) => u32::from(fields.u8(372)),
        // FFh: it is longer, and told in the word at 375.
        (true, 0xff) => u32::from(fields.u16(375)),
        (true, minutes) => u32::from(minutes),
    };
    (fields.u8(367) & 1 << 4 != 0).then_some(minutes)
}

/// Self-test execution status, byte 363: how it ended above, tenths to go below.
pub(super) fn stands(data: &[u8]) -> Stands {
    let status = Fields(data).u8(363);
    let ended = |why: &str| Stands::Ended { why: why.into() };
    let failed = |what: &str| Stands::Failed { what: what.into() };
    match status >> 4 {
        0 => Stands::Passed,
        1 => ended("aborted by the host"),
        2 => ended("interrupted by a reset"),
        3 => failed("a fatal error, and it could not complete"),
        4 => failed("an unknown element failed"),
        5 => failed("its electronics"),
        6 => failed("its servo or seeking"),
        7 => failed("it could not read"),
        8 => failed("it is suspected to have been mishandled"),
        15 => Stands::Going { permille: 1000 - u16::from(status & 0x0f).min(10) * 100 },
        other => ended(&format!("status {other:#x}, which the specification does not name")),
    }
}

impl Ata<'_> {
    fn data(&self, feature: u8, log: u8) -> Result<[u8; 512], Wrong> {
        let mut data = [0; 512];
        self.0.scsi(&smart(feature, log, true), Transfer::FromDrive(&mut data), SOON)?.done()?;
        Ok(data)
    }

    fn execute(&self, code: u8) -> Result<(), Wrong> {
        self.0.scsi(&smart(EXECUTE, code, false), Transfer::None, SOON)?.done().map(drop)
    }
}

impl SelfTest for Ata<'_> {
    fn offered(&self, extended: bool) -> Result<Option<u32>, String> {
        let data =
            self.data(READ_DATA, 0).map_err(|why| format!("SMART READ DATA: {why}: nothing was tested"))?;
        offered(&data, extended)
            .map(Some)
            .ok_or_else(|| "it has no self-test (SMART READ DATA, byte 367 bit 4): nothing was tested".into())
    }

    fn start(&self, extended: bool) -> Result<(), Wrong> {
        self.execute(if extended { 2 } else { 1 })
    }

    fn look(&self, _: bool) -> Result<Stands, Wrong> {
        Ok(stands(&self.data(READ_DATA, 0)?))
    }

    fn log(&self) -> Result<Vec<u8>, Wrong> {
        Ok(self.data(READ_LOG, SELF_TESTS)?.to_vec())
    }

    fn abort(&self) -> Result<(), Wrong> {
        self.execute(0x7f)
    }
}
