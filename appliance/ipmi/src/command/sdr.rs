//! Sensor data records: which sensors and FRUs there are (IPMI 2.0, 33 and 43).
//!
//! A repository is a chain of records, each naming the next: the walk is bounded, knows where it was, and starts a
//! record again when the controller cancels the reservation.

use std::collections::BTreeSet;

use crate::{
    bytes::Reader,
    command::{Link, data, device, odd, refused, text},
    error::IpmiError,
    message::{Family, Request},
};

/// A record that means something here.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// A sensor.
    Sensor(Sensor),
    /// Where FRU data is.
    Fru(FruLocator),
    /// Another kind of record, by its number.
    Other(u8),
}

/// A sensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Sensor {
    /// Its name.
    pub name: String,
    /// Address of the controller that has it; 0x20 is the one that is spoken to.
    pub owner: u8,
    /// Logical unit of the owner.
    pub unit: u8,
    /// Its number.
    pub number: u8,
    /// Kind (table 42-3).
    pub kind: u8,
    /// Kind of reading (table 42-1): 1 is compared with thresholds.
    pub reading: u8,
    /// Entity it belongs to, and which of them (table 43-13).
    pub entity: (u8, u8),
    /// How to make a number of its reading; `None` for those that have states only.
    pub formula: Option<Formula>,
}

/// How a byte becomes a number: `y = L((m x + b 10^b_exponent) 10^exponent)` (36.3).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Formula {
    signed: Signed,
    linearization: u8,
    m: i16,
    b: i16,
    b_exponent: i8,
    exponent: i8,
    /// Base unit (table 43-15).
    pub base_unit: u8,
    /// Whether it is a percentage.
    pub percent: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signed {
    No,
    OnesComplement,
    TwosComplement,
}

/// Where FRU data is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FruLocator {
    /// Its name.
    pub name: String,
    /// Address of the controller that has it.
    pub owner: u8,
    /// Device number, for Read FRU Data.
    pub device: u8,
    /// Whether it is read by that number, rather than as an EEPROM on a bus.
    pub logical: bool,
    /// Entity it belongs to, and which of them.
    pub entity: (u8, u8),
}

/// A number of so many bits, its upper bits in a byte of their own, with a sign.
fn signed_bits(value: u16, bits: u32) -> i16 {
    let sign = 1i32 << (bits - 1);
    let value = i32::from(value);
    let value = if value & sign == 0 { value } else { value - (sign << 1) };
    i16::try_from(value).unwrap_or(0)
}

fn nibble(value: u8) -> i8 {
    i8::try_from(signed_bits(u16::from(value & 0x0f), 4)).unwrap_or(0)
}

impl Formula {
    /// From the units and the factors of a full record (bytes 21 to 30 of table 43-1).
    fn read(units: [u8; 3], factors: [u8; 7]) -> Option<Self> {
        let [linearization, m, m_high, b, b_high, _accuracy, exponents] = factors;
        let signed = match units[0] >> 6 {
            0 => Signed::No,
            1 => Signed::OnesComplement,
            2 => Signed::TwosComplement,
            // It has no number.
            _ => return None,
        };
        let ten = |low: u8, high: u8| signed_bits(u16::from(low) | (u16::from(high >> 6) << 8), 10);
        let linearization = linearization & 0x7f;
        // Beyond 11 the factors change with the reading and are to be asked for with each; not done.
        (linearization < 12).then_some(Self {
            signed,
            linearization,
            m: ten(m, m_high),
            b: ten(b, b_high),
            b_exponent: nibble(exponents),
            exponent: nibble(exponents >> 4),
            base_unit: units[1],
            percent: units[0] & 1 != 0,
        })
    }

    /// The number that a raw reading stands for; `None` if there is none (a logarithm of nothing).
    #[must_use]
    pub fn value(&self, raw: u8) -> Option<f64> {
        let raw = match self.signed {
            Signed::No => i16::from(raw),
            Signed::OnesComplement if raw & 0x80 != 0 => i16::from(raw.cast_signed()) + 1,
            Signed::OnesComplement | Signed::TwosComplement => i16::from(raw.cast_signed()),
        };
        let ten = |exponent: i8| 10f64.powi(i32::from(exponent));
        let line = (f64::from(self.m) * f64::from(raw) + f64::from(self.b) * ten(self.b_exponent))
            * ten(self.exponent);
        let value = match self.linearization {
            0 => line,
            1 => line.ln(),
            2 => line.log10(),
            3 => line.log2(),
            4 => line.exp(),
            5 => 10f64.powf(line),
            6 => line.exp2(),
            7 => line.recip(),
            8 => line.powi(2),
            9 => line.powi(3),
            10 => line.sqrt(),
            11 => line.cbrt(),
            _ => return None,
        };
        value.is_finite().then_some(value)
    }
}

