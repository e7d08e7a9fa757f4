//! What a controller says of its machine and of itself, and what is odd about how it says it.

use std::collections::BTreeMap;

use appliance_model::{PowerState, inventory::Inventory};
use serde::Serialize;

use crate::{
    evidence::Body,
    pin::{Certificate, Pin},
    quirks::{QuirkNote, Switch},
};

/// A controller's account of its machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BmcView {
    /// The machine.
    pub inventory: Inventory,
    /// What was missing or odd.
    pub findings: Vec<Finding>,
    /// The resource of the machine itself (`/redfish/v1/Systems/1`).
    pub system: String,
    /// The resource of its manager.
    pub manager: Option<String>,
    /// What the service calls itself.
    pub service: Service,
    /// Boot override targets it offers; empty where it does not say.
    pub boot_targets: Vec<String>,
    /// Whether it can be given a boot URL (`HttpBootUri`).
    pub http_boot_uri: bool,
    /// Reset types it offers; empty where it does not say.
    pub reset_types: Vec<String>,
    /// Power state.
    pub power: PowerState,
    /// Boot override, order and options.
    pub boot: Boot,
    /// Slots for virtual media.
    pub media: Vec<MediaSlot>,
    /// Secure Boot, where it can be read.
    pub secure_boot: Option<SecureBoot>,
    /// BIOS settings as the controller shows them: name to value.
    pub bios: BTreeMap<String, String>,
    /// Where BIOS settings are changed (`@Redfish.Settings`).
    pub bios_settings: Option<String>,
    /// Temperatures, fans, power, voltages.
    pub sensors: Vec<Sensor>,
    /// Power supplies.
    pub power_supplies: Vec<PowerSupply>,
    /// Chassis, the machine's own first.
    pub chassis: Vec<Chassis>,
    /// PCIe devices.
    pub pcie: Vec<PcieDevice>,
    /// Firmware by component.
    pub firmware: Vec<Firmware>,
    /// How updates are taken.
    pub update: Update,
    /// Licences it has; `None` where it does not say.
    pub licences: Option<Vec<Licence>>,
    /// What needs a licence.
    pub gates: Vec<Gate>,
    /// Event log entries, bounded.
    pub logs: Vec<LogEntry>,
    /// Network services of the controller.
    pub services: Vec<NetworkService>,
    /// Rules for accounts, and the accounts.
    pub accounts: Option<Accounts>,
    /// How events are delivered.
    pub events: Events,
    /// The controller's key.
    pub pin: Option<Pin>,
    /// Its certificate, when one was shown.
    pub certificate: Option<Certificate>,
    /// What it is known to do otherwise.
    pub quirks: Vec<QuirkNote>,
    #[serde(skip)]
    pub(crate) switches: Vec<Switch>,
    /// Digests of all it said, by resource.
    pub bodies: Vec<Body>,
}

impl BmcView {
    /// With the machine and nothing else.
    pub(crate) fn bare(inventory: Inventory) -> Self {
        Self {
            inventory,
            findings: Vec::new(),
            system: String::new(),
            manager: None,
            service: Service::default(),
            boot_targets: Vec::new(),
            http_boot_uri: false,
            reset_types: Vec::new(),
            power: PowerState::Unknown,
            boot: Boot::default(),
            media: Vec::new(),
            secure_boot: None,
            bios: BTreeMap::new(),
            bios_settings: None,
            sensors: Vec::new(),
            power_supplies: Vec::new(),
            chassis: Vec::new(),
            pcie: Vec::new(),
            firmware: Vec::new(),
            update: Update::default(),
            licences: None,
            gates: Vec::new(),
            logs: Vec::new(),
            services: Vec::new(),
            accounts: None,
            events: Events::default(),
            pin: None,
            certificate: None,
            quirks: Vec::new(),
            switches: Vec::new(),
            bodies: Vec::new(),
        }
    }
}

/// What the service root says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Service {
    /// `Vendor`.
    pub vendor: Option<String>,
    /// `Product`.
    pub product: Option<String>,
    /// `RedfishVersion`.
    pub redfish: Option<String>,
    /// `UUID`.
    pub uuid: Option<String>,
    /// Model of the manager.
    pub manager_model: Option<String>,
}

/// Boot override, order and options.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Boot {
    /// Override target now.
    pub target: Option<String>,
    /// `Disabled`, `Once` or `Continuous`.
    pub enabled: Option<String>,
    /// `UEFI` or `Legacy`.
    pub mode: Option<String>,
    /// `HttpBootUri` now.
    pub http_boot_uri: Option<String>,
    /// References in the order they are tried.
    pub order: Vec<String>,
    /// What the references stand for.
    pub options: Vec<BootOption>,
    /// The settings resource that takes changes of the override, where there is one.
    pub settings: Option<String>,
}

/// One boot option.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BootOption {
    /// `Boot0001`.
    pub reference: String,
    /// Display name.
    pub name: Option<String>,
    /// UEFI device path.
    pub path: Option<String>,
    /// Whether it is tried.
    pub enabled: Option<bool>,
}

/// A slot for virtual media.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MediaSlot {
    /// The resource.
    pub url: String,
    /// `CD`, `DVD`, `USBStick`, `Floppy`.
    pub kinds: Vec<String>,
    /// Whether something is in it.
    pub inserted: Option<bool>,
    /// What is in it.
    pub image: Option<String>,
    /// Whether it offers `InsertMedia`.
    pub insert: bool,
    /// Whether it offers `EjectMedia`.
    pub eject: bool,
    /// Whether it stands below the system (else below the manager).
    pub of_system: bool,
}

