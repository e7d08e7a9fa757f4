//! Serves one file to everybody: what the benchmark measures, and the least that a caller of this room must write.
//!
//! `serve_http --plain ADDRESS --file PATH [--tls ADDRESS --certificate PEM --key PEM] [--places N] [--threads N] [--per-address N]`

use std::{collections::HashMap, io::Read as _, net::IpAddr, path::Path, sync::Arc};

use anyhow::{Context as _, bail};
use pxe_http::{Content, Event, Gate, Grant, Limits, Refusal, Server};

/// `/image` is the file, `/small` its first KiB.
struct One {
    image: Arc<Content>,
    small: Arc<Content>,
}

impl Gate for One {
    fn resolve(&self, path: &str, _: IpAddr) -> Result<Grant, Refusal> {
        let content = match path {
            "/image" => &self.image,
            "/small" => &self.small,
            _ => return Err(Refusal::Missing),
        };
        Ok(Grant { content: Arc::clone(content), tag: 0, content_type: "application/octet-stream" })
    }

    fn tell(&self, _: Event) {}
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut options = HashMap::new();
    for pair in words.chunks(2) {
        let [name, value] = pair else { bail!("{pair:?} has no value") };
        options.insert(name.trim_start_matches('-').to_owned(), value.clone());
    }
    let option = |name: &str| options.get(name).with_context(|| format!("--{name} is missing"));
    let number = |name: &str, default: usize| options.get(name).map_or(Ok(default), |text| text.parse());
    let mut limits = Limits::default();
    limits.threads = number("threads", limits.threads)?;
    limits.places = number("places", limits.places)?;
    limits.connections_per_address_max = number("per-address", limits.connections_per_address_max)?;
    limits.places_per_address_max = number("places-per-address", limits.places_per_address_max)?;
    let file = Path::new(option("file")?);
    let mut start = vec![0; 1024];
    std::fs::File::open(file)?.read_exact(&mut start).context("the file has less than 1 KiB")?;
    let gate = One { image: Arc::new(Content::file(file)?), small: Arc::new(Content::bytes(start.into())) };
    let mut server = Server::bind(option("plain")?.parse()?, limits)?;
    if let Some(at) = options.get("tls") {
        let config = pxe_http::tls(&std::fs::read(option("certificate")?)?, &std::fs::read(option("key")?)?)?;
        server.also_tls(at.parse()?, config)?;
    }
    println!("serving");
    server.run(Arc::new(gate)).await?;
    Ok(())
}
