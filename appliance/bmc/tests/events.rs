//! Events: subscriptions that are never multiplied, and a stream that goes on where it ended.

mod support;
#[path = "support/world.rs"]
mod world;

use appliance_bmc::{Allowed, BmcError, owner_mark};
use serde_json::{Value, json};
use support::Reply;
use world::{Rule, World, link, refusal, serial};

const SERVICE: &str = "/redfish/v1/EventService";
const SUBSCRIPTIONS: &str = "/redfish/v1/EventService/Subscriptions";
const STREAM: &str = "/redfish/v1/EventService/SSE";
const DESTINATION: &str = "https://10.78.0.1/events/bmc";

async fn world(vendor: &str, rule: Rule) -> World {
    let service = json!({ "Subscriptions": link(SUBSCRIPTIONS), "ServerSentEventUri": STREAM,
        "EventTypesForSubscription": ["Alert", "MetricReport"] });
    let stranger = json!({ "Destination": DESTINATION, "Context": "somebody else's" });
    let first = format!("{SUBSCRIPTIONS}/1");
    let more = [
        (SERVICE, service),
        (SUBSCRIPTIONS, json!({ "Members": [link(&first)] })),
        (first.as_str(), stranger),
    ];
    World::start(vendor, json!({}), &more, rule).await
}

fn allowed() -> Allowed {
    Allowed::events(serial())
}

fn plain() -> Rule {
    Box::new(|_, _| None)
}

fn event(id: &str) -> String {
    let body = json!({ "Events": [{ "EventId": id, "MessageId": "Test.1.0.Test",
        "EventTimestamp": "2026-01-01T00:00:00-0600" }] });
    format!("id: {id}\ndata: {body}\n\n")
}

fn streamed(text: &str) -> Option<Reply> {
    Some(Reply(200, vec![("content-type", "text/event-stream".into())], text.as_bytes().to_vec()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_is_made_once_and_known_by_its_mark() {
    let needs: Rule = Box::new(|_, asked| {
        let lacks =
            asked.method == "POST" && asked.path == SUBSCRIPTIONS && asked.body["EventTypes"].is_null();
        lacks.then(|| refusal(400, "Base.1.0.PropertyMissing", "The property EventTypes is required"))
    });
    let needs_too: Rule = Box::new(|_, asked| {
        let lacks =
            asked.method == "POST" && asked.path == SUBSCRIPTIONS && asked.body["EventTypes"].is_null();
        lacks.then(|| refusal(400, "Base.1.0.PropertyMissing", "The property EventTypes is required"))
    });
    let no_word: Rule = Box::new(|_, asked| {
        let has = asked.method == "POST" && !asked.body["EventTypes"].is_null();
        has.then(|| refusal(400, "Base.1.12.PropertyUnknown", "EventTypes is not in the list"))
    });
    for (vendor, rule, posts) in
        [("", plain(), 1), ("HPE", needs, 1), ("", needs_too, 2), ("Dell", no_word, 1)]
    {
        let world = world(vendor, rule).await;
        let bmc = world.served.client(None);
        let made = bmc.subscribe(&allowed(), DESTINATION, "site-1").await.unwrap();
        assert!(!made.was_there);
        assert_eq!(world.at(&made.url)["Context"], owner_mark("site-1"));
        assert_eq!(world.changes(SUBSCRIPTIONS), posts, "{vendor}");
        assert!(bmc.subscribe(&allowed(), DESTINATION, "site-1").await.unwrap().was_there);
        assert_eq!(world.changes(SUBSCRIPTIONS), posts, "{vendor}");
        // Moved to another address: the old one goes, the stranger's stays.
        let moved = bmc.subscribe(&allowed(), "https://10.78.0.2/events", "site-1").await.unwrap();
        assert_eq!(moved.removed, [made.url]);
        assert_eq!(bmc.unsubscribe(&allowed(), "site-1").await.unwrap(), [moved.url]);
        let left = bmc.subscriptions().await.unwrap();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].context.as_deref(), Some("somebody else's"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_whose_answer_was_lost_is_found() {
    let mut lost = false;
    let rule: Rule = Box::new(move |tree, asked| {
        if asked.method != "POST" || asked.path != SUBSCRIPTIONS || std::mem::replace(&mut lost, true) {
            return None;
        }
        world::standard(tree, asked);
        Some(Reply(0, vec![], vec![]))
    });
    let world = world("", rule).await;
    let bmc = world.served.client(None);
    assert!(!bmc.subscribe(&allowed(), DESTINATION, "site-1").await.unwrap().was_there);
    assert_eq!(world.changes(SUBSCRIPTIONS), 1);
    for (destination, owner) in
        [("ftp://x", "a"), (DESTINATION, ""), (DESTINATION, "a b"), ("https://a@b", "a")]
    {
        let refused = bmc.subscribe(&allowed(), destination, owner).await;
        assert!(matches!(refused, Err(BmcError::Unfit { .. })), "{destination} {owner}");
    }
    let other = bmc.subscribe(&Allowed::accounts(serial()), DESTINATION, "site-1").await;
    assert!(matches!(other, Err(BmcError::NotAllowed { .. })));
    assert_eq!(world.changes(SUBSCRIPTIONS), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_where_it_ended() {
    let mut opened = 0;
    let rule: Rule = Box::new(move |_, asked| {
        if asked.path != STREAM {
            return None;
        }
        opened += 1;
        let after = asked.headers.get("last-event-id").map(|id| id.to_str().unwrap().to_owned());
        match opened {
            1 => streamed(&format!(": hello\n\n{}data: no event\n\n{}data: half", event("1"), event("2"))),
            2 => Some(Reply(503, vec![], vec![])),
            3 => Some(Reply(401, vec![], vec![])),
            // Knows nothing of ids and repeats.
            _ => {
                assert_eq!(after.as_deref(), Some("2"));
                streamed(&format!("{}{}", event("2"), event("3")))
            }
        }
    });
    let world = world("", rule).await;
    let mut stream = world.served.client(None).event_stream(None).await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(stream.next().await.unwrap().id.unwrap());
    }
    assert_eq!(ids, ["1", "2", "3"]);
    assert_eq!((stream.last_id(), stream.connections(), stream.odd()), (Some("3"), 2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_none_is_told_as_such() {
    let page: Rule = Box::new(|_, asked| {
        (asked.path == STREAM)
            .then(|| Reply(200, vec![("content-type", "text/html".into())], b"<html>".to_vec()))
    });
    let gone: Rule = Box::new(|_, asked| (asked.path == STREAM).then(|| Reply(404, vec![], vec![])));
    for rule in [page, gone] {
        let world = world("", rule).await;
        let mut stream = world.served.client(None).event_stream(None).await.unwrap();
        assert!(matches!(stream.next().await, Err(BmcError::Lacks { .. })));
    }
    let silent: Rule = Box::new(|_, asked| (asked.path == STREAM).then(|| Reply(503, vec![], vec![])));
    let world = world("", silent).await;
    let mut stream = world.served.client(None).event_stream(Some("7".into())).await.unwrap();
    assert!(matches!(stream.next().await, Err(BmcError::Refused { status: 503, .. })));
    world.tree.lock().unwrap().insert(SERVICE.into(), json!({ "Subscriptions": Value::Null }));
    let none = world.served.client(None).event_stream(None).await;
    assert!(matches!(none, Err(BmcError::Lacks { .. })));
}
