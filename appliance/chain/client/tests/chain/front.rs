//! A front before a chain: hands questions on, counts what is sent, and lies where a test wants it to.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// What is said instead of the chain's own answer; `None` asks the chain.
pub(crate) type Lie = fn(&Value) -> Option<Value>;

/// A front, until the test ends.
pub(crate) struct Front {
    pub(crate) url: String,
    sent: Arc<AtomicUsize>,
}

impl Front {
    pub(crate) async fn before(url: &str, lie: Lie) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let front = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            sent: Arc::new(AtomicUsize::new(0)),
        };
        let (url, sent) = (url.to_owned(), Arc::clone(&front.sent));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, url.clone(), lie, Arc::clone(&sent)));
            }
        });
        front
    }

    /// Transactions that anybody tried to send through it.
    pub(crate) fn sent(&self) -> usize {
        self.sent.load(Ordering::SeqCst)
    }
}

async fn serve(mut socket: TcpStream, url: String, lie: Lie, sent: Arc<AtomicUsize>) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut held = Vec::new();
    while let Some(body) = request(&mut socket, &mut held).await {
        let asked: Value = serde_json::from_slice(&body).unwrap();
        if body.windows(22).any(|part| part == b"eth_sendRawTransaction") {
            sent.fetch_add(1, Ordering::SeqCst);
        }
        let answer = match lie(&asked) {
            Some(result) => json!({"jsonrpc": "2.0", "id": asked["id"], "result": result}).to_string(),
            None => client.post(&url).json(&asked).send().await.unwrap().text().await.unwrap(),
        };
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
        let answer = format!("{head}content-length: {}\r\n\r\n{answer}", answer.len());
        if socket.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The next request's body; `None` when the client is gone.
async fn request(socket: &mut TcpStream, held: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        if let Some(end) = held.windows(4).position(|part| part == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&held[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let whole = end + 4 + length.map_or(0, |length| length.trim().parse::<usize>().unwrap());
            if held.len() >= whole {
                let body = held[end + 4..whole].to_vec();
                held.drain(..whole);
                return Some(body);
            }
        }
        if socket.read_buf(held).await.ok()? == 0 {
            return None;
        }
    }
}
