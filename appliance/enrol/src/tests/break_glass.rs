//! Break-glass: every state against everything that may happen.

use appliance_api::agent::host::Release;
use appliance_model::{Digest, Now, Seconds, SshKey};

use crate::{BreakGlass, Door, GlassErrand, Glassed, Grant};

const NOW: Now = Now(1_795_243_403_500);

fn glass(door: &str) -> BreakGlass {
    let release = Release { name: "host".into(), version: "1".into(), epoch: 1, root_hash: Digest([1; 32]) };
    let key =
        SshKey::parse("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOgjaIe0y3qBzXnh3ZfnhcS4JyLqfWSWk0mkedqXqmLF")
            .unwrap();
    let grant = Grant::new(key, ("ann".into(), "a test".into()), 30, release, NOW).unwrap();
    let why = || "because".to_owned();
    let door = match door {
        "asked" => Door::Asked,
        "planted" => Door::Planted,
        "restarting" => Door::Restarting,
        "shown" => Door::Shown,
        "open" => Door::Open { host_key: "SHA256:a".into(), heard: 3 },
        "closing" => Door::Closing { why: why(), opening: None },
        "closed" => Door::Closed { why: why() },
        "returning" => Door::Returning { why: why() },
        "stuck" => Door::Stuck { why: why() },
        "over" => Door::Over { why: why(), at: NOW },
        other => panic!("{other}"),
    };
    BreakGlass { grant, door }
}

const ALL: [&str; 10] =
    ["asked", "planted", "restarting", "shown", "open", "closing", "closed", "returning", "stuck", "over"];

fn check(happened: &Glassed, expected: [&str; 10]) {
    for (from, to) in ALL.into_iter().zip(expected) {
        let glass = glass(from);
        assert_eq!(glass.door.name(), from);
        let next = glass.take(happened.clone(), NOW.after(Seconds(60)));
        assert_eq!(next.map_or("-", |next| next.door.name()), to, "{from}, {happened:?}");
    }
}

#[test]
fn every_state_meets_everything() {
    check(&Glassed::Planted, ["planted", "-", "-", "-", "-", "-", "-", "-", "-", "-"]);
    check(&Glassed::Leaves, ["-", "restarting", "-", "-", "-", "-", "returning", "-", "-", "-"]);
    check(
        &Glassed::Shown,
        ["shown", "shown", "shown", "shown", "shown", "-", "closing", "stuck", "-", "closing"],
    );
    check(&Glassed::Clean, ["-", "over", "over", "over", "over", "over", "over", "over", "over", "-"]);
    check(
        &Glassed::FromMemory,
        ["over", "over", "over", "over", "over", "over", "over", "over", "over", "-"],
    );
    check(
        &Glassed::Opened { host_key: "SHA256:b".into() },
        ["-", "-", "-", "open", "open", "-", "-", "-", "-", "-"],
    );
    check(
        &Glassed::Opened { host_key: "SHA256:a".into() },
        ["-", "-", "-", "open", "-", "-", "-", "-", "-", "-"],
    );
    check(&Glassed::Closed { restart: true }, ["-", "-", "-", "-", "-", "closed", "-", "-", "-", "-"]);
    check(&Glassed::Closed { restart: false }, ["-", "-", "-", "-", "-", "over", "-", "-", "-", "-"]);
    check(
        &Glassed::Failed { why: "no".into() },
        ["closing", "closing", "-", "closing", "-", "stuck", "-", "-", "-", "-"],
    );
    check(
        &Glassed::Ends { by: "bob".into() },
        ["closing", "closing", "closing", "closing", "closing", "-", "-", "closing", "closing", "-"],
    );
}

