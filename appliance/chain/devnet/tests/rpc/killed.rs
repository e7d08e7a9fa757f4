//! `kill -9` in the middle of work: what was acknowledged is there afterwards, whatever moment it was.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use alloy::{
    primitives::{B256, keccak256},
    providers::Provider as _,
};
use chain_devnet::Mining;

use crate::{Served, signed, signer};

/// Tells the copy of this program that is to be killed where its chain is.
const DIR: &str = "DEVNET_KILLED_DIR";

/// Not a test by itself: what the killed copy does.  Without the variable it has nothing to do.
#[tokio::test(flavor = "multi_thread")]
async fn served_until_killed() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let served = Served::open(Path::new(&dir), Mining::Automine).await;
    let (draft, done) = (Path::new(&dir).join("url.new"), Path::new(&dir).join("url"));
    std::fs::write(&draft, &served.url).unwrap();
    std::fs::rename(draft, done).unwrap();
    std::future::pending::<()>().await;
}

/// A running copy, ended without warning when it is dropped.
struct Victim(Child);

impl Drop for Victim {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// A copy of this program that serves the chain in `dir`, and its address.
async fn start(dir: &Path) -> (Victim, String) {
    let _ = std::fs::remove_file(dir.join("url"));
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "killed::served_until_killed"]).env(DIR, dir).stdout(Stdio::null());
    let victim = Victim(command.spawn().unwrap());
    for _ in 0..6_000 {
        if let Ok(url) = std::fs::read_to_string(dir.join("url")) {
            return (victim, url);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the copy that is to be killed did not start within a minute");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<B256> = Vec::new();
    for round in 0..4u64 {
        let (victim, url) = start(dir.path()).await;
        let (sent, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let first = u64::try_from(acknowledged.len()).unwrap();
        let sender = tokio::spawn(async move {
            let provider = Served::connect(&url);
            // A transaction that was written but not answered is "nonce too low" or "already known" here: also there.
            for nonce in first.. {
                let answered = match provider.send_raw_transaction(&signed(nonce, 1)).await {
                    Ok(_) => true,
                    Err(error) => error.as_error_resp().is_some(),
                };
                if !answered || sent.send(keccak256(signed(nonce, 1))).is_err() {
                    return;
                }
            }
        });
        // A different number of transactions each round, so that the cut falls elsewhere.
        for _ in 0..20 + 7 * round {
            acknowledged.push(heard.recv().await.unwrap());
        }
        drop(victim);
        sender.await.unwrap();
        while let Some(hash) = heard.recv().await {
            acknowledged.push(hash);
        }
        let served = Served::open(dir.path(), Mining::Automine).await;
        let provider = served.provider();
        for hash in &acknowledged {
            let receipt = provider.get_transaction_receipt(*hash).await.unwrap();
            assert!(
                receipt.is_some_and(|receipt| receipt.status()),
                "{hash} was acknowledged in or before round {round}"
            );
        }
        let count = provider.get_transaction_count(signer().address()).await.unwrap();
        let known = u64::try_from(acknowledged.len()).unwrap();
        assert!(
            (known..=known + 1).contains(&count),
            "{known} answered, {count} mined: one may have been in flight"
        );
        served.stop().await;
    }
}
