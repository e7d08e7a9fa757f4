//! What makers do otherwise, as data: one table of [`Quirk`]s, each with what it applies to, the [`Switch`]es it turns,
//! its story, its source and the test that stands for it.
//!
//! The rest of the crate asks [`Quirks::has`] and never for a maker; a test looks through the sources for makers' names.
//! An entry without switches is something the tolerant core does for everybody, because asking who it is would be the
//! greater risk; its test shows it.  To add one: an entry in the file of its maker, a test in `tests.rs`.

mod dell;
mod hpe;
mod lenovo;
mod nvidia;
mod others;
mod supermicro;
#[cfg(test)]
mod tests;
mod when;

use serde::Serialize;
use serde_json::Value;

use crate::field;
pub(crate) use when::{When, Who};

/// One deviation of some controllers, firmware or machines.
#[derive(Debug)]
pub(crate) struct Quirk {
    /// Its name, for reports (`supermicro-virtual-cd-is-usbcd`).
    pub(crate) id: &'static str,
    /// Whom it concerns.
    pub(crate) when: When,
    /// What it changes in what we do.
    pub(crate) switches: &'static [Switch],
    /// What happens, in words a technician can check.
    pub(crate) story: &'static str,
    /// Where it was reported.
    pub(crate) source: &'static str,
    /// The test that stands for it.
    #[cfg_attr(not(test), expect(dead_code, reason = "read by the test that checks the table"))]
    pub(crate) test: &'static str,
}

