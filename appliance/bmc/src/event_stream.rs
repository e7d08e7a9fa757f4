//! Events as the controller streams them (DSP0266, 13.5: server-sent events), one at a time, for as long as somebody asks.
//!
//! The connection is made again when it ends, is silent too long or its session was revoked, and goes on after the last
//! event that came.  What a controller repeats then is left out.  A stream takes none of the places for requests.

use std::{collections::VecDeque, time::Duration};

use appliance_model::Digest;
use reqwest::{Response, header};
use serde::Serialize;
use serde_json::Value;

use crate::{
    client::Bmc,
    error::BmcError,
    field,
    link::local,
    quirks::Switch,
    session::Key,
    sse::{Message, Parser},
};

/// A connection lives at most so long; some controllers end them after an hour of silence, some never.
const STREAM_SECONDS_MAX: u64 = 12 * 3600;
/// Silence, comments included, after which a connection is taken for dead.
const SILENCE_SECONDS_MAX: u64 = 900;
/// Attempts to connect, one after the other, until the caller is told.
const ATTEMPTS_MAX: u32 = 6;
/// The longest wait between two of them, whatever the controller wishes.
const WAIT_SECONDS_MAX: u64 = 60;
/// Events of one message.
const EVENTS_MAX: usize = 64;
/// Messages remembered, to know what is repeated.
const REMEMBERED_MAX: usize = 256;

/// Something that happened, as the controller tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Event {
    /// Its id.
    pub id: Option<String>,
    /// The message's id in its registry (`ResourceEvent.1.0.ResourceErrorsDetected`).
    pub message: Option<String>,
    /// `OK`, `Warning`, `Critical`.
    pub severity: Option<String>,
    /// What happened, in the controller's words.
    pub text: Option<String>,
    /// The resource it happened to.
    pub origin: Option<String>,
    /// When, as told.
    pub when: Option<String>,
}

impl Event {
    /// The events in the body of a message, streamed or posted to a subscriber; `None`: it is no such body.
    #[must_use]
    pub fn read(body: &[u8]) -> Option<Vec<Self>> {
        let body: Value = serde_json::from_slice(body).ok()?;
        let events = field::at(&body, &["Events"])?.as_array()?;
        Some(events.iter().filter(|one| one.is_object()).take(EVENTS_MAX).map(Self::of).collect())
    }

    fn of(value: &Value) -> Self {
        let text = |name: &str| field::text(value, &[name]);
        // Early versions of the standard have a text where later ones have a link.
        let origin = field::link(value, &["OriginOfCondition"]).map(str::to_owned);
        Self {
            id: text("EventId").or_else(|| text("MemberId")),
            message: text("MessageId"),
            severity: text("MessageSeverity").or_else(|| text("Severity")),
            text: text("Message"),
            origin: origin.or_else(|| text("OriginOfCondition")),
            when: text("EventTimestamp"),
        }
    }
}

/// `2026-01-01T00:00:00-0600` with the colon that its offset lacks.
fn with_colon(when: &str) -> String {
    let Some(at) = when.len().checked_sub(5) else { return when.to_owned() };
    match when.split_at_checked(at) {
        Some((time, offset))
            if time.contains('T')
                && offset.starts_with(['+', '-'])
                && offset.bytes().skip(1).all(|byte| byte.is_ascii_digit()) =>
        {
            let (hours, minutes) = offset.split_at(3);
            format!("{time}{hours}:{minutes}")
        }
        Some(_) | None => when.to_owned(),
    }
}

/// The events of one controller.
#[derive(Debug)]
pub struct EventStream {
    bmc: Bmc,
    path: String,
    connection: Option<Response>,
    parser: Parser,
    ready: VecDeque<Event>,
    seen: VecDeque<Digest>,
    /// Shortest wait before a new connection that this controller bears.
    rest: Duration,
    add_colon: bool,
    connections: u32,
    odd: u32,
}

