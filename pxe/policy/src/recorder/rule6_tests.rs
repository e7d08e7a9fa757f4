//! One boot over IPv6 for each rule about it, made of packets' bytes, and the sentence that must come out.

use std::net::{Ipv6Addr, SocketAddr};

use appliance_model::{Mac, Now};

use super::*;

const HOST: Mac = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
const OURS: [u8; 4] = [0, 2, 0, 1];
const THEIRS: [u8; 4] = [0, 2, 0, 9];
const CLIENT: [u8; 4] = [0, 2, 0, 7];
const HTTP: &str = "HTTPClient:Arch:00016:UNDI:003001";
const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x99);

fn option(code: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).unwrap();
    [&code.to_be_bytes()[..], &length.to_be_bytes(), value].concat()
}

/// A client's message (RFC 8415, 8) with Intel's class, as edk2 writes it.
fn asks(kind: u8, server: Option<[u8; 4]>, wanted: &[u16]) -> Vec<u8> {
    let class = [&343_u32.to_be_bytes()[..], &33_u16.to_be_bytes(), HTTP.as_bytes()].concat();
    let wanted: Vec<u8> = wanted.iter().flat_map(|code| code.to_be_bytes()).collect();
    let mut bytes = vec![kind, 0, 0, 1];
    bytes.extend(option(1, &CLIENT));
    server.iter().for_each(|server| bytes.extend(option(2, server)));
    if kind != 11 {
        bytes.extend(option(3, &[0; 12]));
    }
    bytes.extend(option(6, &wanted));
    bytes.extend(option(16, &class));
    bytes
}

/// A server's: ADVERTISE (2) or REPLY (7), with an address and a URL.
fn tells(kind: u8, server: [u8; 4]) -> Vec<u8> {
    let address = [&[0xfd; 16][..], &[0; 8]].concat();
    let ia = [&[0; 12][..], &option(5, &address)].concat();
    let url = option(59, b"http://[fd77::1]:8080/boot/t/discovery.efi");
    [vec![kind, 0, 0, 1], option(1, &CLIENT), option(2, &server), option(3, &ia), url].concat()
}

struct Link {
    recorder: Recorder,
    at: u64,
}

impl Link {
    fn new(unmanaged: &[Ipv6Addr]) -> Self {
        let mut recorder = Recorder::new(Limits::default());
        recorder.set_around(Around { own: Vec::new(), proxy: false, agents: true });
        recorder.set_around6(Around6 { server: Duid::new(&OURS), unmanaged: unmanaged.to_vec() });
        Self { recorder, at: 1_000_000 }
    }

    fn frame(&mut self, seen: Seen, payload: Vec<u8>) -> &mut Self {
        self.at += 1000;
        let firmware = SocketAddr::from((Ipv6Addr::new(0xfe80, 0, 0, 0, 0x5054, 0xff, 0xfe12, 0x3456), 546));
        let server = SocketAddr::from((Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2), 547));
        let (source, target) = if seen == Seen::Sent { (server, firmware) } else { (firmware, server) };
        self.recorder.frame(HOST, true, Frame { at: Now(self.at), seen, source, target, payload });
        self
    }

    fn asks(&mut self, kind: u8, server: Option<[u8; 4]>) -> &mut Self {
        self.frame(Seen::Received, asks(kind, server, &[59, 23]))
    }

    fn we(&mut self, kind: u8) -> &mut Self {
        self.frame(Seen::Sent, tells(kind, OURS))
    }

    #[track_caller]
    fn says(&self, seconds: u64, code: &str, words: &[&str]) {
        let verdict = self.recorder.why(HOST, Now(self.at + seconds * 1000)).unwrap();
        let main = &verdict.main;
        assert_eq!(main.code, code, "{verdict:#?}");
        let text = format!("{}\n{}", main.headline, main.next);
        words.iter().for_each(|word| assert!(text.contains(word), "no `{word}`: {verdict:#?}"));
        assert!(!main.evidence.is_empty() && !main.next.is_empty(), "{verdict:#?}");
    }
}

