//! QEMU's control channel: one JSON object a line, commands answered in order, events in between.
//!
//! Only what the rack needs: send a command, wait for its answer, hear of resets.  The rack listens and QEMU connects,
//! so nothing that QEMU says at start can be lost.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{Mutex, mpsc};

use crate::error::RackError;

/// How long QEMU may take to answer: it answers within milliseconds unless the machine is overloaded.
const ANSWER_SECONDS_MAX: u64 = 60;

/// How long a command may hold up the end of its QEMU.
const SETTLE_SECONDS_MAX: u64 = 2;

/// Longest line QEMU sends; its greeting is below 1 KiB, `query-*` answers below 64 KiB.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// An event that matters to the rack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The machine was reset, by the guest or by us.
    Reset,
    /// QEMU closed the channel: it is ending.
    Closed,
}

/// The sending side of a control channel.
#[derive(Debug)]
pub(crate) struct Qmp {
    host: String,
    channel: Mutex<Channel>,
}

#[derive(Debug)]
struct Channel {
    write: OwnedWriteHalf,
    answers: mpsc::Receiver<Value>,
}

impl Qmp {
    /// Shakes hands on a fresh connection; events arrive on the returned receiver until [`Event::Closed`].
    pub(crate) async fn greet(
        host: &str,
        stream: UnixStream,
    ) -> Result<(Self, mpsc::Receiver<Event>), RackError> {
        let (read, write) = stream.into_split();
        let (answers_in, answers) = mpsc::channel(4);
        let (events_in, events) = mpsc::channel(64);
        tokio::spawn(async move {
            let mut lines = BufReader::new(read);
            while let Some(message) = next(&mut lines).await {
                match message.get("event").and_then(Value::as_str) {
                    Some("RESET") => drop(events_in.send(Event::Reset).await),
                    Some(_) => {}
                    None if message.get("QMP").is_some() => {}
                    None => drop(answers_in.send(message).await),
                }
            }
            let _ = events_in.send(Event::Closed).await;
        });
        let qmp = Self { host: host.to_owned(), channel: Mutex::new(Channel { write, answers }) };
        qmp.run("qmp_capabilities", json!({})).await?;
        Ok((qmp, events))
    }

    /// Sends one command and returns what it returned.
    pub(crate) async fn run(&self, command: &str, arguments: Value) -> Result<Value, RackError> {
        let fault =
            |answer: String| RackError::Qmp { host: self.host.clone(), command: command.to_owned(), answer };
        let mut text = json!({ "execute": command, "arguments": arguments }).to_string();
        text.push('\n');
        let mut channel = self.channel.lock().await;
        let exchange = async {
            channel.write.write_all(text.as_bytes()).await.map_err(|error| error.to_string())?;
            channel.answers.recv().await.ok_or_else(|| "the channel was closed".to_owned())
        };
        let limit = Duration::from_secs(ANSWER_SECONDS_MAX);
        let mut answer = tokio::time::timeout(limit, exchange)
            .await
            .map_err(|_| fault(format!("no answer within {ANSWER_SECONDS_MAX} s")))?
            .map_err(fault)?;
        match answer.get_mut("return") {
            Some(value) => Ok(value.take()),
            None => Err(fault(answer.to_string())),
        }
    }

    /// Waits until no command is under way, but not for long: QEMU says `RESET` before it answers the command that
    /// asked for it, and who kills QEMU in between leaves the asker without an answer.
    pub(crate) async fn settle(&self) {
        drop(tokio::time::timeout(Duration::from_secs(SETTLE_SECONDS_MAX), self.channel.lock()).await);
    }
}

/// The next message, or nothing when the channel ends or stops being QMP.
async fn next(lines: &mut BufReader<tokio::net::unix::OwnedReadHalf>) -> Option<Value> {
    let mut line = Vec::new();
    let count = lines.take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await.ok()?;
    if count == 0 { None } else { serde_json::from_slice(&line).ok() }
}
