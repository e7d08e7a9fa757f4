//! Power and boot by IPMI, for controllers without Redfish and as the last rung for the others.

use appliance_ipmi::{
    IpmiError, Session, Timing,
    command::{sdr, sel, sensor},
    handshake::Refusal,
    surface,
};
use appliance_model::{BootTarget, PowerState, ResetKind};

use firmware_checks_burn_in::board::{Event, Look, Of, Reading};

use crate::{chain_of, config, sweep::Failed};

/// Entries of an event log that are read.
const ENTRIES_MAX: usize = 1024;
/// Sensors that are read.
const SENSORS_MAX: usize = 400;

/// Sets PXE for the next boot and starts the machine, from whatever state it is in.
pub(crate) async fn boot_by_pxe(entry: &config::Bmc) -> Result<(), Failed> {
    let mut session = open(entry).await?;
    let started = start(&mut session).await.map_err(|error| failed(&error));
    close(session).await;
    started
}

async fn start(session: &mut Session) -> Result<(), IpmiError> {
    if surface::power_state(session).await? != PowerState::Off {
        surface::reset(session, ResetKind::ForceOff).await?;
    }
    surface::set_boot_once(session, BootTarget::Pxe, surface::Efi::Asked).await?;
    surface::reset(session, ResetKind::On).await.map(drop)
}

/// Whether the machine is on.
pub(crate) async fn is_on(entry: &config::Bmc) -> Result<bool, Failed> {
    let mut session = open(entry).await?;
    let state = surface::power_state(&mut session).await.map_err(|error| failed(&error));
    close(session).await;
    state.map(|state| state == PowerState::On)
}

/// Which machine it is.
pub(crate) async fn identity(entry: &config::Bmc) -> Result<surface::Identity, Failed> {
    let mut session = open(entry).await?;
    let identity = surface::identity(&mut session).await.map_err(|error| failed(&error));
    close(session).await;
    identity
}

/// Sensors and the event log, once.
pub(crate) async fn vitals(entry: &config::Bmc) -> Result<Look, Failed> {
    let mut session = open(entry).await?;
    let seen = look(&mut session).await.map_err(|error| failed(&error));
    close(session).await;
    seen
}

async fn look(session: &mut Session) -> Result<Look, IpmiError> {
    let mut readings = Vec::new();
    let records = sdr::read(session).await?.records;
    let sensors = records.into_iter().filter_map(|record| match record {
        sdr::Record::Sensor(sensor) => Some(sensor),
        sdr::Record::Fru(_) | sdr::Record::Other(_) => None,
    });
    for one in sensors.take(SENSORS_MAX) {
        readings.extend(reading(&one, &sensor::read(session, &one).await?));
    }
    let log = sel::read(session, ENTRIES_MAX).await?;
    let events = log.cut.is_none().then(|| log.entries.iter().map(event).collect());
    Ok(Look { readings, events })
}

/// A number with its unit (IPMI 2.0, table 43-15: 1 degrees Celsius, 6 watts, 18 revolutions a minute).
fn reading(sensor: &sdr::Sensor, read: &sensor::Reading) -> Option<Reading> {
    let sensor::Reading::Value { value, health } = read else { return None };
    let formula = sensor.formula.filter(|formula| !formula.percent);
    let of = match formula.map(|formula| formula.base_unit) {
        Some(1) => Of::Temperature,
        Some(6) => Of::Power,
        Some(18) => Of::Fan,
        Some(_) | None => Of::Other,
    };
    let milli = (value * 1000.0).round();
    #[expect(clippy::cast_possible_truncation, reason = "it is within what f64 holds exactly")]
    let milli = (milli.abs() < 1e15).then_some(milli as i64);
    // Only a sensor that is compared with thresholds says how it is.
    let critical = (sensor.reading == 1).then_some(*health >= sensor::Health::Critical);
    Some(Reading { name: sensor.name.clone(), of, milli, critical })
}

/// A record of the log.  IPMI gives no severity: critical are thresholds' second and third limits, beyond which
/// something went (table 42-2: 2, 4 below, 9, 11 above), and what the kinds of sensors name so (table 42-3).
fn event(entry: &sel::Entry) -> Event {
    let critical = match &entry.event {
        sel::Event::Sensor { asserted: false, .. } | sel::Event::Maker { .. } => false,
        sel::Event::Sensor { kind, reading, data: [offset, ..], .. } => {
            let offset = offset & 0x0f;
            match (*reading, *kind) {
                (1, _) => [2, 4, 9, 11].contains(&offset),
                // Processor: internal error, thermal trip, failures of its self-test and start, machine check.
                (0x6f, 0x07) => [0, 1, 2, 3, 4, 11].contains(&offset),
                // Power supply: failure, lost input.
                (0x6f, 0x08) => [1, 3].contains(&offset),
                // Memory: uncorrectable, too many corrected, critical overtemperature.
                (0x6f, 0x0c) => [1, 5, 10].contains(&offset),
                // Drive: fault.
                (0x6f, 0x0d) => offset == 1,
                // Critical interrupt: bus errors that cannot be corrected, NMI.
                (0x6f, 0x13) => [0, 4, 5, 8, 10, 11].contains(&offset),
                _ => false,
            }
        }
    };
    let when = entry.time.map_or("no time".into(), |time| time.to_string());
    let text = format!("SEL {}: {}", entry.id, entry.words());
    Event { key: format!("SEL {} {when} {}", entry.id, entry.words()), critical, text }
}

async fn open(entry: &config::Bmc) -> Result<Session, Failed> {
    let way = entry.ipmi.as_ref().ok_or("the site file allows no IPMI with this BMC (bmc.ipmi)")?;
    let session = Session::open(way.address, &way.login, way.policy, Timing::default()).await;
    session.map_err(|error| failed(&error))
}

fn failed(error: &IpmiError) -> Failed {
    let refused = matches!(error, IpmiError::NoSession { source: Refusal::Password, .. });
    Failed { why: chain_of(error), refused }
}

async fn close(session: Session) {
    // A session that is not closed ends by itself after a minute.
    if let Err(error) = session.close().await {
        tracing::debug!(error = %chain_of(&error), "an IPMI session was not closed");
    }
}
