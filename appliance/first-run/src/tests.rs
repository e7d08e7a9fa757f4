//! Answers in, files and words out; and each thing that can be in the way, with its next step.

use std::net::Ipv4Addr;

use appliance_model::Now;

use crate::{
    Answers, Facts, Heard, Images, Mode, Nic, Plan, Problem, SITE_FILE, Storage, Tpm, clock, form, plan,
};

const RIVAL: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);

fn nic(name: &str, addresses: &[(Ipv4Addr, u8)], heard: Option<Heard>) -> Nic {
    let mac = format!("52:54:00:00:00:{:02x}", name.len()).parse().ok();
    Nic { name: name.into(), mac, carrier: true, addresses: addresses.to_vec(), heard }
}

fn silence() -> Option<Heard> {
    Some(Heard { servers: Vec::new(), proposal: Mode::Full, why: "nobody answered our 3 questions".into() })
}

fn rival() -> Option<Heard> {
    Some(Heard { servers: vec![RIVAL], proposal: Mode::Proxy, why: "10.0.0.3 gives addresses here".into() })
}

/// Two ports: `eth0` to people, with an address; `eth10` to servers, where it is quiet.
fn facts() -> Facts {
    let people = nic("eth0", &[(Ipv4Addr::new(192, 0, 2, 7), 24)], rival());
    Facts {
        now: Now(1_795_305_600_000),
        hardware_clock: None,
        nics: vec![people, nic("eth10", &[], silence())],
        tpm: Tpm::Free,
        storage: Storage { free_bytes: 8 << 30, live: false, why: None },
        images: Images {
            uki: "/usr/lib/scalerforge/discovery.efi".into(),
            reference: "reference.json".into(),
            host: None,
        },
    }
}

fn answers(more: &[(&str, &str)]) -> Answers {
    let mut answers = Answers::default();
    for (key, text) in [("site.name", "rack-7"), ("site.region", "eu-west")].iter().chain(more) {
        answers.set(key, text).unwrap_or_default();
    }
    answers
}

fn file<'a>(plan: &'a Plan, path: &str) -> &'a str {
    plan.files.iter().find(|file| file.path == path).map_or("", |file| &file.text)
}

#[test]
fn two_answers_are_enough_where_the_rest_can_be_seen() {
    let plan = plan(&answers(&[]), &facts()).unwrap();
    assert_eq!(plan.files.last().unwrap().path, SITE_FILE, "the site file is written last");
    let site: toml::Table = file(&plan, SITE_FILE).parse().unwrap();
    let pxe = &site["pxe"];
    assert_eq!(pxe["interface"].as_str(), Some("eth10"));
    assert_eq!(
        pxe["mode"].as_str(),
        Some("auto-proxy"),
        "nobody answered: we give, and step back by ourselves"
    );
    assert_eq!(pxe["pool"]["first"].as_str(), Some("10.77.0.128"));
    assert_eq!(pxe["pool"]["last"].as_str(), Some("10.77.0.254"));
    assert_eq!(site["operator"]["page"]["listen"].as_str(), Some("0.0.0.0:443"));
    let network = file(&plan, "network/10-servers.network");
    assert!(network.contains("MACAddress=52:54:00:00:00:05\n") && network.contains("Address=10.77.0.1/24\n"));
    assert!(!network.contains("Gateway"));
    assert!(file(&plan, "network/20-people.network").contains("DHCP=ipv4\n"));
    assert_eq!(plan.page, None, "DHCP decides where it is");
    assert!(
        plan.will.iter().any(|line| line.contains("eth10 gets the address 10.77.0.1/24")),
        "{:?}",
        plan.will
    );
}

#[test]
fn a_lan_that_has_a_server_is_not_taken() {
    let mut facts = facts();
    facts.nics = vec![nic("eth0", &[], rival())];
    let proposed = form(&answers(&[]), &facts);
    let of = |key: &str| proposed.iter().find(|field| field.question.key == key).unwrap().proposal.clone();
    assert_eq!(of("lan.mode").as_deref(), Some("proxy"));
    assert_eq!(of("lan.address"), None, "which address is free there, only its owner knows");
    assert_eq!(of("lan.pool"), None);
    let address = ("lan.address", "10.0.0.9/24");
    let proxy = plan(&answers(&[address]), &facts).unwrap();
    let site: toml::Table = file(&proxy, SITE_FILE).parse().unwrap();
    assert_eq!((site["pxe"]["mode"].as_str(), site["pxe"].get("pool")), (Some("proxy"), None));
    assert_eq!(proxy.page.as_deref(), Some("https://10.0.0.9/"));
    let full = plan(&answers(&[address, ("lan.mode", "full")]), &facts).unwrap_err();
    assert_eq!(full.len(), 1);
    assert_eq!(full[0].key, "lan.mode");
    assert!(full[0].what.contains("10.0.0.3 gives addresses on eth0"), "{full:?}");
    assert!(full[0].next.contains("lan.beside"), "{full:?}");
    for beside in ["10.0.0.4", "10.0.0.30"] {
        assert!(plan(&answers(&[address, ("lan.mode", "full"), ("lan.beside", beside)]), &facts).is_err());
    }
    let both = [address, ("lan.mode", "full"), ("lan.beside", "10.0.0.3")];
    assert!(plan(&answers(&both), &facts).is_ok(), "named, it is meant");
}

