//! One boot for each rule, made of packets' bytes, and the sentence that must come out.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use appliance_model::{Mac, Now};

use super::{rules::RULES, *};

const HOST: Mac = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const RIVAL: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);
const RELAY: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const GIVEN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 52);
const FROM: IpAddr = IpAddr::V4(GIVEN);
const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const URL: &str = "http://10.0.0.1:8080/boot/t/discovery.efi";

/// What a packet says, in the order of the tests' need.
#[derive(Clone, Copy)]
struct Packet {
    kind: u8,
    xid: u32,
    class: &'static str,
    arch: Option<u16>,
    relay: Ipv4Addr,
    given: Ipv4Addr,
    server: Option<Ipv4Addr>,
    requested: Option<Ipv4Addr>,
    file: &'static str,
}

const PXE: Packet = Packet {
    kind: 1,
    xid: 7,
    class: "PXEClient:Arch:00007:UNDI:003001",
    arch: Some(7),
    relay: ANY,
    given: ANY,
    server: None,
    requested: None,
    file: "",
};
const HTTP: Packet = Packet { class: "HTTPClient:Arch:00016:UNDI:003001", arch: Some(16), ..PXE };
const SYSTEM: Packet = Packet { class: "MSFT 5.0", arch: None, ..PXE };
const AGENT: Packet = Packet { class: "scalerforge-agent", arch: None, ..PXE };

impl Packet {
    fn request_to(self, server: Ipv4Addr) -> Self {
        Self { kind: 3, server: Some(server), requested: Some(GIVEN), ..self }
    }

    fn reply(self, kind: u8, server: Ipv4Addr, given: Ipv4Addr, file: &'static str) -> Self {
        let arch = None;
        Self { kind, server: Some(server), given, file, arch, ..self }
    }

    /// RFC 2131's header, cookie, options.
    fn bytes(&self) -> Vec<u8> {
        let reply = matches!(self.kind, 2 | 5 | 6);
        let mut bytes = vec![0; 236];
        bytes[..4].copy_from_slice(&[if reply { 2 } else { 1 }, 1, 6, 0]);
        bytes[4..8].copy_from_slice(&self.xid.to_be_bytes());
        bytes[16..20].copy_from_slice(&self.given.octets());
        bytes[24..28].copy_from_slice(&self.relay.octets());
        bytes[28..34].copy_from_slice(&HOST.0);
        bytes.extend([99, 130, 83, 99]);
        let mut option = |code: u8, value: &[u8]| {
            if !value.is_empty() {
                bytes.extend([code, u8::try_from(value.len()).unwrap()]);
                bytes.extend(value);
            }
        };
        option(53, &[self.kind]);
        option(60, self.class.as_bytes());
        option(54, &self.server.map(|a| a.octets().to_vec()).unwrap_or_default());
        option(50, &self.requested.map(|a| a.octets().to_vec()).unwrap_or_default());
        option(93, &self.arch.map(|arch| arch.to_be_bytes().to_vec()).unwrap_or_default());
        option(67, self.file.as_bytes());
        bytes.push(255);
        bytes
    }
}

/// A network with one machine on it.  Each step takes a second.
struct Lan {
    recorder: Recorder,
    at: u64,
}

impl Lan {
    fn new(proxy: bool) -> Self {
        let mut recorder = Recorder::new(Limits::default());
        recorder.set_around(Around { own: vec![OWN], proxy, agents: true });
        Self { recorder, at: 1_000_000 }
    }

    fn frame(
        &mut self,
        seen: Seen,
        from: (Ipv4Addr, u16),
        to: (Ipv4Addr, u16),
        payload: Vec<u8>,
    ) -> &mut Self {
        self.at += 1000;
        let (source, target) = (SocketAddr::from(from), SocketAddr::from(to));
        self.recorder.frame(HOST, true, Frame { at: Now(self.at), seen, source, target, payload });
        self
    }

    fn asks(&mut self, packet: Packet) -> &mut Self {
        self.frame(Seen::Received, (ANY, 68), (Ipv4Addr::BROADCAST, 67), packet.bytes())
    }

