//! The table of answers.

use super::*;

const HTTP: &str = "HTTPClient:Arch:00016:UNDI:003001";
const ARM: &str = "HTTPClient:Arch:00019:UNDI:003001";
const PXE: &str = "PXEClient:Arch:00007:UNDI:003001";
const PXE9: &str = "PXEClient:Arch:00009:UNDI:003001";
const PXE_ARM: &str = "PXEClient:Arch:00011:UNDI:003001";
const BIOS: &str = "PXEClient:Arch:00000:UNDI:002001";
const AGENT: &str = "scalerforge-agent";

fn short(answer: Answer) -> String {
    match answer {
        Answer::Offer { boot: None, api, .. } => if api { "api" } else { "lease" }.into(),
        Answer::Offer { boot: Some(Boot::Http(name)), .. } => format!("http {}", name.as_str()),
        Answer::Offer { boot: Some(Boot::Https(name)), .. } => format!("https {}", name.as_str()),
        Answer::Offer { boot: Some(Boot::Tftp(name)), .. } => format!("tftp {}", name.as_str()),
        Answer::Offer { boot: Some(Boot::RefusedTftp), .. } => "refused".into(),
        Answer::Silence { quiet: Quiet::NoImage(arch), .. } => format!("no image {arch}"),
        Answer::Silence { .. } => "silence".into(),
    }
}

fn asks(class: &str) -> BootRequest {
    BootRequest { vendor_class: Some(class.into()), ..BootRequest::new(Kind::Discover, Mac([2; 6])) }
}

fn x64() -> Site {
    Site { stock: Stock { x64: true, ..Stock::default() }, ..Site::default() }
}

fn all(uefi_pxe: UefiPxe) -> Site {
    let stock = Stock { x64: true, arm64: true, kernel: true, ipxe_uefi: true, ipxe_bios: true, shim: true };
    Site { stock, uefi_pxe, ..Site::default() }
}

#[test]
fn by_stance_and_site() {
    use {Stance::*, Strangers as S};
    let rows = [
        (HTTP, Stranger, S::Boot, "http discovery.efi"),
        (HTTP, Stranger, S::Lease, "silence"),
        (HTTP, Stranger, S::Silence, "silence"),
        (HTTP, Discover, S::Silence, "http discovery.efi"),
        (HTTP, LocalDisk, S::Boot, "silence"),
        (HTTP, Ignore, S::Boot, "silence"),
        (ARM, Discover, S::Boot, "no image 19"),
        ("HTTPClient", Discover, S::Boot, "no image 65535"),
        (PXE, Stranger, S::Boot, "tftp discovery.efi"),
        (PXE, LocalDisk, S::Boot, "refused"),
        (PXE, Ignore, S::Boot, "silence"),
        (BIOS, Discover, S::Boot, "refused"),
        (AGENT, Stranger, S::Boot, "api"),
        (AGENT, LocalDisk, S::Silence, "api"),
        (AGENT, Stranger, S::Silence, "silence"),
        ("MSFT 5.0", Stranger, S::Boot, "lease"),
        ("", LocalDisk, S::Boot, "lease"),
    ];
    for (class, stance, strangers, expected) in rows {
        let answer = decide(&asks(class), stance, &Site { strangers, ..x64() });
        assert_eq!(short(answer), expected, "{class:?} {stance:?} {strangers:?}");
    }
}

