//! One break-glass at a time, its audit whole, and lines that came twice once.

use appliance_api::agent::host::Release;
use appliance_enrol::{BreakGlass, Glassed, Grant};
use appliance_model::{Seconds, SshKey};

use super::{NOW, digest, one_host};
use crate::NewClaim;

fn glass() -> BreakGlass {
    let release = Release { name: "host".into(), version: "1".into(), epoch: 1, root_hash: digest(1) };
    let key =
        SshKey::parse("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOgjaIe0y3qBzXnh3ZfnhcS4JyLqfWSWk0mkedqXqmLF")
            .unwrap();
    BreakGlass::asked(Grant::new(key, ("ann".into(), "why".into()), 30, release, NOW).unwrap())
}

#[test]
fn one_is_on_at_a_time_and_only_for_the_host_that_was_judged() {
    let (_dir, store, host) = one_host();
    let generation = store.host(&host).unwrap().generation;
    let begin = |generation, number| {
        store.begin_glass((&host, generation), number, (&glass(), "allowed by ann"), NOW).unwrap()
    };
    assert!(!begin(generation + 1, 0), "it has moved on");
    assert!(begin(generation, 0) && !begin(generation, 0) && !begin(generation, 1));
    let turn = |happened| store.glassed(&host, happened, NOW).unwrap();
    assert!(turn(Glassed::Planted) && !turn(Glassed::Planted) && turn(Glassed::Leaves));
    assert!(turn(Glassed::Clean) && !store.glass(&host).unwrap().unwrap().state.on());
    assert!(begin(generation, 4), "the next one");
    let lines: Vec<String> = store.glass_lines(&host).unwrap().into_iter().map(|line| line.text).collect();
    assert_eq!(lines.len(), 5, "{lines:?}");
    assert_eq!((lines[0].as_str(), lines[4].as_str()), ("allowed by ann", "allowed by ann"));
    // Time ends it.
    store.pass_glass_time(NOW).unwrap();
    assert_eq!(store.glass(&host).unwrap().unwrap().state.door.name(), "asked");
    store.pass_glass_time(NOW.after(Seconds(1800))).unwrap();
    assert_eq!(store.glass(&host).unwrap().unwrap().state.door.name(), "closing");
}

#[test]
fn a_claim_that_shows_the_addon_is_the_hosts_and_lines_count_once() {
    let (_dir, store, host) = one_host();
    let generation = store.host(&host).unwrap().generation;
    store.begin_glass((&host, generation), 0, (&glass(), "allowed"), NOW).unwrap();
    let claim = NewClaim {
        host: host.clone(),
        boot: digest(3),
        session: digest(50),
        claim: "{}".into(),
        nonce: "a1".into(),
    };
    store.open_claim(&claim, NOW).unwrap();
    let id = store.claim_by_session(digest(50)).unwrap().unwrap().id;
    assert!(store.glass_claim(id, NOW).unwrap() && !store.glass_claim(id, NOW).unwrap());
    let row = store.host_by_session(digest(50)).unwrap().unwrap();
    assert_eq!((row.id, row.boot), (host.clone(), Some(digest(3))));
    assert!(store.residence(&host).unwrap().is_none(), "nothing lives there for it");
    let hear = |opening: &str, from: u64, lines: &[&str]| {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        store.hear_glass(&host, (opening, from), &lines, NOW).unwrap()
    };
    assert!(!hear("SHA256:a", 0, &["early"]), "it is not open yet");
    store.glassed(&host, Glassed::Opened { host_key: "SHA256:a".into() }, NOW).unwrap();
    let number = store.glass(&host).unwrap().unwrap().number;
    assert!(hear("SHA256:a", 0, &["one", "two"]) && hear("SHA256:a", 1, &["two", "three"]));
    assert!(hear("SHA256:a", 9, &["a gap"]), "answered, and not believed");
    assert!(!hear("SHA256:b", 0, &["another opening"]));
    let lines: Vec<String> = store.glass_lines(&host).unwrap().into_iter().map(|line| line.text).collect();
    let said: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("its SSH server: ")).collect();
    assert_eq!(said, ["one", "two", "three"]);
    assert_eq!(store.glass(&host).unwrap().unwrap().number, number);
    // Ended, and not closed yet: who is put out is heard, and then nobody.
    store.glassed(&host, Glassed::Ends { by: "bob".into() }, NOW).unwrap();
    let number = store.glass(&host).unwrap().unwrap().number;
    assert!(hear("SHA256:a", 3, &["put out"]) && hear("SHA256:a", 3, &["put out"]));
    assert_eq!(store.glass(&host).unwrap().unwrap().number, number, "the order to close keeps its name");
    store.glassed(&host, Glassed::Closed { restart: true }, NOW).unwrap();
    assert!(!hear("SHA256:a", 4, &["too late"]));
    let last = store.glass_lines(&host).unwrap().into_iter().rev().map(|line| line.text);
    let put_out = last.filter(|text| text == "its SSH server: put out").count();
    assert_eq!(put_out, 1);
}
