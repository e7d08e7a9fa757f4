//! ATA: the SANITIZE feature set where the drive has it, else SECURITY ERASE UNIT (ACS-3; SAT-4 for the wrapping).
//!
//! A security erase needs a password first.  It is a fixed one, written down here, so that a drive that a power cut left
//! locked can be opened by anybody: `hdparm --security-unlock`, or the erase given again.

use std::{thread, time::Duration};

use appliance_model::erase::Method;

use super::Follow;
use crate::device::{Commands, Fields, SOON, ScsiAnswer, Transfer, Wrong};

/// The password of drives that are being erased.
pub(super) const PASSWORD: &[u8; 32] = b"scalerforge is erasing this disk";

/// Commands and features.
const IDENTIFY: u8 = 0xec;
const SANITIZE: u8 = 0xb4;
const SANITIZE_STATUS: u16 = 0x0000;
const SET_PASSWORD: u8 = 0xf1;
const ERASE_PREPARE: u8 = 0xf3;
const ERASE_UNIT: u8 = 0xf4;
/// Features and keys of CRYPTO SCRAMBLE EXT ("Cryp") and BLOCK ERASE EXT ("BkEr").
const CRYPTO: (u16, u32) = (0x0011, 0x4372_7970);
const BLOCK: (u16, u32) = (0x0012, 0x426b_4572);

/// A drive that does not say how long it needs, or that it needs more than it can say.
const ERASE_WAIT_MAX: Duration = Duration::from_secs(48 * 3600);
/// Between two looks.
const LOOK: Duration = Duration::from_secs(2);
/// Looks in a row without an answer until it counts as lost.
const SILENT_MAX: u32 = 300;

/// What IDENTIFY DEVICE says of erasing: words 59, 89, 90 and 128.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Offers {
    sanitize: u16,
    security: u16,
    times: [u16; 2],
}

impl Offers {
    fn of(sector: &[u8]) -> Self {
        let word = |index: usize| Fields(sector).u16(index * 2);
        Self { sanitize: word(59), security: word(128), times: [word(89), word(90)] }
    }

    fn method(self) -> Result<Method, String> {
        // Bit 12 is the feature set, without which the others mean nothing.
        if self.sanitize & 1 << 12 != 0 {
            if self.sanitize & 1 << 15 != 0 {
                return Ok(Method::AtaSanitizeBlock);
            }
            if self.sanitize & 1 << 13 != 0 {
                return Ok(Method::AtaSanitizeCrypto);
            }
        }
        let bit = |bit: u16| self.security & 1 << bit != 0;
        let why = match (bit(0), bit(3), bit(1)) {
            (false, _, _) => {
                "it has neither SANITIZE nor the security feature set (IDENTIFY words 59 and 128)"
            }
            (true, true, _) => {
                "its security is frozen, as most firmware does at boot: unplug and plug the drive while the machine runs, \
                 or let the machine sleep and wake, then allow the erase again"
            }
            (true, false, true) => {
                "a password is set on it that somebody else knows: clear it with `hdparm --security-disable`"
            }
            (true, false, false) if bit(5) => return Ok(Method::AtaSecurityEnhanced),
            (true, false, false) => return Ok(Method::AtaSecurity),
        };
        Err(why.into())
    }

    /// Twice what the drive says, in units of two minutes (ACS-3, words 89 and 90).
    fn wait(self, enhanced: bool) -> Duration {
        let [normal, strong] = self.times;
        let told = if enhanced { strong } else { normal };
        // Bit 15 says that 15 bits count, else 8; all ones is "longer than can be said".
        let (units, most) = if told & 1 << 15 == 0 { (told & 0xff, 0xff) } else { (told & 0x7fff, 0x7fff) };
        if units == 0 || units == most {
            return ERASE_WAIT_MAX;
        }
        Duration::from_secs(u64::from(units) * 240).clamp(Duration::from_secs(3600), ERASE_WAIT_MAX)
    }
}

/// Bytes of a command in ATA PASS-THROUGH (16).
#[derive(Debug, Clone, Copy)]
enum Way {
    /// No data; the registers come back as sense data.
    None,
    /// A sector from the drive.
    In,
    /// A sector to the drive.
    Out,
}

