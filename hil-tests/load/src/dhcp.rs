//! DHCP clients by the thousand, behind one relay: a closed loop, a power-on storm, or a flood.
//!
//! The generator sends from the relay's address and port 67, as a relay does, so one socket hears every answer.  It
//! checks what it is given: an address that two clients hold at once is counted, and is never a server's right.

mod packet;
mod storm;
mod window;

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde::Serialize;

use packet::{Answer, Client};

/// What the clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// DISCOVER, OFFER, REQUEST, ACK by operating systems; a fixed number at once.
    Dora,
    /// The same by PXE firmware (options 60, 93, 94, 97).
    Pxe,
    /// DISCOVER and OFFER by PXE firmware: what a proxy answers.
    Offer,
    /// So many PXE clients start within a second, and repeat themselves after 4, 8, 16 s (RFC 2131, 4.1).
    Storm,
    /// DISCOVERs of ever new clients, nobody waits; then known clients ask.
    Flood,
}

/// What to do to whom.
#[derive(Debug, Clone, Args)]
pub struct Plan {
    /// The server.
    #[arg(long)]
    pub server: SocketAddr,
    /// Our address, as the relay whose subnet the clients are in.
    #[arg(long)]
    pub relay: Ipv4Addr,
    /// What the clients do.
    #[arg(long, value_enum, default_value = "dora")]
    pub kind: Kind,
    /// Different clients (hardware addresses).
    #[arg(long, default_value_t = 60_000)]
    pub clients: u32,
    /// Exchanges at once.
    #[arg(long, default_value_t = 64)]
    pub window: usize,
    /// Seconds of a closed loop, or the longest that a storm may take.
    #[arg(long, default_value_t = 3.0)]
    pub seconds: f64,
}

/// What came of it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Outcome {
    /// Exchanges that were completed.
    pub completed: u64,
    /// Seconds it took.
    pub seconds: f64,
    /// Exchanges that had no answer within a second (closed loop), or never (storm).
    pub dropped: u64,
    /// Refusals (NAK).
    pub refused: u64,
    /// Packets sent again (storm).
    pub repeated: u64,
    /// Times that an address was given to a second client.
    pub twice: u64,
    /// From the first packet of an exchange to its last, milliseconds, median.
    pub p50_ms: f64,
    /// The same, 99th percentile.
    pub p99_ms: f64,
}

/// Runs the plan.
///
/// # Errors
/// If the sockets cannot be had.
pub fn run(plan: &Plan) -> anyhow::Result<Outcome> {
    let link = Link::open(plan)?;
    match plan.kind {
        Kind::Dora | Kind::Pxe | Kind::Offer => window::run(plan, &link),
        Kind::Storm => storm::run(plan, &link),
        Kind::Flood => window::flood(plan, &link),
    }
}

/// The relay's socket.
#[derive(Debug)]
struct Link {
    socket: UdpSocket,
    server: SocketAddr,
    relay: Ipv4Addr,
}

impl Link {
    fn open(plan: &Plan) -> anyhow::Result<Self> {
        let at = SocketAddr::from((plan.relay, 67));
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
        // A storm's answers must not be lost here.
        socket.set_recv_buffer_size(8 << 20)?;
        socket.bind(&at.into()).with_context(|| format!("listening on {at} as the relay"))?;
        socket.set_read_timeout(Some(Duration::from_millis(2)))?;
        Ok(Self { socket: socket.into(), server: plan.server, relay: plan.relay })
    }

    fn send(&self, packet: &[u8]) -> io::Result<()> {
        self.socket.send_to(packet, self.server).map(|_| ())
    }

    /// The next answer, or none for two milliseconds.
    fn receive(&self) -> io::Result<Option<Answer>> {
        let mut buffer = [0; 1500];
        match self.socket.recv(&mut buffer) {
            Ok(length) => Ok(buffer.get(..length).and_then(Answer::read)),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Ok(None)
            }
            // The server is not up yet, or gone: an ICMP error about an earlier packet.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Who holds which address, and how often one was given to a second client.
#[derive(Debug, Default)]
struct Holders {
    by_address: BTreeMap<Ipv4Addr, Client>,
    by_client: BTreeMap<Client, Ipv4Addr>,
    twice: u64,
}

impl Holders {
    fn hold(&mut self, address: Ipv4Addr, client: Client) {
        if let Some(old) = self.by_client.insert(client, address)
            && old != address
        {
            self.by_address.remove(&old);
        }
        if self.by_address.insert(address, client).is_some_and(|other| other != client) {
            self.twice += 1;
        }
    }
}

/// Median and 99th percentile of so many microseconds, as milliseconds.
fn percentiles(mut micros: Vec<u64>) -> (f64, f64) {
    micros.sort_unstable();
    let at = |share: usize| {
        let place = micros.len().saturating_sub(1) * share / 100;
        let micros = micros.get(place).copied().unwrap_or(0);
        f64::from(u32::try_from(micros).unwrap_or(u32::MAX)) / 1000.0
    };
    (at(50), at(99))
}

fn micros(since: Instant, now: Instant) -> u64 {
    u64::try_from(now.duration_since(since).as_micros()).unwrap_or(u64::MAX)
}

#[expect(clippy::disallowed_methods, reason = "a load generator measures real time")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_two_clients_is_seen() {
        let mut holders = Holders::default();
        let (one, other) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        holders.hold(one, Client(1));
        holders.hold(one, Client(1));
        holders.hold(other, Client(2));
        assert_eq!(holders.twice, 0);
        holders.hold(other, Client(1));
        assert_eq!(holders.twice, 1);
        holders.hold(one, Client(3));
        assert_eq!(holders.twice, 1, "client 1 has moved on");
    }

    #[test]
    fn percentiles_of_a_hundred() {
        assert_eq!(percentiles((1..=100).map(|n| n * 1000).collect()), (50.0, 99.0));
        assert_eq!(percentiles(Vec::new()), (0.0, 0.0));
    }
}
