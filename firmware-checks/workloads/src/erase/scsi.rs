//! SCSI: SANITIZE where the drive has it, else FORMAT UNIT (SBC-4; SPC-4 for what is supported).

use std::{thread, time::Duration};

use appliance_model::erase::Method;

use super::Follow;
use crate::device::{Commands, SOON, ScsiAnswer, Transfer, Wrong};

/// Service actions of SANITIZE.
const OVERWRITE: u8 = 1;
const BLOCK: u8 = 2;
const CRYPTO: u8 = 3;

/// Between two looks: a disk needs many hours.
const LOOK: Duration = Duration::from_secs(2);
/// Looks in a row without an answer until it counts as lost.
const SILENT_MAX: u32 = 300;

/// REPORT SUPPORTED OPERATION CODES for one command; with a service action if it has some.
fn supported_query(opcode: u8, action: Option<u8>) -> [u8; 12] {
    let (options, action) = action.map_or((1, 0), |action| (2, action));
    [0xa3, 0x0c, options, opcode, 0, action, 0, 0, 0, 64, 0, 0]
}

/// SUPPORT 011b: "as the standard says".
fn supported(answer: &[u8]) -> bool {
    answer.get(1).is_some_and(|byte| byte & 7 == 3)
}

/// SANITIZE, answered at once; an overwrite is one pass of zeros.
fn sanitize(action: u8) -> ([u8; 10], &'static [u8]) {
    let list: &[u8] = if action == OVERWRITE { &[1, 0, 0, 4, 0, 0, 0, 0] } else { &[] };
    let length = if action == OVERWRITE { 8 } else { 0 };
    ([0x48, 0x80 | action, 0, 0, 0, 0, 0, 0, length, 0], list)
}

/// FORMAT UNIT, answered at once, with the protection that the drive has: byte 12 of READ CAPACITY (16).
fn format(protection: u8) -> ([u8; 6], [u8; 4]) {
    let (information, usage) = match (protection & 1, protection >> 1 & 7) {
        (0, _) => (0, 0),
        (_, 0) => (2, 0),
        (_, 1) => (3, 0),
        (_, _) => (3, 1),
    };
    ([0x04, information << 6 | 0x10, 0, 0, 0, 0], [usage, 2, 0, 0])
}

/// What REQUEST SENSE says of an operation in the background.
fn stands(sense: [u8; 32]) -> Follow {
    let answer = ScsiAnswer { status: 2, sense };
    match answer.sense() {
        // Sanitize, or format, in progress.
        (_, 0x04, 0x1b | 0x04) => Follow::Going { permille: answer.progress().unwrap_or(0) },
        // Not ready in another way: it goes on to get ready.
        (2, _, _) => Follow::Going { permille: 0 },
        // FORMAT COMMAND FAILED and SANITIZE COMMAND FAILED, and whatever is broken.
        (3 | 4, _, _) | (_, 0x31, _) => Follow::Failed,
        (_, _, _) => Follow::Done,
    }
}

/// A drive.
pub(super) struct Scsi<'a>(pub(super) &'a dyn Commands);