#[test]
fn where_nobody_listened_nothing_is_given() {
    let mut facts = facts();
    facts.nics = vec![nic("eth0", &[], None)];
    let plan = plan(&answers(&[]), &facts).unwrap();
    assert!(file(&plan, SITE_FILE).contains("mode = \"listen\""));
    assert!(plan.notices.iter().any(|notice| notice.what.contains("nobody listened on eth0")));
}

#[test]
fn what_cannot_be_followed_is_said_with_its_next_step() {
    let rows: [(&str, &str, &str); 15] = [
        ("site.name", "rack 7", "letters"),
        ("site.region", "eu/west", "letters"),
        ("site.class", "fast", "gpu"),
        ("lan.interface", "eth3", "eth0, eth10"),
        ("lan.address", "10.77.0.0/24", "free address"),
        ("lan.address", "10.77.0.1/30", "free address"),
        ("lan.address", "192.0.2.9/24", "network of its own"),
        ("lan.mode", "master", "auto-proxy"),
        ("lan.pool", "10.77.0.200-10.77.0.100", "FIRST-LAST"),
        ("lan.pool", "10.77.1.1-10.77.1.9", "10.77.0.0/24"),
        ("lan.router", "10.77.0.1", "router's address"),
        ("time.servers", "a b", "commas"),
        ("burn_in.profile", "quick", "demo, smoke"),
        ("chain.rpc_url", "ftp://x", "https://"),
        ("chain.rpc_url", "https://rpc.example", "number of the chain"),
    ];
    for (key, text, next) in rows {
        let fixed = [("uplink.interface", "eth0"), ("uplink.address", "192.0.2.7/24"), (key, text)];
        let problems = plan(&answers(&fixed), &facts()).unwrap_err();
        assert!(problems.iter().any(|problem| problem.next.contains(next)), "{key} = {text}: {problems:?}");
    }
    let nothing = plan(&Answers::default(), &facts()).unwrap_err();
    let keys: Vec<&str> = nothing.iter().map(|problem| problem.key).collect();
    assert_eq!(keys, ["site.name", "site.region"], "all at once");
}

#[test]
fn machines_that_lack_something_say_what_to_do() {
    type Spoil = fn(&mut Facts);
    let spoil: [(Spoil, &str, &str); 8] = [
        (|facts| facts.now = Now(3_600_000), "1970-01-01", "battery"),
        (|facts| facts.hardware_clock = Some(Now(7_200_000)), "1970-01-01", "time server"),
        (|facts| facts.tpm = Tpm::Absent, "no TPM", "firmware's setup"),
        (
            |facts| facts.tpm = Tpm::Taken("its owner hierarchy has a password; clear it".into()),
            "owner hierarchy has a password; clear it",
            "gone with the next restart",
        ),
        (|facts| facts.storage.live = true, "runs from memory", "to a disk"),
        (
            |facts| {
                facts.storage = Storage { free_bytes: 8 << 30, live: true, why: Some("clear the TPM".into()) }
            },
            "next restart (clear the TPM)",
            "backup",
        ),
        (|facts| facts.nics[0].addresses.clear(), "nobody gave eth0 an address by DHCP", "fixed address"),
        (|facts| facts.nics[1].carrier = false, "eth10 has no cable", "plug it in"),
    ];
    let ports = [("lan.interface", "eth10"), ("uplink.interface", "eth0")];
    for (spoil, what, next) in spoil {
        let mut facts = facts();
        spoil(&mut facts);
        let plan = plan(&answers(&ports), &facts).unwrap();
        let found = plan.notices.iter().find(|notice| notice.what.contains(what));
        assert!(found.is_some_and(|notice| notice.next.contains(next)), "{what}: {:?}", plan.notices);
    }
    let mut small = facts();
    small.storage.free_bytes = 300 << 20;
    let refused = |facts: &Facts| plan(&answers(&[]), facts).unwrap_err();
    let has = |problems: &[Problem], key: &str, next: &str| {
        problems.iter().any(|problem| problem.key == key && problem.next.contains(next))
    };
    assert!(has(&refused(&small), "storage", "larger disk"));
    small.storage.live = true;
    assert!(has(&refused(&small), "storage", "more memory"));
    let mut bare = facts();
    bare.nics.clear();
    assert!(has(&refused(&bare), "network", "card"));
}

