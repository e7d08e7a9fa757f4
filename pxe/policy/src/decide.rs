//! The rules: who gets an address, who gets an image, who gets silence.

use std::net::Ipv4Addr;

use appliance_model::Mac;

use crate::{
    client::{BootRequest, Client, Kind, Name, Platform},
    recorder::Quiet,
};

/// What the appliance wants of one machine, as `appliance/enrol` last said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stance {
    /// Nobody has said anything about this MAC: the site's rule for strangers holds.
    #[default]
    Stranger,
    /// Boot the discovery image whenever it asks.
    Discover,
    /// It runs from its disk: an address, but nothing to boot.
    LocalDisk,
    /// Not ours to answer.
    Ignore,
}

/// What machines get that nobody has spoken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strangers {
    /// Boot them: whatever shows up on the provisioning LAN is to be enrolled.
    #[default]
    Boot,
    /// An address only.
    Lease,
    /// Nothing.
    Silence,
}

/// What UEFI firmware gets that asks by PXE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UefiPxe {
    /// The discovery UKI by TFTP; its agent learns the ticket by DHCP.
    #[default]
    Uki,
    /// iPXE by TFTP, which goes on by HTTP: for firmware whose TFTP cannot take a UKI.
    Ipxe,
    /// A distribution's signed shim and GRUB by TFTP, which load its signed kernel: for firmware that enforces Secure Boot
    /// and has only the keys it left the factory with.
    Shim,
    /// A refusal at once, so that it goes on to its HTTP boot entry, whose measured URL holds the ticket.
    Http,
}

/// What x64 firmware gets that asks by HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UefiHttp {
    /// The discovery UKI.
    #[default]
    Uki,
    /// A distribution's signed shim and GRUB: for firmware that enforces Secure Boot and has only the keys it left the
    /// factory with.
    Shim,
}

/// Which files there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stock {
    /// The discovery UKI for x64.
    pub x64: bool,
    /// The discovery UKI for arm64.
    pub arm64: bool,
    /// Kernel and initrd for iPXE.
    pub kernel: bool,
    /// iPXE for UEFI.
    pub ipxe_uefi: bool,
    /// iPXE for BIOS.
    pub ipxe_bios: bool,
    /// Shim and GRUB for x64.
    pub shim: bool,
}

/// Which machines a rule is about; what is absent matches all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Match {
    /// The port.
    pub mac: Option<Mac>,
    /// Option 97.
    pub uuid: Option<[u8; 16]>,
    /// Option 93.
    pub arch: Option<u16>,
    /// How option 60 starts.
    pub class: Option<String>,
    /// The relay it came through.
    pub relay: Option<Ipv4Addr>,
}

/// A site's exception: the first one that matches says what a machine nobody has announced gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Whom it is about.
    pub of: Match,
    /// What they get.
    pub gets: Strangers,
}

/// What the decision needs to know of the site.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Site {
    /// The rule for machines nobody has spoken for.
    pub strangers: Strangers,
    /// Exceptions from it.
    pub rules: Vec<Rule>,
    /// What UEFI firmware gets that asks by PXE.
    pub uefi_pxe: UefiPxe,
    /// What x64 firmware gets that asks by HTTP; not by HTTPS, which GRUB cannot go on with.
    pub uefi_http: UefiHttp,
    /// Whose HTTP boot firmware is sent to HTTPS: whoever matches one of these.  Firmware that can do HTTPS asks as
    /// one that cannot does, and only the site knows where its authority's certificate is enrolled.
    pub https: Vec<Match>,
    /// Which files there are.
    pub stock: Stock,
}

/// What a machine gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// An address (none for INFORM), and perhaps something to boot.
    Offer {
        /// What to boot.
        boot: Option<Boot>,
        /// Whether the reply names the API (option 224) and brings the ticket (option 225).
        api: bool,
        /// Why, in words.
        why: &'static str,
    },
    /// No answer.
    Silence {
        /// Which kind of reason.
        quiet: Quiet,
        /// Why, in words.
        why: &'static str,
    },
}