impl Scsi<'_> {
    pub(super) fn method(&self) -> Result<Method, String> {
        let rows = [
            (0x48, Some(BLOCK), Method::ScsiSanitizeBlock),
            (0x48, Some(CRYPTO), Method::ScsiSanitizeCrypto),
            (0x48, Some(OVERWRITE), Method::ScsiSanitizeOverwrite),
            (0x04, None, Method::ScsiFormat),
        ];
        for (opcode, action, method) in rows {
            let mut answer = [0; 64];
            let asked = self.0.scsi(&supported_query(opcode, action), Transfer::FromDrive(&mut answer), SOON);
            if asked.and_then(ScsiAnswer::done).is_ok() && supported(&answer) {
                return Ok(method);
            }
        }
        Err("it says of neither SANITIZE nor FORMAT UNIT that it has it (REPORT SUPPORTED OPERATION CODES)"
            .into())
    }

    /// `resumed`: it had begun before a power cut.
    pub(super) fn erase(
        &self,
        method: Method,
        resumed: bool,
        plant: &dyn Fn() -> Result<(), String>,
        told: &dyn Fn(u16),
    ) -> Result<(), String> {
        // A sanitize operation outlives a power cut, a format does not.
        if !(resumed && matches!(self.stands(), Ok(Follow::Going { .. }))) {
            plant()?;
            self.begin(method).map_err(|why| format!("it refused {}: {why}", method.words()))?;
        }
        let mut silent = 0;
        loop {
            match self.stands() {
                Ok(Follow::Done) => return Ok(()),
                Ok(Follow::Going { permille }) => {
                    silent = 0;
                    told(permille);
                }
                Ok(Follow::Failed) => return Err(format!("{} failed: destroy it", method.words())),
                Err(why) if silent >= SILENT_MAX => {
                    return Err(format!("it does not say how far it is: {why}"));
                }
                Err(_) => silent += 1,
            }
            thread::sleep(LOOK);
        }
    }

    fn begin(&self, method: Method) -> Result<(), Wrong> {
        let give = |command: &[u8], list: &[u8]| {
            let data = if list.is_empty() { Transfer::None } else { Transfer::ToDrive(list) };
            self.0.scsi(command, data, SOON)?.done().map(drop)
        };
        let action = match method {
            Method::ScsiSanitizeBlock => BLOCK,
            Method::ScsiSanitizeCrypto => CRYPTO,
            Method::ScsiSanitizeOverwrite => OVERWRITE,
            Method::ScsiFormat => {
                let mut capacity = [0; 32];
                let command = [0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0];
                self.0.scsi(&command, Transfer::FromDrive(&mut capacity), SOON)?.done()?;
                let (command, list) = format(capacity[12]);
                return give(&command, &list);
            }
            Method::NvmeSanitizeCrypto
            | Method::NvmeSanitizeBlock
            | Method::NvmeFormat
            | Method::AtaSanitizeCrypto
            | Method::AtaSanitizeBlock
            | Method::AtaSecurityEnhanced
            | Method::AtaSecurity => return Err(Wrong::System("no command of SCSI".into())),
        };
        let (command, list) = sanitize(action);
        give(&command, list)
    }

    fn stands(&self) -> Result<Follow, Wrong> {
        let mut sense = [0; 32];
        self.0.scsi(&[0x03, 0, 0, 0, 32, 0], Transfer::FromDrive(&mut sense), SOON)?.done()?;
        Ok(stands(sense))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands() {
        assert_eq!(supported_query(0x48, Some(2)), [0xa3, 0x0c, 2, 0x48, 0, 2, 0, 0, 0, 64, 0, 0]);
        assert!(supported(&[0, 3]) && !supported(&[0, 1]) && !supported(&[]));
        assert_eq!(sanitize(BLOCK), ([0x48, 0x82, 0, 0, 0, 0, 0, 0, 0, 0], &[][..]));
        assert_eq!(sanitize(OVERWRITE).1, [1, 0, 0, 4, 0, 0, 0, 0]);
        // Protection types 0 (none), 1, 2 and 3 stay.
        for (byte, expected) in [(0x0e, (0x10, 0)), (0x01, (0x90, 0)), (0x03, (0xd0, 0)), (0x05, (0xd0, 1))] {
            let (command, list) = format(byte);
            assert_eq!((command[1], list[0]), expected, "{byte:#x}");
        }
    }

    #[test]
    fn how_far_it_is() {
        let fixed = |key: u8, asc: u8, ascq: u8, progress: u8| {
            let mut sense = [0; 32];
            (sense[0], sense[2], sense[12], sense[13]) = (0x70, key, asc, ascq);
            (sense[15], sense[16]) = (0x80, progress);
            stands(sense)
        };
        for (found, expected) in [
            (fixed(2, 4, 0x1b, 0x40), Follow::Going { permille: 250 }),
            (fixed(0, 4, 0x04, 0x80), Follow::Going { permille: 500 }),
            (fixed(2, 4, 0x01, 0), Follow::Going { permille: 0 }),
            (fixed(0, 0, 0, 0), Follow::Done),
            (fixed(3, 0x31, 0x03, 0), Follow::Failed),
            (fixed(5, 0x31, 0x01, 0), Follow::Failed),
        ] {
            assert_eq!(found, expected);
        }
    }
}
