//! The watcher: reads what safe blocks say of our nodes, keeps it, and raises alerts, each once.
//!
//! What follows from an entry is decided by `chain-fleet`.  Trail, entries and alerts are one transaction of the store, so
//! that after a `kill -9` the span of blocks is read again or not at all.  A block that is not what it was takes back
//! what was read above it.  Nothing here is awaited by anything else.  Read next: `chain_watch/api.rs` (people),
//! `chain_watch/post.rs` (receivers).

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use appliance_model::Address;
use appliance_store::{EntryText, HeardText, NewAlert, StoreError};
use chain_client::{Error, Feed, Finality, Heard, Network};
use chain_fleet::{Alert, Entry, Kind, Ledger, Mark, Trail};

use crate::{
    app::{App, now},
    chain_of,
};

pub(crate) mod api;
mod gas;
pub(crate) mod post;

pub(crate) use gas::coin;

/// How often the chain is looked at.
const ROUND: Duration = Duration::from_secs(2);

/// So long a chain may be silent before people are told: a restart of a node takes minutes.
const SILENT_SECONDS: u64 = 300;

/// What was read, for those who look.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    seen: Mutex<Seen>,
}

/// What was read of one registry.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// Chain and registry.
    pub(crate) source: String,
    pub(crate) ledger: Arc<Ledger>,
    /// The newest block that was read, and its time.
    pub(crate) read_to: Option<(u64, u64)>,
    /// The chain's own newest time.
    pub(crate) head_unix: u64,
    pub(crate) trouble: Option<String>,
}

