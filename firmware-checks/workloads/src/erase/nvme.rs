//! NVMe: Sanitize where the controller has it, else Format NVM with secure erase (NVM Express Base Specification 2.0).

use std::{thread, time::Duration};

use appliance_model::erase::Method;

use crate::device::{Commands, Fields, NvmeCommand, SOON, Transfer, Wrong};

/// Identify, Get Log Page, Format NVM, Sanitize.
const IDENTIFY: u8 = 0x06;
const LOG: u8 = 0x02;
const FORMAT: u8 = 0x80;
const SANITIZE: u8 = 0x84;

/// How long a format may take: a drive that writes its whole capacity needs hours.
const FORMAT_WAIT: Duration = Duration::from_secs(6 * 3600);
/// Between two looks at a sanitize operation.
const LOOK: Duration = Duration::from_secs(1);
/// Looks in a row without an answer until it counts as lost.
const SILENT_MAX: u32 = 600;
/// Namespaces of a controller: as many as one page lists.
const NAMESPACES_MAX: usize = 1024;

/// What a controller can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Offers {
    format: bool,
    /// Format NVM erases all namespaces, whichever is named.
    erases_all: bool,
    sanitize_crypto: bool,
    sanitize_block: bool,
}

impl Offers {
    /// From Identify Controller (CNS 01h): OACS at 256, FNA at 524, SANICAP at 328.
    fn of(page: &[u8]) -> Self {
        let fields = Fields(page);
        let (oacs, fna, sanicap) = (fields.u16(256), fields.u8(524), fields.u32(328));
        Self {
            format: oacs & 2 != 0,
            erases_all: fna & 2 != 0,
            sanitize_crypto: sanicap & 1 != 0,
            sanitize_block: sanicap & 2 != 0,
        }
    }

    /// Sanitize before Format, because it reaches caches and spare blocks too; erased blocks before a lost key, because
    /// they can be looked at.
    fn method(self) -> Option<Method> {
        let rows = [
            (self.sanitize_block, Method::NvmeSanitizeBlock),
            (self.sanitize_crypto, Method::NvmeSanitizeCrypto),
            (self.format, Method::NvmeFormat),
        ];
        rows.into_iter().find(|(offered, _)| *offered).map(|(_, method)| method)
    }
}

/// How a sanitize operation stands (log page 81h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sanitize {
    Never,
    Done,
    Going { permille: u16 },
    Failed,
}

impl Sanitize {
    /// SPROG in bytes 0 and 1, SSTAT in 2 and 3.
    fn of(log: &[u8]) -> Self {
        let fields = Fields(log);
        match fields.u16(2) & 7 {
            0 => Self::Never,
            // 4 is "done, and the blocks were deallocated after all".
            1 | 4 => Self::Done,
            2 => {
                let parts = u32::from(fields.u16(0)) * 1000 / 65536;
                Self::Going { permille: u16::try_from(parts).unwrap_or(0) }
            }
            _ => Self::Failed,
        }
    }
}

/// Format NVM with user data erase (SES 1) of a namespace as it is formatted now.  From Identify Namespace (CNS 00h): FLBAS at 26, DPS at 29.
fn format_dword(page: &[u8]) -> u32 {
    let fields = Fields(page);
    let (flbas, dps) = (u32::from(fields.u8(26)), u32::from(fields.u8(29)));
    let format = flbas & 0x0f | (flbas >> 5 & 3) << 12;
    let metadata = (flbas >> 4 & 1) << 4;
    let protection = (dps & 7) << 5 | (dps >> 3 & 1) << 8;
    format | metadata | protection | 1 << 9
}

/// A controller.
pub(super) struct Nvme<'a> {
    commands: &'a dyn Commands,
    offers: Offers,
}

impl<'a> Nvme<'a> {
    pub(super) fn ask(commands: &'a dyn Commands) -> Result<Self, String> {
        let page = identify(commands, 0, 1)?;
        Ok(Self { commands, offers: Offers::of(&page) })
    }

    pub(super) fn method(&self) -> Result<Method, String> {
        self.offers.method().ok_or_else(|| {
            "its controller has neither Sanitize nor Format NVM (Identify Controller, SANICAP and OACS)"
                .into()
        })
    }

