//! Subscriptions to events: ours are known by a mark in their context, so that there is one, however often it is asked for
//! and whatever became of us meanwhile (DSP2046: EventService, EventDestination).

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    change::{Allowed, LOOKS_MAX, What, in_doubt},
    client::Bmc,
    error::BmcError,
    field,
    inventory::Machine,
    link::local,
    quirks::Switch,
};

/// Longest name of an owner.
const OWNER_CHARS_MAX: usize = 48;
/// Longest address that events are posted to.
const DESTINATION_BYTES_MAX: usize = 256;

/// A subscription that the controller has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Subscription {
    /// The resource.
    pub url: String,
    /// Where events are posted; streams have none.
    pub destination: Option<String>,
    /// The text it was made with; ours is [`owner_mark`].
    pub context: Option<String>,
    /// Whether it is delivered (`Enabled`), where it is told.
    pub state: Option<String>,
}

/// What became of a subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Subscribed {
    /// The resource.
    pub url: String,
    /// Whether it was there before; nothing was made then.
    pub was_there: bool,
    /// Others with the same owner's mark that were deleted.
    pub removed: Vec<String>,
}

/// The context of an owner's subscriptions.
#[must_use]
pub fn owner_mark(owner: &str) -> String {
    format!("scalerforge/{owner}")
}

impl Bmc {
    /// All subscriptions of the controller.
    ///
    /// # Errors
    /// When the controller has no event service, or any subscription cannot be read.
    pub async fn subscriptions(&self) -> Result<Vec<Subscription>, BmcError> {
        let (collection, _) = self.event_service().await?;
        self.subscribed(&collection).await
    }

    /// Has events posted to an address, once for this owner: one that is there stays, and others of the same owner are
    /// deleted.
    ///
    /// # Errors
    /// When it is not allowed for this machine, address or owner cannot be, or the controller refuses or does not show it.
    pub async fn subscribe(
        &self,
        allowed: &Allowed,
        destination: &str,
        owner: &str,
    ) -> Result<Subscribed, BmcError> {
        let machine = self.machine().await?;
        self.permit(&machine, allowed, What::Events)?;
        let (collection, service) = self.event_service().await?;
        if let Some(why) = refuses(destination, owner) {
            return Err(self.unfit(&collection, why));
        }
        let mark = owner_mark(owner);
        let ours = self.ours(&collection, &mark, Some(destination)).await?;
        let (mut right, other): (Vec<_>, Vec<_>) =
            ours.into_iter().partition(|one| one.destination.as_deref() == Some(destination));
        let was_there = !right.is_empty();
        if !was_there {
            let lost = self.post(&machine, (&collection, &service), destination, &mark).await?;
            right = self.await_ours(&collection, &mark, destination, lost).await?;
        }
        let mut right = right.into_iter();
        let Some(kept) = right.next() else {
            return Err(self.lacks(&collection, "the subscription it just showed"));
        };
        let mut removed = Vec::new();
        for one in right.chain(other) {
            self.unmake(&machine, &one.url).await?;
            removed.push(one.url);
        }
        Ok(Subscribed { url: kept.url, was_there, removed })
    }

    /// Ends all subscriptions of this owner, and nobody else's; which they were.
    ///
    /// # Errors
    /// When it is not allowed for this machine, or the controller refuses or still shows one.
    pub async fn unsubscribe(&self, allowed: &Allowed, owner: &str) -> Result<Vec<String>, BmcError> {
        let machine = self.machine().await?;
        self.permit(&machine, allowed, What::Events)?;
        let (collection, _) = self.event_service().await?;
        let ours = self.ours(&collection, &owner_mark(owner), None).await?;
        for one in &ours {
            self.unmake(&machine, &one.url).await?;
        }
        Ok(ours.into_iter().map(|one| one.url).collect())
    }

    async fn event_service(&self) -> Result<(String, Value), BmcError> {
        let (at, service) = self.service("EventService", "an event service").await?;
        let told = field::link(&service, &["Subscriptions"]).and_then(|link| local(&self.inner.base, link));
        let collection = told.ok_or_else(|| self.lacks(&at, "subscriptions to events"))?;
        Ok((collection, service))
    }

    async fn subscribed(&self, collection: &str) -> Result<Vec<Subscription>, BmcError> {
        let of = |(url, one): (String, Value)| Subscription {
            url,
            destination: field::text(&one, &["Destination"]),
            context: field::text(&one, &["Context"]),
            state: field::text(&one, &["Status", "State"]),
        };
        Ok(self.listed(collection).await?.into_iter().map(of).collect())
    }

