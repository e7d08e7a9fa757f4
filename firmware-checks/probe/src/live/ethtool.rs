//! Ports by the kernel's ethtool call: driver's firmware version, permanent address, the fastest mode.
//!
//! One socket and three questions a port; the netlink form of the same calls would bring an asynchronous crate into a
//! program that needs none.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use appliance_model::{
    Mac,
    inventory::{Inventory, Nic},
};

use crate::nic::no_address;

/// `ETHTOOL_GDRVINFO`, `ETHTOOL_GPERMADDR`, `ETHTOOL_GLINKSETTINGS` (Linux ethtool.h).
const DRIVER: u32 = 0x03;
const PERMANENT: u32 = 0x20;
const LINK: u32 = 0x4c;

/// `struct ethtool_drvinfo`: command, then texts of 32 bytes, the third of them the firmware's version.
const DRIVER_BYTES: usize = 196;
const FIRMWARE: std::ops::Range<usize> = 68..100;

/// `struct ethtool_perm_addr` with room for the longest address, `MAX_ADDR_LEN`.
const PERMANENT_BYTES: usize = 8 + 32;

/// `struct ethtool_link_settings` is 48 bytes, then three masks of up to 127 words each (the count is a signed byte).
const LINK_HEAD: usize = 48;
const LINK_BYTES: usize = LINK_HEAD + 3 * 127 * 4;

/// Speeds in Mbit/s by bit number of `ETHTOOL_LINK_MODE_…_BIT` up to Linux 6.12; ranges are inclusive.
const MODES: [(u32, u32, u32); 33] = [
    (0, 1, 10),
    (2, 3, 100),
    (4, 5, 1_000),
    (12, 12, 10_000),
    (15, 15, 2_500),
    (17, 17, 1_000),
    (18, 20, 10_000),
    (21, 22, 20_000),
    (23, 26, 40_000),
    (27, 30, 56_000),
    (31, 33, 25_000),
    (34, 35, 50_000),
    (36, 39, 100_000),
    (40, 40, 50_000),
    (41, 41, 1_000),
    (42, 46, 10_000),
    (47, 47, 2_500),
    (48, 48, 5_000),
    (52, 56, 50_000),
    (57, 61, 100_000),
    (62, 66, 200_000),
    (67, 68, 100),
    (69, 73, 400_000),
    (75, 79, 100_000),
    (80, 84, 200_000),
    (85, 89, 400_000),
    (90, 91, 100),
    (92, 92, 10),
    (93, 98, 800_000),
    (99, 101, 10),
    (102, 107, 200_000),
    (108, 113, 400_000),
    (114, 120, 800_000),
];

pub(super) fn complete(inventory: &mut Inventory) {
    if inventory.nics.is_empty() {
        return;
    }
    match socket() {
        Ok(socket) => {
            for nic in &mut inventory.nics {
                port(&socket, nic);
            }
            inventory.sources.insert("nics".into(), "/sys/class/net and ethtool".into());
        }
        Err(error) => {
            inventory.gaps.push(format!("ports could not be asked for their firmware: no socket: {error}"));
        }
    }
    // Only the device itself knows the permanent address of a port whose address was changed.
    let known: Vec<String> =
        inventory.nics.iter().filter(|nic| nic.mac.is_some()).filter_map(|nic| nic.name.clone()).collect();
    inventory.gaps.retain(|gap| !known.iter().any(|name| *gap == no_address(name)));
}

