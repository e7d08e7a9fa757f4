//! Sensors, their records, the event log and the inventory (IPMI 2.0, chapters 31, 33 to 35; FRU 1.3).

use super::codec::Message;
use super::{Context, Reply, byte, code, privilege, word};
use crate::bmc::clock;
use crate::bmc::journal::{RECORDS_MAX, Record, event};
use crate::bmc::sensors::{SENSORS, Sensor};
use crate::spec::HostSpec;

/// The reservation that is always the current one: nobody else changes these lists.
const RESERVATION: [u8; 2] = [0x01, 0x00];

pub(super) fn command(context: &mut Context<'_>, message: &Message) -> Reply {
    context.needs(privilege::USER)?;
    let data = message.data.as_slice();
    match (message.function, message.command) {
        (0x04, 0x27) => thresholds(byte(data, 0)?),
        (0x04, 0x2d) => reading(context, byte(data, 0)?),
        (0x04, 0x2f) => sensor(byte(data, 0)?).map(|sensor| vec![sensor.kind.ipmi().0, 0x01]),
        (0x0a, 0x10) => fru_info(context, data),
        (0x0a, 0x11) => fru_read(context, data),
        (0x0a, 0x20) => sdr_info(),
        (0x0a, 0x22 | 0x42) => Ok(RESERVATION.to_vec()),
        (0x0a, 0x23) => sdr(data),
        (0x0a, 0x28) => Ok(time(clock::seconds())),
        (0x0a, 0x40) => sel_info(context),
        (0x0a, 0x43) => sel(context, data),
        (0x0a, 0x44) => sel_add(context, data),
        (0x0a, 0x46) => sel_remove(context, data),
        (0x0a, 0x47) => sel_clear(context, data),
        (0x0a, 0x48) => Ok(time(clock::seconds())),
        // The clock is the host's and is not set.
        (0x0a, 0x49) => context.needs(privilege::OPERATOR).map(|()| Vec::new()),
        // UTC offset: unspecified.
        (0x0a, 0x5c) => Ok(vec![0xff, 0x07]),
        _ => Err(code::INVALID_COMMAND),
    }
}

/// Seconds since 1970 in four bytes, which last until 2106.
fn time(seconds: u64) -> Vec<u8> {
    u32::try_from(seconds).unwrap_or(u32::MAX).to_le_bytes().to_vec()
}

/// Sensors are numbered from one.
fn sensor(number: u8) -> Result<&'static Sensor, u8> {
    let place = usize::from(number).checked_sub(1).ok_or(code::NOT_PRESENT)?;
    SENSORS.get(place).ok_or(code::NOT_PRESENT)
}

fn reading(context: &Context<'_>, number: u8) -> Reply {
    let sensor = sensor(number)?;
    // Fans and consumption stand still without power.
    let still = matches!(sensor.kind.redfish(), "Rotational" | "Power") && !context.desk.server.is_on();
    Ok(vec![if still { 0 } else { sensor.raw }, 0xc0, 0xc0, 0x00])
}

/// The upper critical threshold in raw steps, where there is one.
fn critical(sensor: &Sensor) -> Option<u8> {
    let critical = sensor.critical?;
    let per_step = sensor.reading / f64::from(sensor.raw.max(1));
    (sensor.raw..=u8::MAX).find(|raw| f64::from(*raw) * per_step >= critical)
}

fn thresholds(number: u8) -> Reply {
    let critical = critical(sensor(number)?);
    // Which are readable; lower three, upper non-critical, critical, non-recoverable.
    Ok(vec![if critical.is_some() { 0x10 } else { 0 }, 0, 0, 0, 0, critical.unwrap_or(0), 0])
}

fn sdr_info() -> Reply {
    let count = u16::try_from(SENSORS.len() + 1).unwrap_or(u16::MAX).to_le_bytes();
    let mut answer = vec![0x51, count[0], count[1], 0x00, 0x08];
    answer.extend([0; 8]);
    answer.push(0x22);
    Ok(answer)
}