#[test]
fn nothing_is_opened_when_its_time_is_up() {
    let late = NOW.after(Seconds(30 * 60));
    for from in ALL {
        let glass = glass(from);
        let over = ["asked", "planted", "restarting", "shown", "open"].contains(&from);
        assert_eq!(
            glass.pass_time(late).map_or("-", |next| next.door.name()),
            if over { "closing" } else { "-" }
        );
        assert_eq!(glass.pass_time(NOW), None);
        let shown = glass.take(Glassed::Shown, late);
        assert!(shown.is_none_or(|next| next.errand() != Some(GlassErrand::Open)), "{from}");
    }
}

#[test]
fn a_grant_is_for_whole_seconds_and_no_longer_than_four_hours() {
    let Grant { key, release, until, .. } = glass("asked").grant;
    assert_eq!(until, Now(1_795_243_403_000).after(Seconds(1800)));
    let of = |minutes| Grant::new(key.clone(), (String::new(), String::new()), minutes, release.clone(), NOW);
    assert!(of(0).is_none() && of(241).is_none() && of(u64::MAX).is_none());
    let grant = of(240).unwrap();
    assert_eq!((grant.seconds_left(grant.until), grant.seconds_left(NOW) / 60), (0, 239));
}

#[test]
fn lines_count_for_their_own_opening() {
    let open = glass("open");
    let heard = open.heard("SHA256:a", 2).unwrap();
    assert!(matches!(heard.door, Door::Open { heard: 5, .. }));
    assert!(open.heard("SHA256:b", 2).is_none() && glass("shown").heard("SHA256:a", 2).is_none());
}

/// Whoever is in when it ends is put out, and the server says so only then.
#[test]
fn an_opening_is_heard_until_it_is_closed() {
    let late = NOW.after(Seconds(30 * 60));
    let ended = glass("open").take(Glassed::Ends { by: "bob".into() }, NOW);
    for closing in [ended, glass("open").pass_time(late)].map(Option::unwrap) {
        assert_eq!(
            (closing.door.name(), closing.known("SHA256:a"), closing.known("SHA256:b")),
            ("closing", Some(3), None)
        );
        let heard = closing.heard("SHA256:a", 2).unwrap();
        assert_eq!((heard.known("SHA256:a"), heard.words()), (Some(5), closing.words()));
        let record = serde_json::to_string(&heard).unwrap();
        assert_eq!(serde_json::from_str::<BreakGlass>(&record).unwrap(), heard);
        let closed = heard.take(Glassed::Closed { restart: true }, late).unwrap();
        assert_eq!(closed.known("SHA256:a"), None);
    }
    // Ended before anything was open, and records of before there was more to a closing door.
    assert_eq!(glass("shown").take(Glassed::Ends { by: "bob".into() }, NOW).unwrap().known("SHA256:a"), None);
    let record = serde_json::to_string(&glass("closing")).unwrap();
    assert!(record.ends_with(r#""door":{"door":"closing","why":"because"}}"#), "{record}");
    assert_eq!(serde_json::from_str::<BreakGlass>(&record).unwrap(), glass("closing"));
}

#[test]
fn while_it_is_on_the_host_is_not_proven() {
    for from in ALL {
        let glass = glass(from);
        let why = glass.unproven();
        assert_eq!(why.is_some(), from != "over");
        assert!(why.is_none_or(|why| why.rule == "break-glass" && why.text.contains("ann")));
    }
}

/// If this fails, change your code, not this test: stores hold records of this form.
#[test]
fn records_are_pinned() {
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOgjaIe0y3qBzXnh3ZfnhcS4JyLqfWSWk0mkedqXqmLF";
    let hash = "01".repeat(32);
    let record = format!(
        r#"{{"grant":{{"key":"{key}","by":"ann","why":"a test","from":1795243403500,"until":1795245203000,"release":{{"name":"host","version":"1","epoch":1,"root_hash":"{hash}"}}}},"door":{{"door":"open","host_key":"SHA256:a","heard":3}}}}"#
    );
    assert_eq!(serde_json::to_string(&glass("open")).unwrap(), record);
    assert_eq!(serde_json::from_str::<BreakGlass>(&record).unwrap(), glass("open"));
}