#[test]
fn by_client_and_files() {
    use UefiPxe::*;
    let rows = [
        (HTTP, None, Http, "http discovery.efi"),
        (ARM, None, Http, "http discovery-arm64.efi"),
        (PXE, None, Http, "refused"),
        (PXE, None, Uki, "tftp discovery.efi"),
        (PXE9, None, Uki, "tftp discovery.efi"),
        (PXE_ARM, None, Uki, "tftp discovery-arm64.efi"),
        (PXE, None, Ipxe, "tftp snponly.efi"),
        (PXE_ARM, None, Ipxe, "refused"),
        (PXE, None, Shim, "tftp shimx64.efi"),
        (PXE_ARM, None, Shim, "refused"),
        (HTTP, None, Shim, "http discovery.efi"),
        (BIOS, None, Http, "tftp undionly.kpxe"),
        ("PXEClient:Arch:00006:UNDI:003001", None, Uki, "refused"),
        ("HTTPClient:Arch:00020:UNDI:003001", None, Uki, "no image 20"),
        (BIOS, Some("iPXE"), Http, "http boot.ipxe"),
        (PXE, Some("iPXE"), Uki, "http boot.ipxe"),
        (HTTP, Some("iPXE"), Uki, "http boot.ipxe"),
        (PXE_ARM, Some("iPXE"), Uki, "lease"),
    ];
    for (class, user_class, uefi_pxe, expected) in rows {
        let request = BootRequest { user_class: user_class.map(str::to_owned), ..asks(class) };
        let answer = decide(&request, Stance::Discover, &all(uefi_pxe));
        assert_eq!(short(answer), expected, "{class:?} {user_class:?} {uefi_pxe:?}");
    }
    let by_http = |site: Site, expected| {
        let site = Site { uefi_http: UefiHttp::Shim, ..site };
        assert_eq!(short(decide(&asks(HTTP), Stance::Discover, &site)), expected);
        assert_eq!(short(decide(&asks(ARM), Stance::Stranger, &site)), "http discovery-arm64.efi");
    };
    by_http(all(Uki), "http shimx64.efi");
    by_http(Site { stock: Stock { shim: false, ..all(Uki).stock }, ..all(Uki) }, "http discovery.efi");
    let without = Site { stock: Stock { kernel: false, ..all(Shim).stock }, ..all(Shim) };
    assert_eq!(short(decide(&asks(PXE), Stance::Discover, &without)), "refused");
    let ipxe = BootRequest { user_class: Some("iPXE".into()), ..asks(BIOS) };
    assert_eq!(short(decide(&ipxe, Stance::LocalDisk, &all(Uki))), "lease");
    assert_eq!(short(decide(&ipxe, Stance::Discover, &x64())), "lease");
}

#[test]
fn the_first_rule_that_matches_counts() {
    let relay = Ipv4Addr::new(10, 9, 0, 1);
    let rule = |of, gets| Rule { of, gets };
    let rules = vec![
        rule(
            Match { mac: Some(Mac([2; 6])), class: Some("MSFT".into()), ..Match::default() },
            Strangers::Silence,
        ),
        rule(Match { uuid: Some([7; 16]), ..Match::default() }, Strangers::Boot),
        rule(Match { arch: Some(16), relay: Some(relay), ..Match::default() }, Strangers::Lease),
    ];
    let site = Site { rules, strangers: Strangers::Silence, ..x64() };
    let check = |request: &BootRequest, stance| short(decide(request, stance, &site));
    assert_eq!(check(&asks("MSFT 5.0"), Stance::Stranger), "silence");
    assert_eq!(check(&asks(HTTP), Stance::Stranger), "silence");
    assert_eq!(check(&asks("MSFT 5.0"), Stance::Discover), "lease", "rules are about strangers");
    let uuid = BootRequest { uuid: Some([7; 16]), ..asks(HTTP) };
    assert_eq!(check(&uuid, Stance::Stranger), "http discovery.efi");
    let relayed = BootRequest { arch: Some(16), relay: Some(relay), ..asks("") };
    assert_eq!(check(&relayed, Stance::Stranger), "lease");
}

#[test]
fn https_is_for_those_whom_the_site_names() {
    let arm = Match { arch: Some(19), ..Match::default() };
    let plain = ["http discovery.efi", "http discovery-arm64.efi"];
    for (https, expected) in [
        (vec![], plain),
        (vec![Match::default()], ["https discovery.efi", "https discovery-arm64.efi"]),
        (
            vec![Match { mac: Some(Mac([9; 6])), ..Match::default() }, arm],
            ["http discovery.efi", "https discovery-arm64.efi"],
        ),
    ] {
        let site = Site { https, ..all(UefiPxe::Uki) };
        let got = [(HTTP, 16), (ARM, 19)].map(|(class, arch)| {
            short(decide(&BootRequest { arch: Some(arch), ..asks(class) }, Stance::Discover, &site))
        });
        assert_eq!(got, expected, "{:?}", site.https);
        let ipxe = BootRequest { user_class: Some("iPXE".into()), ..asks(HTTP) };
        assert_eq!(
            short(decide(&ipxe, Stance::Discover, &site)),
            "http boot.ipxe",
            "iPXE trusts its own list only"
        );
    }
}

#[test]
fn inform_boots_only_pxe_clients() {
    let inform = |class: &str| BootRequest { kind: Kind::Inform, ..asks(class) };
    assert_eq!(short(decide(&inform(HTTP), Stance::Discover, &all(UefiPxe::Uki))), "api");
    assert_eq!(short(decide(&inform(AGENT), Stance::Discover, &all(UefiPxe::Uki))), "api");
    assert_eq!(short(decide(&inform(PXE), Stance::Discover, &all(UefiPxe::Uki))), "tftp discovery.efi");
}