/// Something we do otherwise for some controllers.  Closed: a new behaviour is a new variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Switch {
    // What its answers mean.
    /// The serial on the label, and in SMBIOS, is in `SKU`.
    LabelSerialInSku,
    /// Members of `BootOptions` come in any order; only `BootOrder` is the order.
    BootOptionsUnordered,
    /// An OEM resource holds the boot order, with device names in its texts; `BootOrder` cannot be patched.
    BootOrderInOem,
    /// While locked down it shows the boot order of before.
    BootOrderStaleInLockdown,
    /// OEM children of the boot order exist only after their parent was read.
    ReadBootOrderParentFirst,
    /// Required fields are missing from what `$expand` returns: never ask for it.
    NoExpand,
    /// Dates and reset times are not to be believed.
    ClockFieldsUntrue,
    /// The root lacks links until the controller is restarted.
    RootLinksUntilRestart,
    /// Time stamps of its event stream have an offset without a colon.
    EventOffsetWithoutColon,
    /// It lists no network ports of the machine; the absence is no defect.
    NoPortsListed,
    /// It describes its licences at this path below a manager.
    LicencesAt(&'static str),

    // How to send changes.
    /// `If-Match` is demanded, and only `*` is taken.
    IfMatchStar,
    /// `If-Match: *` is answered with 412.
    NoIfMatchStar,
    /// Only the strong form of a weak entity tag is taken.
    StrongTagOnly,
    /// An `error` object may stand for success.
    ErrorMayMeanSuccess,
    /// Settings are accepted (202) without a task to follow.
    AcceptedWithoutTask,
    /// The job of an accepted change is told in the body of a 200 or 201.
    JobInBody,
    /// A job just made may answer 404 for some seconds.
    JobLateAt404,
    /// It answers that it is reloading, and works again minutes later.
    ReloadsBetweenJobs,
    /// BIOS settings need `@Redfish.SettingsApplyTime`.
    SettingsNeedApplyTime,
    /// Accounts are a fixed number of places: nothing is posted, free ones are written.
    AccountsAreSlots,
    /// A subscription without the kinds of events it is for is refused.
    SubscriptionNeedsEventTypes,
    /// After a stream of events ended, the next one is refused for so many seconds.
    StreamRests(u64),
    /// Its certificate is not a resource of the standard but this one below its manager.
    CertificateByOem(&'static str),
    /// Another certificate is shown only after the controller was restarted.
    CertificateAfterRestart,
    /// Requests of a second client end our session, or exhaust the few there are.
    FewSessions,

    // Boot override.
    /// Target, enabled and mode go together, always.
    FullBootRequest,
    /// The boot mode falls back to legacy when the target is set: set it again afterwards.
    BootModeResets,
    /// `BootSourceOverrideMode` is refused: leave it out.
    NoBootMode,
    /// The boot override is in the settings resource, not in the system.
    BootInSettings,
    /// Only `Once` and `Disabled`.
    OnceOnly,
    /// An override for once is shown as `Continuous`; that the target shows must do.
    OnceShownAsContinuous,
    /// A one-time override may be ignored: believe the booted agent only.
    OnceMayBeIgnored,
    /// Boot changes are refused while the machine is in POST: try again when it is off or booted.
    NoBootChangeInPost,
    /// HTTP boot entries appear only after this BIOS setting is enabled and the machine was restarted.
    HttpBootNeedsBiosSetting(&'static str),
    /// Plain HTTP boot fails until this BIOS setting (one for each HTTP device) allows it.
    HttpBootNeedsTlsModeOff(&'static str),
    /// IPMI's boot flags work with the UEFI bit on some machines and without on others: try both.
    IpmiEfiBitEitherWay,

    // Power.
    /// `ForceRestart` may hang: off, ten seconds, on.
    ForceRestartHangs,
    /// Switching on shortly after switching off is answered with 409: wait and repeat.
    OnConflictsAfterOff,
    /// Requests shortly after a power change are answered with 400: wait and repeat.
    RefusesAfterPowerChange,

    // Virtual media.
    /// The boot target of a virtual CD is `UsbCd`, although `Cd` is offered and accepted.
    VirtualCdIsUsbCd,
    /// The boot target of a virtual CD is `Cd`, although `UsbCd` is offered and accepted.
    VirtualCdIsCd,
    /// `InsertMedia` fails when `Inserted` or `WriteProtected` are sent.
    InsertWithoutFlags,
    /// Slots are filled by PATCH, with `Inserted` true.
    InsertByPatch,
    /// The action needs user and password, any text will do.
    MediaNeedsCredentials,
    /// `EjectMedia` needs a body, `{}`.
    EjectNeedsBody,
    /// Power off before ejecting: the running system would be corrupted.
    PowerOffBeforeEject,
    /// The slot is not free at once after an eject.
    EjectSettlesLate,
    /// Image addresses with `&` or `?` are refused.
    PlainImageUrl,
    /// Slots that lack the action, or answer 405, stand among those that work: try the next.
    SlotsWithoutInsert,
    /// A virtual CD is a DVD slot.
    DvdForCd,
    /// No generic virtual media: by SMB share and this OEM resource below the manager.
    MediaByOem(&'static str),
    /// No generic virtual media that can be relied on.
    NoGenericMedia,
    /// The same slots stand below system and manager: use the system's.
    TwoMediaCollections,

    // BIOS, Secure Boot, updates.
    /// Names the TPM setting may have; a wrong one loops in reboots, so take the one that is there.
    TpmSettingNames(&'static [&'static str]),
    /// Updates and BIOS settings need one of these licences.
    UpdateNeedsLicence(&'static [&'static str]),
    /// Reading Secure Boot may need a licence: a refusal is a licence gate, no defect.
    SecureBootNeedsLicence,
    /// Multipart updates are taken here, although it is not told.
    MultipartAt(&'static str),
    /// Has no resource for the rights of its in-band interface.
    NoKcsPrivilege,
    /// Accounts lack `AccountTypes`: absence means Redfish.
    AccountTypesMissing,
}

/// What a report says of a quirk in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QuirkNote {
    /// Its name.
    pub id: &'static str,
    /// What happens.
    pub story: &'static str,
    /// Where it was reported.
    pub source: &'static str,
}

/// The quirks of one controller.
#[derive(Debug, Clone, Default)]
pub(crate) struct Quirks {
    entries: Vec<&'static Quirk>,
}

/// Every entry of the table.
pub(crate) fn table() -> impl Iterator<Item = &'static Quirk> {
    [supermicro::QUIRKS, dell::QUIRKS, hpe::QUIRKS, lenovo::QUIRKS, nvidia::QUIRKS, others::QUIRKS]
        .into_iter()
        .flatten()
}

impl Quirks {
    /// What applies to somebody.
    pub(crate) fn of(who: &Who) -> Self {
        Self { entries: table().filter(|quirk| quirk.when.holds(who)).collect() }
    }

    /// Whether something is to be done otherwise.
    pub(crate) fn has(&self, switch: Switch) -> bool {
        self.switches().any(|one| one == switch)
    }

    /// All switches in force, for those that carry data.
    pub(crate) fn switches(&self) -> impl Iterator<Item = Switch> + '_ {
        self.entries.iter().flat_map(|quirk| quirk.switches.iter().copied())
    }

    /// The entries in force that change something and are not everybody's.
    pub(crate) fn notes(&self) -> Vec<QuirkNote> {
        let note = |quirk: &&Quirk| QuirkNote { id: quirk.id, story: quirk.story, source: quirk.source };
        self.entries
            .iter()
            .filter(|quirk| !quirk.switches.is_empty() && !quirk.when.is_anyone())
            .map(note)
            .collect()
    }

    /// The serial on the label, which is what SMBIOS types 1 and 3 tell.
    pub(crate) fn label_serial(&self, resource: &Value) -> Option<String> {
        let serial = || field::text(resource, &["SerialNumber"]).filter(|text| !filler(text));
        let sku = || field::text(resource, &["SKU"]);
        if self.has(Switch::LabelSerialInSku) { sku().or_else(serial) } else { serial() }
    }

    /// Entity tags to try for a change, best first: none where nothing else is known to be needed.
    pub(crate) fn entity_tags<'a>(&self, served: Option<&'a str>) -> Vec<Option<&'a str>> {
        let strong = served.map(crate::evidence::strong);
        let mut tags = match self.has(Switch::IfMatchStar) {
            true => vec![Some("*"), None, strong],
            false if self.has(Switch::NoIfMatchStar) => vec![None, strong, served],
            false => vec![None, strong, served, Some("*")],
        };
        if self.has(Switch::StrongTagOnly) {
            tags.retain(|tag| tag.is_none_or(|tag| !tag.starts_with("W/")));
        }
        let mut once = Vec::new();
        for tag in tags {
            if !once.contains(&tag) && (tag.is_some() || once.iter().all(Option::is_some)) {
                once.push(tag);
            }
        }
        once
    }
}

