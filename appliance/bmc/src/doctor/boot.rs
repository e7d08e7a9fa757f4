//! The ladder: which ways of booting a controller has, and what will surprise at each.

use serde::Serialize;

use crate::{
    doctor::{Area, Level, Notes, OFF, plain},
    quirks::Switch,
    view::BmcView,
};

/// A way to boot a machine once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// The controller is given the address to boot from.
    HttpBootUri,
    /// UEFI HTTP boot, the address by DHCP.
    UefiHttp,
    /// PXE.
    Pxe,
    /// An image in a virtual drive.
    VirtualMedia,
    /// IPMI's boot flags.
    Ipmi,
}

/// How likely it is to work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Chance {
    /// The controller has no such thing.
    No,
    /// It does not say, or something has to be set first.
    Perhaps,
    /// It offers it.
    Yes,
}

/// One rung of the ladder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rung {
    /// The way.
    pub way: Way,
    /// Its chance.
    pub chance: Chance,
    /// Why.
    pub why: String,
}

impl Way {
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::HttpBootUri => "HTTP boot, address given to the controller",
            Self::UefiHttp => "HTTP boot, address by DHCP",
            Self::Pxe => "PXE",
            Self::VirtualMedia => "virtual media",
            Self::Ipmi => "IPMI boot flags",
        }
    }
}

impl Chance {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Perhaps => "perhaps",
            Self::Yes => "yes",
        }
    }
}

pub(crate) fn ladder(view: &BmcView) -> Vec<Rung> {
    [
        (Way::HttpBootUri, uri(view)),
        (Way::UefiHttp, http(view)),
        (Way::Pxe, pxe(view)),
        (Way::VirtualMedia, media(view)),
        (Way::Ipmi, ipmi(view)),
    ]
    .into_iter()
    .map(|(way, (chance, why))| Rung { way, chance, why })
    .collect()
}

/// Whether a boot target is offered; `None` where nothing is told.
fn offers(view: &BmcView, target: &str) -> Option<bool> {
    (!view.boot_targets.is_empty()).then(|| view.boot_targets.iter().any(|name| name == target))
}

fn has_option(view: &BmcView, word: &str) -> bool {
    let named =
        |text: &Option<String>| text.as_ref().is_some_and(|text| text.to_ascii_uppercase().contains(word));
    view.boot.options.iter().any(|option| named(&option.name) || named(&option.path))
}

/// A setting of the firmware that keeps HTTP boot off, with its value; without a value where one is known to exist and
/// is not shown.
fn http_setting(view: &BmcView) -> Option<(String, Option<String>)> {
    let shown = |name: &str| view.bios.iter().find(|(key, _)| plain(key) == name);
    for switch in &view.switches {
        let (name, on): (String, &[&str]) = if let Switch::HttpBootNeedsBiosSetting(name) = switch {
            ((*name).to_owned(), &["Enabled", "Enable"])
        } else if let Switch::HttpBootNeedsTlsModeOff(name) = switch {
            (name.replace("{}", "1"), &["None", "Off", "Disabled"])
        } else {
            continue;
        };
        match shown(&name) {
            None => return Some((name, None)),
            Some((key, value)) if !on.contains(&value.as_str()) => {
                return Some((key.clone(), Some(value.clone())));
            }
            Some(_) => {}
        }
    }
    // Many firmwares name it alike, whoever made the controller.
    let http = |key: &str| {
        let lower = plain(key).to_ascii_lowercase();
        lower.ends_with("ipv4httpsupport") || lower == "ipv4http" || lower == "httpsupport"
    };
    let off = view.bios.iter().find(|(key, value)| http(key) && OFF.contains(&value.as_str()));
    off.map(|(key, value)| (key.clone(), Some(value.clone())))
}

fn uri(view: &BmcView) -> (Chance, String) {
    match (view.http_boot_uri, offers(view, "UefiHttp")) {
        (false, _) => (Chance::No, "the controller takes no boot address (HttpBootUri); most do not".into()),
        (true, Some(false)) => (Chance::No, "it has HttpBootUri and does not offer UefiHttp".into()),
        (true, Some(true)) => (Chance::Yes, "it offers UefiHttp and takes an address".into()),
        (true, None) => {
            (Chance::Perhaps, "it takes an address and does not say from where it can boot".into())
        }
    }
}

fn http(view: &BmcView) -> (Chance, String) {
    let (chance, why) = match offers(view, "UefiHttp") {
        Some(true) => (Chance::Yes, "it offers UefiHttp".to_owned()),
        None => (Chance::Perhaps, "it does not say from where it can boot".to_owned()),
        Some(false) if has_option(view, "HTTP") => (
            Chance::Perhaps,
            "it does not offer UefiHttp, but the machine's boot order has HTTP entries".to_owned(),
        ),
        Some(false) => return (Chance::No, "it does not offer UefiHttp".into()),
    };
    match http_setting(view) {
        Some((name, Some(value))) => (
            Chance::Perhaps,
            format!("{why}; the firmware's setting {name} is {value} and has to be changed first"),
        ),
        Some((name, None)) if chance == Chance::Yes && !has_option(view, "HTTP") => (
            Chance::Perhaps,
            format!("{why}; look at the firmware's setting {name}, no HTTP entry is in the boot order"),
        ),
        Some(_) | None => (chance, why),
    }
}

