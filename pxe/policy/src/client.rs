//! Who is asking, by what it says of itself, and what there is to boot.

use appliance_model::Ticket;
pub use pxe_wire::dhcp4::{BootRequest, Kind};

/// What an image has to run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    /// 64-bit x86 with UEFI.
    X64,
    /// 64-bit ARM with UEFI.
    Arm64,
    /// x86 with a BIOS: no Secure Boot.
    Bios,
    /// Something we have no image for; option 93 as it came.
    Other(Option<u16>),
}

/// Who is asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// UEFI HTTP boot.
    Http(Platform),
    /// PXE firmware.
    Pxe(Platform),
    /// iPXE, whatever started it: it can do HTTP.
    Ipxe(Platform),
    /// Our own agent, running already.
    Agent,
    /// An operating system, a printer, anything.
    Other,
}

impl Client {
    /// Reads options 60, 77, 93 and 175.  Where option 93 is missing, the number inside option 60 counts.
    #[must_use]
    pub fn of(request: &BootRequest) -> Self {
        let class = request.vendor_class.as_deref().unwrap_or("");
        let arch = request.arch.or_else(|| arch_in_class(class));
        let starts = |word: &str| {
            class.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
        };
        let platform = Platform::of(arch);
        if class == "scalerforge-agent" {
            Self::Agent
        } else if request.ipxe || request.user_class.as_deref() == Some("iPXE") {
            Self::Ipxe(platform)
        } else if starts("HTTPClient") {
            Self::Http(platform)
        } else if starts("PXEClient") {
            Self::Pxe(platform)
        } else {
            Self::Other
        }
    }
}

impl Platform {
    /// IANA "Processor Architecture Types"; 9 is what x64 firmware sends that follows RFC 4578 before its erratum.
    fn of(arch: Option<u16>) -> Self {
        match arch {
            Some(0 | 20) => Self::Bios,
            Some(7 | 9 | 16) => Self::X64,
            Some(11 | 19) => Self::Arm64,
            other => Self::Other(other),
        }
    }
}

/// `HTTPClient:Arch:00016:UNDI:003001` → 16 (UEFI 2.10, table 24.4).
fn arch_in_class(class: &str) -> Option<u16> {
    let mut parts = class.split(':').skip_while(|part| *part != "Arch");
    parts.next()?;
    parts.next()?.parse().ok()
}

/// A file that may be asked for under a ticket, by HTTP or TFTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// The discovery UKI for x64.
    Discovery,
    /// The discovery UKI for arm64.
    DiscoveryArm64,
    /// iPXE's script.
    Script,
    /// The discovery image's kernel, for iPXE.
    Kernel,
    /// The discovery image's initrd, for iPXE.
    Initrd,
    /// iPXE for UEFI.
    SnpOnly,
    /// iPXE for BIOS.
    Undionly,
    /// The first boot loader of a distribution, signed for factory keys.
    Shim,
    /// Its second, which it looks for beside itself.
    Grub,
    /// The discovery UKI for x64, by a URL that a management controller was given: who shows it was not sent by DHCP.
    Planted,
    /// The boot medium with this ticket on it, for a management controller to attach.
    Medium,
}

impl Name {
    /// All there are.
    pub const ALL: [Self; 11] = [
        Self::Discovery,
        Self::DiscoveryArm64,
        Self::Script,
        Self::Kernel,
        Self::Initrd,
        Self::SnpOnly,
        Self::Undionly,
        Self::Shim,
        Self::Grub,
        Self::Planted,
        Self::Medium,
    ];

    /// As in URLs and TFTP requests.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Discovery => "discovery.efi",
            Self::DiscoveryArm64 => "discovery-arm64.efi",
            Self::Script => "boot.ipxe",
            Self::Kernel => "vmlinuz",
            Self::Initrd => "initrd",
            Self::SnpOnly => "snponly.efi",
            Self::Undionly => "undionly.kpxe",
            Self::Shim => "shimx64.efi",
            Self::Grub => "grubx64.efi",
            Self::Planted => "planted.efi",
            Self::Medium => "medium.iso",
        }
    }

    /// Whether fetching it in full means that the machine has what it needs to start our agent.
    #[must_use]
    pub fn starts_the_agent(self) -> bool {
        match self {
            Self::Discovery | Self::DiscoveryArm64 | Self::Initrd | Self::Planted => true,
            // A medium is read in parts, by the controller; its agent finds the ticket on it.
            Self::Script
            | Self::Kernel
            | Self::SnpOnly
            | Self::Undionly
            | Self::Shim
            | Self::Grub
            | Self::Medium => false,
        }
    }
}

