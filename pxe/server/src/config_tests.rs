//! What is legal, and what each mistake is answered with.

use super::*;

const GOOD: &str = r#"
    interface = "br0"
    address = "10.77.0.1"
    subnet = "10.77.0.0/24"
    api_url = "https://10.77.0.1:8443"
    [pool]
    first = "10.77.0.100"
    last = "10.77.0.199"
    [reservations]
    "52:54:00:00:00:01" = "10.77.0.50"
"#;

const SEVERAL: &str = r#"
    relays = ["10.9.0.1"]
    uefi_pxe = "uki"
    [[interfaces]]
    interface = "eth1"
    mode = "auto-proxy"
    address = "10.1.0.1"
    subnet = "10.1.0.0/24"
    pool = { first = "10.1.0.10", last = "10.1.0.99" }
    [[interfaces]]
    interface = "eth2"
    mode = "proxy"
    address = "10.2.0.1"
    subnet = "10.2.0.0/24"
    [[interfaces]]
    interface = "eth3"
    mode = "reservation"
    address = "10.3.0.1"
    subnet = "10.3.0.0/24"
    reservations = { "52:54:00:00:00:01" = "10.3.0.50" }
    [[networks]]
    subnet = "10.9.0.0/24"
    relays = ["192.168.9.1"]
    pool = { first = "10.9.0.10", last = "10.9.0.99" }
    [[rules]]
    uuid = "00112233-4455-6677-8899-aabbccddeeff"
    class = "PXEClient"
    gets = "silence"
    [images]
    x64 = "discovery.efi"
    kernel = "vmlinuz"
    initrd = "initrd"
    [nbp]
    ipxe_bios = "undionly.kpxe"
"#;

fn parse(text: &str) -> Result<Config, String> {
    let wire: wire::Config = toml::from_str(text).map_err(|error| error.to_string())?;
    Config::try_from(wire).map_err(|error| error.to_string())
}

#[test]
fn the_demo_site_is_legal_and_means_full() {
    let config = parse(GOOD).unwrap();
    assert_eq!((config.dhcp_port, config.http_port, config.boot_server_port), (67, 8080, 4011));
    assert_eq!((config.interfaces.len(), config.networks.len()), (1, 1));
    assert_eq!(config.interfaces[0].mode, Mode::Full);
    assert_eq!(config.networks[0].network.pool.lease, Seconds(3600));
    assert_eq!(config.networks[0].network.subnet.mask(), Ipv4Addr::new(255, 255, 255, 0));
    assert_eq!(config.site.uefi_pxe, UefiPxe::Uki);
    assert!(config.https.is_none() && config.site.https.is_empty());
}

#[test]
fn several_interfaces_modes_and_links_behind_relays() {
    let config = parse(SEVERAL).unwrap();
    let modes: Vec<Mode> = config.interfaces.iter().map(|interface| interface.mode).collect();
    assert_eq!(modes, [Mode::AutoProxy, Mode::Proxy, Mode::Reservation]);
    let networks: Vec<usize> = config.networks.iter().map(|place| place.network.interface).collect();
    assert_eq!(networks, [0, 2, 0]);
    assert_eq!(config.relays.len(), 2, "relays of networks may ask, too");
    let stock = config.site.stock;
    assert_eq!((stock.x64, stock.kernel, stock.ipxe_bios, stock.arm64), (true, true, true, false));
    assert_eq!(config.site.rules[0].of.uuid.unwrap()[15], 0xff);
    let listening =
        "interface = \"eth1\"\nmode = \"listen\"\naddress = \"10.1.0.1\"\nsubnet = \"10.1.0.0/24\"";
    assert_eq!(parse(listening).unwrap().networks.len(), 0);
}