    fn asks_4011(&mut self, packet: Packet) -> &mut Self {
        self.frame(Seen::Received, (GIVEN, 68), (OWN, 4011), packet.bytes())
    }

    fn we(&mut self, packet: Packet) -> &mut Self {
        self.frame(Seen::Sent, (OWN, 67), (Ipv4Addr::BROADCAST, 68), packet.bytes())
    }

    fn rival(&mut self, packet: Packet) -> &mut Self {
        self.frame(Seen::Overheard, (RIVAL, 67), (Ipv4Addr::BROADCAST, 68), packet.bytes())
    }

    fn tftp(&mut self, file: &str) -> &mut Self {
        let payload = [b"\0\x01", file.as_bytes(), b"\0octet\0"].concat();
        self.frame(Seen::Received, (GIVEN, 2000), (OWN, 69), payload)
    }

    fn note(&mut self, note: Note) -> &mut Self {
        self.at += 1000;
        self.recorder.note(HOST, true, Now(self.at), note);
        self
    }

    fn silent(&mut self, quiet: Quiet, why: &'static str) -> &mut Self {
        self.note(Note::Unanswered { quiet, why: why.into() })
    }

    /// DISCOVER to ACK with us, and the URL.
    fn leased(&mut self) -> &mut Self {
        self.asks(HTTP)
            .we(HTTP.reply(2, OWN, GIVEN, URL))
            .asks(HTTP.request_to(OWN))
            .we(HTTP.reply(5, OWN, GIVEN, URL))
    }

    fn started(&mut self, block_bytes: u16, window: u16) -> &mut Self {
        self.note(Note::TftpStarted { file: "discovery.efi".into(), block_bytes, window, of: 90_000_000 })
    }

    fn lost(&mut self, block: u64, block_bytes: u16) -> &mut Self {
        (1..=3).for_each(|times| {
            self.note(Note::TftpLost { block, times, block_bytes });
        });
        self
    }

    fn image_sent(&mut self) -> &mut Self {
        self.note(Note::HttpStarted { file: "discovery.efi".into(), from: FROM, of: 90_000_000 });
        self.note(Note::HttpSent { file: "discovery.efi".into(), bytes: 90_000_000, millis: 900 })
    }

    /// The verdict `seconds` after the last step.
    #[track_caller]
    fn says(&self, seconds: u64, code: &str, state: State, words: &[&str]) -> Verdict {
        let verdict = self.recorder.why(HOST, Now(self.at + seconds * 1000)).unwrap();
        let main = &verdict.main;
        assert_eq!((main.code, main.state), (code, state), "{verdict:#?}");
        for word in words {
            assert!(format!("{}\n{}", main.headline, main.next).contains(word), "no `{word}`: {verdict:#?}");
        }
        assert!(!main.evidence.is_empty() && !main.next.is_empty(), "{verdict:#?}");
        verdict
    }
}

fn broken(at: u64) -> Note {
    Note::HttpBroken { file: "discovery.efi".into(), at, of: 90_000_000 }
}