/// Get SDR: reservation, record, offset, count.
fn sdr(data: &[u8]) -> Reply {
    let (id, offset, count) = (word(data, 2)?, usize::from(byte(data, 4)?), usize::from(byte(data, 5)?));
    let last = u16::try_from(SENSORS.len()).unwrap_or(u16::MAX);
    let id = if id == 0xffff { last } else { id };
    let record = match SENSORS.get(usize::from(id)) {
        Some(sensor) => sensor_record(id, sensor),
        None if id == last => fru_record(id),
        None => return Err(code::NOT_PRESENT),
    };
    let next = if id == last { 0xffff } else { id + 1 };
    let rest = record.get(offset..).ok_or(code::OUT_OF_RANGE)?;
    let mut answer = next.to_le_bytes().to_vec();
    answer.extend(rest.get(..count.min(rest.len())).unwrap_or_default());
    Ok(answer)
}

/// A full sensor record (IPMI 2.0, table 43-1).
fn sensor_record(id: u16, sensor: &Sensor) -> Vec<u8> {
    let (kind, unit) = sensor.kind.ipmi();
    let number = u8::try_from(id + 1).unwrap_or(u8::MAX);
    let (step, exponent) = sensor.step;
    let critical = critical(sensor);
    let readable = if critical.is_some() { 0x10 } else { 0x00 };
    let entity = match kind {
        0x01 if number > 1 => 0x03,
        0x04 => 0x1d,
        0x0b => 0x0a,
        _ => 0x07,
    };
    let mut body = vec![0x20, 0x00, number, entity, number, 0x7f, 0x68, kind, 0x01];
    // Assertions, deassertions, readable and settable thresholds.
    body.extend([0x00, 0x00, 0x00, 0x00, readable, 0x00]);
    body.extend([0x00, unit, 0x00, 0x00, step, 0x00, 0x00, 0x00, 0x00]);
    body.push(exponent.to_le_bytes()[0] << 4);
    // Nominal reading given, then normal range, sensor range and thresholds.
    body.extend([
        0x01,
        sensor.raw,
        0xff,
        0x00,
        0xff,
        0x00,
        0x00,
        critical.unwrap_or(0),
        0x00,
        0x00,
        0x00,
        0x00,
    ]);
    body.extend([0x01, 0x01, 0x00, 0x00, 0x00]);
    body.extend(type_length(sensor.name));
    record(id, 0x01, &body)
}

/// A FRU device locator (IPMI 2.0, table 43-7).
fn fru_record(id: u16) -> Vec<u8> {
    let mut body = vec![0x20, 0x00, 0x80, 0x00, 0x00, 0x10, 0x00, 0x07, 0x01, 0x00];
    body.extend(type_length("Builtin FRU"));
    record(id, 0x11, &body)
}

fn record(id: u16, kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = id.to_le_bytes().to_vec();
    bytes.extend([0x51, kind, u8::try_from(body.len()).unwrap_or(u8::MAX)]);
    bytes.extend(body);
    bytes
}

/// A text with its type (8-bit ASCII) and length before it; longer texts than the field allows are cut.
fn type_length(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes().get(..text.len().min(31)).unwrap_or_default();
    let mut field = vec![0xc0 | u8::try_from(bytes.len()).unwrap_or(0)];
    field.extend(bytes);
    field
}

fn sel_info(context: &Context<'_>) -> Reply {
    let count = context.desk.journal.records().len();
    let free = (RECORDS_MAX - count.min(RECORDS_MAX)) * 16;
    let (added, cleared) = context.desk.journal.times();
    let mut answer = vec![0x51];
    answer.extend(u16::try_from(count).unwrap_or(u16::MAX).to_le_bytes());
    answer.extend(u16::try_from(free).unwrap_or(u16::MAX).to_le_bytes());
    answer.extend(time(added));
    answer.extend(time(cleared));
    // Deletion and reservation are supported.
    answer.push(0x0a);
    Ok(answer)
}

/// Get SEL Entry: reservation, record, offset, count.
fn sel(context: &Context<'_>, data: &[u8]) -> Reply {
    let (id, offset, count) = (word(data, 2)?, usize::from(byte(data, 4)?), usize::from(byte(data, 5)?));
    let records = context.desk.journal.records();
    let place = match id {
        0x0000 => Some(0),
        0xffff => records.len().checked_sub(1),
        id => records.iter().position(|record| record.id == id),
    };
    let (place, found) =
        place.and_then(|place| Some((place, records.get(place)?))).ok_or(code::NOT_PRESENT)?;
    let next = records.get(place + 1).map_or(0xffff, |record| record.id);
    let bytes = sel_record(found);
    let rest = bytes.get(offset..).ok_or(code::OUT_OF_RANGE)?;
    let mut answer = next.to_le_bytes().to_vec();
    answer.extend(rest.get(..count.min(rest.len())).unwrap_or_default());
    Ok(answer)
}

