//! NVMe's SMART / Health Information log (NVM Express Base Specification, log page 02h).

use appliance_model::inventory::Health;

/// Size of the log.
pub const LOG_BYTES: usize = 512;

/// Reads the log.  The drive passes as long as it raises no critical warning, as smartctl has it.
pub fn health(log: &[u8; LOG_BYTES]) -> Health {
    let byte = |offset: usize| log.get(offset).copied().unwrap_or_default();
    // Counters have 128 bits; no drive has lived long enough to need more than 64.
    let counter = |offset: usize| {
        let bytes = log.get(offset..offset + 16).and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
        u64::try_from(u128::from_le_bytes(bytes.unwrap_or_default())).unwrap_or(u64::MAX)
    };
    let kelvin = i32::from(u16::from_le_bytes([byte(1), byte(2)]));
    Health {
        passed: Some(byte(0) == 0),
        critical_warning: Some(byte(0)),
        temperature_celsius: (kelvin > 0).then_some(kelvin - 273),
        available_spare_percent: Some(byte(3)),
        used_percent: Some(byte(5)),
        power_on_hours: Some(counter(128)),
        unsafe_shutdowns: Some(counter(144)),
        media_errors: Some(counter(160)),
        ..Health::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_where_the_specification_puts_them() {
        let mut log = [0_u8; LOG_BYTES];
        log[0] = 0x04;
        log[1..3].copy_from_slice(&310_u16.to_le_bytes());
        log[3] = 98;
        log[5] = 101;
        log[128] = 7;
        log[144] = 8;
        log[160..176].copy_from_slice(&u128::MAX.to_le_bytes());
        let health = health(&log);
        assert_eq!((health.passed, health.critical_warning), (Some(false), Some(4)));
        assert_eq!(health.temperature_celsius, Some(37));
        assert_eq!((health.available_spare_percent, health.used_percent), (Some(98), Some(101)));
        assert_eq!((health.power_on_hours, health.unsafe_shutdowns), (Some(7), Some(8)));
        assert_eq!(health.media_errors, Some(u64::MAX));
    }
}