#[test]
fn files_on_their_way() {
    use State::*;
    let full = || Lan::new(false);
    full().leased().says(5, "nothing-wrong", Waiting, &["last heard 5 s ago"]);
    full().leased().says(40, "file-never-asked", Trouble, &["URL of its image since 40 s", "https only"]);
    full().leased().image_sent().says(5, "loaded-no-hello", Waiting, &["in full 5 s ago"]);
    full().leased().image_sent().says(100, "loaded-no-hello", Trouble, &["look at the console"]);
    full().leased().image_sent().asks(AGENT).says(9, "agent-silent", Waiting, &["has not said hello"]);
    full().leased().image_sent().asks(HTTP).says(9, "loaded-and-back", Trouble, &["Secure Boot"]);
    let up = Note::AgentUp { by_dhcp: true };
    full().leased().image_sent().asks(AGENT).note(up).says(3, "booted", Fine, &["3 s ago", "came by DHCP"]);
    let queued = Note::HttpQueued { place: 7 };
    full().leased().note(queued).says(2, "loading", Waiting, &["place 7"]);
    full().leased().note(broken(12_000_000)).note(broken(12_100_000)).note(broken(12_010_000)).says(
        2,
        "http-broken",
        Trouble,
        &["broke off at 12.1 MB, three times", "no memory"],
    );
    full().leased().note(broken(1_000)).note(broken(12_000_000)).says(
        2,
        "http-broken",
        Trouble,
        &["between 1.0 kB and 12.0 MB, twice", "MTU"],
    );
    let refused = Note::HttpRefused { file: "old.efi".into(), why: "its ticket has expired".into() };
    full().leased().note(refused).says(2, "http-refused", Trouble, &["old.efi", "expired"]);
    let words = ["TLS handshake", "enrol that authority", "pxe.https.offer_to"];
    full().leased().note(Note::TlsFailed).says(2, "tls-failed", Trouble, &words);
    let on = Note::TftpRefused { file: "x".into(), why: "on to HTTP".into(), on_purpose: true };
    full().asks(PXE).tftp("x").note(on.clone()).says(5, "sent-on-to-http", Waiting, &["5 s ago"]);
    full().asks(PXE).tftp("x").note(on).says(90, "sent-on-to-http", Trouble, &["boot order"]);
    let mut alone = full();
    alone.recorder.set_around(Around { own: vec![OWN], proxy: false, agents: false });
    alone.leased().image_sent().says(500, "loaded", Fine, &["in full 500 s ago", "console"]);
    // A later boot of the same machine is judged by itself.
    let mut lan = full();
    lan.leased().note(broken(1_000)).at += 3_600_000;
    lan.leased().says(5, "nothing-wrong", Waiting, &[]);
}

#[test]
fn tftp() {
    use State::Trouble;
    let full = || Lan::new(false);
    full().tftp("d").started(1468, 4).lost(412, 1468).says(
        1,
        "tftp-lost-block",
        Trouble,
        &["TFTP lost block 412 three times", "packets of 1500 bytes do pass", "cable"],
    );
    full().tftp("d").started(1468, 4).lost(1, 1468).says(
        1,
        "tftp-lost-block",
        Trouble,
        &["TFTP lost block 1 three times; MTU looks like less than 1500"],
    );
    let sent = Note::TftpSent { bytes: 300_000, millis: 9 };
    full().tftp("s").started(1368, 4).note(sent.clone()).tftp("d").started(1468, 4).lost(1, 1468).says(
        1,
        "tftp-lost-block",
        Trouble,
        &["MTU looks like 1400 to 1499"],
    );
    full().tftp("d").started(1468, 4).lost(9, 1468).note(sent).says(
        1,
        "loaded-no-hello",
        State::Waiting,
        &["1 s ago"],
    );
    let end = Note::TftpBroken { at: 0, of: 90_000_000, why: "no answer for 30 s".into() };
    full().tftp("d").started(1468, 4).note(end).says(1, "tftp-broken", Trouble, &["no answer", "firewall"]);
    let narrow = Note::TftpNarrow { block_bytes: 1468, next_block_bytes: 1024 };
    let verdict = full().tftp("d").started(1468, 4).note(narrow).says(
        1,
        "mtu-smaller",
        State::Waiting,
        &["1500", "1056"],
    );
    assert_eq!(verdict.also, []);
    let write = Note::TftpWrite { file: "startup-config".into() };
    full().note(write).says(1, "tftp-write", Trouble, &["startup-config", "switch"]);
    let refused =
        || Note::TftpRefused { file: "pxelinux.0".into(), why: "unknown".into(), on_purpose: false };
    full().tftp("pxelinux.0").note(refused()).says(
        1,
        "tftp-unknown-file",
        Trouble,
        &["pxelinux.0", "we never named it"],
    );
    full().asks(PXE).rival(PXE.reply(2, RIVAL, GIVEN, "pxelinux.0")).tftp("pxelinux.0").note(refused()).says(
        1,
        "tftp-unknown-file",
        Trouble,
        &["10.0.0.3 named it"],
    );
}