/// What PXE firmware is told to fetch so that it goes on to HTTP boot; our TFTP server refuses it.
pub const REFUSED: &str = "refused-http-follows";

/// Where GRUB as Debian signs it looks for its menu, wherever it was loaded from: who asks is told by its address.
pub const GRUB_MENU: &str = "grub/grub.cfg";

/// Whether shim and GRUB ask for this, wherever they were loaded from, and do as well without: revocations and
/// certificates that we have no say in, and lists of modules that are built in.
#[must_use]
pub fn optional(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let shim = name.starts_with("revocations") || name.starts_with("shim_certificate");
    (shim && name.ends_with(".efi")) || (path.starts_with("grub/") && name.ends_with(".lst"))
}

/// `boot/TICKET/NAME`: as TFTP has it; HTTP puts a slash before it.
#[must_use]
pub fn path(ticket: Ticket, name: Name) -> String {
    format!("boot/{ticket}/{}", name.as_str())
}

/// Reads [`path`], byte for byte: no decoding, no dots, no second spelling of a ticket.
#[must_use]
pub fn parse_path(path: &str) -> Option<(Ticket, Name)> {
    let (digits, file) = path.strip_prefix("boot/")?.split_once('/')?;
    let strict = digits.len() == 32 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let name = Name::ALL.into_iter().find(|name| name.as_str() == file)?;
    strict.then(|| digits.parse().ok()).flatten().map(|ticket| (ticket, name))
}

/// GRUB's menu: kernel and initrd under the ticket, from `from` (an address and port of HTTP, as `10.77.0.1:8080`), and
/// from where GRUB itself came where its HTTP fails.
#[must_use]
pub fn menu(from: &str, ticket: Ticket, command_line: &str) -> String {
    let (kernel, initrd) = (path(ticket, Name::Kernel), path(ticket, Name::Initrd));
    format!(
        "# No signature covers the initrd and the command line that GRUB loads: such a boot is judged by its PCRs.\n\
         if linux (http,{from})/{kernel} {command_line}; then if initrd (http,{from})/{initrd}; then boot; fi; fi\n\
         if linux /{kernel} {command_line}; then if initrd /{initrd}; then boot; fi; fi\n\
         echo 'The discovery image could not be loaded; trying the next boot entry.'\n\
         sleep 5\n\
         exit\n"
    )
}

/// iPXE's script: kernel and initrd by HTTP from `base` (`http://10.77.0.1:8080`), under the ticket.  Never the UKI:
/// iPXE (1.21.1, 2019 and 2025) starts one into a machine reset.
#[must_use]
pub fn script(base: &str, ticket: Ticket, command_line: &str) -> String {
    let url = |name| format!("{base}/{}", path(ticket, name));
    format!(
        "#!ipxe\n\
         # No signature covers the initrd and the command line that iPXE loads: such a boot is judged by its PCRs.\n\
         imgfree\n\
         kernel {} initrd=initrd {command_line} || goto failed\n\
         initrd --name initrd {} || goto failed\n\
         boot || goto failed\n\
         :failed\n\
         echo The discovery image could not be loaded; trying the next boot entry.\n\
         sleep 5\n\
         exit 1\n",
        url(Name::Kernel),
        url(Name::Initrd),
    )
}

#[cfg(test)]
mod tests {
    use appliance_model::Mac;

    use super::*;