impl Bmc {
    /// The controller's events from now on, or after the one with this id as [`EventStream::last_id`] told it.  Nothing
    /// is connected before the first is asked for.
    ///
    /// # Errors
    /// When the controller cannot be asked or streams no events.
    pub async fn event_stream(&self, after: Option<String>) -> Result<EventStream, BmcError> {
        let machine = self.machine().await?;
        let (at, service) = self.service("EventService", "an event service").await?;
        let told = field::text(&service, &["ServerSentEventUri"]);
        let path = told.and_then(|link| local(&self.inner.base, &link));
        let path = path.ok_or_else(|| self.lacks(&at, "a stream of events; subscribe instead"))?;
        let rest = machine.quirks.switches().find_map(|switch| {
            if let Switch::StreamRests(seconds) = switch { Some(Duration::from_secs(seconds)) } else { None }
        });
        Ok(EventStream {
            bmc: self.clone(),
            path,
            connection: None,
            parser: Parser::after(after),
            ready: VecDeque::new(),
            seen: VecDeque::new(),
            rest: rest.unwrap_or_default().max(self.inner.options.pause),
            add_colon: machine.quirks.has(Switch::EventOffsetWithoutColon),
            connections: 0,
            odd: 0,
        })
    }
}

impl EventStream {
    /// The next event.  Waits for it, and connects again as often as it takes; may be dropped and asked again.
    ///
    /// # Errors
    /// When the login is refused, the controller shows another key, streams no events after all, or could not be reached
    /// several times in a row.  Asking again after that tries again.
    pub async fn next(&mut self) -> Result<Event, BmcError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            self.connect().await?;
            let Some(connection) = &mut self.connection else { continue };
            let silence = Duration::from_secs(SILENCE_SECONDS_MAX);
            match tokio::time::timeout(silence, connection.chunk()).await {
                Ok(Ok(Some(bytes))) => {
                    for message in self.parser.feed(&bytes) {
                        self.take(&message);
                    }
                }
                // Ended, broken or silent: again, after the last that came.
                Ok(Ok(None) | Err(_)) | Err(_) => self.connection = None,
            }
        }
    }

    /// The id to go on after, for a later stream.
    #[must_use]
    pub fn last_id(&self) -> Option<&str> {
        self.parser.id.as_deref()
    }

    /// Connections made so far.
    #[must_use]
    pub fn connections(&self) -> u32 {
        self.connections
    }

    /// Messages that were too long or no events.
    #[must_use]
    pub fn odd(&self) -> u32 {
        self.odd.saturating_add(self.parser.dropped)
    }

    fn take(&mut self, message: &Message) {
        // Ids begin again when a controller restarts: what is the same with its id is a repetition.
        let id = message.id.as_deref().unwrap_or_default();
        let digest = Digest::of(format!("{id}\n{}", message.data).as_bytes());
        if self.seen.contains(&digest) {
            return;
        }
        if self.seen.len() >= REMEMBERED_MAX {
            self.seen.pop_front();
        }
        self.seen.push_back(digest);
        let Some(mut events) = Event::read(message.data.as_bytes()) else {
            self.odd = self.odd.saturating_add(1);
            return;
        };
        if self.add_colon {
            events.iter_mut().for_each(|event| event.when = event.when.as_deref().map(with_colon));
        }
        self.ready.extend(events);
    }

    async fn connect(&mut self) -> Result<(), BmcError> {
        let mut attempt = 0;
        while self.connection.is_none() {
            if self.connections > 0 || attempt > 0 {
                let wished = self.parser.retry_ms.map(Duration::from_millis).unwrap_or_default();
                let wait = wished.max(self.rest * 2_u32.saturating_pow(attempt));
                tokio::time::sleep(wait.min(Duration::from_secs(WAIT_SECONDS_MAX))).await;
            }
            attempt += 1;
            match self.open().await {
                Ok(connection) => {
                    self.parser.begin_again();
                    self.connection = Some(connection);
                    self.connections = self.connections.saturating_add(1);
                }
                Err(error @ (BmcError::NoAnswer { .. } | BmcError::Refused { .. })) => {
                    if attempt >= ATTEMPTS_MAX {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn open(&self) -> Result<Response, BmcError> {
        let inner = &self.bmc.inner;
        let mut key = inner.key(None).await?;
        let mut renewed = false;
        loop {
            let response = self.ask(&key).await?;
            let (status, url) = (response.status().as_u16(), inner.url(&self.path));
            match status {
                200 => {
                    let kind = response.headers().get(header::CONTENT_TYPE);
                    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_owned();
                    if kind.to_ascii_lowercase().starts_with("text/event-stream") {
                        return Ok(response);
                    }
                    let shown: String = kind.chars().take(100).collect();
                    return Err(self.bmc.lacks(&self.path, format!("a stream of events but `{shown}`")));
                }
                401 if !renewed => {
                    renewed = true;
                    key = inner.key(Some(&key)).await?;
                }
                401 => return Err(BmcError::Login { url, user: inner.user.clone() }),
                404 | 405 | 501 => {
                    return Err(self.bmc.lacks(&self.path, "the stream of events that its service names"));
                }
                300..=399 => return Err(BmcError::Elsewhere { url, status, to: String::new() }),
                _ => {
                    let said = "no stream of events".to_owned();
                    return Err(BmcError::Refused { method: "GET", url, status, said });
                }
            }
        }
    }

    async fn ask(&self, key: &Key) -> Result<Response, BmcError> {
        let inner = &self.bmc.inner;
        let url = inner.url(&self.path);
        let mut request = inner
            .http
            .get(&url)
            .timeout(Duration::from_secs(STREAM_SECONDS_MAX))
            .header(header::ACCEPT, "text/event-stream")
            .header(header::CACHE_CONTROL, "no-cache");
        if let Some(id) = &self.parser.id {
            request = request.header("Last-Event-ID", id);
        }
        request = match key {
            Key::None => request,
            Key::Token(token) => request.header("X-Auth-Token", token),
            Key::Basic => request.basic_auth(&inner.user, Some(inner.password.reveal())),
        };
        let limit = Duration::from_secs(inner.options.request_seconds_max);
        let answer = tokio::time::timeout(limit, request.send()).await;
        let lost = |source: reqwest::Error| match inner.pinning.mismatch() {
            Some((expected, got)) => BmcError::PinChanged { url: inner.base.to_string(), expected, got },
            None => BmcError::NoAnswer { method: "GET", url: url.clone(), source: source.into() },
        };
        match answer {
            Ok(answer) => answer.map_err(lost),
            Err(_) => {
                let said = format!("nothing within {} s", limit.as_secs());
                Err(BmcError::Refused { method: "GET", url, status: 504, said })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_several_makers_are_read_and_odd_ones_are_none() {
        let of = |body: &str| Event::read(body.as_bytes());
        let events =
            of(r#"{ "Events": [null, { "EventId": "7", "MessageId": "TST100", "Severity": "Informational",
            "OriginOfCondition": "/redfish/v1/Systems/1", "EventTimestamp": "2021-02-10T22:26:10+0000" },
            { "MemberId": "0", "Message": 5, "OriginOfCondition": { "@odata.id": "/redfish/v1/Chassis/1" },
              "MessageSeverity": "Critical", "Severity": "OK" }] }"#)
            .unwrap();
        assert_eq!(events.len(), 2);
        assert_eq!(events[0].origin.as_deref(), Some("/redfish/v1/Systems/1"));
        assert_eq!(
            (events[0].id.as_deref(), events[0].severity.as_deref()),
            (Some("7"), Some("Informational"))
        );
        assert_eq!((events[1].text.clone(), events[1].severity.as_deref()), (None, Some("Critical")));
        for odd in ["", "{}", "[]", r#"{ "Events": {} }"#, r#"{ "MetricValues": [] }"#, "data"] {
            assert_eq!(of(odd), None, "{odd}");
        }
        assert_eq!(with_colon("2021-02-10T22:26:10-0600"), "2021-02-10T22:26:10-06:00");
        for same in ["2021-02-10T22:26:10-06:00", "2021-02-10T22:26:10Z", "2021-02", "", "né-060"] {
            assert_eq!(with_colon(same), same);
        }
    }
}
