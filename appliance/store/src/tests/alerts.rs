//! Alerts are raised once, whatever is read again; a reorganisation takes back what followed from it; fleets and nodes
//! that leave.

use appliance_model::{Icnt, NodeId, Now};

use super::{NOW, one_host, open};
use crate::{EntryText, FleetTurn, HeardText, NewAlert, NewFleet};

const SOURCE: &str = "777077/0xaa";

fn alert(id: &str, block: Option<u64>) -> NewAlert {
    NewAlert {
        id: id.into(),
        kind: "anomaly".into(),
        level: "urgent".into(),
        node: Some("11".repeat(32)),
        at_unix: 1_800_000_000,
        until_unix: Some(1_800_086_400),
        text: "An anomaly.".into(),
        block,
    }
}

fn entry(block: u64) -> EntryText {
    EntryText { block, json: format!("{{\"block\":{block}}}") }
}

#[test]
fn what_is_read_twice_is_told_once() {
    let (dir, store, _) = one_host();
    let (one, two) = ([entry(5)], [entry(9)]);
    let first = [alert("a", Some(5))];
    let heard = HeardText { trail: "[5]", entries: &one, alerts: &first, post: true };
    assert_eq!(store.heard(SOURCE, &heard, NOW).unwrap(), 1);
    let second = [alert("a", Some(5)), alert("b", Some(9))];
    let heard = HeardText { trail: "[5,9]", entries: &two, alerts: &second, post: true };
    assert_eq!(store.heard(SOURCE, &heard, NOW).unwrap(), 1);
    assert_eq!(store.raise_alerts(SOURCE, &[alert("b", None)], true, NOW).unwrap(), 0);
    assert_eq!(store.alert_posts(NOW, 10).unwrap().len(), 2);
    // Another registry is another source.
    assert_eq!(store.watched("1/0xbb").unwrap(), (None, Vec::new()));

    // Block 9 is taken away, and with it what followed; whoever was told of it is told so.
    store.rewind(SOURCE, Some(5), "[5]", true, NOW).unwrap();
    assert_eq!(store.watched(SOURCE).unwrap(), (Some("[5]".into()), vec![entry(5).json]));
    let rows = store.alerts(true, 10).unwrap();
    assert_eq!(rows.iter().map(|row| row.alert.id.as_str()).collect::<Vec<_>>(), ["a"]);
    let posts = store.alert_posts(NOW, 10).unwrap();
    assert_eq!(
        posts.last().map(|post| (post.event.as_str(), post.row.alert.id.as_str())),
        Some(("withdrawn", "b"))
    );
    // The same transaction in another block: it stands again and is no news.
    let again = [alert("b", Some(11))];
    let heard = HeardText { trail: "[5,11]", entries: &[entry(11)], alerts: &again, post: true };
    assert_eq!(store.heard(SOURCE, &heard, NOW).unwrap(), 0);
    assert_eq!(store.alerts(true, 10).unwrap().len(), 2);

    assert!(store.acknowledge("a", "kim", NOW).unwrap());
    assert!(store.acknowledge("a", "somebody else", Now(NOW.0 + 1)).unwrap());
    assert!(!store.acknowledge("c", "kim", NOW).unwrap());
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.alerts(true, 10).unwrap().len(), 1);
    let rows = store.alerts(false, 10).unwrap();
    assert_eq!(rows.last().and_then(|row| row.acknowledged.clone()), Some((NOW, "kim".into())));
    // All of it may go: a chain that is another one from its first block on.
    store.rewind(SOURCE, None, "[]", false, NOW).unwrap();
    assert!(store.watched(SOURCE).unwrap().1.is_empty() && store.alerts(true, 10).unwrap().is_empty());
}