    /// Those with our mark; where a controller keeps no context, those that lead to us.
    async fn ours(
        &self,
        collection: &str,
        mark: &str,
        destination: Option<&str>,
    ) -> Result<Vec<Subscription>, BmcError> {
        let mut all = self.subscribed(collection).await?;
        all.retain(|one| match &one.context {
            Some(context) => context == mark,
            None => destination.is_some() && one.destination.as_deref() == destination,
        });
        Ok(all)
    }

    /// Sends the subscription.  `Some`: the answer was lost, it may be there.
    async fn post(
        &self,
        machine: &Machine,
        (collection, service): (&str, &Value),
        destination: &str,
        mark: &str,
    ) -> Result<Option<BmcError>, BmcError> {
        let mut body = json!({ "Destination": destination, "Protocol": "Redfish", "Context": mark });
        let mut kinds = field::texts(service, &["EventTypesForSubscription"]);
        kinds.retain(|kind| kind != "MetricReport");
        if kinds.is_empty() {
            kinds.push("Alert".into());
        }
        if machine.quirks.has(Switch::SubscriptionNeedsEventTypes) {
            body["EventTypes"] = json!(kinds);
        }
        loop {
            let error = match self.tagged("POST", collection, Some(&body), &machine.quirks).await {
                Ok(_) => return Ok(None),
                Err(error) if in_doubt(&error) => return Ok(Some(error)),
                Err(error) => error,
            };
            // Early services demand the kinds of events, late ones do not know the word: both say so.
            let about = matches!(&error, BmcError::Refused { status: 400 | 422, said, .. }
                if said.contains("EventTypes"));
            if !about || body.get("EventTypes").is_some() {
                return Err(error);
            }
            body["EventTypes"] = json!(kinds);
        }
    }

    async fn await_ours(
        &self,
        collection: &str,
        mark: &str,
        destination: &str,
        lost: Option<BmcError>,
    ) -> Result<Vec<Subscription>, BmcError> {
        for look in 0..LOOKS_MAX {
            if look > 0 {
                tokio::time::sleep(self.inner.options.pause).await;
            }
            match self.ours(collection, mark, Some(destination)).await {
                Ok(mut shown) => {
                    shown.retain(|one| one.destination.as_deref() == Some(destination));
                    if !shown.is_empty() {
                        return Ok(shown);
                    }
                }
                Err(_) if lost.is_some() => {}
                Err(error) => return Err(error),
            }
        }
        let nothing = || BmcError::NotShown {
            url: self.inner.url(collection),
            wanted: format!("a subscription for {destination}"),
            found: "none".into(),
        };
        Err(lost.unwrap_or_else(nothing))
    }

    async fn unmake(&self, machine: &Machine, url: &str) -> Result<(), BmcError> {
        let lost = match self.tagged("DELETE", url, None, &machine.quirks).await {
            Ok(_) | Err(BmcError::Refused { status: 404 | 410, .. }) => None,
            Err(error) if in_doubt(&error) => Some(error),
            Err(error) => return Err(error),
        };
        for look in 0..LOOKS_MAX {
            if look > 0 {
                tokio::time::sleep(self.inner.options.pause).await;
            }
            match self.inner.get(url).await {
                Err(BmcError::Refused { status: 404 | 410, .. }) => return Ok(()),
                Err(error) if lost.is_none() => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
        let still = || BmcError::NotShown {
            url: self.inner.url(url),
            wanted: "that the subscription is gone".into(),
            found: "it still".into(),
        };
        Err(lost.unwrap_or_else(still))
    }
}

fn refuses(destination: &str, owner: &str) -> Option<String> {
    let web = destination.starts_with("https://") || destination.starts_with("http://");
    let plain = destination.bytes().all(|byte| byte.is_ascii_graphic()) && !destination.contains('@');
    if !web || !plain || destination.len() > DESTINATION_BYTES_MAX {
        let shown: String = destination.chars().filter(|c| !c.is_control()).take(100).collect();
        return Some(format!("`{shown}` is no address that events can be posted to"));
    }
    let named = !owner.is_empty()
        && owner.len() <= OWNER_CHARS_MAX
        && owner.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    (!named).then(|| format!("an owner's name has 1 to {OWNER_CHARS_MAX} letters, digits, dots and dashes"))
}
