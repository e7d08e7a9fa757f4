//! Sensors' readings (IPMI 2.0, 35.14).

use crate::{
    bytes::Reader,
    command::{Link, odd, refused, sdr::Sensor, sensor_words::unit_words},
    error::IpmiError,
    message::{Family, Request},
};

/// What a sensor says now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reading {
    /// A number, in the sensor's unit, and the states.
    Value {
        /// The number.
        value: f64,
        /// Whether a threshold is crossed.
        health: Health,
    },
    /// States only, a bit each (tables 42-2 and 42-3).
    States(u16),
    /// None, for a reason.
    None(&'static str),
}

/// How a number stands to its thresholds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// Within.
    Fine,
    /// Beyond the first.
    Warning,
    /// Beyond the second.
    Critical,
    /// Beyond the third.
    BeyondRecovery,
}

impl Health {
    fn of(states: u8) -> Self {
        match states {
            states if states & 0x24 != 0 => Self::BeyondRecovery,
            states if states & 0x12 != 0 => Self::Critical,
            states if states & 0x09 != 0 => Self::Warning,
            _ => Self::Fine,
        }
    }
}

impl Reading {
    /// Reads the answer to Get Sensor Reading.
    #[must_use]
    pub fn read(sensor: &Sensor, bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let [raw, flags] = reader.array()?;
        if flags & 0x20 != 0 {
            return Some(Self::None("the controller has no reading"));
        }
        if flags & 0x40 == 0 {
            return Some(Self::None("the sensor is switched off"));
        }
        let low = reader.byte().unwrap_or(0);
        if let Some(formula) = &sensor.formula {
            let health = if sensor.reading == 1 { Health::of(low & 0x3f) } else { Health::Fine };
            let none = Self::None("its reading is no number");
            return Some(formula.value(raw).map_or(none, |value| Self::Value { value, health }));
        }
        // The highest bit is reserved and set by some.
        let high = reader.byte().unwrap_or(0) & 0x7f;
        Some(Self::States(u16::from_le_bytes([low, high])))
    }

    /// As an operator reads it.
    #[must_use]
    pub fn words(&self, sensor: &Sensor) -> String {
        match self {
            Self::Value { value, health } => {
                let unit = sensor
                    .formula
                    .map_or("", |formula| if formula.percent { "%" } else { unit_words(formula.base_unit) });
                let health = match health {
                    Health::Fine => "",
                    Health::Warning => ", beyond its first threshold",
                    Health::Critical => ", critical",
                    Health::BeyondRecovery => ", beyond recovery",
                };
                // Bytes with a factor have no more than three digits of meaning.
                format!("{} {unit}{health}", (value * 1000.0).round() / 1000.0)
            }
            Self::States(states) => format!("states {states:#06x}"),
            Self::None(why) => (*why).to_owned(),
        }
    }
}

/// Reads a sensor.
///
/// # Errors
/// When the controller cannot be asked or answers oddly.
pub async fn read<L: Link>(link: &mut L, sensor: &Sensor) -> Result<Reading, IpmiError> {
    if sensor.owner != 0x20 {
        return Ok(Reading::None("it is another controller's"));
    }
    let mut request = Request::new("a sensor's reading", Family::Sensor, 0x2d, &[sensor.number]);
    request.unit = sensor.unit;
    let answer = link.ask(&request).await?;
    match answer.code {
        0 => Reading::read(sensor, &answer.data)
            .ok_or_else(|| odd(link, &request, answer.data.len(), "two are the least")),
        // Records are written for all that could be plugged in.
        0xcb | 0xcd | 0xce | 0xd5 => Ok(Reading::None("it is not there")),
        code => Err(refused(link.host(), &request, code)),
    }
}