#[test]
fn a_clock_before_this_program_was_made_or_long_after_is_no_clock() {
    let (good, nonsense) = (Now(1_795_305_600_000), Now(3_600_000));
    assert_eq!(clock(good, None), None);
    assert_eq!(clock(good, Some(good)), None);
    // A system that did not believe its hardware went on from the day on which it was built: nonsense, too.
    for (now, hardware) in [(nonsense, None), (good, Some(nonsense)), (Now(1_760_000_000_000), None)] {
        let said = clock(now, hardware).unwrap();
        assert!(said.what.contains("made after 2026-01-01"), "{said:?}");
        assert!(
            said.next.contains("firmware's setup") && said.next.contains("nothing is signed"),
            "{said:?}"
        );
    }
    // Two digits of a year: 70 is 2070 to the kernel, and systemd went on from the day on which it was built.
    let restarted = Now(3_155_760_603_000);
    for (now, hardware) in [(good, Some(restarted)), (restarted, None)] {
        let said = clock(now, hardware).unwrap();
        assert!(said.what.contains("2070-01-01") && said.what.contains("began again in 1970"), "{said:?}");
        assert!(said.next.contains("battery"), "{said:?}");
    }
}

#[test]
fn a_file_of_answers_is_read_to_the_line() {
    let text = "[site]\nname = \"rack-7\"\nregion = \"eu-west\"\nhp_id = 7\nlocation_code = 83\n\n[lan]\nmode = \"full\"\n\
                dns = [\"10.77.0.2\", \"10.77.0.3\"]\n\n[chain]\nrpc_url = \"https://user:key@rpc.example/v2/KEY\"\nchain_id = 8453\n";
    let answers = Answers::from_toml(text).unwrap();
    assert_eq!(answers.given("lan.dns"), Some("10.77.0.2, 10.77.0.3"));
    let plan = plan(&answers, &facts()).unwrap();
    let site: toml::Table = file(&plan, SITE_FILE).parse().unwrap();
    assert_eq!(site["chain"]["chain_id"].as_integer(), Some(8453));
    assert_eq!(site["registration"]["hp_id"].as_integer(), Some(7));
    assert_eq!(site["pxe"]["dns"].as_array().unwrap().len(), 2);
    let words = plan.will.join("\n");
    assert!(words.contains("rpc.example") && !words.contains("KEY") && !words.contains("user"), "{words}");
    for (text, at, why) in [
        ("[site]\nname = rack", "line 2", ""),
        ("[site]\ncolour = 1", "site.colour", "site.name"),
        ("name = \"x\"", "name", "is not asked for"),
        ("[site]\nname = 1.5", "site.name", "no text"),
        ("[site]\nname = \"\\u0007\"", "site.name", "printable"),
    ] {
        let refused = Answers::from_toml(text).unwrap_err();
        assert!(refused.at == at && refused.why.contains(why), "{text}: {refused}");
    }
}

#[test]
fn a_site_file_says_what_the_machine_brings_and_what_was_wished() {
    let mut facts = facts();
    facts.images.host = Some("/usr/lib/scalerforge/host".into());
    let site = |given: &[(&str, &str)], facts: &Facts| -> toml::Table {
        file(&plan(&answers(given), facts).unwrap(), SITE_FILE).parse().unwrap()
    };
    let lab = site(&[("site.class", "lab")], &facts);
    assert_eq!(lab["host"]["release"].as_str(), Some("/usr/lib/scalerforge/host"));
    assert_eq!(lab["burn_in"]["profile"].as_str(), Some("smoke"));
    facts.images.host = None;
    let other = site(&[("burn_in.profile", "demo")], &facts);
    assert_eq!(other["burn_in"]["profile"].as_str(), Some("demo"));
    assert!(other.get("host").is_none());
}

#[test]
fn proposals_follow_the_answers() {
    let facts = facts();
    let of = |given: &[(&str, &str)], key: &str| {
        let all = form(&answers(given), &facts);
        all.into_iter().find(|field| field.question.key == key).and_then(|field| field.proposal)
    };
    assert_eq!(of(&[("lan.address", "10.5.0.1/16")], "lan.pool").as_deref(), Some("10.5.128.0-10.5.255.254"));
    assert_eq!(of(&[("lan.mode", "reservation")], "lan.pool"), None);
    assert_eq!(of(&[("lan.interface", "eth0")], "uplink.interface"), None, "eth10 leads nowhere");
    assert_eq!(of(&[("lan.interface", "eth0")], "lan.address").as_deref(), Some("192.0.2.7/24"));
    assert_eq!(of(&[], "uplink.address").as_deref(), Some("dhcp"));
    assert_eq!(
        of(&[("lan.mode", "full")], "lan.mode").as_deref(),
        Some("auto-proxy"),
        "what was proposed stays known"
    );
}