fn pass_through(command: u8, feature: u16, key: u32, way: Way) -> [u8; 16] {
    let (protocol, flags, count) = match way {
        Way::None => (3_u8, 0x20, 0),
        Way::In => (4, 0x0e, 1),
        Way::Out => (5, 0x06, 1),
    };
    // SANITIZE's commands are of the 48-bit set.
    let extend = u8::from(command == SANITIZE);
    let [feature_high, feature_low] = feature.to_be_bytes();
    let [k3, k2, k1, k0] = key.to_be_bytes();
    [
        0x85,
        protocol << 1 | extend,
        flags,
        feature_high,
        feature_low,
        0,
        count,
        k3,
        k0,
        0,
        k1,
        0,
        k2,
        0,
        command,
        0,
    ]
}

/// The sector of SECURITY SET PASSWORD and SECURITY ERASE UNIT: the user's password, high level; bit 1 is "enhanced".
fn password_sector(enhanced: bool) -> [u8; 512] {
    let mut sector = [0; 512];
    if enhanced {
        sector[0] = 2;
    }
    if let Some(place) = sector.get_mut(2..34) {
        place.copy_from_slice(PASSWORD);
    }
    sector
}

/// How a sanitize operation stands: the registers in an ATA Status Return descriptor (SAT-4, 12.2.2.6).
fn sanitize_stands(answer: &ScsiAnswer) -> Option<Follow> {
    let at = |index: usize| answer.sense.get(index).copied().unwrap_or(0);
    if (at(0) & 0x7f, at(8)) != (0x72, 0x09) {
        return None;
    }
    let (done, going) = (at(12) & 0x80 != 0, at(12) & 0x40 != 0);
    let progress = u32::from(u16::from_be_bytes([at(17), at(15)])) * 1000 / 65536;
    Some(match (going, done) {
        (true, _) => Follow::Going { permille: u16::try_from(progress).unwrap_or(0) },
        (false, true) => Follow::Done,
        (false, false) => Follow::Failed,
    })
}

/// A drive.
pub(super) struct Ata<'a>(pub(super) &'a dyn Commands);