impl Watch {
    /// What was read so far.
    pub(crate) fn seen(&self) -> Seen {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The chain's time: a block's where that is ahead of our clock.
pub(crate) fn chain_unix(app: &App) -> u64 {
    app.watch.lock().head_unix.max(now().0 / 1000)
}

/// Runs until the end of the process.
pub(crate) async fn run(app: &Arc<App>) {
    let mut tick = tokio::time::interval(ROUND);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut reader = None;
    // What was heard last, for the silence; a start counts as heard.
    let mut heard_unix = now().0 / 1000;
    loop {
        tick.tick().await;
        let trouble = round(app, &mut reader).await.err();
        if let Err(error) = silence(app, trouble.as_deref(), &mut heard_unix).await {
            tracing::error!(error = %chain_of(&error), "alerts could not be written");
        }
        let mut seen = app.watch.lock();
        if let Some(why) = trouble.as_ref().filter(|_| seen.trouble != trouble) {
            tracing::warn!(why, "what the chain says of the nodes cannot be read now");
        }
        seen.trouble = trouble;
    }
}

/// Where reading stands.
struct Reader {
    source: String,
    feed: Feed,
    trail: Trail,
    ledger: Ledger,
    first: u64,
}

async fn round(app: &Arc<App>, reader: &mut Option<Reader>) -> Result<(), String> {
    let (network, head) = app.chain.ready()?;
    app.watch.lock().head_unix = head.timestamp_unix;
    let source = source(&network);
    // What ICN's own registry tells of its nodes is not public; that it tells us nothing is not silence.
    if matches!(*network, Network::Icn(_)) {
        return gas::look(app, &network, &source).await;
    }
    if reader.as_ref().is_none_or(|reader| reader.source != source) {
        *reader = Some(Reader::open(app, &network, source).await?);
    }
    let Some(reader) = reader else { return Ok(()) };
    reader.settle(app, &network).await?;
    let chain = network.chain();
    let safe = match chain.head_at(Finality::Safe).await {
        Ok(safe) => safe.number,
        // A young chain has no such block yet.
        Err(Error::Answer { .. } | Error::Rejected { .. }) => return Ok(()),
        Err(error) => return Err(chain_of(&error)),
    };
    while let Some(span) = reader.trail.next(reader.first, safe) {
        let heard = reader.feed.hear(span).await.map_err(|error| chain_of(&error))?;
        reader.take(app, heard).await?;
    }
    let at = chain_unix(app);
    let alerts: Vec<NewAlert> = reader.ledger.pass_time(at).iter().map(|alert| kept(alert, None)).collect();
    raise(app, &reader.source, alerts).await.map_err(|error| chain_of(&error))?;
    gas::look(app, &network, &reader.source).await
}

/// Names what is read: the same registry on another chain is another one.
fn source(network: &Network) -> String {
    format!("{}/0x{}", network.chain().id(), network.address())
}

impl Reader {
    async fn open(app: &Arc<App>, network: &Network, source: String) -> Result<Self, String> {
        let said = |error: Error| chain_of(&error);
        let feed = Feed::open(network.chain(), network.address()).await.map_err(said)?;
        let first = feed.first_block().await.map_err(said)?;
        let mut reader = Self { source, feed, trail: Trail::default(), ledger: Ledger::default(), first };
        reader.load(app).await.map_err(|error| chain_of(&error))?;
        Ok(reader)
    }

    /// Everything anew from the store.
    async fn load(&mut self, app: &Arc<App>) -> Result<(), StoreError> {
        let source = self.source.clone();
        let (trail, entries) = app.db(move |store| store.watched(&source)).await?;
        let trail = trail.and_then(|text| serde_json::from_str::<Trail>(&text).ok());
        self.trail = trail.unwrap_or_default();
        self.ledger = Ledger::default();
        for text in &entries {
            // What this version cannot read it cannot have been told of either.
            match serde_json::from_str::<Entry>(text) {
                Ok(entry) => drop(self.ledger.take(&entry)),
                Err(error) => tracing::error!(%error, "an entry of the ledger cannot be read"),
            }
        }
        self.show(app, None);
        Ok(())
    }

    /// Whether the blocks that were read are still the chain's.
    async fn settle(&mut self, app: &Arc<App>, network: &Network) -> Result<(), String> {
        let mut gone = false;
        while let Some(mark) = self.trail.newest() {
            let now = network.chain().block(mark.number).await.map_err(|error| chain_of(&error))?;
            if self.trail.stands(now.map(|block| block.hash)) {
                break;
            }
            gone = true;
        }
        if !gone {
            return Ok(());
        }
        let last = self.trail.newest().map(|mark| mark.number);
        tracing::warn!(back_to = last, "safe blocks were taken away: what they said is read again");
        let (source, trail) = (self.source.clone(), text(&self.trail));
        let post = app.config.alerts.is_some();
        app.db(move |store| store.rewind(&source, last, &trail, post, now()))
            .await
            .map_err(|error| chain_of(&error))?;
        self.load(app).await.map_err(|error| chain_of(&error))?;
        app.bump();
        Ok(())
    }

    /// Learns from a span, and keeps it.
    async fn take(&mut self, app: &Arc<App>, heard: Heard) -> Result<(), String> {
        let ours = ours(app);
        let (mut ledger, mut trail) = (self.ledger.clone(), self.trail.clone());
        let (mut entries, mut alerts) = (Vec::new(), Vec::new());
        for entry in heard.entries {
            if !ledger.concerns(&entry, &ours) {
                continue;
            }
            alerts.extend(ledger.take(&entry).iter().map(|alert| kept(alert, Some(entry.block))));
            entries.push(EntryText { block: entry.block, json: text(&entry) });
        }
        let Mark { number, .. } = heard.mark;
        trail.reach(heard.mark);
        let (source, kept, post) = (self.source.clone(), text(&trail), app.config.alerts.is_some());
        let told: Vec<NewAlert> = alerts.clone();
        let raised = app
            .db(move |store| {
                let heard = HeardText { trail: &kept, entries: &entries, alerts: &alerts, post };
                store.heard(&source, &heard, now())
            })
            .await
            .map_err(|error| chain_of(&error))?;
        (self.ledger, self.trail) = (ledger, trail);
        self.show(app, Some((number, heard.at_unix)));
        if raised > 0 {
            log(&told);
            app.bump();
        }
        Ok(())
    }

    fn show(&self, app: &App, read_to: Option<(u64, u64)>) {
        let mut seen = app.watch.lock();
        seen.source.clone_from(&self.source);
        seen.ledger = Arc::new(self.ledger.clone());
        seen.read_to = read_to;
    }
}

/// The accounts whose nodes are ours.
fn ours(app: &App) -> Vec<Address> {
    vec![app.chain.operator().address(), app.chain.owner()]
}

/// An alert as the store keeps it.
fn kept(alert: &Alert, block: Option<u64>) -> NewAlert {
    NewAlert {
        id: alert.id.clone(),
        kind: alert.kind.name().into(),
        level: level(alert).into(),
        node: alert.node.map(|node| node.to_string()),
        at_unix: alert.at_unix,
        until_unix: alert.until_unix,
        text: alert.text.clone(),
        block,
    }
}

fn level(alert: &Alert) -> &'static str {
    match alert.level {
        chain_fleet::Level::Info => "info",
        chain_fleet::Level::Warning => "warning",
        chain_fleet::Level::Urgent => "urgent",
    }
}

fn log(alerts: &[NewAlert]) {
    for alert in alerts {
        match alert.level.as_str() {
            "info" => tracing::info!(kind = alert.kind, node = alert.node, "{}", alert.text),
            _ => tracing::warn!(kind = alert.kind, node = alert.node, "{}", alert.text),
        }
    }
}

async fn raise(app: &Arc<App>, source: &str, alerts: Vec<NewAlert>) -> Result<(), StoreError> {
    if alerts.is_empty() {
        return Ok(());
    }
    let (source, post, told) = (source.to_owned(), app.config.alerts.is_some(), alerts.clone());
    let raised = app.db(move |store| store.raise_alerts(&source, &alerts, post, now())).await?;
    if raised > 0 {
        log(&told);
        app.bump();
    }
    Ok(())
}

/// Opens or ends a trouble: the same one is told once, until it has ended.
async fn trouble(app: &Arc<App>, source: &str, kind: Kind, found: Option<Alert>) -> Result<(), StoreError> {
    let open = app.db(move |store| store.trouble_since(kind.name())).await?;
    match (open, found) {
        (None, Some(alert)) => raise(app, source, vec![kept(&alert, None)]).await,
        (Some(_), None) => {
            app.db(move |store| store.clear_trouble(kind.name(), now())).await?;
            app.bump();
            Ok(())
        }
        (None, None) | (Some(_), Some(_)) => Ok(()),
    }
}

async fn silence(app: &Arc<App>, why: Option<&str>, heard_unix: &mut u64) -> Result<(), StoreError> {
    let at = now().0 / 1000;
    let Some(why) = why else {
        *heard_unix = at;
        return trouble(app, "", Kind::ChainSilent, None).await;
    };
    if at.saturating_sub(*heard_unix) < SILENT_SECONDS {
        return Ok(());
    }
    let alert = Alert::silent(app.config.chain.chain_id, *heard_unix, why);
    trouble(app, "", Kind::ChainSilent, Some(alert)).await
}

fn text<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