/// A record: its header (id, version, kind, length) and what follows it.
#[must_use]
pub fn read_record(bytes: &[u8]) -> Option<Record> {
    let mut reader = Reader::new(bytes);
    reader.skip(3)?;
    let (kind, length) = (reader.byte()?, usize::from(reader.byte()?));
    let body = reader.take(length)?;
    match kind {
        0x01..=0x03 => sensor(kind, body).map(Record::Sensor),
        0x11 => fru(body).map(Record::Fru),
        other => Some(Record::Other(other)),
    }
}

/// Full, compact and event-only records begin alike (tables 43-1 to 43-3).
fn sensor(kind: u8, body: &[u8]) -> Option<Sensor> {
    let mut reader = Reader::new(body);
    let [owner, unit, number, entity, instance] = reader.array()?;
    if kind == 0x03 {
        let [sensor_kind, reading] = reader.array()?;
        reader.skip(4)?;
        let (unit, entity) = (unit & 3, (entity, instance));
        let name = name(reader)?;
        return Some(Sensor { name, owner, unit, number, kind: sensor_kind, reading, entity, formula: None });
    }
    reader.skip(2)?;
    let [sensor_kind, reading] = reader.array()?;
    reader.skip(6)?;
    let units = reader.array()?;
    let formula = if kind == 0x01 {
        let factors = reader.array()?;
        // Flags, nominal and normal values, limits, thresholds, hysteresis, reserved, OEM.
        reader.skip(17)?;
        Formula::read(units, factors)
    } else {
        reader.skip(8)?;
        None
    };
    let (unit, entity) = (unit & 3, (entity, instance));
    Some(Sensor { name: name(reader)?, owner, unit, number, kind: sensor_kind, reading, entity, formula })
}

fn fru(body: &[u8]) -> Option<FruLocator> {
    let mut reader = Reader::new(body);
    let [owner, device, access, _channel, _, _, _, entity, instance, _] = reader.array()?;
    let logical = access & 0x80 != 0;
    Some(FruLocator { name: name(reader)?, owner, device, logical, entity: (entity, instance) })
}

/// The name at a record's end; shorter than told is taken as it is, some controllers cut it.
fn name(mut reader: Reader<'_>) -> Option<String> {
    let code = reader.byte()?;
    let rest = reader.rest();
    let length = usize::from(code & 0x1f).min(rest.len());
    Some(text::decode(code >> 6, rest.get(..length)?))
}

/// What was read of a repository.
#[derive(Debug, Clone, PartialEq)]
pub struct Repository {
    /// Records.
    pub records: Vec<Record>,
    /// Records that could not be read.
    pub odd: usize,
    /// Why this is not all of it; `None` if it is.
    pub cut: Option<&'static str>,
}

/// No machine has more; the largest seen have some 500.
pub const RECORDS_MAX: usize = 4096;
/// How often a record is begun again because another program took the reservation.
const RESERVATIONS_MAX: u32 = 8;
/// First try for the bytes of one answer; halved while the controller says that it is too much.
const PIECE_BYTES: u8 = 64;
const PIECE_BYTES_MIN: u8 = 8;
/// Header of a record.
const HEADER_BYTES: u8 = 5;

/// Where records are kept.
struct Shelf {
    family: Family,
    take: u8,
    reserve: u8,
    reservation: [u8; 2],
    piece: u8,
}

/// Reads all records: of the repository, or of the controller itself where it keeps none.
///
/// # Errors
/// When the controller cannot be asked, or its answers do not fit.
pub async fn read<L: Link>(link: &mut L) -> Result<Repository, IpmiError> {
    let (family, take, reserve) = if device::id(link).await?.has_sdr {
        (Family::Storage, 0x23, 0x22)
    } else {
        (Family::Sensor, 0x21, 0x22)
    };
    let mut shelf = Shelf { family, take, reserve, reservation: [0; 2], piece: PIECE_BYTES };
    shelf.reserve(link).await?;
    let mut found = Repository { records: Vec::new(), odd: 0, cut: None };
    let (mut next, mut seen) = (0u16, BTreeSet::new());
    while next != 0xffff {
        if !seen.insert(next) {
            found.cut = Some("its records lead in a circle");
            break;
        }
        if seen.len() > RECORDS_MAX {
            found.cut = Some("it has more records than any machine");
            break;
        }
        let Some((after, bytes)) = shelf.record(link, next).await? else {
            // An empty repository has no first record.
            found.cut = (next != 0).then_some("a record vanished meanwhile");
            break;
        };
        match read_record(&bytes) {
            Some(record) => found.records.push(record),
            None => found.odd += 1,
        }
        next = after;
    }
    Ok(found)
}