impl Ata<'_> {
    fn offers(&self) -> Result<Offers, String> {
        let mut sector = [0; 512];
        self.0
            .scsi(&pass_through(IDENTIFY, 0, 0, Way::In), Transfer::FromDrive(&mut sector), SOON)
            .and_then(ScsiAnswer::done)
            .map_err(|why| format!("IDENTIFY DEVICE: {why}"))?;
        Ok(Offers::of(&sector))
    }

    pub(super) fn method(&self) -> Result<Method, String> {
        self.offers()?.method()
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
            Method::AtaSanitizeBlock => self.sanitize(BLOCK, resumed, plant, told),
            Method::AtaSanitizeCrypto => self.sanitize(CRYPTO, resumed, plant, told),
            Method::AtaSecurityEnhanced => self.security(true, resumed, plant),
            Method::AtaSecurity => self.security(false, resumed, plant),
            Method::NvmeSanitizeCrypto
            | Method::NvmeSanitizeBlock
            | Method::NvmeFormat
            | Method::ScsiSanitizeCrypto
            | Method::ScsiSanitizeBlock
            | Method::ScsiSanitizeOverwrite
            | Method::ScsiFormat => Err(format!("{} is no command of ATA", method.words())),
        }
    }

    fn sanitize(
        &self,
        (feature, key): (u16, u32),
        resumed: bool,
        plant: &dyn Fn() -> Result<(), String>,
        told: &dyn Fn(u16),
    ) -> Result<(), String> {
        if !(resumed && matches!(self.stands(), Ok(Follow::Going { .. }))) {
            plant()?;
            self.0
                .scsi(&pass_through(SANITIZE, feature, key, Way::None), Transfer::None, SOON)
                .and_then(ScsiAnswer::done)
                .map_err(|why| format!("it refused to be sanitized: {why}"))?;
        }
        let mut silent = 0;
        loop {
            match self.stands() {
                Ok(Follow::Done) => return Ok(()),
                Ok(Follow::Going { permille }) => {
                    silent = 0;
                    told(permille);
                }
                Ok(Follow::Failed) => return Err("its sanitize operation failed: destroy it".into()),
                Err(why) if silent >= SILENT_MAX => return Err(format!("its sanitize status: {why}")),
                Err(_) => silent += 1,
            }
            thread::sleep(LOOK);
        }
    }

    fn stands(&self) -> Result<Follow, Wrong> {
        let command = pass_through(SANITIZE, SANITIZE_STATUS, 0, Way::None);
        let answer = self.0.scsi(&command, Transfer::None, SOON)?;
        sanitize_stands(&answer).ok_or_else(|| Wrong::System("no registers came back".into()))
    }

    fn security(
        &self,
        enhanced: bool,
        resumed: bool,
        plant: &dyn Fn() -> Result<(), String>,
    ) -> Result<(), String> {
        let offers = self.offers()?;
        // A drive that the power cut left locked with our password takes neither writes nor another password: what was
        // written there before has to go all the same.
        let locked = resumed && offers.security & 1 << 1 != 0;
        let sector = password_sector(enhanced);
        let send = |command: u8, sector: Option<&[u8]>, wait: Duration| {
            let way = if sector.is_some() { Way::Out } else { Way::None };
            let data = sector.map_or(Transfer::None, Transfer::ToDrive);
            self.0.scsi(&pass_through(command, 0, 0, way), data, wait).and_then(ScsiAnswer::done)
        };
        if !locked {
            plant()?;
            send(SET_PASSWORD, Some(&password_sector(false)), SOON)
                .map_err(|why| format!("SECURITY SET PASSWORD: {why}"))?;
        }
        send(ERASE_PREPARE, None, SOON).map_err(|why| format!("SECURITY ERASE PREPARE: {why}"))?;
        send(ERASE_UNIT, Some(&sector), offers.wait(enhanced)).map_err(|why| {
            format!(
                "SECURITY ERASE UNIT: {why}; the drive may be locked with the password `{}`",
                String::from_utf8_lossy(PASSWORD)
            )
        })?;
        // The password goes with the data; a drive that keeps it has not done what it said.
        match self.offers()?.security & 1 << 1 {
            0 => Ok(()),
            _ => {
                Err("it says that it was erased, and keeps the password that should have gone with it".into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_drive_offers() {
        let sector = |sanitize: u16, security: u16| {
            let mut sector = [0_u8; 512];
            sector[118..120].copy_from_slice(&sanitize.to_le_bytes());
            sector[256..258].copy_from_slice(&security.to_le_bytes());
            sector
        };
        for (sanitize, security, expected) in [
            (0, 0, Err("neither SANITIZE nor")),
            (0xa000, 0, Err("neither SANITIZE nor")),
            (0xb000, 0, Ok(Method::AtaSanitizeBlock)),
            (0x3000, 0x29, Ok(Method::AtaSanitizeCrypto)),
            (0, 0x21, Ok(Method::AtaSecurityEnhanced)),
            (0, 0x01, Ok(Method::AtaSecurity)),
            (0, 0x29, Err("frozen")),
            (0, 0x23, Err("somebody else knows")),
        ] {
            match (Offers::of(&sector(sanitize, security)).method(), expected) {
                (Ok(found), Ok(wanted)) => assert_eq!(found, wanted),
                (Err(why), Err(says)) => assert!(why.contains(says), "{why}"),
                (found, _) => panic!("{sanitize:#x} {security:#x}: {found:?}"),
            }
        }
        let wait = |told: u16| Offers { sanitize: 0, security: 0, times: [told, 0] }.wait(false).as_secs();
        assert_eq!(
            (wait(0), wait(255), wait(2), wait(100), wait(0x8000 | 300)),
            (172_800, 172_800, 3600, 24_000, 72_000)
        );
    }

    #[test]
    fn commands_and_registers() {
        let block = pass_through(SANITIZE, BLOCK.0, BLOCK.1, Way::None);
        assert_eq!(block, [0x85, 7, 0x20, 0, 0x12, 0, 0, 0x42, 0x72, 0, 0x45, 0, 0x6b, 0, 0xb4, 0]);
        let unit = pass_through(ERASE_UNIT, 0, 0, Way::Out);
        assert_eq!(unit, [0x85, 10, 6, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0xf4, 0]);
        assert_eq!(password_sector(true)[..6], [2, 0, b's', b'c', b'a', b'l']);
        let answer = |count: u8, lba: [u8; 2]| {
            let mut sense = [0; 32];
            (sense[0], sense[8], sense[12], sense[17], sense[15]) = (0x72, 0x09, count, lba[0], lba[1]);
            ScsiAnswer { status: 2, sense }
        };
        assert_eq!(sanitize_stands(&answer(0x40, [0x80, 0])), Some(Follow::Going { permille: 500 }));
        assert_eq!(sanitize_stands(&answer(0x80, [0xff, 0xff])), Some(Follow::Done));
        assert_eq!(sanitize_stands(&answer(0, [0, 0])), Some(Follow::Failed));
        assert_eq!(sanitize_stands(&ScsiAnswer { status: 0, sense: [0; 32] }), None);
    }
}