#[test]
fn receivers_are_tried_again_later_and_at_last_no_more() {
    let (_dir, store, _) = one_host();
    store.raise_alerts(SOURCE, &[alert("a", None)], true, NOW).unwrap();
    let later = Now(NOW.0 + 60_000);
    store.postpone_alert_post("a", "raised", "connection refused", later).unwrap();
    assert!(store.alert_posts(NOW, 10).unwrap().is_empty());
    assert_eq!(store.alert_posts(later, 10).unwrap()[0].tries, 1);
    for _ in 1..crate::POSTS_MAX {
        store.postpone_alert_post("a", "raised", "connection refused", NOW).unwrap();
    }
    assert!(store.alert_posts(later, 10).unwrap().is_empty());
    store.alert_posted("a", "raised").unwrap();
}

#[test]
fn troubles_end() {
    let (_dir, store, _) = one_host();
    let silent = NewAlert { node: None, kind: "chain-silent".into(), ..alert("chain-silent.18", None) };
    store.raise_alerts(SOURCE, &[silent], false, NOW).unwrap();
    assert_eq!(store.trouble_since("chain-silent").unwrap(), Some(1_800_000_000));
    assert_eq!(store.trouble_since("gas-low").unwrap(), None);
    store.clear_trouble("chain-silent", NOW).unwrap();
    assert_eq!(store.trouble_since("chain-silent").unwrap(), None);
    assert!(store.alerts(true, 10).unwrap().is_empty() && store.alerts(false, 10).unwrap().len() == 1);
}

#[test]
fn one_fleet_at_a_time_and_it_survives() {
    let (dir, store, host) = one_host();
    let new = NewFleet {
        plan: "p".into(),
        by: "kim".into(),
        total: Icnt(60),
        members: vec![(host.clone(), "\"waiting\"".into())],
    };
    let id = store.begin_fleet(&new, NOW).unwrap().unwrap();
    assert_eq!(store.begin_fleet(&new, NOW).unwrap(), None);
    assert_eq!(store.fleet_standing(&host).unwrap(), Some((id, "\"waiting\"".into(), true)));
    let turn = FleetTurn {
        batches: 1,
        trouble: Some("no gas".into()),
        over: false,
        members: vec![(host.clone(), "\"sent\"".into())],
    };
    store.fleet_turn(id, &turn, NOW).unwrap();
    drop(store);
    let store = open(dir.path());
    let row = store.fleet(None).unwrap().unwrap();
    assert_eq!((row.batches, row.trouble.as_deref(), row.total.as_str()), (1, Some("no gas"), "60"));
    assert_eq!(row.members, [(host.clone(), "\"sent\"".into())]);
    store.fleet_turn(id, &FleetTurn { over: true, trouble: None, ..turn }, NOW).unwrap();
    assert_eq!(store.fleet(Some(id)).unwrap().unwrap().ended_at, Some(NOW));
    assert!(store.begin_fleet(&new, NOW).unwrap() > Some(id));
    assert_eq!(store.fleet(Some(99)).unwrap(), None);
}

#[test]
fn a_node_leaves_once() {
    let (_dir, store, host) = one_host();
    let node = NodeId([7; 32]);
    assert!(!store.waive_erase(node, "kim", NOW).unwrap());
    assert!(store.begin_leaving(&host, node, "kim", NOW).unwrap());
    assert!(!store.begin_leaving(&host, node, "lee", NOW).unwrap());
    store.leaving_goes_on(node, Some("no gas"), None).unwrap();
    store.leaving_goes_on(node, None, Some("ab")).unwrap();
    store.leaving_goes_on(node, None, None).unwrap();
    assert!(store.waive_erase(node, "lee", NOW).unwrap());
    let rows = store.leaving().unwrap();
    assert_eq!(
        (rows.len(), rows[0].trouble.as_deref(), rows[0].transaction.as_deref()),
        (1, None, Some("ab"))
    );
    assert_eq!((rows[0].allowed_by.as_str(), rows[0].waived.clone()), ("kim", Some(("lee".into(), NOW))));
}
