//! Names of sensors' kinds and units, as short as operators say them.

/// A kind of sensor (IPMI 2.0, table 42-3).
#[must_use]
pub(super) fn kind_words(kind: u8) -> &'static str {
    match kind {
        0x01 => "temperature",
        0x02 => "voltage",
        0x03 => "current",
        0x04 => "fan",
        0x05 => "chassis intrusion",
        0x06 => "security violation",
        0x07 => "processor",
        0x08 => "power supply",
        0x09 => "power unit",
        0x0a => "cooling",
        0x0b => "other units",
        0x0c => "memory",
        0x0d => "drive slot",
        0x0f => "firmware progress",
        0x10 => "event log",
        0x11 | 0x23 => "watchdog",
        0x12 => "system event",
        0x13 => "critical interrupt",
        0x14 => "button",
        0x15 => "board",
        0x17 => "add-in card",
        0x19 => "chipset",
        0x1b => "cable",
        0x1d => "boot",
        0x1e => "boot error",
        0x1f => "operating system boot",
        0x20 => "operating system stop",
        0x21 => "slot",
        0x22 => "ACPI power state",
        0x25 => "presence",
        0x27 => "LAN",
        0x28 => "controller's health",
        0x29 => "battery",
        0x2b => "version change",
        0x2c => "FRU state",
        0xc0..=0xff => "maker's own",
        _ => "unnamed",
    }
}

/// A unit (IPMI 2.0, table 43-15); empty where it has no short sign.
#[must_use]
pub(super) fn unit_words(unit: u8) -> &'static str {
    match unit {
        1 => "°C",
        2 => "°F",
        3 => "K",
        4 => "V",
        5 => "A",
        6 => "W",
        7 => "J",
        9 => "VA",
        17 => "CFM",
        18 => "RPM",
        19 => "Hz",
        20 => "µs",
        21 => "ms",
        22 => "s",
        23 => "min",
        24 => "h",
        65 => "bit",
        67 => "B",
        _ => "",
    }
}
