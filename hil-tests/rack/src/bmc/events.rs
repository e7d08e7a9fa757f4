//! Events: told to whoever listens to the stream, and posted to those who subscribed.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::broadcast;

use super::answer::Answer;
use super::desk::Desk;
use super::outbound;

/// Most events a slow listener may be behind; older ones are lost to it.
const BEHIND_MAX: usize = 64;

/// Most subscriptions.
const SUBSCRIPTIONS_MAX: usize = 20;

/// Tells events.
#[derive(Debug)]
pub(crate) struct Events {
    count: AtomicU64,
    subscriptions: AtomicU64,
    told: Mutex<Told>,
}

/// What was told last, and to whom it is told from now on.
#[derive(Debug)]
struct Told {
    recent: VecDeque<Arc<Value>>,
    channel: broadcast::Sender<Arc<Value>>,
}

impl Events {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends all streams, as a restart of the BMC does.  What was told lately is still known.
    pub(crate) fn cut(&self) {
        self.told().channel = broadcast::Sender::new(BEHIND_MAX);
    }
}

impl Default for Events {
    fn default() -> Self {
        Self {
            count: AtomicU64::new(0),
            subscriptions: AtomicU64::new(0),
            told: Mutex::new(Told { recent: VecDeque::new(), channel: broadcast::Sender::new(BEHIND_MAX) }),
        }
    }
}

/// Tells one event to the stream and to the subscribers.
pub(crate) fn tell(desk: &Desk, message: &str, severity: &str, text: &str, origin: &str) {
    let id = desk.events.count.fetch_add(1, Ordering::SeqCst) + 1;
    let event = Arc::new(json!({
        "@odata.type": "#Event.v1_10_1.Event",
        "Id": id.to_string(),
        "Name": "BMC event",
        "Events": [{
            "MemberId": "0",
            "EventId": id.to_string(),
            "EventType": "Alert",
            "EventTimestamp": super::clock::now(),
            "Severity": severity,
            "MessageSeverity": severity,
            "Message": text,
            "MessageId": message,
            "MessageArgs": [],
            "OriginOfCondition": { "@odata.id": origin },
        }],
    }));
    let mut told = desk.events.told();
    told.recent.push_back(Arc::clone(&event));
    if told.recent.len() > BEHIND_MAX {
        told.recent.pop_front();
    }
    // Nobody may be listening.
    drop(told.channel.send(Arc::clone(&event)));
    drop(told);
    for path in desk.store.of_kind("EventDestination") {
        let subscription = desk.store.value(&path).unwrap_or_default();
        // Subscriptions of a captured tree lead to somebody's real listener; ours are marked by their number.
        let ours = desk.is_ours(&path);
        let Some(destination) = subscription.get("Destination").and_then(Value::as_str) else { continue };
        if !ours {
            continue;
        }
        let mut body = (*event).clone();
        if let Some(context) = subscription.get("Context").filter(|context| context.is_string()) {
            body["Context"] = context.clone();
        }
        let destination = destination.to_owned();
        tokio::spawn(async move {
            if let Err(error) = outbound::post(&destination, body.to_string()).await {
                tracing::debug!(error = %error, "event not delivered");
            }
        });
    }
}

/// An event as the stream tells it.
fn streamed(event: &Value) -> String {
    let id = event.get("Id").and_then(Value::as_str).unwrap_or_default();
    format!("id: {id}\ndata: {event}\n\n")
}

/// GET of the stream; first what a listener missed that names the last event it had.
pub(crate) fn stream(desk: &Desk, last: Option<&str>) -> Answer {
    let last: Option<u64> = last.and_then(|id| id.parse().ok());
    let told = desk.events.told();
    let receiver = told.channel.subscribe();
    let missed = |event: &&Arc<Value>| {
        let id = event.get("Id").and_then(Value::as_str).and_then(|id| id.parse::<u64>().ok());
        last.is_some_and(|last| id.is_some_and(|id| id > last))
    };
    let missed: String = told.recent.iter().filter(missed).map(|event| streamed(event)).collect();
    drop(told);
    let first = Bytes::from(format!(": connected\n\n{missed}"));
    let stream = futures_util::stream::unfold((receiver, Some(first)), |(mut receiver, first)| async move {
        if let Some(first) = first {
            return Some((Ok::<Bytes, Infallible>(first), (receiver, None)));
        }
        loop {
            match receiver.recv().await {
                Ok(event) => {
                    return Some((Ok(Bytes::from(streamed(&event))), (receiver, None)));
                }
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    });
    Answer::stream(Body::from_stream(stream), "text/event-stream;charset=utf-8")
}

/// POST to the subscriptions.
pub(crate) fn subscribe(desk: &Desk, collection: &str, body: &Value) -> Result<Answer, Answer> {
    let destination = body.get("Destination").and_then(Value::as_str);
    let destination = destination.ok_or_else(|| Answer::lacks("Destination"))?;
    if !destination.starts_with("http://") && !destination.starts_with("https://") {
        return Err(Answer::bad(
            "PropertyValueFormatError",
            "Destination must begin with http:// or https://.",
        ));
    }
    match body.get("Protocol").and_then(Value::as_str) {
        Some("Redfish") => {}
        Some(other) => return Err(Answer::not_in_list("Protocol", &json!(other))),
        None => return Err(Answer::lacks("Protocol")),
    }
    if desk.quirks.subscriptions_need_event_types && body.get("EventTypes").is_none() {
        return Err(Answer::lacks("EventTypes"));
    }
    if desk.store.members(collection).len() >= SUBSCRIPTIONS_MAX {
        let text = "There is no room for another subscription.";
        return Err(Answer::bad("EventSubscriptionLimitExceeded", text));
    }
    let id = desk.events.subscriptions.fetch_add(1, Ordering::SeqCst) + 1;
    let mut value = json!({
        "@odata.type": "#EventDestination.v1_15_1.EventDestination",
        "Name": format!("Subscription {id}"),
        "Destination": destination,
        "Protocol": "Redfish",
        "SubscriptionType": "RedfishEvent",
        "Context": body.get("Context").cloned().unwrap_or_else(|| json!("")),
        "EventFormatType": "Event",
        "DeliveryRetryPolicy": "TerminateAfterRetries",
        "Status": { "State": "Enabled", "Health": "OK" },
    });
    for key in ["RegistryPrefixes", "ResourceTypes", "EventTypes", "HttpHeaders"] {
        if let Some(given) = body.get(key).filter(|given| given.is_array()) {
            // Headers may hold secrets and read as an empty list.
            value[key] = if key == "HttpHeaders" { json!([]) } else { given.clone() };
        }
    }
    let path = desk.store.add_member(collection, &format!("sub{id}"), value);
    let path =
        path.ok_or_else(|| Answer::error(StatusCode::INSUFFICIENT_STORAGE, "ResourceExhaustion", "Full."))?;
    Ok(Answer::created(&path, desk.resource(&path).unwrap_or_default()))
}

/// The action SubmitTestEvent.
pub(crate) fn test_event(desk: &Desk, body: &Value, origin: &str) -> Answer {
    let text =
        |name: &str, otherwise: &str| body.get(name).and_then(Value::as_str).unwrap_or(otherwise).to_owned();
    let message = text("MessageId", "ResourceEvent.1.4.TestMessage");
    let severity = text("MessageSeverity", &text("Severity", "OK"));
    let origin = text("OriginOfCondition", origin);
    tell(desk, &message, &severity, &text("Message", "This is a test."), &origin);
    Answer::done()
}