#[test]
fn answers_and_silence() {
    use State::*;
    let full = || Lan::new(false);
    let relayed = Packet { relay: RELAY, ..PXE };
    let mut lan = full();
    (0..4).for_each(|_| {
        lan.asks(relayed).silent(Quiet::Relay(RELAY), "unknown relay");
    });
    lan.says(1, "relay-not-configured", Trouble, &["four times through relay 10.1.0.1", "pxe.relays"]);
    full().asks(Packet { arch: None, ..relayed }).says(
        1,
        "relay-stripped-arch",
        Trouble,
        &["relay 10.1.0.1 stripped option 93", "PXEClient:Arch:00007"],
    );
    full().asks(Packet { arch: None, ..PXE }).says(1, "no-arch", Trouble, &["option 93", "firmware"]);
    let rows = [
        (
            Quiet::NoAddress,
            "all 9 addresses of the pool are held",
            "pool-exhausted",
            Trouble,
            "all 9 addresses",
        ),
        (Quiet::NoImage(19), "we have x64", "arch-without-image", Trouble, "arm64 UEFI by HTTP (19)"),
        (Quiet::NotDurable, "no space left", "not-recorded", Trouble, "no space left"),
        (Quiet::NotSent, "network is down", "not-sent", Trouble, "network is down"),
        (Quiet::Listening, "listening", "listening", Waiting, "pxe.mode"),
        (Quiet::Told, "it boots from disk", "told-to-be-silent", Fine, "it boots from disk"),
        (Quiet::Other, "it gave its address back", "unanswered", Waiting, "gave its address back"),
    ];
    for (quiet, why, code, state, words) in rows {
        full().asks(PXE).silent(quiet, why).says(1, code, state, &[words]);
        // Answered since: no longer the reason.
        let mut lan = full();
        lan.asks(PXE).silent(quiet, why).leased();
        assert_eq!(lan.recorder.why(HOST, Now(lan.at)).unwrap().main.code, "nothing-wrong");
    }
    let conflict = |by| Note::Conflict { address: GIVEN, by };
    full().asks(PXE).note(conflict(Some(Mac([2; 6])))).says(
        1,
        "address-in-use",
        Trouble,
        &["10.0.0.52 meant for it is in use by 02:02:02:02:02:02"],
    );
    let decline = Packet { kind: 4, requested: Some(GIVEN), ..PXE };
    full().asks(decline).says(1, "address-in-use", Trouble, &["10.0.0.52", "second DHCP server"]);
    full()
        .asks(PXE.request_to(OWN))
        .note(Note::Refused { why: "not its own".into() })
        .we(PXE.reply(6, OWN, ANY, ""))
        .says(1, "refused", Waiting, &["not its own"]);
    let offer = PXE.reply(2, OWN, GIVEN, "");
    full().asks(PXE).we(offer).asks(PXE).we(offer).says(
        1,
        "offer-not-taken",
        Trouble,
        &["twice, and it took none", "spanning tree"],
    );
    let through = Packet { relay: RELAY, ..offer };
    full().asks(relayed).we(through).says(20, "offer-not-taken", Trouble, &["relay 10.1.0.1, UDP port 67"]);
    full().asks(PXE).we(PXE.reply(5, OWN, GIVEN, "boot.efi")).says(
        20,
        "file-never-asked",
        Trouble,
        &["port 69"],
    );
    full().asks(SYSTEM).says(3, "did-not-ask-to-boot", Fine, &["operating system", "boot order"]);
    full().asks(AGENT).says(3, "agent-runs", Fine, &["our agent runs"]);
}

