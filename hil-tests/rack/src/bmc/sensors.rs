//! The sensors of a simulated server: one list, shown by Redfish and by IPMI.

/// What a sensor measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SensorKind {
    Celsius,
    Rpm,
    Volts,
    Watts,
}

impl SensorKind {
    /// Redfish's word for it.
    pub(crate) fn redfish(self) -> &'static str {
        match self {
            Self::Celsius => "Temperature",
            Self::Rpm => "Rotational",
            Self::Volts => "Voltage",
            Self::Watts => "Power",
        }
    }

    /// The unit in UCUM, as Redfish wants it.
    pub(crate) fn ucum(self) -> &'static str {
        match self {
            Self::Celsius => "Cel",
            Self::Rpm => "{rev}/min",
            Self::Volts => "V",
            Self::Watts => "W",
        }
    }

    /// Sensor type and unit code (IPMI 2.0, tables 42-3 and 43-15).
    pub(crate) fn ipmi(self) -> (u8, u8) {
        match self {
            Self::Celsius => (0x01, 1),
            Self::Rpm => (0x04, 18),
            Self::Volts => (0x02, 4),
            Self::Watts => (0x0b, 6),
        }
    }
}

/// One sensor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sensor {
    pub(crate) id: &'static str,
    pub(crate) name: &'static str,
    pub(crate) kind: SensorKind,
    pub(crate) context: &'static str,
    pub(crate) reading: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// Above it the sensor is critical.
    pub(crate) critical: Option<f64>,
    /// How IPMI codes the reading: raw value, and what one raw step is worth as `step × 10^exponent`.
    pub(crate) raw: u8,
    pub(crate) step: (u8, i8),
}

/// All sensors; the raw values say the same as the readings.
pub(crate) const SENSORS: [Sensor; 7] = [
    sensor("Inlet", "Inlet Temp", SensorKind::Celsius, "Intake", 23.0, (0.0, 60.0), Some(45.0), 23, (1, 0)),
    sensor("CPU1", "CPU1 Temp", SensorKind::Celsius, "CPU", 48.0, (0.0, 110.0), Some(95.0), 48, (1, 0)),
    sensor("Fan1", "FAN1", SensorKind::Rpm, "Fan", 7000.0, (0.0, 25000.0), None, 70, (1, 2)),
    sensor("Fan2", "FAN2", SensorKind::Rpm, "Fan", 7200.0, (0.0, 25000.0), None, 72, (1, 2)),
    sensor("V12", "12V", SensorKind::Volts, "VoltageRegulator", 12.1, (0.0, 20.0), Some(13.2), 121, (1, -1)),
    sensor("V5", "5VSB", SensorKind::Volts, "VoltageRegulator", 5.0, (0.0, 8.0), Some(5.5), 50, (1, -1)),
    sensor("Power", "Power", SensorKind::Watts, "Chassis", 240.0, (0.0, 1600.0), None, 24, (1, 1)),
];

#[expect(clippy::too_many_arguments, reason = "a table's row")]
const fn sensor(
    id: &'static str,
    name: &'static str,
    kind: SensorKind,
    context: &'static str,
    reading: f64,
    (low, high): (f64, f64),
    critical: Option<f64>,
    raw: u8,
    step: (u8, i8),
) -> Sensor {
    Sensor { id, name, kind, context, reading, low, high, critical, raw, step }
}