/// What to boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boot {
    /// A file by HTTP, under a ticket.
    Http(Name),
    /// A file by HTTPS, under a ticket.
    Https(Name),
    /// A file by TFTP, under a ticket.
    Tftp(Name),
    /// A file that our TFTP server refuses at once.  PXE firmware that gets no PXE answer asks again for 130 s
    /// before it tries HTTP; an offer without a file is no PXE answer.  A refused download ends PXE in a second.
    RefusedTftp,
}

impl Match {
    fn holds(&self, request: &BootRequest) -> bool {
        let class = request.vendor_class.as_deref().unwrap_or("");
        self.mac.is_none_or(|mac| mac == request.mac)
            && self.uuid.is_none_or(|uuid| Some(uuid) == request.uuid)
            && self.arch.is_none_or(|arch| Some(arch) == request.arch)
            && self.class.as_deref().is_none_or(|start| class.starts_with(start))
            && self.relay.is_none_or(|relay| Some(relay) == request.relay)
    }
}

/// Says what `request` gets.
#[must_use]
pub fn decide(request: &BootRequest, stance: Stance, site: &Site) -> Answer {
    let told = |why| Answer::Silence { quiet: Quiet::Told, why };
    let boots = match stance {
        Stance::Ignore => return told("the appliance was told to ignore this machine"),
        Stance::Discover => true,
        Stance::LocalDisk => false,
        Stance::Stranger => {
            let rule = site.rules.iter().find(|rule| rule.of.holds(request));
            match rule.map_or(site.strangers, |rule| rule.gets) {
                Strangers::Boot => true,
                Strangers::Lease => false,
                Strangers::Silence if rule.is_some() => {
                    return told("nobody has announced this machine and a rule of the site says `silence`");
                }
                Strangers::Silence => {
                    return told("nobody has announced this machine and pxe.strangers is `silence`");
                }
            }
        }
    };
    let client = Client::of(request);
    if request.kind == Kind::Inform && !matches!(client, Client::Pxe(_) | Client::Ipxe(_)) {
        let why = "it has an address and asked for options only";
        return Answer::Offer { boot: None, api: true, why };
    }
    match client {
        Client::Agent => {
            Answer::Offer { boot: None, api: true, why: "our agent: an address and the API's URL" }
        }
        Client::Http(platform) => {
            let secret = site.https.iter().any(|of| of.holds(request));
            http(platform, boots, site, secret)
        }
        Client::Pxe(platform) => {
            let (boot, why) = pxe(platform, boots, site);
            Answer::Offer { boot: Some(boot), api: false, why }
        }
        Client::Ipxe(platform) => ipxe(platform, boots, site.stock),
        Client::Other if boots => lease("an address only: it did not ask to boot"),
        Client::Other => lease("an address only: nothing is to be booted"),
    }
}

fn lease(why: &'static str) -> Answer {
    Answer::Offer { boot: None, api: false, why }
}

/// An offer without a URL would keep the firmware asking; silence lets it go on to its next entry.
fn http(platform: Platform, boots: bool, site: &Site, https: bool) -> Answer {
    let stock = site.stock;
    let offer = |name, plain, tls| {
        let (boot, why) = if https { (Boot::Https(name), tls) } else { (Boot::Http(name), plain) };
        Answer::Offer { boot: Some(boot), api: false, why }
    };
    if !boots {
        let why = "it asked for an image by HTTP, but it is to boot from its disk: silence sends it on";
        return Answer::Silence { quiet: Quiet::Told, why };
    }
    let shim = site.uefi_http == UefiHttp::Shim && stock.shim && stock.kernel && !https;
    match platform {
        Platform::X64 if shim => Answer::Offer {
            boot: Some(Boot::Http(Name::Shim)),
            api: false,
            why: "x64 UEFI HTTP boot: shim and GRUB, which load kernel and initrd (Secure Boot by factory keys; lower \
                  trust)",
        },
        Platform::X64 if stock.x64 => offer(
            Name::Discovery,
            "x64 UEFI HTTP boot: the discovery image under a ticket",
            "x64 UEFI HTTP boot, sent to HTTPS by pxe.https: the discovery image under a ticket",
        ),
        Platform::Arm64 if stock.arm64 => offer(
            Name::DiscoveryArm64,
            "arm64 UEFI HTTP boot: the discovery image under a ticket",
            "arm64 UEFI HTTP boot, sent to HTTPS by pxe.https: the discovery image under a ticket",
        ),
        Platform::X64 => no_image(16, "UEFI HTTP boot for x64, and pxe.images.x64 names no image"),
        Platform::Arm64 => no_image(19, "UEFI HTTP boot for arm64, and pxe.images.arm64 names no image"),
        Platform::Bios => no_image(20, "HTTP boot for a BIOS: we have images for UEFI only"),
        Platform::Other(arch) => {
            no_image(arch.unwrap_or(u16::MAX), "UEFI HTTP boot for an architecture we have no image for")
        }
    }
}

