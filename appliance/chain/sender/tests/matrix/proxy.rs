//! A node as the sender meets it: real HTTP on loopback, in front of the chain, with everything that can be wrong with
//! an RPC: it hangs up, before or after it did what it was asked, cuts its answer, is overloaded, talks nonsense, lags,
//! lies.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Mutex as AsyncMutex,
};

use crate::{
    backend::{Answer, Backend, number},
    disk::Killer,
    seeds::Dice,
};

/// What a node lies about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    None,
    ChainId,
    BlockHash,
    Code,
    Receipt,
}

/// How a node is now.
#[derive(Debug)]
pub(crate) struct Mood {
    /// Chance of a fault for each request, in a thousand.
    pub(crate) faults: u64,
    pub(crate) down: bool,
    pub(crate) lag: u64,
    pub(crate) lie: Lie,
    pub(crate) dice: Dice,
    /// Transactions that were handed in here.
    pub(crate) sends: Vec<String>,
}

pub(crate) struct Node {
    pub(crate) url: String,
    pub(crate) mood: Arc<Mutex<Mood>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Clone)]
struct Shared {
    backend: Arc<AsyncMutex<Backend>>,
    mood: Arc<Mutex<Mood>>,
    killer: Arc<Killer>,
}

impl Node {
    pub(crate) async fn start(backend: Arc<AsyncMutex<Backend>>, killer: Arc<Killer>, dice: Dice) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let mood = Mood { faults: 0, down: false, lag: 0, lie: Lie::None, dice, sends: Vec::new() };
        let mood = Arc::new(Mutex::new(mood));
        let shared = Shared { backend, mood: Arc::clone(&mood), killer };
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = shared.clone();
                tokio::spawn(async move { serve(stream, shared).await });
            }
        });
        Self { url, mood, task }
    }

    pub(crate) fn mood(&self) -> std::sync::MutexGuard<'_, Mood> {
        self.mood.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What goes wrong with one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    HangUp,
    HangUpAfter,
    Cut,
    Status(&'static str),
    Garbage,
    Error,
    Null,
    Twice,
}

const FAULTS: [Fault; 9] = [
    Fault::HangUp,
    Fault::HangUpAfter,
    Fault::Cut,
    Fault::Status("500 Internal Server Error"),
    Fault::Status("429 Too Many Requests"),
    Fault::Garbage,
    Fault::Error,
    Fault::Null,
    Fault::Twice,
];

async fn serve(mut stream: TcpStream, shared: Shared) {
    let Some(body) = request(&mut stream).await else { return };
    let fault = {
        let mut mood = shared.mood.lock().unwrap_or_else(PoisonError::into_inner);
        let chance = mood.faults;
        let which = usize::try_from(mood.dice.below(9)).unwrap_or_default();
        let fault = mood.dice.happens(chance).then(|| FAULTS[which]);
        if mood.down { Some(Fault::HangUp) } else { fault }
    };
    shared.killer.pass().await;
    if fault == Some(Fault::HangUp) {
        return;
    }
    let answer = shared.answer(&body).await;
    if fault == Some(Fault::Twice) {
        let _ = shared.answer(&body).await;
    }
    shared.killer.pass().await;
    let id = body["id"].clone();
    let whole = match answer {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(error) => json!({ "jsonrpc": "2.0", "id": id, "error": error }),
    };
    let (status, text) = match fault {
        None | Some(Fault::Twice) => ("200 OK", whole.to_string()),
        Some(Fault::HangUp | Fault::HangUpAfter) => return,
        Some(Fault::Cut) => ("200 OK", whole.to_string()),
        Some(Fault::Status(status)) => (status, "busy".into()),
        Some(Fault::Garbage) => ("200 OK", "<html>maintenance</html>".into()),
        Some(Fault::Error) => {
            let error = json!({ "code": -32603, "message": "internal error" });
            ("200 OK", json!({ "jsonrpc": "2.0", "id": id, "error": error }).to_string())
        }
        Some(Fault::Null) => ("200 OK", json!({ "jsonrpc": "2.0", "id": id, "result": null }).to_string()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        text.len()
    );
    let sent = if fault == Some(Fault::Cut) { &text.as_bytes()[..text.len() / 2] } else { text.as_bytes() };
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(sent).await;
    let _ = stream.shutdown().await;
}

/// One request's JSON.
async fn request(stream: &mut TcpStream) -> Option<Value> {
    let mut bytes = Vec::new();
    let mut part = [0; 16_384];
    loop {
        let read = stream.read(&mut part).await.ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&part[..read]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.and_then(|length| length.trim().parse().ok())?;
        if bytes.len() >= end + 4 + length {
            return serde_json::from_slice(&bytes[end + 4..]).ok();
        }
    }
}

impl Shared {
    async fn answer(&self, body: &Value) -> Answer {
        let (lag, lie) = {
            let mut mood = self.mood.lock().unwrap_or_else(PoisonError::into_inner);
            if body["method"] == "eth_sendRawTransaction" {
                let raw = body["params"][0].as_str().unwrap_or_default();
                self.killer.sent(raw);
                mood.sends.push(raw.to_owned());
            }
            (mood.lag, mood.lie)
        };
        let method = body["method"].as_str().unwrap_or_default();
        let mut backend = self.backend.lock().await;
        let head = backend.head().await.saturating_sub(lag);
        let asked = backend.answer(method, body["params"].clone(), head).await?;
        Ok(lied(lie, method, asked))
    }
}

fn lied(lie: Lie, method: &str, mut answer: Value) -> Value {
    let other = json!(format!("0x{}", "ab".repeat(32)));
    match (lie, method) {
        (Lie::ChainId, "eth_chainId") => json!("0x2105"),
        (Lie::BlockHash, "eth_getBlockByNumber") if answer.is_object() => {
            answer["hash"] = other;
            answer
        }
        (Lie::Code, "eth_getCode") => json!("0xfe"),
        (Lie::Receipt, "eth_getTransactionReceipt") if number(&answer["blockNumber"]) > 0 => Value::Null,
        (Lie::None | Lie::ChainId | Lie::BlockHash | Lie::Code | Lie::Receipt, _) => answer,
    }
}
