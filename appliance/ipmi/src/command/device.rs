//! Who the controller is: device id and GUIDs (IPMI 2.0, 20.1, 20.8, 22.14).

use crate::{
    bytes::Reader,
    command::{Link, data, odd},
    error::IpmiError,
    message::{Family, Request},
};

/// What a controller says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Maker's number for the kind of device.
    pub id: u8,
    /// Firmware, as `major.minor`; the minor is told in decimal digits.
    pub firmware: String,
    /// Whether normal operation goes on; otherwise its firmware is being updated or it is starting.
    pub ready: bool,
    /// IPMI version, as `2.0`.
    pub ipmi: String,
    /// IANA number of the maker.
    pub maker: u32,
    /// Maker's number of the product.
    pub product: u16,
    /// Whether it keeps a SEL.
    pub has_sel: bool,
    /// Whether it keeps an SDR repository; otherwise its SDRs are asked as a device's.
    pub has_sdr: bool,
    /// Whether it keeps FRU data.
    pub has_fru: bool,
}

impl Device {
    /// Reads the answer to Get Device ID.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let [id, _revision, major, minor, version, support] = reader.array()?;
        let [low, middle, high] = reader.array()?;
        let product = reader.u16()?;
        Some(Self {
            id,
            firmware: format!("{}.{:02x}", major & 0x7f, minor),
            ready: major & 0x80 == 0,
            ipmi: format!("{}.{}", version & 0x0f, version >> 4),
            // Twenty bits count, the rest is reserved.
            maker: u32::from_le_bytes([low, middle, high & 0x0f, 0]),
            product,
            has_sel: support & 0x04 != 0,
            has_sdr: support & 0x02 != 0,
            has_fru: support & 0x08 != 0,
        })
    }
}

/// Get Device ID.
///
/// # Errors
/// When the controller cannot be asked or answers oddly.
pub async fn id<L: Link>(link: &mut L) -> Result<Device, IpmiError> {
    let request = Request::new("who it is", Family::App, 0x01, &[]);
    let bytes = data(link, &request).await?;
    Device::read(&bytes).ok_or_else(|| odd(link, &request, bytes.len(), "eleven are the least"))
}

/// Get System GUID, as the sixteen bytes were sent: which of three byte orders is meant is not told (22.14).
///
/// # Errors
/// When the controller cannot be asked or answers oddly.
pub async fn system_guid<L: Link>(link: &mut L) -> Result<[u8; 16], IpmiError> {
    let request = Request::new("the system's GUID", Family::App, 0x37, &[]);
    let bytes = data(link, &request).await?;
    Reader::new(&bytes).array().ok_or_else(|| odd(link, &request, bytes.len(), "a GUID has sixteen"))
}

/// The GUID as SMBIOS writes a UUID, if the controller keeps the specification's order: least significant byte
/// first.  Others send SMBIOS's own order; [`guid_variants`] has both.
#[must_use]
pub fn guid_variants(bytes: [u8; 16]) -> [String; 3] {
    let text = |bytes: [u8; 16]| {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default().to_owned();
        [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
    };
    let mut reversed = bytes;
    reversed.reverse();
    let [a, b, c, d, e, f, g, h, rest @ ..] = bytes;
    let [i, j, k, l, m, n, o, p] = rest;
    [text(reversed), text([d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p]), text(bytes)]
}

/// The reading of a GUID that is most likely meant: the first that has a version and a variant as RFC 9562 writes
/// them, SMBIOS' order before the specification's; the latter if none has.
#[must_use]
pub fn likely_guid(bytes: [u8; 16]) -> String {
    let [specification, smbios, plain] = guid_variants(bytes);
    let fits = |text: &&String| {
        let at = |place: usize| text.as_bytes().get(place).copied().unwrap_or(0);
        matches!(at(14), b'1'..=b'8') && matches!(at(19), b'8' | b'9' | b'a' | b'b')
    };
    let found = [&smbios, &specification, &plain].into_iter().find(fits).cloned();
    found.unwrap_or(specification)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_read() {
        // As OpenIPMI's simulator answers it.
        let bytes = [0x20, 0x00, 0x02, 0x31, 0x02, 0x9f, 0x91, 0x12, 0x00, 0x02, 0x0f];
        let device = Device::read(&bytes).unwrap();
        assert_eq!((device.firmware.as_str(), device.ipmi.as_str(), device.maker), ("2.31", "2.0", 0x1291));
        assert!(device.ready && device.has_sel && device.has_fru && device.has_sdr);
        assert_eq!(Device::read(&bytes[..10]), None);
    }

    #[test]
    fn a_guid_has_three_readings() {
        let bytes: [u8; 16] = std::array::from_fn(|at| u8::try_from(at).unwrap());
        let [reversed, smbios, plain] = guid_variants(bytes);
        assert_eq!(reversed, "0f0e0d0c-0b0a-0908-0706-050403020100");
        assert_eq!(smbios, "03020100-0504-0706-0809-0a0b0c0d0e0f");
        assert_eq!(plain, "00010203-0405-0607-0809-0a0b0c0d0e0f");
        assert_eq!(likely_guid(bytes), reversed);
        let smbios = [0xf0, 0xe4, 0xa1, 0x5c, 0, 0, 0, 0x40, 0x80, 0, 0, 0, 0, 0, 0, 1];
        assert_eq!(likely_guid(smbios), "5ca1e4f0-0000-4000-8000-000000000001");
    }
}