fn no_image(arch: u16, why: &'static str) -> Answer {
    Answer::Silence { quiet: Quiet::NoImage(arch), why }
}

fn pxe(platform: Platform, boots: bool, site: &Site) -> (Boot, &'static str) {
    let stock = site.stock;
    if !boots {
        let why = "PXE, but it is to boot from its disk: a file that is refused at once sends it on";
        return (Boot::RefusedTftp, why);
    }
    match (platform, site.uefi_pxe) {
        (Platform::Bios, _) if stock.ipxe_bios && stock.kernel => (
            Boot::Tftp(Name::Undionly),
            "BIOS by PXE: iPXE, which loads kernel and initrd; no Secure Boot, tier T1 at most",
        ),
        (Platform::Bios, _) => (
            Boot::RefusedTftp,
            "BIOS by PXE, and pxe.nbp.ipxe_bios or pxe.images.kernel is not set: a refused file sends it on",
        ),
        (Platform::Other(_), _) => {
            (Boot::RefusedTftp, "PXE for an architecture we have no image for: a refused file sends it on")
        }
        (Platform::X64 | Platform::Arm64, UefiPxe::Http) => (
            Boot::RefusedTftp,
            "PXE: pxe.uefi_pxe is `http`; a file that is refused at once sends it on to HTTP boot",
        ),
        (Platform::X64, UefiPxe::Ipxe) if stock.ipxe_uefi && stock.kernel => {
            (Boot::Tftp(Name::SnpOnly), "x64 UEFI by PXE: iPXE, which loads kernel and initrd (lower trust)")
        }
        (Platform::X64, UefiPxe::Shim) if stock.shim && stock.kernel => (
            Boot::Tftp(Name::Shim),
            "x64 UEFI by PXE: shim and GRUB, which load kernel and initrd (Secure Boot by factory keys; lower trust)",
        ),
        (Platform::X64, UefiPxe::Uki) if stock.x64 => {
            (Boot::Tftp(Name::Discovery), "x64 UEFI by PXE: the discovery image by TFTP under a ticket")
        }
        (Platform::Arm64, UefiPxe::Uki) if stock.arm64 => (
            Boot::Tftp(Name::DiscoveryArm64),
            "arm64 UEFI by PXE: the discovery image by TFTP under a ticket",
        ),
        (Platform::X64 | Platform::Arm64, UefiPxe::Ipxe | UefiPxe::Shim | UefiPxe::Uki) => (
            Boot::RefusedTftp,
            "PXE, and there is no such file for this architecture: a refused file sends it on",
        ),
    }
}

fn ipxe(platform: Platform, boots: bool, stock: Stock) -> Answer {
    if !boots {
        return lease("iPXE, but it is to boot from its disk: an address without a file sends it on");
    }
    if platform == Platform::Arm64 {
        return lease(
            "iPXE on arm64, and pxe.images.kernel is for x64: an address without a file sends it on",
        );
    }
    if !stock.kernel {
        return lease("iPXE, and pxe.images.kernel is not set: an address without a file sends it on");
    }
    Answer::Offer {
        boot: Some(Boot::Http(Name::Script)),
        api: false,
        why: "iPXE: kernel and initrd by script; lower trust, no signature covers initrd and command line",
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