/// A system event record (IPMI 2.0, table 32-1).
fn sel_record(record: &Record) -> Vec<u8> {
    let mut bytes = record.id.to_le_bytes().to_vec();
    bytes.push(0x02);
    bytes.extend(time(record.seconds));
    // From the BMC itself.
    bytes.extend([0x20, 0x00, 0x04]);
    bytes.extend(record.event);
    bytes
}

fn sel_add(context: &Context<'_>, data: &[u8]) -> Reply {
    context.needs(privilege::OPERATOR)?;
    let event: [u8; 6] =
        data.get(10..16).and_then(|bytes| bytes.try_into().ok()).ok_or(code::INVALID_LENGTH)?;
    let record = context.desk.journal.write("OK", "An event was added by IPMI.", event);
    Ok(record.id.to_le_bytes().to_vec())
}

fn sel_remove(context: &Context<'_>, data: &[u8]) -> Reply {
    context.needs(privilege::OPERATOR)?;
    let id = word(data, 2)?;
    if context.desk.journal.remove(id) { Ok(id.to_le_bytes().to_vec()) } else { Err(code::NOT_PRESENT) }
}

fn sel_clear(context: &Context<'_>, data: &[u8]) -> Reply {
    context.needs(privilege::OPERATOR)?;
    if data.get(2..5) != Some(b"CLR") {
        return Err(code::INVALID_FIELD);
    }
    if byte(data, 5)? == 0xaa {
        context.desk.journal.clear();
        context.desk.journal.write("OK", "The log was cleared.", event::CLEARED);
    }
    // Erasure is complete.
    Ok(vec![0x01])
}

fn fru_info(context: &Context<'_>, data: &[u8]) -> Reply {
    if byte(data, 0)? != 0 {
        return Err(code::NOT_PRESENT);
    }
    let size = u16::try_from(fru(context.desk.server.spec()).len()).unwrap_or(u16::MAX).to_le_bytes();
    Ok(vec![size[0], size[1], 0x00])
}

fn fru_read(context: &Context<'_>, data: &[u8]) -> Reply {
    if byte(data, 0)? != 0 {
        return Err(code::NOT_PRESENT);
    }
    let (offset, count) = (usize::from(word(data, 1)?), usize::from(byte(data, 3)?));
    let whole = fru(context.desk.server.spec());
    let rest = whole.get(offset..).ok_or(code::OUT_OF_RANGE)?;
    let piece = rest.get(..count.min(rest.len())).unwrap_or_default();
    let mut answer = vec![u8::try_from(piece.len()).unwrap_or(0)];
    answer.extend(piece);
    Ok(answer)
}

/// Chassis, board and product areas with what SMBIOS says (Platform Management FRU Information Storage 1.3).
fn fru(spec: &HostSpec) -> Vec<u8> {
    let chassis = area(&[0x17], &["CSE-LAB", &spec.chassis_serial()]);
    // Minutes since 1996 of the making: unspecified.
    let board = area(&[0x19, 0, 0, 0], &[&spec.manufacturer, "X-LAB", &spec.board_serial(), "X-LAB", ""]);
    let product = area(
        &[0x19],
        &[&spec.manufacturer, &spec.product, "LAB-2N", "1.0", &spec.serial, &spec.asset_tag, ""],
    );
    let mut bytes = vec![0x01, 0x00];
    let mut at = 8;
    for part in [&chassis, &board, &product] {
        bytes.push(u8::try_from(at / 8).unwrap_or(0));
        at += part.len();
    }
    bytes.extend([0x00, 0x00]);
    bytes.push(zero_sum(&bytes));
    bytes.extend(chassis);
    bytes.extend(board);
    bytes.extend(product);
    bytes
}

fn area(head: &[u8], fields: &[&str]) -> Vec<u8> {
    let mut bytes = vec![0x01, 0x00];
    bytes.extend(head);
    for field in fields {
        bytes.extend(type_length(field));
    }
    bytes.push(0xc1);
    let whole = (bytes.len() + 1).next_multiple_of(8);
    bytes.resize(whole - 1, 0);
    if let Some(length) = bytes.get_mut(1) {
        *length = u8::try_from(whole / 8).unwrap_or(0);
    }
    bytes.push(zero_sum(&bytes));
    bytes
}

fn zero_sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg()
}