fn pxe(view: &BmcView) -> (Chance, String) {
    match offers(view, "Pxe") {
        Some(true) => (Chance::Yes, "it offers Pxe".into()),
        None => (Chance::Perhaps, "it does not say from where it can boot".into()),
        Some(false) if has_option(view, "PXE") => {
            (Chance::Perhaps, "it does not offer Pxe, but the machine's boot order has PXE entries".into())
        }
        Some(false) => (Chance::No, "it does not offer Pxe".into()),
    }
}

fn media(view: &BmcView) -> (Chance, String) {
    let has = |switch: Switch| view.switches.contains(&switch);
    if has(Switch::NoGenericMedia) {
        return (Chance::No, "virtual media is not reliable on this generation and firmware".into());
    }
    let by_oem = view.switches.iter().any(|switch| matches!(switch, Switch::MediaByOem(_)));
    let takes = |kind: &String| matches!(kind.as_str(), "CD" | "DVD" | "USBStick");
    let fits: Vec<_> =
        view.media.iter().filter(|slot| slot.kinds.is_empty() || slot.kinds.iter().any(takes)).collect();
    let usable = fits.iter().filter(|slot| slot.insert || has(Switch::InsertByPatch)).count();
    let targets = ["Cd", "UsbCd", "Usb"].iter().any(|target| offers(view, target) != Some(false));
    match (fits.len(), usable) {
        (0, _) if by_oem => (Chance::Perhaps, "only by the maker's own resource and a file share".into()),
        (0, _) => (Chance::No, "it has no virtual drive".into()),
        (_, 0) => (
            Chance::Perhaps,
            "it has virtual drives without an action to insert; filling them by PATCH is tried".into(),
        ),
        (_, usable) if !targets => {
            (Chance::Perhaps, format!("{usable} virtual drives, and no boot target for them"))
        }
        (_, usable) => {
            let cd = if has(Switch::VirtualCdIsUsbCd) { ", booted as UsbCd" } else { "" };
            (Chance::Yes, format!("{usable} virtual drives{cd}"))
        }
    }
}

fn ipmi(view: &BmcView) -> (Chance, String) {
    match view.services.iter().find(|service| service.name == "IPMI") {
        Some(service) if service.enabled => (Chance::Yes, "IPMI over the network is on".into()),
        Some(_) => (Chance::No, "IPMI over the network is off".into()),
        None => (Chance::Perhaps, "it does not say whether IPMI is on".into()),
    }
}

/// What will surprise.
pub(crate) fn traps(view: &BmcView, ladder: &[Rung], notes: &mut Notes) {
    let best = ladder.iter().map(|rung| rung.chance).max();
    if best.is_none_or(|best| best == Chance::No) {
        let what = "there is no way to make this machine boot from us through its controller";
        notes.add(
            Area::Boot,
            Level::Blocker,
            what,
            "switch on IPMI or network boot in the firmware's setup, network first in the boot order",
        );
    }
    let boot = &view.boot;
    let set = boot.target.as_deref().is_some_and(|target| target != "None");
    if set && boot.enabled.as_deref() == Some("Continuous") {
        let target = boot.target.as_deref().unwrap_or_default();
        let what = format!("an override is set for every boot: {target}");
        notes.add(Area::Boot, Level::Trap, what, "it comes back after our one-time boot; clear it");
    }
    if boot.mode.as_deref() == Some("Legacy") {
        let what = "the machine boots in legacy mode: there is no Secure Boot, and HTTP boot will not work";
        notes.add(Area::Boot, Level::Trap, what, "set the boot mode to UEFI");
    }
    let first =
        boot.order.first().and_then(|first| boot.options.iter().find(|option| option.reference == *first));
    if let Some(first) = first {
        let name = first.name.clone().unwrap_or_else(|| first.reference.clone());
        notes.add(Area::Boot, Level::Note, format!("left alone, it boots first from: {name}"), "");
    }
    for (switch, what) in HABITS {
        if view.switches.contains(switch) {
            notes.add(Area::Boot, Level::Note, *what, "");
        }
    }
    if let Some((name, Some(value))) = http_setting(view) {
        let what = format!("HTTP boot waits for the firmware's setting {name}, which is {value}");
        notes.add(Area::Boot, Level::Trap, what, "change it and restart once before the first HTTP boot");
    }
    if view.inventory.nics.is_empty() {
        let what = "the controller lists no network port, so the machine's boot request comes from a stranger's address";
        notes.add(
            Area::Boot,
            Level::Note,
            what,
            "give the port's address in the site file, or let the boot ticket tell",
        );
    }
}

/// Habits of controllers that we know how to live with.
const HABITS: &[(Switch, &str)] = &[
    (
        Switch::OnceMayBeIgnored,
        "an accepted one-time boot may be ignored by this maker's machines; only the booted agent counts",
    ),
    (Switch::BootOptionsUnordered, "the list of boot options is not their order; only BootOrder is"),
    (
        Switch::BootOrderInOem,
        "the boot order stands in the maker's own resource; it may not be changeable otherwise",
    ),
    (
        Switch::BootOrderStaleInLockdown,
        "while locked down it shows an old boot order: unlock it before you believe what it shows",
    ),
    (
        Switch::NoBootChangeInPost,
        "boot changes are refused while the machine starts; they are set while it is off",
    ),
    (Switch::BootModeResets, "setting the boot device may put the mode back to legacy; it is set again"),
    (Switch::OnceOnly, "it knows overrides for one boot only"),
    (Switch::PowerOffBeforeEject, "virtual media is ejected only while the machine is off"),
    (
        Switch::IpmiEfiBitEitherWay,
        "IPMI boot works with the UEFI bit on some boards and without on others; both are tried",
    ),
];