/// Texts that stand where no serial was written.
fn filler(serial: &str) -> bool {
    let plain = serial.trim_matches(['0', '-', ' ', '.']);
    plain.is_empty()
        || ["none", "n/a", "na", "unknown", "default string", "not specified", "null"]
            .iter()
            .any(|text| serial.eq_ignore_ascii_case(text))
}

/// How much a listed system looks like the machine itself; the higher, the more.
///
/// GPU baseboards (DGX H100, GB200, GH200) are listed as second systems, with all signs of a machine on some firmware;
/// virtual systems and resource partitions are not the machine either.
pub(crate) fn likeness(system: &Value) -> u32 {
    let id = field::text(system, &["Id"]).unwrap_or_default();
    let kind = field::text(system, &["SystemType"]);
    let physical = kind.is_none_or(|kind| kind == "Physical");
    let resets = field::at(system, &["Actions", "#ComputerSystem.Reset"]).is_some();
    let boots = field::at(system, &["Boot"]).is_some();
    let bios = field::text(system, &["BiosVersion"]).is_some() || field::link(system, &["Bios"]).is_some();
    let signs = [!id.starts_with("HGX_"), physical, resets, boots, bios];
    // A baseboard may have all the other signs.
    let weights = [16, 8, 4, 2, 1];
    signs.iter().zip(weights).map(|(sign, weight)| if *sign { weight } else { 0 }).sum()
}

/// The network interface between machine and controller is listed among the machine's own (`ToManager` on Supermicro;
/// others say so by a `HostInterface` link).  It is no way to boot and has a made-up address.
pub(crate) fn leads_to_manager(interface: &Value) -> bool {
    let id = field::text(interface, &["Id"]).unwrap_or_default();
    id == "ToManager" || field::at(interface, &["Links", "HostInterface"]).is_some()
}