#[test]
fn each_mistake_names_its_key_and_what_to_do() {
    let rows = [
        (
            "\"10.77.0.100\"",
            "\"10.78.0.100\"",
            "pxe.pool.first: `10.78.0.100` is not a host address of pxe.subnet 10.77.0.0/24; correct the one or the other",
        ),
        ("\"10.77.0.199\"", "\"10.77.0.255\"", "pxe.pool.last: `10.77.0.255` is not a host"),
        ("\"10.77.0.199\"", "\"10.77.0.20\"", "pxe.pool.first: `10.77.0.100` lies behind pxe.pool.last"),
        ("\"10.77.0.199\"", "\"ten\"", "pxe.pool.last: `ten` is not an IPv4 address"),
        ("/24\"", "\"", "pxe.subnet: `10.77.0.0` has no prefix length"),
        (
            "/24\"",
            "/16\"\nstrangers = \"maybe\"",
            "pxe.strangers: `maybe` is not a rule; write `boot`, `lease`",
        ),
        ("/24\"", "/24\"\nmode = \"both\"", "pxe.mode: `both` is not a mode; write `listen`"),
        ("/24\"", "/24\"\nuefi_http = \"ipxe\"", "pxe.uefi_http: `ipxe` is not known"),
        ("/24\"", "/24\"\nuefi_pxe = \"bios\"", "pxe.uefi_pxe: `bios` is not known"),
        ("10.77.0.0/24", "10.77.0.9/24", "pxe.subnet: `10.77.0.9/24` has bits set behind its prefix"),
        ("https://", "http://", "pxe.api_url: `http://10.77.0.1:8443` is not an https URL"),
        ("52:54:00:00:00:01", "52:54", "pxe.reservations: `52:54` is not a MAC address"),
        ("10.77.0.50", "10.77.0.1", "pxe.reservations.52:54:00:00:00:01: `10.77.0.1` is taken already"),
        ("br0", "br0/../x", "pxe.interface: `br0/../x` is not an interface name"),
        ("address =", "adress =", "unknown field `adress`"),
        ("first =", "frist =", "unknown field `frist`"),
        ("address = \"10.77.0.1\"", "", "pxe.address: `` is missing"),
    ];
    for (from, to, expected) in rows {
        assert!(GOOD.contains(from), "{from}");
        let error = parse(&GOOD.replacen(from, to, 1)).unwrap_err();
        assert!(error.contains(expected), "{to}: {error}");
    }
    let rows = [
        (
            "pool = { first = \"10.1.0.10\", last = \"10.1.0.99\" }",
            "",
            "pxe.interfaces[0].pool: `` is missing",
        ),
        ("10.2.0.0/24", "10.1.0.0/24", "pxe.interfaces[1].address: `10.2.0.1` is not a host"),
        ("10.9.0.0/24", "10.1.0.0/24", "pxe.networks[0].subnet: `10.1.0.0/24` is there twice"),
        ("00112233", "0011223", "pxe.rules.uuid"),
        ("relays = [\"10.9.0.1\"]", "address = \"10.0.0.1\"", "pxe.interface: `` stands beside others"),
        (
            "initrd\"",
            "initrd\"\ncommand_line = \"a || shell\"",
            "pxe.images.command_line: `a || shell` cannot",
        ),
    ];
    for (from, to, expected) in rows {
        assert!(SEVERAL.contains(from), "{from}");
        let error = parse(&SEVERAL.replacen(from, to, 1)).unwrap_err();
        assert!(error.contains(expected), "{to}: {error}");
    }
}

#[test]
fn https_needs_the_build_and_says_so() {
    let site = |more: &str| -> wire::Config {
        let text = format!("{GOOD}\n[https]\ncertificate = \"boot.pem\"\nkey = \"boot.key\"\n{more}");
        toml::from_str(&text).unwrap()
    };
    let read = https::https(&site(""), true).unwrap().unwrap();
    assert_eq!((read.port, read.certificate, read.key), (8444, "boot.pem".into(), "boot.key".into()));
    assert_eq!(https::offer_to(&site("")).unwrap(), []);
    assert_eq!(https::offer_to(&site("offer = true")).unwrap(), [Match::default()]);
    let some = "[[https.offer_to]]\nrelay = \"10.9.0.1\"\n[[https.offer_to]]\narch = 19";
    let some = https::offer_to(&site(some)).unwrap();
    assert_eq!((some.len(), some[0].relay, some[1].arch), (2, Some(Ipv4Addr::new(10, 9, 0, 1)), Some(19)));
    let rows = [
        ("", false, "pxe.https: `boot.pem` asks for HTTPS boot, which this build lacks; take the build"),
        ("port = 8080", true, "pxe.https.port: `8080` is pxe.http_port, too"),
        ("offer = true\n[[https.offer_to]]\narch = 16", true, "pxe.https.offer: `true` makes"),
    ];
    for (more, built_in, expected) in rows {
        let error = https::https(&site(more), built_in).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{more}: {error}");
    }
    let error = https::offer_to(&site("[[https.offer_to]]\nmac = \"5\"")).unwrap_err().to_string();
    assert!(error.starts_with("pxe.https.offer_to.mac: `5` is not a MAC"), "{error}");
}

#[test]
fn pools_are_bounded_each_and_all_together() {
    let large = |last: &str| {
        GOOD.replace("10.77.0.0/24", "10.76.0.0/14")
            .replace("10.77.0.199", last)
            .replace("10.77.0.100", "10.76.0.2")
    };
    let most = parse(&large("10.78.0.1")).unwrap();
    assert_eq!(size(&most.networks[0].network.pool), POOL_MAX);
    let error = parse(&large("10.78.0.2")).unwrap_err();
    assert!(error.contains("makes a pool of 131073 addresses, 131072 is the limit"), "{error}");
    let mut text = large("10.78.0.1");
    for net in [12, 20] {
        let (subnet, range) =
            (format!("10.{net}.0.0/14"), [format!("10.{net}.0.2"), format!("10.{}.0.1", net + 2)]);
        let [first, last] = range;
        text.push_str(&format!(
            "[[networks]]\nsubnet = \"{subnet}\"\nrelays = [\"10.{net}.0.1\"]\n\
             pool = {{ first = \"{first}\", last = \"{last}\" }}\n"
        ));
    }
    let error = parse(&text).unwrap_err();
    assert!(error.contains("makes pools of 393216 addresses in all, 262144 is the limit"), "{error}");
}