impl Shelf {
    async fn reserve<L: Link>(&mut self, link: &mut L) -> Result<(), IpmiError> {
        let request = Request::new("reserving its sensor records", self.family, self.reserve, &[]);
        let bytes = data(link, &request).await?;
        let reservation = Reader::new(&bytes).array();
        self.reservation =
            reservation.ok_or_else(|| odd(link, &request, bytes.len(), "a reservation has two"))?;
        Ok(())
    }

    /// A record and the number of the next; `None` if there is no such record.
    async fn record<L: Link>(&mut self, link: &mut L, id: u16) -> Result<Option<(u16, Vec<u8>)>, IpmiError> {
        let mut reserved = 0;
        let mut bytes: Vec<u8> = Vec::new();
        loop {
            let length = bytes.get(4).map_or(HEADER_BYTES, |rest| rest.saturating_add(HEADER_BYTES));
            let have = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
            let wanted = length.saturating_sub(have).min(self.piece);
            let (low, high) = (id.to_le_bytes()[0], id.to_le_bytes()[1]);
            let [first, second] = self.reservation;
            let body = [first, second, low, high, have, wanted];
            let request = Request::new("a sensor record", self.family, self.take, &body);
            let answer = link.ask(&request).await?;
            match answer.code {
                0 => {}
                0xc5 if reserved < RESERVATIONS_MAX => {
                    reserved += 1;
                    self.reserve(link).await?;
                    bytes.clear();
                    continue;
                }
                0xc7 | 0xc8 | 0xca | 0xff if self.piece > PIECE_BYTES_MIN => {
                    self.piece /= 2;
                    continue;
                }
                0xcb => return Ok(None),
                code => return Err(refused(link.host(), &request, code)),
            }
            let mut reader = Reader::new(&answer.data);
            let (after, piece) = (reader.u16(), reader);
            let (Some(after), Some(piece)) = (after, piece.rest().get(..usize::from(wanted))) else {
                return Err(odd(link, &request, answer.data.len(), "fewer bytes than were asked for"));
            };
            bytes.extend_from_slice(piece);
            let whole = bytes.get(4).map_or(HEADER_BYTES, |rest| rest.saturating_add(HEADER_BYTES));
            if bytes.len() >= usize::from(HEADER_BYTES) && bytes.len() >= usize::from(whole) {
                return Ok(Some((after, bytes)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_made_as_36_3_says() {
        let formula = |units: u8, factors| Formula::read([units, 1, 0], factors).unwrap();
        let near =
            |value: Option<f64>, wanted: f64| assert!((value.unwrap() - wanted).abs() < 1e-9, "{value:?}");
        near(formula(0, [0, 1, 0, 0, 0, 0, 0]).value(42), 42.0);
        // m 150: a fan.  m 16 with R exponent -3: volts.
        near(formula(0, [0, 150, 0, 0, 0, 0, 0]).value(40), 6000.0);
        near(formula(0, [0, 16, 0, 0, 0, 0, 0xd0]).value(100), 1.6);
        // Ten-bit m of -1, ten-bit b of 300, b exponent 1.
        near(formula(0, [0, 0xff, 0xc0, 0x2c, 0x40, 0, 0x01]).value(1), 2999.0);
        near(formula(0x80, [0, 1, 0, 0, 0, 0, 0]).value(0xff), -1.0);
        near(formula(0x40, [0, 1, 0, 0, 0, 0, 0]).value(0xfe), -1.0);
        near(formula(0, [7, 1, 0, 0, 0, 0, 0]).value(4), 0.25);
        assert_eq!(formula(0, [7, 1, 0, 0, 0, 0, 0]).value(0), None);
        assert_eq!(formula(0, [1, 1, 0, 0, 0, 0, 0]).value(0), None);
        assert_eq!(Formula::read([0xc0, 0, 0], [0; 7]), None);
        assert_eq!(Formula::read([0, 0, 0], [0x70, 0, 0, 0, 0, 0, 0]), None);
    }

    #[test]
    fn a_compact_record_with_a_reserved_modifier_is_read() {
        // The byte that makes `ipmi-rs-core` panic: sharing with bits 5:4 of 2 or 3.
        let mut body = vec![0x20, 0, 9, 7, 1, 0, 0, 0x0d, 0x6f, 0, 0, 0, 0, 0, 0, 0xc0, 0, 0];
        body.extend([0x30, 0, 0, 0, 0, 0, 0, 0, 0xc4]);
        body.extend(b"HDD0");
        let bytes = [&[9, 0, 0x51, 2, u8::try_from(body.len()).unwrap()][..], &body].concat();
        match read_record(&bytes) {
            Some(Record::Sensor(sensor)) => {
                assert_eq!((sensor.name.as_str(), sensor.number, sensor.formula), ("HDD0", 9, None));
            }
            other => panic!("{other:?}"),
        }
        for cut in 0..bytes.len() {
            assert_eq!(read_record(&bytes[..cut]), None);
        }
    }
}