    #[test]
    fn clients_are_known_by_their_words() {
        use Client::*;
        let rows = [
            ("HTTPClient:Arch:00016:UNDI:003001", Some(16), None, Http(Platform::X64)),
            ("HTTPClient:Arch:00019:UNDI:003001", None, None, Http(Platform::Arm64)),
            ("HTTPClient", None, None, Http(Platform::Other(None))),
            ("HTTPClient:Arch:9999999", None, None, Http(Platform::Other(None))),
            ("PXEClient:Arch:00007:UNDI:003001", Some(7), None, Pxe(Platform::X64)),
            ("PXEClient:Arch:00009:UNDI:003001", None, None, Pxe(Platform::X64)),
            ("PXEClient:Arch:00011:UNDI:003001", None, None, Pxe(Platform::Arm64)),
            ("PXEClient:Arch:00000:UNDI:002001", None, None, Pxe(Platform::Bios)),
            ("PXEClient:Arch:00006:UNDI:003001", None, None, Pxe(Platform::Other(Some(6)))),
            ("PXEClient:Arch:00000:UNDI:002001", None, Some("iPXE"), Ipxe(Platform::Bios)),
            ("HTTPClient:Arch:00016:UNDI:003001", None, Some("iPXE"), Ipxe(Platform::X64)),
            ("scalerforge-agent", None, None, Agent),
            ("HTTPClientele", Some(16), None, Other),
            ("", Some(16), None, Other),
        ];
        for (class, arch, user_class, expected) in rows {
            let request = BootRequest {
                vendor_class: Some(class.into()),
                arch,
                user_class: user_class.map(str::to_owned),
                ..BootRequest::new(Kind::Discover, Mac([2; 6]))
            };
            assert_eq!(Client::of(&request), expected, "{class:?} {arch:?} {user_class:?}");
        }
        let by_option = BootRequest { ipxe: true, ..BootRequest::new(Kind::Discover, Mac([2; 6])) };
        assert_eq!(Client::of(&by_option), Ipxe(Platform::Other(None)));
    }

    #[test]
    fn only_the_exact_path_is_a_ticket() {
        let ticket = Ticket([0xab; 16]);
        for name in Name::ALL {
            assert_eq!(parse_path(&path(ticket, name)), Some((ticket, name)));
        }
        for bad in [
            "",
            "boot//discovery.efi",
            "/boot/0123456789abcdef0123456789abcdef/discovery.efi",
            "boot/0123456789ABCDEF0123456789abcdef/discovery.efi",
            "boot/0x23456789abcdef0123456789abcdef01/discovery.efi",
            "boot/0123456789abcdef0123456789abcdef/discovery.efi/",
            "boot/../boot/0123456789abcdef0123456789abcdef/discovery.efi",
            "boot/0123456789abcdef0123456789abcde%66/discovery.efi",
            "boot/0123456789abcdef0123456789abcdef/../../etc/passwd",
        ] {
            assert!(parse_path(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn the_script_names_kernel_and_initrd_under_the_ticket() {
        let text = script("http://10.0.0.1:8080", Ticket([0xab; 16]), "console=ttyS0");
        let hex = "ab".repeat(16);
        assert!(text.starts_with("#!ipxe\n"));
        assert!(text.contains(&format!(
            "kernel http://10.0.0.1:8080/boot/{hex}/vmlinuz initrd=initrd console=ttyS0 ||"
        )));
        assert!(text.contains(&format!("initrd --name initrd http://10.0.0.1:8080/boot/{hex}/initrd ||")));
        assert!(!text.contains(".efi"));
        let text = menu("10.0.0.1:8080", Ticket([0xab; 16]), "console=ttyS0");
        assert!(
            text.contains(&format!("linux (http,10.0.0.1:8080)/boot/{hex}/vmlinuz console=ttyS0;")),
            "{text}"
        );
        assert!(text.contains(&format!("then if initrd /boot/{hex}/initrd;")), "{text}");
    }

    #[test]
    fn what_boot_loaders_do_without_is_known() {
        for (path, known) in [
            ("boot/0123/revocations_sku.efi", true),
            ("revocations.efi", true),
            ("boot/0123/shim_certificate_0.efi", true),
            ("grub/x86_64-efi/command.lst", true),
            ("grub/grub.cfg", false),
            ("boot/0123/grubx64.efi", false),
            ("etc/passwd.lst", false),
        ] {
            assert_eq!(optional(path), known, "{path}");
        }
    }
}
