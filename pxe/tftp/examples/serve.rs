//! A TFTP server for one file, for measurements: `serve ADDRESS FILE [events]` answers every name with that file.
//!
//! It has the limits of the product, but for transfers of one address: load generators have only one.

use std::{net::SocketAddr, sync::Arc};

use pxe_tftp::{Event, Files, Limits, Opened, Refusal, Server};

struct One {
    bytes: bytes::Bytes,
    events: bool,
}

impl Files for One {
    fn open(&self, _name: &str, _from: SocketAddr) -> Result<Opened, Refusal> {
        Ok(Opened { bytes: self.bytes.clone(), tag: 0 })
    }

    fn tell(&self, event: Event) {
        if self.events {
            eprintln!("{event:?}");
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(at), Some(file)) = (arguments.next(), arguments.next()) else {
        return Err(std::io::Error::other("serve ADDRESS FILE [events]"));
    };
    let at: SocketAddr = at.parse().map_err(std::io::Error::other)?;
    let files = One { bytes: std::fs::read(file)?.into(), events: arguments.next().is_some() };
    let limits = Limits { transfers_per_client_max: 8192, ..Limits::default() };
    let server = Server::bind(at, limits)?;
    println!("{}", server.local_addr());
    server.run(Arc::new(files)).await
}