    /// `resumed`: it had begun before a power cut.
    pub(super) fn erase(
        &self,
        method: Method,
        resumed: bool,
        plant: &dyn Fn() -> Result<(), String>,
        told: &dyn Fn(u16),
    ) -> Result<(), String> {
        match method {
            Method::NvmeSanitizeBlock => self.sanitize(2, resumed, plant, told),
            Method::NvmeSanitizeCrypto => self.sanitize(4, resumed, plant, told),
            Method::NvmeFormat => plant().and_then(|()| self.format(told)),
            Method::AtaSanitizeCrypto
            | Method::AtaSanitizeBlock
            | Method::AtaSecurityEnhanced
            | Method::AtaSecurity
            | Method::ScsiSanitizeCrypto
            | Method::ScsiSanitizeBlock
            | Method::ScsiSanitizeOverwrite
            | Method::ScsiFormat => Err(format!("{} is no command of NVMe", method.words())),
        }
    }

    /// A sanitize operation outlives power cuts: one that goes on is followed, not begun again.
    fn sanitize(
        &self,
        action: u32,
        resumed: bool,
        plant: &dyn Fn() -> Result<(), String>,
        told: &dyn Fn(u16),
    ) -> Result<(), String> {
        let goes_on = resumed && matches!(self.sanitize_log(), Ok(Sanitize::Going { .. }));
        if !goes_on {
            plant()?;
            // Unrestricted exit is not asked for: a drive whose sanitize failed must not look usable.
            self.command(NvmeCommand { opcode: SANITIZE, cdw10: action, ..NvmeCommand::default() }, SOON)
                .map_err(|why| format!("it refused to be sanitized: {why}"))?;
        }
        let mut silent = 0;
        loop {
            match self.sanitize_log() {
                Ok(Sanitize::Done) => return Ok(()),
                Ok(Sanitize::Going { permille }) => {
                    silent = 0;
                    told(permille);
                }
                Ok(Sanitize::Failed) => return Err("its sanitize operation failed: destroy it".into()),
                Ok(Sanitize::Never) => {
                    return Err("it took the command and knows of no sanitize operation".into());
                }
                Err(why) if silent >= SILENT_MAX => return Err(format!("its sanitize status: {why}")),
                Err(_) => silent += 1,
            }
            thread::sleep(LOOK);
        }
    }

    fn sanitize_log(&self) -> Result<Sanitize, Wrong> {
        let mut log = [0; 512];
        let command = NvmeCommand {
            opcode: LOG,
            namespace: u32::MAX,
            cdw10: 127 << 16 | 0x81,
            ..NvmeCommand::default()
        };
        self.commands.nvme(command, Transfer::FromDrive(&mut log), SOON)?;
        Ok(Sanitize::of(&log))
    }

    fn format(&self, told: &dyn Fn(u16)) -> Result<(), String> {
        let list = identify(self.commands, 0, 2)?;
        let namespaces: Vec<u32> =
            (0..NAMESPACES_MAX).map(|index| Fields(&list).u32(index * 4)).take_while(|id| *id != 0).collect();
        let (Some(first), count) = (namespaces.first(), namespaces.len()) else {
            return Err("it lists no namespace".into());
        };
        let whole = [u32::MAX];
        let named = if self.offers.erases_all { &whole[..] } else { &namespaces };
        for (index, namespace) in named.iter().enumerate() {
            told(u16::try_from(index * 1000 / count).unwrap_or(0));
            let page = identify(self.commands, if *namespace == u32::MAX { *first } else { *namespace }, 0)?;
            let cdw10 = format_dword(&page);
            let command =
                NvmeCommand { opcode: FORMAT, namespace: *namespace, cdw10, ..NvmeCommand::default() };
            self.command(command, FORMAT_WAIT)
                .map_err(|why| format!("Format NVM of namespace {namespace:#x}: {why}"))?;
        }
        Ok(())
    }

    fn command(&self, command: NvmeCommand, wait: Duration) -> Result<u32, Wrong> {
        self.commands.nvme(command, Transfer::None, wait)
    }
}

fn identify(commands: &dyn Commands, namespace: u32, what: u32) -> Result<Vec<u8>, String> {
    let mut page = vec![0; 4096];
    let command = NvmeCommand { opcode: IDENTIFY, namespace, cdw10: what, ..NvmeCommand::default() };
    commands
        .nvme(command, Transfer::FromDrive(&mut page), SOON)
        .map_err(|why| format!("Identify ({what:02x}h): {why}"))?;
    Ok(page)
}

#[cfg(test)]
mod tests;
