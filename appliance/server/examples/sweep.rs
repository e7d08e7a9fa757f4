//! Visits the BMCs of a list once and stores what they say: what `cargo xtask bench redfish` measures.
//!
//! Arguments: the list (one JSON object a line with `url`, `user` and `password`, as `rack-bmc` prints them), and the
//! file of a new store.  Prints one JSON object.

use std::{error::Error, path::Path, sync::Arc, time::Duration};

use appliance_bmc::{Contact, Depth, Password};
use appliance_model::Now;
use appliance_server::sweep::{self, Limits};
use appliance_store::Store;
use serde::Deserialize;
use tokio::time::Instant;

#[derive(Debug, Deserialize)]
struct Line {
    url: String,
    user: String,
    password: String,
}

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [list, store] = words.as_slice() else { return Err("arguments: LIST STORE".into()) };
    let text = std::fs::read_to_string(list)?;
    let lines = text.lines().filter(|line| line.starts_with('{')).map(serde_json::from_str::<Line>);
    let target = |line: Line| {
        let password = Password::new(line.password);
        (line.url.clone(), Contact { url: line.url, user: line.user, password, pin: None })
    };
    let targets = lines.map(|line| line.map(target)).collect::<Result<_, _>>()?;
    let store = Arc::new(Store::open(Path::new(store))?);
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run(targets, &store))
}

async fn run(targets: Vec<(String, Contact)>, store: &Arc<Store>) -> Result<(), Box<dyn Error>> {
    let limits = Limits { tries_max: Some(3), ..Limits::default() };
    let began = Instant::now();
    // When the last of those that answered was stored: the dead are waited for longer.
    let (mut read, mut healthy) = (0_usize, Duration::ZERO);
    let visit = |contact: Contact| async move {
        let url = contact.url.clone();
        sweep::host(url, None, &sweep::read(contact, Depth::Machine).await?)
    };
    let dead = sweep::sweep(targets, limits, visit, |batch| {
        read += batch.len();
        healthy = began.elapsed();
        let write = |rows: Arc<Vec<sweep::Read>>| {
            let store = Arc::clone(store);
            async move {
                match tokio::task::spawn_blocking(move || store.remember_all(&rows, Now(0))).await {
                    Ok(result) => result,
                    Err(panic) => std::panic::resume_unwind(panic.into_panic()),
                }
            }
        };
        sweep::keep(batch, write)
    })
    .await;
    let seconds = began.elapsed().as_secs_f64();
    let stored = store.hosts()?.len();
    let named: Vec<_> = dead
        .iter()
        .map(|one| serde_json::json!({ "url": one.url, "tries": one.tries, "why": one.why }))
        .collect();
    let said = serde_json::json!({
        "seconds": seconds, "healthy_seconds": healthy.as_secs_f64(), "read": read, "stored": stored, "dead": named,
    });
    println!("{said}");
    Ok(())
}