#[test]
fn other_servers() {
    use State::*;
    let full = || Lan::new(false);
    let (theirs, ours) = (PXE.reply(2, RIVAL, GIVEN, ""), PXE.reply(2, OWN, GIVEN, "boot.efi"));
    let verdict = full().asks(PXE).rival(theirs).we(ours).asks(PXE.request_to(RIVAL)).says(
        1,
        "second-server-first",
        Trouble,
        &["a second DHCP server 10.0.0.3 answered first, and it took that offer", "auto-proxy"],
    );
    assert_eq!(verdict.main.evidence.len(), 3);
    assert_eq!(verdict.main.evidence[0].text, "overheard: OFFER of 10.0.0.3, address 10.0.0.52");
    assert!(verdict.also.iter().any(|finding| finding.code == "second-server-taken"));
    full().asks(PXE).we(ours).asks(PXE.request_to(RIVAL)).says(
        1,
        "second-server-taken",
        Trouble,
        &["it never took ours: it took 10.0.0.3's"],
    );
    full().asks(PXE).rival(PXE.reply(2, RIVAL, GIVEN, "pxelinux.0")).says(
        1,
        "second-server-boots",
        Trouble,
        &["names a boot file of its own, pxelinux.0"],
    );
    full().leased().rival(theirs).says(1, "second-server-seen", Waiting, &["also answers"]);

    let proxy = || Lan::new(true);
    let boot = PXE.reply(2, OWN, ANY, "boot.efi");
    proxy().asks(PXE).we(boot).asks(PXE).we(boot).says(
        1,
        "proxy-without-server",
        Trouble,
        &["twice with a boot offer, but no DHCP server gives it an address"],
    );
    proxy().asks(PXE).we(boot).rival(theirs).asks(PXE.request_to(RIVAL)).says(
        20,
        "never-asked-4011",
        Trouble,
        &["took an address of 10.0.0.3", "never asked port 4011"],
    );
    let mut lan = proxy();
    lan.asks(PXE).we(boot).rival(theirs).asks(PXE.request_to(RIVAL)).asks_4011(PXE.request_to(OWN));
    lan.says(1, "nothing-wrong", Waiting, &[]);
}

#[test]
fn never_seen_and_its_neighbour() {
    let mut lan = Lan::new(false);
    assert_eq!(lan.recorder.why(HOST, Now(0)), None);
    let verdict = lan.recorder.unseen(HOST, Now(0));
    assert_eq!(verdict.main.code, "never-seen");
    assert!(verdict.main.next.contains("relay DHCP to us"));
    lan.leased();
    let port = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x57]);
    assert!(lan.recorder.unseen(port, Now(0)).main.next.contains("its neighbour 52:54:00:12:34:56 was seen"));
}

#[test]
fn every_rule_has_a_boot_here_and_a_name_of_its_own() {
    let tests = [include_str!("rule_tests.rs"), include_str!("rule6_tests.rs")].concat();
    let mut names = std::collections::BTreeSet::new();
    for rule in RULES {
        assert!(tests.contains(&format!("\"{}\"", rule.code)), "{} has no test", rule.code);
        assert!(names.insert(rule.code), "{} is there twice", rule.code);
    }
}

#[test]
fn a_boot_ticket_is_in_no_sentence() {
    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    let mut lan = Lan::new(false);
    let url = "http://10.0.0.1:8080/boot/0123456789abcdef0123456789abcdef/discovery.efi";
    lan.asks(HTTP).we(HTTP.reply(5, OWN, GIVEN, url)).tftp(&format!("boot/{SECRET}/discovery.efi"));
    lan.note(Note::TftpRefused {
        file: format!("boot/{SECRET}/x").into(),
        why: "old".into(),
        on_purpose: false,
    });
    let story = format!("{:?}", lan.recorder.story(HOST).unwrap());
    assert!(story.contains("/boot/…/discovery.efi") && story.contains("of boot/…/discovery.efi"), "{story}");
    assert!(!story.contains(SECRET) && !format!("{:?}", lan.recorder.why(HOST, Now(0))).contains(SECRET));
}

#[test]
fn any_bytes_from_anybody_make_a_story_and_a_capture() {
    let mut lan = Lan::new(false);
    let good = HTTP.bytes();
    let mut seed = 1u32;
    for end in 0..good.len() {
        lan.frame(Seen::Received, (ANY, 68), (OWN, 67), good[..end].to_vec());
        let mut bad = good.clone();
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        bad[end] = seed.to_be_bytes()[0];
        lan.frame(Seen::Overheard, (RIVAL, 67), (OWN, 68), bad.clone());
        lan.frame(Seen::Received, (GIVEN, 2000), (OWN, 69), bad);
        assert!(lan.recorder.why(HOST, Now(lan.at)).is_some());
    }
    assert!(lan.recorder.story(HOST).unwrap().iter().all(|line| !line.text.contains(char::is_control)));
    assert!(lan.recorder.pcap(HOST).unwrap().len() > 10_000);
}