fn port(socket: &OwnedFd, nic: &mut Nic) {
    let Some(name) = nic.name.clone() else { return };
    let mut driver = [0_u8; DRIVER_BYTES];
    if ask(socket, &name, DRIVER, &mut driver).is_ok() {
        let text = String::from_utf8_lossy(driver.get(FIRMWARE).unwrap_or_default());
        let text = text.split('\0').next().unwrap_or_default().trim();
        // Drivers without firmware write nothing, or that there is none.
        nic.firmware = (!text.is_empty() && text != "N/A").then(|| text.to_owned());
    }
    let mut address = [0_u8; PERMANENT_BYTES];
    address[4..8].copy_from_slice(&32_u32.to_ne_bytes());
    if ask(socket, &name, PERMANENT, &mut address).is_ok() {
        nic.mac = permanent(&address).or(nic.mac);
    }
    let mut link = [0_u8; LINK_BYTES];
    // The first question is answered with the number of words in a mask, as a negative number.
    if ask(socket, &name, LINK, &mut link).is_ok() {
        let words = i8::from_ne_bytes([link[18]]);
        link.fill(0);
        link[18..19].copy_from_slice(&words.saturating_neg().max(0).to_ne_bytes());
        if words < 0 && ask(socket, &name, LINK, &mut link).is_ok() {
            nic.speed_max_mbps = fastest(&link);
        }
    }
}

fn permanent(answer: &[u8; PERMANENT_BYTES]) -> Option<Mac> {
    let size = u32::from_ne_bytes(*answer[4..].first_chunk()?);
    let address: [u8; 6] = *answer[8..].first_chunk()?;
    (size == 6 && address != [0; 6] && address != [0xff; 6]).then_some(Mac(address))
}

/// The fastest of the supported modes, which are the first mask.
fn fastest(answer: &[u8; LINK_BYTES]) -> Option<u32> {
    let words = usize::try_from(i8::from_ne_bytes([answer[18]])).ok()?;
    let mask = answer.get(LINK_HEAD..LINK_HEAD + words * 4)?;
    let set = |bit: u32| {
        let word = mask.get(usize::try_from(bit / 32).ok()? * 4..)?.first_chunk()?;
        Some(u32::from_ne_bytes(*word) >> (bit % 32) & 1 == 1)
    };
    MODES
        .iter()
        .filter(|(first, last, _)| (*first..=*last).any(|bit| set(bit) == Some(true)))
        .map(|(_, _, speed)| *speed)
        .max()
}

#[expect(unsafe_code, reason = "a socket for an ioctl")]
fn socket() -> io::Result<OwnedFd> {
    // SAFETY: no pointer is passed; the descriptor that comes back is nobody else's.
    unsafe {
        match libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

/// `SIOCETHTOOL` with a request of which the first four bytes are the command.
#[expect(unsafe_code, reason = "an ioctl with a pointer inside")]
fn ask(socket: &OwnedFd, port: &str, command: u32, data: &mut [u8]) -> io::Result<()> {
    const SIOCETHTOOL: libc::c_ulong = 0x8946;
    data.first_chunk_mut()
        .map(|head| *head = command.to_ne_bytes())
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut name = [0 as libc::c_char; libc::IFNAMSIZ];
    // The last byte stays zero.
    for (place, byte) in name.iter_mut().take(libc::IFNAMSIZ - 1).zip(port.bytes()) {
        *place = libc::c_char::from_ne_bytes([byte]);
    }
    let mut request = libc::ifreq {
        ifr_name: name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_data: data.as_mut_ptr().cast() },
    };
    // SAFETY: each caller's buffer has the size that the kernel's structure for its command has, and outlives the call.
    match unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fastest_mode_counts() {
        let mut answer = [0_u8; LINK_BYTES];
        assert_eq!(fastest(&answer), None);
        answer[18] = 4;
        answer[LINK_HEAD] = 0b10_1000;
        assert_eq!(fastest(&answer), Some(1_000));
        // Bit 69: 400GBASE-KR8.
        answer[LINK_HEAD + 8] = 1 << 5;
        assert_eq!(fastest(&answer), Some(400_000));
        answer[18] = 0x80;
        assert_eq!(fastest(&answer), None);
    }

    #[test]
    fn an_address_of_zeros_is_none() {
        let mut answer = [0_u8; PERMANENT_BYTES];
        answer[4..8].copy_from_slice(&6_u32.to_ne_bytes());
        assert_eq!(permanent(&answer), None);
        answer[8] = 2;
        assert_eq!(permanent(&answer), Some(Mac([2, 0, 0, 0, 0, 0])));
    }
}
