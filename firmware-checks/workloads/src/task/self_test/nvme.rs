//! NVMe Device Self-test (NVM Express Base Specification 2.0, 5.9 and 5.16.1.7).

use super::{SelfTest, Stands};
use crate::device::{Commands, Fields, NvmeCommand, SOON, Transfer, Wrong};

/// Log page 06h: its head, and twenty results of 28 bytes.
const LOG_BYTES: usize = 564;

pub(super) struct Nvme<'a>(pub(super) &'a dyn Commands);

/// Whether the controller has the command (OACS, bit 4), and the minutes of an extended test (EDSTT).
fn offered(identify: &[u8]) -> Option<u16> {
    let fields = Fields(identify);
    (fields.u16(256) & 1 << 4 != 0).then_some(fields.u16(316))
}

/// The operation under way, else the newest result, which has to be of the kind that was asked for.
pub(super) fn stands(log: &[u8], extended: bool) -> Stands {
    let fields = Fields(log);
    if fields.u8(0) & 0x0f != 0 {
        return Stands::Going { permille: u16::from(fields.u8(1) & 0x7f).min(100) * 10 };
    }
    let (code, result) = (fields.u8(4) >> 4, fields.u8(4) & 0x0f);
    if result != 0x0f && code != if extended { 2 } else { 1 } {
        return Stands::Ended { why: "the newest result in its log is of another test".into() };
    }
    let ended = |why: &str| Stands::Ended { why: why.into() };
    match result {
        0 => Stands::Passed,
        1 => ended("aborted by a command"),
        2 => ended("aborted by a reset of the controller"),
        3 => ended("aborted because a namespace was removed"),
        4 => ended("aborted by a format"),
        5 => failed("a fatal error", &fields),
        6 => failed("an unknown segment failed", &fields),
        7 => failed(&format!("segment {} failed", fields.u8(5)), &fields),
        8 => ended("aborted for an unknown reason"),
        9 => ended("aborted by a sanitize operation"),
        0x0f => ended("it is not in its log"),
        other => ended(&format!("result {other:#x}, which the specification does not name")),
    }
}

/// With the place, where bit 1 says that it is told.
fn failed(what: &str, fields: &Fields<'_>) -> Stands {
    let block = u64::from(fields.u32(20)) | u64::from(fields.u32(24)) << 32;
    let place = if fields.u8(6) & 2 != 0 { format!(" at block {block}") } else { String::new() };
    Stands::Failed { what: format!("{what}{place}") }
}

impl SelfTest for Nvme<'_> {
    fn offered(&self, extended: bool) -> Result<Option<u32>, String> {
        let mut page = vec![0; 4096];
        let command = NvmeCommand { opcode: 0x06, cdw10: 1, ..NvmeCommand::default() };
        self.0
            .nvme(command, Transfer::FromDrive(&mut page), SOON)
            .map_err(|why| format!("Identify Controller: {why}"))?;
        let minutes = offered(&page).ok_or(
            "its controller has no Device Self-test (Identify Controller, OACS bit 4): nothing was tested",
        )?;
        Ok(if extended { Some(u32::from(minutes)) } else { Some(2) })
    }

    fn start(&self, extended: bool) -> Result<(), Wrong> {
        self.test(if extended { 2 } else { 1 })
    }

    fn look(&self, extended: bool) -> Result<Stands, Wrong> {
        Ok(stands(&self.page()?, extended))
    }

    /// The results, without the operation under way.
    fn log(&self) -> Result<Vec<u8>, Wrong> {
        Ok(self.page()?.get(4..).unwrap_or_default().to_vec())
    }

    fn abort(&self) -> Result<(), Wrong> {
        self.test(0x0f)
    }
}

impl Nvme<'_> {
    fn page(&self) -> Result<[u8; LOG_BYTES], Wrong> {
        let mut log = [0; LOG_BYTES];
        let words = u32::try_from(LOG_BYTES / 4 - 1).unwrap_or(0);
        let cdw10 = words << 16 | 0x06;
        let command = NvmeCommand { opcode: 0x02, namespace: u32::MAX, cdw10, ..NvmeCommand::default() };
        self.0.nvme(command, Transfer::FromDrive(&mut log), SOON)?;
        Ok(log)
    }

    /// Of all namespaces.
    fn test(&self, code: u32) -> Result<(), Wrong> {
        let command =
            NvmeCommand { opcode: 0x14, namespace: u32::MAX, cdw10: code, ..NvmeCommand::default() };
        self.0.nvme(command, Transfer::None, SOON).map(drop)
    }
}