/// Secure Boot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SecureBoot {
    /// The resource.
    pub url: String,
    /// Whether it is to be on (after the next reset).
    pub enabled: Option<bool>,
    /// Whether this boot enforces it.
    pub current: Option<bool>,
    /// `UserMode`, `SetupMode`, `AuditMode`, `DeployedMode`.
    pub mode: Option<String>,
    /// Databases it shows (`PK`, `KEK`, `db`, `dbx`); `None`: it has no such collection.
    pub databases: Option<Vec<String>>,
    /// Whether keys can be reset.
    pub reset_keys: bool,
}

/// What a sensor measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SensorKind {
    /// Thousandths of a degree Celsius.
    Temperature,
    /// Thousandths of revolutions a minute.
    FanSpeed,
    /// Thousandths of a percent of a fan's range.
    FanPercent,
    /// Thousandths of a watt.
    Power,
    /// Thousandths of a volt.
    Voltage,
    /// Thousandths of an ampere.
    Current,
    /// Thousandths of whatever it is.
    Other,
}

/// A reading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sensor {
    /// Name.
    pub name: String,
    /// What it measures, in which unit.
    pub kind: SensorKind,
    /// The reading, in thousandths of the kind's unit; `None` where it gives none now.
    pub value_milli: Option<i64>,
    /// `OK`, `Warning`, `Critical`.
    pub health: Option<String>,
}

/// A power supply.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PowerSupply {
    /// Name.
    pub name: Option<String>,
    /// Model.
    pub model: Option<String>,
    /// Serial.
    pub serial: Option<String>,
    /// Firmware.
    pub firmware: Option<String>,
    /// Capacity in watts.
    pub watts: Option<u32>,
    /// `OK`, `Warning`, `Critical`.
    pub health: Option<String>,
}

/// A chassis.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Chassis {
    /// The resource.
    pub url: String,
    /// `RackMount`, `Enclosure`, `Component`.
    pub kind: Option<String>,
    /// Model.
    pub model: Option<String>,
    /// Serial.
    pub serial: Option<String>,
    /// Part number.
    pub part: Option<String>,
    /// Row in the data centre.
    pub row: Option<String>,
    /// Rack.
    pub rack: Option<String>,
    /// Rack unit, from below.
    pub unit: Option<u32>,
    /// What is printed where it sits.
    pub label: Option<String>,
}

/// A PCIe device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PcieDevice {
    /// The resource.
    pub url: String,
    /// Name.
    pub name: Option<String>,
    /// Maker.
    pub maker: Option<String>,
    /// Model.
    pub model: Option<String>,
    /// Serial.
    pub serial: Option<String>,
    /// Firmware.
    pub firmware: Option<String>,
    /// Link now (`Gen5 x16`).
    pub link: Option<String>,
    /// The most it could do.
    pub link_max: Option<String>,
}

/// One component's firmware.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Firmware {
    /// `BIOS`, `BMC`, `FW_GPU_SXM_1`.
    pub component: String,
    /// Name, where it says more than the component.
    pub name: Option<String>,
    /// Version as told.
    pub version: Option<String>,
    /// Whether it can be updated through the controller.
    pub updateable: Option<bool>,
}

/// How updates are taken.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Update {
    /// Multipart push.
    pub multipart: Option<String>,
    /// Plain push.
    pub push: Option<String>,
    /// `SimpleUpdate`.
    pub simple: Option<String>,
}

/// A licence of the controller.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Licence {
    /// Name (`SFT-DCMS-SINGLE`).
    pub name: String,
    /// `Production`, `Trial`.
    pub kind: Option<String>,
    /// When it ends, as told.
    pub until: Option<String>,
}

/// Something that needs a licence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gate {
    /// What.
    pub what: String,
    /// One of these is needed.
    pub needs: Vec<String>,
    /// Whether one is there; `None` where the controller does not say.
    pub open: Option<bool>,
}

/// An entry of an event log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LogEntry {
    /// The log.
    pub log: String,
    /// The entry's id in it.
    pub id: Option<String>,
    /// When, as told.
    pub when: Option<String>,
    /// `OK`, `Warning`, `Critical`.
    pub severity: Option<String>,
    /// What.
    pub message: Option<String>,
}

/// A network service of the controller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NetworkService {
    /// `IPMI`, `SSH`, `KVMIP`, `VirtualMedia`.
    pub name: String,
    /// Whether it is on.
    pub enabled: bool,
    /// Its port.
    pub port: Option<u32>,
}

/// Rules for accounts, and the accounts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Accounts {
    /// Shortest password.
    pub password_chars_min: Option<u32>,
    /// Longest password.
    pub password_chars_max: Option<u32>,
    /// Failed logins until an account is locked; 0: never.
    pub lockout_attempts: Option<u32>,
    /// How long it stays locked, in seconds; 0 may mean until an administrator unlocks it.
    pub lockout_seconds: Option<u32>,
    /// After how many seconds without another one failed logins are forgotten.
    pub lockout_forgotten_seconds: Option<u32>,
    /// Whether a password must have several kinds of characters.
    pub password_complex: Option<bool>,
    /// Accounts that have a name.
    pub accounts: Vec<Account>,
}

/// An account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Account {
    /// The resource.
    pub url: String,
    /// User.
    pub user: String,
    /// Role.
    pub role: Option<String>,
    /// Whether it can log in.
    pub enabled: Option<bool>,
    /// Whether it is locked.
    pub locked: Option<bool>,
}

/// How events are delivered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Events {
    /// Server-sent events.
    pub stream: Option<String>,
    /// Subscriptions.
    pub subscriptions: Option<String>,
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Something is missing that others have.
    Warning,
    /// Part of the inventory could not be read.
    Error,
}

/// Something missing or odd in an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// The resource.
    pub url: String,
    /// What is odd, in words.
    pub what: String,
}
