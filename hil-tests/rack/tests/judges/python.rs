//! The judges in Python: where `cargo xtask prepare` put them, an image for them to have fetched, their totals.

use std::path::{Path, PathBuf};
use std::process::Command;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// Where `cargo xtask prepare` puts the judges.
pub(crate) fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.xtask/judges");
    assert!(folder.join("made-from.txt").is_file(), "the judges are missing: run `cargo xtask prepare`");
    folder
}

/// A Python program of the judges' environment.
pub(crate) fn program(name: &str) -> Command {
    Command::new(folder().join("venv/bin").join(name))
}

/// Serves the same bytes to everybody; says at which address.
pub(crate) async fn image(name: &str, bytes: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", bytes.len());
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.write_all(&bytes).await;
        }
    });
    format!("http://{address}/{name}")
}

/// Numbers of the table that DMTF's validators end with: passed, warned, failed, not tested.
pub(crate) fn totals(text: &str) -> [u64; 4] {
    let line = text.lines().skip_while(|line| !line.contains("NOT TESTED")).nth(2);
    let line = line.unwrap_or_else(|| panic!("no totals in: {text}"));
    let mut numbers = line.split('|').filter_map(|cell| cell.trim().parse().ok());
    std::array::from_fn(|_| numbers.next().unwrap())
}