const SOLICIT: u8 = 1;
const REQUEST: u8 = 3;
const INFORMATION: u8 = 11;

#[test]
fn boots_over_ipv6() {
    let link = || Link::new(&[]);
    link().asks(SOLICIT, None).we(2).asks(REQUEST, Some(OURS)).we(7).says(5, "nothing-wrong", &[]);
    link().asks(SOLICIT, None).we(2).asks(REQUEST, Some(OURS)).we(7).says(
        40,
        "v6-file-never-asked",
        &["URL of its image since 40 s", "router_advertisements"],
    );
    link().asks(SOLICIT, None).we(2).asks(REQUEST, Some(THEIRS)).says(
        1,
        "v6-other-server",
        &["a second DHCPv6 server (00020009) answered first, and it took that offer", "auto-proxy"],
    );
    link().asks(REQUEST, Some(THEIRS)).says(1, "v6-other-server", &["we had offered it none"]);
    let mut back = link();
    back.asks(REQUEST, Some(THEIRS)).asks(SOLICIT, None).we(2).asks(REQUEST, Some(OURS)).we(7);
    back.says(1, "nothing-wrong", &[]);
    link().asks(SOLICIT, None).we(2).asks(SOLICIT, None).we(2).says(
        1,
        "v6-offer-not-taken",
        &["an IPv6 address twice, and it took none", "RA guard"],
    );
    link().frame(Seen::Received, asks(SOLICIT, None, &[23])).we(2).says(
        1,
        "v6-no-boot-option",
        &["without option 59 (boot file URL)", "HTTPClient:Arch:00016"],
    );
}

#[test]
fn what_routers_say_decides_what_is_asked() {
    Link::new(&[ROUTER]).asks(INFORMATION, None).says(
        1,
        "v6-options-only",
        &["never for an address, because the router fe80::99 advertises M=0", "M=1"],
    );
    Link::new(&[]).asks(INFORMATION, None).says(1, "v6-options-only", &["never for an address", "flag O"]);
    let mut link = Link::new(&[ROUTER]);
    link.asks(INFORMATION, None).asks(SOLICIT, None).we(2);
    link.says(1, "nothing-wrong", &["last heard 1 s ago"]);
    // Over IPv4 it asked in vain, and over IPv6 not at all.
    let mut discover = vec![0; 236];
    discover[..4].copy_from_slice(&[1, 1, 6, 0]);
    discover[28..34].copy_from_slice(&HOST.0);
    discover.extend([99, 130, 83, 99, 53, 1, 1, 93, 2, 0, 16, 60, 33]);
    discover.extend(HTTP.as_bytes());
    discover.push(255);
    let mut link = Link::new(&[ROUTER]);
    let (source, target) = (SocketAddr::from(([0, 0, 0, 0], 68)), SocketAddr::from(([255; 4], 67)));
    let frame = Frame { at: Now(link.at), seen: Seen::Received, source, target, payload: discover };
    link.recorder.frame(HOST, true, frame);
    link.says(
        1,
        "v6-never-asked",
        &["the router fe80::99 advertises M=0, so it never asked for an address by DHCPv6"],
    );
}

/// Frames over IPv6 are in the capture as such: version 6, next header UDP, the ports of DHCPv6.
#[test]
fn a_capture_has_ipv6_frames() {
    let mut link = Link::new(&[]);
    link.asks(SOLICIT, None).we(2);
    let capture = link.recorder.pcap(HOST).unwrap();
    let udp = [17, 64, 0xfe, 0x80];
    let frames = capture.windows(6).filter(|bytes| bytes[..3] == [0x86, 0xdd, 0x60]).count();
    assert_eq!(frames, 2, "two Ethernet frames of type IPv6");
    assert!(capture.windows(4).any(|bytes| bytes[0] == udp[0] && bytes[2..] == udp[2..]));
    assert!(capture.windows(4).any(|bytes| bytes == [2, 34, 2, 35]), "from port 546 to 547");
    let solicit = asks(SOLICIT, None, &[59, 23]);
    assert!(capture.windows(solicit.len()).any(|bytes| bytes == solicit));
}
